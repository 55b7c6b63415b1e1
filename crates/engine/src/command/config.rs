//! The `with` of a `command` stage.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use wick_core::PortType;
use wick_stage::layout;

/// The `with` of a `command` stage.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// What to run: a list of words, run without a shell, or a text for `sh -c`. In both,
    /// `${inputs.NAME}` and `${outputs.NAME}` stand for paths.
    pub run: Run,
    /// What the program makes, by name: a type, or `{type, format, path}`.
    #[serde(default)]
    pub outputs: IndexMap<String, OutputSpec>,
    /// Files and folders of code, from the pipeline file's folder: when one changes, the stage
    /// runs again. Scripts that `run` names are code by themselves.
    #[serde(default)]
    pub code: Vec<PathBuf>,
    /// Environment variables that the program sees beside the usual ones. A list names those that
    /// are passed on: when a value changes, the stage runs again. A mapping gives them values, in
    /// which `${secrets.NAME}` stands for a secret: when that changes, nothing runs again.
    #[serde(default)]
    pub env: Env,
    /// The folder that the program runs in, from the pipeline file's folder, which it is by
    /// default.
    #[serde(default)]
    pub workdir: Option<PathBuf>,
    /// A JSON file of numbers by name, recorded as metrics when the program has ended: the name
    /// of an output, or a path from `workdir`.
    #[serde(default)]
    pub metrics: Option<String>,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Run {
    /// A program and its arguments; no shell sees them.
    Words(Vec<String>),
    /// A text for `sh -c`.
    Shell(String),
}

impl Run {
    /// The texts in which references are looked for.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        match self {
            Run::Words(words) => words.as_slice(),
            Run::Shell(text) => std::slice::from_ref(text),
        }
        .iter()
        .map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RunVisitor;
        impl<'de> Visitor<'de> for RunVisitor {
            type Value = Run;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of words or a text for the shell")
            }
            fn visit_str<E>(self, text: &str) -> Result<Run, E> {
                Ok(Run::Shell(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, words: A) -> Result<Run, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(words)).map(Run::Words)
            }
        }
        deserializer.deserialize_any(RunVisitor)
    }
}

impl JsonSchema for Run {
    fn schema_name() -> Cow<'static, str> {
        "Run".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "string", "minLength": 1}
            ]
        })
    }
}

/// Environment variables of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Env {
    /// The names of variables that are passed on from the engine's environment.
    Passed(Vec<String>),
    /// Variables with their values, in which references may stand.
    Set(IndexMap<String, String>),
}

impl Default for Env {
    fn default() -> Self {
        Env::Passed(Vec::new())
    }
}

impl Env {
    /// The names of the variables that are passed on.
    pub fn passed(&self) -> &[String] {
        match self {
            Env::Passed(names) => names,
            Env::Set(_) => &[],
        }
    }

    /// The variables that are given values.
    pub fn set(&self) -> impl Iterator<Item = (&str, &str)> {
        let set = match self {
            Env::Passed(_) => None,
            Env::Set(set) => Some(set),
        };
        set.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The names of all variables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.passed().iter().map(String::as_str).chain(self.set().map(|(name, _)| name))
    }
}

/// A value of a variable: numbers and truths are written as in YAML.
struct EnvValue(String);

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvValueVisitor;
        impl Visitor<'_> for EnvValueVisitor {
            type Value = EnvValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, `true` or `false`")
            }
            fn visit_str<E>(self, text: &str) -> Result<EnvValue, E> {
                Ok(EnvValue(text.to_owned()))
            }
            fn visit_bool<E>(self, value: bool) -> Result<EnvValue, E> {
                Ok(EnvValue(value.to_string()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<EnvValue, E> {
                Ok(EnvValue(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<EnvValue, E> {
                Ok(EnvValue(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<EnvValue, E> {
                Ok(EnvValue(value.to_string()))
            }
        }
        deserializer.deserialize_any(EnvValueVisitor)
    }
}

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvVisitor;
        impl<'de> Visitor<'de> for EnvVisitor {
            type Value = Env;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names or a mapping of names to values")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Env, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names)).map(Env::Passed)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Env, A::Error> {
                let mut set = IndexMap::new();
                while let Some((name, EnvValue(value))) = map.next_entry()? {
                    set.insert(name, value);
                }
                Ok(Env::Set(set))
            }
        }
        deserializer.deserialize_any(EnvVisitor)
    }
}

impl JsonSchema for Env {
    fn schema_name() -> Cow<'static, str> {
        "Env".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "number", "boolean"]}
                }
            ]
        })
    }
}

