//! `wick sql`: what a person types, and sees.

use std::io::Write;
use std::process::Stdio;

use crate::sandbox::{Ran, Sandbox};

const PIPELINE: &str = r#"
pipeline: curve
params: {scale: 1, word: "a,b"}
stages:
  fit:
    uses: command
    with:
      run: |
        for step in 1 2 3; do
          echo "{\"metric\": \"loss\", \"step\": $step, \"value\": $((${params.scale} * (10 - step)))}" >> $WICK_METRICS
        done
"#;

fn with_a_run() -> Sandbox {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox
}

#[test]
fn the_history_is_asked_in_sql() {
    let sandbox = with_a_run();
    let sql = "SELECT stage, key, step, value FROM metrics ORDER BY step";
    let csv = sandbox.wick(&["sql", sql, "-o", "csv"]).ends_with(0);
    assert_eq!(
        csv.stdout,
        "stage,key,step,value\nfit,loss,1,9.0\nfit,loss,2,8.0\nfit,loss,3,7.0\n"
    );
    let json = sandbox.json(&["sql", sql, "-o", "json", "--limit", "1"]);
    assert_eq!(json["rows"][0]["value"], 9.0);
    assert_eq!((&json["more"], json["rows"].as_array().map(Vec::len)), (&true.into(), Some(1)));
    let table = sandbox.wick(&["sql", sql, "-n", "2"]).ends_with(0);
    assert!(table.stdout.starts_with("stage  key   step  value\n"), "{}", table.stdout);
    assert!(
        table.stderr.contains("only the first 2 rows: --limit 0 shows all"),
        "{}",
        table.stderr
    );
    let none = sandbox.wick(&["sql", "SELECT run FROM runs WHERE state = 'odd'"]).ends_with(0);
    assert_eq!((&*none.stdout, &*none.stderr), ("", "no rows (run)\n"));
    let odd = "SELECT value, NULL AS n, '' AS e FROM params WHERE name = 'word'";
    let csv = sandbox.wick(&["sql", odd, "-o", "csv"]).ends_with(0);
    assert_eq!(csv.stdout, "value,n,e\n\"a,b\",,\"\"\n");
    let plan = sandbox.wick(&["sql", "--explain", sql]).ends_with(0);
    assert!(plan.stdout.starts_with("plan\nS"), "{}", plan.stdout);
}

#[test]
fn a_query_comes_from_a_file_or_the_standard_input() {
    let sandbox = with_a_run();
    sandbox.write("count.sql", "-- how many\nSELECT count(*) AS n\nFROM runs;\n");
    let from_file = sandbox.wick(&["sql", "--file", "count.sql", "-o", "csv"]).ends_with(0);
    assert_eq!(from_file.stdout, "n\n1\n");
    let mut command = sandbox.command(&["sql", "-", "-o", "csv"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("wick starts");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(b"SELECT 2 AS n").expect("written");
    drop(input);
    let ran = Ran::new(&["sql", "-"], child.wait_with_output().expect("it ends")).ends_with(0);
    assert_eq!(ran.stdout, "n\n2\n");
    sandbox.wick(&["sql", "--file", "none.sql"]).ends_with(2).says(&["cannot read none.sql"]);
    sandbox.wick(&["sql"]).ends_with(2);
}

#[test]
fn what_is_wrong_is_shown_at_its_place() {
    let sandbox = with_a_run();
    let ran = sandbox.wick(&["sql", "SELECT run,\n  statte FROM runs"]).ends_with(2);
    assert!(ran.stderr.contains("\n    statte FROM runs\n    ^\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("wick sql --schema"), "{}", ran.stderr);
    let ran = sandbox.wick(&["sql", "DELETE FROM runs"]).ends_with(2);
    assert!(ran.stderr.contains("only queries can be asked"), "{}", ran.stderr);
    let endless = "WITH RECURSIVE a (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a)
                   SELECT count(*) FROM a";
    let ran = sandbox.wick(&["sql", endless, "--timeout", "100ms"]).ends_with(2);
    assert!(ran.stderr.contains("no answer within 100ms"), "{}", ran.stderr);
}

#[test]
fn the_views_are_told() {
    // Without a project: they are the same everywhere.
    let sandbox = Sandbox::new();
    let told = sandbox.wick(&["sql", "--schema"]).ends_with(0);
    insta::assert_snapshot!("views", told.stdout);
    let json = sandbox.json(&["sql", "--schema", "-o", "json"]);
    assert_eq!(json["views"][0]["columns"][0]["name"], "run");
}
