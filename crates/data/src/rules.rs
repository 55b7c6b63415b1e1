//! Rules that data must keep, and how badly it breaks them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use indexmap::IndexMap;
use polars::prelude::{DataFrame, DataType, Series, StringChunked};
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use wick_stage::ColumnType;

use crate::columns::column_type;
use crate::dates::parse_moment;
use crate::error::{DataError, DataResult};
use crate::transform::config::{Constant, OneOrMany};
use crate::transform::{moments_of, values_of};
use crate::values::find;

/// What the data must be. Every rule is looked at, and all that are broken are reported.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RulesConfig {
    /// The rules of columns, by name. A column named here must exist, unless it is `optional`.
    #[serde(default)]
    pub columns: IndexMap<String, ColumnRules>,
    /// Whether there may be no other columns than those under `columns`.
    #[serde(default)]
    pub only: bool,
    /// How many rows there must be.
    #[serde(default)]
    pub rows: RowRules,
    /// Columns that together must differ between any two rows: a key, such as `id` or
    /// `[origin, time_hour]`, or several: `[[origin, time_hour], [id]]`.
    #[serde(default)]
    pub unique: Keys,
}

/// Keys of a table: of each, the columns that together tell rows apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Keys(pub Vec<Vec<String>>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        use serde_json::Value;
        let value = Value::deserialize(deserializer)?;
        // A flat list is one key of several columns: a column that is a key by itself can say
        // so among its own rules.
        let keys = match value {
            Value::Array(parts) if parts.iter().any(Value::is_array) => parts,
            key => vec![key],
        };
        let columns = |key| OneOrMany::<String>::deserialize(key).map(|columns| columns.0);
        let keys = keys.into_iter().map(columns).collect::<Result<_, _>>();
        keys.map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for Keys {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Keys".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        OneOrMany::<OneOrMany<String>>::json_schema(generator)
    }
}

/// How many rows there must be.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RowRules {
    /// At least so many.
    #[serde(default)]
    pub min: Option<u64>,
    /// At most so many.
    #[serde(default)]
    pub max: Option<u64>,
}

/// The rules of a column.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnRules {
    /// What it must hold.
    #[serde(default, rename = "type")]
    pub column_type: Option<RuleType>,
    /// Whether the column may be absent.
    #[serde(default)]
    pub optional: bool,
    /// Whether values may be missing.
    #[serde(default)]
    pub nullable: Option<bool>,
    /// The largest share of missing values, between 0 and 1.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_missing: Option<f64>,
    /// The smallest value: a number, or a date such as `2013-01-01`.
    #[serde(default)]
    pub min: Option<Constant>,
    /// The largest value.
    #[serde(default)]
    pub max: Option<Constant>,
    /// The only values that may occur.
    #[serde(default)]
    pub allowed: Option<Vec<Constant>>,
    /// A regular expression that every text must match; `^` and `$` tie it to the ends.
    #[serde(default)]
    pub pattern: Option<String>,
    /// The least characters of a text.
    #[serde(default)]
    pub min_length: Option<usize>,
    /// The most characters of a text.
    #[serde(default)]
    pub max_length: Option<usize>,
    /// Whether no value may occur twice.
    #[serde(default)]
    pub unique: bool,
}

/// What a column must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleType {
    /// True or false.
    Boolean,
    /// A whole number.
    Integer,
    /// A floating-point number.
    Float,
    /// An integer or a float.
    Number,
    /// Text.
    Text,
    /// A category; text counts as one.
    Category,
    /// A day.
    Date,
    /// A moment.
    Datetime,
    /// An image or another block of bytes.
    Bytes,
}

