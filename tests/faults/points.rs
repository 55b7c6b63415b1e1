//! `kill -9` at every write to the store, and at every rename, sync, link and removal on the way
//! of bytes into the artifact store: each point in turn.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use super::aftermath::{History, assert_deserted};
use super::mixed::{Subject, mend};
use super::shim::{Fault, Faults, Role};
use crate::sandbox::Sandbox;

/// How many points are tried at a time.
const AT_A_TIME: usize = 3;

/// After how many runs in a row that came to their end there are no more points.
const MISSED: i64 = 6;

/// What is killed at each of its points.
struct Killed<'a, S> {
    /// Makes a folder as it is before the command.
    sandbox: S,
    /// What is typed.
    typed: &'a [&'a str],
    /// Which of its processes are killed.
    role: Role,
    /// At which calls; all that write, if it is empty.
    calls: &'a [&'a str],
}

impl<S> Killed<'_, S> {
    /// The command, to be killed at `point`.
    fn command(&self, sandbox: &Sandbox, fault: Fault, point: i64) -> (Command, Faults) {
        let mut faults = Faults::under(&sandbox.path()).in_roles(&[self.role]);
        if !self.calls.is_empty() {
            faults = faults.at_calls(self.calls);
        }
        let faults = faults.happens(fault, point, 1);
        let mut command = sandbox.command(self.typed);
        faults.arm(&mut command);
        (command, faults)
    }
}

impl<S: Fn() -> Sandbox + Sync> Killed<'_, S> {
    /// Runs once for each point, killed there, and hands what is left to `check`, until the
    /// command has ended before its point several times in a row. Commits come together
    /// differently in each run, so a count made beforehand would not hold. Returns how many kills
    /// happened.
    fn at_each_point(&self, check: impl Fn(&Sandbox, i64) + Sync) -> i64 {
        let (next, killed, missed) = (AtomicI64::new(1), AtomicI64::new(0), AtomicI64::new(0));
        let failed = Mutex::new(Vec::new());
        let try_points = || {
            while missed.load(Ordering::Relaxed) < MISSED {
                let point = next.fetch_add(1, Ordering::Relaxed);
                let sandbox = (self.sandbox)();
                let (mut command, faults) = self.command(&sandbox, Fault::Kill, point);
                let tried = catch_unwind(AssertUnwindSafe(|| {
                    command.output().expect("wick starts");
                    check(&sandbox, point);
                }));
                let hits = faults.hits();
                killed.fetch_add(hits, Ordering::Relaxed);
                if hits == 0 {
                    missed.fetch_add(1, Ordering::Relaxed);
                } else {
                    missed.store(0, Ordering::Relaxed);
                }
                if tried.is_err() {
                    let trace = faults.trace();
                    let last = trace.lines().last().unwrap_or_default();
                    failed.lock().expect("no panic").push(format!("{point}: {last}"));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(try_points);
            }
        });
        let failed = failed.into_inner().expect("no panic");
        let points = next.into_inner() - 1;
        assert!(failed.is_empty(), "of {points} points, not borne at these: {failed:#?}");
        killed.into_inner()
    }
}

/// A sandbox in which the store was made already.
fn with_store() -> Sandbox {
    let sandbox = Subject::Small.sandbox();
    sandbox.wick(&["runs"]).ends_with(0);
    sandbox
}

#[test]
fn the_engine_is_killed_at_every_write() {
    Subject::Small.undisturbed();
    let typed = &["run", "pipeline.yaml"];
    let engine = Killed { sandbox: with_store, typed, role: Role::Engine, calls: &[] };
    let points = engine.at_each_point(|sandbox, point| {
        mend(sandbox, Subject::Small, point % 4 == 0);
    });
    assert!(points > 50, "only {points} points");
}

#[test]
fn a_worker_is_killed_at_every_write() {
    Subject::Small.undisturbed();
    let typed = &["run", "pipeline.yaml"];
    let worker = Killed { sandbox: with_store, typed, role: Role::Worker, calls: &[] };
    let points = worker.at_each_point(|sandbox, point| {
        mend(sandbox, Subject::Small, point % 4 == 0);
    });
    assert!(points > 20, "only {points} points");
}

