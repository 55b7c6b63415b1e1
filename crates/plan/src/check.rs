//! From the text of a pipeline to a [`Plan`], or to all that is wrong with it.
//!
//! Each step looks only at what the steps before it found sound, so that one mistake is
//! reported once: a stage whose configuration is wrong has no ports, and nothing is said of the
//! edges that reach them; a stage whose inputs are wrong is not checked against them, and what
//! it makes is known by its type alone.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use indexmap::IndexMap;
use serde_json::Value;
use wick_core::{Digest, KindName, PortName, StageName};
use wick_pipeline::files;
use wick_pipeline::subpipeline::Role;
use wick_pipeline::units::format_memory;
use wick_pipeline::{
    Diagnostic, Diagnostics, Given, Loader, Override, Pipeline, Severity, Sources, Stage,
};
use wick_stage::{Checked, Kind, Known, PortFacts, Ports, Registry};

use crate::link::{self, Link};
use crate::place;
use crate::plan::{
    Hooks, InputSource, Join, Plan, PlanFile, PlannedInput, PlannedOutput, PlannedStage, Resources,
    Retry, StageIndex,
};
use crate::subpipeline::{self, Inliner};
use crate::{config_path, schema};

/// The most that one machine gives to its stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes, if that is known.
    pub memory: Option<u64>,
    /// GPUs.
    pub gpus: u32,
}

impl Machine {
    /// A machine that every stage fits in: to check a file for another machine.
    pub const UNLIMITED: Machine = Machine { cpus: u32::MAX, memory: None, gpus: u32::MAX };
}

/// What to check, and against what.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The text of the pipeline file.
    pub source: &'a [u8],
    /// The pipeline file, absolute. Relative paths are meant from its folder.
    pub file: &'a Path,
    /// What messages call the file.
    pub name: &'a str,
    /// The project's folder, absolute: no file outside it is read, but for those beside the
    /// pipeline file and below.
    pub root: &'a Path,
    /// Reads further files that the pipeline is made of.
    pub load: Loader<'a>,
    /// Values for params; of two for the same param the later counts.
    pub overrides: &'a [Override],
    /// The kinds that stages can use.
    pub registry: &'a Registry,
    /// The values of environment variables.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// What stages have to fit in.
    pub machine: Machine,
}

/// What came of a check.
#[derive(Debug)]
pub struct Verdict {
    /// The plan, exactly if none of the diagnostics is an error.
    pub plan: Option<Plan>,
    /// All that is to be said, by file and position.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that were read, which the diagnostics point into.
    pub sources: Sources,
    /// Of a sound file that cannot run, as it takes inputs: how many stages it brings to pipelines
    /// that use it.
    pub part: Option<usize>,
}

/// Checks a pipeline that is to run, and resolves it.
pub fn check(request: &Request<'_>) -> Verdict {
    check_as(request, false)
}

/// Checks a pipeline. One that takes inputs is right too, as the part of others that it is; there
/// is no plan of it.
pub fn check_part(request: &Request<'_>) -> Verdict {
    check_as(request, true)
}

fn check_as(request: &Request<'_>, may_be_part: bool) -> Verdict {
    let mut diagnostics = Diagnostics::new();
    let mut sources = Sources::new(request.file, request.name, request.source);
    let given = Given {
        overrides: request.overrides,
        environment: request.environment,
        root: request.root,
        load: request.load,
    };
    let pipeline = wick_pipeline::parse(&mut sources, given, &mut diagnostics);
    let takes_inputs = pipeline.as_ref().and_then(|pipeline| pipeline.interface.inputs_key);
    if let (Some(at), false) = (takes_inputs, may_be_part) {
        diagnostics.push(
            Diagnostic::error("takes-inputs", at, "the pipeline cannot run by itself")
                .label("it takes inputs, which another pipeline gives")
                .help(format!(
                    "use it in another file: `uses: pipeline` and `with: {{file: {}}}`",
                    request.file.file_name().unwrap_or_default().to_string_lossy()
                )),
        );
    }
    let checked =
        pipeline.map(|pipeline| Checker::new(request, &sources, pipeline, &mut diagnostics).plan());
    let diagnostics = files::name_uses(diagnostics.into_sorted(), &sources);
    let sound = diagnostics.iter().all(|found| found.severity != Severity::Error);
    let (plan, part) = match checked.filter(|_| sound) {
        None => (None, None),
        Some(Outcome::Plan(plan)) => (plan, None),
        Some(Outcome::Part(stages)) => (None, Some(stages)),
    };
    Verdict { plan, diagnostics, sources, part }
}

