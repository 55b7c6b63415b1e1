//! What `wick up` must know after it was stopped: up to when times were dealt with, and how the
//! files looked. Kept in the project's `.wick/up.json`, replaced as a whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wick_core::{Digest, Timestamp};

use crate::error::{CommandResult, ResultExt};

/// The file's name in the project's `.wick`.
const FILE: &str = "up.json";

/// The version of the format.
const VERSION: u32 = 1;

/// All that is remembered.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    kept: Kept,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// By the paths of pipeline files.
    pipelines: BTreeMap<String, Entry>,
}

/// What is remembered of one pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its schedule: what is remembered of another one means nothing.
    pub schedule: Digest,
    /// Up to when its times were dealt with.
    pub seen: Timestamp,
    /// How the files that it watches looked, once they were dealt with.
    pub files: Option<Digest>,
}

impl Memory {
    /// Reads what was kept in the folder `.wick`; nothing if that cannot be read, and why.
    pub fn read(folder: &Path) -> (Self, Option<String>) {
        let path = folder.join(FILE);
        let empty = Kept { version: VERSION, pipelines: BTreeMap::new() };
        let (kept, trouble) = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => (empty, None),
            Err(error) => (empty, Some(error.to_string())),
            Ok(bytes) => match serde_json::from_slice::<Kept>(&bytes) {
                Ok(kept) if kept.version == VERSION => (kept, None),
                Ok(kept) => (empty, Some(format!("it has version {}", kept.version))),
                Err(error) => (empty, Some(error.to_string())),
            },
        };
        let trouble =
            trouble.map(|trouble| format!("{} cannot be read: {trouble}", path.display()));
        (Self { path, kept }, trouble)
    }

    /// What is remembered of a pipeline with this schedule.
    pub fn of(&self, pipeline: &str, schedule: Digest) -> Option<&Entry> {
        self.kept.pipelines.get(pipeline).filter(|entry| entry.schedule == schedule)
    }

    /// Remembers it. A crash leaves what was kept before, or this.
    pub fn keep(&mut self, pipeline: &str, entry: Entry) -> CommandResult<()> {
        if self.kept.pipelines.get(pipeline) == Some(&entry) {
            return Ok(());
        }
        self.kept.pipelines.insert(pipeline.to_owned(), entry);
        self.write().or_internal(format!("cannot write {}", self.path.display()))
    }

    fn write(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let temporary = folder.join(format!("{FILE}.tmp"));
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(&self.kept)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_under_the_same_schedule() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut memory, trouble) = Memory::read(folder.path());
        assert_eq!(trouble, None);
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let entry = Entry { schedule: one, seen: Timestamp(5), files: Some(other) };
        memory.keep("a.yaml", entry.clone()).expect("kept");
        let (memory, trouble) = Memory::read(folder.path());
        assert_eq!(trouble, None);
        assert_eq!(memory.of("a.yaml", one), Some(&entry));
        assert_eq!(memory.of("a.yaml", other), None);
        assert_eq!(memory.of("b.yaml", one), None);
    }

    #[test]
    fn a_broken_memory_is_told_and_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["{", "{\"version\": 99, \"pipelines\": {}}"] {
            std::fs::write(folder.path().join(FILE), text).expect("written");
            let (memory, trouble) = Memory::read(folder.path());
            assert!(trouble.is_some_and(|trouble| trouble.contains(FILE)), "{text}");
            assert_eq!(memory.kept.pipelines.len(), 0);
        }
    }
}
