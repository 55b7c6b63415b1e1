//! `uses: pipeline`: stages of another file in the place of one stage.
//!
//! A stage NAME that uses a pipeline becomes the stages of that file, called `NAME/…`, between
//! two that never run: [`Role::Inputs`], called `NAME/inputs`, takes what NAME reads and hands it
//! to the stages inside; [`Role::Outputs`], called NAME itself, takes what they make and hands it
//! to the stages outside. So every edge is checked like any other, and from outside a sub-pipeline
//! looks like a stage. Whoever builds the plan takes the two away again.

use std::collections::HashMap;
use std::path::PathBuf;

use wick_core::PortType;
use wick_core::id::{MAX_STAGE_NAME_LENGTH, check_name};

use crate::condition::Reference;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields;
use crate::files::{Reader, Sources, name_beside, too_many};
use crate::node::{Data, Entry, Node};
use crate::params::Override;
use crate::pipeline::{self, Given, Pipeline};
use crate::secrets::Secret;
use crate::span::{FileId, Span, Spanned};
use crate::stage::{Edge, STAGE_KEYS, Stage};
use crate::suggest;
use crate::when::When;

/// The kind of a stage that stands for another file's stages.
pub const PIPELINE_KIND: &str = "pipeline";

/// The name of what a sub-pipeline is given, among its stages.
pub const INPUTS: &str = "inputs";

/// How deep pipelines may use each other.
const MAX_DEPTH: usize = 8;

/// How many stages all files together may have.
const MAX_STAGES: usize = 100_000;

/// The keys of a stage that uses a pipeline. The others belong to the stages inside.
const KEYS: [&str; 8] =
    ["uses", "inputs", "with", "after", "matrix", "when", "needs", "description"];

/// What a stage is to the pipeline that it stands in.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// A stage that runs.
    Stage,
    /// What a sub-pipeline is given: an output for each input that it declares.
    Inputs(Vec<Declared>),
    /// What a sub-pipeline makes: an output for each edge that ends here.
    Outputs,
}

/// An input that a pipeline declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Its name.
    pub name: Spanned<String>,
    /// Its type; `None` if that is wrong, which has been reported.
    pub port_type: Option<PortType>,
}

/// What a file says of its place in other pipelines.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interface {
    /// What it is given.
    pub inputs: Vec<Declared>,
    /// Where the key `inputs` stands, if it does.
    pub inputs_key: Option<Span>,
    /// What it gives.
    pub outputs: Vec<Edge>,
    /// Where the key `outputs` stands, if it does.
    pub outputs_key: Option<Span>,
}

/// Reads `inputs` and `outputs` at the top of a file.
pub(crate) fn interface(top: &[Entry], diagnostics: &mut Diagnostics) -> Interface {
    let mut interface = Interface::default();
    if let Some(entry) = fields::find(top, "inputs") {
        interface.inputs_key = Some(entry.key_span);
        let help = "write `inputs: {NAME: TYPE}`; a type is `dataset`, `model`, `file`, …";
        for entry in ports(entry, help, diagnostics) {
            let name = Spanned::new(entry.key.clone(), entry.key_span);
            let port_type = port_type(entry, diagnostics);
            interface.inputs.push(Declared { name, port_type });
        }
    }
    if let Some(entry) = fields::find(top, "outputs") {
        interface.outputs_key = Some(entry.key_span);
        let help = "write `outputs: {NAME: STAGE}` or `{NAME: STAGE.OUTPUT}`";
        let edges = ports(entry, help, diagnostics);
        interface.outputs.extend(edges.filter_map(|entry| Edge::read(entry, diagnostics)));
    }
    interface
}

/// Tells what of a file that another uses does not count there: a run has one of each, which the
/// pipeline says that was begun.
pub(crate) fn warn_of_ignored(top: &[Entry], diagnostics: &mut Diagnostics) {
    for key in ["timeout", "hooks", "schedule"] {
        let Some(entry) = fields::find(top, key).filter(|entry| entry.value.data != Data::Null)
        else {
            continue;
        };
        let message = format!("`{key}` does not count where another pipeline uses this file");
        diagnostics.push(
            Diagnostic::warning("ignored-key", entry.key_span, message).help(format!(
                "say it in the pipeline that is run: its `{key}` is that of the run"
            )),
        );
    }
}

