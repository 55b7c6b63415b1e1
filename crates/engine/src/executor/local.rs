//! Attempts as processes of this machine.
//!
//! A supervisor process starts and ends them ([`crate::supervisor`]); what they report is read
//! from files in their folders. Making those files, and keeping what an attempt made, happens on
//! threads of their own where it is more than a moment's work.

mod ended;
mod prepare;
mod running;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use wick_artifact::ArtifactStore;
use wick_core::{Failure, FailureCause, Fingerprint, MetricPoint, RunId, Usage};
use wick_plan::StageIndex;
use wick_stage::{StageError, checkpoint, layout};
use wick_store::Store;

use super::{Change, End, Executor, Executors, Made, News, StopReason, Submission};
use crate::command::COMMAND;
use crate::command::config::CommandConfig;
use crate::command::launch::Passed;
use crate::error::{EngineError, EngineResult};
use crate::folder::{CHECKPOINTS_KEPT, checkpoints_folder, make_attempt_folder, run_folder};
use crate::meter::Carbon;
use crate::meter::energy::EnergyMeter;
use crate::meter::sampler::{Sample, SamplerThread, Watch};
use crate::process::{self, Program, Supervisor};
use crate::protocol::{ProcessId, Report};
use crate::{failure, identity, orphans};
use prepare::{Preparation, Prepared};
use running::{Look, Running};

/// How often the files into which attempts report are looked at.
const TAIL_INTERVAL: Duration = Duration::from_millis(50);

/// How long an attempt has to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// Runs attempts on this machine.
#[derive(Debug, Clone)]
pub struct LocalExecutors {
    project: PathBuf,
    artifacts: Arc<ArtifactStore>,
    program: Program,
}

impl LocalExecutors {
    /// For the project whose `.wick` folder is `project`. `program` is supervisor and worker.
    pub fn new(
        project: impl Into<PathBuf>,
        artifacts: Arc<ArtifactStore>,
        program: Program,
    ) -> Self {
        let project = project.into();
        // Processes run elsewhere: what they are told must not depend on where this one stands.
        let project = std::path::absolute(&project).unwrap_or(project);
        Self { project, artifacts, program }
    }
}

#[async_trait]
impl Executors for LocalExecutors {
    async fn end_orphans(&self, store: &dyn Store, run: &RunId) -> EngineResult<()> {
        Ok(orphans::end_of_run(store, run).await?)
    }

    fn run_folder(&self, run: &RunId) -> PathBuf {
        run_folder(&self.project, run)
    }

    fn begin(&self, run: &RunId, carbon: Carbon) -> EngineResult<Box<dyn Executor>> {
        let folder = self.run_folder(run);
        std::fs::create_dir_all(&folder)
            .map_err(EngineError::system(format!("make the folder {}", folder.display())))?;
        let mut executor = LocalExecutor::new(run.clone(), self, carbon);
        executor.sweep_checkpoints();
        Ok(Box::new(executor))
    }
}

/// Runs the attempts of one run on this machine.
struct LocalExecutor {
    run: RunId,
    artifacts: Arc<ArtifactStore>,
    /// The folder of all checkpoints.
    checkpoints: PathBuf,
    /// Removals of checkpoints under way.
    removals: Vec<JoinHandle<()>>,
    program: Program,
    passed: Arc<Passed>,
    commands: HashMap<StageIndex, Arc<CommandConfig>>,
    /// The folders of attempts whose start is on its way into the store.
    ahead: HashMap<(StageIndex, u32), AheadFolder>,
    /// Whether any of them is still to be made.
    has_unmade: bool,
    running: HashMap<StageIndex, Running>,
    supervisor: Option<Supervisor>,
    /// What the supervisor reports, as long as it lives.
    reports: Option<process::Reports>,
    tails: Interval,
    work: mpsc::UnboundedSender<Work>,
    inbox: mpsc::UnboundedReceiver<Work>,
    /// What is still to be told.
    news: Vec<News>,
    /// How many processes had been killed for memory when last seen.
    memory_kills: u64,
    /// When this began: the time of the meters goes by it.
    clock: Instant,
    sampler: SamplerThread,
    energy: EnergyMeter,
    carbon: Carbon,
}

/// The folder of an attempt that is expected.
struct AheadFolder {
    path: PathBuf,
    is_made: bool,
}

/// Work on files that was done on another thread.
enum Work {
    /// An attempt's files are ready, or why not.
    Prepared(StageIndex, u32, Result<Prepared, Failure>),
    /// An attempt's outputs are kept, or why not.
    Collected(StageIndex, u32, Result<(Made, Vec<MetricPoint>), Failure>),
    /// An attempt was looked at.
    Sampled(Sample),
}

/// What [`LocalExecutor::news`] waits for.
enum Heard {
    Leisure,
    Sent,
    Look,
    Reports(Vec<Report>),
    SupervisorLost,
    Work(Work),
}

