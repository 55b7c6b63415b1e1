//! Parts of runs: `--from`, `--only`, `--until`, `--force`, `--all`, each told by `wick plan` before.

use serde_json::Value;

use crate::sandbox::Sandbox;

/// A chain with a branch; each run of a stage leaves a line in its own file.
const CHAIN: &str = r#"
pipeline: chain
params: {word: one}
stages:
  a:
    uses: command
    with: {run: 'echo a >> a.ran; echo ${params.word} > ${outputs.out}', outputs: {out: file}}
  b:
    uses: command
    inputs: {in: a}
    with: {run: 'echo b >> b.ran; cat ${inputs.in} > ${outputs.out}', outputs: {out: file}}
  c:
    uses: command
    inputs: {in: b}
    with: {run: 'echo c >> c.ran; cat ${inputs.in} > ${outputs.out}', outputs: {out: file}}
  apart:
    uses: command
    with: {run: 'echo apart >> apart.ran; echo x > ${outputs.out}', outputs: {out: file}}
"#;

/// The stages that `wick plan` with these words says would run, and those that do with the same
/// words of `wick run` or `wick rerun`.
#[track_caller]
fn told_and_ran(sandbox: &Sandbox, plan: &[&str], run: &[&str]) -> (Vec<String>, Vec<String>) {
    let told = sandbox.json(&[plan, &["-o", "json"]].concat());
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let stages = told["stages"].as_array().expect("stages").iter();
    // What depends on a stage that runs anew is found to be the same once that has run.
    let told = stages
        .filter(|stage| stage["decision"] == "run")
        .map(|stage| text(&stage["stage"]))
        .collect();
    let count = |stage: &str| {
        let file = format!("{stage}.ran");
        if sandbox.has(&file) { sandbox.read(file).lines().count() } else { 0 }
    };
    let before = ["a", "b", "c", "apart"].map(count);
    sandbox.wick(run).ends_with(0);
    let after = ["a", "b", "c", "apart"].map(count);
    let ran = ["a", "b", "c", "apart"].into_iter().zip(before.into_iter().zip(after));
    let ran = ran.filter(|(_, (before, after))| after > before).map(|(name, _)| name.to_owned());
    (told, ran.collect())
}

#[test]
fn what_is_told_beforehand_is_what_runs() {
    #[track_caller]
    fn check(words: &[&str], told: &[&str], expect: &[&str]) {
        let sandbox = Sandbox::with_pipeline(CHAIN);
        sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
        let plan = [&["plan", "pipeline.yaml"], words].concat();
        let run = [&["run", "pipeline.yaml"], words].concat();
        let (planned, ran) = told_and_ran(&sandbox, &plan, &run);
        assert_eq!(planned, told, "planned with {words:?}");
        assert_eq!(ran, expect, "ran with {words:?}");
    }
    check(&[], &[], &[]);
    check(&["--from", "b"], &["b", "c"], &["b", "c"]);
    check(&["--only", "b"], &["b"], &["b"]);
    check(&["--until", "b"], &[], &[]);
    check(&["--force", "apart"], &["apart"], &["apart"]);
    check(&["--from", "a", "--until", "b"], &["a", "b"], &["a", "b"]);
    check(&["--no-cache", "--until", "a"], &["a"], &["a"]);
}

#[test]
fn a_rerun_takes_the_same_words_and_adds_attempts() {
    let sandbox = Sandbox::with_pipeline(CHAIN);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let runs = sandbox.runs();
    sandbox.wick(&["rerun"]).ends_with(0).says(&["nothing to do"]);
    sandbox.wick(&["plan", "--rerun"]).ends_with(0).says(&["nothing to do"]);
    let (told, ran) =
        told_and_ran(&sandbox, &["plan", "--rerun", "--from", "c"], &["rerun", "--from", "c"]);
    assert_eq!((told, ran), (vec!["c".to_owned()], vec!["c".to_owned()]));
    assert_eq!(sandbox.runs(), runs, "the same run has another attempt");
    let (told, ran) = told_and_ran(&sandbox, &["plan", "--rerun", "--all"], &["rerun", "--all"]);
    assert_eq!(told, ["a", "b", "c", "apart"]);
    assert_eq!(ran, told);
}

