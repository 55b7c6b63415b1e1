//! `wick schema`: the JSON schema of pipeline files.

use crate::args::SchemaArgs;
use crate::error::{CommandError, CommandResult, ExitCode, ResultExt};
use crate::registry::registry;
use crate::render::Ui;

pub fn schema(args: &SchemaArgs, ui: &Ui) -> CommandResult {
    let schema = wick_plan::pipeline_schema(&registry());
    let Some(path) = &args.write else {
        ui.json(&schema)?;
        return Ok(ExitCode::Success);
    };
    let text = serde_json::to_string_pretty(&schema).map_err(CommandError::internal)? + "\n";
    let cannot_write = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).or_invalid(cannot_write())?;
    }
    std::fs::write(path, text).or_invalid(cannot_write())?;
    ui.note(format_args!("wrote {}", path.display()));
    Ok(ExitCode::Success)
}
