//! `wick metrics`: the metrics of a run, as a table, plots, JSON or CSV.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};
use wick_core::RunId;
use wick_core::metric::is_system;
use wick_store::{MetricSummary, Series, Store};

use crate::args::{GlobalArgs, MetricsArgs, TableFormat};
use crate::curves::{self, Curve, full_name, is_called};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::history::{find_run, find_run_and_name};
use crate::render::{Cell, Paint, Table, Ui, csv, human, plot, run_view};
use crate::session::Session;

/// The width of a sparkline in characters, and the least that still shows a curve.
const SPARKLINE: usize = 24;
const LEAST_SPARKLINE: usize = 8;

/// The height of a plot in lines.
const PLOT_HEIGHT: usize = 12;

/// So many points of a curve are more than a terminal can show.
const PLOT_POINTS: usize = 800;

pub async fn metrics(args: &MetricsArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let store = &*session.store;
    let (run, key) = find_run_and_name(store, &args.run, args.key.as_deref()).await?;
    let all = store.latest_metrics(&run).await?;
    let chosen: Vec<&MetricSummary> = match &key {
        Some(key) => all.iter().filter(|metric| is_called(metric, key)).collect(),
        None => all.iter().filter(|metric| args.system || !is_system(&metric.key)).collect(),
    };
    if let (true, Some(key)) = (chosen.is_empty(), &key) {
        return Err(no_such_metric(key, &all));
    }
    match args.output {
        TableFormat::Table if key.is_some() => plots(ui, store, &run, &chosen, &args.with).await?,
        TableFormat::Table => {
            let series = series_of(store, &run, &chosen, key.as_deref(), Some(PLOT_POINTS)).await?;
            table(ui, &chosen, &series);
            let left_out = all.len() - chosen.len();
            if chosen.is_empty() && left_out == 0 {
                ui.note("this run has no metrics");
            } else if left_out > 0 {
                let text = format!(
                    "{} of the machine: --system shows them",
                    human::plural(left_out, "metric")
                );
                ui.note(ui.err.paint(Paint::Faint, text));
            }
        }
        TableFormat::Json | TableFormat::Csv => {
            let points = (args.points > 0).then_some(args.points);
            let series = series_of(store, &run, &chosen, key.as_deref(), points).await?;
            if args.output == TableFormat::Csv {
                ui.write(to_csv(&series).as_bytes());
            } else {
                ui.json(&to_json(&run, &chosen, &series))?;
            }
        }
    }
    Ok(ExitCode::Success)
}

