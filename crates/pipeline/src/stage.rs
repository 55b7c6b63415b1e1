//! A stage as it is written: its common keys. What stands in `with` belongs to its kind.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wick_core::id::check_name;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields::{self, Later};
use crate::instances::{ForeachList, InstanceOf};
use crate::node::{Data, Entry, Node};
use crate::settings::{Resources, Retry, Settings};
use crate::span::{Span, Spanned};
use crate::subpipeline::{self, PIPELINE_KIND, Role};
use crate::target::{Target, Which};
use crate::when::When;

/// The keys that every stage may have.
pub const STAGE_KEYS: [&str; 13] = [
    "uses",
    "inputs",
    "with",
    "after",
    "needs",
    "when",
    "matrix",
    "foreach",
    "retry",
    "timeout",
    "resources",
    "cache",
    "description",
];

const LATER_KEYS: [Later; 1] =
    [Later { key: "executor", help: "remove it; stages run on this machine" }];

/// A stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Stage {
    /// Its name, with the label of the instance if it is one.
    pub name: Spanned<String>,
    /// Which instance it is, of a stage that is written once for several.
    pub instance: Option<Box<InstanceOf>>,
    /// The list that it is written once for, while that is not known.
    pub foreach: Option<Box<ForeachList>>,
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
    pub after: Vec<Before>,
    /// Where it says `needs: any`, if it does.
    pub needs_any: Option<Span>,
    /// It runs only if this holds.
    pub when: Option<Box<When>>,
    /// How often and how it is tried again.
    pub retry: Retry,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// What an attempt occupies.
    pub resources: Resources,
    /// Where its resources are written, if they are.
    pub resources_at: Option<Span>,
    /// Where each of its named slots is written.
    pub slots_at: Vec<(String, Span)>,
    /// Whether recorded outputs may be reused.
    pub cache: bool,
    /// What it says of itself.
    pub description: Option<String>,
    /// What it is to its pipeline.
    pub role: Role,
    /// Whether nothing was found wrong with it so far.
    pub sound: bool,
}

/// An edge as it is written: `port: stage`, `port: stage.output`, `port: stage[label].output`, or
/// a mapping that selects.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The port that reads.
    pub port: Spanned<String>,
    /// The stage that makes the value.
    pub stage: Spanned<String>,
    /// Which of its instances.
    pub which: Which,
    /// The output of that stage, if it is named.
    pub output: Option<Spanned<String>>,
    /// How the best instance is found, if one is to be chosen.
    pub select: Option<Select>,
}

/// A stage that comes before another.
#[derive(Debug, Clone, PartialEq)]
pub struct Before {
    /// The stage.
    pub stage: Spanned<String>,
    /// Which of its instances.
    pub which: Which,
}

/// How the best instance of a stage is found.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// Where the key `select` stands.
    pub span: Span,
    /// The metric.
    pub metric: Spanned<String>,
    /// The stage with the same instances that has the metric, if it is another.
    pub of: Option<Spanned<String>>,
    /// Which end of the metric is best.
    pub mode: Mode,
}

/// Which end of a metric is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The least.
    Min,
    /// The greatest.
    Max,
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
            instance: None,
            foreach: None,
            uses: None,
            inputs: Vec::new(),
            inputs_key: None,
            after: Vec::new(),
            needs_any: None,
            when: None,
            retry: defaults.retry.clone(),
            timeout: defaults.timeout,
            resources: defaults.resources.clone(),
            resources_at: defaults.resources_at,
            slots_at: defaults.slots_at.clone(),
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
        if let Some(entry) = fields::find(entries, "needs") {
            let any = fields::choice(entry, &["all", "any"], diagnostics) == Some(1);
            self.needs_any = any.then_some(entry.value.span);
        }
        if let Some(entry) = fields::find(entries, "description") {
            self.description = fields::text(entry, diagnostics).map(|text| text.value);
        }
        let settings = defaults.clone().overlaid(entries, diagnostics);
        self.retry = settings.retry;
        self.timeout = settings.timeout;
        self.resources = settings.resources;
        self.resources_at = settings.resources_at;
        self.slots_at = settings.slots_at;
        self.cache = settings.cache;
    }

    fn read_inputs(&mut self, entry: &Entry, diagnostics: &mut Diagnostics) {
        let edges = match &entry.value.data {
            Data::Map(edges) => edges,
            Data::Null | Data::Unknown | Data::Open(_) => return,
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
            Data::Null | Data::Unknown | Data::Open(_) => return,
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
                Data::Text(name) => match Target::parse(name) {
                    Some(Target { stage, which, output: None }) => {
                        self.after.push(Before { stage: Spanned::new(stage, item.span), which });
                    }
                    _ => diagnostics.push(
                        Diagnostic::error(
                            "wrong-value",
                            item.span,
                            format!("`{name}` names no stage"),
                        )
                        .help("write `STAGE`, `STAGE[LABEL]` or `STAGE[*]`"),
                    ),
                },
                Data::Unknown | Data::Open(_) => {}
                // `train[*]` without quotes in a list reads as a stage and a list.
                Data::List(_) => diagnostics.push(
                    fields::wrong_type(item, "`after` lists names of stages")
                        .help("put quotes around a name with brackets: `\"STAGE[*]\"`"),
                ),
                _ => diagnostics.push(fields::wrong_type(item, "`after` lists names of stages")),
            }
        }
    }
}

