//! `schedule`: when `wick up` begins runs.

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields;
use crate::node::{Data, Entry};
use crate::span::{Span, Spanned};

/// When `wick up` begins runs of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// A cron expression of five fields.
    pub cron: Option<String>,
    /// The time zone that the expression is meant in; UTC without.
    pub timezone: Option<String>,
    /// Patterns of files, from the pipeline's folder: a run begins when one of them changes.
    pub on_change: Vec<String>,
    /// What becomes of times that passed while nobody was there to begin a run.
    pub missed: Missed,
    /// What happens when the time comes while a run is still going on.
    pub overlap: Overlap,
}

/// What becomes of times that passed while nobody was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Nothing.
    #[default]
    Skip,
    /// One run for all of them.
    RunOnce,
}

/// What happens when the time comes while a run is still going on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// No run begins.
    #[default]
    Skip,
    /// A run begins when the other has ended; at most one waits.
    Queue,
    /// The other is cancelled.
    Cancel,
}

const KEYS: [&str; 5] = ["cron", "timezone", "on_change", "missed", "overlap"];

/// Reads the `schedule` in `entry`, whose references are resolved. Whether the times can be
/// understood is seen where they are counted; the span is for that.
pub(crate) fn read(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Spanned<Schedule>> {
    if let Data::Text(_) = &entry.value.data {
        diagnostics.push(
            fields::wrong_type(&entry.value, "`schedule` must be a mapping")
                .help("write `schedule: {cron: \"MINUTE HOUR DAY MONTH WEEKDAY\"}`"),
        );
        return None;
    }
    let errors_before = diagnostics.errors();
    let entries = fields::entries(&entry.value, "`schedule`", &KEYS, &[], diagnostics)?;
    let find =
        |key: &str| fields::find(entries, key).filter(|entry| entry.value.data != Data::Null);
    let cron = find("cron").and_then(|entry| fields::text(entry, diagnostics));
    let timezone = find("timezone").and_then(|entry| fields::text(entry, diagnostics));
    let on_change = find("on_change").map(|entry| patterns(entry, diagnostics)).unwrap_or_default();
    let missed = match find("missed").map(|e| fields::choice(e, &["skip", "run_once"], diagnostics))
    {
        Some(Some(1)) => Missed::RunOnce,
        _ => Missed::Skip,
    };
    let words = ["skip", "queue", "cancel"];
    let overlap = match find("overlap").map(|e| fields::choice(e, &words, diagnostics)) {
        Some(Some(1)) => Overlap::Queue,
        Some(Some(2)) => Overlap::Cancel,
        _ => Overlap::Skip,
    };
    if diagnostics.errors() > errors_before {
        return None;
    }
    let misplaced = |key: &str| find(key).filter(|_| cron.is_none());
    if cron.is_none() && on_change.is_empty() {
        diagnostics.push(
            Diagnostic::error("missing-key", entry.key_span, "the schedule never begins a run")
                .help("add `cron: \"MINUTE HOUR DAY MONTH WEEKDAY\"` or `on_change: [PATTERN]`"),
        );
        return None;
    }
    for key in ["timezone", "missed"] {
        if let Some(entry) = misplaced(key) {
            diagnostics.push(
                Diagnostic::error(
                    "wrong-value",
                    entry.key_span,
                    format!("`{key}` goes with `cron`, and there is none"),
                )
                .help("remove it, or add `cron`"),
            );
        }
    }
    let span: Span = cron.as_ref().map_or(entry.key_span, |cron| cron.span);
    let schedule = Schedule {
        cron: cron.map(|cron| cron.value),
        timezone: timezone.map(|timezone| timezone.value),
        on_change,
        missed,
        overlap,
    };
    (diagnostics.errors() == errors_before).then_some(Spanned::new(schedule, span))
}

fn patterns(entry: &Entry, diagnostics: &mut Diagnostics) -> Vec<String> {
    let items = match &entry.value.data {
        Data::List(items) => items,
        Data::Unknown | Data::Open(_) => return Vec::new(),
        other => {
            let help = match other {
                Data::Text(text) => Some(format!("write `on_change: [\"{text}\"]`")),
                _ => None,
            };
            diagnostics.push(
                fields::wrong_type(&entry.value, "`on_change` must be a list").maybe_help(help),
            );
            return Vec::new();
        }
    };
    let mut patterns = Vec::with_capacity(items.len());
    for item in items {
        match &item.data {
            Data::Text(pattern) => {
                let outside = pattern.starts_with('/')
                    || pattern.split('/').any(|part| part == "..")
                    || pattern.is_empty();
                if outside {
                    diagnostics.push(
                        Diagnostic::error(
                            "wrong-value",
                            item.span,
                            format!("`{pattern}` names no files below the pipeline's folder"),
                        )
                        .help("write a pattern from that folder, such as `data/*.csv`"),
                    );
                } else {
                    patterns.push(pattern.clone());
                }
            }
            Data::Unknown | Data::Open(_) => {}
            _ => diagnostics.push(fields::wrong_type(item, "`on_change` lists patterns of files")),
        }
    }
    patterns
}