/// What a pipeline without mistakes is.
enum Outcome {
    /// One that can run.
    Plan(Option<Plan>),
    /// A part of others, with so many stages.
    Part(usize),
}

/// A stage and what is known of it so far.
pub(crate) struct Draft<'a> {
    pub stage: Stage,
    pub kind: Option<&'a dyn Kind>,
    /// The configuration, if it fits the kind.
    pub config: Option<Value>,
    /// The ports, if the configuration tells them.
    pub ports: Option<Ports>,
    /// The edges that could be joined, in the file's order.
    pub links: Vec<Link>,
    /// Whether every edge could be joined and every input has one.
    pub linked: bool,
    /// What its kind found, if it could look.
    pub checked: Option<Checked>,
}

struct Checker<'a, 'd> {
    request: &'a Request<'a>,
    sources: &'a Sources,
    base: &'a Path,
    diagnostics: &'d mut Diagnostics,
    pipeline: Pipeline,
    drafts: Vec<Draft<'a>>,
}

impl<'a, 'd> Checker<'a, 'd> {
    fn new(
        request: &'a Request<'a>,
        sources: &'a Sources,
        mut pipeline: Pipeline,
        diagnostics: &'d mut Diagnostics,
    ) -> Self {
        let drafts = std::mem::take(&mut pipeline.stages)
            .into_iter()
            .map(|stage| Draft {
                stage,
                kind: None,
                config: None,
                ports: None,
                links: Vec::new(),
                linked: false,
                checked: None,
            })
            .collect();
        let base = request.file.parent().unwrap_or(Path::new(""));
        Self { request, sources, base, diagnostics, pipeline, drafts }
    }

    fn plan(mut self) -> Outcome {
        self.read_configurations();
        for draft in self.drafts.iter().filter(|draft| draft.stage.role == Role::Stage) {
            fits_machine(&draft.stage, self.request.machine, self.diagnostics);
        }
        let order = link::link(&mut self.drafts, self.sources, self.diagnostics);
        for &stage in &order {
            self.check_stage(stage);
        }
        if self.diagnostics.errors() > 0 {
            return Outcome::Plan(None);
        }
        if self.pipeline.interface.inputs_key.is_some() {
            let stages = self.drafts.iter().filter(|draft| draft.stage.role == Role::Stage);
            return Outcome::Part(stages.count());
        }
        Outcome::Plan(self.build(&order))
    }

    /// Finds each stage's kind, and asks it for the stage's ports.
    fn read_configurations(&mut self) {
        let mut schemas: HashMap<&'static str, Value> = HashMap::new();
        for draft in &mut self.drafts {
            if draft.stage.role != Role::Stage {
                draft.ports = subpipeline::ports(&draft.stage);
                continue;
            }
            let Some(uses) = &draft.stage.uses else { continue };
            let Some(kind) = self.request.registry.get(&uses.value) else {
                let names = self.request.registry.names();
                let help = self
                    .diagnostics
                    .suggest(&uses.value, names)
                    .unwrap_or_else(|| "`wick kinds` lists the kinds".to_owned());
                self.diagnostics.push(
                    Diagnostic::error(
                        "unknown-kind",
                        uses.span,
                        format!("there is no kind `{}`", uses.value),
                    )
                    .help(help),
                );
                continue;
            };
            draft.kind = Some(kind);
            let schema = schemas.entry(kind.name()).or_insert_with(|| kind.schema().to_value());
            let key_span = draft.stage.with_key.unwrap_or(draft.stage.name.span);
            let errors_before = self.diagnostics.errors();
            schema::check(schema, &draft.stage.with, "with", key_span, self.diagnostics);
            if self.diagnostics.errors() > errors_before {
                continue;
            }
            // None if a reference in it could not be resolved: reported already.
            let Some(config) = draft.stage.with.to_json() else { continue };
            let Some(ports) = guarded(&draft.stage, self.diagnostics, || kind.ports(&config))
            else {
                continue;
            };
            match ports {
                Ok(mut ports) => {
                    ports.connect(draft.stage.inputs.iter().map(|edge| edge.port.value.as_str()));
                    draft.ports = Some(ports);
                    draft.config = Some(config);
                }
                Err(issues) => {
                    for issue in issues {
                        self.diagnostics.push(place::diagnostic(&draft.stage, issue));
                    }
                }
            }
        }
    }

