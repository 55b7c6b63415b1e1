//! Attempts that die, that will not die, and that leave others behind.

use std::path::Path;
use std::process::Child;

use rustix::process::Signal;
use wick_core::AttemptState;

use super::aftermath::{History, assert_deserted, inhabitants};
use super::mixed::{Subject, mend};
use super::random_kills::children_of;
use super::shim::{Fault, Faults, Role};
use crate::sandbox::{Sandbox, ended, send, wait_until};

#[test]
fn a_killed_worker_fails_its_attempt_and_nothing_else() {
    let sandbox = Subject::Small.sandbox();
    let faults = Faults::under(&sandbox.path())
        .in_roles(&[Role::Worker])
        .at_paths("dataset.json")
        .happens(Fault::Kill, 1, 1);
    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
    faults.arm(&mut command);
    let ran = ended(sandbox.spawn_command(command), &["run", "pipeline.yaml"]);
    ran.ends_with(1).says(&["stage rows failed", "signal 9", "wick rerun"]);
    let history = History::of(&sandbox.path()).expect("a run");
    assert_eq!(history.stages["rows"], AttemptState::Failed);
    assert_eq!(history.stages["sum"], AttemptState::Succeeded, "it needs nothing of rows");
    mend(&sandbox, Subject::Small, true);
}

#[test]
fn a_killed_worker_is_tried_again_where_the_pipeline_says_so() {
    let sandbox = Subject::Small.sandbox();
    let text = sandbox
        .read("pipeline.yaml")
        .replace("stages:", "defaults: {retry: {attempts: 2, backoff: 1ms}}\nstages:");
    sandbox.write("pipeline.yaml", &text);
    let faults = Faults::under(&sandbox.path())
        .in_roles(&[Role::Worker])
        .at_paths("dataset.json")
        .happens(Fault::Kill, 1, 1);
    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
    faults.arm(&mut command);
    ended(sandbox.spawn_command(command), &["run", "pipeline.yaml"]).ends_with(0);
    assert_eq!(faults.hits(), 1);
    let history = History::of(&sandbox.path()).expect("a run");
    history.check(&sandbox.path(), None, Subject::Small.undisturbed());
}

/// Starts the small pipeline, of which the first worker stops just before it says what it made;
/// returns when it stands still.
fn with_a_stopped_worker(sandbox: &Sandbox) -> (Child, Faults) {
    let faults = Faults::under(&sandbox.path())
        .in_roles(&[Role::Worker])
        .at_calls(&["write"])
        .at_paths("events.jsonl")
        .happens(Fault::Stop, 1, 1);
    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
    faults.arm(&mut command);
    let engine = sandbox.spawn_command(command);
    wait_until(|| faults.hits() == 1 && !stopped(&sandbox.path()).is_empty());
    (engine, faults)
}

/// The processes below `folder` that stand still.
fn stopped(folder: &Path) -> Vec<u32> {
    inhabitants(folder)
        .iter()
        .filter_map(|process| process.strip_prefix("/proc/")?.split(':').next()?.parse().ok())
        .filter(|pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| stat.contains(") T "))
        })
        .collect()
}

fn go_on(pids: &[u32]) {
    for pid in pids {
        assert!(send(*pid, Signal::CONT), "it is there");
    }
}

/// A worker that stands still is killed with its engine: it must not wake up and publish.
#[test]
fn a_worker_that_stands_still_does_not_outlive_a_killed_engine() {
    let sandbox = Subject::Small.sandbox();
    let (engine, _faults) = with_a_stopped_worker(&sandbox);
    send(engine.id(), Signal::KILL);
    ended(engine, &["run", "pipeline.yaml"]);
    mend(&sandbox, Subject::Small, true);
}

/// What a worker has told is lost before the engine read it: then it has told nothing, and its
/// stage is not published on the strength of half a story.
#[test]
fn a_worker_whose_report_was_cut_short_publishes_nothing() {
    let sandbox = Subject::Small.sandbox();
    let faults = Faults::under(&sandbox.path())
        .in_roles(&[Role::Worker])
        .at_calls(&["write"])
        .at_paths("rows.1/events.jsonl")
        // The outputs are told; that all went well is not.
        .happens(Fault::Stop, 2, 1);
    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
    faults.arm(&mut command);
    let engine = sandbox.spawn_command(command);
    wait_until(|| !stopped(&sandbox.path()).is_empty());
    let attempt = sandbox.path().join(format!(".wick/runs/{}/rows.1", sandbox.runs()[0]));
    let events = attempt.join("events.jsonl");
    let length = std::fs::metadata(&events).expect("events").len();
    let file = std::fs::File::options().write(true).open(&events).expect("opened");
    file.set_len(length / 2).expect("cut");
    go_on(&stopped(&sandbox.path()));
    let ran = ended(engine, &["run", "pipeline.yaml"]);
    // Whether the engine had read the whole report by then is its luck.
    assert!(matches!(ran.code, 0 | 1), "{}", ran.everything());
    mend(&sandbox, Subject::Small, true);
}

