//! Several engines at once, and clocks that jump.

use rustix::process::Signal;

use super::aftermath::History;
use super::mixed::{Subject, mend};
use super::shim::{Faults, Role};
use crate::sandbox::{Sandbox, ended, send, wait_until};

/// `gate` waits for the file `go`.
const GATED: &str = "
pipeline: gated
stages:
  gate:
    uses: command
    timeout: 10m
    with: {run: 'touch begun; while ! test -e go; do sleep 0.02; done'}
  last: {uses: command, after: [gate], with: {run: ['true']}}
";

fn gated() -> Sandbox {
    let sandbox = Sandbox::with_pipeline(GATED);
    sandbox.write("wick.yaml", "");
    sandbox
}

#[test]
fn a_second_engine_says_who_drives_the_run() {
    let sandbox = gated();
    let first = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("begun"));
    let pid = format!("process {}", first.id());
    let run = sandbox.runs().remove(0);
    sandbox.wick(&["rerun"]).ends_with(75).says(&["is driven by", &pid, " on ", "it began", &run]);
    sandbox.write("go", "");
    ended(first, &["run"]).ends_with(0);
    assert_eq!(sandbox.runs(), [run], "nothing else was begun");
}

#[test]
fn of_many_engines_that_take_up_a_run_one_gets_it() {
    let sandbox = gated();
    let first = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("begun"));
    send(first.id(), Signal::KILL);
    ended(first, &["run"]);
    std::fs::remove_file(sandbox.path().join("begun")).expect("removed");
    let mut engines: Vec<_> = (0..4).map(|_| sandbox.spawn(&["rerun"])).collect();
    wait_until(|| sandbox.has("begun"));
    // All but one end by themselves; then the one that drives may go on.
    wait_until(|| engines.iter_mut().map(engine_runs).filter(|runs| *runs).count() == 1);
    sandbox.write("go", "");
    let mut codes: Vec<i32> =
        engines.into_iter().map(|engine| ended(engine, &["rerun"]).code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 75, 75, 75]);
    assert_eq!(sandbox.runs().len(), 1);
    assert!(sandbox.states("@last").iter().all(|(_, state)| state == "succeeded"));
}

fn engine_runs(engine: &mut std::process::Child) -> bool {
    engine.try_wait().expect("asked").is_none()
}

#[test]
fn runs_of_one_pipeline_at_once_all_end_well() {
    let sandbox = Subject::Mixed.sandbox();
    let engines: Vec<_> = (0..3).map(|_| sandbox.spawn(&["run", "pipeline.yaml"])).collect();
    for engine in engines {
        ended(engine, &["run"]).ends_with(0);
    }
    let runs = sandbox.runs();
    assert_eq!(runs.len(), 3);
    mend(&sandbox, Subject::Mixed, true);
    let expected: Vec<String> = digests(&sandbox, &runs[0]);
    assert!(runs.iter().all(|run| digests(&sandbox, run) == expected), "the same artifacts");
}

fn digests(sandbox: &Sandbox, run: &str) -> Vec<String> {
    let artifacts = sandbox.json(&["artifacts", run, "-o", "json"]);
    let artifacts = artifacts["artifacts"].as_array().expect("artifacts").iter();
    artifacts.map(|artifact| artifact["digest"].as_str().expect("a digest").to_owned()).collect()
}

/// The wall clock of every `wick` jumps while the run is under way: an hour ahead, a day back.
#[test]
fn a_clock_that_jumps_ends_no_run() {
    for jump in [3600, -86_400] {
        let sandbox = gated();
        let faults = Faults::under(&sandbox.path()).in_roles(&[Role::Engine, Role::Asker]);
        let mut command = sandbox.command(&["run", "pipeline.yaml"]);
        faults.arm(&mut command);
        let engine = sandbox.spawn_command(command);
        wait_until(|| sandbox.has("begun"));
        faults.set_clock(jump);
        let ask = |arguments: &[&str]| {
            let mut command = sandbox.command(arguments);
            faults.arm(&mut command);
            ended(sandbox.spawn_command(command), arguments)
        };
        let ran = ask(&["runs"]).ends_with(0).says(&["running"]);
        assert!(!ran.everything().contains("interrupted"), "{}", ran.everything());
        ask(&["rerun"]).ends_with(75).says(&["is driven by"]);
        sandbox.write("go", "");
        ended(engine, &["run"]).ends_with(0);
        let shown = ask(&["show"]).ends_with(0).says(&["succeeded"]).everything();
        assert!(!shown.contains("-1 ") && !shown.contains("24 h"), "{shown}");
        let history = History::of(&sandbox.path()).expect("a run");
        assert!(history.published.values().all(|times| *times == 1));
        // And jumps once more between two commands: the run that comes now is the last one.
        faults.set_clock(-2 * jump);
        ask(&["run", "pipeline.yaml"]).ends_with(0);
        assert_eq!(sandbox.runs().len(), 2);
        let last = History::of(&sandbox.path()).expect("a run");
        assert_ne!(last.run, history.run, "the order of runs is not the clock's");
    }
}

/// An engine that stood still for an hour, as on a machine that slept, is not taken for dead.
#[test]
fn an_engine_that_stands_still_is_not_robbed_of_its_run() {
    let sandbox = gated();
    let faults = Faults::under(&sandbox.path()).in_roles(&[Role::Engine, Role::Asker]);
    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
    faults.arm(&mut command);
    let engine = sandbox.spawn_command(command);
    wait_until(|| sandbox.has("begun"));
    send(engine.id(), Signal::STOP);
    faults.set_clock(3600);
    for (arguments, code, word) in [(["runs"], 0, "running"), (["rerun"], 75, "is driven by")] {
        let mut command = sandbox.command(&arguments);
        faults.arm(&mut command);
        ended(sandbox.spawn_command(command), &arguments).ends_with(code).says(&[word]);
    }
    sandbox.write("go", "");
    send(engine.id(), Signal::CONT);
    ended(engine, &["run"]).ends_with(0);
    assert_eq!(sandbox.runs().len(), 1);
}

/// An engine of this machine that is dead is known to be, whatever the clock says.
#[test]
fn a_clock_set_back_hides_no_dead_engine() {
    let sandbox = gated();
    let faults = Faults::under(&sandbox.path()).in_roles(&[Role::Engine, Role::Asker]);
    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
    faults.arm(&mut command);
    let engine = sandbox.spawn_command(command);
    wait_until(|| sandbox.has("begun"));
    send(engine.id(), Signal::KILL);
    ended(engine, &["run"]);
    faults.set_clock(-86_400);
    sandbox.write("go", "");
    for arguments in [&["runs"][..], &["rerun"]] {
        let mut command = sandbox.command(arguments);
        faults.arm(&mut command);
        ended(sandbox.spawn_command(command), arguments).ends_with(0);
    }
    assert!(sandbox.states("@last").iter().all(|(_, state)| state == "succeeded"));
}
