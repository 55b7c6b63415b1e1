//! The methods on real networks, as the stage runs them.

mod common;

use common::{Tensors, all_near, head, models, near};
use indexmap::IndexMap;
use serde_json::{Value, json};
use wick_core::{Digest, PortName, PortType, RunId, Token, WorkerEvent};
use wick_explain::draw::Draw;
use wick_explain::gradients::{PathOptions, integrated_gradients, saliency};
use wick_explain::kind::config::{ExplainConfig, Method};
use wick_explain::kind::dense::DenseNetwork;
use wick_explain::kind::explain::{Local, Row, Setting};
use wick_explain::kind::subject::Subject;
use wick_explain::shap::{Coalitions, Worth};
use wick_explain::{Explain, Matrix};
use wick_report::Report;
use wick_stage::context::CollectedEvents;
use wick_stage::{AssignedInput, AssignedOutput, Assignment, Context, Kind, StageResult, Typed};

#[test]
fn gradients_of_the_cnn() {
    let file = Tensors::open("cnn_attr");
    let subject = Subject::new(models::digits(), 7).expect("a subject");
    let images = Matrix::new(784, file.matrix::<f32>("x").into_values()).expect("six images");
    let targets = file.values("target");
    let logits: Matrix<f64> = file.matrix("logits");
    let expect = Matrix::new(784, file.matrix::<f64>("ig50").into_values()).expect("six");
    let slopes = Matrix::new(784, file.matrix::<f64>("saliency").into_values()).expect("six");
    let deltas = file.values("ig50_delta");
    let options = PathOptions { steps: 50, tolerance: 1e9, max_steps: 50 };
    for (place, image) in images.iter().enumerate() {
        let class = targets[place] as usize;
        let gradient = |batch: &Matrix<f32>| subject.gradients(class, batch);
        let found = integrated_gradients(image, &[0.0; 784], options, gradient).expect("gradients");
        near("logit", found.output, logits.row(place)[class], 1e-4);
        all_near("integrated gradients", &found.attributions, expect.row(place), 2e-4);
        near("completeness", found.completeness_error, deltas[place], 2e-3);
        let single = Matrix::new(784, image.to_vec()).expect("an image");
        let found = saliency(&single, gradient).expect("gradients");
        all_near("saliency", found.values(), slopes.row(place), 2e-4);
    }
}

fn config(config: Value) -> ExplainConfig {
    serde_json::from_value(config).expect("a configuration")
}

fn breast_rows(subject: &Subject, places: &[usize]) -> Vec<Row> {
    let test: Matrix<f32> = Tensors::open("breast_data").matrix("X_test");
    places
        .iter()
        .map(|place| {
            let values = test.row(*place).to_vec();
            let row = Matrix::new(30, values.clone()).expect("a row");
            let prediction = subject.outputs(1, &row).expect("a prediction")[0];
            Row { place: *place, values, class: 1, prediction }
        })
        .collect()
}

fn explain(method: Method, config: &ExplainConfig, places: &[usize]) -> Vec<Local> {
    let subject = Subject::new(models::breast(), 7).expect("a subject");
    let train: Matrix<f32> = Tensors::open("breast_data").matrix("X_train");
    let background = head(&train, 100);
    let setting = Setting { config, subject: &subject, background: &background, variety: &train };
    let rows = breast_rows(&subject, places);
    setting.explain(method, &rows, &mut || Ok(())).expect("explanations")
}

#[test]
fn shap_of_the_network_is_shaps() {
    let expect: Matrix<f64> = Tensors::open("shap_kernel30").matrix("phi_40000");
    let found = explain(Method::Shap, &config(json!({})), &[0, 1, 2]);
    for (local, expect) in found.iter().zip(expect.iter()) {
        all_near("phi", &local.attributions, expect, 0.03);
        let note = |name| local.notes.iter().find(|(n, _)| *n == name).expect("a note").1;
        near("base", note("base"), 0.699_625, 1e-6);
        near("additivity", note("additivity_error"), 0.0, 1e-9);
    }
}

