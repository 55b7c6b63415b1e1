//! `wick diff`: why stages differ between two runs. What changed by itself is told apart from what
//! only read something else.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};
use wick_core::{Digest, RunId, StageName};
use wick_engine::{Difference, RunsDiff, StageChange};
use wick_store::{InputRecord, RunRecord, StageRecord, Store, StoreError};

use crate::args::{DiffArgs, GlobalArgs};
use crate::error::{CommandError, CommandResult, ExitCode};
use crate::history::find_run;
use crate::render::style::{attempt_paint, run_paint};
use crate::render::{Cell, Paint, Table, Ui, human};
use crate::session::Session;

/// So many rows are shown unless all are asked for.
const MAX_ROWS: usize = 60;

pub async fn diff(args: &DiffArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let store = &*session.store;
    let a = Side::load(store, find_run(store, &args.a).await?).await?;
    let b = Side::load(store, find_run(store, &args.b).await?).await?;
    let runs = wick_engine::explain_runs(store, &a.run.id, &b.run.id).await?;
    let mut rows = rows(&a, &b, &changes(&runs));
    if let Some(stage) = &args.stage {
        rows.retain(|row| row.stage.is_meant_by(stage));
        if rows.is_empty() {
            return Err(no_such_stage(stage, &a, &b));
        }
    }
    let same = rows.iter().filter(|row| row.is_same()).count();
    let differing: Vec<&Row> = rows.iter().filter(|row| args.all || !row.is_same()).collect();
    if args.output.is_json() {
        ui.json(&json!({
            "version": 1,
            "a": a.run.id,
            "b": b.run.id,
            "params": params_to_json(&runs),
            "same_text": runs.same_text,
            "same": same,
            "stages": differing.iter().map(|row| row.to_json()).collect::<Vec<_>>(),
        }))?;
        return Ok(ExitCode::Success);
    }
    for (name, side) in [("A", &a), ("B", &b)] {
        ui.print(format_args!(
            "{name}  run {} of {} {}, {} UTC",
            ui.out.paint(Paint::Strong, &side.run.id),
            side.run.pipeline,
            ui.out.paint(run_paint(side.run.state), side.run.state),
            side.run.started
        ));
    }
    for param in &runs.params {
        let shown = |value: &Option<Value>| value.as_ref().map_or("–".to_owned(), human::value);
        let (before, after) = (shown(&param.before), shown(&param.after));
        ui.print(format_args!("   param {}: {before} in A, {after} in B", param.name));
    }
    print(ui, &differing, same, args);
    Ok(ExitCode::Success)
}

fn params_to_json(runs: &RunsDiff) -> Vec<Value> {
    let params = runs.params.iter();
    params.map(|param| json!({"name": param.name, "a": param.before, "b": param.after})).collect()
}

fn no_such_stage(name: &str, a: &Side, b: &Side) -> CommandError {
    let names: Vec<&str> =
        a.stages.iter().chain(&b.stages).map(|stage| stage.stage.as_str()).collect();
    let error = CommandError::invalid(format!(
        "neither run {} nor run {} has a stage `{name}`",
        a.run.id, b.run.id
    ));
    match wick_pipeline::did_you_mean(name, names) {
        Some(hint) => error.hint(hint),
        None => error.hint("`wick show RUN` lists the stages of a run"),
    }
}

/// What is known of one of the two runs.
struct Side {
    run: RunRecord,
    stages: Vec<StageRecord>,
    inputs: HashMap<StageName, Vec<InputRecord>>,
}

impl Side {
    async fn load(store: &dyn Store, id: RunId) -> CommandResult<Self> {
        let run = store.run(&id).await?.ok_or_else(|| StoreError::NoRun(id.clone()))?;
        let mut inputs: HashMap<StageName, Vec<InputRecord>> = HashMap::new();
        for input in store.inputs(&id).await? {
            inputs.entry(input.stage.clone()).or_default().push(input);
        }
        Ok(Self { stages: store.stages(&id).await?, inputs, run })
    }

    /// The run in which the outputs of a stage of this run were made.
    fn made_in(&self, stage: &StageName) -> &RunId {
        let record = self.stages.iter().find(|record| record.stage == *stage);
        let origin = record.and_then(|record| record.origin.as_ref());
        origin.map_or(&self.run.id, |origin| &origin.run)
    }
}

/// Why a stage differs: one thing.
#[derive(Debug, Clone, PartialEq)]
struct Reason {
    /// In words.
    text: String,
    /// The stage that made something else, if the stage only read it.
    follows: Option<StageName>,
}

