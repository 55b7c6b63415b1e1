//! What happens when something breaks: the report, the exit code, and `wick rerun`.

use crate::sandbox::Sandbox;

/// `broken` fails until the file `mended` exists; `after` needs it, `apart` does not.
const BREAKS: &str = r#"
pipeline: breaks
stages:
  first:
    uses: command
    with:
      run: 'date +%N > ${outputs.made}'
      outputs: {made: file}
  broken:
    uses: command
    inputs: {made: first}
    with:
      run: |
        echo "about to look"
        test -e mended || { echo "no such thing: mended" >&2; exit 3; }
        cp ${inputs.made} ${outputs.kept}
      outputs: {kept: file}
  after:
    uses: command
    inputs: {kept: broken}
    with: {run: 'cat ${inputs.kept}'}
  apart:
    uses: command
    inputs: {made: first}
    with: {run: 'cat ${inputs.made}'}
"#;

fn states(sandbox: &Sandbox) -> Vec<String> {
    sandbox.states("@last").into_iter().map(|(stage, state)| format!("{stage} {state}")).collect()
}

#[test]
fn a_failure_is_reported_with_all_that_is_needed() {
    let sandbox = Sandbox::with_pipeline(BREAKS);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(1).says(&[
        "stage broken failed",
        "code 3",
        "about to look",
        "no such thing: mended",
        "its folder: .wick/runs/",
        "wick logs",
        "wick rerun",
        "needs broken, which did not succeed",
    ]);
    sandbox.wick(&["show"]).ends_with(0).says(&["failed", "no such thing: mended"]);
    sandbox.wick(&["logs"]).ends_with(0).says(&["broken", "about to look"]);
}

#[test]
fn a_rerun_goes_on_in_the_same_run_and_keeps_what_succeeded() {
    let sandbox = Sandbox::with_pipeline(BREAKS);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(1);
    assert_eq!(
        states(&sandbox),
        ["first succeeded", "broken failed", "after skipped", "apart succeeded"]
    );
    let runs = sandbox.runs();
    sandbox.wick(&["rerun"]).ends_with(1);
    sandbox.write("mended", "");
    sandbox.wick(&["rerun"]).ends_with(0).says(&["goes on", "succeeded"]);
    assert_eq!(sandbox.runs(), runs, "the same run goes on");
    assert!(states(&sandbox).iter().all(|state| state.ends_with("succeeded")));
    let shown = sandbox.json(&["show", "-o", "json"]);
    let attempts = |stage: &str| {
        let all = shown["attempts"].as_array().expect("attempts").iter();
        all.filter(|attempt| attempt["stage"] == stage).count()
    };
    assert_eq!((attempts("first"), attempts("broken"), attempts("after")), (1, 3, 1));
}

#[test]
fn nothing_more_is_started_after_a_failure_on_request() {
    let pipeline = r#"
pipeline: fast
stages:
  broken: {uses: command, with: {run: ["false"]}}
  apart: {uses: command, with: {run: ["true"]}}
"#;
    let sandbox = Sandbox::with_pipeline(pipeline);
    sandbox.wick(&["run", "pipeline.yaml", "-j1", "--fail-fast"]).ends_with(1);
    assert_eq!(states(&sandbox), ["broken failed", "apart skipped"]);
    // The later word counts.
    sandbox.wick(&["run", "pipeline.yaml", "-j1", "--fail-fast", "--keep-going"]).ends_with(1);
    assert_eq!(states(&sandbox), ["broken failed", "apart succeeded"]);
}

#[test]
fn a_rerun_of_a_mended_file_is_a_new_run_with_a_parent() {
    let sandbox = Sandbox::with_pipeline(BREAKS);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(1);
    let failed = sandbox.runs()[0].clone();
    sandbox.write("pipeline.yaml", &BREAKS.replace("exit 3", "touch ${outputs.kept}; exit 0"));
    sandbox.wick(&["rerun"]).ends_with(0).says(&[&format!("after run {failed}")]);
    let shown = sandbox.json(&["show", "-o", "json"]);
    assert_eq!(shown["run"]["parent"], failed.as_str());
    assert_eq!(states(&sandbox)[0], "first cached");
    assert_eq!(states(&sandbox)[3], "apart cached");
}

#[test]
fn a_rerun_keeps_the_params_of_its_run() {
    let pipeline = r#"
pipeline: param
params: {code: 0}
stages:
  only:
    uses: command
    with: {run: 'exit ${params.code}'}
"#;
    let sandbox = Sandbox::with_pipeline(pipeline);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "code=4"]).ends_with(1).says(&["code 4"]);
    sandbox.wick(&["rerun"]).ends_with(1).says(&["code 4"]);
    sandbox.wick(&["rerun", "-p", "code=0"]).ends_with(0);
}

#[test]
fn invalid_input_ends_with_2_and_a_hint() {
    let sandbox = Sandbox::with_pipeline("pipeline: x\nstages: {a: {uses: comand}}\n");
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(2).says(&["command", "nothing was run"]);
    assert!(!sandbox.has(".wick/store.db"), "a wrong pipeline leaves no trace");
    sandbox.wick(&["run", "none.yaml"]).ends_with(2).says(&["cannot read none.yaml"]);
    sandbox.wick(&["run", "."]).ends_with(2).says(&["is a folder"]);
    sandbox.wick(&["frobnicate"]).ends_with(2);
    sandbox.wick(&["show", "--output", "xml"]).ends_with(2);
}

#[test]
fn a_store_that_is_none_is_told_apart_from_a_defect() {
    let sandbox = Sandbox::with_pipeline(BREAKS);
    sandbox.write("not-a-store", "this is no database, whatever its name says\n");
    let ran = sandbox.wick(&["runs", "--project", ".", "--store", "not-a-store"]);
    assert!(matches!(ran.code, 2 | 70), "{}", ran.everything());
    ran.says(&["error:", "not-a-store", "hint:"]);
    sandbox.wick(&["runs", "--project", ".", "--store", "mysql://x/y"]).ends_with(2);
    // Who asks for a history does not mean to make one.
    for store in ["none.db", "sqlite://none.db"] {
        let ran = sandbox.wick(&["runs", "--project", ".", "--store", store]).ends_with(2);
        ran.says(&["there is no store at", "none.db` makes one"]);
    }
    assert!(!sandbox.has("none.db"));
    let folder = sandbox.wick(&["runs", "--project", ".", "--store", "."]).ends_with(2);
    folder.says(&["it is a folder; name the file in it"]);
}
