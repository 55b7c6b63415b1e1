//! `wick plan`: what a run would do, stage by stage, and why.

use std::path::Path;

use wick_engine::preview::Preview;
use wick_plan::Selection;

use crate::args::{GlobalArgs, PlanArgs};
use crate::drive::{Execution, engine};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::pipeline::{self, PipelineFile};
use crate::project::Project;
use crate::render::{Ui, plan_view};
use crate::session::Session;

pub async fn plan(args: &PlanArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    if args.all && args.rerun.is_none() {
        return Err(CommandError::invalid("--all is for reruns")
            .hint("`wick plan --rerun --all` plans one; a new run has --no-cache"));
    }
    let (session, mut execution) = match (&args.file, &args.rerun) {
        (_, Some(run)) => {
            let session = Session::here(global, ui).await?;
            let execution = super::rerun::prepare(run, &args.params, &session, ui).await?;
            (session, execution)
        }
        (Some(file), None) => new_run(file, args, global, ui).await?,
        (None, None) => return Err(CommandError::invalid("it is not said of which pipeline")),
    };
    execution.selection = args.selection.selection(args.all);
    let plan = &execution.plan;
    let engine = engine(&session)?;
    let mut options = execution.options();
    options.use_cache = !args.no_cache;
    options.slots = pipeline::slots(&session.project);
    let mut preview = engine.preview(plan, &options, None).await?;
    if let Some(Some(stage)) = &args.why {
        only(stage, &mut preview)?;
    }
    if args.output.is_json() {
        ui.json(&plan_view::to_json(plan, &preview))?;
    } else {
        plan_view::print(ui, plan, &preview, args.why.is_some());
    }
    Ok(ExitCode::Success)
}

/// Leaves only what is called `name` in a preview.
fn only(name: &str, preview: &mut Preview) -> CommandResult<()> {
    let names: Vec<String> = preview.stages.iter().map(|stage| stage.stage.to_string()).collect();
    preview.stages.retain(|stage| stage.stage.is_meant_by(name));
    if !preview.stages.is_empty() {
        return Ok(());
    }
    let error = CommandError::invalid(format!("there is no stage `{name}`"));
    Err(match wick_pipeline::did_you_mean(name, names.iter().map(String::as_str)) {
        Some(hint) => error.hint(hint),
        None => error.hint("`wick plan` without --why lists the stages"),
    })
}

/// A new run of the pipeline at `path`, about to be planned.
async fn new_run(
    path: &Path,
    args: &PlanArgs,
    global: &GlobalArgs,
    ui: &Ui,
) -> CommandResult<(Session, Execution)> {
    let mut file = PipelineFile::find(path, global, ui)?;
    let project = Project::of_pipeline(&file.path, global, ui)?;
    let overrides = pipeline::overrides(&args.params, ui)?;
    let slots = pipeline::slots(&project);
    let machine = pipeline::machine(&slots, &project);
    let plan = file.plan(overrides.clone(), machine.clone(), ui).await?;
    let session = Session::open(project, ui).await?;
    let selection = Selection::default();
    let expander = file.expander(overrides, machine);
    let (plan, text) = (plan.into(), file.text());
    Ok((session, Execution { plan, text, rerun: None, selection, expander }))
}
