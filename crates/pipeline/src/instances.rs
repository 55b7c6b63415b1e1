//! Stages that are written once for several: `matrix`, whose values stand in the file, and
//! `foreach`, whose items another stage makes.
//!
//! Each instance is read as if it had been written out. What is wrong with several of them alike
//! is told once: see [`Diagnostics::enter`]. Of a `foreach` whose list is not known there is one
//! stage, the template, in which values with `${foreach.…}` stay open.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wick_core::id::check_name;
use wick_core::{PortName, StageName};

use crate::diagnostic::{Diagnostic, Diagnostics, Speaker};
use crate::fields;
use crate::matrix::{self, Values};
use crate::node::{Data, Entry};
use crate::pipeline::resolve_stage;
use crate::resolve::{Local, Scope};
use crate::settings::Settings;
use crate::span::Spanned;
use crate::stage::{self, Stage};
use crate::target::{Target, Which};
use crate::when;

/// How many items the list of a `foreach` may have.
pub const MAX_ITEMS: usize = 10_000;

/// What tells an instance from the others of its stage.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceOf {
    /// The stage as it is written.
    pub template: String,
    /// What stands in the brackets of its name.
    pub label: String,
    /// Its values, in the file's order; of a `foreach` the item alone.
    pub values: Vec<(String, Value)>,
    /// Its place among the instances.
    pub place: usize,
    /// How many instances there are.
    pub count: usize,
    /// The list that it is an item of; `None` where a `matrix` made it.
    pub list: Option<ForeachList>,
}

/// The list that a stage is written once for.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeachList {
    /// The name of an item: `${foreach.NAME}`.
    pub variable: Spanned<String>,
    /// The stage that makes the list.
    pub stage: Spanned<String>,
    /// Which of its instances.
    pub which: Which,
    /// The output that is the list.
    pub output: Spanned<String>,
}

/// A list that a run has made: what the stages are written for that name its output in their
/// `foreach`. With it a check plans their instances, as it does those of a `matrix`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownList {
    /// The stage that made it.
    pub stage: StageName,
    /// The output that holds it.
    pub output: PortName,
    /// Its items.
    pub items: Vec<Value>,
}

impl ForeachList {
    /// Whether the items of both are the same: then instances go together item by item.
    pub fn is_same(&self, other: &ForeachList) -> bool {
        self.variable.value == other.variable.value
            && self.stage.value == other.stage.value
            && self.which == other.which
            && self.output.value == other.output.value
    }
}

impl Stage {
    /// Who speaks in diagnostics about this stage.
    pub fn speaker(&self) -> Option<Speaker> {
        let instance = self.instance.as_ref()?;
        Some(Speaker {
            stage: instance.template.as_str().into(),
            instance: self.name.value.as_str().into(),
            count: instance.count,
        })
    }
}

/// Reads stages, instance by instance.
pub(crate) struct Stages<'a, 's> {
    pub defaults: &'a Settings,
    pub scope: &'a Scope<'s>,
    /// Lists that are known.
    pub lists: &'a [KnownList],
    /// What stands before the names of these stages in the plan, and so in `lists`.
    pub prefix: &'a str,
}

impl Stages<'_, '_> {
    /// The stages that `entries`, those of `stages`, stand for.
    pub fn read(&self, entries: &[Entry], diagnostics: &mut Diagnostics) -> Vec<Stage> {
        let mut stages = Vec::with_capacity(entries.len());
        for entry in entries {
            match (entry.value.get("matrix"), entry.value.get("foreach")) {
                (Some(matrix), Some(foreach)) => {
                    diagnostics.push(
                        Diagnostic::error(
                            "bad-matrix",
                            foreach.key_span,
                            "a stage has either a `matrix` or a `foreach`",
                        )
                        .related(matrix.key_span, "the matrix stands here")
                        .help("let the stage that makes the list make the combinations"),
                    );
                    stages.push(self.broken(entry, diagnostics));
                }
                (Some(matrix), None) => {
                    let mut matrix = matrix.clone();
                    self.scope.resolve(&mut matrix.value, diagnostics);
                    match matrix::read(&matrix, diagnostics) {
                        Some(all) => {
                            let labels = matrix::labels(&all);
                            self.instances(entry, all, labels, None, diagnostics, &mut stages);
                        }
                        None => stages.push(self.broken(entry, diagnostics)),
                    }
                }
                (None, Some(foreach)) => {
                    self.read_foreach(entry, foreach, diagnostics, &mut stages);
                }
                (None, None) => stages.push(self.one(entry, Local::None, diagnostics)),
            }
        }
        stages
    }

    /// A stage of whose instances nothing is known: what it says of them passes.
    fn broken(&self, entry: &Entry, diagnostics: &mut Diagnostics) -> Stage {
        let mut stage = self.one(entry, Local::Unknown, diagnostics);
        stage.sound = false;
        stage
    }

