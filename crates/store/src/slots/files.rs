//! Units as locked files, in a folder beside the store: `store.db-slots/slot-database.0`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use wick_core::RunId;

use super::{Key, dying};

/// What is added to the name of the store for the folder.
const SUFFIX: &str = "-slots";

/// Longer than any id of a run.
const MAX_HOLDER: u64 = 256;

/// The folder of locked files.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    /// The folder beside the store in the file `path`, whatever name that is given.
    pub(super) fn beside(path: &Path) -> Self {
        let mut name = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
        name.push(SUFFIX);
        Self { folder: name.into() }
    }

    /// The file, locked until it is closed; `None` while another has it, in this process or any
    /// other, or what another had started with it still ends. Files are never removed: what was
    /// locked is what others look at.
    pub(super) fn try_lock(&self, key: Key<'_>, run: &RunId) -> io::Result<Option<File>> {
        let path = self.folder.join(key.to_string());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.folder)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if key.unit.is_some() {
            // Whoever gave it back has left nothing here.
            let own = dying::mark(run);
            let left = read(&mut file);
            if !left.is_empty() && left != own && dying::is_supervised(&left) {
                return Ok(None);
            }
            // For those who wait, and those who come when this process has died. That it cannot be
            // written hurts nobody.
            let _ = file.set_len(0);
            let _ = file.rewind().and_then(|()| file.write_all(own.as_bytes()));
        }
        Ok(Some(file))
    }

    /// The run that has locked the file, or had it last.
    pub(super) fn holder(&self, key: Key<'_>) -> Option<RunId> {
        let mut file = File::open(self.folder.join(key.to_string())).ok()?;
        let is_free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        let left = read(&mut file);
        // One that nobody has is nobody's, whatever stands in it, but for a moment.
        if is_free && !dying::is_supervised(&left) {
            return None;
        }
        left.split('.').next()?.parse().ok()
    }
}

/// What stands in a file: the [mark](dying::mark) of who had it last, or nothing.
fn read(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.take(MAX_HOLDER).read_to_string(&mut text);
    text
}
