//! The kind `explain`.

pub mod config;
pub mod dense;
pub mod explain;
mod report;
pub mod subject;

use wick_core::worker::Progress;
use wick_core::{PortName, PortType};
use wick_data::Dataset;
use wick_evaluate::Metric;
use wick_nn::{Inputs, Model, NnError, NnResult, Targets};
use wick_stage::{
    Checked, ColumnType, Context, Documentation, Example, Issues, Known, ModelFacts, PathSegment,
    Ports, StageError, StageResult, TaskType, TypedKind,
};

use crate::draw::Draw;
use config::{ExplainConfig, Method};
use explain::{Local, Row, Setting};
use report::Composer;
use subject::Subject;

/// Says why a model predicts what it predicts.
pub struct Explain;

/// Permutation importance is measured on at most this many rows, drawn by the seed.
const IMPORTANCE_ROWS: usize = 20_000;
/// How columns vary is learned from at most this many rows of the background.
const VARIETY_ROWS: usize = 5_000;
/// Importances are recorded as metrics for at most this many columns.
const RECORDED: usize = 50;

impl TypedKind for Explain {
    type Config = ExplainConfig;

    const NAME: &'static str = "explain";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Says why a model predicts what it predicts.",
            description: "\
Explains single rows of `data` (`shap`, `lime`, `integrated_gradients`, `saliency`) and the model
as a whole (`permutation_importance`). The output `report` has tables and plots.

Credit goes to **raw columns**: a category that was one-hot encoded is one column again. `shap`,
`lime` and permutation importance explain the probability of the class, or the predicted number;
the gradient methods explain the score of the class before softmax.

`background` says what a column looks like when it is not known: the training data, usually. By
default it is `data` itself.

For images, `shap` and `lime` hide and show the cells of a grid (`segments`): hidden cells take
the mean image's pixels in `shap`, and the cell's own mean colour in `lime`. Permutation
importance does not fit images.

Recorded with the report: how far SHAP values are from adding up (`shap.additivity_error`), the
mean fidelity of LIME's models (`lime.score`), the largest completeness error of integrated
gradients as a share of the output (`integrated_gradients.completeness_error`), and the importance
of each column (`importance.COLUMN`). Equal seeds give equal explanations, bit for bit.",
            examples: &[
                Example {
                    title: "Which columns matter, and why for 25 rows",
                    yaml: "uses: explain\ninputs: {model: train.model, data: features.test, \
                           background: features.train}\nwith: {methods: [permutation_importance, \
                           shap], rows: 25}\n",
                },
                Example {
                    title: "Which pixels matter",
                    yaml: "uses: explain\ninputs: {model: train.model, data: test_digits}\nwith: \
                           {methods: [integrated_gradients, saliency, lime], rows: 10}\n",
                },
            ],
        }
    }

    fn ports(&self, config: &ExplainConfig, issues: &mut Issues) -> Ports {
        if config.methods.as_ref().is_some_and(Vec::is_empty) {
            issues.with(
                ["methods"],
                "no methods are named",
                "name some, or leave `methods` out for the usual ones",
            );
        }
        Ports::new()
            .input("model", PortType::Model)
            .input("data", PortType::Dataset)
            .optional_input("background", PortType::Dataset)
            .output("report", PortType::Report)
    }

    fn check(&self, config: &ExplainConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked::default();
        let Some(model) = known.input("model").and_then(|facts| facts.model.as_ref()) else {
            return checked;
        };
        let images = reads_images(model);
        check_fit(config, images, model.task, &mut checked.issues);
        let methods =
            config.methods.clone().or_else(|| images.map(Method::defaults)).unwrap_or_default();
        let data = known.input("data").and_then(|facts| facts.dataset.as_ref());
        if let Some(data) = data
            && methods.contains(&Method::PermutationImportance)
            && data.lacks(&model.target)
        {
            checked.issues.input(
                "data",
                format!(
                    "the data has no column `{}`, which permutation importance compares with",
                    model.target
                ),
                "give it data with the target, or leave `permutation_importance` out",
            );
        }
        // Importances are called after columns, which need not be known here.
        if !methods.is_empty() && !methods.contains(&Method::PermutationImportance) {
            let names = methods.iter().flat_map(|method| metric_names(*method));
            checked.metrics = Some(names.map(|(name, _)| (*name).to_owned()).collect());
        }
        checked
    }

    fn run(&self, config: ExplainConfig, context: &mut Context<'_>) -> StageResult {
        let model = Model::load(&context.input("model")?.path)?;
        let task = model.info().target.task;
        let images = reads_images(&model.info().facts());
        let mut issues = Issues::new();
        check_fit(&config, images, Some(task), &mut issues);
        if let Some(issue) = issues.into_vec().into_iter().next() {
            // The plan could not know the model; now it is known.
            return Err(StageError::config(issue.message).help(issue.help.unwrap_or_default()));
        }
        let subject = Subject::new(model, config.segments)?;
        let methods =
            config.methods.clone().unwrap_or_else(|| Method::defaults(subject.image().is_some()));

        let data = Data::read(&subject, context, "data")?;
        let other = match context.has_input("background") {
            true => Some(Data::read(&subject, context, "background")?),
            false => None,
        };
        let behind = other.as_ref().unwrap_or(&data);
        let mut draw = Draw::new(config.seed, "background", &[]);
        let background = behind.sample(&subject, config.background_rows, &mut draw)?.1;
        let variety = behind.sample(&subject, VARIETY_ROWS, &mut draw)?.1;
        let mut draw = Draw::new(config.seed, "rows", &[]);
        let rows = rows_of(&subject, &config, data.sample(&subject, config.rows, &mut draw)?)?;

        let setting = Setting {
            config: &config,
            subject: &subject,
            background: &background,
            variety: &variety,
        };
        let mut composer = Composer::new(&subject);
        composer.rows(&rows, |player, row| {
            subject.shown(player, data.raw.as_ref(), row.place, &row.values)
        });
        let mut meter = Meter::new(&methods, rows.len(), subject.players().len());
        let mut locals = Vec::new();
        for method in &methods {
            if *method == Method::PermutationImportance {
                importance(&setting, &data, &mut composer, &mut meter, context)?;
                continue;
            }
            let mut told = || meter.advance(*method, context);
            let found = setting.explain(*method, &rows, &mut told)?;
            composer.local(*method, &rows, &found);
            for (name, value) in metrics_of(*method, &found) {
                composer.metric(name, value);
            }
            locals.push((*method, found));
        }
        if let Some(image) = subject.image() {
            composer.images(image, &rows, &locals);
        }
        let report = composer.finish();
        let points = report.metrics.iter().map(|(name, value)| (name.as_str().into(), 0, *value));
        context.metrics(points.collect::<Vec<_>>())?;
        report
            .write(&context.output("report")?)
            .map_err(|error| StageError::internal("cannot write the report").because(error))?;
        let name =
            PortName::new("report").map_err(|error| StageError::internal(error.to_string()))?;
        let names: Vec<&str> = methods.iter().map(|method| method.name()).collect();
        context.describe_output(&name, serde_json::json!({"rows": rows.len(), "methods": names}));
        Ok(())
    }
}

