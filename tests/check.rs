//! `wick check`, `wick kinds` and `wick schema`.

use crate::sandbox::Sandbox;

const GOOD: &str = "pipeline: good\nstages:\n  only:\n    uses: command\n    with: {run: 'true'}\n";
const BAD: &str =
    "pipeline: bad\nstages:\n  only:\n    uses: command\n    with: {rum: 'true'}\n    imputs: {}\n";

#[test]
fn check_tells_every_mistake_of_every_file() {
    let sandbox = Sandbox::new();
    sandbox.write("good.yaml", GOOD);
    sandbox.write("bad.yaml", BAD);
    sandbox.wick(&["check", "good.yaml"]).ends_with(0).says(&["ok good.yaml: 1 stage"]);
    sandbox.wick(&["check", "good.yaml", "bad.yaml"]).ends_with(2).says(&[
        "did you mean `run`?",
        "did you mean `inputs`?",
        "bad.yaml:",
        "2 files",
    ]);
    assert!(!sandbox.has(".wick"), "checking leaves no trace");
}

#[test]
fn check_is_json_for_editors() {
    let sandbox = Sandbox::new();
    sandbox.write("bad.yaml", BAD);
    let report = sandbox.json(&["check", "bad.yaml", "-o", "json"]);
    assert!(report["errors"].as_u64().is_some_and(|errors| errors >= 2), "{report}");
    let first = &report["files"][0]["diagnostics"][0];
    assert_eq!(first["file"], "bad.yaml");
    assert!(first["line"].as_u64().is_some_and(|line| line >= 5), "{report}");
}

#[test]
fn the_kinds_explain_themselves() {
    let sandbox = Sandbox::new();
    sandbox.wick(&["kinds"]).ends_with(0).says(&[
        "load",
        "sql",
        "validate",
        "split",
        "preprocess",
        "train",
        "predict",
        "evaluate",
        "compress",
        "register",
        "deploy",
        "command",
    ]);
    sandbox.wick(&["kinds", "command"]).ends_with(0).says(&["with:", "run", "uses: command"]);
    sandbox.wick(&["kinds", "trian"]).ends_with(2).says(&["did you mean `train`?"]);
    sandbox.json(&["kinds", "-o", "json"]);
    sandbox.json(&["kinds", "train", "-o", "json"]);
}

#[test]
fn every_kind_has_documentation_and_an_example() {
    let sandbox = Sandbox::new();
    let kinds = sandbox.json(&["kinds", "-o", "json"]);
    for kind in kinds["kinds"].as_array().expect("kinds") {
        let name = kind["name"].as_str().expect("a name");
        let full = sandbox.json(&["kinds", name, "-o", "json"]);
        assert!(full["description"].as_str().is_some_and(|text| text.len() > 40), "{name}");
        assert!(full["examples"].as_array().is_some_and(|all| !all.is_empty()), "{name}");
    }
}

#[test]
fn the_schema_is_json_and_can_be_written() {
    let sandbox = Sandbox::new();
    let printed = sandbox.wick(&["schema"]).ends_with(0).stdout;
    let schema: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert!(schema["properties"]["stages"].is_object());
    sandbox.wick(&["schema", "--write", "schema/pipeline.json"]).ends_with(0);
    assert_eq!(sandbox.read("schema/pipeline.json"), printed);
}

#[test]
fn of_a_file_that_is_not_there_a_near_one_is_named() {
    let sandbox = Sandbox::with_pipeline("pipeline: p\nstages: {}\n");
    sandbox.wick(&["check", "pipelin.yaml"]).ends_with(2).says(&["did you mean `pipeline.yaml`?"]);
    sandbox.wick(&["run", "."]).ends_with(2).says(&["is a folder", "pipeline.yaml"]);
    sandbox.wick(&["check", "none/x.yaml"]).ends_with(2).says(&["`wick init` writes an example"]);
}

#[test]
fn slots_that_the_project_does_not_count_are_mistakes() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: p\nstages:\n  a:\n    uses: command\n    resources: {slots: {databse: 1}}\n    \
         with: {run: 'true'}\n",
    );
    sandbox.write("wick.yaml", "slots: {named: {database: 2}}\n");
    let checked = sandbox.wick(&["check", "pipeline.yaml"]).ends_with(2);
    checked.says(&["there is no slot `databse`", "did you mean `database`?"]);
}
