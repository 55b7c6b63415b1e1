//! Categories: missing values, vocabularies and encodings.

use std::collections::HashMap;

use polars::prelude::{DataType, Series, StringChunked};
use serde::{Deserialize, Serialize};

use super::config::{ColumnConfig, Encode, Impute, Unknown};
use super::number::{Fill, NumberPlan, ScaleStep};
use crate::error::{DataError, DataResult};
use crate::values::sort_naturally;

/// A one-hot encoding wider than this is almost certainly a mistake: names, ids, free text.
const MOST_COLUMNS: usize = 1000;

/// What a missing category is called under `impute: indicator`.
const MISSING: &str = "missing";

/// The treatment of a column of categories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoryPlan {
    /// What fills in for missing categories.
    pub fill: Option<Fill<String>>,
    /// The column that tells where categories were missing.
    pub indicator: Option<String>,
    /// The known categories, in natural order.
    pub categories: Vec<String>,
    /// Whether an unknown category is an error.
    pub unknown_error: bool,
    /// How categories become numbers; without one they stay text.
    pub encoding: Option<Encoding>,
    /// Scaling of the number that a category became, first to last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<ScaleStep>,
}

/// How categories become numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// A column for each category, and perhaps one for all others.
    Onehot {
        /// The columns, in the order of the categories; then that of the others.
        columns: Vec<String>,
    },
    /// The place of the category; unknown ones come last.
    Ordinal,
    /// A number for each category: its mean target, or its share of the rows.
    Numbers {
        /// In the order of the categories.
        values: Vec<f64>,
        /// For unknown ones.
        unknown: f64,
    },
    /// One of these columns by the hash of the category.
    Hash {
        /// The columns.
        columns: Vec<String>,
    },
}

/// A column as text.
pub(crate) fn texts_of(series: &Series) -> DataResult<StringChunked> {
    let reading = |error| DataError::polars(format!("read column `{}`", series.name()), error);
    let texts = series.cast(&DataType::String).map_err(reading)?;
    texts.str().cloned().map_err(reading)
}

impl CategoryPlan {
    /// Fits the treatment on a column's values. `target` is there for `encode: target` only.
    pub(crate) fn fit(
        name: &str,
        config: &ColumnConfig,
        series: &Series,
        target: Option<&[f64]>,
    ) -> DataResult<Self> {
        let texts = texts_of(series)?;
        let fill =
            config.impute.as_ref().map(|impute| fit_fill(name, impute, &texts)).transpose()?;
        let filled = fill_texts(fill.as_ref(), &texts);
        let indicator = (config.indicator || config.impute == Some(Impute::Indicator))
            .then(|| format!("{name}_missing"));
        let mut plan = CategoryPlan {
            fill,
            indicator,
            categories: Vec::new(),
            unknown_error: config.unknown == Unknown::Error,
            encoding: None,
            scale: Vec::new(),
        };
        let Some(encode) = config.encode else { return Ok(plan) };
        if encode == Encode::Hash {
            let buckets = config.buckets.unwrap_or(32);
            let columns = (0..buckets).map(|bucket| format!("{name}_hash_{bucket}")).collect();
            plan.encoding = Some(Encoding::Hash { columns });
            return Ok(plan);
        }
        plan.categories = vocabulary(config, &filled);
        let codes = Codes::of(&plan.categories, &filled);
        plan.encoding = Some(match encode {
            Encode::Onehot => Encoding::Onehot { columns: onehot_columns(name, &plan, &codes)? },
            Encode::Ordinal => Encoding::Ordinal,
            Encode::Frequency => {
                let total = codes.0.len().max(1) as f64;
                let counts = codes.counts(plan.categories.len());
                let values = counts.iter().map(|count| *count as f64 / total).collect();
                Encoding::Numbers { values, unknown: 0.0 }
            }
            Encode::Target => {
                let target = target.ok_or_else(|| {
                    DataError::config(format!(
                        "`encode: target` of column `{name}` needs to know the target"
                    ))
                    .help("name it: `target: COLUMN`")
                })?;
                let weight = config.smoothing.unwrap_or(10.0);
                target_means(&codes, plan.categories.len(), target, weight)
            }
            // Handled above: it has no vocabulary.
            Encode::Hash => Encoding::Hash { columns: Vec::new() },
        });
        // The one-hot column of the category `missing` tells already where one was.
        if let Some(Encoding::Onehot { columns }) = &plan.encoding
            && plan.fill == Some(Fill::Value(MISSING.to_owned()))
            && plan.indicator.as_ref().is_some_and(|indicator| columns.contains(indicator))
        {
            plan.indicator = None;
        }
        if !config.scale.0.is_empty()
            && let Some(values) = plan.numbers(&codes)
        {
            let scaling = ColumnConfig { scale: config.scale.clone(), ..ColumnConfig::default() };
            plan.scale = NumberPlan::fit(name, &scaling, &values)?.scale;
        }
        Ok(plan)
    }

