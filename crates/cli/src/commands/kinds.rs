//! `wick kinds`: what stages can do, from the kinds' own documentation and schemas.

use serde_json::{Value, json};
use wick_stage::{Kind, Registry};

use crate::args::KindsArgs;
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::registry::registry;
use crate::render::{Cell, Paint, Table, Ui, schema_fields};

pub fn kinds(args: &KindsArgs, ui: &Ui) -> CommandResult {
    let registry = registry();
    match &args.name {
        Some(name) => {
            let kind = registry.get(name).ok_or_else(|| no_such_kind(name, &registry))?;
            if args.output.is_json() {
                ui.json(&to_json(kind, true))?;
            } else {
                explain(ui, kind);
            }
        }
        None if args.output.is_json() => {
            let kinds: Vec<Value> = registry.iter().map(|kind| to_json(kind, false)).collect();
            ui.json(&json!({"version": 1, "kinds": kinds}))?;
        }
        None => list(ui, &registry),
    }
    Ok(ExitCode::Success)
}

fn no_such_kind(name: &str, registry: &Registry) -> CommandError {
    let error = CommandError::invalid(format!("no kind is called `{name}`"));
    match wick_pipeline::suggest::nearest(name, registry.names()) {
        Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
        None => error.hint("`wick kinds` lists them"),
    }
}

fn list(ui: &Ui, registry: &Registry) {
    let mut table = Table::new(ui, &["kind", "what it does"]);
    for kind in registry.iter() {
        table.row([
            Cell::painted(Paint::Strong, kind.name()),
            Cell::new(sentence(kind.documentation().summary)),
        ]);
    }
    table.keep_whole(&[0]);
    ui.print(table.render());
    ui.note(format_args!(
        "\n{}",
        ui.err.paint(Paint::Faint, "`wick kinds NAME` explains one, with examples")
    ));
}

fn explain(ui: &Ui, kind: &dyn Kind) {
    let documentation = kind.documentation();
    let width = usize::from(ui.width.unwrap_or(100)).min(100);
    ui.print(format_args!(
        "{} – {}\n",
        ui.out.paint(Paint::Strong, kind.name()),
        sentence(documentation.summary)
    ));
    // Paragraphs are filled anew; indented blocks and lists keep their lines.
    for paragraph in documentation.description.trim().split("\n\n") {
        if is_preformatted(paragraph) {
            ui.print(format_args!("{}\n", paragraph.trim_end()));
        } else {
            ui.print(format_args!("{}\n", schema_fields::wrap(paragraph, width).join("\n")));
        }
    }
    ui.print(ui.out.paint(Paint::Strong, "with:"));
    ui.print(schema_fields::render(kind.schema().as_value(), ui.out, width));
    for example in documentation.examples {
        ui.print(format_args!("\n{}", ui.out.paint(Paint::Strong, example.title)));
        for line in example.yaml.trim_end().lines() {
            ui.print(ui.out.paint(Paint::Command, format_args!("  {line}")));
        }
    }
}

/// A summary as a line of a list: a capital at its start, no full stop at its end.
fn sentence(summary: &str) -> String {
    let mut chars = summary.trim_end_matches('.').chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default()
        + chars.as_str()
}

fn is_preformatted(paragraph: &str) -> bool {
    paragraph.contains("```")
        || paragraph.lines().any(|line| {
            line.starts_with("- ")
                || line.starts_with("* ")
                || line.starts_with('|')
                || line.starts_with("    ")
        })
}

fn to_json(kind: &dyn Kind, full: bool) -> Value {
    let documentation = kind.documentation();
    if !full {
        return json!({
            "name": kind.name(),
            "revision": kind.revision(),
            "summary": documentation.summary,
        });
    }
    let examples: Vec<Value> = documentation
        .examples
        .iter()
        .map(|example| json!({"title": example.title, "yaml": example.yaml}))
        .collect();
    json!({
        "version": 1,
        "name": kind.name(),
        "revision": kind.revision(),
        "summary": documentation.summary,
        "description": documentation.description,
        "schema": kind.schema(),
        "examples": examples,
    })
}
