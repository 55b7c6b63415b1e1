//! [`Engine`]: begins runs, takes up broken ones, and drives them to their end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use wick_artifact::ArtifactStore;
use wick_core::{Digest, Output, RunId, RunState};
use wick_plan::{Plan, StageIndex};
use wick_store::{EngineId, Lease, NewRun, RunQuery, Store, StoreError};

use crate::dispatcher::{CancelMode, Past};
use crate::drive::{self, Drive};
use crate::error::{EngineError, EngineResult};
use crate::executor::Executors;
use crate::executor::local::LocalExecutors;
use crate::files::{Files, LocalFiles, path_text};
use crate::process::Program;
use crate::report::{Reporter, RunOutcome};
use crate::resolver::{KeptStage, Resolver};
use crate::slots::Slots;
use crate::world::{RealWorld, World};

/// How often a new run is written of which the store does not say whether it was.
const MAX_CREATIONS: u32 = 3;

/// Drives runs.
#[derive(Clone)]
pub struct Engine {
    store: Arc<dyn Store>,
    parts: Parts,
}

/// What an engine is made of, beside its store.
#[derive(Clone)]
pub struct Parts {
    /// Time, chance, and tasks.
    pub world: Arc<dyn World>,
    /// Sources and artifacts.
    pub files: Arc<dyn Files>,
    /// Who carries attempts out.
    pub executors: Arc<dyn Executors>,
}

/// How to drive a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What of the machine the run may occupy.
    pub slots: Slots,
    /// Whether recorded outputs of an equal fingerprint are reused.
    pub use_cache: bool,
    /// Whether stages that do not need a failed one go on.
    pub keep_going: bool,
    /// The run to do again. If the plan is the same, and nothing that succeeded in that run has
    /// changed since, it is taken up where it broke, with more attempts. Otherwise, or if it
    /// succeeded altogether, a new run begins with that one as its parent, and reuses what it can.
    pub rerun: Option<RunId>,
    /// The pipeline file as it was read.
    pub pipeline_text: String,
    /// What is recorded of machine, versions and code: an object.
    pub environment: Value,
    /// By which the run can be cancelled.
    pub cancel: CancelHandle,
}

impl RunOptions {
    /// A new run on the whole machine, with the cache, that goes on after failures.
    pub fn new(pipeline_text: impl Into<String>) -> Self {
        Self {
            slots: Slots::of_machine(),
            use_cache: true,
            keep_going: true,
            rerun: None,
            pipeline_text: pipeline_text.into(),
            environment: Value::Object(serde_json::Map::new()),
            cancel: CancelHandle::default(),
        }
    }
}

/// Cancels a run, from a signal handler's task for one.
#[derive(Debug, Clone)]
pub struct CancelHandle(watch::Sender<Option<CancelMode>>);

impl Default for CancelHandle {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl CancelHandle {
    /// The first call lets what runs end and starts nothing more; the second stops what runs.
    /// Returns what it did.
    pub fn request(&self) -> CancelMode {
        let mode = match *self.0.borrow() {
            None => CancelMode::Drain,
            Some(_) => CancelMode::Kill,
        };
        self.0.send_replace(Some(mode));
        mode
    }

    /// Stops what runs, at once.
    pub fn kill(&self) {
        self.0.send_replace(Some(CancelMode::Kill));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<CancelMode>> {
        let mut receiver = self.0.subscribe();
        // What was asked before the run began counts, too.
        receiver.mark_changed();
        receiver
    }
}

impl Engine {
    /// An engine for the project whose `.wick` folder is `project`.
    ///
    /// # Errors
    /// If the system does not tell which binary runs: the engine starts it again for its
    /// processes.
    pub fn new(
        store: Arc<dyn Store>,
        artifacts: Arc<ArtifactStore>,
        project: impl Into<PathBuf>,
    ) -> EngineResult<Self> {
        Ok(Self::with_program(store, artifacts, project, Program::current()?))
    }

    /// The same, with another program as supervisor and worker.
    pub fn with_program(
        store: Arc<dyn Store>,
        artifacts: Arc<ArtifactStore>,
        project: impl Into<PathBuf>,
        program: Program,
    ) -> Self {
        let parts = Parts {
            world: Arc::new(RealWorld::new()),
            files: Arc::new(LocalFiles::new(artifacts.clone())),
            executors: Arc::new(LocalExecutors::new(project, artifacts, program)),
        };
        Self::from_parts(store, parts)
    }

    /// An engine that is made of other parts.
    pub const fn from_parts(store: Arc<dyn Store>, parts: Parts) -> Self {
        Self { store, parts }
    }

