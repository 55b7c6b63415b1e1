//! Ctrl-C: once drains, twice stops; `wick cancel` stops from elsewhere; the run is picked up
//! afterwards.

use std::process::Child;
use std::time::Duration;

use rustix::process::Signal;

use crate::sandbox::{Sandbox, ended, send, wait_until};

const RUN: [&str; 2] = ["run", "pipeline.yaml"];

/// `slow` says that it has begun, and ends when the file `go` exists.
const SLOW: &str = r#"
pipeline: slow
stages:
  slow:
    uses: command
    with: {run: 'touch begun; while ! test -e go; do sleep 0.05; done'}
  next:
    uses: command
    after: [slow]
    with: {run: 'true'}
"#;

fn start(sandbox: &Sandbox) -> Child {
    let child = sandbox.spawn(&RUN);
    wait_until(|| sandbox.has("begun"));
    child
}

#[test]
fn one_interrupt_lets_running_stages_end() {
    let sandbox = Sandbox::with_pipeline(SLOW);
    let child = start(&sandbox);
    send(child.id(), Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    sandbox.write("go", "");
    ended(child, &RUN).ends_with(130).says(&["Ctrl-C again", "wick rerun"]);
    assert_eq!(sandbox.states("@last")[0].1, "succeeded");
    assert_eq!(sandbox.states("@last")[1].1, "cancelled");
    sandbox.wick(&["rerun"]).ends_with(0);
    assert_eq!(sandbox.states("@last")[1].1, "succeeded");
}

#[test]
fn a_second_interrupt_stops_them() {
    let sandbox = Sandbox::with_pipeline(SLOW);
    let child = start(&sandbox);
    send(child.id(), Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    send(child.id(), Signal::INT);
    ended(child, &RUN).ends_with(130).says(&["stopping"]);
    assert_eq!(sandbox.states("@last")[0].1, "cancelled");
    sandbox.write("go", "");
    sandbox.wick(&["rerun"]).ends_with(0);
}

#[test]
fn a_killed_engine_leaves_a_run_that_goes_on() {
    let sandbox = Sandbox::with_pipeline(SLOW);
    let child = start(&sandbox);
    send(child.id(), Signal::KILL);
    ended(child, &RUN);
    sandbox.write("go", "");
    sandbox.wick(&["runs"]).ends_with(0).says(&["interrupted"]);
    sandbox.wick(&["rerun"]).ends_with(0).says(&["goes on"]);
}

#[test]
fn another_terminal_cancels_a_run() {
    let sandbox = Sandbox::with_pipeline(SLOW);
    sandbox.wick(&["cancel"]).ends_with(2).says(&["there is no project"]);
    let child = start(&sandbox);
    let cancelled = sandbox.wick(&["cancel"]).ends_with(0);
    cancelled.says(&["stopping run", "is cancelled", "2 cancelled", "wick rerun"]);
    ended(child, &["run", "pipeline.yaml"]).ends_with(130);
    assert_eq!(sandbox.states("@last")[0].1, "cancelled");
    // What is over needs no cancelling, and is said to be.
    sandbox.wick(&["cancel", "@last"]).ends_with(0).says(&["does not go on: it is cancelled"]);
    let told = sandbox.json(&["cancel", "@last", "-o", "json"]);
    assert_eq!(told["cancelled"], false);
    sandbox.wick(&["cancel"]).ends_with(2).says(&["no run goes on"]);
    sandbox.wick(&["cancel", "nope"]).ends_with(2).says(&["no run is called `nope`"]);
    sandbox.write("go", "");
    sandbox.wick(&["rerun"]).ends_with(0);
}

#[test]
fn a_run_whose_engine_died_needs_no_cancelling() {
    let sandbox = Sandbox::with_pipeline(SLOW);
    let child = start(&sandbox);
    send(child.id(), Signal::KILL);
    ended(child, &["run", "pipeline.yaml"]);
    let told = sandbox.wick(&["cancel", "@last"]).ends_with(0);
    told.says(&["it is interrupted", "wick rerun"]);
}
