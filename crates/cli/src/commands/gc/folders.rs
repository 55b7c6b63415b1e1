//! The folders and checkpoints of runs that are gone.
//!
//! Which they are is written down before the runs go: afterwards nothing names them any more, and
//! folders that nothing names may belong to another store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use wick_core::RunId;
use wick_stage::checkpoint;
use wick_store::Store;

use crate::error::{CommandResult, ResultExt};

/// What a project keeps of its runs.
pub struct Folders {
    state: PathBuf,
}

impl Folders {
    /// Of the project whose `.wick` folder is `state`.
    pub fn of(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// How many bytes the folder of a run has.
    pub fn bytes(&self, run: &RunId) -> u64 {
        bytes_below(&wick_engine::folder::run_folder(&self.state, run))
    }

    /// Writes down which runs go.
    pub fn write_down(&self, runs: &[RunId]) -> CommandResult<()> {
        if runs.is_empty() {
            return Ok(());
        }
        let lines: String = runs.iter().map(|run| format!("{run}\n")).collect();
        let (path, partial) = (self.list(), self.list().with_extension("partial"));
        fs::write(&partial, lines)
            .and_then(|()| fs::File::open(&partial)?.sync_all())
            .and_then(|()| fs::rename(&partial, &path))
            .or_internal(format!("cannot write {}", path.display()))
    }

    /// Removes what was written down of runs that the store does not have any more: also what a
    /// process that died has left.
    pub async fn finish(&self, store: &dyn Store) -> CommandResult<()> {
        let path = self.list();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(error).or_internal(format!("cannot read {}", path.display()));
            }
        };
        let root = wick_engine::folder::checkpoints_folder(&self.state);
        for run in text.lines().filter_map(|line| line.parse::<RunId>().ok()) {
            if store.run(&run).await?.is_some() {
                continue;
            }
            let folder = wick_engine::folder::run_folder(&self.state, &run);
            missing_is_fine(fs::remove_dir_all(&folder))
                .or_internal(format!("cannot remove {}", folder.display()))?;
            checkpoint::forget_run(&root, &run)
                .or_internal(format!("cannot clear {}", root.display()))?;
        }
        missing_is_fine(fs::remove_file(&path))
            .or_internal(format!("cannot remove {}", path.display()))
    }

    fn list(&self) -> PathBuf {
        self.state.join("gc-going")
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The bytes of all files below a folder; links count as nothing.
fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) if metadata.is_file() => bytes += metadata.len(),
                _ => {}
            }
        }
    }
    bytes
}
