//! Numbers: outliers, missing values, scaling and bins. Missing is NaN throughout.

use polars::prelude::{DataType, Series};
use serde::{Deserialize, Serialize};

use super::config::{Bins, ColumnConfig, Constant, Impute, OutlierStrategy, Scale};
use crate::error::{DataError, DataResult};

/// The treatment of a column of numbers, in the order in which it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumberPlan {
    /// Values outside are outliers.
    pub bounds: Option<(f64, f64)>,
    /// Whether outliers become missing rather than move to the bounds.
    pub outliers_missing: bool,
    /// What fills in for missing values.
    pub fill: Option<Fill<f64>>,
    /// The column that tells where values were missing.
    pub indicator: Option<String>,
    /// Scaling, first to last.
    pub scale: Vec<ScaleStep>,
    /// The edges of bins.
    pub bins: Option<Vec<f64>>,
    /// With bins: a column for each, instead of one with the bin's number.
    pub onehot: Option<Vec<String>>,
}

/// What fills in for missing values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill<T> {
    /// This value.
    Value(T),
    /// The last known value before it, or this one.
    Forward(T),
    /// The next known value after it, or this one.
    Backward(T),
    /// Nothing: the row is left out.
    DropRow,
}

/// One way of scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleStep {
    /// `(x - subtract) / divide`.
    Linear {
        /// The mean, the median, the smallest value.
        subtract: f64,
        /// The deviation or the range; 1 where that is 0.
        divide: f64,
    },
    /// `ln(1 + x)`.
    Log1p,
    /// The share of values below, between these quantiles at equal distances.
    Quantile(Vec<f64>),
}

/// A column as f64, missing values as NaN.
pub(crate) fn values_of(series: &Series) -> DataResult<Vec<f64>> {
    let reading = |error| DataError::polars(format!("read column `{}`", series.name()), error);
    let values = series.cast(&DataType::Float64).map_err(reading)?;
    let values = values.f64().map_err(reading)?;
    Ok(values.iter().map(|value| value.unwrap_or(f64::NAN)).collect())
}

impl NumberPlan {
    /// Fits the treatment on a column's values.
    pub(crate) fn fit(name: &str, config: &ColumnConfig, values: &[f64]) -> DataResult<Self> {
        let mut plan = Self::fit_bounds(name, config, values)?;
        let mut values = values.to_vec();
        plan.limit(&mut values);
        plan.fill = match &config.impute {
            Some(impute) => Some(fit_fill(name, impute, &values)?),
            None => None,
        };
        fill_in(plan.fill.as_ref(), &mut values);
        values.retain(|value| !value.is_nan());
        let needs_values = !config.scale.0.is_empty() || config.bins.is_some();
        if needs_values && values.is_empty() {
            return Err(nothing_known(name));
        }
        for scale in &config.scale.0 {
            let step = fit_scale(*scale, &values);
            step.check(name, &values)?;
            values.iter_mut().for_each(|value| *value = step.apply(*value));
            plan.scale.push(step);
        }
        plan.bins = config.bins.as_ref().map(|bins| fit_bins(bins, values));
        if config.encode.is_some() {
            plan.onehot = plan.bins.as_ref().map(|edges| bin_names(name, edges));
        }
        Ok(plan)
    }

    /// Only the outliers' part: it decides which rows have missing values.
    pub(crate) fn fit_bounds(
        name: &str,
        config: &ColumnConfig,
        values: &[f64],
    ) -> DataResult<Self> {
        let mut plan = NumberPlan {
            bounds: None,
            outliers_missing: config.outlier_strategy == Some(OutlierStrategy::Missing),
            fill: None,
            indicator: None,
            scale: Vec::new(),
            bins: None,
            onehot: None,
        };
        if config.indicator || config.impute == Some(Impute::Indicator) {
            plan.indicator = Some(format!("{name}_missing"));
        }
        if config.outlier_strategy.is_some() {
            let known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
            if known.is_empty() {
                return Err(nothing_known(name));
            }
            let (mean, deviation) = moments(&known);
            let reach = config.outlier_threshold.unwrap_or(3.0) * deviation;
            plan.bounds = Some((mean - reach, mean + reach));
        }
        Ok(plan)
    }