/// A stage of either run.
struct Row {
    stage: StageName,
    a: Option<StageRecord>,
    b: Option<StageRecord>,
    reasons: Vec<Reason>,
}

impl Row {
    fn is_same(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Whether it differs for a reason of its own.
    fn is_cause(&self) -> bool {
        self.reasons.iter().any(|reason| reason.follows.is_none())
    }

    fn to_json(&self) -> Value {
        let side = |stage: &Option<StageRecord>| {
            stage.as_ref().map(|stage| {
                json!({
                    "state": stage.state,
                    "fingerprint": stage.fingerprint,
                    "origin": stage.origin,
                    "skipped": stage.because,
                })
            })
        };
        let reasons: Vec<Value> = self
            .reasons
            .iter()
            .map(|reason| json!({"text": reason.text, "follows": reason.follows}))
            .collect();
        json!({
            "stage": self.stage,
            "same": self.is_same(),
            "a": side(&self.a),
            "b": side(&self.b),
            "reasons": reasons,
        })
    }
}

/// What went into each stage and differs.
type Changes<'a> = HashMap<&'a StageName, &'a [Difference]>;

fn changes(runs: &RunsDiff) -> Changes<'_> {
    let changed = runs.stages.iter().filter_map(|stage| match &stage.change {
        StageChange::Changed(changes) => Some((&stage.stage, changes.as_slice())),
        _ => None,
    });
    changed.collect()
}

/// Every stage of both runs, in A's order and then B's.
fn rows(a: &Side, b: &Side, changes: &Changes<'_>) -> Vec<Row> {
    let by_name = |side: &Side| -> HashMap<StageName, StageRecord> {
        side.stages.iter().map(|stage| (stage.stage.clone(), stage.clone())).collect()
    };
    let (mut in_a, mut in_b) = (by_name(a), by_name(b));
    let mut seen = HashSet::new();
    let names = a.stages.iter().chain(&b.stages).map(|stage| stage.stage.clone());
    names
        .filter(|name| seen.insert(name.clone()))
        .map(|stage| {
            let (left, right) = (in_a.remove(&stage), in_b.remove(&stage));
            let reasons = reasons(&stage, [left.as_ref(), right.as_ref()], [a, b], changes);
            Row { stage, a: left, b: right, reasons }
        })
        .collect()
}

fn own(text: impl Into<String>) -> Reason {
    Reason { text: text.into(), follows: None }
}

/// Why a stage differs; nothing if it does not.
fn reasons(
    stage: &StageName,
    records: [Option<&StageRecord>; 2],
    [a, b]: [&Side; 2],
    changes: &Changes<'_>,
) -> Vec<Reason> {
    let [Some(left), Some(right)] = records else {
        return match records {
            [Some(_), _] => vec![own("only A has it")],
            [None, Some(_)] => vec![own("only B has it")],
            [None, None] => Vec::new(),
        };
    };
    if left.fingerprint.is_some() && left.fingerprint == right.fingerprint {
        if left.state.has_outputs() == right.state.has_outputs() {
            return Vec::new();
        }
        return vec![own(format!(
            "the same work, which {} in A and {} in B",
            ended(left),
            ended(right)
        ))];
    }
    // Which never came to run has no fingerprint to compare.
    let mut reasons: Vec<Reason> = [("A", left), ("B", right)]
        .into_iter()
        .filter(|(_, record)| record.fingerprint.is_none())
        .map(|(name, record)| match &record.because {
            Some(wick_core::SkipReason::Need(need)) => Reason {
                text: format!("skipped in {name}: needs {need}, which did not succeed"),
                follows: Some(need.clone()),
            },
            Some(reason) => own(format!("skipped in {name}: {reason}")),
            None => own(format!("it {} in {name}", ended(record))),
        })
        .collect();
    if !reasons.is_empty() {
        // Skipped for the same reason on both sides, it is the same.
        if left.fingerprint.is_none() && right.fingerprint.is_none() && left.state == right.state {
            reasons.clear();
        }
        return reasons;
    }
    // Of what it reads more can be told: who made it, and in which run.
    let by_itself = changes.get(stage).into_iter().flat_map(|changes| changes.iter());
    let by_itself = by_itself.filter(|change| !change.is_input);
    reasons.extend(by_itself.map(|change| own(&change.text)));
    reasons.extend(input_reasons(stage, a, b));
    if reasons.is_empty() {
        reasons.push(own("what it depends on is not recorded in full"));
    }
    reasons
}

