//! What a worker tells the engine, one JSON object a line.

use serde::{Deserialize, Serialize};

use crate::{Effect, Failure, MetricPoint, Output};

/// One line of an attempt's `events.jsonl`.
///
/// An attempt that ends well writes every [`WorkerEvent::Output`] and then
/// [`WorkerEvent::Succeeded`]; a line cut short by a crash is ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerEvent {
    /// Points were measured.
    Metrics(Vec<MetricPoint>),
    /// How far the attempt is.
    Progress(Progress),
    /// Bytes are in the artifact store.
    Output(Output),
    /// To be applied when the attempt is published.
    Effect(Effect),
    /// The attempt failed for a reason that it knows.
    Failed(Failure),
    /// Everything is made and reported.
    Succeeded,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is counted: `epoch`, `rows`, `samples`.
    pub unit: String,
    /// How many are done; may be a fraction.
    pub done: f64,
    /// How many there will be, if that is known.
    pub total: Option<f64>,
    /// What else to show: `loss 0.031, 24,100 images/s`.
    pub note: Option<String>,
}
