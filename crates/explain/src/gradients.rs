//! Explanations by gradients: saliency, and integrated gradients (Sundararajan et al. 2017).

use crate::matrix::{Matrix, Real};

/// The explained output of each row, and its gradient with respect to the row.
pub struct Gradients<T> {
    /// The outputs.
    pub outputs: Vec<f64>,
    /// The gradients, row by row.
    pub gradients: Matrix<T>,
}

/// How the way from the baseline to the row is sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathOptions {
    /// How many places at first.
    pub steps: usize,
    /// The completeness error to get below, as a share of the difference in output.
    pub tolerance: f64,
    /// No more places than this.
    pub max_steps: usize,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self { steps: 50, tolerance: 0.01, max_steps: 400 }
    }
}

/// What integrated gradients found for a row.
#[derive(Debug, Clone, PartialEq)]
pub struct PathAttribution {
    /// The attribution of each column.
    pub attributions: Vec<f64>,
    /// The output for the row.
    pub output: f64,
    /// The output for the baseline.
    pub baseline_output: f64,
    /// The sum of the attributions less the difference in output: 0 if the integral is exact.
    pub completeness_error: f64,
    /// How many places it took.
    pub steps: usize,
}

impl PathAttribution {
    /// The completeness error as a share of the difference in output.
    pub fn relative_error(&self) -> f64 {
        let whole = (self.output - self.baseline_output).abs();
        self.completeness_error.abs() / whole.max(1e-6)
    }
}

/// Places and weights of the Gauss–Legendre quadrature of `count` points on 0 to 1, by Newton's
/// method on the Legendre polynomial (Press et al., Numerical Recipes, section 4.6).
pub fn gauss_legendre(count: usize) -> Vec<(f64, f64)> {
    let n = count as f64;
    let mut places = vec![(0.0, 0.0); count];
    for place in 0..count.div_ceil(2) {
        let mut z = (std::f64::consts::PI * (place as f64 + 0.75) / (n + 0.5)).cos();
        let mut slope = 1.0;
        for _ in 0..100 {
            let (mut value, mut before) = (1.0, 0.0);
            for k in 0..count {
                let k = k as f64;
                (value, before) = (((2.0 * k + 1.0) * z * value - k * before) / (k + 1.0), value);
            }
            slope = n * (z * value - before) / (z * z - 1.0);
            let step = value / slope;
            z -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        let weight = 1.0 / ((1.0 - z * z) * slope * slope);
        places[place] = (0.5 * (1.0 - z), weight);
        places[count - 1 - place] = (0.5 * (1.0 + z), weight);
    }
    places
}

/// The gradient integrated along the straight way from `baseline` to `row`, times the way.
/// While the completeness error is above the tolerance, the number of places is doubled.
///
/// # Errors
/// If the network fails.
pub fn integrated_gradients<T: Real, E>(
    row: &[T],
    baseline: &[T],
    options: PathOptions,
    gradient: impl Fn(&Matrix<T>) -> Result<Gradients<T>, E>,
) -> Result<PathAttribution, E> {
    let mut ends = Matrix::with_capacity(2, row.len());
    ends.push(row);
    ends.push(baseline);
    let ends = gradient(&ends)?;
    let (output, baseline_output) = (ends.outputs[0], ends.outputs[1]);

    let mut steps = options.steps.max(1);
    loop {
        let attributions = along_path(row, baseline, steps, &gradient)?;
        let sum: f64 = attributions.iter().sum();
        let found = PathAttribution {
            attributions,
            output,
            baseline_output,
            completeness_error: sum - (output - baseline_output),
            steps,
        };
        if found.relative_error() <= options.tolerance || steps * 2 > options.max_steps {
            return Ok(found);
        }
        steps *= 2;
    }
}

/// How many places go through the network at once.
const PLACES: usize = 64;

fn along_path<T: Real, E>(
    row: &[T],
    baseline: &[T],
    steps: usize,
    gradient: &impl Fn(&Matrix<T>) -> Result<Gradients<T>, E>,
) -> Result<Vec<f64>, E> {
    let mut sums = vec![0.0; row.len()];
    for places in gauss_legendre(steps).chunks(PLACES) {
        let mut batch = Matrix::with_capacity(places.len(), row.len());
        for (place, _) in places {
            let between: Vec<T> = row
                .iter()
                .zip(baseline)
                .map(|(to, from)| {
                    let (to, from) = (to.to_f64(), from.to_f64());
                    T::from_f64(from + place * (to - from))
                })
                .collect();
            batch.push(&between);
        }
        let found = gradient(&batch)?.gradients;
        for (slopes, (_, weight)) in found.iter().zip(places) {
            sums.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += weight * slope.to_f64());
        }
    }
    let ways = row.iter().zip(baseline).map(|(to, from)| to.to_f64() - from.to_f64());
    sums.iter_mut().zip(ways).for_each(|(sum, way)| *sum *= way);
    Ok(sums)
}

/// The absolute gradient of the output with respect to each column of each row (Simonyan et al.
/// 2013).
///
/// # Errors
/// If the network fails.
pub fn saliency<T: Real, E>(
    rows: &Matrix<T>,
    gradient: impl Fn(&Matrix<T>) -> Result<Gradients<T>, E>,
) -> Result<Matrix<f64>, E> {
    let found = gradient(rows)?.gradients;
    let mut sizes = Matrix::with_capacity(rows.rows(), rows.width());
    for row in found.iter() {
        sizes.push(&row.iter().map(|slope| slope.to_f64().abs()).collect::<Vec<_>>());
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quadrature_integrates_polynomials() {
        for count in [1, 2, 5, 50, 101] {
            let places = gauss_legendre(count);
            for power in [0, 1, (2 * count - 1).min(40)] {
                let sum: f64 = places.iter().map(|(x, w)| w * x.powi(power as i32)).sum();
                let expect = 1.0 / (power as f64 + 1.0);
                assert!((sum - expect).abs() < 1e-12, "{count} places, x^{power}: {sum}");
            }
        }
    }

    #[test]
    fn steps_are_doubled_until_the_sum_is_complete() {
        // |x| has a kink on the way: few places cannot meet it.
        let gradient = |rows: &Matrix<f64>| -> Result<Gradients<f64>, ()> {
            Ok(Gradients {
                outputs: rows.column(0).map(f64::abs).collect(),
                gradients: Matrix::new(1, rows.column(0).map(f64::signum).collect())
                    .expect("whole rows"),
            })
        };
        let few = PathOptions { steps: 3, tolerance: 1.0, max_steps: 400 };
        let many = PathOptions { steps: 3, tolerance: 0.01, max_steps: 400 };
        let one = integrated_gradients(&[2.0], &[-1.0], few, gradient).expect("no failure");
        let two = integrated_gradients(&[2.0], &[-1.0], many, gradient).expect("no failure");
        assert!(one.steps == 3 && two.steps > 3);
        assert!(two.relative_error() <= 0.01, "{two:?}");
    }
}
