//! `wick plan`: what a run would do.

use serde_json::json;

use crate::args::{GlobalArgs, PlanArgs};
use crate::error::{CommandResult, ExitCode};
use crate::pipeline::{self, PipelineFile};
use crate::project::Project;
use crate::registry::registry;
use crate::render::{Cell, Paint, Table, Ui};

pub async fn plan(args: &PlanArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let file = PipelineFile::read(&args.file)?;
    let project = Project::of_pipeline(&args.file, global, ui)?;
    let overrides = pipeline::overrides(&args.params, ui)?;
    let slots = pipeline::slots(&project);
    let plan = file.plan(&overrides, &registry(), pipeline::machine(&slots), ui)?;
    if args.output.is_json() {
        ui.json(&json!({"version": 1, "stages": plan.stages}))?;
        return Ok(ExitCode::Success);
    }
    let mut table = Table::new(ui, &["stage", "kind", "needs"]);
    for stage in &plan.stages {
        let needs: Vec<&str> = stage.needs().map(|need| plan.stage(need).name.as_str()).collect();
        table.row([
            Cell::painted(Paint::Strong, &stage.name),
            Cell::painted(Paint::Faint, &stage.kind),
            Cell::new(needs.join(", ")),
        ]);
    }
    ui.print(table.render());
    Ok(ExitCode::Success)
}