    /// Treats outliers.
    pub(crate) fn limit(&self, values: &mut [f64]) {
        let Some((low, high)) = self.bounds else { return };
        for value in values {
            // NaN fails both comparisons and stays.
            if *value < low {
                *value = if self.outliers_missing { f64::NAN } else { low };
            } else if *value > high {
                *value = if self.outliers_missing { f64::NAN } else { high };
            }
        }
    }

    /// Scales, and finds the bin.
    pub(crate) fn finish(&self, name: &str, values: &mut [f64]) -> DataResult {
        scale(&self.scale, name, values)?;
        if let Some(edges) = &self.bins {
            for value in values.iter_mut().filter(|value| !value.is_nan()) {
                *value = edges.partition_point(|edge| edge <= value) as f64;
            }
        }
        Ok(())
    }

    /// The columns that it makes of column `name`.
    pub(crate) fn produced(&self, name: &str) -> Vec<String> {
        let mut names = self.onehot.clone().unwrap_or_else(|| vec![name.to_owned()]);
        names.extend(self.indicator.clone());
        names
    }
}

/// Scales the values of column `name`, step by step.
pub(crate) fn scale(steps: &[ScaleStep], name: &str, values: &mut [f64]) -> DataResult {
    for step in steps {
        step.check(name, values)?;
        match step {
            ScaleStep::Linear { subtract, divide } => {
                values.iter_mut().for_each(|value| *value = (*value - subtract) / divide);
            }
            other => values.iter_mut().for_each(|value| *value = other.apply(*value)),
        }
    }
    Ok(())
}

impl ScaleStep {
    fn apply(&self, value: f64) -> f64 {
        match self {
            ScaleStep::Linear { subtract, divide } => (value - subtract) / divide,
            ScaleStep::Log1p => value.ln_1p(),
            ScaleStep::Quantile(quantiles) => share_below(quantiles, value),
        }
    }

    fn check(&self, name: &str, values: &[f64]) -> DataResult {
        if *self != ScaleStep::Log1p {
            return Ok(());
        }
        match values.iter().position(|value| *value <= -1.0) {
            None => Ok(()),
            Some(row) => Err(DataError::column(
                name,
                format!(
                    "holds {} (row {}), and `log1p` wants values above -1",
                    values[row],
                    row + 1
                ),
            )
            .help("scale it with `zscore`, `robust` or `quantile`")),
        }
    }
}

fn nothing_known(name: &str) -> DataError {
    DataError::column(name, "has no known value to learn from")
        .help(format!("leave it out: `drop: [{name}]`"))
}

/// What fills in for missing values, learnt from `values`.
fn fit_fill(name: &str, impute: &Impute, values: &[f64]) -> DataResult<Fill<f64>> {
    let known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let value = match impute {
        Impute::DropRow => return Ok(Fill::DropRow),
        Impute::Constant(Constant::Number(value)) => return Ok(Fill::Value(*value)),
        Impute::Constant(Constant::Boolean(value)) => {
            return Ok(Fill::Value(f64::from(u8::from(*value))));
        }
        Impute::Constant(Constant::Text(text)) => {
            return Err(DataError::config(format!(
                "column `{name}` holds numbers, and `{text}` is none"
            ))
            .help("give a number: `impute: {constant: 0}`"));
        }
        _ if known.is_empty() => return Err(nothing_known(name)),
        Impute::Mean | Impute::Indicator => Fill::Value(moments(&known).0),
        Impute::Median => Fill::Value(quantile(&sorted(known), 0.5)),
        Impute::Mode => Fill::Value(mode(known)),
        Impute::Ffill => Fill::Forward(known[0]),
        Impute::Bfill => Fill::Backward(known[known.len() - 1]),
    };
    Ok(value)
}

