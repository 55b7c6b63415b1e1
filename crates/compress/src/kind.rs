//! The `compress` kind.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use wick_core::{PortType, Progress};
use wick_data::Dataset;
use wick_nn::train::config::OptimizerSpec;
use wick_nn::train::{
    BatchReport, EpochReport, FitSettings, Saver, StateError, TrainingState, Watcher, fit,
};
use wick_nn::{Examples, Model, NnResult};
use wick_report::{Cell, Report, Table};
use wick_stage::{
    Checked, Context, Documentation, Example, Issues, Known, PortFacts, Ports, StageError,
    StageResult, TypedKind,
};

use crate::config::{CompressConfig, FineTune, Prune, Scope};
use crate::measure::Measured;
use crate::prune::{self, Mask};

/// The `compress` kind.
pub struct Compress;

impl TypedKind for Compress {
    type Config = CompressConfig;
    const NAME: &'static str = "compress";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "makes a model smaller, and measures what that saves and costs",
            description: "Prunes the smallest weights, trains the rest on if told to, and stores \
                what remains in eight bits. The result is a model like any other: `evaluate`, \
                `predict`, `register` and `wick serve` take it.\n\n\
                The report says, before and after: the bytes of the weights on disk, the metrics \
                on the input `test`, and the time to predict 1 and 256 rows. Sizes and metrics are \
                recorded; times are only reported, since no two runs agree on them. A pruned or \
                quantised network computes with the same operations as before: it is smaller, not \
                quicker.",
            examples: &[
                Example {
                    title: "Eight bits a weight",
                    yaml: "uses: compress\ninputs: {model: train.model, test: test_digits}\nwith:\n  quantize: {weights: int8}",
                },
                Example {
                    title: "Half of the weights, trained on, in eight bits",
                    yaml: "uses: compress\ninputs: {model: train.model, train: parts.train, test: test_digits}\nwith:\n  prune: {amount: 0.5, fine_tune: {epochs: 1, learning_rate: 5.0e-4}}\n  quantize: {weights: int8, granularity: per_channel}",
                },
            ],
        }
    }

    fn ports(&self, config: &CompressConfig, issues: &mut Issues) -> Ports {
        if config.prune.is_none() && config.quantize.is_none() {
            issues.with(
                [] as [&str; 0],
                "nothing is asked for",
                "add `prune: {amount: 0.5}`, `quantize: {weights: int8}`, or both",
            );
        }
        if config.prune.as_ref().is_some_and(|prune| prune.amount >= 1.0) {
            issues.with(
                ["prune", "amount"],
                "this removes every weight",
                "give the share to remove, such as 0.5",
            );
        }
        Ports::new()
            .input("model", PortType::Model)
            .optional_input("train", PortType::Dataset)
            .optional_input("test", PortType::Dataset)
            .primary_output("model", PortType::Model)
            .output("report", PortType::Report)
    }

    fn check(&self, config: &CompressConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked::default();
        let neutral = ["prune", "fine_tune", "checkpoint"];
        checked.neutral_fields.push(neutral.map(Into::into).into());
        let has_train = known.input("train").is_some();
        if config.fine_tune().is_some() && !has_train {
            checked.issues.with(
                ["prune", "fine_tune"],
                "there is no data to train on",
                "connect the input `train` to the data that the model was trained on",
            );
        }
        let model = known.input("model").and_then(|facts| facts.model.clone());
        for port in ["train", "test"] {
            let table = known.input(port).and_then(|facts| facts.dataset.as_ref());
            let (Some(model), Some(table)) = (&model, table) else { continue };
            if table.lacks(&model.target) {
                checked.issues.input(
                    port,
                    format!("it has no column `{}`, which the model predicts", model.target),
                    "connect data that has it",
                );
            }
        }
        if let Some(task) = model.as_ref().and_then(|model| model.task) {
            checked.metrics = Some(metric_names(task, config, known.input("test").is_some()));
        }
        if let Some(model) = model
            && let Ok(port) = wick_core::PortName::new("model")
        {
            checked.outputs.insert(port, PortFacts::model(model));
        }
        checked
    }

    fn run(&self, config: CompressConfig, context: &mut Context<'_>) -> StageResult {
        let before_folder = &context.input("model")?.path;
        let mut model = Model::load(before_folder)?;
        let test = examples(context, "test", &model)?;
        let before = Measured::new(before_folder, &model, test.as_ref())?;

        let masks = match &config.prune {
            Some(prune) => prune_model(&mut model, prune)?,
            None => BTreeMap::new(),
        };
        if let Some(fine_tune) = config.fine_tune() {
            let train = examples(context, "train", &model)?
                .ok_or_else(|| StageError::config("there is no data to train on"))?;
            train_on(&mut model, &train, &masks, fine_tune, config.seed, context)?;
        }

        let after_folder = context.output("model")?;
        let compressed = compressed_names(&model);
        model.save_packed(&after_folder, |name| {
            compressed.iter().any(|weight| weight == name).then(|| config.storage())
        })?;
        // What is on disk is what counts: the quantised weights, not those in memory.
        let model = Model::load(&after_folder)?;
        let after = Measured::new(&after_folder, &model, test.as_ref())?;
        let sparsity = config.prune.as_ref().map(|_| prune::sparsity(masks.values()));
        record(&before, &after, sparsity, context)?;
        let mut meta = model.info().meta();
        if let Some(meta) = meta.as_object_mut() {
            meta.insert("weight_bytes".to_owned(), after.bytes.into());
        }
        describe(context, "model", meta);
        report(&before, &after, sparsity).write(&context.output("report")?).map_err(|error| {
            StageError::new(wick_core::FailureCause::Io, "cannot write the report").because(error)
        })
    }
}

