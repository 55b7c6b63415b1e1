//! How the store makes what others wrote its own, before it gets its name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wick_core::Digest;

use crate::error::{ArtifactError, ArtifactResult};
use crate::folder::{Found, Links, Manifest, digest_open_file, walk};
use crate::seal::{seal, seal_time, unprotect_folder};
use crate::workspace::remove;

/// Brings `path` to `held`, where only this process looks.
pub(crate) fn take(path: &Path, held: &Path, metadata: &fs::Metadata) -> ArtifactResult<()> {
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
    copy(path, held, metadata)?;
    remove(path)
}

/// Copies `path` to `held`, and leaves it as it is.
pub(crate) fn copy(path: &Path, held: &Path, metadata: &fs::Metadata) -> ArtifactResult<()> {
    if metadata.is_dir() {
        return copy_folder(path, held);
    }
    fs::copy(path, held).map(drop).map_err(ArtifactError::io("copy", path))
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

pub(crate) fn seal_file(path: &Path) -> ArtifactResult<(Digest, u64)> {
    let file = File::open(path).map_err(ArtifactError::io("open", path))?;
    let content = digest_open_file(&file, path)?;
    seal(&file, path)?;
    Ok(content)
}

pub(crate) fn seal_folder(path: &Path) -> ArtifactResult<(Digest, u64)> {
    let found = walk(path, Links::Refuse)?;
    let mut manifest = Manifest::new();
    for file in &found.files {
        let (digest, bytes) = seal_file(&file.path)?;
        manifest.add(&file.relative, bytes, &digest);
    }
    seal_folders(&found)?;
    Ok(manifest.finish())
}

/// Seals the folders of an entry of which the files are sealed.
pub(crate) fn seal_folders(found: &Found) -> ArtifactResult<()> {
    // Innermost first, the folder itself last: it stays writable until it is in its place.
    for (place, folder) in found.folders.iter().enumerate().rev() {
        let open = File::open(folder).map_err(ArtifactError::io("open", folder))?;
        if place == 0 { seal_time(&open, folder)? } else { seal(&open, folder)? }
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> ArtifactResult<()> {
    let folder = File::open(path).map_err(ArtifactError::io("open", path))?;
    folder.sync_all().map_err(ArtifactError::io("flush", path))
}
