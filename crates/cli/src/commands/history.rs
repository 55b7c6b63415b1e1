//! `wick history`: how a stage did over the runs that had it.

use serde_json::{Value, json};
use wick_core::metric::is_system;
use wick_core::{AttemptState, ExperimentName};
use wick_store::{StageInRun, StageQuery, Store};

use crate::args::{GlobalArgs, HistoryArgs};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::render::style::attempt_paint;
use crate::render::{Cell, Paint, Table, Ui, human, plot, run_view};
use crate::session::Session;

/// The width of the sparkline of durations in characters.
const SPARKLINE: usize = 40;

/// How many metrics stand in a row.
const METRICS_IN_A_ROW: usize = 2;

pub async fn history(args: &HistoryArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let experiment = match (&args.experiment, args.all) {
        (Some(experiment), _) => Some(experiment.clone()),
        (None, true) => None,
        (None, false) => experiment_of(&*session.store, &args.stage).await?,
    };
    // One more than is shown tells whether there are more.
    let query = StageQuery {
        stage: args.stage.clone(),
        experiment: experiment.clone(),
        limit: if args.limit == 0 { 0 } else { args.limit.saturating_add(1) },
        offset: args.limit.saturating_mul(args.page - 1),
    };
    let mut rows = session.store.stage_history(&query).await?;
    let more = args.limit > 0 && rows.len() > args.limit as usize;
    if more {
        rows.truncate(args.limit as usize);
    }
    if rows.is_empty() && args.page == 1 {
        return Err(no_such_stage(&*session.store, args).await?);
    }
    let summary = Summary::of(&rows);
    if args.output.is_json() {
        ui.json(&json!({
            "version": 1,
            "stage": args.stage,
            "experiment": experiment,
            "summary": summary.to_json(),
            "runs": rows.iter().map(to_json).collect::<Vec<_>>(),
            "more": more,
        }))?;
        return Ok(ExitCode::Success);
    }
    if rows.is_empty() {
        ui.note(format_args!("there is no page {}", args.page));
        return Ok(ExitCode::Success);
    }
    print_summary(ui, args, experiment.as_ref(), &summary);
    ui.print(format_args!("\n{}", table(ui, &rows)));
    if more {
        let page = args.page + 1;
        let text = format!("there are more: --page {page} shows the next, -n N more at once");
        ui.note(ui.err.paint(Paint::Faint, text));
    }
    Ok(ExitCode::Success)
}

/// The experiment of the newest run that has the stage: a stage of the same name in another
/// experiment is another stage.
async fn experiment_of(store: &dyn Store, stage: &str) -> CommandResult<Option<ExperimentName>> {
    let newest = StageQuery { stage: stage.to_owned(), limit: 1, ..StageQuery::default() };
    let newest = store.stage_history(&newest).await?.into_iter().next();
    Ok(newest.map(|row| row.experiment))
}

async fn no_such_stage(store: &dyn Store, args: &HistoryArgs) -> CommandResult<CommandError> {
    let place = match &args.experiment {
        Some(experiment) => format!("no run of experiment {experiment}"),
        None => "no run".to_owned(),
    };
    let error = CommandError::invalid(format!("{place} has come to a stage `{}`", args.stage));
    // The last run is the one that was most likely meant.
    let names: Vec<String> = match store.find_runs("@last").await?.as_slice() {
        [last] => {
            let stages = store.stages(last).await?;
            stages.iter().map(|stage| stage.stage.template()).collect()
        }
        _ => Vec::new(),
    };
    Ok(match wick_pipeline::did_you_mean(&args.stage, names.iter().map(String::as_str)) {
        Some(hint) => error.hint(hint),
        None => error.hint("`wick show` lists the stages of the last run"),
    })
}

/// What is said of all runs shown together.
struct Summary {
    runs: usize,
    succeeded: usize,
    cached: usize,
    failed: usize,
    /// What the stage took where it was computed to a good end, oldest first, in microseconds.
    times: Vec<i64>,
}

impl Summary {
    /// `rows` come newest first.
    fn of(rows: &[StageInRun]) -> Self {
        let count =
            |is: fn(AttemptState) -> bool| rows.iter().filter(|row| is(row.stage.state)).count();
        let succeeded = rows.iter().rev().filter(|row| row.stage.state == AttemptState::Succeeded);
        Self {
            runs: rows.len(),
            succeeded: count(|state| state == AttemptState::Succeeded),
            cached: count(|state| state == AttemptState::Cached),
            failed: count(is_failure),
            times: succeeded.filter_map(micros).collect(),
        }
    }

    /// Of the runs that computed the stage to an end, the share that failed.
    fn failure_rate(&self) -> Option<f64> {
        let ended = self.succeeded + self.failed;
        (ended > 0).then(|| self.failed as f64 / ended as f64)
    }

    /// The time that a share of all did not exceed (nearest rank).
    fn percentile(&self, share: f64) -> Option<i64> {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }

