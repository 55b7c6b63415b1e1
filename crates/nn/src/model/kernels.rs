//! Which op computes which layer: the one place between the layers and [`crate::ops`].

use candle_core::{D, Tensor};

use super::network::TrainingStep;
use crate::error::NnResult;
use crate::ops::{self, ConvOptions, DropoutKey, Window};
use crate::spec::{Activation, Pair};

/// The ops' word for an activation; `None` for softmax, which is no function of single values.
fn of_each_value(activation: Activation) -> Option<ops::Activation> {
    Some(match activation {
        Activation::Relu => ops::Activation::Relu,
        Activation::LeakyRelu => ops::Activation::LeakyRelu { slope: 0.01 },
        Activation::Elu => ops::Activation::Elu { alpha: 1.0 },
        Activation::Gelu => ops::Activation::Gelu,
        Activation::Silu => ops::Activation::Silu,
        Activation::Tanh => ops::Activation::Tanh,
        Activation::Sigmoid => ops::Activation::Sigmoid,
        Activation::Softmax => return None,
    })
}

/// `activation` of every value; softmax over the last dimension.
pub(super) fn activate(x: &Tensor, activation: Activation) -> NnResult<Tensor> {
    Ok(match of_each_value(activation) {
        Some(activation) => ops::activate(x, activation)?,
        None => candle_nn::ops::softmax(x, D::Minus1)?,
    })
}

fn then(x: Tensor, activation: Option<Activation>) -> NnResult<Tensor> {
    match activation {
        Some(activation) => activate(&x, activation),
        None => Ok(x),
    }
}

/// `activation(x · weightᵀ + bias)`. Images are taken as flat.
pub(super) fn dense(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Option<Activation>,
) -> NnResult<Tensor> {
    if activation == Some(Activation::Relu) {
        return Ok(ops::dense(x, weight, Some(bias), ops::Activation::Relu)?);
    }
    then(ops::dense(x, weight, Some(bias), ops::Activation::None)?, activation)
}

/// A convolution's place in the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    pub(super) stride: Pair,
    pub(super) padding: Pair,
}

impl Placement {
    fn options(self, activation: Option<Activation>) -> ConvOptions {
        ConvOptions {
            stride: sizes(self.stride),
            padding: sizes(self.padding),
            relu: activation == Some(Activation::Relu),
        }
    }
}

/// `activation(x ∗ weight + bias)`.
pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    placement: Placement,
    activation: Option<Activation>,
) -> NnResult<Tensor> {
    let y = ops::conv2d(x, weight, Some(bias), placement.options(activation))?;
    then(y, activation.filter(|activation| *activation != Activation::Relu))
}

/// Whether a convolution with this activation and the pooling after it can be one op.
pub(super) fn pools_at_once(activation: Option<Activation>, kernel: Pair, stride: Pair) -> bool {
    matches!(activation, None | Some(Activation::Relu)) && kernel == stride
}

/// A convolution and the pooling after it, for which [`pools_at_once`] holds.
pub(super) fn conv2d_max_pool2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    placement: Placement,
    activation: Option<Activation>,
    pool: Pair,
) -> NnResult<Tensor> {
    let options = placement.options(activation);
    Ok(ops::conv2d_max_pool2d(x, weight, Some(bias), options, sizes(pool))?)
}

/// The largest value of each window.
pub(super) fn max_pool2d(x: &Tensor, kernel: Pair, stride: Pair) -> NnResult<Tensor> {
    Ok(ops::max_pool2d(x, window(kernel, stride))?)
}

/// The mean of each window.
pub(super) fn avg_pool2d(x: &Tensor, kernel: Pair, stride: Pair) -> NnResult<Tensor> {
    Ok(ops::avg_pool2d(x, window(kernel, stride))?)
}

/// Values dropped by a mask that depends on seed, step and layer alone.
pub(super) fn dropout(x: &Tensor, rate: f64, layer: u64, step: TrainingStep) -> NnResult<Tensor> {
    Ok(ops::dropout(x, rate, DropoutKey { seed: step.seed, step: step.step, layer })?)
}

fn window(kernel: Pair, stride: Pair) -> Window {
    Window { kernel: sizes(kernel), stride: sizes(stride), padding: (0, 0) }
}

fn sizes(pair: Pair) -> (usize, usize) {
    (pair.rows, pair.columns)
}
