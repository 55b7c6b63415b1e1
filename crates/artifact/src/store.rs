//! The folder of artifacts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::SystemTime;

use wick_core::{Digest, PortType};

use crate::cache::Cache;
use crate::error::{ArtifactError, ArtifactResult};
use crate::folder::{Links, describe, digest_file, digest_found, walk};
use crate::remote::Remote;
use crate::seal::{is_sealed, protect_folder, reseal, unprotect_folder};
use crate::take::{copy, seal_file, seal_folder, seal_folders, sync_folder, take};
use crate::used;
use crate::workspace::{Workspace, remove, sweep};

const TMP: &str = "tmp";
pub(crate) const QUARANTINE: &str = "quarantine";

/// Whether an artifact is one file or one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One file.
    File,
    /// One folder.
    Folder,
}

impl Form {
    const fn words(self) -> &'static str {
        match self {
            Form::File => "a file",
            Form::Folder => "a folder",
        }
    }
}

impl From<PortType> for Form {
    fn from(port_type: PortType) -> Self {
        if port_type.is_folder() { Form::Folder } else { Form::File }
    }
}

/// An artifact that is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub digest: Digest,
    /// How many bytes its files have.
    pub bytes: u64,
}

/// A folder of artifacts, alone or as the cache of a [`Remote`]. Any number of processes may use
/// one folder at a time.
#[derive(Debug)]
pub struct ArtifactStore {
    pub(crate) root: PathBuf,
    /// Made at the first put: who only reads leaves no trace.
    workspace: Mutex<Option<Arc<Workspace>>>,
    pub(crate) remote: Option<Arc<Remote>>,
    pub(crate) cache: Cache,
}

