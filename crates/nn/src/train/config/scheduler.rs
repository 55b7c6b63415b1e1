//! `learning_rate_scheduler:` of a `train` stage.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};

use crate::spec::short::{Short, named_schema, short_and_long};

/// `learning_rate_scheduler`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
pub enum SchedulerSpec {
    /// Always the same.
    Constant(Constant),
    /// Times `factor` after every so many epochs.
    Step(StepDecay),
    /// Falls along half a cosine to `minimum` at the end (Loshchilov and Hutter, 2017).
    Cosine(Cosine),
    /// Times `factor` after every epoch.
    Exponential(Exponential),
}

impl Default for SchedulerSpec {
    fn default() -> Self {
        SchedulerSpec::Constant(Constant { warmup: 0.0 })
    }
}

/// `constant`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// For how many epochs the rate grows from zero first.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub warmup: f64,
}

/// `step`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepDecay {
    /// After how many epochs.
    #[serde(default = "every_ten")]
    #[schemars(range(min = 1))]
    pub every: usize,
    /// What the rate is multiplied by.
    #[serde(default = "tenth")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub factor: f64,
    /// For how many epochs the rate grows from zero first.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub warmup: f64,
}

const fn every_ten() -> usize {
    10
}
const fn tenth() -> f64 {
    0.1
}

/// `cosine`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cosine {
    /// The rate at the end.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub minimum: f64,
    /// For how many epochs the rate grows from zero first.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub warmup: f64,
}

/// `exponential`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exponential {
    /// What the rate is multiplied by after every epoch.
    #[serde(default = "mild")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub factor: f64,
    /// For how many epochs the rate grows from zero first.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub warmup: f64,
}

const fn mild() -> f64 {
    0.95
}

impl<'de> Short<'de> for SchedulerSpec {
    const EXPECTING: &'static str = "a schedule, such as `cosine` or `{step: {every: 10}}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl JsonSchema for SchedulerSpec {
    fn schema_name() -> Cow<'static, str> {
        "Scheduler".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        named_schema(
            "How the learning rate changes.",
            &["constant", "step", "cosine", "exponential"],
            vec![
                ("constant", "Always the same.", generator.subschema_for::<Constant>()),
                (
                    "step",
                    "Times `factor` after every so many epochs.",
                    generator.subschema_for::<StepDecay>(),
                ),
                (
                    "cosine",
                    "Falls along half a cosine to `minimum`.",
                    generator.subschema_for::<Cosine>(),
                ),
                (
                    "exponential",
                    "Times `factor` after every epoch.",
                    generator.subschema_for::<Exponential>(),
                ),
            ],
        )
    }
}

short_and_long!(SchedulerSpec);
