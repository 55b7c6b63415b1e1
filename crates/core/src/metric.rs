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
    #[serde(with = "any_float")]
    pub value: f64,
}

mod any_float {
    use serde::{Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else if value.is_nan() {
            serializer.serialize_str("NaN")
        } else {
            serializer.serialize_str(if *value > 0.0 { "Infinity" } else { "-Infinity" })
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = f64;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
            }
            fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
                Ok(value)
            }
            fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
                Ok(value as f64)
            }
            fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
                Ok(value as f64)
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<f64, E> {
                match value {
                    "NaN" => Ok(f64::NAN),
                    "Infinity" => Ok(f64::INFINITY),
                    "-Infinity" => Ok(f64::NEG_INFINITY),
                    _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
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
}
