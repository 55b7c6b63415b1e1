//! The folder of artifacts.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::SystemTime;

use wick_core::{Digest, PortType};

use crate::error::{ArtifactError, ArtifactResult};
use crate::folder::{Links, Manifest, describe, digest_file, digest_found, digest_open_file, walk};
use crate::seal::{is_sealed, protect_folder, reseal, seal, seal_time, unprotect_folder};
use crate::workspace::{Workspace, remove, sweep};

const TMP: &str = "tmp";
const QUARANTINE: &str = "quarantine";

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

/// A folder of artifacts. Any number of processes may use one folder at a time.
#[derive(Debug)]
pub struct ArtifactStore {
    root: PathBuf,
    /// Made at the first put: who only reads leaves no trace.
    workspace: Mutex<Option<Arc<Workspace>>>,
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
        Ok(Self { root, workspace: Mutex::new(None) })
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

    /// Whether there is an artifact `digest`.
    pub fn contains(&self, digest: &Digest) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok()
    }

    /// Takes the file or folder at `path` into the store and returns its name. It is moved, not
    /// copied, where that is possible; afterwards `path` is gone. When this returns, the
    /// artifact is on the disk. Putting equal content again changes nothing.
    ///
    /// # Errors
    /// If `path` is not of `form`; if a folder holds links, devices, names that are not UTF-8,
    /// or more than the store takes; if the file system refuses. The store is then as it was;
    /// what was at `path` may be gone.
    pub fn put(&self, path: &Path, form: impl Into<Form>) -> ArtifactResult<Stored> {
        let form = form.into();
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
        let stored = take(path, &held, &metadata).and_then(|()| self.put_held(&held, form));
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
        let stored = Stored { digest, bytes };
        let place = self.path(&digest);
        let parent = self.root.join(&digest.to_string()[..2]);
        if self.has_whole(&digest)? {
            remove(held)?;
            // Whoever put it may not have come to this yet, or it failed.
            sync_folder(&parent)?;
            return Ok(stored);
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
        sync_folder(&parent)?;
        Ok(stored)
    }

    /// Whether the artifact is there and nothing speaks against it. A damaged one is moved
    /// aside, so that good bytes can take its place.
    fn has_whole(&self, digest: &Digest) -> ArtifactResult<bool> {
        match self.open_verified(digest) {
            Ok(_) => Ok(true),
            Err(ArtifactError::Missing { .. } | ArtifactError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where the bytes of `digest` are, after a check that costs no reading as long as nothing
    /// was written to them since they were put; otherwise they are hashed, as by
    /// [`verify`](Self::verify).
    ///
    /// # Errors
    /// If there is no such artifact, if it is damaged, or if it cannot be read.
    pub fn open_verified(&self, digest: &Digest) -> ArtifactResult<PathBuf> {
        let path = self.path(digest);
        let metadata = self.entry(digest, &path)?;
        if !is_sealed(&path, &metadata)? {
            self.verify(digest)?;
        }
        Ok(path)
    }

    /// Hashes the artifact's bytes. If they are not what their name says, the entry is moved to
    /// `quarantine/` and never served again.
    ///
    /// # Errors
    /// If there is no such artifact, if it is damaged, or if it cannot be read.
    pub fn verify(&self, digest: &Digest) -> ArtifactResult<Stored> {
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

    fn workspace(&self) -> ArtifactResult<Arc<Workspace>> {
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

/// Brings `path` to `held`, where only this process looks.
fn take(path: &Path, held: &Path, metadata: &fs::Metadata) -> ArtifactResult<()> {
    // A file with another name would be made read-only under that name too, and could still be
    // written through it: such a file is copied. The same holds inside a folder.
    if metadata.is_dir() || metadata.nlink() == 1 {
        // A folder that moves is written to: it notes its new parent.
        if metadata.is_dir() && metadata.mode() & 0o200 == 0 {
            unprotect_folder(path)?;
        }
        match fs::rename(path, held) {
            Ok(()) if metadata.is_dir() => return unshare(held),
            Ok(()) => return Ok(()),
            // On another file system.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            Err(error) => return Err(ArtifactError::io("move", path)(error)),
        }
    }
    if metadata.is_dir() {
        copy_folder(path, held)?;
    } else {
        fs::copy(path, held).map_err(ArtifactError::io("copy", path))?;
    }
    remove(path)
}

fn unshare(folder: &Path) -> ArtifactResult<()> {
    for file in walk(folder, Links::Refuse)?.files {
        if file.metadata.nlink() > 1 {
            let copy = file.path.with_added_extension("wick-copy");
            fs::copy(&file.path, &copy).map_err(ArtifactError::io("copy", &file.path))?;
            fs::rename(&copy, &file.path).map_err(ArtifactError::io("rename", &copy))?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> ArtifactResult<()> {
    let found = walk(from, Links::Refuse)?;
    let target = |path: &Path| match path.strip_prefix(from) {
        Ok(rest) if !rest.as_os_str().is_empty() => to.join(rest),
        _ => to.to_owned(),
    };
    for folder in &found.folders {
        let made = target(folder);
        fs::create_dir(&made).map_err(ArtifactError::io("make", &made))?;
    }
    for file in &found.files {
        fs::copy(&file.path, target(&file.path)).map_err(ArtifactError::io("copy", &file.path))?;
    }
    Ok(())
}

fn seal_file(path: &Path) -> ArtifactResult<(Digest, u64)> {
    let file = File::open(path).map_err(ArtifactError::io("open", path))?;
    let content = digest_open_file(&file, path)?;
    seal(&file, path)?;
    Ok(content)
}

fn seal_folder(path: &Path) -> ArtifactResult<(Digest, u64)> {
    let found = walk(path, Links::Refuse)?;
    let mut manifest = Manifest::new();
    for file in &found.files {
        let (digest, bytes) = seal_file(&file.path)?;
        manifest.add(&file.relative, bytes, &digest);
    }
    // Innermost first, the folder itself last: it stays writable until it is in its place.
    for (place, folder) in found.folders.iter().enumerate().rev() {
        let open = File::open(folder).map_err(ArtifactError::io("open", folder))?;
        if place == 0 { seal_time(&open, folder)? } else { seal(&open, folder)? }
    }
    Ok(manifest.finish())
}

/// Makes the names in a folder durable.
fn sync_folder(path: &Path) -> ArtifactResult<()> {
    let folder = File::open(path).map_err(ArtifactError::io("open", path))?;
    folder.sync_all().map_err(ArtifactError::io("flush", path))
}
