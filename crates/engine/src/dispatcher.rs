//! The dispatcher: all state of a run, as a pure state machine.
//!
//! It takes one [`Message`] at a time and answers with [`Action`]s. It knows no clock, no
//! process, no file and no store; those who do carry its actions out and tell it what came of
//! them. So a whole run can be played through in a test, with every failure that one can think
//! of.
//!
//! What it holds to:
//!
//! - **Write ahead.** It asks for a fact to be recorded, and launches an attempt only when it is
//!   told that the fact is in the store. Facts are recorded in the order in which it asks, so a
//!   stage's start lies behind the publication of all that the stage needs, and both may share
//!   one commit.
//! - **Slots.** Attempts that run, or may be launched as soon as their start is recorded, never
//!   occupy more than there is, of the machine and of what is counted by name.
//! - **Claims.** What is counted by name is shared with other runs: a stage that has its turn here
//!   claims it there, too, before it starts, and gives both back when its attempt has ended. While
//!   a claim waits for another run, the stage occupies nothing of the machine.
//! - **Looking ahead.** Where attempts take no longer than a commit, the starts of some more are
//!   recorded before there is a slot for them, so that no slot waits for the store. Their
//!   processes are launched when a slot is free. After a crash such an attempt is `lost` like any
//!   other that did not end.
//! - **Growing.** A stage that is written once for each item of a list gets its instances while
//!   the run goes on. It stands for them until the last has ended.
//! - **Nothing finished is lost.** What succeeded in an earlier drive of the run stays so until it
//!   is decided that it is to be done again.
//! - **Every run ends.** Each stage comes to a final state, whatever fails.

mod claims;
mod ends;
mod messages;
mod stage;
#[cfg(test)]
mod tests;
mod wait;

use std::collections::VecDeque;
use std::time::Duration;

use wick_core::{AttemptState, KindName, RunState};
use wick_plan::{Plan, StageIndex};

pub use messages::{
    Action, CancelMode, Decision, Fact, Message, Outcome, Past, Spec, StopReason, Timer, Why,
};

use crate::ready::ReadyQueue;
use crate::slots::{Pool, Slots};
use ends::Ended;
use stage::{Phase, Stage};
use wait::Chance;

/// Attempts shorter than this are started ahead of their slot.
const QUICK: Duration = Duration::from_millis(25);

/// How a run is to be driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What there is of the machine.
    pub slots: Slots,
    /// What there is of what the project counts by name.
    pub named: Vec<(String, u32)>,
    /// Whether stages that do not need a failed one go on.
    pub keep_going: bool,
    /// How many starts may be recorded ahead of their slots.
    pub max_ahead: usize,
    /// How long the run may take.
    pub timeout: Option<Duration>,
    /// From what the chance in the waits before further attempts is drawn.
    pub seed: u64,
}

/// The state of a run.
#[derive(Debug)]
pub struct Dispatcher {
    stages: Vec<Stage>,
    policy: Policy,
    pool: Pool,
    ready: ReadyQueue,
    /// Starts asked for or recorded ahead of their slots, oldest first.
    ahead: VecDeque<StageIndex>,
    kinds: Vec<KindName>,
    /// How long the last attempt of each kind took, as quick or not.
    quick: Vec<bool>,
    /// Facts asked for and not yet known to be recorded, oldest first.
    asked: VecDeque<Fact>,
    /// Stages that have ended, of which those that need them do not know yet.
    ended: Vec<Ended>,
    /// How many stages are not `Done`.
    open: usize,
    failed: usize,
    cancelled: usize,
    /// Set by the first failure where `keep_going` is off.
    stopped_by: Option<StageIndex>,
    cancel: Option<CancelMode>,
    timed_out: bool,
    finishing: bool,
    chance: Chance,
    actions: Vec<Action>,
}

