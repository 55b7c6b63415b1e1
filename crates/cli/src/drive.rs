//! Drives a run with what the command line and the project say: shared by `run`, `rerun` and
//! `up`.

use std::sync::Arc;

use tokio::task::JoinHandle;
use wick_core::RunId;
use wick_engine::secrets;
use wick_engine::sharing::StoreSharing;
use wick_engine::{CancelHandle, Engine, Expander, Reporter, RunOptions, RunOutcome};
use wick_plan::{Plan, Selection};

use crate::args::ExecuteArgs;
use crate::environment::{Environment, git, pythons};
use crate::error::{CommandError, CommandResult, ResultExt};
use crate::pipeline;
use crate::session::{Session, store_name};

/// A run about to be driven.
pub struct Execution {
    /// What is to be done.
    pub plan: Arc<Plan>,
    /// The pipeline file as it was read.
    pub text: String,
    /// The run to go on with; if that cannot be, the one that a new one repeats.
    pub rerun: Option<RunId>,
    /// Which stages it is about.
    pub selection: Selection,
    /// Plans the instances of stages whose list the run makes.
    pub expander: Expander,
}

impl Execution {
    /// How it is driven, as far as it says so itself.
    pub fn options(&self) -> RunOptions {
        RunOptions {
            rerun: self.rerun.clone(),
            selection: self.selection.clone(),
            expander: Some(self.expander.clone()),
            ..RunOptions::new(self.text.clone())
        }
    }
}

/// What is recorded of the machine and the code, looked at beside what goes on: git may take a while
/// on a large repository.
pub struct Surroundings(JoinHandle<(Environment, Option<String>)>);

impl Surroundings {
    /// Begins to look at those of a plan.
    pub fn of(plan: &Plan) -> Self {
        let (base, pythons) = (plan.base.clone(), pythons(plan));
        Self(tokio::task::spawn_blocking(move || {
            let environment = Environment::collect(&base, &pythons);
            let is_dirty = environment.git.as_ref().is_some_and(|git| git.dirty);
            let diff = is_dirty.then(|| git::diff(&base)).flatten();
            (environment, diff)
        }))
    }
}

/// Drives a run to its end.
pub async fn drive(
    execution: &Execution,
    surroundings: Surroundings,
    args: &ExecuteArgs,
    session: &Session,
    cancel: CancelHandle,
    reporter: &mut dyn Reporter,
) -> CommandResult<RunOutcome> {
    let plan = &execution.plan;
    secrets::are_there(plan).map_err(|error| {
        let failure = error.to_failure();
        let refused = CommandError::invalid(format!("{}; nothing was run", failure.message));
        match failure.help {
            Some(help) => refused.hint(help),
            None => refused,
        }
    })?;
    let mut slots = pipeline::slots(&session.project);
    if let Some(jobs) = args.jobs {
        slots.cpus = jobs.get();
    }
    let mut options = execution.options();
    options.slots = slots;
    options.named_slots.clone_from(&session.project.config.slots.named);
    options.use_cache = !args.no_cache;
    options.keep_going = args.keep_going();
    options.cancel = cancel;
    options.carbon = session.project.config.carbon;
    let (environment, diff) = surroundings.0.await.map_err(CommandError::internal)?;
    options.environment = serde_json::to_value(environment).map_err(CommandError::internal)?;
    options.git_diff = diff;
    // Whoever clears up among the artifacts must know of this store.
    session
        .artifacts()?
        .note_user(&session.store.location(), &store_name(&*session.store))
        .or_internal("cannot use the place of artifacts")
        .map_err(|error| error.hint("`wick doctor` looks at it"))?;
    let engine = engine(session)?;
    Ok(engine.execute(plan, options, reporter).await?)
}

/// The engine of the session's project.
pub fn engine(session: &Session) -> CommandResult<Engine> {
    let engine = Engine::new(
        session.store.clone(),
        Arc::new(session.artifacts()?),
        session.project.state_folder(),
    )?;
    Ok(engine.sharing(Arc::new(StoreSharing::new(session.project.store_location()?))))
}
