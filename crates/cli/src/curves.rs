//! Series as they are drawn: no longer than the eye can tell apart.

use wick_core::RunId;
use wick_store::{MetricSummary, Store};

use crate::error::CommandResult;

/// The full name of a metric: `train.validation.loss`.
pub fn full_name(metric: &MetricSummary) -> String {
    format!("{}.{}", metric.stage, metric.key)
}

/// Whether a metric is the one that a person calls `key`: by its full name, by its own key, or by
/// the name of the stage that it is an instance of.
pub fn is_called(metric: &MetricSummary, key: &str) -> bool {
    let of_stage = || {
        let stage = key.strip_suffix(&*metric.key).and_then(|stage| stage.strip_suffix('.'));
        stage.is_some_and(|stage| metric.stage.is_meant_by(stage))
    };
    metric.key == key || of_stage()
}

/// A series as points (step, value) to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The points, by step.
    pub points: Vec<(f64, f64)>,
}

/// The curve of a metric of a run, of about `most` points; `None` if it has none.
pub async fn curve(
    store: &dyn Store,
    run: &RunId,
    name: &str,
    most: usize,
) -> CommandResult<Option<Curve>> {
    let series = store.curves(run, Some(name), most).await?;
    // A key alone may also be the full name of another: the full name is meant.
    let own = series.into_iter().find(|one| format!("{}.{}", one.stage, one.key) == name);
    Ok(own.map(|series| Curve {
        points: series.points.iter().map(|point| (point.step as f64, point.value)).collect(),
    }))
}
