//! Fingerprints: the key of the cache, and the parts that say why two of them differ.
//!
//! A fingerprint is the hash of its [`FingerprintParts`]. It holds the kind and its revision,
//! every value of the resolved `with`, the digests of the inputs by port, the declared outputs,
//! the digests of the sources in order, and the values of the declared environment variables.
//! It never holds a path, a time, a stage's name, the order of keys, or the run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wick_core::{Digest, Fingerprint};
use wick_stage::PathSegment;

use crate::canonical::Encoder;
use crate::plan::{Plan, StageIndex};

/// The version of the fingerprint's encoding.
pub const FINGERPRINT_VERSION: u32 = 1;

/// Lists longer than this are one part rather than one for each item.
const MAX_LIST_PARTS: usize = 64;

/// The longest text of a value that is kept to be shown, in bytes.
const MAX_SHOWN: usize = 80;

/// What only the engine knows: it reads files and runs stages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Materials<'a> {
    /// What the stage reads: the name of the port, or `port[label]` for each item of one that
    /// gathers, and the artifact. A port that reads nothing is left out.
    pub inputs: &'a [(String, Digest)],
    /// The digests of the stage's sources, in the order of `PlannedStage::sources`.
    pub sources: &'a [Digest],
    /// The values of the stage's environment variables, in the order of
    /// `PlannedStage::environment`; `None` for one that is not set.
    pub environment: &'a [Option<String>],
}

/// All that determines a stage's outputs, part by part. Stored beside the fingerprint, so that
/// `wick plan` can say what changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FingerprintParts {
    /// The version of the encoding: [`FINGERPRINT_VERSION`].
    pub version: u32,
    /// The parts, by section and within it by name; sources in their own order.
    pub parts: Vec<Part>,
}

/// One thing that determines a stage's outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What sort of thing.
    pub section: Section,
    /// Which one: the path of a value in `with`, a port, a source's path from the pipeline's
    /// folder, a variable. The name of a source is for people alone and not hashed.
    pub name: String,
    /// The digest of its value.
    pub digest: Digest,
    /// Its value for people, if it is short. Never that of an environment variable.
    #[serde(default)]
    pub shown: Option<String>,
}

/// What the name of a part ends with that says in which order the keys of a mapping stand. No path
/// of a value ends so: a key with a space is quoted.
const ORDER: &str = " order";

impl Part {
    /// The mapping in `with` of which this says in which order its keys stand.
    pub fn order_of(&self) -> Option<&str> {
        self.name.strip_suffix(ORDER).filter(|_| self.section == Section::With)
    }
}

/// What sort of thing determines a stage's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// The kind.
    Kind,
    /// The kind's revision.
    Revision,
    /// A value in `with`.
    With,
    /// The artifact at an input.
    Input,
    /// A declared output.
    Output,
    /// The content of a file or folder outside the pipeline.
    Source,
    /// The value of an environment variable.
    Environment,
}

impl Plan {
    /// All that determines the outputs of the stage at `index`, given what the engine knows.
    ///
    /// # Panics
    /// If `materials` does not match the stage's sources and environment in number.
    pub fn fingerprint_parts(
        &self,
        index: StageIndex,
        materials: Materials<'_>,
    ) -> FingerprintParts {
        let stage = self.stage(index);
        assert_eq!(materials.sources.len(), stage.sources.len(), "a digest for each source");
        assert_eq!(
            materials.environment.len(),
            stage.environment.len(),
            "a value for each environment variable"
        );
        let mut parts = Vec::with_capacity(8 + materials.inputs.len() + materials.sources.len());
        parts.push(part(Section::Kind, "", &Value::from(stage.kind.as_str())));
        parts.push(part(Section::Revision, "", &Value::from(stage.revision)));

        let mut leaves = Vec::new();
        let mut path = String::new();
        let rules = Rules {
            left_out: &stage.source_fields,
            ordered: &stage.ordered_fields,
            neutral: &stage.neutral_fields,
        };
        config_leaves(&stage.config, &mut path, rules, &mut leaves);
        leaves.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        parts.append(&mut leaves);

        let mut named: Vec<Part> = materials
            .inputs
            .iter()
            .map(|(name, digest)| Part {
                section: Section::Input,
                name: name.clone(),
                digest: *digest,
                shown: None,
            })
            .collect();
        named.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        parts.append(&mut named);

        named.extend(stage.outputs.iter().map(|output| {
            part(Section::Output, output.port.as_str(), &Value::from(output.port_type.as_str()))
        }));
        named.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        parts.append(&mut named);

        parts.extend(stage.sources.iter().zip(materials.sources).map(|(path, digest)| Part {
            section: Section::Source,
            name: source_name(path, &self.base),
            digest: *digest,
            shown: None,
        }));

        named.extend(stage.environment.iter().zip(materials.environment).map(|(name, value)| {
            let value = value.as_ref().map_or(Value::Null, |value| Value::from(value.as_str()));
            Part { shown: None, ..part(Section::Environment, name, &value) }
        }));
        named.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        parts.append(&mut named);
        FingerprintParts { version: FINGERPRINT_VERSION, parts }
    }
}

