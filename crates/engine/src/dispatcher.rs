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
//!   occupy more than there is.
//! - **Looking ahead.** Where attempts take no longer than a commit, the starts of some more are
//!   recorded before there is a slot for them, so that no slot waits for the store. Their
//!   processes are launched when a slot is free. After a crash such an attempt is `lost` like any
//!   other that did not end.
//! - **Every run ends.** Each stage comes to a final state, whatever fails.

mod messages;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use wick_core::{AttemptState, RunState};
use wick_plan::{Plan, Retry, StageIndex};

pub use messages::{Action, CancelMode, Decision, Fact, Message, Outcome, StopReason, Timer};

use crate::ready::ReadyQueue;
use crate::slots::Slots;

/// Attempts shorter than this are started ahead of their slot.
const QUICK: Duration = Duration::from_millis(25);

/// A backoff is never longer than this.
const MAX_BACKOFF: Duration = Duration::from_secs(3600);

/// Where a stage stands within this run of the engine.
///
/// ```text
/// Waiting -> Resolving -> Ready -> Starting -> Running -> Done
///                |          ^         |  ^        |
///                |          |         v  |        v
///                |          |        Ahead     Delayed -> Ready
///                +----------+-> Done (cached, kept, skipped, cancelled from anywhere but Running)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// So many of the stages that it needs are not published yet.
    Waiting(u32),
    /// Its needs are met; what to do with it is being found out.
    Resolving,
    /// Waits for a slot.
    Ready,
    /// Its start is being recorded. With `slot`, it is launched as soon as that is done.
    Starting {
        /// Whether it occupies its slot already.
        slot: bool,
    },
    /// Its start is recorded, ahead of a slot.
    Ahead,
    /// Its process runs.
    Running,
    /// Waits for its next attempt.
    Delayed,
    /// Nothing more will happen to it.
    Done(AttemptState),
}

/// A stage as the dispatcher sees it.
#[derive(Debug)]
struct Stage {
    phase: Phase,
    dependents: Vec<StageIndex>,
    request: Slots,
    retry: Retry,
    timeout: Option<Duration>,
    /// How many stages come after it on its longest way to the end.
    height: u32,
    /// Stages of one kind are taken to be alike in how long they take.
    kind: u32,
    /// The latest attempt; before the first one, that of earlier drives of this run.
    attempt: u32,
    /// How many attempts this drive of the run has made.
    tries: u32,
}

/// How a run is to be driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What there is of the machine.
    pub slots: Slots,
    /// Whether stages that do not need a failed one go on.
    pub keep_going: bool,
    /// How many starts may be recorded ahead of their slots.
    pub max_ahead: usize,
}

/// The state of a run.
#[derive(Debug)]
pub struct Dispatcher {
    stages: Vec<Stage>,
    policy: Policy,
    free: Slots,
    ready: ReadyQueue,
    /// Starts asked for or recorded ahead of their slots, oldest first.
    ahead: VecDeque<StageIndex>,
    /// How long the last attempt of each kind took, as quick or not.
    quick: Vec<bool>,
    /// Facts asked for and not yet known to be recorded, oldest first.
    asked: VecDeque<Fact>,
    /// How many stages are not `Done`.
    open: usize,
    failed: usize,
    cancelled: usize,
    /// Set by the first failure where `keep_going` is off.
    stopped_by: Option<StageIndex>,
    cancel: Option<CancelMode>,
    finishing: bool,
    actions: Vec<Action>,
}

