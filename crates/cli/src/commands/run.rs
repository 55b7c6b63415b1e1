//! `wick run`: runs a pipeline, and what `wick rerun` shares with it.

use std::collections::HashSet;
use std::path::PathBuf;

use wick_core::{AttemptState, RunId, RunState, StageName};
use wick_engine::{Began, CancelHandle, CancelMode, RunOutcome};
use wick_stage::layout;
use wick_store::Search;
use wick_store::filter::Filter;

use super::logs::folder_of;
use crate::args::{ExecuteArgs, GlobalArgs, OutputArgs, RunArgs};
use crate::drive::{Execution, Surroundings, drive};
use crate::error::{CommandResult, ExitCode};
use crate::history::RunHistory;
use crate::hooks;
use crate::pipeline::{self, PipelineFile};
use crate::progress::{Announcer, Console};
use crate::project::Project;
use crate::render::failure::{FailureReport, LOG_LINES, log_tail};
use crate::render::{Paint, Style, Ui, human, run_view};
use crate::session::Session;

/// How many failed stages are reported at length.
const MAX_REPORTS: usize = 5;

pub async fn run(args: &RunArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let mut file = PipelineFile::find(&args.file, global, ui)?;
    let project = Project::of_pipeline(&file.path, global, ui)?;
    let overrides = pipeline::overrides(&args.params, ui)?;
    let slots = pipeline::slots(&project);
    let machine = pipeline::machine(&slots, &project);
    let plan = file.plan(overrides.clone(), machine.clone(), ui).await?;
    let surroundings = Surroundings::of(&plan);
    let session = Session::open(project, ui).await?;
    let selection = args.selection.selection(false);
    let expander = file.expander(overrides, machine);
    let (plan, text) = (plan.into(), file.text());
    let execution = Execution { plan, text, rerun: None, selection, expander };
    execute(execution, surroundings, &args.execute, &args.output, &session, ui).await
}

/// Drives a run to its end and shows what came of it.
pub async fn execute(
    execution: Execution,
    surroundings: Surroundings,
    args: &ExecuteArgs,
    output: &OutputArgs,
    session: &Session,
    ui: &Ui,
) -> CommandResult {
    let mut console = Console::new(ui, execution.rerun.clone());
    let cancel = CancelHandle::default();
    let signals = tokio::spawn(listen(cancel.clone(), console.announcer()));
    let outcome = drive(&execution, surroundings, args, session, cancel, &mut console).await;
    signals.abort();
    console.finish();
    let outcome = outcome?;
    if outcome.began == Began::NothingToDo {
        // Nothing happened that hooks could tell of.
        if output.is_json() {
            let history = RunHistory::load(&*session.store, &outcome.run).await?;
            ui.json(&run_view::to_json(&history))?;
        } else {
            ui.note(format_args!(
                "nothing to do: all that was asked for is there in run {}",
                outcome.run
            ));
        }
        return Ok(ExitCode::Success);
    }
    hooks_of(&execution, &outcome, session, ui).await;
    // The history of a large run takes as much memory as its plan did.
    drop(execution);
    let history = RunHistory::load(&*session.store, &outcome.run).await?;
    if output.is_json() {
        ui.json(&run_view::to_json(&history))?;
    } else {
        conclude(session, &history, ui).await?;
    }
    Ok(match outcome.state {
        RunState::Succeeded => ExitCode::Success,
        RunState::Failed => ExitCode::RunFailed,
        RunState::Cancelled => ExitCode::Cancelled,
        RunState::Running | RunState::Interrupted => ExitCode::Internal,
    })
}

/// Does what the pipeline wants done after a run; Ctrl-C leaves what of it is not done yet.
async fn hooks_of(execution: &Execution, outcome: &RunOutcome, session: &Session, ui: &Ui) {
    tokio::select! {
        () = hooks::after_run(&execution.plan, outcome, session, ui) => {}
        Ok(()) = tokio::signal::ctrl_c() => ui.warn("the hooks were cut short"),
    }
}

/// Cancels the run when someone asks for it: Ctrl-C once drains, twice stops; SIGTERM stops.
async fn listen(cancel: CancelHandle, announcer: Announcer) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers a signal ends this process; its children end with it, and the run
        // is `interrupted`.
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => match cancel.request() {
                CancelMode::Drain => announcer.say(
                    "cancelled: waiting for the running stages to end; Ctrl-C again stops them",
                ),
                CancelMode::Kill => announcer.say("stopping the running stages"),
            },
            _ = terminate.recv() => {
                announcer.say("asked to end: stopping the running stages");
                cancel.kill();
            }
        }
    }
}

/// The table of what happened, the failures, where it is recorded, and what to type next.
async fn conclude(session: &Session, history: &RunHistory, ui: &Ui) -> CommandResult<()> {
    let project = &session.project;
    ui.print(format_args!("\n{}\n", run_view::stages_table(ui, history, run_view::FEW_ROWS)));
    for report in failure_reports(project, history, ui.out) {
        ui.print(format_args!("{report}\n"));
    }
    ui.print(run_view::headline(ui, history));
    ui.print(format_args!(
        "  {} {}, {}",
        ui.out.paint(Paint::Faint, "recorded in"),
        shown_location(&session.store.location()),
        project.artifacts_shown()
    ));
    print_next(ui, &next_commands(session, history).await?);
    Ok(())
}

