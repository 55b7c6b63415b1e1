//! Says beforehand what a run would do and why: `wick plan`. Writes nothing but stamps of sources.

use std::collections::HashMap;
use std::sync::Arc;

use wick_core::{Digest, Fingerprint, RunId, StageName, StageOrigin};
use wick_plan::{FingerprintParts, Plan, PlannedInput, StageIndex, explain_change};
use wick_store::{CachedOutputs, StageRecord};

use crate::engine::{Engine, newest_run, outputs_of};
use crate::error::EngineResult;
use crate::resolver::{Found, Request};

/// What would become of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StagePreview {
    /// The stage.
    pub stage: StageName,
    /// Its fingerprint, if all that it reads is there.
    pub fingerprint: Option<Fingerprint>,
    /// What a run would do.
    pub decision: PreviewDecision,
}

/// What a run would do with a stage.
#[derive(Debug, Clone, PartialEq)]
pub enum PreviewDecision {
    /// Reuse outputs.
    Cached {
        /// The attempt that made them.
        origin: StageOrigin,
    },
    /// Run it.
    Run {
        /// Why: at least one sentence fragment.
        reasons: Vec<String>,
    },
    /// That depends on what earlier stages will have made: if it is what they made before, the
    /// stage is cached.
    Unknown {
        /// Those stages.
        after: Vec<StageName>,
    },
}

/// What a run of a plan would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The run that the plan was compared with, to say what changed.
    pub compared: Option<RunId>,
    /// Every stage, in the plan's order.
    pub stages: Vec<StagePreview>,
}

impl Engine {
    /// What a run of `plan` would do. Changes are told since the run `compare`, or else since the
    /// newest run of the same pipeline.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn preview(
        &self,
        plan: &Plan,
        use_cache: bool,
        compare: Option<&RunId>,
    ) -> EngineResult<Preview> {
        let store = self.store().as_ref();
        let plan = Arc::new(plan.clone());
        let compared = match compare {
            Some(run) => Some(run.clone()),
            None => newest_run(store, &plan, None).await?,
        };
        let past = match &compared {
            Some(run) => self.past(run).await?,
            None => Past::default(),
        };
        let resolver = self.resolver(&plan, use_cache, HashMap::new());
        if let Some(run) = &compared {
            resolver.foresee(&outputs_of(store, &plan, run).await?).await?;
        }
        let mut stages: Vec<Option<StagePreview>> = vec![None; plan.stages.len()];
        let mut outputs: HashMap<StageIndex, CachedOutputs> = HashMap::new();
        // The plan is sorted, so what a stage needs has been looked at before it. Stages whose
        // inputs are known are asked for together, a level at a time.
        loop {
            let mut requests = Vec::new();
            for (index, stage) in plan.indexed() {
                if stages[index.get()].is_some() {
                    continue;
                }
                let mut running: Vec<StageName> = Vec::new();
                let mut waits = false;
                for need in stage.inputs.iter().flat_map(PlannedInput::needs) {
                    let name = &plan.stage(need).name;
                    match &stages[need.get()] {
                        None => waits = true,
                        Some(preview) if !preview.is_cached() && !running.contains(name) => {
                            running.push(name.clone());
                        }
                        Some(_) => {}
                    }
                }
                if !running.is_empty() {
                    let decision = PreviewDecision::Unknown { after: running };
                    let stage = stage.name.clone();
                    stages[index.get()] = Some(StagePreview { stage, fingerprint: None, decision });
                } else if !waits {
                    requests.push(Request { stage: index, inputs: inputs(&plan, index, &outputs) });
                }
            }
            if requests.is_empty() {
                break;
            }
            for resolution in resolver.resolve(requests).await? {
                let index = resolution.stage;
                let name = &plan.stage(index).name;
                let decision = match resolution.found {
                    Found::Cached(cached) => {
                        let origin = cached.origin.clone();
                        outputs.insert(index, cached);
                        PreviewDecision::Cached { origin }
                    }
                    Found::Kept(_) | Found::Nothing => {
                        let cache = use_cache && plan.stage(index).cache;
                        let reasons =
                            past.reasons(name, resolution.fingerprint, &resolution.parts, cache);
                        PreviewDecision::Run { reasons }
                    }
                };
                stages[index.get()] = Some(StagePreview {
                    stage: name.clone(),
                    fingerprint: Some(resolution.fingerprint),
                    decision,
                });
            }
        }
        Ok(Preview { compared, stages: stages.into_iter().flatten().collect() })
    }

    async fn past(&self, run: &RunId) -> EngineResult<Past> {
        let parts = self.store().stage_parts(run).await?;
        let stages = self.store().stages(run).await?;
        Ok(Past {
            parts: parts
                .into_iter()
                .filter_map(|(stage, parts)| Some((stage, serde_json::from_value(parts).ok()?)))
                .collect(),
            stages: stages.into_iter().map(|record| (record.stage.clone(), record)).collect(),
        })
    }
}

impl StagePreview {
    /// Whether outputs are reused.
    pub const fn is_cached(&self) -> bool {
        matches!(self.decision, PreviewDecision::Cached { .. })
    }
}

/// What is known of the run that a plan is compared with.
#[derive(Default)]
struct Past {
    parts: HashMap<StageName, FingerprintParts>,
    stages: HashMap<StageName, StageRecord>,
}

impl Past {
    /// Why a stage that is not cached runs.
    fn reasons(
        &self,
        stage: &StageName,
        fingerprint: Fingerprint,
        parts: &FingerprintParts,
        cache: bool,
    ) -> Vec<String> {
        if !cache {
            return vec!["its results are not to be reused".to_owned()];
        }
        let Some(record) = self.stages.get(stage) else {
            let never = self.stages.is_empty();
            return vec![if never { "it never ran" } else { "it is new" }.to_owned()];
        };
        if record.fingerprint == Some(fingerprint) {
            return vec![if record.state.has_outputs() {
                "its outputs are no longer there".to_owned()
            } else {
                format!("it {} in the last run", as_clause(record))
            }];
        }
        let changes = self.parts.get(stage).map(|old| explain_change(old, parts));
        match changes {
            Some(changes) if !changes.is_empty() => changes,
            _ => vec!["it did not come to run in the last run".to_owned()],
        }
    }
}

fn as_clause(record: &StageRecord) -> String {
    use wick_core::AttemptState::*;
    match record.state {
        Failed => "failed",
        Cancelled => "was cancelled",
        Skipped => "was skipped",
        Lost => "was lost",
        Queued | Running => "did not end",
        Succeeded | Cached => "succeeded",
    }
    .to_owned()
}

/// The digests of what a stage reads, all of which is cached.
fn inputs(
    plan: &Plan,
    index: StageIndex,
    outputs: &HashMap<StageIndex, CachedOutputs>,
) -> Vec<Digest> {
    let inputs = plan.stage(index).inputs.iter().map(|input| {
        let outputs = outputs.get(&input.from()[0]).map(|cached| cached.outputs.as_slice());
        let mut outputs = outputs.unwrap_or_default().iter();
        outputs.find(|output| output.port == *input.output()).map(|output| output.digest)
    });
    // An output that is missing from a record makes a fingerprint that nothing has.
    inputs.map(|digest| digest.unwrap_or(Digest::from_bytes([0; 32]))).collect()
}
