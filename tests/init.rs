//! `wick init`: its project runs, from the first command to the last that it suggests.

use crate::sandbox::Sandbox;

#[test]
fn a_new_project_checks_runs_and_predicts() {
    let sandbox = Sandbox::new();
    sandbox.wick(&["init", "plants"]).ends_with(0).says(&["wrote", "wick run pipeline.yaml"]);
    let project = ["--project", "plants"];
    sandbox.wick(&["check", "plants/pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["run", "plants/pipeline.yaml"]).ends_with(0).says(&[
        "train",
        "evaluate",
        "accuracy",
        "wick serve plants",
    ]);
    sandbox.wick(&[&["models", "plants"], &project[..]].concat()).ends_with(0).says(&["plants"]);
    let predicted = sandbox
        .wick(&[&["predict", "plants", "plants/data/plants.csv"], &project[..]].concat())
        .ends_with(0);
    let mut lines = predicted.stdout.lines();
    let header = lines.next().expect("a header");
    assert!(header.ends_with("thrives,prediction,probability"), "{header}");
    assert_eq!(lines.count(), 240);
    let into = ["predict", "plants@1", "plants/data/plants.csv", "-o", "out.parquet"];
    sandbox.wick(&[&into, &project[..]].concat()).ends_with(0).says(&["240 rows"]);
    assert!(sandbox.has("out.parquet"));
    let of_run = ["predict", "@last:train.model", "plants/data/plants.csv", "--probabilities"];
    sandbox.wick(&[&of_run, &project[..]].concat()).ends_with(0).says(&["probability_yes"]);
    let wrong = ["predict", "plnats", "plants/data/plants.csv"];
    sandbox.wick(&[&wrong, &project[..]].concat()).ends_with(2).says(&["`plants`"]);
}

#[test]
fn init_never_overwrites() {
    let sandbox = Sandbox::with_pipeline("mine");
    sandbox.wick(&["init"]).ends_with(2).says(&["pipeline.yaml", "nothing was written"]);
    assert_eq!(sandbox.read("pipeline.yaml"), "mine");
    assert!(!sandbox.has("wick.yaml"));
}
