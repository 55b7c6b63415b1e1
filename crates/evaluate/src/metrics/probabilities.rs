//! How good probabilities are, beyond the class that they lead to.

use super::mean;

/// Probabilities of each class, row by row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probabilities<'a> {
    values: &'a [f64],
    width: usize,
}

impl<'a> Probabilities<'a> {
    /// `width` probabilities a row; `None` if the values are not whole rows.
    pub fn new(values: &'a [f64], width: usize) -> Option<Self> {
        (width > 0 && values.len().is_multiple_of(width)).then_some(Self { values, width })
    }

    /// How many classes there are.
    pub fn width(self) -> usize {
        self.width
    }

    /// How many rows there are.
    pub fn len(self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are no rows.
    pub fn is_empty(self) -> bool {
        self.values.is_empty()
    }

    /// Row by row.
    pub fn rows(self) -> impl Iterator<Item = &'a [f64]> {
        self.values.chunks_exact(self.width)
    }

    /// The probabilities of one class.
    pub fn column(self, class: usize) -> impl Iterator<Item = f64> + 'a {
        self.rows().map(move |row| row[class])
    }
}

/// The mean of −ln p(actual class): cross-entropy. Probabilities are kept a rounding error away
/// from 0, so that one confident mistake does not make it infinite.
pub fn log_loss(actual: &[usize], probabilities: Probabilities<'_>) -> f64 {
    mean(actual.iter().zip(probabilities.rows()).map(|(actual, row)| {
        let sum: f64 = row.iter().sum();
        -(row[*actual] / sum).clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
    }))
}

/// The mean squared error of the probabilities (Brier 1950): with two classes that of the
/// positive class, between 0 and 1; with more the sum over classes, between 0 and 2.
pub fn brier(actual: &[usize], probabilities: Probabilities<'_>) -> f64 {
    let squared = |actual: usize, class: usize, p: f64| {
        let error = p - f64::from(u8::from(actual == class));
        error * error
    };
    mean(actual.iter().zip(probabilities.rows()).map(|(actual, row)| match row {
        [_, p] => squared(*actual, 1, *p),
        row => row.iter().enumerate().map(|(class, p)| squared(*actual, class, *p)).sum(),
    }))
}

/// The share of rows whose class is among the `k` likeliest; of equals the first count as
/// likelier, as they do in the decision itself.
pub fn top_k(actual: &[usize], probabilities: Probabilities<'_>, k: usize) -> f64 {
    mean(actual.iter().zip(probabilities.rows()).map(|(actual, row)| {
        let own = row[*actual];
        let before = row
            .iter()
            .enumerate()
            .filter(|(class, p)| **p > own || (**p == own && class < actual))
            .count();
        f64::from(u8::from(before < k))
    }))
}

/// Rows of about equal confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationBin {
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them that the confidence was about.
    pub observed: f64,
    /// How many there are.
    pub rows: u64,
}

/// The calibration curve over `bins` equal bins, without the empty ones.
///
/// With two classes the confidence is the probability of the positive class, and observed is
/// how often it occurs. With more it is the probability of the likeliest class, and observed is
/// how often that is right (Guo et al. 2017).
pub fn calibration(
    actual: &[usize],
    probabilities: Probabilities<'_>,
    bins: usize,
) -> Vec<CalibrationBin> {
    let bins = bins.max(1);
    let mut sums = vec![(0.0, 0.0, 0_u64); bins];
    for (actual, row) in actual.iter().zip(probabilities.rows()) {
        let (confidence, class) = match row {
            [_, p] => (*p, 1),
            row => {
                let class = super::classes::likeliest(row);
                (row[class], class)
            }
        };
        let bin = ((confidence * bins as f64) as usize).min(bins - 1);
        let (confidences, hits, rows) = &mut sums[bin];
        *confidences += confidence;
        *hits += f64::from(u8::from(*actual == class));
        *rows += 1;
    }
    sums.into_iter()
        .filter(|(_, _, rows)| *rows > 0)
        .map(|(confidences, hits, rows)| CalibrationBin {
            confidence: confidences / rows as f64,
            observed: hits / rows as f64,
            rows,
        })
        .collect()
}

/// The expected calibration error (Naeini et al. 2015): the mean distance between confidence
/// and what is observed, over the bins of [`calibration`], weighted by their rows.
pub fn expected_calibration_error(
    actual: &[usize],
    probabilities: Probabilities<'_>,
    bins: usize,
) -> f64 {
    let curve = calibration(actual, probabilities, bins);
    let rows: u64 = curve.iter().map(|bin| bin.rows).sum();
    let error: f64 =
        curve.iter().map(|bin| (bin.observed - bin.confidence).abs() * bin.rows as f64).sum();
    error / rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confident_mistake_is_finite() {
        let values = [1.0, 0.0];
        let loss = log_loss(&[1], Probabilities::new(&values, 2).expect("a row"));
        assert!((loss - 36.04).abs() < 0.01, "{loss}");
    }

    #[test]
    fn the_first_of_equals_is_likelier() {
        let values = [0.25, 0.25, 0.25, 0.25];
        let row = Probabilities::new(&values, 4).expect("a row");
        assert_eq!(top_k(&[1], row, 1), 0.0);
        assert_eq!(top_k(&[1], row, 2), 1.0);
    }

    #[test]
    fn many_classes_are_calibrated_by_their_likeliest() {
        let values = [0.8, 0.1, 0.1, 0.8, 0.1, 0.1];
        let curve = calibration(&[0, 2], Probabilities::new(&values, 3).expect("rows"), 10);
        assert_eq!(curve.len(), 1);
        assert_eq!((curve[0].observed, curve[0].rows), (0.5, 2));
        let error = brier(&[0, 2], Probabilities::new(&values, 3).expect("rows"));
        assert!((error - 0.76).abs() < 1e-12, "{error}");
    }
}