impl Dispatcher {
    /// The state before anything happened. `past` tells, by stage, what earlier drives of the same
    /// run have left.
    pub fn new(plan: &Plan, policy: Policy, past: &[Past]) -> Self {
        let mut dispatcher = Self {
            stages: Vec::with_capacity(plan.stages.len()),
            pool: Pool::new(policy.slots, &policy.named),
            ready: ReadyQueue::default(),
            ahead: VecDeque::new(),
            kinds: Vec::new(),
            quick: Vec::new(),
            asked: VecDeque::new(),
            ended: Vec::new(),
            open: plan.stages.len(),
            failed: 0,
            cancelled: 0,
            stopped_by: None,
            cancel: None,
            timed_out: false,
            finishing: false,
            chance: Chance::new(policy.seed),
            actions: Vec::new(),
            policy,
        };
        for (index, planned) in plan.indexed() {
            let past = past.get(index.get()).copied().unwrap_or_default();
            let stage = dispatcher.stage(&Spec::new(planned, past), None, 0);
            dispatcher.stages.push(stage);
        }
        dispatcher.connect(plan);
        dispatcher
    }

    /// How a stage ended, if it has.
    pub fn end_of(&self, stage: StageIndex) -> Option<AttemptState> {
        match self.stages.get(stage.get())?.phase {
            Phase::Done(state) => Some(state),
            _ => None,
        }
    }

    /// Whether it is being found out what to do with a stage.
    pub fn is_resolving(&self, stage: StageIndex) -> bool {
        self.stages.get(stage.get()).is_some_and(|stage| stage.phase == Phase::Resolving)
    }

    /// Takes a message; tells what is to be done.
    pub fn apply(&mut self, message: Message) -> Vec<Action> {
        match message {
            Message::Begin => self.begin(),
            Message::Resolved { stage, decision } => self.resolved(stage, decision),
            Message::Recorded { facts } => self.recorded(facts),
            Message::Granted { stage } => self.granted(stage),
            Message::Waits { stage } => self.waits(stage),
            Message::Ended { stage, attempt, outcome, wall } => {
                self.attempt_ended(stage, attempt, outcome, wall);
            }
            Message::Timer { stage, attempt, timer } => self.timer(stage, attempt, timer),
            Message::RunTimeout => self.run_timed_out(),
            Message::Cancel(mode) => self.cancel(mode),
        }
        self.pass_on();
        self.fill_slots();
        self.finish_if_done();
        std::mem::take(&mut self.actions)
    }

    fn begin(&mut self) {
        if let Some(after) = self.policy.timeout {
            self.actions.push(Action::SetRunTimer { after });
        }
        let roots: Vec<StageIndex> = self.indices().filter(|stage| self.is_root(*stage)).collect();
        for stage in self.indices() {
            if self.stages[stage.get()].past.leave {
                self.leave(stage);
            }
        }
        let is_open = |stage: &StageIndex| !self.is_done(*stage);
        let roots = roots.into_iter().filter(is_open).collect();
        self.resolve(roots);
    }

    fn indices(&self) -> impl Iterator<Item = StageIndex> + use<> {
        (0..self.stages.len() as u32).map(StageIndex)
    }

    fn is_root(&self, stage: StageIndex) -> bool {
        self.stages[stage.get()].phase == Phase::Waiting(0)
    }

    fn is_done(&self, stage: StageIndex) -> bool {
        matches!(self.stages[stage.get()].phase, Phase::Done(_))
    }

    fn resolve(&mut self, stages: Vec<StageIndex>) {
        if stages.is_empty() {
            return;
        }
        for stage in &stages {
            self.set(*stage, Phase::Resolving);
        }
        // Stages whose needs are met by one batch of answers are asked for together, so that a
        // level of a cached graph costs one question to the store.
        if let Some(Action::Resolve(batch)) = self.actions.last_mut() {
            batch.extend(stages);
        } else {
            self.actions.push(Action::Resolve(stages));
        }
    }

