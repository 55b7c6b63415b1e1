//! What a model costs and what it is worth: bytes on disk, time to answer, metrics on test data.

use std::path::Path;
use std::time::Instant;

use wick_evaluate::Metric;
use wick_nn::{Examples, Model, NnResult};
use wick_stage::{StageError, StageResult, layout};

/// How many rows the larger of the two latencies is measured with.
pub const LATENCY_BATCH: usize = 256;

/// How often each latency is measured; the median counts.
const LATENCY_REPEATS: usize = 25;

/// What a model costs and what it is worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The size of the weights file.
    pub bytes: u64,
    /// The usual metrics of the task, if there was test data.
    pub metrics: Vec<(Metric, f64)>,
    /// Median time to predict, as (rows, milliseconds), if there was test data.
    pub latency: Vec<(usize, f64)>,
}

impl Measured {
    /// Measures the model that lies in `folder`.
    ///
    /// # Errors
    /// If the folder cannot be read, or a prediction fails.
    pub fn new(folder: &Path, model: &Model, test: Option<&Examples>) -> StageResult<Self> {
        let weights = folder.join(layout::MODEL_WEIGHTS);
        let bytes = std::fs::metadata(&weights)
            .map_err(|error| StageError::io(format!("cannot read {}", weights.display()), error))?
            .len();
        let Some(test) = test else {
            return Ok(Self { bytes, metrics: Vec::new(), latency: Vec::new() });
        };
        let outcomes = wick_evaluate::outcomes(model, test)?;
        let metrics = Metric::defaults(model.info().target.task)
            .into_iter()
            .filter_map(|metric| Some((metric, metric.value(&outcomes, Default::default())?)))
            .collect();
        let mut latency = vec![(1, median_latency(model, test, 1)?)];
        if test.rows() >= LATENCY_BATCH {
            latency.push((LATENCY_BATCH, median_latency(model, test, LATENCY_BATCH)?));
        }
        Ok(Self { bytes, metrics, latency })
    }
}

/// The median time to predict the first `rows` rows, in milliseconds.
fn median_latency(model: &Model, test: &Examples, rows: usize) -> NnResult<f64> {
    let samples = test.inputs.batch(0, rows)?;
    let mut times = Vec::with_capacity(LATENCY_REPEATS);
    model.forward(&samples)?;
    for _ in 0..LATENCY_REPEATS {
        let start = Instant::now();
        model.forward(&samples)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[LATENCY_REPEATS / 2])
}