/// The engine that takes up what a killed one left is killed, too.
#[test]
fn a_rerun_is_killed_at_every_flush_rename_and_removal() {
    Subject::Small.undisturbed();
    let sandbox = || {
        let sandbox = with_store();
        let typed = &["run", "pipeline.yaml"];
        let first = Killed { sandbox: || (), typed, role: Role::Engine, calls: &["rename"] };
        let (mut command, _faults) = first.command(&sandbox, Fault::Kill, 2);
        command.output().expect("wick starts");
        assert_deserted(&sandbox.path());
        sandbox
    };
    let calls = &["sync", "rename", "remove", "truncate", "link"];
    let rerun = Killed { sandbox, typed: &["rerun"], role: Role::Engine, calls };
    let points = rerun.at_each_point(|sandbox, point| {
        mend(sandbox, Subject::Small, point % 4 == 0);
    });
    assert!(points > 10, "only {points} points");
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
    let typed = &["run", "pipeline.yaml"];
    let engine = Killed { sandbox, typed, role: Role::Engine, calls: &[] };
    let points = engine.at_each_point(|sandbox, _| {
        assert_deserted(&sandbox.path());
        // Whatever is left of the store, the next command goes on from it.
        let runs = History::of(&sandbox.path()).iter().count();
        sandbox.wick(&["runs"]).ends_with(0);
        sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
        assert_eq!(sandbox.runs().len(), runs + 1);
    });
    assert!(points > 50, "only {points} points");
}

/// A file, and a folder in a folder, of which the first is the same in all runs.
const MADE: &str = r#"
pipeline: made
params: {note: one}
stages:
  same: {uses: command, with: {run: "echo same > ${outputs.out}", outputs: {out: file}}}
  own:
    uses: command
    inputs: {same: same.out}
    with:
      run: "mkdir -p ${outputs.out}/in && echo ${params.note} > ${outputs.out}/in/it"
      outputs: {out: folder}
"#;

/// Two runs, of which the second took an output of the first.
fn with_two_runs() -> Sandbox {
    let sandbox = Sandbox::with_pipeline(MADE);
    for note in ["note=one", "note=two"] {
        sandbox.wick(&["run", "pipeline.yaml", "-p", note]).ends_with(0);
    }
    sandbox
}

/// What lies in the folder of artifacts, in `tmp/` too, where an empty folder may be left for a
/// while: it may be one that another process has just made.
fn entries(sandbox: &Sandbox, folder: &str) -> usize {
    let names = |path: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let shelves = names(&sandbox.path().join(folder)).into_iter();
    // Who uses the folder is noted beside.
    let entries = shelves.filter(|shelf| !shelf.ends_with("users")).flat_map(|shelf| names(&shelf));
    entries.filter(|entry| !entry.is_dir() || !names(entry).is_empty()).count()
}

/// Whatever a `wick gc` has done until it died: nothing is wrong, and the next one does the rest.
#[test]
fn a_gc_is_killed_at_every_write() {
    let sandbox = || {
        let sandbox = with_two_runs();
        sandbox.wick(&["delete", &sandbox.runs()[0]]).ends_with(0);
        sandbox
    };
    let typed = &["gc", "--yes", "--grace", "0s"];
    let gc = Killed { sandbox, typed, role: Role::Keeper, calls: &[] };
    let points = gc.at_each_point(|sandbox, point| {
        sandbox.wick(&["store", "check", "--deep"]).ends_with(0).says(&["all are there"]);
        sandbox.wick(typed).ends_with(0);
        sandbox.wick(&["store", "check", "--deep"]).ends_with(0).says(&["read 2 artifacts"]);
        let runs = sandbox.runs();
        assert_eq!(runs.len(), 1);
        assert_eq!(entries(sandbox, ".wick/artifacts"), 2);
        let folders = std::fs::read_dir(sandbox.path().join(".wick/runs")).expect("runs");
        let folders: Vec<_> = folders.flatten().map(|folder| folder.file_name()).collect();
        assert_eq!(folders, [std::ffi::OsStr::new(&runs[0])]);
        assert!(!sandbox.has(".wick/gc-going"));
        if point % 4 == 0 {
            let again = ["run", "pipeline.yaml", "-p", "note=two"];
            sandbox.wick(&again).ends_with(0).says(&["1 succeeded, 1 cached"]);
        }
    });
    assert!(points > 20, "only {points} points");
}

/// A copy of a store goes on where it was killed, with the bytes of the artifacts.
#[test]
fn a_copy_is_killed_at_every_flush_rename_and_removal() {
    let typed = &["store", "copy", "--to", "other/.wick/store.db"];
    let calls = &["sync", "rename", "remove", "truncate", "link", "mkdir"];
    let copy = Killed { sandbox: with_two_runs, typed, role: Role::Keeper, calls };
    let points = copy.at_each_point(|sandbox, _| {
        sandbox.wick(typed).ends_with(0);
        let check = ["store", "check", "--deep", "--project", "other"];
        sandbox.wick(&check).ends_with(0).says(&["read 3 artifacts", "all are there"]);
        assert_eq!(entries(sandbox, "other/.wick/artifacts"), 3);
        let runs = sandbox.json(&["runs", "--project", "other", "-o", "json"]);
        assert_eq!(runs["runs"].as_array().map(Vec::len), Some(2));
    });
    assert!(points > 10, "only {points} points");
}
