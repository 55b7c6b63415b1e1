//! What the dispatcher is told, and what it wants done.

use std::time::Duration;

use wick_core::{AttemptState, RunState};
use wick_plan::StageIndex;

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
    /// Someone wants the run to stop.
    Cancel(CancelMode),
}

/// What is to be done with a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It succeeded earlier in this same run; nothing is to be recorded.
    Kept,
    /// The outputs of an equal fingerprint are reused.
    Cached,
    /// It must run.
    Run,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its outputs lie in the artifact store, ready to be published.
    Succeeded,
    /// It failed; another attempt may end otherwise if `transient`.
    Failed {
        /// Whether another attempt may end otherwise.
        transient: bool,
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
        /// The stage that failed.
        because: StageIndex,
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
