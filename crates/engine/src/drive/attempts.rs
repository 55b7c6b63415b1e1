//! The life of an attempt's process: prepared, started, followed, ended, collected.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wick_core::{
    Effect, Event, EventBody, Exit, Failure, FailureCause, MetricPoint, Output, Usage, WorkerEvent,
};
use wick_plan::StageIndex;
use wick_stage::{StageError, layout};

use super::{Collected, Drive, Ending, News, io_failure};
use crate::command::config::CommandConfig;
use crate::command::launch::ProcessSpec;
use crate::command::{COMMAND, collect};
use crate::dispatcher::{Message, Outcome, StopReason};
use crate::error::EngineResult;
use crate::folder::{COMMAND_METRICS, attempt_folder};
use crate::protocol::{ProcessId, Report};
use crate::report::Reporter;
use crate::tail::{MetricsTail, WorkerTail};
use crate::{failure, identity};

/// How long an attempt has to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// An attempt that was launched and has not ended.
pub(super) struct Running {
    attempt: u32,
    folder: PathBuf,
    stage: Stage,
    /// What the supervisor was asked for, once it was.
    spec: Option<ProcessSpec>,
    pid: Option<u32>,
    pid_recorded: bool,
    stop: Option<StopReason>,
    usage: Usage,
    exit: Option<Exit>,
}

/// How an attempt reports.
enum Stage {
    /// A program of the user's.
    Command { config: Arc<CommandConfig>, metrics: MetricsTail },
    /// A worker.
    Native { events: WorkerTail, told: Told },
}

/// What a worker has told so far.
#[derive(Default)]
struct Told {
    outputs: Vec<Output>,
    effects: Vec<Effect>,
    failure: Option<Failure>,
    succeeded: bool,
}

impl Running {
    pub(super) const fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(super) const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether the supervisor was asked for its process.
    pub(super) const fn is_asked_for(&self) -> bool {
        self.spec.is_some() && self.exit.is_none()
    }
}

/// What the supervisor calls an attempt.
const fn process_id(stage: StageIndex, attempt: u32) -> ProcessId {
    ((stage.0 as u64) << 32) | attempt as u64
}

const fn attempt_of(id: ProcessId) -> (StageIndex, u32) {
    (StageIndex((id >> 32) as u32), id as u32)
}

impl Drive {
    /// Makes the attempt's folder and files, and asks for its process. Where that means more
    /// than a folder it happens on a thread of its own.
    pub(super) fn launch(&mut self, stage: StageIndex, attempt: u32) -> EngineResult<()> {
        let planned = self.setup.plan.stage(stage);
        let folder = attempt_folder(&self.setup.folder, &planned.name, attempt);
        let is_command = planned.kind == COMMAND;
        let running = if is_command {
            let config = match self.command_config(stage) {
                Ok(config) => config,
                Err(failure) => return self.fail_unlaunched(stage, attempt, folder, failure),
            };
            Stage::Command { config, metrics: MetricsTail::new(folder.join(COMMAND_METRICS)) }
        } else {
            let events = WorkerTail::new(folder.join(layout::WORKER_EVENTS));
            Stage::Native { events, told: Told::default() }
        };
        let command = match &running {
            Stage::Command { config, .. } => Some(config.clone()),
            Stage::Native { .. } => None,
        };
        let preparation = self.preparation(stage, attempt, command, &folder);
        self.running.insert(stage, Running::new(attempt, folder, running));
        if preparation.is_small() {
            return self.prepared(stage, attempt, preparation.carry_out());
        }
        let news = self.news.clone();
        tokio::task::spawn_blocking(move || {
            let _ = news.send(News::Prepared(stage, attempt, preparation.carry_out()));
        });
        Ok(())
    }

