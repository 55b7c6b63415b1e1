//! Why MLflow's runs cannot be read.

use std::fmt::Display;

/// The result of reading MLflow.
pub type MlflowResult<T> = Result<T, MlflowError>;

/// Why MLflow's runs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MlflowError {
    /// There is nothing of MLflow at the place.
    #[error("{0}")]
    Place(String),
    /// The file system refused.
    #[error("cannot read {what}")]
    Read {
        /// What was to be read.
        what: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The database refused.
    #[error("cannot read the database of MLflow")]
    Database(#[from] sqlx::Error),
    /// The server did not answer as it should.
    #[error("the tracking server {0}")]
    Server(String),
    /// One run cannot be read; others can.
    #[error("{0}")]
    Run(String),
}

impl MlflowError {
    pub(crate) fn read(what: impl Display, source: std::io::Error) -> Self {
        MlflowError::Read { what: what.to_string(), source }
    }

    pub(crate) fn run(why: impl Display) -> Self {
        MlflowError::Run(why.to_string())
    }
}
