//! The training loop.
//!
//! Equal models, data and settings give equal weights, bit for bit: the order of an epoch
//! depends on seed and epoch alone, dropout on seed and step, sums are taken in a fixed order.
//! So a training that goes on from a saved state comes to the same weights as one that was never
//! interrupted.
//! Batches are gathered on the training thread: for bytes this takes about a hundredth of a
//! step, less than handing them over from another thread would.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::config::LossSpec;
use super::course::Course;
use super::schedule::Schedule;
use super::scores::{Scorer, Scores};
use super::settings::FitSettings;
use super::state::{StateError, TrainingState};
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

/// Trains `model` from the weights that it has, on `train`; or from the newest state that the
/// watcher has of this training, if there is one.
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
        stopwatch: Stopwatch::start_after(0),
        step: 0,
    };
    let mut course = Course::new(settings);
    let mut kept = None;
    while let Some(state) = watcher.saved()? {
        match training.take_up(&state)? {
            Ok(earlier) => {
                watcher.resumed(earlier.epochs())?;
                kept = match state.kept {
                    None if earlier.keeps_best() => Some(snapshot(&training.weights)?),
                    kept => kept,
                };
                course = earlier;
                break;
            }
            Err(error) => watcher.refused(&error),
        }
    }
    while !course.is_over() {
        let epoch = course.next_epoch();
        let train_scores = training.epoch(epoch, train, watcher)?;
        let rows_per_second = training.stopwatch.rate(train.rows());
        let report = course.add(EpochReport {
            epoch,
            learning_rate: training.schedule.rate(training.step - 1),
            train: train_scores,
            validation: validation.map(|examples| training.score(examples)).transpose()?,
            rows_per_second,
            best: true,
        })?;
        if report.best && course.keeps_best() {
            kept = Some(snapshot(&training.weights)?);
        }
        watcher.epoch(&report)?;
        if !course.is_over() && watcher.is_save_due(epoch) {
            let kept = kept.as_ref().filter(|_| !report.best);
            watcher.save(&training.state(course.epochs(), kept)?)?;
        }
    }
    let weights = match kept {
        Some(weights) => weights,
        None => snapshot(&training.weights)?,
    };
    *model = model.with_weights(weights)?;
    Ok(course.into_outcome())
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

    /// The state after these `epochs`; `kept` are the best weights, where the last are not. It
    /// shares the weights with the training: it holds until the next step.
    fn state(
        &self,
        epochs: &[EpochReport],
        kept: Option<&BTreeMap<String, Tensor>>,
    ) -> NnResult<TrainingState> {
        let weights = self.weights.iter();
        Ok(TrainingState {
            weights: weights.map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect(),
            kept: kept.cloned(),
            optimizer: self.optimizer.state()?,
            epochs: epochs.to_vec(),
        })
    }

    /// Goes on from `state`, and tells what the training had come to; or why it cannot, and then
    /// all is as it was.
    fn take_up(&mut self, state: &TrainingState) -> NnResult<Result<Course, StateError>> {
        let course = match self.course_of(state) {
            Ok(course) => course,
            Err(error) => return Ok(Err(error)),
        };
        // Takes all of it or nothing.
        if let Err(error) = self.optimizer.restore(&state.optimizer) {
            return Ok(Err(error.into()));
        }
        for (name, weight) in &state.weights {
            if let Some(var) = self.weights.get(name) {
                var.set(weight)?;
            }
        }
        self.step = (state.epoch() * self.schedule.steps_per_epoch) as u64;
        self.stopwatch = Stopwatch::start_after(state.epoch());
        Ok(Ok(course))
    }

    /// What a training with this state has come to, if it is a state of this training.
    fn course_of(&self, state: &TrainingState) -> Result<Course, StateError> {
        let fits = |tensors: &BTreeMap<String, Tensor>| {
            tensors.len() == self.weights.len()
                && self.weights.iter().all(|(name, var)| {
                    tensors.get(name).is_some_and(|tensor| {
                        tensor.shape() == var.shape() && tensor.dtype() == var.dtype()
                    })
                })
        };
        if !fits(&state.weights) || !state.kept.iter().all(fits) {
            return Err(StateError::new("its weights are not those of this network"));
        }
        let mut course = Course::new(self.settings);
        for report in &state.epochs {
            let again = (!course.is_over()).then(|| course.add(*report)).transpose();
            if !again.is_ok_and(|again| again.is_some_and(|again| again.best == report.best)) {
                return Err(StateError::new("its epochs are not those of this training"));
            }
        }
        let last_is_kept = state.epochs.last().is_some_and(|last| last.best);
        if state.epochs.is_empty() || state.kept.is_some() == last_is_kept {
            return Err(StateError::new("it is of no epoch"));
        }
        Ok(course)
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
