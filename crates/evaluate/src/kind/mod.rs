//! The kind `evaluate`.

pub mod config;
mod report;

use indexmap::IndexMap;
use wick_core::worker::Progress;
use wick_core::{PortName, PortType};
use wick_data::Dataset;
use wick_nn::{Inputs, Model, NnError, NnResult, Predictions};
use wick_stage::{
    Checked, Context, DatasetFacts, Documentation, Example, Issues, Known, ModelFacts, Ports,
    StageError, StageResult, TaskType, TypedKind,
};

use crate::gate::Gate;
use crate::metric::{Metric, MetricOptions, Outcomes};
use crate::metrics::Average;
use crate::outcomes::of_predictions;
use config::EvaluateConfig;

/// Measures a model on data that it has not seen, and holds it to what is required.
pub struct Evaluate;

/// How many samples go through the network between two reports of progress.
const BATCH: usize = 256;

impl TypedKind for Evaluate {
    type Config = EvaluateConfig;

    const NAME: &'static str = "evaluate";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Measures a model on data, and fails where it is not good enough.",
            description: "\
Predicts for every row of `data` and compares with the target column. The metrics are recorded;
the output `report` also holds the confusion matrix, a table by class, the most confident
mistakes, and curves (ROC, precision and recall, calibration).

Data is either raw or made by the transform that the model was trained with; raw data goes
through that transform first.

`require` names gates: where a metric misses its bound the stage fails, after everything is
recorded, and the stages that need it, or come `after` it, do not run.

Without `metrics` the usual ones of the task are computed: accuracy, precision, recall, F1, ROC
AUC, PR AUC and log loss for two classes; accuracy, balanced accuracy, precision, recall, F1 and
log loss for more; MAE, RMSE, R² and the median absolute error for numbers.",
            examples: &[
                Example {
                    title: "The usual metrics",
                    yaml: "uses: evaluate\ninputs: {model: train.model, data: parts.test}\n",
                },
                Example {
                    title: "A gate before a model is used",
                    yaml: "uses: evaluate\ninputs: {model: train.model, data: test_digits}\nwith:\n  \
                           metrics: [accuracy, precision, recall, f1]\n  \
                           require: {accuracy: \">= 0.975\"}\n",
                },
            ],
        }
    }

    fn ports(&self, config: &EvaluateConfig, issues: &mut Issues) -> Ports {
        let _ = gates(config, issues);
        if config.metrics.as_ref().is_some_and(Vec::is_empty) {
            issues.with(
                ["metrics"],
                "no metrics are named",
                "name some, or leave `metrics` out for the usual ones",
            );
        }
        Ports::new()
            .input("model", PortType::Model)
            .input("data", PortType::Dataset)
            .output("report", PortType::Report)
    }

    fn check(&self, config: &EvaluateConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked::default();
        let model = known.input("model").and_then(|facts| facts.model.as_ref());
        let data = known.input("data").and_then(|facts| facts.dataset.as_ref());
        if let (Some(model), Some(data)) = (model, data) {
            check_columns(model, data, &mut checked.issues);
        }
        let task = model.and_then(|model| model.task);
        if let Some(task) = task {
            check_task(config, task, &mut checked.issues);
        }
        checked.metrics =
            computed(config, task).map(|metrics| metrics.iter().map(Metric::to_string).collect());
        checked
    }

    fn run(&self, config: EvaluateConfig, context: &mut Context<'_>) -> StageResult {
        let model = Model::load(&context.input("model")?.path)?;
        let dataset = Dataset::open(&context.input("data")?.path).map_err(NnError::from)?;
        let examples = model.examples(&model.prepare(&dataset)?)?;
        if examples.rows() == 0 {
            return Err(StageError::data("the data has no rows to evaluate on")
                .help("look at how many rows the stages before it leave over"));
        }
        let task = model.info().target.task;
        let mut issues = Issues::new();
        check_task(&config, task, &mut issues);
        if let Some(issue) = issues.into_vec().into_iter().next() {
            // The plan could not know the task; now it is known.
            return Err(StageError::config(issue.message).help(issue.help.unwrap_or_default()));
        }

        let predictions = predict(&model, &examples.inputs, context)?;
        let wild = predictions.values.iter().filter(|value| !value.is_finite()).count();
        if wild > 0 {
            return Err(StageError::data(format!(
                "the model predicts {wild} values that are not finite numbers"
            ))
            .help("look for extreme values in the data, or train with a smaller learning rate"));
        }
        let outcomes = of_predictions(&predictions, &examples.targets, config.threshold)?;
        let options = MetricOptions { average: config.average, top_k: config.top_k };
        let metrics = computed(&config, Some(task)).unwrap_or_default();
        let values = measure(&metrics, &outcomes, options);

        context.metrics(values.iter().map(|(metric, value)| (metric.name().into(), 0, *value)))?;
        let report = report::compose(&model, &outcomes, &values);
        let folder = context.output("report")?;
        report
            .write(&folder)
            .map_err(|error| StageError::internal("cannot write the report").because(error))?;
        let mut shown = serde_json::Map::new();
        shown.insert("rows".to_owned(), examples.rows().into());
        for (metric, value) in &values {
            shown.insert(metric.name().to_owned(), (*value).into());
        }
        context.describe_output(&port("report")?, shown.into());

        hold(&config, &values)
    }
}

fn port(name: &str) -> StageResult<PortName> {
    PortName::new(name).map_err(|error| StageError::internal(error.to_string()))
}