#[test]
fn the_way_for_dense_networks_gives_the_same_worth() {
    let subject = Subject::new(models::breast(), 7).expect("a subject");
    let data = Tensors::open("breast_data");
    let background = head(&data.matrix::<f32>("X_train"), 7);
    let test: Matrix<f32> = data.matrix("X_test");
    let coalitions = Coalitions::sample(30, 700, &mut Draw::new(0, "test", &[]));
    let network = DenseNetwork::of(&subject).expect("it is dense");
    let rows = [(test.row(0), 1), (test.row(5), 0)];
    let found = network.worth(&coalitions, &rows, &background, |_| Ok(())).expect("worth");
    for ((row, class), found) in rows.into_iter().zip(found) {
        let predict = |batch: &Matrix<f32>| subject.outputs(class, batch);
        let plain = Worth { players: subject.players(), background: &background, predict };
        all_near("worth", &found, &plain.of(&coalitions, row).expect("worth"), 1e-6);
    }
    assert!(DenseNetwork::of(&Subject::new(models::digits(), 7).expect("a subject")).is_none());
}

#[test]
fn the_same_row_is_explained_alike_in_any_company() {
    let config = config(json!({"samples": 300, "seed": 5}));
    for method in [Method::Shap, Method::Lime, Method::IntegratedGradients, Method::Saliency] {
        let alone = explain(method, &config, &[4]);
        let last = explain(method, &config, &[9, 2, 4]);
        assert_eq!(alone[0], last[2], "{method:?}");
        assert_ne!(alone[0], last[1], "{method:?}");
    }
    let other = ExplainConfig { seed: 6, ..config.clone() };
    for method in [Method::Shap, Method::Lime] {
        assert_ne!(explain(method, &config, &[4]), explain(method, &other, &[4]), "{method:?}");
    }
}

/// Runs the stage on a model and a table; the report, and what was told on the way.
fn run(
    folder: &std::path::Path,
    model: &wick_nn::Model,
    write_data: impl FnOnce(&std::path::Path),
    config: Value,
) -> (StageResult, CollectedEvents) {
    for name in ["model", "data"] {
        std::fs::create_dir_all(folder.join(name)).expect("a folder");
    }
    model.save(folder.join("model")).expect("saved");
    write_data(&folder.join("data"));
    let name = |name: &str| PortName::new(name).expect("a name");
    let input = |port: &str, port_type| AssignedInput {
        port_type,
        digest: Digest::of(port.as_bytes()),
        path: folder.join(port),
        meta: Value::Null,
    };
    let assignment = Assignment {
        version: 1,
        run: RunId::from_random(1),
        pipeline: "test".to_owned(),
        stage: "explain".parse().expect("a name"),
        attempt: 1,
        token: Token(1),
        kind: "explain".parse().expect("a name"),
        config: config.clone(),
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
    let mut events = CollectedEvents::default();
    let result = {
        let mut context = Context::new(&assignment, folder, &mut events);
        Typed(Explain).run(&config, &mut context)
    };
    (result, events)
}

fn breast_csv(folder: &std::path::Path) {
    let data = Tensors::open("breast_data");
    let (test, labels) = (data.matrix::<f64>("X_test"), data.values("y_test"));
    let mut text: String = (0..30).map(|column| format!("c{column},")).collect();
    text += "y\n";
    for (row, label) in test.iter().zip(labels) {
        row.iter().for_each(|value| text += &format!("{value},"));
        text += if label == 1.0 { "benign\n" } else { "malignant\n" };
    }
    std::fs::write(folder.join("data.csv"), text).expect("written");
}

#[test]
fn a_table_is_explained_in_every_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = json!({
        "methods": ["shap", "lime", "integrated_gradients", "saliency", "permutation_importance"],
        "rows": 3, "background_rows": 20, "samples": 200, "seed": 1,
    });
    let (result, events) = run(folder.path(), &models::breast(), breast_csv, config);
    result.expect("explained");
    let report = Report::read(&folder.path().join("outputs/report")).expect("a report");
    for name in ["rows", "shap", "shap_importance", "lime", "permutation_importance"] {
        assert!(report.find_table(name).is_some(), "{name}");
    }
    let shap = report.find_table("shap").expect("a table");
    assert_eq!((shap.rows.len(), shap.columns.len()), (3, 5 + 30));
    for row in &shap.rows {
        let number = |place: usize| row[place].as_f64().expect("a number");
        let sum: f64 = (5..35).map(number).sum();
        near("prediction", number(3) + sum, number(2), 1e-6);
    }
    assert!(report.metrics["shap.additivity_error"] < 1e-9);
    assert!(report.metrics["integrated_gradients.completeness_error"] < 0.05);
    assert!(report.metrics["lime.score"] > 0.1);
    assert!(report.metrics["permutation_importance.accuracy"] > 0.93);
    assert!(report.metrics.contains_key("importance.c7"));
    for plot in &report.plots {
        assert!(folder.path().join("outputs/report").join(&plot.file).exists(), "{plot:?}");
    }
    let last = events.0.iter().rev().find_map(|event| match event {
        WorkerEvent::Progress(progress) => Some((progress.done, progress.total)),
        _ => None,
    });
    assert_eq!(last, Some((42.0, Some(42.0))));
}