impl RuleType {
    /// Whether a column of `column_type` is of this type.
    pub fn takes(self, column_type: &ColumnType) -> bool {
        match self {
            RuleType::Boolean => *column_type == ColumnType::Boolean,
            RuleType::Integer => *column_type == ColumnType::Integer,
            RuleType::Float => *column_type == ColumnType::Float,
            RuleType::Number => matches!(column_type, ColumnType::Integer | ColumnType::Float),
            RuleType::Text => *column_type == ColumnType::Text,
            RuleType::Category => matches!(column_type, ColumnType::Category | ColumnType::Text),
            RuleType::Date => *column_type == ColumnType::Date,
            RuleType::Datetime => *column_type == ColumnType::Datetime,
            RuleType::Bytes => matches!(column_type, ColumnType::Bytes { .. }),
        }
    }

    /// The word used in pipelines.
    pub const fn as_str(self) -> &'static str {
        match self {
            RuleType::Boolean => "boolean",
            RuleType::Integer => "integer",
            RuleType::Float => "float",
            RuleType::Number => "number",
            RuleType::Text => "text",
            RuleType::Category => "category",
            RuleType::Date => "date",
            RuleType::Datetime => "datetime",
            RuleType::Bytes => "bytes",
        }
    }
}

/// How a rule fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The column, if the rule is about one.
    pub column: Option<String>,
    /// The rule, as a sentence fragment: `at least 0`.
    pub rule: String,
    /// How many rows break it; 1 for a rule that is not about rows.
    pub broken: usize,
    /// The first of these rows, from 1, with what stands there.
    pub first: Vec<(usize, String)>,
    /// What is wrong, for a rule that is not about rows.
    pub found: Option<String>,
}

impl Outcome {
    /// The outcome in one line.
    pub fn explain(&self) -> String {
        let subject = self.column.as_ref().map_or(String::new(), |column| format!("`{column}`: "));
        if let Some(found) = &self.found {
            return format!("{subject}{} ({found})", self.rule);
        }
        let noun = if self.broken == 1 { "row" } else { "rows" };
        let mut first: Vec<String> =
            self.first.iter().map(|(row, value)| format!("row {row}: {value}")).collect();
        if self.broken > first.len() {
            first.push("…".to_owned());
        }
        format!("{subject}{}, broken in {} {noun} ({})", self.rule, self.broken, first.join(", "))
    }
}

/// How many offending rows are shown of a rule.
const SHOWN: usize = 5;

/// Looks at every rule.
///
/// # Errors
/// If a rule does not fit its column at all: a smallest value for a text.
pub fn evaluate(config: &RulesConfig, frame: &DataFrame) -> DataResult<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    row_rules(config, frame, &mut outcomes);
    for (name, rules) in &config.columns {
        column_rules(name, rules, frame, &mut outcomes)?;
    }
    if config.only {
        let others: Vec<&str> = crate::columns::names_of(frame)
            .into_iter()
            .filter(|name| !config.columns.contains_key(*name))
            .collect();
        let found = format!("also `{}`", others.join("`, `"));
        outcomes.push(whole(None, "no other columns", !others.is_empty(), found));
    }
    for key in &config.unique.0 {
        outcomes.push(unique_key(key, frame)?);
    }
    Ok(outcomes)
}

/// The outcome of a rule that is not about rows.
fn whole(column: Option<&str>, rule: &str, broken: bool, found: String) -> Outcome {
    Outcome {
        column: column.map(str::to_owned),
        rule: rule.to_owned(),
        broken: usize::from(broken),
        first: Vec::new(),
        found: Some(found).filter(|_| broken),
    }
}

/// The outcome of a rule about rows: `broken` tells whether a row breaks it.
fn by_row(
    column: &str,
    rule: String,
    rows: usize,
    broken: impl Fn(usize) -> bool,
    show: impl Fn(usize) -> String,
) -> Outcome {
    let mut outcome = Outcome {
        column: Some(column.to_owned()),
        rule,
        broken: 0,
        first: Vec::new(),
        found: None,
    };
    for row in (0..rows).filter(|row| broken(*row)) {
        outcome.broken += 1;
        if outcome.first.len() < SHOWN {
            outcome.first.push((row + 1, show(row)));
        }
    }
    outcome
}

