//! `wick rerun`: picks a run up where it broke.

use std::path::Path;

use wick_pipeline::Override;
use wick_plan::Selection;
use wick_store::RunRecord;

use super::run::execute;
use crate::args::{GlobalArgs, ParamArgs, RerunArgs};
use crate::drive::{Execution, Surroundings};
use crate::error::{CommandError, CommandResult};
use crate::history::find_run;
use crate::pipeline::{self, PipelineFile};
use crate::project::Project;
use crate::render::Ui;
use crate::session::Session;

pub async fn rerun(args: &RerunArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let mut execution = prepare(&args.run, &args.params, &session, ui).await?;
    execution.selection = args.selection.selection(args.all);
    let surroundings = Surroundings::of(&execution.plan);
    execute(execution, surroundings, &args.execute, &args.output, &session, ui).await
}

/// Reads the pipeline of the run that `run` names again, with the params that it was given and
/// those given now.
pub async fn prepare(
    run: &str,
    params: &ParamArgs,
    session: &Session,
    ui: &Ui,
) -> CommandResult<Execution> {
    let id = find_run(&*session.store, run).await?;
    let run = session
        .store
        .run(&id)
        .await?
        .ok_or_else(|| CommandError::from(wick_store::StoreError::NoRun(id.clone())))?;
    if run.pipeline_path.is_empty() {
        let error = format!("run {id} was imported: there is no pipeline to run again");
        return Err(CommandError::invalid(error).hint(format!("`wick show {id}` tells of it")));
    }
    let mut file = PipelineFile::read(Path::new(&run.pipeline_path)).map_err(|error| {
        error
            .context(format!("the pipeline of run {id} is not where it was"))
            .hint(format!("`wick show {id} --pipeline` prints it as it was run"))
    })?;
    file.shown = Project::shown(&file.path);
    file.belongs_to(&session.project.root);
    let mut overrides = earlier_overrides(session, &run, &file, ui).await?;
    overrides.extend(pipeline::overrides(params, ui)?);
    let slots = pipeline::slots(&session.project);
    let machine = pipeline::machine(&slots, &session.project);
    let plan = file.plan(overrides.clone(), machine.clone(), ui).await?;
    let (text, selection) = (file.text(), Selection::default());
    let expander = file.expander(overrides, machine);
    Ok(Execution { plan: plan.into(), text, rerun: Some(id), selection, expander })
}

/// The params that the run was given, as far as the file still declares them.
async fn earlier_overrides(
    session: &Session,
    run: &RunRecord,
    file: &PipelineFile,
    ui: &Ui,
) -> CommandResult<Vec<Override>> {
    if run.overridden.is_empty() {
        return Ok(Vec::new());
    }
    // What is wrong with the file is told when it is checked.
    let parsed = file.parse(&[]);
    let declared = |name: &str| {
        parsed.as_ref().is_none_or(|parsed| parsed.params.iter().any(|param| param.name == name))
    };
    let params = session.store.params(&run.id).await?;
    let mut overrides = Vec::new();
    for param in params.into_iter().filter(|param| run.overridden.contains(&param.name)) {
        if declared(&param.name) {
            overrides.push(Override {
                origin: format!("run {}", run.id),
                name: param.name,
                value: param.value,
                typed: None,
                given_at: None,
            });
        } else {
            ui.warn(format_args!(
                "run {} was given `{}`, which the pipeline no longer declares",
                run.id, param.name
            ));
        }
    }
    Ok(overrides)
}
