//! `train`: fits a network to a dataset.

mod report;
mod watch;

use indexmap::IndexMap;
use wick_core::{PortName, PortType};
use wick_data::{DataFrame, Dataset};
use wick_stage::{
    Checked, Column, Context, DatasetFacts, Documentation, Example, Issues, Known, ModelFacts,
    PortFacts, Ports, StageError, StageResult, TaskType, TypedKind,
};

use crate::error::{NnError, NnResult};
use crate::features::{Feature, missing_name};
use crate::model::{Examples, MODEL_VERSION, Model, ModelInfo, TargetInfo};
use crate::spec::SampleShape;
use crate::train::config::{LossSpec, TrainConfig};
use crate::train::problem::{KnownData, Problem};
use crate::train::{FitOutcome, FitSettings, Saver, fit};
use report::write_report;
use watch::StageWatcher;

/// The kind `train`.
#[derive(Debug, Clone, Copy)]
pub struct TrainKind;

const DESCRIPTION: &str = "\
Trains the network in `model` to predict the column `target`.

The network reads the columns in `features`; without it, every numeric column but the target.
Text and categories must be encoded and missing values filled in by a `preprocess` stage before;
the model takes the fitted transform along, so that prediction and serving treat raw data the
same.

`loss` decides what is learned: `cross_entropy` (one output for each class) and
`binary_cross_entropy` (a single output for two classes) tell classes apart, `mse`, `mae` and
`huber` predict a number. The last layer has no activation: probabilities are made of its outputs
for you. A numeric target is brought to mean 0 and deviation 1 for training, so that losses and
learning rates have their usual size; predictions and the metrics `mae`, `rmse` and `r2` are in
the target's own units.

With validation data the weights of the best epoch are kept, by `validation_metric` or by what
`early_stopping` monitors, else by `validation.loss`. Without, those of the last epoch.

Outputs: `model` (meant where only the stage is named) and `report`, the learning curve.
Metrics after each epoch: `train.loss` and `validation.loss`; `accuracy` of both for classes,
`mae`, `rmse` and `r2` for numbers; `learning_rate`. Those of `train` are measured while the weights change, so they lag behind and include dropout.

The state is saved at the end of an epoch, when 10 seconds have passed since it was last saved, or
as `checkpoint` says. After a crash, a kill or a timeout, the next attempt goes on from there: a
retry, `wick rerun`, or a new run of the same stage. It comes to the same weights and metrics as a
training that was never interrupted, and reports the whole series. A damaged checkpoint is passed
over for the one before. Checkpoints are removed when the stage has succeeded.

Equal seeds, data and settings give the same weights and metrics, bit for bit, whatever the number
of processors. How many rows a second were trained on is no metric, then: it is shown while the
stage runs, in its log, and noted with the model.";

const EXAMPLES: &[Example] = &[
    Example {
        title: "A table of numbers, three classes",
        yaml: "\
uses: train
inputs: {train: parts.train, validation: parts.validation}
with:
  target: species
  model:
    - dense: {units: 16, activation: relu}
    - dense: 3
  early_stopping: 5
",
    },
    Example {
        title: "Images",
        yaml: "\
uses: train
inputs: {train: parts.train, validation: parts.validation}
with:
  target: label
  features:
    image: {type: image, shape: [28, 28, 1], scale: 255}
  model:
    - conv2d: {filters: 32, kernel: 3, activation: relu}
    - max_pool2d: 2
    - flatten
    - dropout: 0.3
    - dense: 10
  loss: cross_entropy
  optimizer: {adam: {learning_rate: 0.001}}
  batch_size: 32
  epochs: 10
  early_stopping: {monitor: validation.loss, patience: 3}
  seed: 42
",
    },
    Example {
        title: "A number, with a falling learning rate",
        yaml: "\
uses: train
inputs: {train: features.train, validation: features.validation}
with:
  target: arr_delay
  model:
    - dense: {units: 64, activation: relu}
    - dense: 1
  loss: huber
  optimizer: {adamw: {learning_rate: 0.002, weight_decay: 0.0001}}
  learning_rate_scheduler: {cosine: {warmup: 1}}
  gradient_clipping: 1.0
  batch_size: 512
  epochs: 20
",
    },
];

impl TypedKind for TrainKind {
    type Config = TrainConfig;

