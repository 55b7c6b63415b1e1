//! Metrics: named series of numbers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The name of a metric within its stage: `accuracy`, `validation.loss`.
pub type MetricKey = Arc<str>;

/// How the names of metrics begin that tell of the machine rather than of the work.
pub const SYSTEM: &str = "system.";

/// Whether a metric tells of the machine: what an attempt used of it while it ran. Equal runs
/// differ in these.
pub fn is_system(key: &str) -> bool {
    key.starts_with(SYSTEM)
}

/// One point of a metric's series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricPoint {
    /// Which series.
    pub key: MetricKey,
    /// The place in the series: an epoch, a batch; 0 for a metric with one value.
    #[serde(default)]
    pub step: i64,
    /// When it was measured.
    pub time: Timestamp,
    /// The value; NaN and infinities are kept and travel in JSON as the strings `NaN`,
    /// `Infinity`, `-Infinity`.
    #[serde(with = "float")]
    pub value: f64,
}

/// The number that a text of JSON is, to its last bit: `0.31`, or `"NaN"`, `"Infinity"` or
/// `"-Infinity"`, for which JSON has no word. `None` if it is something else.
///
/// Not through serde_json, which rounds a little where it reads quickly.
pub fn number(json: &str) -> Option<f64> {
    match json {
        "\"NaN\"" => Some(f64::NAN),
        "\"Infinity\"" => Some(f64::INFINITY),
        "\"-Infinity\"" => Some(f64::NEG_INFINITY),
        // Words that Rust reads as numbers are none in JSON.
        json if json.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit()) => {
            json.parse().ok()
        }
        _ => None,
    }
}

/// A number in JSON, every bit of it: for `#[serde(with = "…")]`.
pub mod float {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use serde_json::value::RawValue;

    /// Writes it; NaN and the infinities as texts.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else if value.is_nan() {
            serializer.serialize_str("NaN")
        } else {
            serializer.serialize_str(if *value > 0.0 { "Infinity" } else { "-Infinity" })
        }
    }

    /// Reads it from JSON; see [`number`](super::number).
    ///
    /// # Errors
    /// If it is no number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        super::number(raw.get()).ok_or_else(|| {
            let found = de::Unexpected::Other(raw.get());
            de::Error::invalid_value(found, &"a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_survives_json() {
        for value in [0.1, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE] {
            let point = MetricPoint { key: "loss".into(), step: 3, time: Timestamp(7), value };
            let json = serde_json::to_string(&point).expect("a point is JSON");
            let back: MetricPoint = serde_json::from_str(&json).expect("its own JSON");
            assert_eq!(back.value.to_bits(), value.to_bits(), "{json}");
        }
    }

    #[test]
    fn numbers_are_told_from_other_json() {
        #[track_caller]
        fn check(json: &str, expect: Option<f64>) {
            assert_eq!(number(json), expect, "{json}");
        }
        check("0.1", Some(0.1));
        check("-3", Some(-3.0));
        check("1e-7", Some(1e-7));
        check("18446744073709551615", Some(18_446_744_073_709_551_615.0));
        check("\"-Infinity\"", Some(f64::NEG_INFINITY));
        for other in ["\"1\"", "true", "[1]", "null", "NaN", "inf", "-inf", ""] {
            check(other, None);
        }
    }
}
