//! `wick show`: everything recorded of a run, in sections.
//!
//! A section is a function from what is known of the run to text, and a key of the JSON. Most are
//! here; those that need more room have a file of their own.

mod attempts;
mod data;
mod environment;
mod inputs;
mod json;
mod models;
mod resources;

use clap::ValueEnum;
use serde_json::Value;
use wick_core::metric::is_system;
use wick_core::{RunState, StageName};
use wick_store::{InputRecord, MetricSummary};

use crate::args::{GlobalArgs, ShowArgs, ShowSection};
use crate::commands::run::{failure_reports, next_commands, print_next};
use crate::error::{CommandResult, ExitCode};
use crate::history::{RunHistory, find_run};
use crate::render::{Cell, Paint, Table, Ui, human, run_view};
use crate::session::Session;

/// All that the sections are made of.
struct Shown {
    session: Session,
    history: RunHistory,
    /// What its stages read.
    inputs: Vec<InputRecord>,
    /// What went into the fingerprints of its stages.
    parts: Vec<(StageName, Value)>,
}

pub async fn show(args: &ShowArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let run = find_run(&*session.store, &args.run).await?;
    let history = RunHistory::load(&*session.store, &run).await?;
    if args.pipeline {
        ui.write(history.run.pipeline_text.as_bytes());
        return Ok(ExitCode::Success);
    }
    if args.diff {
        match &history.run.git_diff {
            Some(diff) => ui.write(diff.as_bytes()),
            None => ui.note(no_diff(&history.run.environment)),
        }
        return Ok(ExitCode::Success);
    }
    if let Some(name) = &args.data {
        let profiled = data::profiles(&session, &history, name)?;
        if args.output.is_json() {
            ui.json(&data::to_json(&history, &profiled))?;
        } else {
            ui.print(data::tables(ui, &profiled));
        }
        return Ok(ExitCode::Success);
    }
    let inputs = session.store.inputs(&run).await?;
    let parts = session.store.stage_parts(&run).await?;
    let shown = Shown { session, history, inputs, parts };
    if args.output.is_json() {
        ui.json(&json::to_json(&shown, &args.only))?;
        return Ok(ExitCode::Success);
    }
    // A blank line stands between sections, not before the first.
    let mut printed = 0;
    for section in ShowSection::value_variants() {
        if !args.only.is_empty() && !args.only.contains(section) {
            continue;
        }
        let Some(text) = told(ui, &shown, *section, !args.only.is_empty()) else { continue };
        ui.print(if printed > 0 { format!("\n{text}") } else { text });
        printed += 1;
    }
    if printed == 0 {
        ui.note("nothing of that is recorded of this run");
    }
    let state = shown.history.run.state;
    if args.only.is_empty()
        && matches!(state, RunState::Failed | RunState::Cancelled | RunState::Interrupted)
    {
        let next = next_commands(&shown.session, &shown.history).await?;
        if !next.is_empty() {
            ui.print("");
            print_next(ui, &next);
        }
    }
    Ok(ExitCode::Success)
}

/// A section as text; nothing where there is nothing to tell, or, unless it `is_asked_for`,
/// nothing that is worth its room.
fn told(ui: &Ui, shown: &Shown, section: ShowSection, is_asked_for: bool) -> Option<String> {
    let history = &shown.history;
    let (title, body) = match section {
        ShowSection::Overview => return Some(overview(ui, history)),
        ShowSection::Failures => {
            let reports = failure_reports(&shown.session.project, history, ui.out);
            return (!reports.is_empty()).then(|| reports.join("\n\n"));
        }
        ShowSection::Params => ("Params", params(ui, history)),
        ShowSection::Stages => {
            let limit = if ui.verbosity > 0 { usize::MAX } else { run_view::MANY_ROWS };
            ("Stages", Some(indented(&run_view::stages_table(ui, history, limit))))
        }
        ShowSection::Attempts => ("Attempts", attempts::table(ui, shown, is_asked_for)),
        ShowSection::Resources => ("Resources", resources::table(ui, shown)),
        ShowSection::Metrics => ("Metrics", metrics(ui, history)),
        ShowSection::Inputs => ("Inputs", inputs::table(ui, shown)),
        ShowSection::Artifacts => ("Artifacts", artifacts(ui, history)),
        ShowSection::Models => ("Models", models::tables(ui, shown)),
        ShowSection::Environment => {
            let run = &history.run;
            let has_diff = run.git_diff.is_some();
            ("Environment", environment::table(ui, &run.environment, has_diff))
        }
    };
    body.map(|body| format!("{}\n{body}", ui.out.paint(Paint::Strong, title)))
}

/// Why there is no diff of the code.
fn no_diff(environment: &Value) -> &'static str {
    match environment.get("git").and_then(|git| git.get("commit")).is_some_and(Value::is_string) {
        true => "no diff is recorded of this run: its code was as it was committed",
        false => "no diff is recorded of this run: its project was in no git repository",
    }
}

