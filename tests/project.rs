//! Which folder is the project.

use crate::sandbox::{Ran, Sandbox};

const TRIVIAL: &str =
    "pipeline: trivial\nstages:\n  only:\n    uses: command\n    with: {run: 'true'}\n";

#[test]
fn a_pipelines_own_folder_becomes_a_project() {
    let sandbox = Sandbox::new();
    sandbox.write("deep/pipeline.yaml", TRIVIAL);
    // From here the project is not found by itself: what is suggested says where it is.
    sandbox.wick(&["run", "deep/pipeline.yaml"]).ends_with(0).says(&["--project deep"]);
    assert!(sandbox.has("deep/.wick/store.db"));
    assert_eq!(sandbox.read("deep/.wick/.gitignore"), "*\n");
    sandbox.wick(&["runs"]).ends_with(2).says(&["there is no project", "wick init"]);
    sandbox.wick(&["runs", "--project", "deep"]).ends_with(0).says(&["trivial"]);
}

#[test]
fn a_wick_yaml_above_makes_the_folder_the_project() {
    let sandbox = Sandbox::new();
    sandbox.write("wick.yaml", "# nothing said\n");
    sandbox.write("pipelines/one.yaml", TRIVIAL);
    sandbox.wick(&["run", "pipelines/one.yaml"]).ends_with(0);
    assert!(sandbox.has(".wick/store.db"));
    assert!(!sandbox.has("pipelines/.wick"));
    sandbox.wick(&["runs"]).ends_with(0).says(&["trivial"]);
}

#[test]
fn runs_of_the_pipelines_folder_are_found_from_above() {
    let sandbox = Sandbox::new();
    sandbox.write("pipelines/one.yaml", TRIVIAL);
    sandbox.wick(&["run", "pipelines/one.yaml"]).ends_with(0);
    sandbox.wick(&["runs"]).ends_with(0).says(&["trivial"]);
}

#[test]
fn wick_yaml_says_where_things_are() {
    let sandbox = Sandbox::with_pipeline(TRIVIAL);
    sandbox.write("wick.yaml", "store: history/runs.db\nartifacts: bytes\nslots: {cpus: 1}\n");
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    assert!(sandbox.has("history/runs.db"));
    assert!(sandbox.has("bytes"));
}

#[test]
fn mistakes_in_wick_yaml_are_shown_at_their_place() {
    let sandbox = Sandbox::with_pipeline(TRIVIAL);
    sandbox.write("wick.yaml", "store: runs.db\nslots:\n  cpu: 2\n");
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(2).says(&[
        "wick.yaml:3:3",
        "did you mean `cpus`?",
        "wick.yaml has 1 error",
    ]);
}

#[test]
fn the_store_is_chosen_by_flag_before_environment() {
    let sandbox = Sandbox::with_pipeline(TRIVIAL);
    let status = sandbox
        .command(&["run", "pipeline.yaml"])
        .env("WICK_STORE", "by-environment.db")
        .output()
        .expect("wick starts");
    assert!(status.status.success());
    assert!(sandbox.has("by-environment.db"));
    sandbox.wick(&["run", "pipeline.yaml", "--store", "by-flag.db"]).ends_with(0);
    assert!(sandbox.has("by-flag.db"));
}

#[test]
fn suggested_commands_can_be_copied() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "my project/pipeline.yaml",
        "pipeline: p\nstages: {a: {uses: command, with: {run: [\"true\"]}}}\n",
    );
    let path = sandbox.path().join("my project/pipeline.yaml");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let mut command = sandbox.command(&["run", &path.display().to_string()]);
    let output = command.current_dir(elsewhere.path()).output().expect("wick starts");
    let project = format!("--project '{}'", path.parent().expect("a parent").display());
    Ran::new(&["run"], output).ends_with(0).says(&[&project]);
}
