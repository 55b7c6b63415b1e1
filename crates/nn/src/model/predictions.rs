//! What a network predicts, in words that users know: probabilities, or values in their units.

use candle_core::{DType, Tensor};

use super::info::TargetInfo;
use crate::error::NnResult;

/// What a network predicts, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// How many rows.
    pub rows: usize,
    /// How many values each row has: one for each class, or 1 for a number.
    pub width: usize,
    /// Row after row: the probability of each class, or the number in the target's own units.
    pub values: Vec<f32>,
    /// The classes, in the order of the values; empty for a number.
    pub classes: Vec<String>,
}

impl Predictions {
    /// No rows yet.
    pub fn new(target: &TargetInfo) -> Self {
        let width = target.classes.len().max(1);
        Self { rows: 0, width, values: Vec::new(), classes: target.classes.clone() }
    }

    /// Adds what the outputs `[rows, outputs]` of a network mean. Two classes have two values
    /// even if the network has a single output.
    ///
    /// # Errors
    /// If the outputs cannot be read.
    pub fn push_outputs(&mut self, outputs: &Tensor, target: &TargetInfo) -> NnResult {
        let (rows, outputs_width) = outputs.dims2()?;
        let outputs = outputs.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        self.rows += rows;
        if !target.is_classification() {
            let (mean, scale) = (target.mean, target.scale);
            self.values
                .extend(outputs.iter().map(|value| (f64::from(*value) * scale + mean) as f32));
        } else if outputs_width == 1 {
            for logit in outputs {
                let positive = 1.0 / (1.0 + (-f64::from(logit)).exp());
                // Computed apart, so that small probabilities keep their digits.
                let negative = 1.0 / (1.0 + f64::from(logit).exp());
                self.values.extend([negative as f32, positive as f32]);
            }
        } else {
            for logits in outputs.chunks_exact(outputs_width) {
                softmax_into(logits, &mut self.values);
            }
        }
        Ok(())
    }

    /// The values of row `row`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    /// The place of the likeliest class of row `row`; the first of equals.
    pub fn class_index(&self, row: usize) -> usize {
        argmax(self.row(row))
    }

    /// The likeliest class of row `row`; `None` for a number.
    pub fn class(&self, row: usize) -> Option<&str> {
        self.classes.get(self.class_index(row)).map(String::as_str)
    }
}

/// The place of the largest value; the first of equals.
pub fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (place, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = place;
        }
    }
    best
}

/// Softmax in f64, the largest value taken off first so that nothing overflows.
fn softmax_into(logits: &[f32], values: &mut Vec<f32>) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials = logits.iter().map(|logit| f64::from(logit - largest).exp());
    let sum: f64 = exponentials.clone().sum();
    values.extend(exponentials.map(|value| (value / sum) as f32));
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use wick_stage::TaskType;

    use super::*;

    fn target(task: TaskType, classes: &[&str]) -> TargetInfo {
        TargetInfo {
            column: "y".to_owned(),
            task,
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            mean: 10.0,
            scale: 2.0,
        }
    }

    fn predict(target: &TargetInfo, outputs: &[f32], width: usize) -> Predictions {
        let outputs = Tensor::from_slice(outputs, (outputs.len() / width, width), &Device::Cpu)
            .expect("a tensor");
        let mut predictions = Predictions::new(target);
        predictions.push_outputs(&outputs, target).expect("they can be read");
        predictions
    }

    #[test]
    fn outputs_become_probabilities_or_values() {
        let two = target(TaskType::Binary, &["no", "yes"]);
        let predictions = predict(&two, &[0.0, 100.0, -100.0], 1);
        assert_eq!(predictions.values[..4], [0.5, 0.5, 3.8e-44, 1.0]);
        assert_eq!(predictions.class(1), Some("yes"));
        assert_eq!(predictions.class(2), Some("no"));

        let three = target(TaskType::Multiclass, &["a", "b", "c"]);
        let predictions = predict(&three, &[1000.0, 1000.0, 0.0], 3);
        assert_eq!(predictions.values, [0.5, 0.5, 0.0]);
        assert_eq!(predictions.class(0), Some("a"));

        let number = target(TaskType::Regression, &[]);
        let predictions = predict(&number, &[0.5, -1.0], 1);
        assert_eq!(predictions.values, [11.0, 8.0]);
        assert_eq!(predictions.class(0), None);
    }
}
