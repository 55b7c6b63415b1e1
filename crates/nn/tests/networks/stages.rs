//! `train` and `predict` as the engine runs them.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Value, json};
use wick_core::{Digest, MetricPoint, PortName, PortType, RunId, StageName, Token, WorkerEvent};
use wick_data::{DataFrame, Dataset, PreprocessConfig, Transform, read_table};
use wick_nn::{Model, kinds};
use wick_stage::context::{ASSIGNMENT_VERSION, CollectedEvents};
use wick_stage::{
    AssignedInput, AssignedOutput, Assignment, CheckpointPlace, Column, ColumnType, Context,
    DatasetFacts, EventSink, Kind, Known, PortFacts, StageError, TaskType,
};

fn kind(name: &str) -> Box<dyn Kind> {
    kinds().into_iter().find(|kind| kind.name() == name).unwrap()
}

/// Runs a stage on folders; gives the folder of the attempt and what was reported.
fn run(
    name: &str,
    config: &Value,
    inputs: &[(&str, PortType, &Path)],
) -> Result<(tempfile::TempDir, Vec<WorkerEvent>), StageError> {
    let mut events = CollectedEvents::default();
    let folder = Attempt { number: 1, checkpoints: None }.run(name, config, inputs, &mut events)?;
    Ok((folder, events.0))
}

/// An attempt at a stage.
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) checkpoints: Option<CheckpointPlace>,
}

impl Attempt {
    pub(crate) fn assignment(
        &self,
        name: &str,
        config: &Value,
        inputs: &[(&str, PortType, &Path)],
    ) -> Assignment {
        let ports = kind(name).ports(config).unwrap();
        let port = |name: &str| PortName::new(name).unwrap();
        let outputs = ports.outputs.into_iter();
        Assignment {
            version: ASSIGNMENT_VERSION,
            run: RunId::from_random(1),
            pipeline: "test".to_owned(),
            stage: StageName::new("stage").unwrap(),
            attempt: self.number,
            token: Token(1),
            kind: wick_core::KindName::new(name).unwrap(),
            config: config.clone(),
            inputs: inputs
                .iter()
                .map(|(name, port_type, path)| {
                    let input = AssignedInput {
                        port_type: *port_type,
                        digest: Digest::of(b"not looked at"),
                        path: (*path).to_owned(),
                        meta: Value::Null,
                    };
                    (port(name), input)
                })
                .collect(),
            outputs: outputs
                .map(|output| (output.name, AssignedOutput { port_type: output.port_type }))
                .collect(),
            base: PathBuf::from("."),
            artifacts: PathBuf::from("."),
            cpus: 2,
            checkpoints: self.checkpoints.clone(),
        }
    }

    /// Runs it; gives its folder.
    pub(crate) fn run(
        &self,
        name: &str,
        config: &Value,
        inputs: &[(&str, PortType, &Path)],
        events: &mut dyn EventSink,
    ) -> Result<tempfile::TempDir, StageError> {
        let folder = tempfile::tempdir().unwrap();
        let assignment = self.assignment(name, config, inputs);
        let mut context = Context::new(&assignment, folder.path(), events);
        kind(name).run(config, &mut context)?;
        Ok(folder)
    }
}

fn metrics(events: &[WorkerEvent]) -> Vec<&MetricPoint> {
    events
        .iter()
        .filter_map(|event| match event {
            WorkerEvent::Metrics(points) => Some(points),
            _ => None,
        })
        .flatten()
        .collect()
}

