//! [`Engine`]: begins runs, takes up broken ones, and drives them to their end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;
use wick_artifact::ArtifactStore;
use wick_core::{RunId, StageName};
use wick_plan::{Plan, Selection, Treatments};
use wick_store::filter::Filter;
use wick_store::{EngineId, Lease, NewRun, Search, Store, StoreError};

use crate::dispatcher::CancelMode;
use crate::drive::{self, Drive};
use crate::error::{EngineError, EngineResult};
use crate::executor::Executors;
use crate::executor::local::LocalExecutors;
use crate::expander::Expander;
use crate::files::{Files, LocalFiles, path_text};
use crate::history::{History, OldRun, read_by};
use crate::meter::Carbon;
use crate::process::Program;
use crate::report::{Began, Reporter, RunOutcome};
use crate::resolver::{Kept, Resolver};
use crate::secrets;
use crate::sharing::{Sharing, Unshared};
use crate::slots::Slots;
use crate::wake;
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
    /// What is counted by name and shared with other runs.
    pub sharing: Arc<dyn Sharing>,
}

/// How to drive a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What of the machine the run may occupy.
    pub slots: Slots,
    /// What there is of what the project counts by name. A stage that wants a share of any other
    /// name gets it as if there were one.
    pub named_slots: Vec<(String, u32)>,
    /// Whether recorded outputs of an equal fingerprint are reused.
    pub use_cache: bool,
    /// Whether stages that do not need a failed one go on.
    pub keep_going: bool,
    /// The run to do again. If the plan is the same, and nothing that succeeded in that run has
    /// changed since, it is taken up with more attempts, however it ended. Otherwise a new run
    /// begins with that one as its parent, and reuses what it can.
    pub rerun: Option<RunId>,
    /// What of the plan is to be done.
    pub selection: Selection,
    /// Plans the instances of stages whose list the run makes. Without it such stages fail.
    pub expander: Option<Expander>,
    /// The pipeline file as it was read.
    pub pipeline_text: String,
    /// What is recorded of machine, versions and code: an object.
    pub environment: Value,
    /// What differs from the commit that is checked out, in the working tree of the code. The
    /// pipeline's secrets are taken out of it.
    pub git_diff: Option<String>,
    /// What energy costs.
    pub carbon: Carbon,
    /// By which the run can be cancelled.
    pub cancel: CancelHandle,
}

impl RunOptions {
    /// A new run on the whole machine, with the cache, that goes on after failures.
    pub fn new(pipeline_text: impl Into<String>) -> Self {
        Self {
            slots: Slots::of_machine(),
            named_slots: Vec::new(),
            use_cache: true,
            keep_going: true,
            rerun: None,
            selection: Selection::default(),
            expander: None,
            pipeline_text: pipeline_text.into(),
            environment: Value::Object(serde_json::Map::new()),
            git_diff: None,
            carbon: Carbon::default(),
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
            sharing: Arc::new(Unshared),
        };
        Self::from_parts(store, parts)
    }

    /// The same, which shares named slots and mutexes with the other runs of its store.
    pub fn sharing(mut self, sharing: Arc<dyn Sharing>) -> Self {
        self.parts.sharing = sharing;
        self
    }

    /// An engine that is made of other parts.
    pub const fn from_parts(store: Arc<dyn Store>, parts: Parts) -> Self {
        Self { store, parts }
    }

    /// Where the files of `run` lie.
    pub fn run_folder(&self, run: &RunId) -> PathBuf {
        self.parts.executors.run_folder(run)
    }

    /// Drives a run of `plan` to its end: a new one, or one that is to be done again. Says so, and
    /// does nothing, if in that one there is nothing to do.
    ///
    /// # Errors
    /// If the run cannot be recorded or driven, or if the selection does not fit the plan or wants
    /// what is not there; then nothing has begun. A stage that fails is not an error: see
    /// [`RunOutcome::state`].
    pub async fn execute(
        &self,
        plan: &Arc<Plan>,
        options: RunOptions,
        reporter: &mut dyn Reporter,
    ) -> EngineResult<RunOutcome> {
        let Parts { world, files, executors, sharing } = &self.parts;
        let began = world.elapsed();
        // First of all: a request to cancel that comes as soon as the run is there is heard.
        let wake = world.wake();
        let engine = world.engine()?;
        let situation = self.situation(plan, &options).await?;
        if let Some(old) = situation.taken.as_ref().filter(|_| situation.is_complete) {
            return Ok(RunOutcome {
                run: old.record.id.clone(),
                state: old.record.state,
                began: Began::NothingToDo,
                timed_out: false,
                totals: old.history.totals(),
                failed: Vec::new(),
                folder: self.run_folder(&old.record.id),
                wall: world.elapsed().saturating_sub(began),
            });
        }
        self.check_present(&situation).await?;
        let Situation { plan, treatments, mut resolver, taken, .. } = situation;
        let (lease, history, how) = match taken {
            Some(old) => {
                let run = old.record.id.clone();
                let left = old.history.left(&plan, &treatments);
                let lease = self.take_run(&run, &left, &engine).await?;
                if old.died() {
                    executors.end_orphans(self.store.as_ref(), &run).await?;
                }
                // Another engine may have driven the run since it was looked at. From here on none
                // does.
                let old = OldRun::read(self.store.as_ref(), &run).await?;
                resolver.keep(old.kept);
                (lease, old.history, Began::TakenUp)
            }
            None => {
                let lease = self.create_run(&plan, &options, &engine).await?;
                (lease, History::default(), Began::New)
            }
        };
        let run = lease.run.clone();
        let folder = self.run_folder(&run);
        let executor = executors.begin(&run, options.carbon)?;
        files.sweep();
        self.foresee(&resolver, &plan, Some(&run), options.rerun.as_ref()).await?;
        reporter.run_started(&run, &plan, &folder);
        let drive = Drive::new(drive::Setup {
            plan,
            store: self.store.clone(),
            world: world.clone(),
            wake,
            executor,
            resolver: Arc::new(resolver),
            shared: sharing.with_run(&lease.run)?,
            lease,
            engine,
            folder: folder.clone(),
            slots: options.slots,
            named_slots: options.named_slots,
            keep_going: options.keep_going,
            cancel: options.cancel,
            treatments,
            history,
        })?;
        let ended = drive.until_done(reporter).await?;
        Ok(RunOutcome {
            run,
            state: ended.state,
            began: how,
            timed_out: ended.timed_out,
            totals: ended.totals,
            failed: ended.failed,
            folder,
            wall: world.elapsed().saturating_sub(began),
        })
    }

