//! Finds out what is to be done with a stage whose needs are met: its fingerprint, and whether
//! outputs for that fingerprint are there already.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use wick_core::{Digest, Fingerprint, Output};
use wick_plan::fingerprint::{FingerprintParts, Materials};
use wick_plan::{Plan, StageIndex};
use wick_store::{CachedOutputs, SourceStamp, Store, StoreResult};

use crate::error::EngineResult;
use crate::files::{Files, path_text};
use crate::world::World;

/// A stage to be resolved.
#[derive(Debug, Clone)]
pub struct Request {
    /// The stage.
    pub stage: StageIndex,
    /// The digests of its inputs, in the plan's order.
    pub inputs: Vec<Digest>,
}

/// What was found out of a stage.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The stage.
    pub stage: StageIndex,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// What went into it.
    pub parts: FingerprintParts,
    /// What is to be done.
    pub found: Found,
}

/// What is there of a stage's outputs.
#[derive(Debug, Clone)]
pub enum Found {
    /// The stage succeeded in this run before, with this fingerprint.
    Kept(Vec<Output>),
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
    /// What it made.
    pub outputs: Vec<Output>,
}

/// Resolves the stages of one plan.
pub struct Resolver {
    plan: Arc<Plan>,
    store: Arc<dyn Store>,
    world: Arc<dyn World>,
    files: Arc<dyn Files>,
    use_cache: bool,
    kept: HashMap<StageIndex, KeptStage>,
    /// Digests of sources that were looked at; `None` for those that cannot be read.
    sources: Mutex<HashMap<PathBuf, Option<Digest>>>,
    /// What the store said of fingerprints that it was asked for ahead of time.
    foreseen: Mutex<HashMap<Fingerprint, Option<CachedOutputs>>>,
}

impl Resolver {
    /// Resolves the stages of `plan`. With `use_cache` off, only `kept` is reused.
    pub fn new(
        plan: Arc<Plan>,
        store: Arc<dyn Store>,
        world: Arc<dyn World>,
        files: Arc<dyn Files>,
        use_cache: bool,
        kept: HashMap<StageIndex, KeptStage>,
    ) -> Self {
        let (sources, foreseen) = (Mutex::default(), Mutex::default());
        Self { plan, store, world, files, use_cache, kept, sources, foreseen }
    }

    /// Takes `kept` for what earlier drives of the run have left.
    pub fn keep(&mut self, kept: HashMap<StageIndex, KeptStage>) {
        self.kept = kept;
    }

    /// Resolves stages, with one question to the store for all of them.
    ///
    /// # Errors
    /// If the store does not answer. A source that cannot be read is no error: the stage runs and
    /// says so itself.
    pub async fn resolve(&self, requests: Vec<Request>) -> EngineResult<Vec<Resolution>> {
        self.digest_sources(requests.iter().map(|request| request.stage)).await?;
        let mut resolutions: Vec<Resolution> = requests
            .iter()
            .map(|request| {
                let (fingerprint, parts) = self.fingerprint(request.stage, &request.inputs);
                Resolution { stage: request.stage, fingerprint, parts, found: Found::Nothing }
            })
            .collect();
        self.find_kept(&mut resolutions);
        self.find_cached(&mut resolutions).await?;
        Ok(resolutions)
    }

