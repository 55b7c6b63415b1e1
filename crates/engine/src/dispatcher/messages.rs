//! What the dispatcher is told, and what it wants done.

use std::time::Duration;

use wick_core::{AttemptState, KindName, RunState};
use wick_plan::{Join, PlannedStage, Resources, Retry, StageIndex};
use wick_store::slots::Want;

/// What the dispatcher is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// The first message: begin.
    Begin,
    /// It is known what is to be done with a stage whose needs are met.
    Resolved {
        /// The stage.
        stage: StageIndex,
        /// What is to be done.
        decision: Decision,
    },
    /// So many more facts are in the store, in the order in which they were asked for.
    Recorded {
        /// How many.
        facts: usize,
    },
    /// What a stage wants by name is its own, until it is [let go](Action::LetGo).
    Granted {
        /// The stage.
        stage: StageIndex,
    },
    /// Another run has what a stage wants by name; the claim stands in line.
    Waits {
        /// The stage.
        stage: StageIndex,
    },
    /// An attempt that was launched has ended, and its process is gone.
    Ended {
        /// The stage.
        stage: StageIndex,
        /// The attempt.
        attempt: u32,
        /// How.
        outcome: Outcome,
        /// How long its process lived.
        wall: Duration,
    },
    /// A timer has run out.
    Timer {
        /// The stage.
        stage: StageIndex,
        /// The attempt that the timer was set for.
        attempt: u32,
        /// Which timer.
        timer: Timer,
    },
    /// The run has taken as long as it may.
    RunTimeout,
    /// Someone wants the run to stop.
    Cancel(CancelMode),
}

/// What earlier drives of the same run have left of a stage, and whether it is to be touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// How many attempts it had.
    pub attempts: u32,
    /// Where it stands: `queued` in a new run.
    pub state: AttemptState,
    /// Whether it is to stay as it is: the run was not asked for it.
    pub leave: bool,
}

impl Default for Past {
    fn default() -> Self {
        Self { attempts: 0, state: AttemptState::Queued, leave: false }
    }
}

/// What the dispatcher has to know of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    pub(super) needs: Vec<StageIndex>,
    pub(super) join: Join,
    pub(super) resources: Resources,
    pub(super) retry: Retry,
    pub(super) timeout: Option<Duration>,
    pub(super) kind: KindName,
    pub(super) past: Past,
}

impl Spec {
    /// A stage as it is planned. It may need any stage before it, and those that come with it.
    pub fn new(planned: &PlannedStage, past: Past) -> Self {
        let mut needs: Vec<StageIndex> = planned.needs().collect();
        needs.sort_unstable();
        needs.dedup();
        Self {
            needs,
            join: planned.join,
            resources: planned.resources.clone(),
            retry: planned.retry.clone(),
            timeout: planned.timeout,
            kind: planned.kind.clone(),
            past,
        }
    }
}

/// What is to be done with a stage.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It succeeded earlier in this same run; nothing is to be recorded.
    Kept,
    /// The outputs of an equal fingerprint are reused.
    Cached,
    /// It must run.
    Run,
    /// Its condition does not hold.
    Skip,
    /// It cannot even be tried: what it is to read cannot be found out.
    Fail,
    /// Its list is known: these are its instances. Their places follow those of all stages that
    /// there are.
    Expand(Vec<Spec>),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its outputs lie in the artifact store, ready to be published.
    Succeeded,
    /// It failed.
    Failed {
        /// Whether the stage is to be tried again after such a failure.
        retry: bool,
    },
    /// It was stopped because the run was cancelled.
    Cancelled,
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// The attempt has run as long as it may.
    Timeout,
    /// The next attempt is due.
    Retry,
}

/// How a run is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CancelMode {
    /// Start nothing more, and let what runs end.
    Drain,
    /// Stop what runs, too.
    Kill,
}

/// What the dispatcher wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Find out what is to be done with these stages, whose needs are met.
    Resolve(Vec<StageIndex>),
    /// Put a fact into the store, after those asked for before.
    Record(Fact),
    /// Start the process of an attempt. Its start is recorded.
    Launch {
        /// The stage.
        stage: StageIndex,
        /// The attempt.
        attempt: u32,
    },
    /// Claim for a stage what it wants by name, which other runs want too. [`Message::Granted`]
    /// is the answer, however long it takes, and perhaps [`Message::Waits`] before.
    Claim {
        /// The stage.
        stage: StageIndex,
        /// What it wants.
        wants: Vec<Want>,
    },
    /// Give back what was claimed for a stage, or do not wait for it any more.
    LetGo {
        /// The stage.
        stage: StageIndex,
    },
    /// Stop the process of an attempt.
    Stop {
        /// The stage.
        stage: StageIndex,
        /// The attempt.
        attempt: u32,
        /// Why.
        reason: StopReason,
    },
    /// Send [`Message::Timer`] after a while.
    SetTimer {
        /// The stage.
        stage: StageIndex,
        /// The attempt.
        attempt: u32,
        /// Which timer.
        timer: Timer,
        /// How long.
        after: Duration,
    },
    /// Send [`Message::RunTimeout`] after a while.
    SetRunTimer {
        /// How long.
        after: Duration,
    },
    /// Nothing will be done with a stage that succeeded in an earlier drive: it stays so.
    Keep {
        /// The stage.
        stage: StageIndex,
    },
    /// The end of the run is recorded: there is nothing more to do.
    Finish(RunState),
}

/// Why an attempt is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// It ran out of time.
    Timeout,
    /// The run was cancelled.
    Cancel,
    /// The run ran out of time.
    RunTimeout,
}

/// Why a stage does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// This stage did not succeed.
    Need(StageIndex),
    /// Its condition does not hold.
    Condition,
    /// The run was not asked for it.
    NotSelected,
}

/// Something to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// An attempt is about to start.
    Started {
        /// The stage.
        stage: StageIndex,
        /// The attempt.
        attempt: u32,
    },
    /// An attempt ended.
    Finished {
        /// The stage.
        stage: StageIndex,
        /// The attempt.
        attempt: u32,
        /// `succeeded`, `failed` or `cancelled`.
        state: AttemptState,
    },
    /// Another attempt will follow.
    RetryScheduled {
        /// The stage.
        stage: StageIndex,
        /// The attempt that failed.
        attempt: u32,
        /// How long until the next.
        delay: Duration,
    },
    /// Earlier outputs are reused.
    Cached {
        /// The stage.
        stage: StageIndex,
    },
    /// The stage will not run.
    Skipped {
        /// The stage.
        stage: StageIndex,
        /// Why not.
        why: Why,
    },
    /// The list of a stage is known, and with it its instances.
    Expanded {
        /// The stage.
        stage: StageIndex,
        /// The place of the first instance.
        first: StageIndex,
        /// How many there are.
        count: u32,
    },
    /// All instances of a stage have ended.
    Gathered {
        /// The stage.
        stage: StageIndex,
        /// The worst of their states.
        state: AttemptState,
    },
    /// The stage was waiting when the run was cancelled.
    Cancelled {
        /// The stage.
        stage: StageIndex,
    },
    /// The run ended.
    RunFinished {
        /// How.
        state: RunState,
    },
}
