//! Executes plans.
//!
//! [`dispatcher`] owns all state of a run, as a pure state machine. The drive carries out what it
//! wants and tells it what came of it: it records events in the store and hands attempts to an
//! [`executor`]. The [local one](executor::local) starts and stops processes through a
//! [`supervisor`]; [`worker`] runs a native kind inside one, [`command`] is the kind whose program
//! is the user's. Time and chance come from a [`world`], what is known of files from [`files`].
//! Nothing here knows a screen: what happens is told to a [`Reporter`].

pub mod cgroup;
pub mod command;
pub mod diff;
pub mod dispatcher;
pub mod error;
pub mod executor;
pub mod expander;
pub mod files;
pub mod folder;
pub mod identity;
pub mod log;
pub mod mask;
pub mod memory;
pub mod meter;
pub mod orphans;
pub mod preview;
pub mod protocol;
pub mod report;
pub mod secrets;
pub mod sharing;
pub mod slots;
pub mod supervisor;
pub mod tail;
pub mod worker;
pub mod world;

mod drive;
mod engine;
mod failure;
mod forecast;
mod history;
mod patience;
mod process;
mod reads;
mod ready;
mod recorder;
mod resolver;
mod standing;
pub mod wake;

#[cfg(test)]
mod test_support;

pub use diff::{Difference, ParamDiff, RunsDiff, StageChange, StageDiff, explain_runs};
pub use dispatcher::CancelMode;
pub use engine::{CancelHandle, Engine, Parts, RunOptions};
pub use error::{EngineError, EngineResult};
pub use expander::Expander;
pub use meter::Carbon;
pub use preview::{Preview, PreviewDecision, StagePreview};
pub use process::Program;
pub use report::{Began, FailedStage, Reporter, RunOutcome, Silent, Totals};
pub use slots::Slots;
