//! `wick store copy` and `wick store backup`: all of a store, elsewhere.

use std::fs;
use std::path::Path;

use serde_json::json;
use wick_store::copy::{Copied, Step, backup as write_backup, copy as copy_store};

use crate::args::{GlobalArgs, StoreBackupArgs, StoreCopyArgs};
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::project::{Project, absolute};
use crate::render::{Ui, human};
use crate::session::Session;

use super::bytes::Artifacts;

/// How often a person is told how far it is, in runs.
const TOLD_EVERY: u64 = 10_000;

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
    let mut artifacts = Artifacts::of(args, &session, &location, ui)?;
    artifacts.note_user(&*to)?;
    // The bytes first: a run that is there then has what it made.
    artifacts.copy(&*session.store, ui).await?;
    let copied = copy_store(&*session.store, &*to, &mut teller(ui)).await?;
    artifacts.copy(&*session.store, ui).await?;
    let shown = to.location();
    to.close().await;
    tell(args, ui, &copied, &artifacts, &shown)?;
    if copied.different.is_empty() {
        return match artifacts.left() {
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
        let (new, bytes, kept, left) = match artifacts {
            Artifacts::Copied(copying) => {
                (copying.copied, copying.bytes, copying.kept, copying.left)
            }
            Artifacts::Left | Artifacts::Shared(_) => (0, 0, 0, 0),
        };
        return ui.json(&json!({
            "version": 1,
            "to": to,
            "new": copied.new,
            "further": copied.further,
            "kept": copied.kept,
            "under_way": copied.under_way,
            "models": copied.models,
            "artifacts": new,
            "artifact_bytes": bytes,
            "artifacts_kept": kept,
            "artifacts_left": left,
            "artifacts_place": artifacts.place(),
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
    ui.note(format_args!("{} to {to}", words.join(", ")));
    ui.note(artifacts.words(to));
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

pub async fn backup(args: &StoreBackupArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let location = session.project.store_location()?;
    session.store.close().await;
    write_backup(&location, &args.file, &mut teller(ui)).await?;
    let bytes = fs::metadata(&args.file).or_internal("the backup is gone")?.len();
    ui.note(format_args!("{} in {}", human::bytes(bytes), Project::shown(&args.file)));
    Ok(ExitCode::Success)
}
