//! `wick store migrate`: brings the store up to the version of this program.

use serde_json::json;

use crate::args::{GlobalArgs, StoreMigrateArgs};
use crate::error::{CommandResult, ExitCode};
use crate::project::Project;
use crate::render::Ui;

pub async fn migrate(args: &StoreMigrateArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let project = Project::here(global, ui)?;
    project.prepare()?;
    let location = project.store_location()?;
    let before = wick_store::inspect(&location).await?;
    // Opening migrates, one process at a time; a newer store is refused.
    wick_store::open(&location).await?.close().await;
    let after = wick_store::inspect(&location).await?;
    if args.output.is_json() {
        ui.json(&json!({
            "version": 1,
            "store": after.location,
            "before": before.migration,
            "after": after.migration,
        }))?;
        return Ok(ExitCode::Success);
    }
    let (was, is) = (before.migration, after.migration);
    ui.print(match was {
        0 => format!("made the store at {}, version {is}", after.location),
        _ if was == is => format!("the store at {} has version {is} already", after.location),
        _ => format!("brought the store at {} from version {was} to {is}", after.location),
    });
    Ok(ExitCode::Success)
}
