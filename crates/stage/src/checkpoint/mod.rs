//! Checkpoints: what a long attempt saves of its state, so that a later attempt of the same
//! stage goes on from there.
//!
//! They lie in `.wick/checkpoints/<fingerprint>/<line>/<step>.ckpt`. The fingerprint is the key:
//! a retry, a rerun and a new run of the same plan find what was saved, and nothing else does.
//! Within it each [`Line`] is one computation. Nearly all share a single one: equal fingerprints
//! mean equal states at equal steps, so two attempts at once overwrite each other's files with
//! the same state. A computation that must not build on another one has a line of its own.
//!
//! A file is written under a temporary name, flushed, renamed, and its folder flushed; it ends
//! with a hash of all before it. So whatever is found under a final name and passes its hash is
//! a whole state. What does not is skipped, and the one before is taken.
//!
//! Knows nothing of what is saved, and no clock but that of the file system.

mod file;
mod upkeep;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wick_core::{Fingerprint, RunId, Token};

use crate::context::Assignment;
use file::{Damage, Header};

pub use upkeep::{forget, forget_run, sweep};

/// How a checkpoint's name ends.
const EXTENSION: &str = "ckpt";

/// How the name of one that is being written ends.
const PARTIAL: &str = "partial";

/// How old the file of a dead attempt is at least: a younger one may not have its lock yet.
const YOUNG: Duration = Duration::from_secs(60);

/// How often the folder is looked at again when what was in it is gone.
const LOOKS: u32 = 16;

/// How many checkpoints are kept: the newest, and one to fall back to.
const KEPT: usize = 2;

/// Where an attempt saves its state, as the engine tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointPlace {
    /// The folder of all checkpoints of the project.
    pub root: PathBuf,
    /// The stage's fingerprint.
    pub fingerprint: Fingerprint,
    /// Which computation the attempt belongs to.
    pub line: Line,
}

/// Which computations of a stage may go on from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// All of them: what is recorded of the fingerprint may be reused.
    Shared,
    /// Those of the run: nothing of other runs may be reused (`--no-cache`, `cache: false`).
    Run,
    /// The attempts of the run from this one on: the stage is computed anew (`--force`).
    Since(u32),
}

impl Line {
    const SHARED: &str = "shared";

    /// The name of its folder.
    fn folder(self, run: &RunId) -> String {
        match self {
            Line::Shared => Self::SHARED.to_owned(),
            Line::Run => run.to_string(),
            Line::Since(attempt) => format!("{run}-{attempt}"),
        }
    }

    /// Whether a folder of this name is of `run` alone.
    fn is_of(folder: &str, run: &RunId) -> bool {
        let rest = folder.strip_prefix(run.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

impl CheckpointPlace {
    /// The folder that attempts of `run` write to.
    pub fn folder(&self, run: &RunId) -> PathBuf {
        self.all_lines().join(self.line.folder(run))
    }

    /// The folders of other lines whose checkpoints are as good, for attempts of `run`: equal
    /// fingerprints give equal states, whoever computes them.
    fn others(&self, run: &RunId) -> Vec<PathBuf> {
        let own = self.folder(run);
        let lines = fs::read_dir(self.all_lines()).into_iter().flatten().flatten();
        let lines = lines.map(|line| line.path()).filter(|line| *line != own);
        let of_run = |line: &PathBuf| {
            line.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| Line::is_of(name, run))
        };
        match self.line {
            Line::Shared => lines.collect(),
            Line::Run => lines.filter(of_run).collect(),
            Line::Since(_) => Vec::new(),
        }
    }

    /// The folder of every line of the fingerprint.
    fn all_lines(&self) -> PathBuf {
        self.root.join(self.fingerprint.to_string())
    }
}

/// What went wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file system refused.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not a whole checkpoint of this stage.
    #[error("the checkpoint {} cannot be used: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The state is larger than a checkpoint may be.
    #[error("a checkpoint has at most {} bytes, and this state has {bytes}", file::MAX_BYTES)]
    TooLarge {
        /// The state's size.
        bytes: u64,
    },
}

impl CheckpointError {
    fn io<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io { verb, path: path.to_owned(), source }
    }
}

/// A state that was saved, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// How far the attempt was.
    pub step: u64,
    /// The run of the attempt that saved it.
    pub run: RunId,
    /// The attempt that saved it.
    pub attempt: u32,
    /// The state.
    pub state: Vec<u8>,
}

/// The checkpoints of one attempt's stage: those that it finds, and those that it saves.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    place: CheckpointPlace,
    folder: PathBuf,
    run: RunId,
    attempt: u32,
    token: Token,
}

impl Checkpoints {
    /// Those of the attempt `assignment`; `None` if it has no place for any.
    pub fn of(assignment: &Assignment) -> Option<Self> {
        let place = assignment.checkpoints.clone()?;
        Some(Self {
            folder: place.folder(&assignment.run),
            place,
            run: assignment.run.clone(),
            attempt: assignment.attempt,
            token: assignment.token,
        })
    }

    /// What was saved before, newest first. Each file is read and checked when its turn comes: an
    /// error is one that cannot be used, and the next is the one before it.
    pub fn saved(&self) -> Saved {
        let files = self.files();
        Saved { checkpoints: self.clone(), files, tried: Vec::new(), looks: LOOKS }
    }