    /// The parsed `with` of a command stage.
    fn command_config(&mut self, stage: StageIndex) -> Result<Arc<CommandConfig>, Failure> {
        if let Some(config) = self.commands.get(&stage) {
            return Ok(config.clone());
        }
        let config = &self.setup.plan.stage(stage).config;
        let config =
            serde::Deserialize::deserialize(config).map_err(|error: serde_json::Error| {
                StageError::internal(format!("the plan let a wrong configuration pass: {error}"))
                    .to_failure()
            })?;
        let config: Arc<CommandConfig> = Arc::new(config);
        self.commands.insert(stage, config.clone());
        Ok(config)
    }

    /// The attempt's files are ready: asks for its process.
    pub(super) fn prepared(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        prepared: Result<ProcessSpec, Failure>,
    ) -> EngineResult<()> {
        let Some(running) = self.running.get_mut(&stage).filter(|r| r.attempt == attempt) else {
            return Ok(());
        };
        let spec = match prepared {
            Ok(spec) => spec,
            Err(failure) => return self.fail(stage, attempt, failure, Usage::default()),
        };
        match running.stop {
            Some(StopReason::Cancel) => {
                return self.end(stage, attempt, Outcome::Cancelled, Usage::default(), None, None);
            }
            Some(StopReason::Timeout) => {
                let failure = self.timed_out(stage, None);
                return self.fail(stage, attempt, failure, Usage::default());
            }
            None => {}
        }
        let log = running.folder.join(layout::LOG);
        running.spec = Some(spec.clone());
        let asked = self.ensure_supervisor()?.spawn(process_id(stage, attempt), &spec, &log);
        match asked {
            Ok(()) => Ok(()),
            Err(error) => {
                let failure =
                    Failure { cause: FailureCause::Spawn, ..io_failure("start it", error) };
                self.fail(stage, attempt, failure, Usage::default())
            }
        }
    }

    pub(super) fn stop(&mut self, stage: StageIndex, attempt: u32, reason: StopReason) {
        let Some(running) = self.running.get_mut(&stage) else { return };
        // A second reason does not hide the first.
        running.stop.get_or_insert(reason);
        if running.is_asked_for()
            && let Some(supervisor) = &mut self.supervisor
        {
            supervisor.stop(process_id(stage, attempt), GRACE);
        }
    }

    pub(super) fn reported(&mut self, report: Report) -> EngineResult<()> {
        match report {
            Report::Hello(_) => Ok(()),
            Report::Spawned { id, pid } => {
                let (stage, attempt) = attempt_of(id);
                if let Some(running) = self.running.get_mut(&stage).filter(|r| r.attempt == attempt)
                {
                    running.pid = Some(pid);
                }
                Ok(())
            }
            Report::Refused { id, step, errno } => {
                let (stage, attempt) = attempt_of(id);
                let Some(spec) = self.running.get(&stage).and_then(|r| r.spec.as_ref()) else {
                    return Ok(());
                };
                let failure = failure::refused(step, errno, spec);
                self.fail(stage, attempt, failure, Usage::default())
            }
            Report::Exited { id, status, wall_micros, cpu_micros, max_rss_bytes } => {
                let (stage, attempt) = attempt_of(id);
                let usage = Usage { wall_micros, cpu_micros, max_rss_bytes };
                self.exited(stage, attempt, failure::exit_of(status), usage)
            }
        }
    }

    /// Takes what attempts have reported since the last look, and records the processes that
    /// have lived long enough to be worth a word.
    pub(super) fn follow(&mut self, reporter: &mut dyn Reporter) {
        let now = identity::now();
        let mut bodies = Vec::new();
        for (stage, running) in &mut self.running {
            let name = &self.setup.plan.stage(*stage).name;
            let attempt = running.attempt;
            if let Some(pid) = running.pid.filter(|_| !running.pid_recorded) {
                running.pid_recorded = true;
                bodies.push(EventBody::AttemptSpawned { stage: name.clone(), attempt, pid });
            }
            let (points, progress) = running.stage.read(now);
            if !points.is_empty() {
                bodies.push(EventBody::Metrics { stage: name.clone(), attempt, points });
            }
            if let Some(progress) = progress {
                let body = EventBody::Progress { stage: name.clone(), attempt, progress };
                reporter.event(&Event { time: now, body }, &self.totals);
            }
        }
        for body in bodies {
            self.record_also(body);
        }
    }

