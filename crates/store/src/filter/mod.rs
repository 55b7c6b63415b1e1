//! The filter language: which runs are meant, in words that people type.
//!
//! `metrics.accuracy > 0.97 and (params.lr < 0.01 or tags.team = 'vision')`: MLflow's grammar, and
//! beyond it `or`, `not`, parentheses, `in`, `like` and `between` for everything, params as
//! numbers, stages, artifacts, durations and times in words.
//!
//! Everything here is pure: a text becomes a checked [`Filter`] or a [`FilterError`] that knows its
//! place. What a filter means for each database is the business of `search`.
//!
//! # Meaning
//!
//! The logic has two values. A comparison with what a run does not have is false, whatever the
//! operator: `metrics.loss != 3` finds runs that have a loss. `not (metrics.loss = 3)` is true where
//! it is missing, and `is null` asks for just that. Where a run has several of what is named, such
//! as a metric that several stages measure, a comparison is true if one of them satisfies it.
//! Nothing equals NaN, and nothing is less or greater; `is nan` finds it.

mod check;
mod error;
mod expr;
mod lexer;
mod literal;
mod parser;
mod path;
mod pattern;
mod print;
mod suggest;
mod words;

#[cfg(test)]
mod tests;

use wick_core::{ExperimentName, RunState, Timestamp};

pub use error::FilterError;
pub(crate) use expr::{
    ArtifactField, Comparison, Condition, DatasetField, Expr, Field, MetricName, RunField,
    StageField, Test, Value,
};
pub use expr::{Column, Filter, Order};
pub(crate) use pattern::Pattern;

/// The longest filter, in bytes. Also keeps patterns below what SQLite takes.
pub const MAX_LENGTH: usize = 16 << 10;

/// How deep parentheses and `not` may be nested.
pub const MAX_DEPTH: usize = 64;

/// How many comparisons and values a filter may have in all.
pub const MAX_PARTS: usize = 1_000;

/// How many fields an order may have, or a list of columns.
pub const MAX_FIELDS: usize = 32;

/// The filter that `text` says. `now` is what `'2 days ago'` counts from.
///
/// # Errors
/// The first mistake, with its place and the mend.
///
/// ```
/// use wick_store::filter;
/// let now = wick_core::Timestamp(0);
/// assert!(filter::parse("metrics.accuracy > 0.97 and not status = 'FAILED'", now).is_ok());
/// let error = filter::parse("metrics.accuracy > high", now).unwrap_err();
/// assert_eq!(error.span, 19..23);
/// ```
pub fn parse(text: &str, now: Timestamp) -> Result<Filter, FilterError> {
    parser::parse(text, now).map(Filter)
}

/// The order that `text` says: `metrics.accuracy desc, started`.
///
/// # Errors
/// The first mistake, with its place and the mend.
pub fn parse_order(text: &str) -> Result<Vec<Order>, FilterError> {
    parser::parse_order(text)
}

/// The columns that `text` names: `params.lr, metrics.accuracy`.
///
/// # Errors
/// The first mistake, with its place and the mend.
pub fn parse_columns(text: &str) -> Result<Vec<Column>, FilterError> {
    parser::parse_columns(text)
}

impl Filter {
    /// The runs of an experiment.
    pub fn of_experiment(name: &ExperimentName) -> Self {
        Self::run_is(RunField::Experiment, name.as_str())
    }

    /// The runs in a state.
    pub fn in_state(state: RunState) -> Self {
        Self(Expr::Is(Condition {
            field: Field::Run(RunField::State),
            test: Test::In { values: vec![Value::Text(state.as_str().into())], negated: false },
        }))
    }

    /// The runs with the tag `key` of this value.
    pub fn with_tag(key: &str, value: &str) -> Self {
        let test = Test::Compare(Comparison::Equal, Value::Text(value.to_owned()));
        Self(Expr::Is(Condition { field: Field::Tag(key.to_owned()), test }))
    }

    /// The runs that a person calls `name`.
    pub fn named(name: &str) -> Self {
        Self::run_is(RunField::Name, name)
    }

    /// The runs that have a number of this metric, called as in a filter: `accuracy` of any
    /// stage, `evaluate.accuracy` of one.
    pub fn with_metric(name: &str) -> Self {
        let field = Field::Metric(MetricName::new(name));
        let test = Test::Nan { negated: true };
        Self(Expr::Is(Condition { field, test }))
    }

    fn run_is(field: RunField, text: &str) -> Self {
        let test = Test::Compare(Comparison::Equal, Value::Text(text.to_owned()));
        Self(Expr::Is(Condition { field: Field::Run(field), test }))
    }

    /// The runs that both mean.
    #[must_use]
    pub fn and(self, other: Filter) -> Filter {
        let mut all = Vec::new();
        for expr in [self.0, other.0] {
            match expr {
                Expr::And(inner) => all.extend(inner),
                expr => all.push(expr),
            }
        }
        Filter(Expr::And(all))
    }

    /// The runs that all of `filters` mean; `None` for no filter.
    pub fn all(filters: impl IntoIterator<Item = Filter>) -> Option<Filter> {
        filters.into_iter().reduce(Filter::and)
    }
}

impl Order {
    /// By the latest value of a metric, called as in a filter.
    pub fn by_metric(name: &str, descending: bool) -> Self {
        Self { field: Field::Metric(MetricName::new(name)), descending }
    }

    /// A column of what the order is by, unless every list has it.
    pub fn column(&self) -> Option<Column> {
        Column::of(self)
    }

    /// By the time at which the runs were started.
    pub fn by_start(descending: bool) -> Self {
        Self { field: Field::Run(RunField::Started), descending }
    }
}

impl Column {
    /// What this is an order by, where a list does not show it anyway.
    fn of(order: &Order) -> Option<Self> {
        let is_shown = matches!(order.field, Field::Run(_));
        let column = || Self { name: order.field.to_string(), field: order.field.clone() };
        (!is_shown).then(column)
    }

    /// The latest value of a metric, called as in a filter.
    pub fn metric(name: &str) -> Self {
        Self { name: name.to_owned(), field: Field::Metric(MetricName::new(name)) }
    }

    /// What it is called: as it was typed.
    pub fn name(&self) -> &str {
        &self.name
    }
}
