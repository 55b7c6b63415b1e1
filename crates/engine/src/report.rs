//! What a run tells those who watch it, and what is left to say when it ended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wick_core::{AttemptState, Event, EventBody, Failure, RunId, RunState, StageName};
use wick_plan::Plan;
use wick_store::slots::Obstacle;

/// Watches a run. It is told everything and is asked nothing: whatever it does, the run goes on
/// the same. Facts that are recorded are told after they are in the store.
pub trait Reporter: Send {
    /// The run is recorded and begins, or begins again. Its files lie in `folder`.
    fn run_started(&mut self, run: &RunId, plan: &Plan, folder: &Path) {
        let _ = (run, plan, folder);
    }

    /// Nothing can be recorded, and so nothing goes on but what runs, until `holder` lets go of
    /// the store. Told again and again while it lasts.
    fn store_busy(&mut self, holder: &str) {
        let _ = holder;
    }

    /// A stage waits for a named slot or a mutex that another run has. Told once for each.
    fn stage_waits(&mut self, stage: &StageName, obstacle: &Obstacle) {
        let _ = (stage, obstacle);
    }

    /// Something happened. `totals` counts it already.
    fn event(&mut self, event: &Event, totals: &Totals);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&mut self, _: &Event, _: &Totals) {}
}

/// How many stages stand where. They add up to `stages`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// All stages of the run.
    pub stages: u32,
    /// Waiting, for what they need, for a slot or for another attempt.
    pub queued: u32,
    /// With a process, or about to have one.
    pub running: u32,
    /// Succeeded in this run.
    pub succeeded: u32,
    /// Reused from an earlier run.
    pub cached: u32,
    /// Failed for good.
    pub failed: u32,
    /// Left out because something they need failed.
    pub skipped: u32,
    /// Stopped, or not started, because the run was cancelled.
    pub cancelled: u32,
}

impl Totals {
    /// All stages wait.
    pub(crate) const fn of(stages: u32) -> Self {
        Self {
            stages,
            queued: stages,
            running: 0,
            succeeded: 0,
            cached: 0,
            failed: 0,
            skipped: 0,
            cancelled: 0,
        }
    }

    /// How many stages have come to their end.
    pub const fn done(&self) -> u32 {
        self.stages - self.queued - self.running
    }

    /// So many instances of a list have come to the run.
    pub(crate) const fn grow(&mut self, instances: u32) {
        self.stages += instances;
        self.queued += instances;
    }

    /// A stage that nothing is done about: it stands as an earlier drive of this run has left it.
    pub(crate) fn leave(&mut self, state: AttemptState) {
        if !state.is_final() {
            return;
        }
        self.queued -= 1;
        match state {
            AttemptState::Succeeded => self.succeeded += 1,
            AttemptState::Cached => self.cached += 1,
            AttemptState::Skipped => self.skipped += 1,
            AttemptState::Cancelled => self.cancelled += 1,
            _ => self.failed += 1,
        }
    }

    /// A stage that succeeded in an earlier drive of this run.
    pub(crate) const fn keep(&mut self) {
        self.queued -= 1;
        self.succeeded += 1;
    }

    /// Counts what happened.
    pub(crate) fn count(&mut self, body: &EventBody) {
        match body {
            EventBody::AttemptStarted { .. } => {
                self.queued -= 1;
                self.running += 1;
            }
            EventBody::AttemptFinished { state, .. } => {
                self.running -= 1;
                match state {
                    AttemptState::Succeeded => self.succeeded += 1,
                    AttemptState::Cancelled => self.cancelled += 1,
                    _ => self.failed += 1,
                }
            }
            EventBody::RetryScheduled { .. } => {
                self.failed -= 1;
                self.queued += 1;
            }
            EventBody::StageCached { .. } => {
                self.queued -= 1;
                self.cached += 1;
            }
            EventBody::StageSkipped { .. } => {
                self.queued -= 1;
                self.skipped += 1;
            }
            EventBody::StageCancelled { .. } => {
                self.queued -= 1;
                self.cancelled += 1;
            }
            EventBody::StageExpanded { .. } => {
                // The stage itself runs until its instances, which are counted already, end.
                self.queued -= 1;
                self.running += 1;
            }
            EventBody::StageGathered { state, .. } => {
                self.running -= 1;
                match state {
                    AttemptState::Succeeded => self.succeeded += 1,
                    AttemptState::Cancelled => self.cancelled += 1,
                    AttemptState::Skipped => self.skipped += 1,
                    _ => self.failed += 1,
                }
            }
            EventBody::RunStarted { .. }
            | EventBody::AttemptSpawned { .. }
            | EventBody::Metrics { .. }
            | EventBody::Progress { .. }
            | EventBody::StageRequeued { .. }
            | EventBody::RunFinished { .. } => {}
        }
    }
}

/// How a drive began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Began {
    /// With a new run.
    New,
    /// With a run that was there: it was taken up.
    TakenUp,
    /// Not at all: in the run that was to be done again there is nothing to do.
    NothingToDo,
}

/// What came of driving a run.
#[derive(Debug, Clone)]
pub struct RunOutcome {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub state: RunState,
    /// How this drive of the run began.
    pub began: Began,
    /// Whether it took longer than the pipeline's `timeout`.
    pub timed_out: bool,
    /// How many stages ended how.
    pub totals: Totals,
    /// The stages that failed for good, in the order in which they did.
    pub failed: Vec<FailedStage>,
    /// Where the run's files lie.
    pub folder: PathBuf,
    /// How long this drive of the run took.
    pub wall: Duration,
}

/// A stage that failed for good.
#[derive(Debug, Clone)]
pub struct FailedStage {
    /// The stage.
    pub stage: StageName,
    /// Its last attempt.
    pub attempt: u32,
    /// Why it failed.
    pub failure: Failure,
    /// The attempt's folder.
    pub folder: PathBuf,
    /// What the attempt printed; absent if it printed nothing.
    pub log: PathBuf,
}
