//! `wick import`: another program's history becomes ours.

use std::path::{Path, PathBuf};

use crate::sandbox::Sandbox;

/// Runs that MLflow recorded.
fn mlruns() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/mlflow/tests/fixtures/mlruns")
}

#[test]
fn runs_of_mlflow_are_imported_once() {
    let sandbox = Sandbox::new();
    let place = mlruns().display().to_string();
    let ran = sandbox.wick(&["import", "mlflow", &place, "--artifacts"]).ends_with(0);
    assert_eq!(ran.stdout, "4 runs imported, with 35 points\n");
    assert!(ran.stderr.contains("582888574e2e42c7967737d6a4d91474"), "{}", ran.stderr);
    assert!(ran.stderr.contains("it was deleted"), "{}", ran.stderr);
    let csv = |sql: &str| sandbox.wick(&["sql", sql, "-o", "csv"]).ends_with(0).stdout;
    let runs = "SELECT r.name, r.state, r.duration, p.name AS of FROM runs r
                LEFT JOIN runs p ON p.run = r.parent ORDER BY r.started";
    assert_eq!(
        csv(runs),
        "name,state,duration,of\nfirst try,succeeded,60.0,\nchild,failed,10.0,first try\n\
         killed one,cancelled,1.0,\nstill running,interrupted,0.0,\n"
    );
    let points = "SELECT step, value FROM metrics WHERE key = 'val/acc' ORDER BY step";
    assert_eq!(csv(points), "step,value\n0,0.5\n1,\n2,Infinity\n3,-Infinity\n4,0.9\n");
    assert_eq!(
        csv("SELECT number FROM params WHERE name = 'lr' ORDER BY 1"),
        "number\n0.01\n0.1\n"
    );
    let notes = "SELECT note, user, git_commit IS NOT NULL AS g FROM runs WHERE note IS NOT NULL";
    assert_eq!(csv(notes), "note,user,g\n\"a *note*\nof two lines\",ann,1\n");
    assert_eq!(csv("SELECT value FROM tags WHERE key = 'odd key/with.dots'"), "value\ntagged\n");
    // Its files are an artifact like any other.
    let id = csv("SELECT run FROM artifacts").lines().nth(1).expect("one run has files").to_owned();
    sandbox.wick(&["artifacts", &id, "--export", "out"]).ends_with(0);
    assert_eq!(sandbox.read("out/mlflow/artifacts/sub/hello.txt"), "hello\n");
    let shown = sandbox.wick(&["show", &id]).ends_with(0).says(&["mlflow", "first try"]).stdout;
    assert!(!shown.to_lowercase().contains("resources"), "nothing is known of them: {shown}");
    // What did not succeed is told as what it is: there is nothing here to read or to run again.
    let shown = sandbox.wick(&["show", "still running"]).ends_with(0).stdout;
    assert!(shown.contains("it had not ended when it was imported"), "{shown}");
    for wrong in ["wick rerun", "wick logs", "its engine died", "mlflow ()"] {
        assert!(!shown.contains(wrong), "{wrong}:\n{shown}");
    }
    sandbox.wick(&["rerun", "child"]).ends_with(2).says(&["was imported"]);

    let again = sandbox.json(&["import", "mlflow", &place, "-o", "json"]);
    assert_eq!((&again["imported"], &again["kept"]), (&0.into(), &4.into()));
    assert_eq!(again["skipped"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_not_mlflows_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("notes/a.txt", "nothing of MLflow's");
    for (place, expect) in [
        ("notes", "is not a folder of MLflow"),
        ("notes/a.txt", "is not MLflow's database"),
        ("none", "cannot read none"),
        ("ftp://host/x", "`ftp` is not a form that is read"),
        ("http://127.0.0.1:1", "cannot be reached"),
    ] {
        sandbox.wick(&["import", "mlflow", place]).ends_with(2).says(&[expect]);
    }
    assert!(!sandbox.has(".wick"), "no project is made of nothing");
}
