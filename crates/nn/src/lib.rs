//! Networks on candle: layers, losses, optimizers, kernels, the training loop; the kinds
//! `train` and `predict`.
//!
//! [`Model`] is what everyone above uses: it loads, encodes rows of a table, predicts, and can
//! be differentiated. [`fit()`] trains one. Knows nothing of runs and stores.

pub mod error;
pub mod features;
mod kinds;
pub mod model;
pub mod ops;
pub mod optimizer;
pub mod packed;
pub mod spec;
pub mod train;

pub use error::{NnError, NnResult};
pub use features::{Feature, FeatureForm, Features};
pub use kinds::{PredictConfig, PredictKind, TrainKind, add_predictions, kinds};
pub use model::{Examples, Inputs, Model, ModelInfo, Predictions, TargetInfo, Targets};
pub use spec::{LayerShape, LayerSpec, SampleShape};
pub use train::{FitOutcome, FitSettings, TrainConfig, Unwatched, Watcher, fit, score};
