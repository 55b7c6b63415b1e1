//! Where the files of runs lie: `runs/<run>/<stage>/<attempt>/` in the project's `.wick` folder.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wick_core::{RunId, StageName};
use wick_stage::layout;

/// The folder of all runs, in `.wick`.
const RUNS: &str = "runs";

/// Points that a `command` stage measures, one JSON object a line: its `WICK_METRICS`.
pub const COMMAND_METRICS: &str = "metrics.jsonl";

/// Checkpoints of stages that never succeeded are kept for so long after the last one was saved.
pub const CHECKPOINTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The folder of all checkpoints, in the project folder `.wick`.
pub fn checkpoints_folder(project: &Path) -> PathBuf {
    project.join(layout::CHECKPOINTS)
}

/// The folder of `run`, in the project folder `.wick`.
pub fn run_folder(project: &Path, run: &RunId) -> PathBuf {
    project.join(RUNS).join(run.as_str())
}

/// The folder of an attempt, in its run's folder.
pub fn attempt_folder(run_folder: &Path, stage: &StageName, attempt: u32) -> PathBuf {
    let mut folder = run_folder.join(stage.as_str());
    folder.push(attempt.to_string());
    folder
}

/// Makes the folder of an attempt, empty, in its run's folder, which is there. What an attempt
/// that was never recorded left under the same number is removed.
///
/// # Errors
/// If the file system refuses.
pub fn make_attempt_folder(folder: &Path) -> io::Result<()> {
    let there = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
    if let Some(stage) = folder.parent() {
        std::fs::create_dir(stage).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            // The first stage of a sub-pipeline: its folder is to be made too.
            io::ErrorKind::NotFound => std::fs::create_dir_all(stage),
            _ => Err(error),
        })?;
    }
    match std::fs::create_dir(folder) {
        Err(error) if there(&error) => {
            std::fs::remove_dir_all(folder)?;
            std::fs::create_dir(folder)
        }
        other => other,
    }
}
