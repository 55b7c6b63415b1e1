//! A stage as the dispatcher sees it, and how the graph of stages is made and grows.

use std::time::Duration;

use wick_core::{AttemptState, KindName};
use wick_plan::{Join, Plan, Retry, StageIndex};

use super::{Dispatcher, Fact, Past, Spec, Why};
use crate::slots::Demand;

/// Where a stage stands within this run of the engine.
///
/// ```text
/// Waiting -> Resolving -> Ready -> Starting -> Running -> Done
///                |        |  ^        |  ^        |
///                |        v  |        v  |        v
///                |      Claiming     Ahead     Delayed -> Ready
///                |          |
///                +-> Expanded -> Done (its list is known; when its instances have ended)
///                |          |
///                +----------+-> Done (cached, kept, skipped, cancelled from anywhere but Running)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// So many of the stages that it needs have not ended yet.
    Waiting(u32),
    /// Its needs are met; what to do with it is being found out.
    Resolving,
    /// Waits for a slot.
    Ready,
    /// What it wants by name is being claimed. Within this run that is its own already, and with
    /// `slot`, as long as nobody said that it takes longer, its part of the machine too.
    Claiming {
        /// Whether it occupies its part of the machine.
        slot: bool,
    },
    /// Its start is being recorded. With `slot`, it is launched as soon as that is done.
    Starting {
        /// Whether it occupies its slot already.
        slot: bool,
    },
    /// Its start is recorded, ahead of a slot.
    Ahead,
    /// Its process runs.
    Running,
    /// Waits for its next attempt.
    Delayed,
    /// Stands for its instances, so many of which have not ended.
    Expanded(u32),
    /// Nothing more will happen to it.
    Done(AttemptState),
}

/// A stage as the dispatcher sees it.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) phase: Phase,
    pub(super) dependents: Vec<StageIndex>,
    pub(super) join: Join,
    /// Whether any of what it needs, or of its own instances, has succeeded.
    pub(super) any_succeeded: bool,
    /// The stage that it is an instance of.
    pub(super) template: Option<StageIndex>,
    /// The worst end of its instances.
    pub(super) worst: AttemptState,
    pub(super) demand: Demand,
    /// Whether what it wants by name is claimed or granted.
    pub(super) has_claim: bool,
    pub(super) retry: Retry,
    pub(super) timeout: Option<Duration>,
    /// How many stages come after it on its longest way to the end.
    pub(super) height: u32,
    /// Stages of one kind are taken to be alike in how long they take.
    pub(super) kind: u32,
    pub(super) past: Past,
    /// The latest attempt; before the first one, that of earlier drives of this run.
    pub(super) attempt: u32,
    /// How many attempts this drive of the run has made.
    pub(super) tries: u32,
}

impl Dispatcher {
    /// A stage without those that depend on it.
    pub(super) fn stage(
        &mut self,
        spec: &Spec,
        template: Option<StageIndex>,
        height: u32,
    ) -> Stage {
        Stage {
            phase: Phase::Waiting(spec.needs.len() as u32),
            dependents: Vec::new(),
            join: spec.join,
            any_succeeded: false,
            template,
            worst: AttemptState::Succeeded,
            demand: self.pool.demand(&spec.resources),
            has_claim: false,
            retry: spec.retry.clone(),
            timeout: spec.timeout,
            height,
            kind: self.kind(&spec.kind),
            past: spec.past,
            attempt: spec.past.attempts,
            tries: 0,
        }
    }

    fn kind(&mut self, kind: &KindName) -> u32 {
        let known = self.kinds.iter().position(|other| other == kind);
        let place = known.unwrap_or_else(|| {
            self.kinds.push(kind.clone());
            self.quick.push(false);
            self.kinds.len() - 1
        });
        place as u32
    }

    /// Lets the stages of a plan know what depends on them, and how long the way to the end is.
    pub(super) fn connect(&mut self, plan: &Plan) {
        // The plan is sorted: what a stage needs comes before it. So one pass backwards sees
        // every dependent before the stages that it needs.
        for (index, planned) in plan.indexed().collect::<Vec<_>>().into_iter().rev() {
            let height = self.stages[index.get()].height + 1;
            for need in planned.needs() {
                let need = &mut self.stages[need.get()];
                need.height = need.height.max(height);
                if need.dependents.last() != Some(&index) {
                    need.dependents.push(index);
                }
            }
        }
        for stage in &mut self.stages {
            stage.dependents.reverse();
        }
    }

    /// The list of `template` is known: its instances become stages of the run. Most can start at
    /// once, for all that they need has ended.
    pub(super) fn expand(&mut self, template: StageIndex, instances: &[Spec]) {
        let first = StageIndex(self.stages.len() as u32);
        let count = instances.len() as u32;
        self.record(Fact::Expanded { stage: template, first, count });
        self.set(template, Phase::Expanded(count));
        self.open += instances.len();
        let Stage { height, .. } = self.stages[template.get()];
        self.stages[template.get()].any_succeeded = false;
        for spec in instances {
            let stage = self.stage(spec, Some(template), height);
            self.stages.push(stage);
        }
        let mut ready = Vec::new();
        for (spec, place) in instances.iter().zip(first.0..) {
            let instance = StageIndex(place);
            if spec.past.leave {
                self.leave(instance);
            } else if self.wire(instance, template, spec) {
                ready.push(instance);
            }
        }
        self.resolve(ready);
        if count == 0 {
            self.gather(template);
        }
    }

    /// Joins an instance with what it needs. Tells whether all of that is there; otherwise it
    /// waits, or will never run and is skipped.
    fn wire(&mut self, instance: StageIndex, template: StageIndex, spec: &Spec) -> bool {
        let (mut missing, mut bad) = (0, None);
        for need in spec.needs.iter().filter(|need| **need != template) {
            let Some(other) = self.stages.get_mut(need.get()) else { continue };
            match other.phase {
                Phase::Done(state) => {
                    let partly = state.has_outputs() || other.any_succeeded_instance();
                    self.stages[instance.get()].any_succeeded |= partly;
                    if !state.has_outputs() {
                        bad = Some(*need);
                    }
                }
                _ => {
                    other.dependents.push(instance);
                    missing += 1;
                }
            }
        }
        self.set(instance, Phase::Waiting(missing));
        let Stage { join, any_succeeded, .. } = self.stages[instance.get()];
        match (bad, join) {
            (Some(need), Join::All) => self.skip(instance, Why::Need(need)),
            (Some(need), Join::Any) if missing == 0 && !any_succeeded => {
                self.skip(instance, Why::Need(need));
            }
            _ => return missing == 0,
        }
        false
    }

    /// Leaves a stage as it is. In a new run it has not been anything yet: it is skipped.
    pub(super) fn leave(&mut self, stage: StageIndex) {
        match self.stages[stage.get()].past.state {
            AttemptState::Queued | AttemptState::Running => self.skip(stage, Why::NotSelected),
            state => self.set(stage, Phase::Done(state)),
        }
    }
}

impl Stage {
    /// Whether it stands for instances, one of which has succeeded.
    pub(super) fn any_succeeded_instance(&self) -> bool {
        self.worst != AttemptState::Succeeded && self.any_succeeded
    }
}
