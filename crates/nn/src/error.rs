//! What can go wrong with a network.

use std::path::PathBuf;

use wick_core::FailureCause;
use wick_stage::StageError;

/// The result of working with a network.
pub type NnResult<T = ()> = Result<T, NnError>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// The data is not what the network was told it would be.
    #[error("{message}")]
    Data {
        /// What is wrong.
        message: String,
        /// The mend.
        help: String,
    },
    /// The configuration cannot work.
    #[error("{message}")]
    Config {
        /// What is wrong.
        message: String,
        /// The mend.
        help: String,
    },
    /// A file of a model could not be read or written.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of a model is not what it should be.
    #[error("{} is not a model that this version reads: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Training left the numbers that can be computed with.
    #[error("{message}")]
    Diverged {
        /// When.
        message: String,
        /// The mend.
        help: String,
    },
    /// A dataset could not be read, or a column is not what it should be.
    #[error(transparent)]
    Table(#[from] wick_data::DataError),
    /// A tensor operation failed: the shapes were checked before, so this is a defect.
    #[error("a tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    /// What a stage wanted failed; kept as it is.
    #[error("{0}")]
    Stage(StageError),
}

impl NnError {
    /// The data is not what the network was told it would be.
    pub fn data(message: impl Into<String>, help: impl Into<String>) -> Self {
        NnError::Data { message: message.into(), help: help.into() }
    }

    /// The configuration cannot work.
    pub fn config(message: impl Into<String>, help: impl Into<String>) -> Self {
        NnError::Config { message: message.into(), help: help.into() }
    }
}

impl From<StageError> for NnError {
    fn from(error: StageError) -> Self {
        NnError::Stage(error)
    }
}

impl From<NnError> for StageError {
    fn from(error: NnError) -> Self {
        let text = error.to_string();
        match error {
            NnError::Data { message, help } => StageError::data(message).help(help),
            NnError::Config { message, help } => StageError::config(message).help(help),
            NnError::Diverged { message, help } => {
                StageError::new(FailureCause::Config, message).help(help)
            }
            NnError::File { source, .. } => StageError::io(text, source),
            NnError::Format { .. } => StageError::data(text)
                .help("train the model again with this version, or give the stage another model"),
            NnError::Table(error) => error.into(),
            NnError::Tensor(source) => StageError::internal(text).because(source),
            NnError::Stage(error) => error,
        }
    }
}
