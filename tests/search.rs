//! `wick runs` with filters, orders and columns, and `wick best`.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const PIPELINE: &str = r#"
pipeline: score
params: {lr: 1, optimizer: adam}
stages:
  fit:
    uses: command
    with:
      run: |
        echo "{\"metric\": \"accuracy\", \"step\": 0, \"value\": $((${params.lr} * 10))}" >> $WICK_METRICS
        echo "{\"metric\": \"odd\", \"step\": 0, \"value\": $((7 - ${params.lr}))}" >> $WICK_METRICS
        echo ${params.optimizer}
"#;

/// Three runs, oldest first: accuracies of 10, 30 and 20.
fn three_runs() -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    for (lr, optimizer) in [("1", "adam"), ("3", "sgd"), ("2", "adam")] {
        let (lr, optimizer) = (format!("lr={lr}"), format!("optimizer={optimizer}"));
        let typed = ["run", "pipeline.yaml", "-p", &lr, "-p", &optimizer];
        sandbox.wick(&typed).ends_with(0);
    }
    let mut runs = sandbox.runs();
    runs.reverse();
    (sandbox, runs)
}

#[test]
fn runs_are_found_by_filters_and_in_orders() {
    let (sandbox, runs) = three_runs();
    let check = |typed: &[&str], expect: &[usize]| {
        let typed = [&["runs", "-o", "json"], typed].concat();
        let found = sandbox.json(&typed);
        let found: Vec<&str> = found["runs"]
            .as_array()
            .expect("runs")
            .iter()
            .filter_map(|r| r["id"].as_str())
            .collect();
        let expect: Vec<&str> = expect.iter().map(|place| runs[*place].as_str()).collect();
        assert_eq!(found, expect, "{typed:?}");
    };
    check(&["metrics.accuracy > 15"], &[2, 1]);
    check(&["metrics.fit.accuracy > 15 and params.optimizer = 'adam'"], &[2]);
    check(&["params.lr >= 2 or params.optimizer = 'adam'", "--sort", "params.lr"], &[0, 2, 1]);
    check(&["--sort", "metrics.accuracy desc"], &[1, 2, 0]);
    check(&["--sort", "metrics.accuracy desc", "-n", "1", "--page", "2"], &[2]);
    check(&["status = 'FINISHED'", "--state", "failed"], &[]);
    check(&["started > '1 hour ago'", "--sort", "started"], &[0, 1, 2]);

    let page =
        sandbox.json(&["runs", "-o", "json", "-n", "2", "--columns", "params.lr, metrics.odd"]);
    assert_eq!(page["more"], json!(true));
    assert_eq!(page["runs"][0]["columns"], json!({"params.lr": 2, "metrics.odd": 5.0}));
    let shown = sandbox.wick(&["runs", "-n", "2", "--columns", "params.lr"]).ends_with(0);
    assert!(shown.stdout.lines().next().is_some_and(|line| line.contains("params.lr")));
    assert!(!shown.stdout.contains("metrics"), "{}", shown.stdout);
    assert!(shown.stderr.contains("--page 2"), "{}", shown.stderr);
    let csv =
        sandbox.wick(&["runs", "-o", "csv", "--columns", "params.optimizer"]).ends_with(0).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].ends_with(",parent,params.optimizer"), "{csv}");
    assert!(lines[2].starts_with(&runs[1]) && lines[2].ends_with(",sgd"), "{csv}");
}

#[test]
fn a_mistake_in_a_filter_has_a_caret() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    let ran = sandbox.wick(&["runs", "metrics.accuracy > high"]).ends_with(2);
    for said in
        ["`high` is not a value", "metrics.accuracy > high", "texts stand in quotes: 'high'"]
    {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    sandbox
        .wick(&["runs", "--sort", "acuracy"])
        .ends_with(2)
        .says(&["--sort cannot be understood"]);
    sandbox.wick(&["runs", "--columns", "params."]).ends_with(2).says(&["a key is missing here"]);
    sandbox.wick(&["runs", ""]).ends_with(2).says(&["there is no condition"]);
}

#[test]
fn the_best_runs_come_with_the_params_that_differ() {
    let (sandbox, runs) = three_runs();
    let best = sandbox.json(&["best", "--metric", "accuracy", "-n", "2", "-o", "json"]);
    assert_eq!(best["mode"], json!("max"));
    assert_eq!(best["differing"], json!(["lr", "optimizer"]));
    let found = |best: &Value| -> Vec<String> {
        let runs = best["runs"].as_array().expect("runs").iter();
        runs.map(|run| format!("{} {}", run["id"].as_str().unwrap_or_default(), run["value"]))
            .collect()
    };
    assert_eq!(found(&best), [format!("{} 30.0", runs[1]), format!("{} 20.0", runs[2])]);
    let typed = ["best", "--metric", "fit.odd", "--mode", "min", "params.optimizer = 'adam'"];
    let least = sandbox.json(&[&typed[..], &["-o", "json"]].concat());
    assert_eq!(found(&least), [format!("{} 5.0", runs[2]), format!("{} 6.0", runs[0])]);
    assert_eq!(least["differing"], json!(["lr"]));
    sandbox.wick(&["best", "--metric", "accuracy"]).ends_with(0).says(&["optimizer", "sgd", "30"]);
    sandbox.wick(&["best", "--metric", "odd"]).ends_with(2).says(&["--mode max"]);
    sandbox
        .wick(&["best", "--metric", "loss"])
        .ends_with(2)
        .says(&["no run has the metric `loss`"]);
}
