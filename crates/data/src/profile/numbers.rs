//! How numbers are distributed.

use polars::prelude::{DataType, Series};
use serde::{Deserialize, Serialize};

/// How many bins a histogram has.
const BINS: usize = 20;

/// How finite numbers are distributed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// How many values are NaN.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub nan: u64,
    /// How many are infinite.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub infinite: u64,
    /// How many are 0.
    pub zeros: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, with n − 1; 0 of a single one.
    pub std: f64,
    /// The least.
    pub min: f64,
    /// The quantile of 5 %.
    pub q05: f64,
    /// The quantile of 25 %.
    pub q25: f64,
    /// The median.
    pub median: f64,
    /// The quantile of 75 %.
    pub q75: f64,
    /// The quantile of 95 %.
    pub q95: f64,
    /// The largest.
    pub max: f64,
    /// How often which.
    pub histogram: Histogram,
}

/// Counts of values in bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Where the first bin begins.
    pub from: f64,
    /// Where the last ends.
    pub to: f64,
    /// How many values each holds.
    pub counts: Vec<u64>,
}

/// What [`find`] finds.
pub(super) struct Found {
    pub distinct: u64,
    /// `None` where there is no finite number.
    pub numbers: Option<Numbers>,
}

/// Mean, deviation, least and largest of `summed`; the rest of `sample`.
pub(super) fn find(summed: &Series, sample: &Series) -> Option<Found> {
    let mut sums = Sums::default();
    each(summed, |value| sums.first_pass(value))?;
    let mut sorted = Vec::with_capacity(sample.len());
    let mut nan_seen = false;
    each(sample, |value| {
        nan_seen |= value.is_nan();
        // −0 is 0.
        sorted.push(value + 0.0);
    })?;
    sorted.retain(|value| !value.is_nan());
    sorted.sort_unstable_by(f64::total_cmp);
    let distinct = sorted.chunk_by(|a, b| a == b).count() as u64 + u64::from(nan_seen);
    sorted.retain(|value| value.is_finite());
    if sums.count == 0 || sorted.is_empty() {
        return Some(Found { distinct, numbers: None });
    }
    let mean = sums.mean();
    let mut squares = 0.0;
    each(summed, |value| {
        if value.is_finite() {
            squares += (value - mean) * (value - mean);
        }
    })?;
    let numbers = Numbers {
        nan: sums.nan,
        infinite: sums.infinite,
        zeros: sums.zeros,
        mean,
        std: if sums.count > 1 { (squares / (sums.count - 1) as f64).sqrt() } else { 0.0 },
        min: sums.min,
        q05: quantile(&sorted, 0.05),
        q25: quantile(&sorted, 0.25),
        median: quantile(&sorted, 0.5),
        q75: quantile(&sorted, 0.75),
        q95: quantile(&sorted, 0.95),
        max: sums.max,
        histogram: histogram(&sorted, sums.min, sums.max),
    };
    // Numbers near the largest that there are have sums that are not finite: JSON has no word
    // for those.
    let is_writable = numbers.mean.is_finite() && numbers.std.is_finite();
    Some(Found { distinct, numbers: Some(numbers).filter(|_| is_writable) })
}

/// Hands every value that is not missing to `take`, in the order of rows.
fn each(series: &Series, mut take: impl FnMut(f64)) -> Option<()> {
    let numbers = series.cast(&DataType::Float64).ok()?;
    let is_whole = numbers.null_count() == 0;
    for chunk in numbers.f64().ok()?.downcast_iter() {
        if is_whole {
            chunk.values_iter().for_each(|value| take(*value));
        } else {
            chunk.iter().flatten().for_each(|value| take(*value));
        }
    }
    Some(())
}

struct Sums {
    count: u64,
    nan: u64,
    infinite: u64,
    zeros: u64,
    sum: f64,
    /// What was lost of the sum so far (Neumaier, 1974).
    lost: f64,
    min: f64,
    max: f64,
}

impl Default for Sums {
    fn default() -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { count: 0, nan: 0, infinite: 0, zeros: 0, sum: 0.0, lost: 0.0, min, max }
    }
}

impl Sums {
    fn first_pass(&mut self, value: f64) {
        if !value.is_finite() {
            self.nan += u64::from(value.is_nan());
            self.infinite += u64::from(value.is_infinite());
            return;
        }
        self.count += 1;
        self.zeros += u64::from(value == 0.0);
        let sum = self.sum + value;
        self.lost += if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
        // −0 is 0.
        self.min = self.min.min(value) + 0.0;
        self.max = self.max.max(value) + 0.0;
    }

    fn mean(&self) -> f64 {
        (self.sum + self.lost) / self.count as f64
    }
}

/// The quantile `q` of sorted numbers, of which there is at least one.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    // Exact where both are equal, and never beyond either.
    let between = below + (above - below) * place.fract();
    if between.is_finite() { between } else { below }
}

fn histogram(values: &[f64], from: f64, to: f64) -> Histogram {
    let mut counts = vec![0; BINS];
    let width = (to - from) / BINS as f64;
    for value in values {
        // All in one where all are equal, or further apart than numbers reach.
        let bin = if width > 0.0 && width.is_finite() { (value - from) / width } else { 0.0 };
        counts[(bin as usize).min(BINS - 1)] += 1;
    }
    Histogram { from, to, counts }
}