    /// The numbers that categories become, before scaling; nothing if they become columns.
    pub(crate) fn numbers(&self, codes: &Codes) -> Option<Vec<f64>> {
        let number = |code: &u32| match &self.encoding {
            Some(Encoding::Ordinal) => Some(f64::from(*code)),
            Some(Encoding::Numbers { values, unknown }) => {
                Some(*values.get(*code as usize).unwrap_or(unknown))
            }
            _ => None,
        };
        codes.0.iter().map(number).collect()
    }

    /// For each row the place of its category; `categories.len()` for others.
    pub(crate) fn codes(&self, name: &str, texts: &StringChunked) -> DataResult<Codes> {
        let codes = Codes::of(&self.categories, texts);
        if self.unknown_error {
            let unknown = codes.0.iter().position(|code| *code as usize == self.categories.len());
            if let Some(row) = unknown {
                let value =
                    texts.get(row).map_or("a missing value".to_owned(), |t| format!("`{t}`"));
                return Err(DataError::column(
                    name,
                    format!("holds {value} (row {}), which the fitted input did not", row + 1),
                )
                .help("let unknown categories share a bucket: `unknown: bucket`"));
            }
        }
        Ok(codes)
    }

    /// The columns that it makes of column `name`.
    pub(crate) fn produced(&self, name: &str) -> Vec<String> {
        let mut names = match &self.encoding {
            Some(Encoding::Onehot { columns } | Encoding::Hash { columns }) => columns.clone(),
            _ => vec![name.to_owned()],
        };
        names.extend(self.indicator.clone());
        names
    }
}

/// For each row the place of its category.
pub(crate) struct Codes(pub Vec<u32>);

impl Codes {
    fn of(categories: &[String], texts: &StringChunked) -> Self {
        let places: HashMap<&str, u32> = categories
            .iter()
            .enumerate()
            .map(|(place, category)| (category.as_str(), place as u32))
            .collect();
        let other = categories.len() as u32;
        let place = |text: Option<&str>| text.and_then(|text| places.get(text).copied());
        Self(texts.iter().map(|text| place(text).unwrap_or(other)).collect())
    }

    /// How many rows each category has; the last count is that of all others.
    fn counts(&self, categories: usize) -> Vec<usize> {
        let mut counts = vec![0; categories + 1];
        for code in &self.0 {
            counts[*code as usize] += 1;
        }
        counts
    }
}

/// The bucket of a category: the same on every machine and in every version.
pub(crate) fn bucket(text: &str, buckets: usize) -> usize {
    let digest = wick_core::Digest::of(text.as_bytes());
    let mut number = [0; 8];
    number.copy_from_slice(&digest.as_bytes()[..8]);
    (u64::from_le_bytes(number) % buckets.max(1) as u64) as usize
}

fn fit_fill(name: &str, impute: &Impute, texts: &StringChunked) -> DataResult<Fill<String>> {
    let known = || {
        DataError::column(name, "has no known value to learn from")
            .help(format!("leave it out: `drop: [{name}]`"))
    };
    let owned = |text: &str| text.to_owned();
    Ok(match impute {
        Impute::DropRow => Fill::DropRow,
        Impute::Indicator => Fill::Value(MISSING.to_owned()),
        Impute::Constant(value) => Fill::Value(value.to_string()),
        Impute::Mode => {
            let counts = count(texts);
            let best = counts.first().ok_or_else(known)?;
            Fill::Value(best.0.clone())
        }
        Impute::Ffill => Fill::Forward(texts.iter().flatten().next().map(owned).ok_or_else(known)?),
        Impute::Bfill => {
            Fill::Backward(texts.iter().flatten().next_back().map(owned).ok_or_else(known)?)
        }
        Impute::Mean | Impute::Median => {
            return Err(DataError::config(format!(
                "column `{name}` holds categories, which have no mean or median"
            ))
            .help("use `impute: mode` or `impute: {constant: unknown}`"));
        }
    })
}

