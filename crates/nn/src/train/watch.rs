//! What a training tells whoever watches it.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::Var;

use super::scores::Scores;
use crate::error::NnResult;

/// Watches a training, and may take part in it.
pub trait Watcher {
    /// After each step. Called often: keep it cheap.
    ///
    /// # Errors
    /// Whatever ends the training.
    fn batch(&mut self, report: &BatchReport) -> NnResult {
        let _ = report;
        Ok(())
    }

    /// After each epoch.
    ///
    /// # Errors
    /// Whatever ends the training.
    fn epoch(&mut self, report: &EpochReport) -> NnResult {
        let _ = report;
        Ok(())
    }

    /// After each step of the optimizer, with the weights by name, which it may set: to hold
    /// pruned weights at zero, for one.
    ///
    /// # Errors
    /// Whatever ends the training.
    fn after_step(&mut self, weights: &BTreeMap<String, Var>) -> NnResult {
        let _ = weights;
        Ok(())
    }
}

/// Lets a training go unwatched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {}

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchReport {
    /// Epochs done, with the fraction of the running one.
    pub epochs_done: f64,
    /// How many epochs there are at most.
    pub epochs: usize,
    /// The mean loss of the running epoch so far.
    pub loss: f64,
    /// Rows trained on each second, in this epoch.
    pub rows_per_second: f64,
    /// How many seconds are left if no epoch is left out.
    pub seconds_left: f64,
}

/// What an epoch came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpochReport {
    /// Which, from 1.
    pub epoch: usize,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// On the training data, while the weights changed.
    pub train: Scores,
    /// On the validation data, after the epoch.
    pub validation: Option<Scores>,
    /// Rows trained on each second. The one number that differs between equal trainings.
    pub rows_per_second: f64,
    /// Whether these are the best weights so far.
    pub best: bool,
}

impl EpochReport {
    /// The metric called `name`: `train.loss`, `validation.accuracy`, `learning_rate`.
    pub fn metric(&self, name: &str) -> Option<f64> {
        match name.split_once('.') {
            Some(("train", score)) => self.train.get(score),
            Some(("validation", score)) => self.validation.and_then(|scores| scores.get(score)),
            _ if name == "learning_rate" => Some(self.learning_rate),
            _ => None,
        }
    }
}

/// Measures how fast a training is: the one place where it reads a clock. Nothing that is
/// computed depends on it.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    start: Instant,
    epoch_start: Instant,
}

impl Stopwatch {
    /// Starts.
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self { start: now, epoch_start: now }
    }

    /// A new epoch starts.
    pub(crate) fn next_epoch(&mut self) {
        self.epoch_start = Self::start().start;
    }

    /// `count` by second of the running epoch.
    pub(crate) fn rate(&self, count: usize) -> f64 {
        count as f64 / self.epoch_start.elapsed().as_secs_f64().max(1e-9)
    }

    /// How many seconds are left when `done` of `total` took all the time so far.
    pub(crate) fn seconds_left(&self, done: f64, total: f64) -> f64 {
        self.start.elapsed().as_secs_f64() / done.max(1e-9) * (total - done).max(0.0)
    }
}
