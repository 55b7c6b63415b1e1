//! `wick diff`: why stages differ between two runs.

use crate::sandbox::Sandbox;

const PIPELINE: &str = r#"
pipeline: differs
params: {size: 1}
stages:
  made:
    uses: command
    with: {run: 'echo ${params.size} > ${outputs.text}', outputs: {text: file}}
  copied:
    uses: command
    inputs: {text: made}
    with: {run: 'cat ${inputs.text} > ${outputs.text}', outputs: {text: file}}
  apart:
    uses: command
    with: {run: 'echo apart > ${outputs.text}', outputs: {text: file}}
"#;

#[test]
fn what_changed_by_itself_is_told_apart_from_what_follows() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "size=2"]).ends_with(0);
    let runs = sandbox.runs();
    let (first, second) = (runs[1].as_str(), runs[0].as_str());
    sandbox.wick(&["diff", first, second]).ends_with(0).says(&[
        "param size: 1 in A, 2 in B",
        "`with.run` changed",
        "(param `size`)",
        &format!("input `text`: made.text is another since run {second}"),
        "2 stages differ, 1 is the same; the others follow from made",
    ]);
    let diff = sandbox.json(&["diff", first, "@last", "-o", "json"]);
    let stages = diff["stages"].as_array().expect("stages");
    let follows: Vec<_> =
        stages.iter().map(|stage| (&stage["stage"], &stage["reasons"][0]["follows"])).collect();
    assert_eq!(follows.len(), 2, "{diff}");
    assert_eq!((follows[0].0, follows[0].1.is_null()), (&"made".into(), true));
    assert_eq!(follows[1], (&"copied".into(), &"made".into()));
    // One stage, all stages, none.
    sandbox.wick(&["diff", first, second, "copied"]).ends_with(0).says(&["1 stage differs"]);
    sandbox.wick(&["diff", first, second, "--all"]).ends_with(0).says(&["apart", "the same"]);
    sandbox.wick(&["diff", first, first]).ends_with(0).says(&["no stage differs, 3 are the same"]);
    sandbox.wick(&["diff", first, second, "coped"]).ends_with(2).says(&["did you mean `copied`"]);
    sandbox.wick(&["diff", first, "nope"]).ends_with(2).says(&["no run is called `nope`"]);
}

#[test]
fn stages_that_one_run_alone_has_and_other_ends_are_told() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: x\nstages:\n  a: {uses: command, with: {run: 'test -e there'}}\n  \
         b: {uses: command, after: [a], with: {run: 'true'}}\n",
    );
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(1);
    sandbox.write("there", "");
    sandbox.write(
        "pipeline.yaml",
        "pipeline: x\nstages:\n  a: {uses: command, with: {run: 'test -e there'}}\n  \
         b: {uses: command, after: [a], with: {run: 'true'}}\n  \
         c: {uses: command, with: {run: 'true'}}\n",
    );
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let runs = sandbox.runs();
    sandbox.wick(&["diff", &runs[1], &runs[0]]).ends_with(0).says(&[
        "the same work, which failed in A and succeeded in B",
        "skipped in A: needs a, which did not succeed",
        "only B has it",
    ]);
}
