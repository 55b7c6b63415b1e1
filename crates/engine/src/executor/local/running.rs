//! An attempt that runs on this machine, and what its process has told so far.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use wick_artifact::Held;
use wick_core::{
    Effect, Exit, Failure, FailureCause, MetricPoint, Output, PortName, Progress, Timestamp, Usage,
    WorkerEvent,
};
use wick_plan::{Plan, PlannedStage, StageIndex};
use wick_stage::{StageError, layout};

use crate::cgroup::GroupUsage;
use crate::command::config::CommandConfig;
use crate::command::launch::ProcessSpec;
use crate::command::protocol::Reported;
use crate::dispatcher::StopReason;
use crate::executor::Submission;
use crate::folder::COMMAND_METRICS;
use crate::log::printable;
use crate::mask::Masks;
use crate::memory::MemoryUse;
use crate::meter::energy::Reading;
use crate::meter::sampler::{FIRST, Seen};
use crate::tail::WorkerTail;

/// An attempt that was submitted and has not ended.
pub struct Running {
    pub plan: Arc<Plan>,
    pub stage: StageIndex,
    pub attempt: u32,
    pub folder: PathBuf,
    pub reports: Reports,
    /// What the supervisor was asked for, once it was.
    pub spec: Option<ProcessSpec>,
    /// What it reads.
    pub inputs: Vec<Held>,
    pub pid: Option<u32>,
    pub pid_told: bool,
    pub stop: Option<StopReason>,
    pub usage: Usage,
    pub exit: Option<Exit>,
    /// What its control group said, if it had one.
    pub group: Option<GroupUsage>,
    /// What the energy counters said when it began.
    pub begun: Option<Reading>,
    /// When its process began, by the executor's clock.
    pub spawned: Duration,
    /// Whether it is sampled.
    pub is_watched: bool,
    /// What its samples have shown.
    pub seen: Seen,
}

/// How an attempt reports.
pub enum Reports {
    /// A program of the user's.
    Command { config: Arc<CommandConfig>, reported: Reported },
    /// A worker.
    Native { events: WorkerTail, told: Told },
}

/// What one look at an attempt's reports has shown.
pub struct Look {
    pub points: Vec<MetricPoint>,
    /// The latest.
    pub progress: Option<Progress>,
    /// Whether there may be more to read already.
    pub more: bool,
}

/// What a worker has told so far.
#[derive(Default)]
pub struct Told {
    pub outputs: Vec<Output>,
    pub effects: Vec<Effect>,
    pub failure: Option<Failure>,
    pub succeeded: bool,
}

impl Running {
    /// The attempt that was submitted; `command` of a command stage, and what energy counters
    /// say as it begins.
    pub fn new(
        submission: &Submission,
        command: Option<Arc<CommandConfig>>,
        begun: Option<Reading>,
    ) -> Self {
        let folder = submission.folder.clone();
        let reports = match command {
            Some(config) => {
                let reported = Reported::new(folder.join(COMMAND_METRICS));
                Reports::Command { config, reported }
            }
            None => {
                let events = WorkerTail::new(folder.join(layout::WORKER_EVENTS));
                Reports::Native { events, told: Told::default() }
            }
        };
        Self {
            plan: submission.plan.clone(),
            stage: submission.stage,
            attempt: submission.attempt,
            folder,
            reports,
            spec: None,
            inputs: Vec::new(),
            pid: None,
            pid_told: false,
            stop: None,
            usage: Usage::default(),
            exit: None,
            group: None,
            begun,
            spawned: Duration::ZERO,
            is_watched: false,
            seen: Seen::default(),
        }
    }

    /// The process to sample from now on, and when it began, once it has lived long enough: it is
    /// `elapsed` by the executor's clock.
    pub fn due_to_watch(&mut self, elapsed: Duration) -> Option<(u32, Duration)> {
        let pid = self.pid.filter(|_| !self.is_watched)?;
        if elapsed.saturating_sub(self.spawned) < FIRST {
            return None;
        }
        self.is_watched = true;
        Some((pid, self.spawned))
    }

    /// What must not be seen of the attempt.
    pub fn masks(&self) -> Masks {
        self.spec.as_ref().map(|spec| spec.masks.clone()).unwrap_or_default()
    }

