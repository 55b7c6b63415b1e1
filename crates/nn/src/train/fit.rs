//! The training loop.
//!
//! Equal models, data and settings give equal weights, bit for bit: the order of an epoch
//! depends on seed and epoch alone, dropout on seed and step, sums are taken in a fixed order.
//! Batches are gathered on the training thread: for bytes this takes about a hundredth of a
//! step, less than handing them over from another thread would.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::config::{EarlyStopping, LossSpec, Mode};
use super::schedule::Schedule;
use super::scores::{Scorer, Scores};
use super::settings::{FitSettings, mode_of};
use super::steps::{loss_of, optimizer};
use super::watch::{BatchReport, EpochReport, Stopwatch, Watcher};
use crate::error::{NnError, NnResult};
use crate::model::{Examples, Model, Network, TargetInfo, Targets, TrainingStep};
use crate::ops;
use crate::optimizer::Optimizer;

/// How a training went.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOutcome {
    /// Every epoch, first to last.
    pub epochs: Vec<EpochReport>,
    /// The epoch whose weights are kept, from 1.
    pub best_epoch: usize,
    /// Whether it stopped before its last epoch.
    pub stopped_early: bool,
}

/// Trains `model` from the weights that it has, on `train`.
///
/// # Errors
/// If there are no rows, the loss is no longer a number, or the watcher ends it.
pub fn fit(
    model: &mut Model,
    train: &Examples,
    validation: Option<&Examples>,
    settings: &FitSettings,
    watcher: &mut dyn Watcher,
) -> NnResult<FitOutcome> {
    if train.rows() == 0 {
        return Err(NnError::data("there are no rows to train on", "give `train` some data"));
    }
    let weights = model
        .weights()
        .iter()
        .map(|(name, weight)| Ok((name.clone(), Var::from_tensor(&weight.copy()?)?)))
        .collect::<NnResult<BTreeMap<String, Var>>>()?;
    let tensors = weights.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
    let network = Network::new(&model.info().layers, model.layers(), &tensors.collect())?;
    let target = model.info().target.clone();
    let mut training = Training {
        network,
        optimizer: optimizer(settings, &weights)?,
        weights,
        target: &target,
        settings,
        schedule: Schedule {
            base: settings.optimizer.learning_rate(),
            spec: settings.scheduler,
            epochs: settings.epochs,
            steps_per_epoch: train.rows().div_ceil(settings.batch_size.max(1)),
        },
        stopwatch: Stopwatch::start(),
        step: 0,
    };
    let mut outcome = FitOutcome { epochs: Vec::new(), best_epoch: 0, stopped_early: false };
    let mut best = settings.keep_best_by.as_deref().map(|metric| {
        // Stopping and keeping agree on which way is better.
        let stopping = settings.early_stopping.as_ref().filter(|spec| spec.monitor == metric);
        Best::new(metric, stopping.and_then(|spec| spec.mode), 0.0)
    });
    let mut stopping = settings.early_stopping.as_ref().map(Stopping::new);
    let mut kept = None;
    for epoch in 1..=settings.epochs {
        let train_scores = training.epoch(epoch, train, watcher)?;
        let rows_per_second = training.stopwatch.rate(train.rows());
        let mut report = EpochReport {
            epoch,
            learning_rate: training.schedule.rate(training.step - 1),
            train: train_scores,
            validation: validation.map(|examples| training.score(examples)).transpose()?,
            rows_per_second,
            best: true,
        };
        if let Some(best) = &mut best {
            report.best = best.is_reached(&report)?;
            if report.best {
                kept = Some(snapshot(&training.weights)?);
            }
        }
        if report.best {
            outcome.best_epoch = epoch;
        }
        watcher.epoch(&report)?;
        outcome.epochs.push(report);
        if let Some(stopping) = &mut stopping
            && stopping.is_over(&report)?
        {
            outcome.stopped_early = epoch < settings.epochs;
            break;
        }
    }
    let weights = match kept {
        Some(weights) => weights,
        None => snapshot(&training.weights)?,
    };
    *model = model.with_weights(weights)?;
    Ok(outcome)
}

/// How good `model` is on `examples`, by the measures of training: without class weights and
/// label smoothing.
///
/// # Errors
/// If a tensor operation fails.
pub fn score(model: &Model, examples: &Examples) -> NnResult<Scores> {
    score_network(model.network(), &model.info().target, model.info().loss, examples)
}

/// How many samples are scored at once.
const SCORING_BATCH: usize = 256;

fn score_network(
    network: &Network,
    target: &TargetInfo,
    loss: LossSpec,
    examples: &Examples,
) -> NnResult<Scores> {
    let mut scorer = Scorer::new(loss, target);
    let mut start = 0;
    while start < examples.rows() {
        let end = (start + SCORING_BATCH).min(examples.rows());
        let outputs = ops::in_pool(|| network.forward(&examples.inputs.batch(start, end)?, None))?;
        scorer.add(&outputs, &examples.targets, start..end, None)?;
        start = end;
    }
    Ok(scorer.finish())
}