impl Edge {
    /// Reads `port: stage`, `port: stage.output` and the like.
    pub(crate) fn read(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Self> {
        let port = Spanned::new(entry.key.clone(), entry.key_span);
        match &entry.value.data {
            Data::Map(entries) => selecting(&port, entries, entry.value.span, diagnostics),
            _ => plain(port, &fields::text(entry, diagnostics)?, diagnostics),
        }
    }
}

/// The edge from `source`, an output as it is written.
fn plain(
    port: Spanned<String>,
    source: &Spanned<String>,
    diagnostics: &mut Diagnostics,
) -> Option<Edge> {
    let Some(Target { stage, which, output }) = Target::parse(&source.value) else {
        diagnostics.push(
            Diagnostic::error(
                "wrong-value",
                source.span,
                format!("`{}` names no output of a stage", source.value),
            )
            .help("write `STAGE` or `STAGE.OUTPUT`"),
        );
        return None;
    };
    Some(Edge {
        port,
        stage: Spanned::new(stage, source.span),
        which,
        output: output.map(|output| Spanned::new(output, source.span)),
        select: None,
    })
}

/// The edge in `{from: STAGE[*], select: {metric, of, mode}}`.
fn selecting(
    port: &Spanned<String>,
    entries: &[Entry],
    span: Span,
    diagnostics: &mut Diagnostics,
) -> Option<Edge> {
    const EXAMPLE: &str = "write `{from: \"STAGE[*]\", select: {metric: KEY, mode: min}}`";
    let node = Node::new(span, Data::Map(entries.to_vec()));
    let errors_before = diagnostics.errors();
    fields::entries(&node, "an input", &["from", "select"], &[], diagnostics);
    let (Some(from), Some(select)) =
        (fields::find(entries, "from"), fields::find(entries, "select"))
    else {
        if diagnostics.errors() == errors_before {
            let lacks = if fields::find(entries, "from").is_some() { "select" } else { "from" };
            diagnostics.push(
                Diagnostic::error("missing-key", port.span, format!("the input lacks `{lacks}`"))
                    .help(EXAMPLE),
            );
        }
        return None;
    };
    let mut edge = plain(port.clone(), &fields::text(from, diagnostics)?, diagnostics)?;
    if edge.which != Which::All {
        diagnostics.push(
            Diagnostic::error(
                "bad-instance",
                from.value.span,
                "`select` chooses among all instances of a stage",
            )
            .help(format!("write `from: \"{}[*]\"`", edge.stage.value)),
        );
        return None;
    }
    let known = ["metric", "of", "mode"];
    let entries = fields::entries(&select.value, "`select`", &known, &[], diagnostics)?;
    let (Some(metric), Some(mode)) =
        (fields::find(entries, "metric"), fields::find(entries, "mode"))
    else {
        if diagnostics.errors() == errors_before {
            let lacks = if fields::find(entries, "metric").is_some() { "mode" } else { "metric" };
            diagnostics.push(
                Diagnostic::error(
                    "missing-key",
                    select.key_span,
                    format!("`select` lacks `{lacks}`"),
                )
                .help(EXAMPLE),
            );
        }
        return None;
    };
    let metric = fields::text(metric, diagnostics);
    let mode = fields::choice(mode, &["min", "max"], diagnostics);
    let of = match fields::find(entries, "of") {
        None => None,
        Some(entry) => Some(stage_of_metric(entry, diagnostics)?),
    };
    let mode = if mode? == 0 { Mode::Min } else { Mode::Max };
    edge.select = Some(Select { span: select.key_span, metric: metric?, of, mode });
    Some(edge)
}

/// The stage in `of: STAGE[*]`.
fn stage_of_metric(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Spanned<String>> {
    let text = fields::text(entry, diagnostics)?;
    match Target::parse(&text.value) {
        Some(Target { stage, which: Which::All, output: None }) => {
            Some(Spanned::new(stage, text.span))
        }
        target => {
            let stage = target.map_or_else(|| "STAGE".to_owned(), |target| target.stage);
            diagnostics.push(
                Diagnostic::error(
                    "bad-instance",
                    text.span,
                    "`of` names a stage whose instances have the metric",
                )
                .help(format!("write `of: \"{stage}[*]\"`")),
            );
            None
        }
    }
}
