//! `wick best`: the runs that did best by a metric, and the params in which they differ.

use serde_json::{Map, Value, json};
use wick_core::RunId;
use wick_store::filter::{Column, Filter, Order};
use wick_store::{ColumnValue, RunPage, Search};

use crate::args::{BestArgs, GlobalArgs, Mode};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::filter;
use crate::history::no_such_metric;
use crate::render::style::run_paint;
use crate::render::{Cell, Paint, Table, Ui, human};
use crate::session::Session;

/// Words in names of metrics that are better low.
const LOW: [&str; 26] = [
    "loss",
    "error",
    "errors",
    "err",
    "mae",
    "mse",
    "rmse",
    "mape",
    "smape",
    "msle",
    "rmsle",
    "perplexity",
    "brier",
    "ece",
    "wer",
    "cer",
    "fid",
    "time",
    "seconds",
    "latency",
    "duration",
    "bytes",
    "memory",
    "energy",
    "co2",
    "nll",
];

/// Words in names of metrics that are better high.
const HIGH: [&str; 23] = [
    "accuracy",
    "acc",
    "f1",
    "fbeta",
    "precision",
    "recall",
    "auc",
    "roc",
    "ap",
    "map",
    "r2",
    "score",
    "iou",
    "dice",
    "bleu",
    "rouge",
    "kappa",
    "mcc",
    "sensitivity",
    "specificity",
    "throughput",
    "correlation",
    "likelihood",
];

pub async fn best(args: &BestArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let typed = args.filter.as_deref().map(|text| filter::parse(text, ui)).transpose()?;
    let of_experiment = args.experiment.as_ref().map(Filter::of_experiment);
    let is_filtered = typed.is_some() || of_experiment.is_some();
    let mode = match args.mode {
        Some(mode) => mode,
        None => mode_of(&args.metric).ok_or_else(|| {
            let message =
                format!("`{}` does not tell whether it is better high or low", args.metric);
            CommandError::invalid(message).hint("say `--mode max` or `--mode min`")
        })?,
    };
    let all = [Some(Filter::with_metric(&args.metric)), of_experiment, typed];
    let query = Search {
        filter: Filter::all(all.into_iter().flatten()),
        order: vec![Order::by_metric(&args.metric, mode == Mode::Max)],
        columns: vec![Column::metric(&args.metric)],
        limit: args.limit,
        ..Search::default()
    };
    let session = Session::here(global, ui).await?;
    let page = session.store.search(&query).await?;
    if page.runs.is_empty() && !is_filtered {
        return Err(no_such_metric(&*session.store, &args.metric).await?);
    }
    let mut params = Vec::with_capacity(page.runs.len());
    for run in &page.runs {
        params.push(session.store.params(&run.id).await?);
    }
    let params: Vec<Params> = params
        .into_iter()
        .map(|params| params.into_iter().map(|param| (param.name, param.value)).collect())
        .collect();
    let differing = differing(&params);
    if args.output.is_json() {
        ui.json(&to_json(args, mode, &page, &params, &differing))?;
    } else if page.runs.is_empty() {
        ui.note(format_args!("no run like that has the metric `{}`", args.metric));
    } else {
        ui.print(table(ui, args, &page, &params, &differing));
        let word = if mode == Mode::Max { "greatest" } else { "smallest" };
        let mut note = format!("the {word} first");
        if let [first, second, ..] = page.runs.as_slice() {
            note.push_str(&format!("; `wick compare {} {}` tells more", first.id, second.id));
        }
        ui.note(ui.err.paint(Paint::Faint, note));
    }
    Ok(ExitCode::Success)
}

type Params = Vec<(String, Value)>;

