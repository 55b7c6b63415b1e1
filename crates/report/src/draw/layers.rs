//! A directed graph in layers, from left to right: what was made of what.
//!
//! The method of Sugiyama, Tagawa and Toda (Methods for visual understanding of hierarchical
//! system structures, 1981), in small: each node goes into a layer after those that it comes
//! from; edges over several layers get a place in each; the order within a layer follows the
//! average place of the neighbours, back and forth, and the order with the fewest crossings
//! stays.

use super::canvas::{Anchor, Canvas, FONT, MARGIN, SERIES_COLOURS, TITLE_FONT, cut, text_width};

/// The longest text in a box, in characters.
const MAX_TEXT: usize = 44;
/// The height of a line of text in a box.
const LINE: f64 = 16.0;
/// Space within a box.
const PADDING: f64 = 8.0;
/// Space between boxes of a layer.
const GAP: f64 = 14.0;
/// Space between layers.
const BETWEEN: f64 = 64.0;
/// How often the order within the layers is improved from left to right and back.
const SWEEPS: usize = 12;
/// How often boxes are moved towards their neighbours.
const MOVES: usize = 16;

/// A directed graph to be drawn in layers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayeredGraph {
    /// What is drawn.
    pub title: String,
    /// The nodes.
    pub nodes: Vec<GraphNode>,
    /// The edges, by the places of their ends in `nodes`. Edges to places that are not there are
    /// left out; those of a circle are drawn, but do not move their ends.
    pub edges: Vec<GraphEdge>,
}

/// A box.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GraphNode {
    /// Its name.
    pub title: String,
    /// More of it, a line each.
    pub lines: Vec<String>,
    /// Which of the series colours marks it.
    pub colour: usize,
}

/// An arrow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GraphEdge {
    /// Where it begins.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

/// A place in a layer: a box, or where a long edge passes.
#[derive(Debug, Clone)]
struct Place {
    /// The node; `None` for an edge that passes.
    node: Option<usize>,
    width: f64,
    height: f64,
    /// The places in the layer before that lead here, and in the one after that it leads to.
    before: Vec<usize>,
    after: Vec<usize>,
    /// The middle.
    y: f64,
}

/// The places with the layers that they lie in, and the way of each edge over them.
struct Layout {
    places: Vec<Place>,
    layers: Vec<Vec<usize>>,
    ways: Vec<Vec<usize>>,
}

impl LayeredGraph {
    /// The drawing.
    pub fn svg(&self) -> String {
        let mut layout = self.layout();
        layout.order();
        layout.align();
        self.draw(&layout)
    }

    /// The edges whose ends are there and differ.
    fn sound_edges(&self) -> Vec<(usize, usize)> {
        let count = self.nodes.len();
        let edges = self.edges.iter().map(|edge| (edge.from, edge.to));
        edges.filter(|(from, to)| from != to && *from < count && *to < count).collect()
    }

    /// The layer of each node: after all that it comes from.
    fn layers_of_nodes(&self, edges: &[(usize, usize)]) -> Vec<usize> {
        let count = self.nodes.len();
        let mut waits = vec![0_usize; count];
        let mut next = vec![Vec::new(); count];
        for (from, to) in edges {
            waits[*to] += 1;
            next[*from].push(*to);
        }
        let mut layer = vec![0_usize; count];
        let mut placed = vec![false; count];
        let mut ready: Vec<usize> = (0..count).filter(|node| waits[*node] == 0).collect();
        let mut least = 0;
        loop {
            let node = match ready.pop() {
                Some(node) => node,
                // All that is left lies on or behind circles: one of them has to begin.
                None => match (least..count).find(|node| !placed[*node]) {
                    Some(node) => {
                        least = node;
                        node
                    }
                    None => break,
                },
            };
            if std::mem::replace(&mut placed[node], true) {
                continue;
            }
            for to in &next[node] {
                if placed[*to] {
                    continue;
                }
                layer[*to] = layer[*to].max(layer[node] + 1);
                waits[*to] = waits[*to].saturating_sub(1);
                if waits[*to] == 0 {
                    ready.push(*to);
                }
            }
        }
        // What nothing leads to stands right before the first that it leads to.
        let mut is_first = vec![true; count];
        edges.iter().for_each(|(_, to)| is_first[*to] = false);
        for node in (0..count).filter(|node| is_first[*node]) {
            if let Some(first) = next[node].iter().map(|to| layer[*to]).min() {
                layer[node] = first.saturating_sub(1);
            }
        }
        layer
    }

