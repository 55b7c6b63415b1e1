//! What hooks are told of a run: a JSON object with a version.

use serde_json::{Map, Value, json};
use wick_core::RunId;
use wick_engine::RunOutcome;
use wick_plan::Plan;

use crate::error::{CommandError, CommandResult};
use crate::history::RunHistory;
use crate::render::human;
use crate::session::Session;

/// So many failed stages are told of at most.
const MAX_FAILED: usize = 20;

/// So many metrics are told at most: a hook is a message, not the history.
const MAX_METRICS: usize = 200;

/// What hooks are told.
pub struct Payload {
    /// The run.
    pub run: RunId,
    /// `succeeded` or `failed`.
    pub state: &'static str,
    /// `on_success` or `on_failure`.
    pub event: &'static str,
    /// The stages that failed, with spaces between them, which no name has.
    pub failed: String,
    /// All of it, as JSON.
    pub json: String,
}

impl Payload {
    /// Reads what is told of a run that ended.
    pub async fn of(
        plan: &Plan,
        outcome: &RunOutcome,
        event: &'static str,
        session: &Session,
    ) -> CommandResult<Self> {
        let history = RunHistory::load(&*session.store, &outcome.run).await?;
        let failed: Vec<Value> = outcome
            .failed
            .iter()
            .take(MAX_FAILED)
            .map(|failed| {
                json!({
                    "stage": failed.stage,
                    "attempt": failed.attempt,
                    "cause": failed.failure.cause,
                    "message": failed.failure.message,
                    "because": failed.failure.chain,
                    "help": failed.failure.help,
                    "exit": failed.failure.exit,
                })
            })
            .collect();
        let metrics: Map<String, Value> = history
            .metrics
            .iter()
            .take(MAX_METRICS)
            .map(|metric| {
                (format!("{}.{}", metric.stage, metric.key), human::json_number(metric.value))
            })
            .collect();
        let stages: Map<String, Value> = wick_core::AttemptState::ALL
            .into_iter()
            .map(|state| (state.to_string(), json!(history.stages_in(state).count())))
            .filter(|(_, count)| *count != json!(0))
            .collect();
        let text = json!({
            "version": 1,
            "event": event,
            "run": outcome.run,
            "pipeline": plan.pipeline,
            "experiment": plan.experiment,
            "state": outcome.state,
            "started": history.run.started,
            "finished": history.run.finished,
            "duration_seconds": outcome.wall.as_secs_f64(),
            "stages": stages,
            "failed": failed,
            "failed_more": outcome.failed.len().saturating_sub(MAX_FAILED),
            "metrics": metrics,
        });
        Ok(Self {
            run: outcome.run.clone(),
            state: outcome.state.as_str(),
            event,
            failed: outcome
                .failed
                .iter()
                .take(MAX_FAILED)
                .map(|failed| failed.stage.as_str())
                .collect::<Vec<_>>()
                .join(" "),
            json: serde_json::to_string(&text).map_err(CommandError::internal)?,
        })
    }
}
