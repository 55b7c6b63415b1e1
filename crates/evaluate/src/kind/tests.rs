use serde_json::json;
use wick_core::{FailureCause, WorkerEvent};
use wick_nn::{Feature, FeatureForm, ModelInfo, TargetInfo};
use wick_stage::context::CollectedEvents;
use wick_stage::{AssignedInput, AssignedOutput, Assignment, Kind, PortFacts, Typed};

use super::*;

fn issues(config: serde_json::Value, task: Option<TaskType>) -> Vec<String> {
    let kind = Typed(Evaluate);
    let found = match kind.ports(&config) {
        Err(issues) => issues,
        Ok(_) => {
            let mut inputs = IndexMap::new();
            let facts = ModelFacts { target: "y".to_owned(), task, features: None };
            inputs.insert(port("model").expect("a name"), PortFacts::model(facts));
            inputs.insert(port("data").expect("a name"), PortFacts::unknown(PortType::Dataset));
            let known = Known { base: std::path::Path::new("/"), inputs: &inputs };
            kind.check(&config, &known).issues.into_vec()
        }
    };
    found
        .into_iter()
        .map(|issue| {
            let path: Vec<_> = issue.path.iter().map(ToString::to_string).collect();
            format!("{}: {}: {}", path.join("."), issue.message, issue.help.unwrap_or_default())
        })
        .collect()
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    #[track_caller]
    fn check(config: serde_json::Value, task: Option<TaskType>, expect: &[&str]) {
        let found = issues(config, task);
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (found, expect) in found.iter().zip(expect) {
            assert!(found.starts_with(expect), "{found}\ninstead of\n{expect}");
        }
    }
    check(json!({}), None, &[]);
    check(json!({"require": {"accuracy": ">= 0.9"}}), None, &[]);
    check(
        json!({"require": {"acuracy": ">= 0.9"}}),
        None,
        &["with.require.acuracy: there is no metric `acuracy`: did you mean `accuracy`?"],
    );
    check(
        json!({"metrics": ["accuracy"], "require": {"f1": ">= 0.9", "accuracy": "0.9"}}),
        None,
        &[
            "with.require.f1: `f1` is required but not computed: add `f1` to `metrics`",
            "with.require.accuracy: `0.9` is not a bound: write a comparison",
        ],
    );
    check(json!({"metrics": []}), None, &["with.metrics: no metrics are named"]);
    check(
        json!({"metrics": ["accuracy", "rmse"], "average": "binary"}),
        Some(TaskType::Multiclass),
        &[
            "with.metrics.[1]: `rmse` does not fit a model that predicts classes",
            "with.average: `binary` is for models of two classes",
        ],
    );
    check(
        json!({"require": {"accuracy": "> 0"}}),
        Some(TaskType::Regression),
        &["with.require.accuracy: `accuracy` does not fit a model that predicts a number"],
    );
}

/// A model of two features whose logit is their difference, and data that it gets three
/// quarters right.
fn stage(folder: &std::path::Path, config: serde_json::Value) -> (Assignment, CollectedEvents) {
    let number =
        |name: &str| Feature { column: name.to_owned(), form: FeatureForm::Number, scale: 1.0 };
    let info = ModelInfo {
        version: 1,
        layers: serde_json::from_value(json!([{"dense": {"units": 1}}])).expect("layers"),
        features: vec![number("a"), number("b")],
        target: TargetInfo {
            column: "y".to_owned(),
            task: TaskType::Binary,
            classes: vec!["no".to_owned(), "yes".to_owned()],
            mean: 0.0,
            scale: 1.0,
        },
        loss: serde_json::from_value(json!("binary_cross_entropy")).expect("a loss"),
        parameters: 3,
    };
    let model = Model::untrained(info, None, 0).expect("a model");
    let weights = model
        .weights()
        .iter()
        .map(|(name, weight)| {
            let values: &[f32] = if weight.elem_count() == 2 { &[1.0, -1.0] } else { &[0.0] };
            let weight = candle_core::Tensor::from_slice(values, weight.shape(), weight.device());
            (name.clone(), weight.expect("a tensor"))
        })
        .collect();
    let model = model.with_weights(weights).expect("the same shapes");
    std::fs::create_dir_all(folder.join("model")).expect("a folder");
    model.save(folder.join("model")).expect("saved");

    std::fs::create_dir_all(folder.join("data")).expect("a folder");
    std::fs::write(folder.join("data/data.csv"), "a,b,y\n2,1,yes\n1,2,no\n3,1,yes\n5,1,no\n")
        .expect("written");

    let input = |name: &str, port_type: PortType| AssignedInput {
        port_type,
        digest: wick_core::Digest::of(name.as_bytes()),
        path: folder.join(name),
        meta: serde_json::Value::Null,
    };
    let name = |name: &str| port(name).expect("a name");
    let assignment = Assignment {
        version: 1,
        run: wick_core::RunId::from_random(1),
        pipeline: "test".to_owned(),
        stage: "evaluate".parse().expect("a name"),
        attempt: 1,
        token: wick_core::Token(1),
        kind: "evaluate".parse().expect("a name"),
        config,
        inputs: IndexMap::from([
            (name("model"), input("model", PortType::Model)),
            (name("data"), input("data", PortType::Dataset)),
        ]),
        outputs: IndexMap::from([(name("report"), AssignedOutput { port_type: PortType::Report })]),
        base: folder.to_owned(),
        artifacts: folder.to_owned(),
        cpus: 1,
        checkpoints: None,
    };
    (assignment, CollectedEvents::default())
}

