//! Small symmetric linear systems, in f64.

/// The Cholesky factor of a symmetric matrix that is positive semi-definite.
///
/// A column that depends on those before it (up to rounding) takes no part: its unknown is 0.
/// So a system with a constant or a doubled feature still has an answer, and the same one
/// whatever the machine.
#[derive(Debug, Clone)]
pub struct Cholesky {
    size: usize,
    /// Lower triangle, row by row, as a full square.
    factor: Vec<f64>,
}

/// A pivot below this share of its diagonal element counts as rounding.
const DEPENDENT: f64 = 1e-12;

impl Cholesky {
    /// Factorises the square `matrix` of `size` rows, of which only the lower triangle is read.
    pub fn new(size: usize, mut matrix: Vec<f64>) -> Self {
        debug_assert_eq!(matrix.len(), size * size);
        for column in 0..size {
            let diagonal = matrix[column * size + column];
            let mut pivot = diagonal;
            for k in 0..column {
                pivot -= matrix[column * size + k] * matrix[column * size + k];
            }
            // Division by infinity makes the rest of the column, and its unknown, 0.
            let root = if pivot > DEPENDENT * diagonal.abs() && pivot > 0.0 {
                pivot.sqrt()
            } else {
                f64::INFINITY
            };
            matrix[column * size + column] = root;
            for row in column + 1..size {
                let mut value = matrix[row * size + column];
                for k in 0..column {
                    value -= matrix[row * size + k] * matrix[column * size + k];
                }
                matrix[row * size + column] = value / root;
            }
        }
        Self { size, factor: matrix }
    }

    /// The unknowns for this right-hand side.
    pub fn solve(&self, right: &[f64]) -> Vec<f64> {
        let (size, factor) = (self.size, &self.factor);
        let mut unknowns = right.to_vec();
        for row in 0..size {
            let mut value = unknowns[row];
            for column in 0..row {
                value -= factor[row * size + column] * unknowns[column];
            }
            unknowns[row] = value / factor[row * size + row];
        }
        for row in (0..size).rev() {
            let mut value = unknowns[row];
            for below in row + 1..size {
                value -= factor[below * size + row] * unknowns[below];
            }
            unknowns[row] = value / factor[row * size + row];
        }
        unknowns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        let factor = Cholesky::new(3, vec![4.0, 0.0, 0.0, 2.0, 5.0, 0.0, 1.0, 3.0, 6.0]);
        let unknowns = factor.solve(&[4.0 + 4.0 + 3.0, 2.0 + 10.0 + 9.0, 1.0 + 6.0 + 18.0]);
        for (unknown, expect) in unknowns.iter().zip([1.0, 2.0, 3.0]) {
            assert!((unknown - expect).abs() < 1e-12, "{unknowns:?}");
        }
    }

    #[test]
    fn what_depends_on_others_is_zero() {
        // The second column equals the first; the third is all zeros.
        let factor = Cholesky::new(3, vec![2.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
        let unknowns = factor.solve(&[4.0, 4.0, 0.0]);
        assert!((unknowns[0] - 2.0).abs() < 1e-12, "{unknowns:?}");
        assert_eq!(unknowns[1..], [0.0, 0.0]);
    }
}
