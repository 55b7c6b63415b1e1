//! Says beforehand what a run would do and why: `wick plan`. Writes nothing but stamps of sources.

use std::sync::Arc;

use wick_core::{
    AttemptState, Digest, Fingerprint, KindName, RunId, SkipReason, StageName, StageOrigin,
};
use wick_plan::{Change, FingerprintParts, Plan, Section, StageIndex, Treatment};
use wick_store::Store;

use crate::diff::{Recorded, by_param};
use crate::engine::{Engine, RunOptions, newest_runs};
use crate::error::EngineResult;
use crate::forecast::{Fate, Forecast};
use crate::resolver::Resolver;

/// What would become of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StagePreview {
    /// The stage.
    pub stage: StageName,
    /// Its kind.
    pub kind: KindName,
    /// The stages that it needs.
    pub needs: Vec<StageName>,
    /// Its fingerprint, if all that it reads is there.
    pub fingerprint: Option<Fingerprint>,
    /// What a run would do.
    pub decision: PreviewDecision,
}

/// What a run would do with a stage.
#[derive(Debug, Clone, PartialEq)]
pub enum PreviewDecision {
    /// Keep what it made earlier in the run that is taken up.
    Kept,
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
    /// Skip it.
    Skip {
        /// Why.
        reason: SkipReason,
    },
    /// Leave it as it stands in the run that is taken up: it was not asked for.
    Leave {
        /// How it stands.
        state: AttemptState,
    },
    /// Fail it: what it is to read cannot be found out.
    Fail {
        /// Why.
        message: String,
    },
    /// Its instances follow.
    Expand {
        /// How many there are.
        instances: u32,
    },
    /// That depends on what earlier stages will have made: if it is what they made before, the
    /// stage is cached.
    Unknown {
        /// Those stages.
        after: Vec<StageName>,
        /// What changed in the stage itself since the last run: with it, it is cached only if
        /// it ran so before.
        changes: Vec<String>,
    },
}

/// What a run of a plan would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The run that the plan was compared with, to say what changed.
    pub compared: Option<RunId>,
    /// The run that would be taken up; otherwise a new one would begin.
    pub takes_up: Option<RunId>,
    /// Whether there would be nothing to do in it.
    pub nothing_to_do: bool,
    /// Every stage, in the plan's order; instances after the stage that stands for them.
    pub stages: Vec<StagePreview>,
}

impl Engine {
    /// What a run of `plan` with these options would do. Changes are told since the run `compare`,
    /// or the run that is to be done again, or else since the newest run of the same pipeline.
    ///
    /// # Errors
    /// If the store does not answer, or the selection does not fit the plan or wants what is not
    /// there.
    pub async fn preview(
        &self,
        plan: &Arc<Plan>,
        options: &RunOptions,
        compare: Option<&RunId>,
    ) -> EngineResult<Preview> {
        let store = self.store().as_ref();
        let situation = self.situation(plan, options).await?;
        self.check_present(&situation).await?;
        let mut earlier = match compare.or(options.rerun.as_ref()) {
            Some(run) => vec![run.clone()],
            None => newest_runs(store, plan, None).await?,
        }
        .into_iter();
        let compared = earlier.next();
        let past = match &compared {
            Some(run) => Recorded::read(store, run).await?,
            None => Recorded::default(),
        };
        self.foresee(&situation.resolver, plan, None, compared.as_ref()).await?;
        let forecast = self.forecast(&situation).await?;
        let older = older(store, &forecast, &past, earlier).await?;
        let resolver = &situation.resolver;
        let why = Why { past: &past, older: &older, forecast: &forecast, resolver };
        let preview = |index: StageIndex| {
            let stage = forecast.plan.stage(index);
            let treatment = situation.treatments.of_grown(&forecast.plan, index);
            let anew = treatment == Treatment::Force;
            let reuses = situation.resolver.reuses(stage);
            let (fingerprint, decision) = why.decision(index, anew, reuses);
            let (name, kind) = (stage.name.clone(), stage.kind.clone());
            let needs = stage.needs().map(|need| forecast.plan.stage(need).name.clone()).collect();
            StagePreview { stage: name, kind, needs, fingerprint, decision }
        };
        Ok(Preview {
            stages: forecast.order().into_iter().map(preview).collect(),
            nothing_to_do: situation.is_complete,
            takes_up: situation.taken.map(|old| old.record.id),
            compared,
        })
    }
}

