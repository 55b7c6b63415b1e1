//! First values of parameters, drawn from the seed and the parameter's name alone: adding a layer
//! leaves the others as they were.

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// How a parameter begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All the same.
    Constant(f64),
    /// Evenly in ±`bound`.
    Uniform {
        /// The largest magnitude.
        bound: f64,
    },
    /// From the normal distribution around 0.
    Normal {
        /// The standard deviation.
        std: f64,
    },
    /// PyTorch's default for the weights of dense and convolutional layers: evenly in ±1/√fan_in
    /// (Kaiming with a = √5).
    Default,
    /// PyTorch's default for a bias: evenly in ±1/√fan_in, of the weights that it goes with.
    Bias {
        /// The inputs of the layer's weights.
        fan_in: usize,
    },
    /// He et al., 2015, for relu: evenly in ±√(6/fan_in).
    HeUniform,
    /// He et al., 2015, for relu: normal with variance 2/fan_in.
    HeNormal,
    /// Glorot and Bengio, 2010: evenly in ±√(6/(fan_in + fan_out)).
    XavierUniform,
    /// Glorot and Bengio, 2010: normal with variance 2/(fan_in + fan_out).
    XavierNormal,
}

/// The inputs and outputs of one unit of weights `[O, I, …]`: what is after the first two
/// dimensions is the window of a convolution.
///
/// # Errors
/// If there are fewer than two dimensions.
pub fn fans(shape: &[usize]) -> Result<(usize, usize)> {
    let [outputs, inputs, window @ ..] = shape else {
        bail!("weights have at least two dimensions, not {shape:?}")
    };
    let window: usize = window.iter().product();
    Ok((inputs * window, outputs * window))
}

impl Init {
    /// Draws the parameter called `name`.
    ///
    /// # Errors
    /// If the scheme needs weights and `shape` is none of weights.
    pub fn draw(
        self,
        seed: u64,
        name: &str,
        shape: impl std::convert::Into<Shape>,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = shape.into();
        let (uniform, size) = match self {
            Self::Constant(value) => return Tensor::full(value as f32, shape, device),
            Self::Uniform { bound } => (true, bound),
            Self::Normal { std } => (false, std),
            Self::Default => (true, (1.0 / fans(shape.dims())?.0.max(1) as f64).sqrt()),
            Self::Bias { fan_in } => (true, (1.0 / fan_in.max(1) as f64).sqrt()),
            Self::HeUniform => (true, (6.0 / fans(shape.dims())?.0.max(1) as f64).sqrt()),
            Self::HeNormal => (false, (2.0 / fans(shape.dims())?.0.max(1) as f64).sqrt()),
            Self::XavierUniform | Self::XavierNormal => {
                let (fan_in, fan_out) = fans(shape.dims())?;
                let fans = (fan_in + fan_out).max(1) as f64;
                match self {
                    Self::XavierUniform => (true, (6.0 / fans).sqrt()),
                    _ => (false, (2.0 / fans).sqrt()),
                }
            }
        };
        let mut generator = Generator::new(seed, name);
        let values: Vec<f32> = (0..shape.elem_count())
            .map(|_| {
                let unit =
                    if uniform { 2.0 * generator.uniform() - 1.0 } else { generator.normal() };
                (unit * size) as f32
            })
            .collect();
        Tensor::from_vec(values, shape, device)?.to_dtype(DType::F32)
    }
}

/// Numbers for one parameter. Bits are turned into numbers here, not by a library whose way of
/// doing it may change with its version.
struct Generator(ChaCha8Rng);

impl Generator {
    fn new(seed: u64, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("candlewick 2026 parameter initialisation");
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        // 1 - u is above 0, so its logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::flat;
    use super::*;

    fn draw(init: Init, seed: u64, name: &str, shape: &[usize]) -> Vec<f64> {
        flat(&init.draw(seed, name, shape, &Device::Cpu).expect("values"))
    }

    #[test]
    fn seed_and_name_decide() {
        let one = draw(Init::Default, 1, "dense.weight", &[4, 9]);
        assert_eq!(one, draw(Init::Default, 1, "dense.weight", &[4, 9]));
        assert_ne!(one, draw(Init::Default, 2, "dense.weight", &[4, 9]));
        assert_ne!(one, draw(Init::Default, 1, "dense.bias", &[4, 9]));
    }

    #[test]
    fn spreads_are_as_published() {
        let shape = [200, 50];
        for (init, bound) in [
            (Init::Default, (1.0_f64 / 50.0).sqrt()),
            (Init::HeUniform, (6.0_f64 / 50.0).sqrt()),
            (Init::XavierUniform, (6.0_f64 / 250.0).sqrt()),
            (Init::Bias { fan_in: 25 }, 0.2),
            (Init::Uniform { bound: 3.0 }, 3.0),
        ] {
            let values = draw(init, 7, "w", &shape);
            let largest = values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            assert!(largest <= bound * 1.000_001 && largest > 0.99 * bound, "{init:?}: {largest}");
            let mean = values.iter().sum::<f64>() / 1e4;
            assert!(mean.abs() < 0.03 * bound, "{init:?}");
        }
        for (init, std) in [
            (Init::HeNormal, (2.0_f64 / 50.0).sqrt()),
            (Init::XavierNormal, (2.0_f64 / 250.0).sqrt()),
            (Init::Normal { std: 2.0 }, 2.0),
        ] {
            let values = draw(init, 7, "w", &shape);
            let actual = (values.iter().map(|v| v * v).sum::<f64>() / 1e4).sqrt();
            assert!((actual / std - 1.0).abs() < 0.03, "{init:?}: {actual}");
        }
    }

    #[test]
    fn windows_count_into_the_fans() {
        assert_eq!(fans(&[32, 3, 5, 5]).expect("weights"), (75, 800));
        assert!(fans(&[3]).is_err());
        assert!(Init::Default.draw(1, "b", 3, &Device::Cpu).is_err());
    }
}