/// The series of these metrics, whole or thinned to about `points`.
async fn series_of(
    store: &dyn Store,
    run: &RunId,
    chosen: &[&MetricSummary],
    key: Option<&str>,
    points: Option<usize>,
) -> CommandResult<Vec<Series>> {
    // One that is meant by its full name, or all of one key, need not be found among a million.
    let wanted = match (chosen, key) {
        ([only], _) => Some(full_name(only)),
        (several, Some(key)) if several.iter().all(|metric| metric.key == *key) => {
            Some(key.to_owned())
        }
        _ => None,
    };
    let mut series = match points {
        Some(points) => store.curves(run, wanted.as_deref(), points).await?,
        None => store.series(run, wanted.as_deref()).await?,
    };
    let names: HashSet<(&str, &str)> =
        chosen.iter().map(|metric| (metric.stage.as_str(), &*metric.key)).collect();
    series.retain(|one| names.contains(&(one.stage.as_str(), &*one.key)));
    Ok(series)
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

fn table(ui: &Ui, metrics: &[&MetricSummary], series: &[Series]) {
    let mut by_name: HashMap<(&str, &str), &Series> = HashMap::new();
    for one in series {
        by_name.insert((one.stage.as_str(), one.key.as_str()), one);
    }
    let numbers = |metric: &MetricSummary| {
        let several = metric.points > 1;
        let bound = |value: f64| if several { human::number(value) } else { String::new() };
        [
            human::number(metric.value),
            bound(metric.min),
            bound(metric.max),
            human::count(metric.points),
        ]
    };
    let width = sparkline_width(ui, metrics, numbers);
    let mut table = Table::new(ui, &["metric", "last", "min", "max", "points", "curve"]);
    for metric in metrics {
        let several = metric.points > 1;
        let [last, min, max, points] = numbers(metric);
        let curve = match by_name.get(&(metric.stage.as_str(), metric.key.as_str())) {
            Some(series) if several => {
                let values: Vec<f64> = series.points.iter().map(|point| point.value).collect();
                plot::sparkline(&values, width)
            }
            _ => String::new(),
        };
        table.row([
            Cell::new(full_name(metric)),
            Cell::number(last),
            Cell::number(min),
            Cell::number(max),
            Cell::number(points),
            Cell::painted(Paint::Calm, curve),
        ]);
    }
    if !table.is_empty() {
        table.keep_whole(&[0, 1, 2, 3, 4, 5]);
        ui.print(table.render());
    }
}

/// What the other columns leave for the curves on this terminal.
fn sparkline_width(
    ui: &Ui,
    metrics: &[&MetricSummary],
    numbers: impl Fn(&MetricSummary) -> [String; 4],
) -> usize {
    let Some(width) = ui.width else { return SPARKLINE };
    let mut widths = ["metric", "last", "min", "max", "points"].map(str::len);
    for metric in metrics {
        let cells = numbers(metric);
        let texts = std::iter::once(full_name(metric)).chain(cells);
        for (width, text) in widths.iter_mut().zip(texts) {
            *width = (*width).max(text.chars().count());
        }
    }
    let used: usize = widths.iter().map(|width| width + 2).sum();
    usize::from(width).saturating_sub(used + 2).clamp(LEAST_SPARKLINE, SPARKLINE)
}

/// A plot for each metric; with other runs, their curves beside it on the same scale.
async fn plots(
    ui: &Ui,
    store: &dyn Store,
    run: &RunId,
    metrics: &[&MetricSummary],
    with: &[String],
) -> CommandResult<()> {
    let width = usize::from(ui.width.unwrap_or(80)).min(120);
    let mut others = Vec::new();
    for name in with {
        others.push(find_run(store, name).await?);
    }
    for metric in metrics {
        ui.print(headline(ui, metric));
        let name = full_name(metric);
        let lines = if others.is_empty() {
            match curves::curve(store, run, &name, PLOT_POINTS).await? {
                Some(curve) if curve.points.len() > 1 => {
                    plot::plot(&curve.points, width, PLOT_HEIGHT)
                }
                _ => Vec::new(),
            }
        } else {
            let mut all = Vec::new();
            for run in std::iter::once(run).chain(&others) {
                let curve = curves::curve(store, run, &name, PLOT_POINTS).await?;
                all.push(titled(run, curve));
            }
            plot::side_by_side(&all, width, PLOT_HEIGHT)
        };
        for line in lines {
            ui.print(ui.out.paint(Paint::Calm, line));
        }
    }
    Ok(())
}

fn titled(run: &RunId, curve: Option<Curve>) -> (String, Vec<(f64, f64)>) {
    match curve.map(|curve| curve.points) {
        Some(points) => {
            let last = points.last().map(|point| human::number(point.1)).unwrap_or_default();
            (format!("{run}  {last}"), points)
        }
        None => (format!("{run}  not measured"), Vec::new()),
    }
}

fn headline(ui: &Ui, metric: &MetricSummary) -> String {
    let name = ui.out.paint(Paint::Strong, full_name(metric));
    let mut line = format!("{name}  {}", human::number(metric.value));
    if metric.points > 1 {
        line.push_str(&format!(
            "  at step {} of {} points, from {} to {}",
            human::number(metric.step as f64),
            human::count(metric.points),
            human::number(metric.min),
            human::number(metric.max)
        ));
    }
    line
}

fn to_json(run: &RunId, metrics: &[&MetricSummary], series: &[Series]) -> Value {
    let metrics: Vec<Value> =
        metrics.iter().map(|metric| run_view::metric_to_json(metric)).collect();
    json!({"version": 1, "run": run, "metrics": metrics, "series": series})
}

/// One line a point.
fn to_csv(series: &[Series]) -> String {
    let mut sheet = String::from("stage,attempt,key,step,time_us,value\n");
    for one in series {
        for point in &one.points {
            sheet.push_str(&csv::line([
                one.stage.as_str(),
                &one.attempt.to_string(),
                &one.key,
                &point.step.to_string(),
                &point.time.0.to_string(),
                &point.value.to_string(),
            ]));
        }
    }
    sheet
}
