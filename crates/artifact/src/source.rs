//! Digests of files and folders that lie outside the store: data that a pipeline reads, code
//! that it runs.
//!
//! A source may be large and seldom changes, so its digest is kept together with its
//! [`SourceStat`] and computed again only when that differs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wick_core::Digest;

use crate::error::{ArtifactError, ArtifactResult};
use crate::folder::{FoundFile, Links, describe, digest_file, digest_found, walk};

/// What the file system says of a source without reading its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceStat {
    /// Bytes, of all files together.
    pub size: u64,
    /// When content or attributes last changed, in nanoseconds since 1970; of a folder, the
    /// newest of all that is in it.
    pub modified_ns: i64,
    /// The inode; of a folder, a hash over paths, inodes, sizes and times of all its files.
    pub inode: u64,
}

impl SourceStat {
    /// Whether the source has been left alone for a while at `now_ns`. A file can be written
    /// twice within one tick of the file system's clock; the stat of one changed this recently
    /// says nothing of the next instant, and is not worth keeping.
    pub const fn is_settled(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.modified_ns) > SETTLED_NS
    }
}

/// Two seconds: the coarsest clock of a file system in use (FAT).
const SETTLED_NS: i64 = 2_000_000_000;

/// The digest of the file or folder at `path`; symbolic links are followed.
///
/// # Errors
/// If something in it cannot be read, is neither file nor folder, or it is too large a folder.
pub fn digest_source(path: &Path) -> ArtifactResult<Digest> {
    let metadata = fs::metadata(path).map_err(ArtifactError::io("read", path))?;
    if metadata.is_dir() {
        Ok(digest_found(&walk(path, Links::Follow)?)?.0)
    } else if metadata.is_file() {
        Ok(digest_file(path)?.0)
    } else {
        Err(ArtifactError::Special { path: path.to_owned(), found: describe(&metadata) })
    }
}

/// What the file system says of the file or folder at `path`; symbolic links are followed.
///
/// # Errors
/// As [`digest_source`], contents apart.
pub fn stat_source(path: &Path) -> ArtifactResult<SourceStat> {
    let metadata = fs::metadata(path).map_err(ArtifactError::io("read", path))?;
    if !metadata.is_dir() {
        return Ok(SourceStat {
            size: metadata.len(),
            modified_ns: changed_ns(&metadata),
            inode: metadata.ino(),
        });
    }
    let found = walk(path, Links::Follow)?;
    let mut hasher = blake3::Hasher::new();
    let mut stat = SourceStat { size: 0, modified_ns: changed_ns(&metadata), inode: 0 };
    for FoundFile { relative, metadata, .. } in &found.files {
        let changed = changed_ns(metadata);
        stat.size += metadata.len();
        stat.modified_ns = stat.modified_ns.max(changed);
        hasher
            .update(&(relative.len() as u64).to_le_bytes())
            .update(relative.as_bytes())
            .update(&metadata.ino().to_le_bytes())
            .update(&metadata.len().to_le_bytes())
            .update(&changed.to_le_bytes());
    }
    let mut inode = [0; 8];
    inode.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    stat.inode = u64::from_le_bytes(inode);
    Ok(stat)
}

/// The later of content and attribute change: `cp -p` and `touch -d` set the first back, and
/// nothing sets the second back.
fn changed_ns(metadata: &fs::Metadata) -> i64 {
    let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    ns(metadata.mtime(), metadata.mtime_nsec()).max(ns(metadata.ctime(), metadata.ctime_nsec()))
}
