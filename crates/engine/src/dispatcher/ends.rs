//! What the end of a stage means for those that need it, and for the stage that it is an instance
//! of.

use wick_core::AttemptState;
use wick_plan::{Join, StageIndex};

use super::stage::{Phase, Stage};
use super::{Dispatcher, Fact, Why};

/// A stage that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) stage: StageIndex,
    pub(super) state: AttemptState,
    /// The stage that is to blame if others are skipped for want of this one: of a row of skipped
    /// stages the first that did not succeed, not the last.
    pub(super) blame: StageIndex,
}

/// How bad an end is, among those of the instances of a stage.
const fn badness(state: AttemptState) -> u32 {
    match state {
        AttemptState::Failed | AttemptState::Lost => 3,
        AttemptState::Cancelled => 2,
        AttemptState::Skipped => 1,
        _ => 0,
    }
}

impl Dispatcher {
    /// Tells those that need the stages which have ended. All that these make is published, or
    /// will be before anything that is recorded from now on.
    pub(super) fn pass_on(&mut self) {
        while !self.ended.is_empty() {
            let mut met = Vec::new();
            for ended in std::mem::take(&mut self.ended) {
                let Ended { stage, state, .. } = ended;
                if state == AttemptState::Failed {
                    self.failed_for_good(stage);
                }
                self.tell_dependents(ended, &mut met);
                if let Some(template) = self.stages[stage.get()].template {
                    self.instance_ended(template, state);
                }
            }
            // One of them may have been dropped since, by a failure further on.
            met.retain(|stage| self.stages[stage.get()].phase == Phase::Waiting(0));
            self.resolve(met);
        }
    }

    fn tell_dependents(&mut self, ended: Ended, met: &mut Vec<StageIndex>) {
        let Ended { stage, state, blame } = ended;
        let succeeded = state.has_outputs();
        let partly = succeeded || self.stages[stage.get()].any_succeeded_instance();
        for dependent in std::mem::take(&mut self.stages[stage.get()].dependents) {
            let other = &mut self.stages[dependent.get()];
            let Phase::Waiting(missing) = other.phase else { continue };
            other.any_succeeded |= partly;
            let Stage { join, any_succeeded, .. } = *other;
            let is_last = missing == 1;
            if !succeeded && (join == Join::All || (is_last && !any_succeeded)) {
                self.skip(dependent, Why::Need(blame));
                continue;
            }
            self.set(dependent, Phase::Waiting(missing - 1));
            if is_last {
                met.push(dependent);
            }
        }
    }

    /// A stage will not succeed any more in this drive.
    fn failed_for_good(&mut self, failed: StageIndex) {
        if self.policy.keep_going
            || self.stopped_by.is_some()
            || self.stages[failed.get()].past.leave
        {
            return;
        }
        self.stopped_by = Some(failed);
        self.drop_waiting(|dispatcher, stage| dispatcher.skip(stage, Why::Need(failed)));
    }

    /// An instance of `template` has ended: with the last one, so has `template`.
    fn instance_ended(&mut self, template: StageIndex, state: AttemptState) {
        let stage = &mut self.stages[template.get()];
        stage.any_succeeded |= state.has_outputs();
        if badness(state) > badness(stage.worst) {
            stage.worst = if state == AttemptState::Lost { AttemptState::Failed } else { state };
        }
        let Phase::Expanded(open) = stage.phase else { return };
        self.set(template, Phase::Expanded(open - 1));
        if open == 1 {
            self.gather(template);
        }
    }

    /// All instances of `template` have ended.
    pub(super) fn gather(&mut self, template: StageIndex) {
        let state = self.stages[template.get()].worst;
        self.record(Fact::Gathered { stage: template, state });
        self.set(template, Phase::Done(state));
    }
}
