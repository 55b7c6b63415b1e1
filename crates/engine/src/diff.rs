//! What two recorded runs differ in: `wick diff`.

use std::collections::HashMap;

use serde_json::Value;
use wick_core::{RunId, StageName};
use wick_plan::{Change, FingerprintParts, Part, Section};
use wick_store::{StageRecord, Store, StoreResult};

/// What two runs differ in.
#[derive(Debug, Clone, PartialEq)]
pub struct RunsDiff {
    /// Params that differ, by name.
    pub params: Vec<ParamDiff>,
    /// Stages, in the order of the second run; those that it does not have come last.
    pub stages: Vec<StageDiff>,
    /// Whether the pipeline files have the same text.
    pub same_text: bool,
}

/// A param that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamDiff {
    /// Its name.
    pub name: String,
    /// Its value in the first run, which may not have it.
    pub before: Option<Value>,
    /// Its value in the second run, which may not have it.
    pub after: Option<Value>,
}

/// A stage of one or both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct StageDiff {
    /// The stage.
    pub stage: StageName,
    /// How it differs.
    pub change: StageChange,
}

/// How a stage differs between two runs.
#[derive(Debug, Clone, PartialEq)]
pub enum StageChange {
    /// The second run alone has it.
    Added,
    /// The first run alone has it.
    Removed,
    /// It computed the same from the same.
    Same,
    /// What went into it differs: at least one thing.
    Changed(Vec<Difference>),
    /// In one of the runs it did not come so far that anything could be told.
    Unknown,
}

/// One thing that went into a stage and differs between two runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What, in a sentence fragment.
    pub text: String,
    /// Whether it is what another stage has made: the difference comes from there.
    pub is_input: bool,
}

/// What two runs differ in: params, and what went into the stages.
///
/// # Errors
/// If there is no such run, or the store does not answer.
pub async fn explain_runs(store: &dyn Store, a: &RunId, b: &RunId) -> StoreResult<RunsDiff> {
    let (before, after) = (Recorded::read(store, a).await?, Recorded::read(store, b).await?);
    let mut names: Vec<&String> =
        before.params.iter().chain(&after.params).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let params = names.into_iter().filter_map(|name| {
        let (old, new) = (param(&before.params, name), param(&after.params, name));
        (old != new).then(|| ParamDiff {
            name: name.clone(),
            before: old.cloned(),
            after: new.cloned(),
        })
    });
    let mut stages: Vec<StageDiff> = after
        .order
        .iter()
        .map(|stage| StageDiff { stage: stage.clone(), change: compare(&before, &after, stage) })
        .collect();
    let removed = before.order.iter().filter(|stage| !after.stages.contains_key(*stage));
    stages.extend(
        removed.map(|stage| StageDiff { stage: stage.clone(), change: StageChange::Removed }),
    );
    let same_text = before.text == after.text;
    Ok(RunsDiff { params: params.collect(), stages, same_text })
}

fn compare(before: &Recorded, after: &Recorded, stage: &StageName) -> StageChange {
    let (Some(old), Some(new)) = (before.stages.get(stage), after.stages.get(stage)) else {
        return StageChange::Added;
    };
    if old.fingerprint.is_some() && old.fingerprint == new.fingerprint {
        return StageChange::Same;
    }
    let (Some(old), Some(new)) = (before.parts.get(stage), after.parts.get(stage)) else {
        return StageChange::Unknown;
    };
    let changes = wick_plan::changes(old, new);
    if changes.is_empty() {
        return StageChange::Unknown;
    }
    let tell = |change: &Change| {
        let mut difference = Difference { text: change.to_string(), is_input: false };
        if let Change::Part { before: old, after: new } = change {
            let is = |section| {
                [old, new].into_iter().flatten().any(|part: &Part| part.section == section)
            };
            difference.is_input = is(Section::Input);
            let param = is(Section::With)
                .then(|| by_param(old.as_ref(), new.as_ref(), &before.params, &after.params))
                .flatten();
            if let Some(param) = param {
                difference.text.push_str(&format!(" (param `{param}`)"));
            }
        }
        difference
    };
    StageChange::Changed(changes.iter().map(tell).collect())
}

/// What is recorded of a run, to tell what differs from it.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub text: String,
    pub params: Vec<(String, Value)>,
    /// The names of the stages, in their order.
    pub order: Vec<StageName>,
    pub stages: HashMap<StageName, StageRecord>,
    pub parts: HashMap<StageName, FingerprintParts>,
}

