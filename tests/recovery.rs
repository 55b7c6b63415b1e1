//! `kill -9` of `wick` in the middle of a fan: nothing that finished is lost or run again, no
//! process is left, and `wick rerun` needs no flag.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use wick_core::{AttemptState, RunId, RunState};
use wick_store::{AttemptRecord, StageRecord};

const WIDTH: usize = 300;

fn wick(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wick"));
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A fan of stages that each leave a mark and a short-lived child, and a join.
fn write_project(folder: &Path) {
    let mut text = String::from("pipeline: fan\nstages:\n");
    let mut all = Vec::new();
    for place in 0..WIDTH {
        let _ = writeln!(text, "  s{place}: {{uses: command, with: {{run: [sh, work.sh]}}}}");
        all.push(format!("s{place}"));
    }
    let after = all.join(", ");
    let _ =
        writeln!(text, "  join: {{uses: command, after: [{after}], with: {{run: [\"true\"]}}}}");
    std::fs::create_dir_all(folder.join(".wick")).expect("a project");
    std::fs::write(folder.join("fan.yaml"), text).expect("written");
    let script = "echo $WICK_STAGE >> started\nsleep 0.01 & wait $!\n";
    std::fs::write(folder.join("work.sh"), script).expect("written");
}

/// The stages and attempts of the last run.
fn history(folder: &Path) -> (RunId, RunState, Vec<StageRecord>, Vec<AttemptRecord>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let location = folder.join(".wick/store.db");
        let store = wick_store::open(location.to_str().expect("text")).await.expect("a store");
        let run = store.find_runs("@last").await.expect("asked").remove(0);
        let record = store.run(&run).await.expect("asked").expect("the run");
        let stages = store.stages(&run).await.expect("stages");
        let attempts = store.attempts(&run).await.expect("attempts");
        store.close().await;
        (run, record.state, stages, attempts)
    })
}

fn marks(folder: &Path) -> BTreeMap<String, usize> {
    let mut marks = BTreeMap::new();
    let text = std::fs::read_to_string(folder.join("started")).unwrap_or_default();
    for stage in text.lines() {
        *marks.entry(stage.to_owned()).or_default() += 1;
    }
    marks
}

/// Whether, within a moment, no process works in `folder` any more.
fn is_deserted(folder: &Path) -> bool {
    (0..100).any(|_| {
        let works_there = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder)
        };
        let found = std::fs::read_dir("/proc").expect("proc").flatten().any(works_there);
        if found {
            std::thread::sleep(Duration::from_millis(20));
        }
        !found
    })
}

#[test]
fn a_killed_engine_loses_no_finished_stage_and_repeats_none() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = temporary.path().canonicalize().expect("its name");
    write_project(&folder);
    let mut engine = wick(&folder).args(["run", "fan.yaml"]).spawn().expect("wick starts");
    while marks(&folder).len() < WIDTH / 3 {
        assert!(engine.try_wait().expect("asked").is_none(), "the run ended too soon");
        std::thread::sleep(Duration::from_millis(2));
    }
    engine.kill().expect("killed");
    engine.wait().expect("waited for");
    assert!(is_deserted(&folder), "processes were left behind");

    let (killed, _, before, _) = history(&folder);
    let finished: Vec<&StageRecord> =
        before.iter().filter(|stage| stage.state == AttemptState::Succeeded).collect();
    assert!(finished.len() > WIDTH / 6, "only {} stages were recorded", finished.len());
    assert!(finished.len() < WIDTH, "the fan was over");

    let rerun = wick(&folder).arg("rerun").status().expect("wick starts");
    assert!(rerun.success(), "the rerun ended with {rerun}");
    let (run, state, after, attempts) = history(&folder);
    assert_eq!((run, state), (killed, RunState::Succeeded));
    assert!(after.iter().all(|stage| stage.state == AttemptState::Succeeded));
    let marks = marks(&folder);
    for stage in finished {
        assert_eq!(marks.get(stage.stage.as_str()), Some(&1), "{} ran twice", stage.stage);
    }
    for place in 0..WIDTH {
        let name = format!("s{place}");
        let of_stage = attempts.iter().filter(|attempt| attempt.stage == name.as_str());
        let (good, others): (Vec<_>, Vec<_>) =
            of_stage.partition(|attempt| attempt.state == AttemptState::Succeeded);
        assert_eq!(good.len(), 1, "{name} is published once");
        assert!(others.iter().all(|attempt| attempt.state == AttemptState::Lost), "{name}");
    }
}
