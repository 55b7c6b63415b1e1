//! `split`: deals the rows of a dataset out to parts.

use indexmap::IndexMap;
use polars::prelude::{DataFrame, IdxCa, SortMultipleOptions};
use schemars::JsonSchema;
use serde::Deserialize;
use wick_core::{PortName, PortType};
use wick_stage::{
    Checked, ColumnType, Context, DatasetFacts, Documentation, Example, Issue, Issues, Known,
    Ports, StageResult, TypedKind,
};

use super::{check_column, facts_of, open_input, port_facts, write_output};
use crate::error::{DataError, DataResult};
use crate::partition::{at_random, grouped, in_order, number, sizes_of, stratified};
use crate::values::find;

/// Deals the rows of a dataset out to parts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitConfig {
    /// The parts by name, each with its share of the rows (all shares together at most 1) or
    /// with a number of rows. Each part is an output.
    parts: IndexMap<String, f64>,
    /// Let each part have the classes of this column in the shares that the whole has.
    #[serde(default)]
    stratify: Option<String>,
    /// Sort by this column first: the earliest rows go to the first part. So no part knows what
    /// came later. A date, a moment, a number, or text that sorts by time, such as ISO 8601.
    #[serde(default)]
    by_time: Option<String>,
    /// Keep rows with an equal value in this column together in one part.
    #[serde(default)]
    group: Option<String>,
    /// Whether chance decides which rows go where; otherwise the first rows go to the first part.
    #[serde(default = "yes")]
    shuffle: bool,
    /// What chance begins with: equal seeds give equal parts.
    #[serde(default)]
    seed: u64,
}

const fn yes() -> bool {
    true
}

impl SplitConfig {
    /// Whether the parts are numbers of rows rather than shares.
    fn counts(&self) -> bool {
        self.parts.values().all(|part| part.fract() == 0.0)
            && self.parts.values().any(|part| *part > 1.0)
    }

    /// How many rows each part gets.
    fn sizes(&self, rows: usize) -> DataResult<Vec<usize>> {
        let sizes = if self.counts() {
            let sizes: Vec<usize> = self.parts.values().map(|part| *part as usize).collect();
            let wanted: usize = sizes.iter().sum();
            if wanted > rows {
                return Err(DataError::data(format!(
                    "the parts want {wanted} rows, and the data has {rows}"
                ))
                .help("let the parts be shares: `parts: {train: 0.8, test: 0.2}`"));
            }
            sizes
        } else {
            sizes_of(&self.parts.values().copied().collect::<Vec<_>>(), rows)
        };
        match self.parts.keys().zip(&sizes).find(|(_, size)| **size == 0) {
            Some((name, _)) => {
                Err(DataError::data(format!("part `{name}` would have none of the {rows} rows"))
                    .help("give it a larger share, or load more data"))
            }
            None => Ok(sizes),
        }
    }
}

/// See [`SplitConfig`].
pub struct Split;