    /// The attempt's process has ended.
    fn exited(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        exit: Exit,
        usage: Usage,
    ) -> EngineResult<()> {
        let Some(running) = self.running.get_mut(&stage).filter(|r| r.attempt == attempt) else {
            return Ok(());
        };
        (running.exit, running.usage) = (Some(exit), usage);
        let (points, _) = running.stage.read(identity::now());
        let ended_well = exit == Exit::Code(0);
        let stopped = running.stop;
        let (told, collection) = match &mut running.stage {
            Stage::Native { told, .. } => (Some(std::mem::take(told)), None),
            Stage::Command { config, .. } => {
                let needed = !config.outputs.is_empty() || config.metrics.is_some();
                (None, needed.then(|| (config.clone(), running.folder.clone())))
            }
        };
        self.record_points(stage, attempt, points);
        if !ended_well && stopped == Some(StopReason::Cancel) {
            return self.end(stage, attempt, Outcome::Cancelled, usage, None, None);
        }
        if !ended_well && stopped == Some(StopReason::Timeout) {
            let failure = self.timed_out(stage, Some(exit));
            return self.fail(stage, attempt, failure, usage);
        }
        if let Some(told) = told {
            return self.worker_ended(stage, attempt, exit, usage, told);
        }
        if !ended_well {
            let out_of_memory = self.memory_ran_out(exit);
            let failure = failure::ended(exit, "the program", out_of_memory);
            return self.fail(stage, attempt, failure, usage);
        }
        let Some((config, folder)) = collection else {
            return self.collected(stage, attempt, Ok(Collected::default()));
        };
        let (news, artifacts) = (self.news.clone(), self.setup.artifacts.clone());
        let workdir = match &config.workdir {
            Some(workdir) => self.setup.plan.base.join(workdir),
            None => self.setup.plan.base.clone(),
        };
        tokio::task::spawn_blocking(move || {
            let collected =
                collect::metrics(&config, &folder, &workdir, identity::now()).and_then(|points| {
                    let outputs = collect::outputs(&config, &folder, &workdir, &artifacts)?;
                    Ok(Collected { outputs, effects: Vec::new(), points })
                });
            let collected = collected.map_err(|error| error.to_failure());
            let _ = news.send(News::Collected(stage, attempt, collected));
        });
        Ok(())
    }

    /// What came of an attempt whose worker ended.
    fn worker_ended(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        exit: Exit,
        usage: Usage,
        told: Told,
    ) -> EngineResult<()> {
        if let Some(mut failure) = told.failure {
            failure.exit = Some(exit);
            return self.fail(stage, attempt, failure, usage);
        }
        let missing = self
            .setup
            .plan
            .stage(stage)
            .outputs
            .iter()
            .find(|output| !told.outputs.iter().any(|made| made.port == output.port));
        let unsaid = if exit != Exit::Code(0) {
            let out_of_memory = self.memory_ran_out(exit);
            Some(failure::ended(exit, "the worker", out_of_memory))
        } else if !told.succeeded {
            let message = "the worker ended without saying that it succeeded";
            Some(StageError::internal(message).to_failure())
        } else {
            missing.map(|output| {
                let message = format!("the worker reported no output `{}`", output.port);
                StageError::new(FailureCause::Output, message).to_failure()
            })
        };
        match unsaid {
            Some(failure) => self.fail(stage, attempt, failure, usage),
            None => {
                let Told { outputs, effects, .. } = told;
                let collected = Collected { outputs, effects, points: Vec::new() };
                self.collected(stage, attempt, Ok(collected))
            }
        }
    }

    fn timed_out(&self, stage: StageIndex, exit: Option<Exit>) -> Failure {
        failure::timed_out(self.setup.plan.stage(stage).timeout.unwrap_or_default(), exit)
    }