/// What the supervisor calls an attempt.
const fn process_id(stage: StageIndex, attempt: u32) -> ProcessId {
    ((stage.0 as u64) << 32) | attempt as u64
}

const fn attempt_of(id: ProcessId) -> (StageIndex, u32) {
    (StageIndex((id >> 32) as u32), id as u32)
}

#[async_trait]
impl Executor for LocalExecutor {
    fn expect(&mut self, submission: &Submission) -> EngineResult<()> {
        self.ensure_supervisor()?;
        // Not now: whoever records the start is to begin first.
        let folder = AheadFolder { path: submission.folder.clone(), is_made: false };
        self.ahead.insert((submission.stage, submission.attempt), folder);
        self.has_unmade = true;
        Ok(())
    }

    /// Makes the attempt's folder and files, and asks for its process. Where that means more
    /// than a folder it happens on a thread of its own.
    fn submit(&mut self, submission: Submission) -> EngineResult<()> {
        let (stage, attempt) = (submission.stage, submission.attempt);
        let folder_is_made =
            self.ahead.remove(&(stage, attempt)).is_some_and(|folder| folder.is_made);
        let command = if submission.planned().kind == COMMAND {
            match self.command_config(&submission) {
                Ok(config) => Some(config),
                Err(failure) => {
                    self.running.insert(stage, Running::new(&submission, None, None));
                    self.fail(stage, attempt, failure, Usage::default());
                    return Ok(());
                }
            }
        } else {
            None
        };
        let begun = self.energy.mark();
        self.running.insert(stage, Running::new(&submission, command.clone(), begun));
        let preparation = Preparation {
            submission,
            folder_is_made,
            run: self.run.clone(),
            artifacts: self.artifacts.clone(),
            checkpoints: self.checkpoints.clone(),
            command,
            passed: self.passed.clone(),
            program: self.program.clone(),
        };
        // A folder is sooner made than handed to a thread.
        if preparation.is_small() {
            return self.prepared(stage, attempt, preparation.carry_out());
        }
        let work = self.work.clone();
        tokio::task::spawn_blocking(move || {
            let _ = work.send(Work::Prepared(stage, attempt, preparation.carry_out()));
        });
        Ok(())
    }

    fn stop(&mut self, stage: StageIndex, attempt: u32, reason: StopReason) {
        let Some(running) = running(&mut self.running, stage, attempt) else { return };
        running.stop.get_or_insert(reason);
        if running.is_asked_for()
            && let Some(supervisor) = &mut self.supervisor
        {
            supervisor.stop(process_id(stage, attempt), GRACE);
        }
    }

    fn published(&mut self, fingerprint: &Fingerprint) {
        self.removals.retain(|removal| !removal.is_finished());
        // Hardly any stage saves anything.
        if self.checkpoints.join(fingerprint.to_string()).exists() {
            let (root, run, fingerprint) =
                (self.checkpoints.clone(), self.run.clone(), *fingerprint);
            // What cannot be removed is in nobody's way, and swept when it is old.
            self.removals
                .push(thread::spawn(move || drop(checkpoint::forget(&root, &fingerprint, &run))));
        }
    }

    async fn news(&mut self) -> EngineResult<Vec<News>> {
        loop {
            if !self.news.is_empty() {
                return Ok(std::mem::take(&mut self.news));
            }
            let unsent = self.supervisor.as_ref().is_some_and(Supervisor::has_unsent);
            let has_unmade = self.has_unmade;
            let heard = tokio::select! {
                biased;
                () = flush(&mut self.supervisor), if unsent => Heard::Sent,
                _ = self.tails.tick(), if !self.running.is_empty() => Heard::Look,
                reports = next_reports(&mut self.reports), if self.reports.is_some() => {
                    reports.map_or(Heard::SupervisorLost, Heard::Reports)
                }
                Some(work) = self.inbox.recv() => Heard::Work(work),
                // When nobody else has anything to do: what is recorded is on its way to the disk.
                () = tokio::task::yield_now(), if has_unmade => Heard::Leisure,
            };
            match heard {
                Heard::Leisure => self.make_folders_ahead(),
                Heard::Sent => {}
                Heard::Look => self.look(),
                Heard::Reports(reports) => {
                    reports.into_iter().for_each(|report| self.reported(report));
                }
                Heard::SupervisorLost => self.supervisor_lost(),
                Heard::Work(Work::Prepared(stage, attempt, prepared)) => {
                    self.prepared(stage, attempt, prepared)?;
                }
                Heard::Work(Work::Collected(stage, attempt, collected)) => {
                    self.collected(stage, attempt, collected);
                }
                Heard::Work(Work::Sampled(sample)) => self.sampled(sample),
            }
        }
    }
}

