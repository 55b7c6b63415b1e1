//! What is measured while training: the loss, and what tells a user how good the model is.

use candle_core::Tensor;

use crate::error::NnResult;
use crate::model::{TargetInfo, Targets, argmax};
use crate::train::config::LossSpec;

/// How good a network is on some rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// The mean loss, in the units of training.
    pub loss: f64,
    /// For classes: the share that is right.
    pub accuracy: Option<f64>,
    /// For a number: errors in the target's own units.
    pub errors: Option<Errors>,
}

/// Errors of numeric predictions, in the target's own units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Errors {
    /// The mean absolute error.
    pub mae: f64,
    /// The root of the mean squared error.
    pub rmse: f64,
    /// The share of the variance that is explained; NaN where the target is constant.
    pub r2: f64,
}

/// The names of the scores of classes.
const CLASS_SCORES: [&str; 2] = ["loss", "accuracy"];
/// The names of the scores of numbers.
const NUMBER_SCORES: [&str; 4] = ["loss", "mae", "rmse", "r2"];

impl Scores {
    /// The names of the scores, first the loss.
    pub const fn names(classification: bool) -> &'static [&'static str] {
        if classification { &CLASS_SCORES } else { &NUMBER_SCORES }
    }

    /// The score called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        match name {
            "loss" => Some(self.loss),
            "accuracy" => self.accuracy,
            "mae" => self.errors.map(|errors| errors.mae),
            "rmse" => self.errors.map(|errors| errors.rmse),
            "r2" => self.errors.map(|errors| errors.r2),
            _ => None,
        }
    }

    /// The scores that there are, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> {
        Self::names(self.accuracy.is_some())
            .iter()
            .filter_map(|name| self.get(name).map(|value| (*name, value)))
    }
}

/// Adds up scores batch by batch, in f64 and in the order of the rows, so that they do not
/// depend on threads.
#[derive(Debug)]
pub struct Scorer<'a> {
    loss: LossSpec,
    target: &'a TargetInfo,
    rows: usize,
    loss_sum: f64,
    right: usize,
    absolute: f64,
    squared: f64,
    truth: f64,
    truth_squared: f64,
}

impl<'a> Scorer<'a> {
    /// Nothing seen yet.
    pub fn new(loss: LossSpec, target: &'a TargetInfo) -> Self {
        Self {
            loss,
            target,
            rows: 0,
            loss_sum: 0.0,
            right: 0,
            absolute: 0.0,
            squared: 0.0,
            truth: 0.0,
            truth_squared: 0.0,
        }
    }

    /// Adds the `outputs` of the network for the rows of `targets` that `rows` names. The loss
    /// is that of `loss`, or computed here (without class weights and smoothing) if `None`.
    ///
    /// # Errors
    /// If the outputs cannot be read.
    pub fn add(
        &mut self,
        outputs: &Tensor,
        targets: &Targets,
        rows: impl Iterator<Item = usize>,
        loss: Option<f64>,
    ) -> NnResult {
        let (count, width) = outputs.dims2()?;
        let outputs = outputs.flatten_all()?.to_vec1::<f32>()?;
        self.rows += count;
        if let Some(loss) = loss {
            self.loss_sum += loss * count as f64;
        }
        for (output, row) in outputs.chunks_exact(width).zip(rows) {
            let own = match targets {
                Targets::Classes(classes) => self.add_class(output, classes[row] as usize),
                Targets::Values(values) => self.add_value(f64::from(output[0]), values[row]),
            };
            if loss.is_none() {
                self.loss_sum += own;
            }
        }
        Ok(())
    }

    /// Adds a row of a classification and tells its loss.
    fn add_class(&mut self, output: &[f32], class: usize) -> f64 {
        if let [logit] = *output {
            let (logit, positive) = (f64::from(logit), class == 1);
            self.right += usize::from((logit > 0.0) == positive);
            // max(z, 0) − z·y + log(1 + exp(−|z|)): nothing overflows.
            let linear = if positive { logit } else { 0.0 };
            return logit.max(0.0) - linear + (-logit.abs()).exp().ln_1p();
        }
        self.right += usize::from(argmax(output) == class);
        let largest = output.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = output.iter().map(|logit| f64::from(logit - largest).exp()).sum();
        sum.ln() - f64::from(output[class] - largest)
    }