/// Fills in missing values where there is something to fill in with.
pub(crate) fn fill_in(fill: Option<&Fill<f64>>, values: &mut [f64]) {
    match fill {
        None | Some(Fill::DropRow) => {}
        Some(Fill::Value(fill)) => {
            values.iter_mut().filter(|value| value.is_nan()).for_each(|value| *value = *fill);
        }
        Some(Fill::Forward(first)) => carry(values.iter_mut(), *first),
        Some(Fill::Backward(last)) => carry(values.iter_mut().rev(), *last),
    }
}

fn carry<'a>(values: impl Iterator<Item = &'a mut f64>, start: f64) {
    let mut last = start;
    for value in values {
        if value.is_nan() {
            *value = last;
        } else {
            last = *value;
        }
    }
}

/// Fits one way of scaling, by scikit-learn's conventions: a range of 0 counts as 1.
pub(crate) fn fit_scale(scale: Scale, values: &[f64]) -> ScaleStep {
    let linear = |subtract, divide| ScaleStep::Linear {
        subtract,
        divide: if divide == 0.0 { 1.0 } else { divide },
    };
    match scale {
        Scale::Zscore => {
            let (mean, deviation) = moments(values);
            linear(mean, deviation)
        }
        Scale::Minmax => {
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            linear(low, high - low)
        }
        Scale::Robust => {
            let values = sorted(values.to_vec());
            linear(quantile(&values, 0.5), quantile(&values, 0.75) - quantile(&values, 0.25))
        }
        Scale::Log1p => ScaleStep::Log1p,
        Scale::Quantile => {
            let values = sorted(values.to_vec());
            let count = values.len().clamp(2, 1000);
            let share = |place| place as f64 / (count - 1) as f64;
            ScaleStep::Quantile((0..count).map(|place| quantile(&values, share(place))).collect())
        }
    }
}