/// Sends what the supervisor is asked for. If it is gone its reports end, which tells.
async fn flush(supervisor: &mut Option<Supervisor>) {
    if let Some(supervisor) = supervisor
        && supervisor.flush().await.is_err()
    {
        supervisor.give_up();
    }
}

async fn next_reports(reports: &mut Option<process::Reports>) -> Option<Vec<Report>> {
    reports.as_mut()?.next().await.ok().flatten()
}

fn running(
    running: &mut HashMap<StageIndex, Running>,
    stage: StageIndex,
    attempt: u32,
) -> Option<&mut Running> {
    running.get_mut(&stage).filter(|running| running.attempt == attempt)
}

impl LocalExecutor {
    fn new(run: RunId, executors: &LocalExecutors, carbon: Carbon) -> Self {
        let (work, inbox) = mpsc::unbounded_channel();
        let mut tails = tokio::time::interval(TAIL_INTERVAL);
        tails.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let clock = Instant::now();
        Self {
            run,
            artifacts: executors.artifacts.clone(),
            checkpoints: checkpoints_folder(&executors.project),
            removals: Vec::new(),
            program: executors.program.clone(),
            passed: Arc::new(Passed::from_environment()),
            commands: HashMap::new(),
            ahead: HashMap::new(),
            has_unmade: false,
            running: HashMap::new(),
            supervisor: None,
            reports: None,
            tails,
            work,
            inbox,
            news: Vec::new(),
            memory_kills: failure::out_of_memory_kills(),
            clock,
            sampler: SamplerThread::new(clock),
            energy: EnergyMeter::default(),
            carbon,
        }
    }

    /// Makes the folders of attempts that are expected, each with an empty log, while their starts
    /// are flushed to the disk. One that is never submitted is in nobody's way: an attempt of that
    /// number makes its folder anew.
    fn make_folders_ahead(&mut self) {
        self.has_unmade = false;
        for folder in self.ahead.values_mut().filter(|folder| !folder.is_made) {
            // One that cannot be made is tried again in its time, which tells why.
            folder.is_made = make_attempt_folder(&folder.path)
                .and_then(|()| std::fs::File::create(folder.path.join(layout::LOG)))
                .is_ok();
        }
    }

    /// Begins to remove the checkpoints of stages that were given up.
    fn sweep_checkpoints(&mut self) {
        if self.checkpoints.exists() {
            let root = self.checkpoints.clone();
            // That it cannot be done now is no reason not to run.
            let sweep = move || drop(checkpoint::sweep(&root, CHECKPOINTS_KEPT));
            self.removals.push(thread::spawn(sweep));
        }
    }

    fn tell(&mut self, stage: StageIndex, attempt: u32, change: Change) {
        self.news.push(News { stage, attempt, change });
    }

    /// The parsed `with` of a command stage.
    fn command_config(&mut self, submission: &Submission) -> Result<Arc<CommandConfig>, Failure> {
        if let Some(config) = self.commands.get(&submission.stage) {
            return Ok(config.clone());
        }
        let config = CommandConfig::deserialize(&submission.planned().config).map_err(|error| {
            StageError::internal(format!("the plan let a wrong configuration pass: {error}"))
                .to_failure()
        })?;
        let config = Arc::new(config);
        self.commands.insert(submission.stage, config.clone());
        Ok(config)
    }

    /// The attempt's files are ready: asks for its process.
    fn prepared(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        prepared: Result<Prepared, Failure>,
    ) -> EngineResult<()> {
        let Some(running) = running(&mut self.running, stage, attempt) else { return Ok(()) };
        let usage = Usage::default();
        let Prepared { spec, inputs } = match (prepared, running.stop) {
            (Err(failure), _) => {
                self.fail(stage, attempt, failure, usage);
                return Ok(());
            }
            (Ok(_), Some(StopReason::Cancel | StopReason::RunTimeout)) => {
                self.end(stage, attempt, usage, End::Cancelled);
                return Ok(());
            }
            (Ok(_), Some(StopReason::Timeout)) => {
                let timeout = running.planned().timeout.unwrap_or_default();
                self.fail(stage, attempt, failure::timed_out(timeout, None), usage);
                return Ok(());
            }
            (Ok(prepared), None) => prepared,
        };
        let log = running.folder.join(layout::LOG);
        running.spec = Some(spec.clone());
        running.inputs = inputs;
        let asked = self.ensure_supervisor()?.spawn(process_id(stage, attempt), &spec, &log);
        if let Err(error) = asked {
            let failure = StageError::io("cannot start it", error).to_failure();
            let failure = Failure { cause: FailureCause::Spawn, ..failure };
            self.fail(stage, attempt, failure, usage);
        }
        Ok(())
    }

