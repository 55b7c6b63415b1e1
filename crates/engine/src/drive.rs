//! Drives one run: carries out what the dispatcher wants, and tells it what came of it.
//!
//! One loop owns everything. What takes long happens elsewhere and is heard of: the executor's
//! news, the recorder's commits, answers of the resolver. The drive itself touches no file and no
//! process, and asks the [`World`] for the time: so a test can be all that is around it.

mod attempts;
mod claims;
mod facts;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use wick_core::{
    Effect, Event, EventBody, Failure, Fingerprint, MetricKey, MetricPoint, Output, RunState,
    StageName, Timestamp, Token, Usage,
};
use wick_plan::{Plan, StageIndex, Treatment, Treatments};
use wick_store::slots::Obstacle;
use wick_store::{EngineId, Lease, Store, StoreError, StoreResult};

use crate::dispatcher::{Action, CancelMode, Dispatcher, Message, Past, Policy, Timer};
use crate::engine::CancelHandle;
use crate::error::{EngineError, EngineResult};
use crate::executor::{self, Executor, Submission};
use crate::history::History;
use crate::identity;
use crate::reads::Measured;
use crate::recorder::{self, Entry};
use crate::report::{FailedStage, Reporter, Totals};
use crate::resolver::{Resolution, Resolved, Resolver};
use crate::sharing::{Permit, Shared};
use crate::slots::Slots;
use crate::wake::Wake;
use crate::world::{self, World};

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
    /// Time, chance, and tasks.
    pub world: Arc<dyn World>,
    /// Changes when somebody calls to look after the run.
    pub wake: Wake,
    /// Carries attempts out.
    pub executor: Box<dyn Executor>,
    /// Finds fingerprints and cached outputs.
    pub resolver: Arc<Resolver>,
    /// The right to drive the run.
    pub lease: Lease,
    /// Who drives it.
    pub engine: EngineId,
    /// The run's folder.
    pub folder: PathBuf,
    /// What of the machine the run may occupy.
    pub slots: Slots,
    /// What there is of what the project counts by name.
    pub named_slots: Vec<(String, u32)>,
    /// How that is shared with other runs.
    pub shared: Arc<dyn Shared>,
    /// Whether stages that do not need a failed one go on.
    pub keep_going: bool,
    /// By which the run can be cancelled.
    pub cancel: CancelHandle,
    /// What is to be done with each stage.
    pub treatments: Treatments,
    /// What earlier drives of the run have left.
    pub history: History,
}

/// How a drive ended.
pub struct Ended {
    /// The run's state.
    pub state: RunState,
    /// How many stages ended how.
    pub totals: Totals,
    /// The stages that failed for good.
    pub failed: Vec<FailedStage>,
    /// Whether the run took longer than it may.
    pub timed_out: bool,
}

/// What happened elsewhere, but for the executor's news.
enum News {
    /// A batch is in the store, with so many facts.
    Recorded(Vec<Event>, usize),
    /// The recorder waits for whoever holds the store.
    StoreBusy(String),
    /// The recorder has ended.
    RecorderEnded(StoreResult<()>),
    /// Stages are resolved.
    Resolved(EngineResult<Vec<Resolution>>),
    /// A claim of a stage waits for another run.
    Waits { stage: StageIndex, number: u64, obstacle: Obstacle },
    /// A claim of a stage was granted.
    Granted { stage: StageIndex, number: u64, permit: Permit },
    /// Someone asked for the run to be cancelled.
    CancelRequested,
    /// Another engine took the run.
    LeaseLost,
}

/// What the loop waits for.
enum Heard {
    Cancel(Option<CancelMode>),
    Timer,
    Executor(Vec<executor::News>),
    News(News),
}

