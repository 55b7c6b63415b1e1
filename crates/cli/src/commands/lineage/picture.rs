//! The graph as a drawing: SVG by our own hand, or DOT for Graphviz.

use std::fmt::Write;

use wick_report::draw::{GraphEdge, GraphNode, LayeredGraph};

use super::graph::{Graph, Node};
use crate::render::human;

/// How many facts stand below a title.
const MAX_FACTS: usize = 3;

/// How many values of a `with` stand in a box.
const MAX_WITH: usize = 3;

/// The drawing as SVG.
pub fn svg(graph: &Graph, title: &str) -> String {
    let nodes = graph.nodes.iter().map(|node| GraphNode {
        title: node.title(),
        lines: lines(node),
        colour: colour(node),
    });
    let edges = graph.edges.iter().map(|edge| GraphEdge { from: edge.from, to: edge.to });
    LayeredGraph { title: title.to_owned(), nodes: nodes.collect(), edges: edges.collect() }.svg()
}

/// One of the series colours for each sort of thing.
const fn colour(node: &Node) -> usize {
    match node {
        Node::Attempt { .. } => 0,
        Node::Model { .. } => 1,
        Node::Artifact { .. } => 2,
        Node::Source { .. } => 3,
        Node::Run { .. } => 4,
    }
}

fn lines(node: &Node) -> Vec<String> {
    let mut lines: Vec<String> = node.facts(human::now());
    if let Node::Attempt { with, .. } = node {
        // The kind and the run on one line, the rest below.
        let head: Vec<String> = lines.drain(..lines.len().min(2)).collect();
        lines.insert(0, head.join(", "));
        lines.truncate(MAX_FACTS);
        let told = with
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")));
        lines.extend(told.take(MAX_WITH));
        if with.len() > MAX_WITH {
            lines.push(format!("… and {} more", with.len() - MAX_WITH));
        }
    } else {
        lines.truncate(MAX_FACTS);
    }
    lines
}

/// The graph in the language of Graphviz.
pub fn dot(graph: &Graph, title: &str) -> String {
    let mut text = format!(
        "digraph {} {{\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n",
        quoted(title)
    );
    for (place, node) in graph.nodes.iter().enumerate() {
        let label: Vec<String> = std::iter::once(node.title()).chain(lines(node)).collect();
        let shape = match node {
            Node::Attempt { .. } => "box",
            Node::Artifact { .. } => "ellipse",
            Node::Source { .. } => "note",
            Node::Model { .. } => "box3d",
            Node::Run { .. } => "folder",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  n{place} [label={}, shape={shape}];", quoted(&label.join("\n")));
    }
    for edge in &graph.edges {
        let label = match &edge.port {
            Some(port) => format!(" [label={}]", quoted(port)),
            None => String::new(),
        };
        let _ = writeln!(text, "  n{} -> n{}{label};", edge.from, edge.to);
    }
    text.push_str("}\n");
    text
}

/// A text as DOT writes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn texts_stay_within_their_quotes() {
        assert_eq!(quoted("a \"b\"\n\\c"), r#""a \"b\"\n\\c""#);
    }
}