    const NAME: &'static str = "train";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Trains a network on a dataset",
            description: DESCRIPTION,
            examples: EXAMPLES,
        }
    }

    fn ports(&self, _config: &TrainConfig, _issues: &mut Issues) -> Ports {
        Ports::new()
            .input("train", PortType::Dataset)
            .optional_input("validation", PortType::Dataset)
            .primary_output("model", PortType::Model)
            .output("report", PortType::Report)
    }

    fn check(&self, config: &TrainConfig, known: &Known<'_>) -> Checked {
        let mut issues = Issues::new();
        let columns_of = |port: &str| {
            known.input(port)?.dataset.as_ref().and_then(|facts| facts.columns.as_deref())
        };
        let validated = known.input("validation").is_some();
        let data = KnownData { train: columns_of("train"), validated };
        let problem = Problem::check(config, data, &mut issues);
        let train = known.input("train").and_then(|facts| facts.dataset.as_ref());
        if let Some(facts) = train.filter(|facts| facts.columns.is_none()) {
            check_names(config, facts, &mut issues);
        }
        if let Some(columns) = columns_of("validation") {
            check_validation(config, problem.features.as_deref(), columns, &mut issues);
        }
        let facts = ModelFacts {
            target: config.target.clone(),
            task: problem.task(),
            features: problem
                .features
                .as_ref()
                .map(|features| features.iter().map(Feature::to_column).collect()),
        };
        let mut outputs = IndexMap::new();
        if let Ok(model) = PortName::new("model") {
            outputs.insert(model, PortFacts::model(facts));
        }
        Checked {
            issues,
            outputs,
            metrics: problem.metrics(validated),
            // The network reads the columns in this order.
            ordered_fields: vec![vec!["features".into()]],
            neutral_fields: vec![vec!["checkpoint".into()]],
            ..Checked::default()
        }
    }

    fn run(&self, config: TrainConfig, context: &mut Context<'_>) -> StageResult {
        let train = Dataset::open(&context.input("train")?.path)?;
        let validation = match context.has_input("validation") {
            true => Some(Dataset::open(&context.input("validation")?.path)?),
            false => None,
        };
        let columns = &train.info().columns;
        let mut issues = Issues::new();
        let data = KnownData { train: Some(columns), validated: validation.is_some() };
        let problem = Problem::check(&config, data, &mut issues);
        if let Some(issue) = issues.into_vec().into_iter().next() {
            let error = StageError::config(issue.message);
            return Err(match issue.help {
                Some(help) => error.help(help),
                None => error,
            });
        }
        let (Some(features), Some(loss)) = (problem.features, problem.loss) else {
            return Err(StageError::internal("the columns are known and the features are not"));
        };

        let frame = train.frame_of(&read_columns(&features, &config.target))?;
        let target = target_info(&config, loss, &frame)?;
        let layers = config.model.clone();
        let info =
            ModelInfo { version: MODEL_VERSION, layers, features, target, loss, parameters: 0 };
        let mut model = Model::untrained(info, train.transform()?, config.seed)?;
        check_classes(&config, &model)?;
        let train = model.examples(&frame)?;
        // The columns are in the examples now.
        drop(frame);
        let validation = validation.as_ref().map(|data| validation_examples(&model, data));
        let validation = validation.transpose()?;
        let validated = validation.is_some();
        let target = &model.info().target;
        let settings = FitSettings::from_config(&config, loss, target, &train.targets, validated)?;
        let is_image = matches!(model.info().input_shape(), SampleShape::Image { .. });
        context.log(format_args!(
            "{} parameters, {} rows to train on, {} to validate",
            model.info().parameters,
            train.rows(),
            validation.as_ref().map_or(0, Examples::rows)
        ));
        let saver = Saver::new(context, config.checkpoint);
        let mut watcher = StageWatcher { context, saver, is_image, epochs: settings.epochs };
        let outcome = fit(&mut model, &train, validation.as_ref(), &settings, &mut watcher)?;

        context.metric("best_epoch", outcome.best_epoch as f64)?;
        model.save(context.output("model")?)?;
        write_report(&outcome, &config, context)?;
        if let Ok(port) = PortName::new("model") {
            let mut meta = model.info().meta();
            if let Some(meta) = meta.as_object_mut() {
                meta.insert("rows_per_second".to_owned(), mean_rate(&outcome).round().into());
            }
            context.describe_output(&port, meta);
        }
        Ok(())
    }
}

