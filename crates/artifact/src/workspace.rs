//! Where entries are made before they get their names.
//!
//! Each process has a folder of its own under `tmp/`, with a file in it that the process holds
//! locked. The system drops the lock when the process ends, however it ends: so what a dead
//! process left is told apart from what a living one is writing, without pids or ages.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::error::{ArtifactError, ArtifactResult};
use crate::seal::unprotect_folder;

const LOCK: &str = "lock";

/// A folder this young may not have its lock yet.
const YOUNG: Duration = Duration::from_secs(60);

/// Folders of this process, so that two stores in one process do not share one.
static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// A folder under `tmp/` that belongs to this process.
#[derive(Debug)]
pub(crate) struct Workspace {
    folder: PathBuf,
    next: AtomicU64,
    _lock: File,
}

impl Workspace {
    /// Makes a folder in `tmp`.
    pub(crate) fn create(tmp: &Path) -> ArtifactResult<Self> {
        let pid = std::process::id();
        loop {
            let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
            let folder = tmp.join(format!("{pid}-{number}"));
            match fs::create_dir(&folder) {
                Ok(()) => {}
                // An earlier process with this pid left it.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(ArtifactError::io("make", &folder)(error)),
            }
            let path = folder.join(LOCK);
            let lock = File::create(&path).map_err(ArtifactError::io("make", &path))?;
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
                .map_err(ArtifactError::os("lock", &path))?;
            return Ok(Self { folder, next: AtomicU64::new(0), _lock: lock });
        }
    }

    /// A path in the folder that nothing has yet.
    pub(crate) fn fresh_path(&self) -> PathBuf {
        self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        let _ = remove(&self.folder);
    }
}

/// Removes what dead processes left in `tmp`; returns how many folders that were.
pub(crate) fn sweep(tmp: &Path) -> ArtifactResult<usize> {
    let mut swept = 0;
    let entries = match fs::read_dir(tmp) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(ArtifactError::io("list", tmp)(error)),
    };
    for entry in entries {
        let folder = entry.map_err(ArtifactError::io("list", tmp))?.path();
        if is_abandoned(&folder) {
            remove(&folder)?;
            swept += 1;
        }
    }
    Ok(swept)
}

fn is_abandoned(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(_) => {
            let age = fs::metadata(folder).and_then(|metadata| metadata.modified());
            age.ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > YOUNG)
        }
    }
}

/// Removes a file or a folder, read-only or not; it need not be there.
pub(crate) fn remove(path: &Path) -> ArtifactResult<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ArtifactError::io("read", path)(error)),
    };
    let removed = if metadata.is_dir() {
        unprotect_all(path)?;
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(ArtifactError::io("remove", path))
}

/// Lets a folder and those in it be emptied. Whatever else lies in them: links are not followed.
fn unprotect_all(folder: &Path) -> ArtifactResult<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        unprotect_folder(&folder)?;
        for entry in fs::read_dir(&folder).map_err(ArtifactError::io("list", &folder))? {
            let entry = entry.map_err(ArtifactError::io("list", &folder))?;
            let kind = entry.file_type().map_err(ArtifactError::io("read", &folder))?;
            folders.extend(kind.is_dir().then(|| entry.path()));
        }
    }
    Ok(())
}
