//! What a process finds around itself: its clock, chance, tasks, and files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wick_core::{Digest, Event, Output, RunId, Timestamp, Token};
use wick_engine::files::{Digested, Files};
use wick_engine::wake::Wake;
use wick_engine::world::{Task, World};
use wick_engine::{EngineResult, Reporter, Totals};
use wick_plan::Plan;
use wick_store::{EngineId, SourceStamp};

use crate::bugs::Bug;
use crate::graphs;
use crate::lab::Lab;
use crate::scheduler::{ProcessId, lock};
use crate::way::host_name;

/// A process of the simulation.
#[derive(Clone)]
pub struct Process {
    pub lab: Arc<Lab>,
    pub id: ProcessId,
}

#[async_trait]
impl World for Process {
    fn engine(&self) -> EngineResult<EngineId> {
        let machine = lock(&self.lab.processes).get(&self.id).copied().unwrap_or_default();
        let host = host_name(machine.host);
        Ok(EngineId { host, pid: self.id.0, process_start: 1, token: Token(machine.token) })
    }

    fn now(&self) -> Timestamp {
        self.lab.time_at(self.id)
    }

    fn elapsed(&self) -> Duration {
        self.lab.scheduler.now()
    }

    async fn sleep_until(&self, at: Duration) {
        self.lab.scheduler.sleep_until(at).await;
    }

    fn wake(&self) -> Wake {
        // Nobody calls: heartbeats find out.
        tokio::sync::watch::channel(0).1
    }

    fn random(&self) -> EngineResult<u64> {
        Ok(self.lab.dice().next())
    }

    fn spawn(&self, task: Task) {
        self.lab.scheduler.spawn(self.id, task);
    }
}

#[async_trait]
impl Files for Process {
    async fn are_there(&self, outputs: &[&[Output]]) -> EngineResult<Vec<bool>> {
        let now = self.lab.scheduler.now();
        for output in outputs.iter().copied().flatten() {
            self.lab.judge().looked(self.id, output.digest, now);
        }
        let there = lock(&self.lab.artifacts);
        let all = |outputs: &&[Output]| {
            self.lab.bug == Some(Bug::ServesWhatIsGone)
                || outputs.iter().all(|output| there.contains(&output.digest))
        };
        Ok(outputs.iter().map(all).collect())
    }

    async fn value(&self, digest: &Digest) -> Result<serde_json::Value, String> {
        Ok(graphs::value(digest))
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    async fn digest(
        &self,
        sources: Vec<(PathBuf, Option<SourceStamp>)>,
        _: Timestamp,
    ) -> EngineResult<Vec<Digested>> {
        let wait = self.lab.dice().wait(Duration::from_millis(10));
        self.lab.scheduler.sleep(wait).await;
        let versions = lock(&self.lab.sources).clone();
        let digest = |(path, stamp): (PathBuf, Option<SourceStamp>)| {
            let version = versions.get(&path).copied().unwrap_or_default();
            if self.lab.strikes(self.lab.faults.unreadable) {
                return Digested { path, digest: None, fresh: None };
            }
            let digest = Digest::of(format!("{} {version}", path.display()).as_bytes());
            let known = stamp.is_some_and(|stamp| stamp.modified_ns == version as i64);
            let fresh = (!known).then(|| SourceStamp {
                path: path.to_string_lossy().into_owned(),
                size: 1,
                modified_ns: version as i64,
                inode: 1,
                digest,
            });
            Digested { path, digest: Some(digest), fresh }
        };
        Ok(sources.into_iter().map(digest).collect())
    }

    fn sweep(&self) {}
}

/// Tells the judge what the engine tells.
pub struct Watcher {
    pub lab: Arc<Lab>,
    pub run: Option<RunId>,
}

impl Reporter for Watcher {
    fn run_started(&mut self, run: &RunId, _: &Plan, _: &std::path::Path) {
        self.run = Some(run.clone());
    }

    fn event(&mut self, event: &Event, totals: &Totals) {
        if let Some(run) = &self.run {
            let disk = lock(&self.lab.tables);
            self.lab.judge().told(&disk.tables, run, event, totals);
        }
    }
}