/// A training under way.
struct Training<'a> {
    network: Network,
    weights: BTreeMap<String, Var>,
    target: &'a TargetInfo,
    optimizer: Optimizer,
    settings: &'a FitSettings,
    schedule: Schedule,
    stopwatch: Stopwatch,
    /// How many steps were made.
    step: u64,
}

impl Training<'_> {
    /// Goes through the data once.
    fn epoch(
        &mut self,
        epoch: usize,
        train: &Examples,
        watcher: &mut dyn Watcher,
    ) -> NnResult<Scores> {
        self.stopwatch.next_epoch();
        let order = order(train.rows(), self.settings, epoch);
        let mut scorer = Scorer::new(self.settings.loss, self.target);
        let mut done = 0;
        for rows in order.chunks(self.settings.batch_size.max(1)) {
            let rate = self.schedule.rate(self.step);
            // One hand-over to the pool for the whole step, not one for each op in it.
            let (loss, outputs) = ops::in_pool(|| self.step(train, rows, rate))?;
            if !loss.is_finite() {
                return Err(self.diverged(epoch));
            }
            watcher.after_step(&self.weights)?;
            self.step += 1;
            done += rows.len();
            scorer.add(
                &outputs,
                &train.targets,
                rows.iter().map(|row| *row as usize),
                Some(loss),
            )?;
            let epochs_done = (epoch - 1) as f64 + done as f64 / train.rows() as f64;
            watcher.batch(&BatchReport {
                epochs_done,
                epochs: self.settings.epochs,
                loss: scorer.loss(),
                rows_per_second: self.stopwatch.rate(done),
                seconds_left: self.stopwatch.seconds_left(epochs_done, self.settings.epochs as f64),
            })?;
        }
        Ok(scorer.finish())
    }

    /// Trains on `rows`; tells the loss and the outputs from which it was computed. Where the
    /// loss is not a number the weights stay as they are.
    fn step(&mut self, train: &Examples, rows: &[u32], rate: f64) -> NnResult<(f64, Tensor)> {
        let samples = train.inputs.gather(rows)?;
        let training = TrainingStep { seed: self.settings.seed, step: self.step };
        let outputs = self.network.forward(&samples, Some(training))?;
        let truth = self.truth(&train.targets, rows)?;
        let weights = self.settings.class_weights.as_deref();
        let loss = loss_of(&outputs, &truth, self.settings.loss, weights)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if value.is_finite() {
            let gradients = loss.backward()?;
            self.optimizer.step(&gradients, rate)?;
        }
        Ok((value, outputs.detach()))
    }

    /// The truth of `rows` as the loss wants it: places of classes `[rows]` for softmax, 0 and 1
    /// `[rows, 1]` for a single output, values `[rows, 1]` in the units of training.
    fn truth(&self, targets: &Targets, rows: &[u32]) -> NnResult<Tensor> {
        let device = &Device::Cpu;
        let of_rows = |value: &dyn Fn(usize) -> f32| -> Vec<f32> {
            rows.iter().map(|row| value(*row as usize)).collect()
        };
        Ok(match (targets, self.settings.loss) {
            (Targets::Classes(classes), LossSpec::BinaryCrossEntropy) => {
                Tensor::from_vec(of_rows(&|row| classes[row] as f32), (rows.len(), 1), device)?
            }
            (Targets::Classes(classes), _) => {
                let classes: Vec<u32> = rows.iter().map(|row| classes[*row as usize]).collect();
                Tensor::from_vec(classes, rows.len(), device)?
            }
            (Targets::Values(values), _) => {
                let scaled =
                    |row: usize| ((values[row] - self.target.mean) / self.target.scale) as f32;
                Tensor::from_vec(of_rows(&scaled), (rows.len(), 1), device)?
            }
        })
    }

    fn score(&self, examples: &Examples) -> NnResult<Scores> {
        score_network(&self.network, self.target, self.settings.loss, examples)
    }

    fn diverged(&self, epoch: usize) -> NnError {
        let rate = self.schedule.rate(self.step);
        NnError::Diverged {
            message: format!(
                "the loss is no longer a number in epoch {epoch}, after {} steps",
                self.step
            ),
            help: format!(
                "lower the learning rate (now {rate}), clip the gradients with                  `gradient_clipping: 1`, or scale the features with a `preprocess` stage"
            ),
        }
    }
}

/// The order in which an epoch takes the rows: a function of seed and epoch alone.
fn order(rows: usize, settings: &FitSettings, epoch: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    if settings.shuffle {
        let mut generator = ChaCha8Rng::seed_from_u64(settings.seed);
        generator.set_stream(epoch as u64);
        order.shuffle(&mut generator);
    }
    order
}

/// Copies of the weights, which further steps do not change.
fn snapshot(weights: &BTreeMap<String, Var>) -> NnResult<BTreeMap<String, Tensor>> {
    weights
        .iter()
        .map(|(name, weight)| Ok((name.clone(), weight.as_detached_tensor().copy()?)))
        .collect()
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
