//! The files that make a pipeline: its own, those that it includes, and those of its
//! sub-pipelines. Their bytes come through a loader of the caller's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::span::{FileId, SourceText};

/// How many files one pipeline may be made of.
pub const MAX_FILES: usize = 256;

/// Reads a file of the project, by its absolute path.
pub type Loader<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// A loader for pipelines of one file: it finds nothing.
///
/// # Errors
/// Always.
pub fn no_files(_: &Path) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

/// A file that was read.
#[derive(Debug)]
pub struct SourceFile {
    path: PathBuf,
    name: String,
    bytes: Vec<u8>,
    text: SourceText<'static>,
}

impl SourceFile {
    /// Where it lies, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its text.
    pub fn text(&self) -> &SourceText<'static> {
        &self.text
    }
}

/// The files of a pipeline, by [`FileId`]: first its own, then the others as they were met.
#[derive(Debug, Clone)]
pub struct Sources {
    files: Vec<Arc<SourceFile>>,
}

impl Sources {
    /// The pipeline file at `path`, which messages call `name`.
    pub fn new(path: impl Into<PathBuf>, name: impl Into<String>, bytes: &[u8]) -> Self {
        let mut sources = Self { files: Vec::new() };
        sources.add(path, name, bytes.to_vec());
        sources
    }

    /// A file that refers to no other.
    pub fn of_one(name: &str, bytes: &[u8]) -> Self {
        Self::new(name, name, bytes)
    }

    /// Adds a file; `None` if there are [`MAX_FILES`] already.
    pub fn add(
        &mut self,
        path: impl Into<PathBuf>,
        name: impl Into<String>,
        bytes: Vec<u8>,
    ) -> Option<FileId> {
        let id = FileId(u16::try_from(self.files.len()).ok()?);
        if self.files.len() >= MAX_FILES {
            return None;
        }
        let text = SourceText::new(&bytes).into_owned();
        let file = SourceFile { path: path.into(), name: name.into(), bytes, text };
        self.files.push(Arc::new(file));
        Some(id)
    }

    /// The file `id`. One that is not there is taken for the pipeline file: an id comes with the
    /// sources that it belongs to.
    pub fn get(&self, id: FileId) -> &SourceFile {
        self.files.get(usize::from(id.0)).unwrap_or(&self.files[0])
    }

    /// The file `id`, to be kept while others are added.
    pub fn share(&self, id: FileId) -> Arc<SourceFile> {
        self.files.get(usize::from(id.0)).unwrap_or(&self.files[0]).clone()
    }

    /// The text of the file `id`, from which its spans count.
    pub fn text(&self, id: FileId) -> &str {
        self.get(id).text.text()
    }

    /// The file at `path`, if it was read.
    pub fn find(&self, path: &Path) -> Option<FileId> {
        let place = self.files.iter().position(|file| file.path == path)?;
        u16::try_from(place).ok().map(FileId)
    }

    /// All files.
    pub fn iter(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().map(|file| &**file)
    }
}