    /// Whether everything that succeeded in earlier drives of the run still stands: its
    /// fingerprint is the same, and its outputs are there.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn keeps_all(&self) -> EngineResult<bool> {
        self.digest_sources(self.kept.keys().copied()).await?;
        Ok(self.kept.iter().all(|(index, kept)| {
            let inputs = self.plan.stage(*index).inputs.iter().map(|input| {
                let outputs = &self.kept.get(&input.from()[0])?.outputs;
                let output = outputs.iter().find(|output| output.port == *input.output())?;
                Some(output.digest)
            });
            let inputs: Option<Vec<Digest>> = inputs.collect();
            inputs.is_some_and(|inputs| self.fingerprint(*index, &inputs).0 == kept.fingerprint)
                && self.files.are_there(&kept.outputs)
        }))
    }

    /// Guesses, from the outputs that an earlier run recorded, which fingerprints the whole plan
    /// will have, and asks the store for all of them at once. Where the guess is right, which it
    /// is when little has changed, resolving the plan level by level asks nothing more.
    ///
    /// # Errors
    /// If the store does not answer.
    pub async fn foresee(
        &self,
        outputs: &HashMap<(StageIndex, String), Digest>,
    ) -> EngineResult<()> {
        if !self.use_cache {
            return Ok(());
        }
        self.digest_sources(self.plan.indexed().map(|(index, _)| index)).await?;
        let mut fingerprints = Vec::new();
        for (index, stage) in self.plan.indexed() {
            let inputs: Option<Vec<Digest>> = stage
                .inputs
                .iter()
                .map(|input| outputs.get(&(input.from()[0], input.output().to_string())).copied())
                .collect();
            if let Some(inputs) = inputs
                && stage.cache
                && !self.kept.contains_key(&index)
            {
                fingerprints.push(self.fingerprint(index, &inputs).0);
            }
        }
        fingerprints.sort_unstable();
        fingerprints.dedup();
        let found = self.store.find_cached(&fingerprints).await?;
        let mut foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner);
        foreseen.extend(fingerprints.into_iter().zip(found));
        Ok(())
    }

    /// The fingerprint of a stage whose sources were digested.
    fn fingerprint(&self, index: StageIndex, inputs: &[Digest]) -> (Fingerprint, FingerprintParts) {
        let stage = self.plan.stage(index);
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
        let parts = self.plan.fingerprint_parts(index, materials);
        let fingerprint = parts.fingerprint();
        if stage.outputs.is_empty() {
            (without_outputs(fingerprint, stage.name.as_str()), parts)
        } else {
            (fingerprint, parts)
        }
    }

    /// Whether recorded outputs of an equal fingerprint are reused for the stage.
    pub fn reuses(&self, stage: StageIndex) -> bool {
        self.use_cache && self.plan.stage(stage).cache
    }

    fn is_readable(&self, index: StageIndex) -> bool {
        let known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let sources = &self.plan.stage(index).sources;
        sources.iter().all(|path| known.get(path).is_some_and(Option::is_some))
    }

    fn find_kept(&self, resolutions: &mut [Resolution]) {
        for resolution in resolutions {
            if let Some(kept) = self.kept.get(&resolution.stage)
                && kept.fingerprint == resolution.fingerprint
                && self.files.are_there(&kept.outputs)
            {
                resolution.found = Found::Kept(kept.outputs.clone());
            }
        }
    }

    async fn find_cached(&self, resolutions: &mut [Resolution]) -> StoreResult<()> {
        if !self.use_cache {
            return Ok(());
        }
        let wanted: Vec<usize> = (0..resolutions.len())
            .filter(|place| {
                let resolution = &resolutions[*place];
                let cache = self.plan.stage(resolution.stage).cache;
                cache
                    && matches!(resolution.found, Found::Nothing)
                    && self.is_readable(resolution.stage)
            })
            .collect();
        let mut asked = Vec::new();
        for place in wanted {
            let fingerprint = resolutions[place].fingerprint;
            let foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner);
            match foreseen.get(&fingerprint) {
                Some(found) => resolutions[place].found = self.usable(found.clone()),
                None => asked.push(place),
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let fingerprints: Vec<Fingerprint> =
            asked.iter().map(|place| resolutions[*place].fingerprint).collect();
        let found = self.store.find_cached(&fingerprints).await?;
        for (place, found) in asked.into_iter().zip(found) {
            resolutions[place].found = self.usable(found);
        }
        Ok(())
    }

    fn usable(&self, cached: Option<CachedOutputs>) -> Found {
        match cached {
            Some(cached) if self.files.are_there(&cached.outputs) => Found::Cached(cached),
            _ => Found::Nothing,
        }
    }

    /// Sees to it that the digests of the stages' sources are known. A file is only read when its
    /// size, time or inode differs from what the store remembers.
    async fn digest_sources(&self, stages: impl Iterator<Item = StageIndex>) -> EngineResult<()> {
        let mut paths: Vec<PathBuf> = {
            let known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            stages
                .flat_map(|stage| &self.plan.stage(stage).sources)
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
        let stamps = self.store.source_stamps(&names).await?;
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