impl FingerprintParts {
    /// The fingerprint that these parts make.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut encoder = Encoder::new("wick fingerprint");
        encoder.number(u64::from(self.version));
        encoder.list(self.parts.len());
        for part in &self.parts {
            encoder.number(part.section as u64);
            match part.section {
                Section::Source => encoder.nothing(),
                _ => encoder.text(&part.name),
            }
            encoder.digest(&part.digest);
        }
        Fingerprint(encoder.finish())
    }
}

/// Something that differs between two fingerprints of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// They were counted in different ways: nothing more can be told.
    Version,
    /// The stage is of another kind, so that all the rest is another as well.
    Kind {
        /// The kind before.
        before: Option<String>,
        /// The kind now.
        after: Option<String>,
    },
    /// The order of the sources, which are the same.
    SourceOrder,
    /// One part.
    Part {
        /// The part before; absent if it was added.
        before: Option<Part>,
        /// The part now; absent if it was removed.
        after: Option<Part>,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Version => {
                f.write_str("this version of wick counts fingerprints in another way")
            }
            Change::Kind { before, after } => {
                let shown = |kind: &Option<String>| kind.clone().unwrap_or("another kind".into());
                write!(f, "`uses` changed from {} to {}", shown(before), shown(after))
            }
            Change::SourceOrder => f.write_str("the order of its sources changed"),
            Change::Part { before: None, after: Some(part) } => {
                write!(f, "{} was added{}", noun(part), in_brackets(part))
            }
            Change::Part { before: Some(part), after: None } => {
                write!(f, "{} was removed{}", noun(part), in_brackets(part))
            }
            Change::Part { before: Some(before), after: Some(after) } => {
                match (&before.shown, &after.shown) {
                    (Some(old), Some(new)) => {
                        write!(f, "{} changed from {old} to {new}", noun(after))
                    }
                    _ => write!(f, "{} changed", noun(after)),
                }
            }
            Change::Part { before: None, after: None } => Ok(()),
        }
    }
}

/// What changed from `old` to `new`, one sentence fragment for each thing, most telling first.
/// Empty when nothing did.
pub fn explain_change(old: &FingerprintParts, new: &FingerprintParts) -> Vec<String> {
    changes(old, new).iter().map(ToString::to_string).collect()
}

/// What changed from `old` to `new`, most telling first. Empty when nothing did.
pub fn changes(old: &FingerprintParts, new: &FingerprintParts) -> Vec<Change> {
    if old.version != new.version {
        return vec![Change::Version];
    }
    let find = |parts: &FingerprintParts, section| {
        parts.parts.iter().find(|part| part.section == section).and_then(|part| part.shown.clone())
    };
    let (before, after) = (find(old, Section::Kind), find(new, Section::Kind));
    if before != after {
        return vec![Change::Kind { before, after }];
    }
    // Where a file was added or removed, the names tell which. Where all files were moved, they
    // are known by their places.
    let by_name = share_a_source(old, new);
    let (old_table, new_table) = (table(old, by_name), table(new, by_name));
    let mut found = Vec::new();
    for (key, part) in &new_table {
        let before = old_table.get(key);
        if before.is_none_or(|before| before.digest != part.digest) {
            found.push(Change::Part { before: before.cloned(), after: Some((*part).clone()) });
        }
    }
    for (key, part) in &old_table {
        if !new_table.contains_key(key) {
            found.push(Change::Part { before: Some((*part).clone()), after: None });
        }
    }
    if found.is_empty() && old.fingerprint() != new.fingerprint() {
        found.push(Change::SourceOrder);
    }
    found
}

fn sources(parts: &FingerprintParts) -> impl Iterator<Item = &Part> {
    parts.parts.iter().filter(|part| part.section == Section::Source)
}

fn share_a_source(old: &FingerprintParts, new: &FingerprintParts) -> bool {
    sources(old).any(|old| sources(new).any(|new| old.name == new.name))
}