/// Commands that may be typed next, and what they do.
pub fn print_next(ui: &Ui, next: &[(String, &'static str)]) {
    let width = next.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    for (command, what) in next {
        ui.print(format_args!(
            "  {}  {}",
            ui.out.paint(Paint::Command, format_args!("{command:width$}")),
            ui.out.paint(Paint::Faint, what)
        ));
    }
}

fn shown_location(location: &str) -> String {
    if location.contains("://") {
        location.to_owned()
    } else {
        Project::shown(&PathBuf::from(location))
    }
}

/// What may be typed next, and what that does.
pub async fn next_commands(
    session: &Session,
    history: &RunHistory,
) -> CommandResult<Vec<(String, &'static str)>> {
    let run = &history.run;
    let last = session.store.find_runs("@last").await?;
    let name = run_view::run_reference(&run.id, last.first() == Some(&run.id));
    let flag = session.project.flag();
    let mut next = Vec::new();
    match run.state {
        RunState::Succeeded => {
            next.push((format!("wick show {name}{flag}"), "all that is recorded of it"));
            let curve = history
                .metrics
                .iter()
                .filter(|metric| metric.points > 1)
                // How the error fell says most of how training went.
                .min_by_key(|metric| match metric.key.as_str() {
                    "validation.loss" => 0,
                    "loss" => 1,
                    "train.loss" => 2,
                    key => 3 + run_view::telling_rank(key),
                });
            if let Some(curve) = curve {
                let key = human::shell_word(&format!("{}.{}", curve.stage, curve.key));
                next.push((format!("wick metrics {name} {key}{flag}"), "its curve"));
            }
            if let Some(model) = registered_model(session, history).await? {
                next.push((format!("wick serve {model}{flag}"), "answers over HTTP"));
            }
            if let Some(earlier) = earlier_run(session, history).await? {
                let command = format!("wick compare {earlier} {name}{flag}");
                next.push((command, "what differs from the run before"));
            }
        }
        // What was imported cannot be run here.
        _ if run.pipeline_path.is_empty() => {}
        RunState::Failed | RunState::Cancelled | RunState::Interrupted | RunState::Running => {
            let rerun = if name == "@last" {
                format!("wick rerun{flag}")
            } else {
                format!("wick rerun {name}{flag}")
            };
            let what = if run.state == RunState::Failed {
                "when it is mended: what succeeded is kept"
            } else {
                "goes on with it: what succeeded is kept"
            };
            next.push((rerun, what));
        }
    }
    Ok(next)
}

/// A registered model among what the run made.
async fn registered_model(
    session: &Session,
    history: &RunHistory,
) -> CommandResult<Option<String>> {
    let registers = |kind: &str| matches!(kind, "register" | "deploy");
    if !history.stages.iter().any(|stage| registers(stage.kind.as_str())) {
        return Ok(None);
    }
    let made = |digest| history.artifacts.iter().any(|artifact| artifact.digest == digest);
    let models = session.store.models().await?;
    Ok(models
        .into_iter()
        .find(|model| model.versions.iter().any(|version| made(version.digest)))
        .map(|model| model.name.to_string()))
}

/// The run of the same experiment before this one.
async fn earlier_run(session: &Session, history: &RunHistory) -> CommandResult<Option<RunId>> {
    let filter =
        Filter::of_experiment(&history.run.experiment).and(Filter::in_state(RunState::Succeeded));
    let query = Search { filter: Some(filter), limit: 2, ..Search::default() };
    let runs = session.store.search(&query).await?.runs;
    Ok(runs
        .into_iter()
        .find(|run| run.id != history.run.id && run.started < history.run.started)
        .map(|run| run.id))
}

/// A report of each failed stage, the first few at length.
pub fn failure_reports(project: &Project, history: &RunHistory, style: Style) -> Vec<String> {
    // A stage that stands for the items of a list fails with them, and they say why.
    let lists: HashSet<&StageName> =
        history.stages.iter().filter_map(|stage| stage.template.as_ref()).collect();
    let failed: Vec<_> = history
        .stages
        .iter()
        .filter(|stage| matches!(stage.state, AttemptState::Failed | AttemptState::Lost))
        .filter(|stage| !lists.contains(&stage.stage))
        .collect();
    let mut reports: Vec<String> = failed
        .iter()
        .take(MAX_REPORTS)
        .map(|stage| {
            let name = stage.stage.as_str();
            let attempt =
                history.last_attempt(name).map_or(stage.attempts.max(1), |last| last.attempt);
            let folder = folder_of(project, &history.run.id, &stage.stage, attempt);
            let (log, log_is_cut) = log_tail(&folder.join(layout::LOG), LOG_LINES);
            FailureReport {
                stage,
                attempt,
                is_imported: history.run.pipeline_path.is_empty(),
                folder: Project::shown(&folder),
                log: &log,
                log_is_cut,
                logs_command: format!(
                    "wick logs {} {}{}",
                    history.run.id,
                    human::shell_word(name),
                    project.flag()
                ),
            }
            .render(style)
        })
        .collect();
    if failed.len() > MAX_REPORTS {
        reports.push(format!(
            "… and {} failed: `wick show {}{}` lists them",
            human::plural(failed.len() - MAX_REPORTS, "more stage"),
            history.run.id,
            project.flag()
        ));
    }
    reports
}
