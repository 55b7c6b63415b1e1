//! What becomes of checkpoints that nobody needs any more.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use wick_core::{Digest, Fingerprint, RunId};

use super::Line;

/// How deep the folders of programs are looked into for signs of life.
const MAX_DEPTH: usize = 32;

/// Removes what attempts of `run`, and all that share, have saved for `fingerprint`: its outputs
/// are published by that run. Cheap where nothing was saved. What other runs compute anew stays.
///
/// # Errors
/// If the file system refuses. What stays is swept when it is old.
pub fn forget(root: &Path, fingerprint: &Fingerprint, run: &RunId) -> io::Result<()> {
    let folder = root.join(fingerprint.to_string());
    let lines = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for line in lines {
        let line = line?.path();
        let name = line.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == Line::SHARED || Line::is_of(name, run) {
            missing_is_fine(fs::remove_dir_all(&line))?;
        }
    }
    match fs::remove_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        other => missing_is_fine(other),
    }
}

/// Removes what attempts of `run` have saved that no other run may go on from: nobody can take
/// the run up any more.
///
/// # Errors
/// If the file system refuses.
pub fn forget_run(root: &Path, run: &RunId) -> io::Result<()> {
    let fingerprints = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for fingerprint in fingerprints {
        let fingerprint = fingerprint?.path();
        let Ok(lines) = fs::read_dir(&fingerprint) else { continue };
        for line in lines {
            let line = line?;
            if line.file_name().to_str().is_some_and(|name| Line::is_of(name, run)) {
                missing_is_fine(fs::remove_dir_all(line.path()))?;
                // The last one turns out the light; where others are left it stays.
                let _ = fs::remove_dir(&fingerprint);
            }
        }
    }
    Ok(())
}

/// Removes what was saved for fingerprints that nobody has written to for `age`, and tells how
/// many they were: stages that never came to their end, and never will with these inputs.
///
/// # Errors
/// If the folder cannot be listed.
pub fn sweep(root: &Path, age: Duration) -> io::Result<usize> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let now = SystemTime::now();
    let mut swept = 0;
    for entry in entries {
        let path = entry?.path();
        // Nothing but what was made for a fingerprint is ever removed.
        let is_ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
            name.parse::<Digest>().is_ok_and(|digest| digest.to_string() == name)
        });
        // After a clock that was set back everything is young: it is swept another time.
        let is_old = |time: SystemTime| now.duration_since(time).is_ok_and(|passed| passed > age);
        if is_ours && youngest(&path, MAX_DEPTH).is_some_and(is_old) {
            missing_is_fine(fs::remove_dir_all(&path))?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// When anything at `path` was last written; `None` if that cannot be told.
fn youngest(path: &Path, depth: usize) -> Option<SystemTime> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let mut time = metadata.modified().ok()?;
    if metadata.is_dir() && depth > 0 {
        for entry in fs::read_dir(path).ok()? {
            time = time.max(youngest(&entry.ok()?.path(), depth - 1)?);
        }
    }
    Some(time)
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
