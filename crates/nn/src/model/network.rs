//! Layers with their weights: the forward pass.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::kernels::{self, Placement};
use crate::error::{NnError, NnResult};
use crate::spec::shape::padding_of;
use crate::spec::{Activation, LayerShape, LayerSpec, Pair};

/// Layers with their weights, ready to compute.
#[derive(Debug, Clone)]
pub struct Network {
    layers: Vec<Layer>,
}

/// What dropout masks are drawn from: equal for equal seeds and steps.
#[derive(Debug, Clone, Copy)]
pub struct TrainingStep {
    /// Of the training.
    pub seed: u64,
    /// How many steps were made before.
    pub step: u64,
}

#[derive(Debug, Clone)]
enum Layer {
    Dense { weight: Tensor, bias: Tensor, activation: Option<Activation> },
    Conv2d { weight: Tensor, bias: Tensor, placement: Placement, activation: Option<Activation> },
    MaxPool2d { kernel: Pair, stride: Pair },
    AvgPool2d { kernel: Pair, stride: Pair },
    Flatten,
    Dropout { rate: f64, place: u64 },
    Activation(Activation),
}

impl Network {
    /// The network of `layers` in their `places`, with `weights` by name.
    ///
    /// # Errors
    /// If a weight is missing or has another shape than its layer.
    pub fn new(
        layers: &[LayerSpec],
        places: &[LayerShape],
        weights: &BTreeMap<String, Tensor>,
    ) -> NnResult<Self> {
        let mut built = Vec::with_capacity(layers.len());
        for (index, (spec, place)) in layers.iter().zip(places).enumerate() {
            let weight = |at: usize| -> NnResult<Tensor> {
                let shape = &place.weights[at];
                let found = weights.get(&shape.name).ok_or_else(|| {
                    NnError::data(
                        format!("the weight `{}` is missing", shape.name),
                        "save the model whole: every layer's weights are needed",
                    )
                })?;
                if found.dims() != shape.dims {
                    return Err(NnError::data(
                        format!(
                            "the weight `{}` is {:?}, and its layer wants {:?}",
                            shape.name,
                            found.dims(),
                            shape.dims
                        ),
                        "take the weights and the layers from one model",
                    ));
                }
                Ok(found.clone())
            };
            built.push(match spec {
                LayerSpec::Dense(dense) => Layer::Dense {
                    weight: weight(0)?,
                    bias: weight(1)?,
                    activation: dense.activation,
                },
                LayerSpec::Conv2d(conv) => Layer::Conv2d {
                    weight: weight(0)?,
                    bias: weight(1)?,
                    placement: Placement {
                        stride: conv.stride,
                        padding: padding_of(conv).map_err(|why| {
                            NnError::config(why, "give the number of zeros instead")
                        })?,
                    },
                    activation: conv.activation,
                },
                LayerSpec::MaxPool2d(pool) => {
                    Layer::MaxPool2d { kernel: pool.kernel, stride: pool.step() }
                }
                LayerSpec::AvgPool2d(pool) => {
                    Layer::AvgPool2d { kernel: pool.kernel, stride: pool.step() }
                }
                LayerSpec::Flatten => Layer::Flatten,
                LayerSpec::Dropout(dropout) => {
                    Layer::Dropout { rate: dropout.rate, place: index as u64 }
                }
                LayerSpec::Activation(activation) => Layer::Activation(*activation),
            });
        }
        Ok(Self { layers: built })
    }

    /// The outputs of the last layer, `[batch, outputs]`, for samples `[batch, …]`. Can be
    /// differentiated with respect to the samples and the weights. Dropout acts only when
    /// there is a training step.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn forward(&self, samples: &Tensor, training: Option<TrainingStep>) -> NnResult<Tensor> {
        let mut value = samples.clone();
        let mut at = 0;
        while at < self.layers.len() {
            let (next, used) = self.apply(at, &value, training)?;
            value = next;
            at += used;
        }
        Ok(value)
    }

    /// The outputs of every layer, first to last: for explanations that look inside.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn forward_each(&self, samples: &Tensor) -> NnResult<Vec<Tensor>> {
        let mut value = samples.clone();
        let mut outputs = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            value = layer.forward(&value, None)?;
            outputs.push(value.clone());
        }
        Ok(outputs)
    }

    /// Applies the layer at `at`, or two at once where one op does them together, and tells how
    /// many.
    fn apply(
        &self,
        at: usize,
        value: &Tensor,
        training: Option<TrainingStep>,
    ) -> NnResult<(Tensor, usize)> {
        match (&self.layers[at], self.layers.get(at + 1)) {
            (
                Layer::Conv2d { weight, bias, placement, activation },
                Some(Layer::MaxPool2d { kernel, stride }),
            ) if kernels::pools_at_once(*activation, *kernel, *stride) => {
                let pooled = kernels::conv2d_max_pool2d(
                    value,
                    weight,
                    bias,
                    *placement,
                    *activation,
                    *kernel,
                )?;
                Ok((pooled, 2))
            }
            (Layer::Flatten, Some(dense @ Layer::Dense { .. })) => {
                Ok((dense.forward(value, training)?, 2))
            }
            (layer, _) => Ok((layer.forward(value, training)?, 1)),
        }
    }
}

impl Layer {
    fn forward(&self, value: &Tensor, training: Option<TrainingStep>) -> NnResult<Tensor> {
        match self {
            Layer::Dense { weight, bias, activation } => {
                kernels::dense(value, weight, bias, *activation)
            }
            Layer::Conv2d { weight, bias, placement, activation } => {
                kernels::conv2d(value, weight, bias, *placement, *activation)
            }
            Layer::MaxPool2d { kernel, stride } => kernels::max_pool2d(value, *kernel, *stride),
            Layer::AvgPool2d { kernel, stride } => kernels::avg_pool2d(value, *kernel, *stride),
            Layer::Flatten => Ok(value.flatten_from(1)?),
            Layer::Dropout { rate, place } => match training {
                Some(step) if *rate > 0.0 => kernels::dropout(value, *rate, *place, step),
                _ => Ok(value.clone()),
            },
            Layer::Activation(activation) => kernels::activate(value, *activation),
        }
    }
}
