//! `wick show --data`: how the values of datasets are distributed.

use serde_json::{Value, json};
use wick_core::PortType;
use wick_data::Dataset;
use wick_data::profile::{ColumnProfile, Profile};
use wick_store::ArtifactRecord;

use crate::error::{CommandError, CommandResult, ResultExt};
use crate::history::RunHistory;
use crate::render::{Cell, Paint, Table, Ui, human, plot};
use crate::session::Session;

/// How many of the most frequent values stand in a row.
const TOP_IN_A_ROW: usize = 3;

/// A dataset of the run with its profile.
pub struct Profiled<'a> {
    artifact: &'a ArtifactRecord,
    profile: Profile,
}

/// The datasets of the run that `name` means (a stage, or a stage and its output), or all of them.
pub fn profiles<'a>(
    session: &Session,
    history: &'a RunHistory,
    name: &str,
) -> CommandResult<Vec<Profiled<'a>>> {
    let all = || history.artifacts.iter().filter(|made| made.port_type == PortType::Dataset);
    let chosen: Vec<&ArtifactRecord> =
        all().filter(|made| name.is_empty() || is_called(made, name)).collect();
    if chosen.is_empty() {
        let names: Vec<String> =
            all().map(|made| format!("{}.{}", made.stage, made.port)).collect();
        return Err(if names.is_empty() {
            CommandError::invalid(format!("run {} has made no datasets", history.run.id))
        } else {
            CommandError::invalid(format!("no dataset of this run is called `{name}`"))
                .hint(format!("it has made {}", names.join(", ")))
        });
    }
    let store = session.artifacts()?;
    let profile = |artifact: &'a ArtifactRecord| {
        let held = store
            .hold(&artifact.digest)
            .or_internal(format!("cannot read {}.{}", artifact.stage, artifact.port))?;
        let profile = Dataset::open(held.path())
            .and_then(|dataset| dataset.profile())
            .or_internal(format!("cannot read {}.{}", artifact.stage, artifact.port))?;
        Ok(Profiled { artifact, profile })
    };
    chosen.into_iter().map(profile).collect()
}

fn is_called(artifact: &ArtifactRecord, name: &str) -> bool {
    // The label of an instance may hold dots; a port does not.
    let of_port = |(stage, port): (&str, &str)| {
        artifact.port.as_str() == port && artifact.stage.is_meant_by(stage)
    };
    artifact.stage.is_meant_by(name) || name.rsplit_once('.').is_some_and(of_port)
}

/// For programs.
pub fn to_json(history: &RunHistory, profiled: &[Profiled<'_>]) -> Value {
    let datasets: Vec<Value> = profiled
        .iter()
        .map(|Profiled { artifact, profile }| {
            json!({
                "stage": artifact.stage,
                "port": artifact.port,
                "digest": artifact.digest,
                "profile": profile,
            })
        })
        .collect();
    json!({"version": 1, "run": history.run.id, "datasets": datasets})
}

/// A table for each dataset, a column a row.
pub fn tables(ui: &Ui, profiled: &[Profiled<'_>]) -> String {
    let table = |Profiled { artifact, profile }: &Profiled<'_>| {
        let name = format!("{}.{}", artifact.stage, artifact.port);
        let mut text = format!(
            "{}  {}, {}",
            ui.out.paint(Paint::Strong, name),
            human::plural(usize::try_from(profile.rows).unwrap_or(usize::MAX), "row"),
            human::plural(profile.columns.len() + profile.more_columns as usize, "column"),
        );
        if let Some(sampled) = profile.sampled_rows {
            let all = if profile.all_sampled { "all but what is missing" } else { "distributions" };
            text.push_str(&format!("; {all} from {} of the rows", human::count(sampled)));
        }
        let header =
            ["column", "type", "missing", "distinct", "mean", "std", "min", "median", "max", ""];
        let mut table = Table::new(ui, &header);
        profile.columns.iter().for_each(|column| table.row(row(column)));
        table.keep_whole(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        text.push('\n');
        text.push_str(&table.render_indented(2));
        if profile.more_columns > 0 {
            let more = human::count(profile.more_columns);
            text.push_str(&format!("\n  … and {more} more columns"));
        }
        text
    };
    profiled.iter().map(table).collect::<Vec<_>>().join("\n\n")
}

fn row(column: &ColumnProfile) -> Vec<Cell> {
    let count = |count: u64| if count == 0 { String::new() } else { human::count(count) };
    let mut cells = vec![
        Cell::painted(Paint::Strong, &column.name),
        Cell::painted(Paint::Faint, &column.column_type),
        Cell::number(count(column.missing)),
        Cell::number(column.distinct.map(human::count).unwrap_or_default()),
    ];
    match &column.numbers {
        Some(numbers) => {
            let shown = [numbers.mean, numbers.std, numbers.min, numbers.median, numbers.max];
            cells.extend(shown.map(|value| Cell::number(human::number(value))));
            let counts: Vec<f64> =
                numbers.histogram.counts.iter().map(|count| *count as f64).collect();
            cells.push(Cell::painted(Paint::Calm, plot::sparkline(&counts, counts.len())));
        }
        None => {
            cells.extend((0..5).map(|_| Cell::new("")));
            cells.push(Cell::new(in_words(column)));
        }
    }
    cells
}

/// What is told of a column without numbers: its most frequent values, or its range.
fn in_words(column: &ColumnProfile) -> String {
    if let Some((first, last)) = &column.span {
        return format!("{first} to {last}");
    }
    if !column.top.is_empty() {
        let top = column.top.iter().take(TOP_IN_A_ROW);
        let top: Vec<String> =
            top.map(|(value, count)| format!("{value} × {}", human::count(*count))).collect();
        let more = if column.distinct.unwrap_or(0) > TOP_IN_A_ROW as u64 { ", …" } else { "" };
        return top.join(", ") + more;
    }
    match column.lengths {
        Some((least, most)) => format!("{least} to {most} characters"),
        None => String::new(),
    }
}
