//! What a training has come to: the best epoch so far, and whether it is over. All of it follows
//! from the reports of the epochs, so a training that is taken up again only needs those.

use super::config::{EarlyStopping, Mode};
use super::fit::FitOutcome;
use super::settings::{FitSettings, mode_of};
use super::watch::EpochReport;
use crate::error::{NnError, NnResult};

/// The course of a training.
pub(super) struct Course {
    outcome: FitOutcome,
    /// How many epochs there are at most.
    epochs: usize,
    best: Option<Best>,
    stopping: Option<Stopping>,
    is_over: bool,
}

impl Course {
    /// That of a training which has not begun.
    pub(super) fn new(settings: &FitSettings) -> Self {
        let best = settings.keep_best_by.as_deref().map(|metric| {
            // Stopping and keeping agree on which way is better.
            let stopping = settings.early_stopping.as_ref().filter(|spec| spec.monitor == metric);
            Best::new(metric, stopping.and_then(|spec| spec.mode), 0.0)
        });
        Self {
            outcome: FitOutcome { epochs: Vec::new(), best_epoch: 0, stopped_early: false },
            epochs: settings.epochs,
            best,
            stopping: settings.early_stopping.as_ref().map(Stopping::new),
            is_over: settings.epochs == 0,
        }
    }

    /// The epoch that comes next, from 1.
    pub(super) fn next_epoch(&self) -> usize {
        self.outcome.epochs.len() + 1
    }

    /// Whether no epoch comes next.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether the weights of the best epoch are kept, rather than the last ones.
    pub(super) const fn keeps_best(&self) -> bool {
        self.best.is_some()
    }

    /// The epochs so far.
    pub(super) fn epochs(&self) -> &[EpochReport] {
        &self.outcome.epochs
    }

    /// Adds the next epoch, and returns its report with whether its weights are the best so far.
    ///
    /// # Errors
    /// If the metric that decides is not computed.
    pub(super) fn add(&mut self, mut report: EpochReport) -> NnResult<EpochReport> {
        report.best = match &mut self.best {
            Some(best) => best.is_reached(&report)?,
            None => true,
        };
        if report.best {
            self.outcome.best_epoch = report.epoch;
        }
        self.outcome.epochs.push(report);
        let is_last = self.outcome.epochs.len() >= self.epochs;
        let stops = match &mut self.stopping {
            Some(stopping) => stopping.is_over(&report)?,
            None => false,
        };
        self.outcome.stopped_early = stops && !is_last;
        self.is_over = stops || is_last;
        Ok(report)
    }

    /// What it came to.
    pub(super) fn into_outcome(self) -> FitOutcome {
        self.outcome
    }
}

/// The best value of a metric so far.
struct Best {
    metric: String,
    mode: Mode,
    min_delta: f64,
    value: Option<f64>,
}

impl Best {
    fn new(metric: &str, mode: Option<Mode>, min_delta: f64) -> Self {
        let mode = mode.unwrap_or_else(|| mode_of(metric));
        Self { metric: metric.to_owned(), mode, min_delta, value: None }
    }

    /// Whether `report` is better than all before it.
    fn is_reached(&mut self, report: &EpochReport) -> NnResult<bool> {
        let value = report.metric(&self.metric).ok_or_else(|| {
            NnError::config(
                format!("the metric `{}` is not computed", self.metric),
                "connect validation data, or name a metric of `train`",
            )
        })?;
        let better = match (self.value, self.mode) {
            (None, _) => true,
            (Some(best), Mode::Min) => value < best - self.min_delta,
            (Some(best), Mode::Max) => value > best + self.min_delta,
        };
        // A first value that is not a number must not stand in the way of all others.
        if better || self.value.is_some_and(f64::is_nan) {
            self.value = Some(value);
        }
        Ok(better)
    }
}

/// Counts epochs without getting better.
struct Stopping {
    best: Best,
    patience: usize,
    waited: usize,
}

impl Stopping {
    fn new(spec: &EarlyStopping) -> Self {
        let best = Best::new(&spec.monitor, spec.mode, spec.min_delta);
        Self { best, patience: spec.patience, waited: 0 }
    }

    fn is_over(&mut self, report: &EpochReport) -> NnResult<bool> {
        self.waited = if self.best.is_reached(report)? { 0 } else { self.waited + 1 };
        Ok(self.waited >= self.patience)
    }
}
