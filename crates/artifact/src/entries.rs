//! What lies in the folder, and the removal of what nobody needs.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use wick_core::Digest;

use crate::error::{ArtifactError, ArtifactResult};
use crate::folder::{Links, walk};
use crate::seal::unprotect_folder;
use crate::store::ArtifactStore;
use crate::used::{last_use, since};
use crate::workspace::remove;

/// An artifact in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalEntry {
    /// Its name.
    pub digest: Digest,
    /// How many bytes its files have.
    pub bytes: u64,
    /// When it was last used, as far as that was noted.
    pub last_use: SystemTime,
}

impl LocalEntry {
    /// For how long it was not used.
    pub fn unused(&self) -> Duration {
        since(self.last_use)
    }
}

impl ArtifactStore {
    /// All artifacts in the folder, by digest. What does not bear such a name is passed over.
    ///
    /// # Errors
    /// If the folder cannot be listed. What disappears meanwhile is no error.
    pub fn entries(&self) -> ArtifactResult<Vec<LocalEntry>> {
        let mut entries = Vec::new();
        for shelf in names(&self.root)? {
            let is_shelf = shelf.len() == 2 && shelf.bytes().all(|byte| byte.is_ascii_hexdigit());
            let path = self.root.join(&shelf);
            if !is_shelf || !path.is_dir() {
                continue;
            }
            for name in names(&path)? {
                let Ok(digest) = name.parse::<Digest>() else { continue };
                let path = path.join(&name);
                // Written in capitals, or on a strange shelf, it is none of ours.
                if self.path(&digest) != path {
                    continue;
                }
                match size(&path) {
                    Ok(Some((bytes, last_use))) => {
                        entries.push(LocalEntry { digest, bytes, last_use })
                    }
                    Ok(None) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        entries.sort_unstable_by_key(|entry| entry.digest);
        Ok(entries)
    }

    /// How many bytes an artifact in the folder has; `None` if it is not there.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn size_here(&self, digest: &Digest) -> ArtifactResult<Option<u64>> {
        Ok(size(&self.path(digest))?.map(|(bytes, _)| bytes))
    }

    /// Removes an artifact from the folder if it was not used for `unused_for` and nobody holds
    /// it. Returns whether it did. Elsewhere it stays.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn remove_here(&self, digest: &Digest, unused_for: Duration) -> ArtifactResult<bool> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(ArtifactError::io("open", &path)(error)),
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        // Once more, just before: it may have been used since it was listed.
        let metadata = file.metadata().map_err(ArtifactError::io("read", &path))?;
        if since(last_use(&metadata)) < unused_for {
            return Ok(false);
        }
        if metadata.is_dir() {
            unprotect_folder(&path)?;
        }
        // Out of sight in one step: a process that dies in the middle leaves no half artifact,
        // but something in `tmp/` that is swept.
        let aside = self.workspace()?.fresh_path();
        match fs::rename(&path, &aside) {
            Ok(()) => remove(&aside).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ArtifactError::io("remove", &path)(error)),
        }
    }
}

/// The names in a folder; none if it is not there. Those that are not UTF-8 are none of ours.
fn names(folder: &Path) -> ArtifactResult<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ArtifactError::io("list", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(ArtifactError::io("list", folder))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// The bytes of an entry, and when it was last used; `None` if it is gone.
pub(crate) fn size(path: &Path) -> ArtifactResult<Option<(u64, SystemTime)>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ArtifactError::io("read", path)(error)),
    };
    if !metadata.is_dir() {
        return Ok(Some((metadata.len(), last_use(&metadata))));
    }
    // What cannot be walked was not put by the store, or goes away right now.
    let bytes = walk(path, Links::Refuse)
        .map_or(0, |found| found.files.iter().map(|file| file.metadata.len()).sum());
    Ok(Some((bytes, last_use(&metadata))))
}
