//! Tells of stages that need each other in a circle.

use std::collections::{HashMap, HashSet};

use wick_pipeline::subpipeline::Role;
use wick_pipeline::{Diagnostic, Diagnostics, Span};

use crate::check::Draft;
use crate::graph::Graph;
use crate::subpipeline::{self, called};

/// Reports the cycles of `graph`; of those that go through instances of the same stages one.
pub(crate) fn report(
    graph: &Graph,
    drafts: &[Draft<'_>],
    reasons: &HashMap<(usize, usize), Span>,
    diagnostics: &mut Diagnostics,
) {
    let mut told: HashSet<Vec<&str>> = HashSet::new();
    for cycle in graph.cycles() {
        let mut templates: Vec<&str> = cycle
            .iter()
            .map(|place| {
                let stage = &drafts[*place].stage;
                stage.instance.as_ref().map_or(stage.name.value.as_str(), |of| &of.template)
            })
            .collect();
        templates.sort_unstable();
        templates.dedup();
        if told.insert(templates) {
            diagnostics.push(cycle_diagnostic(&cycle, drafts, reasons));
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