    fn resolved(&mut self, stage: StageIndex, decision: Decision) {
        if self.stages[stage.get()].phase != Phase::Resolving {
            return;
        }
        match decision {
            Decision::Kept => self.keep(stage),
            Decision::Cached => {
                self.record(Fact::Cached { stage });
                self.set(stage, Phase::Done(AttemptState::Cached));
            }
            Decision::Run => self.make_ready(stage),
            Decision::Skip => self.skip(stage, Why::Condition),
            Decision::Fail => {
                let attempt = self.next_attempt(stage);
                self.record(Fact::Started { stage, attempt });
                self.finish(stage, attempt, AttemptState::Failed);
            }
            Decision::Expand(instances) => self.expand(stage, &instances),
        }
    }

    /// What an earlier drive has made of a stage stays.
    fn keep(&mut self, stage: StageIndex) {
        self.actions.push(Action::Keep { stage });
        self.set(stage, Phase::Done(AttemptState::Succeeded));
    }

    fn make_ready(&mut self, stage: StageIndex) {
        self.set(stage, Phase::Ready);
        let Stage { demand, height, .. } = self.stages[stage.get()];
        self.ready.push(stage, demand, height);
    }

    fn next_attempt(&mut self, stage: StageIndex) -> u32 {
        let stage = &mut self.stages[stage.get()];
        stage.attempt += 1;
        stage.tries += 1;
        stage.attempt
    }

    fn recorded(&mut self, facts: usize) {
        for _ in 0..facts {
            match self.asked.pop_front() {
                Some(Fact::Started { stage, attempt }) => self.start_recorded(stage, attempt),
                Some(Fact::RunFinished { state }) => self.actions.push(Action::Finish(state)),
                Some(_) => {}
                None => debug_assert!(false, "more facts were recorded than asked for"),
            }
        }
    }

    fn start_recorded(&mut self, stage: StageIndex, attempt: u32) {
        let Phase::Starting { slot } = self.stages[stage.get()].phase else { return };
        if self.is_stopped() {
            if slot {
                self.free(stage);
            } else {
                self.ahead.retain(|other| *other != stage);
            }
            self.finish(stage, attempt, AttemptState::Cancelled);
        } else if slot {
            self.launch(stage);
        } else {
            self.set(stage, Phase::Ahead);
        }
    }

    /// Starts the process of a stage that occupies its slot already.
    fn launch(&mut self, stage: StageIndex) {
        self.set(stage, Phase::Running);
        let Stage { attempt, timeout, .. } = self.stages[stage.get()];
        self.actions.push(Action::Launch { stage, attempt });
        if let Some(after) = timeout {
            self.actions.push(Action::SetTimer { stage, attempt, timer: Timer::Timeout, after });
        }
    }

    fn attempt_ended(&mut self, stage: StageIndex, attempt: u32, outcome: Outcome, wall: Duration) {
        if !self.is_running(stage, attempt) {
            debug_assert!(false, "attempt {attempt} of stage {stage:?} ended without running");
            return;
        }
        let Stage { tries, kind, .. } = self.stages[stage.get()];
        self.free(stage);
        self.quick[kind as usize] = wall < QUICK;
        match outcome {
            Outcome::Succeeded => self.finish(stage, attempt, AttemptState::Succeeded),
            Outcome::Cancelled if self.cancel.is_some() => {
                self.finish(stage, attempt, AttemptState::Cancelled);
            }
            Outcome::Cancelled | Outcome::Failed { .. } => {
                let again = outcome == Outcome::Failed { retry: true };
                let retry = &self.stages[stage.get()].retry;
                if again && tries < retry.attempts && !self.is_stopped() {
                    let delay = wait::before(retry, tries, &mut self.chance);
                    self.record(Fact::Finished { stage, attempt, state: AttemptState::Failed });
                    self.record(Fact::RetryScheduled { stage, attempt, delay });
                    self.set(stage, Phase::Delayed);
                    let timer = Timer::Retry;
                    self.actions.push(Action::SetTimer { stage, attempt, timer, after: delay });
                } else {
                    self.finish(stage, attempt, AttemptState::Failed);
                }
            }
        }
    }

