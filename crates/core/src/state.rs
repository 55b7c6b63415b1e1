//! The states of attempts and runs, each with its one transition function.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where an attempt, and with it its stage, stands.
///
/// ```text
/// queued ──> running ──> succeeded | failed | cancelled | lost
///    ├─────> cached      (an equal fingerprint succeeded before; nothing ran)
///    ├─────> skipped     (something it needs did not succeed)
///    └─────> cancelled
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptState {
    /// Waits for its inputs or for a slot.
    Queued,
    /// Its process was, or is about to be, started.
    Running,
    /// Its outputs are published.
    Succeeded,
    /// Nothing ran: the outputs of an equal fingerprint were reused.
    Cached,
    /// It ended without publishing.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Never started, because something it needs did not succeed.
    Skipped,
    /// Its engine died while it ran.
    Lost,
}

impl AttemptState {
    /// Every state.
    pub const ALL: [AttemptState; 8] = [
        AttemptState::Queued,
        AttemptState::Running,
        AttemptState::Succeeded,
        AttemptState::Cached,
        AttemptState::Failed,
        AttemptState::Cancelled,
        AttemptState::Skipped,
        AttemptState::Lost,
    ];

    /// Whether an attempt may go from this state to `next`.
    pub const fn can_become(self, next: AttemptState) -> bool {
        use AttemptState::*;
        matches!(
            (self, next),
            (Queued, Running | Cached | Skipped | Cancelled)
                | (Running, Succeeded | Failed | Cancelled | Lost)
        )
    }

    /// Whether nothing more will happen to the attempt.
    pub const fn is_final(self) -> bool {
        !matches!(self, AttemptState::Queued | AttemptState::Running)
    }

    /// Whether the stage's outputs are there for those who need them.
    pub const fn has_outputs(self) -> bool {
        matches!(self, AttemptState::Succeeded | AttemptState::Cached)
    }

    /// The word shown and stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            AttemptState::Queued => "queued",
            AttemptState::Running => "running",
            AttemptState::Succeeded => "succeeded",
            AttemptState::Cached => "cached",
            AttemptState::Failed => "failed",
            AttemptState::Cancelled => "cancelled",
            AttemptState::Skipped => "skipped",
            AttemptState::Lost => "lost",
        }
    }
}

/// Where a run stands.
///
/// ```text
/// running ──> succeeded | failed | cancelled | interrupted
/// any of these ──> running      (a rerun of the same plan)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// An engine drives it.
    Running,
    /// Every stage succeeded or was cached.
    Succeeded,
    /// At least one stage failed.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Its engine died.
    Interrupted,
}

impl RunState {
    /// Every state.
    pub const ALL: [RunState; 5] = [
        RunState::Running,
        RunState::Succeeded,
        RunState::Failed,
        RunState::Cancelled,
        RunState::Interrupted,
    ];

    /// Whether a run may go from this state to `next`.
    pub const fn can_become(self, next: RunState) -> bool {
        use RunState::*;
        matches!(
            (self, next),
            (Running, Succeeded | Failed | Cancelled | Interrupted)
                | (Succeeded | Failed | Cancelled | Interrupted, Running)
        )
    }

    /// The word shown and stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunState::Running => "running",
            RunState::Succeeded => "succeeded",
            RunState::Failed => "failed",
            RunState::Cancelled => "cancelled",
            RunState::Interrupted => "interrupted",
        }
    }
}

/// A word that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state")]
pub struct UnknownState(pub String);

macro_rules! words {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = UnknownState;
            fn from_str(text: &str) -> Result<Self, UnknownState> {
                Self::ALL
                    .into_iter()
                    .find(|state| state.as_str() == text)
                    .ok_or_else(|| UnknownState(text.to_owned()))
            }
        }
    };
}

words!(AttemptState);
words!(RunState);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_states_stay() {
        for state in AttemptState::ALL {
            let moves = AttemptState::ALL.into_iter().any(|next| state.can_become(next));
            assert_eq!(moves, !state.is_final(), "{state}");
        }
    }

    #[test]
    fn words_name_their_states() {
        for state in AttemptState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for state in RunState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("done".parse::<RunState>().is_err());
    }
}