/// Whether the model reads images, if that is known.
fn reads_images(model: &ModelFacts) -> Option<bool> {
    let features = model.features.as_ref()?;
    Some(features.iter().any(|column| matches!(column.column_type, ColumnType::Bytes { .. })))
}

/// Methods and options fit what the model reads and predicts.
fn check_fit(
    config: &ExplainConfig,
    images: Option<bool>,
    task: Option<TaskType>,
    issues: &mut Issues,
) {
    for (place, method) in config.methods.iter().flatten().enumerate() {
        if *method == Method::PermutationImportance && images == Some(true) {
            issues.with::<PathSegment>(
                ["methods".into(), place.into()],
                "permutation importance does not fit images: one pixel alone says nothing",
                "write shap, lime, integrated_gradients or saliency",
            );
        }
    }
    let Some(task) = task else { return };
    if task == TaskType::Regression {
        if config.class.is_some() {
            issues.with(["class"], "the model predicts a number, not classes", "leave `class` out");
        }
        if config.shap.link == config::LinkChoice::Logit {
            issues.with(
                ["shap", "link"],
                "log-odds are of probabilities, and the model predicts a number",
                "leave `link` out",
            );
        }
    }
    if let Some(metric) = config.permutation_importance.metric.filter(|metric| !metric.fits(task)) {
        let usual = Metric::defaults(task);
        let usual: Vec<&str> = usual.iter().map(|metric| metric.name()).collect();
        issues.with(
            ["permutation_importance", "metric"],
            format!("`{metric}` does not fit what the model predicts"),
            format!("write one of {}", usual.join(", ")),
        );
    }
}

/// A dataset as the network reads it.
struct Data {
    inputs: Inputs,
    /// The table before any transform, if this is one.
    raw: Option<wick_data::DataFrame>,
    prepared: wick_data::DataFrame,
}

impl Data {
    fn read(subject: &Subject, context: &Context<'_>, port: &str) -> StageResult<Self> {
        let dataset = Dataset::open(&context.input(port)?.path).map_err(NnError::from)?;
        let prepared = subject.model().prepare(&dataset)?;
        let inputs = subject.model().encode(&prepared)?;
        if inputs.rows() == 0 {
            return Err(StageError::data(format!("input `{port}` has no rows"))
                .help("look at how many rows the stages before it leave over"));
        }
        let transformed = dataset.transform().map_err(NnError::from)?.is_some();
        let raw = match transformed {
            true => None,
            false => Some(dataset.frame().map_err(NnError::from)?),
        };
        Ok(Self { inputs, raw, prepared })
    }

