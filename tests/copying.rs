//! `wick store copy` and `wick store backup`: all of a store, elsewhere.

use std::fs;

use crate::faults::cluster::Cluster;
use crate::faults::postgres::{not_tested, schema};
use crate::sandbox::Sandbox;

/// A file, a folder, a value, a point and a dataset, in two runs of which one fails.
const PIPELINE: &str = r#"
pipeline: moved
params: {go: true}
stages:
  people: {uses: load, with: {path: people.csv}}
  make:
    uses: command
    with:
      run: |
        echo '{"metric": "loss", "step": 1, "value": 0.5}' >> $WICK_METRICS
        mkdir ${outputs.folder}; echo in it > ${outputs.folder}/a
        echo '{"n": 1}' > ${outputs.metrics}
      outputs: {folder: folder, metrics: value}
  last: {uses: command, after: [make], with: {run: "${params.go}"}}
"#;

fn project() -> Sandbox {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.write("people.csv", "name,age\nAda,36\nBob,\n");
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "go=false"]).ends_with(1);
    sandbox.wick(&["tag", "@last", "kept=yes"]).ends_with(0);
    sandbox.wick(&["note", "@last", "it's noted"]).ends_with(0);
    sandbox
}

/// Everything in a store, as `wick export` writes it: each file's name and bytes.
#[track_caller]
fn exported(sandbox: &Sandbox, store: &str) -> Vec<(String, Vec<u8>)> {
    let out = sandbox.path().join("exported");
    let to = out.display().to_string();
    let words = ["export", "-o", &to, "--output-format", "json", "--store", store];
    sandbox.wick(&words).ends_with(0);
    let mut files: Vec<_> = fs::read_dir(&out)
        .expect("files")
        .flatten()
        // It tells of which store it is and when.
        .filter(|file| file.file_name() != "export.json")
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).expect("its bytes"))
        })
        .collect();
    files.sort();
    assert!(files.iter().any(|(_, bytes)| !bytes.is_empty()), "something is exported");
    fs::remove_dir_all(&out).expect("removed");
    files
}

#[test]
fn a_copy_has_all_of_it_and_is_gone_on_with() {
    let sandbox = project();
    let copy = ["store", "copy", "--to", "copy.db", "--artifacts", "copied", "-o", "json"];
    let first = sandbox.json(&copy);
    assert_eq!((&first["new"], &first["kept"]), (&2.into(), &0.into()));
    assert_eq!(first["artifacts"], 3, "people, a folder and a value");
    assert_eq!(exported(&sandbox, "copy.db"), exported(&sandbox, ".wick/store.db"));
    let mut check = sandbox.command(&["store", "check", "--deep", "--store", "copy.db"]);
    assert!(check.env("WICK_ARTIFACTS", "copied").status().expect("wick starts").success());

    // What an interrupted copy lacks is added, and what is there is left.
    sandbox.wick(&["run", "pipeline.yaml", "-p", "go=false"]).ends_with(1);
    let again = sandbox.json(&copy);
    assert_eq!(
        (&again["new"], &again["kept"], &again["artifacts"]),
        (&1.into(), &2.into(), &0.into())
    );
    assert_eq!(exported(&sandbox, "copy.db"), exported(&sandbox, ".wick/store.db"));
    sandbox.wick(&["store", "copy", "--to", ".wick/store.db"]).ends_with(2).says(&["to itself"]);
}

#[test]
fn the_artifacts_go_to_where_the_other_store_is_used() {
    let sandbox = project();
    // Another project, with a place of its own for them.
    sandbox.write("other/wick.yaml", "artifacts: kept\n");
    let copied = sandbox.json(&["store", "copy", "--to", "other/.wick/store.db", "-o", "json"]);
    let place = copied["artifacts_place"].as_str().expect("a place");
    assert!(place.ends_with("other/kept"), "{place}");
    assert_eq!((&copied["artifacts"], &copied["artifacts_kept"]), (&3.into(), &0.into()));
    let check = ["store", "check", "--deep", "--project", "other"];
    sandbox.wick(&check).ends_with(0).says(&["read 3 artifacts", "all are there"]);
    sandbox
        .wick(&["store", "copy", "--to", "other/.wick/store.db"])
        .ends_with(0)
        .says(&["0 artifacts of 0 B copied, 3 there already, in other/kept"]);
    // Who clears up there knows whose they are.
    sandbox.wick(&["gc", "--project", "other", "--grace", "0s", "--yes"]).ends_with(0);
    sandbox.wick(&check).ends_with(0);

    // No project at all.
    let elsewhere = Sandbox::new();
    let file = elsewhere.path().join("history.db").display().to_string();
    sandbox.wick(&["store", "copy", "--to", &file]).ends_with(0).says(&[
        "3 artifacts of",
        "copied, in",
        "/artifacts",
    ]);
    assert!(elsewhere.has("artifacts/users"));

    // The same project: nothing has to be copied, and nothing goes that one of both needs.
    let shared = "the artifacts stay in .wick/artifacts, which both stores use";
    sandbox.wick(&["store", "copy", "--to", "copy.db"]).ends_with(0).says(&[shared]);
    sandbox.wick(&["delete", &sandbox.runs()[0], &sandbox.runs()[1]]).ends_with(0);
    sandbox.wick(&["gc", "--grace", "0s", "--yes"]).ends_with(0).says(&["copy.db"]);
    sandbox.wick(&["store", "check", "--deep", "--store", "copy.db"]).ends_with(0);
    let none = sandbox.wick(&["store", "copy", "--to", "third/.wick/s.db", "--no-artifacts"]);
    none.ends_with(0).says(&["no artifacts were copied"]);
    assert!(!sandbox.has("third/.wick/artifacts"));
}

#[test]
fn a_copy_to_a_server_and_back_is_the_same() {
    let Some(cluster) = Cluster::get() else { return not_tested() };
    let sandbox = project();
    let url = schema(cluster, "copying");
    let stay = "the artifacts stay in .wick/artifacts; where other machines see them";
    sandbox.wick(&["store", "copy", "--to", &url]).ends_with(0).says(&[stay]);
    sandbox.wick(&["store", "copy", "--store", &url, "--to", "back.db"]).ends_with(0);
    sandbox.wick(&["store", "backup", "--store", &url, "backup.db"]).ends_with(0);
    let before = exported(&sandbox, ".wick/store.db");
    for store in [url.as_str(), "back.db", "backup.db"] {
        assert_eq!(exported(&sandbox, store), before, "{store}");
    }
}

#[test]
fn a_backup_is_a_store_and_replaces_nothing() {
    let sandbox = project();
    sandbox.wick(&["store", "backup", "backup.db"]).ends_with(0);
    assert_eq!(exported(&sandbox, "backup.db"), exported(&sandbox, ".wick/store.db"));
    let before = fs::read(sandbox.path().join("backup.db")).expect("a backup");
    sandbox.wick(&["store", "backup", "backup.db"]).ends_with(2);
    assert!(fs::read(sandbox.path().join("backup.db")).expect("still there") == before);
}

#[test]
fn an_artifact_that_cannot_be_copied_is_told_of_and_fails_the_copy() {
    let sandbox = project();
    fs::remove_dir_all(sandbox.path().join(".wick/artifacts")).expect("removed");
    let copy = ["store", "copy", "--to", "copy.db", "--artifacts", "copied"];
    sandbox.wick(&copy).ends_with(2).says(&["3 artifacts were not copied", "wick store check"]);
    // The history is there nevertheless.
    assert_eq!(exported(&sandbox, "copy.db"), exported(&sandbox, ".wick/store.db"));
}
