//! Whether a run that has ended still fits together: whether each stage would come out as it did,
//! by what the stages before it have published since.
//!
//! A part of a run that is done again (`--until`, `--only`) may leave stages as they are that read
//! what is not there any more. A plain rerun finds them by this.

use std::collections::HashMap;

use wick_core::AttemptState;
use wick_plan::{Join, Plan, PlannedStage, StageIndex, Treatment, Treatments};

use crate::error::EngineResult;
use crate::history::History;
use crate::reads::{Before, Befores, Measured, Reading, part_name};
use crate::resolver::Resolver;

impl Resolver {
    /// Whether a drive that treats stages so would leave each of them as it is. `grown` has the
    /// instances of all lists that the run has made. What was published is taken to be there
    /// ([`Resolver::keeps_all`]).
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn fits_together(
        &self,
        grown: &Plan,
        history: &History,
        treatments: &Treatments,
    ) -> EngineResult<bool> {
        for (index, stage) in grown.indexed() {
            let template = stage.instance.as_ref().map(|instance| &instance.template);
            // Nobody looks at instances of a stage that was left out itself.
            let is_looked_at = template.and_then(|template| history.state(template)).is_none()
                || template.is_some_and(|template| history.is_expanded(template));
            if is_looked_at
                && treatments.of_grown(grown, index) != Treatment::Leave
                && !self.comes_out_alike(grown, stage, history).await?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a stage would come out as it did.
    async fn comes_out_alike(
        &self,
        plan: &Plan,
        stage: &PlannedStage,
        history: &History,
    ) -> EngineResult<bool> {
        // An instance that an item has brought which was not there before.
        let Some(state) = history.state(&stage.name) else { return Ok(false) };
        let before = self.befores(plan, stage, history);
        if !needs_are_met(stage, plan, &before) {
            return Ok(state == AttemptState::Skipped);
        }
        let asked = Reading::asks_metrics_of(plan, stage);
        let metrics = self.metrics(&before, &asked).await?;
        let reading = Reading { plan, stage, before: &before, metrics: &metrics };
        let mut values = HashMap::new();
        for output in reading.values_asked() {
            // What cannot be read fails the stage, which the drive is to say.
            let value = self.value(&output.digest, "`when` looks into").await;
            let Ok(value) = value else { return Ok(false) };
            values.insert(output.digest, value);
        }
        match reading.condition(&values) {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(state == AttemptState::Skipped),
            Err(_) => return Ok(false),
        }
        if stage.foreach.is_some() {
            let instances = plan.instances_of(&stage.name).into_iter();
            let names = instances.map(|index| &plan.stage(index).name).collect();
            return Ok(history.instances_of(&stage.name) == names);
        }
        let Some(kept) = self.kept().get(&stage.name) else { return Ok(false) };
        let Ok(reads) = reading.inputs() else { return Ok(false) };
        let mut now: Vec<_> = reads.iter().map(|read| read.part()).collect();
        let mut then: Vec<_> = kept.inputs.iter().map(part_name).collect();
        now.sort_unstable();
        then.sort_unstable();
        Ok(now == then)
    }

    /// How the stages stand that a stage needs, with their instances.
    fn befores(&self, plan: &Plan, stage: &PlannedStage, history: &History) -> Befores {
        let mut befores = Befores::new();
        for need in stage.needs() {
            let planned = plan.stage(need);
            let instances = planned.foreach.as_ref().map(|_| plan.instances_of(&planned.name));
            for index in instances.iter().flatten().copied().chain([need]) {
                let name = &plan.stage(index).name;
                let kept = self.kept().get(name);
                let before = Before {
                    state: history.state(name).unwrap_or(AttemptState::Queued),
                    outputs: kept.map(|kept| kept.outputs.clone()).unwrap_or_default(),
                    metrics: kept
                        .map_or(Measured::Nothing, |kept| Measured::Stored(kept.origin.clone())),
                    instances: instances.clone().filter(|_| index == need),
                };
                befores.insert(index, before);
            }
        }
        befores
    }
}

/// Whether a stage is to be looked at, by how what it needs has ended.
fn needs_are_met(stage: &PlannedStage, plan: &Plan, before: &Befores) -> bool {
    let template = stage.instance.as_ref().map(|instance| &instance.template);
    let mut needs = stage.needs().filter(|need| Some(&plan.stage(*need).name) != template);
    let has_succeeded =
        |index: StageIndex| before.get(&index).is_some_and(|before| before.state.has_outputs());
    let partly = |index: StageIndex| {
        let instances = before.get(&index).and_then(|before| before.instances.as_ref());
        has_succeeded(index) || instances.into_iter().flatten().any(|index| has_succeeded(*index))
    };
    match stage.join {
        Join::All => needs.all(has_succeeded),
        Join::Any => {
            let mut needs = needs.peekable();
            needs.peek().is_none() || needs.any(partly)
        }
    }
}
