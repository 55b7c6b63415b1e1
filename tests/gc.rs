//! `wick gc` and `wick store check`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::sandbox::{Sandbox, ended, wait_until};

/// Two stages: what `same` makes is the same in all runs, what `own` makes is each run's own.
const PIPELINE: &str = r#"
pipeline: kept
params: {note: one}
stages:
  same: {uses: command, with: {run: "echo same > ${outputs.out}", outputs: {out: file}}}
  own:
    uses: command
    inputs: {same: same.out}
    with: {run: "echo ${params.note} > ${outputs.out}", outputs: {out: file}}
"#;

/// Runs with the notes `1`, `2`, …; their ids, oldest first.
fn runs(sandbox: &Sandbox, count: usize) -> Vec<String> {
    for note in 1..=count {
        sandbox.wick(&["run", "pipeline.yaml", "-p", &format!("note={note}")]).ends_with(0);
    }
    let mut runs = sandbox.runs();
    runs.reverse();
    runs
}

fn artifacts(sandbox: &Sandbox) -> BTreeSet<PathBuf> {
    let root = sandbox.path().join(".wick/artifacts");
    let shelves = fs::read_dir(&root).expect("artifacts").flatten();
    shelves
        .filter(|shelf| shelf.file_name().len() == 2 && shelf.path().is_dir())
        .flat_map(|shelf| fs::read_dir(shelf.path()).expect("a shelf").flatten())
        .map(|entry| entry.path())
        .collect()
}

fn folders(sandbox: &Sandbox) -> BTreeSet<String> {
    let folders = fs::read_dir(sandbox.path().join(".wick/runs")).expect("runs").flatten();
    folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn nothing_goes_before_it_is_asked_for() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    let runs = runs(&sandbox, 3);
    assert_eq!(artifacts(&sandbox).len(), 4);
    sandbox.wick(&["delete", &runs[2]]).ends_with(0);
    let told = sandbox.json(&["gc", "--grace", "0s", "-o", "json"]);
    assert_eq!(told["removed"], false);
    assert_eq!(told["runs"][0]["id"], runs[2].as_str());
    assert_eq!(told["runs"][0]["why"], "deleted");
    assert_eq!(told["artifacts"]["count"], 1);
    assert_eq!((artifacts(&sandbox).len(), folders(&sandbox).len()), (4, 3));
    sandbox.wick(&["restore", &runs[2]]).ends_with(0);
    sandbox.wick(&["gc", "--grace", "0s", "--yes"]).ends_with(0).says(&["removed: 0 runs"]);
    assert_eq!((artifacts(&sandbox).len(), folders(&sandbox).len()), (4, 3));
}

#[test]
fn what_is_told_beforehand_goes_and_nothing_else() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    let runs = runs(&sandbox, 3);
    sandbox.wick(&["delete", &runs[2], &runs[1]]).ends_with(0);
    let strange = [".wick/artifacts/notes.txt", ".wick/artifacts/ab/notes", ".wick/runs/mine/file"];
    strange.iter().for_each(|path| sandbox.write(path, "theirs"));
    // Young artifacts stay, whoever needs them: a run may be about to name them.
    sandbox.wick(&["gc", "--yes"]).ends_with(0).says(&["removed: 2 runs", "0 artifacts"]);
    assert_eq!(sandbox.runs(), [runs[0].clone()]);
    let told = sandbox.json(&["gc", "--grace", "0s", "-o", "json"]);
    assert_eq!(told["artifacts"]["count"], 2);
    let done = sandbox.json(&["gc", "--grace", "0s", "--yes", "-o", "json"]);
    assert_eq!(done["artifacts"], told["artifacts"]);
    assert!(strange.iter().all(|path| sandbox.has(path)), "what it does not know it leaves");
    assert!(folders(&sandbox).contains(&runs[0]) && !folders(&sandbox).contains(&runs[1]));
    sandbox.wick(&["store", "check", "--deep"]).ends_with(0).says(&["all are there"]);
    // What stayed is reused, what went is made again.
    sandbox
        .wick(&["run", "pipeline.yaml", "-p", "note=2"])
        .ends_with(0)
        .says(&["1 succeeded", "1 cached"]);
}

#[test]
fn a_run_of_which_another_took_outputs_stays() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    let runs = runs(&sandbox, 2);
    sandbox.wick(&["delete", &runs[0]]).ends_with(0);
    let told = sandbox.json(&["gc", "--grace", "0s", "--yes", "-o", "json"]);
    assert_eq!(told["runs_needed_by_others"], 1);
    assert_eq!(artifacts(&sandbox).len(), 3, "its other output is still named");
    sandbox.wick(&["delete", &runs[1]]).ends_with(0);
    sandbox.wick(&["gc", "--grace", "0s", "--yes"]).ends_with(0).says(&["removed: 2 runs"]);
    assert!(artifacts(&sandbox).is_empty() && folders(&sandbox).is_empty());
}

