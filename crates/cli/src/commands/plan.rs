//! `wick plan`: what a run would do, stage by stage, and why.

use std::path::Path;

use serde_json::{Value, json};
use wick_engine::preview::{Preview, PreviewDecision, StagePreview};
use wick_plan::{Plan, PlannedStage, Selection};

use crate::args::{GlobalArgs, PlanArgs};
use crate::drive::{Execution, check, engine};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::pipeline::{self, PipelineFile};
use crate::project::Project;
use crate::render::{Cell, Paint, Table, Ui, human};
use crate::session::Session;

pub async fn plan(args: &PlanArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
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
    check(&execution.selection, &execution.plan)?;
    let plan = &execution.plan;
    let engine = engine(&session)?;
    let preview = engine.preview(plan, !args.no_cache, None).await?;
    if args.output.is_json() {
        ui.json(&to_json(plan, &preview))?;
    } else {
        print(ui, plan, &preview);
    }
    Ok(ExitCode::Success)
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
    let plan = file.plan(overrides, pipeline::machine(&slots, &project), ui).await?;
    let session = Session::open(project, ui).await?;
    let selection = Selection::default();
    Ok((session, Execution { plan, text: file.text(), rerun: None, selection }))
}

fn print(ui: &Ui, plan: &Plan, preview: &Preview) {
    let mut table = Table::new(ui, &["stage", "kind", "", "why"]);
    for (planned, stage) in plan.stages.iter().zip(&preview.stages) {
        let (paint, word, why) = match &stage.decision {
            PreviewDecision::Cached { origin } => {
                (Paint::Calm, "cached", format!("from run {}", origin.run))
            }
            PreviewDecision::Run { reasons } => (Paint::Warning, "run", reasons.join("; ")),
            PreviewDecision::Unknown { after } => (
                Paint::Plain,
                "perhaps",
                match after.as_slice() {
                    [only] => format!("cached if {only} still makes the same"),
                    several => format!("cached if {} still make the same", names(several)),
                },
            ),
        };
        table.row([
            Cell::painted(Paint::Strong, &planned.name),
            Cell::painted(Paint::Faint, &planned.kind),
            Cell::painted(paint, word),
            Cell::new(why),
        ]);
    }
    table.keep_whole(&[0, 1, 2]);
    ui.print(table.render());
    let count = |is: fn(&PreviewDecision) -> bool| {
        preview.stages.iter().filter(|stage| is(&stage.decision)).count()
    };
    let cached = count(|decision| matches!(decision, PreviewDecision::Cached { .. }));
    let run = count(|decision| matches!(decision, PreviewDecision::Run { .. }));
    let perhaps = count(|decision| matches!(decision, PreviewDecision::Unknown { .. }));
    let mut summary = format!("\n{} to run, {cached} cached", human::plural(run, "stage"));
    if perhaps > 0 {
        summary.push_str(&format!(", {perhaps} that depend on them"));
    }
    if let Some(compared) = &preview.compared {
        summary.push_str(&format!("; compared with run {compared}"));
    }
    ui.print(summary);
}

fn names(stages: &[wick_core::StageName]) -> String {
    let names: Vec<&str> = stages.iter().map(wick_core::StageName::as_str).collect();
    match names.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn to_json(plan: &Plan, preview: &Preview) -> Value {
    let stages: Vec<Value> = plan
        .stages
        .iter()
        .zip(&preview.stages)
        .map(|(planned, stage)| stage_to_json(plan, planned, stage))
        .collect();
    let params: serde_json::Map<String, Value> = plan.params.iter().cloned().collect();
    json!({
        "version": 1,
        "pipeline": plan.pipeline,
        "experiment": plan.experiment,
        "params": params,
        "compared": preview.compared,
        "stages": stages,
    })
}

fn stage_to_json(plan: &Plan, planned: &PlannedStage, stage: &StagePreview) -> Value {
    let (decision, details) = match &stage.decision {
        PreviewDecision::Cached { origin } => ("cached", json!({"origin": origin})),
        PreviewDecision::Run { reasons } => ("run", json!({"reasons": reasons})),
        PreviewDecision::Unknown { after } => ("unknown", json!({"after": after})),
    };
    let needs: Vec<&str> = planned.needs().map(|need| plan.stage(need).name.as_str()).collect();
    json!({
        "stage": planned.name,
        "kind": planned.kind,
        "needs": needs,
        "fingerprint": stage.fingerprint,
        "decision": decision,
        "details": details,
    })
}
