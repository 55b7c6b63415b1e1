//! How a plan is shown: what a run would do with each stage, and why.

use std::collections::HashMap;

use serde_json::{Value, json};
use wick_core::StageName;
use wick_engine::preview::{Preview, PreviewDecision, StagePreview};
use wick_plan::Plan;

use crate::render::groups::{is_instance, label};
use crate::render::{Cell, Paint, Table, Ui, human};

/// How many rows are shown unless all are asked for.
const MAX_ROWS: usize = 60;

/// How many reasons stand in a row; all of them are told by `--why`.
const REASONS: usize = 2;

/// How many stages a row names.
const NAMED: usize = 3;

/// One row: a stage, or several instances of one with the same fate.
struct Row {
    name: String,
    kind: String,
    fate: Fate,
    stages: usize,
}

/// What becomes of a stage, in words.
#[derive(PartialEq, Eq, Clone)]
struct Fate {
    paint: Paint,
    word: &'static str,
    why: Vec<String>,
}

/// The stages of a preview as a table, and what it comes to. With `every_reason` each instance
/// has a row and each reason a line.
pub fn print(ui: &Ui, plan: &Plan, preview: &Preview, every_reason: bool) {
    let stages: Vec<&StagePreview> = preview.stages.iter().collect();
    let mut rows = rows(plan, &stages, every_reason);
    let all = every_reason || ui.verbosity > 0;
    let mut left_out = 0;
    if !all && rows.len() > MAX_ROWS {
        left_out = rows[MAX_ROWS..].iter().map(|row| row.stages).sum();
        rows.truncate(MAX_ROWS);
    }
    let mut table = Table::new(ui, &["stage", "kind", "", "why"]);
    for row in rows {
        let name_paint = if row.name.starts_with(' ') { Paint::Plain } else { Paint::Strong };
        let shown = if all { row.fate.why.len() } else { row.fate.why.len().min(REASONS) };
        let more = row.fate.why.len() - shown;
        let mut lines: Vec<String> =
            if all { row.fate.why.clone() } else { vec![row.fate.why[..shown].join("; ")] };
        if more > 0
            && let Some(last) = lines.last_mut()
        {
            last.push_str(&format!("; and {}", human::plural(more, "more reason")));
        }
        let mut lines = lines.into_iter();
        table.row([
            Cell::painted(name_paint, &row.name),
            Cell::painted(Paint::Faint, &row.kind),
            Cell::painted(row.fate.paint, row.fate.word),
            Cell::new(lines.next().unwrap_or_default()),
        ]);
        for line in lines {
            table.row([Cell::new(""), Cell::new(""), Cell::new(""), Cell::new(line)]);
        }
    }
    table.keep_whole(&[0, 1, 2]);
    ui.print(table.render());
    if left_out > 0 {
        let more = human::plural(left_out, "more stage");
        ui.print(format_args!("… and {more}; -v shows all"));
    }
    ui.print(format_args!("\n{}", summary(preview)));
}