#[test]
fn rules_spare_stars_tags_and_the_last() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    let runs = runs(&sandbox, 5);
    sandbox.wick(&["star", &runs[1]]).ends_with(0);
    sandbox.wick(&["tag", &runs[2], "keep=yes"]).ends_with(0);
    let going = |arguments: &[&str]| -> BTreeSet<String> {
        let mut words = vec!["gc", "-o", "json"];
        words.extend(arguments);
        let told = sandbox.json(&words);
        let ids = told["runs"].as_array().expect("runs").iter();
        ids.map(|run| run["id"].as_str().expect("an id").to_owned()).collect()
    };
    let expect = |ids: &[&String]| -> BTreeSet<String> { ids.iter().copied().cloned().collect() };
    assert_eq!(going(&[]), expect(&[]));
    assert_eq!(going(&["--older-than", "90d"]), expect(&[]));
    // The first run stays for its output, of which all others have taken.
    assert_eq!(going(&["--keep-last", "1"]), expect(&[&runs[3]]));
    assert_eq!(going(&["--keep-last", "0"]), expect(&[&runs[3], &runs[4]]));
    assert_eq!(going(&["--keep-last", "0", "--experiment", "other"]), expect(&[]));
    sandbox.write("wick.yaml", "retention: {keep_last: 9, experiments: {kept: {keep_last: 1}}}\n");
    assert_eq!(going(&[]), expect(&[&runs[3]]));
    sandbox.write("wick.yaml", "retention: {keep_last: many, older: 1d}\n");
    sandbox.wick(&["gc"]).ends_with(2).says(&["wick.yaml:1:", "a whole number from 0 on"]);
}

#[test]
fn a_gc_that_died_is_ended_by_the_next() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    let runs = runs(&sandbox, 2);
    // As it looks after a death between the removal of the rows and that of the folders: the list
    // is there, the run is not. One that is there again keeps its folder.
    sandbox.write(".wick/runs/zzzzzzzzzzzz/own.1/log", "left over");
    sandbox.write(".wick/gc-going", &format!("zzzzzzzzzzzz\n{}\nnonsense/../..\n", runs[0]));
    sandbox.wick(&["gc", "--yes"]).ends_with(0);
    assert_eq!(folders(&sandbox), runs.into_iter().collect());
    assert!(!sandbox.has(".wick/gc-going"));
}

#[test]
fn several_at_once_get_out_of_each_others_way() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    let runs = runs(&sandbox, 3);
    sandbox.wick(&["delete", &runs[1], &runs[2]]).ends_with(0);
    let words = ["gc", "--grace", "0s", "--yes"];
    let all: Vec<_> = (0..4).map(|_| sandbox.spawn(&words)).collect();
    let codes: Vec<i32> = all.into_iter().map(|one| ended(one, &words).code).collect();
    assert!(codes.iter().all(|code| [0, 75].contains(code)) && codes.contains(&0), "{codes:?}");
    sandbox.wick(&words).ends_with(0).says(&["removed: 0 runs"]);
    assert_eq!(artifacts(&sandbox).len(), 2);
    sandbox.wick(&["store", "check", "--deep"]).ends_with(0);
}

#[test]
fn the_check_names_what_is_wrong_and_who_made_it() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    let runs = runs(&sandbox, 1);
    let all: Vec<PathBuf> = artifacts(&sandbox).into_iter().collect();
    let own = all.iter().find(|path| fs::read(path).expect("readable") == b"1\n").expect("made");
    let same = all.iter().find(|path| *path != own).expect("made");
    fs::set_permissions(same, fs::Permissions::from_mode(0o644)).expect("our own");
    fs::write(same, "sane\n").expect("changed");
    sandbox.wick(&["store", "check"]).ends_with(0).says(&["2 artifacts"]);
    sandbox.wick(&["store", "check", "--deep"]).ends_with(70).says(&[
        "is damaged",
        &format!("{}:same.out", runs[0]),
        "wick rerun",
    ]);
    fs::remove_file(own).expect("our own");
    let told = sandbox.wick(&["store", "check", "-o", "json"]).ends_with(70);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!(told["wrong"].as_array().expect("a list").len(), 2);
    sandbox.wick(&["rerun", &runs[0]]).ends_with(0);
    sandbox.wick(&["store", "check", "--deep"]).ends_with(0).says(&["all are there"]);
}

