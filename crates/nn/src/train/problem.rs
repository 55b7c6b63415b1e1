//! What a `train` stage is to solve: checked against what is known of the data, before running
//! with what the plan knows and once more with the data itself.

use wick_stage::{Column, ColumnType, Issues, PathSegment, TaskType};

use super::config::{ClassWeights, GradientClipping, Huber, LossSpec, OptimizerSpec, TrainConfig};
use super::scores::Scores;
use crate::features::{Feature, missing_column, resolve, sample_shape};
use crate::spec::{LayerShape, LayerSpec, SampleShape, shapes};

/// What is known of a `train` stage.
#[derive(Debug, Default)]
pub struct Problem {
    /// The columns that the network reads, if they are known.
    pub features: Option<Vec<Feature>>,
    /// The loss, if it is known.
    pub loss: Option<LossSpec>,
    /// The layers in their places, if the features are known.
    pub layers: Option<Vec<LayerShape>>,
}

/// What the data of a stage is known to have.
#[derive(Debug, Clone, Copy)]
pub struct KnownData<'a> {
    /// The columns of the training data.
    pub train: Option<&'a [Column]>,
    /// Whether there is validation data.
    pub validated: bool,
}

impl Problem {
    /// Checks `config` and finds out what it means.
    pub fn check(config: &TrainConfig, data: KnownData<'_>, issues: &mut Issues) -> Self {
        let target = check_target(config, data.train, issues);
        let features = resolve(config.features.as_ref(), &config.target, data.train, issues);
        let layers = features.as_deref().and_then(|features| {
            match shapes(&config.model, sample_shape(features)) {
                Ok(layers) => Some(layers),
                Err(misfit) => {
                    let mut path = layer_path(config, misfit.layer);
                    path.extend(misfit.key.map(PathSegment::from));
                    issues.with(path, misfit.message, misfit.help);
                    None
                }
            }
        });
        let output = match &layers {
            Some(layers) => layers.last().map(|layer| layer.output),
            None => output_of(&config.model),
        };
        let loss = config.loss.or_else(|| infer_loss(config, output, target, issues));
        if let Some(loss) = loss {
            check_loss(config, loss, target, issues);
            check_output(config, loss, output, issues);
            check_monitors(config, loss, data.validated, issues);
        }
        check_numbers(config, issues);
        Self { features, loss, layers }
    }

    /// What is predicted, as far as it follows from loss and layers.
    pub fn task(&self) -> Option<TaskType> {
        let outputs = self.layers.as_ref().and_then(|layers| layers.last()).map(|l| l.output);
        match self.loss? {
            LossSpec::BinaryCrossEntropy => Some(TaskType::Binary),
            LossSpec::CrossEntropy(_) => match outputs? {
                SampleShape::Flat { width: 2 } => Some(TaskType::Binary),
                _ => Some(TaskType::Multiclass),
            },
            _ => Some(TaskType::Regression),
        }
    }

    /// The names of the metrics that training reports.
    pub fn metrics(&self, validated: bool) -> Option<Vec<String>> {
        let mut metrics = computed(self.loss?, validated);
        metrics.extend(["learning_rate", "best_epoch"].map(str::to_owned));
        Some(metrics)
    }
}

/// The names of what is measured of the network.
fn computed(loss: LossSpec, validated: bool) -> Vec<String> {
    let names = Scores::names(loss.is_classification());
    let of = |part: &'static str| names.iter().map(move |name| format!("{part}.{name}"));
    let mut metrics: Vec<String> = of("train").collect();
    if validated {
        metrics.extend(of("validation"));
    }
    metrics
}

fn check_target<'a>(
    config: &TrainConfig,
    columns: Option<&'a [Column]>,
    issues: &mut Issues,
) -> Option<&'a ColumnType> {
    let columns = columns?;
    let Some(column) = columns.iter().find(|column| column.name == config.target) else {
        let (message, help) = missing_column(&config.target, columns);
        issues.with(["target"], message, help);
        return None;
    };
    let held = &column.column_type;
    if held.is_numeric() || matches!(held, ColumnType::Text | ColumnType::Category) {
        return Some(held);
    }
    issues.with(
        ["target"],
        format!("`{}` is {held}, which a network cannot predict", config.target),
        "name a column of classes or of numbers",
    );
    None
}

