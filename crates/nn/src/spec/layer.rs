//! The vocabulary of `model:`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A layer of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Self")]
pub enum LayerSpec {
    /// Every output is a weighted sum of all inputs: `dense: 10`.
    Dense(Dense),
    /// Convolution of an image: `conv2d: {filters: 32, kernel: 3}`.
    Conv2d(Conv2d),
    /// The largest value of each window: `max_pool2d: 2`.
    MaxPool2d(Pool2d),
    /// The mean of each window: `avg_pool2d: 2`.
    AvgPool2d(Pool2d),
    /// Makes a list of numbers of an image: `flatten`.
    Flatten,
    /// Drops this share of the values while training: `dropout: 0.3`.
    Dropout(Dropout),
    /// A function of every value: `relu`, or `activation: relu`.
    Activation(Activation),
}

impl LayerSpec {
    /// The word in `model:`.
    pub const fn name(&self) -> &'static str {
        match self {
            LayerSpec::Dense(_) => "dense",
            LayerSpec::Conv2d(_) => "conv2d",
            LayerSpec::MaxPool2d(_) => "max_pool2d",
            LayerSpec::AvgPool2d(_) => "avg_pool2d",
            LayerSpec::Flatten => "flatten",
            LayerSpec::Dropout(_) => "dropout",
            LayerSpec::Activation(_) => "activation",
        }
    }

    /// The activation that the layer ends with.
    pub const fn activation(&self) -> Option<Activation> {
        match self {
            LayerSpec::Dense(dense) => dense.activation,
            LayerSpec::Conv2d(conv) => conv.activation,
            LayerSpec::Activation(activation) => Some(*activation),
            _ => None,
        }
    }
}

/// `dense`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Dense {
    /// How many outputs.
    #[schemars(range(min = 1))]
    pub units: usize,
    /// Applied to the outputs; nothing if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

/// `conv2d`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conv2d {
    /// How many filters: the channels of the output.
    #[schemars(range(min = 1))]
    pub filters: usize,
    /// The window, `3` or `[rows, columns]`.
    pub kernel: Pair,
    /// How far the window moves; 1 unless said otherwise.
    #[serde(default = "Pair::one")]
    pub stride: Pair,
    /// What surrounds the image: `valid` (nothing), `same` (as many zeros as keep its size), or a number of zeros.
    #[serde(default)]
    pub padding: Padding,
    /// Applied to the outputs; nothing if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

/// `max_pool2d` and `avg_pool2d`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Pool2d {
    /// The window, `2` or `[rows, columns]`.
    pub kernel: Pair,
    /// How far the window moves; as far as it is large unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<Pair>,
}

impl Pool2d {
    /// How far the window moves.
    pub fn step(&self) -> Pair {
        self.stride.unwrap_or(self.kernel)
    }
}

/// `dropout`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct Dropout {
    /// The share of values that is dropped: from 0 to just under 1.
    #[schemars(range(min = 0.0, max = 0.999))]
    pub rate: f64,
}

/// A function of every value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// The positive part.
    Relu,
    /// The positive part, and a hundredth of the negative.
    LeakyRelu,
    /// The positive part, and exp(x) − 1 below zero.
    Elu,
    /// x · Φ(x), the Gaussian error linear unit.
    Gelu,
    /// x · sigmoid(x), also called swish.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function.
    Sigmoid,
    /// Positive values that add up to 1. Not for the last layer: the loss does it there.
    Softmax,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Activation; 8] = [
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Elu,
        Activation::Gelu,
        Activation::Silu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softmax,
    ];

    /// The word in `model:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Activation::Relu => "relu",
            Activation::LeakyRelu => "leaky_relu",
            Activation::Elu => "elu",
            Activation::Gelu => "gelu",
            Activation::Silu => "silu",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
            Activation::Softmax => "softmax",
        }
    }
}

/// One number for rows and one for columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Along the height.
    pub rows: usize,
    /// Along the width.
    pub columns: usize,
}

impl Pair {
    /// The same for both.
    pub const fn square(size: usize) -> Self {
        Self { rows: size, columns: size }
    }

    const fn one() -> Self {
        Self::square(1)
    }

    /// The number that both are, if they are equal.
    pub const fn side(self) -> Option<usize> {
        if self.rows == self.columns { Some(self.rows) } else { None }
    }
}

/// What surrounds an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Padding {
    /// Nothing.
    #[default]
    Valid,
    /// As many zeros as keep the size.
    Same,
    /// This many zeros on every side.
    Zeros(usize),
}
