//! Another program holds the store: for seconds, which nobody notices, or for ever, which is said
//! plainly.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::shim::{Faults, Role};
use crate::sandbox::{Ran, Sandbox, ended, wait_until};

/// Longer than a commit, shorter than anybody's patience.
const SECONDS: Duration = Duration::from_secs(3);

/// How a program holds a store.
#[derive(Debug, Clone, Copy)]
enum Hold {
    /// It writes: others may read.
    Writes,
    /// It wants it for itself: nobody else may even read.
    Exclusively,
}

/// A program that holds a store, until this is dropped.
struct Holder {
    release: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Holder {
    fn of(store: &Path, hold: Hold) -> Self {
        let store = store.to_owned();
        let (release, released) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let mut options = SqliteConnectOptions::new()
                    .filename(&store)
                    .busy_timeout(Duration::from_secs(20));
                if matches!(hold, Hold::Exclusively) {
                    options = options.pragma("locking_mode", "exclusive");
                }
                let mut connection = options.connect().await.expect("the store opens");
                let begin = sqlx::raw_sql("BEGIN EXCLUSIVE; CREATE TABLE held (x)");
                begin.execute(&mut connection).await.expect("it holds");
                tell.send(()).expect("heard");
                // Until the other end is dropped.
                let _ = released.recv();
                sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.expect("it lets go");
                connection.close().await.expect("closed");
            });
        });
        told.recv().expect("it holds");
        Self { release: Some(release), thread: Some(thread) }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.release = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `gate` waits for the file `go`.
const GATED: &str = "
pipeline: gated
stages:
  first: {uses: command, with: {run: ['true']}}
  gate: {uses: command, after: [first], with: {run: 'touch begun; while ! test -e go; do sleep 0.02; done'}}
  last: {uses: command, after: [gate], with: {run: ['true']}}
";

fn gated() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with_pipeline(GATED);
    sandbox.write("wick.yaml", "");
    sandbox.wick(&["runs"]).ends_with(0);
    let store = sandbox.path().join(".wick/store.db");
    (sandbox, store)
}

fn has_succeeded(sandbox: &Sandbox, ran: Ran) {
    let ran = ran.ends_with(0);
    assert!(!ran.everything().contains("locked"), "{}", ran.everything());
    assert!(sandbox.states("@last").iter().all(|(_, state)| state == "succeeded"));
}

fn held_at_the_start(hold: Hold) {
    let (sandbox, store) = gated();
    sandbox.write("go", "");
    let holder = Holder::of(&store, hold);
    let mut engine = sandbox.spawn(&["run", "pipeline.yaml"]);
    std::thread::sleep(SECONDS);
    assert!(engine.try_wait().expect("asked").is_none(), "it waits");
    drop(holder);
    has_succeeded(&sandbox, ended(engine, &["run"]));
}

#[test]
fn a_store_that_is_written_to_at_the_start_is_waited_for() {
    held_at_the_start(Hold::Writes);
}

#[test]
fn a_store_that_is_held_exclusively_at_the_start_is_waited_for() {
    held_at_the_start(Hold::Exclusively);
}

#[test]
fn a_store_that_is_held_in_the_midst_is_waited_for() {
    let (sandbox, store) = gated();
    let engine = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("begun"));
    let holder = Holder::of(&store, Hold::Writes);
    sandbox.write("go", "");
    // Whoever only reads does not even wait.
    sandbox.wick(&["runs"]).ends_with(0).says(&["running"]);
    std::thread::sleep(SECONDS);
    assert_eq!(sandbox.states("@last")[2].1, "queued", "nothing can be recorded");
    drop(holder);
    has_succeeded(&sandbox, ended(engine, &["run"]));
}

/// The store is held from the last stage on, when only the end is left to be recorded.
#[test]
fn a_store_that_is_held_at_the_end_is_waited_for() {
    let (sandbox, store) = gated();
    let text = GATED.replace("last: {uses: command, after: [gate], with: {run: ['true']}}", "");
    sandbox.write("pipeline.yaml", &text);
    let engine = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("begun"));
    let holder = Holder::of(&store, Hold::Writes);
    sandbox.write("go", "");
    std::thread::sleep(SECONDS);
    drop(holder);
    has_succeeded(&sandbox, ended(engine, &["run"]));
}

/// Runs `wick`, to which waiting takes no time.
fn hastily(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let faults = Faults::under(&sandbox.path()).in_roles(&[Role::Engine, Role::Asker]).with_haste();
    let mut command = sandbox.command(arguments);
    faults.arm(&mut command);
    ended(sandbox.spawn_command(command), arguments)
}

/// Who holds the store: this very process.
fn is_named(ran: Ran) {
    let me = format!("process {}", std::process::id());
    let ran = ran.ends_with(75).says(&["is held by", &me, "hint:"]);
    assert!(!ran.everything().contains("database is locked"), "{}", ran.everything());
}

#[test]
fn a_store_that_is_held_for_ever_is_told_of() {
    let (sandbox, store) = gated();
    sandbox.write("go", "");
    let holder = Holder::of(&store, Hold::Writes);
    is_named(hastily(&sandbox, &["run", "pipeline.yaml"]));
    sandbox.wick(&["runs"]).ends_with(0);
    drop(holder);
    let holder = Holder::of(&store, Hold::Exclusively);
    is_named(hastily(&sandbox, &["run", "pipeline.yaml"]));
    is_named(hastily(&sandbox, &["runs"]));
    drop(holder);
    has_succeeded(&sandbox, sandbox.wick(&["run", "pipeline.yaml"]));
}

#[test]
fn a_run_that_cannot_record_any_more_ends_and_goes_on_later() {
    let (sandbox, store) = gated();
    let faults = Faults::under(&sandbox.path()).in_roles(&[Role::Engine]).with_haste();
    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
    faults.arm(&mut command);
    let engine = sandbox.spawn_command(command);
    wait_until(|| sandbox.has("begun"));
    let holder = Holder::of(&store, Hold::Writes);
    sandbox.write("go", "");
    let ran = ended(engine, &["run", "pipeline.yaml"]);
    is_named(ran.says(&["waiting for the store, which is held by"]));
    super::aftermath::assert_deserted(&sandbox.path());
    drop(holder);
    sandbox.wick(&["runs"]).ends_with(0).says(&["interrupted"]);
    has_succeeded(&sandbox, sandbox.wick(&["rerun"]));
}
