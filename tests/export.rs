//! `wick export`: what other programs read.

use std::path::Path;

use crate::sandbox::Sandbox;

const PIPELINE: &str = r#"
pipeline: curve
params: {scale: 1}
stages:
  fit:
    uses: command
    with:
      run: |
        echo '{"metric": "loss", "step": 1, "value": 0.5}' >> $WICK_METRICS
        echo '{"metric": "loss", "step": 2, "value": 0.25}' >> $WICK_METRICS
        echo scale=${params.scale} > ${outputs.file}
      outputs: {file: file}
"#;

fn height(path: &Path) -> usize {
    wick_data::read_table(path).expect("a table").height()
}

#[test]
fn the_history_is_written_as_tables() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "scale=2"]).ends_with(0);
    let ran = sandbox.wick(&["export", "-o", "out/history"]).ends_with(0);
    assert!(ran.stderr.contains("2 runs, "), "{}", ran.stderr);
    let folder = sandbox.path().join("out/history");
    let rows = |name: &str| height(&folder.join(format!("{name}.parquet")));
    assert_eq!((rows("runs"), rows("stages"), rows("params")), (2, 2, 2));
    assert_eq!((rows("metrics") >= 4, rows("artifacts"), rows("models")), (true, 2, 0));
    let metrics = wick_data::read_table(folder.join("metrics.parquet")).expect("a table");
    let text = wick_data::csv_text(&mut metrics.clone()).expect("CSV");
    let text = String::from_utf8(text).expect("text");
    let losses: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(",loss,"))
        .filter_map(|line| line.rsplit(',').next())
        .collect();
    assert_eq!(losses, ["0.5", "0.25", "0.5", "0.25"], "{text}");
    let note: serde_json::Value =
        serde_json::from_str(&sandbox.read("out/history/export.json")).expect("JSON");
    assert_eq!((&note["version"], &note["rows"]["runs"]), (&1.into(), &2.into()));
    sandbox.wick(&["export", "params.scale = 2", "-o", "some"]).ends_with(0);
    let some = sandbox.path().join("some");
    assert_eq!(
        (height(&some.join("runs.parquet")), height(&some.join("artifacts.parquet"))),
        (1, 1)
    );
    sandbox.wick(&["export", "params.scale =", "-o", "none"]).ends_with(2);
    assert!(!sandbox.has("none"));
    // Nothing is left beside it.
    assert_eq!(std::fs::read_dir(sandbox.path().join("out")).expect("a folder").count(), 1);
}

#[test]
fn nothing_is_overwritten_by_accident() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["export"]).ends_with(0);
    sandbox.wick(&["export"]).ends_with(2).says(&["exists already", "--force"]);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "scale=2"]).ends_with(0);
    sandbox.wick(&["export", "--force"]).ends_with(0);
    assert_eq!(height(&sandbox.path().join("wick-export/runs.parquet")), 2);
    // A folder that is no export is nobody's to replace.
    sandbox.write("mine/notes.txt", "keep me");
    sandbox.wick(&["export", "-o", "mine", "--force"]).ends_with(2).says(&["exists already"]);
    assert_eq!(sandbox.read("mine/notes.txt"), "keep me");
    sandbox.wick(&["export", "-o", "pipeline.yaml"]).ends_with(2).says(&["is not a folder"]);
}

#[test]
fn the_history_is_written_as_lines() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "scale=2"]).ends_with(0);
    sandbox.wick(&["export", "--output-format", "json"]).ends_with(0);
    let lines = sandbox.read("wick-export/runs.jsonl");
    let runs: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1]["params"][0]["value"], 2, "oldest first");
    let loss = runs[0]["series"].as_array().expect("a list").iter().find(|s| s["key"] == "loss");
    assert_eq!(loss.expect("it is there")["values"], serde_json::json!([0.5, 0.25]));
    assert_eq!(sandbox.read("wick-export/models.jsonl"), "");
}

#[test]
fn what_an_export_that_was_killed_has_left_is_cleared() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    for left in [".history.part-1/runs.parquet", ".history.part-2-old/export.json"] {
        sandbox.write(left, "half of it");
    }
    // One that is under way is left alone, and so is that of another place.
    sandbox.write(".history.part-3/runs.parquet", "half of it");
    sandbox.write(".other.part-1/runs.parquet", "half of it");
    let lock = std::fs::File::open(sandbox.path().join(".history.part-3")).expect("a folder");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    sandbox.wick(&["export", "-o", "history"]).ends_with(0);
    let there = [".history.part-1", ".history.part-2-old", ".history.part-3", ".other.part-1"];
    assert_eq!(there.map(|folder| sandbox.has(folder)), [false, false, true, true]);
    assert!(sandbox.has("history/export.json"));
}