/// The entries of `inputs` or `outputs` that have names.
fn ports<'e>(
    entry: &'e Entry,
    help: &str,
    diagnostics: &mut Diagnostics,
) -> impl Iterator<Item = &'e Entry> + use<'e> {
    let entries = match &entry.value.data {
        Data::Map(entries) => entries.as_slice(),
        Data::Null | Data::Unknown | Data::Open(_) => &[],
        _ => {
            let what = format!("`{}` must be a mapping", entry.key);
            diagnostics.push(fields::wrong_type(&entry.value, &what).help(help));
            &[]
        }
    };
    let what = if entry.key == INPUTS { "an input" } else { "an output" };
    for entry in entries {
        if let Err(error) = check_name(&entry.key) {
            let message = format!("`{}` cannot name {what}", entry.key);
            diagnostics.push(
                Diagnostic::error("bad-name", entry.key_span, message).label(error.to_string()),
            );
        }
    }
    entries.iter().filter(|entry| check_name(&entry.key).is_ok())
}

fn port_type(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<PortType> {
    let written = fields::text(entry, diagnostics)?;
    let found = PortType::ALL.into_iter().find(|known| known.as_str() == written.value);
    if found.is_none() {
        let help = diagnostics.suggest(&written.value, PortType::ALL.map(PortType::as_str));
        let message = format!("there is no type `{}`", written.value);
        diagnostics.push(Diagnostic::error("wrong-value", written.span, message).maybe_help(help));
    }
    found
}

/// Puts the stages of other files in the place of the stages that use them.
pub(crate) struct Expander<'x, 'r> {
    pub given: Given<'x>,
    pub reader: &'x mut Reader<'r>,
    pub sources: &'x mut Sources,
    pub diagnostics: &'x mut Diagnostics,
    /// The files on the way to the one whose stages are looked at.
    pub way: Vec<Step>,
    /// What stands before the names of the stages that are looked at.
    pub prefix: String,
    /// How many stages there are so far.
    pub stages: usize,
    /// The files that stages with a matrix use, by their names.
    pub files: HashMap<String, PathBuf>,
    /// Whether there is no room for more, which has been told.
    pub is_full: bool,
    /// The secrets of the files so far.
    pub secrets: Vec<Spanned<Secret>>,
}

/// A file on the way from the pipeline file to a sub-pipeline.
pub(crate) struct Step {
    pub path: PathBuf,
    pub file: FileId,
    /// Where the file before uses it.
    pub used_at: Span,
}

impl Expander<'_, '_> {
    /// `stages` with those of other files among them.
    pub fn expand(&mut self, stages: Vec<Stage>) -> Vec<Stage> {
        let mut all = Vec::with_capacity(stages.len());
        for stage in stages {
            if stage.uses.as_ref().is_some_and(|uses| uses.value == PIPELINE_KIND) {
                self.sub_pipeline(stage, &mut all);
            } else {
                all.push(stage);
            }
        }
        all
    }

    /// Adds what stands for the interface of the pipeline file itself, so that it is checked too.
    pub fn own_interface(&mut self, interface: &Interface, stages: &mut Vec<Stage>) {
        check_inputs(stages, interface, self.diagnostics);
        if let Some(span) = interface.inputs_key {
            let role = Role::Inputs(interface.inputs.clone());
            stages.insert(0, Stage::standing_for(INPUTS, role, span));
        }
        if let Some(span) = interface.outputs_key {
            // No stage can have this name.
            let mut exit = Stage::standing_for("", Role::Outputs, span);
            exit.inputs.clone_from(&interface.outputs);
            stages.push(exit);
        }
    }

    /// Adds the stages that `stage` stands for to `all`, or `stage` itself where they cannot be
    /// had: then it makes nothing that is known.
    fn sub_pipeline(&mut self, mut stage: Stage, all: &mut Vec<Stage>) {
        let errors_before = self.diagnostics.errors();
        let inner = self.configuration(&stage).and_then(|(file, params)| {
            let pipeline = self.read(&stage, &file, params)?;
            // Of a file that is broken as a whole there is nothing to say here.
            (!pipeline.stages.is_empty()).then_some(pipeline)
        });
        let Some(Pipeline { mut stages, interface, .. }) = inner else {
            stage.sound = false;
            stage.role = Role::Outputs;
            stage.inputs.clear();
            all.push(stage);
            return;
        };
        check_inputs(&stages, &interface, self.diagnostics);
        let prefix = format!("{}/", stage.name.value);
        for inner in &mut stages {
            inner.enter(&prefix);
            if inner.name.value.len() > MAX_STAGE_NAME_LENGTH {
                self.diagnostics.push(
                    Diagnostic::error("bad-name", inner.name.span, "the stage's name is too long")
                        .label(format!(
                            "with those of the stages around it, it has more than \
                             {MAX_STAGE_NAME_LENGTH} characters"
                        )),
                );
                inner.sound = false;
            }
        }
        let mut outputs = interface.outputs;
        outputs.iter_mut().for_each(|edge| edge.enter(&prefix));
        let sound = stage.sound && self.diagnostics.errors() == errors_before;
        let entry = Stage {
            name: Spanned::new(format!("{prefix}{INPUTS}"), stage.name.span),
            role: Role::Inputs(interface.inputs),
            ..stage.clone()
        };
        let exit = Stage {
            role: Role::Outputs,
            inputs: outputs,
            inputs_key: None,
            after: Vec::new(),
            when: None,
            needs_any: None,
            sound,
            ..stage
        };
        all.push(entry);
        all.append(&mut stages);
        all.push(exit);
    }

    /// What `with` says: the file, and the params it is given.
    fn configuration(&mut self, stage: &Stage) -> Option<(Spanned<String>, Vec<Override>)> {
        let known = ["file", "params"];
        let what = "`with` of a stage that uses a pipeline";
        let entries = fields::entries(&stage.with, what, &known, &[], self.diagnostics)?;
        let Some(file) = fields::find(entries, "file") else {
            if !fields::misspelled(entries, "file", &known) {
                self.diagnostics.push(
                    Diagnostic::error(
                        "missing-key",
                        stage.with_key.unwrap_or(stage.name.span),
                        format!("stage `{}` does not say which file it uses", stage.name.value),
                    )
                    .help("add `with: {file: FILE}`"),
                );
            }
            return None;
        };
        let file = fields::text(file, self.diagnostics)?;
        let params = match fields::find(entries, "params").map(|entry| &entry.value) {
            Some(Node { data: Data::Map(entries), .. }) => entries.as_slice(),
            None | Some(Node { data: Data::Null | Data::Unknown | Data::Open(_), .. }) => &[],
            Some(other) => {
                self.diagnostics.push(
                    fields::wrong_type(other, "`params` must be a mapping")
                        .help("write `params: {NAME: VALUE}`"),
                );
                &[]
            }
        };
        let origin = format!("stage {}", stage.name.value);
        let params = params.iter().filter_map(|entry| {
            Some(Override {
                name: entry.key.clone(),
                // A value that could not be had was reported where it stands.
                value: entry.value.to_json()?,
                typed: None,
                origin: origin.clone(),
                given_at: Some(if entry.value.span == entry.key_span {
                    entry.key_span
                } else {
                    entry.key_span.to(entry.value.span)
                }),
            })
        });
        Some((file, params.collect()))
    }

    /// The pipeline in `file`, its own sub-pipelines expanded.
    fn read(
        &mut self,
        stage: &Stage,
        file: &Spanned<String>,
        params: Vec<Override>,
    ) -> Option<Pipeline> {
        if self.is_full {
            return None;
        }
        let from = self.sources.share(stage.name.span.file);
        let path = self.reader.locate(file, &from, self.diagnostics)?;
        if let Some(instance) = &stage.instance {
            // What reads from all of them reads the same output of each.
            let first = self.files.entry(instance.template.clone()).or_insert_with(|| path.clone());
            if *first != path {
                self.diagnostics.push(
                    Diagnostic::error(
                        "bad-matrix",
                        file.span,
                        "all instances of a stage use the same file",
                    )
                    .help("let params of the file tell them apart, or write a stage for each file"),
                );
                return None;
            }
        }
        if let Some(start) = self.way.iter().position(|step| step.path == path) {
            self.circle(start, file.span);
            return None;
        }
        let mut refuse = |what: &str, label: String| {
            let found = Diagnostic::error("too-deep", file.span, what).label(label);
            self.diagnostics.push(found.help("write some of the stages into this file"));
        };
        if self.way.len() > MAX_DEPTH {
            let label = format!("this is more than {MAX_DEPTH} files deep");
            refuse("pipelines use each other too deeply", label);
            return None;
        }
        let bytes = self.reader.read(&path, file, self.diagnostics)?;
        let name = name_beside(&from, &file.value);
        let used_at = Spanned::new(stage.name.value.clone(), stage.name.span);
        let Some(id) = self.sources.add_part(&path, name, bytes, Some(&used_at)) else {
            self.is_full = true;
            self.diagnostics.push(too_many(file));
            return None;
        };
        let outer = self.prefix.len();
        self.prefix.push_str(&format!("{}/", stage.name.value));
        let given = Given { overrides: &params, prefix: &self.prefix, ..self.given };
        let pipeline = pipeline::read(id, given, self.reader, self.sources, self.diagnostics);
        let Some(mut pipeline) = pipeline else {
            self.prefix.truncate(outer);
            return None;
        };
        self.stages += pipeline.stages.len();
        if self.stages > MAX_STAGES {
            self.prefix.truncate(outer);
            self.is_full = true;
            self.diagnostics.push(
                Diagnostic::error("too-large", file.span, "the pipeline has too many stages")
                    .label(format!("with these there are more than {MAX_STAGES}")),
            );
            return None;
        }
        for secret in std::mem::take(&mut pipeline.secrets) {
            self.add_secret(secret);
        }
        self.way.push(Step { path, file: id, used_at: file.span });
        pipeline.stages = self.expand(pipeline.stages);
        self.way.pop();
        self.prefix.truncate(outer);
        Some(pipeline)
    }

    /// Adds a secret of a file to those of all. One that several declare is one.
    fn add_secret(&mut self, secret: Spanned<Secret>) {
        let known = self.secrets.iter().find(|known| known.value.name == secret.value.name);
        match known {
            None => self.secrets.push(secret),
            Some(known) if known.value.source == secret.value.source => {}
            Some(known) => {
                let name = &secret.value.name;
                self.diagnostics.push(
                    Diagnostic::error(
                        "bad-secret",
                        secret.span,
                        format!("secret `{name}` comes from elsewhere in another file"),
                    )
                    .related(known.span, "it is declared here too")
                    .help("give one of the two another name"),
                );
            }
        }
    }

    /// Reports that the file used at `used_at` is `way[start]`, which led to it.
    fn circle(&mut self, start: usize, used_at: Span) {
        let name = |file: FileId| self.sources.get(file).name();
        let circle = &self.way[start..];
        let mut names: Vec<&str> = circle.iter().map(|step| name(step.file)).collect();
        names.push(names[0]);
        let message = match circle {
            [only] => format!("{} uses itself", name(only.file)),
            _ => format!("pipelines use each other in a circle: {}", names.join(" → ")),
        };
        let mut found = Diagnostic::error("cycle", used_at, message)
            .label(format!("this uses {} again", names[0]))
            .help("a pipeline cannot be a part of itself");
        for step in circle.iter().skip(1) {
            found = found.related(step.used_at, format!("this uses {}", name(step.file)));
        }
        self.diagnostics.push(found);
    }
}

/// Checks what the stages of a file say of the inputs that it declares.
fn check_inputs(stages: &[Stage], interface: &Interface, diagnostics: &mut Diagnostics) {
    let known: Vec<&str> =
        interface.inputs.iter().map(|declared| declared.name.value.as_str()).collect();
    let mut read = vec![false; known.len()];
    let outputs = interface.outputs.iter();
    let edges = stages.iter().flat_map(|stage| &stage.inputs).chain(outputs);
    for edge in edges.filter(|edge| edge.stage.value == INPUTS) {
        match (&edge.output, known.as_slice()) {
            (None, [_]) => read[0] = true,
            (None, _) => {}
            (Some(output), _) => {
                // What was meant is read: there is no need to say that nothing does.
                let meant = suggest::nearest(&output.value, known.iter().copied());
                let name = if known.contains(&output.value.as_str()) {
                    Some(output.value.as_str())
                } else {
                    meant
                };
                if let Some(place) = known.iter().position(|known| Some(*known) == name) {
                    read[place] = true;
                }
            }
        }
    }
    for (declared, read) in interface.inputs.iter().zip(read) {
        if !read {
            diagnostics.push(
                Diagnostic::warning(
                    "unused-input",
                    declared.name.span,
                    format!("nothing reads the input `{}`", declared.name.value),
                )
                .help(format!("read it as `{INPUTS}.{}`, or remove it", declared.name.value)),
            );
        }
    }
}

/// Refuses keys that a stage which uses a pipeline cannot have.
pub(crate) fn check_keys(entries: &[Entry], diagnostics: &mut Diagnostics) {
    for entry in entries {
        let key = entry.key.as_str();
        if STAGE_KEYS.contains(&key) && !KEYS.contains(&key) {
            diagnostics.push(
                Diagnostic::error(
                    "misplaced-key",
                    entry.key_span,
                    format!("a stage that uses a pipeline has no `{key}` of its own"),
                )
                .help("write it into the other file: for one stage, or below `defaults` for all"),
            );
        }
    }
}

/// Refuses a stage that is called as what a sub-pipeline is given.
pub(crate) fn refuse_reserved(stages: &mut Vec<Stage>, diagnostics: &mut Diagnostics) {
    for stage in stages.extract_if(.., |stage| stage.name.value == INPUTS) {
        let message = format!("`{INPUTS}` cannot name a stage of a pipeline that others use");
        diagnostics.push(
            Diagnostic::error("bad-name", stage.name.span, message)
                .label(format!("`{INPUTS}.NAME` is what the pipeline is given"))
                .help("give the stage another name"),
        );
    }
}

impl Stage {
    /// Makes it a stage of the sub-pipeline whose stages' names start with `prefix`.
    fn enter(&mut self, prefix: &str) {
        self.name.value.insert_str(0, prefix);
        self.inputs.iter_mut().for_each(|edge| edge.enter(prefix));
        self.after.iter_mut().for_each(|before| before.stage.value.insert_str(0, prefix));
        if let Some(instance) = &mut self.instance {
            instance.template.insert_str(0, prefix);
        }
        let of_instance = self.instance.as_mut().and_then(|instance| instance.list.as_mut());
        for list in self.foreach.as_deref_mut().into_iter().chain(of_instance) {
            list.stage.value.insert_str(0, prefix);
        }
        if let Some(when) = self.when.take() {
            let condition = when.condition.rewritten(&mut |reference| {
                let mut reference = reference.clone();
                let (Reference::Metric { stage, .. } | Reference::Output { stage, .. }) =
                    &mut reference;
                stage.insert_str(0, prefix);
                reference
            });
            self.when = Some(Box::new(When { condition, ..*when }));
        }
    }
}

impl Edge {
    fn enter(&mut self, prefix: &str) {
        self.stage.value.insert_str(0, prefix);
        if let Some(of) = self.select.as_mut().and_then(|select| select.of.as_mut()) {
            of.value.insert_str(0, prefix);
        }
    }
}
