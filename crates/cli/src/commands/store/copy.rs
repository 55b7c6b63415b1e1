//! `wick store copy` and `wick store backup`: all of a store, elsewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use wick_artifact::{ArtifactStore, Form, Remote};
use wick_core::Digest;
use wick_store::copy::{Copied, Step, backup as write_backup, copy as copy_store};

use crate::args::{GlobalArgs, StoreBackupArgs, StoreCopyArgs};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::project::{ArtifactsConfig, Project, absolute};
use crate::render::{Ui, human};
use crate::session::Session;

/// So many names of artifacts are asked for at a time.
const PAGE: u32 = 1_000;

/// How often a person is told how far it is, in runs.
const TOLD_EVERY: u64 = 10_000;

/// What came of the artifacts.
#[derive(Debug, Default)]
struct Artifacts {
    copied: u64,
    /// Those that are missing or damaged, or which the other place did not take.
    left: u64,
}

pub async fn copy(args: &StoreCopyArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let location = match args.to.contains("://") {
        true => args.to.clone(),
        false => absolute(Path::new(&args.to))?.display().to_string(),
    };
    if location == session.project.store_location()? {
        return Err(CommandError::invalid("the store cannot be copied to itself"));
    }
    let to = wick_store::open(&location).await?;
    // The bytes first: a run that is there then has what it made.
    let artifacts = match &args.artifacts {
        Some(place) => copy_artifacts(&session, place, ui).await?,
        None => Artifacts::default(),
    };
    let copied = copy_store(&*session.store, &*to, &mut teller(ui)).await?;
    let shown = to.location();
    to.close().await;
    tell(args, ui, &copied, &artifacts, &shown)?;
    if copied.different.is_empty() {
        return match artifacts.left {
            0 => Ok(ExitCode::Success),
            left => Err(CommandError::invalid(format!(
                "{} not copied",
                match left {
                    1 => "one artifact was".to_owned(),
                    left => format!("{left} artifacts were"),
                }
            ))
            .hint("`wick store check --deep` shows which runs made what is missing or damaged")),
        };
    }
    let runs: Vec<String> = copied.different.iter().take(8).map(ToString::to_string).collect();
    Err(CommandError::invalid(format!(
        "{} not the same in {shown}: {}",
        match copied.different.len() {
            1 => "one run is".to_owned(),
            count => format!("{count} runs are"),
        },
        runs.join(", ")
    ))
    .hint("what is there is left as it is; compare with `wick show RUN --store PLACE`"))
}

fn tell(
    args: &StoreCopyArgs,
    ui: &Ui,
    copied: &Copied,
    artifacts: &Artifacts,
    to: &str,
) -> CommandResult<()> {
    if args.output.is_json() {
        return ui.json(&json!({
            "version": 1,
            "to": to,
            "new": copied.new,
            "further": copied.further,
            "kept": copied.kept,
            "under_way": copied.under_way,
            "models": copied.models,
            "artifacts": artifacts.copied,
            "artifacts_left": artifacts.left,
            "different": copied.different,
        }));
    }
    let mut words = vec![format!("{} copied", human::plural(copied.new as usize, "run"))];
    if copied.further > 0 {
        words.push(format!("{} brought up to date", copied.further));
    }
    if copied.kept > 0 {
        words.push(format!("{} there already", copied.kept));
    }
    if artifacts.copied > 0 {
        words.push(format!("{} copied", human::plural(artifacts.copied as usize, "artifact")));
    }
    ui.note(format_args!("{} to {to}", words.join(", ")));
    if copied.under_way > 0 {
        ui.warn(format_args!(
            "{} under way: copy again when it is over",
            human::plural(copied.under_way as usize, "run")
        ));
    }
    Ok(())
}

/// Tells how far it is, now and then.
fn teller(ui: &Ui) -> impl FnMut(Step) + Send + use<'_> {
    let mut told = 0;
    move |step| {
        let (words, runs) = match step {
            Step::Copied(runs) => ("copied", runs),
            Step::Compared(runs) => ("compared", runs),
        };
        if runs / TOLD_EVERY > told {
            ui.note(format_args!("{runs} runs {words}"));
        }
        told = runs / TOLD_EVERY;
    }
}

/// Copies what the store names and the other place does not have.
async fn copy_artifacts(session: &Session, place: &str, ui: &Ui) -> CommandResult<Artifacts> {
    let from = session.artifacts()?;
    let to = open_artifacts(session, place)?;
    let mut artifacts = Artifacts::default();
    if to.folder() == from.folder() && to.remote().is_none() {
        return Ok(artifacts);
    }
    // What a copy that was killed had half.
    to.sweep().or_internal("cannot clear away half copies")?;
    let mut after = None;
    loop {
        let page = session.store.referenced_artifacts(after, PAGE).await?;
        let Some((last, ..)) = page.last() else { return Ok(artifacts) };
        after = Some(*last);
        for (digest, port_type, _) in page {
            if to.is_there(&digest).or_internal("cannot look for an artifact")? {
                continue;
            }
            match copy_artifact(&from, &to, &digest, port_type.into()) {
                Ok(()) => artifacts.copied += 1,
                // One that was removed or damaged is no reason to leave the others behind.
                Err(error) => {
                    artifacts.left += 1;
                    ui.warn(format_args!("artifact {}: {error:#}", digest.short()));
                }
            }
        }
    }
}

/// The artifacts at `place`: a folder, or the URL of an object storage, of which the cache is a
/// folder of this project.
fn open_artifacts(session: &Session, place: &str) -> CommandResult<ArtifactStore> {
    let config = ArtifactsConfig::from_text(place)
        .or_invalid(format!("`{place}` is no place for artifacts"))?;
    let open = |folder: PathBuf| {
        ArtifactStore::open(&folder).or_internal(format!("no artifacts at {}", folder.display()))
    };
    Ok(match config {
        ArtifactsConfig::Folder(folder) => open(absolute(&folder)?)?,
        ArtifactsConfig::Remote { place, cache } => {
            let folder = session.project.state_folder().join("copied-artifacts");
            open(folder)?.with_remote(Arc::new(Remote::new(place)), cache)
        }
    })
}

/// Copies one artifact, verified on both sides.
fn copy_artifact(
    from: &ArtifactStore,
    to: &ArtifactStore,
    digest: &Digest,
    form: Form,
) -> anyhow::Result<()> {
    let held = from.hold(digest)?;
    let put = to.put_copy(held.path(), form)?;
    anyhow::ensure!(put.digest == *digest, "it is not what its name says");
    Ok(())
}

pub async fn backup(args: &StoreBackupArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let location = session.project.store_location()?;
    session.store.close().await;
    write_backup(&location, &args.file, &mut teller(ui)).await?;
    let bytes = fs::metadata(&args.file).or_internal("the backup is gone")?.len();
    ui.note(format_args!("{} in {}", human::bytes(bytes), Project::shown(&args.file)));
    Ok(ExitCode::Success)
}
