//! How compared runs are shown: a letter for each, what differs in tables, curves side by side.

use serde_json::{Value, json};
use wick_store::StageRecord;

use super::Compared;
use super::rows::{MetricRow, StageRow};
use crate::history::RunHistory;
use crate::render::columns::{SideBySide, SideCell, SideRow};
use crate::render::style::attempt_paint;
use crate::render::{Cell, Paint, Table, Ui, csv, human, plot, run_view};

/// The height of the curves in lines.
const CURVE_HEIGHT: usize = 8;

/// How long a value of a param may be in a table of many runs.
const MAX_VALUE: usize = 24;

/// `A`, `B`, …: what the runs are called in the tables.
fn letters(runs: &[RunHistory]) -> Vec<String> {
    ('A'..='Z').take(runs.len()).map(String::from).collect()
}

/// Shows what differs, for people.
pub fn print(ui: &Ui, compared: &Compared) {
    let letters = letters(&compared.runs);
    for (letter, run) in letters.iter().zip(&compared.runs) {
        ui.print(format_args!("{letter}  {}", run_view::headline(ui, run)));
    }
    let tables = [
        params(ui, compared, &letters),
        metrics(ui, compared, &letters),
        stages(ui, compared, &letters),
        curves(ui, compared, &letters),
    ];
    for table in tables.iter().flatten() {
        ui.print(format_args!("\n{table}"));
    }
    if compared.params.is_empty() && compared.metrics.is_empty() && compared.stages.is_empty() {
        ui.print("\nno param, metric or stage differs");
    }
    if compared.diffs.iter().any(|diff| !diff.same_text) {
        let id = &compared.runs[0].run.id;
        ui.note(ui.err.paint(
            Paint::Faint,
            format_args!(
                "\nthe pipeline file was changed between them: `wick show {id} --pipeline`"
            ),
        ));
    }
}

fn params(ui: &Ui, compared: &Compared, letters: &[String]) -> Option<String> {
    let shown = |value: &Option<Value>| {
        let text = value.as_ref().map_or_else(|| "–".to_owned(), human::value);
        if letters.len() == 2 { text } else { human::cut(&text, MAX_VALUE) }
    };
    let mut table = SideBySide::new("param", letters, &[]);
    for row in &compared.params {
        table.row(SideRow {
            name: row.name.clone(),
            cells: row.values.iter().map(|value| SideCell::of(shown(value), Cell::new)).collect(),
            tail: Vec::new(),
        });
    }
    (!compared.params.is_empty()).then(|| table.render(ui))
}

fn metrics(ui: &Ui, compared: &Compared, letters: &[String]) -> Option<String> {
    let number = |value: &Option<f64>| value.map_or_else(|| "–".to_owned(), human::number);
    let two = letters.len() == 2;
    let tail: &[&str] = if two { &["change", ""] } else { &["spread"] };
    let mut table = SideBySide::new("metric", letters, tail);
    for row in &compared.metrics {
        let cell = |text: String| SideCell::of(text, Cell::number);
        let tail = if two {
            vec![cell(change(row)), cell(percent(row, true))]
        } else {
            vec![cell(percent(row, false))]
        };
        table.row(SideRow {
            name: row.name.clone(),
            cells: row.values.iter().map(|value| cell(number(value))).collect(),
            tail,
        });
    }
    (!compared.metrics.is_empty()).then(|| table.render(ui))
}

fn change(row: &MetricRow) -> String {
    let sign = |change: f64| if change > 0.0 { "+" } else { "" };
    let text = |change: f64| format!("{}{}", sign(change), human::number(change));
    row.change().map(text).unwrap_or_default()
}

fn percent(row: &MetricRow, signed: bool) -> String {
    match row.relative() {
        Some(share) if signed => format!("{:+.1} %", share * 100.0),
        Some(share) => format!("{:.1} %", share * 100.0),
        None => String::new(),
    }
}

fn stages(ui: &Ui, compared: &Compared, letters: &[String]) -> Option<String> {
    if compared.stages.is_empty() {
        return None;
    }
    let two = letters.len() == 2;
    let mut table = SideBySide::new("stage", letters, &[]);
    let mut whys = Table::new(ui, if two { &["stage", "why"] } else { &["stage", "", "why"] });
    for row in &compared.stages {
        let cells = row.stages.iter().zip(&compared.runs);
        table.row(SideRow {
            name: row.name.clone(),
            cells: cells.map(|(stage, run)| stage_cell(run, stage.as_ref())).collect(),
            tail: Vec::new(),
        });
        let mut name = row.name.as_str();
        for (letter, why) in letters[1..].iter().zip(&row.why).filter(|(_, why)| !why.is_empty()) {
            let mut cells = vec![Cell::new(name), Cell::new(letter), Cell::new(why.join(", "))];
            if two {
                cells.remove(1);
            }
            whys.row(cells);
            // The name of a stage stands once.
            name = "";
        }
    }
    let mut text = table.render(ui);
    if !whys.is_empty() {
        whys.keep_whole(&[0]);
        text.push_str("\n\n");
        text.push_str(&whys.render());
    }
    Some(text)
}

