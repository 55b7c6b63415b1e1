//! `with` of a `train` stage.

use std::borrow::Cow;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;

use crate::features::Features;
use crate::spec::LayerSpec;
use crate::spec::short::{self, Short, named_schema, short_schema, whole};

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

impl<'de> Short<'de> for LossSpec {
    const EXPECTING: &'static str = "a loss, such as `cross_entropy`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl<'de> Short<'de> for OptimizerSpec {
    const EXPECTING: &'static str =
        "an optimizer, such as `adam` or `{adam: {learning_rate: 0.001}}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
}

impl<'de> Short<'de> for SchedulerSpec {
    const EXPECTING: &'static str = "a schedule, such as `cosine` or `{step: {every: 10}}`";

    fn long<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }
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

/// Reads by short and long form, writes by the derived long form.
macro_rules! short_and_long {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                short::read(deserializer)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                // The inherent function that `remote = "Self"` derives.
                <$name>::serialize(self, serializer)
            }
        }
    )*};
}
short_and_long!(LossSpec, OptimizerSpec, SchedulerSpec, EarlyStopping, GradientClipping);

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
