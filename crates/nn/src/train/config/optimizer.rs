//! `optimizer:` of a `train` stage.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};

use crate::spec::short::{Short, named_schema, short_and_long};

/// How weights follow their gradients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
pub enum OptimizerSpec {
    /// Adam (Kingma and Ba, 2015).
    Adam(Adam),
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
    Adamw(Adamw),
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// RMSprop (Hinton, 2012).
    Rmsprop(Rmsprop),
}

impl Default for OptimizerSpec {
    fn default() -> Self {
        Self::adam(adam_rate())
    }
}

impl OptimizerSpec {
    /// Adam with this learning rate, and its usual values for the rest.
    pub fn adam(learning_rate: f64) -> Self {
        OptimizerSpec::Adam(Adam {
            learning_rate,
            beta1: beta1(),
            beta2: beta2(),
            epsilon: epsilon(),
            weight_decay: 0.0,
        })
    }

    /// The learning rate before any schedule.
    pub const fn learning_rate(&self) -> f64 {
        match self {
            OptimizerSpec::Adam(adam) => adam.learning_rate,
            OptimizerSpec::Adamw(adamw) => adamw.learning_rate,
            OptimizerSpec::Sgd(sgd) => sgd.learning_rate,
            OptimizerSpec::Rmsprop(rmsprop) => rmsprop.learning_rate,
        }
    }

    /// Its name, for paths and messages.
    pub const fn name(&self) -> &'static str {
        match self {
            OptimizerSpec::Adam(_) => "adam",
            OptimizerSpec::Adamw(_) => "adamw",
            OptimizerSpec::Sgd(_) => "sgd",
            OptimizerSpec::Rmsprop(_) => "rmsprop",
        }
    }
}

/// `adam`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adam {
    /// How far a step goes.
    #[serde(default = "adam_rate")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub learning_rate: f64,
    /// How slowly the mean of the gradients forgets.
    #[serde(default = "beta1")]
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta1: f64,
    /// How slowly the mean of their squares forgets.
    #[serde(default = "beta2")]
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta2: f64,
    /// Keeps the division from zero.
    #[serde(default = "epsilon")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub epsilon: f64,
    /// Added to the gradient, times the weight (an L2 penalty).
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub weight_decay: f64,
}

/// `adamw`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Adamw {
    /// How far a step goes.
    #[serde(default = "adam_rate")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub learning_rate: f64,
    /// How slowly the mean of the gradients forgets.
    #[serde(default = "beta1")]
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta1: f64,
    /// How slowly the mean of their squares forgets.
    #[serde(default = "beta2")]
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta2: f64,
    /// Keeps the division from zero.
    #[serde(default = "epsilon")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub epsilon: f64,
    /// The share of a weight that each step takes away, times the learning rate.
    #[serde(default = "decoupled_decay")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub weight_decay: f64,
}

/// `sgd`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sgd {
    /// How far a step goes.
    #[serde(default = "sgd_rate")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub learning_rate: f64,
    /// How much of the last step goes into this one.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub momentum: f64,
    /// Whether to look ahead along the momentum (Nesterov).
    #[serde(default)]
    pub nesterov: bool,
    /// Added to the gradient, times the weight (an L2 penalty).
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub weight_decay: f64,
}

/// `rmsprop`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rmsprop {
    /// How far a step goes.
    #[serde(default = "adam_rate")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub learning_rate: f64,
    /// How slowly the mean of the squares forgets.
    #[serde(default = "rmsprop_alpha")]
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub alpha: f64,
    /// How much of the last step goes into this one.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub momentum: f64,
    /// Keeps the division from zero.
    #[serde(default = "epsilon")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub epsilon: f64,
    /// Added to the gradient, times the weight (an L2 penalty).
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub weight_decay: f64,
}

const fn adam_rate() -> f64 {
    1e-3
}
const fn sgd_rate() -> f64 {
    1e-2
}
const fn beta1() -> f64 {
    0.9
}
const fn beta2() -> f64 {
    0.999
}
const fn epsilon() -> f64 {
    1e-8
}
const fn decoupled_decay() -> f64 {
    1e-2
}
const fn rmsprop_alpha() -> f64 {
    0.99
}

impl<'de> Short<'de> for OptimizerSpec {
    const EXPECTING: &'static str =
        "an optimizer, such as `adam` or `{adam: {learning_rate: 0.001}}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl JsonSchema for OptimizerSpec {
    fn schema_name() -> Cow<'static, str> {
        "Optimizer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        named_schema(
            "How weights follow their gradients.",
            &["adam", "adamw", "sgd", "rmsprop"],
            vec![
                ("adam", "Adam.", generator.subschema_for::<Adam>()),
                ("adamw", "Adam with decoupled weight decay.", generator.subschema_for::<Adamw>()),
                ("sgd", "Gradient descent, with momentum.", generator.subschema_for::<Sgd>()),
                ("rmsprop", "RMSprop.", generator.subschema_for::<Rmsprop>()),
            ],
        )
    }
}

short_and_long!(OptimizerSpec);
