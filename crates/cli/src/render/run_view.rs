//! How a run and its stages are shown.

use serde_json::{Value, json};
use wick_core::{AttemptState, RunId};
use wick_store::{ArtifactRecord, MetricSummary, StageRecord};

use crate::history::RunHistory;
use crate::render::groups::{Group, grouped, label};
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
pub const FEW_ROWS: usize = 40;

/// How many rows `wick show` has at most, unless it is asked for all.
pub const MANY_ROWS: usize = 100;

/// So many instances of a stage are shown one by one; of more, only those that went wrong.
const FEW_INSTANCES: usize = 8;

/// A row of the table of stages.
struct Row {
    /// The least are left out last where there is no room for all.
    rank: u8,
    /// How many stages it tells of, that no other row does.
    stages: usize,
    cells: [Cell; 5],
}

/// The stages of a run as a table: stage, state, time, result. It has at most `limit` rows, and
/// says how many stages are left out.
pub fn stages_table(ui: &Ui, history: &RunHistory, limit: usize) -> String {
    let mut rows = Vec::new();
    for group in grouped(&history.stages) {
        match group.own {
            Some(own) if group.instances.is_empty() => rows.push(stage_row(history, own, None)),
            _ => group_rows(history, &group, limit, &mut rows),
        }
    }
    let told: usize = rows.iter().map(|row| row.stages).sum();
    let mut left_out = history.stages.len().saturating_sub(told);
    if rows.len() > limit {
        let mut places: Vec<usize> = (0..rows.len()).collect();
        places.sort_by_key(|&place| rows[place].rank);
        let mut keep = vec![false; rows.len()];
        places.iter().take(limit).for_each(|&place| keep[place] = true);
        let gone = rows.iter().zip(&keep).filter(|(_, keep)| !**keep);
        left_out += gone.map(|(row, _)| row.stages).sum::<usize>();
        let mut kept = keep.into_iter();
        rows.retain(|_| kept.next().unwrap_or(false));
    }
    let mut table = Table::new(ui, &["stage", "kind", "state", "time", "result"]);
    for row in rows {
        table.row(row.cells);
    }
    table.keep_whole(&[0, 1, 2, 3]);
    let mut text = table.render();
    if left_out > 0 {
        text.push_str(&format!(
            "\n… and {}; `wick show {} -v` lists all",
            human::plural(left_out, "more stage"),
            history.run.id
        ));
    }
    text
}

/// The row of one stage; of an instance below the row of its group, by its label.
fn stage_row(history: &RunHistory, stage: &StageRecord, label: Option<String>) -> Row {
    let name = match label {
        Some(label) => Cell::new(format_args!("  {label}")),
        None => Cell::painted(Paint::Strong, &stage.stage),
    };
    Row {
        rank: rank(stage.state),
        stages: 1,
        cells: [
            name,
            Cell::painted(Paint::Faint, &stage.kind),
            Cell::painted(attempt_paint(stage.state), stage.state),
            Cell::number(stage_time(history, stage)),
            Cell::new(stage_result(history, stage)),
        ],
    }
}

/// The rows of a stage with instances: one for all, and one for each that is worth it.
fn group_rows(history: &RunHistory, group: &Group<'_>, limit: usize, rows: &mut Vec<Row>) {
    let state = group.state();
    let kind = group.instances.first().map(|stage| stage.kind.to_string()).unwrap_or_default();
    let wall: u64 =
        group.instances.iter().map(|stage| used_micros(history, stage.stage.as_str())).sum();
    let time = if wall == 0 {
        String::new()
    } else {
        human::micros(i64::try_from(wall).unwrap_or(i64::MAX))
    };
    let trouble = group.trouble();
    let result = if trouble.is_empty() { spread(history, group) } else { trouble };
    rows.push(Row {
        // Of ten thousand stages the rows of their groups tell most.
        rank: 0,
        stages: usize::from(group.own.is_some()),
        cells: [
            Cell::painted(Paint::Strong, &group.name),
            Cell::painted(Paint::Faint, kind),
            Cell::painted(attempt_paint(state), group.done()),
            Cell::number(time),
            Cell::new(result),
        ],
    });
    let few = group.instances.len() <= FEW_INSTANCES || limit == usize::MAX;
    for stage in &group.instances {
        if few || rank(stage.state) <= 1 {
            rows.push(stage_row(history, stage, Some(label(&stage.stage))));
        }
    }
}

/// What went wrong goes before what went well.
const fn rank(state: AttemptState) -> u8 {
    match state {
        AttemptState::Failed | AttemptState::Lost => 1,
        AttemptState::Running | AttemptState::Cancelled => 2,
        AttemptState::Succeeded | AttemptState::Cached => 3,
        AttemptState::Queued | AttemptState::Skipped => 4,
    }
}

/// Between which values the most telling metric of the instances lies: `accuracy 0.9100 to 0.9800`.
fn spread(history: &RunHistory, group: &Group<'_>) -> String {
    let all = || group.instances.iter().flat_map(|stage| history.metrics_of(stage.stage.as_str()));
    let Some(key) = all().map(|metric| metric.key.as_str()).min_by_key(|key| telling_rank(key))
    else {
        return String::new();
    };
    let values = all().filter(|metric| metric.key == key).map(|metric| metric.value);
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values.filter(|value| !value.is_nan()) {
        (least, most) = (least.min(value), most.max(value));
    }
    if least > most {
        String::new()
    } else if least == most {
        format!("{key} {}", human::number(least))
    } else {
        format!("{key} {} to {}", human::number(least), human::number(most))
    }
}

/// What the processes of a stage's attempts took in this run.
fn used_micros(history: &RunHistory, stage: &str) -> u64 {
    let usage = history.attempts_of(stage).filter_map(|attempt| attempt.usage.as_ref());
    usage.map(|usage| usage.wall_micros).sum()
}

/// How long a stage took in this run, all its attempts together; nothing for one that did not
/// run.
pub fn stage_time(history: &RunHistory, stage: &StageRecord) -> String {
    // The engine records a start somewhat before there is room for the process, so what the
    // processes themselves took is closer to the truth than the times of the records.
    let used = used_micros(history, stage.stage.as_str());
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
            let metrics = stage_metrics(history.metrics_of(stage.stage.as_str()));
            let artifacts: Vec<&ArtifactRecord> =
                history.artifacts_of(stage.stage.as_str()).collect();
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
fn stage_metrics<'a>(metrics: impl Iterator<Item = &'a MetricSummary>) -> Vec<String> {
    let mut own: Vec<&MetricSummary> = metrics.collect();
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
