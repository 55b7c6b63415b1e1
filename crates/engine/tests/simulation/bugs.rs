//! Bugs that are planted, one at a time, to see that the simulation finds them.

use std::sync::Arc;

use wick_core::{AttemptState, Event, EventBody, RunId};
use wick_store::{Lease, StoreResult};

use crate::database::Tables;
use crate::judge::Invariant;
use crate::lab::Lab;
use crate::scheduler::ProcessId;

/// A bug of the world around the engine, which looks from outside like one of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A write is acknowledged before it is done: what starts then is not recorded.
    LaunchesUnrecorded,
    /// The lease does not count.
    WritesWithoutLease,
    /// Neither the lease nor the token counts.
    PublishesStale,
    /// A write is acknowledged and never done.
    ForgetsAcknowledged,
    /// What came first is written last: stages start before their inputs are published.
    StartsBeforeInputs,
    /// An attempt is said to have ended while its process runs: its slot is given away twice.
    EndsBeforeItIsGone,
    /// The end of an attempt is never told: its slot is never free again, and the run never ends.
    NeverTells,
    /// A run that is taken up forgets what has finished in it.
    RunsFinishedAgain,
    /// Outputs are told, but not kept.
    PublishesNothing,
    /// Artifacts are taken to be there, whether they are or not.
    ServesWhatIsGone,
    /// Named slots and mutexes are given to a run, whatever other runs hold.
    SharesTooMuch,
    /// The last item of a list gets no instance.
    PlansTooFew,
    /// What an instance has made is not given to the stage that gathers.
    GathersTooFew,
    /// What stands for instances is said to have ended before the last of them.
    GathersEarly,
    /// Of a metric the first value is told, and not the latest.
    TellsOldMetrics,
}

impl Bug {
    pub const ALL: [Bug; 15] = [
        Bug::LaunchesUnrecorded,
        Bug::WritesWithoutLease,
        Bug::PublishesStale,
        Bug::ForgetsAcknowledged,
        Bug::StartsBeforeInputs,
        Bug::EndsBeforeItIsGone,
        Bug::NeverTells,
        Bug::RunsFinishedAgain,
        Bug::PublishesNothing,
        Bug::ServesWhatIsGone,
        Bug::SharesTooMuch,
        Bug::PlansTooFew,
        Bug::GathersTooFew,
        Bug::GathersEarly,
        Bug::TellsOldMetrics,
    ];

    /// In how many cases of a thousand it shows: few, as bugs that survive testing do.
    pub const fn per_mille(self) -> u64 {
        match self {
            Bug::WritesWithoutLease
            | Bug::PublishesStale
            | Bug::ServesWhatIsGone
            | Bug::SharesTooMuch
            | Bug::TellsOldMetrics => 1000,
            Bug::RunsFinishedAgain => 100,
            Bug::StartsBeforeInputs | Bug::PlansTooFew | Bug::GathersTooFew | Bug::GathersEarly => {
                200
            }
            _ => 20,
        }
    }

    /// The invariant that it breaks.
    pub const fn breaks(self) -> Invariant {
        match self {
            Bug::LaunchesUnrecorded => Invariant::WriteAhead,
            Bug::WritesWithoutLease => Invariant::OneEngine,
            Bug::PublishesStale => Invariant::PublishedOnce,
            Bug::ForgetsAcknowledged => Invariant::Remembered,
            Bug::StartsBeforeInputs => Invariant::InputsFirst,
            Bug::EndsBeforeItIsGone => Invariant::Slots,
            Bug::SharesTooMuch => Invariant::NamedSlots,
            Bug::PlansTooFew => Invariant::Listed,
            Bug::GathersTooFew => Invariant::Gathers,
            Bug::GathersEarly => Invariant::EndsWithInstances,
            Bug::TellsOldMetrics => Invariant::Chooses,
            Bug::NeverTells => Invariant::Ends,
            Bug::RunsFinishedAgain => Invariant::NotRepeated,
            Bug::PublishesNothing | Bug::ServesWhatIsGone => Invariant::BytesFirst,
        }
    }
}

impl Lab {
    /// Appends, as the database does it, and with the bugs that are planted in it.
    pub fn append(
        &self,
        process: ProcessId,
        tables: &mut Tables,
        lease: &Lease,
        batch: &[Event],
    ) -> StoreResult<()> {
        let before = tables.clone();
        let done = if self.has_bug(Bug::ForgetsAcknowledged) {
            Ok(())
        } else if self.has_bug(Bug::PublishesStale) {
            tables.append_unchecked(lease, batch, true)
        } else if self.has_bug(Bug::WritesWithoutLease) {
            tables.append_unchecked(lease, batch, false)
        } else {
            tables.append(lease, batch)
        };
        if done.is_ok() {
            self.judge().appended(self, process, lease, batch, &before, tables);
        }
        done
    }
}

/// Bugs of the database.
impl Tables {
    /// Takes what finished back, so that it is done again.
    pub fn forget_finished(&mut self, run: &RunId) {
        if let Some(run) = self.runs.iter_mut().find(|row| row.new.id == *run) {
            for stage in &mut Arc::make_mut(run).stages {
                stage.state = AttemptState::Queued;
                stage.fingerprint = None;
            }
        }
        self.fingerprints = Arc::default();
    }

    /// Takes the lease of a batch for valid, whatever it is, or even its tokens.
    fn append_unchecked(
        &mut self,
        lease: &Lease,
        batch: &[Event],
        even_tokens: bool,
    ) -> StoreResult<()> {
        let Some(run) = self.runs.iter_mut().find(|row| row.new.id == lease.run) else {
            return Ok(());
        };
        let run = Arc::make_mut(run);
        let held = run.lease.clone();
        if let Some(held) = &mut run.lease {
            held.engine.token = lease.engine;
        }
        for event in batch.iter().filter(|_| even_tokens) {
            if let EventBody::AttemptFinished { stage, attempt, token, .. } = &event.body
                && let Some(place) = run.place(stage)
                && let Some(row) = run.attempts.get_mut(&(place, *attempt))
            {
                (row.token, row.state) = (*token, AttemptState::Running);
                run.stages[place].state = AttemptState::Running;
            }
        }
        let done = self.append(lease, batch);
        if let Some(run) = self.runs.iter_mut().find(|row| row.new.id == lease.run) {
            Arc::make_mut(run).lease = held.filter(|_| run.finished.is_none());
        }
        done
    }
}