impl StagePreview {
    /// Whether outputs are reused.
    pub const fn is_cached(&self) -> bool {
        matches!(self.decision, PreviewDecision::Cached { .. } | PreviewDecision::Kept)
    }
}

/// Why stages do what they do, as far as it has to do with what was before.
struct Why<'a> {
    past: &'a Recorded,
    /// Runs before that one, newest first, to tell what changed of stages that it left out.
    older: &'a [(RunId, Recorded)],
    forecast: &'a Forecast,
    resolver: &'a Resolver,
}

impl Why<'_> {
    fn decision(
        &self,
        index: StageIndex,
        anew: bool,
        reuses: bool,
    ) -> (Option<Fingerprint>, PreviewDecision) {
        let name = |index: &StageIndex| self.forecast.plan.stage(*index).name.clone();
        match &self.forecast.fates[index.get()] {
            Fate::Left(state) => (None, PreviewDecision::Leave { state: *state }),
            Fate::Kept(fingerprint, _) => (Some(*fingerprint), PreviewDecision::Kept),
            Fate::Cached(fingerprint, made) => {
                (Some(*fingerprint), PreviewDecision::Cached { origin: made.origin.clone() })
            }
            Fate::Runs(fingerprint, parts) => {
                let reasons = self.reasons(index, *fingerprint, parts, anew, reuses);
                (Some(*fingerprint), PreviewDecision::Run { reasons })
            }
            Fate::RunsAnyway => {
                let reasons = vec![if anew { ANEW } else { NOT_REUSED }.to_owned()];
                (None, PreviewDecision::Run { reasons })
            }
            Fate::Skipped(reason) => (None, PreviewDecision::Skip { reason: reason.clone() }),
            Fate::Fails(failure) => {
                (None, PreviewDecision::Fail { message: failure.message.clone() })
            }
            Fate::Expanded(instances) => {
                (None, PreviewDecision::Expand { instances: instances.len() as u32 })
            }
            Fate::Unknown(after) => {
                let after = after.iter().map(name).collect();
                (None, PreviewDecision::Unknown { after, changes: self.own_changes(index) })
            }
        }
    }

    /// What changed in a stage since the last run, whatever it will read.
    fn own_changes(&self, index: StageIndex) -> Vec<String> {
        let old = self.past.parts.get(&self.forecast.plan.stage(index).name);
        let new = self.resolver.own_parts(&self.forecast.plan, index);
        let Some((old, new)) = old.zip(new) else { return Vec::new() };
        let is_own = |change: &Change| match change {
            Change::Part { before, after } => before
                .as_ref()
                .or(after.as_ref())
                .is_some_and(|part| part.section != Section::Input),
            _ => true,
        };
        let changes = wick_plan::changes(old, &new);
        let own = changes.iter().filter(|change| is_own(change));
        own.map(|change| self.tell(self.past, index, change)).collect()
    }

    /// Why a stage that is not cached runs.
    fn reasons(
        &self,
        index: StageIndex,
        fingerprint: Fingerprint,
        parts: &FingerprintParts,
        anew: bool,
        reuses: bool,
    ) -> Vec<String> {
        if anew {
            return vec![ANEW.to_owned()];
        }
        if !reuses {
            return vec![NOT_REUSED.to_owned()];
        }
        let stage = self.forecast.plan.stage(index);
        let Some(record) = self.past.stages.get(&stage.name) else {
            let never = self.past.stages.is_empty();
            return vec![if never { "it never ran" } else { "it is new" }.to_owned()];
        };
        if record.fingerprint == Some(fingerprint) {
            return vec![if record.state.has_outputs() {
                "its outputs are no longer there".to_owned()
            } else {
                format!("it {} in the last run", as_clause(record.state))
            }];
        }
        let changes = self.past.parts.get(&stage.name).map(|old| wick_plan::changes(old, parts));
        match changes {
            Some(changes) if !changes.is_empty() => {
                changes.iter().map(|change| self.tell(self.past, index, change)).collect()
            }
            _ => self
                .reasons_of_old(index, parts)
                .unwrap_or_else(|| vec!["it did not come to run in the last run".to_owned()]),
        }
    }

    /// Why a stage that the last run left out runs: what changed since a run that did not.
    fn reasons_of_old(&self, index: StageIndex, parts: &FingerprintParts) -> Option<Vec<String>> {
        let name = &self.forecast.plan.stage(index).name;
        let (run, past, old) =
            self.older.iter().find_map(|(run, past)| Some((run, past, past.parts.get(name)?)))?;
        let changes = wick_plan::changes(old, parts);
        let since = |change| format!("{}, since run {run}", self.tell(past, index, change));
        (!changes.is_empty()).then(|| changes.iter().map(since).collect())
    }

    /// A change since `past`, with what is behind it where that is known.
    fn tell(&self, past: &Recorded, index: StageIndex, change: &Change) -> String {
        let Change::Part { before, after } = change else { return change.to_string() };
        let Some(part) = after.as_ref().or(before.as_ref()) else { return change.to_string() };
        match part.section {
            Section::With => {
                let new = &self.forecast.plan.params;
                match by_param(before.as_ref(), after.as_ref(), &past.params, new) {
                    Some(param) => format!("{change} (param `{param}`)"),
                    None => change.to_string(),
                }
            }
            Section::Input => match (before, after, self.made_by(index, &part.name)) {
                (Some(before), Some(after), Some((stage, run))) => {
                    let (old, new) = (short(&before.digest), short(&after.digest));
                    format!("{change}: {stage} made {new} in run {run}, it was {old} before")
                }
                _ => change.to_string(),
            },
            _ => change.to_string(),
        }
    }

    /// The stage that made what `part` of a stage reads, and the run in which it did.
    fn made_by(&self, index: StageIndex, part: &str) -> Option<(StageName, RunId)> {
        let Forecast { plan, fates } = self.forecast;
        let (port, label) = match part.split_once('[') {
            Some((port, label)) => (port, label.strip_suffix(']')),
            None => (part, None),
        };
        let inputs = &plan.stage(index).inputs;
        let input = inputs.iter().find(|input| input.port == port)?;
        let spread = input.from().iter().flat_map(|from| match &fates[from.get()] {
            Fate::Expanded(instances) => instances.clone(),
            _ => vec![*from],
        });
        let candidates: Vec<StageIndex> = spread.collect();
        let maker = match label {
            Some(label) => candidates.into_iter().find(|from| {
                plan.stage(*from).instance.as_ref().is_some_and(|i| i.label == label)
            })?,
            // Of several to choose from it is not known here which was chosen.
            None => match candidates.as_slice() {
                [only] => *only,
                _ => return None,
            },
        };
        match &fates[maker.get()] {
            Fate::Kept(_, made) | Fate::Cached(_, made) => {
                Some((plan.stage(maker).name.clone(), made.origin.run.clone()))
            }
            _ => None,
        }
    }
}