    /// Takes what attempts have reported since the last look, and tells of the processes that
    /// have lived long enough to be worth a word.
    fn look(&mut self) {
        let (now, elapsed) = (identity::now(), self.clock.elapsed());
        self.energy.tick(elapsed);
        for (&stage, running) in &mut self.running {
            let attempt = running.attempt;
            if let Some((leader, begun)) = running.due_to_watch(elapsed) {
                let wants_gpus = running.planned().resources.gpus > 0;
                let id = process_id(stage, attempt);
                let work = self.work.clone();
                self.sampler.watch(Watch { id, leader, begun, wants_gpus }, move |sample| {
                    let _ = work.send(Work::Sampled(sample));
                });
            }
            let mut tell = |change| self.news.push(News { stage, attempt, change });
            if let Some(pid) = running.pid.filter(|_| !running.pid_told) {
                running.pid_told = true;
                tell(Change::Spawned { pid, started: orphans::started(pid).unwrap_or(0) });
            }
            let Look { mut points, progress, .. } = running.reports.read(now, false);
            if !points.is_empty() {
                running.make_harmless(&mut points);
                tell(Change::Measured(points));
            }
            if let Some(progress) = progress {
                tell(Change::Progressed(progress));
            }
        }
    }

    fn reported(&mut self, report: Report) {
        match report {
            Report::Hello(_) => {}
            Report::Spawned { id, pid } => {
                let (stage, attempt) = attempt_of(id);
                let elapsed = self.clock.elapsed();
                if let Some(running) = running(&mut self.running, stage, attempt) {
                    running.pid = Some(pid);
                    running.spawned = elapsed;
                }
            }
            Report::Refused { id, step, errno } => {
                let (stage, attempt) = attempt_of(id);
                let refused = running(&mut self.running, stage, attempt);
                if let Some(spec) = refused.and_then(|running| running.spec.as_ref()) {
                    let failure = failure::refused(step, errno, spec);
                    self.fail(stage, attempt, failure, Usage::default());
                }
            }
            Report::Exited {
                id,
                status,
                wall_micros,
                cpu_micros,
                max_rss_bytes,
                read_bytes,
                written_bytes,
                group,
            } => {
                let (stage, attempt) = attempt_of(id);
                let usage = Usage {
                    wall_micros,
                    cpu_micros,
                    max_rss_bytes,
                    read_bytes: Some(read_bytes),
                    written_bytes: Some(written_bytes),
                    ..Usage::default()
                };
                let usage = self.metered(stage, attempt, usage);
                self.exited(stage, attempt, failure::exit_of(status), usage, group);
            }
        }
    }

    /// An attempt was looked at.
    fn sampled(&mut self, sample: Sample) {
        let (stage, attempt) = attempt_of(sample.id);
        if let Some(running) = running(&mut self.running, stage, attempt) {
            running.seen = sample.seen;
            self.tell(stage, attempt, Change::Measured(sample.points));
        }
    }

    /// What an attempt used whose process has ended: with what was seen of it meanwhile, and the
    /// energy that it took.
    fn metered(&mut self, stage: StageIndex, attempt: u32, mut usage: Usage) -> Usage {
        let Some(running) = running(&mut self.running, stage, attempt) else { return usage };
        running.seen.complete(&mut usage);
        let wall = Duration::from_micros(usage.wall_micros);
        let (begun, now) = (running.begun, self.clock.elapsed());
        let counted = self.energy.share(begun, usage.cpu_micros, wall, now);
        self.carbon.charge(&mut usage, counted, running.seen.gpu_joules);
        usage
    }

    fn ensure_supervisor(&mut self) -> EngineResult<&mut Supervisor> {
        let supervisor = match self.supervisor.take() {
            Some(supervisor) => supervisor,
            None => {
                let (supervisor, reports) = Supervisor::start(&self.program, &self.run)?;
                self.reports = Some(reports);
                supervisor
            }
        };
        Ok(self.supervisor.insert(supervisor))
    }

    /// Fails what ran under a supervisor that died; the next attempt starts another.
    fn supervisor_lost(&mut self) {
        (self.supervisor, self.reports) = (None, None);
        let lost: Vec<(StageIndex, u32, Option<u32>)> = self
            .running
            .iter()
            .filter(|(_, running)| running.is_asked_for())
            .map(|(stage, running)| (*stage, running.attempt, running.pid))
            .collect();
        for (stage, attempt, pid) in lost {
            if let Some(pid) = pid {
                orphans::kill_group(pid);
            }
            self.fail(stage, attempt, failure::supervisor_lost(), Usage::default());
        }
        orphans::kill_marked(&self.run);
    }
}

impl Drop for LocalExecutor {
    fn drop(&mut self) {
        for removal in self.removals.drain(..) {
            // A removal that panicked has printed why, and nothing depends on it.
            let _ = removal.join();
        }
    }
}
