//! Which experiment stores name artifacts of a place.
//!
//! Two stores may keep their artifacts in one place: two databases of a project, two projects with
//! one bucket. Who clears up for one of them must not take what another needs. So each store
//! leaves a note in the places that it uses: a file, or an object, that says which it is.

use std::fs;
use std::io;
use std::path::PathBuf;

use wick_core::Digest;

use crate::error::{ArtifactError, ArtifactResult};
use crate::store::ArtifactStore;

const USERS: &str = "users";

/// A note is at most so long.
const MAX_NOTE: u64 = 8192;

/// A store that uses a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Which it is.
    pub name: String,
    /// The file or object that says so.
    pub note: String,
}

/// What the note of a store is called.
pub(crate) fn note_name(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()[..32].to_owned()
}

impl ArtifactStore {
    /// Notes that the store which this machine calls `name`, and all machines call `everywhere`,
    /// uses the folder, and the remote, if there is one. Costs nothing where that was noted before.
    ///
    /// # Errors
    /// If it cannot be noted.
    pub fn note_user(&self, name: &str, everywhere: &str) -> ArtifactResult<()> {
        let path = self.note(name);
        // The note in the folder is written when that in the remote is.
        let content = match &self.remote {
            None => name.to_owned(),
            Some(remote) => format!("{name}\n{everywhere} in {}", remote.place()),
        };
        if fs::read_to_string(&path).is_ok_and(|there| there == content) {
            return Ok(());
        }
        if let Some(remote) = &self.remote {
            remote.note_user(everywhere)?;
        }
        let folder = self.root.join(USERS);
        fs::create_dir_all(&folder).map_err(ArtifactError::io("make", &folder))?;
        fs::write(&path, content).map_err(ArtifactError::io("write", &path))
    }

    /// The stores that use the folder.
    ///
    /// # Errors
    /// If the notes cannot be read.
    pub fn users(&self) -> ArtifactResult<Vec<User>> {
        let folder = self.root.join(USERS);
        let notes = match fs::read_dir(&folder) {
            Ok(notes) => notes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ArtifactError::io("list", &folder)(error)),
        };
        let mut users = Vec::new();
        for note in notes {
            let path = note.map_err(ArtifactError::io("list", &folder))?.path();
            let length = fs::metadata(&path).map_err(ArtifactError::io("read", &path))?.len();
            if length > MAX_NOTE {
                continue;
            }
            let content = fs::read_to_string(&path).map_err(ArtifactError::io("read", &path))?;
            let name = content.lines().next().unwrap_or_default().to_owned();
            users.push(User { name, note: path.display().to_string() });
        }
        users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }

    fn note(&self, name: &str) -> PathBuf {
        self.root.join(USERS).join(note_name(name))
    }
}