impl ArtifactStore {
    /// The store in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> ArtifactResult<Self> {
        let root = folder.into();
        let tmp = root.join(TMP);
        fs::create_dir_all(&tmp).map_err(ArtifactError::io("make", &tmp))?;
        Ok(Self { root, workspace: Mutex::new(None), remote: None, cache: Cache::new(None) })
    }

    /// The same folder as the cache of `remote`. What is put goes there too, and what is not in
    /// the folder is fetched. When the folder is larger than `cache_bytes`, what was not used for
    /// the longest time is removed from it, if it is in the remote and nobody holds it.
    #[must_use]
    pub fn with_remote(mut self, remote: Arc<Remote>, cache_bytes: u64) -> Self {
        self.cache = Cache::new(Some(cache_bytes));
        self.remote = Some(remote);
        self
    }

    /// The remote behind the folder.
    pub const fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.as_ref()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// Where the artifact `digest` is, or would be. The bytes there are not checked: see
    /// [`open_verified`](Self::open_verified).
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(&name[..2]).join(name)
    }

    /// Whether the folder has an artifact `digest`.
    pub fn contains(&self, digest: &Digest) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok()
    }

    /// Takes the file or folder at `path` into the store and returns its name. It is moved, not
    /// copied, where that is possible; afterwards `path` is gone. When this returns, the
    /// artifact is on the disk, and in the remote, if there is one. Putting equal content again
    /// changes nothing.
    ///
    /// # Errors
    /// If `path` is not of `form`; if a folder holds links, devices, names that are not UTF-8,
    /// or more than the store takes; if the file system or the remote refuses. The store is then
    /// as it was, or has the artifact in its folder alone; what was at `path` may be gone.
    pub fn put(&self, path: &Path, form: impl Into<Form>) -> ArtifactResult<Stored> {
        let stored = self.put_here(path, form.into(), take)?;
        self.share(&stored.digest, stored.bytes)?;
        Ok(stored)
    }

    /// Like [`put`](Self::put), but leaves what is at `path` as it is.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn put_copy(&self, path: &Path, form: impl Into<Form>) -> ArtifactResult<Stored> {
        let stored = self.put_here(path, form.into(), copy)?;
        self.share(&stored.digest, stored.bytes)?;
        Ok(stored)
    }

    /// Puts the file or folder at `path`, which `bring` takes or copies, into the folder.
    fn put_here(
        &self,
        path: &Path,
        form: Form,
        bring: fn(&Path, &Path, &fs::Metadata) -> ArtifactResult<()>,
    ) -> ArtifactResult<Stored> {
        let metadata = fs::symlink_metadata(path).map_err(ArtifactError::io("read", path))?;
        let found = if metadata.is_dir() {
            Some(Form::Folder)
        } else {
            metadata.is_file().then_some(Form::File)
        };
        if found != Some(form) {
            return Err(ArtifactError::Form {
                path: path.to_owned(),
                found: describe(&metadata),
                expected: form.words(),
            });
        }
        // Refused before anything moves, so that whoever mends it finds it in its place.
        if form == Form::Folder {
            walk(path, Links::Refuse)?;
        }
        let workspace = self.workspace()?;
        let held = workspace.fresh_path();
        let stored = bring(path, &held, &metadata).and_then(|()| self.put_held(&held, form));
        if stored.is_err() {
            // The first error is the one to tell; what stays behind is swept later.
            let _ = remove(&held);
        }
        stored
    }

    /// Puts what nobody else can reach any more.
    fn put_held(&self, held: &Path, form: Form) -> ArtifactResult<Stored> {
        let (digest, bytes) = match form {
            Form::File => seal_file(held)?,
            Form::Folder => seal_folder(held)?,
        };
        self.install(held, form, &digest)?;
        Ok(Stored { digest, bytes })
    }

    /// Gives what lies sealed at `held` its name.
    pub(crate) fn install(&self, held: &Path, form: Form, digest: &Digest) -> ArtifactResult<()> {
        let place = self.path(digest);
        let parent = self.root.join(&digest.to_string()[..2]);
        if self.has_whole(digest)? {
            remove(held)?;
            // Whoever put it may not have come to this yet, or it failed.
            return sync_folder(&parent);
        }
        match fs::create_dir(&parent) {
            Ok(()) => sync_folder(&self.root)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(ArtifactError::io("make", &parent)(error)),
        }
        match fs::rename(held, &place) {
            Ok(()) => {
                if form == Form::Folder {
                    protect_folder(&place)?;
                }
            }
            // Someone else put the same folder in the meantime. (For files the rename simply
            // puts equal bytes in the place of equal bytes.)
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                remove(held)?;
            }
            Err(error) => return Err(ArtifactError::io("rename", held)(error)),
        }
        // Also when another process renamed: it may not have come to this line yet.
        sync_folder(&parent)
    }

    /// Seals and installs the files of a folder or a file that were brought to `held`, each
    /// sealed already.
    pub(crate) fn install_fetched(
        &self,
        held: &Path,
        form: Form,
        digest: &Digest,
    ) -> ArtifactResult<()> {
        if form == Form::Folder {
            seal_folders(&walk(held, Links::Refuse)?)?;
        }
        self.install(held, form, digest)
    }

    /// Whether the artifact is there and nothing speaks against it. A damaged one is moved
    /// aside, so that good bytes can take its place.
    fn has_whole(&self, digest: &Digest) -> ArtifactResult<bool> {
        match self.open_here(digest) {
            Ok(_) => Ok(true),
            Err(ArtifactError::Missing { .. } | ArtifactError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where the bytes of `digest` are, after a check that costs no reading as long as nothing
    /// was written to them since they were put; otherwise they are hashed, as by
    /// [`verify`](Self::verify). What the folder does not have is fetched from the remote. In a
    /// cache the bytes may be removed at any time: see [`hold`](Self::hold).
    ///
    /// # Errors
    /// If there is no such artifact, if it is damaged, or if it cannot be read.
    pub fn open_verified(&self, digest: &Digest) -> ArtifactResult<PathBuf> {
        self.or_fetched(digest, |store| store.open_here(digest))
    }

    /// The same in the folder alone.
    pub(crate) fn open_here(&self, digest: &Digest) -> ArtifactResult<PathBuf> {
        let path = self.path(digest);
        let metadata = self.entry(digest, &path)?;
        if !is_sealed(&path, &metadata)? {
            self.verify_here(digest)?;
        }
        used::note(&path, &metadata, self.cache.notices_after());
        Ok(path)
    }

    /// Hashes the artifact's bytes. If they are not what their name says, the entry is moved to
    /// `quarantine/` and never served again. What the folder does not have, or no longer whole, is
    /// fetched from the remote.
    ///
    /// # Errors
    /// If there is no such artifact, if it is damaged, or if it cannot be read.
    pub fn verify(&self, digest: &Digest) -> ArtifactResult<Stored> {
        self.or_fetched(digest, |store| store.verify_here(digest))
    }

    /// The same in the folder alone.
    ///
    /// # Errors
    /// If the folder has no such artifact, if it is damaged, or if it cannot be read.
    pub fn verify_here(&self, digest: &Digest) -> ArtifactResult<Stored> {
        let path = self.path(digest);
        let metadata = self.entry(digest, &path)?;
        let (content, found) = if metadata.is_dir() {
            match walk(&path, Links::Refuse) {
                Ok(found) => (digest_found(&found)?, Some(found)),
                // A link in an artifact was not put by the store. No digest describes it.
                Err(ArtifactError::Special { .. } | ArtifactError::Name { .. }) => {
                    ((Digest::from_bytes([0; 32]), 0), None)
                }
                Err(error) => return Err(error),
            }
        } else if metadata.is_file() {
            (digest_file(&path)?, None)
        } else {
            ((Digest::from_bytes([0; 32]), 0), None)
        };
        let (actual, bytes) = content;
        if actual != *digest {
            let moved_to = self.quarantine(digest, &path, &metadata)?;
            return Err(ArtifactError::Damaged { digest: *digest, found: actual, moved_to });
        }
        if !is_sealed(&path, &metadata)? {
            // Only its owner can seal it again; for others it is hashed each time.
            let _ = reseal(&path, found.as_ref());
        }
        Ok(Stored { digest: *digest, bytes })
    }

    /// Removes what processes that died left behind while they put something; returns how
    /// many they were. Call it now and then, when an engine starts.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn sweep(&self) -> ArtifactResult<usize> {
        sweep(&self.root.join(TMP))
    }

    fn entry(&self, digest: &Digest, path: &Path) -> ArtifactResult<fs::Metadata> {
        fs::symlink_metadata(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ArtifactError::Missing { digest: *digest },
            _ => ArtifactError::io("read", path)(error),
        })
    }

    fn quarantine(
        &self,
        digest: &Digest,
        path: &Path,
        metadata: &fs::Metadata,
    ) -> ArtifactResult<PathBuf> {
        let folder = self.root.join(QUARANTINE);
        fs::create_dir_all(&folder).map_err(ArtifactError::io("make", &folder))?;
        let nanos = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos());
        let aside = folder.join(format!("{digest}-{nanos}"));
        if metadata.is_dir() {
            unprotect_folder(path)?;
        }
        match fs::rename(path, &aside) {
            Ok(()) => {}
            // Another process moved it first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ArtifactError::io("move aside", path)(error)),
        }
        Ok(aside)
    }

    pub(crate) fn workspace(&self) -> ArtifactResult<Arc<Workspace>> {
        // A panic elsewhere leaves an Option that is whole all the same.
        let mut workspace = self.workspace.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(workspace) = &*workspace {
            return Ok(Arc::clone(workspace));
        }
        let made = Arc::new(Workspace::create(&self.root.join(TMP))?);
        *workspace = Some(Arc::clone(&made));
        Ok(made)
    }
}