    fn memory_ran_out(&mut self, exit: Exit) -> bool {
        if exit != Exit::Signal(libc::SIGKILL) {
            return false;
        }
        let kills = failure::out_of_memory_kills();
        kills > std::mem::replace(&mut self.memory_kills, kills)
    }

    fn record_points(&mut self, stage: StageIndex, attempt: u32, points: Vec<MetricPoint>) {
        if !points.is_empty() {
            let stage = self.setup.plan.stage(stage).name.clone();
            self.record_also(EventBody::Metrics { stage, attempt, points });
        }
    }

    /// What the attempt made lies in the artifact store, or could not be put there.
    pub(super) fn collected(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        collected: Result<Collected, Failure>,
    ) -> EngineResult<()> {
        let Some(running) = self.running.get(&stage).filter(|r| r.attempt == attempt) else {
            return Ok(());
        };
        let usage = running.usage;
        match collected {
            Ok(mut collected) => {
                let points = std::mem::take(&mut collected.points);
                self.record_points(stage, attempt, points);
                self.end(stage, attempt, Outcome::Succeeded, usage, None, Some(collected))
            }
            Err(mut failure) => {
                failure.exit = running.exit;
                self.fail(stage, attempt, failure, usage)
            }
        }
    }

    /// Ends an attempt as failed.
    pub(super) fn fail(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        failure: Failure,
        usage: Usage,
    ) -> EngineResult<()> {
        let outcome = Outcome::Failed { transient: failure.cause.is_transient() };
        self.end(stage, attempt, outcome, usage, Some(failure), None)
    }

    fn fail_unlaunched(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        folder: PathBuf,
        failure: Failure,
    ) -> EngineResult<()> {
        let told = Told::default();
        let events = WorkerTail::new(folder.join(layout::WORKER_EVENTS));
        self.running.insert(stage, Running::new(attempt, folder, Stage::Native { events, told }));
        self.fail(stage, attempt, failure, Usage::default())
    }

    fn end(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        outcome: Outcome,
        usage: Usage,
        failure: Option<Failure>,
        collected: Option<Collected>,
    ) -> EngineResult<()> {
        if self.running.remove(&stage).is_none() {
            return Ok(());
        }
        let Collected { outputs, effects, .. } = collected.unwrap_or_default();
        let info = &mut self.stages[stage.get()];
        info.outputs.clone_from(&outputs);
        info.ending = Some(Ending { usage, failure, outputs, effects });
        let wall = Duration::from_micros(usage.wall_micros);
        self.tell(Message::Ended { stage, attempt, outcome, wall })
    }
}

impl Running {
    const fn new(attempt: u32, folder: PathBuf, stage: Stage) -> Self {
        Self {
            attempt,
            folder,
            stage,
            spec: None,
            pid: None,
            pid_recorded: false,
            stop: None,
            usage: Usage { wall_micros: 0, cpu_micros: 0, max_rss_bytes: 0 },
            exit: None,
        }
    }
}

impl Stage {
    /// Reads what was reported since the last time: points, and the latest progress. A file that
    /// cannot be read now is looked at again next time.
    fn read(
        &mut self,
        now: wick_core::Timestamp,
    ) -> (Vec<MetricPoint>, Option<wick_core::Progress>) {
        match self {
            Stage::Command { metrics, .. } => (metrics.read(now).unwrap_or_default(), None),
            Stage::Native { events, told } => {
                let (mut points, mut progress) = (Vec::new(), None);
                let _ = events.read(|event| match event {
                    WorkerEvent::Metrics(more) => points.extend(more),
                    WorkerEvent::Progress(latest) => progress = Some(latest),
                    WorkerEvent::Output(output) => told.outputs.push(output),
                    WorkerEvent::Effect(effect) => told.effects.push(effect),
                    WorkerEvent::Failed(failure) => told.failure = Some(failure),
                    WorkerEvent::Succeeded => told.succeeded = true,
                });
                (points, progress)
            }
        }
    }
}
