//! The files that make a pipeline: its own, those that it includes, and those of its
//! sub-pipelines. Their bytes come through a loader of the caller's.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics, Related};
use crate::span::{FileId, SourceText, Span, Spanned};

/// How many files one pipeline may be made of.
pub const MAX_FILES: usize = 256;

/// How many bytes they may hold together.
pub const MAX_BYTES: usize = 8 << 20;

/// How often files may be used in all: each use is read anew, with params of its own.
const MAX_USES: usize = 20_000;

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
    bytes: Arc<[u8]>,
    text: SourceText<'static>,
    used_at: Option<Spanned<String>>,
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

    /// The stage that uses it, where it is a part of a sub-pipeline.
    pub fn used_at(&self) -> Option<&Spanned<String>> {
        self.used_at.as_ref()
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
        sources.add(path, name, bytes);
        sources
    }

    /// A file that refers to no other.
    pub fn of_one(name: &str, bytes: &[u8]) -> Self {
        Self::new(name, name, bytes)
    }

    /// Adds a file; `None` if there are as many as can be told apart.
    pub fn add(
        &mut self,
        path: impl Into<PathBuf>,
        name: impl Into<String>,
        bytes: impl Into<Arc<[u8]>>,
    ) -> Option<FileId> {
        self.add_part(path, name, bytes, None)
    }

    /// Adds a file of a sub-pipeline that the stage `used_at` uses. A file that is used twice is
    /// here twice, so that each of its places belongs to one use.
    pub(crate) fn add_part(
        &mut self,
        path: impl Into<PathBuf>,
        name: impl Into<String>,
        bytes: impl Into<Arc<[u8]>>,
        used_at: Option<&Spanned<String>>,
    ) -> Option<FileId> {
        let id = FileId(u16::try_from(self.files.len()).ok()?);
        if self.files.len() >= MAX_USES {
            return None;
        }
        let bytes = bytes.into();
        let text = SourceText::new(&bytes).into_owned();
        let used_at = used_at.cloned();
        let file = SourceFile { path: path.into(), name: name.into(), bytes, text, used_at };
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

    /// The texts of all files as they are recorded with a run: the pipeline file as it is, and
    /// behind it each other one once, as a further document that is headed by its name.
    pub fn recorded(&self) -> String {
        let main = &self.files[0];
        let mut text = String::from_utf8_lossy(&main.bytes).into_owned();
        let mut told: HashSet<&Path> = HashSet::from([main.path.as_path()]);
        let folder = folder(&main.path);
        for file in &self.files[1..] {
            if !told.insert(&file.path) {
                continue;
            }
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            let name = relative(&file.path, folder);
            text.push_str(&format!("--- # {}\n", name.display()));
            text.push_str(file.text.text());
        }
        text
    }

    /// Reads a file among these: a loader for a pipeline that is checked again as it was.
    ///
    /// # Errors
    /// If it is not among them.
    pub fn load(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let found = self.files.iter().find(|file| file.path == path);
        found.map(|file| file.bytes.to_vec()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// All files; one that is used twice is there twice.
    pub fn iter(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().map(|file| &**file)
    }
}

/// Reads further files for a pipeline, within bounds.
pub(crate) struct Reader<'a> {
    load: Loader<'a>,
    /// Folders that files may lie in.
    allowed: [PathBuf; 2],
    /// What was read, by path: a file that is needed twice is read once.
    read: HashMap<PathBuf, Arc<[u8]>>,
    bytes: usize,
}

impl<'a> Reader<'a> {
    /// Reads files in the folder `root` and in the folder of `main`.
    pub fn new(load: Loader<'a>, root: &Path, main: &Path) -> Self {
        let beside = main.parent().unwrap_or(Path::new(""));
        let allowed = [normal(root), normal(beside)];
        Self { load, allowed, read: HashMap::new(), bytes: 0 }
    }

    /// The absolute path of the file that `written` in `from` means.
    pub fn locate(
        &self,
        written: &Spanned<String>,
        from: &SourceFile,
        diagnostics: &mut Diagnostics,
    ) -> Option<PathBuf> {
        let text = &written.value;
        let mut refuse = |label: &str, help: &str| {
            diagnostics.push(
                Diagnostic::error(
                    "bad-path",
                    written.span,
                    format!("`{text}` cannot be a part of this pipeline"),
                )
                .label(label)
                .help(help),
            );
        };
        if text.is_empty() {
            refuse("it names no file", "write a path from the folder of this file");
            return None;
        }
        if Path::new(text).is_absolute() {
            refuse("it is an absolute path", "write a path from the folder of this file");
            return None;
        }
        let path = normal(&folder(from.path()).join(text));
        if !self.allowed.iter().any(|folder| path.starts_with(folder)) {
            refuse(
                "it lies outside of the project",
                "move it below the project's folder: the one that holds the `wick.yaml`",
            );
            return None;
        }
        Some(path)
    }

    /// The bytes of the file at `path`, which `written` means.
    pub fn read(
        &mut self,
        path: &Path,
        written: &Spanned<String>,
        diagnostics: &mut Diagnostics,
    ) -> Option<Arc<[u8]>> {
        if let Some(bytes) = self.read.get(path) {
            return Some(bytes.clone());
        }
        let error = |code, message| Diagnostic::error(code, written.span, message);
        let text = &written.value;
        let bytes = match (self.load)(path) {
            Ok(bytes) => bytes,
            Err(reason) => {
                diagnostics.push(match reason.kind() {
                    ErrorKind::NotFound => error("no-file", format!("there is no file `{text}`"))
                        .help("paths are meant from the folder of the file that they stand in"),
                    ErrorKind::IsADirectory => error("no-file", format!("`{text}` is a folder"))
                        .help("name the file in it"),
                    _ => {
                        error("no-file", format!("cannot read `{text}`")).label(reason.to_string())
                    }
                });
                return None;
            }
        };
        self.bytes += bytes.len();
        if self.read.len() + 1 >= MAX_FILES || self.bytes > MAX_BYTES {
            diagnostics.push(too_many(written));
            return None;
        }
        let bytes: Arc<[u8]> = bytes.into();
        self.read.insert(path.to_owned(), bytes.clone());
        Some(bytes)
    }
}

/// That the file which `written` means is one too many.
pub(crate) fn too_many(written: &Spanned<String>) -> Diagnostic {
    let message = "the pipeline is made of too many files";
    Diagnostic::error("too-large", written.span, message).help(format!(
        "there may be {MAX_FILES} of them, with {MAX_BYTES} bytes together, used {MAX_USES} times"
    ))
}

/// How many uses of a file are named where the same is wrong in all of them.
const MAX_USES_NAMED: usize = 3;

/// Adds to each of `diagnostics` that points into a sub-pipeline where that is used. What is wrong
/// in every use of a file is told once.
pub fn name_uses(diagnostics: Vec<Diagnostic>, sources: &Sources) -> Vec<Diagnostic> {
    type Key = (PathBuf, usize, usize, &'static str, String);
    let mut told: HashMap<Key, usize> = HashMap::new();
    let mut out: Vec<Diagnostic> = Vec::with_capacity(diagnostics.len());
    for mut diagnostic in diagnostics {
        let Span { file, start, end } = diagnostic.span;
        let Some(used_at) = sources.get(file).used_at() else {
            out.push(diagnostic);
            continue;
        };
        let mut uses = Vec::new();
        let mut next = Some(used_at);
        while let Some(used_at) = next {
            uses.push(Related {
                span: used_at.span,
                message: format!("used by stage `{}` here", used_at.value),
            });
            next = sources.get(used_at.span.file).used_at();
        }
        let path = sources.get(file).path().to_owned();
        // Stages of different uses have different names.
        let message = diagnostic.message.replace(&format!("{}/", used_at.value), "");
        let key = (path, start, end, diagnostic.code, message);
        match told.get(&key) {
            None => {
                told.insert(key, out.len());
                diagnostic.related.append(&mut uses);
                out.push(diagnostic);
            }
            Some(place) => {
                let related = &mut out[*place].related;
                let named = |span| related.iter().any(|known: &Related| known.span == span);
                if related.len() < MAX_USES_NAMED && !named(used_at.span) {
                    related.extend(uses.into_iter().next());
                }
            }
        }
    }
    out
}

/// The folder that paths in the file at `path` are meant from.
pub fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// What messages call the file that `written` in `from` means.
pub(crate) fn name_beside(from: &SourceFile, written: &str) -> String {
    normal(&folder(Path::new(from.name())).join(written)).display().to_string()
}

/// The way to `path` from `folder`; both are absolute.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    let shared = path.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// `path` without `.`, and without `..` where it can be told what that leaves.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match (component, out.components().next_back()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                out.pop();
            }
            (Component::ParentDir, Some(Component::RootDir)) => {}
            _ => out.push(component),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain() {
        #[track_caller]
        fn check(path: &str, expect: &str) {
            assert_eq!(normal(Path::new(path)), Path::new(expect));
        }
        check("/a/./b/../c.yaml", "/a/c.yaml");
        check("a/../../b", "../b");
        check("../../b", "../../b");
        check("/../a", "/a");
        check("./a", "a");
    }

    #[test]
    fn all_files_are_recorded_once() {
        let mut sources = Sources::new("/p/pipelines/main.yaml", "main.yaml", b"pipeline: p");
        for _ in 0..2 {
            sources.add("/p/common/a.yaml", "a", *b"params: {}\n");
            sources.add("/p/pipelines/b.yaml", "b", *b"# nothing");
        }
        assert_eq!(
            sources.recorded(),
            "pipeline: p\n--- # ../common/a.yaml\nparams: {}\n--- # b.yaml\n# nothing"
        );
        assert_eq!(
            sources.load(Path::new("/p/pipelines/b.yaml")).ok(),
            Some(b"# nothing".to_vec())
        );
        assert!(sources.load(Path::new("/p/c.yaml")).is_err());
    }

    #[test]
    fn files_lie_in_the_project_or_beside_the_pipeline() {
        #[track_caller]
        fn check(root: &str, written: &str, expect: Option<&str>) {
            let main = SourceText::new(b"");
            let file = SourceFile {
                path: "/p/pipelines/main.yaml".into(),
                name: "main.yaml".into(),
                bytes: (*b"").into(),
                text: main.into_owned(),
                used_at: None,
            };
            let reader = Reader::new(&no_files, Path::new(root), file.path());
            let mut diagnostics = Diagnostics::new();
            let written = Spanned::new(written.to_owned(), Span::default());
            let found = reader.locate(&written, &file, &mut diagnostics);
            assert_eq!(found.as_deref(), expect.map(Path::new), "{written:?}");
            assert_eq!(diagnostics.errors(), usize::from(expect.is_none()));
        }
        check("/p", "../common/a.yaml", Some("/p/common/a.yaml"));
        check("/p", "x/../a.yaml", Some("/p/pipelines/a.yaml"));
        check("/p", "../../a.yaml", None);
        check("/p", "../../p/a.yaml", Some("/p/a.yaml"));
        check("/p/pipelines", "../a.yaml", None);
        check("/elsewhere", "b/a.yaml", Some("/p/pipelines/b/a.yaml"));
        check("/p", "/p/a.yaml", None);
        check("/p", "", None);
    }
}