/// Which value of a metric is best, if its name tells.
pub(super) fn mode_of(metric: &str) -> Option<Mode> {
    let key = metric.rsplit('.').next().unwrap_or(metric).to_lowercase();
    let has = |known: &[&str]| key.split(['_', '-', ' ', '@']).any(|word| known.contains(&word));
    match (has(&HIGH), has(&LOW)) {
        (true, false) => Some(Mode::Max),
        (false, true) => Some(Mode::Min),
        // `error_score`, `accuracy_loss`: nobody knows.
        _ => None,
    }
}

/// The names of the params that are not the same in all runs, by name.
fn differing(params: &[Params]) -> Vec<String> {
    let mut names: Vec<&String> = params.iter().flatten().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let of = |params: &Params, name: &str| {
        params.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
    };
    names
        .into_iter()
        .filter(|name| params.windows(2).any(|two| of(&two[0], name) != of(&two[1], name)))
        .cloned()
        .collect()
}

fn measured(page: &RunPage, place: usize) -> Option<&ColumnValue> {
    page.columns.get(place).and_then(|columns| columns.first()?.as_ref())
}

fn table(
    ui: &Ui,
    args: &BestArgs,
    page: &RunPage,
    params: &[Params],
    differing: &[String],
) -> String {
    let now = human::now();
    let mut header = vec!["run", "experiment", "state", "started", &args.metric];
    header.extend(differing.iter().map(String::as_str));
    let mut table = Table::new(ui, &header);
    for (place, (run, params)) in page.runs.iter().zip(params).enumerate() {
        let called = |id: &RunId| match &run.marks.name {
            Some(name) => format!("{id} {name}"),
            None => id.to_string(),
        };
        let mut row = vec![
            Cell::painted(Paint::Strong, called(&run.id)),
            Cell::new(&run.experiment),
            Cell::painted(run_paint(run.state), run.state),
            Cell::new(human::ago(run.started, now)),
            super::runs::cell(measured(page, place)),
        ];
        row.extend(differing.iter().map(|name| {
            let value = params.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
            super::runs::cell(value.map(ColumnValue::Json).as_ref())
        }));
        table.row(row);
    }
    table.keep_whole(&[0, 2, 3, 4]);
    table.render()
}

fn to_json(
    args: &BestArgs,
    mode: Mode,
    page: &RunPage,
    params: &[Params],
    differing: &[String],
) -> Value {
    let runs = page.runs.iter().zip(params).enumerate().map(|(place, (run, params))| {
        let params: Map<String, Value> = params.iter().cloned().collect();
        json!({
            "id": run.id,
            "name": run.marks.name,
            "experiment": run.experiment,
            "pipeline": run.pipeline,
            "state": run.state,
            "started": run.started,
            "finished": run.finished,
            "value": super::runs::value_json(measured(page, place)),
            "params": params,
        })
    });
    json!({
        "version": 1,
        "metric": args.metric,
        "mode": if mode == Mode::Max { "max" } else { "min" },
        "differing": differing,
        "runs": runs.collect::<Vec<_>>(),
        "more": page.more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_best() {
        #[track_caller]
        fn check(metric: &str, expect: Option<Mode>) {
            assert_eq!(mode_of(metric), expect, "{metric}");
        }
        check("evaluate.accuracy", Some(Mode::Max));
        check("validation.loss", Some(Mode::Min));
        check("log_loss", Some(Mode::Min));
        check("train[lr=0.1].top5-accuracy", Some(Mode::Max));
        check("roc_auc", Some(Mode::Max));
        check("RMSE", Some(Mode::Min));
        check("accuracy_loss", None);
        check("rows", None);
        check("loss.rows", None);
    }

    #[test]
    fn params_differ_where_one_is_missing() {
        let params = |pairs: &[(&str, i32)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<Params>()
        };
        let all = [
            params(&[("a", 1), ("b", 2), ("c", 3)]),
            params(&[("a", 1), ("b", 4)]),
            params(&[("a", 1), ("b", 2), ("c", 3)]),
        ];
        assert_eq!(differing(&all), ["b", "c"]);
        assert!(differing(&all[..1]).is_empty());
    }
}
