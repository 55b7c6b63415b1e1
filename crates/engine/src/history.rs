//! What earlier drives have left of a run.

use std::collections::{HashMap, HashSet};

use wick_core::{AttemptState, Output, RunId, RunState, SkipReason, StageName, StageOrigin};
use wick_plan::{Plan, PlannedStage, StageIndex, Treatment, Treatments};
use wick_store::{RunRecord, StageRecord, Store, StoreError, StoreResult};

use crate::dispatcher::Past;
use crate::report::Totals;
use crate::resolver::{Kept, KeptStage};

/// What earlier drives have left of a run; of a new run, nothing.
#[derive(Debug, Clone, Default)]
pub struct History {
    stages: HashMap<StageName, StageRecord>,
}

impl History {
    /// How many stages stand where.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::of(self.stages.len() as u32);
        self.stages.values().for_each(|record| totals.leave(record.state));
        totals
    }

    /// How a stage stands, if the run has it.
    pub fn state(&self, stage: &StageName) -> Option<AttemptState> {
        self.stages.get(stage).map(|record| record.state)
    }

    /// Whether a stage that is written for a list stands for instances: it does not where it was
    /// left out itself, whatever instances an earlier drive has given it.
    pub fn is_expanded(&self, template: &StageName) -> bool {
        self.stages.get(template).is_some_and(|record| {
            let is_open = matches!(record.state, AttemptState::Queued | AttemptState::Cancelled);
            !is_open && record.because.is_none()
        })
    }

    /// The instances of `template` whose items are in its list.
    pub fn instances_of(&self, template: &StageName) -> HashSet<&StageName> {
        let records = self.stages.values().filter(|record| {
            record.template.as_ref() == Some(template) && record.because != Some(SkipReason::NoItem)
        });
        records.map(|record| &record.stage).collect()
    }

    /// What is left of a stage that is to be treated so.
    pub fn past(&self, stage: &StageName, treatment: Treatment) -> Past {
        let leave = treatment == Treatment::Leave;
        let Some(record) = self.stages.get(stage) else {
            return Past { leave, ..Past::default() };
        };
        // Of all that is not left alone, only what has outputs is not queued again.
        let state = match record.state {
            AttemptState::Running => AttemptState::Lost,
            state => state,
        };
        // An instance waits for its list, which queues it again.
        let stays = leave && record.template.is_none();
        let state = if stays || state.has_outputs() { state } else { AttemptState::Queued };
        Past { attempts: record.attempts, state, leave }
    }

    /// Instances that have come to nothing yet, as an earlier drive has left them, with the stages
    /// that stand for them and how they stand; by name.
    pub fn open_instances(&self) -> Vec<(StageName, StageName, AttemptState)> {
        let open = self
            .stages
            .values()
            .filter(|record| !record.state.has_outputs() && record.state != AttemptState::Skipped);
        let instances = open.filter_map(|record| {
            let template = record.template.clone()?;
            Some((record.stage.clone(), template, record.state))
        });
        let mut instances: Vec<_> = instances.collect();
        instances.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        instances
    }

    /// The stages of the run that stay as they are, if it is taken up.
    pub fn left(&self, plan: &Plan, treatments: &Treatments) -> Vec<StageName> {
        let left =
            |(index, _): &(StageIndex, &PlannedStage)| treatments.of(*index) == Treatment::Leave;
        let left = plan.indexed().filter(left).map(|(_, stage)| stage.name.clone());
        // What has not come to anything yet is skipped, like the rest of a new run.
        let ended = |name: &StageName| {
            self.stages.get(name).is_some_and(|record| record.state != AttemptState::Queued)
        };
        left.filter(ended).collect()
    }
}

/// A run that may be taken up.
#[derive(Debug)]
pub struct OldRun {
    /// The run.
    pub record: RunRecord,
    /// Its stages.
    pub history: History,
    /// Those that succeeded.
    pub kept: Kept,
}

