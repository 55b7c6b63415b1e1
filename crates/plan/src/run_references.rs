//! The references in a command's `run` that its attempt will replace.

use wick_pipeline::pipeline::COMMAND_KIND;
use wick_pipeline::template::{self, Piece, Places};
use wick_pipeline::{Data, Diagnostic, Diagnostics, Node, Sources};

use crate::check::Draft;

/// Checks the references in a command's `run` that its attempt will replace.
pub(crate) fn check(draft: &Draft<'_>, sources: &Sources, diagnostics: &mut Diagnostics) {
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