    /// Asks whoever drives `run` to stop it, with all that it runs. An engine on this machine hears
    /// it at once, one on another with its next heartbeat. Tells whether anybody was there to ask.
    ///
    /// # Errors
    /// If there is no such run, or the store does not answer.
    pub async fn cancel_run(&self, run: &RunId) -> EngineResult<bool> {
        let Some(engine) = self.store.engine_of(run).await? else { return Ok(false) };
        self.store.request_cancel(run, self.parts.world.now()).await?;
        wake::rouse(&engine);
        Ok(true)
    }

    /// What a run of `plan` with these options meets.
    pub(crate) async fn situation(
        &self,
        plan: &Arc<Plan>,
        options: &RunOptions,
    ) -> EngineResult<Situation> {
        let treatments = options.selection.resolve(plan)?;
        let plan = plan.clone();
        if let Some(run) = &options.rerun {
            let old = OldRun::read(self.store.as_ref(), run).await?;
            if old.has_stages_of(&plan) {
                let resolver = self.resolver(options, old.kept.clone());
                let grown = resolver.grown(&plan).await;
                if resolver.keeps_all(&grown).await? {
                    let is_complete = old.is_complete(&plan, &treatments)
                        && resolver.fits_together(&grown, &old.history, &treatments).await?;
                    let taken = Some(old);
                    return Ok(Situation { plan, treatments, resolver, taken, is_complete });
                }
            }
        }
        let resolver = self.resolver(options, Kept::new());
        Ok(Situation { plan, treatments, resolver, taken: None, is_complete: false })
    }

    fn resolver(&self, options: &RunOptions, kept: Kept) -> Resolver {
        let Parts { world, files, .. } = self.parts.clone();
        let expander = options.expander.clone();
        Resolver::new(self.store.clone(), world, files, options.use_cache, kept, expander)
    }

    async fn create_run(
        &self,
        plan: &Plan,
        options: &RunOptions,
        engine: &EngineId,
    ) -> EngineResult<Lease> {
        // Nobody has to write a secret into a file of the repository, and some do.
        let masks = secrets::masks_of(&plan.secrets);
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
            git_diff: options.git_diff.as_deref().map(|diff| masks.mask(diff)),
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
    async fn take_run(
        &self,
        run: &RunId,
        left: &[StageName],
        engine: &EngineId,
    ) -> EngineResult<Lease> {
        match self.store.take_run(run, left, engine, self.parts.world.now()).await {
            Err(StoreError::Unknown { .. }) => {
                Ok(self.store.take_run(run, left, engine, self.parts.world.now()).await?)
            }
            taken => Ok(taken?),
        }
    }

    /// Lets the resolver look ahead, by what stages read in the run `parent`, or in the newest run
    /// of the pipeline other than `except`.
    pub(crate) async fn foresee(
        &self,
        resolver: &Resolver,
        plan: &Plan,
        except: Option<&RunId>,
        parent: Option<&RunId>,
    ) -> EngineResult<()> {
        // Where no stage waits for another, all of them are asked for at once anyway.
        if plan.stages.iter().all(|stage| stage.needs().next().is_none()) {
            return Ok(());
        }
        let recent = match parent {
            Some(parent) => Some(parent.clone()),
            None => newest_runs(self.store.as_ref(), plan, except).await?.into_iter().next(),
        };
        let read = match recent {
            Some(recent) => read_by(self.store.as_ref(), &recent).await?,
            None => HashMap::new(),
        };
        resolver.foresee(plan, &read).await
    }

    pub(crate) const fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// What a run meets: what is to be done, and what is there.
pub(crate) struct Situation {
    /// The plan.
    pub plan: Arc<Plan>,
    /// What is to be done with each stage.
    pub treatments: Treatments,
    /// Knows what is there.
    pub resolver: Resolver,
    /// The run that is taken up; otherwise a new one begins.
    pub taken: Option<OldRun>,
    /// Whether nothing is left to do in that run.
    pub is_complete: bool,
}

/// The newest runs of the plan's experiment and pipeline, newest first, other than `except`.
pub(crate) async fn newest_runs(
    store: &dyn Store,
    plan: &Plan,
    except: Option<&RunId>,
) -> Result<Vec<RunId>, StoreError> {
    let filter = Some(Filter::of_experiment(&plan.experiment));
    let page = store.search(&Search { filter, limit: 8, ..Search::default() }).await?;
    let runs = page.runs.into_iter().filter(|run| run.pipeline == plan.pipeline).map(|run| run.id);
    Ok(runs.filter(|id| Some(id) != except).collect())
}
