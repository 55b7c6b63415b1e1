//! Profiles of datasets: rows, columns, what is missing, and how values are distributed.
//!
//! Every dataset that a native stage writes has one in its `dataset.json`, made without being
//! asked for. So it must cost little and depend on nothing but the rows: equal tables have equal
//! profiles, to the last bit, whatever the machine and the number of its threads. Sums are taken
//! in the order of rows; where a table is large, quantiles, distinct values, histograms and top
//! values come from rows that are spread evenly over it, and the profile says from how many.
//!
//! Definitions are those of pandas and polars: the standard deviation divides by n − 1, quantiles
//! are interpolated linearly between order statistics, a histogram has bins of equal width, the
//! last of them closed (`numpy.histogram`). Missing values are left out of everything but their
//! count. So are values that are no finite numbers, which have counts of their own.

mod numbers;

use std::collections::HashMap;

use polars::prelude::{DataFrame, DataType, IdxSize, Series};
use serde::{Deserialize, Serialize};
use wick_stage::{Column, ColumnType};

pub use numbers::{Histogram, Numbers};

/// The version of [`Profile`].
pub const PROFILE_VERSION: u32 = 1;

/// How many columns are looked at; of more, the first.
const MAX_COLUMNS: usize = 500;

/// How many values quantiles and distinct values are found in at most, over all columns: sorting
/// and hashing them takes a tenth of a second.
const SAMPLED_VALUES: usize = 2_000_000;

/// The fewest and the most rows that they are found in.
const SAMPLED_ROWS: (usize, usize) = (5_000, 100_000);

/// How many values mean, deviation, least and largest are found in at most, over all columns.
const SUMMED_VALUES: usize = 50_000_000;

/// How many of the most frequent values are listed.
const TOP_VALUES: usize = 10;

/// Whole numbers have a list of the most frequent only if there are no more than so many: they
/// are codes then rather than amounts.
const FEW_VALUES: usize = 32;

/// How many characters of a value are shown.
const SHOWN_CHARACTERS: usize = 60;

/// How the values of a dataset are distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The version of this format.
    pub version: u32,
    /// How many rows there are.
    pub rows: u64,
    /// From how many rows quantiles, distinct values, histograms and top values come, where that
    /// is not all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled_rows: Option<u64>,
    /// Whether the other numbers, too, come from these rows; what is missing is always counted in
    /// all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all_sampled: bool,
    /// The columns in order.
    pub columns: Vec<ColumnProfile>,
    /// How many more columns there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_columns: u64,
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How the values of a column are distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// How many values are missing.
    pub missing: u64,
    /// How many different values there are, missing ones left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<u64>,
    /// Of numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbers: Option<Numbers>,
    /// Of texts: the characters of the shortest and of the longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lengths: Option<(u64, u64)>,
    /// Of dates and times: the first and the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(String, String)>,
    /// The most frequent values with their counts, most frequent first; equally frequent ones by
    /// themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<(String, u64)>,
}

impl Profile {
    /// The profile of `frame`, whose columns are `columns`.
    pub fn of(frame: &DataFrame, columns: &[Column]) -> Self {
        Self::within(frame, columns, SAMPLED_VALUES, SUMMED_VALUES)
    }

    /// The same with other limits.
    fn within(frame: &DataFrame, columns: &[Column], sampled: usize, summed: usize) -> Self {
        let rows = frame.height();
        let width = frame.width().clamp(1, MAX_COLUMNS);
        let (least, most) = SAMPLED_ROWS;
        let wanted = (sampled / width).clamp(least.min(sampled), most);
        let places = (rows > wanted).then(|| spread(rows, wanted));
        let all_sampled = places.is_some() && rows.saturating_mul(width) > summed;
        let looked_at = frame.columns().iter().zip(columns).take(MAX_COLUMNS);
        let profiles = looked_at.map(|(values, column)| {
            let all = values.as_materialized_series();
            let sample = places.as_ref().and_then(|places| all.take_slice(places).ok());
            let sample = sample.as_ref().unwrap_or(all);
            profile_of(column, all, sample, all_sampled)
        });
        Self {
            version: PROFILE_VERSION,
            rows: rows as u64,
            sampled_rows: places.as_ref().map(|places| places.len() as u64),
            all_sampled,
            columns: profiles.collect(),
            more_columns: frame.width().saturating_sub(MAX_COLUMNS) as u64,
        }
    }
}

