//! What a run records without being asked, and `wick show` of it.

use std::process::Command;

use crate::sandbox::Sandbox;

const PIPELINE: &str = r#"
pipeline: recorded
stages:
  people: {uses: load, with: {path: people.csv}}
  count:
    uses: command
    inputs: {data: people}
    with:
      run: |
        echo '{"param": "n_rows", "value": 4}' >> $WICK_METRICS
        echo '{"rows": 4, "by": {"sex": 2}}' > ${outputs.metrics}
      outputs: {metrics: value}
"#;

const PEOPLE: &str = "name,age,sex\nAda,36,f\nBob,,m\nCy,20,m\nDi,40,f\n";

fn project() -> Sandbox {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.write("people.csv", PEOPLE);
    sandbox.write("wick.yaml", "carbon: {grams_per_kwh: 360, watts_per_cpu: 10}\n");
    sandbox
}

#[test]
fn what_attempts_used_is_shown_and_summed() {
    let sandbox = project();
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["show"]).ends_with(0).says(&[
        "Resources",
        "2 attempts",
        "CO₂",
        "count.n_rows",
        "reported",
        "count.by.sex",
    ]);
    let table = sandbox.wick(&["show", "--only", "attempts"]).ends_with(0);
    table.says(&["waited", "ran", "energy", "people", "count"]);
    let shown = sandbox.json(&["show", "-o", "json"]);
    let attempts = shown["attempts"].as_array().expect("attempts");
    let totals = &shown["resources"];
    assert_eq!(totals["attempts"], 2);
    let cpu = |of: &serde_json::Value| of["cpu_micros"].as_u64().expect("it is measured");
    let sum: u64 = attempts.iter().map(|attempt| cpu(&attempt["usage"])).sum();
    assert_eq!(cpu(totals), sum);
    for attempt in attempts {
        let usage = &attempt["usage"];
        let number = |key: &str| usage[key].as_f64().unwrap_or_else(|| panic!("{key}: {usage}"));
        let (joules, grams) = (number("energy_joules"), number("co2_grams"));
        assert!((grams - joules / 1e4).abs() <= 1e-9 * grams, "360 g for 3.6 MJ: {usage}");
        if usage["energy_source"] == "estimate" {
            assert!((joules - number("cpu_micros") / 1e5).abs() <= 1e-9 * joules, "{usage}");
        }
        assert!(number("read_bytes") >= 0.0 && number("written_bytes") >= 0.0);
        assert!(attempt["queued"].is_number(), "{attempt}");
    }
}

#[test]
fn the_values_of_datasets_are_told() {
    let sandbox = project();
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let told = sandbox.wick(&["show", "--data"]).ends_with(0);
    told.says(&["people.data  4 rows, 3 columns", "age", "integer", "32", "f × 2, m × 2"]);
    let json = sandbox.json(&["show", "@last", "--data", "people.data", "-o", "json"]);
    let columns = &json["datasets"][0]["profile"]["columns"];
    assert_eq!((&columns[1]["name"], &columns[1]["missing"]), (&"age".into(), &1.into()));
    let numbers = &columns[1]["numbers"];
    assert_eq!((&numbers["mean"], &numbers["median"]), (&32.0.into(), &36.0.into()));
    assert_eq!(columns[2]["top"], serde_json::json!([["f", 2], ["m", 2]]));
    let wrong = sandbox.wick(&["show", "--data", "peopel"]).ends_with(2);
    wrong.says(&["no dataset of this run is called `peopel`", "people.data"]);
}

#[test]
fn a_dirty_tree_is_recorded_with_its_diff() {
    let sandbox = project();
    let git = |arguments: &[&str]| {
        let ran = Command::new("git").arg("-C").arg(sandbox.path()).args(arguments).output();
        assert!(ran.expect("git is there").status.success(), "git {arguments:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["config", "user.name", "A"]);
    git(&["config", "user.email", "a@example.org"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "Begin"]);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["show", "--diff"]).ends_with(0).says(&["no diff is recorded"]);
    sandbox.write("people.csv", "name,age,sex\nAda,37,f\n");
    sandbox.write("notes.txt", "new");
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let diff = sandbox.wick(&["show", "--diff"]).ends_with(0).stdout;
    assert!(diff.starts_with("diff --git a/people.csv b/people.csv\n"), "{diff}");
    assert!(diff.contains("\n-Ada,36,f\n") && diff.contains("\n+Ada,37,f\n"), "{diff}");
    sandbox.wick(&["show"]).ends_with(0).says(&["on main, with uncommitted changes", "notes.txt"]);
    let shown = sandbox.json(&["show", "-o", "json"]);
    let git = &shown["run"]["environment"]["git"];
    assert_eq!(git["dirty"], true, "{git}");
    assert_eq!(git["untracked"], serde_json::json!(["notes.txt"]), "{git}");
}
