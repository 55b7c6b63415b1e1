//! Where the files of runs lie: `runs/<run>/<stage>/<attempt>/` in the project's `.wick` folder.

use std::io;
use std::path::{Path, PathBuf};

use wick_core::{RunId, StageName};

/// The folder of all runs, in `.wick`.
const RUNS: &str = "runs";

/// Points that a `command` stage measures, one JSON object a line: its `WICK_METRICS`.
pub const COMMAND_METRICS: &str = "metrics.jsonl";

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

/// Makes the folder of an attempt, empty: what an attempt of a dead engine left there under the
/// same number is put aside.
///
/// # Errors
/// If the file system refuses.
pub fn make_attempt_folder(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir_all(folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_dir_all(folder)?;
            std::fs::create_dir(folder)
        }
        other => other,
    }
}