/// `wanted` of `rows` places, evenly spread, in order.
fn spread(rows: usize, wanted: usize) -> Vec<IdxSize> {
    let place = |number: usize| (number as u128 * rows as u128 / wanted as u128) as IdxSize;
    (0..wanted).map(place).collect()
}

fn profile_of(column: &Column, all: &Series, sample: &Series, all_sampled: bool) -> ColumnProfile {
    let mut profile = ColumnProfile {
        name: column.name.clone(),
        column_type: column.column_type.clone(),
        missing: all.null_count() as u64,
        distinct: None,
        numbers: None,
        lengths: None,
        span: None,
        top: Vec::new(),
    };
    match &column.column_type {
        ColumnType::Integer | ColumnType::Float => {
            let summed = if all_sampled { sample } else { all };
            let Some(found) = numbers::find(summed, sample) else { return profile };
            profile.distinct = Some(found.distinct);
            if column.column_type == ColumnType::Integer && found.distinct <= FEW_VALUES as u64 {
                profile.top = top_of(sample).1;
            }
            profile.numbers = found.numbers;
        }
        ColumnType::Text | ColumnType::Category | ColumnType::Boolean => {
            (profile.distinct, profile.top) = top_of(sample);
            if column.column_type == ColumnType::Text {
                profile.lengths = lengths_of(if all_sampled { sample } else { all });
            }
        }
        ColumnType::Date | ColumnType::Datetime | ColumnType::Time => {
            profile.span = span_of(if all_sampled { sample } else { all });
            profile.distinct = top_of(sample).0;
        }
        // Of images, vectors and what is not known it is told what is missing.
        ColumnType::Bytes { .. } | ColumnType::Vector { .. } | ColumnType::Other(_) => {}
    }
    profile
}

/// How many different values there are, and the most frequent of them.
fn top_of(series: &Series) -> (Option<u64>, Vec<(String, u64)>) {
    let Ok(texts) = series.cast(&DataType::String) else { return (None, Vec::new()) };
    let Ok(texts) = texts.str() else { return (None, Vec::new()) };
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for text in texts.iter().flatten() {
        *counts.entry(text).or_default() += 1;
    }
    let distinct = counts.len() as u64;
    // Where every value is another, none is frequent.
    let several = series.len() - series.null_count() > counts.len() || counts.len() <= TOP_VALUES;
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    let order = |a: &(&str, u64), b: &(&str, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0));
    if counts.len() > TOP_VALUES {
        counts.select_nth_unstable_by(TOP_VALUES, order);
        counts.truncate(TOP_VALUES);
    }
    counts.sort_unstable_by(order);
    let shown = counts.into_iter().filter(|_| several);
    (Some(distinct), shown.map(|(text, count)| (shortened(text), count)).collect())
}

/// A value as it is shown: not longer than a line, and nothing in it that a terminal would obey.
fn shortened(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARACTERS)
        .map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char })
        .collect();
    if shown.len() < text.len() && text.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

fn lengths_of(series: &Series) -> Option<(u64, u64)> {
    let texts = series.str().ok()?;
    let lengths = texts.iter().flatten().map(|text| text.chars().count() as u64);
    lengths.fold(None, |range, length| match range {
        None => Some((length, length)),
        Some((least, most)) => Some((length.min(least), length.max(most))),
    })
}

/// The first and the last moment.
fn span_of(series: &Series) -> Option<(String, String)> {
    let text = |scalar: polars::prelude::Scalar| {
        let series = scalar.into_series("moment".into());
        let text = series.cast(&DataType::String).ok()?;
        text.str().ok()?.get(0).map(str::to_owned)
    };
    Some((text(series.min_reduce().ok()?)?, text(series.max_reduce().ok()?)?))
}

#[cfg(test)]
mod tests;
