//! `wick compare`: what differs between two runs or more: params, metrics, stages, curves.

mod rows;
mod view;

use std::collections::HashMap;

use wick_engine::{RunsDiff, StageChange};
use wick_store::Store;

use crate::args::{CompareArgs, GlobalArgs, TableFormat};
use crate::curves::{self, Curve};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::history::{RunHistory, find_run};
use crate::render::Ui;
use crate::session::Session;

use rows::{MetricRow, ParamRow, StageRow};

/// How many runs can be compared at once: there is a letter for each.
const MAX_RUNS: usize = 26;

/// So many points of a curve are more than a terminal can show.
const CURVE_POINTS: usize = 400;

/// The runs with all that is compared of them.
struct Compared {
    runs: Vec<RunHistory>,
    /// What differs between the first run and each of the others.
    diffs: Vec<RunsDiff>,
    params: Vec<ParamRow>,
    metrics: Vec<MetricRow>,
    stages: Vec<StageRow>,
    /// The metric whose curves are shown, with a curve for each run that has one.
    curves: Option<(String, Vec<Option<Curve>>)>,
}

pub async fn compare(args: &CompareArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let store = &*session.store;
    let mut ids = Vec::new();
    for name in &args.runs {
        ids.push(find_run(store, name).await?);
    }
    if ids.len() > MAX_RUNS {
        return Err(CommandError::invalid(format!("{} runs are too many to compare", ids.len()))
            .hint(format!(
                "name {MAX_RUNS} at most; `wick trend METRIC` follows a metric over all"
            )));
    }
    let mut runs = Vec::new();
    for id in &ids {
        runs.push(RunHistory::load(store, id).await?);
    }
    let mut diffs = Vec::new();
    for other in &ids[1..] {
        diffs.push(wick_engine::explain_runs(store, &ids[0], other).await?);
    }
    let params = rows::params(&runs, args.all);
    let metrics = rows::metrics(&runs, args.all, args.system);
    let stages = rows::stages(&runs, &reasons(&diffs), args.all);
    let curves = match args.output {
        TableFormat::Table => curves_of(store, args, &runs, &metrics).await?,
        TableFormat::Json | TableFormat::Csv => None,
    };
    let compared = Compared { runs, diffs, params, metrics, stages, curves };
    match args.output {
        TableFormat::Table => view::print(ui, &compared),
        TableFormat::Json => ui.json(&view::to_json(&compared))?,
        TableFormat::Csv => ui.write(view::to_csv(&compared).as_bytes()),
    }
    Ok(ExitCode::Success)
}

/// What is different about a stage, for each run after the first.
fn reasons(diffs: &[RunsDiff]) -> Vec<HashMap<&str, Vec<String>>> {
    let of = |diff: &'_ RunsDiff| -> Vec<(usize, Vec<String>)> {
        diff.stages
            .iter()
            .enumerate()
            .filter_map(|(place, stage)| match &stage.change {
                StageChange::Changed(changes) => {
                    Some((place, changes.iter().map(|change| change.text.clone()).collect()))
                }
                _ => None,
            })
            .collect()
    };
    diffs
        .iter()
        .map(|diff| {
            let told = of(diff).into_iter();
            told.map(|(place, texts)| (diff.stages[place].stage.as_str(), texts)).collect()
        })
        .collect()
}

/// The curves to show: of the metric that was named, or of the one that differs most among those
/// that are more than a value.
async fn curves_of(
    store: &dyn Store,
    args: &CompareArgs,
    runs: &[RunHistory],
    metrics: &[MetricRow],
) -> CommandResult<Option<(String, Vec<Option<Curve>>)>> {
    let has_curve = |name: &str| {
        let of = |run: &RunHistory| {
            let own = run.metrics.iter().find(|metric| curves::full_name(metric) == name);
            own.is_some_and(|metric| metric.points > 1)
        };
        runs.iter().any(of)
    };
    let name = match &args.curves {
        Some(asked) => {
            let mut all = runs.iter().flat_map(|run| &run.metrics);
            let Some(found) = all.find(|metric| curves::is_called(metric, asked)) else {
                return Err(no_such_metric(asked, runs));
            };
            Some(curves::full_name(found))
        }
        None => {
            let differing = metrics.iter().filter(|row| row.differs());
            differing.map(|row| row.name.clone()).find(|name| has_curve(name))
        }
    };
    let Some(name) = name else { return Ok(None) };
    let mut all = Vec::new();
    for run in runs {
        all.push(curves::curve(store, &run.run.id, &name, CURVE_POINTS).await?);
    }
    Ok(Some((name, all)))
}

fn no_such_metric(asked: &str, runs: &[RunHistory]) -> CommandError {
    let error = CommandError::invalid(format!("none of these runs has a metric `{asked}`"));
    let names: Vec<String> =
        runs.iter().flat_map(|run| run.metrics.iter().map(curves::full_name)).collect();
    match wick_pipeline::did_you_mean(asked, names.iter().map(String::as_str)) {
        Some(hint) => error.hint(hint),
        None => error.hint("`wick metrics RUN` lists the metrics of a run"),
    }
}
