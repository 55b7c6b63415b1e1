//! Where the files of runs lie: `runs/<run>/<stage>.<attempt>/` in the project's `.wick` folder.

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

/// The folder of an attempt, in its run's folder. One folder and not two, one in the other: to
/// make a folder costs more than anything else that an engine does for a short attempt.
pub fn attempt_folder(run_folder: &Path, stage: &StageName, attempt: u32) -> PathBuf {
    run_folder.join(format!("{stage}.{attempt}"))
}

/// Makes the folder of an attempt, empty, in its run's folder, which is there. What an attempt
/// that was never recorded left under the same number is removed.
///
/// # Errors
/// If the file system refuses.
pub fn make_attempt_folder(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_dir_all(folder)?;
            std::fs::create_dir(folder)
        }
        // The first stage of a sub-pipeline, whose folder is to be made too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(folder),
        other => other,
    }
}