impl TypedKind for Split {
    type Config = SplitConfig;
    const NAME: &'static str = "split";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Deals rows out to parts: at random, stratified, by group or by time",
            description: "\
Reads the input `data` and makes an output for each of the `parts`. Shares are rounded so that the
parts together have all the rows they should: a row more or less than the exact share.

Rows of a part keep the order that they have in the input; with `by_time` they are in the order of
that column. A split with an equal seed, equal parts and equal input is the same on every machine.

With `stratify` each class is dealt out in proportion, as scikit-learn's `train_test_split` does.
With `group` whole groups are dealt out, so the sizes can differ from the shares by about a group.
Split before `preprocess`, so that nothing is learned from the rows that shall test the model.",
            examples: &[
                Example {
                    title: "Nine tenths to train, with every digit as frequent in both parts",
                    yaml: "\
uses: split
inputs: {data: digits}
with: {parts: {train: 0.9, validation: 0.1}, stratify: label, seed: 42}
",
                },
                Example {
                    title: "The last fifth in time to test",
                    yaml: "\
uses: split
inputs: {data: flights}
with: {parts: {train: 0.8, test: 0.2}, by_time: time_hour}
",
                },
                Example {
                    title: "No patient in two parts",
                    yaml: "\
uses: split
inputs: {data: scans}
with: {parts: {train: 0.7, test: 0.3}, group: patient}
",
                },
            ],
        }
    }

    fn ports(&self, config: &SplitConfig, issues: &mut Issues) -> Ports {
        let mut ports = Ports::new().input("data", PortType::Dataset);
        if config.parts.is_empty() {
            let help = "write `parts: {train: 0.8, test: 0.2}`";
            issues.with(["parts"], "there are no parts", help);
        }
        for (name, size) in &config.parts {
            match PortName::new(name) {
                Ok(name) => ports = ports.named_output(name, PortType::Dataset, false),
                Err(error) => issues.push(Issue {
                    path: vec!["with".into(), "parts".into(), name.as_str().into()],
                    at_key: true,
                    message: format!("`{name}` cannot name a part: {error}"),
                    help: None,
                }),
            }
            if !size.is_finite() || *size <= 0.0 {
                let message = format!("part `{name}` has the size {size}");
                issues.with(["parts", name], message, "a part has a share above 0");
            }
        }
        let sum: f64 = config.parts.values().sum();
        if !config.counts() && sum > 1.0 + 1e-9 {
            let (message, help) = if config.parts.values().any(|part| *part > 1.0) {
                ("the parts mix shares and numbers of rows".to_owned(), "write all as shares of 1")
            } else {
                // Ten digits hide the noise of 0.7 + 0.2 + 0.2.
                let sum = (sum * 1e10).round() / 1e10;
                (format!("the parts add up to {sum}"), "let them add up to at most 1")
            };
            issues.with(["parts"], message, help);
        }
        let ways = [
            ("stratify", &config.stratify),
            ("by_time", &config.by_time),
            ("group", &config.group),
        ];
        let given: Vec<&str> =
            ways.iter().filter(|(_, way)| way.is_some()).map(|(key, _)| *key).collect();
        if let [first, second, ..] = given.as_slice() {
            let message = format!("`{first}` and `{second}` cannot go together");
            issues.with([*second], message, "leave one of them out");
        }
        ports
    }

    fn check(&self, config: &SplitConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked {
            metrics: Some(Vec::new()),
            // The first part gets the first rows, or the earliest.
            ordered_fields: vec![vec!["parts".into()]],
            ..Checked::default()
        };
        let facts = facts_of(known, "data");
        let columns = [
            ("stratify", &config.stratify),
            ("by_time", &config.by_time),
            ("group", &config.group),
        ];
        for (key, column) in columns {
            let Some(column) = column else { continue };
            check_column(&mut checked.issues, &facts, [key], column);
            if let Some(column) = facts.column(column)
                && !can_decide(key, &column.column_type)
            {
                checked.issues.with(
                    [key],
                    format!("column `{}` holds {}", column.name, column.column_type),
                    match key {
                        "stratify" => "stratify by a column of classes",
                        "by_time" => "split by a date, a moment or a number",
                        _ => "group by a column of names or numbers",
                    },
                );
            }
        }
        let sizes = match facts.rows.map(|rows| config.sizes(rows as usize)) {
            Some(Ok(sizes)) => Some(sizes),
            Some(Err(error)) => {
                let help = error.mend().unwrap_or_default();
                checked.issues.with(["parts"], error.to_string(), help);
                None
            }
            None => None,
        };
        for (place, name) in config.parts.keys().enumerate() {
            let Ok(name) = PortName::new(name) else { continue };
            // Groups are dealt out whole: the sizes are not known beforehand.
            let rows = sizes.as_ref().filter(|_| config.group.is_none());
            let facts = DatasetFacts {
                rows: rows.and_then(|sizes| sizes.get(place)).map(|size| *size as u64),
                ..facts.clone()
            };
            checked.outputs.insert(name, port_facts(facts));
        }
        checked
    }

    fn run(&self, config: SplitConfig, context: &mut Context<'_>) -> StageResult {
        let dataset = open_input(context, "data")?;
        let mut frame = dataset.frame()?;
        if let Some(column) = &config.by_time {
            frame = sort_by_time(&frame, column)?;
        }
        let parts = deal(&config, &frame)?;
        let transform = dataset.transform()?;
        for (name, rows) in config.parts.keys().zip(parts) {
            let rows = IdxCa::from_vec("rows".into(), rows);
            let mut part = frame
                .take(&rows)
                .map_err(|error| DataError::polars(format!("take the rows of `{name}`"), error))?;
            let port = PortName::new(name).map_err(|error| DataError::config(error.to_string()))?;
            let known = &dataset.info().columns;
            write_output(context, &port, &mut part, transform.as_ref(), known)?;
            context.log(format!("{name}: {} rows", part.height()));
        }
        Ok(())
    }
}

