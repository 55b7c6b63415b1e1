//! Instances of a stage as one thing: `train` for `train[lr=0.1]`, `train[lr=0.01]`, …

use std::collections::HashMap;

use wick_core::{AttemptState, StageName};
use wick_store::StageRecord;

/// Stages that are shown together: one, or the instances of one.
pub struct Group<'a> {
    /// The stage as it is written in the pipeline file.
    pub name: String,
    /// The stage itself: one without instances, or one that stands for those of a list.
    pub own: Option<&'a StageRecord>,
    /// Its instances, in the plan's order.
    pub instances: Vec<&'a StageRecord>,
}

impl Group<'_> {
    /// How many instances stand so.
    pub fn count(&self, is: impl Fn(AttemptState) -> bool) -> usize {
        self.instances.iter().filter(|stage| is(stage.state)).count()
    }

    /// `3 of 5`: how many have their outputs.
    pub fn done(&self) -> String {
        let done = self.count(AttemptState::has_outputs);
        format!("{done} of {}", self.instances.len())
    }

    /// How many did not do well, by state: `1 failed, 2 skipped`; nothing if all did.
    pub fn trouble(&self) -> String {
        use AttemptState::{Cancelled, Failed, Lost, Queued, Running, Skipped};
        let words = [Failed, Lost, Cancelled, Skipped, Running, Queued].into_iter();
        let words = words.filter_map(|state| {
            let count = self.count(|other| other == state);
            (count > 0).then(|| format!("{count} {state}"))
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// The state that says most of all of them: what went wrong goes before what goes on.
    pub fn state(&self) -> AttemptState {
        use AttemptState::{Cached, Cancelled, Failed, Lost, Queued, Running, Skipped, Succeeded};
        let order = [Failed, Lost, Cancelled, Running, Queued, Skipped, Succeeded, Cached];
        let found = order.into_iter().find(|state| self.count(|other| other == *state) > 0);
        found.or_else(|| self.own.map(|own| own.state)).unwrap_or(Queued)
    }
}

/// Stages with their instances together, each group where its first one stands.
pub fn grouped(stages: &[StageRecord]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for stage in stages {
        let name = stage.stage.template();
        let place = *places.entry(name.clone()).or_insert_with(|| {
            groups.push(Group { name, own: None, instances: Vec::new() });
            groups.len() - 1
        });
        if is_instance(&stage.stage) {
            groups[place].instances.push(stage);
        } else {
            groups[place].own = Some(stage);
        }
    }
    groups
}

/// Whether the stage is one of several that are written once.
pub fn is_instance(stage: &StageName) -> bool {
    stage.as_str().contains('[')
}

/// What tells an instance from the others, below the name of all: `[lr=0.1]`.
pub fn label(stage: &StageName) -> String {
    let labels: Vec<&str> = stage
        .as_str()
        .split('/')
        .filter_map(|segment| Some(segment.split_once('[')?.1.trim_end_matches(']')))
        .collect();
    format!("[{}]", labels.join("]["))
}

#[cfg(test)]
mod tests {
    use wick_core::KindName;

    use super::*;

    fn record(name: &str, state: AttemptState) -> StageRecord {
        StageRecord {
            stage: StageName::new(name).expect("a name"),
            kind: KindName::new("command").expect("a name"),
            template: None,
            state,
            fingerprint: None,
            attempts: 0,
            origin: None,
            because: None,
            started: None,
            finished: None,
            failure: None,
        }
    }

    #[test]
    fn instances_stand_together_where_the_first_one_stood() {
        use AttemptState::{Cached, Failed, Running, Skipped, Succeeded};
        let stages = [
            record("load", Cached),
            record("train[lr=0.1]", Succeeded),
            record("other", Succeeded),
            record("train[lr=0.2]", Failed),
            record("train[lr=0.3]", Skipped),
            record("fit", Running),
            record("sub[size=1]/fit[fold=2]", Succeeded),
            record("fit[fold=0]", Succeeded),
        ];
        let groups = grouped(&stages);
        let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["load", "train", "other", "fit", "sub/fit"]);
        let train = &groups[1];
        assert_eq!((train.done().as_str(), train.state()), ("1 of 3", Failed));
        assert_eq!(train.trouble(), "1 failed, 1 skipped");
        assert!(groups[3].own.is_some(), "a stage that stands for those of a list");
        assert_eq!(groups[3].instances.len(), 1);
        assert_eq!(label(&stages[1].stage), "[lr=0.1]");
        assert_eq!(label(&stages[6].stage), "[size=1][fold=2]");
    }
}
