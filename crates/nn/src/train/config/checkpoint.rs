//! `checkpoint:` of a `train` stage: how often its state is saved.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::spec::short::{self, Short, whole};

/// `checkpoint`. What it says determines nothing of what a training comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CheckpointSpec {
    /// Nothing is saved, and nothing gone on from.
    Never,
    /// After every so many epochs.
    Epochs(usize),
    /// After an epoch, when so many seconds have passed; but so seldom that it takes at most a
    /// hundredth of the time.
    Seconds(f64),
}

impl Default for CheckpointSpec {
    fn default() -> Self {
        Self::Seconds(10.0)
    }
}

/// The units that a duration may have, in seconds.
const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

impl CheckpointSpec {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "never" {
            return Some(Self::Never);
        }
        let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, unit) = (text[..digits].parse::<f64>().ok()?, text[digits..].trim_start());
        if matches!(unit, "epoch" | "epochs") {
            return Self::from_number(number).ok();
        }
        let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        Some(Self::Seconds(number * seconds))
    }
}

/// The long form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    every: Every,
}

/// How often, as it stands in the long form.
struct Every(CheckpointSpec);

impl<'de> Short<'de> for CheckpointSpec {
    const EXPECTING: &'static str =
        "how often to save: a number of epochs, a duration such as `30s`, or `never`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Long::deserialize(deserializer).map(|long| long.every.0)
    }

    fn from_number(number: f64) -> Result<Self, String> {
        match whole(number)? {
            0 => Err("a state is saved after 1 epoch or more; write `never` for not at all".into()),
            epochs => Ok(Self::Epochs(epochs)),
        }
    }

    fn from_text<E: serde::de::Error>(text: &str) -> Result<Self, E> {
        Self::parse(text)
            .ok_or_else(|| E::custom(format!("`{text}` does not say {}", Self::EXPECTING)))
    }
}

impl<'de> Short<'de> for Every {
    const EXPECTING: &'static str = CheckpointSpec::EXPECTING;

    fn long<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(format!("a mapping is not {}", Self::EXPECTING)))
    }

    fn from_number(number: f64) -> Result<Self, String> {
        CheckpointSpec::from_number(number).map(Self)
    }

    fn from_text<E: serde::de::Error>(text: &str) -> Result<Self, E> {
        CheckpointSpec::from_text(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for CheckpointSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

impl JsonSchema for CheckpointSpec {
    fn schema_name() -> Cow<'static, str> {
        "Checkpoint".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let epochs = json!({"type": "integer", "minimum": 1});
        let text = json!({
            "type": "string",
            "pattern": r"^\s*(never|[0-9.]+\s*(ms|s|m|h|epochs?))\s*$"
        });
        json_schema!({"anyOf": [
            epochs,
            text,
            {
                "type": "object",
                "properties": {"every": {"anyOf": [epochs, text]}},
                "required": ["every"],
                "additionalProperties": false
            }
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<CheckpointSpec, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(read("5"), Ok(CheckpointSpec::Epochs(5)));
        assert_eq!(read(r#""1 epoch""#), Ok(CheckpointSpec::Epochs(1)));
        assert_eq!(read(r#"{"every": 3}"#), Ok(CheckpointSpec::Epochs(3)));
        assert_eq!(read(r#"{"every": "1.5m"}"#), Ok(CheckpointSpec::Seconds(90.0)));
        assert_eq!(read(r#""500ms""#), Ok(CheckpointSpec::Seconds(0.5)));
        assert_eq!(read(r#""never""#), Ok(CheckpointSpec::Never));
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for json in ["0", "-1", "1.5", r#""often""#, r#""5""#, r#""0 epochs""#, "true", "{}"] {
            assert!(read(json).is_err(), "{json}");
        }
        let error = read(r#"{"every": {"every": 3}}"#).expect_err("no form");
        assert!(error.contains("a mapping is not how often to save"), "{error}");
    }
}
