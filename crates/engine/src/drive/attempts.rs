//! The life of an attempt's process: prepared, started, followed, ended, collected.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use wick_artifact::ArtifactStore;
use wick_core::{
    Effect, Event, EventBody, Exit, Failure, FailureCause, MetricPoint, Output, PortName, PortType,
    Usage, WorkerEvent,
};
use wick_plan::{PlannedStage, StageIndex};
use wick_stage::context::ASSIGNMENT_VERSION;
use wick_stage::{AssignedInput, AssignedOutput, Assignment, StageError, StageResult, layout};

use super::{Collected, Drive, Ending, News, io_failure};
use crate::command::config::CommandConfig;
use crate::command::launch::{CommandAttempt, ProcessSpec, variable};
use crate::command::{COMMAND, collect};
use crate::dispatcher::{Message, Outcome, StopReason};
use crate::error::EngineResult;
use crate::folder::{COMMAND_METRICS, attempt_folder, make_attempt_folder};
use crate::process::PROCESS_NAME;
use crate::protocol::{ProcessId, Report};
use crate::report::Reporter;
use crate::tail::{MetricsTail, WorkerTail};
use crate::{failure, identity};

/// How long an attempt has to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Variables by which numeric libraries are told how many threads they may use.
const THREADS: &[&str] = &[
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
];