/// The first of many rows, and a line that says how many more there are.
fn limited<'a, T>(ui: &Ui, rows: &'a [T]) -> (&'a [T], String) {
    let shown = if ui.verbosity > 0 { rows.len() } else { rows.len().min(run_view::MANY_ROWS) };
    let more = match rows.len() - shown {
        0 => String::new(),
        more => format!("\n  … and {} more; -v shows all", human::count(more as u64)),
    };
    (&rows[..shown], more)
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

fn overview(ui: &Ui, history: &RunHistory) -> String {
    let run = &history.run;
    let mut lines = vec![run_view::headline(ui, history)];
    let mut fact = |name: &str, value: String| {
        // Further lines stand below the first.
        let value = value.replace('\n', "\n              ");
        lines.push(format!("  {}  {value}", ui.out.paint(Paint::Faint, format_args!("{name:10}"))));
    };
    let marks = &run.marks;
    if let Some(name) = &marks.name {
        fact("name", ui.out.paint(Paint::Strong, human::harmless(name)));
    }
    if let Some(note) = &marks.note {
        fact("note", human::harmless(note));
    }
    if !marks.tags.is_empty() {
        let tags = marks.tags.iter().map(|(key, value)| format!("{key}={value}"));
        fact("tags", human::harmless(&tags.collect::<Vec<_>>().join("  ")));
    }
    let now = human::now();
    if let Some(since) = marks.starred {
        fact("starred", human::ago(since, now));
    }
    if let Some(since) = marks.archived {
        fact("archived", human::ago(since, now));
    }
    if let Some(since) = marks.deleted {
        let text = format!("{}; `wick restore {}` takes it back", human::ago(since, now), run.id);
        fact("deleted", ui.out.paint(Paint::Warning, text));
    }
    // What was imported has no file.
    fact(
        "pipeline",
        match run.pipeline_path.as_str() {
            "" => run.pipeline.to_string(),
            path => format!("{} ({path})", run.pipeline),
        },
    );
    fact("experiment", run.experiment.to_string());
    fact("started", format!("{} UTC", run.started));
    if let Some(finished) = run.finished {
        fact("finished", format!("{finished} UTC"));
    }
    if let Some(parent) = &run.parent {
        fact("parent", parent.to_string());
    }
    lines.join("\n")
}

fn params(ui: &Ui, history: &RunHistory) -> Option<String> {
    let mut table = Table::new(ui, &[]);
    for param in &history.params {
        let origin = if history.run.overridden.contains(&param.name) {
            "given"
        } else if param.name.contains('.') {
            // No param of a pipeline has a dot in its name.
            "reported"
        } else {
            ""
        };
        table.row([
            Cell::new(&param.name),
            Cell::new(human::value(&param.value)),
            Cell::painted(Paint::Faint, origin),
        ]);
    }
    (!table.is_empty()).then(|| table.render_indented(2))
}

fn metrics(ui: &Ui, history: &RunHistory) -> Option<String> {
    let mut table = Table::new(ui, &["metric", "last", "min", "max", "points"]);
    let is_shown = |metric: &&MetricSummary| ui.verbosity > 0 || !is_system(&metric.key);
    let metrics: Vec<&MetricSummary> = history.metrics.iter().filter(is_shown).collect();
    let left_out = history.metrics.len() - metrics.len();
    let (metrics, mut more) = limited(ui, &metrics);
    if left_out > 0 {
        let count = human::plural(left_out, "metric");
        more.push_str(&format!("\n  … and {count} of the machine; -v shows all"));
    }
    for metric in metrics {
        let bound = |value: f64| {
            if metric.points > 1 { human::number(value) } else { String::new() }
        };
        table.row([
            Cell::new(format_args!("{}.{}", metric.stage, metric.key)),
            Cell::number(human::number(metric.value)),
            Cell::number(bound(metric.min)),
            Cell::number(bound(metric.max)),
            Cell::number(human::count(metric.points)),
        ]);
    }
    (!table.is_empty()).then(|| table.render_indented(2) + &more)
}

fn artifacts(ui: &Ui, history: &RunHistory) -> Option<String> {
    let mut table = Table::new(ui, &["artifact", "type", "size", "digest", "facts"]);
    let (artifacts, more) = limited(ui, &history.artifacts);
    for artifact in artifacts {
        table.row([
            Cell::new(format_args!("{}.{}", artifact.stage, artifact.port)),
            Cell::new(artifact.port_type),
            Cell::number(human::bytes(artifact.bytes)),
            Cell::painted(Paint::Faint, artifact.digest.short()),
            Cell::new(run_view::artifact_fact(artifact)),
        ]);
    }
    (!table.is_empty()).then(|| table.render_indented(2) + &more)
}
