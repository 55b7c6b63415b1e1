//! Drives one run: carries out what the dispatcher wants, and tells it what came of it.
//!
//! One loop owns everything. What takes long happens elsewhere and sends its [`News`]: the
//! supervisor's reports, the recorder's commits, answers of the resolver, files being prepared
//! and collected.

mod attempts;
mod prepare;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use wick_artifact::ArtifactStore;
use wick_core::{
    AttemptState, Effect, Event, EventBody, Failure, Input, MetricPoint, Output, RunId, RunState,
    SkipReason, Token, Usage,
};
use wick_plan::{InputSource, Plan, StageIndex};
use wick_store::{EngineId, Lease, Store, StoreError, StoreResult};

use crate::command::config::CommandConfig;
use crate::command::launch::{Passed, ProcessSpec};
use crate::dispatcher::{Action, CancelMode, Decision, Dispatcher, Fact, Message, Policy, Timer};
use crate::engine::CancelHandle;
use crate::error::{EngineError, EngineResult};
use crate::folder::attempt_folder;
use crate::process::{Program, Supervisor};
use crate::protocol::Report;
use crate::recorder::{self, Entry};
use crate::report::{FailedStage, Reporter, Totals};
use crate::resolver::{Found, Request, Resolution, Resolver};
use crate::slots::Slots;
use crate::{failure, identity};
use attempts::Running;

/// How often the files into which attempts report are looked at.
const TAIL_INTERVAL: Duration = Duration::from_millis(50);

/// How often the lease is prolonged, and a request to cancel is looked for.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How many starts may be recorded ahead of their slots, for each processor.
const AHEAD_PER_CPU: usize = 8;

/// What a drive is made of.
pub struct Setup {
    /// What to run.
    pub plan: Arc<Plan>,
    /// Where to record it.
    pub store: Arc<dyn Store>,
    /// Where its bytes go.
    pub artifacts: Arc<ArtifactStore>,
    /// How to start a supervisor and workers.
    pub program: Program,
    /// Finds fingerprints and cached outputs.
    pub resolver: Arc<Resolver>,
    /// The right to drive the run.
    pub lease: Lease,
    /// Who drives it.
    pub engine: EngineId,
    /// The run's folder, which is there.
    pub folder: PathBuf,
    /// What of the machine the run may occupy.
    pub slots: Slots,
    /// Whether stages that do not need a failed one go on.
    pub keep_going: bool,
    /// By which the run can be cancelled.
    pub cancel: CancelHandle,
    /// How many attempts each stage had before.
    pub earlier_attempts: Vec<u32>,
}

/// How a drive ended.
pub struct Ended {
    /// The run's state.
    pub state: RunState,
    /// How many stages ended how.
    pub totals: Totals,
    /// The stages that failed for good.
    pub failed: Vec<FailedStage>,
}

/// What happened elsewhere.
enum News {
    /// The supervisor reported.
    Reports(Vec<Report>),
    /// The supervisor with this number is gone.
    SupervisorLost(u32),
    /// A batch is in the store.
    Recorded(Vec<Entry>),
    /// The recorder has ended.
    RecorderEnded(StoreResult<()>),
    /// Stages are resolved.
    Resolved(EngineResult<Vec<Resolution>>),
    /// An attempt's files are ready, or why not.
    Prepared(StageIndex, u32, Result<ProcessSpec, Failure>),
    /// An attempt's outputs are kept, or why not.
    Collected(StageIndex, u32, Result<Collected, Failure>),
    /// Someone asked for the run to be cancelled.
    CancelRequested,
    /// Another engine took the run.
    LeaseLost,
}

/// What an attempt made.
#[derive(Debug, Default)]
struct Collected {
    outputs: Vec<Output>,
    effects: Vec<Effect>,
    points: Vec<MetricPoint>,
}

/// All that is known of a stage beside its phase, which is the dispatcher's.
#[derive(Default)]
struct StageInfo {
    resolution: Option<Resolution>,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    token: Option<Token>,
    /// How the attempt that is being finished ended.
    ending: Option<Ending>,
    /// Whether the parts of the fingerprint were recorded.
    parts_recorded: bool,
}

struct Ending {
    usage: Usage,
    failure: Option<Failure>,
    outputs: Vec<Output>,
    effects: Vec<Effect>,
}