    /// Where the files of `run` lie.
    pub fn run_folder(&self, run: &RunId) -> PathBuf {
        self.parts.executors.run_folder(run)
    }

    /// Drives a run of `plan` to its end.
    ///
    /// # Errors
    /// If the run cannot be recorded or driven. A stage that fails is not an error: see
    /// [`RunOutcome::state`].
    pub async fn execute(
        &self,
        plan: &Plan,
        options: RunOptions,
        reporter: &mut dyn Reporter,
    ) -> EngineResult<RunOutcome> {
        let Parts { world, files, executors } = &self.parts;
        let began = world.elapsed();
        let plan = Arc::new(plan.clone());
        let engine = world.engine()?;
        let broken = match &options.rerun {
            Some(run) => self.broken_run(run, &plan, options.use_cache).await?,
            None => None,
        };
        let (lease, resolver, past) = match (broken, &options.rerun) {
            (Some(Broken { mut resolver, died }), Some(run)) => {
                let lease = self.take_run(run, &engine).await?;
                if died {
                    executors.end_orphans(self.store.as_ref(), run).await?;
                }
                // Another engine may have driven the run since it was looked at. From here on
                // none does.
                let (kept, past) = self.left_of(run, &plan).await?.unwrap_or_default();
                resolver.keep(kept);
                (lease, resolver, past)
            }
            _ => {
                let lease = self.create_run(&plan, &options, &engine).await?;
                let resolver = self.resolver(&plan, options.use_cache, HashMap::new());
                (lease, resolver, Vec::new())
            }
        };
        let run = lease.run.clone();
        let folder = self.run_folder(&run);
        let executor = executors.begin(&run)?;
        files.sweep();
        if let Some(outputs) = self.recent_outputs(&plan, &run, options.rerun.as_ref()).await? {
            resolver.foresee(&outputs).await?;
        }
        let resolver = Arc::new(resolver);
        reporter.run_started(&run, &plan, &folder);
        let drive = Drive::new(drive::Setup {
            plan,
            store: self.store.clone(),
            world: world.clone(),
            executor,
            resolver,
            lease,
            engine,
            folder: folder.clone(),
            slots: options.slots,
            keep_going: options.keep_going,
            cancel: options.cancel,
            past,
            named_slots: Vec::new(),
        })?;
        let ended = drive.until_done(reporter).await?;
        Ok(RunOutcome {
            run,
            state: ended.state,
            totals: ended.totals,
            failed: ended.failed,
            folder,
            wall: world.elapsed().saturating_sub(began),
        })
    }

    async fn create_run(
        &self,
        plan: &Plan,
        options: &RunOptions,
        engine: &EngineId,
    ) -> EngineResult<Lease> {
        let new = NewRun {
            id: RunId::from_random(self.parts.world.random()?),
            experiment: plan.experiment.clone(),
            pipeline: plan.pipeline.clone(),
            pipeline_path: path_text(&plan.file),
            pipeline_text: options.pipeline_text.clone(),
            parent: options.rerun.clone(),
            params: plan.params.clone(),
            overridden: plan.overridden.clone(),
            environment: options.environment.clone(),
            plan: plan.digest(),
            stages: plan.stages.iter().map(|s| (s.name.clone(), s.kind.clone())).collect(),
        };
        let (mut tries, mut in_doubt) = (0, false);
        loop {
            tries += 1;
            let created = self.store.create_run(&new, engine, self.parts.world.now()).await;
            let Err(error) = created else { return Ok(created?) };
            in_doubt |= matches!(error, StoreError::Unknown { .. });
            if !in_doubt || tries == MAX_CREATIONS {
                return Err(error.into());
            }
            // It may be there all the same. Whoever finds it without a living engine takes it.
            if self.store.run(&new.id).await?.is_some() {
                let holder = self.store.engine_of(&new.id).await?;
                return match holder.is_some_and(|holder| holder.token == engine.token) {
                    true => Ok(Lease { run: new.id, engine: engine.token }),
                    false => Err(EngineError::LeaseLost { run: new.id }),
                };
            }
        }
    }

    /// Takes up a run. An engine may take what it has already, so where the store does not say
    /// whether it was written, it is written once more.
    async fn take_run(&self, run: &RunId, engine: &EngineId) -> EngineResult<Lease> {
        match self.store.take_run(run, &[], engine, self.parts.world.now()).await {
            Err(StoreError::Unknown { .. }) => {
                Ok(self.store.take_run(run, &[], engine, self.parts.world.now()).await?)
            }
            taken => Ok(taken?),
        }
    }

