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
    /// The digests of the stage's inputs, in the order of `PlannedStage::inputs`.
    pub inputs: &'a [Digest],
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
    /// If `materials` does not match the stage's inputs, sources and environment in number.
    pub fn fingerprint_parts(
        &self,
        index: StageIndex,
        materials: Materials<'_>,
    ) -> FingerprintParts {
        let stage = self.stage(index);
        assert_eq!(materials.inputs.len(), stage.inputs.len(), "a digest for each input");
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

        let mut named: Vec<Part> = stage
            .inputs
            .iter()
            .zip(materials.inputs)
            .map(|(input, digest)| Part {
                section: Section::Input,
                name: input.port.to_string(),
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

/// What changed from `old` to `new`, one sentence fragment for each thing, most telling first.
/// Empty when nothing did.
pub fn explain_change(old: &FingerprintParts, new: &FingerprintParts) -> Vec<String> {
    if old.version != new.version {
        return vec!["this version of wick counts fingerprints in another way".to_owned()];
    }
    let find = |parts: &FingerprintParts, section| {
        parts.parts.iter().find(|part| part.section == section).and_then(|part| part.shown.clone())
    };
    let mut changes = Vec::new();
    let (old_kind, new_kind) = (find(old, Section::Kind), find(new, Section::Kind));
    if old_kind != new_kind {
        let shown = |kind: Option<String>| kind.unwrap_or_else(|| "another kind".to_owned());
        changes.push(format!("`uses` changed from {} to {}", shown(old_kind), shown(new_kind)));
        // With another kind all the rest is another as well.
        return changes;
    }

    let key = |place: usize, part: &Part| match part.section {
        // Sources are known by their place: their names are no part of the fingerprint.
        Section::Source => (part.section, format!("{place:08}")),
        _ => (part.section, part.name.clone()),
    };
    let table = |parts: &FingerprintParts| -> BTreeMap<(Section, String), Part> {
        let mut sources = 0;
        let mut table = BTreeMap::new();
        for part in &parts.parts {
            table.insert(key(sources, part), part.clone());
            sources += usize::from(part.section == Section::Source);
        }
        table
    };
    let (old, new) = (table(old), table(new));
    for (key, part) in &new {
        match old.get(key) {
            None => changes.push(format!("{} was added{}", noun(part), in_brackets(part))),
            Some(before) if before.digest != part.digest => {
                changes.push(match (&before.shown, &part.shown) {
                    (Some(before), Some(after)) => {
                        format!("{} changed from {before} to {after}", noun(part))
                    }
                    _ => format!("{} changed", noun(part)),
                });
            }
            Some(_) => {}
        }
    }
    for (key, part) in &old {
        if !new.contains_key(key) {
            changes.push(format!("{} was removed{}", noun(part), in_brackets(part)));
        }
    }
    changes
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
                // No path of a value ends so: a key with a space is quoted.
                parts.push(part(Section::With, &format!("{path} order"), &order.into()));
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
        Section::With => match part.name.strip_suffix(" order") {
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
