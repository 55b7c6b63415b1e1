//! Named slots and mutexes are shared by all runs of a project.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Child;

use rustix::process::Signal;

use crate::faults::random_kills::children_of;
use crate::sandbox::{Sandbox, send, wait_until};

/// A project in which two pipelines want the same mutex; the first keeps it until there is a file
/// `go`, the second also has a stage that wants nothing.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: first\nstages:\n  keep:\n    uses: command\n    resources: {mutex: [scale]}\n    \
         with: {run: 'touch kept; while ! test -e go; do sleep 0.02; done'}\n",
    );
    sandbox.write(
        "second.yaml",
        "pipeline: second\nstages:\n  want:\n    uses: command\n    \
         resources: {mutex: [scale], slots: {database: 1}}\n    with: {run: 'touch wanted'}\n  \
         other: {uses: command, with: {run: 'touch other'}}\n",
    );
    sandbox.write("wick.yaml", "slots: {named: {database: 2}}\n");
    sandbox
}

/// Starts the second pipeline and returns once it waits; its words are read to their end.
fn waiting(sandbox: &Sandbox, first: &str) -> (Child, std::thread::JoinHandle<String>) {
    let mut child = sandbox.spawn(&["run", "second.yaml", "--jobs", "1"]);
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let expect = format!("want waits for mutex scale, held by run {first}");
    loop {
        let line = lines.next().expect("it waits before it ends").expect("text");
        if line == expect {
            break;
        }
    }
    wait_until(|| sandbox.has("other"));
    assert!(!sandbox.has("wanted"), "the machine is free, the mutex is not");
    let rest = lines.map_while(Result::ok).map(|line| line + "\n");
    (child, std::thread::spawn(move || rest.collect()))
}

fn first(sandbox: &Sandbox) -> (Child, String) {
    let child = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("kept"));
    (child, sandbox.runs()[0].clone())
}

#[test]
fn a_mutex_is_held_by_one_of_all_runs() {
    let sandbox = sandbox();
    let (mut one, run) = first(&sandbox);
    let (mut two, words) = waiting(&sandbox, &run);
    sandbox.write("go", "");
    assert_eq!(one.wait().expect("it ends").code(), Some(0));
    assert_eq!(two.wait().expect("it ends").code(), Some(0));
    let words = words.join().expect("its words");
    assert!(!words.contains("waits for"), "told once\n{words}");
    assert!(sandbox.has("wanted"));
}

#[test]
fn what_a_dead_engine_held_is_free() {
    let sandbox = sandbox();
    let (mut one, run) = first(&sandbox);
    let (mut two, _) = waiting(&sandbox, &run);
    send(one.id(), Signal::KILL);
    one.wait().expect("it is dead");
    assert_eq!(two.wait().expect("it ends").code(), Some(0));
    assert!(sandbox.has("wanted"));
}

/// The lock of a dead engine is free at once. What it had started lives until its supervisor has
/// ended it; here that is held up.
#[test]
fn what_a_dead_engine_held_is_free_when_its_processes_have_ended() {
    let sandbox = sandbox();
    let (mut one, run) = first(&sandbox);
    let supervisors = children_of(one.id());
    let [supervisor] = supervisors.as_slice() else { panic!("one supervisor: {supervisors:?}") };
    let attempts = children_of(*supervisor);
    assert!(!attempts.is_empty(), "the stage runs");
    send(*supervisor, Signal::STOP);
    send(one.id(), Signal::KILL);
    one.wait().expect("it is dead");
    // It says that it waits, and has not begun.
    let (mut two, _) = waiting(&sandbox, &run);
    let lives = |pid: &u32| Path::new(&format!("/proc/{pid}/exe")).exists();
    send(*supervisor, Signal::CONT);
    assert_eq!(two.wait().expect("it ends").code(), Some(0));
    assert!(sandbox.has("wanted"));
    assert!(!attempts.iter().any(lives));
}

#[test]
fn a_run_that_waits_can_be_cancelled() {
    let sandbox = sandbox();
    let (mut one, run) = first(&sandbox);
    let (mut two, _) = waiting(&sandbox, &run);
    send(two.id(), Signal::INT);
    assert_eq!(two.wait().expect("it ends").code(), Some(130));
    // It stands in line no more.
    sandbox.write("go", "");
    assert_eq!(one.wait().expect("it ends").code(), Some(0));
    sandbox.wick(&["rerun", "@last"]).ends_with(0);
    assert!(sandbox.has("wanted"));
}
