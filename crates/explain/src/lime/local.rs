//! The local model: a weighted ridge regression on few features.

use crate::linear::Cholesky;
use crate::matrix::Matrix;

/// A linear model that is faithful near one row.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalModel {
    /// Features by place with their coefficients, the largest first.
    pub coefficients: Vec<(usize, f64)>,
    /// The intercept.
    pub intercept: f64,
    /// The weighted R² on the neighbourhood: how faithful it is.
    pub score: f64,
    /// What it predicts for the row itself.
    pub prediction: f64,
}

/// The weight of each neighbour: √exp(−d² / width²).
pub fn kernel_weights(distances: &[f64], width: f64) -> Vec<f64> {
    distances
        .iter()
        .map(|distance| (-(distance * distance) / (width * width)).exp().sqrt())
        .collect()
}

/// At most this many features are selected one by one.
const FORWARD: usize = 6;

/// Fits the local model of at most `count` features on a neighbourhood whose row 0 is the row
/// itself.
///
/// Up to six features are selected forward by weighted R²; more are those with the highest
/// |coefficient · value| under ridge(0.01). The model itself is ridge(1), its intercept free.
pub fn fit_local(data: &Matrix<f64>, labels: &[f64], weights: &[f64], count: usize) -> LocalModel {
    let moments = Moments::new(data, labels, weights);
    let used = if count <= FORWARD {
        moments.select_forward(count)
    } else {
        moments.select_highest(count, data.row(0))
    };
    let coefficients = moments.ridge(&used, 1.0);
    let intercept = moments.label_mean
        - used.iter().zip(&coefficients).map(|(f, c)| c * moments.means[*f]).sum::<f64>();
    let first = data.row(0);
    let prediction =
        intercept + used.iter().zip(&coefficients).map(|(f, c)| c * first[*f]).sum::<f64>();
    let score = moments.score(&used, &coefficients);
    let mut coefficients: Vec<_> = used.into_iter().zip(coefficients).collect();
    coefficients.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
    LocalModel { coefficients, intercept, score, prediction }
}

/// Weighted second moments around the weighted means: all that any ridge regression on the
/// neighbourhood needs, computed in one pass.
struct Moments {
    width: usize,
    means: Vec<f64>,
    label_mean: f64,
    /// Features by features, a full square.
    features: Vec<f64>,
    /// Features by label.
    labels: Vec<f64>,
    label_square: f64,
}

impl Moments {
    fn new(data: &Matrix<f64>, labels: &[f64], weights: &[f64]) -> Self {
        let width = data.width();
        let whole: f64 = weights.iter().sum();
        let mut means = vec![0.0; width];
        let mut label_mean = 0.0;
        for ((row, label), weight) in data.iter().zip(labels).zip(weights) {
            means.iter_mut().zip(row).for_each(|(mean, value)| *mean += weight * value);
            label_mean += weight * label;
        }
        means.iter_mut().for_each(|mean| *mean /= whole);
        label_mean /= whole;

        let mut features = vec![0.0; width * width];
        let mut by_label = vec![0.0; width];
        let mut label_square = 0.0;
        let mut centred = vec![0.0; width];
        for ((row, label), weight) in data.iter().zip(labels).zip(weights) {
            for ((centred, value), mean) in centred.iter_mut().zip(row).zip(&means) {
                *centred = value - mean;
            }
            let label = label - label_mean;
            for (i, value) in centred.iter().enumerate() {
                let scaled = weight * value;
                by_label[i] += scaled * label;
                let square = &mut features[i * width..i * width + i + 1];
                square.iter_mut().zip(&centred).for_each(|(sum, other)| *sum += scaled * other);
            }
            label_square += weight * label * label;
        }
        for i in 0..width {
            for j in 0..i {
                features[j * width + i] = features[i * width + j];
            }
        }
        Self { width, means, label_mean, features, labels: by_label, label_square }
    }

    fn ridge(&self, used: &[usize], penalty: f64) -> Vec<f64> {
        let size = used.len();
        let mut normal = Vec::with_capacity(size * size);
        for (place, i) in used.iter().enumerate() {
            normal.extend(used.iter().map(|j| self.features[i * self.width + j]));
            normal[place * size + place] += penalty;
        }
        let right: Vec<f64> = used.iter().map(|i| self.labels[*i]).collect();
        Cholesky::new(size, normal).solve(&right)
    }

    /// The weighted R².
    fn score(&self, used: &[usize], coefficients: &[f64]) -> f64 {
        let mut error = self.label_square;
        for (i, a) in used.iter().zip(coefficients) {
            error -= 2.0 * a * self.labels[*i];
            for (j, b) in used.iter().zip(coefficients) {
                error += a * b * self.features[i * self.width + j];
            }
        }
        if self.label_square > 0.0 { 1.0 - error / self.label_square } else { 1.0 }
    }

    fn select_forward(&self, count: usize) -> Vec<usize> {
        let mut used: Vec<usize> = Vec::new();
        while used.len() < count.min(self.width) {
            let mut best = None;
            for feature in 0..self.width {
                if used.contains(&feature) {
                    continue;
                }
                used.push(feature);
                let score = self.score(&used, &self.ridge(&used, 0.0));
                used.pop();
                if best.is_none_or(|(_, highest)| score > highest) {
                    best = Some((feature, score));
                }
            }
            let Some((feature, _)) = best else { break };
            used.push(feature);
        }
        used
    }

    fn select_highest(&self, count: usize, first: &[f64]) -> Vec<usize> {
        let all: Vec<usize> = (0..self.width).collect();
        let coefficients = self.ridge(&all, 0.01);
        let size = |feature: usize| (coefficients[feature] * first[feature]).abs();
        let mut order = all;
        order.sort_by(|a, b| size(*b).total_cmp(&size(*a)).then(a.cmp(b)));
        order.truncate(count);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_a_constant_does_no_harm() {
        // y = 2 a − b, and a third feature that is always 1.
        let rows: Vec<f64> =
            (0..50).flat_map(|i| [f64::from(i % 7), f64::from(i % 5), 1.0]).collect();
        let data = Matrix::new(3, rows).expect("whole rows");
        let labels: Vec<f64> = data.iter().map(|row| 2.0 * row[0] - row[1]).collect();
        let model = fit_local(&data, &labels, &vec![1e6; 50], 3);
        let coefficient =
            |feature| model.coefficients.iter().find(|(f, _)| *f == feature).map(|(_, c)| *c);
        assert!((coefficient(0).expect("used") - 2.0).abs() < 1e-4);
        assert!((coefficient(1).expect("used") + 1.0).abs() < 1e-4);
        assert!(coefficient(2).expect("used").abs() < 1e-4);
        assert!(model.score > 0.999_999);
    }
}