fn row_rules(config: &RulesConfig, frame: &DataFrame, outcomes: &mut Vec<Outcome>) {
    let rows = frame.height() as u64;
    let found = || format!("there are {rows}");
    if let Some(min) = config.rows.min {
        outcomes.push(whole(None, &format!("at least {min} rows"), rows < min, found()));
    }
    if let Some(max) = config.rows.max {
        outcomes.push(whole(None, &format!("at most {max} rows"), rows > max, found()));
    }
}

fn column_rules(
    name: &str,
    rules: &ColumnRules,
    frame: &DataFrame,
    outcomes: &mut Vec<Outcome>,
) -> DataResult {
    let Ok(series) = find(frame, name) else {
        let found = "there is no such column".to_owned();
        outcomes.push(whole(Some(name), "exists", !rules.optional, found));
        return Ok(());
    };
    let rows = series.len();
    let held = column_type(series.dtype());
    if let Some(wanted) = rules.column_type {
        let rule = format!("holds {}", wanted.as_str());
        outcomes.push(whole(Some(name), &rule, !wanted.takes(&held), format!("it holds {held}")));
    }
    let missing = series.is_null();
    let is_missing = |row: usize| missing.get(row).unwrap_or(true);
    if rules.nullable == Some(false) {
        outcomes.push(by_row(name, "no missing values".to_owned(), rows, is_missing, |_| {
            "missing".to_owned()
        }));
    }
    if let Some(share) = rules.max_missing {
        let actual = series.null_count() as f64 / rows.max(1) as f64;
        let rule = format!("at most {:.1} % missing", share * 100.0);
        let found = format!("{:.1} % are, {} rows", actual * 100.0, series.null_count());
        outcomes.push(whole(Some(name), &rule, actual > share, found));
    }
    range_rules(name, rules, &series, outcomes)?;
    if let Some(allowed) = &rules.allowed {
        outcomes.push(allowed_rule(name, allowed, &series)?);
    }
    if rules.pattern.is_some() || rules.min_length.is_some() || rules.max_length.is_some() {
        text_rules(name, rules, &series, outcomes)?;
    }
    if rules.unique {
        let texts = as_text(&series)?;
        let twice = repeated(texts.iter());
        outcomes.push(by_row(
            name,
            "no value twice".to_owned(),
            rows,
            |row| !is_missing(row) && twice.contains(&row),
            |row| quoted(texts.get(row)),
        ));
    }
    Ok(())
}

fn range_rules(
    name: &str,
    rules: &ColumnRules,
    series: &Series,
    outcomes: &mut Vec<Outcome>,
) -> DataResult {
    if rules.min.is_none() && rules.max.is_none() {
        return Ok(());
    }
    let held = column_type(series.dtype());
    let dates = matches!(held, ColumnType::Date | ColumnType::Datetime);
    if !dates && !held.is_numeric() {
        return Err(DataError::column(name, format!("holds {held}, which has no smallest value"))
            .help("leave out `min` and `max`"));
    }
    let values = if dates { moments_of(series)? } else { values_of(series)? };
    let texts = as_text(series)?;
    let bound = |limit: &Constant| {
        bound_of(limit, dates).ok_or_else(|| {
            let help = if dates { "write a date: `2013-01-01`" } else { "write a number" };
            DataError::column(name, format!("holds {held}, and the limit is `{limit}`")).help(help)
        })
    };
    // Missing values and NaN break no limit: `nullable` is the rule for them.
    if let Some(min) = &rules.min {
        let limit = bound(min)?;
        let rule = format!("at least {min}");
        let broken = |row: usize| values[row] < limit;
        outcomes.push(by_row(name, rule, values.len(), broken, |row| plain(texts.get(row))));
    }
    if let Some(max) = &rules.max {
        let limit = bound(max)?;
        let rule = format!("at most {max}");
        let broken = |row: usize| values[row] > limit;
        outcomes.push(by_row(name, rule, values.len(), broken, |row| plain(texts.get(row))));
    }
    Ok(())
}

