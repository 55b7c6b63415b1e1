//! `include`: a pipeline file and the fragments that it names, put together.
//!
//! What a fragment says comes before what the file that includes it says, and where both name the
//! same param or secret, the including file's value stands. A stage belongs to one file. A fragment
//! that is reached in two ways counts once.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields;
use crate::files::{Reader, Sources, name_beside, too_many};
use crate::node::{Data, Entry, Node};
use crate::pipeline::PIPELINE_KEYS;
use crate::span::{FileId, Span, Spanned};
use crate::suggest;
use crate::yaml;

/// The keys at the top of a fragment.
pub const FRAGMENT_KEYS: [&str; 5] = ["include", "params", "defaults", "secrets", "stages"];

/// How deep files may include each other.
const MAX_DEPTH: usize = 16;

/// A file with all that it includes.
pub(crate) struct Document {
    /// The entries at the top of the file; `params`, `secrets` and `stages` with those of the
    /// fragments.
    pub top: Vec<Entry>,
    /// The `defaults` of all files; a later one goes before an earlier.
    pub defaults: Vec<Entry>,
}

/// Puts `top`, the entries of `file`, together with all that it includes.
pub(crate) fn document(
    top: &[Entry],
    file: FileId,
    reader: &mut Reader<'_>,
    sources: &mut Sources,
    diagnostics: &mut Diagnostics,
) -> Document {
    let mut include = Include {
        reader,
        sources,
        diagnostics,
        way: Vec::new(),
        seen: HashSet::new(),
        parts: Vec::new(),
    };
    let path = include.sources.get(file).path().to_owned();
    include.seen.insert(path.clone());
    include.way.push(Step { path, file, named_at: Span::start_of(file) });
    include.fragments_of(top, file);
    let parts = include.parts;
    let mut document = Document { top: top.to_vec(), defaults: Vec::new() };
    if parts.is_empty() {
        document.defaults.extend(fields::find(top, "defaults").cloned());
        return document;
    }
    let files = || parts.iter().map(Vec::as_slice).chain([top]);
    document.defaults.extend(files().filter_map(|top| fields::find(top, "defaults")).cloned());
    for key in ["params", "secrets", "stages"] {
        let same = if key == "stages" { Same::Mistake } else { Same::LaterCounts };
        if let Some(merged) = merge(files(), top, key, same, diagnostics) {
            match document.top.iter_mut().find(|entry| entry.key == key) {
                Some(entry) => *entry = merged,
                None => document.top.push(merged),
            }
        }
    }
    document
}

/// A file on the way from the pipeline file to a fragment.
struct Step {
    path: PathBuf,
    file: FileId,
    /// Where the file before names it.
    named_at: Span,
}

struct Include<'i, 'r> {
    reader: &'i mut Reader<'r>,
    sources: &'i mut Sources,
    diagnostics: &'i mut Diagnostics,
    way: Vec<Step>,
    seen: HashSet<PathBuf>,
    /// The entries at the top of each fragment, included ones before those that include them.
    parts: Vec<Vec<Entry>>,
}

impl Include<'_, '_> {
    /// Reads the fragments that `top`, the entries of `file`, names.
    fn fragments_of(&mut self, top: &[Entry], file: FileId) {
        let Some(entry) = fields::find(top, "include") else { return };
        for written in names(entry, self.diagnostics) {
            self.fragment(&written, file);
        }
    }

    fn fragment(&mut self, written: &Spanned<String>, from: FileId) {
        let from = self.sources.share(from);
        let Some(path) = self.reader.locate(written, &from, self.diagnostics) else { return };
        if let Some(start) = self.way.iter().position(|step| step.path == path) {
            self.circle(start, written.span);
            return;
        }
        if !self.seen.insert(path.clone()) {
            return;
        }
        if self.way.len() > MAX_DEPTH {
            self.diagnostics.push(
                Diagnostic::error("too-deep", written.span, "files include each other too deeply")
                    .label(format!("this is more than {MAX_DEPTH} files deep"))
                    .help("name the files in the pipeline file itself"),
            );
            return;
        }
        let Some(bytes) = self.reader.read(&path, written, self.diagnostics) else { return };
        let name = name_beside(&from, &written.value);
        let Some(file) = self.sources.add_part(&path, name, bytes, from.used_at()) else {
            self.diagnostics.push(too_many(written));
            return;
        };
        let bytes = self.sources.share(file);
        let Some(root) = yaml::read(bytes.bytes(), file, self.diagnostics) else { return };
        let Some(top) = self.entries(root) else { return };
        self.way.push(Step { path, file, named_at: written.span });
        self.fragments_of(&top, file);
        self.way.pop();
        self.parts.push(top);
    }

