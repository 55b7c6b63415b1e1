//! What a run will come to, as far as it can be told before it runs: by the same questions that
//! the run will ask, put to what is there already.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wick_core::{AttemptState, Failure, Fingerprint, Output, SkipReason, StageName, StageOrigin};
use wick_plan::condition::Reference;
use wick_plan::{FingerprintParts, Join, Plan, PlannedInput, PlannedStage, StageIndex, Treatment};

use crate::engine::{Engine, Situation};
use crate::error::{EngineError, EngineResult};
use crate::reads::{Before, Befores, Measured};
use crate::resolver::{Found, Request, Resolution, Verdict};

/// What will become of a stage.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// It is left alone, and stands like this.
    Left(AttemptState),
    /// It stands as it is in the run that is taken up.
    Kept(Fingerprint, Made),
    /// Outputs are reused.
    Cached(Fingerprint, Made),
    /// It runs. What it reads is known, and what went into its fingerprint.
    Runs(Fingerprint, Box<FingerprintParts>),
    /// It runs, although what it reads is not known yet.
    RunsAnyway,
    /// It does not run.
    Skipped(SkipReason),
    /// It will fail without being tried.
    Fails(Failure),
    /// It stands for these instances.
    Expanded(Vec<StageIndex>),
    /// That depends on what these stages will make.
    Unknown(Vec<StageIndex>),
}

/// Outputs that are there, and the attempt that made them.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub origin: StageOrigin,
    pub outputs: Vec<Output>,
}

/// What a run will come to.
pub(crate) struct Forecast {
    /// The plan, with the instances that are known.
    pub plan: Arc<Plan>,
    /// The fate of each of its stages.
    pub fates: Vec<Fate>,
}

/// How a stage that others need will end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Good,
    Bad,
    /// Some of its instances will be there.
    Partly,
    Open,
}

impl Engine {
    /// What a run in this situation will come to.
    pub(crate) async fn forecast(&self, situation: &Situation) -> EngineResult<Forecast> {
        let mut state = State {
            situation,
            plan: situation.plan.clone(),
            fates: vec![None; situation.plan.stages.len()],
            treatments: situation
                .plan
                .indexed()
                .map(|(index, _)| situation.treatments.of(index))
                .collect(),
        };
        // The plan is sorted, so what a stage needs has been looked at before it. Stages whose
        // inputs are known are asked for together, a level at a time.
        loop {
            let mut requests = Vec::new();
            let (mut moved, mut place) = (false, 0);
            while place < state.plan.stages.len() {
                let index = StageIndex(place as u32);
                if state.fates[place].is_none() && state.is_due(index) {
                    match state.without_asking(index) {
                        Some(fate) => {
                            state.fates[place] = Some(fate);
                            moved = true;
                        }
                        None => requests.push(state.request(index)),
                    }
                }
                place += 1;
            }
            if requests.is_empty() && !moved {
                break;
            }
            let resolutions = situation.resolver.resolve(&state.plan, requests).await?;
            for Resolution { stage, verdict } in resolutions {
                state.take(stage, verdict);
            }
        }
        let fates = state.fates.into_iter();
        let fates = fates.map(|fate| fate.unwrap_or(Fate::Unknown(Vec::new()))).collect();
        Ok(Forecast { plan: state.plan, fates })
    }

    /// Whether what must be there is.
    ///
    /// # Errors
    /// [`EngineError::NotThere`] with all that is missing.
    pub(crate) async fn check_present(&self, situation: &Situation) -> EngineResult<()> {
        if !situation.treatments.any(Treatment::Present) {
            return Ok(());
        }
        let forecast = self.forecast(situation).await?;
        let mut missing = Vec::new();
        for (index, stage) in situation.plan.indexed() {
            if situation.treatments.of(index) != Treatment::Present {
                continue;
            }
            let members: Vec<StageIndex> = match &forecast.fates[index.get()] {
                Fate::Expanded(instances) => instances.clone(),
                _ => vec![index],
            };
            for member in members {
                let name = &forecast.plan.stage(member).name;
                let why = match &forecast.fates[member.get()] {
                    Fate::Kept(..) | Fate::Cached(..) | Fate::Expanded(_) => continue,
                    // One of several that were to be chosen from, or are enough.
                    Fate::Skipped(_) | Fate::Left(_) => continue,
                    Fate::Runs(..) | Fate::RunsAnyway if !situation.resolver.reuses(stage) => {
                        "it made nothing in this run, and nothing of other runs is reused"
                    }
                    Fate::Runs(..) | Fate::RunsAnyway => "nothing is there that it made",
                    Fate::Unknown(_) => "that cannot be told before what it needs is there",
                    Fate::Fails(failure) => failure.message.as_str(),
                };
                missing.push((name.clone(), why.to_owned()));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(EngineError::NotThere { stages: missing }) }
    }
}

struct State<'a> {
    situation: &'a Situation,
    plan: Arc<Plan>,
    fates: Vec<Option<Fate>>,
    treatments: Vec<Treatment>,
}

