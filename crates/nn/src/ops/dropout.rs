//! Dropout whose masks depend on nothing but their key.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::activation::map;
use super::composed;
use super::random::{bits, combine};
use super::tensor::{has_kernels, slice, with_values};

/// Which mask: the same key gives the same mask on any machine and any number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropoutKey {
    /// The seed of the training.
    pub seed: u64,
    /// How many steps have been trained.
    pub step: u64,
    /// Which layer of the model.
    pub layer: u64,
}

/// Sets each value to 0 with probability `rate`, and divides the others by `1 - rate`, so that the
/// expected value stays. Only for training: leave it out otherwise.
///
/// # Errors
/// If `rate` is not at least 0 and below 1.
pub fn dropout(x: &Tensor, rate: f64, key: DropoutKey) -> Result<Tensor> {
    if !(0.0..1.0).contains(&rate) {
        bail!("the rate of dropout must be at least 0 and below 1, not {rate}")
    }
    if rate == 0.0 {
        return Ok(x.clone());
    }
    let mask = Mask {
        seed: combine(&[key.seed, key.step, key.layer]),
        threshold: (rate * (1_u64 << 32) as f64) as u32,
        scale: (1.0 / (1.0 - rate)) as f32,
    };
    if !has_kernels(&[x]) {
        return composed::dropout(x, (0..x.elem_count()).map(|i| mask.at(i)).collect());
    }
    x.contiguous()?.apply_op1(mask)
}

struct Mask {
    seed: u64,
    threshold: u32,
    scale: f32,
}

impl Mask {
    /// What value `index` is multiplied by.
    fn at(&self, index: usize) -> f32 {
        // One draw of 64 bits serves two neighbours.
        let draw = bits(self.seed, (index / 2) as u64) >> (32 * (index % 2));
        if (draw as u32) < self.threshold { 0.0 } else { self.scale }
    }
}

impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let out = map(x.len(), |i| x[i] * self.at(i));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        // The mask is made again rather than kept.
        let gradient = with_values(grad, |grad| Ok(map(grad.len(), |i| grad[i] * self.at(i))))?;
        Tensor::from_vec(gradient, x.shape(), x.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::check::flat;
    use super::*;

    const KEY: DropoutKey = DropoutKey { seed: 1, step: 2, layer: 3 };

    #[test]
    fn values_are_dropped_at_the_rate_and_gradients_with_them() {
        let x = Var::ones(20_000, DType::F32, &Device::Cpu).expect("a variable");
        for rate in [0.1, 0.5, 0.9] {
            let out = dropout(&x, rate, KEY).expect("it runs");
            let values = flat(&out);
            let dropped = values.iter().filter(|&&v| v == 0.0).count() as f64 / 20_000.0;
            assert!((dropped - rate).abs() < 0.01, "{dropped} were dropped at {rate}");
            let gradients = out.sum_all().and_then(|s| s.backward()).expect("gradients");
            assert_eq!(flat(gradients.get(&x).expect("a gradient")), values);
        }
    }

    #[test]
    fn masks_depend_on_every_part_of_their_key() {
        let x = Tensor::ones(100, DType::F32, &Device::Cpu).expect("ones");
        let mask = |key| flat(&dropout(&x, 0.5, key).expect("it runs"));
        assert_eq!(mask(KEY), mask(KEY));
        for key in [
            DropoutKey { seed: 9, ..KEY },
            DropoutKey { step: 9, ..KEY },
            DropoutKey { layer: 9, ..KEY },
        ] {
            assert_ne!(mask(KEY), mask(key));
        }
        assert!(dropout(&x, 1.0, KEY).is_err());
    }
}
