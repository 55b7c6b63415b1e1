//! The `compress` kind, run as a worker runs it, on a small model of generated points.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};
use wick_compress::kind::Compress;
use wick_core::{Timestamp, WorkerEvent};
use wick_data::Dataset;
use wick_nn::train::{FitSettings, Unwatched, fit};
use wick_nn::{Model, ModelInfo};
use wick_report::Report;
use wick_stage::context::CollectedEvents;
use wick_stage::{Assignment, Context, EventSink, Kind, StageResult, Typed};

/// Points around two centres, `rows` of them, written as a dataset.
fn points(folder: &Path, rows: usize, shift: usize) {
    let objects: Vec<serde_json::Map<String, Value>> = (0..rows)
        .map(|row| {
            let class = row % 2;
            let noise = |k: usize| (((row + shift) * k * 7919 % 1009) as f64 / 1009.0 - 0.5) * 1.2;
            let (centre, side) = if class == 0 { (-1.0, "left") } else { (1.0, "right") };
            let point = json!({
                "x": centre + noise(3), "y": -centre + noise(5), "side": side,
            });
            point.as_object().cloned().expect("an object")
        })
        .collect();
    let columns = serde_json::from_value::<Vec<wick_stage::Column>>(json!([
        {"name": "x", "type": "float"},
        {"name": "y", "type": "float"},
        {"name": "side", "type": "text"},
    ]))
    .expect("columns");
    let mut frame = wick_data::frame_from_json(&objects, &columns).expect("rows");
    std::fs::create_dir_all(folder).expect("a folder");
    Dataset::write(folder, &mut frame, None).expect("it is written");
}

/// A model that has learned to tell the points apart.
fn model(folder: &Path, train: &Path) {
    let number = |column: &str| json!({"column": column, "form": "number", "scale": 1.0});
    let info: ModelInfo = serde_json::from_value(json!({
        "version": 1,
        "layers": [{"dense": {"units": 64, "activation": "relu"}}, {"dense": 2}],
        "features": [number("x"), number("y")],
        "target": {"column": "side", "task": "binary", "classes": ["left", "right"]},
        "loss": "cross_entropy",
        "parameters": 0,
    }))
    .expect("a model's description");
    let mut model = Model::untrained(info, None, 1).expect("layers that fit");
    let frame = Dataset::open(train).and_then(|data| data.frame()).expect("the points");
    let examples = model.examples(&frame).expect("examples");
    let settings = FitSettings::new(model.info().loss, 5);
    fit(&mut model, &examples, None, &settings, &mut Unwatched).expect("it learns");
    std::fs::create_dir_all(folder).expect("a folder");
    model.save(folder).expect("it is saved");
}

/// Runs the kind, and gives the metrics that it reported.
fn compress(root: &Path, config: &Value) -> BTreeMap<String, f64> {
    let mut events = CollectedEvents::default();
    attempt(root, config, &mut events).expect("it runs");
    let points = events.0.into_iter().filter_map(|event| match event {
        WorkerEvent::Metrics(points) => Some(points),
        _ => None,
    });
    points.flatten().map(|point| (point.key.to_string(), point.value)).collect()
}

/// Runs an attempt, whose state is saved beside its inputs.
fn attempt(root: &Path, config: &Value, events: &mut dyn EventSink) -> StageResult {
    let input = |kind: &str, name: &str| json!({"type": kind, "digest": "00".repeat(32), "path": root.join(name), "meta": {}});
    let assignment: Assignment = serde_json::from_value(json!({
        "version": 1, "run": "000000000000", "pipeline": "p", "stage": "compress", "attempt": 1,
        "token": 1, "kind": "compress", "config": config,
        "inputs": {
            "model": input("model", "model"),
            "train": input("dataset", "train"),
            "test": input("dataset", "test"),
        },
        "outputs": {"model": {"type": "model"}, "report": {"type": "report"}},
        "base": root, "artifacts": root, "cpus": 1,
        "checkpoints": {
            "root": root.join("checkpoints"), "fingerprint": "11".repeat(32), "line": "shared",
        },
    }))
    .expect("an assignment");
    let mut context = Context::new(&assignment, root, events);
    let kind = Typed(Compress);
    kind.ports(config).expect("a configuration that can work");
    kind.run(config, &mut context)
}

