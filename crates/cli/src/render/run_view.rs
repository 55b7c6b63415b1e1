//! How a run and its stages are shown.

use serde_json::{Value, json};
use wick_core::{AttemptState, RunId};
use wick_store::{ArtifactRecord, MetricSummary, StageRecord};

use crate::history::RunHistory;
use crate::render::style::attempt_paint;
use crate::render::{Cell, Paint, Table, Ui, human};

/// Metrics that say most of a stage, best first: a row has room for few.
const TELLING_METRICS: [&str; 18] = [
    "accuracy",
    "f1",
    "roc_auc",
    "r2",
    "rmse",
    "mae",
    "balanced_accuracy",
    "validation.accuracy",
    "validation.loss",
    "train.accuracy",
    "train.loss",
    "loss",
    "ratio",
    "accuracy_after",
    "size_ratio",
    "bytes_after",
    "rows",
    "epochs",
];

/// How many metrics stand in a row.
const METRICS_IN_A_ROW: usize = 3;

/// How many rows the table after a run has at most: a fan of thousands must not scroll its own
/// failures away.
const MAX_ROWS: usize = 40;

/// The stages of a run as a table: stage, state, time, result. `all` shows every stage however
/// many there are.
pub fn stages_table(ui: &Ui, history: &RunHistory, all: bool) -> String {
    let mut table = Table::new(ui, &["stage", "kind", "state", "time", "result"]);
    let chosen = choose_stages(&history.stages, if all { usize::MAX } else { MAX_ROWS });
    let left_out = history.stages.len() - chosen.len();
    for stage in chosen {
        table.row([
            Cell::painted(Paint::Strong, &stage.stage),
            Cell::painted(Paint::Faint, &stage.kind),
            Cell::painted(attempt_paint(stage.state), stage.state),
            Cell::number(stage_time(history, stage)),
            Cell::new(stage_result(history, stage)),
        ]);
    }
    table.keep_whole(&[0, 1, 2, 3]);
    let mut text = table.render();
    if left_out > 0 {
        text.push_str(&format!(
            "\n… and {}; `wick show {}` lists them all",
            human::plural(left_out, "more stage"),
            history.run.id
        ));
    }
    text
}

/// At most `limit` stages in the plan's order; what went wrong goes before what went well.
fn choose_stages(stages: &[StageRecord], limit: usize) -> Vec<&StageRecord> {
    if stages.len() <= limit {
        return stages.iter().collect();
    }
    let mut places: Vec<usize> = (0..stages.len()).collect();
    places.sort_by_key(|&place| match stages[place].state {
        AttemptState::Failed | AttemptState::Lost => 0,
        AttemptState::Running | AttemptState::Cancelled => 1,
        AttemptState::Succeeded | AttemptState::Cached => 2,
        AttemptState::Queued | AttemptState::Skipped => 3,
    });
    places.truncate(limit);
    places.sort_unstable();
    places.into_iter().map(|place| &stages[place]).collect()
}

/// How long a stage took in this run, all its attempts together; nothing for one that did not
/// run.
pub fn stage_time(history: &RunHistory, stage: &StageRecord) -> String {
    // The engine records a start somewhat before there is room for the process, so what the
    // processes themselves took is closer to the truth than the times of the records.
    let attempts = history.attempts.iter().filter(|attempt| attempt.stage == stage.stage);
    let used: u64 =
        attempts.filter_map(|attempt| attempt.usage.as_ref()).map(|usage| usage.wall_micros).sum();
    match (stage.state, stage.started, stage.finished) {
        (AttemptState::Cached | AttemptState::Skipped | AttemptState::Queued, _, _) => {
            String::new()
        }
        (_, _, Some(_)) if used > 0 => human::micros(i64::try_from(used).unwrap_or(i64::MAX)),
        (_, Some(started), Some(finished)) => human::micros(finished.micros_since(started)),
        (AttemptState::Running, Some(started), None) => {
            human::micros(human::now().micros_since(started))
        }
        _ => String::new(),
    }
}

/// What came of a stage, in a few words.
fn stage_result(history: &RunHistory, stage: &StageRecord) -> String {
    match stage.state {
        AttemptState::Succeeded | AttemptState::Cached => {
            let mut words = Vec::new();
            let metrics = stage_metrics(&history.metrics, stage.stage.as_str());
            let artifacts: Vec<&ArtifactRecord> =
                history.artifacts.iter().filter(|artifact| artifact.stage == stage.stage).collect();
            words.extend(metrics);
            if words.is_empty() {
                words.extend(artifacts_fact(&artifacts));
            }
            if let Some(origin) = &stage.origin {
                words.push(format!("from run {}", origin.run));
            }
            words.join("  ")
        }
        AttemptState::Failed | AttemptState::Lost => {
            // The first line says it; all of it stands below the table.
            let first = stage.failure.as_ref().and_then(|failure| failure.message.lines().next());
            first.unwrap_or_default().to_owned()
        }
        AttemptState::Skipped => {
            stage.because.as_ref().map(ToString::to_string).unwrap_or_default()
        }
        AttemptState::Queued | AttemptState::Running | AttemptState::Cancelled => String::new(),
    }
}