/// All that is known of a stage beside its phase, which is the dispatcher's.
struct StageInfo {
    treatment: Treatment,
    /// The first attempt that this drive makes, if it makes one.
    first_attempt: u32,
    /// Whether the store still knows it as it was left by an earlier drive.
    has_ended: bool,
    resolved: Option<Box<Resolved>>,
    /// Since when its next attempt could be made: when all that it needs was there, or since it
    /// is to be tried again.
    queued: Option<Timestamp>,
    /// Why it is skipped, if its condition does not hold.
    condition: String,
    outputs: Vec<Output>,
    /// What it has measured.
    measured: Measured,
    /// Whether another stage asks for that.
    is_watched: bool,
    /// Its instances, once its list is known.
    instances: Option<Vec<StageIndex>>,
    token: Option<Token>,
    /// The attempt whose start is on its way into the store.
    expected: Option<Box<Submission>>,
    /// What it wants by name, claimed or granted.
    claim: Option<claims::Claim>,
    /// The attempt that the executor is carrying out.
    submitted: Option<u32>,
    /// How the attempt that is being finished ended.
    ending: Option<Box<Ending>>,
    /// Whether the parts of the fingerprint were recorded.
    parts_recorded: bool,
    /// The highest step of each metric that is watched.
    steps: HashMap<MetricKey, i64>,
}

impl StageInfo {
    fn new(treatment: Treatment, past: &Past) -> Self {
        Self {
            treatment,
            first_attempt: past.attempts + 1,
            has_ended: past.state.has_outputs() && !past.leave,
            resolved: None,
            queued: None,
            condition: String::new(),
            outputs: Vec::new(),
            measured: Measured::Nothing,
            is_watched: false,
            instances: None,
            token: None,
            expected: None,
            claim: None,
            submitted: None,
            ending: None,
            parts_recorded: false,
            steps: HashMap::new(),
        }
    }

    /// Notes the latest values of metrics: the latest point is the one with the highest step.
    fn measure(&mut self, points: &[MetricPoint]) {
        for point in points {
            let step = self.steps.entry(point.key.clone()).or_insert(point.step);
            if point.step >= *step {
                *step = point.step;
                if !matches!(self.measured, Measured::Here(_)) {
                    self.measured = Measured::Here(HashMap::new());
                }
                if let Measured::Here(metrics) = &mut self.measured {
                    metrics.insert(point.key.to_string(), point.value);
                }
            }
        }
    }
}

#[derive(Default)]
struct Ending {
    usage: Usage,
    failure: Option<Failure>,
    outputs: Vec<Output>,
    effects: Vec<Effect>,
}

/// When a timer runs out, and of what.
type TimerEntry = Reverse<(Duration, Rings)>;

/// Whose timer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rings {
    Attempt(StageIndex, u32, Timer),
    Run,
}

/// A run being driven.
pub struct Drive {
    setup: Setup,
    dispatcher: Dispatcher,
    stages: Vec<StageInfo>,
    timers: BinaryHeap<TimerEntry>,
    news: mpsc::UnboundedSender<News>,
    inbox: mpsc::UnboundedReceiver<News>,
    entries: Option<mpsc::UnboundedSender<Entry>>,
    tokens: identity::Tokens,
    /// The fingerprints of stages whose success is on its way into the store.
    publishing: HashMap<StageName, Fingerprint>,
    last_claim: u64,
    /// What stages waited for that was told.
    told_waits: HashSet<Obstacle>,
    totals: Totals,
    failed: Vec<FailedStage>,
    /// Whether the run has taken longer than it may.
    timed_out: bool,
    /// Whether the end of the run is on its way into the store.
    is_ending: bool,
    finished: Option<RunState>,
}

