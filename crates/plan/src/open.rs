//! What can be told of a configuration in which values depend on an item that is not known.
//!
//! Samples take the place of the open values, and whatever comes out alike for all of them is
//! taken to hold for every item. Once the list is known each instance is checked in full.

use serde_json::{Number, Value};
use wick_pipeline::template::{self, Piece};
use wick_pipeline::{Data, Diagnostics, Entry, Node, Span};
use wick_stage::{Checked, Issues, PortFacts};

use crate::schema;

/// How many samples are tried.
const MAX_SAMPLES: usize = 3;

/// Configurations with samples in the place of what is open.
pub(crate) struct Samples {
    /// The configurations; at least one.
    pub configs: Vec<Value>,
    /// Whether every open value differs between them. If not, nothing but ports can be told.
    pub varied: bool,
}

/// Whether part of `node` is open.
pub(crate) fn is_open(node: &Node) -> bool {
    match &node.data {
        Data::Open(_) => true,
        Data::List(items) => items.iter().any(is_open),
        Data::Map(entries) => entries.iter().any(|entry| is_open(&entry.value)),
        _ => false,
    }
}

/// Samples for what is open in `with`, of types that `schema` takes. `None` if part of `with` is
/// unknown for another reason.
pub(crate) fn samples(schema: &Value, with: &Node) -> Option<Samples> {
    let mut open = Vec::new();
    collect(with, &mut open);
    let choices: Vec<(String, Vec<Data>)> = open
        .into_iter()
        .map(|text| {
            let fitting: Vec<Data> = candidates(&text, with.span)
                .into_iter()
                .filter(|sample| fits(schema, with, &text, sample))
                .take(MAX_SAMPLES)
                .collect();
            // What nothing fits is left to the kind: it says what it cannot do with a text.
            let fitting = if fitting.is_empty() { vec![Data::Text(text.clone())] } else { fitting };
            (text, fitting)
        })
        .collect();
    let count = choices.iter().map(|(_, fitting)| fitting.len()).max().unwrap_or(1);
    let configs: Option<Vec<Value>> = (0..count)
        .map(|nth| {
            let sample = |text: &str| {
                let (_, fitting) = choices.iter().find(|(open, _)| open == text)?;
                fitting.get(nth % fitting.len()).cloned()
            };
            filled(with, &sample).to_json()
        })
        .collect();
    let varied = choices.iter().all(|(_, fitting)| fitting.len() > 1);
    Some(Samples { configs: configs?, varied })
}

/// What all of the checks of the samples tell alike.
pub(crate) fn common(mut all: Vec<Checked>, varied: bool) -> Checked {
    let Some(first) = all.pop().filter(|_| varied) else { return Checked::default() };
    let mut issues = Issues::new();
    let found: Vec<Vec<wick_stage::Issue>> =
        all.iter_mut().map(|checked| std::mem::take(&mut checked.issues).into_vec()).collect();
    for issue in first.issues.into_vec() {
        if found.iter().all(|issues| issues.contains(&issue)) {
            issues.push(issue);
        }
    }
    let outputs = first
        .outputs
        .into_iter()
        .map(|(port, facts)| {
            let same = all.iter().all(|other| other.outputs.get(&port) == Some(&facts));
            let facts = if same { facts } else { PortFacts::unknown(facts.port_type) };
            (port, facts)
        })
        .collect();
    let same_metrics = all.iter().all(|other| other.metrics == first.metrics);
    Checked {
        issues,
        outputs,
        metrics: first.metrics.filter(|_| same_metrics),
        sources: shared(first.sources, &all, |other| &other.sources),
        source_fields: shared(first.source_fields, &all, |other| &other.source_fields),
        ordered_fields: shared(first.ordered_fields, &all, |other| &other.ordered_fields),
        neutral_fields: shared(first.neutral_fields, &all, |other| &other.neutral_fields),
        environment: shared(first.environment, &all, |other| &other.environment),
    }
}

fn shared<T: PartialEq>(
    items: Vec<T>,
    others: &[Checked],
    of: impl Fn(&Checked) -> &Vec<T>,
) -> Vec<T> {
    items.into_iter().filter(|item| others.iter().all(|other| of(other).contains(item))).collect()
}

/// The distinct open texts in `node`, in order.
fn collect(node: &Node, open: &mut Vec<String>) {
    match &node.data {
        Data::Open(text) if !open.contains(text) => open.push(text.clone()),
        Data::List(items) => items.iter().for_each(|item| collect(item, open)),
        Data::Map(entries) => entries.iter().for_each(|entry| collect(&entry.value, open)),
        _ => {}
    }
}

/// Values that may stand in the place of `text`. A text around a reference is always a text.
fn candidates(text: &str, span: Span) -> Vec<Data> {
    let mut all = vec![Data::Text(text.to_owned()), Data::Text(format!("{text}_"))];
    if let [Ok(Piece::Reference(_))] = template::pieces(text).as_slice() {
        // Far apart, so that no bound hides between them.
        for whole in [1_u32, 2, 1_000_003, 0, 10, 100] {
            all.push(Data::Number(whole.into()));
        }
        all.extend([0.5, 0.25].into_iter().filter_map(Number::from_f64).map(Data::Number));
        all.extend([Data::Bool(true), Data::Bool(false)]);
        let list = |item: Data| Data::List(vec![Node::new(span, item)]);
        let lists: Vec<Data> = all[..3].iter().cloned().map(list).collect();
        all.extend(lists);
        all.extend([Data::List(Vec::new()), Data::Map(Vec::new())]);
    }
    all
}

/// Whether `schema` takes `sample` where `text` is open in `with`; the rest stays open.
fn fits(schema: &Value, with: &Node, text: &str, sample: &Data) -> bool {
    let only = |open: &str| (open == text).then(|| sample.clone());
    let mut quiet = Diagnostics::new();
    schema::check(schema, &filled(with, &only), "with", with.span, &mut quiet);
    quiet.errors() == 0
}

/// `node` with what `sample` gives in the place of what is open.
fn filled(node: &Node, sample: &dyn Fn(&str) -> Option<Data>) -> Node {
    let data = match &node.data {
        Data::Open(text) => sample(text).unwrap_or_else(|| node.data.clone()),
        Data::List(items) => Data::List(items.iter().map(|item| filled(item, sample)).collect()),
        Data::Map(entries) => Data::Map(
            entries
                .iter()
                .map(|entry| Entry { value: filled(&entry.value, sample), ..entry.clone() })
                .collect(),
        ),
        other => other.clone(),
    };
    Node::new(node.span, data)
}
