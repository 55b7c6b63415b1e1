//! The content of a file or a folder as a digest.
//!
//! A file's digest is the BLAKE3 hash of its bytes. A folder's is the hash of its manifest: for
//! every file in it, by path, its path, size and digest. Empty folders, modes and times are no
//! part of it. The manifest is hashed in BLAKE3's key derivation mode, so that no file can have
//! the digest of a folder by spelling its manifest.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use wick_core::Digest;

use crate::error::{ArtifactError, ArtifactResult};

/// A folder holds at most so many files.
pub const MAX_FILES: usize = 1_000_000;

/// Folders lie at most so deep in a folder.
pub const MAX_DEPTH: usize = 64;

/// Sets the hash of a manifest apart from that of a file, and from later forms of manifests.
const MANIFEST_CONTEXT: &str = "candlewick artifact folder manifest, version 1";

/// What a walk does about symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// An artifact carries its own bytes: a link is an error.
    Refuse,
    /// A source is whatever its path leads to.
    Follow,
}

/// A file found by a walk.
#[derive(Debug, Clone)]
pub(crate) struct FoundFile {
    /// Below the folder walked, with `/` between its parts.
    pub(crate) relative: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// As it was when it was found.
    pub(crate) metadata: fs::Metadata,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// All files, by relative path.
    pub(crate) files: Vec<FoundFile>,
    /// The folder itself and all folders in it; a folder comes before those in it.
    pub(crate) folders: Vec<PathBuf>,
}

/// Finds everything in the folder `root`.
pub(crate) fn walk(root: &Path, links: Links) -> ArtifactResult<Found> {
    let mut found = Found::default();
    walk_into(root, root, String::new(), 0, links, &mut found)?;
    found.files.sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
    Ok(found)
}

fn walk_into(
    root: &Path,
    folder: &Path,
    prefix: String,
    depth: usize,
    links: Links,
    found: &mut Found,
) -> ArtifactResult<()> {
    let too_large = |what: String| ArtifactError::TooLarge { path: root.to_owned(), what };
    if depth > MAX_DEPTH {
        return Err(too_large(format!("folders more than {MAX_DEPTH} deep")));
    }
    found.folders.push(folder.to_owned());
    for entry in fs::read_dir(folder).map_err(ArtifactError::io("list", folder))? {
        let entry = entry.map_err(ArtifactError::io("list", folder))?;
        let path = entry.path();
        let name = entry
            .file_name()
            .into_string()
            .map_err(|_| ArtifactError::Name { path: path.clone() })?;
        let relative = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let metadata = match links {
            Links::Refuse => fs::symlink_metadata(&path),
            Links::Follow => fs::metadata(&path),
        }
        .map_err(ArtifactError::io("read", &path))?;
        if metadata.is_dir() {
            walk_into(root, &path, relative, depth + 1, links, found)?;
        } else if metadata.is_file() {
            if found.files.len() == MAX_FILES {
                return Err(too_large(format!("more than {MAX_FILES} files")));
            }
            found.files.push(FoundFile { relative, path, metadata });
        } else {
            return Err(ArtifactError::Special { found: describe(&metadata), path });
        }
    }
    Ok(())
}

/// What something in the file system is, for a message.
pub(crate) fn describe(metadata: &fs::Metadata) -> &'static str {
    let file_type = metadata.file_type();
    if file_type.is_file() {
        "a file"
    } else if file_type.is_dir() {
        "a folder"
    } else if file_type.is_symlink() {
        "a symbolic link"
    } else {
        "a device, pipe or socket"
    }
}

/// Hashes the bytes of a file, and counts them.
pub(crate) fn digest_file(path: &Path) -> ArtifactResult<(Digest, u64)> {
    let file = File::open(path).map_err(ArtifactError::io("open", path))?;
    digest_open_file(&file, path)
}

/// Hashes the bytes of an open file from where it stands, and counts them.
pub(crate) fn digest_open_file(file: &File, path: &Path) -> ArtifactResult<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(ArtifactError::io("read", path))?;
    Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), hasher.count()))
}

/// The hash of a folder, fed with its files in the order of their paths.
pub(crate) struct Manifest {
    hasher: blake3::Hasher,
    bytes: u64,
    files: u64,
}

impl Manifest {
    pub(crate) fn new() -> Self {
        Self { hasher: blake3::Hasher::new_derive_key(MANIFEST_CONTEXT), bytes: 0, files: 0 }
    }

    /// Every field has a fixed width or its length before it, so that no two manifests are
    /// written alike.
    pub(crate) fn add(&mut self, relative: &str, bytes: u64, digest: &Digest) {
        self.hasher
            .update(&(relative.len() as u64).to_le_bytes())
            .update(relative.as_bytes())
            .update(&bytes.to_le_bytes())
            .update(digest.as_bytes());
        self.bytes += bytes;
        self.files += 1;
    }

    /// The digest, and how many bytes the files have.
    pub(crate) fn finish(self) -> (Digest, u64) {
        let mut hasher = self.hasher;
        hasher.update(&self.files.to_le_bytes());
        (Digest::from_bytes(*hasher.finalize().as_bytes()), self.bytes)
    }
}

/// Hashes all files that a walk found.
pub(crate) fn digest_found(found: &Found) -> ArtifactResult<(Digest, u64)> {
    let mut manifest = Manifest::new();
    for file in &found.files {
        let (digest, bytes) = digest_file(&file.path)?;
        manifest.add(&file.relative, bytes, &digest);
    }
    Ok(manifest.finish())
}