fn metric_names(task: wick_stage::TaskType, config: &CompressConfig, tested: bool) -> Vec<String> {
    let mut names = vec!["bytes_before".to_owned(), "bytes_after".into(), "ratio".into()];
    if config.prune.is_some() {
        names.push("sparsity".into());
    }
    if tested {
        for metric in wick_evaluate::Metric::defaults(task) {
            names.push(format!("{}_before", metric.name()));
            names.push(format!("{}_after", metric.name()));
        }
    }
    names
}

/// The rows at input `port`, if it is connected.
fn examples(context: &Context<'_>, port: &str, model: &Model) -> StageResult<Option<Examples>> {
    if !context.has_input(port) {
        return Ok(None);
    }
    let dataset = Dataset::open(&context.input(port)?.path)?;
    Ok(Some(model.examples(&model.prepare(&dataset)?)?))
}

/// The weights that are compressed: those with two dimensions or more. Biases are few, and
/// every output depends on them.
fn compressed_names(model: &Model) -> Vec<String> {
    model
        .weights()
        .iter()
        .filter(|(_, weight)| weight.rank() >= 2)
        .map(|(name, _)| name.clone())
        .collect()
}

/// Sets the smallest weights to zero, and gives the masks.
fn prune_model(model: &mut Model, config: &Prune) -> NnResult<BTreeMap<String, Mask>> {
    let mut values = compressed_names(model)
        .into_iter()
        .map(|name| {
            let weight = model.weights()[&name].flatten_all()?.to_vec1::<f32>()?;
            Ok((name, weight))
        })
        .collect::<NnResult<BTreeMap<_, _>>>()?;
    let masks = match config.scope {
        Scope::Global => prune::global(&values, config.amount),
        Scope::Layer => prune::per_layer(&values, config.amount),
    };
    let mut weights = model.weights().clone();
    for (name, values) in &mut values {
        prune::apply(values, &masks[name]);
        let old = &model.weights()[name];
        weights.insert(name.clone(), Tensor::from_slice(values, old.shape(), old.device())?);
    }
    *model = model.with_weights(weights)?;
    Ok(masks)
}

/// Trains the model on, and keeps what was pruned at zero.
fn train_on(
    model: &mut Model,
    train: &Examples,
    masks: &BTreeMap<String, Mask>,
    config: &FineTune,
    seed: u64,
    context: &mut Context<'_>,
) -> StageResult {
    let settings = FitSettings {
        optimizer: OptimizerSpec::adam(config.learning_rate),
        batch_size: config.batch_size,
        seed,
        ..FitSettings::new(model.info().loss, config.epochs)
    };
    let masks = masks
        .iter()
        .map(|(name, mask)| {
            let weight = &model.weights()[name];
            let values: Vec<f32> = mask.iter().map(|stays| f32::from(u8::from(*stays))).collect();
            Ok((name.clone(), Tensor::from_vec(values, weight.shape(), weight.device())?))
        })
        .collect::<NnResult<BTreeMap<_, _>>>()?;
    let saver = Saver::new(context, config.checkpoint);
    fit(model, train, None, &settings, &mut HoldPruned { masks, saver, context })?;
    Ok(())
}

