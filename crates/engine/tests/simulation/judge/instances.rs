//! What the judge knows of stages that are written for a list, and of their instances.

use wick_core::{AttemptState, RunId, StageName};
use wick_engine::executor::Submission;
use wick_plan::PlannedStage;

use super::{Invariant, Judge};
use crate::database::{Run, Tables};
use crate::graphs;
use crate::scheduler::ProcessId;

impl Judge {
    /// The instances of a stage are told, which are to be those of the list as it is published.
    pub(super) fn is_expanded(
        &mut self,
        process: ProcessId,
        run: &RunId,
        stage: &StageName,
        names: Vec<StageName>,
        tables: &Tables,
    ) {
        let plan = self.drives.get(&process).map(|drive| drive.plan.clone());
        let planned = plan.iter().flat_map(|plan| &plan.stages).find(|known| known.name == *stage);
        let list = planned.and_then(|planned| planned.foreach.as_ref());
        let items = plan.iter().zip(list).find_map(|(plan, list)| {
            let row = tables.run(run)?;
            let place = row.place(&plan.stage(list.from).name)?;
            let mut made = tables.outputs_of(row, place).iter();
            let made = made.find(|made| made.port == list.output)?;
            graphs::value(&made.digest).as_array().cloned()
        });
        let items = items.unwrap_or_default();
        let expected = items.iter().map(|item| format!("{stage}[item={item}]"));
        let is_so = names.iter().map(|name| name.to_string()).eq(expected);
        self.check(is_so, Invariant::Listed, || {
            format!("{stage} of {run} has the instances {names:?}, but its list is {items:?}")
        });
        // What is not in the list any more counts for nothing, whatever it has published.
        let earlier = self.listed.insert((run.clone(), stage.clone()), names.clone());
        for gone in earlier.into_iter().flatten().filter(|earlier| !names.contains(earlier)) {
            self.published.remove(&(run.clone(), gone));
        }
        self.unlisted.remove(&(run.clone(), stage.clone()));
    }

    /// A stage that stands for instances has ended.
    pub(super) fn is_gathered(
        &mut self,
        run: &RunId,
        stage: &StageName,
        state: AttemptState,
        now: &Tables,
    ) {
        let row = now.run(run);
        let state_of = |name: &StageName| Some(row?.stages[row?.place(name)?].state);
        let listed = self.listed.get(&(run.clone(), stage.clone())).into_iter().flatten();
        let states: Vec<Option<AttemptState>> = listed.map(state_of).collect();
        let any =
            |sought: &[AttemptState]| states.iter().flatten().any(|state| sought.contains(state));
        let worst = match () {
            () if any(&[AttemptState::Failed, AttemptState::Lost]) => AttemptState::Failed,
            () if any(&[AttemptState::Cancelled]) => AttemptState::Cancelled,
            () if any(&[AttemptState::Skipped]) => AttemptState::Skipped,
            () => AttemptState::Succeeded,
        };
        let have_ended = states.iter().all(|state| state.is_some_and(AttemptState::is_final));
        self.check(have_ended && state == worst, Invariant::EndsWithInstances, || {
            format!("{stage} of {run} {state}, but its instances are {states:?}")
        });
    }

    /// Whether a stage is an instance of one that was left out since it had a list. It stands as it
    /// was, and counts for nothing until there is a list again.
    pub fn is_set_aside(&self, run: &RunId, stage: &PlannedStage) -> bool {
        stage.instance.as_ref().is_some_and(|instance| {
            self.unlisted.contains(&(run.clone(), instance.template.clone()))
        })
    }

    /// A stage, or the instances of its present list, if it is written for one: none where it was
    /// skipped.
    pub(super) fn instances_of(&self, run: &Run, stage: &PlannedStage) -> Vec<StageName> {
        if stage.foreach.is_none() {
            return vec![stage.name.clone()];
        }
        let key = (run.new.id.clone(), stage.name.clone());
        let listed = self.listed.get(&key).filter(|_| !self.unlisted.contains(&key));
        listed.cloned().unwrap_or_default()
    }

    /// Whether any instance has succeeded of a stage that an attempt needs.
    pub(super) fn has_partly(&self, run: &Run, submission: &Submission) -> bool {
        let needs = submission.planned().needs().map(|need| submission.plan.stage(need));
        let mut names = needs.flat_map(|need| self.instances_of(run, need));
        names.any(|name| run.place(&name).is_some_and(|p| run.stages[p].state.has_outputs()))
    }
}
