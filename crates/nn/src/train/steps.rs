//! One step of a training: the loss of a batch, and the optimizer that follows its gradients.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::config::{GradientClipping, LossSpec, OptimizerSpec};
use super::settings::FitSettings;
use crate::error::NnResult;
use crate::ops;
use crate::optimizer::{Clipping, Optimizer, Rule};

/// The optimizer that `settings` ask for, of `weights`.
///
/// # Errors
/// If a setting makes no sense.
pub(super) fn optimizer(
    settings: &FitSettings,
    weights: &BTreeMap<String, Var>,
) -> NnResult<Optimizer> {
    let rule = match settings.optimizer {
        OptimizerSpec::Adam(adam) => Rule::Adam {
            beta1: adam.beta1,
            beta2: adam.beta2,
            epsilon: adam.epsilon,
            weight_decay: adam.weight_decay,
        },
        OptimizerSpec::Adamw(adamw) => Rule::AdamW {
            beta1: adamw.beta1,
            beta2: adamw.beta2,
            epsilon: adamw.epsilon,
            weight_decay: adamw.weight_decay,
        },
        OptimizerSpec::Sgd(sgd) => Rule::Sgd {
            momentum: sgd.momentum,
            nesterov: sgd.nesterov,
            weight_decay: sgd.weight_decay,
        },
        OptimizerSpec::Rmsprop(rmsprop) => Rule::RmsProp {
            decay: rmsprop.alpha,
            epsilon: rmsprop.epsilon,
            momentum: rmsprop.momentum,
            weight_decay: rmsprop.weight_decay,
        },
    };
    let clipping = settings.gradient_clipping.map(|clipping| match clipping {
        GradientClipping::Norm(most) => Clipping::Norm(most),
        GradientClipping::Value(most) => Clipping::Value(most),
    });
    let named = weights.iter().map(|(name, var)| (name.clone(), var.clone()));
    Ok(Optimizer::new(rule, clipping, named)?)
}

/// The mean loss of the network's `outputs` against the `truth`, which is as the loss wants it:
/// places of classes `[rows]`, or numbers `[rows, 1]`.
///
/// # Errors
/// If the shapes do not fit.
pub(super) fn loss_of(
    outputs: &Tensor,
    truth: &Tensor,
    loss: LossSpec,
    class_weights: Option<&[f32]>,
) -> NnResult<Tensor> {
    Ok(match loss {
        LossSpec::CrossEntropy(options) => {
            ops::softmax_cross_entropy(outputs, truth, class_weights, options.label_smoothing)?
        }
        LossSpec::BinaryCrossEntropy => match class_weights {
            // The op weighs one class against the other; both weights are that and a factor.
            Some([negative, positive]) if *negative > 0.0 => {
                let ratio = [positive / negative];
                let loss = ops::sigmoid_binary_cross_entropy(outputs, truth, Some(&ratio))?;
                (loss * f64::from(*negative))?
            }
            _ => ops::sigmoid_binary_cross_entropy(outputs, truth, None)?,
        },
        LossSpec::Mse => ops::mean_squared_error(outputs, truth)?,
        LossSpec::Mae => ops::mean_absolute_error(outputs, truth)?,
        LossSpec::Huber(huber) => ops::huber(outputs, truth, huber.delta)?,
    })
}
