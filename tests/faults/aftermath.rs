//! What is left after a fault: what the store says, whether the bytes are right, which processes
//! still live.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use wick_artifact::ArtifactStore;
use wick_core::{AttemptState, Digest, EventBody, RunId, RunState};
use wick_store::AttemptRecord;

/// What the store says of the last run.
pub struct History {
    /// The run.
    pub run: RunId,
    /// Where it stands.
    pub state: RunState,
    /// The states of its stages, by name.
    pub stages: BTreeMap<String, AttemptState>,
    /// All attempts, by stage and number.
    pub attempts: Vec<AttemptRecord>,
    /// What its stages made, by `stage.port`.
    pub artifacts: BTreeMap<String, Digest>,
    /// How often each stage was published: once, or it is wrong.
    pub published: BTreeMap<String, usize>,
}

impl History {
    /// Reads the store in `folder` without touching it: what a crash left must be there for the
    /// next `wick` as the crash left it. `None` if there is no run yet.
    pub fn of(folder: &Path) -> Option<Self> {
        let copy = tempfile::tempdir().expect("a folder");
        for name in ["store.db", "store.db-wal", "store.db-journal"] {
            let from = folder.join(".wick").join(name);
            if from.exists() {
                std::fs::copy(&from, copy.path().join(name)).expect("copied");
            }
        }
        let store = copy.path().join("store.db");
        if !store.exists() {
            return None;
        }
        Self::in_store(store.to_str().expect("text"))
    }

    /// Reads the store at `location`. `None` if there is no run yet.
    pub fn in_store(location: &str) -> Option<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let store = wick_store::open(location).await.expect("the store opens");
            let run = store.find_runs("@last").await.expect("asked").into_iter().next()?;
            let record = store.run(&run).await.expect("asked").expect("the run");
            let stages = store.stages(&run).await.expect("stages");
            let mut published = BTreeMap::new();
            for event in store.events(&run, None).await.expect("events") {
                if let EventBody::AttemptFinished {
                    stage, state: AttemptState::Succeeded, ..
                }
                | EventBody::StageCached { stage, .. } = event.event.body
                {
                    *published.entry(stage.to_string()).or_default() += 1;
                }
            }
            let history = Self {
                state: record.state,
                stages: stages.iter().map(|stage| (stage.stage.to_string(), stage.state)).collect(),
                attempts: store.attempts(&run).await.expect("attempts"),
                artifacts: store
                    .artifacts(&run)
                    .await
                    .expect("artifacts")
                    .into_iter()
                    .map(|made| (format!("{}.{}", made.stage, made.port), made.digest))
                    .collect(),
                published,
                run,
            };
            store.close().await;
            Some(history)
        })
    }

    /// The attempts that succeeded.
    fn succeeded(&self) -> impl Iterator<Item = &AttemptRecord> {
        self.attempts.iter().filter(|attempt| attempt.state == AttemptState::Succeeded)
    }

    /// Checks that the run came to a good end, though it was disturbed: the same artifacts as
    /// undisturbed, all of them whole; every stage published once; and nothing that was
    /// published `before` done again.
    #[track_caller]
    pub fn check(&self, folder: &Path, before: Option<&History>, undisturbed: &History) {
        assert_eq!(self.state, RunState::Succeeded, "the run ended");
        let ends = |history: &History| -> BTreeMap<String, AttemptState> {
            // Whether it ran, or what it makes was there, is a matter of luck.
            let end = |state: AttemptState| match state {
                AttemptState::Cached => AttemptState::Succeeded,
                other => other,
            };
            history.stages.iter().map(|(stage, state)| (stage.clone(), end(*state))).collect()
        };
        assert_eq!(ends(self), ends(undisturbed), "every stage ended as undisturbed");
        assert_eq!(self.artifacts, undisturbed.artifacts, "the same artifacts");
        let artifacts = ArtifactStore::open(folder.join(".wick/artifacts")).expect("artifacts");
        for (name, digest) in &self.artifacts {
            artifacts.verify(digest).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for stage in self.stages.keys() {
            let good = self.succeeded().filter(|attempt| attempt.stage == stage.as_str()).count();
            assert!(good <= 1, "{stage} has {good} good attempts");
            let times = self.published.get(stage).copied().unwrap_or_default();
            assert!(times <= 1, "{stage} is published {times} times");
        }
        assert_eq!(self.published, undisturbed.published, "what is published");
        let Some(before) = before.filter(|before| before.run == self.run) else { return };
        for attempt in before.succeeded() {
            assert!(
                self.succeeded().any(|kept| kept == attempt),
                "{} attempt {} was published and is not kept",
                attempt.stage,
                attempt.attempt
            );
        }
    }
}

/// Whether, within a moment, no process works in `folder` or for a run that `wick` drove in it.
#[track_caller]
pub fn assert_deserted(folder: &Path) {
    let begun = Instant::now();
    loop {
        let left = inhabitants(folder);
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "processes were left behind: {left:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that work in `folder`, or were told of it.
pub fn inhabitants(folder: &Path) -> Vec<String> {
    let path = folder.to_str().expect("text");
    let belongs = |process: &Path| {
        std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
            || ["cmdline", "environ"].iter().any(|file| {
                // What cannot be read belongs to someone else, or has ended.
                let bytes = std::fs::read(process.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).contains(path)
            })
    };
    std::fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .map(|entry| entry.path())
        .filter(|process| {
            let name = process.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_process = name.parse::<u32>().is_ok_and(|pid| pid != std::process::id());
            is_process && belongs(process)
        })
        .map(|process| {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            format!("{}: {}", process.display(), String::from_utf8_lossy(&line).replace('\0', " "))
        })
        .collect()
}