type TimerEntry = Reverse<(Instant, StageIndex, u32, Timer)>;

/// A run being driven.
pub struct Drive {
    setup: Setup,
    dispatcher: Dispatcher,
    stages: Vec<StageInfo>,
    commands: HashMap<StageIndex, Arc<CommandConfig>>,
    running: HashMap<StageIndex, Running>,
    passed: Arc<Passed>,
    supervisor: Option<Supervisor>,
    /// How many supervisors were started; the latest has this number.
    supervisors: u32,
    timers: BinaryHeap<TimerEntry>,
    news: mpsc::UnboundedSender<News>,
    inbox: mpsc::UnboundedReceiver<News>,
    entries: Option<mpsc::UnboundedSender<Entry>>,
    heartbeat: JoinHandle<()>,
    tokens: identity::Tokens,
    totals: Totals,
    failed: Vec<FailedStage>,
    /// How many processes had been killed for memory when last seen.
    memory_kills: u64,
    finished: Option<RunState>,
}

impl Drive {
    /// Makes ready to drive. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn new(setup: Setup) -> EngineResult<Self> {
        let policy = Policy {
            slots: setup.slots,
            keep_going: setup.keep_going,
            max_ahead: AHEAD_PER_CPU * setup.slots.cpus.max(1) as usize,
        };
        let (news, inbox) = mpsc::unbounded_channel();
        let (entries, queue) = mpsc::unbounded_channel();
        let done = news.clone();
        let recorder = recorder::record(setup.store.clone(), setup.lease.clone(), queue, {
            let done = done.clone();
            move |batch| drop(done.send(News::Recorded(batch)))
        });
        tokio::spawn(async move {
            let ended = recorder.await;
            let _ = done.send(News::RecorderEnded(ended));
        });
        let heartbeat = tokio::spawn(beat(setup.store.clone(), setup.lease.clone(), news.clone()));
        let count = setup.plan.stages.len();
        Ok(Self {
            dispatcher: Dispatcher::new(&setup.plan, policy, &setup.earlier_attempts),
            stages: (0..count).map(|_| StageInfo::default()).collect(),
            commands: HashMap::new(),
            running: HashMap::new(),
            passed: Arc::new(Passed::from_environment()),
            supervisor: None,
            supervisors: 0,
            timers: BinaryHeap::new(),
            news,
            inbox,
            entries: Some(entries),
            heartbeat,
            tokens: identity::Tokens::from_seed(identity::random()?),
            totals: Totals::of(count as u32),
            failed: Vec::new(),
            memory_kills: failure::out_of_memory_kills(),
            finished: None,
            setup,
        })
    }

    /// Drives the run to its end.
    ///
    /// # Errors
    /// If the run can no longer be recorded or its processes no longer be started. All of them
    /// are stopped then.
    pub async fn until_done(mut self, reporter: &mut dyn Reporter) -> EngineResult<Ended> {
        let mut cancel = self.setup.cancel.watch();
        let mut tails = tokio::time::interval(TAIL_INTERVAL);
        tails.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (host, pid) = (self.setup.engine.host.clone(), self.setup.engine.pid);
        self.record_also(EventBody::RunStarted { host, pid });
        self.tell(Message::Begin)?;
        while self.finished.is_none() {
            if let Some(supervisor) = &mut self.supervisor
                && supervisor.flush().await.is_err()
            {
                self.supervisor_lost()?;
            }
            let next_timer = self.timers.peek().map(|Reverse((at, ..))| *at);
            tokio::select! {
                biased;
                // First what comes seldom: in a run of many short stages there is always news.
                Ok(()) = cancel.changed() => {
                    let mode = *cancel.borrow_and_update();
                    if let Some(mode) = mode {
                        self.tell(Message::Cancel(mode))?;
                    }
                }
                () = sleep_until(next_timer), if next_timer.is_some() => self.ring()?,
                _ = tails.tick(), if !self.running.is_empty() => self.follow(reporter),
                Some(news) = self.inbox.recv() => {
                    self.take(news, reporter)?;
                    while let Ok(news) = self.inbox.try_recv() {
                        self.take(news, reporter)?;
                    }
                }
            }
        }
        // The recorder ends when it has written the last event that it was sent.
        self.entries = None;
        while let Some(news) = self.inbox.recv().await {
            match news {
                News::Recorded(batch) => self.report(&batch, reporter),
                News::RecorderEnded(ended) => {
                    ended?;
                    break;
                }
                _ => {}
            }
        }
        let state = self.finished.unwrap_or(RunState::Failed);
        Ok(Ended { state, totals: self.totals, failed: std::mem::take(&mut self.failed) })
    }

    fn take(&mut self, news: News, reporter: &mut dyn Reporter) -> EngineResult<()> {
        match news {
            News::Reports(reports) => {
                reports.into_iter().try_for_each(|report| self.reported(report))
            }
            News::SupervisorLost(number) if number == self.supervisors => self.supervisor_lost(),
            News::SupervisorLost(_) => Ok(()),
            News::Recorded(batch) => {
                self.report(&batch, reporter);
                let facts = batch.iter().filter(|entry| entry.is_fact).count();
                if facts > 0 { self.tell(Message::Recorded { facts }) } else { Ok(()) }
            }
            News::RecorderEnded(Err(StoreError::LeaseLost(run))) => {
                Err(EngineError::LeaseLost { run })
            }
            News::RecorderEnded(Err(error)) => Err(error.into()),
            News::RecorderEnded(Ok(())) => {
                Err(EngineError::Internal("the recorder ended before the run".to_owned()))
            }
            News::Resolved(resolutions) => {
                resolutions?.into_iter().try_for_each(|resolution| self.resolved(resolution))
            }
            News::Prepared(stage, attempt, prepared) => self.prepared(stage, attempt, prepared),
            News::Collected(stage, attempt, collected) => self.collected(stage, attempt, collected),
            News::CancelRequested => self.tell(Message::Cancel(CancelMode::Kill)),
            News::LeaseLost => Err(EngineError::LeaseLost { run: self.setup.lease.run.clone() }),
        }
    }

    /// Tells the dispatcher, and does what it wants.
    fn tell(&mut self, message: Message) -> EngineResult<()> {
        for action in self.dispatcher.apply(message) {
            match action {
                Action::Resolve(stages) => self.resolve(stages)?,
                Action::Record(fact) => self.record(fact)?,
                Action::Launch { stage, attempt } => self.launch(stage, attempt)?,
                Action::Stop { stage, attempt, reason } => self.stop(stage, attempt, reason),
                Action::SetTimer { stage, attempt, timer, after } => {
                    self.timers.push(Reverse((Instant::now() + after, stage, attempt, timer)));
                }
                Action::Finish(state) => self.finished = Some(state),
            }
        }
        Ok(())
    }

    fn ring(&mut self) -> EngineResult<()> {
        let now = Instant::now();
        while let Some(Reverse((at, stage, attempt, timer))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            self.tell(Message::Timer { stage, attempt, timer })?;
        }
        Ok(())
    }

    // ---- resolving -----------------------------------------------------------------------

    fn resolve(&mut self, stages: Vec<StageIndex>) -> EngineResult<()> {
        let mut requests = Vec::with_capacity(stages.len());
        for stage in stages {
            let inputs = self.inputs_of(stage)?;
            requests
                .push(Request { stage, inputs: inputs.iter().map(|input| input.digest).collect() });
            self.stages[stage.get()].inputs = inputs;
        }
        let (resolver, news) = (self.setup.resolver.clone(), self.news.clone());
        tokio::spawn(async move {
            let _ = news.send(News::Resolved(resolver.resolve(requests).await));
        });
        Ok(())
    }

    /// What a stage reads, now that all that it needs is there.
    fn inputs_of(&self, stage: StageIndex) -> EngineResult<Vec<Input>> {
        let planned = self.setup.plan.stage(stage);
        let inputs = planned.inputs.iter().map(|input| {
            let InputSource::Output { from, output: wanted } = &input.source else {
                let message = "inputs that gather instances cannot be read";
                return Err(EngineError::Internal(message.to_owned()));
            };
            let outputs = &self.stages[from.get()].outputs;
            let from = &self.setup.plan.stage(*from).name;
            let output = outputs.iter().find(|output| output.port == *wanted);
            output
                .map(|output| Input {
                    port: input.port.clone(),
                    stage: from.clone(),
                    output: wanted.clone(),
                    item: None,
                    digest: output.digest,
                })
                .ok_or_else(|| {
                    let output = wanted;
                    EngineError::Internal(format!("stage {from} succeeded without {output}"))
                })
        });
        inputs.collect()
    }

    fn resolved(&mut self, resolution: Resolution) -> EngineResult<()> {
        let stage = resolution.stage;
        let info = &mut self.stages[stage.get()];
        let decision = match &resolution.found {
            Found::Kept(outputs) => {
                info.outputs.clone_from(outputs);
                self.totals.keep();
                Decision::Kept
            }
            Found::Cached(cached) => {
                info.outputs.clone_from(&cached.outputs);
                Decision::Cached
            }
            Found::Nothing => Decision::Run,
        };
        info.resolution = Some(resolution);
        self.tell(Message::Resolved { stage, decision })
    }

    // ---- recording -----------------------------------------------------------------------

    /// Sends a fact of the dispatcher to the store.
    fn record(&mut self, fact: Fact) -> EngineResult<()> {
        let body = self.body_of(fact)?;
        if let Fact::Started { .. } = fact {
            // Ready by the time at which the start is recorded.
            self.ensure_supervisor()?;
        }
        self.send(body, true);
        Ok(())
    }

    /// Sends something to the store that the dispatcher does not wait for.
    fn record_also(&mut self, body: EventBody) {
        self.send(body, false);
    }

    fn send(&self, body: EventBody, is_fact: bool) {
        if let Some(entries) = &self.entries {
            let event = Event { time: identity::now(), body };
            // The recorder ends early only with an error, of which it has sent news.
            let _ = entries.send(Entry { event, is_fact });
        }
    }

    fn body_of(&mut self, fact: Fact) -> EngineResult<EventBody> {
        let name = |stage: StageIndex| self.setup.plan.stage(stage).name.clone();
        let unresolved = || EngineError::Internal("a stage was started unresolved".to_owned());
        Ok(match fact {
            Fact::Started { stage, attempt } => {
                let name = name(stage);
                let info = &mut self.stages[stage.get()];
                let resolution = info.resolution.as_ref().ok_or_else(unresolved)?;
                let token = self.tokens.draw();
                info.token = Some(token);
                let parts = (!std::mem::replace(&mut info.parts_recorded, true))
                    .then(|| serde_json::to_value(&resolution.parts).unwrap_or_default());
                EventBody::AttemptStarted {
                    stage: name,
                    attempt,
                    token,
                    fingerprint: resolution.fingerprint,
                    inputs: info.inputs.clone(),
                    parts,
                }
            }
            Fact::Finished { stage, attempt, state } => {
                let name = name(stage);
                let info = &mut self.stages[stage.get()];
                let ending = info.ending.take();
                // An attempt that was never launched has nothing to tell.
                let ending = ending.unwrap_or_else(|| Ending {
                    usage: Usage::default(),
                    failure: None,
                    outputs: Vec::new(),
                    effects: Vec::new(),
                });
                EventBody::AttemptFinished {
                    stage: name,
                    attempt,
                    token: info.token.take().ok_or_else(unresolved)?,
                    state,
                    usage: ending.usage,
                    failure: ending.failure,
                    outputs: ending.outputs,
                    effects: ending.effects,
                }
            }
            Fact::RetryScheduled { stage, attempt, delay } => EventBody::RetryScheduled {
                stage: name(stage),
                attempt,
                delay_ms: delay.as_millis() as u64,
            },
            Fact::Cached { stage } => {
                let name = name(stage);
                let info = &mut self.stages[stage.get()];
                let resolution = info.resolution.as_ref().ok_or_else(unresolved)?;
                let Found::Cached(cached) = &resolution.found else { return Err(unresolved()) };
                EventBody::StageCached {
                    stage: name,
                    fingerprint: resolution.fingerprint,
                    origin: cached.origin.clone(),
                    inputs: info.inputs.clone(),
                    outputs: cached.outputs.clone(),
                    effects: cached.effects.clone(),
                    parts: Some(serde_json::to_value(&resolution.parts).unwrap_or_default()),
                }
            }
            Fact::Skipped { stage, because } => {
                let reason = SkipReason::Need(name(because));
                EventBody::StageSkipped { stage: name(stage), reason }
            }
            Fact::Cancelled { stage } => EventBody::StageCancelled { stage: name(stage) },
            Fact::RunFinished { state } => EventBody::RunFinished { state },
        })
    }

    /// Tells the reporter what is now in the store.
    fn report(&mut self, batch: &[Entry], reporter: &mut dyn Reporter) {
        for Entry { event, .. } in batch {
            self.totals.count(&event.body);
            match &event.body {
                EventBody::AttemptFinished { stage, attempt, state, failure, .. }
                    if *state == AttemptState::Failed =>
                {
                    let folder = attempt_folder(&self.setup.folder, stage, *attempt);
                    let log = folder.join(wick_stage::layout::LOG);
                    if let Some(failure) = failure.clone() {
                        let (stage, attempt) = (stage.clone(), *attempt);
                        self.failed.push(FailedStage { stage, attempt, failure, folder, log });
                    }
                }
                EventBody::RetryScheduled { stage, .. } => {
                    self.failed.retain(|failed| failed.stage != *stage);
                }
                _ => {}
            }
            reporter.event(event, &self.totals);
        }
    }

    // ---- the supervisor ------------------------------------------------------------------

    fn ensure_supervisor(&mut self) -> EngineResult<&mut Supervisor> {
        let supervisor = match self.supervisor.take() {
            Some(supervisor) => supervisor,
            None => {
                let (supervisor, mut reports) = Supervisor::start(&self.setup.program)?;
                self.supervisors += 1;
                let (news, number) = (self.news.clone(), self.supervisors);
                tokio::spawn(async move {
                    while let Ok(Some(reports)) = reports.next().await {
                        if news.send(News::Reports(reports)).is_err() {
                            return;
                        }
                    }
                    let _ = news.send(News::SupervisorLost(number));
                });
                supervisor
            }
        };
        Ok(self.supervisor.insert(supervisor))
    }

    /// Fails what ran under a supervisor that died; the next launch starts another.
    fn supervisor_lost(&mut self) -> EngineResult<()> {
        if self.supervisor.take().is_none() {
            return Ok(());
        }
        let lost: Vec<(StageIndex, u32)> = self
            .running
            .iter()
            .filter(|(_, running)| running.is_asked_for())
            .map(|(stage, running)| (*stage, running.attempt()))
            .collect();
        for (stage, attempt) in lost {
            if let Some(pid) = self.running.get(&stage).and_then(Running::pid) {
                kill_group(pid);
            }
            self.fail(stage, attempt, failure::supervisor_lost(), Usage::default())?;
        }
        kill_marked(&self.setup.lease.run);
        Ok(())
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// Kills what is left of a process group whose supervisor died. The system has killed its leader
/// already; this is for the leader's children.
fn kill_group(pid: u32) {
    if let Some(group) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // That nothing is left is the usual case.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Kills every process that carries the mark of `run` in its environment: a supervisor may die
/// before it has told the pid of what it started. Nothing of the run is to live now.
fn kill_marked(run: &RunId) {
    let mark = format!("WICK_RUN={run}");
    // A process that is just being made shows no environment for a moment: so it is over only
    // when nothing was found twice in a row.
    let mut quiet = 0;
    for _ in 0..20 {
        quiet = if kill_bearers(mark.as_bytes()) == 0 { quiet + 1 } else { 0 };
        if quiet == 2 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills every other process with the variable `mark` in its environment; tells how many.
fn kill_bearers(mark: &[u8]) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let others = processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != std::process::id()));
    let mut killed = 0;
    for pid in others {
        // What cannot be read belongs to someone else, or has ended.
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            killed += 1;
        }
    }
    killed
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}

/// Prolongs the lease and looks for a request to cancel, until the drive ends.
async fn beat(store: Arc<dyn Store>, lease: Lease, news: mpsc::UnboundedSender<News>) {
    let mut asked = false;
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        // That the store does not answer now is no reason to stop: the next commit will tell.
        if let Err(StoreError::LeaseLost(_)) = store.renew_lease(&lease, identity::now()).await {
            let _ = news.send(News::LeaseLost);
            return;
        }
        if !asked && store.cancel_requested(&lease.run).await.unwrap_or(false) {
            asked = true;
            let _ = news.send(News::CancelRequested);
        }
    }
}

/// An error of the system as a failure of the attempt that met it.
fn io_failure(what: &str, error: io::Error) -> Failure {
    wick_stage::StageError::io(format!("cannot {what}"), error).to_failure()
}
