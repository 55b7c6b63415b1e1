//! From the path that a kind gives to the place in the file.

use wick_pipeline::{Data, Diagnostic, Node, Span, Stage};
use wick_stage::{Issue, PathSegment};

/// `issue` as a diagnostic of `stage`.
pub(crate) fn diagnostic(stage: &Stage, issue: Issue) -> Diagnostic {
    let span = find(stage, &issue.path, issue.at_key);
    let code = match issue.path.first() {
        Some(PathSegment::Key(key)) if key == "inputs" => "bad-input",
        _ => "bad-config",
    };
    Diagnostic::error(code, span, issue.message).maybe_help(issue.help)
}

/// The place that `path` leads to, or the nearest that there is.
fn find(stage: &Stage, path: &[PathSegment], at_key: bool) -> Span {
    match path.split_first() {
        Some((PathSegment::Key(key), rest)) if key == "with" => {
            let key_span = stage.with_key.unwrap_or(stage.name.span);
            inside(&stage.with, key_span, rest, at_key)
        }
        Some((PathSegment::Key(key), rest)) if key == "inputs" => {
            let port = match rest.first() {
                Some(PathSegment::Key(port)) => port,
                _ => return stage.inputs_key.unwrap_or(stage.name.span),
            };
            match stage.inputs.iter().find(|edge| edge.port.value == *port) {
                Some(edge) if at_key => edge.port.span,
                Some(edge) => edge.stage.span,
                None => stage.inputs_key.unwrap_or(stage.name.span),
            }
        }
        _ => stage.name.span,
    }
}

fn inside(root: &Node, root_key: Span, path: &[PathSegment], at_key: bool) -> Span {
    let mut node = root;
    let mut key_span = root_key;
    for segment in path {
        let next = match (segment, &node.data) {
            (PathSegment::Key(key), Data::Map(_)) => {
                node.get(key).map(|entry| (&entry.value, entry.key_span))
            }
            (PathSegment::Index(index), Data::List(items)) => {
                items.get(*index).map(|item| (item, item.span))
            }
            _ => None,
        };
        match next {
            Some((value, span)) => (node, key_span) = (value, span),
            // It does not exist: what should hold it is the nearest there is.
            None => return key_span,
        }
    }
    match &node.data {
        _ if at_key => key_span,
        // A block goes over many lines, and its key says what it is.
        Data::Map(_) | Data::List(_) => key_span,
        _ => node.span,
    }
}
