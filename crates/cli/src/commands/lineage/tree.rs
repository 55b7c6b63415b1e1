//! The graph as a tree of lines: below each thing what it came from, or what became of it.

use std::collections::HashSet;

use super::graph::{Edge, Graph, Node};
use crate::render::style::attempt_paint;
use crate::render::{Paint, Ui, human};

/// Which way the branches grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To what it came from.
    Back,
    /// To what became of it.
    Forward,
}

/// The narrowest that a line is cut to, however deep it lies.
const LEAST_WIDTH: usize = 40;

/// A line to be written: the node, the port by which it was reached, what stands before it, and
/// what stands before what hangs below it.
struct Branch {
    node: usize,
    port: Option<String>,
    before: String,
    below: String,
}

/// The lines of the tree.
pub fn lines(ui: &Ui, graph: &Graph, way: Way) -> Vec<String> {
    let mut branches = vec![Vec::new(); graph.nodes.len()];
    for edge in &graph.edges {
        let (from, to) = ends(edge, way);
        branches[from].push((to, edge.port.clone()));
    }
    let mut lines = Vec::new();
    let mut told = HashSet::new();
    let mut stack: Vec<Branch> = graph
        .roots
        .iter()
        .rev()
        .map(|root| Branch { node: *root, port: None, before: String::new(), below: String::new() })
        .collect();
    while let Some(branch) = stack.pop() {
        if branch.port.as_deref() == Some(MORE) {
            let text = ui.out.paint(Paint::Faint, "… and more: --depth and --limit show it");
            lines.push(format!("{}{text}", branch.before));
            continue;
        }
        let is_new = told.insert(branch.node);
        let own = &branches[branch.node];
        // What has nothing below it can be told again in full.
        lines.push(line(ui, graph, &branch, !is_new && !own.is_empty()));
        if !is_new {
            continue;
        }
        let is_cut = graph.cut.contains(&branch.node);
        let stem = if own.is_empty() && !is_cut { "   " } else { "│  " };
        lines.extend(details(ui, graph, &branch, stem));
        if is_cut {
            // The last of its branches, so the first on the stack.
            stack.push(Branch {
                node: branch.node,
                port: Some(MORE.to_owned()),
                before: format!("{}└─ ", branch.below),
                below: String::new(),
            });
        }
        for (place, (node, port)) in own.iter().enumerate().rev() {
            let is_last = place + 1 == own.len() && !is_cut;
            stack.push(Branch {
                node: *node,
                port: port.clone(),
                before: format!("{}{}", branch.below, if is_last { "└─ " } else { "├─ " }),
                below: format!("{}{}", branch.below, if is_last { "   " } else { "│  " }),
            });
        }
    }
    lines
}

/// Stands in the place of a port where a line only says that there is more. No port is called so.
const MORE: &str = "…";

fn ends(edge: &Edge, way: Way) -> (usize, usize) {
    match way {
        Way::Back => (edge.to, edge.from),
        Way::Forward => (edge.from, edge.to),
    }
}

fn line(ui: &Ui, graph: &Graph, branch: &Branch, again: bool) -> String {
    let node = &graph.nodes[branch.node];
    let title = node.title();
    let paint = match node {
        Node::Attempt { state, .. } => attempt_paint(*state),
        Node::Model { .. } | Node::Run { .. } => Paint::Strong,
        Node::Artifact { .. } => Paint::Plain,
        Node::Source { .. } => Paint::Calm,
    };
    let port = branch.port.as_ref().map(|port| format!("{port}: ")).unwrap_or_default();
    let facts = if again { "as above".to_owned() } else { node.facts(human::now()).join(", ") };
    let used = branch.before.chars().count() + port.chars().count() + title.chars().count() + 2;
    let facts = human::cut(&facts, room(ui, used));
    format!(
        "{}{}{}  {}",
        branch.before,
        ui.out.paint(Paint::Faint, port),
        ui.out.paint(paint, title),
        ui.out.paint(Paint::Faint, facts)
    )
}

/// What an attempt was told, below it.
fn details(ui: &Ui, graph: &Graph, branch: &Branch, stem: &str) -> Option<String> {
    let Node::Attempt { with, .. } = &graph.nodes[branch.node] else { return None };
    let told: Vec<String> = with
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("…")))
        .collect();
    if told.is_empty() {
        return None;
    }
    let before = format!("{}{stem}", branch.below);
    let text = format!("with {}", told.join(", "));
    let text = match ui.verbosity > 0 {
        true => text,
        false => human::cut(&text, room(ui, before.chars().count())),
    };
    Some(format!("{before}{}", ui.out.paint(Paint::Faint, text)))
}

/// How many characters are left of a line; where nobody looks at it, it may be long.
fn room(ui: &Ui, used: usize) -> usize {
    let width = ui.width.map_or(240, usize::from);
    width.saturating_sub(used).max(LEAST_WIDTH)
}
