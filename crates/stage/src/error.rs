//! Why an attempt failed, as its kind tells it.

use std::error::Error;
use std::fmt;

use wick_core::{Failure, FailureCause};

/// The result of running a stage.
pub type StageResult<T = ()> = Result<T, StageError>;

/// A failure of a stage: what sort, what went wrong, and how to mend it.
#[derive(Debug)]
pub struct StageError {
    cause: FailureCause,
    message: String,
    help: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StageError {
    /// A failure of this sort.
    pub fn new(cause: FailureCause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), help: None, source: None }
    }

    /// The data is not what the stage was told it would be.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(FailureCause::Data, message)
    }

    /// The configuration cannot work.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(FailureCause::Config, message)
    }

    /// A file or another resource refused.
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        Self::new(FailureCause::Io, message).because(source)
    }

    /// A requirement was not met.
    pub fn gate(message: impl Into<String>) -> Self {
        Self::new(FailureCause::Gate, message)
    }

    /// A defect of Candlewick.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureCause::Internal, message)
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds what it came from.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// As it is recorded.
    pub fn to_failure(&self) -> Failure {
        let mut chain = Vec::new();
        let mut next = self.source();
        while let Some(error) = next {
            chain.push(error.to_string());
            next = error.source();
        }
        Failure {
            cause: self.cause,
            message: self.message.clone(),
            chain,
            help: self.help.clone(),
            exit: None,
        }
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
