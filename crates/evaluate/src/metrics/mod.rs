//! Metrics and curves, as pure functions over labels, probabilities and values.
//!
//! Definitions are scikit-learn's, and tests hold every one to its values. Where a quantity is
//! a division by nothing, such as the precision of a class that was never predicted, it is 0 as
//! there; where it has no meaning at all, such as the area under the ROC curve of data with one
//! class, it is NaN.

pub mod classes;
pub mod confusion;
pub mod curves;
pub mod probabilities;
pub mod values;

pub use confusion::{Average, ClassCounts, ConfusionMatrix};
pub use curves::{PrPoint, RocPoint, average_precision, pr_curve, roc_auc, roc_auc_ovr, roc_curve};
pub use probabilities::{
    CalibrationBin, Probabilities, brier, calibration, expected_calibration_error, log_loss, top_k,
};

/// The mean of `values`; NaN of none.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sum = 0.0;
    let mut count = 0_u64;
    for value in values {
        sum += value;
        count += 1;
    }
    sum / count as f64
}

/// `a / b`, and 0 where `b` is 0.
pub(crate) fn ratio(a: f64, b: f64) -> f64 {
    if b == 0.0 { 0.0 } else { a / b }
}