fn ended(record: &StageRecord) -> &'static str {
    use wick_core::AttemptState::*;
    match record.state {
        Succeeded => "succeeded",
        Cached => "was cached",
        Failed => "failed",
        Cancelled => "was cancelled",
        Skipped => "was skipped",
        Lost => "was lost",
        Queued | Running => "has not ended",
    }
}

/// What the stage reads that is another: by port, and item of a port that gathers.
fn input_reasons(stage: &StageName, a: &Side, b: &Side) -> Vec<Reason> {
    let table = |side: &Side| -> BTreeMap<(String, String), (StageName, String, Digest)> {
        let inputs = side.inputs.get(stage).into_iter().flatten();
        inputs
            .map(|input| {
                let item = input.item.clone().unwrap_or_default();
                let made = (input.from_stage.clone(), input.from_output.to_string(), input.digest);
                ((input.port.to_string(), item), made)
            })
            .collect()
    };
    let (before, after) = (table(a), table(b));
    let shown = |port: &str, item: &str| {
        if item.is_empty() { format!("input `{port}`") } else { format!("input `{port}` [{item}]") }
    };
    let mut reasons = Vec::new();
    for ((port, item), (from, output, digest)) in &after {
        let input = shown(port, item);
        match before.get(&(port.clone(), item.clone())) {
            None => reasons.push(own(format!("{input} was added"))),
            Some((_, _, old)) if old == digest => {}
            Some((old_from, old_output, _)) if (old_from, old_output) != (from, output) => {
                reasons.push(own(format!(
                    "{input} is {from}.{output} rather than {old_from}.{old_output}"
                )));
            }
            Some(_) => reasons.push(Reason {
                text: format!("{input}: {from}.{output} is another since run {}", b.made_in(from)),
                follows: Some(from.clone()),
            }),
        }
    }
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    reasons.extend(gone.map(|(port, item)| own(format!("{} was removed", shown(port, item)))));
    reasons
}

fn print(ui: &Ui, rows: &[&Row], same: usize, args: &DiffArgs) {
    let limit = if args.all || ui.verbosity > 0 { usize::MAX } else { MAX_ROWS };
    // What changed by itself goes before what follows from it, where not all can be shown.
    let mut chosen: Vec<(usize, &&Row)> = rows.iter().enumerate().collect();
    if chosen.len() > limit {
        chosen.sort_by_key(|(place, row)| (!row.is_cause(), *place));
        chosen.truncate(limit);
        chosen.sort_by_key(|(place, _)| *place);
    }
    let mut table = Table::new(ui, &["stage", "A", "B", "why"]);
    for (_, row) in &chosen {
        let state = |stage: &Option<StageRecord>| match stage {
            Some(stage) => Cell::painted(attempt_paint(stage.state), stage.state),
            None => Cell::new("–"),
        };
        let mut lines = row.reasons.iter().map(|reason| reason.text.clone());
        let first = lines.next().unwrap_or_else(|| "the same".to_owned());
        let paint = if row.is_cause() { Paint::Plain } else { Paint::Faint };
        table.row([
            Cell::painted(Paint::Strong, &row.stage),
            state(&row.a),
            state(&row.b),
            Cell::painted(paint, first),
        ]);
        for line in lines {
            table.row([Cell::new(""), Cell::new(""), Cell::new(""), Cell::painted(paint, line)]);
        }
    }
    if !table.is_empty() {
        table.keep_whole(&[0, 1, 2]);
        ui.print(format_args!("\n{}", table.render()));
    }
    if rows.len() > chosen.len() {
        let more = rows.len() - chosen.len();
        ui.print(format_args!("… and {}; --all shows them", human::plural(more, "more stage")));
    }
    let differing = rows.iter().filter(|row| !row.is_same()).count();
    let causes: Vec<&str> = rows
        .iter()
        .filter(|row| !row.is_same() && row.is_cause())
        .map(|row| row.stage.as_str())
        .collect();
    let mut summary = match differing {
        0 => "no stage differs".to_owned(),
        1 => "1 stage differs".to_owned(),
        many => format!("{} stages differ", human::count(many as u64)),
    };
    if same > 0 {
        summary.push_str(&format!(
            ", {} {} the same",
            human::count(same as u64),
            if same == 1 { "is" } else { "are" }
        ));
    }
    if !causes.is_empty() && causes.len() < differing {
        summary.push_str(&format!("; the others follow from {}", named(&causes)));
    }
    ui.print(format_args!("\n{summary}"));
}

/// A few names, and how many more.
fn named(names: &[&str]) -> String {
    const SHOWN: usize = 4;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
