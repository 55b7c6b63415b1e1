//! `wick gc`: removes what nobody needs any more.
//!
//! Everything is done in an order in which a process that dies in the middle leaves nothing that
//! is wrong: runs are marked as deleted before they go; which folders go with them is written
//! down before; artifacts go last, when nothing names them. The next `wick gc` does the rest.

mod bytes;
mod folders;
mod retention;

use std::collections::HashSet;
use std::fs::File;

use rustix::fs::FlockOperation;
use serde_json::json;
use wick_artifact::{ArtifactStore, Aside, User};
use wick_core::RunId;
use wick_store::Mark;

use crate::args::{GcArgs, GlobalArgs};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::render::{Cell, Paint, Table, Ui, human};
use crate::session::Session;
use bytes::Garbage;
use folders::Folders;
use retention::{Found, Leaving, Why};

/// So many runs are removed in one transaction.
const BATCH: usize = 500;

/// So many runs are listed to people.
const MAX_LISTED: usize = 20;

/// What goes, or went.
struct Gone {
    runs: Vec<Leaving>,
    /// Runs that were to go, and stay because another run that stays has taken outputs of them.
    needed: usize,
    /// Deleted runs that stay because models came from them, and which models.
    for_models: (usize, Vec<String>),
    /// The bytes of the folders of runs.
    folder_bytes: u64,
    garbage: Garbage,
    /// Damaged bytes that were set aside long ago.
    aside: Vec<Aside>,
    /// Other stores on account of which artifacts are left alone.
    users: Vec<User>,
}

pub async fn gc(args: &GcArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let store = &*session.store;
    let artifacts = session.artifacts()?;
    let folders = Folders::of(&session.project.state_folder());
    let _turn = match args.yes {
        true => Some(turn(&session)?),
        false => None,
    };
    let now = human::now();
    let rules = retention::rules(args, &session.project.config.retention);
    let Found { leaving, models, models_runs } =
        retention::leaving(store, args, &rules, now).await?;
    let ids: Vec<RunId> = leaving.iter().map(|run| run.id.clone()).collect();
    let preview = store.preview_purge(&ids).await?;
    let going: HashSet<&RunId> = preview.runs.iter().collect();
    let needed = leaving.len() - going.len();
    let mut runs: Vec<Leaving> =
        leaving.into_iter().filter(|run| going.contains(&run.id)).collect();
    let folder_bytes = runs.iter().map(|run| folders.bytes(&run.id)).sum();
    if args.yes {
        let gone = remove_runs(&session, &folders, &runs).await?;
        runs.retain(|run| gone.contains(&run.id));
        store.clear_unused().await?;
    }
    let grace = bytes::grace(store, args.grace).await?;
    let (mut others_need, mut known) = bytes::needed_by(&args.also).await?;
    known.extend(bytes::names(store));
    let users = bytes::other_users(&artifacts, &known)?;
    let mut garbage = Garbage::default();
    if users.is_empty() {
        let mut named = bytes::named(store).await?;
        if !args.yes {
            for (digest, _) in &preview.artifacts {
                named.remove(digest);
            }
        }
        others_need.extend(named);
        garbage = bytes::find(&artifacts, &others_need, grace)?;
        if args.yes {
            garbage.remove(&artifacts, grace)?;
            artifacts.sweep().or_internal("cannot clear what was left half-made")?;
        }
    }
    let aside = bytes::quarantined(&artifacts, args.quarantine, args.yes)?;
    let for_models = (models_runs, models);
    let gone = Gone { runs, needed, for_models, folder_bytes, garbage, aside, users };
    if args.output.is_json() {
        ui.json(&gone.json(args.yes))?;
    } else {
        gone.tell(&artifacts, args.yes, ui);
    }
    Ok(ExitCode::Success)
}

/// Removes runs with their folders; gives those that are gone.
async fn remove_runs(
    session: &Session,
    folders: &Folders,
    runs: &[Leaving],
) -> CommandResult<HashSet<RunId>> {
    let store = &*session.store;
    folders.finish(store).await?;
    let ids: Vec<RunId> = runs.iter().map(|run| run.id.clone()).collect();
    folders.write_down(&ids)?;
    let marked: Vec<RunId> =
        runs.iter().filter(|run| run.why == Why::Retention).map(|run| run.id.clone()).collect();
    for batch in marked.chunks(BATCH) {
        store.mark_runs(batch, &[Mark::Delete(true)], human::now()).await?;
    }
    let mut gone = HashSet::new();
    // The newest first: what took outputs of another came later.
    for batch in ids.chunks(BATCH) {
        gone.extend(store.purge_runs(batch).await?);
    }
    folders.finish(store).await?;
    Ok(gone)
}

