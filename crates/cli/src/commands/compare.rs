//! `wick compare`: what differs between two runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wick_core::RunId;
use wick_plan::FingerprintParts;
use wick_store::StageRecord;

use crate::args::{CompareArgs, GlobalArgs};
use crate::error::{CommandResult, ExitCode};
use crate::history::{RunHistory, find_run};
use crate::render::style::attempt_paint;
use crate::render::{Cell, Paint, Table, Ui, human, run_view};
use crate::session::Session;

pub async fn compare(args: &CompareArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let store = &*session.store;
    let a = Side::load(&session, find_run(store, &args.a).await?).await?;
    let b = Side::load(&session, find_run(store, &args.b).await?).await?;
    let params = params(&a, &b, args.all);
    let metrics = metrics(&a, &b, args.all);
    let stages = stages(&a, &b, args.all);
    if args.output.is_json() {
        ui.json(&json!({
            "version": 1,
            "a": a.history.run.id,
            "b": b.history.run.id,
            "params": params.iter().map(ParamRow::to_json).collect::<Vec<_>>(),
            "metrics": metrics.iter().map(MetricRow::to_json).collect::<Vec<_>>(),
            "stages": stages.iter().map(StageRow::to_json).collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::Success);
    }
    ui.print(format_args!("A  {}", run_view::headline(ui, &a.history)));
    ui.print(format_args!("B  {}", run_view::headline(ui, &b.history)));
    print_params(ui, &params);
    print_metrics(ui, &metrics);
    print_stages(ui, &stages, [&a.history, &b.history]);
    if params.is_empty() && metrics.is_empty() && stages.is_empty() {
        ui.print("\nno param, metric or stage differs");
    }
    if a.history.run.pipeline_text != b.history.run.pipeline_text {
        ui.note(ui.err.paint(
            Paint::Faint,
            format_args!(
                "\nthe pipeline file was changed between them: `wick show {} --pipeline`",
                a.history.run.id
            ),
        ));
    }
    Ok(ExitCode::Success)
}

/// One of the two runs.
struct Side {
    history: RunHistory,
    /// What went into the stages' fingerprints.
    parts: BTreeMap<String, FingerprintParts>,
}

impl Side {
    async fn load(session: &Session, run: RunId) -> CommandResult<Self> {
        let parts = session.store.stage_parts(&run).await?;
        Ok(Self {
            history: RunHistory::load(&*session.store, &run).await?,
            // Parts that an older wick wrote in another form cannot be compared; the stages are
            // still shown.
            parts: parts
                .into_iter()
                .filter_map(|(stage, parts)| {
                    Some((stage.to_string(), serde_json::from_value(parts).ok()?))
                })
                .collect(),
        })
    }

    fn stage(&self, name: &str) -> Option<&StageRecord> {
        self.history.stages.iter().find(|stage| stage.stage == *name)
    }
}

/// The names on both sides, each once: A's order, then what only B has.
fn union<'a>(
    a: impl Iterator<Item = String> + 'a,
    b: impl Iterator<Item = String> + 'a,
) -> Vec<String> {
    let mut seen = BTreeSet::new();
    a.chain(b).filter(|name| seen.insert(name.clone())).collect()
}

struct ParamRow {
    name: String,
    a: Option<Value>,
    b: Option<Value>,
}

impl ParamRow {
    fn to_json(&self) -> Value {
        json!({"name": self.name, "a": self.a, "b": self.b})
    }
}

fn params(a: &Side, b: &Side, all: bool) -> Vec<ParamRow> {
    let value = |side: &Side, name: &str| {
        let params = &side.history.params;
        params.iter().find(|param| param.name == name).map(|param| param.value.clone())
    };
    let names = |side: &Side| -> Vec<String> {
        side.history.params.iter().map(|param| param.name.clone()).collect()
    };
    union(names(a).into_iter(), names(b).into_iter())
        .into_iter()
        .map(|name| ParamRow { a: value(a, &name), b: value(b, &name), name })
        .filter(|row| all || row.a != row.b)
        .collect()
}

struct MetricRow {
    name: String,
    a: Option<f64>,
    b: Option<f64>,
}

impl MetricRow {
    fn differs(&self) -> bool {
        self.a.map(f64::to_bits) != self.b.map(f64::to_bits)
    }

    fn change(&self) -> Option<f64> {
        Some(self.b? - self.a?)
    }

    /// The change in shares of A; `None` where that says nothing.
    fn relative(&self) -> Option<f64> {
        let a = self.a?;
        let relative = self.change()? / a.abs();
        (a != 0.0 && relative.is_finite()).then_some(relative)
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "a": self.a.map(human::json_number),
            "b": self.b.map(human::json_number),
            "change": self.change().map(human::json_number),
        })
    }
}

