//! What the remote says of an artifact: its form, and its files with their digests.
//!
//! A manifest comes from a bucket that others may write to. Before anything in it is used it
//! must describe exactly the artifact whose name it bears: the digest is computed from it anew.
//! Paths are checked besides, for a digest says nothing against a path that leads elsewhere.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use wick_core::Digest;

use crate::folder::{MAX_DEPTH, MAX_FILES, Manifest};
use crate::store::Form;

/// The version of the format.
const VERSION: u32 = 1;

/// A manifest is at most so large; a million files with long paths fit.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 512 << 20;

/// The longest path of a file in a folder.
const MAX_PATH_LENGTH: usize = 4096;

/// The length of an upload's name.
const UPLOAD_LENGTH: usize = 32;

/// What lies in the remote under the name of an artifact. It is written last: where there is
/// none, there is no artifact, whatever else may lie there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoteManifest {
    version: u32,
    pub(crate) digest: Digest,
    form: FormWord,
    /// All its bytes.
    pub(crate) bytes: u64,
    /// Which upload its files came with: they lie under this name, so that two machines that
    /// upload the same artifact at once never write to one another's files.
    pub(crate) upload: String,
    pub(crate) files: Vec<RemoteFile>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FormWord {
    File,
    Folder,
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoteFile {
    /// Below the folder; of a file empty.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) digest: Digest,
}

impl RemoteManifest {
    /// The manifest of what was uploaded as `upload`.
    pub(crate) fn new(form: Form, upload: String, files: Vec<RemoteFile>) -> Self {
        let form = match form {
            Form::File => FormWord::File,
            Form::Folder => FormWord::Folder,
        };
        let (digest, bytes) = content(form, &files);
        Self { version: VERSION, digest, form, bytes, upload, files }
    }

    pub(crate) const fn form(&self) -> Form {
        match self.form {
            FormWord::File => Form::File,
            FormWord::Folder => Form::Folder,
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// Reads the manifest that lies under the name `digest`.
    ///
    /// # Errors
    /// Says what is wrong with it, as a sentence fragment.
    pub(crate) fn read(json: &[u8], digest: &Digest) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(json)
            .map_err(|error| format!("its manifest does not read: {error}"))?;
        if read.version != VERSION {
            return Err(format!("its manifest is of version {}, unknown here", read.version));
        }
        check_upload(&read.upload)?;
        check_files(&read)?;
        let (actual, bytes) = content(read.form, &read.files);
        if actual != *digest || read.digest != *digest || bytes != read.bytes {
            return Err(format!("its manifest describes artifact {}", actual.short()));
        }
        Ok(read)
    }
}

/// The digest and the size that these files give.
fn content(form: FormWord, files: &[RemoteFile]) -> (Digest, u64) {
    match (form, files) {
        (FormWord::File, [file]) => (file.digest, file.bytes),
        _ => {
            let mut manifest = Manifest::new();
            for file in files {
                manifest.add(&file.path, file.bytes, &file.digest);
            }
            manifest.finish()
        }
    }
}

/// The name becomes part of keys.
fn check_upload(upload: &str) -> Result<(), String> {
    let is_name = upload.len() == UPLOAD_LENGTH
        && upload.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_name { Ok(()) } else { Err("its manifest names no upload".to_owned()) }
}

fn check_files(read: &RemoteManifest) -> Result<(), String> {
    let total = read.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.bytes));
    if total.is_none() || read.files.len() > MAX_FILES {
        return Err("its manifest is larger than an artifact can be".to_owned());
    }
    if read.form == FormWord::File {
        return match read.files.as_slice() {
            [file] if file.path.is_empty() => Ok(()),
            _ => Err("its manifest is not that of a file".to_owned()),
        };
    }
    for file in &read.files {
        check_path(&file.path)?;
    }
    // The order is part of the digest.
    for pair in read.files.windows(2) {
        let (before, after) = (&pair[0].path, &pair[1].path);
        if before >= after {
            return Err("the files of its manifest are not in order".to_owned());
        }
    }
    let names: HashSet<&str> = read.files.iter().map(|file| file.path.as_str()).collect();
    let is_folder = |path: &str| {
        path.match_indices('/').any(|(at, _)| path.get(..at).is_some_and(|up| names.contains(up)))
    };
    match read.files.iter().find(|file| is_folder(&file.path)) {
        Some(file) => Err(format!("in its manifest {:?} lies in a file", file.path)),
        None => Ok(()),
    }
}

/// Whether `path` leads to a file in the folder itself, and nowhere else.
fn check_path(path: &str) -> Result<(), String> {
    let shown = || format!("{:?}", path.chars().take(80).collect::<String>());
    if path.len() > MAX_PATH_LENGTH || path.contains('\0') {
        return Err(format!("its manifest holds the path {}", shown()));
    }
    let mut depth = 0;
    for part in path.split('/') {
        depth += 1;
        if matches!(part, "" | "." | "..") || part.len() > 255 {
            return Err(format!("its manifest holds the path {}", shown()));
        }
    }
    if depth > MAX_DEPTH + 1 {
        return Err(format!("its manifest holds folders more than {MAX_DEPTH} deep"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLOAD: &str = "0123456789abcdef0123456789abcdef";

    fn folder(paths: &[&str]) -> RemoteManifest {
        let files = paths.iter().map(|path| RemoteFile {
            path: (*path).to_owned(),
            bytes: 1,
            digest: Digest::of(path.as_bytes()),
        });
        RemoteManifest::new(Form::Folder, UPLOAD.to_owned(), files.collect())
    }

    #[track_caller]
    fn refused(manifest: &RemoteManifest, expect: &str) {
        let json = manifest.to_json().expect("JSON");
        let error = RemoteManifest::read(&json, &manifest.digest).expect_err("it is wrong");
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn a_manifest_reads_as_it_was_written() {
        let file = RemoteFile { path: String::new(), bytes: 3, digest: Digest::of(b"abc") };
        let file = RemoteManifest::new(Form::File, UPLOAD.to_owned(), vec![file]);
        assert_eq!(file.digest, Digest::of(b"abc"), "a file is named by its bytes");
        for manifest in [folder(&["a", "b/c", "…/d"]), folder(&[]), file] {
            let json = manifest.to_json().expect("JSON");
            assert_eq!(RemoteManifest::read(&json, &manifest.digest), Ok(manifest));
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["../x", "a/../../x", "/etc/passwd", "a//b", ".", "a/.", "", "a\0b"] {
            refused(&folder(&[path]), "holds the path");
        }
        refused(&folder(&["a/".repeat(70).trim_end_matches('/')]), "deep");
        refused(&folder(&[&"a".repeat(300)]), "holds the path");
        refused(&folder(&["b", "a"]), "not in order");
        refused(&folder(&["a", "a"]), "not in order");
        refused(&folder(&["a", "a.b", "a/b"]), "lies in a file");
    }

    #[test]
    fn a_manifest_describes_what_it_is_named_by() {
        let honest = folder(&["a", "b"]);
        let mut other = honest.clone();
        other.files[0].digest = Digest::of(b"other");
        refused(&other, "describes artifact");
        let mut other = honest.clone();
        other.bytes += 1;
        refused(&other, "describes artifact");
        let mut other = honest.clone();
        other.files[0].bytes = u64::MAX;
        refused(&other, "larger than");
        let mut other = honest.clone();
        other.upload = "../../elsewhere".to_owned();
        refused(&other, "names no upload");
        let mut other = honest;
        other.version = 2;
        refused(&other, "version 2");
        assert!(RemoteManifest::read(b"{", &Digest::of(b"")).is_err());
    }
}
