//! Which place in its run each stage has.
//!
//! Rows name a stage by its place, callers by its name. The place of a stage never changes once
//! it is recorded, so places are remembered for as long as the store is open. A run may get
//! further stages while it goes on: who does not find one looks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wick_core::{RunId, StageName};

/// The stages of one run.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The run in the database.
    pub(crate) run: i64,
    places: HashMap<StageName, u32>,
}

impl Directory {
    pub(crate) fn new(run: i64, names: impl IntoIterator<Item = StageName>) -> Self {
        Self { run, places: names.into_iter().zip(0..).collect() }
    }

    /// How many stages there are; the next one gets this place.
    pub(crate) fn len(&self) -> u32 {
        self.places.len() as u32
    }

    /// The same with further stages.
    pub(crate) fn with<'a>(&self, stages: impl IntoIterator<Item = (&'a StageName, u32)>) -> Self {
        let mut places = self.places.clone();
        places.extend(stages.into_iter().map(|(name, place)| (name.clone(), place)));
        Self { run: self.run, places }
    }

    pub(crate) fn place(&self, stage: &StageName) -> Option<u32> {
        self.places.get(stage).copied()
    }
}

/// The directories of the runs that were asked for lately.
#[derive(Debug, Default)]
pub(crate) struct Directories(Mutex<HashMap<RunId, Arc<Directory>>>);

/// A few runs are in use at a time; past this bound all are forgotten and read again.
const MAX_DIRECTORIES: usize = 256;

impl Directories {
    pub(crate) fn get(&self, run: &RunId) -> Option<Arc<Directory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    /// Forgets a run that is gone.
    pub(crate) fn forget(&self, run: &RunId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
    }

    pub(crate) fn keep(&self, run: &RunId, directory: Directory) -> Arc<Directory> {
        let directory = Arc::new(directory);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_DIRECTORIES {
            kept.clear();
        }
        kept.insert(run.clone(), Arc::clone(&directory));
        directory
    }
}