impl OldRun {
    /// Reads `run`.
    ///
    /// # Errors
    /// If there is no such run, or the store does not answer.
    pub async fn read(store: &dyn Store, run: &RunId) -> StoreResult<Self> {
        let record = store.run(run).await?.ok_or_else(|| StoreError::NoRun(run.clone()))?;
        let mut kept = Kept::new();
        let mut stages = HashMap::new();
        for record in store.stages(run).await? {
            if record.state.has_outputs()
                && let Some(fingerprint) = record.fingerprint
            {
                let (stage, attempt) = (record.stage.clone(), record.attempts);
                let own = StageOrigin { run: run.clone(), stage, attempt };
                let origin = record.origin.clone().unwrap_or(own);
                let (inputs, outputs) = (Vec::new(), Vec::new());
                let stage = KeptStage { fingerprint, origin, inputs, outputs };
                kept.insert(record.stage.clone(), stage);
            }
            stages.insert(record.stage.clone(), record);
        }
        for record in store.artifacts(run).await? {
            if let Some(kept) = kept.get_mut(&record.stage) {
                kept.outputs.push(Output {
                    port: record.port,
                    port_type: record.port_type,
                    digest: record.digest,
                    bytes: record.bytes,
                    meta: record.meta,
                });
            }
        }
        for (stage, inputs) in read_by(store, run).await? {
            if let Some(kept) = kept.get_mut(&stage) {
                kept.inputs = inputs;
            }
        }
        Ok(Self { record, history: History { stages }, kept })
    }

    /// Whether the plan has the stages of the run. Instances come and go with their lists.
    pub fn has_stages_of(&self, plan: &Plan) -> bool {
        self.record.plan == plan.digest()
            && self.history.stages.values().all(|record| {
                record.template.is_some() || plan.find(record.stage.as_str()).is_some()
            })
    }

    /// Whether its engine died, and may have left processes behind.
    pub fn died(&self) -> bool {
        matches!(self.record.state, RunState::Running | RunState::Interrupted)
    }

    /// Whether everything that is asked for has ended in it, as far as its stages say. Whether
    /// they fit together [`Resolver::fits_together`](crate::resolver::Resolver::fits_together)
    /// tells.
    pub fn is_complete(&self, plan: &Plan, treatments: &Treatments) -> bool {
        let is_done = |record: &StageRecord| {
            record.state.has_outputs()
                || (self.record.state == RunState::Succeeded
                    && record.state == AttemptState::Skipped
                    && record.because != Some(SkipReason::NotSelected))
        };
        let has_ended = match self.record.state {
            RunState::Succeeded => true,
            // A part of it may be complete. If all of it is, the run is to say so.
            RunState::Failed | RunState::Cancelled => treatments.any(Treatment::Leave),
            RunState::Running | RunState::Interrupted => false,
        };
        has_ended
            && !treatments.any(Treatment::Force)
            && plan.indexed().all(|(index, stage)| {
                treatments.of(index) == Treatment::Leave
                    || self.history.stages.get(&stage.name).is_some_and(is_done)
            })
            && self.history.stages.values().all(|record| match &record.template {
                Some(template) => {
                    let index = plan.find(template.as_str());
                    let treatment = index.map(|index| treatments.of_instance(index, &record.stage));
                    treatment == Some(Treatment::Leave)
                        || !self.history.is_expanded(template)
                        || record.because == Some(SkipReason::NoItem)
                        || is_done(record)
                }
                None => true,
            })
    }
}

/// What the stages of `run` have read.
pub async fn read_by(
    store: &dyn Store,
    run: &RunId,
) -> StoreResult<HashMap<StageName, Vec<wick_core::Input>>> {
    let mut read: HashMap<StageName, Vec<wick_core::Input>> = HashMap::new();
    for record in store.inputs(run).await? {
        read.entry(record.stage).or_default().push(wick_core::Input {
            port: record.port,
            stage: record.from_stage,
            output: record.from_output,
            item: record.item,
            digest: record.digest,
        });
    }
    Ok(read)
}
