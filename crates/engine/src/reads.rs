//! What a stage reads, and whether it is to run at all, given what the stages before it have come
//! to: edges, gathers, the choice of the best instance, conditions, lists.
//!
//! Nothing here waits or writes. What lies in files or in the store is fetched before
//! ([`crate::resolver`]) and handed in.

use std::collections::HashMap;

use serde_json::Value;
use wick_core::{
    AttemptState, Digest, Failure, FailureCause, Input, Output, PortType, StageName, StageOrigin,
};
use wick_plan::condition::Reference;
use wick_plan::{Best, InputSource, Join, Mode, Plan, PlannedInput, PlannedStage, StageIndex};

/// The longest list that a stage is written for.
pub const MAX_ITEMS: usize = 10_000;

/// A stage before the one that is asked about: how it ended.
#[derive(Debug, Clone)]
pub struct Before {
    /// How.
    pub state: AttemptState,
    /// What it made.
    pub outputs: Vec<Output>,
    /// What it measured.
    pub metrics: Measured,
    /// If it stands for instances: these.
    pub instances: Option<Vec<StageIndex>>,
}

/// Where the metrics of a stage are.
#[derive(Debug, Clone)]
pub enum Measured {
    /// It has none.
    Nothing,
    /// Here: the latest value of each.
    Here(HashMap<String, f64>),
    /// In the store: of this attempt.
    Stored(StageOrigin),
}

/// The stages before one, by place.
pub type Befores = HashMap<StageIndex, Before>;

/// What a port of a stage reads.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadInput {
    /// The edge as it is recorded.
    pub input: Input,
    /// The type of the artifact.
    pub port_type: PortType,
    /// What is known of it.
    pub meta: Value,
}

impl ReadInput {
    /// The port, with the label of the item where it gathers: as fingerprints call it.
    pub fn part(&self) -> (String, Digest) {
        part_name(&self.input)
    }
}

/// What fingerprints call an input, and its artifact.
pub fn part_name(input: &Input) -> (String, Digest) {
    let name = match &input.item {
        Some(item) => format!("{}[{item}]", input.port),
        None => input.port.to_string(),
    };
    (name, input.digest)
}

/// A question about the stages before one, and the answers to all such questions.
pub struct Reading<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The stage.
    pub stage: &'a PlannedStage,
    /// What it needs, and the instances of what it needs.
    pub before: &'a Befores,
    /// The latest metrics of stages.
    pub metrics: &'a HashMap<StageIndex, HashMap<String, f64>>,
}