impl Dispatcher {
    /// The state before anything happened. `earlier_attempts` tells, by stage, how many attempts
    /// earlier drives of the same run have made.
    pub fn new(plan: &Plan, policy: Policy, earlier_attempts: &[u32]) -> Self {
        let mut kinds = Vec::new();
        let mut stages: Vec<Stage> = plan
            .indexed()
            .map(|(index, planned)| {
                let mut needs: Vec<StageIndex> = planned.needs().collect();
                needs.sort_unstable();
                needs.dedup();
                let kind =
                    kinds.iter().position(|kind| *kind == &planned.kind).unwrap_or_else(|| {
                        kinds.push(&planned.kind);
                        kinds.len() - 1
                    });
                Stage {
                    phase: Phase::Waiting(needs.len() as u32),
                    dependents: Vec::new(),
                    request: Slots::of_resources(&planned.resources, &policy.slots),
                    retry: planned.retry.clone(),
                    timeout: planned.timeout,
                    height: 0,
                    kind: kind as u32,
                    attempt: earlier_attempts.get(index.get()).copied().unwrap_or(0),
                    tries: 0,
                }
            })
            .collect();
        // The plan is sorted: what a stage needs comes before it. So one pass backwards sees
        // every dependent before the stages that it needs.
        for (index, planned) in plan.indexed().collect::<Vec<_>>().into_iter().rev() {
            let height = stages[index.get()].height + 1;
            for need in planned.needs() {
                let need = &mut stages[need.get()];
                need.height = need.height.max(height);
                if need.dependents.last() != Some(&index) {
                    need.dependents.push(index);
                }
            }
        }
        for stage in &mut stages {
            stage.dependents.reverse();
        }
        Self {
            open: stages.len(),
            free: policy.slots,
            quick: vec![false; kinds.len()],
            stages,
            policy,
            ready: ReadyQueue::default(),
            ahead: VecDeque::new(),
            asked: VecDeque::new(),
            failed: 0,
            cancelled: 0,
            stopped_by: None,
            cancel: None,
            finishing: false,
            actions: Vec::new(),
        }
    }

    /// Takes a message; tells what is to be done.
    pub fn apply(&mut self, message: Message) -> Vec<Action> {
        match message {
            Message::Begin => self.begin(),
            Message::Resolved { stage, decision } => self.resolved(stage, decision),
            Message::Recorded { facts } => self.recorded(facts),
            Message::Ended { stage, attempt, outcome, wall } => {
                self.ended(stage, attempt, outcome, wall);
            }
            Message::Timer { stage, attempt, timer } => self.timer(stage, attempt, timer),
            Message::Cancel(mode) => self.cancel(mode),
        }
        self.fill_slots();
        self.finish_if_done();
        std::mem::take(&mut self.actions)
    }

    fn begin(&mut self) {
        let roots: Vec<StageIndex> = self.indices().filter(|stage| self.is_root(*stage)).collect();
        self.resolve(roots);
    }

    fn indices(&self) -> impl Iterator<Item = StageIndex> + use<> {
        (0..self.stages.len() as u32).map(StageIndex)
    }

