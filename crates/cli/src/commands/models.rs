//! `wick models`: registered models, their versions and aliases.

use serde_json::json;
use wick_store::{ModelRecord, ModelVersion};

use crate::args::{GlobalArgs, ModelsArgs};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::render::{Cell, Paint, Table, Ui, human};
use crate::session::Session;

pub async fn models(args: &ModelsArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let mut models = session.store.models().await?;
    if let Some(name) = &args.name {
        let known: Vec<String> = models.iter().map(|model| model.name.to_string()).collect();
        models.retain(|model| model.name == *name.as_str());
        if models.is_empty() {
            return Err(no_such_model(name, &known));
        }
    }
    if args.output.is_json() {
        ui.json(&json!({"version": 1, "models": models}))?;
        return Ok(ExitCode::Success);
    }
    if models.is_empty() {
        ui.note("no model is registered yet: a `register` stage does that");
        return Ok(ExitCode::Success);
    }
    let now = human::now();
    let mut table =
        Table::new(ui, &["model", "version", "aliases", "registered", "by run", "digest", "tags"]);
    for model in &models {
        for version in model.versions.iter().rev() {
            let tags: Vec<String> =
                version.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            table.row([
                Cell::painted(Paint::Strong, &model.name),
                Cell::number(version.version),
                Cell::painted(Paint::Good, version.aliases.join(", ")),
                Cell::new(human::ago(version.created, now)),
                Cell::new(maker(version)),
                Cell::painted(Paint::Faint, version.digest.short()),
                Cell::new(tags.join(" ")),
            ]);
        }
    }
    ui.print(table.render());
    if let ([model], true) = (models.as_slice(), args.name.is_some()) {
        describe(ui, model);
    }
    Ok(ExitCode::Success)
}

fn maker(version: &ModelVersion) -> String {
    match (&version.run, &version.stage) {
        (Some(run), Some(stage)) => format!("{run} {stage}"),
        (Some(run), None) => run.to_string(),
        _ => String::new(),
    }
}

fn describe(ui: &Ui, model: &ModelRecord) {
    if let Some(description) = &model.description {
        ui.print(format_args!("\n{description}"));
    }
    ui.note(format_args!(
        "\n{}",
        ui.err.paint(Paint::Faint, format_args!("`wick serve {}` serves it", model.name))
    ));
}

/// The error for a name that no model has.
pub fn no_such_model(name: &str, known: &[String]) -> CommandError {
    let error = CommandError::invalid(format!("no model is registered as `{name}`"));
    match wick_pipeline::did_you_mean(name, known.iter().map(String::as_str)) {
        Some(hint) => error.hint(hint),
        None => error.hint("`wick models` lists what is registered"),
    }
}
