//! Why the store could not answer.

use std::fmt;

use wick_core::{RunId, StageName, Timestamp};

/// The result of asking the store.
pub type StoreResult<T> = Result<T, StoreError>;

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The place or the URL is not one that a store can have.
    #[error("`{location}` is not a store: {reason}")]
    Location {
        /// What was given, without a password.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database was written by a newer `wick`.
    #[error(
        "the store at {location} was made by a newer wick (schema {found}, this one knows {known})"
    )]
    Newer {
        /// Where.
        location: String,
        /// Its schema version.
        found: i64,
        /// The newest version that this binary knows.
        known: i64,
    },
    /// No run has this id.
    #[error("there is no run {0}")]
    NoRun(RunId),
    /// A living engine drives the run.
    #[error("run {run} is driven by process {pid} on {host}")]
    Leased {
        /// The run.
        run: RunId,
        /// The engine's machine.
        host: String,
        /// The engine's process.
        pid: u32,
        /// When it took the run.
        since: Timestamp,
    },
    /// Another engine took the run.
    #[error("another engine has taken over run {0}")]
    LeaseLost(RunId),
    /// An attempt that is not the running one wanted to publish.
    #[error("attempt {attempt} of stage {stage} is not the one that runs")]
    StaleToken {
        /// The stage.
        stage: StageName,
        /// The attempt that was refused.
        attempt: u32,
    },
    /// What was told does not fit what is recorded: a defect of the caller.
    #[error("the store refused what does not fit its records: {0}")]
    Refused(String),
    /// A question in SQL cannot be answered.
    #[error("{0}")]
    Sql(Box<crate::sql::SqlError>),
    /// A row does not read as what it should be.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// Another program held the store locked for longer than anyone should; nothing was written.
    #[error("the store at {location} is held by {holder}")]
    Busy {
        /// Where.
        location: String,
        /// Who holds it, as far as the system tells.
        holder: String,
    },
    /// The database refused; nothing was written.
    #[error("the store at {location} refused")]
    Database {
        /// Where.
        location: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection broke or the disk failed while writing: it may or may not have happened.
    #[error("the store at {location} did not confirm a write")]
    Unknown {
        /// Where.
        location: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the server was not there to answer: it starts again, or the network is cut. Later
    /// it may be.
    pub fn is_away(&self) -> bool {
        let (Self::Database { source, .. } | Self::Unknown { source, .. }) = self else {
            return false;
        };
        source.downcast_ref::<Said>().is_some_and(|said| is_away(&said.0))
    }
}

/// What a database or the way to it said, in its own words alone: without a number, or a place in
/// the server's source, which tell nobody anything.
#[derive(Debug)]
pub(crate) struct Said(pub(crate) sqlx::Error);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            sqlx::Error::Database(said) => f.write_str(said.message()),
            error => error.fmt(f),
        }
    }
}

impl std::error::Error for Said {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            // It has told all.
            sqlx::Error::Database(_) => None,
            error => error.source(),
        }
    }
}

/// Whether a connection broke or could not be had, rather than that a statement was refused.
pub(crate) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        // Class 08 of SQLSTATE is connections; 57P01 to 57P03 a server that ends or begins.
        sqlx::Error::Database(said) => said.code().is_some_and(|code| {
            code.len() == 5 && (code.starts_with("08") || code.starts_with("57P0"))
        }),
        _ => false,
    }
}