/// The metrics that differ, the largest relative change first.
fn metrics(a: &Side, b: &Side, all: bool) -> Vec<MetricRow> {
    let values = |side: &Side| -> Vec<(String, f64)> {
        side.history
            .metrics
            .iter()
            .map(|metric| (format!("{}.{}", metric.stage, metric.key), metric.value))
            .collect()
    };
    let (a, b) = (values(a), values(b));
    let find = |values: &[(String, f64)], name: &str| {
        values.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    };
    let names = |values: &[(String, f64)]| -> Vec<String> {
        values.iter().map(|(name, _)| name.clone()).collect()
    };
    let mut rows: Vec<MetricRow> = union(names(&a).into_iter(), names(&b).into_iter())
        .into_iter()
        .map(|name| MetricRow { a: find(&a, &name), b: find(&b, &name), name })
        .filter(|row| all || row.differs())
        .collect();
    let size = |row: &MetricRow| row.relative().map_or(-1.0, f64::abs);
    rows.sort_by(|first, second| size(second).total_cmp(&size(first)));
    rows
}

struct StageRow {
    name: String,
    a: Option<StageRecord>,
    b: Option<StageRecord>,
    why: Vec<String>,
}

impl StageRow {
    fn to_json(&self) -> Value {
        let side = |stage: &Option<StageRecord>| {
            stage.as_ref().map(|stage| {
                json!({
                    "state": stage.state,
                    "fingerprint": stage.fingerprint,
                    "micros": micros(stage),
                })
            })
        };
        json!({"stage": self.name, "a": side(&self.a), "b": side(&self.b), "why": self.why})
    }
}

fn micros(stage: &StageRecord) -> Option<i64> {
    Some(stage.finished?.micros_since(stage.started?))
}

/// The stages whose outputs, or whose ends, differ.
fn stages(a: &Side, b: &Side, all: bool) -> Vec<StageRow> {
    let names = |side: &Side| -> Vec<String> {
        side.history.stages.iter().map(|stage| stage.stage.to_string()).collect()
    };
    union(names(a).into_iter(), names(b).into_iter())
        .into_iter()
        .filter_map(|name| {
            let (left, right) = (a.stage(&name), b.stage(&name));
            let equal = match (left, right) {
                (Some(left), Some(right)) => {
                    left.fingerprint == right.fingerprint
                        && left.state.has_outputs() == right.state.has_outputs()
                }
                _ => false,
            };
            if equal && !all {
                return None;
            }
            let why = why(left, right, a.parts.get(&name), b.parts.get(&name));
            Some(StageRow { a: left.cloned(), b: right.cloned(), name, why })
        })
        .collect()
}

/// What is different about a stage, in words.
fn why(
    left: Option<&StageRecord>,
    right: Option<&StageRecord>,
    left_parts: Option<&FingerprintParts>,
    right_parts: Option<&FingerprintParts>,
) -> Vec<String> {
    let (left, right) = match (left, right) {
        (Some(left), Some(right)) => (left, right),
        (Some(_), None) => return vec!["only A has it".to_owned()],
        (None, Some(_)) => return vec!["only B has it".to_owned()],
        (None, None) => return Vec::new(),
    };
    if left.fingerprint == right.fingerprint {
        return if left.state.has_outputs() == right.state.has_outputs() {
            vec!["the same".to_owned()]
        } else {
            vec!["the same work, another end".to_owned()]
        };
    }
    match (left_parts, right_parts) {
        (Some(left), Some(right)) => wick_plan::explain_change(left, right),
        _ => Vec::new(),
    }
}

fn print_params(ui: &Ui, rows: &[ParamRow]) {
    if rows.is_empty() {
        return;
    }
    let value = |value: &Option<Value>| value.as_ref().map_or_else(|| "–".to_owned(), human::value);
    let mut table = Table::new(ui, &["param", "A", "B"]);
    for row in rows {
        table.row([Cell::new(&row.name), Cell::new(value(&row.a)), Cell::new(value(&row.b))]);
    }
    ui.print(format_args!("\n{}", table.render()));
}

fn print_metrics(ui: &Ui, rows: &[MetricRow]) {
    if rows.is_empty() {
        return;
    }
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), human::number);
    let mut table = Table::new(ui, &["metric", "A", "B", "change", ""]);
    for row in rows {
        let change = row.change().map(|change| {
            format!("{}{}", if change > 0.0 { "+" } else { "" }, human::number(change))
        });
        let relative = row.relative().map(|relative| format!("{:+.1} %", relative * 100.0));
        table.row([
            Cell::new(&row.name),
            Cell::number(number(row.a)),
            Cell::number(number(row.b)),
            Cell::number(change.unwrap_or_default()),
            Cell::number(relative.unwrap_or_default()),
        ]);
    }
    ui.print(format_args!("\n{}", table.render()));
}

fn print_stages(ui: &Ui, rows: &[StageRow], [in_a, in_b]: [&RunHistory; 2]) {
    if rows.is_empty() {
        return;
    }
    let cells = |history: &RunHistory, stage: &Option<StageRecord>| match stage {
        Some(stage) => (
            Cell::painted(attempt_paint(stage.state), stage.state),
            Cell::number(run_view::stage_time(history, stage)),
        ),
        None => (Cell::new("–"), Cell::new("")),
    };
    let mut table = Table::new(ui, &["stage", "A", "", "B", "", "why"]);
    for row in rows {
        let ((a, a_time), (b, b_time)) = (cells(in_a, &row.a), cells(in_b, &row.b));
        table.row([Cell::new(&row.name), a, a_time, b, b_time, Cell::new(row.why.join(", "))]);
    }
    ui.print(format_args!("\n{}", table.render()));
}
