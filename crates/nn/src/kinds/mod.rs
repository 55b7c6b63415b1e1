//! The kinds of this crate: `train` and `predict`.

mod predict;
mod train;

use wick_stage::{Kind, Typed};

pub use predict::{PredictConfig, PredictKind, add_predictions};
pub use train::TrainKind;

/// The kinds of this crate.
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![Typed::boxed(TrainKind), Typed::boxed(PredictKind)]
}
