//! `wick cancel`: stops a run that another process drives.

use std::time::{Duration, Instant};

use serde_json::json;
use wick_core::{AttemptState, RunId, RunState};
use wick_store::filter::Filter;
use wick_store::{RunRecord, Search, StoreError, Visible};

use crate::args::{CancelArgs, GlobalArgs};
use crate::drive::engine;
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::history::{RunHistory, find_run};
use crate::render::{Ui, human};
use crate::session::Session;

/// How often the run is looked at while it ends.
const LOOK: Duration = Duration::from_millis(100);

/// How long it is waited for: its engine looks for the request every few seconds, and gives stages
/// some time to end.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn cancel(args: &CancelArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let id = match &args.run {
        Some(run) => find_run(&*session.store, run).await?,
        None => only_running(&session).await?,
    };
    let run = record(&session, &id).await?;
    if run.state != RunState::Running {
        return already(&run, args, &session, ui);
    }
    engine(&session)?.cancel_run(&id).await?;
    if args.no_wait {
        ui.note(format_args!("run {id} of {} is asked to stop", run.pipeline));
        return told(args, &session, &id, ui).await;
    }
    ui.note(format_args!("stopping run {id} of {}", run.pipeline));
    let began = Instant::now();
    loop {
        let now = record(&session, &id).await?;
        if now.state != RunState::Running {
            break;
        }
        if began.elapsed() > PATIENCE {
            return Err(CommandError::internal(anyhow::anyhow!(
                "run {id} was asked to stop, and still goes on after {}",
                human::micros(i64::try_from(PATIENCE.as_micros()).unwrap_or(i64::MAX))
            ))
            .hint(format!("`wick show {id}` tells which stages still run")));
        }
        tokio::time::sleep(LOOK).await;
        // An engine that dies meanwhile leaves a run that nobody ends.
        session.store.interrupt_dead_runs(human::now()).await?;
    }
    told(args, &session, &id, ui).await
}

async fn record(session: &Session, id: &RunId) -> CommandResult<RunRecord> {
    Ok(session.store.run(id).await?.ok_or_else(|| StoreError::NoRun(id.clone()))?)
}

/// The one run that goes on.
async fn only_running(session: &Session) -> CommandResult<RunId> {
    let filter = Some(Filter::in_state(RunState::Running));
    let query = Search { filter, limit: 9, visible: Visible::All, ..Search::default() };
    let runs = session.store.search(&query).await?.runs;
    match runs.as_slice() {
        [only] => Ok(only.id.clone()),
        [] => Err(CommandError::invalid("no run goes on").hint("`wick runs` lists the runs")),
        several => {
            let now = human::now();
            let mut error = CommandError::invalid(format!(
                "{} go on: say which one to cancel",
                human::plural(several.len(), "run")
            ));
            for run in several {
                let ago = human::ago(run.started, now);
                error = error.hint(format!("{}  {}, begun {ago}", run.id, run.pipeline));
            }
            Err(error)
        }
    }
}

/// The run has ended before.
fn already(run: &RunRecord, args: &CancelArgs, session: &Session, ui: &Ui) -> CommandResult {
    if args.output.is_json() {
        ui.json(&json!({"version": 1, "run": run.id, "state": run.state, "cancelled": false}))?;
    } else {
        ui.print(format_args!("run {} does not go on: it is {}", run.id, run.state));
        if run.state == RunState::Interrupted {
            let flag = session.project.flag();
            ui.print(format_args!("  `wick rerun {}{flag}` goes on with it", run.id));
        }
    }
    // Nothing was to be done, and nothing goes on: what was wanted is so.
    Ok(ExitCode::Success)
}

/// What became of the run.
async fn told(args: &CancelArgs, session: &Session, id: &RunId, ui: &Ui) -> CommandResult {
    let history = RunHistory::load(&*session.store, id).await?;
    let state = history.run.state;
    if args.output.is_json() {
        let count = |state| history.stages_in(state).count();
        ui.json(&json!({
            "version": 1,
            "run": id,
            "state": state,
            "cancelled": state == RunState::Cancelled,
            "stages": {
                "succeeded": count(AttemptState::Succeeded) + count(AttemptState::Cached),
                "cancelled": count(AttemptState::Cancelled),
                "failed": count(AttemptState::Failed),
            },
        }))?;
    } else if state != RunState::Running {
        ui.print(format_args!("run {id} is {state}: {}", history.counts()));
        if state != RunState::Succeeded {
            ui.print(format_args!(
                "  `wick rerun {id}{}` goes on with it; what succeeded is kept",
                session.project.flag()
            ));
        }
    }
    Ok(ExitCode::Success)
}
