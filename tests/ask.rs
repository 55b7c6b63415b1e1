//! Questions over several runs: what differs, how it went, where it came from.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// A training whose loss falls by `params.rate`, on what another stage has made of a file.
const TRAINING: &str = r#"
pipeline: training
params: {rate: 1, label: short}
stages:
  table:
    uses: command
    with: {run: "cat rows.txt > ${outputs.rows}", code: [rows.txt], outputs: {rows: file}}
  train:
    uses: command
    inputs: {rows: table.rows}
    with:
      run: |
        for step in 1 2 3 4 5 6 7 8; do
          echo "{\"metric\": \"loss\", \"step\": $step, \"value\": $((100 - ${params.rate} * step))}" >> $WICK_METRICS
          echo "{\"metric\": \"system.cpu\", \"step\": $step, \"value\": $step}" >> $WICK_METRICS
        done
        echo "${params.rate}" > ${outputs.model}
      outputs: {model: file}
"#;

fn trained(rates: &[u32]) -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::with_pipeline(TRAINING);
    sandbox.write("rows.txt", "1 2 3\n");
    for rate in rates {
        sandbox.wick(&["run", "pipeline.yaml", "-p", &format!("rate={rate}")]).ends_with(0);
    }
    let mut runs = sandbox.runs();
    runs.reverse();
    (sandbox, runs)
}

#[test]
fn many_runs_are_compared_in_columns() {
    let (sandbox, runs) = trained(&[1, 2, 5]);
    let [first, second, third] = [&runs[0], &runs[1], &runs[2]];
    let shown = sandbox.wick(&["compare", first, second, third]).ends_with(0).says(&[
        "A  run ",
        "C  run ",
        "train.loss",
        "34.8 %",
        "`with.run` changed",
    ]);
    let row = |start: &str| {
        let row = shown.stdout.lines().find(|line| line.starts_with(start));
        row.unwrap_or_else(|| panic!("{}", shown.everything())).to_owned()
    };
    let words = |row: String| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(row("rate ")), ["rate", "1", "2", "5"]);
    assert_eq!(words(row("train.loss "))[..4], ["train.loss", "92", "84", "60"]);
    assert!(!shown.stdout.contains("system.cpu"), "{shown:?}");
    assert!(!shown.stdout.contains("label"), "what is equal is left out: {shown:?}");
    // The curves, each under its letter and on one scale.
    assert!(shown.stdout.contains("┤") && shown.stdout.contains("99 "), "{shown:?}");

    let told = sandbox.json(&["compare", first, second, third, "-o", "json"]);
    assert_eq!(told["runs"], json!(runs));
    assert_eq!(told["params"][0], json!({"name": "rate", "values": [1, 2, 5]}));
    assert_eq!(told["metrics"][0]["values"], json!([92.0, 84.0, 60.0]));
    assert_eq!(told["stages"].as_array().map(Vec::len), Some(1), "{told}");
    let csv = sandbox.wick(&["compare", first, second, third, "-o", "csv"]).ends_with(0).stdout;
    assert_eq!(csv.lines().next(), Some(&*format!("what,name,{first},{second},{third}")));
    assert!(csv.contains("\nparam,rate,1,2,5\n") && csv.contains("\nmetric,train.loss,92,84,60\n"));

    sandbox.wick(&["compare", first]).ends_with(2);
    let typo = sandbox.wick(&["compare", first, second, "--curves", "train.lsos"]).ends_with(2);
    typo.says(&["did you mean `train.loss`?"]);
    let all = sandbox.wick(&["compare", first, second, "--all", "--system"]).ends_with(0);
    all.says(&["label", "system.cpu", "table"]);
}

#[test]
fn metrics_of_the_machine_are_shown_when_asked_for() {
    let (sandbox, runs) = trained(&[1, 3]);
    let shown =
        sandbox.wick(&["metrics"]).ends_with(0).says(&["train.loss", "1 metric of the machine"]);
    assert!(!shown.stdout.contains("system.cpu"), "{shown:?}");
    sandbox.wick(&["metrics", "@last", "--system"]).ends_with(0).says(&["train.system.cpu"]);
    sandbox.wick(&["metrics", "@last", "system.cpu"]).ends_with(0).says(&["train.system.cpu"]);
    let both = sandbox.wick(&["metrics", &runs[0], "loss", "--with", &runs[1]]).ends_with(0);
    both.says(&[&runs[0], &runs[1], "92", "76"]);
    sandbox.wick(&["metrics", &runs[0], "--with", &runs[1]]).ends_with(2);
    let points = |n: &str| {
        let told = sandbox.json(&["metrics", "@last", "loss", "--points", n, "-o", "json"]);
        told["series"][0]["points"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((points("0"), points("4")), (8, 4));
}

#[test]
fn a_stage_has_a_history() {
    let sandbox = Sandbox::with_pipeline(
        r#"
pipeline: shaky
params: {fails: 0, name: x}
stages:
  work:
    uses: command
    with:
      run: |
        echo "{\"metric\": \"accuracy\", \"value\": 0.5}" >> $WICK_METRICS
        echo "as told: ${params.name}"; exit ${params.fails}
  after: {uses: command, after: [work], with: {run: "true"}}
"#,
    );
    for (fails, name) in [("0", "a"), ("0", "a"), ("3", "b"), ("0", "c")] {
        let (fails, name) = (format!("fails={fails}"), format!("name={name}"));
        sandbox.wick(&["run", "pipeline.yaml", "-p", &fails, "-p", &name]);
    }
    let runs = sandbox.runs();
    let shown = sandbox.wick(&["history", "work"]).ends_with(0).says(&[
        "stage work of experiment shaky, 4 runs: 3 computed, 1 cached, 1 failed (33 %)",
        "median",
        "p95",
        "accuracy 0.5000",
        "the program ended with code 3",
    ]);
    let cached = shown.stdout.lines().find(|line| line.contains("cached  ")).expect("a row");
    assert!(cached.starts_with(&runs[2]) && cached.contains(&runs[3]), "{shown:?}");

    let told = sandbox.json(&["history", "work", "-o", "json"]);
    let ids: Vec<&Value> =
        told["runs"].as_array().expect("runs").iter().map(|run| &run["run"]).collect();
    assert_eq!(ids, runs.iter().collect::<Vec<_>>(), "the newest first");
    assert_eq!(told["summary"]["failed"], 1);
    assert_eq!(told["runs"][0]["metrics"]["accuracy"], 0.5);
    assert!(told["runs"][0]["micros"].as_i64().is_some_and(|micros| micros > 0), "{told}");

    let page = sandbox.json(&["history", "work", "-n", "1", "--page", "2", "-o", "json"]);
    assert_eq!((&page["runs"][0]["run"], &page["more"]), (&json!(runs[1]), &json!(true)));
    sandbox.wick(&["history", "work", "-n", "2"]).ends_with(0).says(&["--page 2"]);
    sandbox.wick(&["history", "wrok"]).ends_with(2).says(&["did you mean `work`?"]);
    sandbox.wick(&["history", "work", "--experiment", "other"]).ends_with(2);
}
