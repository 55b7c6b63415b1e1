use super::super::check::{assert_close, values};
use super::*;

const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (3, 5, 7),
    (8, 48, 9),
    (17, 49, 33),
    (10, 131, 4),
    (33, 10, 65),
    (70, 100, 600),
    (5, 70, 129),
    (32, 96, 16),
];

#[test]
fn products_agree_with_the_definition_at_every_level() {
    for (m, n, k) in SHAPES {
        let a = values(m * k, 1);
        let b = values(k * n, 2);
        let start = values(m * n, 3);
        let mut transposed = vec![0.0; m * k];
        for i in 0..m {
            for l in 0..k {
                transposed[l * m + i] = a[i * k + l];
            }
        }
        let mut expected = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                let sum = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j]));
                expected[i * n + j] = sum.sum::<f64>();
            }
        }
        for level in Level::available() {
            let plain = Strided { values: &a, row_stride: k, column_stride: 1 };
            let turned = Strided { values: &transposed, row_stride: 1, column_stride: m };
            for (left, split) in [(plain, false), (plain, true), (turned, true)] {
                let mut c = start.clone();
                product(level, m, n, k, left, &b, &mut c, Into::Replace, split);
                assert_close(&c, &expected, 1e-4);
                let first = c.clone();
                product(level, m, n, k, left, &b, &mut c, Into::Add, split);
                let twice: Vec<f64> = expected.iter().map(|v| 2.0 * v).collect();
                assert_close(&c, &twice, 1e-4);
                let mut again = start.clone();
                product(level, m, n, k, plain, &b, &mut again, Into::Replace, !split);
                assert_eq!(again, first, "however it is split");
            }
        }
    }
}

#[test]
fn dot_products_agree_with_the_definition_at_every_level() {
    for (m, n, k) in SHAPES {
        let a = values(m * k, 1);
        let b = values(n * k, 2);
        let bias = values(n, 3);
        for relu in [false, true] {
            let mut expected = vec![0.0; m * n];
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 =
                        (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[j * k + l])).sum();
                    let value = sum + f64::from(bias[j]);
                    expected[i * n + j] = if relu { value.max(0.0) } else { value };
                }
            }
            for level in Level::available() {
                let finish = Finish { bias: Some(&bias), relu, into: Into::Replace };
                let mut c = vec![f32::NAN; m * n];
                dots(level, m, n, k, &a, &b, &mut c, finish, true);
                assert_close(&c, &expected, 1e-4);
                let mut whole = vec![f32::NAN; m * n];
                dots(level, m, n, k, &a, &b, &mut whole, finish, false);
                assert_eq!(c, whole, "however it is split");
            }
        }
    }
}
