//! The filter language once more, as simply as can be: over what the store tells of each run, in
//! memory. A second opinion on what a filter means.

use std::cmp::Ordering;

use serde_json::Value;
use wick_core::RunId;
use wick_store::{ArtifactRecord, MetricSummary, ParamRecord, RunRecord, StageRecord, Store};

/// All that can be asked of a run.
pub struct Known {
    pub run: RunRecord,
    pub params: Vec<ParamRecord>,
    pub stages: Vec<StageRecord>,
    pub metrics: Vec<MetricSummary>,
    pub artifacts: Vec<ArtifactRecord>,
}

impl Known {
    pub async fn read(store: &dyn Store, run: &RunId) -> Known {
        Known {
            run: store.run(run).await.expect("an answer").expect("the run"),
            params: store.params(run).await.expect("params"),
            stages: store.stages(run).await.expect("stages"),
            metrics: store.latest_metrics(run).await.expect("metrics"),
            artifacts: store.artifacts(run).await.expect("artifacts"),
        }
    }
}

/// A field, by the words for it in a filter.
#[derive(Debug, Clone, Copy)]
pub struct Field(pub &'static str);

/// A filter.
#[derive(Debug, Clone)]
pub enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Leaf(Field, Test),
}

#[derive(Debug, Clone)]
pub enum Test {
    /// The operator as it is written.
    Compare(&'static str, Literal),
    Between(Literal, Literal, bool),
    In(Vec<Literal>, bool),
    Like(String, bool, bool),
    Null(bool),
    Nan(bool),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Number(f64),
    Text(String),
}

/// A value of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub number: Option<f64>,
    pub text: Option<String>,
}

fn number(number: f64) -> Found {
    Found { number: Some(number), text: None }
}

fn text(text: impl ToString) -> Found {
    Found { number: None, text: Some(text.to_string()) }
}

impl Field {
    /// All values that `known` has of it.
    pub fn values(self, known: &Known) -> Vec<Found> {
        let run = &known.run;
        let environment = |pointer: &str| match run.environment.pointer(pointer) {
            Some(Value::String(word)) => vec![text(word)],
            Some(Value::Bool(word)) => vec![text(word)],
            _ => Vec::new(),
        };
        let millis = |time: wick_core::Timestamp| number(time.0 as f64 / 1e3);
        if let Some(name) = self.0.strip_prefix("metrics.") {
            let is_meant = |metric: &&MetricSummary| {
                let of_stage = name
                    .strip_suffix(&*metric.key)
                    .and_then(|stage| stage.strip_suffix('.'))
                    .is_some_and(|stage| is_stage(metric.stage.as_str(), stage));
                metric.key == name || of_stage
            };
            return known.metrics.iter().filter(is_meant).map(|m| number(m.value)).collect();
        }
        if let Some(name) = self.0.strip_prefix("params.") {
            let param = known.params.iter().find(|param| param.name == name);
            return param.map(|param| param_value(&param.value)).into_iter().collect();
        }
        if let Some(key) = self.0.strip_prefix("tags.") {
            let tag = run.marks.tags.iter().find(|(own, _)| own == key);
            return tag.map(|(_, value)| text(value)).into_iter().collect();
        }
        if let Some(rest) = self.0.strip_prefix("stage.") {
            let (stage, field) = rest.rsplit_once('.').expect("a stage and a field");
            let stages = known.stages.iter().filter(|one| is_stage(one.stage.as_str(), stage));
            return stages
                .filter_map(|stage| match field {
                    "status" => Some(text(stage.state)),
                    "attempts" => Some(number(f64::from(stage.attempts))),
                    "kind" => Some(text(&stage.kind)),
                    _ => Some(number((stage.finished?.micros_since(stage.started?)) as f64 / 1e6)),
                })
                .collect();
        }
        if let Some(rest) = self.0.strip_prefix("artifact.") {
            let mut words = rest.split('.');
            let stage = words.next().expect("a stage");
            let words: Vec<&str> = words.collect();
            let (port, field) = match words.as_slice() {
                [port, field] => (Some(*port), *field),
                [field] => (None, *field),
                _ => panic!("{rest}"),
            };
            let made = known.artifacts.iter().filter(|made| {
                is_stage(made.stage.as_str(), stage)
                    && port.is_none_or(|port| made.port.as_str() == port)
            });
            return made
                .map(|made| match field {
                    "bytes" => number(made.bytes as f64),
                    "type" => text(made.port_type),
                    _ => text(made.digest),
                })
                .collect();
        }
        match self.0 {
            "run_id" => vec![text(&run.id)],
            "name" => run.marks.name.iter().map(text).collect(),
            "note" => run.marks.note.iter().map(text).collect(),
            "experiment" => vec![text(&run.experiment)],
            "pipeline" => vec![text(&run.pipeline)],
            "state" => vec![text(run.state)],
            "started" => vec![millis(run.started)],
            "finished" => run.finished.map(millis).into_iter().collect(),
            "starred" => run.marks.starred.map(millis).into_iter().collect(),
            "archived" => run.marks.archived.map(millis).into_iter().collect(),
            "duration" => run
                .finished
                .map(|end| number(end.micros_since(run.started) as f64 / 1e6))
                .into_iter()
                .collect(),
            "parent" => run.parent.iter().map(text).collect(),
            "user" => environment("/user"),
            "host" => environment("/host"),
            "git.branch" => environment("/git/branch"),
            "git.dirty" => environment("/git/dirty"),
            other => panic!("{other}"),
        }
    }
}