/// The size of candle's own pool, which waits by spinning: beside any other busy program each of
/// its waits costs a time slice, and training is ten times slower. All that is worth splitting in
/// a worker is split over rayon's pool.
const ONE_THREAD: &str = "CANDLE_NUM_THREADS";

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
        let preparation = self.preparation(stage, attempt, &running, &folder);
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

    fn preparation(
        &self,
        stage: StageIndex,
        attempt: u32,
        running: &Stage,
        folder: &std::path::Path,
    ) -> Preparation {
        let planned = self.setup.plan.stage(stage);
        let metas = planned.inputs.iter().map(|input| {
            let outputs = &self.stages[input.from.get()].outputs;
            let output = outputs.iter().find(|output| output.port == input.output);
            output.map(|output| output.meta.clone()).unwrap_or_default()
        });
        let inputs = planned
            .inputs
            .iter()
            .zip(&self.stages[stage.get()].inputs)
            .zip(metas)
            .map(|((planned, input), meta)| PreparedInput {
                port: planned.port.clone(),
                port_type: planned.port_type,
                digest: input.digest,
                meta,
            })
            .collect();
        Preparation {
            plan: self.setup.plan.clone(),
            stage,
            attempt,
            run: self.setup.lease.run.clone(),
            token: self.stages[stage.get()].token,
            folder: folder.to_owned(),
            artifacts: self.setup.artifacts.clone(),
            inputs,
            command: match running {
                Stage::Command { config, .. } => Some(config.clone()),
                Stage::Native { .. } => None,
            },
            passed: self.passed.clone(),
            program: self.setup.program.clone(),
        }
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
        if running.stop == Some(StopReason::Cancel) {
            return self.end(stage, attempt, Outcome::Cancelled, Usage::default(), None, None);
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
            let timeout = self.setup.plan.stage(stage).timeout.unwrap_or_default();
            return self.fail(stage, attempt, failure::timed_out(timeout, exit), usage);
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

struct PreparedInput {
    port: PortName,
    port_type: PortType,
    digest: wick_core::Digest,
    meta: serde_json::Value,
}

/// All that is needed to make an attempt's files, on any thread.
struct Preparation {
    plan: Arc<wick_plan::Plan>,
    stage: StageIndex,
    attempt: u32,
    run: wick_core::RunId,
    token: Option<wick_core::Token>,
    folder: PathBuf,
    artifacts: Arc<ArtifactStore>,
    inputs: Vec<PreparedInput>,
    /// Of a command stage.
    command: Option<Arc<CommandConfig>>,
    passed: Arc<crate::command::launch::Passed>,
    program: crate::process::Program,
}

impl Preparation {
    fn planned(&self) -> &PlannedStage {
        self.plan.stage(self.stage)
    }

    /// Whether it is no more than a folder: quicker done than handed to a thread.
    fn is_small(&self) -> bool {
        self.inputs.is_empty()
            && self.command.as_ref().is_some_and(|config| config.outputs.is_empty())
    }

    fn carry_out(self) -> Result<ProcessSpec, Failure> {
        self.prepare().map_err(|error| error.to_failure())
    }

    fn prepare(&self) -> StageResult<ProcessSpec> {
        make_attempt_folder(&self.folder).map_err(|error| {
            StageError::io(format!("cannot make the folder {}", self.folder.display()), error)
        })?;
        let mut paths = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let path = self.artifacts.open_verified(&input.digest).map_err(|error| {
                StageError::new(FailureCause::Data, format!("input `{}` is gone", input.port))
                    .because(error)
                    .help("`wick rerun` makes it again")
            })?;
            let path = std::path::absolute(&path).unwrap_or(path);
            paths.push(path);
        }
        match &self.command {
            Some(config) => self.prepare_command(config, paths),
            None => self.prepare_worker(paths),
        }
    }

    fn prepare_command(
        &self,
        config: &CommandConfig,
        paths: Vec<PathBuf>,
    ) -> StageResult<ProcessSpec> {
        let inputs: Vec<(PortName, PortType, PathBuf)> = self
            .inputs
            .iter()
            .zip(paths)
            .map(|(input, path)| (input.port.clone(), input.port_type, path))
            .collect();
        let planned = self.planned();
        let attempt = CommandAttempt {
            run: &self.run,
            stage: &planned.name,
            attempt: self.attempt,
            folder: &self.folder,
            base: &self.plan.base,
            config,
            inputs: &inputs,
            cpus: planned.resources.cpus.max(1),
        };
        attempt.prepare(&self.passed)
    }

    fn prepare_worker(&self, paths: Vec<PathBuf>) -> StageResult<ProcessSpec> {
        let planned = self.planned();
        let inputs: IndexMap<PortName, AssignedInput> = self
            .inputs
            .iter()
            .zip(paths)
            .map(|(input, path)| {
                let PreparedInput { port, port_type, digest, meta } = input;
                let (port_type, digest, meta) = (*port_type, *digest, meta.clone());
                (port.clone(), AssignedInput { port_type, digest, path, meta })
            })
            .collect();
        let outputs = planned
            .outputs
            .iter()
            .map(|output| (output.port.clone(), AssignedOutput { port_type: output.port_type }))
            .collect();
        let cpus = planned.resources.cpus.max(1);
        let artifacts = self.artifacts.folder();
        let assignment = Assignment {
            version: ASSIGNMENT_VERSION,
            run: self.run.clone(),
            pipeline: self.plan.pipeline.clone(),
            stage: planned.name.clone(),
            attempt: self.attempt,
            token: self.token.ok_or_else(|| StageError::internal("the attempt has no token"))?,
            kind: planned.kind.clone(),
            config: planned.config.clone(),
            inputs,
            outputs,
            base: self.plan.base.clone(),
            artifacts: std::path::absolute(artifacts).unwrap_or_else(|_| artifacts.to_owned()),
            cpus,
        };
        let path = self.folder.join(layout::ASSIGNMENT);
        let written = serde_json::to_vec_pretty(&assignment)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&path, bytes));
        written
            .map_err(|error| StageError::io(format!("cannot write {}", path.display()), error))?;
        let bytes = |text: &std::ffi::OsStr| text.as_bytes().to_vec();
        let program = bytes(self.program.path.as_os_str());
        let mut arguments = vec![PROCESS_NAME.as_bytes().to_vec()];
        arguments.extend(self.program.worker.iter().map(|argument| bytes(argument)));
        arguments.push(bytes(self.folder.as_os_str()));
        // A worker is this same binary: it sees the engine's environment, threads apart.
        let threads = cpus.to_string();
        let environment = std::env::vars_os()
            .filter(|(name, _)| {
                name != ONE_THREAD && !THREADS.iter().any(|threads| name == threads)
            })
            .map(|(name, value)| variable(name.as_bytes(), value.as_bytes()))
            .chain(THREADS.iter().map(|name| variable(name.as_bytes(), threads.as_bytes())))
            .chain([variable(ONE_THREAD.as_bytes(), b"1")])
            .collect();
        Ok(ProcessSpec {
            folder: self.plan.base.clone(),
            programs: vec![program],
            arguments,
            environment,
        })
    }
}
