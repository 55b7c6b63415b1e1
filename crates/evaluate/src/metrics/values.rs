//! How far predicted values are from the true ones.

use super::mean;

fn errors<'a>(actual: &'a [f64], predicted: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    actual.iter().zip(predicted).map(|(actual, predicted)| actual - predicted)
}

/// The mean absolute error, in the target's unit.
pub fn mae(actual: &[f64], predicted: &[f64]) -> f64 {
    mean(errors(actual, predicted).map(f64::abs))
}

/// The mean squared error, in the target's unit squared.
pub fn mse(actual: &[f64], predicted: &[f64]) -> f64 {
    mean(errors(actual, predicted).map(|error| error * error))
}

/// The root of the mean squared error, in the target's unit.
pub fn rmse(actual: &[f64], predicted: &[f64]) -> f64 {
    mse(actual, predicted).sqrt()
}

/// The mean absolute error relative to the true value, as a share (0.1 is ten per cent). A true
/// value of 0 makes it huge rather than infinite, as in scikit-learn.
pub fn mape(actual: &[f64], predicted: &[f64]) -> f64 {
    mean(actual.iter().zip(predicted).map(|(a, p)| (a - p).abs() / a.abs().max(f64::EPSILON)))
}

/// The mean of 2|a − p| / (|a| + |p|), as a share between 0 and 2; 0 where both are 0.
pub fn smape(actual: &[f64], predicted: &[f64]) -> f64 {
    mean(
        actual
            .iter()
            .zip(predicted)
            .map(|(a, p)| super::ratio(2.0 * (a - p).abs(), a.abs() + p.abs())),
    )
}

/// The median absolute error, in the target's unit.
pub fn median_ae(actual: &[f64], predicted: &[f64]) -> f64 {
    let mut sizes: Vec<f64> = errors(actual, predicted).map(f64::abs).collect();
    if sizes.is_empty() {
        return f64::NAN;
    }
    sizes.sort_by(f64::total_cmp);
    let middle = sizes.len() / 2;
    if sizes.len().is_multiple_of(2) {
        (sizes[middle - 1] + sizes[middle]) / 2.0
    } else {
        sizes[middle]
    }
}

/// The coefficient of determination: 1 is perfect, 0 is no better than always the mean, below 0
/// is worse. Where the true values do not vary: 1 if all are met, else 0. NaN of fewer than two.
pub fn r2(actual: &[f64], predicted: &[f64]) -> f64 {
    if actual.len() < 2 {
        return f64::NAN;
    }
    let centre = mean(actual.iter().copied());
    let unexplained: f64 = errors(actual, predicted).map(|error| error * error).sum();
    let whole: f64 = actual.iter().map(|value| (value - centre) * (value - centre)).sum();
    explained(unexplained, whole)
}

/// The share of the variance that is explained: like [`r2`], but a constant error costs nothing.
pub fn explained_variance(actual: &[f64], predicted: &[f64]) -> f64 {
    let variance = |values: &[f64]| {
        let centre = mean(values.iter().copied());
        mean(values.iter().map(|value| (value - centre) * (value - centre)))
    };
    let errors: Vec<f64> = errors(actual, predicted).collect();
    explained(variance(&errors), variance(actual))
}

fn explained(unexplained: f64, whole: f64) -> f64 {
    if whole != 0.0 {
        1.0 - unexplained / whole
    } else if unexplained == 0.0 {
        1.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_variance_have_an_answer() {
        assert_eq!(r2(&[2.0, 2.0], &[2.0, 2.0]), 1.0);
        assert_eq!(r2(&[2.0, 2.0], &[2.0, 3.0]), 0.0);
        assert_eq!(explained_variance(&[2.0, 2.0], &[3.0, 3.0]), 1.0);
        assert!(r2(&[2.0], &[2.0]).is_nan());
    }

    #[test]
    fn relative_errors_survive_zeros() {
        assert_eq!(smape(&[0.0, 1.0], &[0.0, 3.0]), 0.5);
        assert!(mape(&[0.0], &[1.0]).is_finite());
    }

    #[test]
    fn an_even_count_has_a_median_between() {
        assert_eq!(median_ae(&[0.0, 0.0, 0.0, 0.0], &[1.0, -2.0, 3.0, 10.0]), 2.5);
    }
}
