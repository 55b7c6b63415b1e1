//! From the text of a pipeline to a [`Plan`], or to all that is wrong with it.
//!
//! Each step looks only at what the steps before it found sound, so that one mistake is
//! reported once: a stage whose configuration is wrong has no ports, and nothing is said of the
//! edges that reach them; a stage whose inputs are wrong is not checked against them, and what
//! it makes is known by its type alone.

use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;
use serde_json::Value;
use wick_core::PortName;
use wick_pipeline::files;
use wick_pipeline::subpipeline::Role;
use wick_pipeline::{
    Condition, Diagnostic, Diagnostics, Given, KnownList, Loader, Override, Pipeline, Schedule,
    Severity, Sources, Span, Spanned, Stage,
};
use wick_stage::{Checked, Issue, Kind, Known, PortFacts, Ports, Registry};

use crate::link::{self, Asked, From, Link};
use crate::machine::Machine;
use crate::open::{self, Samples};
use crate::place;
use crate::plan::Plan;
use crate::subpipeline;
use crate::times::Times;
use crate::{build, machine, schema};

/// What to check, and against what.
#[derive(Clone)]
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
    /// The lists that are known, of those that `foreach` names. A stage whose list is known is
    /// planned instance by instance, as one with a matrix is; of one whose list is not known or is
    /// empty the plan has a template.
    pub lists: &'a [KnownList],
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
        lists: request.lists,
        prefix: "",
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
        Some(Outcome::Plan(plan)) => (plan.map(|plan| *plan), None),
        Some(Outcome::Part(stages)) => (None, Some(stages)),
    };
    Verdict { plan, diagnostics, sources, part }
}

/// What a pipeline without mistakes is.
enum Outcome {
    /// One that can run.
    Plan(Option<Box<Plan>>),
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
    /// Configurations with samples for what depends on an item that is not known.
    pub samples: Option<Samples>,
    /// The stages that come before without giving data, by place in the file.
    pub after: Vec<usize>,
    /// The list of a template: the stage that makes it, and its output.
    pub list: Option<(usize, PortName)>,
    /// What `when` says, with the stages that it asks found.
    pub condition: Option<Condition>,
    /// The metrics that it asks of other stages.
    pub asked: Vec<Asked>,
    /// Whether every edge could be joined and every input has one.
    pub linked: bool,
    /// What its kind found, if it could look.
    pub checked: Option<Box<Checked>>,
}

struct Checker<'a, 'd> {
    request: &'a Request<'a>,
    sources: &'a Sources,
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
                samples: None,
                after: Vec::new(),
                list: None,
                condition: None,
                asked: Vec::new(),
                linked: false,
                checked: None,
            })
            .collect();
        Self { request, sources, diagnostics, pipeline, drafts }
    }

    fn plan(mut self) -> Outcome {
        self.read_configurations();
        for draft in self.drafts.iter().filter(|draft| draft.stage.role == Role::Stage) {
            self.diagnostics.enter(draft.stage.speaker());
            machine::check(&draft.stage, &self.request.machine, self.diagnostics);
        }
        self.diagnostics.enter(None);
        if let Some(schedule) = &self.pipeline.schedule {
            check_schedule(schedule, self.diagnostics);
        }
        let order = link::link(&mut self.drafts, self.sources, self.diagnostics);
        for &stage in &order {
            self.diagnostics.enter(self.drafts[stage].stage.speaker());
            self.check_stage(stage);
        }
        self.diagnostics.enter(None);
        if self.diagnostics.errors() > 0 {
            return Outcome::Plan(None);
        }
        if self.pipeline.interface.inputs_key.is_some() {
            let stages = self.drafts.iter().filter(|draft| draft.stage.role == Role::Stage);
            return Outcome::Part(stages.count());
        }
        let plan = build::plan(self.request, self.sources, self.pipeline, self.drafts, &order);
        Outcome::Plan(plan.map(Box::new))
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
            self.diagnostics.enter(draft.stage.speaker());
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
            if open::is_open(&draft.stage.with) {
                let Some(samples) = open::samples(schema, &draft.stage.with) else { continue };
                if let Some((ports, samples)) =
                    ports_of_samples(&draft.stage, kind, samples, self.diagnostics)
                {
                    draft.ports = Some(ports);
                    draft.samples = Some(samples);
                    draft.config = Some(config);
                }
                continue;
            }
            match ports_of(&draft.stage, kind, &config, self.diagnostics) {
                Some(Ok(ports)) => {
                    draft.ports = Some(ports);
                    draft.config = Some(config);
                }
                Some(Err(issues)) => {
                    for issue in issues {
                        self.diagnostics.push(place::diagnostic(&draft.stage, issue));
                    }
                }
                None => {}
            }
        }
        self.diagnostics.enter(None);
    }

    /// Lets the kind look at what arrives at the stage.
    fn check_stage(&mut self, place: usize) {
        let mut told = None;
        for asked in std::mem::take(&mut self.drafts[place].asked) {
            // All instances are asked at one place.
            if told != Some(asked.span) && self.check_metric(&asked) {
                told = Some(asked.span);
            }
        }
        let draft = &self.drafts[place];
        let inputs: IndexMap<PortName, PortFacts> =
            draft.links.iter().map(|link| (link.port.clone(), self.facts(link))).collect();
        if draft.stage.role != Role::Stage {
            // It hands on what it takes.
            let mut checked = Checked::default();
            checked.outputs.extend(inputs);
            self.drafts[place].checked = Some(Box::new(checked));
            return;
        }
        let (Some(kind), Some(config), true) = (draft.kind, &draft.config, draft.linked) else {
            return;
        };
        let known = Known { base: self.base_of(&draft.stage), inputs: &inputs };
        let checked = match &draft.samples {
            None => guarded(&draft.stage, self.diagnostics, || kind.check(config, &known)),
            Some(Samples { configs, varied }) => guarded(&draft.stage, self.diagnostics, || {
                open::common(configs.iter().map(|c| kind.check(c, &known)).collect(), *varied)
            }),
        };
        let Some(mut checked) = checked else { return };
        let issues = std::mem::take(&mut checked.issues);
        if issues.is_empty() {
            self.drafts[place].checked = Some(Box::new(checked));
            return;
        }
        for issue in issues.into_vec() {
            self.diagnostics.push(place::diagnostic(&self.drafts[place].stage, issue));
        }
    }

    /// What is known of the value on an edge.
    fn facts(&self, link: &Link) -> PortFacts {
        let unknown = PortFacts::unknown(link.port_type);
        let of = |maker: &usize| {
            let checked = self.drafts[*maker].checked.as_ref()?;
            checked.outputs.get(&link.output).filter(|facts| facts.port_type == link.port_type)
        };
        let mut makers = link.from.makers().iter().map(of);
        match (&link.from, makers.next().flatten()) {
            (From::Gather(_), _) | (_, None) => unknown,
            // Whichever is chosen, this is known of it.
            (_, Some(first)) if makers.all(|other| other == Some(first)) => first.clone(),
            _ => unknown,
        }
    }

    /// Tells if the stage that is asked for a metric does not report it, as far as that is known.
    fn check_metric(&mut self, asked: &Asked) -> bool {
        let maker = &self.drafts[asked.stage];
        let Some(known) = maker.checked.as_ref().and_then(|checked| checked.metrics.as_ref())
        else {
            return false;
        };
        if known.contains(&asked.key) {
            return false;
        }
        let message =
            format!("stage `{}` reports no metric `{}`", maker.stage.name.value, asked.key);
        let help = match known.as_slice() {
            [] => Some("it reports none".to_owned()),
            known => self.diagnostics.suggest(&asked.key, known.iter().map(String::as_str)),
        };
        self.diagnostics
            .push(Diagnostic::error("unknown-metric", asked.span, message).maybe_help(help));
        true
    }

    /// The folder that paths in `stage` are meant from: that of the file it is written in.
    fn base_of(&self, stage: &Stage) -> &'a Path {
        files::folder(self.sources.get(stage.name.span.file).path())
    }
}