impl Recorded {
    pub(crate) async fn read(store: &dyn Store, run: &RunId) -> StoreResult<Self> {
        let record = store.run(run).await?;
        let record = record.ok_or_else(|| wick_store::StoreError::NoRun(run.clone()))?;
        let params = store.params(run).await?;
        let parts = store.stage_parts(run).await?;
        let stages = store.stages(run).await?;
        Ok(Self {
            text: record.pipeline_text,
            params: params.into_iter().map(|param| (param.name, param.value)).collect(),
            order: stages.iter().map(|record| record.stage.clone()).collect(),
            parts: parts
                .into_iter()
                .filter_map(|(stage, parts)| Some((stage, serde_json::from_value(parts).ok()?)))
                .collect(),
            stages: stages.into_iter().map(|record| (record.stage.clone(), record)).collect(),
        })
    }
}

fn param<'a>(params: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    params.iter().find(|(other, _)| other == name).map(|(_, value)| value)
}

/// The param whose change is behind that of a value in `with`, if exactly one explains it: its old
/// value stood there, alone or in a text, and its new value stands there now.
pub(crate) fn by_param<'a>(
    before: Option<&Part>,
    after: Option<&Part>,
    old: &'a [(String, Value)],
    new: &'a [(String, Value)],
) -> Option<&'a str> {
    let shown = |part: Option<&Part>| part.and_then(|part| part.shown.clone());
    let (before, after) = (shown(before), shown(after));
    let explains = |name: &str| {
        let (old, new) = (param(old, name), param(new, name));
        if old == new {
            return false;
        }
        let text = |value: Option<&Value>| value.map(Value::to_string);
        if before.is_some() && before == text(old) && after == text(new) {
            return true;
        }
        match (&before, &after, old, new) {
            (Some(before), Some(after), Some(old), Some(new)) => {
                let (old, new) = (plain(old), plain(new));
                !old.is_empty() && differ_by(before, after, &old, &new)
            }
            _ => false,
        }
    };
    let mut names: Vec<&str> = old.iter().chain(new).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut behind = names.into_iter().filter(|name| explains(name));
    match (behind.next(), behind.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// Whether `after` is `before` with `new` in the place of some `old`s, and nothing else changed.
fn differ_by(before: &str, after: &str, old: &str, new: &str) -> bool {
    let (mut before, mut after, mut found) = (before, after, false);
    loop {
        // Where texts go on alike, an `old` may be one that has nothing to do with the param.
        if let (Some(rest), Some(new_rest)) = (before.strip_prefix(old), after.strip_prefix(new)) {
            (before, after, found) = (rest, new_rest, true);
            continue;
        }
        let (mut left, mut right) = (before.chars(), after.chars());
        match (left.next(), right.next()) {
            (None, None) => return found,
            (a, b) if a != b => return false,
            _ => (before, after) = (left.as_str(), right.as_str()),
        }
    }
}

/// A value as it stands within a text.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wick_core::Digest;

    use super::*;

    fn part(shown: &Value) -> Part {
        Part {
            section: Section::With,
            name: "x".to_owned(),
            digest: Digest::of(b""),
            shown: Some(shown.to_string()),
        }
    }

    #[test]
    fn the_param_behind_a_change_is_named_if_it_is_the_only_one() {
        let old =
            [("a".to_owned(), json!(1)), ("b".to_owned(), json!("x")), ("c".into(), json!(9))];
        let new = [("a".to_owned(), json!(2)), ("b".to_owned(), json!("y"))];
        let check = |before: Value, after: Value, expect: Option<&str>| {
            let found = by_param(Some(&part(&before)), Some(&part(&after)), &old, &new);
            assert_eq!(found, expect, "{before} {after}");
        };
        check(json!(1), json!(2), Some("a"));
        check(json!("x"), json!("y"), Some("b"));
        check(json!("echo x now"), json!("echo y now"), Some("b"));
        check(json!("echo 1"), json!("echo 2"), Some("a"));
        check(json!("echo [1, 3] 1"), json!("echo [1, 3] 2"), Some("a"));
        check(json!("echo 1 1"), json!("echo 2 3"), None);
        check(json!(1), json!(3), None);
        check(json!("other"), json!("another"), None);
        let removed = by_param(Some(&part(&json!(9))), None, &old, &new);
        assert_eq!(removed, Some("c"), "a param that is gone counts");
        let twins = [("a".to_owned(), json!(1)), ("b".to_owned(), json!(1))];
        let both = [("a".to_owned(), json!(2)), ("b".to_owned(), json!(2))];
        let found = by_param(Some(&part(&json!(1))), Some(&part(&json!(2))), &twins, &both);
        assert_eq!(found, None, "either may be behind it");
    }
}