    /// Saves `state` as that of `step`. When this returns it is on the disk.
    ///
    /// # Errors
    /// If the file system refuses, or the state is too large. What was saved before stays.
    pub fn save(&self, step: u64, state: &[u8]) -> Result<(), CheckpointError> {
        let bytes = state.len() as u64;
        if bytes > file::MAX_BYTES {
            return Err(CheckpointError::TooLarge { bytes });
        }
        self.make_folder()?;
        let header = Header {
            fingerprint: self.place.fingerprint,
            step,
            run: self.run.clone(),
            attempt: self.attempt,
            bytes,
        };
        // The token tells apart the files of attempts that write the same step at once.
        let partial = self.folder.join(format!("{step}.{:x}.{PARTIAL}", self.token.0));
        let path = self.folder.join(format!("{step}.{EXTENSION}"));
        let written = write_locked(&partial, &header, state)
            .map_err(CheckpointError::io("write", &partial))
            .and_then(|held| {
                // Held until it has its name, so that nobody takes it for a dead attempt's.
                let renamed = fs::rename(&partial, &path);
                drop(held);
                renamed.map_err(CheckpointError::io("write", &path))
            });
        if written.is_err() {
            // A full disk is not to be kept full.
            let _ = fs::remove_file(&partial);
            return written;
        }
        sync_folder(&self.folder)?;
        self.prune(step);
        Ok(())
    }

    /// Makes the folder, and lets it survive a power cut as its files do.
    fn make_folder(&self) -> Result<(), CheckpointError> {
        if self.folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder).map_err(CheckpointError::io("make", &self.folder))?;
        let lines = self.place.all_lines();
        [lines.as_path(), self.place.root.as_path()].into_iter().try_for_each(sync_folder)
    }

    /// Removes what is no longer needed beside the checkpoint of `step`. That something cannot be
    /// removed is in nobody's way.
    ///
    /// Files of later steps are there when they could not be used, or when another attempt is
    /// ahead. Neither may cost this one its own: so they are counted apart.
    fn prune(&self, step: u64) {
        let mut files = numbered(&self.folder);
        files.sort_unstable();
        let split = files.partition_point(|(found, _)| *found <= step);
        for side in [&files[..split], &files[split..]] {
            for (_, path) in &side[..side.len().saturating_sub(KEPT)] {
                let _ = fs::remove_file(path);
            }
        }
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == PARTIAL) && is_abandoned(&path)
            {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// All files that are named like checkpoints this attempt may go on from, oldest first.
    fn files(&self) -> Vec<(u64, PathBuf)> {
        let mut files = numbered(&self.folder);
        files.extend(self.place.others(&self.run).iter().flat_map(|line| numbered(line)));
        files.sort_unstable();
        files
    }
}

/// The checkpoints that there are, newest first.
#[derive(Debug)]
pub struct Saved {
    checkpoints: Checkpoints,
    /// What is still to be read, oldest first.
    files: Vec<(u64, PathBuf)>,
    tried: Vec<PathBuf>,
    /// How often the folder may be looked at again.
    looks: u32,
}

impl Iterator for Saved {
    type Item = Result<Checkpoint, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (step, path) = self.files.pop()?;
            self.tried.push(path.clone());
            match read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.looks == 0 => {}
                // Another attempt has just removed it, having saved newer ones.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.looks -= 1;
                    self.files = self.checkpoints.files();
                    self.files.retain(|(_, path)| !self.tried.contains(path));
                }
                Err(error) => return Some(Err(CheckpointError::io("read", &path)(error))),
                Ok(read) => {
                    let fingerprint = &self.checkpoints.place.fingerprint;
                    let checked = read.and_then(|bytes| file::decode(bytes, fingerprint, step));
                    return Some(checked.map_err(|damage| CheckpointError::Damaged {
                        path,
                        reason: damage.to_string(),
                    }));
                }
            }
        }
    }
}

/// The bytes of a file that could be a checkpoint.
fn read(path: &Path) -> io::Result<Result<Vec<u8>, Damage>> {
    let metadata = fs::symlink_metadata(path)?;
    Ok(if !metadata.is_file() {
        Err(Damage::Strange)
    } else if metadata.len() > file::MAX_FILE {
        Err(Damage::TooLarge(metadata.len()))
    } else {
        Ok(fs::read(path)?)
    })
}

/// The files of `folder` that are named like checkpoints, with their steps.
fn numbered(folder: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.')?;
            let step: u64 = name.parse().ok()?;
            // One name for each step.
            (step.to_string() == name).then_some((step, path))
        })
        .collect()
}

/// Whether nobody writes this file any more. Who does holds it locked; the system drops the lock
/// of a process that is gone.
fn is_abandoned(path: &Path) -> bool {
    let Ok(file) = fs::File::open(path) else { return false };
    let age = file.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
    age.is_ok_and(|age| age.is_ok_and(|age| age > YOUNG)) && file.try_lock().is_ok()
}

/// Writes and flushes a checkpoint, and hands back its file, which is locked.
fn write_locked(path: &Path, header: &Header, state: &[u8]) -> io::Result<fs::File> {
    let mut file = fs::File::create(path)?;
    file.lock()?;
    file::encode(&mut file, header, state)?;
    file.sync_all()?;
    Ok(file)
}

fn sync_folder(folder: &Path) -> Result<(), CheckpointError> {
    fs::File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(CheckpointError::io("flush", folder))
}

#[cfg(test)]
mod tests;