    fn is_running(&self, stage: StageIndex, attempt: u32) -> bool {
        let stage = &self.stages[stage.get()];
        stage.phase == Phase::Running && stage.attempt == attempt
    }

    fn is_stopped(&self) -> bool {
        self.cancel.is_some() || self.stopped_by.is_some()
    }

    fn timer(&mut self, stage: StageIndex, attempt: u32, timer: Timer) {
        match timer {
            Timer::Timeout if self.is_running(stage, attempt) => {
                let reason = StopReason::Timeout;
                self.actions.push(Action::Stop { stage, attempt, reason });
            }
            Timer::Retry if self.stages[stage.get()].phase == Phase::Delayed => {
                self.make_ready(stage);
            }
            Timer::Timeout | Timer::Retry => {}
        }
    }

    fn cancel(&mut self, mode: CancelMode) {
        if self.cancel >= Some(mode) {
            return;
        }
        if self.cancel.is_none() {
            self.cancel = Some(mode);
            self.drop_waiting(|dispatcher, stage| dispatcher.cancel_waiting(stage));
        }
        self.cancel = Some(mode);
        if mode == CancelMode::Kill {
            self.stop_running(StopReason::Cancel);
        }
    }

    /// The run has taken too long: it ends as one that is cancelled does, but has failed.
    fn run_timed_out(&mut self) {
        if self.finishing || self.cancel == Some(CancelMode::Kill) {
            return;
        }
        self.timed_out = true;
        if self.cancel.is_none() {
            self.cancel = Some(CancelMode::Kill);
            self.blame_the_clock();
            self.drop_waiting(|dispatcher, stage| dispatcher.cancel_waiting(stage));
        }
        self.cancel = Some(CancelMode::Kill);
        self.stop_running(StopReason::RunTimeout);
    }

    /// Where nothing runs that would fail of it, the first stage that waits fails: it tells why.
    fn blame_the_clock(&mut self) {
        let runs = |stage: &Stage| matches!(stage.phase, Phase::Running);
        let waits = |stage: &Stage| {
            matches!(
                stage.phase,
                Phase::Waiting(_)
                    | Phase::Resolving
                    | Phase::Ready
                    | Phase::Claiming { .. }
                    | Phase::Delayed
            ) && !stage.past.state.has_outputs()
        };
        if self.stages.iter().any(runs) {
            return;
        }
        let waiting = self.indices().find(|stage| waits(&self.stages[stage.get()]));
        if let Some(stage) = waiting {
            self.give_up_claim(stage);
            let attempt = self.next_attempt(stage);
            self.record(Fact::Started { stage, attempt });
            self.finish(stage, attempt, AttemptState::Failed);
        }
    }

    fn stop_running(&mut self, reason: StopReason) {
        for stage in self.indices() {
            if self.stages[stage.get()].phase == Phase::Running {
                let attempt = self.stages[stage.get()].attempt;
                self.actions.push(Action::Stop { stage, attempt, reason });
            }
        }
    }

    fn cancel_waiting(&mut self, stage: StageIndex) {
        self.record(Fact::Cancelled { stage });
        self.set(stage, Phase::Done(AttemptState::Cancelled));
    }