    /// Adds a row of a regression and tells its loss, in the units of training.
    fn add_value(&mut self, output: f64, truth: f64) -> f64 {
        let error = output * self.target.scale + self.target.mean - truth;
        self.absolute += error.abs();
        self.squared += error * error;
        // Against the mean of training, so that the squares of large targets keep their digits.
        let centred = truth - self.target.mean;
        self.truth += centred;
        self.truth_squared += centred * centred;
        let error = error / self.target.scale;
        match self.loss {
            LossSpec::Mae => error.abs(),
            LossSpec::Huber(huber) if error.abs() > huber.delta => {
                huber.delta * (error.abs() - 0.5 * huber.delta)
            }
            LossSpec::Huber(_) => 0.5 * error * error,
            _ => error * error,
        }
    }

    /// The mean loss so far.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.rows.max(1) as f64
    }

    /// The scores of all rows.
    pub fn finish(&self) -> Scores {
        let rows = self.rows.max(1) as f64;
        if self.target.is_classification() {
            let accuracy = Some(self.right as f64 / rows);
            return Scores { loss: self.loss(), accuracy, errors: None };
        }
        let variation = self.truth_squared - self.truth * self.truth / rows;
        let r2 = if variation > 0.0 { 1.0 - self.squared / variation } else { f64::NAN };
        let errors = Errors { mae: self.absolute / rows, rmse: (self.squared / rows).sqrt(), r2 };
        Scores { loss: self.loss(), accuracy: None, errors: Some(errors) }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use wick_stage::TaskType;

    use super::*;
    use crate::train::config::{CrossEntropy, Huber};

    fn scores(loss: LossSpec, outputs: &[f32], width: usize, targets: &Targets) -> Scores {
        let classification = matches!(targets, Targets::Classes(_));
        let target = TargetInfo {
            column: "y".to_owned(),
            task: if classification { TaskType::Multiclass } else { TaskType::Regression },
            classes: Vec::new(),
            mean: 10.0,
            scale: 2.0,
        };
        let rows = outputs.len() / width;
        let outputs = Tensor::from_slice(outputs, (rows, width), &Device::Cpu).expect("a tensor");
        let mut scorer = Scorer::new(loss, &target);
        scorer.add(&outputs, targets, 0..rows, None).expect("they can be read");
        scorer.finish()
    }

    #[track_caller]
    fn close(value: f64, expect: f64) {
        assert!((value - expect).abs() < 1e-6, "{value} is not {expect}");
    }

    #[test]
    fn classes_have_loss_and_accuracy() {
        let truth = Targets::Classes(vec![0, 1]);
        let loss = LossSpec::CrossEntropy(CrossEntropy::default());
        let several = scores(loss, &[2.0, 0.0, 1.0, 0.0], 2, &truth);
        // −log softmax: ln(1 + e⁻²) and ln(1 + e).
        close(several.loss, (0.126_928_011 + 1.313_261_688) / 2.0);
        assert_eq!(several.accuracy, Some(0.5));
        let single = scores(LossSpec::BinaryCrossEntropy, &[-2.0, -1.0], 1, &truth);
        close(single.loss, several.loss);
        assert_eq!(single.accuracy, Some(0.5));
    }

    #[test]
    fn numbers_have_errors_in_their_units() {
        let truth = Targets::Values(vec![12.0, 8.0]);
        // Predicted: 14 and 8.
        let mse = scores(LossSpec::Mse, &[2.0, -1.0], 1, &truth);
        let errors = mse.errors.expect("a regression");
        close(mse.loss, 0.5);
        close(errors.mae, 1.0);
        close(errors.rmse, 2.0f64.sqrt());
        close(errors.r2, 1.0 - 4.0 / 8.0);
        close(scores(LossSpec::Mae, &[2.0, -1.0], 1, &truth).loss, 0.5);
        let huber = LossSpec::Huber(Huber { delta: 0.5 });
        close(scores(huber, &[2.0, -1.0], 1, &truth).loss, 0.5 * 0.75 / 2.0);
    }
}
