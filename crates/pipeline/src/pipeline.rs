//! A pipeline file, parsed: params with their values, stages with references resolved.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use wick_core::ExperimentName;
use wick_core::id::check_name;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields;
use crate::files::{Loader, Reader, Sources};
use crate::hooks::{self, Hooks};
use crate::include;
use crate::instances::{KnownList, Stages};
use crate::node::{Data, Entry, Node};
use crate::params::{self, Override, Param};
use crate::resolve::{Local, Scope};
use crate::schedule::{self, Schedule};
use crate::secrets::{self, Secret};
use crate::settings::{self, DEFAULT_KEYS, Settings};
use crate::span::{FileId, Span, Spanned};
use crate::stage::Stage;
use crate::subpipeline::{self, Expander, Interface, Step};
use crate::yaml;

/// The keys at the top of a pipeline file.
pub const PIPELINE_KEYS: [&str; 13] = [
    "pipeline",
    "experiment",
    "description",
    "include",
    "inputs",
    "outputs",
    "params",
    "defaults",
    "secrets",
    "timeout",
    "hooks",
    "schedule",
    "stages",
];

/// The kind whose `run` may hold references that only a running attempt knows.
pub const COMMAND_KIND: &str = "command";

/// What a pipeline is given from outside.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Values for params; of two for the same param the later counts.
    pub overrides: &'a [Override],
    /// The values of environment variables.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The project's folder, absolute: no file outside it is read, but for those beside the
    /// pipeline file and below.
    pub root: &'a Path,
    /// Reads further files.
    pub load: Loader<'a>,
    /// The lists that are known, of those that `foreach` names.
    pub lists: &'a [KnownList],
    /// What stands before the names of this file's stages in the plan.
    pub prefix: &'a str,
}

/// A pipeline, with params and references resolved. Nothing is known of its kinds yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Its name.
    pub name: Spanned<String>,
    /// The experiment that its runs belong to.
    pub experiment: ExperimentName,
    /// What it says of itself.
    pub description: Option<String>,
    /// What it takes from and gives to pipelines that use it.
    pub interface: Interface,
    /// How long a run may take.
    pub timeout: Option<Duration>,
    /// Where its secrets come from, and those of its sub-pipelines.
    pub secrets: Vec<Spanned<Secret>>,
    /// What is done when a run has ended.
    pub hooks: Hooks,
    /// When runs begin.
    pub schedule: Option<Spanned<Schedule>>,
    /// Its params, in the file's order.
    pub params: Vec<Param>,
    /// Its stages, in the file's order; those of sub-pipelines where they are used.
    pub stages: Vec<Stage>,
}