    /// Ends every stage that has not been launched: those whose start is recorded as cancelled
    /// attempts, the others by `end`. Starts on their way to the store are ended when they are
    /// known to be there. What succeeded in an earlier drive stays as it is.
    fn drop_waiting(&mut self, end: impl Fn(&mut Self, StageIndex)) {
        self.ready.clear();
        for stage in self.indices() {
            match self.stages[stage.get()].phase {
                Phase::Waiting(_)
                | Phase::Resolving
                | Phase::Ready
                | Phase::Claiming { .. }
                | Phase::Delayed => {
                    self.give_up_claim(stage);
                    let Stage { past, tries, .. } = self.stages[stage.get()];
                    if past.state.has_outputs() && tries == 0 {
                        self.keep(stage);
                    } else {
                        end(self, stage);
                    }
                }
                Phase::Ahead => {
                    let attempt = self.stages[stage.get()].attempt;
                    self.finish(stage, attempt, AttemptState::Cancelled);
                }
                Phase::Starting { .. } | Phase::Running | Phase::Expanded(_) | Phase::Done(_) => {}
            }
        }
        self.ahead.retain(|stage| {
            matches!(self.stages[stage.get()].phase, Phase::Starting { slot: false })
        });
    }

    fn finish(&mut self, stage: StageIndex, attempt: u32, state: AttemptState) {
        self.record(Fact::Finished { stage, attempt, state });
        self.set(stage, Phase::Done(state));
    }

    fn skip(&mut self, stage: StageIndex, why: Why) {
        self.record(Fact::Skipped { stage, why });
        self.set(stage, Phase::Done(AttemptState::Skipped));
        if let (Why::Need(blame), Some(ended)) = (why, self.ended.last_mut()) {
            ended.blame = blame;
        }
    }

    fn record(&mut self, fact: Fact) {
        self.asked.push_back(fact);
        self.actions.push(Action::Record(fact));
    }

    /// The one place where a stage's phase changes.
    fn set(&mut self, stage: StageIndex, phase: Phase) {
        let current = &mut self.stages[stage.get()].phase;
        debug_assert!(!matches!(current, Phase::Done(_)), "{stage:?} is done, not {phase:?}");
        *current = phase;
        if let Phase::Done(state) = phase {
            self.open -= 1;
            match state {
                AttemptState::Failed | AttemptState::Lost => self.failed += 1,
                AttemptState::Cancelled => self.cancelled += 1,
                _ => {}
            }
            self.ended.push(Ended { stage, state, blame: stage });
        }
    }

    fn fill_slots(&mut self) {
        if self.is_stopped() {
            return;
        }
        // First the starts that are recorded, or nearly so.
        let mut place = 0;
        while place < self.ahead.len() {
            let stage = self.ahead[place];
            let demand = self.stages[stage.get()].demand;
            if !self.pool.fits(&demand) {
                place += 1;
                continue;
            }
            self.pool.take(&demand);
            self.ahead.remove(place);
            if self.stages[stage.get()].phase == Phase::Ahead {
                self.launch(stage);
            } else {
                self.set(stage, Phase::Starting { slot: true });
            }
        }
        while let Some(stage) = self.ready.pop_fitting(&self.pool) {
            self.occupy(stage);
        }
        while self.ahead.len() < self.policy.max_ahead
            && let Some(stage) = self.ready.peek_nameless()
            && self.quick[self.stages[stage.get()].kind as usize]
            && !self.stages[stage.get()].has_claim
        {
            self.ready.pop_nameless();
            self.ahead.push_back(stage);
            self.ask_start(stage, false);
        }
    }

    fn ask_start(&mut self, stage: StageIndex, slot: bool) {
        let attempt = self.next_attempt(stage);
        self.set(stage, Phase::Starting { slot });
        self.record(Fact::Started { stage, attempt });
    }

    fn finish_if_done(&mut self) {
        if self.open > 0 || self.finishing {
            return;
        }
        self.finishing = true;
        let state = if self.timed_out {
            RunState::Failed
        } else if self.cancel.is_some() && self.cancelled > 0 {
            RunState::Cancelled
        } else if self.failed > 0 {
            RunState::Failed
        } else if self.cancelled > 0 {
            // A stage that was left alone was cancelled in an earlier drive.
            RunState::Cancelled
        } else {
            RunState::Succeeded
        };
        self.record(Fact::RunFinished { state });
    }
}
