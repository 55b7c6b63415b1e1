//! Training: configuration, first weights, the loop, and what it measures.

pub mod config;
pub mod fit;
pub(crate) mod init;
pub mod problem;
pub mod schedule;
pub mod scores;
pub mod settings;
mod steps;
pub mod watch;

pub use config::TrainConfig;
pub use fit::{FitOutcome, fit, score};
pub use scores::Scores;
pub use settings::FitSettings;
pub use watch::{BatchReport, EpochReport, Unwatched, Watcher};
