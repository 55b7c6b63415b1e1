//! The ready pipelines, as they are, on the data that lies beside them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::sandbox::Sandbox;

fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")
}

/// The last value of a metric of the last run.
#[track_caller]
fn metric(sandbox: &Sandbox, stage: &str, key: &str) -> f64 {
    let shown = sandbox.json(&["metrics", "-o", "json"]);
    let metrics = shown["metrics"].as_array().expect("metrics");
    let found = metrics.iter().find(|metric| metric["stage"] == stage && metric["key"] == key);
    let last = found.and_then(|metric| metric["value"].as_f64());
    last.unwrap_or_else(|| panic!("no {stage}.{key} in {shown:#}"))
}

/// A sandbox with this ready pipeline and a link to its data.
fn sandbox_with(file: &str, change: impl Fn(String) -> String) -> Sandbox {
    let text = std::fs::read_to_string(pipelines().join(file)).expect("a ready pipeline");
    let sandbox = Sandbox::new();
    sandbox.write(file, &change(text));
    for folder in ["data", "parts", "scripts"] {
        std::os::unix::fs::symlink(pipelines().join(folder), sandbox.path().join(folder))
            .expect("a link");
    }
    sandbox
}

#[test]
fn every_ready_pipeline_is_free_of_mistakes() {
    let sandbox = Sandbox::new();
    let folder = std::fs::read_dir(pipelines()).expect("pipelines");
    for file in folder.map(|entry| entry.expect("an entry").path()) {
        if file.extension().is_some_and(|extension| extension == "yaml") {
            let ran = sandbox.wick(&["check", &file.display().to_string()]).ends_with(0);
            assert!(!ran.everything().contains("warning"), "{}", ran.everything());
        }
    }
}

#[test]
fn the_digits_are_learned_explained_compressed_and_registered() {
    // One epoch instead of ten: enough for the way through, not for the gate of the real one.
    let sandbox = sandbox_with("mnist-cnn.yaml", |text| {
        let lower = text.replace(">= 0.98", ">= 0.95");
        assert_ne!(lower, text, "the gate has moved");
        lower
    });
    sandbox.wick(&["run", "mnist-cnn.yaml", "-p", "epochs=1"]).ends_with(0);
    for (stage, state) in sandbox.states("@last") {
        assert_eq!(state, "succeeded", "{stage}");
    }
    assert!(metric(&sandbox, "evaluate", "accuracy") >= 0.95);
    assert!(metric(&sandbox, "train", "validation.accuracy") >= 0.95);
    assert!(metric(&sandbox, "compress", "ratio") > 2.0, "int8 is a quarter of float32");
    let models: Value = sandbox.json(&["models", "mnist", "-o", "json"]);
    assert_eq!(models["models"][0]["name"], "mnist", "{models:#}");
    sandbox.wick(&["run", "mnist-cnn.yaml", "-p", "epochs=1"]).ends_with(0).says(&["9 cached"]);
}

#[test]
fn the_titanic_is_learned_and_its_model_scores_a_table() {
    let sandbox = sandbox_with("titanic.yaml", |text| text);
    sandbox.wick(&["run", "titanic.yaml"]).ends_with(0);
    for (stage, state) in sandbox.states("@last") {
        assert_eq!(state, "succeeded", "{stage}");
    }
    let accuracy = metric(&sandbox, "evaluate", "accuracy");
    assert!((0.75..0.95).contains(&accuracy), "accuracy {accuracy}");
    sandbox.write("new.csv", "class,sex,age\n1st,female,30\n3rd,male,\n");
    let scored = sandbox.wick(&["predict", "titanic", "new.csv"]).ends_with(0);
    let lines: Vec<&str> = scored.stdout.lines().collect();
    let [header, first, second] = lines[..] else { panic!("{}", scored.stdout) };
    assert_eq!(header, "class,sex,age,prediction,probability");
    assert!(first.starts_with("1st,female,30,1,") || first.starts_with("1st,female,30.0,1,"));
    assert!(second.starts_with("3rd,male,,0,"), "{second}");
}

#[test]
fn the_example_of_the_readme_is_a_pipeline_that_passes_its_gate() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("the README");
    let sandbox = sandbox_with("iris.yaml", |text| {
        assert!(readme.contains(&text), "README.md shows another pipelines/iris.yaml");
        text
    });
    sandbox.wick(&["run", "iris.yaml"]).ends_with(0);
    assert!(metric(&sandbox, "evaluate", "accuracy") >= 0.9);
}

#[test]
fn two_tables_are_learned_in_the_same_way() {
    let sandbox = sandbox_with("species.yaml", |text| text);
    sandbox.wick(&["run", "species.yaml"]).ends_with(0);
    for (stage, state) in sandbox.states("@last") {
        assert_eq!(state, "succeeded", "{stage}");
    }
    assert!(metric(&sandbox, "flowers/evaluate", "accuracy") >= 0.9);
    assert!(metric(&sandbox, "birds/evaluate", "accuracy") >= 0.95);
    sandbox.wick(&["models"]).ends_with(0).says(&["penguin-species"]);
}

#[test]
fn the_best_of_a_grid_is_registered_if_it_is_good_enough() {
    let sandbox = sandbox_with("iris-grid.yaml", |text| text);
    sandbox.wick(&["run", "iris-grid.yaml"]).ends_with(0).says(&["10 succeeded"]);
    assert!(metric(&sandbox, "evaluate", "accuracy") >= 0.9);
    sandbox.wick(&["models"]).ends_with(0).says(&["iris-grid"]);
    sandbox.wick(&["lineage", "iris-grid:1"]).ends_with(0).says(&["parts", "iris.csv"]);
    let expect = ["model iris-grid has no version or alias `9`", "it has 1 version"];
    sandbox.wick(&["lineage", "iris-grid:9"]).ends_with(2).says(&expect);
    // Nothing is good enough now: all is cached, and only the registration is decided anew.
    let asked = sandbox.wick(&["run", "iris-grid.yaml", "-p", "enough=1.1"]);
    asked.ends_with(0).says(&["9 cached, 1 skipped", "metrics.evaluate.accuracy is"]);
    let states = sandbox.states("@last");
    let register = states.iter().find(|(stage, _)| stage == "register");
    assert_eq!(register.map(|(_, state)| state.as_str()), Some("skipped"), "{states:?}");
    // A model's run stays, though somebody throws it away: it tells where the model came from.
    sandbox.wick(&["delete", &sandbox.runs()[0], &sandbox.runs()[1]]).ends_with(0);
    let kept = "1 run stays that was deleted: `iris-grid:1` came from there";
    sandbox.wick(&["gc"]).ends_with(0).says(&[kept]);
    sandbox.wick(&["gc", "--yes", "--grace", "0s"]).ends_with(0).says(&[kept, "removed: 1 run"]);
    sandbox.wick(&["lineage", "iris-grid:1"]).ends_with(0).says(&["parts", "iris.csv"]);
    sandbox.wick(&["store", "check", "--deep"]).ends_with(0).says(&["all are there"]);
}
