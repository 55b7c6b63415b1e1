//! Joins the edges: every input to an output of its type.

use std::collections::HashMap;

use wick_core::{PortName, PortType};
use wick_pipeline::condition::Reference;
use wick_pipeline::subpipeline::{INPUTS, Role};
use wick_pipeline::{
    Condition, Diagnostic, Diagnostics, Edge, Mode, Sources, Span, Spanned, Target, suggest,
};
use wick_stage::Ports;

use crate::check::Draft;
use crate::graph::Graph;
use crate::names::{Found, Names, Purpose, written};
use crate::subpipeline::{self, called};
use crate::{cycles, run_references};

/// An edge that was joined.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// The port that reads.
    pub port: PortName,
    /// The stages that make the value, by place in the file, and how they go together.
    pub from: From,
    /// Their output.
    pub output: PortName,
    /// The type of both; of a port that gathers, the type of each item.
    pub port_type: PortType,
}

/// Where an edge comes from.
#[derive(Debug, Clone)]
pub(crate) enum From {
    /// One stage.
    One(usize),
    /// All of these.
    Gather(Vec<usize>),
    /// The best of these.
    Select {
        /// The instances.
        from: Vec<usize>,
        /// The key of the metric.
        metric: String,
        /// The stages that have it, if they are others.
        of: Vec<usize>,
        /// Which end is best.
        mode: Mode,
    },
}

impl From {
    /// The stages whose outputs are read, or may be.
    pub(crate) fn makers(&self) -> &[usize] {
        match self {
            From::One(from) => std::slice::from_ref(from),
            From::Gather(from) | From::Select { from, .. } => from,
        }
    }

    /// Every stage that must have ended before.
    pub(crate) fn needs(&self) -> impl Iterator<Item = usize> + '_ {
        let of = match self {
            From::Select { of, .. } => of.as_slice(),
            From::One(_) | From::Gather(_) => &[],
        };
        self.makers().iter().chain(of).copied()
    }
}

/// A metric that a stage asks of another.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The stage that should report it.
    pub stage: usize,
    /// The metric.
    pub key: String,
    /// Where it is asked.
    pub span: Span,
}

/// What the stages of a pipeline need.
pub(crate) struct Linker<'a, 'd> {
    names: Names,
    sources: &'a Sources,
    diagnostics: &'d mut Diagnostics,
    graph: Graph,
    /// Where one stage says that it needs another: to show a cycle.
    reasons: HashMap<(usize, usize), Span>,
}

/// What one stage needs.
#[derive(Default)]
struct Needs {
    links: Vec<Link>,
    after: Vec<usize>,
    list: Option<(usize, PortName)>,
    condition: Option<Condition>,
    asked: Vec<Asked>,
}