/// Parses the pipeline file in `sources` and resolves its params and references. Everything wrong
/// is added to `diagnostics`; a pipeline is given as far as it could be read, broken stages among
/// them. Further files that it is made of are added to `sources`.
pub fn parse(
    sources: &mut Sources,
    given: Given<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Pipeline> {
    let main = sources.share(FileId::MAIN);
    let mut reader = Reader::new(given.load, given.root, main.path());
    let mut pipeline = read(FileId::MAIN, given, &mut reader, sources, diagnostics)?;
    let main = Step {
        path: main.path().to_owned(),
        file: FileId::MAIN,
        used_at: Span::start_of(FileId::MAIN),
    };
    let stages = pipeline.stages.len();
    let mut expander = Expander {
        given,
        reader: &mut reader,
        sources,
        diagnostics,
        way: vec![main],
        prefix: String::new(),
        stages,
        files: HashMap::new(),
        is_full: false,
        secrets: std::mem::take(&mut pipeline.secrets),
    };
    expander.own_interface(&pipeline.interface, &mut pipeline.stages);
    pipeline.stages = expander.expand(std::mem::take(&mut pipeline.stages));
    pipeline.secrets = expander.secrets;
    Some(pipeline)
}

/// Reads one pipeline file with the fragments that it includes.
pub(crate) fn read(
    id: FileId,
    given: Given<'_>,
    reader: &mut Reader<'_>,
    sources: &mut Sources,
    diagnostics: &mut Diagnostics,
) -> Option<Pipeline> {
    let file = sources.share(id);
    let root = yaml::read(file.bytes(), id, diagnostics)?;
    if root.data == Data::Null {
        diagnostics.push(
            Diagnostic::error("missing-key", root.span, "the file is empty")
                .help("start with `pipeline: NAME` and `stages:`; `wick init` writes an example"),
        );
        return None;
    }
    let top = fields::entries(&root, "a pipeline", &PIPELINE_KEYS, &[], diagnostics)?;
    let document = include::document(top, id, reader, sources, diagnostics);
    let top = document.top.as_slice();
    let name = read_name(top, diagnostics);
    let experiment = read_experiment(top, &name, diagnostics);
    let description = fields::find(top, "description")
        .filter(|entry| entry.value.data != Data::Null)
        .and_then(|entry| fields::text(entry, diagnostics))
        .map(|text| text.value);

    let mut scope = Scope {
        sources,
        params: HashMap::new(),
        later: HashSet::new(),
        environment: given.environment,
        used: RefCell::default(),
        secrets: Vec::new(),
        used_secrets: RefCell::default(),
        local: RefCell::new(Local::None),
    };
    let file_start =
        root.as_map().and_then(<[Entry]>::first).map_or(root.span, |entry| entry.key_span);
    let params = read_params(top, given.overrides, file_start, &mut scope, diagnostics);
    let secrets = secrets::read(fields::find(top, "secrets"), &mut scope, diagnostics);
    let timeout = resolved(top, "timeout", &scope, diagnostics)
        .and_then(|entry| settings::timeout(&entry, diagnostics))
        .flatten();
    let hooks = hooks::read(fields::find(top, "hooks"), &scope, diagnostics);
    let schedule = resolved(top, "schedule", &scope, diagnostics)
        .and_then(|entry| schedule::read(&entry, diagnostics));

    if id != FileId::MAIN {
        subpipeline::warn_of_ignored(top, diagnostics);
    }

    let mut defaults = Settings::default();
    for entry in document.defaults.iter().filter(|entry| entry.value.data != Data::Null) {
        let mut node = entry.value.clone();
        scope.resolve(&mut node, diagnostics);
        if let Some(entries) = fields::entries(&node, "`defaults`", &DEFAULT_KEYS, &[], diagnostics)
        {
            defaults = defaults.overlaid(entries, diagnostics);
        }
    }

    let interface = subpipeline::interface(top, diagnostics);
    let reader =
        Stages { defaults: &defaults, scope: &scope, lists: given.lists, prefix: given.prefix };
    let mut stages = read_stages(top, file_start, &reader, diagnostics);
    if interface.inputs_key.is_some() || id != FileId::MAIN {
        subpipeline::refuse_reserved(&mut stages, diagnostics);
    }
    if !stages.is_empty() {
        warn_of_unused(&params, id, &scope, diagnostics);
        secrets::warn_of_unused(&secrets, id, &scope, diagnostics);
    }
    Some(Pipeline {
        name: name.unwrap_or_else(|| Spanned::new(String::new(), file_start)),
        experiment,
        description,
        interface,
        timeout,
        secrets,
        hooks,
        schedule,
        params,
        stages,
    })
}

/// The entry called `key` with its references resolved, if it is there and says something.
fn resolved(
    top: &[Entry],
    key: &str,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Entry> {
    let mut entry = fields::find(top, key)?.clone();
    scope.resolve(&mut entry.value, diagnostics);
    (entry.value.data != Data::Null).then_some(entry)
}

fn read_name(top: &[Entry], diagnostics: &mut Diagnostics) -> Option<Spanned<String>> {
    let Some(entry) = fields::find(top, "pipeline") else {
        if fields::misspelled(top, "pipeline", &PIPELINE_KEYS) {
            return None;
        }
        let at = top.first().map_or(Span::default(), |entry| entry.key_span);
        diagnostics.push(
            Diagnostic::error("missing-key", at, "the pipeline has no name")
                .help("start the file with `pipeline: NAME`"),
        );
        return None;
    };
    fields::text(entry, diagnostics)
}

/// The experiment: by default called as the pipeline is, so the pipeline's name is checked here.
fn read_experiment(
    top: &[Entry],
    name: &Option<Spanned<String>>,
    diagnostics: &mut Diagnostics,
) -> ExperimentName {
    let by_default =
        name.as_ref().and_then(|name| check_experiment(name, "a pipeline", diagnostics));
    let own = fields::find(top, "experiment")
        .and_then(|entry| fields::text(entry, diagnostics))
        .and_then(|name| check_experiment(&name, "an experiment", diagnostics));
    // What is wrong has been reported; any name will do to look at the rest.
    own.or(by_default).unwrap_or_else(|| {
        ExperimentName::new("pipeline").expect("the text keeps the rules of names")
    })
}

fn check_experiment(
    name: &Spanned<String>,
    what: &str,
    diagnostics: &mut Diagnostics,
) -> Option<ExperimentName> {
    ExperimentName::new(&name.value)
        .map_err(|error| {
            diagnostics.push(
                Diagnostic::error(
                    "bad-name",
                    name.span,
                    format!("`{}` cannot name {what}", name.value),
                )
                .label(error.to_string()),
            );
        })
        .ok()
}

fn read_params(
    top: &[Entry],
    overrides: &[Override],
    file_start: Span,
    scope: &mut Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Param> {
    let declared = fields::find(top, "params");
    let declared_at = declared.map_or(file_start, |entry| entry.key_span);
    let entries = match declared.map(|entry| &entry.value) {
        None => &[][..],
        Some(Node { data: Data::Null | Data::Unknown, .. }) => &[],
        Some(Node { data: Data::Map(entries), .. }) => entries,
        Some(other) => {
            diagnostics.push(
                fields::wrong_type(other, "`params` must be a mapping")
                    .help("write `params:` and below it one `name: default` on each line"),
            );
            return Vec::new();
        }
    };
    let names: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    params::check_overrides(overrides, &names, declared_at, diagnostics);
    scope.later = names.iter().map(|name| (*name).to_owned()).collect();

    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        params::check_param_name(&entry.key, entry.key_span, diagnostics);
        let given = overrides.iter().rev().find(|given| given.name == entry.key);
        let mut default = entry.value.clone();
        scope.resolve(&mut default, diagnostics);
        let value = match given {
            None => default.to_json(),
            Some(given) => params::apply(given, &default, entry.key_span, diagnostics),
        };
        scope.later.remove(&entry.key);
        scope.params.insert(entry.key.clone(), value.clone());
        found.push(Param {
            name: entry.key.clone(),
            span: entry.key_span,
            value,
            overridden: given.is_some(),
        });
    }
    found
}

fn read_stages(
    top: &[Entry],
    file_start: Span,
    reader: &Stages<'_, '_>,
    diagnostics: &mut Diagnostics,
) -> Vec<Stage> {
    let Some(entry) = fields::find(top, "stages") else {
        if fields::misspelled(top, "stages", &PIPELINE_KEYS) {
            return Vec::new();
        }
        diagnostics.push(
            Diagnostic::error("missing-key", file_start, "the pipeline has no stages")
                .help("add `stages:` and below it one stage after the other"),
        );
        return Vec::new();
    };
    let entries = match &entry.value.data {
        Data::Map(entries) if !entries.is_empty() => entries,
        Data::Unknown => return Vec::new(),
        Data::Map(_) | Data::Null => {
            diagnostics.push(
                Diagnostic::error("missing-key", entry.key_span, "the pipeline has no stages")
                    .help("write one stage after the other below `stages:`"),
            );
            return Vec::new();
        }
        _ => {
            diagnostics.push(
                fields::wrong_type(&entry.value, "`stages` must be a mapping")
                    .help("write each stage as `NAME:` with its keys below"),
            );
            return Vec::new();
        }
    };
    reader.read(entries, diagnostics)
}

/// Resolves the references in a stage: everywhere but in its description, which is prose, and
/// where what they refer to is put in by others.
pub(crate) fn resolve_stage(stage: &mut Node, scope: &Scope<'_>, diagnostics: &mut Diagnostics) {
    let is_command =
        stage.get("uses").is_some_and(|uses| uses.value.as_text() == Some(COMMAND_KIND));
    let Data::Map(entries) = &mut stage.data else { return };
    for entry in entries {
        match (entry.key.as_str(), &mut entry.value.data) {
            ("description" | "when" | "matrix" | "foreach", _) => {}
            ("with", Data::Map(config)) if is_command => {
                for entry in config {
                    match entry.key.as_str() {
                        "run" => scope.resolve_run(&mut entry.value, diagnostics),
                        "env" => scope.resolve_env(&mut entry.value, diagnostics),
                        _ => scope.resolve(&mut entry.value, diagnostics),
                    }
                }
            }
            _ => scope.resolve(&mut entry.value, diagnostics),
        }
    }
}

fn warn_of_unused(
    params: &[Param],
    file: FileId,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) {
    let used = scope.used.borrow();
    for param in params {
        // A fragment is there for many pipelines: not each needs all of its params.
        let own = param.span.file == file;
        if own && !used.contains(&param.name) && check_name(&param.name).is_ok() {
            diagnostics.push(
                Diagnostic::warning(
                    "unused-param",
                    param.span,
                    format!("nothing refers to param `{}`", param.name),
                )
                .help(format!("use it as `${{params.{}}}`, or remove it", param.name)),
            );
        }
    }
}