/// Mean and population standard deviation, in two passes. A spread that rounding alone explains
/// counts as none (as in scikit-learn's `_is_constant_feature`).
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let noise = count * f64::EPSILON * variance + (count * mean * f64::EPSILON).powi(2);
    (mean, if variance <= noise { 0.0 } else { variance.sqrt() })
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The quantile of sorted values, linear between neighbours (numpy's default).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// The most frequent value; of equals the smallest.
fn mode(values: Vec<f64>) -> f64 {
    let values = sorted(values);
    let mut best = (0, f64::NAN);
    for run in values.chunk_by(|left, right| left == right) {
        if run.len() > best.0 {
            best = (run.len(), run[0]);
        }
    }
    best.1
}

/// The share of values below `value`: linear between the quantiles, and for a value that many
/// quantiles share the middle of them (scikit-learn's `QuantileTransformer`, uniform output).
fn share_below(quantiles: &[f64], value: f64) -> f64 {
    if value.is_nan() {
        return value;
    }
    let last = quantiles.len() - 1;
    let first_not_below = quantiles.partition_point(|quantile| *quantile < value);
    let first_above = quantiles.partition_point(|quantile| *quantile <= value);
    let place = if first_not_below == first_above {
        match first_above {
            0 => 0.0,
            above if above > last => last as f64,
            above => {
                let (low, high) = (quantiles[above - 1], quantiles[above]);
                (above - 1) as f64 + (value - low) / (high - low)
            }
        }
    } else if first_not_below == 0 {
        // Everything at the lowest quantile is 0, at the highest 1, as scikit-learn has it.
        0.0
    } else if first_above > last {
        last as f64
    } else {
        (first_not_below + first_above - 1) as f64 / 2.0
    };
    place / last as f64
}

fn fit_bins(bins: &Bins, values: Vec<f64>) -> Vec<f64> {
    let values = sorted(values);
    let inner = |count: usize, edge: &dyn Fn(f64) -> f64| -> Vec<f64> {
        (1..count).map(|place| edge(place as f64 / count as f64)).collect()
    };
    let mut edges = match bins {
        Bins::Quantile(count) => inner(*count, &|share| quantile(&values, share)),
        Bins::Uniform(count) => {
            let (low, high) = (values[0], values[values.len() - 1]);
            inner(*count, &|share| low + (high - low) * share)
        }
        Bins::Edges(edges) => edges.clone(),
    };
    // Equal quantiles would make empty bins.
    edges.dedup();
    edges
}

fn bin_names(name: &str, edges: &[f64]) -> Vec<String> {
    (0..=edges.len()).map(|bin| format!("{name}_bin_{bin}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: serde_json::Value) -> ColumnConfig {
        serde_json::from_value(yaml).expect("a configuration")
    }

    fn treat(config: &ColumnConfig, fit: &[f64], values: &[f64]) -> Vec<f64> {
        let plan = NumberPlan::fit("x", config, fit).expect("fitted");
        let mut values = values.to_vec();
        plan.limit(&mut values);
        fill_in(plan.fill.as_ref(), &mut values);
        plan.finish("x", &mut values).expect("treated");
        values
    }

    // Expected values are scikit-learn's: StandardScaler, MinMaxScaler, RobustScaler,
    // QuantileTransformer, SimpleImputer on the same columns.
    #[test]
    fn scaling_follows_scikit_learn() {
        let fit = [1.0, 2.0, 3.0, 4.0, 10.0];
        #[track_caller]
        fn check(scale: &str, fit: &[f64], expect: &[f64]) {
            let got = treat(&config(serde_json::json!({ "scale": scale })), fit, &[1.0, 3.0, 20.0]);
            for (got, expect) in got.iter().zip(expect) {
                assert!((got - expect).abs() < 1e-12, "{scale}: {got} is not {expect}");
            }
        }
        let deviation = 10f64.sqrt();
        check("zscore", &fit, &[-3.0 / deviation, -1.0 / deviation, 16.0 / deviation]);
        check("minmax", &fit, &[0.0, 2.0 / 9.0, 19.0 / 9.0]);
        check("robust", &fit, &[-1.0, 0.0, 8.5]);
        check("log1p", &fit, &[2f64.ln(), 4f64.ln(), 21f64.ln()]);
        check("quantile", &fit, &[0.0, 0.5, 1.0]);
        check("zscore", &[5.0, 5.0], &[-4.0, -2.0, 15.0]);
    }

    #[test]
    fn missing_values_are_filled_in() {
        const NAN: f64 = f64::NAN;
        #[track_caller]
        fn check(impute: serde_json::Value, expect: &[f64]) {
            let fit = [NAN, 4.0, 1.0, 1.0, NAN, 8.0];
            let got =
                treat(&config(serde_json::json!({ "impute": impute })), &fit, &[NAN, 2.0, NAN]);
            assert_eq!(got, expect);
        }
        check("mean".into(), &[3.5, 2.0, 3.5]);
        check("median".into(), &[2.5, 2.0, 2.5]);
        check("mode".into(), &[1.0, 2.0, 1.0]);
        check("ffill".into(), &[4.0, 2.0, 2.0]);
        check("bfill".into(), &[2.0, 2.0, 8.0]);
        check(serde_json::json!({ "constant": -1 }), &[-1.0, 2.0, -1.0]);
    }

    #[test]
    fn outliers_and_bins() {
        let clip =
            config(serde_json::json!({ "outlier_strategy": "clip", "outlier_threshold": 1 }));
        assert_eq!(treat(&clip, &[0.0, 2.0], &[-9.0, 1.5, 9.0]), [0.0, 1.5, 2.0]);
        let missing = config(serde_json::json!({
            "outlier_strategy": "missing", "outlier_threshold": 1, "impute": {"constant": 7}
        }));
        assert_eq!(treat(&missing, &[0.0, 2.0], &[-9.0, 1.5]), [7.0, 1.5]);
        let bins = config(serde_json::json!({ "bins": { "edges": [0, 10] } }));
        assert_eq!(treat(&bins, &[1.0], &[-1.0, 0.0, 9.9, 10.0]), [0.0, 1.0, 1.0, 2.0]);
        let uniform = config(serde_json::json!({ "bins": { "uniform": 4 } }));
        assert_eq!(treat(&uniform, &[0.0, 8.0], &[0.0, 2.0, 7.9, 99.0]), [0.0, 1.0, 3.0, 3.0]);
    }
}