/// The loss that suits the outputs and the target.
fn infer_loss(
    config: &TrainConfig,
    output: Option<SampleShape>,
    target: Option<&ColumnType>,
    issues: &mut Issues,
) -> Option<LossSpec> {
    let SampleShape::Flat { width } = output? else { return None };
    if width > 1 {
        return Some(LossSpec::CrossEntropy(Default::default()));
    }
    match target? {
        ColumnType::Text | ColumnType::Category | ColumnType::Boolean => {
            Some(LossSpec::BinaryCrossEntropy)
        }
        ColumnType::Float => Some(LossSpec::Mse),
        _ => {
            issues.with(
                ["target"],
                format!(
                    "`{}` is whole numbers, which may be two classes or an amount",
                    config.target
                ),
                "say which with `loss: binary_cross_entropy` or `loss: mse`",
            );
            None
        }
    }
}

fn check_loss(
    config: &TrainConfig,
    loss: LossSpec,
    target: Option<&ColumnType>,
    issues: &mut Issues,
) {
    let is_text = matches!(target, Some(ColumnType::Text | ColumnType::Category));
    if !loss.is_classification() && is_text {
        issues.with(
            ["loss"],
            format!(
                "`{}` predicts numbers, but the target `{}` is text",
                loss.name(),
                config.target
            ),
            "write `loss: cross_entropy`, with one output for each class in the last layer",
        );
    }
    if !loss.is_classification() && config.class_weights.is_some() {
        issues.with(
            ["class_weights"],
            format!("`{}` predicts numbers, and numbers have no classes", loss.name()),
            "leave `class_weights` out, or choose `loss: cross_entropy`",
        );
    }
}

/// Whether the last layer gives what the loss takes.
fn check_output(
    config: &TrainConfig,
    loss: LossSpec,
    output: Option<SampleShape>,
    issues: &mut Issues,
) {
    let Some(last) = config.model.len().checked_sub(1) else { return };
    let name = loss.name();
    let fault = match (output, loss) {
        (None, _) => None,
        (Some(shape @ SampleShape::Image { .. }), _) => Some((
            format!("the last layer gives {shape}, and `{name}` takes a list of outputs"),
            "end the model with `flatten` and `dense`".to_owned(),
        )),
        (Some(SampleShape::Flat { width: 1 }), LossSpec::CrossEntropy(_)) => Some((
            format!("the last layer has 1 output, and `{name}` takes one for each class"),
            "write `dense: N` for N classes, or `loss: binary_cross_entropy` for two".to_owned(),
        )),
        (Some(_), LossSpec::CrossEntropy(_)) | (Some(SampleShape::Flat { width: 1 }), _) => None,
        (Some(SampleShape::Flat { width }), LossSpec::BinaryCrossEntropy) => Some((
            format!("the last layer has {width} outputs, and `{name}` takes a single one"),
            "end the model with `dense: 1`, or write `loss: cross_entropy`".to_owned(),
        )),
        (Some(SampleShape::Flat { width }), _) => Some((
            format!("the last layer has {width} outputs, and `{name}` predicts a single number"),
            "end the model with `dense: 1`".to_owned(),
        )),
    };
    if let Some((message, help)) = fault {
        issues.with(layer_path(config, last), message, help);
    }
    let Some(activation) = config.model[last].activation() else { return };
    let activation = activation.as_str();
    let mut path = layer_path(config, last);
    path.push("activation".into());
    if loss.is_classification() {
        issues.with(
            path,
            format!("the last layer ends with `{activation}`, but `{name}` takes free outputs"),
            format!("leave `{activation}` out: probabilities are made of the outputs for you"),
        );
    } else if config.standardize_target {
        issues.with(
            path,
            format!(
                "the last layer ends with `{activation}`, but the target is brought to mean 0 \
                 and deviation 1"
            ),
            format!("leave `{activation}` out, or write `standardize_target: false`"),
        );
    }
}

