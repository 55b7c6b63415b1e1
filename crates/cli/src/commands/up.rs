//! `wick up`: begins runs by schedule.

use serde_json::{Value, json};
use wick_core::Timestamp;
use wick_store::hold::{Asked, Holder, hold};

use crate::args::{GlobalArgs, UpArgs};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::pipeline::PipelineFile;
use crate::project::Project;
use crate::render::{Cell, Paint, Table, Ui, human};
use crate::session::Session;
use crate::up::discover::scheduled_files;
use crate::up::driver::{Pipeline, Shared, Up, read_all};
use crate::up::report::{Log, from_now};

pub async fn up(args: &UpArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let project = match args.files.first() {
        Some(file) => {
            Project::of_pipeline(&PipelineFile::find(file, global, ui)?.path, global, ui)?
        }
        None => Project::here_or_new(global, ui)?,
    };
    let paths = if args.files.is_empty() {
        scheduled_files(&project.root)
    } else {
        let found = args.files.iter().map(|file| Ok(PipelineFile::find(file, global, ui)?.path));
        found.collect::<CommandResult<_>>()?
    };
    let pipelines = read_all(paths, &project, ui).await?;
    if pipelines.iter().all(|pipeline| pipeline.active.is_none()) {
        return Err(nothing_scheduled(args, &project, &pipelines));
    }
    if args.list {
        return list(args, &pipelines, ui);
    }
    let session = Session::open(project, ui).await?;
    let location = session.project.store_location()?;
    let holder =
        Holder { host: wick_store::this_host(), pid: std::process::id(), since: human::now() };
    let held = match hold(&location, holder).await? {
        Asked::Ours(held) => held,
        Asked::Theirs(other) => return Err(taken(other, &session)),
    };
    let log = Log::new(ui, args.output.is_json());
    log.say(
        "up",
        &format!(
            "begins runs of {} in {}; Ctrl-C ends it",
            human::plural(pipelines.len(), "pipeline"),
            session.project.root.display()
        ),
    );
    let shared = Shared {
        session: &session,
        ui,
        execute: &args.execute,
        runs: args.runs.map_or(usize::MAX, Into::into),
    };
    Up::new(&shared, log, held, pipelines, args.files.is_empty()).until_stopped().await
}

fn nothing_scheduled(args: &UpArgs, project: &Project, pipelines: &[Pipeline]) -> CommandError {
    if !pipelines.is_empty() {
        return CommandError::invalid("no pipeline with a schedule is free of mistakes");
    }
    let example = "a pipeline declares one: `schedule: {cron: \"0 3 * * *\"}`";
    let message = match args.files.as_slice() {
        [] => format!("no pipeline of {} declares a schedule", project.root.display()),
        [only] => format!("{} declares no schedule", only.display()),
        _ => "none of these files declares a schedule".to_owned(),
    };
    CommandError::invalid(message).hint(example)
}

/// Another process begins runs in this store.
fn taken(other: Option<Holder>, session: &Session) -> CommandError {
    let location = session.store.location();
    let Some(Holder { host, pid, since }) = other else {
        return CommandError::busy(format!(
            "another `wick up` begins runs in the store at {location}"
        ));
    };
    let place = if host == wick_store::this_host() { String::new() } else { format!(" on {host}") };
    CommandError::busy(format!(
        "process {pid}{place} begins runs in the store at {location} since {since} UTC, {}",
        human::ago(since, human::now())
    ))
    .hint(format!("end it first: `kill {pid}`{place}"))
}

/// What would begin when.
fn list(args: &UpArgs, pipelines: &[Pipeline], ui: &Ui) -> CommandResult {
    let now = human::now();
    let broken = pipelines.iter().any(|pipeline| pipeline.active.is_none());
    if args.output.is_json() {
        let pipelines: Vec<Value> =
            pipelines.iter().filter_map(|pipeline| to_json(pipeline, args.count, now)).collect();
        ui.json(&json!({"version": 1, "now": now, "pipelines": pipelines}))?;
    } else {
        let mut table = Table::new(ui, &["pipeline", "begins", "", "missed", "overlap"]);
        for pipeline in pipelines {
            let Some(active) = &pipeline.active else { continue };
            let mut rows: Vec<(String, String)> = next_times(pipeline, args.count, now)
                .into_iter()
                .map(|(time, shown)| (shown, from_now(time, now)))
                .collect();
            if !active.schedule.on_change.is_empty() {
                let patterns = active.schedule.on_change.join(", ");
                rows.push((format!("when {patterns} changes"), String::new()));
            }
            for (place, (when, wait)) in rows.into_iter().enumerate() {
                let first = |text: &str| if place == 0 { text.to_owned() } else { String::new() };
                table.row([
                    Cell::painted(Paint::Strong, first(&pipeline.name)),
                    Cell::new(when),
                    Cell::painted(Paint::Faint, wait),
                    Cell::new(first(word(&json!(active.schedule.missed)))),
                    Cell::new(first(word(&json!(active.schedule.overlap)))),
                ]);
            }
        }
        table.keep_whole(&[0, 2]);
        ui.print(table.render());
    }
    Ok(if broken { ExitCode::Invalid } else { ExitCode::Success })
}

fn next_times(pipeline: &Pipeline, count: u8, now: Timestamp) -> Vec<(Timestamp, String)> {
    let Some(times) = pipeline.active.as_ref().and_then(|active| active.times.as_ref()) else {
        return Vec::new();
    };
    let mut moment = now;
    let mut found = Vec::new();
    for _ in 0..count {
        let Some(next) = times.next_after(moment) else { break };
        found.push((next, times.shown(next)));
        moment = next;
    }
    found
}

/// The word of a declared choice.
fn word(choice: &Value) -> &str {
    choice.as_str().unwrap_or_default()
}

fn to_json(pipeline: &Pipeline, count: u8, now: Timestamp) -> Option<Value> {
    let active = pipeline.active.as_ref()?;
    let next: Vec<Value> = next_times(pipeline, count, now)
        .into_iter()
        .map(|(time, shown)| json!({"time": time, "shown": shown}))
        .collect();
    Some(json!({
        "pipeline": pipeline.name,
        "file": pipeline.path(),
        "schedule": active.schedule,
        "timezone": active.times.as_ref().map(wick_plan::Times::timezone),
        "next": next,
    }))
}
