//! The configuration of the `compress` kind.

use schemars::JsonSchema;
use serde::Deserialize;
use wick_nn::packed::Storage;
use wick_nn::train::config::CheckpointSpec;

/// How a model is made smaller. At least one of `prune` and `quantize` is needed; pruning comes
/// first.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompressConfig {
    /// Sets the smallest weights to zero; zeros are not stored.
    #[serde(default)]
    pub prune: Option<Prune>,
    /// Stores weights in fewer bits.
    #[serde(default)]
    pub quantize: Option<Quantize>,
    /// Decides the order of rows in fine-tuning.
    #[serde(default)]
    pub seed: u64,
}

/// Which weights are set to zero. Biases stay.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// The share of weights to remove, from 0 to 1: `0.5` is half of them.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub amount: f64,
    /// Which weights are compared with each other.
    #[serde(default)]
    pub scope: Scope,
    /// Trains the remaining weights on after pruning, on the input `train`.
    #[serde(default)]
    pub fine_tune: Option<FineTune>,
}

/// Which weights are compared with each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All weights of the network: layers of small weights lose more.
    #[default]
    Global,
    /// The weights of each layer by themselves: every layer loses the same share.
    Layer,
}

/// Training after pruning.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FineTune {
    /// How often the training data is gone through.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub epochs: usize,
    /// The learning rate of Adam; a fraction of the one that the model was trained with does well.
    #[serde(default = "small_rate")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub learning_rate: f64,
    /// How many rows make one step.
    #[serde(default = "batch")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: usize,
    /// How often the state of the training is saved, as of a `train` stage. Has no effect on the
    /// outcome.
    #[serde(default)]
    pub checkpoint: CheckpointSpec,
}

/// How weights are stored.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantize {
    /// The type of a stored weight.
    #[serde(default)]
    pub weights: WeightType,
    /// Which weights share a scale.
    #[serde(default)]
    pub granularity: Granularity,
}

/// The type of a stored weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightType {
    /// Eight bits, symmetric about zero.
    #[default]
    Int8,
}

/// Which weights share a scale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// Those of one output channel: finer, for four bytes a channel.
    #[default]
    PerChannel,
    /// All of a tensor.
    PerTensor,
}

impl CompressConfig {
    /// How the weights that are compressed are stored.
    pub fn storage(&self) -> Storage {
        match self.quantize.as_ref().map(|quantize| (quantize.weights, quantize.granularity)) {
            None => Storage::Float,
            Some((WeightType::Int8, Granularity::PerTensor)) => Storage::Int8PerTensor,
            Some((WeightType::Int8, Granularity::PerChannel)) => Storage::Int8PerChannel,
        }
    }

    /// How the model is trained on after pruning, if it is.
    pub fn fine_tune(&self) -> Option<&FineTune> {
        self.prune.as_ref()?.fine_tune.as_ref()
    }
}

const fn one() -> usize {
    1
}

const fn small_rate() -> f64 {
    1e-4
}

const fn batch() -> usize {
    32
}