/// Whether what is watched is measured.
fn check_monitors(config: &TrainConfig, loss: LossSpec, validated: bool, issues: &mut Issues) {
    let stopping = config.early_stopping.as_ref().map(|stopping| {
        let path: &[&str] = &["early_stopping", "monitor"];
        (path, stopping.monitor.as_str())
    });
    let keeping = config.validation_metric.as_deref().map(|metric| {
        let path: &[&str] = &["validation_metric"];
        (path, metric)
    });
    let measured = computed(loss, validated);
    for (path, metric) in stopping.into_iter().chain(keeping) {
        if measured.iter().any(|name| name == metric) {
            continue;
        }
        // What would be computed with validation data is suggested too: it is what most want.
        let all = computed(loss, true);
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        let connect = "connect validation data: `inputs: {validation: …}`, or watch `train.loss`";
        let help = match wick_data::error::closest(metric, &names) {
            Some(near) if near == metric => connect.to_owned(),
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it computes `{}`", measured.join("`, `")),
        };
        issues.with(path.iter().copied(), format!("`{metric}` is not computed"), help);
    }
}

/// What the schema says too, for whoever made the configuration without it, and what it cannot.
fn check_numbers(config: &TrainConfig, issues: &mut Issues) {
    let mut at_least_one = |key: &str, value: usize| {
        if value == 0 {
            issues.with([key], format!("`{key}` is 0"), "make it at least 1");
        }
    };
    at_least_one("epochs", config.epochs);
    at_least_one("batch_size", config.batch_size);
    if config.model.is_empty() {
        issues.with(["model"], "the model has no layers", "end it with `dense: N` for N outputs");
    }
    if let Some(LossSpec::Huber(Huber { delta })) = config.loss
        && (delta.is_nan() || delta <= 0.0)
    {
        issues.with(["loss", "huber", "delta"], "`delta` is not above 0", "write 1.0, for example");
    }
    if let Some(ClassWeights::Each(weights)) = &config.class_weights {
        for (class, weight) in weights.iter().filter(|(_, weight)| **weight <= 0.0) {
            issues.with(
                ["class_weights", class.as_str()],
                format!("the class `{class}` cannot have the weight {weight}"),
                "give every class a weight above 0",
            );
        }
    }
    let rate = config.optimizer.learning_rate();
    if !rate.is_finite() || rate < 0.0 {
        let path = ["optimizer", config.optimizer.name(), "learning_rate"];
        issues.with(path, format!("a learning rate of {rate} leads nowhere"), "write 0.001");
    }
    if let OptimizerSpec::Sgd(sgd) = config.optimizer
        && sgd.nesterov
        && sgd.momentum == 0.0
    {
        issues.with(
            ["optimizer", "sgd", "nesterov"],
            "`nesterov` looks ahead along the momentum, and there is none",
            "add `momentum: 0.9`, or leave `nesterov` out",
        );
    }
    if let Some(clipping) = config.gradient_clipping {
        let (GradientClipping::Norm(limit) | GradientClipping::Value(limit)) = clipping;
        if limit.is_nan() || limit <= 0.0 {
            let message = "gradients cannot be clipped to nothing";
            issues.with(["gradient_clipping"], message, "write a number above 0, for example 1.0");
        }
    }
}

/// What a model gives, where the shapes before its last `dense` do not matter.
fn output_of(model: &[LayerSpec]) -> Option<SampleShape> {
    model.iter().rev().find_map(|layer| match layer {
        LayerSpec::Dense(dense) => Some(Some(SampleShape::Flat { width: dense.units })),
        LayerSpec::Activation(_) | LayerSpec::Dropout(_) => None,
        _ => Some(None),
    })?
}

/// Where a layer stands in the configuration.
fn layer_path(config: &TrainConfig, layer: usize) -> Vec<PathSegment> {
    let name = config.model[layer].name();
    vec!["model".into(), layer.into(), name.into()]
}