    fn layout(&self) -> Layout {
        let edges = self.sound_edges();
        let layer = self.layers_of_nodes(&edges);
        let deepest = layer.iter().copied().max().unwrap_or(0);
        let mut layers = vec![Vec::new(); deepest + 1];
        let mut places: Vec<Place> = Vec::with_capacity(self.nodes.len());
        for (place, node) in self.nodes.iter().enumerate() {
            let (width, height) = size(node);
            places.push(Place { width, height, ..Place::of(Some(place)) });
            layers[layer[place]].push(place);
        }
        let mut ways = Vec::with_capacity(edges.len());
        for (from, to) in edges {
            let mut way = vec![from];
            if layer[from] < layer[to] {
                for between in layers.iter_mut().take(layer[to]).skip(layer[from] + 1) {
                    between.push(places.len());
                    way.push(places.len());
                    places.push(Place::of(None));
                }
                way.push(to);
                for pair in way.windows(2) {
                    places[pair[0]].after.push(pair[1]);
                    places[pair[1]].before.push(pair[0]);
                }
            } else {
                way.push(to);
            }
            ways.push(way);
        }
        Layout { places, layers, ways }
    }

    fn draw(&self, layout: &Layout) -> String {
        let top = MARGIN + TITLE_FONT + MARGIN;
        let mut left = Vec::with_capacity(layout.layers.len());
        let mut x = MARGIN;
        for layer in &layout.layers {
            left.push(x);
            x += layout.width_of(layer) + BETWEEN;
        }
        let lowest = layout.places.iter().map(|place| place.y + place.height / 2.0);
        let height = top + lowest.fold(0.0, f64::max) + MARGIN;
        let title_width = text_width(&self.title, TITLE_FONT) + 2.0 * MARGIN;
        let width = (x - BETWEEN + MARGIN).max(title_width);
        let mut canvas = Canvas::new(width, height);
        canvas.text("title", (MARGIN, MARGIN + TITLE_FONT), Anchor::Start, &self.title);
        let mut x_of = vec![0.0; layout.places.len()];
        // An edge that passes stays level for the whole layer: so it runs behind no box.
        let mut width_of: Vec<f64> = layout.places.iter().map(|place| place.width).collect();
        for (layer, left) in layout.layers.iter().zip(&left) {
            let widest = layout.width_of(layer);
            for place in layer {
                x_of[*place] = *left;
                if layout.places[*place].node.is_none() {
                    width_of[*place] = widest;
                }
            }
        }
        // Edges first: boxes lie on top of them.
        for way in &layout.ways {
            let mut points = Vec::with_capacity(2 * way.len());
            for place in way {
                let y = top + layout.places[*place].y;
                points.push((x_of[*place], y));
                points.push((x_of[*place] + width_of[*place], y));
            }
            // It leaves its first box on the right and reaches its last on the left.
            let points = &points[1..points.len() - 1];
            canvas.flow("curve axis", points);
            if let Some((x, y)) = points.last() {
                canvas.path("f6", &[(*x, *y), (x - 7.0, y - 4.0), (x - 7.0, y + 4.0), (*x, *y)]);
            }
        }
        for (place, x) in layout.places.iter().zip(x_of) {
            let Some(node) = place.node.map(|node| &self.nodes[node]) else { continue };
            let y = top + place.y - place.height / 2.0;
            canvas.rectangle("ground", (x, y), (place.width, place.height), 1.0, "");
            canvas.rectangle("frame", (x, y), (place.width, place.height), 1.0, "");
            let colour = format!("f{}", node.colour % SERIES_COLOURS);
            canvas.rectangle(&colour, (x, y), (4.0, place.height), 1.0, "");
            let text_x = x + 4.0 + PADDING;
            let mut text_y = y + PADDING + FONT - 1.0;
            canvas.text("", (text_x, text_y), Anchor::Start, &cut(&node.title, MAX_TEXT));
            for line in &node.lines {
                text_y += LINE;
                canvas.text("quiet", (text_x, text_y), Anchor::Start, &cut(line, MAX_TEXT));
            }
        }
        canvas.finish(&self.title)
    }
}