fn rows(plan: &Plan, stages: &[&StagePreview], every_reason: bool) -> Vec<Row> {
    let mut groups: Vec<(String, Vec<&StagePreview>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut rows = Vec::new();
    for stage in stages {
        let name = stage.stage.template();
        // Every stage that is alone is a group of its own.
        if !is_instance(&stage.stage) {
            groups.push((name, vec![stage]));
            continue;
        }
        let place = *places.entry(name.clone()).or_insert_with(|| {
            groups.push((name, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(stage);
    }
    for (name, members) in groups {
        match members.as_slice() {
            [only] if !is_instance(&only.stage) => rows.push(single(plan, only)),
            several => instances(plan, &name, several, every_reason, &mut rows),
        }
    }
    rows
}

/// A stage that is shown by itself; one that stands for the items of a list says so.
fn single(plan: &Plan, stage: &StagePreview) -> Row {
    let mut name = stage.stage.to_string();
    let mut fate = fate(&stage.decision);
    let planned = plan.find(stage.stage.as_str()).map(|index| plan.stage(index));
    if let Some(foreach) = planned.and_then(|planned| planned.foreach.as_ref()) {
        name.push_str("[*]");
        let list = format!("for each of {}.{}", plan.stage(foreach.from).name, foreach.output);
        fate.why.insert(0, list);
    }
    Row { name, kind: stage.kind.to_string(), fate, stages: 1 }
}

/// Instances of a stage: those with the same fate share a row.
fn instances(
    plan: &Plan,
    name: &str,
    stages: &[&StagePreview],
    every_reason: bool,
    rows: &mut Vec<Row>,
) {
    let kind = stages.first().map(|stage| stage.kind.to_string()).unwrap_or_default();
    let mut fates: Vec<(Fate, Vec<&StagePreview>)> = Vec::new();
    for stage in stages {
        let fate = fate(&stage.decision);
        match fates.iter_mut().find(|(known, _)| *known == fate && !every_reason) {
            Some((_, same)) => same.push(stage),
            None => fates.push((fate, vec![stage])),
        }
    }
    // The stage that stands for the items of a list has a row already.
    let has_row = plan.find(name).is_some();
    let count = human::plural(stages.len(), "instance");
    if let ([(fate, _)], false) = (fates.as_slice(), has_row) {
        let mut fate = fate.clone();
        match fate.why.first_mut() {
            Some(first) => *first = format!("{count}: {first}"),
            None => fate.why.push(count),
        }
        rows.push(Row { name: name.to_owned(), kind, fate, stages: stages.len() });
        return;
    }
    if !has_row {
        let fate = Fate { paint: Paint::Plain, word: "", why: vec![count] };
        rows.push(Row { name: name.to_owned(), kind: kind.clone(), fate, stages: 0 });
    }
    for (fate, same) in fates {
        let name = match same.as_slice() {
            [only] => format!("  {}", label(&only.stage)),
            several => format!("  {} of {}", several.len(), stages.len()),
        };
        rows.push(Row { name, kind: kind.clone(), fate, stages: same.len() });
    }
}

fn fate(decision: &PreviewDecision) -> Fate {
    let (paint, word, why) = match decision {
        PreviewDecision::Cached { origin } => {
            (Paint::Calm, "cached", vec![format!("from run {}", origin.run)])
        }
        PreviewDecision::Kept => (Paint::Calm, "kept", vec!["it succeeded in this run".into()]),
        PreviewDecision::Run { reasons } => (Paint::Warning, "run", reasons.clone()),
        PreviewDecision::Skip { reason } => (Paint::Faint, "skip", vec![reason.to_string()]),
        PreviewDecision::Leave { state } => {
            (Paint::Faint, "leave", vec![format!("not selected; it is {state}")])
        }
        PreviewDecision::Fail { message } => (Paint::Bad, "fail", vec![message.clone()]),
        PreviewDecision::Expand { instances } => {
            (Paint::Plain, "", vec![human::plural(*instances as usize, "instance")])
        }
        PreviewDecision::Unknown { after, changes } => {
            let (names, one) = named(after);
            let make = if one { "makes" } else { "make" };
            let condition = format!("cached if {names} still {make} the same");
            let why = changes.iter().cloned().chain([condition]).collect();
            (Paint::Plain, "perhaps", why)
        }
    };
    Fate { paint, word, why }
}

/// Stages by name, instances of one together; and whether it is a single one.
fn named(stages: &[StageName]) -> (String, bool) {
    let mut names: Vec<String> = Vec::new();
    for stage in stages {
        let many = is_instance(stage)
            && stages.iter().filter(|other| other.template() == stage.template()).count() > 1;
        let name = if many { format!("{}[*]", stage.template()) } else { stage.to_string() };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let one = stages.len() == 1;
    let more = names.len().saturating_sub(NAMED);
    if more > 0 {
        return (format!("{} and {more} more", names[..NAMED].join(", ")), one);
    }
    let text = match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        names => names.concat(),
    };
    (text, one)
}

/// What it comes to: `2 stages to run, 3 cached; compared with run …`.
fn summary(preview: &Preview) -> String {
    if preview.nothing_to_do
        && let Some(run) = &preview.takes_up
    {
        return format!("nothing to do: all that was asked for is there in run {run}");
    }
    let count = |is: fn(&PreviewDecision) -> bool| {
        preview.stages.iter().filter(|stage| is(&stage.decision)).count()
    };
    let run = count(|decision| matches!(decision, PreviewDecision::Run { .. }));
    let cached = count(|decision| matches!(decision, PreviewDecision::Cached { .. }));
    let mut text =
        format!("{} to run, {} cached", human::plural(run, "stage"), human::count(cached as u64));
    let mut add = |number: usize, words: &str| {
        if number > 0 {
            text.push_str(&format!(", {} {words}", human::count(number as u64)));
        }
    };
    add(count(|decision| matches!(decision, PreviewDecision::Kept)), "kept");
    match count(|decision| matches!(decision, PreviewDecision::Unknown { .. })) {
        1 => add(1, "that depends on them"),
        several => add(several, "that depend on them"),
    }
    add(count(|decision| matches!(decision, PreviewDecision::Skip { .. })), "skipped");
    add(count(|decision| matches!(decision, PreviewDecision::Leave { .. })), "left alone");
    add(count(|decision| matches!(decision, PreviewDecision::Fail { .. })), "that cannot run");
    if let Some(run) = &preview.takes_up {
        text.push_str(&format!("; run {run} goes on"));
    }
    match &preview.compared {
        Some(compared) if preview.takes_up.as_ref() != Some(compared) => {
            text.push_str(&format!("; compared with run {compared}"));
        }
        _ => {}
    }
    text
}

/// A preview for programs.
pub fn to_json(plan: &Plan, preview: &Preview) -> Value {
    let stages: Vec<Value> = preview.stages.iter().map(stage_to_json).collect();
    let params: serde_json::Map<String, Value> = plan.params.iter().cloned().collect();
    json!({
        "version": 1,
        "pipeline": plan.pipeline,
        "experiment": plan.experiment,
        "params": params,
        "compared": preview.compared,
        "takes_up": preview.takes_up,
        "nothing_to_do": preview.nothing_to_do,
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
        PreviewDecision::Unknown { after, changes } => {
            ("unknown", json!({"after": after, "changes": changes}))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_named_together() {
        #[track_caller]
        fn check(stages: &[&str], expect: (&str, bool)) {
            let stages: Vec<StageName> =
                stages.iter().map(|name| StageName::new(name).expect("a name")).collect();
            let (text, one) = named(&stages);
            assert_eq!((text.as_str(), one), expect);
        }
        check(&["a"], ("a", true));
        check(&["a", "b"], ("a and b", false));
        check(&["t[x=1]", "t[x=2]"], ("t[*]", false));
        check(&["t[x=1]"], ("t[x=1]", true));
        check(&["a", "t[x=1]", "t[x=2]", "b"], ("a, t[*] and b", false));
        check(&["a", "b", "c", "d", "e"], ("a, b, c and 2 more", false));
    }
}