fn bound_of(limit: &Constant, dates: bool) -> Option<f64> {
    match (limit, dates) {
        (Constant::Number(limit), false) => Some(*limit),
        (Constant::Text(text), true) => parse_moment(text).map(|micros| micros as f64),
        _ => None,
    }
}

fn allowed_rule(name: &str, allowed: &[Constant], series: &Series) -> DataResult<Outcome> {
    let texts = as_text(series)?;
    let list: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    let rule = format!("one of {}", list.join(", "));
    if series.dtype().is_primitive_numeric() {
        // 1 and 1.0 are one number, and two texts.
        let allowed: Vec<f64> = list.iter().filter_map(|text| text.parse().ok()).collect();
        let values = values_of(series)?;
        let broken = |row: usize| {
            let value: f64 = values[row];
            !value.is_nan() && !allowed.contains(&value)
        };
        return Ok(by_row(name, rule, values.len(), broken, |row| plain(texts.get(row))));
    }
    let allowed: HashSet<&str> = list.iter().map(String::as_str).collect();
    let broken = |row: usize| texts.get(row).is_some_and(|text| !allowed.contains(text));
    Ok(by_row(name, rule, texts.len(), broken, |row| quoted(texts.get(row))))
}

fn text_rules(
    name: &str,
    rules: &ColumnRules,
    series: &Series,
    outcomes: &mut Vec<Outcome>,
) -> DataResult {
    let texts = as_text(series)?;
    let show = |row: usize| quoted(texts.get(row));
    let mut add = |rule: String, breaks: &dyn Fn(&str) -> bool| {
        let broken = |row: usize| texts.get(row).is_some_and(breaks);
        outcomes.push(by_row(name, rule, texts.len(), broken, show));
    };
    if let Some(pattern) = &rules.pattern {
        let regex = Regex::new(pattern).map_err(|error| {
            DataError::config(format!("the pattern of `{name}` is no regular expression: {error}"))
        })?;
        add(format!("matches `{pattern}`"), &|text| !regex.is_match(text));
    }
    if let Some(least) = rules.min_length {
        add(format!("at least {least} characters"), &|text| text.chars().count() < least);
    }
    if let Some(most) = rules.max_length {
        add(format!("at most {most} characters"), &|text| text.chars().count() > most);
    }
    Ok(())
}

fn unique_key(names: &[String], frame: &DataFrame) -> DataResult<Outcome> {
    let columns = names
        .iter()
        .map(|name| find(frame, name).and_then(|series| as_text(&series)))
        .collect::<DataResult<Vec<_>>>()?;
    let row_of = |row: usize| columns.iter().map(move |column| column.get(row)).collect::<Vec<_>>();
    let twice = repeated((0..frame.height()).map(|row| Some(row_of(row))));
    let show = |row: usize| row_of(row).into_iter().map(plain).collect::<Vec<_>>().join(", ");
    let broken = |row: usize| twice.contains(&row);
    let mut outcome =
        by_row("", format!("no `{}` twice", names.join("`, `")), frame.height(), broken, show);
    outcome.column = None;
    Ok(outcome)
}

/// The rows whose value stood in an earlier row.
fn repeated<T: Hash + Eq>(values: impl Iterator<Item = Option<T>>) -> HashSet<usize> {
    let mut seen: HashMap<T, ()> = HashMap::new();
    let mut again = HashSet::new();
    for (row, value) in values.enumerate() {
        if let Some(value) = value
            && seen.insert(value, ()).is_some()
        {
            again.insert(row);
        }
    }
    again
}

