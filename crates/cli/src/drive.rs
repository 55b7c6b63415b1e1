//! Drives a run with what the command line and the project say: shared by `run`, `rerun` and
//! `up`.

use std::sync::Arc;

use wick_core::RunId;
use wick_engine::{CancelHandle, Engine, Reporter, RunOptions, RunOutcome};
use wick_plan::{Plan, Selection};

use crate::args::ExecuteArgs;
use crate::environment::Environment;
use crate::error::{CommandError, CommandResult};
use crate::pipeline;
use crate::session::Session;

/// A run about to be driven.
pub struct Execution {
    /// What is to be done.
    pub plan: Plan,
    /// The pipeline file as it was read.
    pub text: String,
    /// The run to go on with; if that cannot be, the one that a new one repeats.
    pub rerun: Option<RunId>,
    /// Which stages it is about.
    pub selection: Selection,
}

/// Drives a run to its end.
pub async fn drive(
    execution: &Execution,
    args: &ExecuteArgs,
    session: &Session,
    cancel: CancelHandle,
    reporter: &mut dyn Reporter,
) -> CommandResult<RunOutcome> {
    let Execution { plan, text, rerun, selection } = execution;
    check(selection, plan)?;
    // git may take a while on a large repository, and is not needed to plan.
    let base = plan.base.clone();
    let environment = tokio::task::spawn_blocking(move || Environment::collect(&base));
    let mut slots = pipeline::slots(&session.project);
    if let Some(jobs) = args.jobs {
        slots.cpus = jobs.get();
    }
    let mut options = RunOptions::new(text.clone());
    options.slots = slots;
    options.use_cache = !args.no_cache;
    options.keep_going = args.keep_going();
    options.rerun = rerun.clone();
    options.cancel = cancel;
    options.environment = serde_json::to_value(environment.await.map_err(CommandError::internal)?)
        .map_err(CommandError::internal)?;
    let engine = engine(session)?;
    Ok(engine.execute(plan, options, reporter).await?)
}

/// Says which names of a selection mean no stage.
pub fn check(selection: &Selection, plan: &Plan) -> CommandResult<()> {
    selection.resolve(plan).map_err(CommandError::invalid)?;
    if !selection.is_empty() {
        return Err(CommandError::invalid("the engine does not take a selection of stages yet"));
    }
    Ok(())
}

/// The engine of the session's project.
pub fn engine(session: &Session) -> CommandResult<Engine> {
    Ok(Engine::new(
        session.store.clone(),
        Arc::new(session.artifacts()?),
        session.project.state_folder(),
    )?)
}
