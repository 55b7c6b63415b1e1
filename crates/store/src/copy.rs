//! A whole store into another one, and the backup of one.
//!
//! What is copied is what [dumps](crate::dump) hold: runs with all that hangs on them, and models.
//! Who drives a run and the digests of source files are the business of the machine that has them,
//! and stay. Copying again goes on where it was interrupted, for what is there is left as it is.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use wick_core::{Digest, RunId};

use crate::dump::{Loaded, RunDump};
use crate::error::{StoreError, StoreResult};
use crate::location::{self, Location};
use crate::sqlite::SqliteStore;
use crate::{Store, open};

/// So many runs are read at once, and written in one transaction; fewer if they have many points.
const PAGE: u32 = 500;

/// What came of a copy.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Runs that came to the other store.
    pub new: u64,
    /// Runs that stand further there now than they did.
    pub further: u64,
    /// Runs that were there.
    pub kept: u64,
    /// Runs that were under way: there they are `interrupted`, until they are copied again.
    pub under_way: u64,
    /// Registered models.
    pub models: u64,
    /// Runs that are not the same there: what people say of them may have changed on either side.
    pub different: Vec<RunId>,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// So many runs were looked at and written.
    Copied(u64),
    /// So many were read again from the other store and compared.
    Compared(u64),
}

/// Copies all of `from` to `to`, and compares by digest what is there with what was to be.
///
/// # Errors
/// If one of the stores refuses. What was copied until then stays.
pub async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    tell: &mut (dyn FnMut(Step) + Send),
) -> StoreResult<Copied> {
    let mut copied = Copied::default();
    let mut expected: Vec<(RunId, Digest)> = Vec::new();
    let (mut after, mut seen) = (None, 0);
    loop {
        let page = from.run_ids(after.as_ref(), PAGE).await?;
        let mut rest = page.as_slice();
        while !rest.is_empty() {
            let dumps = from.dump_runs(rest).await?;
            rest = &rest[dumps.len()..];
            // A run that was removed meanwhile is none.
            let dumps: Vec<RunDump> = dumps.into_iter().flatten().collect();
            for dump in &dumps {
                if dump.is_under_way() {
                    copied.under_way += 1;
                } else {
                    expected.push((dump.id.clone(), dump.digest()?));
                }
            }
            load(to, &dumps, &mut copied).await?;
            seen += dumps.len() as u64;
            tell(Step::Copied(seen));
        }
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
    }
    let models = from.dump_models().await?;
    copied.models = models.len() as u64;
    to.load_models(&models).await?;
    copied.different = compare(to, &expected, tell).await?;
    Ok(copied)
}

/// The runs of which `to` does not say what was expected.
async fn compare(
    to: &dyn Store,
    expected: &[(RunId, Digest)],
    tell: &mut (dyn FnMut(Step) + Send),
) -> StoreResult<Vec<RunId>> {
    let mut different = Vec::new();
    let mut seen = 0;
    for page in expected.chunks(PAGE as usize) {
        let ids: Vec<RunId> = page.iter().map(|(id, _)| id.clone()).collect();
        let mut there = Vec::with_capacity(ids.len());
        while there.len() < ids.len() {
            for dump in to.dump_runs(&ids[there.len()..]).await? {
                there.push(dump.map(|dump| dump.digest()).transpose()?);
            }
        }
        let differing = page.iter().zip(there).filter(|((_, told), there)| *there != Some(*told));
        different.extend(differing.map(|((id, _), _)| id.clone()));
        seen += ids.len() as u64;
        tell(Step::Compared(seen));
    }
    Ok(different)
}

async fn load(to: &dyn Store, dumps: &[RunDump], copied: &mut Copied) -> StoreResult<()> {
    let loaded = to.load_runs(dumps).await?;
    let mut counts: HashMap<Loaded, u64> = HashMap::new();
    for loaded in loaded {
        *counts.entry(loaded).or_default() += 1;
    }
    copied.new += counts.get(&Loaded::New).copied().unwrap_or(0);
    copied.further += counts.get(&Loaded::Further).copied().unwrap_or(0);
    copied.kept += counts.get(&Loaded::Kept).copied().unwrap_or(0);
    Ok(())
}

/// Writes a backup of the store at `location` into `file`: a SQLite store that any `wick` of this
/// version or a newer one opens. It is as the store was at one moment, or, of a Postgres, as each
/// run was when it was read. The file is there whole or not at all.
///
/// # Errors
/// If there is something at `file`, or if it cannot be written or the store not be read.
pub async fn backup(
    location: &str,
    file: &Path,
    tell: &mut (dyn FnMut(Step) + Send),
) -> StoreResult<()> {
    let refused = |reason: &str| StoreError::Location {
        location: file.display().to_string(),
        reason: reason.to_owned(),
    };
    if fs::symlink_metadata(file).is_ok() {
        return Err(refused("there is a file already; name another"));
    }
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let half = PathBuf::from(name);
    let written = write_backup(location, &half, tell).await;
    let finished = written.and_then(|()| {
        finish(&half, file).map_err(|error| StoreError::Database {
            location: file.display().to_string(),
            source: Box::new(error),
        })
    });
    for left in ["", "-wal", "-shm", ".lock"] {
        let mut name = half.as_os_str().to_owned();
        name.push(left);
        // What is not there need not be removed.
        let _ = fs::remove_file(PathBuf::from(name));
    }
    finished
}

async fn write_backup(
    location: &str,
    half: &Path,
    tell: &mut (dyn FnMut(Step) + Send),
) -> StoreResult<()> {
    if let Location::Sqlite(path) = location::parse(location)? {
        let store = SqliteStore::open(&path).await?;
        let written = store.vacuum_into(half).await;
        store.close().await;
        return written;
    }
    let (from, to) = (open(location).await?, SqliteStore::open(half).await?);
    let copied = copy(&*from, &to, tell).await;
    from.close().await;
    to.close().await;
    match copied?.different.first() {
        Some(run) => Err(StoreError::Refused(format!("run {run} is not the same in the backup"))),
        None => Ok(()),
    }
}

/// Gives a file its name when all of it is on the disk.
fn finish(half: &Path, file: &Path) -> std::io::Result<()> {
    File::open(half)?.sync_all()?;
    fs::rename(half, file)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