/// Parts by what they are called. Sources, whose names are no part of the fingerprint, by their
/// names or by their places.
fn table(parts: &FingerprintParts, by_name: bool) -> BTreeMap<(Section, String, usize), Part> {
    let mut table = BTreeMap::new();
    let mut place = 0;
    for part in &parts.parts {
        let key = if part.section == Section::Source {
            place += 1;
            let name = if by_name { part.name.clone() } else { String::new() };
            // One file may be named twice.
            let twins = table
                .range((part.section, name.clone(), 0)..=(part.section, name.clone(), usize::MAX))
                .count();
            (part.section, name, if by_name { twins } else { place })
        } else {
            (part.section, part.name.clone(), 0)
        };
        table.insert(key, part.clone());
    }
    table
}

/// The way to a value in `with` as a text: `optimizer.adam.learning_rate`, `model[0].dense`.
/// Keys that could be mistaken for more than one segment are quoted.
pub fn config_path(segments: &[PathSegment]) -> String {
    let mut path = String::new();
    for segment in segments {
        match segment {
            PathSegment::Key(key) => push_key(&mut path, key),
            PathSegment::Index(index) => push_index(&mut path, *index),
        }
    }
    path
}

fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(plain) {
        path.push_str(key);
    } else {
        path.push_str(&Value::from(key).to_string());
    }
}

fn push_index(path: &mut String, index: usize) {
    let _ = write!(path, "[{index}]");
}

/// Which places in `with` are not what they seem.
#[derive(Clone, Copy)]
struct Rules<'a> {
    /// Places that do not count.
    left_out: &'a [String],
    /// Mappings whose order of keys counts.
    ordered: &'a [String],
    /// Places that are as if they were not there.
    neutral: &'a [String],
}

/// One part for each value in `config` that holds no others.
fn config_leaves(config: &Value, path: &mut String, rules: Rules<'_>, parts: &mut Vec<Part>) {
    if !path.is_empty() && rules.neutral.iter().any(|field| field == path) {
        return;
    }
    if !path.is_empty() && rules.left_out.iter().any(|field| field == path) {
        // That there is a source counts, and what it is called; not where it lies.
        parts.push(Part { shown: None, ..part(Section::With, path, &Value::Null) });
        return;
    }
    let length = path.len();
    match config {
        Value::Object(entries) if !entries.is_empty() => {
            if rules.ordered.iter().any(|field| field == path) {
                let mut order = String::new();
                entries.keys().for_each(|key| push_key(&mut order, key));
                parts.push(part(Section::With, &format!("{path}{ORDER}"), &order.into()));
            }
            let before = parts.len();
            for (key, value) in entries {
                push_key(path, key);
                config_leaves(value, path, rules, parts);
                path.truncate(length);
            }
            if parts.len() == before {
                // Without what does not count it is empty, which counts.
                parts.push(part(Section::With, path, &Value::Object(Map::new())));
            }
        }
        Value::Array(items) if !items.is_empty() && items.len() <= MAX_LIST_PARTS => {
            for (index, value) in items.iter().enumerate() {
                push_index(path, index);
                config_leaves(value, path, rules, parts);
                path.truncate(length);
            }
        }
        leaf => parts.push(part(Section::With, path, leaf)),
    }
}

fn part(section: Section, name: &str, value: &Value) -> Part {
    let mut encoder = Encoder::new("wick value");
    encoder.value(value);
    let shown = match value {
        Value::String(text) if text.len() > MAX_SHOWN => None,
        Value::Array(_) | Value::Object(_) => None,
        Value::String(text) if section != Section::With => Some(text.clone()),
        value => Some(value.to_string()),
    };
    Part { section, name: name.to_owned(), digest: encoder.finish(), shown }
}

fn source_name(path: &Path, base: &Path) -> String {
    path.strip_prefix(base).unwrap_or(path).display().to_string()
}

fn noun(part: &Part) -> String {
    match part.section {
        Section::Kind => "`uses`".to_owned(),
        Section::Revision => "the kind's revision".to_owned(),
        Section::With if part.name.is_empty() => "`with`".to_owned(),
        Section::With => match part.order_of() {
            Some(path) => format!("the order of `with.{path}`"),
            None => format!("`with.{}`", part.name),
        },
        Section::Input => format!("input `{}`", part.name),
        Section::Output => format!("output `{}`", part.name),
        Section::Source => format!("source `{}`", part.name),
        Section::Environment => format!("environment variable `{}`", part.name),
    }
}

fn in_brackets(part: &Part) -> String {
    part.shown.as_ref().map(|shown| format!(" ({shown})")).unwrap_or_default()
}
