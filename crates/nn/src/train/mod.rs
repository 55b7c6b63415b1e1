//! Training: configuration, first weights, the loop, and what it measures.

pub mod config;
pub(crate) mod init;
pub mod schedule;
pub mod scores;
pub mod settings;
pub mod watch;

pub use config::TrainConfig;
pub use scores::Scores;
pub use settings::FitSettings;
pub use watch::{BatchReport, EpochReport, Unwatched, Watcher};
