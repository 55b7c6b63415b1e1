//! What each stage read: artifacts, and the run that made them; files outside the store.

use std::collections::HashMap;

use wick_plan::{FingerprintParts, Section};

use super::{Shown, limited};
use crate::render::{Cell, Paint, Table, Ui, run_view};

/// A row for everything that a stage read.
pub fn table(ui: &Ui, shown: &Shown) -> Option<String> {
    let rows = rows(shown);
    let (rows, more) = limited(ui, &rows);
    let mut table = Table::new(ui, &["stage", "port", "from", "made in run", "digest", "facts"]);
    for row in rows {
        table.row([
            Cell::new(&row.stage),
            Cell::new(&row.port),
            Cell::new(&row.from),
            Cell::new(&row.run),
            Cell::painted(Paint::Faint, &row.digest),
            Cell::new(&row.facts),
        ]);
    }
    (!table.is_empty()).then(|| table.render_indented(2) + &more)
}

struct Row {
    stage: String,
    port: String,
    from: String,
    run: String,
    digest: String,
    facts: String,
}

fn rows(shown: &Shown) -> Vec<Row> {
    let history = &shown.history;
    let mut by_stage: HashMap<&str, Vec<Row>> = HashMap::new();
    for (stage, parts) in &shown.parts {
        // Parts that another version of wick wrote in another form are left out.
        let Ok(parts) = serde_json::from_value::<FingerprintParts>(parts.clone()) else { continue };
        for part in parts.parts.iter().filter(|part| part.section == Section::Source) {
            by_stage.entry(stage.as_str()).or_default().push(Row {
                stage: stage.to_string(),
                port: String::new(),
                from: part.name.clone(),
                run: String::new(),
                digest: part.digest.short(),
                facts: "a file outside the store".to_owned(),
            });
        }
    }
    for input in &shown.inputs {
        let maker = history.stage(input.from_stage.as_str());
        let run = match maker.and_then(|stage| stage.origin.as_ref()) {
            Some(origin) => origin.run.to_string(),
            None => "this".to_owned(),
        };
        let made = history
            .artifacts_of(input.from_stage.as_str())
            .find(|artifact| artifact.port == input.from_output && artifact.digest == input.digest);
        let item = input.item.as_ref().map(|item| format!("[{item}]")).unwrap_or_default();
        by_stage.entry(input.stage.as_str()).or_default().push(Row {
            stage: input.stage.to_string(),
            port: format!("{}{item}", input.port),
            from: format!("{}.{}", input.from_stage, input.from_output),
            run,
            digest: input.digest.short(),
            facts: made.map(run_view::artifact_fact).unwrap_or_default(),
        });
    }
    let stages = history.stages.iter().map(|stage| stage.stage.as_str());
    stages.filter_map(|stage| by_stage.remove(stage)).flatten().collect()
}
