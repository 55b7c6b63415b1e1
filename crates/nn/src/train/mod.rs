//! Training: configuration, first weights, the loop, and what it measures.

pub mod config;
mod course;
pub mod fit;
pub(crate) mod init;
pub mod problem;
pub mod saver;
pub mod schedule;
pub mod scores;
pub mod settings;
pub mod state;
mod steps;
pub mod watch;

pub use config::TrainConfig;
pub use fit::{FitOutcome, fit, score};
pub use saver::Saver;
pub use scores::Scores;
pub use settings::FitSettings;
pub use state::{StateError, TrainingState};
pub use watch::{BatchReport, EpochReport, Unwatched, Watcher};
