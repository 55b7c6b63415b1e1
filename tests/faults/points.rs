//! `kill -9` at every write to the store, and at every rename, sync, link and removal on the way
//! of bytes into the artifact store: each point in turn.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use super::aftermath::{History, assert_deserted};
use super::mixed::{Subject, mend};
use super::shim::{Fault, Faults, Role};
use crate::sandbox::Sandbox;

/// How many points are tried at a time.
const AT_A_TIME: usize = 2;

/// Runs `subject` once to count the points at which `role` can be killed, then kills it at each.
fn at_each_point(sandbox: impl Fn() -> Sandbox + Sync, role: Role, subject: Subject) -> i64 {
    subject.undisturbed();
    let counted = sandbox();
    let counting = Faults::under(&counted.path()).in_roles(&[role]);
    let mut command = counted.command(&["run", "pipeline.yaml"]);
    counting.arm(&mut command);
    assert!(command.output().expect("wick starts").status.success());
    let points = counting.calls();
    let (next, killed) = (AtomicI64::new(1), AtomicI64::new(0));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let point = next.fetch_add(1, Ordering::Relaxed);
                    if point > points {
                        return;
                    }
                    let sandbox = sandbox();
                    let faults = Faults::under(&sandbox.path()).in_roles(&[role]).happens(
                        Fault::Kill,
                        point,
                        1,
                    );
                    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        let mut command = sandbox.command(&["run", "pipeline.yaml"]);
                        faults.arm(&mut command);
                        command.output().expect("wick starts");
                        mend(&sandbox, subject);
                    }));
                    killed.fetch_add(faults.hits(), Ordering::Relaxed);
                    if tried.is_err() {
                        let trace = faults.trace();
                        let last = trace.lines().last().unwrap_or_default();
                        failed.lock().expect("no panic").push(format!("{point}: {last}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "killed {role:?} at these of {points} points in vain: {failed:#?}");
    // Commits come together differently in each run, so the last points may not be reached.
    let killed = killed.into_inner();
    assert!(killed > points * 3 / 4, "only {killed} of {points} kills happened");
    points
}

/// A sandbox in which the store was made already.
fn with_store() -> Sandbox {
    let sandbox = Subject::Small.sandbox();
    sandbox.wick(&["runs"]).ends_with(0);
    sandbox
}

#[test]
fn the_engine_is_killed_at_every_write() {
    let points = at_each_point(with_store, Role::Engine, Subject::Small);
    assert!(points > 50, "only {points} points");
}

#[test]
fn a_worker_is_killed_at_every_write() {
    let points = at_each_point(with_store, Role::Worker, Subject::Small);
    assert!(points > 20, "only {points} points");
}

/// A store that is just being made, from the first byte on.
#[test]
fn the_engine_is_killed_while_it_makes_the_store() {
    let sandbox = || {
        let sandbox = Sandbox::with_pipeline(
            "pipeline: one\nstages: {one: {uses: command, with: {run: [\"true\"]}}}\n",
        );
        sandbox.write("wick.yaml", "");
        sandbox
    };
    let counted = sandbox();
    let counting = Faults::under(&counted.path()).in_roles(&[Role::Engine]);
    let mut command = counted.command(&["run", "pipeline.yaml"]);
    counting.arm(&mut command);
    assert!(command.output().expect("wick starts").status.success());
    let points = counting.calls();
    assert!(points > 50, "only {points} points");
    let next = AtomicI64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let point = next.fetch_add(1, Ordering::Relaxed);
                    if point > points {
                        return;
                    }
                    let sandbox = sandbox();
                    let faults = Faults::under(&sandbox.path()).in_roles(&[Role::Engine]).happens(
                        Fault::Kill,
                        point,
                        1,
                    );
                    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
                    faults.arm(&mut command);
                    command.output().expect("wick starts");
                    assert_deserted(&sandbox.path());
                    // Whatever was left of the store, the next command goes on from it.
                    let again = if History::of(&sandbox.path()).is_some() { 0 } else { 1 };
                    sandbox.wick(&["runs"]).ends_with(0);
                    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
                    assert_eq!(sandbox.runs().len(), 2 - again, "killed at {}", faults.trace());
                }
            });
        }
    });
}
