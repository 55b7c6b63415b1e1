//! How good a model is: metrics, curves, calibration, and the gates that a stage must pass; the
//! kind `evaluate`.
//!
//! [`metrics`] are pure functions over labels, probabilities and values; they know no model and
//! no table.

pub mod gate;
pub mod kind;
pub mod metric;
pub mod metrics;
pub mod outcomes;

pub use gate::{Gate, ParseGateError};
pub use kind::Evaluate;
pub use metric::{CALIBRATION_BINS, ClassOutcomes, Metric, MetricOptions, Outcomes};
pub use metrics::{Average, ConfusionMatrix};
pub use outcomes::outcomes;

/// The kinds of this crate.
pub fn kinds() -> Vec<Box<dyn wick_stage::Kind>> {
    vec![wick_stage::Typed::boxed(Evaluate)]
}
