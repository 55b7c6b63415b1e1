//! `wick check`: every mistake in pipeline files, without running anything.

use std::path::PathBuf;

use serde_json::json;
use wick_pipeline::{Diagnostic, Severity};
use wick_plan::{Machine, Verdict};

use crate::args::{CheckArgs, GlobalArgs};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::pipeline::{PipelineFile, named_slots, overrides, rendered};
use crate::project::{Project, pipelines};
use crate::registry::registry;
use crate::render::{Paint, Ui, human};

pub fn check(args: &CheckArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let files = if args.files.is_empty() { all_files(global, ui)? } else { args.files.clone() };
    let overrides = overrides(&args.params, ui)?;
    let registry = registry();
    let mut all = Vec::new();
    let mut reports = Vec::new();
    for path in &files {
        let file = PipelineFile::find(path, global, ui)?;
        // A file is right or wrong on every machine, and whether it fits is asked by `plan`. What
        // is counted by name is the project's, like the file.
        let project = Project::of_pipeline(&file.path, global, ui)?;
        let machine = Machine { named: named_slots(&project), ..Machine::UNLIMITED };
        let Verdict { plan, diagnostics, sources, part } =
            file.check_part(&overrides, &registry, machine);
        let stages = plan.as_ref().map(|plan| plan.stages.len()).or(part);
        if args.output.is_json() {
            reports.push(json!({
                "file": file.shown,
                "ok": stages.is_some(),
                "part": part.is_some(),
                "stages": stages,
                "diagnostics": wick_pipeline::to_json(&diagnostics, &sources),
            }));
        } else {
            if !diagnostics.is_empty() {
                ui.print(rendered(&diagnostics, &sources, ui, true));
            }
            ui.print(summary(ui, &file.shown, stages, part.is_some(), &diagnostics));
        }
        all.extend(diagnostics);
    }
    let count =
        |severity| all.iter().filter(|found: &&Diagnostic| found.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    if args.output.is_json() {
        ui.json(&json!({
            "version": 1, "errors": errors, "warnings": warnings, "files": reports,
        }))?;
    } else if files.len() > 1 {
        ui.print(format_args!(
            "{}: {}",
            human::plural(files.len(), "file"),
            if all.is_empty() { "no mistake".to_owned() } else { wick_pipeline::summary(&all) }
        ));
    }
    Ok(if errors > 0 { ExitCode::Invalid } else { ExitCode::Success })
}

/// The files of all pipelines of the project, as people like to see them.
fn all_files(global: &GlobalArgs, ui: &Ui) -> CommandResult<Vec<PathBuf>> {
    let project = Project::here_or_new(global, ui)?;
    let files: Vec<PathBuf> = pipelines::all(&project.root)
        .into_iter()
        .map(|pipeline| PathBuf::from(Project::shown(&pipeline.path)))
        .collect();
    if files.is_empty() {
        let root = project.root.display();
        return Err(CommandError::invalid(format!("there are no pipelines in {root}"))
            .hint("they are its *.yaml files, and those in its folder `pipelines`")
            .hint("`wick check FILE` checks any other; `wick init` writes an example"));
    }
    Ok(files)
}

fn summary(
    ui: &Ui,
    file: &str,
    stages: Option<usize>,
    is_part: bool,
    diagnostics: &[Diagnostic],
) -> String {
    let found = wick_pipeline::summary(diagnostics);
    match stages {
        Some(stages) => {
            let mut line = format!(
                "{} {file}: {}",
                ui.out.paint(Paint::Good, "ok"),
                human::plural(stages, "stage")
            );
            if is_part {
                line.push_str(", for other pipelines to use");
            }
            if !found.is_empty() {
                line.push_str(&format!(", {found}"));
            }
            line
        }
        None => format!("{} {file}: {found}", ui.out.paint(Paint::Bad, "wrong")),
    }
}
