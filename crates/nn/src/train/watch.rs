//! What a training tells whoever watches it.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::Var;

use super::scores::Scores;
use super::state::{StateError, TrainingState};
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

    /// Before the first epoch: the newest state of this training that was saved before; called
    /// again, the one before it.
    ///
    /// # Errors
    /// Whatever ends the training.
    fn saved(&mut self) -> NnResult<Option<TrainingState>> {
        Ok(None)
    }

    /// The state that [`Self::saved`] gave last is not one of this training.
    fn refused(&mut self, error: &StateError) {
        let _ = error;
    }

    /// The training goes on from the state that [`Self::saved`] gave last, after these epochs.
    ///
    /// # Errors
    /// Whatever ends the training.
    fn resumed(&mut self, epochs: &[EpochReport]) -> NnResult {
        epochs.iter().try_for_each(|epoch| self.epoch(epoch))
    }

    /// Whether to save the state after this epoch, which is not the last. Must not depend on what
    /// is computed, nor change it.
    fn is_save_due(&mut self, epoch: usize) -> bool {
        let _ = epoch;
        false
    }

    /// Saves the state, which holds until this returns.
    ///
    /// # Errors
    /// Whatever ends the training.
    fn save(&mut self, state: &TrainingState) -> NnResult {
        let _ = state;
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
    /// How many epochs were done before it started.
    epochs_before: f64,
    epoch_start: Instant,
}

impl Stopwatch {
    /// Starts, when so many epochs are done already.
    pub(crate) fn start_after(epochs: usize) -> Self {
        let now = Instant::now();
        Self { start: now, epochs_before: epochs as f64, epoch_start: now }
    }

    /// A new epoch starts.
    pub(crate) fn next_epoch(&mut self) {
        self.epoch_start = Instant::now();
    }

    /// `count` by second of the running epoch.
    pub(crate) fn rate(&self, count: usize) -> f64 {
        count as f64 / self.epoch_start.elapsed().as_secs_f64().max(1e-9)
    }

    /// How many seconds are left when `done` of `total` epochs are done.
    pub(crate) fn seconds_left(&self, done: f64, total: f64) -> f64 {
        let done_here = (done - self.epochs_before).max(1e-9);
        self.start.elapsed().as_secs_f64() / done_here * (total - done).max(0.0)
    }
}