fn can_decide(key: &str, column_type: &ColumnType) -> bool {
    match column_type {
        ColumnType::Bytes { .. } | ColumnType::Vector { .. } | ColumnType::Other(_) => false,
        ColumnType::Category | ColumnType::Boolean => key != "by_time",
        _ => true,
    }
}

fn sort_by_time(frame: &DataFrame, column: &str) -> DataResult<DataFrame> {
    let series = find(frame, column)?;
    if series.null_count() > 0 {
        return Err(DataError::column(
            column,
            format!("is missing in {} of {} rows", series.null_count(), series.len()),
        )
        .help("leave those rows out before splitting by it: `WHERE ... IS NOT NULL`"));
    }
    // Rows of one moment keep their order.
    let options = SortMultipleOptions::default().with_maintain_order(true);
    frame
        .sort([column], options)
        .map_err(|error| DataError::polars(format!("sort by `{column}`"), error))
}

/// The rows of each part.
fn deal(config: &SplitConfig, frame: &DataFrame) -> DataResult<Vec<Vec<u32>>> {
    let rows = frame.height();
    if rows > u32::MAX as usize {
        return Err(DataError::data(format!("{rows} rows are more than can be split"))
            .help("split at most 4 billion rows"));
    }
    let sizes = config.sizes(rows)?;
    if let Some(column) = &config.stratify {
        let classes = classes_of(frame, column)?;
        return Ok(stratified(&sizes, &classes, config.shuffle.then_some(config.seed)));
    }
    if let Some(column) = &config.group {
        return Ok(grouped(&sizes, &numbered(frame, column)?, config.seed));
    }
    if config.by_time.is_some() || !config.shuffle {
        return Ok(in_order(&sizes));
    }
    Ok(at_random(&sizes, rows, config.seed))
}

/// The values of a column as numbers; a missing value is one of its own.
fn numbered(frame: &DataFrame, column: &str) -> DataResult<Vec<u32>> {
    let series = find(frame, column)?;
    let texts = series
        .cast(&polars::prelude::DataType::String)
        .map_err(|error| DataError::polars(format!("read column `{column}`"), error))?;
    let texts =
        texts.str().map_err(|error| DataError::polars(format!("read column `{column}`"), error))?;
    Ok(number(texts.iter()))
}

fn classes_of(frame: &DataFrame, column: &str) -> DataResult<Vec<u32>> {
    let classes = numbered(frame, column)?;
    let mut counts: Vec<usize> = Vec::new();
    for class in &classes {
        let place = *class as usize;
        counts.resize(counts.len().max(place + 1), 0);
        counts[place] += 1;
    }
    let Some(alone) = counts.iter().position(|count| *count == 1) else { return Ok(classes) };
    let row = classes.iter().position(|class| *class as usize == alone).unwrap_or_default();
    let alone = counts.iter().filter(|count| **count == 1).count();
    Err(DataError::column(
        column,
        format!(
            "has {} classes, and {alone} of them in one row only (the first is row {})",
            counts.len(),
            row + 1
        ),
    )
    .help("such a class cannot be in every part: stratify by a column with few classes"))
}