/// Whether the times of a schedule can be understood.
fn check_schedule(schedule: &Spanned<Schedule>, diagnostics: &mut Diagnostics) {
    let Some(cron) = &schedule.value.cron else { return };
    if let Err(error) = Times::parse(cron, schedule.value.timezone.as_deref()) {
        let help = error.help();
        diagnostics
            .push(Diagnostic::error("bad-schedule", schedule.span, error.to_string()).help(help));
    }
}

/// The ports of a stage with this configuration, its inputs connected.
fn ports_of(
    stage: &Stage,
    kind: &dyn Kind,
    config: &Value,
    diagnostics: &mut Diagnostics,
) -> Option<Result<Ports, Vec<Issue>>> {
    let mut ports = guarded(stage, diagnostics, || kind.ports(config))?;
    if let Ok(ports) = &mut ports {
        ports.connect(stage.inputs.iter().map(|edge| edge.port.value.as_str()));
    }
    Some(ports)
}

/// The ports of a template must be known before its list is.
fn depends_on_item(stage: &Stage, at: Span) -> Diagnostic {
    let message = format!("what stage `{}` takes and makes depends on the item", stage.name.value);
    Diagnostic::error("bad-config", at, message)
        .help("let all of its instances have the same inputs and outputs")
}

/// The ports that a stage has whatever the item is, and the samples that make them.
fn ports_of_samples(
    stage: &Stage,
    kind: &dyn Kind,
    samples: Samples,
    diagnostics: &mut Diagnostics,
) -> Option<(Ports, Samples)> {
    let mut found: Option<Ports> = None;
    let mut refused = Vec::new();
    let mut configs = Vec::with_capacity(samples.configs.len());
    for config in samples.configs {
        match ports_of(stage, kind, &config, diagnostics)? {
            Ok(ports) if found.as_ref().is_none_or(|found| *found == ports) => {
                found = Some(ports);
                configs.push(config);
            }
            Ok(_) => {
                let at = stage.with_key.unwrap_or(stage.name.span);
                diagnostics.push(depends_on_item(stage, at));
                return None;
            }
            Err(issues) => refused.push(issues),
        }
    }
    if found.is_none() {
        // Nothing that was tried will do: the place that the kind points at decides too much.
        for issue in refused.into_iter().next().unwrap_or_default() {
            let at = place::diagnostic(stage, issue).span;
            diagnostics.push(depends_on_item(stage, at));
        }
    }
    let varied = samples.varied && configs.len() > 1;
    found.map(|ports| (ports, Samples { configs, varied }))
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
