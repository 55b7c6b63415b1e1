//! Errors as the command line shows them: their kind decides the exit code, hints say what to
//! type next.

use std::fmt;
use std::path::Path;

use wick_engine::EngineError;
use wick_store::StoreError;

use crate::render::human;

/// A disk with less room than this is full: a store grows by so much at a time.
const FULL_BYTES: u64 = 1 << 20;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// All went well.
    Success = 0,
    /// A run failed.
    RunFailed = 1,
    /// What was given is wrong: the command line, a pipeline, a name that does not exist. clap
    /// uses the same code.
    Invalid = 2,
    /// wick itself, the store or the machine failed (`EX_SOFTWARE` of sysexits.h).
    Internal = 70,
    /// Someone else has what is needed; later it may be free (`EX_TEMPFAIL`).
    Busy = 75,
    /// Stopped on request: what shells give for Ctrl-C.
    Cancelled = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code as u8)
    }
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was given is wrong; another input would do.
    Invalid,
    /// wick, the store or the machine failed.
    Internal,
    /// Nobody's: another wick drives the run, or another program holds the store.
    Busy,
}

/// Why a command gave up, and what may help.
#[derive(Debug)]
pub struct CommandError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// What went wrong, with its causes.
    pub error: anyhow::Error,
    /// What to do about it, a line each.
    pub hints: Vec<String>,
}

/// The result of a command.
pub type CommandResult<T = ExitCode> = Result<T, CommandError>;

impl CommandError {
    /// What was given is wrong.
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Invalid, anyhow::anyhow!("{message}"))
    }

    /// Someone else has what is needed.
    pub fn busy(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Busy, anyhow::anyhow!("{message}"))
    }

    /// What was given is wrong, as this error says with its causes.
    pub fn blamed(error: impl Into<anyhow::Error>) -> Self {
        Self::new(ErrorKind::Invalid, error.into())
    }

    /// wick, the store or the machine failed.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self::new(ErrorKind::Internal, error.into())
    }

    fn new(kind: ErrorKind, error: anyhow::Error) -> Self {
        Self { kind, error, hints: Vec::new() }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display + Send + Sync + 'static) -> Self {
        self.error = self.error.context(doing);
        self
    }

    /// The exit code of this error.
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            ErrorKind::Invalid => ExitCode::Invalid,
            ErrorKind::Internal => ExitCode::Internal,
            ErrorKind::Busy => ExitCode::Busy,
        }
    }
}

impl From<anyhow::Error> for CommandError {
    fn from(error: anyhow::Error) -> Self {
        Self::internal(error)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let (kind, hint) = match &error {
            StoreError::Location { .. } => (
                ErrorKind::Invalid,
                Some("a store is a path such as .wick/store.db or a postgres:// URL".to_owned()),
            ),
            StoreError::Newer { .. } => {
                (ErrorKind::Invalid, Some("use the newer wick, or another --store".to_owned()))
            }
            StoreError::NoRun(_) => {
                (ErrorKind::Invalid, Some("`wick runs` lists the runs there are".to_owned()))
            }
            StoreError::Leased { run, since, .. } => (
                ErrorKind::Busy,
                Some(format!(
                    "it began {}; wait until run {run} ends, or stop it: wick cancel {run}",
                    human::ago(*since, human::now())
                )),
            ),
            StoreError::Busy { .. } => (
                ErrorKind::Busy,
                Some(
                    "let that program finish with the store, or end it, and try again; a run \
                     that stopped goes on with `wick rerun`"
                        .to_owned(),
                ),
            ),
            StoreError::Database { location, .. } | StoreError::Unknown { location, .. } => (
                ErrorKind::Internal,
                Some(if is_full(Path::new(location)) {
                    "the disk is full: make room, then `wick rerun`".to_owned()
                } else {
                    "`wick doctor` looks at the store and the disk".to_owned()
                }),
            ),
            StoreError::Sql(error) => (ErrorKind::Invalid, error.help.clone()),
            StoreError::LeaseLost(_)
            | StoreError::StaleToken { .. }
            | StoreError::Refused(_)
            | StoreError::Corrupt(_) => (ErrorKind::Internal, None),
        };
        let mut command_error = Self::new(kind, error.into());
        command_error.hints.extend(hint);
        command_error
    }
}

/// Whether the disk on which the file `path` lies has no room left to speak of. SQLite calls it an
/// I/O error where it notices late.
fn is_full(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new("."));
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail * disk.f_frsize < FULL_BYTES)
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        match error {
            // That a living engine drives the run is the user's to know, not a defect.
            EngineError::Store(error) => error.into(),
            EngineError::LeaseLost { .. } => Self::new(ErrorKind::Busy, error.into())
                .hint("`wick show` tells how far the other one is"),
            EngineError::Selection(_) => Self::new(ErrorKind::Invalid, error.into())
                .hint("`wick plan` with the same words tells beforehand what would run"),
            EngineError::NotThere { .. } => Self::new(ErrorKind::Invalid, error.into())
                .hint("`--from STAGE` also runs what is missing; `--until STAGE` makes it"),
            error => Self::internal(error).hint("`wick doctor` looks at the machine"),
        }
    }
}

/// Turns other errors into command errors where they arise.
pub trait ResultExt<T> {
    /// The input is to blame.
    fn or_invalid(self, doing: impl fmt::Display + Send + Sync + 'static) -> CommandResult<T>;
    /// wick, the store or the machine is to blame.
    fn or_internal(self, doing: impl fmt::Display + Send + Sync + 'static) -> CommandResult<T>;
}

impl<T, E: Into<anyhow::Error>> ResultExt<T> for Result<T, E> {
    fn or_invalid(self, doing: impl fmt::Display + Send + Sync + 'static) -> CommandResult<T> {
        self.map_err(|error| CommandError::new(ErrorKind::Invalid, error.into().context(doing)))
    }

    fn or_internal(self, doing: impl fmt::Display + Send + Sync + 'static) -> CommandResult<T> {
        self.map_err(|error| CommandError::new(ErrorKind::Internal, error.into().context(doing)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_tells_whose_fault_it_is() {
        #[track_caller]
        fn check(error: StoreError, expect: ExitCode) {
            assert_eq!(CommandError::from(error).exit_code(), expect);
        }
        check(StoreError::NoRun(wick_core::RunId::from_random(7)), ExitCode::Invalid);
        check(StoreError::Corrupt("a state".into()), ExitCode::Internal);
        let holder = "sqlite3 (process 7)".to_owned();
        check(StoreError::Busy { location: "store.db".into(), holder }, ExitCode::Busy);
        let source = std::io::Error::other("disk I/O error");
        check(
            StoreError::Database { location: "store.db".into(), source: source.into() },
            ExitCode::Internal,
        );
    }

    #[test]
    fn causes_stand_behind_what_was_being_done() {
        let read: Result<(), _> = Err(std::io::Error::other("no such thing"));
        let error = read.or_invalid("cannot read a.yaml").expect_err("it failed");
        assert_eq!(format!("{:#}", error.error), "cannot read a.yaml: no such thing");
        assert_eq!(error.exit_code(), ExitCode::Invalid);
    }
}
