//! Growing a plan while it runs: the instances of a stage whose list has become known.

use std::collections::HashMap;

use wick_core::StageName;

use crate::plan::{Foreach, InputSource, Plan, PlannedStage, StageIndex};

/// Why instances do not fit the plan that they were to grow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{instance} needs {need}, which the run does not have")]
pub struct GraftError {
    /// The instance.
    pub instance: StageName,
    /// What it needs.
    pub need: StageName,
}

impl Plan {
    /// The instances of the stage `template` in this plan, in its order.
    pub fn instances_of(&self, template: &StageName) -> Vec<StageIndex> {
        let is_instance = |stage: &PlannedStage| {
            stage.instance.as_ref().is_some_and(|instance| instance.template == *template)
        };
        self.indexed().filter(|(_, stage)| is_instance(stage)).map(|(index, _)| index).collect()
    }

    /// Appends stages of `other`, a plan of the same pipeline in which more is known. What they
    /// need is found by its name, among the stages of this plan and those that come with them.
    ///
    /// # Errors
    /// If this plan has not all that they need. Then it is as it was.
    pub fn graft(&mut self, other: &Plan, stages: &[StageIndex]) -> Result<(), GraftError> {
        let mut places: HashMap<&str, StageIndex> =
            self.indexed().map(|(index, stage)| (stage.name.as_str(), index)).collect();
        for (index, place) in stages.iter().zip(self.stages.len() as u32..) {
            places.insert(other.stage(*index).name.as_str(), StageIndex(place));
        }
        let mut grown = Vec::with_capacity(stages.len());
        for index in stages {
            let mut stage = other.stage(*index).clone();
            let name = stage.name.clone();
            let find = |need: &mut StageIndex| {
                let wanted = &other.stage(*need).name;
                *need = places
                    .get(wanted.as_str())
                    .copied()
                    .ok_or_else(|| GraftError { instance: name.clone(), need: wanted.clone() })?;
                Ok(())
            };
            for input in &mut stage.inputs {
                match &mut input.source {
                    InputSource::Output { from, .. } => find(from)?,
                    InputSource::Gather { from, .. } => from.iter_mut().try_for_each(find)?,
                    InputSource::Select { from, best, .. } => {
                        from.iter_mut().chain(&mut best.of).try_for_each(find)?;
                    }
                }
            }
            stage.after.iter_mut().try_for_each(find)?;
            if let Some(Foreach { from, .. }) = &mut stage.foreach {
                find(from)?;
            }
            grown.push(stage);
        }
        self.stages.append(&mut grown);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(stages: &[(&str, &[u32])]) -> Plan {
        let stage = |(name, after): &(&str, &[u32])| -> PlannedStage {
            let instance = name.split_once('[').map(|(template, label)| {
                json!({"template": template, "label": label.trim_end_matches(']'), "values": []})
            });
            let inputs: Vec<_> = after
                .iter()
                .map(|from| {
                    json!({"port": format!("p{from}"), "port_type": "value",
                           "source": {"output": {"from": from, "output": "list"}}})
                })
                .collect();
            serde_json::from_value(json!({
                "name": name, "kind": "command", "revision": 1, "config": {}, "inputs": inputs,
                "outputs": [], "after": after, "retry": {}, "timeout": null, "resources": {},
                "cache": true, "sources": [], "source_fields": [], "ordered_fields": [],
                "neutral_fields": [], "environment": [], "metrics": null, "description": null,
                "instance": instance,
            }))
            .expect("a stage")
        };
        let mut plan: Plan = serde_json::from_value(json!({
            "pipeline": "p", "experiment": "p", "description": null, "file": "/p.yaml",
            "base": "/", "params": [], "overridden": [], "stages": [],
        }))
        .expect("a plan");
        plan.stages = stages.iter().map(stage).collect();
        plan
    }

    #[test]
    fn instances_need_what_they_needed_wherever_it_stands() {
        let mut running = plan(&[("other", &[]), ("folds", &[]), ("fit", &[1]), ("last", &[2])]);
        let known = plan(&[
            ("folds", &[]),
            ("fit[x=0]", &[0]),
            ("fit[x=1]", &[0, 1]),
            ("other", &[]),
            ("last", &[1, 2]),
        ]);
        let fit = StageName::new("fit").expect("a name");
        let instances = known.instances_of(&fit);
        assert_eq!(instances, [StageIndex(1), StageIndex(2)]);
        running.graft(&known, &instances).expect("it fits");
        let needs: Vec<Vec<u32>> = running.stages[4..]
            .iter()
            .map(|stage| stage.needs().map(|need| need.0).collect())
            .collect();
        assert_eq!(needs, [vec![1, 1], vec![1, 4, 1, 4]]);
        let before = running.clone();
        let stranger = plan(&[("nowhere", &[]), ("fit[x=2]", &[0])]);
        let error = running.graft(&stranger, &[StageIndex(1)]).expect_err("nowhere");
        assert_eq!(error.to_string(), "fit[x=2] needs nowhere, which the run does not have");
        assert_eq!(running, before);
    }
}
