//! How an entry of the store shows that nobody wrote to it since it was put.
//!
//! Hashing a large dataset again each time a stage reads it would cost more than many stages.
//! Instead every file and folder of an entry gets one fixed modification time when it is put.
//! Whatever writes to a file, or adds or removes one, gives it another time; then the entry is
//! hashed before it is used. There is no second file that could disagree with the first, and a
//! store copied without its times is hashed once and sealed again.
//!
//! A disk that loses bits behind the system's back leaves the time alone;
//! [`verify`](crate::ArtifactStore::verify) finds that too, for it always reads the bytes.

use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Timespec, Timestamps};

use crate::error::{ArtifactError, ArtifactResult};
use crate::folder::{Found, Links, walk};

/// 2001-01-01 and some nanoseconds that no clock is likely to give. A file system that keeps
/// whole seconds never shows them, so there nothing counts as sealed and all is hashed.
const SEAL: Timespec = Timespec { tv_sec: 978_307_200, tv_nsec: 202_607_131 };

const ANY_WRITE: u32 = 0o222;
const ALL_READ: u32 = 0o444;

fn has_seal(metadata: &Metadata) -> bool {
    metadata.mtime() == SEAL.tv_sec && metadata.mtime_nsec() == SEAL.tv_nsec
}

/// Makes an open file or folder read-only, gives it the seal, and flushes it.
pub(crate) fn seal(file: &File, path: &Path) -> ArtifactResult<()> {
    let metadata = file.metadata().map_err(ArtifactError::io("read", path))?;
    let mode = (metadata.mode() & 0o777 & !ANY_WRITE) | ALL_READ;
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(ArtifactError::io("protect", path))?;
    seal_time(file, path)
}

/// Gives an open file or folder the seal and flushes it, but leaves it writable: who moves a
/// folder must be allowed to write to it.
pub(crate) fn seal_time(file: &File, path: &Path) -> ArtifactResult<()> {
    rustix::fs::futimens(file, &Timestamps { last_access: SEAL, last_modification: SEAL })
        .map_err(ArtifactError::os("set the time of", path))?;
    file.sync_all().map_err(ArtifactError::io("flush", path))
}

/// Makes a folder read-only.
pub(crate) fn protect_folder(path: &Path) -> ArtifactResult<()> {
    fs::set_permissions(path, Permissions::from_mode(0o555))
        .map_err(ArtifactError::io("protect", path))
}

/// Makes a folder writable for its owner, so that it can be moved or emptied.
pub(crate) fn unprotect_folder(path: &Path) -> ArtifactResult<()> {
    fs::set_permissions(path, Permissions::from_mode(0o755))
        .map_err(ArtifactError::io("make writable", path))
}

/// Whether every part of the entry at `path` still has its seal.
pub(crate) fn is_sealed(path: &Path, metadata: &Metadata) -> ArtifactResult<bool> {
    if !metadata.is_dir() {
        return Ok(has_seal(metadata));
    }
    // A link or a pipe that someone put there is an error of the walk; it also means that the
    // folder was written to, so let the verification say what is wrong.
    let Ok(found) = walk(path, Links::Refuse) else { return Ok(false) };
    for folder in &found.folders {
        let metadata = fs::symlink_metadata(folder).map_err(ArtifactError::io("read", folder))?;
        if !has_seal(&metadata) {
            return Ok(false);
        }
    }
    Ok(found.files.iter().all(|file| has_seal(&file.metadata)))
}

/// Seals again an entry whose bytes were found to be right.
pub(crate) fn reseal(path: &Path, found: Option<&Found>) -> ArtifactResult<()> {
    let each = |path: &Path| {
        let file = File::open(path).map_err(ArtifactError::io("open", path))?;
        seal(&file, path)
    };
    match found {
        None => each(path),
        Some(found) => {
            found.files.iter().try_for_each(|file| each(&file.path))?;
            found.folders.iter().try_for_each(|folder| each(folder))
        }
    }
}
