//! A stage as it is written: its common keys. What stands in `with` belongs to its kind.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wick_core::FailureCause;
use wick_core::id::check_name;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{self, Later};
use crate::node::{Data, Entry, Node};
use crate::span::{Span, Spanned};
use crate::subpipeline::{self, PIPELINE_KIND, Role};
use crate::units;

/// The keys that every stage may have.
pub const STAGE_KEYS: [&str; 9] =
    ["uses", "inputs", "with", "after", "retry", "timeout", "resources", "cache", "description"];

/// The keys of `defaults`.
pub(crate) const DEFAULT_KEYS: [&str; 4] = ["retry", "timeout", "resources", "cache"];

const LATER_KEYS: [Later; 4] = [
    Later { key: "when", help: "remove it; a gate of an `evaluate` stage stops what follows it" },
    Later { key: "matrix", help: "write one stage for each value" },
    Later { key: "foreach", help: "write one stage for each value" },
    Later { key: "executor", help: "remove it; stages run on this machine" },
];

const MAX_ATTEMPTS: u32 = 100;
const MAX_BACKOFF: Duration = Duration::from_secs(24 * 3600);
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
const MAX_CPUS: u32 = 4096;
const MAX_GPUS: u32 = 64;
const MIN_MEMORY: u64 = 1_000_000;

/// A stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: Spanned<String>,
    /// Its kind.
    pub uses: Option<Spanned<String>>,
    /// Its configuration, with references resolved; an empty mapping at the stage's name where
    /// there is none.
    pub with: Node,
    /// Where the key `with` stands, if it does.
    pub with_key: Option<Span>,
    /// What it reads.
    pub inputs: Vec<Edge>,
    /// Where the key `inputs` stands, if it does.
    pub inputs_key: Option<Span>,
    /// The stages that come before it without giving it data.
    pub after: Vec<Spanned<String>>,
    /// How often and how it is tried again.
    pub retry: Retry,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// What an attempt occupies.
    pub resources: Resources,
    /// Where its resources are written, if they are.
    pub resources_at: Option<Span>,
    /// Whether recorded outputs may be reused.
    pub cache: bool,
    /// What it says of itself.
    pub description: Option<String>,
    /// What it is to its pipeline.
    pub role: Role,
    /// Whether nothing was found wrong with it so far.
    pub sound: bool,
}

/// An edge as it is written: `port: stage` or `port: stage.output`.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The port that reads.
    pub port: Spanned<String>,
    /// The stage that makes the value.
    pub stage: Spanned<String>,
    /// The output of that stage, if it is named.
    pub output: Option<Spanned<String>>,
}

impl Edge {
    /// Reads `port: stage` or `port: stage.output`.
    pub(crate) fn read(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Self> {
        let source = fields::text(entry, diagnostics)?;
        let port = Spanned::new(entry.key.clone(), entry.key_span);
        // `stage.output` stands unquoted or quoted: its parts are found in what is written.
        let (stage, output) = match source.value.split_once('.') {
            None => (source.value.as_str(), None),
            Some((stage, output)) => (stage, Some(output)),
        };
        if stage.is_empty() || output.is_some_and(|output| check_name(output).is_err()) {
            diagnostics.push(
                Diagnostic::error(
                    "wrong-value",
                    source.span,
                    format!("`{}` names no output of a stage", source.value),
                )
                .help("write `STAGE` or `STAGE.OUTPUT`"),
            );
            return None;
        }
        Some(Self {
            port,
            stage: Spanned::new(stage.to_owned(), source.span),
            output: output.map(|output| Spanned::new(output.to_owned(), source.span)),
        })
    }
}

/// How often and how a stage is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all.
    pub attempts: u32,
    /// The wait before the second; it doubles with each further one.
    pub backoff: Duration,
}

/// After which failures a stage is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// After those that another attempt may not meet.
    Transient,
    /// After these alone.
    These {
        /// Causes.
        causes: Vec<FailureCause>,
        /// Exit codes of a program.
        codes: Vec<i32>,
    },
}

/// What an attempt occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// GPUs.
    pub gpus: u32,
}

/// What `defaults` says, and what a stage without keys of its own gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    pub retry: Retry,
    pub timeout: Option<Duration>,
    pub resources: Resources,
    pub resources_at: Option<Span>,
    pub cache: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry: Retry { attempts: 1, backoff: Duration::from_secs(1) },
            timeout: None,
            resources: Resources { cpus: 1, memory: None, gpus: 0 },
            resources_at: None,
            cache: true,
        }
    }
}

