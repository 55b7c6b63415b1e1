//! What the tests of the ops share: values, closeness, and gradients by finite differences.

use candle_core::{DType, Device, Result, Tensor, Var};

/// Values in [-1, 1), the same for the same seed.
pub(crate) fn values(count: usize, seed: u64) -> Vec<f32> {
    (0..count)
        .map(|i| {
            let bits = super::random::bits(seed, i as u64);
            (bits >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// A variable of such values.
pub(crate) fn variable(shape: &[usize], seed: u64) -> Var {
    let count = shape.iter().product();
    Var::from_vec(values(count, seed), shape, &Device::Cpu).expect("a variable")
}

/// That two lists agree within `tolerance`, relative to the larger of 1 and the expected value.
#[track_caller]
pub(crate) fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(a) - e).abs() / e.abs().max(1.0);
        assert!(error <= tolerance, "value {i}: {a} is not {e} (off by {error:.2e})");
    }
}

/// All values of a tensor, as `f64`.
pub(crate) fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor
        .to_dtype(DType::F64)
        .and_then(|t| t.flatten_all())
        .and_then(|t| t.to_vec1())
        .expect("values")
}

/// Checks `op` and its gradients at `inputs`: the value against `reference`, the gradients against
/// central differences of `reference` in `f64`. The result is weighted by fixed values before it is
/// summed, so that every element's gradient counts differently.
#[track_caller]
pub(crate) fn check_gradients(
    inputs: &[Var],
    op: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let output = op(&tensors).expect("the op runs");
    let wide: Vec<Vec<f64>> = tensors.iter().map(flat).collect();
    let expected = reference(&wide);
    let actual: Vec<f32> = flat(&output).iter().map(|&v| v as f32).collect();
    assert_close(&actual, &expected, 2e-5);

    let weights = values(expected.len(), 99);
    let weighted = Tensor::from_slice(&weights, output.shape(), &Device::Cpu)
        .and_then(|w| output.mul(&w))
        .and_then(|t| t.sum_all())
        .expect("a sum");
    let gradients = weighted.backward().expect("gradients");
    let total = |at: &[Vec<f64>]| -> f64 {
        reference(at).iter().zip(&weights).map(|(v, &w)| v * f64::from(w)).sum()
    };
    for (i, input) in inputs.iter().enumerate() {
        let gradient = gradients.get(input).unwrap_or_else(|| panic!("input {i} has a gradient"));
        let gradient: Vec<f32> = flat(gradient).iter().map(|&v| v as f32).collect();
        let mut at = wide.clone();
        let numeric: Vec<f64> = (0..wide[i].len())
            .map(|j| {
                let step = 1e-5;
                at[i][j] = wide[i][j] + step;
                let above = total(&at);
                at[i][j] = wide[i][j] - step;
                let below = total(&at);
                at[i][j] = wide[i][j];
                (above - below) / (2.0 * step)
            })
            .collect();
        assert_close(&gradient, &numeric, 1e-4);
    }
}