/// `texts` with missing ones filled in where there is something to fill in with.
pub(crate) fn fill_texts(fill: Option<&Fill<String>>, texts: &StringChunked) -> StringChunked {
    if texts.null_count() == 0 {
        return texts.clone();
    }
    let filled: StringChunked = match fill {
        None | Some(Fill::DropRow) => return texts.clone(),
        Some(Fill::Value(value)) => {
            texts.iter().map(|text| Some(text.unwrap_or(value.as_str()))).collect()
        }
        Some(Fill::Forward(first)) => {
            let mut last = first.as_str();
            texts
                .iter()
                .map(|text| {
                    last = text.unwrap_or(last);
                    Some(last)
                })
                .collect()
        }
        Some(Fill::Backward(end)) => {
            let mut next = end.as_str();
            let mut reversed: Vec<&str> = texts
                .iter()
                .rev()
                .map(|text| {
                    next = text.unwrap_or(next);
                    next
                })
                .collect();
            reversed.reverse();
            reversed.into_iter().map(Some).collect()
        }
    };
    filled.with_name(texts.name().clone())
}

/// Categories and how often each occurs: the most frequent first, equals in natural order.
fn count(texts: &StringChunked) -> Vec<(String, usize)> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for text in texts.iter().flatten() {
        *counts.entry(text).or_default() += 1;
    }
    let mut names: Vec<String> = counts.keys().map(|name| (*name).to_owned()).collect();
    sort_naturally(&mut names);
    let mut counted: Vec<(String, usize)> = names
        .into_iter()
        .map(|name| {
            let count = counts.get(name.as_str()).copied().unwrap_or(0);
            (name, count)
        })
        .collect();
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counted
}

fn vocabulary(config: &ColumnConfig, texts: &StringChunked) -> Vec<String> {
    if let Some(categories) = &config.categories {
        return categories.clone();
    }
    let mut names: Vec<String> = count(texts)
        .into_iter()
        .take(config.most_common.unwrap_or(usize::MAX))
        .map(|(name, _)| name)
        .collect();
    sort_naturally(&mut names);
    names
}

fn onehot_columns(name: &str, plan: &CategoryPlan, codes: &Codes) -> DataResult<Vec<String>> {
    let count = plan.categories.len();
    if count > MOST_COLUMNS {
        return Err(DataError::column(
            name,
            format!("has {count} categories, too many for a one-hot encoding"),
        )
        .help(format!(
            "keep the frequent ones with `most_common: 50`, use `encode: hash`, or leave the \
             column out: `drop: [{name}]`"
        )));
    }
    let mut columns: Vec<String> =
        plan.categories.iter().map(|category| format!("{name}_{category}")).collect();
    if codes.0.iter().any(|code| *code as usize == count) {
        columns.push(format!("{name}_other"));
    }
    Ok(columns)
}

/// The mean target of each category, drawn to the overall mean as if `weight` more rows had it
/// (Micci-Barreca 2001, the m-estimate).
fn target_means(codes: &Codes, categories: usize, target: &[f64], weight: f64) -> Encoding {
    let mut sums = vec![0.0; categories + 1];
    let mut counts = vec![0.0; categories + 1];
    for (code, value) in codes.0.iter().zip(target).filter(|(_, value)| !value.is_nan()) {
        sums[*code as usize] += value;
        counts[*code as usize] += 1.0;
    }
    let total: f64 = counts.iter().sum();
    let overall = if total > 0.0 { sums.iter().sum::<f64>() / total } else { 0.0 };
    let mean = |place: usize| {
        let count: f64 = counts[place] + weight;
        if count > 0.0 { (sums[place] + weight * overall) / count } else { overall }
    };
    Encoding::Numbers { values: (0..categories).map(mean).collect(), unknown: mean(categories) }
}
