//! How to train, all things known.

use super::config::{
    ClassWeights, EarlyStopping, GradientClipping, LossSpec, Mode, OptimizerSpec, SchedulerSpec,
    TrainConfig,
};
use crate::error::{NnError, NnResult};
use crate::model::{TargetInfo, Targets};

/// How to train, all things known.
#[derive(Debug, Clone, PartialEq)]
pub struct FitSettings {
    /// What is made small.
    pub loss: LossSpec,
    /// How weights follow their gradients.
    pub optimizer: OptimizerSpec,
    /// How many rows make one step.
    pub batch_size: usize,
    /// How often the data is gone through, at most.
    pub epochs: usize,
    /// When to stop early.
    pub early_stopping: Option<EarlyStopping>,
    /// The metric by which the best weights are kept; the last ones are, if there is none.
    pub keep_best_by: Option<String>,
    /// How much each class counts in the loss, in the order of the classes.
    pub class_weights: Option<Vec<f32>>,
    /// How gradients are kept small.
    pub gradient_clipping: Option<GradientClipping>,
    /// How the learning rate changes.
    pub scheduler: SchedulerSpec,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// Decides order and dropout.
    pub seed: u64,
}

impl FitSettings {
    /// Plain settings for `loss`: Adam, batches of 32, nothing else.
    pub fn new(loss: LossSpec, epochs: usize) -> Self {
        Self {
            loss,
            optimizer: OptimizerSpec::default(),
            batch_size: 32,
            epochs,
            early_stopping: None,
            keep_best_by: None,
            class_weights: None,
            gradient_clipping: None,
            scheduler: SchedulerSpec::default(),
            shuffle: true,
            seed: 0,
        }
    }

    /// What `config` means for these targets.
    ///
    /// # Errors
    /// If there is a weight for a class that does not occur, or one that is not above 0.
    pub fn from_config(
        config: &TrainConfig,
        loss: LossSpec,
        target: &TargetInfo,
        targets: &Targets,
        validated: bool,
    ) -> NnResult<Self> {
        let keep_best_by = keep_best_by(config, validated).map(str::to_owned);
        Ok(Self {
            loss,
            optimizer: config.optimizer,
            batch_size: config.batch_size,
            epochs: config.epochs,
            early_stopping: config.early_stopping.clone(),
            keep_best_by,
            class_weights: class_weights(config.class_weights.as_ref(), target, targets)?,
            gradient_clipping: config.gradient_clipping,
            scheduler: config.learning_rate_scheduler,
            shuffle: config.shuffle,
            seed: config.seed,
        })
    }
}

/// The metric by which the best weights are chosen.
pub fn keep_best_by(config: &TrainConfig, validated: bool) -> Option<&str> {
    config
        .validation_metric
        .as_deref()
        .or(config.early_stopping.as_ref().map(|stopping| stopping.monitor.as_str()))
        .or(validated.then_some("validation.loss"))
}

/// Which way the metric called `name` is better.
pub fn mode_of(name: &str) -> Mode {
    match name.rsplit('.').next() {
        Some("accuracy" | "r2") => Mode::Max,
        _ => Mode::Min,
    }
}

fn class_weights(
    spec: Option<&ClassWeights>,
    target: &TargetInfo,
    targets: &Targets,
) -> NnResult<Option<Vec<f32>>> {
    let (Some(spec), Targets::Classes(rows)) = (spec, targets) else { return Ok(None) };
    match spec {
        ClassWeights::Balanced => {
            let mut counts = vec![0usize; target.classes.len()];
            rows.iter().for_each(|class| counts[*class as usize] += 1);
            let share = rows.len() as f64 / counts.len() as f64;
            // A class without rows never has its weight used.
            Ok(Some(counts.iter().map(|count| (share / (*count).max(1) as f64) as f32).collect()))
        }
        ClassWeights::Each(weights) => {
            if let Some(unknown) = weights.keys().find(|class| !target.classes.contains(class)) {
                return Err(NnError::config(
                    format!("there is a weight for the class `{unknown}`, which does not occur"),
                    format!("the classes are {}", target.classes.join(", ")),
                ));
            }
            if let Some((class, weight)) =
                weights.iter().find(|(_, weight)| !weight.is_normal() || **weight < 0.0)
            {
                return Err(NnError::config(
                    format!("the class `{class}` cannot have the weight {weight}"),
                    "give every class a weight above 0",
                ));
            }
            let weight = |class| weights.get(class).copied().unwrap_or(1.0) as f32;
            Ok(Some(target.classes.iter().map(weight).collect()))
        }
    }
}