    fn to_json(&self) -> Value {
        json!({
            "runs": self.runs,
            "succeeded": self.succeeded,
            "cached": self.cached,
            "failed": self.failed,
            "failure_rate": self.failure_rate(),
            "median_micros": self.percentile(0.5),
            "p95_micros": self.percentile(0.95),
        })
    }
}

const fn is_failure(state: AttemptState) -> bool {
    matches!(state, AttemptState::Failed | AttemptState::Lost)
}

/// What the stage took in a run: what its attempts took, or the time between the records where
/// no attempt says.
fn micros(row: &StageInRun) -> Option<i64> {
    let told: u64 = row.attempts.iter().filter_map(|attempt| attempt.wall_micros).sum();
    if told > 0 {
        return i64::try_from(told).ok();
    }
    let stage = &row.stage;
    if stage.state == AttemptState::Cached {
        return None;
    }
    Some(stage.finished?.micros_since(stage.started?))
}

fn print_summary(
    ui: &Ui,
    args: &HistoryArgs,
    experiment: Option<&ExperimentName>,
    summary: &Summary,
) {
    let place = match experiment {
        Some(experiment) => format!("experiment {experiment}"),
        None => "every experiment".to_owned(),
    };
    let mut words = vec![format!("{} computed", summary.succeeded + summary.failed)];
    if summary.cached > 0 {
        words.push(format!("{} cached", summary.cached));
    }
    if let Some(rate) = summary.failure_rate().filter(|rate| *rate > 0.0) {
        let text = format!("{} failed ({:.0} %)", summary.failed, rate * 100.0);
        words.push(ui.out.paint(Paint::Bad, text));
    }
    ui.print(format_args!(
        "stage {} of {place}, {}: {}",
        ui.out.paint(Paint::Strong, &args.stage),
        human::plural(summary.runs, "run"),
        words.join(", ")
    ));
    if let (Some(median), Some(p95)) = (summary.percentile(0.5), summary.percentile(0.95)) {
        let times: Vec<f64> = summary.times.iter().map(|micros| *micros as f64).collect();
        let curve = match times.len() {
            1 => String::new(),
            _ => ui.out.paint(Paint::Calm, plot::sparkline(&times, SPARKLINE)) + "  ",
        };
        ui.print(format_args!(
            "time {curve}median {}, p95 {}",
            human::micros(median),
            human::micros(p95)
        ));
    }
}

fn table(ui: &Ui, rows: &[StageInRun]) -> String {
    let now = human::now();
    let several = rows.iter().any(|row| row.stage.stage != rows[0].stage.stage);
    let retried = rows.iter().any(|row| row.attempts.len() > 1);
    let mut header = vec!["run", "started", "state", "time"];
    if several {
        header.insert(1, "stage");
    }
    if retried {
        header.push("attempts");
    }
    header.push("result");
    let mut table = Table::new(ui, &header);
    for row in rows {
        let state = row.stage.state;
        let time = micros(row).map(human::micros).unwrap_or_default();
        let mut cells = vec![
            Cell::painted(Paint::Strong, &row.run),
            Cell::new(human::ago(row.stage.started.unwrap_or(row.run_started), now)),
            Cell::painted(attempt_paint(state), state),
            Cell::number(time),
        ];
        if several {
            cells.insert(1, Cell::new(&row.stage.stage));
        }
        if retried {
            cells.push(Cell::number(row.attempts.len()));
        }
        cells.push(result(row));
        table.row(cells);
    }
    // All but the results, which may be long.
    let whole: Vec<usize> = (0..header.len() - 1).collect();
    table.keep_whole(&whole);
    table.render()
}

/// Why the stage failed, or what it measured, or whom it took its outputs from.
fn result(row: &StageInRun) -> Cell {
    let stage = &row.stage;
    if let (true, Some(failure)) = (is_failure(stage.state), &stage.failure) {
        return Cell::painted(Paint::Bad, &failure.message);
    }
    if let Some(reason) = &stage.because {
        return Cell::painted(Paint::Faint, reason);
    }
    let mut telling: Vec<&(String, f64)> =
        row.metrics.iter().filter(|(key, _)| !is_system(key)).collect();
    telling.sort_by_key(|(key, _)| run_view::telling_rank(key));
    let mut words: Vec<String> = telling
        .iter()
        .take(METRICS_IN_A_ROW)
        .map(|(key, value)| format!("{key} {}", human::number(*value)))
        .collect();
    if let Some(origin) = &stage.origin {
        words.push(format!("of run {}", origin.run));
    }
    Cell::new(words.join("  "))
}

fn to_json(row: &StageInRun) -> Value {
    let metrics: serde_json::Map<String, Value> =
        row.metrics.iter().map(|(key, value)| (key.clone(), human::json_number(*value))).collect();
    json!({
        "run": row.run,
        "experiment": row.experiment,
        "run_state": row.run_state,
        "run_started": row.run_started,
        "stage": row.stage,
        "micros": micros(row),
        "attempts": row.attempts,
        "metrics": metrics,
    })
}