impl Place {
    fn of(node: Option<usize>) -> Self {
        Self { node, width: 0.0, height: 0.0, before: Vec::new(), after: Vec::new(), y: 0.0 }
    }
}

fn size(node: &GraphNode) -> (f64, f64) {
    let texts = std::iter::once(&node.title).chain(&node.lines);
    let widest = texts.map(|text| text_width(&cut(text, MAX_TEXT), FONT)).fold(0.0, f64::max);
    let lines = 1 + node.lines.len();
    (widest + 2.0 * PADDING + 4.0, lines as f64 * LINE + PADDING)
}

impl Layout {
    fn width_of(&self, layer: &[usize]) -> f64 {
        layer.iter().map(|place| self.places[*place].width).fold(0.0, f64::max)
    }

    /// Orders the layers so that few edges cross.
    fn order(&mut self) {
        let mut best = self.layers.clone();
        let mut fewest = self.crossings();
        for sweep in 0..SWEEPS {
            if fewest == 0 {
                break;
            }
            let forth = sweep % 2 == 0;
            let count = self.layers.len();
            for step in 1..count {
                let layer = if forth { step } else { count - 1 - step };
                self.order_layer(layer, forth);
            }
            let crossings = self.crossings();
            if crossings < fewest {
                fewest = crossings;
                best.clone_from(&self.layers);
            }
        }
        self.layers = best;
    }