#[test]
fn what_cannot_be_selected_is_told_before_anything_runs() {
    let sandbox = Sandbox::with_pipeline(CHAIN);
    sandbox.wick(&["run", "pipeline.yaml", "--from", "bb"]).ends_with(2).says(&["--from bb", "b"]);
    sandbox.wick(&["plan", "pipeline.yaml", "--only", "zzz"]).ends_with(2).says(&["--only zzz"]);
    // What it needs was never made.
    sandbox.wick(&["run", "pipeline.yaml", "--only", "c"]).ends_with(2).says(&["b"]);
    assert!(!sandbox.has("c.ran") && !sandbox.has("a.ran"));
    sandbox.wick(&["plan"]).ends_with(2);
    sandbox.wick(&["plan", "pipeline.yaml", "--rerun"]).ends_with(2);
    sandbox.wick(&["plan", "pipeline.yaml", "--all"]).ends_with(2);
    sandbox.wick(&["run", "pipeline.yaml", "--only", "a", "--from", "b"]).ends_with(2);
}

#[test]
fn every_reason_is_told_on_request() {
    let sandbox = Sandbox::with_pipeline(CHAIN);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let words = ["plan", "pipeline.yaml", "-p", "word=two", "--why"];
    sandbox
        .wick(&[words.as_slice(), &["a"]].concat())
        .ends_with(0)
        .says(&["`with.run`", "1 stage"]);
    let why = sandbox.wick(&words).ends_with(0);
    assert!(why.stdout.contains("apart"), "{}", why.stdout);
    sandbox.wick(&[words.as_slice(), &["aa"]].concat()).ends_with(2).says(&["no stage `aa`"]);
}

#[test]
fn what_changed_is_told_of_stages_that_the_last_run_left_out() {
    let sandbox = Sandbox::with_pipeline(CHAIN);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "word=two", "--until", "a"]).ends_with(0);
    sandbox
        .wick(&["plan", "pipeline.yaml", "-p", "word=two", "--why", "b"])
        .ends_with(0)
        .says(&["a made", "since run"]);
}

#[test]
fn what_changed_in_a_stage_is_told_before_its_inputs_are_known() {
    let pipeline = |word: &str, with: &str| {
        format!(
            "pipeline: two\nstages:\n  \
             a: {{uses: command, with: {{run: 'echo {word} > ${{outputs.o}}', outputs: {{o: file}}}}}}\n  \
             b: {{uses: command, inputs: {{i: a.o}}, with: {{run: [cat, '${{inputs.i}}'{with}]}}}}\n"
        )
    };
    let sandbox = Sandbox::with_pipeline(&pipeline("one", ", /dev/null"));
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.write("pipeline.yaml", &pipeline("two", ""));
    let planned = sandbox.wick(&["plan", "pipeline.yaml", "--why", "b"]).ends_with(0);
    planned.says(&["with.run[2]", "cached if a still makes the same"]);
}

#[test]
fn instances_are_planned_and_shown_together() {
    let sandbox = Sandbox::with_pipeline(
        r#"
pipeline: grid
stages:
  folds:
    uses: command
    with: {run: 'echo "[1, 2, 3]" > ${outputs.list}', outputs: {list: value}}
  fit:
    uses: command
    foreach: {fold: folds.list}
    with: {run: 'echo ${foreach.fold} > ${outputs.out}', outputs: {out: file}}
  train:
    uses: command
    matrix: {lr: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}
    with: {run: 'test ${matrix.lr} != 7'}
"#,
    );
    let planned = sandbox.wick(&["plan", "pipeline.yaml"]).ends_with(0);
    planned.says(&["fit[*]", "for each of folds.list", "10 instances: it never ran"]);
    let ran = sandbox.wick(&["run", "pipeline.yaml"]).ends_with(1);
    let ran = ran.says(&["9 of 10", "1 failed", "[lr=7]", "3 of 3", "[fold=2]"]);
    assert!(!ran.stdout.contains("[lr=8]"), "what went well is not listed: {}", ran.stdout);
    // One, or all of them.
    sandbox.wick(&["logs", "@last", "train"]).ends_with(0).says(&["train[lr=7]"]);
    sandbox.wick(&["artifacts", "@last", "fit"]).ends_with(0).says(&["fit[fold=1].out"]);
    sandbox.wick(&["artifacts", "fit[fold=1].out"]).ends_with(0).says(&["fit[fold=1].out"]);
    sandbox.wick(&["show", "-v"]).ends_with(0).says(&["[lr=8]", "wick rerun"]);
}