impl Reading<'_> {
    /// The stages whose metrics have to be known to tell what the stage reads, and whether it is
    /// to run.
    pub fn asks_metrics_of(plan: &Plan, stage: &PlannedStage) -> Vec<StageIndex> {
        let selects = stage.inputs.iter().flat_map(|input| match &input.source {
            InputSource::Select { from, best, .. } if best.of.is_empty() => from.clone(),
            InputSource::Select { best, .. } => best.of.clone(),
            InputSource::Output { .. } | InputSource::Gather { .. } => Vec::new(),
        });
        let condition = stage.condition.iter().flat_map(|condition| condition.references());
        let conditions = condition.filter_map(|reference| match reference {
            Reference::Metric { stage, .. } => plan.find(stage),
            Reference::Output { .. } => None,
        });
        selects.chain(conditions).collect()
    }

    /// The places of `from`, with the instances in the place of the stages that stand for them.
    fn spread(&self, from: &[StageIndex]) -> Vec<StageIndex> {
        let spread = from.iter().flat_map(|index| {
            match self.before.get(index).and_then(|before| before.instances.as_ref()) {
                Some(instances) => instances.clone(),
                None => vec![*index],
            }
        });
        spread.collect()
    }

    fn has_succeeded(&self, stage: StageIndex) -> bool {
        self.before.get(&stage).is_some_and(|before| before.state.has_outputs())
    }

    /// What the stage reads.
    ///
    /// # Errors
    /// As a failure of the stage: if none of the instances to choose from can be chosen, or if a
    /// stage before it did not make what it was to make.
    pub fn inputs(&self) -> Result<Vec<ReadInput>, Failure> {
        let mut inputs = Vec::new();
        for planned in &self.stage.inputs {
            match &planned.source {
                InputSource::Output { from, .. } => {
                    inputs.extend(self.read(planned, *from, None)?);
                }
                InputSource::Gather { from, .. } => {
                    for index in self.spread(from) {
                        // Not the label of its own matrix alone: what differs may be the
                        // sub-pipeline that it is a part of.
                        let label = self.plan.stage(index).name.labels_for(&self.stage.name);
                        inputs.extend(self.read(planned, index, Some(label))?);
                    }
                }
                InputSource::Select { from, best, .. } => {
                    let chosen = self.best(planned, from, best)?;
                    inputs.extend(self.read(planned, chosen, None)?);
                }
            }
        }
        Ok(inputs)
    }

    /// Reads one output. Nothing comes of a stage that did not succeed, where one of several is
    /// enough.
    fn read(
        &self,
        planned: &PlannedInput,
        from: StageIndex,
        item: Option<String>,
    ) -> Result<Option<ReadInput>, Failure> {
        if !self.has_succeeded(from) && self.stage.join == Join::Any {
            return Ok(None);
        }
        let stage = &self.plan.stage(from).name;
        let wanted = planned.output();
        let outputs = self.before.get(&from).map(|before| before.outputs.as_slice());
        let output = outputs.unwrap_or_default().iter().find(|output| output.port == *wanted);
        let output = output.ok_or_else(|| {
            let message = format!("stage {stage} ended without its output `{wanted}`");
            failure(FailureCause::Internal, message, "run it again: `wick rerun --from` it")
        })?;
        Ok(Some(ReadInput {
            input: Input {
                port: planned.port.clone(),
                stage: stage.clone(),
                output: wanted.clone(),
                item,
                digest: output.digest,
            },
            port_type: planned.port_type,
            meta: output.meta.clone(),
        }))
    }

    /// The best of the instances `from`. Of equals the first; one whose metric is missing or is no
    /// number is not chosen.
    fn best(
        &self,
        planned: &PlannedInput,
        from: &[StageIndex],
        best: &Best,
    ) -> Result<StageIndex, Failure> {
        let instances = self.spread(from);
        let measured = if best.of.is_empty() { instances.clone() } else { self.spread(&best.of) };
        let value = |stage: &StageIndex| -> Option<f64> {
            let value = *self.metrics.get(stage)?.get(&best.metric)?;
            (self.has_succeeded(*stage) && !value.is_nan()).then_some(value)
        };
        let better = |new: f64, old: f64| match best.mode {
            Mode::Min => new < old,
            Mode::Max => new > old,
        };
        let mut chosen: Option<(StageIndex, f64)> = None;
        for (instance, measured) in instances.iter().zip(&measured) {
            if let Some(value) = value(measured).filter(|_| self.has_succeeded(*instance))
                && chosen.is_none_or(|(_, old)| better(value, old))
            {
                chosen = Some((*instance, value));
            }
        }
        chosen.map(|(instance, _)| instance).ok_or_else(|| {
            let keys = known_keys(measured.iter().filter_map(|stage| self.metrics.get(stage)));
            let help = if keys.is_empty() {
                "they measured nothing: let them report the metric, or choose by another".to_owned()
            } else {
                format!("they measured {keys}")
            };
            let message = format!(
                "input `{}`: none of {} instances has a number as its `{}`",
                planned.port,
                instances.len(),
                best.metric
            );
            failure(FailureCause::Data, message, help)
        })
    }

    /// Whether the condition of the stage holds: `Err` with a text for people if it does not.
    /// `values` are what the stages before it put into `value`s, by the outputs' digests.
    ///
    /// # Errors
    /// As a failure of the stage, if the condition has no answer.
    pub fn condition(
        &self,
        values: &HashMap<Digest, Value>,
    ) -> Result<Result<(), String>, Failure> {
        let Some(condition) = &self.stage.condition else { return Ok(Ok(())) };
        let look_up = |reference: &Reference| match reference {
            Reference::Metric { stage, key } => {
                let index = self.plan.find(stage)?;
                // JSON has no word for what is no number: then there is nothing to compare.
                Some(Value::from(*self.metrics.get(&index)?.get(key)?))
            }
            Reference::Output { path, .. } => {
                let output = self.referred(reference)?;
                let value = values.get(&output.digest)?;
                path.iter().try_fold(value, |value, key| value.get(key)).cloned()
            }
        };
        match condition.holds(&look_up) {
            Ok(true) => Ok(Ok(())),
            Ok(false) => Ok(Err(condition.explain(&look_up))),
            Err(error) => {
                let message = format!("`when` has no answer: {error}");
                Err(failure(FailureCause::Config, message, condition.explain(&look_up)))
            }
        }
    }

    /// The outputs that the condition looks into.
    pub fn values_asked(&self) -> Vec<&Output> {
        let references = self.stage.condition.iter().flat_map(|c| c.references());
        references.filter_map(|reference| self.referred(reference)).collect()
    }

    /// The output that a reference means: the one it names, or the stage's first `value`.
    fn referred(&self, reference: &Reference) -> Option<&Output> {
        let Reference::Output { stage, output, .. } = reference else { return None };
        let before = self.before.get(&self.plan.find(stage)?)?;
        if !before.state.has_outputs() {
            return None;
        }
        match output {
            Some(name) => before.outputs.iter().find(|output| output.port == name.as_str()),
            None => before.outputs.iter().find(|output| output.port_type == PortType::Value),
        }
    }
}