    /// Takes out of the names of metrics what must not be seen, and what a terminal would obey:
    /// they come from programs and from data.
    pub fn make_harmless(&self, points: &mut [MetricPoint]) {
        self.masks().mask_points(points);
        for point in points {
            if point.key.chars().any(char::is_control) {
                point.key = printable(&point.key, point.key.len()).into();
            }
        }
    }

    /// The params that its program has reported, without what must not be seen, as what they ask
    /// of the store.
    pub fn reported_params(&mut self) -> Vec<Effect> {
        let masks = self.masks();
        let Reports::Command { reported, .. } = &mut self.reports else { return Vec::new() };
        let mut params: Vec<(String, Value)> = Vec::new();
        for (name, mut value) in reported.take_params() {
            let name = masks.mask(&name);
            let name = printable(&name, name.len());
            masks.mask_json(&mut value);
            // Two that differ in what is hidden are one.
            params.retain(|(known, _)| *known != name);
            params.push((name, value));
        }
        if params.is_empty() {
            return Vec::new();
        }
        vec![Effect::ReportParams { params }]
    }

    /// Says in its log which of the lines that its program reported were left out. That it cannot
    /// be said is no reason to stop.
    pub fn warn(&self) {
        let Reports::Command { reported, .. } = &self.reports else { return };
        let Some(warning) = reported.warning() else { return };
        let log = std::fs::OpenOptions::new().append(true).open(self.folder.join(layout::LOG));
        let _ = log.and_then(|mut log| writeln!(log, "{}", self.masks().mask(&warning)));
    }

    /// What is known of its memory, now that it has ended; `log` is its log.
    pub fn memory<'a>(&'a self, log: &'a Path) -> MemoryUse<'a> {
        let peak = self.group.map_or(0, |group| group.peak_bytes);
        MemoryUse {
            limit: self.spec.as_ref().and_then(|spec| spec.memory.as_ref()),
            peak: if peak > 0 { peak } else { self.usage.max_rss_bytes },
            kills: self.group.map(|group| group.kills),
            log: Some(log),
        }
    }

    pub fn planned(&self) -> &PlannedStage {
        self.plan.stage(self.stage)
    }

    /// Whether the supervisor was asked for its process.
    pub const fn is_asked_for(&self) -> bool {
        self.spec.is_some() && self.exit.is_none()
    }

    /// The folder that its program runs in.
    pub fn workdir(&self, config: &CommandConfig) -> PathBuf {
        match &config.workdir {
            Some(workdir) => self.planned().base.join(workdir),
            None => self.planned().base.clone(),
        }
    }
}

impl Reports {
    /// Reads what was reported since the last time, or as much of it as one look takes; of a
    /// program that `has_ended` also what it left without a line break. A file that cannot be
    /// read now is looked at again next time.
    pub fn read(&mut self, now: Timestamp, has_ended: bool) -> Look {
        match self {
            Reports::Command { reported, .. } => {
                let (points, more) = reported.read(now, has_ended).unwrap_or_default();
                Look { points, progress: None, more }
            }
            Reports::Native { events, told } => {
                let (mut points, mut progress) = (Vec::new(), None);
                let read = events.read(|event| match event {
                    WorkerEvent::Metrics(more) => points.extend(more),
                    WorkerEvent::Progress(latest) => progress = Some(latest),
                    WorkerEvent::Output(output) => told.outputs.push(output),
                    WorkerEvent::Effect(effect) => told.effects.push(effect),
                    WorkerEvent::Failed(failure) => told.failure = Some(failure),
                    WorkerEvent::Succeeded => told.succeeded = true,
                });
                Look { points, progress, more: read.unwrap_or(false) }
            }
        }
    }
}

impl Told {
    /// What the worker of `planned`, which ended well, should have told and did not.
    pub fn missing(&self, planned: &PlannedStage) -> Option<Failure> {
        if !self.succeeded {
            let message = "the worker ended without saying that it succeeded";
            return Some(StageError::internal(message).to_failure());
        }
        let made = |port: &PortName| self.outputs.iter().any(|made| made.port == *port);
        let missing = planned.outputs.iter().find(|output| !made(&output.port))?;
        let message = format!("the worker reported no output `{}`", missing.port);
        Some(StageError::new(FailureCause::Output, message).to_failure())
    }
}