/// The most telling metrics of a stage: `accuracy 0.9861`.
fn stage_metrics(metrics: &[MetricSummary], stage: &str) -> Vec<String> {
    let mut own: Vec<&MetricSummary> =
        metrics.iter().filter(|metric| metric.stage == *stage).collect();
    own.sort_by(|a, b| {
        let importance = |metric: &MetricSummary| match metric.key.starts_with("importance.") {
            true => metric.value,
            false => f64::NEG_INFINITY,
        };
        let by_rank = telling_rank(&a.key).cmp(&telling_rank(&b.key));
        // Of the columns the important ones, not the first in the alphabet.
        by_rank.then(importance(b).total_cmp(&importance(a)))
    });
    own.iter()
        .take(METRICS_IN_A_ROW)
        .map(|metric| format!("{} {}", metric.key, human::number(metric.value)))
        .collect()
}

/// How telling a metric is by its key, the most telling first.
pub fn telling_rank(key: &str) -> usize {
    TELLING_METRICS.iter().position(|telling| *telling == key).unwrap_or(TELLING_METRICS.len())
}

/// What is known of what a stage made: of one artifact its facts, of several those of each.
fn artifacts_fact(artifacts: &[&ArtifactRecord]) -> Option<String> {
    match artifacts {
        [] => None,
        [only] => Some(artifact_fact(only)),
        several => {
            let facts: Vec<String> = several
                .iter()
                .map(|artifact| match artifact.meta.get("rows").and_then(Value::as_u64) {
                    Some(rows) => format!("{} {}", artifact.port, human::count(rows)),
                    None => artifact.port.to_string(),
                })
                .collect();
            Some(facts.join("  "))
        }
    }
}

/// What is known of an artifact, in a few words: `54,000 rows × 2 columns`.
pub fn artifact_fact(artifact: &ArtifactRecord) -> String {
    let number = |key: &str| artifact.meta.get(key).and_then(Value::as_u64);
    let columns = number("columns").or_else(|| {
        artifact.meta.get("columns").and_then(Value::as_array).map(|columns| columns.len() as u64)
    });
    match (number("rows"), columns, number("parameters")) {
        (Some(rows), Some(columns), _) => {
            format!("{} rows × {}", human::count(rows), human::plural(columns as usize, "column"))
        }
        (Some(rows), None, _) => format!("{} rows", human::count(rows)),
        (_, _, Some(parameters)) => {
            format!("{} parameters, {}", human::count(parameters), human::bytes(artifact.bytes))
        }
        _ => format!("{}, {}", artifact.port_type, human::bytes(artifact.bytes)),
    }
}

/// One line: what became of the run.
pub fn headline(ui: &Ui, history: &RunHistory) -> String {
    let run = &history.run;
    let took = match run.finished {
        Some(finished) => format!(" in {}", human::micros(finished.micros_since(run.started))),
        None => String::new(),
    };
    format!(
        "run {} {}{took}: {}",
        ui.out.paint(Paint::Strong, &run.id),
        ui.out.paint(super::style::run_paint(run.state), run.state),
        history.counts()
    )
}

/// A run for programs.
pub fn to_json(history: &RunHistory) -> Value {
    let metrics: Vec<Value> = history.metrics.iter().map(metric_to_json).collect();
    json!({
        "version": 1,
        "run": history.run,
        "params": history.params,
        "stages": history.stages,
        "attempts": history.attempts,
        "metrics": metrics,
        "artifacts": history.artifacts,
    })
}

/// A metric for programs: NaN and infinities as text.
pub fn metric_to_json(metric: &MetricSummary) -> Value {
    json!({
        "stage": metric.stage,
        "key": metric.key,
        "step": metric.step,
        "value": human::json_number(metric.value),
        "points": metric.points,
        "min": human::json_number(metric.min),
        "max": human::json_number(metric.max),
    })
}

/// How a run is named in a command that is suggested: `@last` where that is it.
pub fn run_reference(run: &RunId, is_last: bool) -> String {
    if is_last { "@last".to_owned() } else { run.to_string() }
}
