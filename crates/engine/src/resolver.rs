//! Finds out what is to be done with a stage whose needs have ended: whether it is to run at all,
//! what it reads, its fingerprint, and whether outputs for that fingerprint are there already.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use wick_core::{
    AttemptState, Digest, Failure, FailureCause, Fingerprint, Input, Output, StageName, StageOrigin,
};
use wick_plan::fingerprint::{FingerprintParts, Materials};
use wick_plan::{KnownList, Plan, PlannedStage, StageIndex, Treatment};
use wick_store::{CachedOutputs, SourceStamp, Store};

use crate::error::EngineResult;
use crate::expander::Expander;
use crate::files::{Files, path_text};
use crate::patience::ask;
use crate::reads::{self, Before, Befores, Measured, ReadInput, Reading, failure};
use crate::world::World;

/// A stage to be resolved.
#[derive(Debug, Clone)]
pub struct Request {
    /// The stage.
    pub stage: StageIndex,
    /// How the stages ended that it needs, and their instances.
    pub before: Befores,
    /// Whether what is there may be reused.
    pub treatment: Treatment,
}

/// What was found out of a stage.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The stage.
    pub stage: StageIndex,
    /// What.
    pub verdict: Verdict,
}

/// What is to become of a stage.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It runs, or its outputs are reused.
    Go(Resolved),
    /// Its condition does not hold: with the values that it had.
    Skip(String),
    /// What it reads cannot be found out.
    Fail(Failure),
    /// Its list is known. These stages of this plan are its instances.
    Expand(Arc<Plan>, Vec<StageIndex>),
}

/// A stage whose inputs are known.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What it reads.
    pub inputs: Vec<ReadInput>,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// What is there of its outputs.
    pub found: Found,
}

/// What is there of a stage's outputs.
#[derive(Debug, Clone)]
pub enum Found {
    /// The stage succeeded in this run before, with this fingerprint.
    Kept(KeptStage),
    /// Another attempt with this fingerprint succeeded.
    Cached(CachedOutputs),
    /// Nothing that can be used.
    Nothing,
}

/// A stage that succeeded in an earlier drive of the same run.
#[derive(Debug, Clone)]
pub struct KeptStage {
    /// Its fingerprint then.
    pub fingerprint: Fingerprint,
    /// The attempt that made its outputs.
    pub origin: StageOrigin,
    /// What it read.
    pub inputs: Vec<Input>,
    /// What it made.
    pub outputs: Vec<Output>,
}

/// The stages of a run that succeeded in earlier drives of it.
pub type Kept = HashMap<StageName, KeptStage>;

/// Resolves the stages of one run.
pub struct Resolver {
    store: Arc<dyn Store>,
    world: Arc<dyn World>,
    files: Arc<dyn Files>,
    use_cache: bool,
    kept: Kept,
    expander: Option<Expander>,
    /// Lists that the run has made.
    lists: Mutex<Vec<KnownList>>,
    /// Digests of sources that were looked at; `None` for those that cannot be read.
    sources: Mutex<HashMap<PathBuf, Option<Digest>>>,
    /// What the store said of fingerprints that it was asked for ahead of time.
    foreseen: Mutex<HashMap<Fingerprint, Option<CachedOutputs>>>,
    /// What attempts have measured, as the store said.
    measured: Mutex<HashMap<StageOrigin, HashMap<String, f64>>>,
}

impl Resolver {
    /// With `use_cache` off, only `kept` is reused.
    pub fn new(
        store: Arc<dyn Store>,
        world: Arc<dyn World>,
        files: Arc<dyn Files>,
        use_cache: bool,
        kept: Kept,
        expander: Option<Expander>,
    ) -> Self {
        Self {
            store,
            world,
            files,
            use_cache,
            kept,
            expander,
            lists: Mutex::default(),
            sources: Mutex::default(),
            foreseen: Mutex::default(),
            measured: Mutex::default(),
        }
    }

    /// What succeeded in earlier drives of the run.
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Takes `kept` for what earlier drives of the run have left.
    pub fn keep(&mut self, kept: Kept) {
        self.kept = kept;
    }

