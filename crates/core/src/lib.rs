//! The vocabulary of Candlewick: the words that every other crate speaks.
//!
//! Ids, states, events, metric points and digests, as plain types without I/O: nothing here
//! reads a file, asks the clock or draws a random number.

pub mod digest;
pub mod event;
pub mod id;
pub mod metric;
pub mod port;
pub mod state;
pub mod time;
pub mod worker;

pub use digest::{Digest, Fingerprint, ParseDigestError};
pub use event::{
    Effect, EnergySource, Event, EventBody, Exit, Failure, FailureCause, Input, Output, SkipReason,
    StageOrigin, Usage,
};
pub use id::{ExperimentName, KindName, ModelName, NameError, PortName, RunId, StageName, Token};
pub use metric::{MetricKey, MetricPoint};
pub use port::PortType;
pub use state::{AttemptState, RunState};
pub use time::Timestamp;
pub use worker::{Progress, WorkerEvent};