    /// The entries of a fragment that it may hold; `None` if it is none.
    fn entries(&mut self, root: Node) -> Option<Vec<Entry>> {
        // An empty file, or one of comments only, says nothing.
        if root.data == Data::Null {
            return Some(Vec::new());
        }
        if let Some(name) = root.get("pipeline") {
            self.diagnostics.push(
                Diagnostic::error(
                    "misplaced-key",
                    name.key_span,
                    "this is a pipeline of its own, and cannot be included",
                )
                .help("a fragment has no name: remove it, or use the file with `uses: pipeline`"),
            );
            return None;
        }
        let mut root = root;
        if let Data::Map(entries) = &mut root.data {
            let belongs = |entry: &Entry| {
                let key = entry.key.as_str();
                FRAGMENT_KEYS.contains(&key) || !PIPELINE_KEYS.contains(&key)
            };
            for entry in entries.extract_if(.., |entry| !belongs(entry)) {
                self.diagnostics.push(
                    Diagnostic::error(
                        "misplaced-key",
                        entry.key_span,
                        format!("`{}` cannot stand in a fragment", entry.key),
                    )
                    .help(format!(
                        "write it into the pipeline file; a fragment may hold {}",
                        suggest::list(&FRAGMENT_KEYS)
                    )),
                );
            }
        }
        fields::entries(&root, "a fragment", &FRAGMENT_KEYS, &[], self.diagnostics)
            .map(<[Entry]>::to_vec)
    }

    /// Reports that the fragment named at `named_at` is `way[start]`, which led to it.
    fn circle(&mut self, start: usize, named_at: Span) {
        let name = |file: FileId| self.sources.get(file).name();
        let circle = &self.way[start..];
        let mut names: Vec<&str> = circle.iter().map(|step| name(step.file)).collect();
        names.push(names[0]);
        let message = match circle {
            [only] => format!("{} includes itself", name(only.file)),
            _ => format!("files include each other in a circle: {}", names.join(" → ")),
        };
        let mut found = Diagnostic::error("cycle", named_at, message)
            .label(format!("this includes {} again", names[0]))
            .help("move what they share into a file that includes neither");
        for step in circle.iter().skip(1) {
            found = found.related(step.named_at, format!("this includes {}", name(step.file)));
        }
        self.diagnostics.push(found);
    }
}

/// The files that `include` names.
fn names(entry: &Entry, diagnostics: &mut Diagnostics) -> Vec<Spanned<String>> {
    let items = match &entry.value.data {
        Data::List(items) => items,
        Data::Null | Data::Unknown => return Vec::new(),
        other => {
            let help = match other {
                Data::Text(name) => format!("write `include: [{name}]`"),
                _ => "write `include: [FILE, …]`".to_owned(),
            };
            diagnostics
                .push(fields::wrong_type(&entry.value, "`include` must be a list").help(help));
            return Vec::new();
        }
    };
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        match &item.data {
            Data::Text(name) if crate::template::has_references(name) => diagnostics.push(
                Diagnostic::error("bad-reference", item.span, "a reference cannot stand here")
                    .label("files are included before params have values")
                    .help("write the file's name out"),
            ),
            Data::Text(name) => names.push(Spanned::new(name.clone(), item.span)),
            Data::Unknown => {}
            _ => diagnostics.push(fields::wrong_type(item, "`include` lists files")),
        }
    }
    names
}

/// What it means that a name stands in two files.
#[derive(Clone, Copy, PartialEq)]
enum Same {
    LaterCounts,
    Mistake,
}

/// The section `key` of all files as one; `None` if there is none, or if that of the file itself,
/// `own`, is no mapping: then it is reported where it is read.
fn merge<'e>(
    files: impl Iterator<Item = &'e [Entry]>,
    own: &[Entry],
    key: &str,
    same: Same,
    diagnostics: &mut Diagnostics,
) -> Option<Entry> {
    let own = fields::find(own, key);
    let readable = |node: &Node| matches!(node.data, Data::Map(_) | Data::Null | Data::Unknown);
    if own.is_some_and(|own| !readable(&own.value)) {
        return None;
    }
    let mut merged: Option<Entry> = None;
    let mut entries: Vec<Entry> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for section in files.filter_map(|top| fields::find(top, key)) {
        // Said of the file itself, if it has the section: it is the one that is being read.
        if merged.is_none() || own == Some(section) {
            merged =
                Some(Entry { value: Node::new(section.value.span, Data::Null), ..section.clone() });
        }
        let more = match &section.value.data {
            Data::Map(more) => more,
            Data::Null | Data::Unknown => continue,
            _ => {
                diagnostics.push(
                    fields::wrong_type(&section.value, &format!("`{key}` must be a mapping"))
                        .help("write one `name: …` on each line below it"),
                );
                continue;
            }
        };
        for entry in more {
            match places.get(&entry.key) {
                None => {
                    places.insert(entry.key.clone(), entries.len());
                    entries.push(entry.clone());
                }
                Some(place) if same == Same::LaterCounts => entries[*place] = entry.clone(),
                Some(place) => diagnostics.push(
                    Diagnostic::error(
                        "duplicate-stage",
                        entry.key_span,
                        format!("there are two stages `{}`", entry.key),
                    )
                    .label("again here")
                    .related(entries[*place].key_span, "first here")
                    .help("remove one of the two, or give it another name"),
                ),
            }
        }
    }
    let mut merged = merged?;
    merged.value.data = Data::Map(entries);
    Some(merged)
}