    /// Resolves stages, with one question to the store for all of them.
    ///
    /// # Errors
    /// If the store does not answer. A source that cannot be read is no error: the stage runs and
    /// says so itself.
    pub async fn resolve(
        &self,
        plan: &Plan,
        requests: Vec<Request>,
    ) -> EngineResult<Vec<Resolution>> {
        self.digest_sources(plan, requests.iter().map(|request| request.stage)).await?;
        let mut resolutions = Vec::with_capacity(requests.len());
        for request in &requests {
            let verdict = self.look(plan, request).await?;
            resolutions.push(Resolution { stage: request.stage, verdict });
        }
        let mut kept: Vec<(&mut Resolved, &KeptStage)> = Vec::new();
        for (resolution, request) in resolutions.iter_mut().zip(&requests) {
            if let Verdict::Go(resolved) = &mut resolution.verdict
                && request.treatment != Treatment::Force
                && let Some(stage) = self.kept.get(&plan.stage(request.stage).name)
                && stage.fingerprint == resolved.fingerprint
            {
                kept.push((resolved, stage));
            }
        }
        let outputs: Vec<&[Output]> =
            kept.iter().map(|(_, stage)| stage.outputs.as_slice()).collect();
        let there = self.are_there(&outputs).await?;
        for ((resolved, stage), _) in kept.into_iter().zip(there).filter(|(_, there)| *there) {
            resolved.found = Found::Kept(stage.clone());
        }
        let mut wanted: Vec<(StageIndex, &mut Resolved)> = resolutions
            .iter_mut()
            .zip(&requests)
            .filter(|(_, request)| request.treatment != Treatment::Force)
            .filter_map(|(resolution, request)| match &mut resolution.verdict {
                Verdict::Go(resolved) => Some((request.stage, resolved)),
                _ => None,
            })
            .collect();
        self.find_cached(plan, &mut wanted).await?;
        Ok(resolutions)
    }

    /// What one stage is to do, but for what is there of its outputs.
    async fn look(&self, plan: &Plan, request: &Request) -> EngineResult<Verdict> {
        let stage = plan.stage(request.stage);
        let asked = Reading::asks_metrics_of(plan, stage);
        let metrics = self.metrics(&request.before, &asked).await?;
        let reading = Reading { plan, stage, before: &request.before, metrics: &metrics };
        let verdict = match self.verdict(&reading, request.stage).await {
            Ok(Some(verdict)) => Ok(verdict),
            Ok(None) => self.expand(&reading).await,
            Err(failure) => Err(failure),
        };
        Ok(verdict.unwrap_or_else(Verdict::Fail))
    }

    /// What a stage is to do; `None` if it stands for instances.
    async fn verdict(
        &self,
        reading: &Reading<'_>,
        index: StageIndex,
    ) -> Result<Option<Verdict>, Failure> {
        let mut values = HashMap::new();
        for output in reading.values_asked() {
            values.insert(output.digest, self.value(&output.digest, "`when` looks into").await?);
        }
        if let Err(condition) = reading.condition(&values)? {
            return Ok(Some(Verdict::Skip(condition)));
        }
        if reading.stage.foreach.is_some() {
            return Ok(None);
        }
        let inputs = reading.inputs()?;
        let parts: Vec<(String, Digest)> = inputs.iter().map(ReadInput::part).collect();
        let (fingerprint, _) = self.fingerprint(reading.plan, index, &parts);
        let found = Found::Nothing;
        Ok(Some(Verdict::Go(Resolved { inputs, fingerprint, found })))
    }

    /// What a stage has put into a `value`.
    pub(crate) async fn value(&self, digest: &Digest, what: &str) -> Result<Value, Failure> {
        self.files.value(digest).await.map_err(|why| {
            let message = format!("the value that {what} cannot be read: {why}");
            failure(FailureCause::Data, message, "let its stage write JSON of a moderate size")
        })
    }