    /// Orders a layer by the average place of the neighbours on one side.
    fn order_layer(&mut self, layer: usize, by_those_before: bool) {
        let position = self.positions();
        let average = |place: usize| {
            let own = &self.places[place];
            let neighbours = if by_those_before { &own.before } else { &own.after };
            // Whoever has no neighbour stays where it is.
            if neighbours.is_empty() {
                return position[place] as f64;
            }
            let sum: usize = neighbours.iter().map(|other| position[*other]).sum();
            sum as f64 / neighbours.len() as f64
        };
        let mut order: Vec<(f64, usize)> =
            self.layers[layer].iter().map(|place| (average(*place), *place)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.layers[layer] = order.into_iter().map(|(_, place)| place).collect();
    }

    /// The position of each place in its layer.
    fn positions(&self) -> Vec<usize> {
        let mut position = vec![0; self.places.len()];
        for layer in &self.layers {
            for (number, place) in layer.iter().enumerate() {
                position[*place] = number;
            }
        }
        position
    }

    fn crossings(&self) -> usize {
        let position = self.positions();
        let mut crossings = 0;
        for layer in &self.layers {
            let mut ends: Vec<usize> = Vec::new();
            for place in layer {
                let mut own: Vec<usize> =
                    self.places[*place].after.iter().map(|to| position[*to]).collect();
                own.sort_unstable();
                // An edge crosses those that begin above it and end below it.
                crossings += own
                    .iter()
                    .map(|end| ends.len() - ends.partition_point(|other| other <= end))
                    .sum::<usize>();
                for end in own {
                    let at = ends.partition_point(|other| *other <= end);
                    ends.insert(at, end);
                }
            }
        }
        crossings
    }

    /// Gives each place its height: near its neighbours, apart from the others of its layer.
    fn align(&mut self) {
        for layer in self.layers.clone() {
            let mut y = 0.0;
            for place in layer {
                let height = self.places[place].height;
                self.places[place].y = y + height / 2.0;
                y += height + GAP;
            }
        }
        for step in 0..MOVES {
            let count = self.layers.len();
            for number in 0..count {
                let layer = if step % 2 == 0 { number } else { count - 1 - number };
                self.move_layer(layer);
            }
        }
        let tops = self.places.iter().map(|place| place.y - place.height / 2.0);
        let top = tops.fold(f64::INFINITY, f64::min);
        if top.is_finite() {
            self.places.iter_mut().for_each(|place| place.y -= top);
        }
    }

    fn move_layer(&mut self, layer: usize) {
        let places = self.layers[layer].clone();
        let wanted: Vec<f64> = places
            .iter()
            .map(|place| {
                let own = &self.places[*place];
                let neighbours = || own.before.iter().chain(&own.after);
                let count = neighbours().count();
                if count == 0 {
                    return own.y;
                }
                neighbours().map(|other| self.places[*other].y).sum::<f64>() / count as f64
            })
            .collect();
        let apart = |above: usize, below: usize| {
            GAP + (self.places[above].height + self.places[below].height) / 2.0
        };
        // As low as needed from the top, as high as needed from the bottom: in the middle of the
        // two nobody overlaps, and nobody is pushed one way only.
        let mut down = wanted.clone();
        for number in 1..places.len() {
            let least = down[number - 1] + apart(places[number - 1], places[number]);
            down[number] = down[number].max(least);
        }
        let mut up = wanted;
        for number in (1..places.len()).rev() {
            let most = up[number] - apart(places[number - 1], places[number]);
            up[number - 1] = up[number - 1].min(most);
        }
        for (number, place) in places.into_iter().enumerate() {
            self.places[place].y = f64::midpoint(down[number], up[number]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(count: usize, edges: &[(usize, usize)]) -> LayeredGraph {
        let node = |place| GraphNode { title: format!("node {place}"), ..GraphNode::default() };
        LayeredGraph {
            title: "a graph".to_owned(),
            nodes: (0..count).map(node).collect(),
            edges: edges.iter().map(|(from, to)| GraphEdge { from: *from, to: *to }).collect(),
        }
    }

    fn layers(graph: &LayeredGraph) -> Vec<usize> {
        graph.layers_of_nodes(&graph.sound_edges())
    }

    #[test]
    fn each_node_stands_after_what_it_comes_from() {
        assert_eq!(layers(&graph(4, &[(0, 1), (1, 2), (0, 2), (3, 2)])), [0, 1, 2, 1]);
        // Circles, loops and ends that are not there do no harm.
        let circle = layers(&graph(3, &[(0, 1), (1, 2), (2, 0), (1, 1), (0, 9)]));
        assert_eq!(circle, [0, 1, 2]);
        assert!(layers(&graph(0, &[])).is_empty());
    }

    #[test]
    fn edges_do_not_cross_where_they_need_not() {
        let mut layout = graph(6, &[(0, 5), (1, 4), (2, 3)]).layout();
        assert_eq!(layout.crossings(), 3);
        layout.order();
        assert_eq!(layout.crossings(), 0);
    }

    #[test]
    fn boxes_of_a_layer_do_not_overlap() {
        let graph = graph(7, &[(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4), (0, 5), (5, 6)]);
        let mut layout = graph.layout();
        layout.order();
        layout.align();
        for layer in &layout.layers {
            for pair in layer.windows(2) {
                let (above, below) = (&layout.places[pair[0]], &layout.places[pair[1]]);
                let apart = below.y - above.y;
                assert!(apart + 1e-9 >= GAP + (above.height + below.height) / 2.0, "{apart}");
            }
        }
        assert!(layout.places.iter().all(|place| place.y - place.height / 2.0 >= -1e-9));
    }

    #[test]
    fn a_drawing_holds_every_box_and_arrow() {
        let svg = graph(3, &[(0, 1), (1, 2), (0, 2)]).svg();
        assert_eq!(svg.matches("class=\"curve axis\"").count(), 3);
        assert!((0..3).all(|place| svg.contains(&format!("node {place}"))), "{svg}");
        assert!(graph(0, &[]).svg().contains("</svg>"));
    }
}
