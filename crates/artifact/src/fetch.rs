//! What a store does that is the cache of a remote: share, fetch, hold.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use wick_core::Digest;

use crate::error::{ArtifactError, ArtifactResult};
use crate::store::{ArtifactStore, Form};
use crate::workspace::remove;

/// How often an entry is fetched again that others remove from the cache before it is held.
const MAX_FETCHES: u32 = 8;

/// This much room is left on the disk.
const SPARE_BYTES: u64 = 16 << 20;

/// An artifact that stays where it is as long as this lives.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    /// Locked, so that no process clears it from the cache. Without a remote nothing is cleared.
    _lock: Option<File>,
}

impl Held {
    /// Where its bytes are.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl ArtifactStore {
    /// Sees to it that the remote, if there is one, has the artifact that was put into the folder,
    /// of so many bytes.
    ///
    /// # Errors
    /// If the folder does not have it, or the remote cannot be written to.
    pub fn share(&self, digest: &Digest, bytes: u64) -> ArtifactResult<()> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let path = self.path(digest);
        let form = form_of(&self.open_here(digest)?)?;
        match remote.upload(digest, &path, form) {
            Ok(()) => {}
            // Where the bytes have changed behind the store's back, that is what to tell.
            Err(error @ ArtifactError::Io { .. }) => {
                self.verify_here(digest)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        self.cache_grew(bytes, digest);
        Ok(())
    }

    /// Whether the artifact can be had, from the folder or the remote. What is in the folder alone
    /// is brought to the remote, so that whoever is told of it elsewhere finds it.
    ///
    /// # Errors
    /// If the remote does not tell. What the folder cannot read counts as not there.
    pub fn is_there(&self, digest: &Digest) -> ArtifactResult<bool> {
        let here = self.open_here(digest).is_ok();
        match &self.remote {
            None => Ok(here),
            Some(remote) => match remote.has(digest) {
                Ok(false) if here => self.share(digest, 0).map(|()| true),
                // It was set aside: as good as not there.
                Err(ArtifactError::RemoteDamaged { .. }) => Ok(false),
                there => there,
            },
        }
    }

    /// Asks the remote, if there is one, for many artifacts at once:
    /// [`is_there`](Self::is_there) then knows of those that it has.
    ///
    /// # Errors
    /// If the remote cannot be asked.
    pub fn look_for(&self, digests: &[Digest]) -> ArtifactResult<()> {
        self.remote.as_ref().map_or(Ok(()), |remote| remote.look_for(digests))
    }

    /// Whether all of these can be had.
    ///
    /// # Errors
    /// As [`is_there`](Self::is_there).
    pub fn are_there(&self, digests: &[Digest]) -> ArtifactResult<bool> {
        self.look_for(digests)?;
        for digest in digests {
            if !self.is_there(digest)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The artifact, fetched where it is not here, kept from being cleared from the cache.
    ///
    /// # Errors
    /// As [`open_verified`](Self::open_verified).
    pub fn hold(&self, digest: &Digest) -> ArtifactResult<Held> {
        if self.remote.is_none() {
            return Ok(Held { path: self.open_verified(digest)?, _lock: None });
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let path = self.open_verified(digest)?;
            match lock_entry(&path) {
                Ok(Some(lock)) => return Ok(Held { path, _lock: Some(lock) }),
                Ok(None) if tries < MAX_FETCHES => {}
                Ok(None) => return Err(ArtifactError::Missing { digest: *digest }),
                Err(error) => return Err(ArtifactError::io("lock", &path)(error)),
            }
        }
    }

    /// What `look` finds in the folder; if it is not there, or damaged, after it was fetched.
    pub(crate) fn or_fetched<T>(
        &self,
        digest: &Digest,
        look: impl Fn(&Self) -> ArtifactResult<T>,
    ) -> ArtifactResult<T> {
        match (look(self), &self.remote) {
            (Err(ArtifactError::Missing { .. } | ArtifactError::Damaged { .. }), Some(_)) => {
                self.fetch(digest)?;
                look(self)
            }
            (found, _) => found,
        }
    }

    /// Brings an artifact from the remote into the folder.
    fn fetch(&self, digest: &Digest) -> ArtifactResult<()> {
        let Some(remote) = &self.remote else {
            return Err(ArtifactError::Missing { digest: *digest });
        };
        // One at a time: of a fan that reads the same, the first fetches it for all.
        let turn = self.root.join("tmp").join(format!("{digest}.fetch"));
        let lock = File::create(&turn).map_err(ArtifactError::io("make", &turn))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(ArtifactError::os("lock", &turn))?;
        if self.open_here(digest).is_ok() {
            return Ok(());
        }
        let manifest = remote.manifest(digest)?;
        let manifest = manifest.ok_or(ArtifactError::Missing { digest: *digest })?;
        let (bytes, form) = (manifest.bytes, manifest.form());
        self.check_room(digest, bytes)?;
        let held = self.workspace()?.fresh_path();
        let installed = remote
            .download(manifest, &held)
            .and_then(|()| self.install_fetched(&held, form, digest));
        if installed.is_err() {
            // The first error is the one to tell; what stays behind is swept later.
            let _ = remove(&held);
        }
        let _ = fs::remove_file(&turn);
        installed?;
        self.cache_grew(bytes, digest);
        Ok(())
    }

    fn check_room(&self, digest: &Digest, bytes: u64) -> ArtifactResult<()> {
        let room = || {
            let disk = rustix::fs::statvfs(&self.root).ok()?;
            Some(disk.f_bavail.saturating_mul(disk.f_frsize))
        };
        let Some(free) = room() else { return Ok(()) };
        if bytes.saturating_add(SPARE_BYTES) <= free {
            return Ok(());
        }
        Err(ArtifactError::NoRoom { digest: *digest, bytes, free, path: self.root.clone() })
    }
}

fn form_of(path: &Path) -> ArtifactResult<Form> {
    let metadata = fs::symlink_metadata(path).map_err(ArtifactError::io("read", path))?;
    Ok(if metadata.is_dir() { Form::Folder } else { Form::File })
}

/// Locks an entry against being cleared; `None` if it is not there any more.
fn lock_entry(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    rustix::fs::flock(&file, FlockOperation::LockShared)?;
    // It may have been cleared, or be another one, since it was opened.
    match fs::symlink_metadata(path) {
        Ok(there) if there.ino() == file.metadata()?.ino() => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