    /// The instances of a stage whose list is there now.
    async fn expand(&self, reading: &Reading<'_>) -> Result<Verdict, Failure> {
        let Reading { plan, stage, before, .. } = reading;
        let Some(list) = &stage.foreach else {
            return Err(failure(FailureCause::Internal, "the stage has no list".to_owned(), ""));
        };
        let outputs = before.get(&list.from).map(|before| before.outputs.as_slice());
        let output = outputs.unwrap_or_default().iter().find(|output| output.port == list.output);
        let made_by = &plan.stage(list.from).name;
        let output = output.ok_or_else(|| {
            let message = format!("stage {made_by} ended without its output `{}`", list.output);
            failure(FailureCause::Internal, message, "run it again: `wick rerun --from` it")
        })?;
        let what = format!("is the list for {}", stage.name);
        let items = reads::items(&stage.name, self.value(&output.digest, &what).await?)?;
        if items.is_empty() {
            return Ok(Verdict::Expand(Arc::new((*plan).clone()), Vec::new()));
        }
        let expander = self.expander.as_ref().ok_or_else(|| {
            let message = format!("nobody is there to plan the instances of {}", stage.name);
            failure(FailureCause::Internal, message, "begin the run from its pipeline file")
        })?;
        let list = KnownList { stage: made_by.clone(), output: list.output.clone(), items };
        let planned = expander.plan(self.known_lists(list)).await.map_err(|why| {
            let message = format!("the instances of {} cannot be planned", stage.name);
            let help = "mend the pipeline, or what its list holds; then `wick rerun`";
            Failure { chain: vec![why], ..failure(FailureCause::Config, message, help) }
        })?;
        let instances = planned.instances_of(&stage.name);
        Ok(Verdict::Expand(Arc::new(planned), instances))
    }