impl Settings {
    /// These settings with what `entries` says otherwise.
    pub fn overlaid(mut self, entries: &[Entry], diagnostics: &mut Diagnostics) -> Self {
        for entry in entries {
            match entry.key.as_str() {
                "retry" => self.retry(entry, diagnostics),
                "timeout" => self.timeout(entry, diagnostics),
                "resources" => self.resources(entry, diagnostics),
                "cache" => {
                    if let Some(cache) = fields::boolean(entry, diagnostics) {
                        self.cache = cache;
                    }
                }
                _ => {}
            }
        }
        self
    }

    fn retry(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        if let Data::Number(number) = &entry.value.data {
            diagnostics.push(
                fields::wrong_type(&entry.value, "`retry` must be a mapping")
                    .help(format!("write `retry: {{attempts: {number}}}`")),
            );
            return;
        }
        let known = ["attempts", "backoff"];
        let Some(entries) = fields::entries(&entry.value, "`retry`", &known, &[], diagnostics)
        else {
            return;
        };
        if let Some(entry) = fields::find(entries, "attempts")
            && let Some(attempts) = fields::whole(entry, 1, MAX_ATTEMPTS, diagnostics)
        {
            self.retry.attempts = attempts;
        }
        if let Some(entry) = fields::find(entries, "backoff")
            && let Some(backoff) = duration(entry, Duration::ZERO, MAX_BACKOFF, diagnostics)
        {
            self.retry.backoff = backoff;
        }
    }

    fn timeout(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        // `timeout: null` takes a default away.
        if entry.value.data == Data::Null {
            self.timeout = None;
        } else if let Some(timeout) =
            duration(entry, Duration::from_millis(1), MAX_TIMEOUT, diagnostics)
        {
            self.timeout = Some(timeout);
        }
    }

    fn resources(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        let known = ["cpus", "memory", "gpus"];
        let Some(entries) = fields::entries(&entry.value, "`resources`", &known, &[], diagnostics)
        else {
            return;
        };
        self.resources_at = Some(entry.key_span);
        for entry in entries {
            match entry.key.as_str() {
                "cpus" => {
                    if let Some(cpus) = fields::whole(entry, 1, MAX_CPUS, diagnostics) {
                        self.resources.cpus = cpus;
                    }
                }
                "gpus" => {
                    if let Some(gpus) = fields::whole(entry, 0, MAX_GPUS, diagnostics) {
                        self.resources.gpus = gpus;
                    }
                }
                "memory" => {
                    if let Some(memory) = memory(entry, diagnostics) {
                        self.resources.memory = memory;
                    }
                }
                _ => {}
            }
        }
    }
}

/// A text with a unit in it.
fn with_unit<T>(
    entry: &Entry,
    parse: fn(&str) -> Result<T, String>,
    what: &str,
    example: &str,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let key = &entry.key;
    let reason = match &entry.value.data {
        Data::Text(text) => match parse(text) {
            Ok(value) => return Some(value),
            Err(reason) => reason,
        },
        Data::Number(number) => format!("`{number}` has no unit"),
        Data::Unknown => return None,
        _ => {
            diagnostics.push(
                fields::wrong_type(&entry.value, &format!("`{key}` must be {what}"))
                    .help(format!("write {example}")),
            );
            return None;
        }
    };
    diagnostics.push(
        Diagnostic::error("wrong-value", entry.value.span, format!("`{key}` must be {what}"))
            .label(reason)
            .help(format!("write {example}")),
    );
    None
}

fn duration(
    entry: &Entry,
    min: Duration,
    max: Duration,
    diagnostics: &mut Diagnostics,
) -> Option<Duration> {
    let example = "`30s`, `5m` or `1h30m`";
    let found = with_unit(entry, units::parse_duration, "a duration", example, diagnostics)?;
    if (min..=max).contains(&found) {
        return Some(found);
    }
    diagnostics.push(fields::out_of_range(
        entry.value.span,
        format!("`{}` is {}", entry.key, units::format_duration(found)),
        format!(
            "write a duration from {} to {}",
            units::format_duration(min),
            units::format_duration(max)
        ),
    ));
    None
}

