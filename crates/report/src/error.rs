//! What can go wrong with a report on disk.

use std::path::PathBuf;

/// Why a report cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the report refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `report.json` is not a report.
    #[error("{} is not a report", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A later Candlewick wrote it.
    #[error(
        "{} has version {version}, and this program reads versions up to {supported}: use a newer one",
        path.display()
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version found.
        version: u32,
        /// The last version that can be read.
        supported: u32,
    },
}