/// The gates by metric; what is wrong with them goes to `issues`.
fn gates(config: &EvaluateConfig, issues: &mut Issues) -> Vec<(Metric, Gate)> {
    let mut gates = Vec::new();
    let names: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    for (name, bound) in &config.require {
        let path = ["require", name.as_str()];
        let metric = Metric::named(name);
        match metric {
            None => issues.push(wick_stage::Issue {
                path: vec!["with".into(), "require".into(), name.as_str().into()],
                at_key: true,
                message: format!("there is no metric `{name}`"),
                help: Some(match wick_data::error::closest(name, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the metrics are {}", names.join(", ")),
                }),
            }),
            Some(metric) if config.metrics.as_ref().is_some_and(|all| !all.contains(&metric)) => {
                issues.push(wick_stage::Issue {
                    path: vec!["with".into(), "require".into(), name.as_str().into()],
                    at_key: true,
                    message: format!("`{name}` is required but not computed"),
                    help: Some(format!("add `{name}` to `metrics`")),
                });
            }
            Some(_) => {}
        }
        match (metric, Gate::parse(bound)) {
            (Some(metric), Ok(gate)) => gates.push((metric, gate)),
            (_, Err(error)) => issues.with(
                path,
                error.to_string(),
                "write a comparison (>=, >, <=, <, ==) and a number, for example `\">= 0.9\"`",
            ),
            (None, Ok(_)) => {}
        }
    }
    gates
}

/// The metrics to compute: those named, or the usual ones of the task and those required.
/// `None` if that depends on a task that is not known.
fn computed(config: &EvaluateConfig, task: Option<TaskType>) -> Option<Vec<Metric>> {
    let named = config.metrics.clone().or_else(|| task.map(Metric::defaults))?;
    let required = config.require.keys().filter_map(|name| Metric::named(name));
    let mut metrics = Vec::new();
    for metric in named.into_iter().chain(required) {
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    Some(metrics)
}

/// The data has what the model predicts, and what it reads if that can be told.
fn check_columns(model: &ModelFacts, data: &DatasetFacts, issues: &mut Issues) {
    let Some(columns) = &data.columns else { return };
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    if data.lacks(&model.target) {
        issues.input(
            "data",
            format!("the data has no column `{}`, which the model predicts", model.target),
            wick_data::column_help(&model.target, &names),
        );
    }
    // Raw data may go through the model's transform first; only what a transform made must have
    // the features as they are.
    if data.transformed {
        for feature in model.features.iter().flatten().filter(|f| data.lacks(&f.name)) {
            issues.input(
                "data",
                format!("the data has no column `{}`, which the model reads", feature.name),
                wick_data::column_help(&feature.name, &names),
            );
        }
    }
}

/// Metrics and their options fit the task.
fn check_task(config: &EvaluateConfig, task: TaskType, issues: &mut Issues) {
    let sort = match task {
        TaskType::Regression => "a number",
        TaskType::Binary | TaskType::Multiclass => "classes",
    };
    let usual: Vec<_> = Metric::defaults(task).iter().map(|metric| metric.name()).collect();
    let help = format!("the usual ones are {}", usual.join(", "));
    for (place, metric) in config.metrics.iter().flatten().enumerate() {
        if !metric.fits(task) {
            issues.with::<wick_stage::PathSegment>(
                ["metrics".into(), place.into()],
                format!("`{metric}` does not fit a model that predicts {sort}"),
                help.as_str(),
            );
        }
    }
    if config.metrics.is_none() {
        for name in config.require.keys() {
            if Metric::named(name).is_some_and(|metric| !metric.fits(task)) {
                issues.with(
                    ["require", name.as_str()],
                    format!("`{name}` does not fit a model that predicts {sort}"),
                    help.as_str(),
                );
            }
        }
    }
    if config.average == Some(Average::Binary) && task != TaskType::Binary {
        issues.with(
            ["average"],
            "`binary` is for models of two classes",
            "write macro, micro or weighted",
        );
    }
}

fn predict(model: &Model, inputs: &Inputs, context: &mut Context<'_>) -> StageResult<Predictions> {
    let mut predictions = Predictions::new(&model.info().target);
    let rows = inputs.rows();
    for start in (0..rows).step_by(BATCH) {
        let end = (start + BATCH).min(rows);
        let batch = || -> NnResult<_> { model.forward(&inputs.batch(start, end)?) };
        predictions.push_outputs(&batch()?, &model.info().target)?;
        context.progress(Progress {
            unit: "rows".to_owned(),
            done: end as f64,
            total: Some(rows as f64),
            note: None,
        })?;
    }
    Ok(predictions)
}

fn measure(
    metrics: &[Metric],
    outcomes: &Outcomes,
    options: MetricOptions,
) -> IndexMap<Metric, f64> {
    metrics.iter().filter_map(|metric| Some((*metric, metric.value(outcomes, options)?))).collect()
}

/// Fails if a metric misses its bound; names every one that does.
fn hold(config: &EvaluateConfig, values: &IndexMap<Metric, f64>) -> StageResult {
    let missed: Vec<String> = gates(config, &mut Issues::new())
        .into_iter()
        .filter_map(|(metric, gate)| {
            let value = values.get(&metric).copied().unwrap_or(f64::NAN);
            let missed = !gate.admits(value);
            missed.then(|| format!("{metric} is {}, and must be {gate}", exact(value)))
        })
        .collect();
    if missed.is_empty() {
        return Ok(());
    }
    Err(StageError::gate(missed.join("; "))
        .help("improve the model, or change the bound under `require`"))
}

/// Six decimals: enough that a value never looks equal to a bound that it misses by little.
fn exact(value: f64) -> String {
    let text = format!("{value:.6}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests;
