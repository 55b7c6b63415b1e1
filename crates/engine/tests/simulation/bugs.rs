//! Bugs that are planted, one at a time, to see that the simulation finds them.

use crate::judge::Invariant;

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
}

impl Bug {
    pub const ALL: [Bug; 10] = [
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
    ];

    /// In how many cases of a thousand it shows: few, as bugs that survive testing do.
    pub const fn per_mille(self) -> u64 {
        match self {
            Bug::WritesWithoutLease | Bug::PublishesStale | Bug::ServesWhatIsGone => 1000,
            Bug::RunsFinishedAgain => 100,
            Bug::StartsBeforeInputs => 200,
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
            Bug::NeverTells => Invariant::Ends,
            Bug::RunsFinishedAgain => Invariant::NotRepeated,
            Bug::PublishesNothing | Bug::ServesWhatIsGone => Invariant::BytesFirst,
        }
    }
}