#[test]
fn a_pruned_and_quantised_model_is_smaller_and_still_works() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let root = root.path();
    points(&root.join("train"), 600, 0);
    points(&root.join("test"), 300, 10_000);
    model(&root.join("model"), &root.join("train"));

    let config = json!({
        "prune": {"amount": 0.5, "fine_tune": {"epochs": 2, "learning_rate": 1e-3}},
        "quantize": {"weights": "int8"},
        "seed": 3,
    });
    let metrics = compress(root, &config);
    assert!(metrics["bytes_after"] < metrics["bytes_before"], "{metrics:?}");
    assert!((metrics["sparsity"] - 0.5).abs() < 0.01, "{metrics:?}");
    assert!(metrics["accuracy_before"] > 0.97, "{metrics:?}");
    assert!(metrics["accuracy_after"] > 0.95, "{metrics:?}");

    // Fine-tuning has not brought a removed weight back.
    let compressed = Model::load(root.join("outputs/model")).expect("a model like any other");
    let zeros: usize = compressed
        .weights()
        .values()
        .filter(|weight| weight.rank() >= 2)
        .map(|weight| weight.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("values"))
        .map(|values| values.iter().filter(|value| **value == 0.0).count())
        .sum();
    assert!(zeros >= (64 * 2 + 64 * 2) / 2, "{zeros}");

    let report = Report::read(&root.join("outputs/report")).expect("a report");
    let table = report.find_table("compression").expect("its table");
    assert!(table.rows.iter().any(|row| row[0].to_string().contains("milliseconds")));

    // The same again, bit for bit.
    let weights = || std::fs::read(root.join("outputs/model/weights.safetensors")).expect("bytes");
    let first = weights();
    let again = compress(root, &config);
    assert_eq!(again, metrics);
    assert_eq!(weights(), first);
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_runs() {
    let issues = |config: Value| Typed(Compress).ports(&config).expect_err("it is refused");
    assert_eq!(issues(json!({})).len(), 1);
    assert_eq!(issues(json!({"prune": {"amount": 1.0}})).len(), 1);
    let config = json!({"prune": {"amount": 0.5, "fine_tune": {}}});
    let inputs = indexmap::IndexMap::new();
    let known = wick_stage::Known { base: Path::new("."), inputs: &inputs };
    let issues = Typed(Compress).check(&config, &known).issues.into_vec();
    assert!(issues[0].message.contains("no data to train on"), "{issues:?}");
}

/// Takes progress between two epochs only: it is as if the process was killed after the last, and
/// none may come before the first.
struct Between(f64, f64);

impl EventSink for Between {
    fn emit(&mut self, event: WorkerEvent) -> std::io::Result<()> {
        if let WorkerEvent::Progress(progress) = event {
            assert!(progress.done > self.0, "{progress:?}");
            if progress.done > self.1 {
                return Err(std::io::Error::other("killed"));
            }
        }
        Ok(())
    }

    /// Later each time that it is asked: all progress is worth a report.
    fn now(&self) -> Timestamp {
        static TIME: AtomicI64 = AtomicI64::new(0);
        Timestamp(TIME.fetch_add(1_000_000, Ordering::Relaxed))
    }
}

#[test]
fn fine_tuning_that_was_killed_goes_on_and_keeps_what_was_pruned_at_zero() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let root = root.path();
    points(&root.join("train"), 300, 0);
    points(&root.join("test"), 60, 10_000);
    model(&root.join("model"), &root.join("train"));
    let config = |checkpoint: &str| {
        let fine_tune = json!({"epochs": 6, "learning_rate": 1e-2, "checkpoint": checkpoint});
        json!({"prune": {"amount": 0.4, "fine_tune": fine_tune}, "seed": 3})
    };
    let weights =
        || std::fs::read(root.join("outputs/model/weights.safetensors")).expect("weights");
    let mut all = Between(0.0, f64::INFINITY);
    attempt(root, &config("never"), &mut all).expect("it runs");
    let undisturbed = weights();
    std::fs::remove_dir_all(root.join("outputs")).expect("removed");

    attempt(root, &config("1 epoch"), &mut Between(0.0, 3.5)).expect_err("it was killed");
    let saved = root.join("checkpoints").join("11".repeat(32)).join("shared");
    assert!(saved.join("3.ckpt").exists() && !saved.join("4.ckpt").exists());
    let mut rest = Between(3.0, f64::INFINITY);
    attempt(root, &config("1 epoch"), &mut rest).expect("it runs");
    assert!(weights() == undisturbed, "it came to something else");
}