/// Reports progress, saves the state now and then, and after each step sets the pruned weights to
/// zero again.
struct HoldPruned<'a, 'c> {
    masks: BTreeMap<String, Tensor>,
    saver: Saver,
    context: &'a mut Context<'c>,
}

impl Watcher for HoldPruned<'_, '_> {
    fn batch(&mut self, report: &BatchReport) -> NnResult {
        self.context.progress(Progress {
            unit: "epoch".to_owned(),
            done: report.epochs_done,
            total: Some(report.epochs as f64),
            note: Some(format!("fine-tuning, loss {:.4}", report.loss)),
        })?;
        Ok(())
    }

    fn saved(&mut self) -> NnResult<Option<TrainingState>> {
        Ok(self.saver.saved(self.context))
    }

    fn refused(&mut self, error: &StateError) {
        self.saver.refused(self.context, error);
    }

    fn resumed(&mut self, epochs: &[EpochReport]) -> NnResult {
        self.saver.resumed(self.context, epochs.len());
        Ok(())
    }

    fn is_save_due(&mut self, epoch: usize) -> bool {
        self.saver.is_due(epoch)
    }

    fn save(&mut self, state: &TrainingState) -> NnResult {
        self.saver.save(self.context, state);
        Ok(())
    }

    fn after_step(&mut self, weights: &BTreeMap<String, Var>) -> NnResult {
        for (name, mask) in &self.masks {
            if let Some(weight) = weights.get(name) {
                weight.set(&weight.as_tensor().mul(mask)?)?;
            }
        }
        Ok(())
    }
}

fn record(
    before: &Measured,
    after: &Measured,
    sparsity: Option<f64>,
    context: &mut Context<'_>,
) -> StageResult {
    let mut points = vec![
        ("bytes_before".into(), 0, before.bytes as f64),
        ("bytes_after".into(), 0, after.bytes as f64),
        ("ratio".into(), 0, before.bytes as f64 / after.bytes as f64),
    ];
    points.extend(sparsity.map(|sparsity| ("sparsity".into(), 0, sparsity)));
    for ((metric, old), (_, new)) in before.metrics.iter().zip(&after.metrics) {
        points.push((format!("{}_before", metric.name()).into(), 0, *old));
        points.push((format!("{}_after", metric.name()).into(), 0, *new));
    }
    context.metrics(points)
}

fn report(before: &Measured, after: &Measured, sparsity: Option<f64>) -> Report {
    let mut report = Report::new("Compression");
    let mut table = Table::new("compression", "Before and after", ["measure", "before", "after"]);
    let bytes = |bytes: u64| Cell::Integer(i64::try_from(bytes).unwrap_or(i64::MAX));
    table.push([Cell::from("bytes of weights on disk"), bytes(before.bytes), bytes(after.bytes)]);
    if let Some(sparsity) = sparsity {
        table.push([Cell::from("share of weights removed"), Cell::from(0.0), Cell::from(sparsity)]);
        report.add_metric("sparsity", sparsity);
    }
    for ((metric, old), (_, new)) in before.metrics.iter().zip(&after.metrics) {
        table.push([Cell::from(metric.name()), Cell::from(*old), Cell::from(*new)]);
        report.add_metric(format!("{}_before", metric.name()), *old);
        report.add_metric(format!("{}_after", metric.name()), *new);
    }
    for ((rows, old), (_, new)) in before.latency.iter().zip(&after.latency) {
        let name =
            format!("milliseconds to predict {rows} row{}", if *rows == 1 { "" } else { "s" });
        table.push([Cell::from(name), Cell::from(*old), Cell::from(*new)]);
    }
    report.add_metric("ratio", before.bytes as f64 / after.bytes as f64);
    report.add_table(table);
    report
}

fn describe(context: &mut Context<'_>, port: &str, meta: serde_json::Value) {
    if let Ok(port) = wick_core::PortName::new(port) {
        context.describe_output(&port, meta);
    }
}