fn stage_cell(run: &RunHistory, stage: Option<&StageRecord>) -> SideCell {
    let Some(stage) = stage else { return SideCell::of("–".to_owned(), Cell::new) };
    let text = format!("{} {}", stage.state, run_view::stage_time(run, stage));
    let paint = attempt_paint(stage.state);
    SideCell::of(text.trim_end().to_owned(), |text| Cell::painted(paint, text))
}

fn curves(ui: &Ui, compared: &Compared, letters: &[String]) -> Option<String> {
    let (name, curves) = compared.curves.as_ref()?;
    let titled: Vec<(String, Vec<(f64, f64)>)> = letters
        .iter()
        .zip(curves)
        .map(|(letter, curve)| match curve {
            Some(curve) => (letter.clone(), curve.points.clone()),
            None => (format!("{letter}  not measured"), Vec::new()),
        })
        .collect();
    let width = usize::from(ui.width.unwrap_or(80)).min(160);
    let lines = plot::side_by_side(&titled, width, CURVE_HEIGHT);
    let lines: Vec<String> =
        lines.into_iter().map(|line| ui.out.paint(Paint::Calm, line)).collect();
    (!lines.is_empty())
        .then(|| format!("{}\n{}", ui.out.paint(Paint::Strong, name), lines.join("\n")))
}

/// What differs, for programs: lists of values in the order of `runs`.
pub fn to_json(compared: &Compared) -> Value {
    let number = |value: Option<f64>| value.map(human::json_number);
    let ids: Vec<_> = compared.runs.iter().map(|run| &run.run.id).collect();
    let params = compared.params.iter().map(|row| json!({"name": row.name, "values": row.values}));
    let metrics = compared.metrics.iter().map(|row| {
        let values: Vec<_> = row.values.iter().map(|value| number(*value)).collect();
        json!({
            "name": row.name,
            "values": values,
            "change": number(row.change()),
            "relative": number(row.relative()),
        })
    });
    let stages = compared.stages.iter().map(stage_to_json);
    json!({
        "version": 1,
        "runs": ids,
        "same_text": compared.diffs.iter().all(|diff| diff.same_text),
        "params": params.collect::<Vec<_>>(),
        "metrics": metrics.collect::<Vec<_>>(),
        "stages": stages.collect::<Vec<_>>(),
    })
}

fn stage_to_json(row: &StageRow) -> Value {
    let stages: Vec<Option<Value>> = row
        .stages
        .iter()
        .map(|stage| {
            stage.as_ref().map(|stage| {
                json!({
                    "state": stage.state,
                    "fingerprint": stage.fingerprint,
                    "micros": stage.finished.zip(stage.started)
                        .map(|(finished, started)| finished.micros_since(started)),
                })
            })
        })
        .collect();
    // The first run has nothing to differ from.
    let why: Vec<&[String]> =
        std::iter::once(&[][..]).chain(row.why.iter().map(Vec::as_slice)).collect();
    json!({"stage": row.name, "runs": stages, "why": why})
}

/// What differs as a sheet: a line for each param, metric and stage, a column for each run.
pub fn to_csv(compared: &Compared) -> String {
    let head = ["what".to_owned(), "name".to_owned()];
    let ids = compared.runs.iter().map(|run| run.run.id.to_string());
    let mut sheet = csv::line(head.into_iter().chain(ids));
    let mut add = |what: &str, name: &str, values: Vec<String>| {
        sheet.push_str(&csv::line([what, name].map(str::to_owned).into_iter().chain(values)));
    };
    for row in &compared.params {
        let value = |value: &Option<Value>| value.as_ref().map(human::value).unwrap_or_default();
        add("param", &row.name, row.values.iter().map(value).collect());
    }
    for row in &compared.metrics {
        let value = |value: &Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        add("metric", &row.name, row.values.iter().map(value).collect());
    }
    for row in &compared.stages {
        let state = |stage: &Option<StageRecord>| {
            stage.as_ref().map(|stage| stage.state.to_string()).unwrap_or_default()
        };
        add("stage", &row.name, row.stages.iter().map(state).collect());
    }
    sheet
}