    /// Lets the kind look at what arrives at the stage.
    fn check_stage(&mut self, place: usize) {
        let draft = &self.drafts[place];
        let mut inputs: IndexMap<PortName, PortFacts> = IndexMap::new();
        for link in &draft.links {
            let facts = self.drafts[link.from]
                .checked
                .as_ref()
                .and_then(|checked| checked.outputs.get(&link.output))
                .filter(|facts| facts.port_type == link.port_type)
                .cloned()
                .unwrap_or(PortFacts::unknown(link.port_type));
            inputs.insert(link.port.clone(), facts);
        }
        if draft.stage.role != Role::Stage {
            // It hands on what it takes.
            let mut checked = Checked::default();
            checked.outputs.extend(inputs);
            self.drafts[place].checked = Some(checked);
            return;
        }
        let (Some(kind), Some(config), true) = (draft.kind, &draft.config, draft.linked) else {
            return;
        };
        let known = Known { base: self.base_of(&draft.stage), inputs: &inputs };
        let checked = guarded(&draft.stage, self.diagnostics, || kind.check(config, &known));
        let Some(mut checked) = checked else { return };
        let issues = std::mem::take(&mut checked.issues);
        if issues.is_empty() {
            self.drafts[place].checked = Some(checked);
            return;
        }
        for issue in issues.into_vec() {
            self.diagnostics.push(place::diagnostic(&self.drafts[place].stage, issue));
        }
    }

    /// The folder that paths in `stage` are meant from: that of the file it is written in.
    fn base_of(&self, stage: &Stage) -> &'a Path {
        files::folder(self.sources.get(stage.name.span.file).path())
    }

    /// The plan, once nothing is wrong.
    fn build(self, order: &[usize]) -> Option<Plan> {
        let runs = |place: &&usize| self.drafts[**place].stage.role == Role::Stage;
        let order: Vec<usize> = order.iter().filter(runs).copied().collect();
        let mut index_of = vec![StageIndex(0); self.drafts.len()];
        for (index, place) in order.iter().enumerate() {
            index_of[*place] = StageIndex(index as u32);
        }
        let inliner = Inliner::new(&self.drafts);
        let mut edges = Vec::with_capacity(order.len());
        for place in &order {
            let inputs = self.drafts[*place].links.iter().map(|link| {
                let source = inliner.source(link);
                PlannedInput {
                    port: link.port.clone(),
                    source: InputSource::Output {
                        from: index_of[source.from],
                        output: source.output.clone(),
                    },
                    port_type: link.port_type,
                }
            });
            let after = inliner.after(*place).into_iter().map(|place| index_of[place]);
            edges.push((inputs.collect(), after.collect()));
        }
        let mut drafts: Vec<Option<Draft<'_>>> = self.drafts.into_iter().map(Some).collect();
        let mut stages = Vec::with_capacity(order.len());
        for (place, (inputs, after)) in order.iter().zip(edges) {
            let draft = drafts[*place].take()?;
            let base = files::folder(self.sources.get(draft.stage.name.span.file).path());
            stages.push(planned(draft, base, inputs, after)?);
        }
        let params = self.pipeline.params;
        Some(Plan {
            pipeline: self.pipeline.name.value,
            experiment: self.pipeline.experiment,
            description: self.pipeline.description,
            file: self.request.file.to_owned(),
            base: self.base.to_owned(),
            files: plan_files(self.sources),
            overridden: params
                .iter()
                .filter(|param| param.overridden)
                .map(|param| param.name.clone())
                .collect(),
            params: params
                .into_iter()
                .map(|param| (param.name, param.value.unwrap_or(Value::Null)))
                .collect(),
            timeout: None,
            secrets: Vec::new(),
            hooks: Hooks::default(),
            schedule: None,
            stages,
        })
    }
}