fn memory(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Option<u64>> {
    if entry.value.data == Data::Null {
        return Some(None);
    }
    let example = "`512MB` or `2GiB`";
    let found = with_unit(entry, units::parse_memory, "a size", example, diagnostics)?;
    if found >= MIN_MEMORY {
        return Some(Some(found));
    }
    diagnostics.push(fields::out_of_range(
        entry.value.span,
        format!("`memory` is {}", units::format_memory(found)),
        "no stage runs in less than 1MB".to_owned(),
    ));
    None
}

/// Reads the stage in `entry`, whose references are resolved.
pub(crate) fn read(entry: &Entry, defaults: &Settings, diagnostics: &mut Diagnostics) -> Stage {
    let errors_before = diagnostics.errors();
    let name = Spanned::new(entry.key.clone(), entry.key_span);
    if let Err(error) = check_name(&name.value) {
        diagnostics.push(
            Diagnostic::error(
                "bad-name",
                name.span,
                format!("`{}` cannot name a stage", name.value),
            )
            .label(error.to_string()),
        );
    }
    let mut stage = Stage::new(name, defaults);
    let entries = fields::entries(&entry.value, "a stage", &STAGE_KEYS, &LATER_KEYS, diagnostics);
    if let Some(entries) = entries {
        stage.read_keys(entries, defaults, diagnostics);
    }
    stage.sound = diagnostics.errors() == errors_before && !entry.value.is_unknown();
    stage
}

impl Stage {
    /// A stage that says nothing.
    fn new(name: Spanned<String>, defaults: &Settings) -> Self {
        Self {
            with: Node::new(name.span, Data::Map(Vec::new())),
            with_key: None,
            name,
            uses: None,
            inputs: Vec::new(),
            inputs_key: None,
            after: Vec::new(),
            retry: defaults.retry,
            timeout: defaults.timeout,
            resources: defaults.resources,
            resources_at: defaults.resources_at,
            cache: defaults.cache,
            description: None,
            role: Role::Stage,
            sound: true,
        }
    }

    /// A stage that stands for something else: it only takes and gives.
    pub(crate) fn standing_for(name: &str, role: Role, span: Span) -> Self {
        let name = Spanned::new(name.to_owned(), span);
        Self { role, ..Self::new(name, &Settings::default()) }
    }

    fn read_keys(&mut self, entries: &[Entry], defaults: &Settings, diagnostics: &mut Diagnostics) {
        match fields::find(entries, "uses") {
            Some(entry) => self.uses = fields::text(entry, diagnostics),
            None if fields::misspelled(entries, "uses", &STAGE_KEYS) => {}
            None => diagnostics.push(
                Diagnostic::error(
                    "missing-key",
                    self.name.span,
                    format!("stage `{}` does not say what it `uses`", self.name.value),
                )
                .help("add `uses: KIND`; `wick kinds` lists them"),
            ),
        }
        if self.uses.as_ref().is_some_and(|uses| uses.value == PIPELINE_KIND) {
            subpipeline::check_keys(entries, diagnostics);
        }
        if let Some(entry) = fields::find(entries, "with") {
            self.with_key = Some(entry.key_span);
            // `with:` and nothing: the same as no `with`.
            if entry.value.data != Data::Null {
                self.with = entry.value.clone();
            }
        }
        if let Some(entry) = fields::find(entries, "inputs") {
            self.inputs_key = Some(entry.key_span);
            self.read_inputs(entry, diagnostics);
        }
        if let Some(entry) = fields::find(entries, "after") {
            self.read_after(entry, diagnostics);
        }
        if let Some(entry) = fields::find(entries, "description") {
            self.description = fields::text(entry, diagnostics).map(|text| text.value);
        }
        let settings = defaults.overlaid(entries, diagnostics);
        self.retry = settings.retry;
        self.timeout = settings.timeout;
        self.resources = settings.resources;
        self.resources_at = settings.resources_at;
        self.cache = settings.cache;
    }

    fn read_inputs(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        let edges = match &entry.value.data {
            Data::Map(edges) => edges,
            Data::Null | Data::Unknown => return,
            _ => {
                diagnostics.push(
                    fields::wrong_type(&entry.value, "`inputs` must be a mapping")
                        .help("write `inputs: {PORT: STAGE}` or `{PORT: STAGE.OUTPUT}`"),
                );
                return;
            }
        };
        for edge in edges {
            if let Err(error) = check_name(&edge.key) {
                diagnostics.push(
                    Diagnostic::error(
                        "bad-name",
                        edge.key_span,
                        format!("`{}` cannot name an input", edge.key),
                    )
                    .label(error.to_string()),
                );
                continue;
            }
            self.inputs.extend(Edge::read(edge, diagnostics));
        }
    }

    fn read_after(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        let items = match &entry.value.data {
            Data::List(items) => items,
            Data::Null | Data::Unknown => return,
            Data::Text(name) => {
                diagnostics.push(
                    fields::wrong_type(&entry.value, "`after` must be a list")
                        .help(format!("write `after: [{name}]`")),
                );
                return;
            }
            _ => {
                diagnostics.push(
                    fields::wrong_type(&entry.value, "`after` must be a list")
                        .help("write `after: [STAGE, …]`"),
                );
                return;
            }
        };
        for item in items {
            match &item.data {
                Data::Text(name) => self.after.push(Spanned::new(name.clone(), item.span)),
                Data::Unknown => {}
                _ => diagnostics.push(fields::wrong_type(item, "`after` lists names of stages")),
            }
        }
    }
}