impl Drive {
    /// Makes ready to drive.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn new(setup: Setup) -> EngineResult<Self> {
        let policy = Policy {
            slots: setup.slots,
            named: setup.named_slots.clone(),
            keep_going: setup.keep_going,
            max_ahead: AHEAD_PER_CPU * setup.slots.cpus.max(1) as usize,
            timeout: setup.plan.timeout,
            seed: setup.world.random()?,
        };
        let (news, inbox) = mpsc::unbounded_channel();
        let (entries, queue) = mpsc::unbounded_channel();
        let (world, store, lease) = (&setup.world, &setup.store, &setup.lease);
        let (batches, busy, end) = (news.clone(), news.clone(), news.clone());
        let recorder = recorder::record(
            world.clone(),
            store.clone(),
            lease.clone(),
            queue,
            move |batch, facts| {
                drop(batches.send(News::Recorded(batch, facts)));
            },
            move |holder: &str| drop(busy.send(News::StoreBusy(holder.to_owned()))),
        );
        world.spawn(Box::pin(async move {
            let ended = recorder.await;
            let _ = end.send(News::RecorderEnded(ended));
        }));
        let wake = setup.wake.clone();
        let heartbeat = beat(world.clone(), wake, store.clone(), lease.clone(), news.clone());
        world.spawn(Box::pin(heartbeat));
        let past: Vec<Past> = setup
            .plan
            .indexed()
            .map(|(index, stage)| setup.history.past(&stage.name, setup.treatments.of(index)))
            .collect();
        let stages: Vec<StageInfo> = (0..)
            .map(StageIndex)
            .zip(&past)
            .map(|(index, past)| StageInfo::new(setup.treatments.of(index), past))
            .collect();
        let count = stages.len();
        let mut drive = Self {
            dispatcher: Dispatcher::new(&setup.plan, policy, &past),
            stages,
            timers: BinaryHeap::new(),
            news,
            inbox,
            entries: Some(entries),
            tokens: identity::Tokens::from_seed(setup.world.random()?),
            publishing: HashMap::new(),
            last_claim: 0,
            told_waits: HashSet::new(),
            totals: Totals::of(count as u32),
            failed: Vec::new(),
            timed_out: false,
            is_ending: false,
            finished: None,
            setup,
        };
        drive.watch_metrics();
        drive.count_left(&past);
        Ok(drive)
    }

    /// Counts the stages that nothing is done about as what they are.
    fn count_left(&mut self, past: &[Past]) {
        for past in past {
            if past.leave && past.state.is_final() {
                self.totals.leave(past.state);
            }
        }
    }

    /// Drives the run to its end.
    ///
    /// # Errors
    /// If the run can no longer be recorded or its attempts no longer be carried out. All of them
    /// are stopped then.
    pub async fn until_done(mut self, reporter: &mut dyn Reporter) -> EngineResult<Ended> {
        let mut cancel = self.setup.cancel.watch();
        let (host, pid) = (self.setup.engine.host.clone(), self.setup.engine.pid);
        self.record_also(EventBody::RunStarted { host, pid });
        self.tell(Message::Begin)?;
        while self.finished.is_none() {
            let next_timer = self.timers.peek().map(|Reverse((at, _))| *at);
            let heard = tokio::select! {
                biased;
                // First what comes seldom: in a run of many short stages there is always news.
                Ok(()) = cancel.changed() => Heard::Cancel(*cancel.borrow_and_update()),
                () = sleep_until(&*self.setup.world, next_timer), if next_timer.is_some() => {
                    Heard::Timer
                }
                news = self.setup.executor.news() => Heard::Executor(news?),
                Some(news) = self.inbox.recv() => Heard::News(news),
            };
            match heard {
                Heard::Cancel(Some(mode)) => self.tell(Message::Cancel(mode))?,
                Heard::Cancel(None) => {}
                Heard::Timer => self.ring()?,
                Heard::Executor(news) => {
                    news.into_iter().try_for_each(|news| self.hear(news, reporter))?;
                }
                Heard::News(news) => self.take(news, reporter)?,
            }
            // However much the executor has to tell, the store is heard too.
            while let Ok(news) = self.inbox.try_recv() {
                self.take(news, reporter)?;
            }
        }
        // The recorder ends when it has written the last event that it was sent.
        self.entries = None;
        while let Some(news) = self.inbox.recv().await {
            match news {
                News::Recorded(batch, _) => self.report(&batch, reporter),
                News::StoreBusy(holder) => reporter.store_busy(&holder),
                News::RecorderEnded(ended) => {
                    ended?;
                    break;
                }
                _ => {}
            }
        }
        let state = self.finished.unwrap_or(RunState::Failed);
        let failed = std::mem::take(&mut self.failed);
        Ok(Ended { state, totals: self.totals, failed, timed_out: self.timed_out })
    }

    fn take(&mut self, news: News, reporter: &mut dyn Reporter) -> EngineResult<()> {
        match news {
            News::Recorded(batch, facts) => {
                self.report(&batch, reporter);
                if facts > 0 { self.tell(Message::Recorded { facts }) } else { Ok(()) }
            }
            News::StoreBusy(holder) => {
                reporter.store_busy(&holder);
                Ok(())
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
            News::Waits { stage, number, obstacle } => {
                self.waits(stage, number, obstacle, reporter)
            }
            News::Granted { stage, number, permit } => self.granted(stage, number, permit),
            News::CancelRequested => self.tell(Message::Cancel(CancelMode::Kill)),
            // The end of the run, which is on its way, gives the lease back. If another engine had
            // taken it before, the recorder says so.
            News::LeaseLost if self.is_ending => Ok(()),
            News::LeaseLost => Err(EngineError::LeaseLost { run: self.setup.lease.run.clone() }),
        }
    }

    /// Tells the dispatcher, and does what it wants.
    fn tell(&mut self, message: Message) -> EngineResult<()> {
        for action in self.dispatcher.apply(message) {
            match action {
                Action::Resolve(stages) => self.resolve(stages),
                Action::Record(fact) => self.record(fact)?,
                Action::Launch { stage, attempt } => self.launch(stage, attempt)?,
                Action::Claim { stage, wants } => self.claim(stage, wants),
                Action::LetGo { stage } => self.let_go(stage),
                Action::Stop { stage, attempt, reason } => {
                    self.setup.executor.stop(stage, attempt, reason);
                }
                Action::SetTimer { stage, attempt, timer, after } => {
                    self.set_timer(after, Rings::Attempt(stage, attempt, timer));
                }
                Action::SetRunTimer { after } => self.set_timer(after, Rings::Run),
                Action::Keep { .. } => self.totals.keep(),
                Action::Finish(state) => self.finished = Some(state),
            }
        }
        Ok(())
    }

    fn set_timer(&mut self, after: Duration, rings: Rings) {
        self.timers.push(Reverse((self.setup.world.elapsed() + after, rings)));
    }

    fn ring(&mut self) -> EngineResult<()> {
        let now = self.setup.world.elapsed();
        while let Some(Reverse((at, rings))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            match rings {
                Rings::Attempt(stage, attempt, timer) => {
                    if timer == Timer::Retry {
                        self.stages[stage.get()].queued = Some(self.setup.world.now());
                    }
                    self.tell(Message::Timer { stage, attempt, timer })?;
                }
                Rings::Run => {
                    self.timed_out = true;
                    self.tell(Message::RunTimeout)?;
                }
            }
        }
        Ok(())
    }
}

async fn sleep_until(world: &dyn World, at: Option<Duration>) {
    if let Some(at) = at {
        world.sleep_until(at).await;
    }
}

/// Ends when somebody calls, and never if nobody can any more.
async fn called(wake: &mut Wake) {
    if wake.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Prolongs the lease and looks for a request to cancel, until the drive ends.
async fn beat(
    world: Arc<dyn World>,
    mut wake: Wake,
    store: Arc<dyn Store>,
    lease: Lease,
    news: mpsc::UnboundedSender<News>,
) {
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            () = news.closed() => return,
            () = called(&mut wake) => {}
            () = world::sleep(&*world, HEARTBEAT) => {}
        }
        // That the store does not answer now is no reason to stop: the next commit will tell.
        if let Err(StoreError::LeaseLost(_)) = store.renew_lease(&lease, world.now()).await {
            let _ = news.send(News::LeaseLost);
            return;
        }
        if !asked && store.cancel_requested(&lease.run).await.unwrap_or(false) {
            asked = true;
            let _ = news.send(News::CancelRequested);
        }
    }
}