fn iris() -> DataFrame {
    read_table(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/iris.csv")).unwrap()
}

/// Every third row of iris to validate on, the others to train on, scaled.
pub(crate) fn iris_parts(folder: &Path, transformed: bool) -> (PathBuf, PathBuf, PathBuf) {
    let iris = iris();
    let every = |wanted: &dyn Fn(usize) -> bool| {
        let rows: Vec<bool> = (0..iris.height()).map(wanted).collect();
        iris.filter(&rows.into_iter().collect()).unwrap()
    };
    let (mut train, mut held_out) = (every(&|row| row % 3 != 0), every(&|row| row % 3 == 0));
    let config: PreprocessConfig =
        serde_json::from_value(json!({"numeric": {"scale": "zscore"}, "keep": ["target"]}))
            .unwrap();
    let transform = Transform::fit(&config, &train).unwrap();
    let write = |name: &str, frame: &mut DataFrame, transform: Option<&Transform>| {
        let path = folder.join(name);
        std::fs::create_dir(&path).unwrap();
        Dataset::write(&path, frame, transform).unwrap();
        path
    };
    let raw = write("raw", &mut held_out, None);
    let carried = transformed.then_some(&transform);
    if let Some(transform) = carried {
        train = transform.apply(&train).unwrap();
        held_out = transform.apply(&held_out).unwrap();
    }
    (write("train", &mut train, carried), write("held_out", &mut held_out, carried), raw)
}

pub(crate) fn iris_config() -> Value {
    json!({
        "target": "target",
        "model": [{"dense": {"units": 16, "activation": "relu"}}, {"dense": 3}],
        "epochs": 40, "batch_size": 16, "seed": 4,
        "optimizer": {"adam": {"learning_rate": 0.02}},
        "early_stopping": {"monitor": "validation.accuracy", "patience": 15},
    })
}

#[test]
fn iris_from_table_to_predictions() {
    let folder = tempfile::tempdir().unwrap();
    let (train, held_out, raw) = iris_parts(folder.path(), true);
    let inputs = [
        ("train", PortType::Dataset, train.as_path()),
        ("validation", PortType::Dataset, held_out.as_path()),
    ];
    let (trained, events) = run("train", &iris_config(), &inputs).unwrap();
    let points = metrics(&events);
    let best = |key: &str| {
        points.iter().filter(|p| &*p.key == key).map(|p| p.value).fold(f64::NEG_INFINITY, f64::max)
    };
    assert!(best("validation.accuracy") >= 0.94);
    assert_eq!(points.iter().filter(|point| &*point.key == "best_epoch").count(), 1);
    let steps: Vec<i64> =
        points.iter().filter(|p| &*p.key == "train.loss").map(|p| p.step).collect();
    assert_eq!(steps, (1..=steps.len() as i64).collect::<Vec<_>>());

    let model_folder = trained.path().join("outputs/model");
    let model = Model::load(&model_folder).unwrap();
    assert_eq!(model.info().target.classes, ["0", "1", "2"]);
    assert_eq!(model.info().features.len(), 4);
    let report: Value = serde_json::from_slice(
        &std::fs::read(trained.path().join("outputs/report/report.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(report["metrics"]["validation.accuracy"], best("validation.accuracy"));
    assert!(trained.path().join("outputs/report/loss.svg").exists());

    // Raw rows and transformed ones get the same predictions.
    let predict = |data: &Path| {
        let inputs =
            [("model", PortType::Model, model_folder.as_path()), ("data", PortType::Dataset, data)];
        let config = json!({"probabilities": true});
        let (folder, _) = run("predict", &config, &inputs).unwrap();
        Dataset::open(folder.path().join("outputs/data")).unwrap().frame().unwrap()
    };
    let (from_raw, from_transformed) = (predict(&raw), predict(&held_out));
    let names = from_raw.get_column_names();
    let added: Vec<&str> = names.iter().skip(5).map(|name| name.as_str()).collect();
    let expect = ["prediction", "probability", "probability_0", "probability_1", "probability_2"];
    assert_eq!(added, expect);
    for column in expect {
        let values = |frame: &DataFrame| wick_data::numbers(frame, column).unwrap();
        assert_eq!(values(&from_raw), values(&from_transformed));
    }
    let predicted = wick_data::numbers(&from_raw, "prediction").unwrap();
    let truth = wick_data::numbers(&from_raw, "target").unwrap();
    let right = predicted.iter().zip(&truth).filter(|(a, b)| a == b).count();
    assert!(right >= 47, "{right} of 50");
}

#[test]
fn equal_stages_make_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (train, held_out, _) = iris_parts(folder.path(), true);
    let inputs = [
        ("train", PortType::Dataset, train.as_path()),
        ("validation", PortType::Dataset, held_out.as_path()),
    ];
    let (first, first_events) = run("train", &iris_config(), &inputs).unwrap();
    let (second, second_events) = run("train", &iris_config(), &inputs).unwrap();
    for file in [
        "model/weights.safetensors",
        "model/model.json",
        "model/transform.json",
        "report/report.json",
        "report/loss.svg",
    ] {
        let read = |folder: &Path| std::fs::read(folder.join("outputs").join(file)).unwrap();
        assert_eq!(read(first.path()), read(second.path()), "{file}");
    }
    let computed = |events: &[WorkerEvent]| -> Vec<(String, i64, u64)> {
        metrics(events)
            .into_iter()
            .map(|point| (point.key.to_string(), point.step, point.value.to_bits()))
            .collect()
    };
    assert_eq!(computed(&first_events), computed(&second_events));
}

#[test]
fn a_number_is_predicted_in_its_own_units() {
    let folder = tempfile::tempdir().unwrap();
    let (train, held_out, _) = iris_parts(folder.path(), false);
    let inputs = [
        ("train", PortType::Dataset, train.as_path()),
        ("validation", PortType::Dataset, held_out.as_path()),
    ];
    let config = json!({
        "target": "petal length (cm)",
        "features": ["sepal length (cm)", "sepal width (cm)", "petal width (cm)"],
        "model": [{"dense": 1}],
        "epochs": 200, "optimizer": {"adam": {"learning_rate": 0.05}},
    });
    let (trained, events) = run("train", &config, &inputs).unwrap();
    let points = metrics(&events);
    let last = points.iter().rev().find(|point| &*point.key == "validation.mae").unwrap();
    assert!(last.value < 0.35, "{last:?}");
    let model = Model::load(trained.path().join("outputs/model")).unwrap();
    let inputs = model.encode(&iris()).unwrap();
    let predictions = model.predict(&inputs).unwrap();
    assert_eq!(predictions.width, 1);
    let mean = predictions.values.iter().sum::<f32>() / 150.0;
    assert!((mean - 3.758).abs() < 0.15, "{mean}");
}

#[test]
fn what_only_the_data_shows_is_a_clear_failure() {
    let folder = tempfile::tempdir().unwrap();
    let (train, ..) = iris_parts(folder.path(), false);
    let inputs = [("train", PortType::Dataset, train.as_path())];
    let check = |model: Value, loss: Value, message: &str, help: &str| {
        let config = json!({"target": "target", "model": model, "loss": loss});
        let failure = run("train", &config, &inputs).unwrap_err().to_failure();
        assert!(failure.message.contains(message), "{failure:?}");
        assert!(failure.help.as_ref().unwrap().contains(help), "{failure:?}");
    };
    check(
        json!([{"dense": 4}]),
        json!("cross_entropy"),
        "the last layer has 4 outputs, but `target` has 3 classes: 0, 1, 2",
        "`dense: 3`",
    );
    check(
        json!([{"dense": 1}]),
        json!("binary_cross_entropy"),
        "the last layer has 1 output, but `target` has 3 classes",
        "`loss: cross_entropy`",
    );
}

fn column(name: &str, column_type: ColumnType) -> Column {
    Column { name: name.to_owned(), column_type }
}

/// What a check of `train` says, as `path: message (help)`, and what is known of the model.
fn check(config: &Value, train: Option<Vec<Column>>, validated: bool) -> (Vec<String>, PortFacts) {
    let mut inputs = IndexMap::new();
    let facts = |columns| PortFacts::dataset(DatasetFacts { columns, ..DatasetFacts::default() });
    inputs.insert(PortName::new("train").unwrap(), facts(train));
    if validated {
        inputs.insert(PortName::new("validation").unwrap(), facts(None));
    }
    let known = Known { base: Path::new("."), inputs: &inputs };
    let checked = kind("train").check(config, &known);
    let issues = checked
        .issues
        .into_vec()
        .into_iter()
        .map(|issue| {
            let path: Vec<String> = issue.path.iter().map(ToString::to_string).collect();
            format!("{}: {} ({})", path.join("."), issue.message, issue.help.unwrap_or_default())
        })
        .collect();
    (issues, checked.outputs["model"].clone())
}

#[test]
fn a_check_names_every_mistake_with_the_mend() {
    let digits = vec![
        column("image", ColumnType::Bytes { shape: vec![28, 28, 1] }),
        column("label", ColumnType::Integer),
    ];
    let table = vec![
        column("age", ColumnType::Float),
        column("sex", ColumnType::Text),
        column("survived", ColumnType::Integer),
    ];
    #[track_caller]
    fn one(config: Value, columns: &[Column], expect: &str) {
        let (issues, _) = check(&config, Some(columns.to_vec()), false);
        assert!(issues.len() == 1 && issues[0] == expect, "{issues:#?}");
    }
    one(
        json!({"target": "label", "model": [{"dense": 10}]}),
        &digits,
        "with.model.[0].dense: `dense` takes a list of numbers, but the features are images of \
         28 × 28 × 1 (put `flatten` before it)",
    );
    one(
        json!({"target": "labl", "model": ["flatten", {"dense": 10}], "loss": "cross_entropy"}),
        &digits,
        "with.target: the data has no column `labl` (did you mean `label`?)",
    );
    one(
        json!({"target": "survived", "model": [{"dense": 1}]}),
        &table,
        "with.target: `survived` is whole numbers, which may be two classes or an amount (say \
         which with `loss: binary_cross_entropy` or `loss: mse`)",
    );
    one(
        json!({"target": "survived", "model": [{"dense": 1}], "loss": "cross_entropy"}),
        &table,
        "with.model.[0].dense: the last layer has 1 output, and `cross_entropy` takes one for \
         each class (write `dense: N` for N classes, or `loss: binary_cross_entropy` for two)",
    );
    one(
        json!({"target": "survived", "model": [{"dense": {"units": 2, "activation": "softmax"}}]}),
        &table,
        "with.model.[0].dense.activation: the last layer ends with `softmax`, but `cross_entropy` \
         takes free outputs (leave `softmax` out: probabilities are made of the outputs for you)",
    );
    one(
        json!({"target": "survived", "features": ["age", "sex"], "model": [{"dense": 2}]}),
        &table,
        "with.features.[1]: `sex` is text, and a network reads numbers (encode `sex` with a \
         `preprocess` stage before, or leave it out)",
    );
    one(
        json!({"target": "survived", "model": [{"dense": 2}], "early_stopping": 3}),
        &table,
        "with.early_stopping.monitor: `validation.loss` is not computed (connect validation \
         data: `inputs: {validation: …}`, or watch `train.loss`)",
    );
    one(
        json!({"target": "survived", "model": [{"dense": 2}], "validation_metric": "train.los"}),
        &table,
        "with.validation_metric: `train.los` is not computed (did you mean `train.loss`?)",
    );
    one(
        json!({"target": "sex", "model": [{"dense": 1}], "loss": "mae"}),
        &table,
        "with.loss: `mae` predicts numbers, but the target `sex` is text (write `loss: \
         cross_entropy`, with one output for each class in the last layer)",
    );
    // Mistakes that have nothing to do with each other are all named.
    let config = json!({
        "target": "label",
        "model": [{"conv2d": {"filters": 4, "kernel": 29}}],
        "validation_metric": "validation.loss",
        "loss": "cross_entropy",
        "gradient_clipping": 0,
    });
    assert_eq!(check(&config, Some(digits), false).0.len(), 3);
}

#[test]
fn a_check_tells_what_the_model_will_be() {
    let config = json!({
        "target": "label",
        "features": {"image": {"type": "image", "shape": [28, 28, 1]}},
        "model": ["flatten", {"dense": 10}],
        "early_stopping": {"monitor": "validation.loss", "patience": 3},
    });
    // The columns are not known, but the configuration says enough.
    let (issues, facts) = check(&config, None, true);
    assert_eq!(issues, Vec::<String>::new());
    let model = facts.model.unwrap();
    assert_eq!(model.task, Some(TaskType::Multiclass));
    assert_eq!(
        model.features.unwrap(),
        [column("image", ColumnType::Bytes { shape: vec![28, 28, 1] })]
    );
}

#[test]
fn the_examples_in_the_documentation_are_configurations() {
    for kind in kinds() {
        let documentation = kind.documentation();
        assert!(!documentation.examples.is_empty());
        for example in documentation.examples {
            let stage: Value = serde_yaml::from_str(example.yaml).unwrap();
            assert_eq!(stage["uses"], kind.name());
            let config = stage.get("with").cloned().unwrap_or_else(|| json!({}));
            assert!(kind.ports(&config).is_ok(), "{}", example.title);
            let known = Known { base: Path::new("."), inputs: &IndexMap::new() };
            let checked = kind.check(&config, &known);
            let messages: Vec<String> =
                checked.issues.into_vec().into_iter().map(|issue| issue.message).collect();
            // Nothing is connected here, so only what is watched can be missing.
            assert!(messages.iter().all(|m| m.ends_with("is not computed")), "{messages:?}");
        }
    }
}

#[test]
fn the_schema_has_every_form() {
    let text = serde_json::to_string(&kind("train").schema()).unwrap();
    for word in ["max_pool2d", "leaky_relu", "early_stopping", "patience", "nesterov", "balanced"] {
        assert!(text.contains(word), "{word}");
    }
    assert!(text.contains("\"additionalProperties\":false"));
}
