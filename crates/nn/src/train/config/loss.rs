//! `loss:` of a `train` stage.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};

use crate::spec::short::{Short, named_schema, short_and_long};

/// What training makes small.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
pub enum LossSpec {
    /// Of several classes: softmax and negative log-likelihood.
    CrossEntropy(CrossEntropy),
    /// Of two classes with a single output: sigmoid and negative log-likelihood.
    BinaryCrossEntropy,
    /// The mean squared error.
    Mse,
    /// The mean absolute error.
    Mae,
    /// Squared for small errors, absolute for large ones.
    Huber(Huber),
}

/// `cross_entropy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrossEntropy {
    /// The share of certainty that is spread over all classes.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.999))]
    pub label_smoothing: f64,
}

/// `huber`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Huber {
    /// Where the squared error turns into the absolute one.
    #[serde(default = "one")]
    #[schemars(range(min = 0.000_001))]
    pub delta: f64,
}

const fn one() -> f64 {
    1.0
}

impl LossSpec {
    /// Whether it tells classes apart.
    pub const fn is_classification(&self) -> bool {
        matches!(self, LossSpec::CrossEntropy(_) | LossSpec::BinaryCrossEntropy)
    }

    /// The word in `loss:`.
    pub const fn name(&self) -> &'static str {
        match self {
            LossSpec::CrossEntropy(_) => "cross_entropy",
            LossSpec::BinaryCrossEntropy => "binary_cross_entropy",
            LossSpec::Mse => "mse",
            LossSpec::Mae => "mae",
            LossSpec::Huber(_) => "huber",
        }
    }
}

impl<'de> Short<'de> for LossSpec {
    const EXPECTING: &'static str = "a loss, such as `cross_entropy`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl JsonSchema for LossSpec {
    fn schema_name() -> Cow<'static, str> {
        "Loss".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        named_schema(
            "What training makes small.",
            &["cross_entropy", "binary_cross_entropy", "mse", "mae", "huber"],
            vec![
                (
                    "cross_entropy",
                    "Of several classes: softmax and negative log-likelihood.",
                    generator.subschema_for::<CrossEntropy>(),
                ),
                (
                    "huber",
                    "Squared for small errors, absolute for large ones.",
                    generator.subschema_for::<Huber>(),
                ),
            ],
        )
    }
}

short_and_long!(LossSpec);