fn is_stage(name: &str, asked: &str) -> bool {
    let rest = name.strip_prefix(asked);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('[') || rest.starts_with('/'))
}

fn param_value(value: &Value) -> Found {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Found { number: value.as_f64(), text: Some(text) }
}

impl Node {
    /// Whether the run is meant.
    pub fn holds(&self, known: &Known) -> bool {
        match self {
            Node::And(all) => all.iter().all(|node| node.holds(known)),
            Node::Or(all) => all.iter().any(|node| node.holds(known)),
            Node::Not(inner) => !inner.holds(known),
            Node::Leaf(field, Test::Null(negated)) => field.values(known).is_empty() != *negated,
            Node::Leaf(field, test) => field.values(known).iter().any(|value| test.passes(value)),
        }
    }

    /// The filter as it is typed.
    pub fn written(&self) -> String {
        let joined = |all: &[Node], word: &str| {
            let all: Vec<String> = all.iter().map(|node| format!("({})", node.written())).collect();
            all.join(word)
        };
        match self {
            Node::And(all) => joined(all, " AND "),
            Node::Or(all) => joined(all, " or "),
            Node::Not(inner) => format!("not ({})", inner.written()),
            Node::Leaf(field, test) => format!("{} {}", field.0, test.written()),
        }
    }
}

impl Test {
    fn passes(&self, value: &Found) -> bool {
        match self {
            Test::Compare("!=", literal) => compare(value, literal) != Some(Ordering::Equal),
            Test::Compare(operator, literal) => match (compare(value, literal), *operator) {
                (Some(order), "=") => order.is_eq(),
                (Some(order), "<") => order.is_lt(),
                (Some(order), "<=") => order.is_le(),
                (Some(order), ">") => order.is_gt(),
                (Some(order), _) => order.is_ge(),
                (None, _) => false,
            },
            Test::Between(low, high, negated) => {
                let is_between = compare(value, low).is_some_and(Ordering::is_ge)
                    && compare(value, high).is_some_and(Ordering::is_le);
                is_between != *negated
            }
            Test::In(all, negated) => {
                let is_in = all.iter().any(|one| compare(value, one) == Some(Ordering::Equal));
                is_in != *negated
            }
            Test::Like(pattern, ignore_case, negated) => {
                let lower = |text: &str| {
                    if *ignore_case { text.to_ascii_lowercase() } else { text.to_owned() }
                };
                let text: Vec<char> = lower(value.text.as_deref().unwrap_or("")).chars().collect();
                let pattern: Vec<char> = lower(pattern).chars().collect();
                is_like(&text, &pattern) != *negated
            }
            Test::Nan(negated) => value.number.is_some_and(f64::is_nan) != *negated,
            Test::Null(_) => unreachable!("asked of the run"),
        }
    }

    fn written(&self) -> String {
        let not = |negated: bool| if negated { "not " } else { "" };
        match self {
            Test::Compare(operator, literal) => format!("{operator} {}", literal.written()),
            Test::Between(low, high, negated) => {
                format!("{}between {} and {}", not(*negated), low.written(), high.written())
            }
            Test::In(all, negated) => {
                let all: Vec<String> = all.iter().map(Literal::written).collect();
                format!("{}in ({})", not(*negated), all.join(", "))
            }
            Test::Like(pattern, ignore_case, negated) => {
                let word = if *ignore_case { "ilike" } else { "LIKE" };
                format!("{}{word} '{pattern}'", not(*negated))
            }
            Test::Null(negated) => format!("is {}null", not(*negated)),
            Test::Nan(negated) => format!("is {}nan", not(*negated)),
        }
    }
}

impl Literal {
    fn written(&self) -> String {
        match self {
            Literal::Number(number) => format!("{number}"),
            Literal::Text(text) => format!("'{}'", text.replace('\'', "''")),
        }
    }
}

/// How a value stands to a literal of its kind; not at all if it is of another.
fn compare(value: &Found, literal: &Literal) -> Option<Ordering> {
    match literal {
        Literal::Number(number) => value.number?.partial_cmp(number),
        Literal::Text(text) => Some(value.text.as_ref()?.as_bytes().cmp(text.as_bytes())),
    }
}

fn is_like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| is_like(&text[skipped..], rest)),
        ['_', rest @ ..] => !text.is_empty() && is_like(&text[1..], rest),
        [char, rest @ ..] => text.first() == Some(char) && is_like(&text[1..], rest),
    }
}

/// How two runs stand in an order of one field.
pub fn order(field: Field, descending: bool, a: &Known, b: &Known) -> Ordering {
    // Numbers, then texts, then what is no number, then what is missing.
    let key = |known: &Known| {
        let values = field.values(known);
        let numbers = values.iter().filter_map(|value| value.number).filter(|n| !n.is_nan());
        let best = |a: f64, b: f64| if descending { a.max(b) } else { a.min(b) };
        if let Some(number) = numbers.reduce(best) {
            return (0, Some(number), None);
        }
        if values.iter().any(|value| value.number.is_some()) {
            return (2, None, None);
        }
        let mut texts: Vec<String> = values.into_iter().filter_map(|value| value.text).collect();
        texts.sort();
        let text = if descending { texts.pop() } else { texts.into_iter().next() };
        (if text.is_some() { 1 } else { 3 }, None, text)
    };
    let (a, b) = (key(a), key(b));
    let within = a.1.partial_cmp(&b.1).expect("no NaN").then_with(|| a.2.cmp(&b.2));
    a.0.cmp(&b.0).then(if descending { within.reverse() } else { within })
}
