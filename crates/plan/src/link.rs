//! Joins the edges: every input to an output of its type.

use std::collections::HashMap;

use wick_core::{PortName, PortType};
use wick_pipeline::pipeline::COMMAND_KIND;
use wick_pipeline::subpipeline::{INPUTS, Role};
use wick_pipeline::suggest;
use wick_pipeline::template::{self, Piece, Places};
use wick_pipeline::{Data, Diagnostic, Diagnostics, Edge, Node, Sources, Span, Spanned};
use wick_stage::Ports;

use crate::check::Draft;
use crate::graph::Graph;
use crate::subpipeline::{self, called};

/// An edge that was joined.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// The port that reads.
    pub port: PortName,
    /// The place in the file of the stage that makes the value.
    pub from: usize,
    /// Its output.
    pub output: PortName,
    /// The type of both.
    pub port_type: PortType,
}

/// Joins all edges, and returns the order in which stages can run; stages that a cycle holds up
/// are not in it.
pub(crate) fn link(
    drafts: &mut [Draft<'_>],
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Vec<usize> {
    let names: HashMap<String, usize> = drafts
        .iter()
        .enumerate()
        .map(|(place, draft)| (draft.stage.name.value.clone(), place))
        .collect();
    let mut graph = Graph::new(drafts.len());
    // Where one stage says that it needs another: to show a cycle.
    let mut reasons: HashMap<(usize, usize), Span> = HashMap::new();
    // What a sub-pipeline makes is known by what ends in it: inner ones stand before outer ones.
    let is_outputs = |place: &usize| drafts[*place].stage.role == Role::Outputs;
    let (outputs, others): (Vec<usize>, Vec<usize>) = (0..drafts.len()).partition(is_outputs);
    for place in outputs.into_iter().chain(others) {
        let errors_before = diagnostics.errors();
        let mut links = Vec::with_capacity(drafts[place].stage.inputs.len());
        for edge in &drafts[place].stage.inputs {
            let Some(&from) = names.get(&edge.stage.value) else {
                unknown_stage(&edge.stage, &drafts[place], drafts, diagnostics);
                continue;
            };
            graph.add(place, from);
            reasons.entry((place, from)).or_insert(edge.stage.span);
            links.extend(join(edge, &drafts[place], from, &drafts[from], diagnostics));
        }
        for after in &drafts[place].stage.after {
            match names.get(&after.value) {
                Some(other) => {
                    graph.add(place, *other);
                    reasons.entry((place, *other)).or_insert(after.span);
                }
                None => unknown_stage(after, &drafts[place], drafts, diagnostics),
            }
        }
        missing_inputs(&drafts[place], diagnostics);
        run_references(&drafts[place], sources, diagnostics);
        let draft = &mut drafts[place];
        // An edge may be left out without an error here: its producer is broken, and its type
        // unknown.
        draft.linked = diagnostics.errors() == errors_before
            && draft.stage.sound
            && links.len() == draft.stage.inputs.len();
        draft.links = links;
        subpipeline::know_outputs(draft);
        for owner in subpipeline::owners(&drafts[place].stage.name.value) {
            // From outside, a sub-pipeline is one stage.
            if let Some(outputs) = names.get(owner) {
                graph.add(*outputs, place);
            }
            if let Some(inputs) = names.get(&format!("{owner}/{INPUTS}"))
                && *inputs != place
            {
                graph.add(place, *inputs);
            }
        }
    }
    let order = graph.order();
    if order.len() < drafts.len() {
        for cycle in graph.cycles() {
            diagnostics.push(cycle_diagnostic(&cycle, drafts, &reasons));
        }
    }
    order
}

/// Reports that `reader` names a stage that its file does not have.
fn unknown_stage(
    name: &Spanned<String>,
    reader: &Draft<'_>,
    drafts: &[Draft<'_>],
    diagnostics: &mut Diagnostics,
) {
    // Stages know those of their own file alone, and call them by the names that they have there.
    let prefix = match reader.stage.role {
        Role::Outputs if reader.stage.name.value.is_empty() => String::new(),
        Role::Outputs => format!("{}/", reader.stage.name.value),
        Role::Inputs(_) => prefix_of(subpipeline::called(&reader.stage)),
        Role::Stage => prefix_of(&reader.stage.name.value),
    };
    let own = |name: &str| !name.is_empty() && !name.contains('/');
    let known = drafts
        .iter()
        .filter(|draft| !matches!(draft.stage.role, Role::Inputs(_)))
        .filter_map(|draft| draft.stage.name.value.strip_prefix(&prefix).filter(|name| own(name)));
    let written = name.value.strip_prefix(&prefix).unwrap_or(&name.value);
    let diagnostic = if written == INPUTS {
        let help = "declare what it takes at the top of the file: `inputs: {NAME: TYPE}`";
        Diagnostic::error("unknown-input", name.span, "the pipeline has no inputs").help(help)
    } else {
        let help = diagnostics.suggest(written, known);
        Diagnostic::error("unknown-stage", name.span, format!("there is no stage `{written}`"))
            .maybe_help(help)
    };
    diagnostics.push(diagnostic);
}

/// What the names of the stages in the same file as the stage called `name` start with.
fn prefix_of(name: &str) -> String {
    name.rfind('/').map_or_else(String::new, |at| name[..=at].to_owned())
}

/// Joins one edge; `None` if it cannot be, or if one of its ends is unknown.
fn join(
    edge: &Edge,
    reader: &Draft<'_>,
    from: usize,
    maker: &Draft<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<Link> {
    let output = find_output(edge, maker, diagnostics);
    let ports = reader.ports.as_ref()?;
    let Some(types) = ports.input_types(&edge.port.value) else {
        unknown_input(edge, reader, ports, diagnostics);
        return None;
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
        let maker_name = match maker.stage.role {
            Role::Inputs(_) => INPUTS,
            Role::Stage | Role::Outputs => &edge.stage.value,
        };
        let fitting: Vec<String> = maker_ports
            .into_iter()
            .flat_map(|ports| &ports.outputs)
            .filter(|output| types.contains(&output.port_type))
            .map(|output| format!("{maker_name}.{}", output.name))
            .collect();
        let help = if fitting.is_empty() {
            match maker.stage.role {
                Role::Inputs(_) => format!("the pipeline is given no {}", wanted.join(" or ")),
                _ => format!("stage `{}` makes no {}", edge.stage.value, wanted.join(" or ")),
            }
        } else {
            format!("did you mean {}?", suggest::alternatives(&fitting))
        };
        diagnostics.push(
            Diagnostic::error(
                "port-type",
                edge.stage.span,
                format!(
                    "input `{}` takes a {}, and `{}.{}` is a {}",
                    edge.port.value,
                    wanted.join(" or a "),
                    maker_name,
                    output,
                    port_type
                ),
            )
            .label(format!("this is a {port_type}"))
            .help(help),
        );
        return None;
    }
    Some(Link { port: PortName::new(&edge.port.value).ok()?, from, output, port_type })
}

/// The output that `edge` means.
fn find_output(
    edge: &Edge,
    maker: &Draft<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<(PortName, PortType)> {
    let ports = maker.ports.as_ref()?;
    let stage = &edge.stage.value;
    let names: Vec<&str> = ports.outputs.iter().map(|output| output.name.as_str()).collect();
    let found = match &edge.output {
        Some(name) => ports.outputs.iter().find(|output| output.name == name.value.as_str()),
        None => ports.primary(),
    };
    if let Some(output) = found {
        return Some((output.name.clone(), output.port_type));
    }
    if let Role::Inputs(declared) = &maker.stage.role {
        subpipeline::unknown_input(edge, declared, diagnostics);
        return None;
    }
    let span = edge.output.as_ref().map_or(edge.stage.span, |output| output.span);
    let diagnostic = match (&edge.output, names.as_slice()) {
        (_, []) => Diagnostic::error(
            "unknown-output",
            span,
            format!("stage `{stage}` makes nothing that could be read"),
        )
        .help(format!("to run after it, write `after: [{stage}]`")),
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

/// Checks the references in a command's `run` that its attempt will replace.
fn run_references(draft: &Draft<'_>, sources: &Sources, diagnostics: &mut Diagnostics) {
    let (Some(ports), Some(COMMAND_KIND)) =
        (&draft.ports, draft.stage.uses.as_ref().map(|uses| uses.value.as_str()))
    else {
        return;
    };
    let Some(run) = draft.stage.with.get("run") else { return };
    let words: &[Node] = match &run.value.data {
        Data::List(words) => words,
        _ => std::slice::from_ref(&run.value),
    };
    let inputs: Vec<&str> =
        draft.stage.inputs.iter().map(|edge| edge.port.value.as_str()).collect();
    let outputs: Vec<&str> = ports.outputs.iter().map(|output| output.name.as_str()).collect();
    for word in words {
        let Some(text) = word.as_text() else { continue };
        let places = Places { source: sources.text(word.span.file), span: word.span, text };
        for reference in template::pieces(text).into_iter().filter_map(|piece| match piece {
            Ok(Piece::Reference(reference)) => Some(reference),
            _ => None,
        }) {
            let (known, what) = match reference.scope {
                "inputs" => (inputs.as_slice(), "input"),
                "outputs" => (outputs.as_slice(), "output"),
                "run" => (["id"].as_slice(), "value"),
                _ => continue,
            };
            if known.contains(&reference.name) {
                continue;
            }
            let help = match known {
                [] => Some(format!("declare it: `{}: {{{}: …}}`", reference.scope, reference.name)),
                _ => diagnostics.suggest(reference.name, known.iter().copied()),
            };
            let whose = match what {
                "value" => "a run".to_owned(),
                _ => format!("stage `{}`", draft.stage.name.value),
            };
            diagnostics.push(
                Diagnostic::error(
                    "bad-reference",
                    places.of(reference.start, reference.end),
                    format!("{whose} has no {what} `{}`", reference.name),
                )
                .maybe_help(help),
            );
        }
    }
}

fn cycle_diagnostic(
    cycle: &[usize],
    drafts: &[Draft<'_>],
    reasons: &HashMap<(usize, usize), Span>,
) -> Diagnostic {
    let name = |place: usize| called(&drafts[place].stage);
    let reason = |pair: (usize, usize)| {
        reasons.get(&pair).copied().unwrap_or(drafts[pair.0].stage.name.span)
    };
    // Of a sub-pipeline that the circle goes through, only itself is shown: what it reads.
    let through: Vec<&str> = cycle
        .iter()
        .map(|place| &drafts[*place].stage)
        .filter(|stage| stage.role == Role::Outputs)
        .map(|stage| stage.name.value.as_str())
        .collect();
    let is_shown = |place: usize| {
        let name = name(place);
        let inside = subpipeline::owners(name).any(|owner| through.contains(&owner));
        !inside && drafts[place].stage.role != Role::Outputs
    };
    let pairs: Vec<(usize, usize)> = cycle
        .iter()
        .enumerate()
        .map(|(at, stage)| (*stage, cycle[(at + 1) % cycle.len()]))
        .filter(|(place, _)| is_shown(*place))
        .collect();
    if let [(only, need)] = pairs.as_slice() {
        return Diagnostic::error(
            "cycle",
            reason((*only, *need)),
            format!("stage `{}` needs itself", name(*only)),
        )
        .help("let it read from another stage");
    }
    let shown: Vec<&str> = pairs.iter().take(12).map(|(stage, _)| name(*stage)).collect();
    let dots = if pairs.len() > shown.len() { " → …" } else { "" };
    let mut diagnostic = Diagnostic::error(
        "cycle",
        reason(pairs[0]),
        format!("stages need each other in a circle: {}{dots} → {}", shown.join(" → "), shown[0]),
    )
    .label(format!("`{}` needs `{}`", name(pairs[0].0), name(pairs[0].1)))
    .help("remove one of these edges");
    for pair in pairs.iter().skip(1).take(12) {
        diagnostic = diagnostic
            .related(reason(*pair), format!("`{}` needs `{}`", name(pair.0), name(pair.1)));
    }
    diagnostic
}
