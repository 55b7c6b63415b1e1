//! What the judge takes for a reason to do again what was published.

use wick_core::{EventBody, Input, RunId, SkipReason, StageName};
use wick_plan::{PlannedStage, Treatment};

use super::{Drive, Invariant, Judge};
use crate::database::{Run, Tables};
use crate::scheduler::ProcessId;

impl Judge {
    /// What a stage had published does not count any more, for which there must be a reason. `next`
    /// is what follows in the same commit: what becomes of the stage instead.
    pub(super) fn begins_anew(
        &mut self,
        process: ProcessId,
        run: &RunId,
        stage: &StageName,
        next: Option<&EventBody>,
        tables: [&Tables; 2],
    ) {
        if self.published.remove(&(run.clone(), stage.clone())).is_none() {
            return;
        }
        let Some(drive) = self.drives.get(&process) else { return };
        let holds = self.has_reason(drive, run, stage, next, tables);
        self.check(holds, Invariant::NotRepeated, || {
            format!("{stage} of {run} is to be done again for no reason: {next:?}")
        });
    }

    fn has_reason(
        &self,
        drive: &Drive,
        run: &RunId,
        stage: &StageName,
        next: Option<&EventBody>,
        [before, after]: [&Tables; 2],
    ) -> bool {
        let Some((planned, treatment)) = self.planned(drive, run, stage) else { return false };
        let is_unsure = !planned.sources.is_empty() && (self.changes > 0 || !self.all_readable);
        if treatment == Treatment::Force || is_unsure {
            return true;
        }
        let (Some(was), Some(is)) = (before.run(run), after.run(run)) else { return false };
        let made = was.place(stage).map(|place| before.outputs_of(was, place));
        if made.into_iter().flatten().any(|made| self.ever_lost.contains(&made.digest)) {
            return true;
        }
        match next {
            // It reads something else than what it was made from. That it reads what is published
            // is another rule.
            Some(
                EventBody::AttemptStarted { stage: next, inputs, .. }
                | EventBody::StageCached { stage: next, inputs, .. },
            ) => next == stage && read_by(was, stage) != Some(inputs.clone()),
            Some(EventBody::StageSkipped { stage: next, reason }) if next == stage => {
                match reason {
                    SkipReason::Need(_) => planned.needs().any(|need| {
                        let place = is.place(&drive.plan.stage(need).name);
                        !place.is_some_and(|place| is.stages[place].state.has_outputs())
                    }),
                    SkipReason::Condition(_) => planned.condition.is_some(),
                    SkipReason::NotSelected | SkipReason::NoItem => false,
                }
            }
            _ => false,
        }
    }

    /// A stage as it is planned, or the stage that it is an instance of, and what is to be done
    /// with it.
    fn planned<'a>(
        &self,
        drive: &'a Drive,
        run: &RunId,
        stage: &StageName,
    ) -> Option<(&'a PlannedStage, Treatment)> {
        let treatments = drive.treatments.as_ref()?;
        if let Some(index) = drive.plan.find(stage.as_str()) {
            return Some((drive.plan.stage(index), treatments.of(index)));
        }
        let mut lists = self.listed.iter();
        let list = lists.find(|((of, _), names)| of == run && names.contains(stage));
        let template = drive.plan.find(list?.0.1.as_str())?;
        Some((drive.plan.stage(template), treatments.of_instance(template, stage)))
    }
}

/// What the latest attempt or reuse of a stage has read.
fn read_by(run: &Run, stage: &StageName) -> Option<Vec<Input>> {
    run.events.values().rev().find_map(|event| match &event.body {
        EventBody::AttemptStarted { stage: of, inputs, .. }
        | EventBody::StageCached { stage: of, inputs, .. }
            if of == stage =>
        {
            Some(inputs.clone())
        }
        _ => None,
    })
}
