//! Executes plans.
//!
//! [`dispatcher`] owns all state of a run, as a pure state machine. The rest carries out what it
//! wants and tells it what came of it: [`supervisor`] and [`protocol`] start and stop processes,
//! [`worker`] runs a native kind inside one, [`command`] is the kind whose program is the user's.
//! Nothing here knows a screen: what happens is told to a [`Reporter`].

pub mod command;
pub mod dispatcher;
pub mod error;
pub mod folder;
pub mod identity;
pub mod log;
pub mod preview;
pub mod protocol;
pub mod report;
pub mod slots;
pub mod supervisor;
pub mod tail;
pub mod worker;

mod drive;
mod engine;
mod failure;
mod process;
mod ready;
mod recorder;
mod resolver;

#[cfg(test)]
mod test_support;

pub use dispatcher::CancelMode;
pub use engine::{CancelHandle, Engine, RunOptions};
pub use error::{EngineError, EngineResult};
pub use preview::{Preview, PreviewDecision, StagePreview};
pub use process::Program;
pub use report::{FailedStage, Reporter, RunOutcome, Silent, Totals};
pub use slots::Slots;
