//! Series as they are drawn: no longer than the eye can tell apart.

use wick_core::RunId;
use wick_store::{MetricSummary, Series, Store};

use crate::error::CommandResult;

/// The key of metrics that the machine measured, not the stage, begins so.
pub const SYSTEM: &str = "system.";

/// Whether a metric tells of the machine: cpu, memory, disk, gpu, power.
pub fn is_system(key: &str) -> bool {
    key.starts_with(SYSTEM)
}

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
    /// The full name of the metric.
    pub name: String,
    /// The points, by step.
    pub points: Vec<(f64, f64)>,
}

/// The curve of a metric of a run, of at most about `most` points; `None` if it has none.
pub async fn curve(
    store: &dyn Store,
    run: &RunId,
    name: &str,
    most: usize,
) -> CommandResult<Option<Curve>> {
    let series = store.series(run, Some(name)).await?;
    // A key alone may also be the full name of another: the full name is meant.
    let own = series.into_iter().find(|one| format!("{}.{}", one.stage, one.key) == name);
    Ok(own.map(|series| Curve { name: name.to_owned(), points: drawn(&series, most) }))
}

/// The points of a series to draw, at most about `most`.
fn drawn(series: &Series, most: usize) -> Vec<(f64, f64)> {
    let values: Vec<f64> = series.points.iter().map(|point| point.value).collect();
    let point = |place: usize| (series.points[place].step as f64, series.points[place].value);
    kept(&values, most).into_iter().map(point).collect()
}

/// Leaves at most about `most` points in a series.
pub fn thin(series: &mut Series, most: usize) {
    let values: Vec<f64> = series.points.iter().map(|point| point.value).collect();
    let mut places = kept(&values, most).into_iter().peekable();
    let mut place = 0;
    series.points.retain(|_| {
        let keep = places.next_if_eq(&place).is_some();
        place += 1;
        keep
    });
}

/// Which of these values stay where about `most` are wanted: of each stretch the lowest and the
/// highest, so that no peak is lost.
fn kept(values: &[f64], most: usize) -> Vec<usize> {
    let stretches = (most / 2).max(1);
    if values.len() <= most.max(2) {
        return (0..values.len()).collect();
    }
    let mut kept = Vec::with_capacity(2 * stretches);
    for stretch in 0..stretches {
        let from = stretch * values.len() / stretches;
        let to = (stretch + 1) * values.len() / stretches;
        let finite = || (from..to).filter(|&place| values[place].is_finite());
        let lowest = finite().min_by(|&a, &b| values[a].total_cmp(&values[b]));
        let highest = finite().max_by(|&a, &b| values[a].total_cmp(&values[b]));
        // A stretch without a number stays a gap.
        let (Some(low), Some(high)) = (lowest, highest) else {
            kept.push(from);
            continue;
        };
        kept.push(low.min(high));
        if low != high {
            kept.push(low.max(high));
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_curve_keeps_its_peaks_and_its_order() {
        let mut values = vec![0.5; 1000];
        values[321] = 9.0;
        values[777] = -9.0;
        let places = kept(&values, 20);
        assert!(places.len() <= 20, "{}", places.len());
        assert!(places.contains(&321) && places.contains(&777), "{places:?}");
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(kept(&values[..5], 20), [0, 1, 2, 3, 4]);
        assert!(kept(&[f64::NAN; 100], 10).len() <= 10);
    }
}
