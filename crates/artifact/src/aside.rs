//! What was set aside because its bytes were no longer what its name says.
//!
//! It lies in `quarantine/` for a person to look at: what has happened to it may tell of a disk
//! that fails. Nothing reads it again, so in time it may go.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use wick_core::Digest;

use crate::entries::size;
use crate::error::{ArtifactError, ArtifactResult};
use crate::store::{ArtifactStore, QUARANTINE};
use crate::used::since;
use crate::workspace::remove;

/// What was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// What it should have been.
    pub digest: Digest,
    /// Where it lies.
    pub path: PathBuf,
    /// How many bytes its files have.
    pub bytes: u64,
    /// When it was set aside.
    pub time: SystemTime,
}

impl Aside {
    /// For how long it has lain there.
    pub fn age(&self) -> Duration {
        since(self.time)
    }
}

impl ArtifactStore {
    /// What was set aside in the folder, the oldest first. What bears another name than such is
    /// passed over.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn set_aside(&self) -> ArtifactResult<Vec<Aside>> {
        let folder = self.folder().join(QUARANTINE);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ArtifactError::io("list", &folder)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(ArtifactError::io("list", &folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some((digest, time)) = name.and_then(meaning) else { continue };
            if let Some((bytes, _)) = size(&path)? {
                found.push(Aside { digest, path, bytes, time });
            }
        }
        found.sort_unstable_by(|a, b| (a.time, &a.path).cmp(&(b.time, &b.path)));
        Ok(found)
    }

    /// Removes for good what was set aside.
    ///
    /// # Errors
    /// If the file system refuses. That it is gone already is no error.
    pub fn remove_aside(&self, aside: &Aside) -> ArtifactResult<()> {
        remove(&aside.path)
    }
}

/// What the name of something set aside says: its digest, and the nanoseconds since 1970.
fn meaning(name: &str) -> Option<(Digest, SystemTime)> {
    let (digest, nanos) = name.rsplit_once('-')?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos.parse().ok()?))?;
    Some((digest.parse().ok()?, time))
}