/// The file format of a dataset that a program writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TableFormat {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// Arrow IPC.
    Arrow,
    /// Comma-separated values with a header.
    Csv,
}

impl TableFormat {
    /// The name of the table's file in a dataset.
    pub const fn file(self) -> &'static str {
        match self {
            TableFormat::Parquet => layout::DATASET_PARQUET,
            TableFormat::Arrow => layout::DATASET_ARROW,
            TableFormat::Csv => layout::DATASET_CSV,
        }
    }

    /// The word used in pipelines.
    pub const fn as_str(self) -> &'static str {
        match self {
            TableFormat::Parquet => "parquet",
            TableFormat::Arrow => "arrow",
            TableFormat::Csv => "csv",
        }
    }
}

/// An output of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpec {
    /// Its type.
    pub port_type: PortType,
    /// The format of a dataset.
    pub format: Option<TableFormat>,
    /// Where the program writes it, from its folder, if it does not take `${outputs.NAME}`.
    pub path: Option<PathBuf>,
}

/// The long form of an output.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LongOutput {
    #[serde(rename = "type")]
    port_type: PortType,
    #[serde(default)]
    format: Option<TableFormat>,
    #[serde(default)]
    path: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for OutputSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OutputVisitor;
        impl<'de> Visitor<'de> for OutputVisitor {
            type Value = OutputSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type, or a mapping with `type`, `format` and `path`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OutputSpec, E> {
                let port_type = PortType::deserialize(de::value::StrDeserializer::new(text))?;
                Ok(OutputSpec { port_type, format: None, path: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OutputSpec, A::Error> {
                let LongOutput { port_type, format, path } =
                    LongOutput::deserialize(MapAccessDeserializer::new(map))?;
                Ok(OutputSpec { port_type, format, path })
            }
        }
        deserializer.deserialize_any(OutputVisitor)
    }
}

impl JsonSchema for OutputSpec {
    fn schema_name() -> Cow<'static, str> {
        "Output".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let types = PortType::ALL.map(PortType::as_str);
        let format = generator.subschema_for::<TableFormat>();
        json_schema!({
            "anyOf": [
                {"type": "string", "enum": types},
                {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string", "enum": types, "description": "Its type."},
                        "format": format,
                        "path": {
                            "type": "string",
                            "description": "Where the program writes it, from its folder, if it does not take `${outputs.NAME}`."
                        }
                    },
                    "required": ["type"],
                    "additionalProperties": false
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn env(json: serde_json::Value) -> Result<Env, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_are_a_list_or_a_mapping() {
        assert_eq!(env(json!(["A", "B"])), Ok(Env::Passed(vec!["A".to_owned(), "B".to_owned()])));
        let set = env(json!({"T": "${secrets.t}", "N": 3, "R": 0.5, "B": true})).expect("a map");
        let set: Vec<(&str, &str)> = set.set().collect();
        assert_eq!(set, [("T", "${secrets.t}"), ("N", "3"), ("R", "0.5"), ("B", "true")]);
        assert!(env(json!({"A": null})).is_err_and(|error| error.contains("a text, a number")));
        assert!(env(json!("A")).is_err_and(|error| error.contains("a list of names or a mapping")));
    }
}