    pub(crate) fn resolver(
        &self,
        plan: &Arc<Plan>,
        use_cache: bool,
        kept: HashMap<StageIndex, KeptStage>,
    ) -> Resolver {
        let Parts { world, files, .. } = self.parts.clone();
        Resolver::new(plan.clone(), self.store.clone(), world, files, use_cache, kept)
    }

    /// What is needed to take up `run` where it broke; `None` if it cannot be.
    async fn broken_run(
        &self,
        run: &RunId,
        plan: &Arc<Plan>,
        use_cache: bool,
    ) -> EngineResult<Option<Broken>> {
        let record = self.store.run(run).await?.ok_or_else(|| StoreError::NoRun(run.clone()))?;
        if record.plan != plan.digest() || record.state == RunState::Succeeded {
            return Ok(None);
        }
        let died = matches!(record.state, RunState::Running | RunState::Interrupted);
        let Some((kept, _)) = self.left_of(run, plan).await? else { return Ok(None) };
        let resolver = self.resolver(plan, use_cache, kept);
        Ok(resolver.keeps_all().await?.then_some(Broken { resolver, died }))
    }

    /// What is left of the stages of `run`: what they have made, and how they stand. `None` if
    /// they are not those of `plan`.
    async fn left_of(
        &self,
        run: &RunId,
        plan: &Plan,
    ) -> EngineResult<Option<(HashMap<StageIndex, KeptStage>, Vec<Past>)>> {
        let places = places(plan);
        let mut kept = HashMap::new();
        let mut past = vec![Past::default(); plan.stages.len()];
        for record in self.store.stages(run).await? {
            let Some(index) = places.get(record.stage.as_str()) else { return Ok(None) };
            past[index.get()].attempts = record.attempts;
            if record.state.has_outputs()
                && let Some(fingerprint) = record.fingerprint
            {
                past[index.get()].state = record.state;
                kept.insert(*index, KeptStage { fingerprint, outputs: Vec::new() });
            }
        }
        for record in self.store.artifacts(run).await? {
            let Some(index) = places.get(record.stage.as_str()) else { continue };
            if let Some(kept) = kept.get_mut(index) {
                kept.outputs.push(Output {
                    port: record.port,
                    port_type: record.port_type,
                    digest: record.digest,
                    bytes: record.bytes,
                    meta: record.meta,
                });
            }
        }
        Ok(Some((kept, past)))
    }

    /// What the stages of the parent, or of the newest other run of the experiment, have made.
    async fn recent_outputs(
        &self,
        plan: &Plan,
        run: &RunId,
        parent: Option<&RunId>,
    ) -> EngineResult<Option<HashMap<(StageIndex, String), Digest>>> {
        // Without edges the first batch of stages is asked for at once anyway.
        if plan.stages.iter().all(|stage| stage.inputs.is_empty()) {
            return Ok(None);
        }
        let recent = match parent {
            Some(parent) => Some(parent.clone()),
            None => newest_run(self.store.as_ref(), plan, Some(run)).await?,
        };
        let Some(recent) = recent else { return Ok(None) };
        Ok(Some(outputs_of(self.store.as_ref(), plan, &recent).await?))
    }

    pub(crate) const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// A run that can be taken up.
struct Broken {
    /// Knows what the run's stages have made.
    resolver: Resolver,
    /// Whether its engine died, and may have left processes behind.
    died: bool,
}

/// The places of stages, by name.
fn places(plan: &Plan) -> HashMap<&str, StageIndex> {
    plan.indexed().map(|(index, stage)| (stage.name.as_str(), index)).collect()
}

/// The newest run of the plan's experiment and pipeline, other than `except`.
pub(crate) async fn newest_run(
    store: &dyn Store,
    plan: &Plan,
    except: Option<&RunId>,
) -> Result<Option<RunId>, StoreError> {
    let experiment = Some(plan.experiment.clone());
    let runs = store.runs(&RunQuery { experiment, limit: 8, ..RunQuery::default() }).await?;
    let runs = runs.into_iter().filter(|run| run.pipeline == plan.pipeline);
    Ok(runs.map(|run| run.id).find(|id| Some(id) != except))
}

/// What the stages of `run` have made, by their places in `plan`.
pub(crate) async fn outputs_of(
    store: &dyn Store,
    plan: &Plan,
    run: &RunId,
) -> Result<HashMap<(StageIndex, String), Digest>, StoreError> {
    let places = places(plan);
    let artifacts = store.artifacts(run).await?;
    Ok(artifacts
        .into_iter()
        .filter_map(|record| {
            let index = places.get(record.stage.as_str())?;
            Some(((*index, record.port.to_string()), record.digest))
        })
        .collect())
}