impl State<'_> {
    /// Whether all that a stage needs has been looked at, the instances among it.
    fn is_due(&self, index: StageIndex) -> bool {
        self.plan.stage(index).needs().all(|need| match &self.fates[need.get()] {
            None => false,
            Some(Fate::Expanded(instances)) => {
                instances.iter().all(|instance| self.fates[instance.get()].is_some())
            }
            Some(_) => true,
        })
    }

    fn end(&self, index: StageIndex) -> End {
        match &self.fates[index.get()] {
            Some(Fate::Kept(..) | Fate::Cached(..)) => End::Good,
            Some(Fate::Left(state)) if state.has_outputs() => End::Good,
            Some(Fate::Left(_) | Fate::Skipped(_) | Fate::Fails(_)) => End::Bad,
            Some(Fate::Runs(..) | Fate::RunsAnyway | Fate::Unknown(_)) | None => End::Open,
            Some(Fate::Expanded(instances)) => {
                let ends: HashSet<u8> =
                    instances.iter().map(|instance| self.end(*instance) as u8).collect();
                let has = |end: End| ends.contains(&(end as u8));
                if has(End::Open) {
                    End::Open
                } else if !has(End::Bad) {
                    End::Good
                } else if has(End::Good) {
                    End::Partly
                } else {
                    End::Bad
                }
            }
        }
    }

    /// What can be told of a stage without asking for its fingerprint.
    fn without_asking(&self, index: StageIndex) -> Option<Fate> {
        let stage = self.plan.stage(index);
        if self.treatments[index.get()] == Treatment::Leave {
            let record = self.situation.taken.as_ref().map(|old| &old.history);
            let past = record.map(|history| history.past(&stage.name, Treatment::Leave));
            return Some(match past.map(|past| past.state) {
                Some(state) if state != AttemptState::Queued => Fate::Left(state),
                _ => Fate::Skipped(SkipReason::NotSelected),
            });
        }
        let needs: Vec<StageIndex> = stage.needs().collect();
        let bad = |need: &StageIndex| matches!(self.end(*need), End::Bad | End::Partly);
        if stage.join == Join::All
            && let Some(need) = needs.iter().copied().find(bad)
        {
            return Some(Fate::Skipped(SkipReason::Need(self.to_blame(need))));
        }
        let open = |need: &StageIndex| self.end(*need) == End::Open;
        let any = stage.join == Join::Any;
        if any
            && let Some(need) = needs.last()
            && needs.iter().all(|need| self.end(*need) == End::Bad)
        {
            return Some(Fate::Skipped(SkipReason::Need(self.to_blame(*need))));
        }
        // Stages that only come before give no data: whatever they do, the fingerprint stays.
        let mut data: Vec<StageIndex> = stage.inputs.iter().flat_map(PlannedInput::needs).collect();
        data.extend(self.looked_at(stage));
        data.extend(stage.foreach.as_ref().map(|list| list.from));
        let mut running: Vec<StageIndex> =
            if any { needs } else { data }.into_iter().filter(open).collect();
        running.sort_unstable();
        running.dedup();
        if running.is_empty() {
            return None;
        }
        let runs_anyway = !any
            && stage.condition.is_none()
            && stage.foreach.is_none()
            && (self.treatments[index.get()] == Treatment::Force || !self.may_be_reused(stage));
        Some(if runs_anyway { Fate::RunsAnyway } else { Fate::Unknown(running) })
    }

    fn may_be_reused(&self, stage: &PlannedStage) -> bool {
        self.situation.resolver.reuses(stage)
            || self.situation.resolver.kept().contains_key(&stage.name)
    }

    /// The stages that the condition of `stage` looks at.
    fn looked_at(&self, stage: &PlannedStage) -> Vec<StageIndex> {
        let references = stage.condition.iter().flat_map(|condition| condition.references());
        let names = references.map(|reference| match reference {
            Reference::Metric { stage, .. } | Reference::Output { stage, .. } => stage,
        });
        names.filter_map(|name| self.plan.find(name)).collect()
    }

    /// The first in a row of skipped stages.
    fn to_blame(&self, stage: StageIndex) -> StageName {
        match &self.fates[stage.get()] {
            Some(Fate::Skipped(SkipReason::Need(first))) => first.clone(),
            _ => self.plan.stage(stage).name.clone(),
        }
    }

    fn request(&self, stage: StageIndex) -> Request {
        let mut before = Befores::new();
        let mut add = |index: StageIndex| {
            before.insert(index, self.before(index));
        };
        for need in self.plan.stage(stage).needs() {
            add(need);
            if let Some(Fate::Expanded(instances)) = &self.fates[need.get()] {
                instances.iter().copied().for_each(&mut add);
            }
        }
        Request { stage, before, treatment: self.treatments[stage.get()] }
    }

    fn before(&self, index: StageIndex) -> Before {
        let (metrics, outputs) = match &self.fates[index.get()] {
            Some(Fate::Kept(_, made) | Fate::Cached(_, made)) => {
                (Measured::Stored(made.origin.clone()), made.outputs.clone())
            }
            _ => (Measured::Nothing, Vec::new()),
        };
        let state = match self.end(index) {
            End::Good => AttemptState::Succeeded,
            _ => AttemptState::Skipped,
        };
        let instances = match &self.fates[index.get()] {
            Some(Fate::Expanded(instances)) => Some(instances.clone()),
            _ => None,
        };
        Before { state, outputs, metrics, instances }
    }

    fn take(&mut self, stage: StageIndex, verdict: Verdict) {
        let fate = match verdict {
            Verdict::Go(resolved) => match resolved.found {
                Found::Kept(kept) => {
                    let (origin, outputs) = (kept.origin, kept.outputs);
                    Fate::Kept(resolved.fingerprint, Made { origin, outputs })
                }
                Found::Cached(cached) => {
                    let (origin, outputs) = (cached.origin, cached.outputs);
                    Fate::Cached(resolved.fingerprint, Made { origin, outputs })
                }
                Found::Nothing => {
                    let resolver = &self.situation.resolver;
                    let parts = resolver.parts(&self.plan, stage, &resolved.inputs);
                    Fate::Runs(resolved.fingerprint, Box::new(parts))
                }
            },
            Verdict::Skip(condition) => Fate::Skipped(SkipReason::Condition(condition)),
            Verdict::Fail(failure) => Fate::Fails(failure),
            Verdict::Expand(planned, instances) => self.expand(stage, &planned, &instances),
        };
        self.fates[stage.get()] = Some(fate);
    }

    fn expand(&mut self, template: StageIndex, planned: &Plan, instances: &[StageIndex]) -> Fate {
        let first = self.plan.stages.len() as u32;
        if let Err(error) = Arc::make_mut(&mut self.plan).graft(planned, instances) {
            let help = "mend the pipeline, then `wick rerun`";
            let cause = wick_core::FailureCause::Config;
            return Fate::Fails(crate::reads::failure(cause, error.to_string(), help));
        }
        let treatments = &self.situation.treatments;
        let grown = &self.plan.stages[first as usize..];
        self.treatments
            .extend(grown.iter().map(|stage| treatments.of_instance(template, &stage.name)));
        self.fates.resize(self.plan.stages.len(), None);
        Fate::Expanded((first..self.plan.stages.len() as u32).map(StageIndex).collect())
    }
}

/// Fates by the names of the stages.
impl Forecast {
    /// The places of the stages as they are shown: instances after the stage that stands for them.
    pub(crate) fn order(&self) -> Vec<StageIndex> {
        let mut follow: HashMap<StageIndex, &[StageIndex]> = HashMap::new();
        let mut instances = HashSet::new();
        for (index, fate) in (0..).map(StageIndex).zip(&self.fates) {
            if let Fate::Expanded(members) = fate {
                follow.insert(index, members);
                instances.extend(members.iter().copied());
            }
        }
        let mut order = Vec::with_capacity(self.fates.len());
        for (index, _) in self.plan.indexed().filter(|(index, _)| !instances.contains(index)) {
            order.push(index);
            order.extend(follow.get(&index).into_iter().copied().flatten());
        }
        order
    }
}
