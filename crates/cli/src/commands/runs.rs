//! `wick runs`: runs, newest first.

use serde_json::{Value, json};
use wick_core::AttemptState;
use wick_store::filter::Filter;
use wick_store::{RunPage, RunSummary, Search};

use crate::args::{GlobalArgs, RunsArgs};
use crate::error::{CommandResult, ExitCode};
use crate::render::style::run_paint;
use crate::render::{Cell, Paint, Table, Ui, human, run_view};
use crate::session::Session;

pub async fn runs(args: &RunsArgs, global: &GlobalArgs, ui: &Ui) -> CommandResult {
    let session = Session::here(global, ui).await?;
    let filters =
        [args.experiment.as_ref().map(Filter::of_experiment), args.state.map(Filter::in_state)];
    let filter = Filter::all(filters.into_iter().flatten());
    let query = Search { filter, limit: args.limit, ..Search::default() };
    let RunPage { runs, more, .. } = session.store.search(&query).await?;
    if args.output.is_json() {
        let runs: Vec<Value> = runs.iter().map(to_json).collect();
        ui.json(&json!({"version": 1, "runs": runs, "more": more}))?;
        return Ok(ExitCode::Success);
    }
    if runs.is_empty() {
        let filtered = args.experiment.is_some() || args.state.is_some();
        ui.note(if filtered { "no run is like that" } else { "there is no run yet" });
        return Ok(ExitCode::Success);
    }
    let now = human::now();
    let mut table =
        Table::new(ui, &["run", "experiment", "state", "started", "time", "stages", "metrics"]);
    for run in &runs {
        let time = run
            .finished
            .map(|end| human::micros(end.micros_since(run.started)))
            .unwrap_or_default();
        table.row([
            Cell::painted(Paint::Strong, &run.id),
            Cell::new(&run.experiment),
            Cell::painted(run_paint(run.state), run.state),
            Cell::new(human::ago(run.started, now)),
            Cell::number(time),
            Cell::new(stages(run)),
            Cell::new(metrics(run)),
        ]);
    }
    table.keep_whole(&[0, 2, 3, 4]);
    ui.print(table.render());
    if more {
        ui.note(ui.err.paint(
            Paint::Faint,
            format_args!("there are more: --limit {} shows them", args.limit.saturating_mul(5)),
        ));
    }
    Ok(ExitCode::Success)
}

/// `5 of 7`, and what is not routine.
fn stages(run: &RunSummary) -> String {
    let total: u32 = run.stages.iter().map(|(_, number)| number).sum();
    let number = |wanted: AttemptState| {
        run.stages
            .iter()
            .filter(|(state, _)| *state == wanted)
            .map(|(_, number)| number)
            .sum::<u32>()
    };
    let (succeeded, cached) = (number(AttemptState::Succeeded), number(AttemptState::Cached));
    let mut text = format!("{} of {total}", succeeded + cached);
    if cached > 0 {
        text.push_str(&format!(", {cached} cached"));
    }
    let failed = number(AttemptState::Failed) + number(AttemptState::Lost);
    if failed > 0 {
        text.push_str(&format!(", {failed} failed"));
    }
    text
}

/// The most telling metrics of the run.
fn metrics(run: &RunSummary) -> String {
    let mut metrics: Vec<&(String, f64)> = run.metrics.iter().collect();
    // The key follows the first dot that is not in the label of an instance.
    let key = |name: &str| {
        let dot = match (name.find('['), name.find('.')) {
            (Some(label), Some(dot)) if label < dot => name.find("].").map(|end| end + 1),
            (_, dot) => dot,
        };
        dot.map_or(0, |dot| dot + 1)
    };
    metrics.sort_by_key(|(name, _)| run_view::telling_rank(&name[key(name)..]));
    let words: Vec<String> = metrics
        .iter()
        .take(2)
        .map(|(name, value)| format!("{name} {}", human::number(*value)))
        .collect();
    words.join("  ")
}

fn to_json(run: &RunSummary) -> Value {
    let stages: serde_json::Map<String, Value> =
        run.stages.iter().map(|(state, number)| (state.to_string(), json!(number))).collect();
    let metrics: serde_json::Map<String, Value> = run
        .metrics
        .iter()
        .map(|(name, value)| (name.clone(), human::json_number(*value)))
        .collect();
    json!({
        "id": run.id,
        "experiment": run.experiment,
        "pipeline": run.pipeline,
        "state": run.state,
        "started": run.started,
        "finished": run.finished,
        "parent": run.parent,
        "stages": stages,
        "metrics": metrics,
    })
}