/// Joins all edges, and returns the order in which stages can run; stages that a cycle holds up
/// are not in it.
pub(crate) fn link(
    drafts: &mut [Draft<'_>],
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Vec<usize> {
    let mut linker = Linker {
        names: Names::new(drafts),
        sources,
        diagnostics,
        graph: Graph::new(drafts.len()),
        reasons: HashMap::new(),
    };
    // What a sub-pipeline makes is known by what ends in it: inner ones stand before outer ones.
    let is_outputs = |place: &usize| drafts[*place].stage.role == Role::Outputs;
    let (outputs, others): (Vec<usize>, Vec<usize>) = (0..drafts.len()).partition(is_outputs);
    for place in outputs.into_iter().chain(others) {
        linker.diagnostics.enter(drafts[place].stage.speaker());
        let errors_before = linker.diagnostics.errors();
        let needs = linker.needs(place, drafts);
        let draft = &mut drafts[place];
        // An edge may be left out without an error here: its producer is broken, and its type
        // unknown.
        draft.linked = linker.diagnostics.errors() == errors_before
            && draft.stage.sound
            && needs.links.len() == draft.stage.inputs.len();
        draft.links = needs.links;
        draft.after = needs.after;
        draft.list = needs.list;
        draft.condition = needs.condition;
        draft.asked = needs.asked;
        subpipeline::know_outputs(draft);
        for owner in subpipeline::owners(&drafts[place].stage.name.value) {
            // From outside, a sub-pipeline is one stage.
            if let Some(outputs) = linker.names.exact(owner) {
                linker.graph.add(outputs, place);
            }
            if let Some(inputs) = linker.names.exact(&format!("{owner}/{INPUTS}"))
                && inputs != place
            {
                linker.graph.add(place, inputs);
            }
        }
    }
    linker.diagnostics.enter(None);
    let order = linker.graph.order();
    if order.len() < drafts.len() {
        cycles::report(&linker.graph, drafts, &linker.reasons, linker.diagnostics);
    }
    order
}

impl Linker<'_, '_> {
    fn needs(&mut self, place: usize, drafts: &[Draft<'_>]) -> Needs {
        let mut needs = Needs::default();
        let draft = &drafts[place];
        for edge in &draft.stage.inputs {
            needs.links.extend(self.edge(place, edge, drafts, &mut needs.asked));
        }
        for before in &draft.stage.after {
            let found = self.find(place, &before.stage, &before.which, Purpose::After, drafts);
            for other in found.into_iter().flat_map(Found::into_places) {
                self.need(place, other, before.stage.span);
                needs.after.push(other);
            }
        }
        self.list(place, drafts, &mut needs);
        self.condition(place, drafts, &mut needs);
        missing_inputs(draft, self.diagnostics);
        run_references::check(draft, self.sources, self.diagnostics);
        if let Some(span) = draft.stage.needs_any {
            needs_any(draft, span, &needs, self.diagnostics);
        }
        let mut seen = std::collections::HashSet::new();
        needs.after.retain(|other| seen.insert(*other));
        needs
    }

    fn find(
        &mut self,
        reader: usize,
        stage: &Spanned<String>,
        which: &wick_pipeline::Which,
        purpose: Purpose,
        drafts: &[Draft<'_>],
    ) -> Option<Found> {
        self.names.find(reader, stage, which, purpose, drafts, self.diagnostics)
    }

    /// Notes that the stage at `place` needs `other`, as it says at `span`.
    fn need(&mut self, place: usize, other: usize, span: Span) {
        self.graph.add(place, other);
        self.reasons.entry((place, other)).or_insert(span);
    }

    /// Joins one edge; `None` if it cannot be, or if one of its ends is unknown.
    fn edge(
        &mut self,
        place: usize,
        edge: &Edge,
        drafts: &[Draft<'_>],
        asked: &mut Vec<Asked>,
    ) -> Option<Link> {
        let found = self.find(place, &edge.stage, &edge.which, Purpose::Read, drafts)?;
        let from = match (found, &edge.select) {
            (Found::One(maker), _) => From::One(maker),
            (Found::All(makers), None) => From::Gather(makers),
            (Found::All(from), Some(select)) => {
                let of = match &select.of {
                    None => Vec::new(),
                    Some(of) => self.names.alike(&from, of, place, drafts, self.diagnostics)?,
                };
                let having = if of.is_empty() { &from } else { &of };
                if having.iter().any(|stage| drafts[*stage].stage.role != Role::Stage) {
                    let at = select.of.as_ref().map_or(edge.stage.span, |of| of.span);
                    self.diagnostics.push(no_metrics(at));
                    return None;
                }
                asked.extend(having.iter().map(|stage| Asked {
                    stage: *stage,
                    key: select.metric.value.clone(),
                    span: select.metric.span,
                }));
                let metric = select.metric.value.clone();
                From::Select { from, metric, of, mode: select.mode }
            }
        };
        for other in from.needs() {
            self.need(place, other, edge.stage.span);
        }
        let reader = &drafts[place];
        let many = !matches!(from, From::One(_));
        if many && from.makers().iter().any(|maker| chooses(*maker, drafts)) {
            let name = written(reader, &edge.stage.value);
            self.diagnostics.push(no_choice(edge.stage.span, name));
            return None;
        }
        let mut joined: Option<Link> = None;
        for maker in from.makers() {
            let (output, port_type) = join(edge, reader, &drafts[*maker], self.diagnostics)?;
            match &joined {
                Some(link) if link.port_type != port_type || link.output != output => {
                    self.diagnostics.push(
                        Diagnostic::error(
                            "port-type",
                            edge.stage.span,
                            format!(
                                "the instances of `{}` make different things",
                                edge.stage.value
                            ),
                        )
                        .label(format!(
                            "one makes `{}`, a {}, and another `{output}`, a {port_type}",
                            link.output, link.port_type
                        ))
                        .help("let all of them make outputs of the same name and type"),
                    );
                    return None;
                }
                Some(_) => {}
                None => {
                    let port = PortName::new(&edge.port.value).ok()?;
                    joined = Some(Link { port, from: from.clone(), output, port_type });
                }
            }
        }
        if matches!(from, From::Gather(_)) && !gathers(reader, &edge.port.value)? {
            let kind = reader.kind.map_or("", |kind| kind.name());
            self.diagnostics.push(
                Diagnostic::error(
                    "bad-instance",
                    edge.stage.span,
                    format!("input `{}` of a `{kind}` stage takes one value", edge.port.value),
                )
                .label("these are all instances")
                .help(format!(
                    "choose the best: `{{from: \"{}[*]\", select: {{metric: KEY, mode: min}}}}`; \
                     a `command` can gather all",
                    edge.stage.value
                )),
            );
            return None;
        }
        joined
    }

    /// The list of a `foreach`, known or not.
    fn list(&mut self, place: usize, drafts: &[Draft<'_>], needs: &mut Needs) {
        let stage = &drafts[place].stage;
        let of_instance = stage.instance.as_ref().and_then(|instance| instance.list.as_ref());
        let Some(list) = stage.foreach.as_deref().or(of_instance) else { return };
        let found = self.find(place, &list.stage, &list.which, Purpose::After, drafts);
        let Some(Found::One(maker)) = found else { return };
        self.need(place, maker, list.stage.span);
        let output = find_output(&list.stage, Some(&list.output), &drafts[maker], self.diagnostics);
        let Some((output, port_type)) = output else { return };
        if port_type != PortType::Value {
            self.diagnostics.push(
                Diagnostic::error(
                    "port-type",
                    list.stage.span,
                    format!(
                        "`foreach` takes a value, and `{}.{output}` is a {port_type}",
                        list.stage.value
                    ),
                )
                .label(format!("this is a {port_type}"))
                .help("let the stage write a JSON list into an output of type `value`"),
            );
            return;
        }
        if chooses(maker, drafts) {
            let name = written(&drafts[place], &list.stage.value);
            return self.diagnostics.push(no_choice(list.stage.span, name));
        }
        if stage.foreach.is_some() {
            needs.list = Some((maker, output));
        } else {
            // The instance is there because the list is; it still comes after it.
            needs.after.push(maker);
        }
    }

    /// Finds the stages that `when` asks, which become needs.
    fn condition(&mut self, place: usize, drafts: &[Draft<'_>], needs: &mut Needs) {
        let Some(when) = &drafts[place].stage.when else { return };
        let errors_before = self.diagnostics.errors();
        let asked = when.condition.references().into_iter().cloned();
        let mut resolved = Vec::with_capacity(when.spans.len());
        for (reference, span) in asked.zip(&when.spans) {
            let (Reference::Metric { stage: name, .. } | Reference::Output { stage: name, .. }) =
                &reference;
            let Some(target) = Target::parse(name) else { continue };
            let name = Spanned::new(target.stage, *span);
            let found = self.find(place, &name, &target.which, Purpose::Ask, drafts);
            let Some(Found::One(other)) = found else { continue };
            self.need(place, other, *span);
            needs.after.push(other);
            if matches!(reference, Reference::Metric { .. })
                && drafts[other].stage.role != Role::Stage
            {
                self.diagnostics.push(no_metrics(*span));
                continue;
            }
            let stage = drafts[other].stage.name.value.clone();
            match reference {
                Reference::Metric { key, .. } => {
                    needs.asked.push(Asked { stage: other, key: key.clone(), span: *span });
                    resolved.push(Reference::Metric { stage, key });
                }
                Reference::Output { path, .. } => {
                    resolved.extend(self.value(path, &name, other, drafts));
                }
            }
        }
        if self.diagnostics.errors() == errors_before && resolved.len() == when.spans.len() {
            let mut resolved = resolved.into_iter();
            let condition = when.condition.clone();
            let condition = condition
                .rewritten(&mut |reference| resolved.next().unwrap_or_else(|| reference.clone()));
            // Before the list is known, what depends on its items is left to the instances.
            needs.condition = Some(condition).filter(|_| !when.open);
        }
    }

    /// Tells the output in `path` from the keys into it.
    fn value(
        &mut self,
        mut path: Vec<String>,
        named: &Spanned<String>,
        place: usize,
        drafts: &[Draft<'_>],
    ) -> Option<Reference> {
        let maker = &drafts[place];
        let ports = maker.ports.as_ref()?;
        let first = path.first().cloned();
        let is_output = |name: &String| ports.outputs.iter().any(|port| port.name == name.as_str());
        let output = match first {
            Some(name) if is_output(&name) || ports.primary().is_none() => {
                path.remove(0);
                Some(Spanned::new(name, named.span))
            }
            _ => None,
        };
        let (output, port_type) = find_output(named, output.as_ref(), maker, self.diagnostics)?;
        if port_type != PortType::Value {
            self.diagnostics.push(
                Diagnostic::error(
                    "port-type",
                    named.span,
                    format!(
                        "a condition asks for a value, and `{}.{output}` is a {port_type}",
                        maker.stage.name.value
                    ),
                )
                .help("ask for an output of type `value`, or for a metric"),
            );
            return None;
        }
        if chooses(place, drafts) {
            self.diagnostics.push(no_choice(named.span, called(&maker.stage)));
            return None;
        }
        let (place, output) = subpipeline::follow(drafts, place, &output);
        let stage = drafts[place].stage.name.value.clone();
        Some(Reference::Output { stage, output: Some(output.to_string()), path })
    }
}

/// Whether the stage hands on the best of several, or all of them.
fn chooses(place: usize, drafts: &[Draft<'_>]) -> bool {
    let is_plain = |link: &Link| match link.from {
        From::One(from) => !chooses(from, drafts),
        From::Gather(_) | From::Select { .. } => false,
    };
    drafts[place].stage.role != Role::Stage && !drafts[place].links.iter().all(is_plain)
}

/// That something which takes the output of one stage alone is given a choice among several.
fn no_choice(at: Span, name: &str) -> Diagnostic {
    Diagnostic::error(
        "bad-instance",
        at,
        format!("`{name}` hands on what it chose among instances"),
    )
    .help("name one of its instances")
}

/// Metrics were asked of a sub-pipeline, where stages have them.
fn no_metrics(at: Span) -> Diagnostic {
    Diagnostic::error("unknown-metric", at, "a sub-pipeline has no metrics of its own")
        .help("write a metric into an output of type `value`, and ask for that with `values`")
}

impl Found {
    fn into_places(self) -> Vec<usize> {
        match self {
            Found::One(place) => vec![place],
            Found::All(places) => places,
        }
    }
}

/// Whether the port called `name` takes many values at once; `None` if the ports are not known.
fn gathers(reader: &Draft<'_>, name: &str) -> Option<bool> {
    let ports = reader.ports.as_ref()?;
    let fixed = ports.inputs.iter().any(|input| input.name == name);
    Some(!fixed && ports.any_input.as_ref().is_some_and(|any| any.gathers))
}

/// With `needs: any`, an input may have no value: its port must do without.
fn needs_any(draft: &Draft<'_>, span: Span, needs: &Needs, diagnostics: &mut Diagnostics) {
    let Some(ports) = &draft.ports else { return };
    let only = needs.links.len() == 1 && needs.after.is_empty();
    for link in needs.links.iter().filter(|link| matches!(link.from, From::One(_)) && !only) {
        let fixed = ports.inputs.iter().find(|input| input.name == link.port);
        let can_lack = match fixed {
            Some(input) => !input.required,
            None => ports.any_input.as_ref().is_some_and(|any| any.gathers),
        };
        let edge = draft.stage.inputs.iter().find(|edge| link.port == edge.port.value.as_str());
        if let (false, Some(edge)) = (can_lack, edge) {
            diagnostics.push(
                Diagnostic::error(
                    "needs-any",
                    edge.stage.span,
                    format!("input `{}` must have a value", link.port),
                )
                .label("with `needs: any` it may have none")
                .related(span, "the stage runs even if this one did not succeed")
                .help("write `needs: all`, or let a `command` stage look at what there is"),
            );
        }
    }
}

/// The output that `edge` reads of `maker`, which must be of a type that the port takes.
fn join(
    edge: &Edge,
    reader: &Draft<'_>,
    maker: &Draft<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<(PortName, PortType)> {
    let output = find_output(&edge.stage, edge.output.as_ref(), maker, diagnostics);
    let ports = reader.ports.as_ref()?;
    let Some(types) = ports.input_types(&edge.port.value) else {
        unknown_input(edge, reader, ports, diagnostics);
        return None;
    };
    let stage = match maker.stage.role {
        Role::Inputs(_) => INPUTS,
        Role::Stage | Role::Outputs => written(reader, &maker.stage.name.value),
    };
    let (output, port_type) = match (output, types) {
        (Some(output), _) => output,
        // The maker's configuration is wrong, so what it makes is not known. Let the reader be
        // checked as if it made what is wanted.
        (None, [wanted]) if maker.ports.is_none() => (PortName::new("unknown").ok()?, *wanted),
        _ => return None,
    };
    if !types.contains(&port_type) {
        let wanted: Vec<&str> = types.iter().map(|wanted| wanted.as_str()).collect();
        let maker_ports = maker.ports.as_ref();
        let fitting: Vec<String> = maker_ports
            .into_iter()
            .flat_map(|ports| &ports.outputs)
            .filter(|output| types.contains(&output.port_type))
            .map(|output| format!("{stage}.{}", output.name))
            .collect();
        let help = if fitting.is_empty() {
            match maker.stage.role {
                Role::Inputs(_) => format!("the pipeline is given no {}", wanted.join(" or ")),
                _ => format!("stage `{stage}` makes no {}", wanted.join(" or ")),
            }
        } else {
            format!("did you mean {}?", suggest::alternatives(&fitting))
        };
        diagnostics.push(
            Diagnostic::error(
                "port-type",
                edge.stage.span,
                format!(
                    "input `{}` takes a {}, and `{stage}.{output}` is a {port_type}",
                    edge.port.value,
                    wanted.join(" or a "),
                ),
            )
            .label(format!("this is a {port_type}"))
            .help(help),
        );
        return None;
    }
    Some((output, port_type))
}

/// The output of `maker`, which `named` names, that is called `output`, or its only or primary
/// one.
fn find_output(
    named: &Spanned<String>,
    output: Option<&Spanned<String>>,
    maker: &Draft<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<(PortName, PortType)> {
    let ports = maker.ports.as_ref()?;
    let stage = maker.stage.name.value.as_str();
    let stage = stage.rsplit('/').next().unwrap_or(stage);
    let names: Vec<&str> = ports.outputs.iter().map(|output| output.name.as_str()).collect();
    let found = match output {
        Some(name) => ports.outputs.iter().find(|output| output.name == name.value.as_str()),
        None => ports.primary(),
    };
    if let Some(output) = found {
        return Some((output.name.clone(), output.port_type));
    }
    if let Role::Inputs(declared) = &maker.stage.role {
        subpipeline::unknown_input(named, output, declared, diagnostics);
        return None;
    }
    let span = output.map_or(named.span, |output| output.span);
    let diagnostic = match (output, names.as_slice()) {
        (_, []) => Diagnostic::error(
            "unknown-output",
            span,
            format!("stage `{stage}` makes nothing that could be read"),
        )
        .help(match stage.contains('[') {
            true => format!("to run after it, write `after: [\"{stage}\"]`"),
            false => format!("to run after it, write `after: [{stage}]`"),
        }),
        (Some(name), _) => {
            let help = match suggest::nearest(&name.value, names.iter().copied()) {
                Some(nearest) => Some(format!("did you mean `{stage}.{nearest}`?")),
                None => diagnostics.suggest(&name.value, names.iter().copied()),
            };
            Diagnostic::error(
                "unknown-output",
                span,
                format!("stage `{stage}` has no output `{}`", name.value),
            )
            .maybe_help(help)
        }
        (None, _) => {
            let choices: Vec<String> =
                names.iter().take(12).map(|name| format!("{stage}.{name}")).collect();
            Diagnostic::error(
                "unknown-output",
                span,
                format!("stage `{stage}` has more than one output"),
            )
            .help(format!("name the one you mean: {}", suggest::alternatives(&choices)))
        }
    };
    diagnostics.push(diagnostic);
    None
}

fn unknown_input(edge: &Edge, reader: &Draft<'_>, ports: &Ports, diagnostics: &mut Diagnostics) {
    let known: Vec<&str> = ports.inputs.iter().map(|input| input.name.as_str()).collect();
    let kind = reader.stage.uses.as_ref().map_or("", |uses| uses.value.as_str());
    let help = if known.is_empty() {
        Some(format!("a `{kind}` stage takes no inputs"))
    } else {
        diagnostics.suggest(&edge.port.value, known)
    };
    diagnostics.push(
        Diagnostic::error(
            "unknown-input",
            edge.port.span,
            format!("stage `{}` has no input `{}`", called(&reader.stage), edge.port.value),
        )
        .maybe_help(help),
    );
}

fn missing_inputs(draft: &Draft<'_>, diagnostics: &mut Diagnostics) {
    let Some(ports) = &draft.ports else { return };
    // Something is wrong in `inputs` itself: what is missing may be what could not be read.
    if !draft.stage.sound && draft.stage.inputs_key.is_some() && draft.stage.inputs.is_empty() {
        return;
    }
    let stage = &draft.stage;
    // What the pipeline file itself is given comes from whoever uses it.
    if stage.name.value == INPUTS && stage.role != Role::Stage {
        return;
    }
    let at = stage.inputs_key.unwrap_or(stage.name.span);
    let name = called(stage);
    // Ports that a wrong name was probably meant to be: not reported as missing too.
    let free = || {
        let free = ports.inputs.iter().map(|input| input.name.as_str());
        free.filter(|name| stage.inputs.iter().all(|edge| edge.port.value != *name))
    };
    let unknown = stage.inputs.iter().filter(|edge| ports.input_types(&edge.port.value).is_none());
    let meant: Vec<&str> =
        unknown.filter_map(|edge| suggest::nearest(&edge.port.value, free())).collect();
    for input in &ports.inputs {
        let given = stage.inputs.iter().any(|edge| input.name == edge.port.value.as_str());
        if input.required && !given && !meant.contains(&input.name.as_str()) {
            let types: Vec<&str> = input.types.iter().map(|wanted| wanted.as_str()).collect();
            diagnostics.push(
                Diagnostic::error(
                    "missing-input",
                    at,
                    format!(
                        "stage `{name}` lacks the input `{}`, a {}",
                        input.name,
                        types.join(" or a ")
                    ),
                )
                .help(format!("write `inputs: {{{}: STAGE}}`", input.name)),
            );
        }
    }
    if let Some(any) = &ports.any_input {
        let named = |edge: &&Edge| ports.inputs.iter().any(|i| i.name == edge.port.value.as_str());
        let given = stage.inputs.iter().filter(|edge| !named(edge)).count();
        if given < any.at_least {
            let types: Vec<&str> = any.types.iter().map(|wanted| wanted.as_str()).collect();
            let noun = if any.at_least == 1 { "input" } else { "inputs" };
            diagnostics.push(
                Diagnostic::error(
                    "missing-input",
                    at,
                    format!("stage `{name}` takes at least {} {noun}", any.at_least),
                )
                .help(format!(
                    "write `inputs: {{NAME: STAGE}}`, where the stage makes a {}",
                    types.join(" or a ")
                )),
            );
        }
    }
}