/// One at a time removes what a project has; the system ends the turn of one that dies.
fn turn(session: &Session) -> CommandResult<File> {
    let path = session.project.state_folder().join("gc.lock");
    let file = File::create(&path).or_internal(format!("cannot make {}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(CommandError::busy("another `wick gc` is at work in this project")
            .hint("let it end; it may have done all that there is to do")),
    }
}

impl Gone {
    fn json(&self, done: bool) -> serde_json::Value {
        let here: u64 = self.garbage.here.iter().map(|entry| entry.bytes).sum();
        let remote: u64 = self.garbage.remote.iter().map(|entry| entry.bytes).sum();
        let users: Vec<_> =
            self.users.iter().map(|user| json!({"store": user.name, "note": user.note})).collect();
        json!({
            "version": 1,
            "removed": done,
            "runs": self.runs,
            "runs_needed_by_others": self.needed,
            "runs_of_models": self.for_models.0,
            "run_folder_bytes": self.folder_bytes,
            "artifacts": {"count": self.garbage.here.len(), "bytes": here},
            "remote_artifacts": {"count": self.garbage.remote.len(), "bytes": remote},
            "stray_uploads": self.garbage.strays.len(),
            "quarantined": {"count": self.aside.len(), "bytes": self.aside_bytes()},
            "other_users": users,
        })
    }

    fn aside_bytes(&self) -> u64 {
        self.aside.iter().map(|aside| aside.bytes).sum()
    }

    fn tell(&self, artifacts: &ArtifactStore, done: bool, ui: &Ui) {
        let now = human::now();
        if !self.runs.is_empty() {
            let mut table = Table::new(ui, &["run", "experiment", "started", "why"]);
            for run in self.runs.iter().take(MAX_LISTED) {
                table.row([
                    Cell::painted(Paint::Strong, &run.id),
                    Cell::new(&run.experiment),
                    Cell::new(human::ago(run.started, now)),
                    Cell::new(match run.why {
                        Why::Deleted => "deleted",
                        Why::Retention => "retention",
                    }),
                ]);
            }
            ui.print(table.render());
            if self.runs.len() > MAX_LISTED {
                ui.print(format_args!("… and {} more", self.runs.len() - MAX_LISTED));
            }
        }
        let garbage = &self.garbage;
        let here = garbage.here.iter().map(|entry| entry.bytes).sum();
        let remote = garbage.remote.iter().map(|entry| entry.bytes).sum();
        let mut parts = vec![
            format!(
                "{} with {} in their folders",
                human::plural(self.runs.len(), "run"),
                human::bytes(self.folder_bytes)
            ),
            sized(garbage.here.len(), here),
        ];
        if let Some(remotely) = artifacts.remote() {
            parts.push(format!("{} in {}", sized(garbage.remote.len(), remote), remotely.place()));
            if !garbage.strays.is_empty() {
                parts.push(format!(
                    "what {} left over",
                    human::plural(garbage.strays.len(), "upload")
                ));
            }
        }
        if !self.aside.is_empty() {
            parts.push(format!(
                "{} that were set aside as damaged",
                sized(self.aside.len(), self.aside_bytes())
            ));
        }
        let verb = if done { "removed" } else { "would remove" };
        ui.print(format_args!("{verb}: {}", parts.join("; ")));
        let (runs, models) = &self.for_models;
        if *runs > 0 {
            let models: Vec<&str> = models.iter().map(String::as_str).collect();
            ui.note(format_args!(
                "{} that {} deleted: {} came from there",
                human::stay(*runs, "run"),
                if *runs == 1 { "was" } else { "were" },
                wick_pipeline::suggest::list(&models)
            ));
        }
        if self.needed > 0 {
            ui.note(format_args!(
                "{}: others that stay have taken outputs, a model came from there, or an engine \
                 is at work",
                human::stay(self.needed, "run")
            ));
        }
        for user in &self.users {
            ui.warn(format_args!(
                "artifacts are left alone: the store {} keeps its artifacts in the same place; \
                 `--also STORE` lets what it needs stay; if it is gone, remove {}",
                user.name, user.note
            ));
        }
        let is_empty = self.runs.is_empty()
            && garbage.here.is_empty()
            && garbage.remote.is_empty()
            && self.aside.is_empty();
        if !done && !is_empty {
            ui.note("nothing was removed yet: `wick gc --yes` does it");
        }
    }
}

fn sized(count: usize, bytes: u64) -> String {
    format!("{} of {}", human::plural(count, "artifact"), human::bytes(bytes))
}