#[test]
fn what_a_run_under_way_needs_stays() {
    let sandbox = Sandbox::with_pipeline(
        r#"
pipeline: slow
params: {note: one}
stages:
  same: {uses: command, with: {run: "echo same > ${outputs.out}", outputs: {out: file}}}
  own:
    uses: command
    inputs: {same: same.out}
    with: {run: "echo ${params.note} > ${outputs.out}", outputs: {out: file}}
  wait:
    uses: command
    inputs: {own: own.out}
    with:
      run: |
        mkfifo ${params.note}.go; echo > ${params.note}.waits; read x < ${params.note}.go
        echo done > ${outputs.out}
      outputs: {out: file}
  last:
    uses: command
    after: [wait]
    inputs: {same: same.out, own: own.out}
    with: {run: "cat ${inputs.same} ${inputs.own} > ${outputs.out}", outputs: {out: file}}
"#,
    );
    let begin = |note: &str| {
        let param = format!("note={note}");
        let child = sandbox.spawn(&["run", "pipeline.yaml", "-p", &param]);
        wait_until(|| sandbox.has(&format!("{note}.waits")));
        child
    };
    let end = |note: &str, child| {
        fs::write(sandbox.path().join(format!("{note}.go")), "\n").expect("read");
        ended(child, &["run"]).ends_with(0);
    };
    // The first run goes, and the second, which is under way, has taken an output of it.
    let first = begin("first");
    end("first", first);
    let second = begin("second");
    let runs = sandbox.runs();
    sandbox.wick(&["delete", &runs[1]]).ends_with(0);
    let before = artifacts(&sandbox);
    let words = ["gc", "--grace", "0s", "--yes"];
    let told = ["removed: 0 runs", "0 artifacts"];
    (0..3).for_each(|_| drop(sandbox.wick(&words).ends_with(0).says(&told)));
    assert_eq!(artifacts(&sandbox), before);
    end("second", second);
    sandbox.wick(&words).ends_with(0).says(&["removed: 0 runs"]);
    sandbox.wick(&["store", "check", "--deep"]).ends_with(0).says(&["all are there"]);
    // When it is over, and not wanted, both go.
    sandbox.wick(&["delete", &runs[0]]).ends_with(0);
    sandbox.wick(&words).ends_with(0).says(&["removed: 2 runs"]);
    assert!(artifacts(&sandbox).is_empty());
}

#[test]
fn files_that_are_missing_or_in_the_way_are_no_obstacle() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    let runs = runs(&sandbox, 3);
    sandbox.wick(&["delete", &runs[1], &runs[2]]).ends_with(0);
    // Of what goes a part is gone, of what stays too; a file lies where a shelf might be.
    let content = |path: &PathBuf| fs::read_to_string(path).expect("readable");
    for path in artifacts(&sandbox) {
        if ["2\n", "1\n"].contains(&content(&path).as_str()) {
            fs::remove_file(path).expect("our own");
        }
    }
    fs::remove_dir_all(sandbox.path().join(".wick/runs").join(&runs[1])).expect("our own");
    let free = ('0'..='9').map(|digit| format!(".wick/artifacts/{digit}f"));
    let free = free.into_iter().find(|path| !sandbox.has(path)).expect("a free name");
    sandbox.write(&free, "in the way");
    sandbox.wick(&["gc", "--grace", "0s", "--yes"]).ends_with(0).says(&["removed: 2 runs"]);
    assert_eq!(artifacts(&sandbox).iter().map(content).collect::<Vec<_>>(), ["same\n"]);
    assert!(sandbox.has(&free));
    // What the run that stays lacks is told, and made again.
    sandbox.wick(&["store", "check"]).ends_with(70).says(&["1 missing or damaged"]);
    sandbox.wick(&["rerun", &runs[0]]).ends_with(0);
    sandbox.wick(&["store", "check", "--deep"]).ends_with(0).says(&["all are there"]);
}

#[test]
fn what_was_set_aside_goes_when_it_is_old() {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    runs(&sandbox, 1);
    let path = artifacts(&sandbox).into_iter().next().expect("made");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our own");
    fs::write(&path, "other bytes\n").expect("changed");
    sandbox.wick(&["store", "check", "--deep"]).ends_with(70).says(&["is damaged"]);
    let aside = || {
        let folder = sandbox.path().join(".wick/artifacts/quarantine");
        fs::read_dir(folder).expect("a folder").count()
    };
    sandbox.wick(&["gc", "--yes"]).ends_with(0);
    assert_eq!(aside(), 1, "somebody may want to look at it");
    let told = sandbox.json(&["gc", "--quarantine", "0s", "-o", "json"]);
    assert_eq!(
        (&told["quarantined"]["count"], &told["quarantined"]["bytes"]),
        (&1.into(), &12.into())
    );
    assert_eq!(aside(), 1, "nothing goes before it is asked for");
    sandbox
        .wick(&["gc", "--quarantine", "0s", "--yes"])
        .ends_with(0)
        .says(&["1 artifact of 12 B that were set aside as damaged"]);
    assert_eq!(aside(), 0);
}