/// The files in `sources`, each once.
fn plan_files(sources: &Sources) -> Vec<PlanFile> {
    let mut told = HashSet::new();
    sources
        .iter()
        .filter(|file| told.insert(file.path()))
        .map(|file| PlanFile { path: file.path().to_owned(), digest: Digest::of(file.bytes()) })
        .collect()
}

/// Whether the machine could ever run the stage.
fn fits_machine(stage: &Stage, machine: Machine, diagnostics: &mut Diagnostics) {
    let wanted = stage.resources;
    let at = stage.resources_at.unwrap_or(stage.name.span);
    let mut refuse = |message: String, help: &str| {
        diagnostics.push(Diagnostic::error("too-large", at, message).help(help));
    };
    let name = &stage.name.value;
    if wanted.cpus > machine.cpus {
        refuse(
            format!("stage `{name}` asks for {} cpus, and there are {}", wanted.cpus, machine.cpus),
            "ask for less, or run it on a larger machine",
        );
    }
    if wanted.gpus > machine.gpus {
        refuse(
            format!("stage `{name}` asks for {} gpus, and there are {}", wanted.gpus, machine.gpus),
            "ask for less, or run it on a machine that has them",
        );
    }
    if let (Some(wanted), Some(there)) = (wanted.memory, machine.memory)
        && wanted > there
    {
        refuse(
            format!(
                "stage `{name}` asks for {} of memory, and there are {}",
                format_memory(wanted),
                format_memory(there)
            ),
            "ask for less, or run it on a larger machine",
        );
    }
}

/// Asks a kind, and reports it if the kind panics: a kind reads files of all sorts through
/// libraries of all sorts, and a defect there must not hide what else is to be said.
fn guarded<T>(stage: &Stage, diagnostics: &mut Diagnostics, ask: impl FnOnce() -> T) -> Option<T> {
    // Nothing that `ask` could have left half done is used after a panic.
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask));
    answer
        .map_err(|_| {
            let uses = stage.uses.as_ref();
            let kind = uses.map_or("", |uses| uses.value.as_str());
            diagnostics.push(
                Diagnostic::error(
                    "internal",
                    uses.map_or(stage.name.span, |uses| uses.span),
                    format!("kind `{kind}` failed while it checked stage `{}`", stage.name.value),
                )
                .help("this is a defect of wick: report it with this file and what is said above"),
            );
        })
        .ok()
}

/// `None` only where something was wrong, and was reported.
fn planned(
    draft: Draft<'_>,
    base: &Path,
    inputs: Vec<PlannedInput>,
    after: Vec<StageIndex>,
) -> Option<PlannedStage> {
    let Draft { stage, kind, config, ports, checked, .. } = draft;
    let (kind, checked) = (kind?, checked?);
    Some(PlannedStage {
        name: StageName::new(&stage.name.value).ok()?,
        instance: None,
        foreach: None,
        base: base.to_owned(),
        description: stage.description,
        kind: KindName::new(kind.name()).ok()?,
        revision: kind.revision(),
        config: config?,
        inputs,
        outputs: ports?
            .outputs
            .into_iter()
            .map(|output| PlannedOutput { port: output.name, port_type: output.port_type })
            .collect(),
        after,
        join: Join::All,
        condition: None,
        retry: Retry {
            attempts: stage.retry.attempts,
            backoff: stage.retry.backoff,
            ..Retry::default()
        },
        timeout: stage.timeout,
        resources: Resources {
            cpus: stage.resources.cpus,
            memory: stage.resources.memory,
            gpus: stage.resources.gpus,
            ..Resources::default()
        },
        cache: stage.cache,
        sources: checked.sources,
        source_fields: checked.source_fields.iter().map(|path| config_path(path)).collect(),
        ordered_fields: checked.ordered_fields.iter().map(|path| config_path(path)).collect(),
        neutral_fields: checked.neutral_fields.iter().map(|path| config_path(path)).collect(),
        environment: checked.environment,
        metrics: checked.metrics,
    })
}