    fn is_root(&self, stage: StageIndex) -> bool {
        self.stages[stage.get()].phase == Phase::Waiting(0)
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
            Decision::Kept => {
                self.set(stage, Phase::Done(AttemptState::Succeeded));
                self.publish(stage);
            }
            Decision::Cached => {
                self.record(Fact::Cached { stage });
                self.set(stage, Phase::Done(AttemptState::Cached));
                self.publish(stage);
            }
            Decision::Run => self.make_ready(stage),
        }
    }

    fn make_ready(&mut self, stage: StageIndex) {
        self.set(stage, Phase::Ready);
        let Stage { request, height, .. } = self.stages[stage.get()];
        self.ready.push(stage, request, height);
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
                let request = self.stages[stage.get()].request;
                self.free.give(&request);
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

    fn ended(&mut self, stage: StageIndex, attempt: u32, outcome: Outcome, wall: Duration) {
        if !self.is_running(stage, attempt) {
            debug_assert!(false, "attempt {attempt} of stage {stage:?} ended without running");
            return;
        }
        let Stage { request, tries, kind, .. } = self.stages[stage.get()];
        self.free.give(&request);
        self.quick[kind as usize] = wall < QUICK;
        match outcome {
            Outcome::Succeeded => {
                self.finish(stage, attempt, AttemptState::Succeeded);
                self.publish(stage);
            }
            Outcome::Cancelled if self.cancel.is_some() => {
                self.finish(stage, attempt, AttemptState::Cancelled);
            }
            Outcome::Cancelled | Outcome::Failed { .. } => {
                let transient = outcome == Outcome::Failed { transient: true };
                let state = AttemptState::Failed;
                self.record(Fact::Finished { stage, attempt, state });
                let retry = &self.stages[stage.get()].retry;
                if transient && tries < retry.attempts && !self.is_stopped() {
                    let delay = backoff(retry, tries);
                    self.record(Fact::RetryScheduled { stage, attempt, delay });
                    self.set(stage, Phase::Delayed);
                    let timer = Timer::Retry;
                    self.actions.push(Action::SetTimer { stage, attempt, timer, after: delay });
                } else {
                    self.fail(stage);
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

    /// Tells those that need `stage` that it is published, or will be before anything that is
    /// recorded from now on.
    fn publish(&mut self, stage: StageIndex) {
        let dependents = std::mem::take(&mut self.stages[stage.get()].dependents);
        let mut met = Vec::new();
        for dependent in dependents {
            if let Phase::Waiting(missing) = self.stages[dependent.get()].phase {
                self.set(dependent, Phase::Waiting(missing - 1));
                if missing == 1 {
                    met.push(dependent);
                }
            }
        }
        self.resolve(met);
    }

    /// The stage has failed for good: what needs it is skipped.
    fn fail(&mut self, failed: StageIndex) {
        self.set(failed, Phase::Done(AttemptState::Failed));
        let mut unreachable = vec![failed];
        while let Some(stage) = unreachable.pop() {
            for dependent in std::mem::take(&mut self.stages[stage.get()].dependents) {
                if matches!(self.stages[dependent.get()].phase, Phase::Waiting(_)) {
                    self.skip(dependent, failed);
                    unreachable.push(dependent);
                }
            }
        }
        if !self.policy.keep_going && self.stopped_by.is_none() {
            self.stopped_by = Some(failed);
            self.drop_waiting(|dispatcher, stage| dispatcher.skip(stage, failed));
        }
    }

    fn skip(&mut self, stage: StageIndex, because: StageIndex) {
        self.record(Fact::Skipped { stage, because });
        self.set(stage, Phase::Done(AttemptState::Skipped));
    }

    fn cancel(&mut self, mode: CancelMode) {
        if self.cancel >= Some(mode) {
            return;
        }
        if self.cancel.is_none() {
            self.cancel = Some(mode);
            self.drop_waiting(|dispatcher, stage| {
                dispatcher.record(Fact::Cancelled { stage });
                dispatcher.set(stage, Phase::Done(AttemptState::Cancelled));
            });
        }
        self.cancel = Some(mode);
        if mode == CancelMode::Kill {
            for stage in self.indices() {
                if self.stages[stage.get()].phase == Phase::Running {
                    let attempt = self.stages[stage.get()].attempt;
                    let reason = StopReason::Cancel;
                    self.actions.push(Action::Stop { stage, attempt, reason });
                }
            }
        }
    }

    /// Ends every stage that has not been launched: those whose start is recorded as cancelled
    /// attempts, the others by `end`. Starts on their way to the store are ended when they are
    /// known to be there.
    fn drop_waiting(&mut self, end: impl Fn(&mut Self, StageIndex)) {
        self.ready.clear();
        for stage in self.indices() {
            match self.stages[stage.get()].phase {
                Phase::Waiting(_) | Phase::Resolving | Phase::Ready | Phase::Delayed => {
                    end(self, stage);
                }
                Phase::Ahead => {
                    let attempt = self.stages[stage.get()].attempt;
                    self.finish(stage, attempt, AttemptState::Cancelled);
                }
                Phase::Starting { .. } | Phase::Running | Phase::Done(_) => {}
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
                AttemptState::Failed => self.failed += 1,
                AttemptState::Cancelled => self.cancelled += 1,
                _ => {}
            }
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
            let request = self.stages[stage.get()].request;
            if !self.free.fits(&request) {
                place += 1;
                continue;
            }
            self.free.take(&request);
            self.ahead.remove(place);
            if self.stages[stage.get()].phase == Phase::Ahead {
                self.launch(stage);
            } else {
                self.set(stage, Phase::Starting { slot: true });
            }
        }
        while let Some(stage) = self.ready.pop_fitting(&self.free) {
            let request = self.stages[stage.get()].request;
            self.free.take(&request);
            self.ask_start(stage, true);
        }
        while self.ahead.len() < self.policy.max_ahead
            && let Some(stage) = self.ready.peek()
            && self.quick[self.stages[stage.get()].kind as usize]
        {
            self.ready.pop();
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
        let state = if self.cancel.is_some() && self.cancelled > 0 {
            RunState::Cancelled
        } else if self.failed > 0 {
            RunState::Failed
        } else {
            RunState::Succeeded
        };
        self.record(Fact::RunFinished { state });
    }
}

/// The wait after the `tries`th attempt: it doubles with each.
fn backoff(retry: &Retry, tries: u32) -> Duration {
    let factor = 2u32.saturating_pow(tries.saturating_sub(1).min(20));
    retry.backoff.saturating_mul(factor).min(MAX_BACKOFF)
}
