//! `wick store status`: where the store is, its version, and what is in it.

use serde_json::json;
use wick_store::Inspection;

use crate::args::{GlobalArgs, StoreStatusArgs};
use crate::error::{CommandResult, ExitCode};
use crate::project::Project;
use crate::render::{Cell, Paint, Table, Ui, human};

pub async fn status(args: &StoreStatusArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let project = Project::here(global, ui)?;
    let found = wick_store::inspect(&project.store_location()?).await?;
    if args.output.is_json() {
        ui.json(&json!({"version": 1, "state": state(&found), "store": found}))?;
        return Ok(ExitCode::Success);
    }
    let mut table = Table::new(ui, &[]);
    let mut fact = |name: &str, value: String| {
        table.row([Cell::painted(Paint::Faint, name), Cell::new(value)]);
    };
    fact("store", found.location.clone());
    let database = if found.database == "postgres" { "PostgreSQL" } else { "SQLite" };
    fact("database", format!("{database} {}", found.server).trim_end().to_owned());
    fact("version", version(&found));
    if found.migration > 0 {
        fact("size", human::bytes(found.bytes));
        fact("experiments", human::count(found.counts.experiments));
        fact("runs", runs(&found));
        fact("stages", human::count(found.counts.stages));
        fact("attempts", human::count(found.counts.attempts));
        fact(
            "metrics",
            format!(
                "{} in {} series",
                human::plural(found.counts.points as usize, "point"),
                human::count(found.counts.series)
            ),
        );
        fact("models", human::count(found.counts.models));
    }
    ui.print(table.render());
    let now = human::now();
    if !found.engines.is_empty() {
        let mut engines = Table::new(ui, &["run", "machine", "process", "lease"]);
        for engine in &found.engines {
            let left = engine.expires.micros_since(now);
            let lease = if left > 0 {
                format!("{} left", human::micros(left))
            } else {
                "has run out".to_owned()
            };
            engines.row([
                Cell::painted(Paint::Strong, &engine.run),
                Cell::new(&engine.host),
                Cell::number(engine.pid),
                Cell::new(lease),
            ]);
        }
        ui.print(format_args!("\n{}", engines.render()));
    }
    Ok(ExitCode::Success)
}

/// How the store and this program go together, in one word.
pub fn state(found: &Inspection) -> &'static str {
    match found.migration {
        0 => "missing",
        migration if migration < found.known => "older",
        migration if migration > found.known => "newer",
        _ => "current",
    }
}

fn version(found: &Inspection) -> String {
    let (has, known) = (found.migration, found.known);
    match state(found) {
        "missing" => {
            "there is no store yet: the first run, or `wick store migrate`, makes it".to_owned()
        }
        "older" => format!("{has}; this wick brings it to {known} when it opens it"),
        "newer" => format!("{has}; this wick knows {known} and refuses it: take a newer one"),
        _ => format!("{has}, that of this wick"),
    }
}

/// `1,204: 1,190 succeeded, 14 failed`.
fn runs(found: &Inspection) -> String {
    let states: Vec<String> = found
        .counts
        .runs
        .iter()
        .map(|(state, runs)| format!("{} {state}", human::count(*runs)))
        .collect();
    let all = human::count(found.counts.all_runs());
    if states.is_empty() { all } else { format!("{all}: {}", states.join(", ")) }
}