/// The items of the list that `stage` is written for.
///
/// # Errors
/// As a failure of the stage, if `value` is no list, or too long a one.
pub fn items(stage: &StageName, value: Value) -> Result<Vec<Value>, Failure> {
    match value {
        Value::Array(items) if items.len() <= MAX_ITEMS => Ok(items),
        Value::Array(items) => {
            let message =
                format!("the list for {stage} has {} items, more than {MAX_ITEMS}", items.len());
            Err(failure(FailureCause::Data, message, "let one instance do several items"))
        }
        other => {
            let message = format!("{stage} is written for a list, and got {}", sort(&other));
            Err(failure(FailureCause::Data, message, "write a JSON list: `[…]`"))
        }
    }
}

fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn known_keys<'a>(metrics: impl Iterator<Item = &'a HashMap<String, f64>>) -> String {
    let mut keys: Vec<&str> = metrics.flat_map(HashMap::keys).map(String::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.truncate(8);
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

/// A failure that an attempt did not come to make itself.
pub fn failure(cause: FailureCause, message: String, help: impl Into<String>) -> Failure {
    Failure { cause, message, chain: Vec::new(), help: Some(help.into()), exit: None }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::test_support;

    /// Two instances of `train`, and a stage that reads them by `source`.
    fn plan(source: Value, join: &str) -> Plan {
        let train = |label: &str| {
            let mut json = test_support::stage_json(&format!("train[{label}]"), &[]);
            json["instance"] = json!({"template": "train", "label": label, "values": []});
            test_support::stage(json)
        };
        let mut last = test_support::stage_json("last", &[]);
        last["inputs"] = json!([{"port": "m", "port_type": "model", "source": source}]);
        last["join"] = join.into();
        let stages = vec![train("lr=1"), train("lr=2"), test_support::stage(last)];
        test_support::plan(Path::new("/"), stages)
    }

    fn before(state: AttemptState, content: &str) -> Before {
        let outputs = vec![Output {
            port: "model".parse().expect("a name"),
            port_type: PortType::Model,
            digest: Digest::of(content.as_bytes()),
            bytes: 1,
            meta: json!({"of": content}),
        }];
        let outputs = if state.has_outputs() { outputs } else { Vec::new() };
        Before { state, outputs, metrics: Measured::Nothing, instances: None }
    }

    fn read(
        source: Value,
        join: &str,
        states: [AttemptState; 2],
        metrics: &[(u32, f64)],
    ) -> Result<Vec<String>, Failure> {
        let plan = plan(source, join);
        let befores: Befores = (0..2)
            .map(|place| (StageIndex(place), before(states[place as usize], &place.to_string())))
            .collect();
        let metrics = metrics
            .iter()
            .map(|(place, value)| (StageIndex(*place), HashMap::from([("m".to_owned(), *value)])))
            .collect();
        let reading =
            Reading { plan: &plan, stage: &plan.stages[2], before: &befores, metrics: &metrics };
        let names = |read: ReadInput| format!("{} {}", read.part().0, read.input.stage);
        Ok(reading.inputs()?.into_iter().map(names).collect())
    }

    use AttemptState::{Failed, Succeeded};

    #[test]
    fn gathers_read_each_instance_under_its_label() {
        let gather = json!({"gather": {"from": [0, 1], "output": "model"}});
        let all = read(gather.clone(), "all", [Succeeded; 2], &[]).expect("read");
        assert_eq!(all, ["m[lr=1] train[lr=1]", "m[lr=2] train[lr=2]"]);
        let some = read(gather, "any", [Failed, Succeeded], &[]).expect("read");
        assert_eq!(some, ["m[lr=2] train[lr=2]"], "what did not succeed is left out");
    }

    #[test]
    fn stages_of_several_sub_pipelines_are_gathered_under_their_labels() {
        let stage = |name: &str| test_support::stage(test_support::stage_json(name, &[]));
        let mut last = test_support::stage_json("last", &[]);
        let gather = json!({"gather": {"from": [0, 1], "output": "model"}});
        last["inputs"] = json!([{"port": "m", "port_type": "model", "source": gather}]);
        let stages = vec![
            stage("part[size=3]/train[lr=1]"),
            stage("part[size=4]/train[lr=1]"),
            test_support::stage(last),
        ];
        let plan = test_support::plan(Path::new("/"), stages);
        let befores = (0..2).map(|i| (StageIndex(i), before(Succeeded, &i.to_string()))).collect();
        let (stage, metrics) = (&plan.stages[2], HashMap::new());
        let reading = Reading { plan: &plan, stage, before: &befores, metrics: &metrics };
        let read = reading.inputs().expect("read");
        let parts: Vec<String> = read.iter().map(|read| read.part().0).collect();
        assert_eq!(parts, ["m[size=3,lr=1]", "m[size=4,lr=1]"]);
    }

    #[test]
    fn the_best_is_chosen_and_never_what_is_no_number() {
        let select = |mode: &str| {
            let best = json!({"metric": "m", "of": [], "mode": mode});
            json!({"select": {"from": [0, 1], "output": "model", "best": best}})
        };
        #[track_caller]
        fn check(source: Value, metrics: &[(u32, f64)], expect: &str) {
            let read = read(source, "all", [Succeeded; 2], metrics).expect("one is chosen");
            assert_eq!(read, [format!("m {expect}")]);
        }
        check(select("min"), &[(0, 2.0), (1, 1.0)], "train[lr=2]");
        check(select("max"), &[(0, 2.0), (1, 1.0)], "train[lr=1]");
        check(select("max"), &[(0, 1.0), (1, 1.0)], "train[lr=1]");
        check(select("min"), &[(0, f64::NAN), (1, 9.0)], "train[lr=2]");
        check(select("min"), &[(1, f64::INFINITY)], "train[lr=2]");
        let none = read(select("min"), "all", [Succeeded; 2], &[(0, f64::NAN)]).expect_err("none");
        assert_eq!(none.message, "input `m`: none of 2 instances has a number as its `m`");
        assert_eq!(none.help.as_deref(), Some("they measured `m`"));
        let none = read(select("min"), "all", [Succeeded; 2], &[]).expect_err("none");
        assert!(none.help.is_some_and(|help| help.contains("measured nothing")));
        // Where one is enough, one that failed is not the best, whatever it measured.
        let read = read(select("min"), "any", [Failed, Succeeded], &[(0, 0.0), (1, 5.0)]);
        assert_eq!(read.expect("one is chosen"), ["m train[lr=2]"]);
    }

    #[test]
    fn only_lists_bring_instances() {
        let stage = StageName::new("fit").expect("a name");
        assert_eq!(items(&stage, json!([1, "a"])).expect("a list").len(), 2);
        let error = items(&stage, json!({"a": 1})).expect_err("no list");
        assert_eq!(error.message, "fit is written for a list, and got a mapping");
        let long = Value::Array(vec![Value::Null; MAX_ITEMS + 1]);
        assert!(items(&stage, long).is_err());
    }
}