    /// At most `count` random rows in the data's order: their places, and what the network reads.
    fn sample(
        &self,
        subject: &Subject,
        count: usize,
        draw: &mut Draw,
    ) -> NnResult<(Vec<usize>, crate::Matrix<f32>)> {
        let mut places = draw.choose(count, self.inputs.rows());
        places.sort_unstable();
        let rows = subject.gather(&self.inputs, &places)?;
        Ok((places, rows))
    }
}

/// The rows with the class to explain.
fn rows_of(
    subject: &Subject,
    config: &ExplainConfig,
    (places, values): (Vec<usize>, crate::Matrix<f32>),
) -> StageResult<Vec<Row>> {
    let classes = &subject.model().info().target.classes;
    let wanted = match &config.class {
        None => None,
        Some(class) => {
            let names: Vec<&str> = classes.iter().map(String::as_str).collect();
            let place = names.iter().position(|name| name == class).ok_or_else(|| {
                let help = match wick_data::error::closest(class, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the classes are {}", names.join(", ")),
                };
                StageError::config(format!("the model knows no class `{class}`")).help(help)
            })?;
            Some(place)
        }
    };
    let predictions = subject.predict(&values)?;
    Ok(places
        .into_iter()
        .enumerate()
        .map(|(row, place)| {
            let class = wanted.unwrap_or_else(|| predictions.class_index(row));
            let prediction = f64::from(predictions.row(row)[class]);
            Row { place, values: values.row(row).to_vec(), class, prediction }
        })
        .collect())
}

/// Permutation importance, into the report.
fn importance(
    setting: &Setting<'_>,
    data: &Data,
    composer: &mut Composer<'_>,
    meter: &mut Meter,
    context: &mut Context<'_>,
) -> StageResult {
    let subject = setting.subject;
    let usual = if subject.is_classification() { Metric::Accuracy } else { Metric::R2 };
    let metric = setting.config.permutation_importance.metric.unwrap_or(usual);
    let mut draw = Draw::new(setting.config.seed, "importance_rows", &[]);
    let (places, rows) = data.sample(subject, IMPORTANCE_ROWS, &mut draw)?;
    let targets = match subject.model().targets(&data.prepared)? {
        Targets::Classes(all) => Targets::Classes(places.iter().map(|row| all[*row]).collect()),
        Targets::Values(all) => Targets::Values(places.iter().map(|row| all[*row]).collect()),
    };
    let mut told = || meter.advance(Method::PermutationImportance, context);
    let (value, found) = setting.importance(metric, &rows, &targets, &mut told)?;
    composer.importance(metric, value, &found);
    composer.metric(format!("permutation_importance.{metric}"), value);
    if found.len() <= RECORDED {
        for (name, importance) in subject.players().names().iter().zip(&found) {
            composer.metric(format!("importance.{name}"), importance.mean);
        }
    }
    Ok(())
}

/// The metrics of a method, and the note of its rows that each sums up.
const fn metric_names(method: Method) -> &'static [(&'static str, &'static str)] {
    match method {
        Method::Shap => &[("shap.additivity_error", "additivity_error")],
        Method::Lime => &[("lime.score", "score")],
        Method::IntegratedGradients => {
            &[("integrated_gradients.completeness_error", "completeness_error")]
        }
        Method::Saliency | Method::PermutationImportance => &[],
    }
}

/// Errors by their largest, fidelity by its mean.
fn metrics_of(method: Method, locals: &[Local]) -> Vec<(&'static str, f64)> {
    metric_names(method)
        .iter()
        .map(|(name, note)| {
            let values: Vec<f64> = locals
                .iter()
                .flat_map(|local| &local.notes)
                .filter(|(name, _)| name == note)
                .map(|(_, value)| *value)
                .collect();
            let value = match method {
                Method::Lime => values.iter().sum::<f64>() / values.len() as f64,
                _ => values.iter().copied().fold(0.0, f64::max),
            };
            (*name, value)
        })
        .collect()
}

/// Counts what is explained, for the progress that is shown.
struct Meter {
    done: usize,
    total: usize,
}

impl Meter {
    fn new(methods: &[Method], rows: usize, players: usize) -> Self {
        let of = |method: &Method| match method {
            Method::PermutationImportance => players,
            _ => rows,
        };
        Self { done: 0, total: methods.iter().map(of).sum() }
    }

    fn advance(&mut self, method: Method, context: &mut Context<'_>) -> NnResult {
        self.done += 1;
        context.progress(Progress {
            unit: "explanations".to_owned(),
            done: self.done as f64,
            total: Some(self.total as f64),
            note: Some(method.title().to_owned()),
        })?;
        Ok(())
    }
}
