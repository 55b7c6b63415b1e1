//! The worker: runs one attempt of a native kind in a process of its own (`wick worker`).
//!
//! It reads the attempt's `attempt.json`, runs the kind, puts what it made into the artifact
//! store, and reports every step in `events.jsonl`, which the engine follows. It knows no store
//! and no run but its own attempt; publishing is the engine's.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;
use wick_artifact::ArtifactStore;
use wick_core::{Failure, FailureCause, Output, Timestamp, WorkerEvent};
use wick_stage::context::ASSIGNMENT_VERSION;
use wick_stage::{Assignment, Context, EventSink, Registry, StageError, StageResult, layout};

use crate::identity;

/// Runs the attempt whose files lie in `folder`, and returns the exit code: 0 if it succeeded.
/// Meant to be all that its process does.
pub fn main(folder: &Path, registry: &Registry) -> ExitCode {
    // It was started through a link, whose name says nothing in a list of processes.
    let _ = rustix::thread::set_name(c"wick-worker");
    let mut sink = match FileSink::open(&folder.join(layout::WORKER_EVENTS)) {
        Ok(sink) => sink,
        Err(error) => {
            complain(&format!("cannot open the attempt's events in {}: {error}", folder.display()));
            return ExitCode::FAILURE;
        }
    };
    let last = match attempt(folder, registry, &mut sink) {
        Ok(()) => WorkerEvent::Succeeded,
        Err(failure) => {
            complain(&failure.message);
            WorkerEvent::Failed(failure)
        }
    };
    let succeeded = last == WorkerEvent::Succeeded;
    match sink.emit(last) {
        Ok(()) if succeeded => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("cannot report to the engine: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints to the attempt's log; that it cannot be printed is no reason to stop.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "error: {message}");
}

fn attempt(folder: &Path, registry: &Registry, sink: &mut FileSink) -> Result<(), Failure> {
    let assignment = read_assignment(folder).map_err(|error| error.to_failure())?;
    let kind = registry.get(assignment.kind.as_str()).ok_or_else(|| {
        StageError::internal(format!("this wick has no kind `{}`", assignment.kind)).to_failure()
    })?;
    let mut context = Context::new(&assignment, folder, sink);
    match catch_unwind(AssertUnwindSafe(|| kind.run(&assignment.config, &mut context))) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(error.to_failure()),
        Err(panic) => return Err(panicked(panic.as_ref())),
    }
    let mut meta = context.into_output_meta();
    let artifacts = ArtifactStore::open(&assignment.artifacts).map_err(|error| {
        StageError::new(FailureCause::Io, "cannot open the artifact store")
            .because(error)
            .to_failure()
    })?;
    for (port, output) in &assignment.outputs {
        let path = folder.join(layout::OUTPUTS).join(port.as_str());
        if !path.exists() {
            let message = format!("kind `{}` did not make its output `{port}`", assignment.kind);
            return Err(StageError::new(FailureCause::Output, message).to_failure());
        }
        let stored = artifacts.put(&path, output.port_type).map_err(|error| {
            StageError::new(FailureCause::Output, format!("cannot keep output `{port}`"))
                .because(error)
                .to_failure()
        })?;
        let output = Output {
            port: port.clone(),
            port_type: output.port_type,
            digest: stored.digest,
            bytes: stored.bytes,
            meta: meta.swap_remove(port).unwrap_or_else(|| Value::Object(Default::default())),
        };
        report(sink, WorkerEvent::Output(output)).map_err(|error| error.to_failure())?;
    }
    Ok(())
}

fn read_assignment(folder: &Path) -> StageResult<Assignment> {
    let path = folder.join(layout::ASSIGNMENT);
    let bytes = std::fs::read(&path)
        .map_err(|error| StageError::io(format!("cannot read {}", path.display()), error))?;
    let assignment: Assignment = serde_json::from_slice(&bytes).map_err(|error| {
        StageError::internal(format!("{} does not read as an attempt", path.display()))
            .because(error)
    })?;
    if assignment.version == ASSIGNMENT_VERSION {
        Ok(assignment)
    } else {
        let version = assignment.version;
        Err(StageError::internal(format!("the attempt is of version {version}, unknown here")))
    }
}

/// A panic of a kind, as a failure. Its message and place are in the log already: the standard
/// hook printed them.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned());
    StageError::internal(format!("the stage panicked: {message}"))
        .help("this is a defect of wick: please report it with the attempt's log")
        .to_failure()
}

fn report(sink: &mut FileSink, event: WorkerEvent) -> StageResult {
    sink.emit(event).map_err(|error| StageError::io("cannot report to the engine", error))
}

/// Appends events to a file, each line in one write: what is reported is there at once, and a
/// crash cuts at most the last line short.
struct FileSink(File);

impl FileSink {
    fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }
}

impl EventSink for FileSink {
    fn emit(&mut self, event: WorkerEvent) -> io::Result<()> {
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        self.0.write_all(&line)
    }

    fn now(&self) -> Timestamp {
        identity::now()
    }
}
