//! The worth of coalitions for networks of dense layers, at about half the price.
//!
//! The first layer is linear: what it makes of a row mixed from two is the sum of what it makes
//! of the parts. The part of the background is the same for every explained row, so it is
//! computed once for all; the part of a row, once for all of the background. What is left for
//! each mixture is a sum, and the layers behind.

use candle_core::{Device, Tensor};
use wick_nn::NnResult;
use wick_nn::ops::{self, Activation};
use wick_nn::spec::{Activation as SpecActivation, LayerSpec};
use wick_stage::TaskType;

use super::subject::Subject;
use crate::matrix::Matrix;
use crate::shap::{BATCH_ROWS, Coalitions};

/// A network of dense layers with relu, or nothing, between them.
pub struct DenseNetwork<'a> {
    subject: &'a Subject,
    first: Layer<'a>,
    rest: Vec<Layer<'a>>,
}

struct Layer<'a> {
    weight: &'a Tensor,
    bias: &'a Tensor,
    relu: bool,
}

impl Layer<'_> {
    fn activation(&self) -> Activation {
        if self.relu { Activation::Relu } else { Activation::None }
    }
}

impl<'a> DenseNetwork<'a> {
    /// The subject's network, if it is such a one.
    pub fn of(subject: &'a Subject) -> Option<Self> {
        let model = subject.model();
        let mut layers: Vec<Layer<'a>> = Vec::new();
        for (spec, place) in model.layers_with_specs() {
            match spec {
                LayerSpec::Dense(dense) => {
                    let weight = |at: usize| model.weights().get(&place.weights.get(at)?.name);
                    let relu = match dense.activation {
                        None => false,
                        Some(SpecActivation::Relu) => true,
                        Some(_) => return None,
                    };
                    layers.push(Layer { weight: weight(0)?, bias: weight(1)?, relu });
                }
                // Acts in training only.
                LayerSpec::Dropout(_) => {}
                LayerSpec::Activation(SpecActivation::Relu) => layers.last_mut()?.relu = true,
                _ => return None,
            }
        }
        let mut layers = layers.into_iter();
        Some(Self { subject, first: layers.next()?, rest: layers.collect() })
    }

    /// The worth of each coalition for each of `rows`, given with the class to explain.
    /// `told` is called with the share of the work that is done.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn worth(
        &self,
        coalitions: &Coalitions,
        rows: &[(&[f32], usize)],
        background: &Matrix<f32>,
        mut told: impl FnMut(f64) -> NnResult,
    ) -> NnResult<Vec<Vec<f64>>> {
        let behind = background.rows().max(1);
        let at_once = (BATCH_ROWS / behind).max(1);
        let mut worth = vec![Vec::with_capacity(coalitions.len()); rows.len()];
        for start in (0..coalitions.len()).step_by(at_once) {
            let end = (start + at_once).min(coalitions.len());
            let absent = self.masked(coalitions, start..end, false, background.values())?;
            let absent = self.first_layer(&absent, false)?;
            for (worth, (row, class)) in worth.iter_mut().zip(rows) {
                let present = self.masked(coalitions, start..end, true, row)?;
                let present = self.first_layer(&present, true)?;
                let hidden = self.mix(&present, &absent, behind);
                let outputs = self.outputs(hidden, (end - start) * behind, *class)?;
                worth.extend(
                    outputs.chunks_exact(behind).map(|o| o.iter().sum::<f64>() / behind as f64),
                );
            }
            told(end as f64 / coalitions.len() as f64)?;
        }
        Ok(worth)
    }

    /// Each of `rows` for each coalition, with 0 where a column's player is not as wanted.
    fn masked(
        &self,
        coalitions: &Coalitions,
        range: std::ops::Range<usize>,
        wanted: bool,
        rows: &[f32],
    ) -> NnResult<Tensor> {
        let owners = self.subject.players().owners();
        let mut values = Vec::new();
        let mut keep = vec![0.0_f32; owners.len()];
        for coalition in range {
            let members = coalitions.members(coalition);
            for (keep, owner) in keep.iter_mut().zip(owners) {
                *keep = f32::from(u8::from(members[*owner] == wanted));
            }
            for row in rows.chunks_exact(owners.len()) {
                values.extend(row.iter().zip(&keep).map(|(value, keep)| value * keep));
            }
        }
        let count = values.len() / owners.len();
        Ok(Tensor::from_vec(values, (count, owners.len()), &Device::Cpu)?)
    }

    /// The first layer's sums, before its activation; only one of two parts brings the bias.
    fn first_layer(&self, rows: &Tensor, bias: bool) -> NnResult<Vec<f32>> {
        let bias = bias.then_some(self.first.bias);
        let sums = ops::dense(rows, self.first.weight, bias, Activation::None)?;
        Ok(sums.flatten_all()?.to_vec1()?)
    }

    /// What the first layer makes of each coalition with each background row.
    fn mix(&self, present: &[f32], absent: &[f32], behind: usize) -> Vec<f32> {
        let units = self.first.bias.elem_count();
        let mut hidden = Vec::with_capacity(absent.len());
        for (present, absent) in
            present.chunks_exact(units).zip(absent.chunks_exact(units * behind))
        {
            for absent in absent.chunks_exact(units) {
                let sums = present.iter().zip(absent).map(|(a, b)| a + b);
                if self.first.relu {
                    hidden.extend(sums.map(|sum| sum.max(0.0)));
                } else {
                    hidden.extend(sums);
                }
            }
        }
        hidden
    }

    fn outputs(&self, hidden: Vec<f32>, count: usize, class: usize) -> NnResult<Vec<f64>> {
        let units = self.first.bias.elem_count();
        let mut values = Tensor::from_vec(hidden, (count, units), &Device::Cpu)?;
        for layer in &self.rest {
            values = ops::dense(&values, layer.weight, Some(layer.bias), layer.activation())?;
        }
        let model = self.subject.model();
        let target = &model.info().target;
        if target.task == TaskType::Binary && values.dim(1)? == 1 {
            // One exponential instead of the two that both classes would take.
            let sign = if class == 0 { 1.0 } else { -1.0 };
            let logits: Vec<f32> = values.flatten_all()?.to_vec1()?;
            return Ok(logits
                .into_iter()
                .map(|logit| 1.0 / (1.0 + (sign * f64::from(logit)).exp()))
                .collect());
        }
        let predictions = model.predictions_of(&values)?;
        let place = class.min(predictions.width.saturating_sub(1));
        let of_class = predictions.values.iter().skip(place).step_by(predictions.width.max(1));
        Ok(of_class.map(|value| f64::from(*value)).collect())
    }
}
