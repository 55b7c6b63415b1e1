//! `wick metrics`: the metrics of a run, as a table, plots, JSON or CSV.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use wick_core::RunId;
use wick_store::{MetricSummary, Series};

use crate::args::{GlobalArgs, MetricsArgs, MetricsFormat};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::history::find_run_and_name;
use crate::render::{Cell, Paint, Table, Ui, human, plot, run_view};
use crate::session::Session;

/// The width of a sparkline in characters.
const SPARKLINE: usize = 24;

/// The height of a plot in lines.
const PLOT_HEIGHT: usize = 12;

pub async fn metrics(args: &MetricsArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let (run, key) = find_run_and_name(&*session.store, &args.run, args.key.as_deref()).await?;
    let all = session.store.latest_metrics(&run).await?;
    let chosen: Vec<&MetricSummary> = match &key {
        Some(key) => all.iter().filter(|metric| is_called(metric, key)).collect(),
        None => all.iter().collect(),
    };
    if let (true, Some(key)) = (chosen.is_empty(), &key) {
        return Err(no_such_metric(key, &all));
    }
    // One that is meant by its full name, or all of one key, need not be found among a million.
    let wanted = match (chosen.as_slice(), &key) {
        ([only], _) => Some(full_name(only)),
        (several, Some(key)) if several.iter().all(|metric| metric.key == *key) => {
            Some(key.clone())
        }
        _ => None,
    };
    let mut series = session.store.series(&run, wanted.as_deref()).await?;
    let names: HashSet<(&str, &str)> =
        chosen.iter().map(|metric| (metric.stage.as_str(), &*metric.key)).collect();
    series.retain(|one| names.contains(&(one.stage.as_str(), &*one.key)));
    match args.output {
        MetricsFormat::Json => ui.json(&to_json(&run, &chosen, &series))?,
        MetricsFormat::Csv => ui.write(to_csv(&series).as_bytes()),
        MetricsFormat::Table if all.is_empty() => ui.note("this run has no metrics"),
        MetricsFormat::Table if key.is_some() => plots(ui, &chosen, &series),
        MetricsFormat::Table => table(ui, &chosen, &series),
    }
    Ok(ExitCode::Success)
}

fn is_called(metric: &MetricSummary, key: &str) -> bool {
    let of_stage = || {
        let stage = key.strip_suffix(&*metric.key).and_then(|stage| stage.strip_suffix('.'));
        stage.is_some_and(|stage| metric.stage.is_meant_by(stage))
    };
    metric.key == key || of_stage()
}

fn full_name(metric: &MetricSummary) -> String {
    format!("{}.{}", metric.stage, metric.key)
}

fn no_such_metric(key: &str, all: &[MetricSummary]) -> CommandError {
    let error = CommandError::invalid(format!("no metric of this run is called `{key}`"));
    let names: Vec<String> = all.iter().map(full_name).collect();
    let known = names.iter().map(String::as_str).chain(all.iter().map(|metric| &*metric.key));
    match wick_pipeline::suggest::nearest(key, known) {
        Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
        None => error.hint("`wick metrics` without a key lists them"),
    }
}

/// The series of each metric, by stage and key.
fn by_name(series: &[Series]) -> HashMap<(&str, &str), Vec<&Series>> {
    let mut by_name: HashMap<(&str, &str), Vec<&Series>> = HashMap::new();
    for one in series {
        by_name.entry((one.stage.as_str(), one.key.as_str())).or_default().push(one);
    }
    by_name
}

/// The latest attempt's series of a metric.
fn latest<'a>(
    by_name: &HashMap<(&str, &str), Vec<&'a Series>>,
    metric: &MetricSummary,
) -> Option<&'a Series> {
    let series = by_name.get(&(metric.stage.as_str(), metric.key.as_str()))?;
    series.iter().max_by_key(|series| series.attempt).copied()
}

fn table(ui: &Ui, metrics: &[&MetricSummary], series: &[Series]) {
    let by_name = by_name(series);
    let mut table = Table::new(ui, &["metric", "last", "min", "max", "points", "curve"]);
    for metric in metrics {
        let several = metric.points > 1;
        let bound = |value: f64| if several { human::number(value) } else { String::new() };
        let curve = match latest(&by_name, metric) {
            Some(series) if several => {
                let values: Vec<f64> = series.points.iter().map(|point| point.value).collect();
                plot::sparkline(&values, SPARKLINE)
            }
            _ => String::new(),
        };
        table.row([
            Cell::new(full_name(metric)),
            Cell::number(human::number(metric.value)),
            Cell::number(bound(metric.min)),
            Cell::number(bound(metric.max)),
            Cell::number(human::count(metric.points)),
            Cell::painted(Paint::Calm, curve),
        ]);
    }
    table.keep_whole(&[0, 1, 2, 3, 4, 5]);
    ui.print(table.render());
}

fn plots(ui: &Ui, metrics: &[&MetricSummary], series: &[Series]) {
    let by_name = by_name(series);
    let width = usize::from(ui.width.unwrap_or(80)).min(120);
    for metric in metrics {
        let mut line = format!(
            "{}  {}",
            ui.out.paint(Paint::Strong, full_name(metric)),
            human::number(metric.value)
        );
        if metric.points > 1 {
            line.push_str(&format!(
                "  at step {} of {} points, from {} to {}",
                human::number(metric.step as f64),
                human::count(metric.points),
                human::number(metric.min),
                human::number(metric.max)
            ));
        }
        ui.print(line);
        if let Some(series) = latest(&by_name, metric).filter(|series| series.points.len() > 1) {
            let points: Vec<(f64, f64)> =
                series.points.iter().map(|point| (point.step as f64, point.value)).collect();
            for line in plot::plot(&points, width, PLOT_HEIGHT) {
                ui.print(ui.out.paint(Paint::Calm, line));
            }
        }
    }
}

fn to_json(run: &RunId, metrics: &[&MetricSummary], series: &[Series]) -> Value {
    let metrics: Vec<Value> =
        metrics.iter().map(|metric| run_view::metric_to_json(metric)).collect();
    json!({"version": 1, "run": run, "metrics": metrics, "series": series})
}

/// One line a point. Names hold no commas or quotes; a key of a `command` stage may.
fn to_csv(series: &[Series]) -> String {
    let mut csv = String::from("stage,attempt,key,step,time_us,value\n");
    for one in series {
        let key = if one.key.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", one.key.replace('"', "\"\""))
        } else {
            one.key.clone()
        };
        for point in &one.points {
            csv.push_str(&format!(
                "{},{},{key},{},{},{}\n",
                one.stage, one.attempt, point.step, point.time.0, point.value
            ));
        }
    }
    csv
}