#[test]
fn a_missed_gate_fails_after_everything_is_recorded() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = json!({
        "metrics": ["accuracy", "recall"],
        "require": {"accuracy": ">= 0.9", "recall": ">= 1"},
    });
    let (assignment, mut events) = stage(folder.path(), config.clone());
    let mut context = Context::new(&assignment, folder.path(), &mut events);
    let error = Typed(Evaluate).run(&config, &mut context).expect_err("a missed gate");
    assert_eq!(error.to_failure().cause, FailureCause::Gate);
    assert_eq!(error.to_string(), "accuracy is 0.75, and must be >= 0.9");

    let recorded = events.0.iter().any(|event| {
        matches!(event, WorkerEvent::Metrics(points)
            if points.iter().any(|p| &*p.key == "accuracy" && p.value == 0.75))
    });
    assert!(recorded, "{events:?}");
    let report = wick_report::Report::read(&folder.path().join("outputs/report")).expect("read");
    assert_eq!(report.metrics["recall"], 1.0);
    let mistakes = report.find_table("mistakes").expect("a table");
    assert_eq!(mistakes.rows.len(), 1);
    assert_eq!(mistakes.rows[0][..3], [3_usize.into(), "no".into(), "yes".into()]);
    for plot in &report.plots {
        assert!(folder.path().join("outputs/report").join(&plot.file).exists(), "{plot:?}");
    }
}

#[test]
fn the_threshold_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = json!({"threshold": 0.9, "metrics": ["accuracy", "recall"]});
    let (assignment, mut events) = stage(folder.path(), config.clone());
    let mut context = Context::new(&assignment, folder.path(), &mut events);
    Typed(Evaluate).run(&config, &mut context).expect("no gate");
    let report = wick_report::Report::read(&folder.path().join("outputs/report")).expect("read");
    // Only the wrong row is above 0.9 now.
    assert_eq!((report.metrics["accuracy"], report.metrics["recall"]), (0.25, 0.0));
}

#[test]
fn data_without_the_target_is_an_issue() {
    let mut inputs = IndexMap::new();
    let facts = ModelFacts { target: "survived".to_owned(), task: None, features: None };
    inputs.insert(port("model").expect("a name"), PortFacts::model(facts));
    let column = wick_stage::Column {
        name: "Survived".to_owned(),
        column_type: wick_stage::ColumnType::Integer,
    };
    let data = DatasetFacts { columns: Some(vec![column]), ..DatasetFacts::default() };
    inputs.insert(port("data").expect("a name"), PortFacts::dataset(data));
    let known = Known { base: std::path::Path::new("/"), inputs: &inputs };
    let checked = Typed(Evaluate).check(&json!({}), &known);
    let issues = checked.issues.into_vec();
    assert_eq!(issues.len(), 1);
    assert_eq!(issues[0].message, "the data has no column `survived`, which the model predicts");
    assert_eq!(issues[0].help.as_deref(), Some("did you mean `Survived`?"));
    assert_eq!(checked.metrics, None);
}