/// A program that takes no notice of SIGTERM.
const DEAF: &str = "trap '' TERM INT HUP; touch begun; while :; do sleep 0.05; done";

#[test]
fn a_program_that_ignores_sigterm_is_killed() {
    let sandbox = Sandbox::with_pipeline(&format!(
        "pipeline: deaf\nstages:\n  deaf: {{uses: command, with: {{run: \"{DEAF}\"}}}}\n"
    ));
    let engine = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("begun"));
    send(engine.id(), Signal::TERM);
    ended(engine, &["run", "pipeline.yaml"]).ends_with(130);
    assert_deserted(&sandbox.path());
    assert_eq!(sandbox.states("@last")[0].1, "cancelled");
}

#[test]
fn a_program_that_ignores_its_timeout_is_killed() {
    let sandbox = Sandbox::with_pipeline(&format!(
        "pipeline: deaf\nstages:\n  deaf: {{uses: command, timeout: 100ms, with: {{run: \"{DEAF}\"}}}}\n"
    ));
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(1).says(&["deaf failed"]);
    assert_deserted(&sandbox.path());
}

/// A program that leaves a daemon behind: in a session of its own, without the environment that
/// would tell whose it is, its parent gone.
const DAEMON: &str = "\
(env -i /usr/bin/setsid sh -c 'echo $$ > daemon; exec sleep 1000' </dev/null >/dev/null 2>&1 &)
while ! test -s daemon; do sleep 0.01; done
touch begun
";

fn daemon_of(sandbox: &Sandbox) -> u32 {
    sandbox.read("daemon").trim().parse().expect("a pid")
}

fn lives(pid: u32) -> bool {
    // A zombie has ended; its parent has not looked yet.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

#[test]
fn a_daemon_does_not_outlive_its_run() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: haunted\nstages:\n  daemon: {uses: command, with: {run: [sh, daemon.sh]}}\n",
    );
    sandbox.write("daemon.sh", DAEMON);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    assert!(!lives(daemon_of(&sandbox)));
    assert_deserted(&sandbox.path());
}

#[test]
fn a_daemon_does_not_outlive_a_killed_engine() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: haunted\nstages:\n  daemon: {uses: command, with: {run: [sh, daemon.sh]}}\n",
    );
    sandbox.write("daemon.sh", &format!("{DAEMON}sleep 1000\n"));
    let engine = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("begun"));
    send(engine.id(), Signal::KILL);
    ended(engine, &["run", "pipeline.yaml"]);
    assert_deserted(&sandbox.path());
    wait_until(|| !lives(daemon_of(&sandbox)));
}

/// Engine and supervisor die together, so nobody is left to end the attempt's descendants: the
/// next engine does it before it goes on.
#[test]
fn orphans_end_before_their_run_goes_on() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: orphan\nstages:\n  orphan: {uses: command, with: {run: [sh, orphan.sh]}}\n",
    );
    // The second time it finds out whether the first one's child still writes.
    sandbox.write(
        "orphan.sh",
        "test -e begun && exit 0\n(while :; do echo tick >> ticks; sleep 0.02; done) &\n\
         touch begun; wait\n",
    );
    let engine = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("begun") && sandbox.has("ticks"));
    let children = children_of(engine.id());
    let [supervisor] = children.as_slice() else { panic!("one supervisor: {children:?}") };
    // First the engine cannot see what happens, then the supervisor cannot act, then both die.
    for (pid, signal) in [
        (engine.id(), Signal::STOP),
        (*supervisor, Signal::STOP),
        (engine.id(), Signal::KILL),
        (*supervisor, Signal::KILL),
    ] {
        assert!(send(pid, signal), "it is there");
    }
    ended(engine, &["run", "pipeline.yaml"]);
    assert!(!inhabitants(&sandbox.path()).is_empty(), "the orphan lives: nobody could end it");
    sandbox.wick(&["rerun"]).ends_with(0);
    assert_deserted(&sandbox.path());
}