    /// All lists that the run has made, this one among them.
    fn known_lists(&self, list: KnownList) -> Vec<KnownList> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|known| known.stage != list.stage || known.output != list.output);
        lists.push(list);
        lists.clone()
    }

    /// The metrics of stages: from the drive, or from the store.
    pub(crate) async fn metrics(
        &self,
        before: &Befores,
        asked: &[StageIndex],
    ) -> EngineResult<HashMap<StageIndex, HashMap<String, f64>>> {
        let mut metrics = HashMap::new();
        let spread = asked.iter().flat_map(|index| {
            let instances = before.get(index).and_then(|before| before.instances.clone());
            instances.unwrap_or_else(|| vec![*index])
        });
        for index in spread {
            let Some(Before { metrics: measured, .. }) = before.get(&index) else { continue };
            let found = match measured {
                Measured::Nothing => HashMap::new(),
                Measured::Here(metrics) => metrics.clone(),
                Measured::Stored(origin) => self.stored_metrics(origin).await?,
            };
            metrics.insert(index, found);
        }
        Ok(metrics)
    }

    async fn stored_metrics(&self, origin: &StageOrigin) -> EngineResult<HashMap<String, f64>> {
        let known = {
            let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
            measured.get(origin).cloned()
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let found: HashMap<String, f64> =
            ask(&*self.world, || self.store.metrics_of(origin)).await?.into_iter().collect();
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.insert(origin.clone(), found.clone());
        Ok(found)
    }

    /// The plan with the instances of all lists that the run has made and that still stand. What
    /// cannot be told is left out: it is told when it comes to it.
    pub async fn grown(&self, plan: &Plan) -> Plan {
        let mut grown = plan.clone();
        for (_, stage) in plan.indexed().filter(|(_, stage)| stage.foreach.is_some()) {
            let Some(list) = &stage.foreach else { continue };
            let Some(kept) = self.kept.get(&plan.stage(list.from).name) else { continue };
            let before = Before {
                state: AttemptState::Succeeded,
                outputs: kept.outputs.clone(),
                metrics: Measured::Nothing,
                instances: None,
            };
            let before = Befores::from([(list.from, before)]);
            let reading = Reading { plan, stage, before: &before, metrics: &HashMap::new() };
            if let Ok(Verdict::Expand(planned, instances)) = self.expand(&reading).await {
                // Instances that do not fit are reported when the run comes to them.
                let _ = grown.graft(&planned, &instances);
            }
        }
        grown
    }

    /// Whether everything that succeeded in earlier drives of the run still stands: its
    /// fingerprint is what it would be now for what it read then, and its outputs are there.
    /// Says nothing of instances that `plan` does not know.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn keeps_all(&self, plan: &Plan) -> EngineResult<bool> {
        let known: Vec<(StageIndex, &KeptStage)> = plan
            .indexed()
            .filter_map(|(index, stage)| Some((index, self.kept.get(&stage.name)?)))
            .collect();
        self.digest_sources(plan, known.iter().map(|(index, _)| *index)).await?;
        let stands = known.iter().all(|(index, kept)| {
            let parts: Vec<(String, Digest)> = kept.inputs.iter().map(reads::part_name).collect();
            self.fingerprint(plan, *index, &parts).0 == kept.fingerprint
        });
        if !stands {
            return Ok(false);
        }
        let outputs: Vec<&[Output]> =
            known.iter().map(|(_, kept)| kept.outputs.as_slice()).collect();
        Ok(self.are_there(&outputs).await?.into_iter().all(|there| there))
    }

    /// Guesses, from what stages of these names read in an earlier run, which fingerprints the
    /// whole plan will have, and asks the store for all of them at once. Where the guess is right,
    /// which it is when little has changed, resolving the plan level by level asks nothing more.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn foresee(
        &self,
        plan: &Plan,
        read: &HashMap<StageName, Vec<Input>>,
    ) -> EngineResult<()> {
        if !self.use_cache {
            return Ok(());
        }
        let ports = |stage: &PlannedStage| !stage.inputs.is_empty();
        self.digest_sources(plan, plan.indexed().map(|(index, _)| index)).await?;
        let mut fingerprints = Vec::new();
        for (index, stage) in plan.indexed() {
            let read = read.get(&stage.name);
            // A stage that reads something now, and read nothing then, is another stage.
            if stage.cache
                && stage.foreach.is_none()
                && !self.kept.contains_key(&stage.name)
                && (read.is_some() || !ports(stage))
            {
                let read = read.map(Vec::as_slice).unwrap_or_default();
                let parts: Vec<(String, Digest)> = read.iter().map(reads::part_name).collect();
                fingerprints.push(self.fingerprint(plan, index, &parts).0);
            }
        }
        fingerprints.sort_unstable();
        // Of stages that are equal the first to run makes what the others find.
        let alike: HashSet<Fingerprint> =
            fingerprints.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        fingerprints.dedup();
        let found = ask(&*self.world, || self.store.find_cached(&fingerprints)).await?;
        let found = fingerprints.into_iter().zip(found);
        let mut foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner);
        foreseen.extend(found.filter(|(print, found)| found.is_some() || !alike.contains(print)));
        Ok(())
    }

    /// What goes into a stage's fingerprint but for what it reads; `None` while its sources were
    /// not looked at.
    pub fn own_parts(&self, plan: &Plan, index: StageIndex) -> Option<FingerprintParts> {
        let known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = plan.stage(index).sources.iter().all(|path| known.contains_key(path));
        drop(known);
        is_known.then(|| self.fingerprint(plan, index, &[]).1)
    }

    /// What went into the fingerprint of a stage that was resolved and reads `inputs`. Found out
    /// again when it is wanted: to keep it for thousands of stages that wait takes more memory
    /// than all else that is known of them.
    pub fn parts(&self, plan: &Plan, index: StageIndex, inputs: &[ReadInput]) -> FingerprintParts {
        let inputs: Vec<(String, Digest)> = inputs.iter().map(ReadInput::part).collect();
        self.fingerprint(plan, index, &inputs).1
    }

    /// The fingerprint of a stage whose sources were digested.
    fn fingerprint(
        &self,
        plan: &Plan,
        index: StageIndex,
        inputs: &[(String, Digest)],
    ) -> (Fingerprint, FingerprintParts) {
        let stage = plan.stage(index);
        let known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let sources: Vec<Digest> = stage
            .sources
            .iter()
            // What cannot be read now has a digest that no file has.
            .map(|path| known.get(path).copied().flatten().unwrap_or(Digest::from_bytes([0; 32])))
            .collect();
        drop(known);
        let environment: Vec<Option<String>> =
            stage.environment.iter().map(|name| self.files.variable(name)).collect();
        let materials = Materials { inputs, sources: &sources, environment: &environment };
        let parts = plan.fingerprint_parts(index, materials);
        let fingerprint = parts.fingerprint();
        if stage.outputs.is_empty() {
            (without_outputs(fingerprint, stage.name.as_str()), parts)
        } else {
            (fingerprint, parts)
        }
    }

    /// Whether recorded outputs of an equal fingerprint are reused for the stage.
    pub const fn reuses(&self, stage: &PlannedStage) -> bool {
        self.use_cache && stage.cache
    }

    fn is_readable(&self, stage: &PlannedStage) -> bool {
        let known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        stage.sources.iter().all(|path| known.get(path).is_some_and(Option::is_some))
    }

    async fn find_cached(
        &self,
        plan: &Plan,
        wanted: &mut [(StageIndex, &mut Resolved)],
    ) -> EngineResult<()> {
        let mut known: Vec<(usize, CachedOutputs)> = Vec::new();
        let mut asked = Vec::new();
        for (place, (index, resolved)) in wanted.iter_mut().enumerate() {
            let stage = plan.stage(*index);
            if !matches!(resolved.found, Found::Nothing)
                || !self.reuses(stage)
                || !self.is_readable(stage)
            {
                continue;
            }
            let foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner);
            match foreseen.get(&resolved.fingerprint) {
                Some(Some(found)) => known.push((place, found.clone())),
                Some(None) => {}
                None => asked.push(place),
            }
        }
        if !asked.is_empty() {
            let fingerprints: Vec<Fingerprint> =
                asked.iter().map(|place| wanted[*place].1.fingerprint).collect();
            let found = ask(&*self.world, || self.store.find_cached(&fingerprints)).await?;
            known.extend(
                asked.into_iter().zip(found).filter_map(|(place, found)| Some((place, found?))),
            );
        }
        let outputs: Vec<&[Output]> =
            known.iter().map(|(_, found)| found.outputs.as_slice()).collect();
        let there = self.are_there(&outputs).await?;
        for ((place, found), _) in known.into_iter().zip(there).filter(|(_, there)| *there) {
            wanted[place].1.found = Found::Cached(found);
        }
        Ok(())
    }

    /// Of each of these lists, whether its artifacts are there.
    async fn are_there(&self, outputs: &[&[Output]]) -> EngineResult<Vec<bool>> {
        if outputs.is_empty() {
            return Ok(Vec::new());
        }
        self.files.are_there(outputs).await
    }

    /// Sees to it that the digests of the stages' sources are known. A file is only read when its
    /// size, time or inode differs from what the store remembers.
    async fn digest_sources(
        &self,
        plan: &Plan,
        stages: impl Iterator<Item = StageIndex>,
    ) -> EngineResult<()> {
        let mut paths: Vec<PathBuf> = {
            let known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            stages
                .flat_map(|stage| &plan.stage(stage).sources)
                .filter(|path| !known.contains_key(*path))
                .cloned()
                .collect()
        };
        paths.sort_unstable();
        paths.dedup();
        if paths.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = paths.iter().map(|path| path_text(path)).collect();
        let stamps = ask(&*self.world, || self.store.source_stamps(&names)).await?;
        let sources = paths.into_iter().zip(stamps).collect();
        let digested = self.files.digest(sources, self.world.now()).await?;
        let fresh: Vec<SourceStamp> =
            digested.iter().filter_map(|source| source.fresh.clone()).collect();
        if !fresh.is_empty() {
            // A stamp that is not kept costs a reading the next time, and no run.
            let _ = self.store.keep_source_stamps(&fresh).await;
        }
        let mut known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(digested.into_iter().map(|source| (source.path, source.digest)));
        Ok(())
    }
}

/// The fingerprint of a stage that makes nothing. Such a stage runs for what it does, not for
/// what it gives: two that read alike are two deeds, and each must be done. So its key holds its
/// name.
fn without_outputs(fingerprint: Fingerprint, name: &str) -> Fingerprint {
    let mut bytes = fingerprint.0.as_bytes().to_vec();
    bytes.extend_from_slice(name.as_bytes());
    Fingerprint(Digest::of(&bytes))
}
