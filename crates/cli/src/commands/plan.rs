//! `wick plan`: what a run would do, stage by stage, and why.

use std::path::Path;

use serde_json::{Value, json};
use wick_engine::preview::{Preview, PreviewDecision, StagePreview};
use wick_plan::{Plan, Selection};

use crate::args::{GlobalArgs, PlanArgs};
use crate::drive::{Execution, engine};
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
    let plan = &execution.plan;
    let engine = engine(&session)?;
    let mut options = execution.options();
    options.use_cache = !args.no_cache;
    let preview = engine.preview(plan, &options, None).await?;
    if args.output.is_json() {
        ui.json(&to_json(plan, &preview))?;
    } else {
        print(ui, &preview);
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
    let machine = pipeline::machine(&slots, &project);
    let plan = file.plan(overrides.clone(), machine.clone(), ui).await?;
    let session = Session::open(project, ui).await?;
    let selection = Selection::default();
    let expander = file.expander(overrides, machine);
    Ok((session, Execution { plan, text: file.text(), rerun: None, selection, expander }))
}

fn print(ui: &Ui, preview: &Preview) {
    let mut table = Table::new(ui, &["stage", "kind", "", "why"]);
    for stage in &preview.stages {
        let (paint, word, why) = match &stage.decision {
            PreviewDecision::Cached { origin } => {
                (Paint::Calm, "cached", format!("from run {}", origin.run))
            }
            PreviewDecision::Kept => (Paint::Calm, "kept", String::new()),
            PreviewDecision::Run { reasons } => (Paint::Warning, "run", reasons.join("; ")),
            PreviewDecision::Skip { reason } => (Paint::Faint, "skip", reason.to_string()),
            PreviewDecision::Leave { state } => (Paint::Faint, "leave", format!("it {state}")),
            PreviewDecision::Fail { message } => (Paint::Warning, "fail", message.clone()),
            PreviewDecision::Expand { instances } => {
                (Paint::Plain, "", human::plural(*instances as usize, "instance"))
            }
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
            Cell::painted(Paint::Strong, &stage.stage),
            Cell::painted(Paint::Faint, &stage.kind),
            Cell::painted(paint, word),
            Cell::new(why),
        ]);
    }
    table.keep_whole(&[0, 1, 2]);
    ui.print(table.render());
    let count = |is: fn(&PreviewDecision) -> bool| {
        preview.stages.iter().filter(|stage| is(&stage.decision)).count()
    };
    let cached = count(|decision| {
        matches!(decision, PreviewDecision::Cached { .. } | PreviewDecision::Kept)
    });
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
    let stages: Vec<Value> = preview.stages.iter().map(stage_to_json).collect();
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

fn stage_to_json(stage: &StagePreview) -> Value {
    let (decision, details) = match &stage.decision {
        PreviewDecision::Cached { origin } => ("cached", json!({"origin": origin})),
        PreviewDecision::Kept => ("kept", json!({})),
        PreviewDecision::Run { reasons } => ("run", json!({"reasons": reasons})),
        PreviewDecision::Skip { reason } => ("skip", json!({"reason": reason})),
        PreviewDecision::Leave { state } => ("leave", json!({"state": state})),
        PreviewDecision::Fail { message } => ("fail", json!({"message": message})),
        PreviewDecision::Expand { instances } => ("expand", json!({"instances": instances})),
        PreviewDecision::Unknown { after } => ("unknown", json!({"after": after})),
    };
    json!({
        "stage": stage.stage,
        "kind": stage.kind,
        "needs": stage.needs,
        "fingerprint": stage.fingerprint,
        "decision": decision,
        "details": details,
    })
}
