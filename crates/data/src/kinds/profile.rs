//! `profile`: a report of how the values of a dataset are distributed.

use schemars::JsonSchema;
use serde::Deserialize;
use wick_core::PortType;
use wick_report::draw::{Bar, BarChart};
use wick_report::{Cell, Report, Table};
use wick_stage::{
    Checked, Context, Documentation, Example, Issues, Known, PortFacts, Ports, StageError,
    StageResult, TypedKind,
};

use super::{check_column, facts_of, open_input, port};
use crate::dataset::Dataset;
use crate::error::{DataError, DataResult};
use crate::profile::{ColumnProfile, Histogram, Profile};

/// How many columns are drawn.
const MAX_PLOTS: usize = 40;

/// The `with` of a `profile` stage.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileConfig {
    /// Only these columns, in this order.
    pub columns: Option<Vec<String>>,
}

/// See [`ProfileConfig`].
pub struct ProfileKind;

impl TypedKind for ProfileKind {
    type Config = ProfileConfig;
    const NAME: &'static str = "profile";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Reports how the values of a dataset are distributed",
            description: "\
The output `report` has a table of all columns: what is missing, distinct values, mean, standard
deviation, least, quantiles and largest; a table of the most frequent values; and a drawing of every
column's distribution. Definitions are those of pandas: the deviation divides by n − 1, quantiles
are interpolated linearly.

The same numbers, without drawings, are noted with every dataset that a native stage makes, whether
a pipeline has such a stage or not: `wick show --data` tells them. Of a large table quantiles,
distinct values and frequencies come from 5,000 to 100,000 rows that are spread evenly over it; the
report says so.",
            examples: &[
                Example {
                    title: "All columns of a dataset",
                    yaml: "uses: profile\ninputs: {data: passengers}\n",
                },
                Example {
                    title: "Some of them",
                    yaml: "\
uses: profile
inputs: {data: features.train}
with: {columns: [age, fare]}
",
                },
            ],
        }
    }

    fn ports(&self, _: &ProfileConfig, _: &mut Issues) -> Ports {
        Ports::new().input("data", PortType::Dataset).output("report", PortType::Report)
    }

    fn check(&self, config: &ProfileConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked::default();
        let facts = facts_of(known, "data");
        for (place, name) in config.columns.iter().flatten().enumerate() {
            let path = [wick_stage::PathSegment::from("columns"), place.into()];
            check_column(&mut checked.issues, &facts, path, name);
        }
        checked.metrics = Some(["rows", "columns", "missing"].map(str::to_owned).to_vec());
        if let Ok(report) = port("report") {
            checked.outputs.insert(report, PortFacts::unknown(PortType::Report));
        }
        checked
    }

    fn run(&self, config: ProfileConfig, context: &mut Context<'_>) -> StageResult {
        let dataset = open_input(context, "data")?;
        let profile = profile_of(&dataset, config.columns.as_deref())?;
        let report = report_of(&profile);
        for (key, value) in &report.metrics {
            context.metric(key.as_str(), *value)?;
        }
        let folder = context.output("report")?;
        report.write(&folder).map_err(|error| {
            StageError::new(wick_core::FailureCause::Io, error.to_string()).because(error)
        })?;
        let shown = serde_json::json!({"rows": profile.rows, "columns": profile.columns.len()});
        context.describe_output(&port("report")?, shown);
        Ok(())
    }
}

/// The profile that was noted with the dataset; of some columns, or of more than are noted, one
/// that is made now.
fn profile_of(dataset: &Dataset, columns: Option<&[String]>) -> DataResult<Profile> {
    let Some(columns) = columns else { return dataset.profile() };
    let names: Vec<&str> = columns.iter().map(String::as_str).collect();
    let frame = dataset.frame_of(&names)?;
    let known = names.iter().map(|name| dataset.info().column(name).cloned());
    let known = known.collect::<Result<Vec<_>, DataError>>()?;
    Ok(Profile::of(&frame, &known))
}

fn report_of(profile: &Profile) -> Report {
    let mut report = Report::new("Profile");
    let missing: u64 = profile.columns.iter().map(|column| column.missing).sum();
    report.add_metric("rows", profile.rows as f64);
    report.add_metric("columns", (profile.columns.len() as u64 + profile.more_columns) as f64);
    report.add_metric("missing", missing as f64);
    let title = match profile.sampled_rows {
        Some(rows) => format!("Columns; distributions from {rows} of {} rows", profile.rows),
        None => "Columns".to_owned(),
    };
    let heads = [
        "column", "type", "missing", "distinct", "mean", "std", "min", "q05", "q25", "median",
        "q75", "q95", "max",
    ];
    let mut columns = Table::new("columns", title, heads);
    let mut top = Table::new("top", "Most frequent values", ["column", "value", "rows"]);
    for column in &profile.columns {
        columns.push(row(column));
        for (value, count) in &column.top {
            top.push([column.name.as_str().into(), value.as_str().into(), integer(*count)]);
        }
    }
    report.add_table(columns);
    report.add_table(top);
    let charts = profile.columns.iter().filter_map(|column| Some((column, chart(column)?)));
    for (place, (column, chart)) in charts.take(MAX_PLOTS).enumerate() {
        // Two names can look alike as files.
        report.add_plot(format!("{:02}_{}", place + 1, column.name), &column.name, chart.svg());
    }
    report
}

fn integer(number: u64) -> Cell {
    Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn row(column: &ColumnProfile) -> Vec<Cell> {
    let mut cells: Vec<Cell> = vec![
        column.name.as_str().into(),
        column.column_type.to_string().into(),
        integer(column.missing),
        column.distinct.map_or(Cell::Empty, integer),
    ];
    if let Some(n) = &column.numbers {
        let numbers = [n.mean, n.std, n.min, n.q05, n.q25, n.median, n.q75, n.q95, n.max];
        cells.extend(numbers.map(Cell::from));
    } else if let Some((first, last)) = &column.span {
        cells.resize(6, Cell::Empty);
        cells.push(first.as_str().into());
        cells.resize(12, Cell::Empty);
        cells.push(last.as_str().into());
    }
    cells
}

/// A drawing of a column's distribution: bars of its most frequent values, or of its histogram.
fn chart(column: &ColumnProfile) -> Option<BarChart> {
    let bars: Vec<Bar> = if !column.top.is_empty() {
        column.top.iter().map(|(value, count)| Bar::new(value, *count as f64)).collect()
    } else {
        bins(&column.numbers.as_ref()?.histogram)
    };
    Some(BarChart { title: column.name.clone(), label: "rows".to_owned(), bars })
}

fn bins(histogram: &Histogram) -> Vec<Bar> {
    let width = (histogram.to - histogram.from) / histogram.counts.len().max(1) as f64;
    let edge = |place: usize| Cell::from(histogram.from + width * place as f64).to_string();
    let counts = histogram.counts.iter().enumerate();
    counts
        .map(|(place, count)| {
            Bar::new(format!("{} to {}", edge(place), edge(place + 1)), *count as f64)
        })
        .collect()
}