/// How many rows a second were trained on, over all epochs: their harmonic mean, for each has the
/// same rows.
fn mean_rate(outcome: &FitOutcome) -> f64 {
    let times: f64 = outcome.epochs.iter().map(|epoch| 1.0 / epoch.rows_per_second).sum();
    outcome.epochs.len() as f64 / times
}

/// Of data whose columns are not all known it may still be known what they are made of.
fn check_names(config: &TrainConfig, facts: &DatasetFacts, issues: &mut Issues) {
    if facts.lacks(&config.target) {
        let names: Vec<&str> = facts.name_starts.iter().flatten().map(String::as_str).collect();
        let (message, help) = missing_name(&config.target, &names);
        issues.with(["target"], message, help);
    }
}

/// Whether the validation data has what the network needs.
fn check_validation(
    config: &TrainConfig,
    features: Option<&[Feature]>,
    columns: &[Column],
    issues: &mut Issues,
) {
    let features = features.unwrap_or_default().iter().map(|feature| feature.column.as_str());
    let wanted = features.chain([config.target.as_str()]);
    let missing: Vec<&str> =
        wanted.filter(|name| columns.iter().all(|column| column.name != *name)).collect();
    if let [first, ..] = missing.as_slice() {
        issues.input(
            "validation",
            match missing.len() {
                1 => format!("the validation data has no column `{first}`"),
                count => format!("the validation data lacks {count} columns, `{first}` first"),
            },
            "prepare it by the same stages as the training data",
        );
    }
}

fn read_columns<'a>(features: &'a [Feature], target: &'a str) -> Vec<&'a str> {
    features.iter().map(|feature| feature.column.as_str()).chain([target]).collect()
}

/// What is predicted: the classes that occur, or how a number is scaled.
fn target_info(config: &TrainConfig, loss: LossSpec, frame: &DataFrame) -> NnResult<TargetInfo> {
    let column = config.target.clone();
    if loss.is_classification() {
        let classes = wick_data::labels(frame, &column, None)?.classes;
        let task = if classes.len() == 2 { TaskType::Binary } else { TaskType::Multiclass };
        return Ok(TargetInfo { column, task, classes, mean: 0.0, scale: 1.0 });
    }
    let values = wick_data::numbers(frame, &column)?;
    let (mean, scale) = if config.standardize_target { moments(&values) } else { (0.0, 1.0) };
    Ok(TargetInfo { column, task: TaskType::Regression, classes: Vec::new(), mean, scale })
}

/// Mean and standard deviation, in two passes; a constant has deviation 1.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let deviation = variance.sqrt();
    (mean, if deviation > 0.0 && deviation.is_finite() { deviation } else { 1.0 })
}

/// Whether the last layer has as many outputs as there are classes.
fn check_classes(config: &TrainConfig, model: &Model) -> NnResult {
    let target = &model.info().target;
    if !target.is_classification() {
        return Ok(());
    }
    let classes = target.classes.len();
    let shown = || {
        let mut shown: Vec<&str> = target.classes.iter().map(String::as_str).take(12).collect();
        if classes > shown.len() {
            shown.push("…");
        }
        shown.join(", ")
    };
    if classes < 2 {
        return Err(NnError::data(
            format!("the target `{}` has a single class, {}", config.target, shown()),
            "give `train` rows of at least two classes",
        ));
    }
    let outputs = model.layers().last().map_or(0, |layer| layer.output.elements());
    if outputs == classes || (outputs == 1 && classes == 2) {
        return Ok(());
    }
    let help = if outputs == 1 {
        format!("end the model with `dense: {classes}`, and write `loss: cross_entropy`")
    } else {
        format!("end the model with `dense: {classes}`")
    };
    Err(NnError::config(
        format!(
            "the last layer has {outputs} output{}, but `{}` has {classes} classes: {}",
            if outputs == 1 { "" } else { "s" },
            config.target,
            shown()
        ),
        help,
    ))
}

fn validation_examples(model: &Model, dataset: &Dataset) -> NnResult<Examples> {
    let frame = model.prepare(dataset)?;
    model.examples(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_target_has_deviation_one() {
        assert_eq!(moments(&[3.0, 3.0]), (3.0, 1.0));
        assert_eq!(moments(&[1.0, 5.0]), (3.0, 2.0));
    }
}
