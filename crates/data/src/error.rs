//! What can be wrong with data. Every message is a user's: it names the file, the column and,
//! where it is known, the row, and says how to mend it.

use std::fmt;
use std::path::{Path, PathBuf};

use polars::prelude::PolarsError;
use wick_core::FailureCause;
use wick_stage::StageError;

/// The result of reading, writing or treating data.
pub type DataResult<T = ()> = Result<T, DataError>;

/// What is wrong with data.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `make`.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// The mend.
        help: Option<String>,
    },
    /// A column is not what it should be.
    #[error("column `{column}` {message}")]
    Column {
        /// The column.
        column: String,
        /// What is wrong with it: a fragment that follows the name.
        message: String,
        /// The mend.
        help: Option<String>,
    },
    /// The data as a whole is not what it should be.
    #[error("{message}")]
    Data {
        /// What is wrong.
        message: String,
        /// The mend.
        help: Option<String>,
    },
    /// What was asked for cannot work, whatever the data.
    #[error("{message}")]
    Config {
        /// What is wrong.
        message: String,
        /// The mend.
        help: Option<String>,
    },
}

impl DataError {
    /// A file refused.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        DataError::Io { action, path: path.into(), source }
    }

    /// A file is not what it should be.
    pub fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        DataError::File { path: path.into(), message: message.into(), help: None }
    }

    /// A column is not what it should be.
    pub fn column(column: impl Into<String>, message: impl Into<String>) -> Self {
        DataError::Column { column: column.into(), message: message.into(), help: None }
    }

    /// The data as a whole is not what it should be.
    pub fn data(message: impl Into<String>) -> Self {
        DataError::Data { message: message.into(), help: None }
    }

    /// What was asked for cannot work.
    pub fn config(message: impl Into<String>) -> Self {
        DataError::Config { message: message.into(), help: None }
    }

    /// Polars could not read `path`.
    pub fn reading(path: &Path, error: PolarsError) -> Self {
        match io_error(&error) {
            Some(source) => DataError::io("read", path, source),
            None => DataError::file(path, polars_message(&error)),
        }
    }

    /// Polars could not do `what`.
    pub fn polars(what: impl fmt::Display, error: PolarsError) -> Self {
        DataError::data(format!("cannot {what}: {}", polars_message(&error)))
    }

    /// There is no column called `name`.
    pub fn no_column<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        DataError::column(name, "does not exist").help(column_help(name, &names))
    }

    /// Adds or replaces the mend.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            DataError::Io { .. } => {}
            DataError::File { help, .. }
            | DataError::Column { help, .. }
            | DataError::Data { help, .. }
            | DataError::Config { help, .. } => *help = Some(text.into()),
        }
        self
    }

    /// The mend, if it is known.
    pub fn mend(&self) -> Option<&str> {
        match self {
            DataError::Io { .. } => None,
            DataError::File { help, .. }
            | DataError::Column { help, .. }
            | DataError::Data { help, .. }
            | DataError::Config { help, .. } => help.as_deref(),
        }
    }

    /// The sort of failure that it makes of an attempt.
    pub const fn cause(&self) -> FailureCause {
        match self {
            DataError::Io { .. } => FailureCause::Io,
            DataError::Config { .. } => FailureCause::Config,
            DataError::File { .. } | DataError::Column { .. } | DataError::Data { .. } => {
                FailureCause::Data
            }
        }
    }
}

impl From<DataError> for StageError {
    fn from(error: DataError) -> Self {
        let mut stage = StageError::new(error.cause(), error.to_string());
        if let Some(help) = error.mend() {
            stage = stage.help(help);
        }
        match error {
            DataError::Io { source, .. } => stage.because(source),
            _ => stage,
        }
    }
}

/// The part of a polars message that a user can act on. Polars adds the plan that it was
/// executing and advice that names its own functions; both begin on a line of their own.
pub(crate) fn polars_message(error: &PolarsError) -> String {
    let text = match error {
        PolarsError::Context { error, .. } | PolarsError::ExprContext { error, .. } => {
            return polars_message(error);
        }
        PolarsError::AssertionError(text)
        | PolarsError::ColumnNotFound(text)
        | PolarsError::ComputeError(text)
        | PolarsError::Duplicate(text)
        | PolarsError::InvalidOperation(text)
        | PolarsError::NoData(text)
        | PolarsError::OutOfBounds(text)
        | PolarsError::SchemaFieldNotFound(text)
        | PolarsError::SchemaMismatch(text)
        | PolarsError::ShapeMismatch(text)
        | PolarsError::SQLInterface(text)
        | PolarsError::SQLSyntax(text)
        | PolarsError::StringCacheMismatch(text)
        | PolarsError::StructFieldNotFound(text) => text.to_string(),
        PolarsError::IO { error, .. } => error.to_string(),
    };
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or("unknown error").to_owned();
    // Some messages put the offending values on their second line.
    if first.ends_with(':') {
        lines.next().map_or(first.clone(), |second| format!("{first} {second}"))
    } else {
        first
    }
}

fn io_error(error: &PolarsError) -> Option<std::io::Error> {
    match error {
        PolarsError::IO { error, .. } => Some(std::io::Error::new(error.kind(), error.to_string())),
        PolarsError::Context { error, .. } | PolarsError::ExprContext { error, .. } => {
            io_error(error)
        }
        _ => None,
    }
}

/// What to say to someone who named a column that does not exist.
pub fn column_help(name: &str, names: &[&str]) -> String {
    match closest(name, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "the table has no columns".to_owned(),
        None => {
            const SHOWN: usize = 12;
            let mut text = "the columns are ".to_owned();
            for (place, name) in names.iter().take(SHOWN).enumerate() {
                text += &format!("{}`{name}`", if place == 0 { "" } else { ", " });
            }
            if names.len() > SHOWN {
                text += &format!(" and {} more", names.len() - SHOWN);
            }
            text
        }
    }
}

/// The name nearest to `name`, if one is near enough to be meant.
pub fn closest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    names
        .iter()
        .map(|candidate| (distance(&name.to_lowercase(), &candidate.to_lowercase()), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two texts, a swap of neighbours counting as one (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for row in 1..=left.len() {
        let mut this = vec![row; right.len() + 1];
        for column in 1..=right.len() {
            let change = usize::from(left[row - 1] != right[column - 1]);
            let mut best =
                (last[column] + 1).min(this[column - 1] + 1).min(last[column - 1] + change);
            if row > 1
                && column > 1
                && left[row - 1] == right[column - 2]
                && left[row - 2] == right[column - 1]
            {
                best = best.min(before[column - 2] + 1);
            }
            this[column] = best;
        }
        before = std::mem::replace(&mut last, this);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested() {
        #[track_caller]
        fn check(name: &str, names: &[&str], expect: Option<&str>) {
            assert_eq!(closest(name, names), expect, "{name}");
        }
        check("survivd", &["age", "survived"], Some("survived"));
        check("Age", &["age", "survived"], Some("age"));
        check("aeg", &["age", "sex"], Some("age"));
        check("fare", &["survived"], None);
    }
}
