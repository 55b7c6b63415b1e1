//! What is searched for, and what is found, as plain types.

use serde_json::Value;
use wick_core::Timestamp;

use crate::filter::{Column, Filter, Order};
use crate::records::RunSummary;

/// Which runs, in which order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    /// Only these; all if there is no filter.
    pub filter: Option<Filter>,
    /// What comes first; the newest among equals, and where nothing is said.
    pub order: Vec<Order>,
    /// What is wanted of each run beside its summary.
    pub columns: Vec<Column>,
    /// At most so many; 0 for all.
    pub limit: u32,
    /// After leaving out so many.
    pub offset: u32,
    /// Whether runs that were put away are among them.
    pub visible: Visible,
    /// How the database is asked. It finds the same runs whichever way.
    pub way: Way,
}

impl Search {
    /// The newest of all runs, at most so many.
    pub fn newest(limit: u32) -> Self {
        Self { limit, visible: Visible::All, ..Self::default() }
    }
}

/// Whether runs that were put away are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Visible {
    /// Runs that are neither archived nor deleted.
    #[default]
    Live,
    /// Archived runs that are not deleted.
    Archived,
    /// Deleted runs that are still there.
    Deleted,
    /// All runs.
    All,
}

/// How the database is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Way {
    /// The quicker one, by what a few counts say.
    #[default]
    Quickest,
    /// The few runs of one condition are looked up first, wherever an index knows them.
    Drive,
    /// The runs are walked in their order first, wherever an index is in it, but not far.
    Walk,
}

/// Runs that were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunPage {
    /// The runs, in the order that was asked for.
    pub runs: Vec<RunSummary>,
    /// Whether there are more behind them.
    pub more: bool,
    /// For each run the values of the columns that were asked for; `None` for what it does not
    /// have.
    pub columns: Vec<Vec<Option<ColumnValue>>>,
}

/// The value of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnValue {
    /// A number; of a metric perhaps NaN.
    Number(f64),
    /// A param.
    Json(Value),
    /// A text.
    Text(String),
    /// A time.
    Moment(Timestamp),
    /// Microseconds.
    Duration(i64),
}