fn as_text(series: &Series) -> DataResult<StringChunked> {
    let reading = |error| DataError::polars(format!("read column `{}`", series.name()), error);
    // One chunk: rows are looked up one by one.
    let texts = series.cast(&DataType::String).map_err(reading)?.rechunk();
    texts.str().cloned().map_err(reading)
}

fn plain(text: Option<&str>) -> String {
    text.unwrap_or("missing").to_owned()
}

fn quoted(text: Option<&str>) -> String {
    const SHOWN: usize = 40;
    match text {
        None => "missing".to_owned(),
        Some(text) if text.chars().count() <= SHOWN => format!("`{text}`"),
        Some(text) => format!("`{}…`", text.chars().take(SHOWN).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use polars::prelude::df;

    use super::*;

    fn broken(config: serde_json::Value) -> Vec<String> {
        let frame = df!(
            "id" => [1i64, 2, 2, 4], "age" => [Some(3.0), None, Some(-1.0), Some(200.0)],
            "sex" => [Some("f"), Some("m"), Some("x"), None], "survived" => [0i64, 1, 1, 2]
        )
        .expect("a table");
        let config: RulesConfig = serde_json::from_value(config).expect("rules");
        let outcomes = evaluate(&config, &frame).expect("evaluated");
        outcomes.iter().filter(|outcome| outcome.broken > 0).map(Outcome::explain).collect()
    }

    #[test]
    fn broken_rules_are_explained() {
        #[track_caller]
        fn check(rules: serde_json::Value, expect: &[&str]) {
            assert_eq!(broken(rules), expect);
        }
        let column =
            |name: &str, rules: serde_json::Value| serde_json::json!({"columns": {name: rules}});
        check(
            column("age", serde_json::json!({"min": 0, "max": 110})),
            &[
                "`age`: at least 0, broken in 1 row (row 3: -1.0)",
                "`age`: at most 110, broken in 1 row (row 4: 200.0)",
            ],
        );
        check(
            column("age", serde_json::json!({"nullable": false, "type": "float"})),
            &["`age`: no missing values, broken in 1 row (row 2: missing)"],
        );
        check(
            column("age", serde_json::json!({"max_missing": 0.2})),
            &["`age`: at most 20.0 % missing (25.0 % are, 1 rows)"],
        );
        check(
            column("sex", serde_json::json!({"allowed": ["f", "m"]})),
            &["`sex`: one of f, m, broken in 1 row (row 3: `x`)"],
        );
        check(
            column("survived", serde_json::json!({"allowed": [0, 1]})),
            &["`survived`: one of 0, 1, broken in 1 row (row 4: 2)"],
        );
        check(
            column("sex", serde_json::json!({"pattern": "^[fm]$", "type": "integer"})),
            &[
                "`sex`: holds integer (it holds text)",
                "`sex`: matches `^[fm]$`, broken in 1 row (row 3: `x`)",
            ],
        );
        check(
            column("id", serde_json::json!({"unique": true})),
            &["`id`: no value twice, broken in 1 row (row 3: `2`)"],
        );
        check(column("fare", serde_json::json!({})), &["`fare`: exists (there is no such column)"]);
        check(column("fare", serde_json::json!({"optional": true})), &[]);
        check(
            serde_json::json!({"unique": [["id", "survived"]], "rows": {"min": 5}}),
            &[
                "at least 5 rows (there are 4)",
                "no `id`, `survived` twice, broken in 1 row (row 3: 2, 1)",
            ],
        );
        // A flat list is one key; a list of lists is several.
        check(serde_json::json!({"unique": ["id", "age"]}), &[]);
        for one in [serde_json::json!("id"), serde_json::json!([["id"], ["id", "age"]])] {
            check(
                serde_json::json!({ "unique": one }),
                &["no `id` twice, broken in 1 row (row 3: 2)"],
            );
        }
        check(
            serde_json::json!({"only": true, "columns": {"id": {}, "age": {}}}),
            &["no other columns (also `sex`, `survived`)"],
        );
    }
}