/// Of these runs as many as it takes to know what went into each stage that runs and that `past`
/// left out, such as a run of a part of the pipeline does.
async fn older(
    store: &dyn Store,
    forecast: &Forecast,
    past: &Recorded,
    runs: impl Iterator<Item = RunId>,
) -> EngineResult<Vec<(RunId, Recorded)>> {
    let mut unknown: Vec<&StageName> = (forecast.plan.stages.iter().zip(&forecast.fates))
        .filter(|(_, fate)| matches!(fate, Fate::Runs(..)))
        .map(|(stage, _)| &stage.name)
        .filter(|name| past.stages.contains_key(*name) && !past.parts.contains_key(*name))
        .collect();
    let mut older = Vec::new();
    for run in runs {
        if unknown.is_empty() {
            break;
        }
        let recorded = Recorded::read(store, &run).await?;
        unknown.retain(|name| !recorded.parts.contains_key(*name));
        older.push((run, recorded));
    }
    Ok(older)
}

const ANEW: &str = "it is to be computed anew";
const NOT_REUSED: &str = "its results are not to be reused";

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(8).collect()
}

fn as_clause(state: AttemptState) -> &'static str {
    use AttemptState::*;
    match state {
        Failed => "failed",
        Cancelled => "was cancelled",
        Skipped => "was skipped",
        Lost => "was lost",
        Queued | Running => "did not end",
        Succeeded | Cached => "succeeded",
    }
}
