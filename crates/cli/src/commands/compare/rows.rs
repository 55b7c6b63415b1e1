//! What differs between runs, row by row: computed here, shown elsewhere.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use wick_core::metric::is_system;
use wick_store::StageRecord;

use crate::curves;
use crate::history::RunHistory;

/// A param with its value in each run; `None` where a run does not have it.
pub struct ParamRow {
    pub name: String,
    pub values: Vec<Option<Value>>,
}

/// A metric with its last value in each run.
pub struct MetricRow {
    pub name: String,
    pub values: Vec<Option<f64>>,
}

/// A stage as it is in each run.
pub struct StageRow {
    pub name: String,
    pub stages: Vec<Option<StageRecord>>,
    /// What is different in each run after the first, in words.
    pub why: Vec<Vec<String>>,
}

impl MetricRow {
    /// Whether the values are not all the same, bit by bit.
    pub fn differs(&self) -> bool {
        let mut bits = self.values.iter().map(|value| value.map(f64::to_bits));
        let first = bits.next();
        first.is_some_and(|first| bits.any(|other| other != first))
    }

    /// Of two runs: how much more the second has.
    pub fn change(&self) -> Option<f64> {
        match self.values.as_slice() {
            [Some(a), Some(b)] => Some(b - a),
            _ => None,
        }
    }

    /// How far the values lie apart in shares of their size; `None` where that says nothing. Of
    /// two runs the change in shares of the first, with its sign.
    pub fn relative(&self) -> Option<f64> {
        let relative = match self.values.as_slice() {
            [Some(a), Some(b)] => (b - a) / a.abs(),
            [_, _] => return None,
            values => {
                let finite = || values.iter().flatten().copied().filter(|value| value.is_finite());
                let low = finite().fold(f64::INFINITY, f64::min);
                let high = finite().fold(f64::NEG_INFINITY, f64::max);
                (high - low) / low.abs().max(high.abs())
            }
        };
        relative.is_finite().then_some(relative)
    }
}

/// The names of all, each once, in the order in which they come.
fn union(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.filter(|name| seen.insert(name.clone())).collect()
}

/// The params that differ, or all.
pub fn params(runs: &[RunHistory], all: bool) -> Vec<ParamRow> {
    let names = runs.iter().flat_map(|run| run.params.iter().map(|param| param.name.clone()));
    let value = |run: &RunHistory, name: &str| {
        run.params.iter().find(|param| param.name == name).map(|param| param.value.clone())
    };
    union(names)
        .into_iter()
        .map(|name| ParamRow { values: runs.iter().map(|run| value(run, &name)).collect(), name })
        .filter(|row| all || row.values.iter().any(|value| *value != row.values[0]))
        .collect()
}

/// The metrics that differ, or all, those first of which the values lie furthest apart. What the
/// machine measured always differs, and says nothing of the model: it is left out unless asked
/// for.
pub fn metrics(runs: &[RunHistory], all: bool, system: bool) -> Vec<MetricRow> {
    let told = |run: &RunHistory| -> HashMap<String, f64> {
        let metrics = run.metrics.iter();
        let metrics = metrics.filter(|metric| system || !is_system(&metric.key));
        metrics.map(|metric| (curves::full_name(metric), metric.value)).collect()
    };
    let values: Vec<HashMap<String, f64>> = runs.iter().map(told).collect();
    let names = runs.iter().flat_map(|run| run.metrics.iter().map(curves::full_name));
    let mut rows: Vec<MetricRow> = union(names)
        .into_iter()
        .map(|name| MetricRow {
            values: values.iter().map(|values| values.get(&name).copied()).collect(),
            name,
        })
        .filter(|row| row.values.iter().any(Option::is_some))
        .filter(|row| all || row.differs())
        .collect();
    let size = |row: &MetricRow| row.relative().map_or(-1.0, f64::abs);
    rows.sort_by(|first, second| size(second).total_cmp(&size(first)));
    rows
}

/// The stages whose outputs, or whose ends, differ from those of the first run; or all.
pub fn stages(
    runs: &[RunHistory],
    reasons: &[HashMap<&str, Vec<String>>],
    all: bool,
) -> Vec<StageRow> {
    let names = runs.iter().flat_map(|run| run.stages.iter().map(|stage| stage.stage.to_string()));
    union(names)
        .into_iter()
        .map(|name| {
            let stages: Vec<Option<StageRecord>> =
                runs.iter().map(|run| run.stage(&name).cloned()).collect();
            let why = stages[1..]
                .iter()
                .zip(reasons)
                .map(|(other, reasons)| {
                    why(stages[0].as_ref(), other.as_ref(), reasons.get(&*name))
                })
                .collect();
            StageRow { name, stages, why }
        })
        .filter(|row| all || row.why.iter().any(|why| !why.is_empty()))
        .collect()
}

/// What is different about a stage; nothing if it is the same.
fn why(
    first: Option<&StageRecord>,
    other: Option<&StageRecord>,
    reasons: Option<&Vec<String>>,
) -> Vec<String> {
    match (first, other) {
        (None, None) => Vec::new(),
        (Some(_), None) => vec!["it is not there".to_owned()],
        (None, Some(_)) => vec!["it is new".to_owned()],
        (Some(first), Some(other)) if first.fingerprint == other.fingerprint => {
            if first.state.has_outputs() == other.state.has_outputs() {
                Vec::new()
            } else {
                vec!["the same work, another end".to_owned()]
            }
        }
        (Some(_), Some(other)) => match (reasons, other.fingerprint) {
            (Some(reasons), _) => reasons.clone(),
            (None, None) => vec![format!("it was not begun: {}", other.state)],
            (None, Some(_)) => vec!["what it depends on is not recorded in full".to_owned()],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f64]) -> MetricRow {
        MetricRow { name: "m".to_owned(), values: values.iter().copied().map(Some).collect() }
    }

    #[test]
    fn two_are_told_by_their_change_and_many_by_their_spread() {
        assert_eq!(row(&[2.0, 3.0]).relative(), Some(0.5));
        assert_eq!(row(&[-2.0, -3.0]).relative(), Some(-0.5));
        assert_eq!(row(&[0.0, 3.0]).relative(), None, "of nothing there is no share");
        assert_eq!(row(&[2.0, 3.0, 4.0]).relative(), Some(0.5));
        assert_eq!(row(&[2.0, f64::NAN, 4.0]).relative(), Some(0.5));
        assert_eq!(row(&[0.0, 0.0, 0.0]).relative(), None);
        assert_eq!(row(&[f64::NAN, f64::NAN, f64::NAN]).relative(), None);
        assert!(!row(&[f64::NAN, f64::NAN]).differs());
        assert!(row(&[1.0, 1.0, 2.0]).differs());
    }
}
