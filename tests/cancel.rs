//! Ctrl-C: once drains, twice stops; the run is picked up afterwards.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{Ran, Sandbox};

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
    let child = sandbox
        .command(&["run", "pipeline.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("wick starts");
    wait_until(|| sandbox.has("begun"));
    child
}

fn wait_until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn send(child: &Child, signal: &str) {
    let sent = std::process::Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .expect("kill starts");
    assert!(sent.success());
}

fn ended(child: Child) -> Ran {
    Ran::new(&["run", "pipeline.yaml"], child.wait_with_output().expect("wick ends"))
}

#[test]
fn one_interrupt_lets_running_stages_end() {
    let sandbox = Sandbox::with_pipeline(SLOW);
    let child = start(&sandbox);
    send(&child, "-INT");
    std::thread::sleep(Duration::from_millis(300));
    sandbox.write("go", "");
    ended(child).ends_with(130).says(&["Ctrl-C again", "wick rerun"]);
    assert_eq!(sandbox.states("@last")[0].1, "succeeded");
    assert_eq!(sandbox.states("@last")[1].1, "cancelled");
    sandbox.wick(&["rerun"]).ends_with(0);
    assert_eq!(sandbox.states("@last")[1].1, "succeeded");
}

#[test]
fn a_second_interrupt_stops_them() {
    let sandbox = Sandbox::with_pipeline(SLOW);
    let child = start(&sandbox);
    send(&child, "-INT");
    std::thread::sleep(Duration::from_millis(300));
    send(&child, "-INT");
    ended(child).ends_with(130).says(&["stopping"]);
    assert_eq!(sandbox.states("@last")[0].1, "cancelled");
    sandbox.write("go", "");
    sandbox.wick(&["rerun"]).ends_with(0);
}

#[test]
fn a_killed_engine_leaves_a_run_that_goes_on() {
    let sandbox = Sandbox::with_pipeline(SLOW);
    let child = start(&sandbox);
    send(&child, "-KILL");
    ended(child);
    sandbox.write("go", "");
    sandbox.wick(&["runs"]).ends_with(0).says(&["interrupted"]);
    sandbox.wick(&["rerun"]).ends_with(0).says(&["goes on"]);
}
