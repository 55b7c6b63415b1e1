//! `with` of a `train` stage.

mod checkpoint;
mod loss;
mod optimizer;
mod scheduler;

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::features::Features;
use crate::spec::LayerSpec;
use crate::spec::short::{self, Short, short_and_long, short_schema, whole};

pub use checkpoint::CheckpointSpec;
pub use loss::{CrossEntropy, Huber, LossSpec};
pub use optimizer::{Adam, Adamw, OptimizerSpec, Rmsprop, Sgd};
pub use scheduler::{Constant, Cosine, Exponential, SchedulerSpec, StepDecay};

/// Configuration of `train`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// The column to predict.
    pub target: String,
    /// The columns that the network reads: a list of names, or names with what they are
    /// (`number`, `vector`, `image`). Every numeric column but the target if left out.
    #[serde(default)]
    pub features: Option<Features>,
    /// The layers of the network, first to last. The last one gives one output for each class,
    /// or a single one for a number or for two classes.
    #[schemars(length(min = 1))]
    pub model: Vec<LayerSpec>,
    /// What is made small. `cross_entropy` and `binary_cross_entropy` tell classes apart; `mse`,
    /// `mae` and `huber` predict a number. Chosen by the target and the last layer if left out.
    #[serde(default)]
    pub loss: Option<LossSpec>,
    /// How weights follow their gradients.
    #[serde(default)]
    pub optimizer: OptimizerSpec,
    /// How many rows make one step.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: usize,
    /// How often the training data is gone through, at most.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: usize,
    /// Stops when the monitored metric no longer gets better. `3` means `{patience: 3}`.
    #[serde(default)]
    #[schemars(schema_with = "early_stopping_schema")]
    pub early_stopping: Option<EarlyStopping>,
    /// The metric by which the best weights are chosen; that of `early_stopping` if left out,
    /// else `validation.loss`. Without validation data the last weights are kept.
    #[serde(default)]
    pub validation_metric: Option<String>,
    /// How much each class counts in the loss: `balanced`, or a weight for each class.
    #[serde(default)]
    pub class_weights: Option<ClassWeights>,
    /// Keeps gradients small: a number is the largest norm of all of them together.
    #[serde(default)]
    #[schemars(schema_with = "gradient_clipping_schema")]
    pub gradient_clipping: Option<GradientClipping>,
    /// How the learning rate changes over the epochs.
    #[serde(default)]
    pub learning_rate_scheduler: SchedulerSpec,
    /// Whether the rows are put in a new order for each epoch.
    #[serde(default = "yes")]
    pub shuffle: bool,
    /// Whether a numeric target is brought to mean 0 and deviation 1 for training, so that
    /// losses and learning rates have their usual size. Predictions and the metrics `mae`,
    /// `rmse` and `r2` are in the target's own units; `loss` is in those of training.
    #[serde(default = "yes")]
    pub standardize_target: bool,
    /// How often the state of the training is saved, for another attempt to go on from: a number
    /// of epochs, a duration such as `30s`, or `never`. Every 10 seconds if left out, at the end
    /// of an epoch, and taking at most a hundredth of the time. Has no effect on the outcome.
    #[serde(default)]
    pub checkpoint: CheckpointSpec,
    /// Decides initial weights, order and dropout: equal seeds give equal models.
    #[serde(default)]
    pub seed: u64,
}

const fn default_batch_size() -> usize {
    32
}

const fn default_epochs() -> usize {
    10
}

const fn yes() -> bool {
    true
}

/// `early_stopping`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct EarlyStopping {
    /// The metric that is watched.
    #[serde(default = "validation_loss")]
    pub monitor: String,
    /// How many epochs may pass without getting better.
    #[schemars(range(min = 1))]
    pub patience: usize,
    /// By how much it must get better to count.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub min_delta: f64,
    /// Whether smaller or larger is better; known by the metric's name if left out.
    #[serde(default)]
    pub mode: Option<Mode>,
}

fn validation_loss() -> String {
    "validation.loss".to_owned()
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Smaller.
    Min,
    /// Larger.
    Max,
}

/// `class_weights`.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeights {
    /// Every class counts the same, however rare: rows / (classes · rows of the class).
    Balanced,
    /// By class; 1 for those left out.
    Each(IndexMap<String, f64>),
}

/// `gradient_clipping`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", remote = "Self")]
pub enum GradientClipping {
    /// Scales all gradients down so that their norm together is at most this.
    Norm(f64),
    /// Cuts every gradient to within ± this.
    Value(f64),
}

impl<'de> Short<'de> for EarlyStopping {
    const EXPECTING: &'static str =
        "a number of epochs, or `{monitor: validation.loss, patience: 3}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn from_number(number: f64) -> Result<Self, String> {
        let patience = whole(number)?;
        Ok(Self { monitor: validation_loss(), patience, min_delta: 0.0, mode: None })
    }
}

impl<'de> Short<'de> for GradientClipping {
    const EXPECTING: &'static str = "the largest norm, `{norm: 1}` or `{value: 0.5}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn from_number(number: f64) -> Result<Self, String> {
        Ok(GradientClipping::Norm(number))
    }
}

impl<'de> Deserialize<'de> for ClassWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        short::read(deserializer)
    }
}

impl<'de> Short<'de> for ClassWeights {
    const EXPECTING: &'static str = "`balanced`, or a weight for each class";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IndexMap::deserialize(deserializer).map(ClassWeights::Each)
    }

    fn from_text<E: serde::de::Error>(text: &str) -> Result<Self, E> {
        match text {
            "balanced" => Ok(ClassWeights::Balanced),
            _ => Err(E::custom(format!("`{text}` is not {}", Self::EXPECTING))),
        }
    }
}

fn early_stopping_schema(generator: &mut SchemaGenerator) -> Schema {
    let long = generator.subschema_for::<EarlyStopping>();
    short_schema(json!({"type": "integer", "minimum": 1}), long)
}

fn gradient_clipping_schema(generator: &mut SchemaGenerator) -> Schema {
    let long = generator.subschema_for::<GradientClipping>();
    short_schema(json!({"type": "number", "exclusiveMinimum": 0}), long)
}

impl JsonSchema for ClassWeights {
    fn schema_name() -> Cow<'static, str> {
        "ClassWeights".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string", "enum": ["balanced"]},
            {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}
        ]})
    }
}

short_and_long!(EarlyStopping, GradientClipping);