#[test]
fn mistakes_are_told() {
    #[track_caller]
    fn check(config: Value, message: &str, help: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let (result, _) = run(folder.path(), &models::breast(), breast_csv, config);
        let failure = result.expect_err("a mistake").to_failure();
        assert_eq!((failure.message.as_str(), failure.help.as_deref()), (message, Some(help)));
    }
    check(
        json!({"class": "bening"}),
        "the model knows no class `bening`",
        "did you mean `benign`?",
    );
    check(
        json!({"permutation_importance": {"metric": "rmse"}}),
        "`rmse` does not fit what the model predicts",
        "write one of accuracy, precision, recall, f1, roc_auc, pr_auc, log_loss",
    );
}

#[test]
fn images_are_explained_by_pixels_and_cells() {
    let file = Tensors::open("cnn_attr");
    let images = Matrix::new(784, file.matrix::<f32>("x").into_values()).expect("six images");
    let subject = Subject::new(models::digits(), 7).expect("a subject");
    assert_eq!(subject.players().len(), 49);
    let mean = Matrix::new(784, vec![0.1; 784]).expect("an image");
    let config = config(json!({"samples": 500}));
    let setting = Setting { config: &config, subject: &subject, background: &mean, variety: &mean };
    let class = file.values("target")[0] as usize;
    let values = images.row(0).to_vec();
    let rows = [Row { place: 0, values, class, prediction: 1.0 }];
    for method in [Method::Shap, Method::Lime, Method::IntegratedGradients] {
        let found = setting.explain(method, &rows, &mut || Ok(())).expect("explained");
        // Where the digit is must matter more than the empty corner.
        let corner = found[0].attributions[0].abs();
        let largest = found[0].attributions.iter().fold(0.0, |l: f64, v| l.max(v.abs()));
        assert!(largest > 10.0 * corner, "{method:?}: {corner} and {largest}");
    }
}

#[test]
fn a_one_hot_block_is_one_player_and_raw_data_goes_through_the_transform() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |folder: &std::path::Path| {
        let text = "sex,age,y\nmale,20,no\nfemale,30,yes\nother,40,yes\nmale,50,no\n";
        std::fs::write(folder.join("data.csv"), text).expect("written");
    };
    write(folder.path());
    let frame = wick_data::Dataset::open(folder.path())
        .and_then(|dataset| dataset.frame())
        .expect("a table");
    let preprocess = json!({"target": "y", "columns": {"sex": {"encode": "onehot"}}});
    let preprocess = serde_json::from_value(preprocess).expect("a configuration");
    let transform = wick_data::Transform::fit(&preprocess, &frame).expect("fitted");
    let names: Vec<String> =
        ["sex", "age"].iter().flat_map(|raw| transform.produced(raw)).cloned().collect();
    assert!(names.len() >= 4, "{names:?}");
    let number = |name: &String| wick_nn::Feature {
        column: name.clone(),
        form: wick_nn::FeatureForm::Number,
        scale: 1.0,
    };
    let mut info = models::breast().info().clone();
    info.features = names.iter().map(number).collect();
    info.target.classes = vec!["no".to_owned(), "yes".to_owned()];
    let model = wick_nn::Model::untrained(info, Some(transform), 3).expect("a model");
    let subject = Subject::new(model.clone(), 7).expect("a subject");
    assert_eq!(subject.players().names(), ["sex", "age"]);

    let config = json!({"methods": ["shap", "lime", "permutation_importance"], "rows": 4});
    run(folder.path(), &model, write, config).0.expect("explained");
    let report = Report::read(&folder.path().join("outputs/report")).expect("a report");
    let rows = report.find_table("rows").expect("a table");
    assert_eq!(rows.columns[3..], ["sex", "age"]);
    assert_eq!(rows.rows[2][3], "other".into());
    assert!(report.metrics.contains_key("importance.sex"));
    assert!(report.metrics["shap.additivity_error"] < 1e-5);
}