    fn read_foreach(
        &self,
        entry: &Entry,
        foreach: &Entry,
        diagnostics: &mut Diagnostics,
        stages: &mut Vec<Stage>,
    ) {
        let Some(list) = self.list(foreach, diagnostics) else {
            return stages.push(self.broken(entry, diagnostics));
        };
        match self.items(&list) {
            Some(items) if items.len() > MAX_ITEMS => {
                diagnostics.push(
                    Diagnostic::error(
                        "too-large",
                        foreach.value.span,
                        format!("the list has {} items", items.len()),
                    )
                    .help(format!(
                        "a stage is written for at most {MAX_ITEMS}: let one do several"
                    )),
                );
                stages.push(self.broken(entry, diagnostics));
            }
            Some(items) if !items.is_empty() => {
                let variable = &list.variable.value;
                let labels = matrix::item_labels(variable, items);
                let all = items.iter().map(|item| vec![(variable.clone(), item.clone())]).collect();
                self.instances(entry, all, labels, Some(&list), diagnostics, stages);
            }
            // Of an empty list there is no instance, and the template stands for that.
            _ => {
                let local = Local::Item(list.variable.value.clone(), None);
                let mut stage = self.one(entry, local, diagnostics);
                stage.foreach = Some(Box::new(list));
                stages.push(stage);
            }
        }
    }

    /// The items of `list`, if they are known.
    fn items(&self, list: &ForeachList) -> Option<&[Value]> {
        let mut stage = format!("{}{}", self.prefix, list.stage.value);
        if let Which::Label(label) = &list.which {
            stage.push_str(&format!("[{label}]"));
        }
        let is_it = |known: &&KnownList| {
            known.stage == stage.as_str() && known.output == list.output.value.as_str()
        };
        self.lists.iter().find(is_it).map(|known| known.items.as_slice())
    }

    /// The list that `foreach` names.
    fn list(&self, foreach: &Entry, diagnostics: &mut Diagnostics) -> Option<ForeachList> {
        const EXAMPLE: &str = "write `foreach: {NAME: STAGE.OUTPUT}`";
        let mut value = foreach.value.clone();
        self.scope.resolve(&mut value, diagnostics);
        let entry = match &value.data {
            Data::Map(entries) => match entries.as_slice() {
                [only] => only,
                _ => {
                    diagnostics.push(
                        Diagnostic::error(
                            "wrong-value",
                            entries.get(1).map_or(value.span, |second| second.key_span),
                            "`foreach` takes one list",
                        )
                        .help(EXAMPLE),
                    );
                    return None;
                }
            },
            Data::Unknown | Data::Open(_) => return None,
            _ => {
                diagnostics
                    .push(fields::wrong_type(&value, "`foreach` must be a mapping").help(EXAMPLE));
                return None;
            }
        };
        if let Err(error) = check_name(&entry.key) {
            diagnostics.push(
                Diagnostic::error(
                    "bad-name",
                    entry.key_span,
                    format!("`{}` cannot name an item", entry.key),
                )
                .label(error.to_string()),
            );
            return None;
        }
        if let Data::List(_) = &entry.value.data {
            diagnostics.push(
                fields::wrong_type(&entry.value, "`foreach` names the output of a stage").help(
                    format!("values that are known now make a `matrix: {{{}: […]}}`", entry.key),
                ),
            );
            return None;
        }
        let source = fields::text(entry, diagnostics)?;
        match Target::parse(&source.value) {
            Some(Target { stage, which, output: Some(output) }) if which != Which::All => {
                Some(ForeachList {
                    variable: Spanned::new(entry.key.clone(), entry.key_span),
                    stage: Spanned::new(stage, source.span),
                    which,
                    output: Spanned::new(output, source.span),
                })
            }
            _ => {
                diagnostics.push(
                    Diagnostic::error(
                        "wrong-value",
                        source.span,
                        format!("`{}` names no output of one stage", source.value),
                    )
                    .help(EXAMPLE),
                );
                None
            }
        }
    }

    fn instances(
        &self,
        entry: &Entry,
        all: Vec<Values>,
        labels: Vec<String>,
        list: Option<&ForeachList>,
        diagnostics: &mut Diagnostics,
        stages: &mut Vec<Stage>,
    ) {
        let count = all.len();
        for (place, (values, label)) in all.into_iter().zip(labels).enumerate() {
            let local = match (list, values.first()) {
                (Some(_), Some((variable, item))) => {
                    Local::Item(variable.clone(), Some(item.clone()))
                }
                _ => Local::Matrix(values.clone()),
            };
            let name = format!("{}[{label}]", entry.key);
            diagnostics.enter(Some(Speaker {
                stage: entry.key.as_str().into(),
                instance: Arc::from(name.as_str()),
                count,
            }));
            let mut stage = self.one(entry, local, diagnostics);
            diagnostics.enter(None);
            stage.name.value = name;
            stage.instance = Some(Box::new(InstanceOf {
                template: entry.key.clone(),
                label,
                values,
                place,
                count,
                list: list.cloned(),
            }));
            stages.push(stage);
        }
    }

    /// Reads the stage in `entry`, in which `local` can be referred to.
    fn one(&self, entry: &Entry, local: Local, diagnostics: &mut Diagnostics) -> Stage {
        self.scope.local.replace(local);
        let errors_before = diagnostics.errors();
        let mut resolved = entry.clone();
        resolve_stage(&mut resolved.value, self.scope, diagnostics);
        let is_resolved = diagnostics.errors() == errors_before;
        let mut stage = stage::read(&resolved, self.defaults, diagnostics);
        if let Some(entry) = entry.value.get("when") {
            let errors_before = diagnostics.errors();
            stage.when = when::read(entry, self.scope, diagnostics).map(Box::new);
            stage.sound &= diagnostics.errors() == errors_before;
        }
        stage.sound &= is_resolved;
        self.scope.local.replace(Local::None);
        stage
    }
}
