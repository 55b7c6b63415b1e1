//! Activations, element by element.

use candle_core::cpu::erf::erf_f32;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::composed;
use super::parallel::{Shared, filled, for_each};
use super::tensor::{has_kernels, slice, with_values};

/// What a layer does to each of its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// Nothing.
    None,
    /// `max(x, 0)`; its slope at 0 is 0.
    Relu,
    /// `x` above 0, `slope · x` below.
    LeakyRelu {
        /// The slope below 0, usually 0.01.
        slope: f64,
    },
    /// `x` above 0, `alpha (eˣ - 1)` below.
    Elu {
        /// Minus the value far below 0, usually 1.
        alpha: f64,
    },
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x Φ(x)`, with the normal distribution's Φ.
    Gelu,
    /// The common approximation of [`Activation::Gelu`] by a hyperbolic tangent.
    GeluTanh,
    /// `x · sigmoid(x)`, also called swish.
    Silu,
    /// `ln(1 + eˣ)`.
    Softplus,
}

/// Applies `activation` to each value of `x`.
///
/// # Errors
/// If the device fails.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if activation == Activation::None {
        return Ok(x.clone());
    }
    if !has_kernels(&[x]) {
        return composed::activate(x, activation);
    }
    x.contiguous()?.apply_op1(Activate(activation))
}

/// The relu of each value: see [`Activation::Relu`].
///
/// # Errors
/// If the device fails.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    activate(x, Activation::Relu)
}

/// The softmax along a dimension: positive values that sum to 1.
///
/// # Errors
/// If there is no such dimension.
pub fn softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    // Put together from plain ops: the fused `softmax_last_dim` drops gradients.
    candle_nn::ops::softmax(x, dim)
}

/// `1 / (1 + e⁻ˣ)` without overflow.
pub(super) fn sigmoid(x: f32) -> f32 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// `ln(1 + eˣ)` without overflow.
pub(super) fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// √(2/π) and the factor of x³ in the approximation of GELU (Hendrycks and Gimpel, 2016, §2).
const GELU: (f32, f32) = (0.797_884_6, 0.044_715);

impl Activation {
    /// The value at `x`.
    fn value(self, x: f32) -> f32 {
        match self {
            Self::None => x,
            // A NaN stays one.
            Self::Relu => {
                if x <= 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::LeakyRelu { slope } => {
                if x <= 0.0 {
                    slope as f32 * x
                } else {
                    x
                }
            }
            Self::Elu { alpha } => {
                if x <= 0.0 {
                    alpha as f32 * x.exp_m1()
                } else {
                    x
                }
            }
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Gelu => 0.5 * x * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2)),
            Self::GeluTanh => 0.5 * x * (1.0 + (GELU.0 * (x + GELU.1 * x * x * x)).tanh()),
            Self::Silu => x * sigmoid(x),
            Self::Softplus => softplus(x),
        }
    }

    /// The slope at `x`, where the value is `y`.
    fn slope(self, x: f32, y: f32) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Relu => f32::from(u8::from(x > 0.0)),
            Self::LeakyRelu { slope } => {
                if x > 0.0 {
                    1.0
                } else {
                    slope as f32
                }
            }
            Self::Elu { alpha } => {
                if x > 0.0 {
                    1.0
                } else {
                    y + alpha as f32
                }
            }
            Self::Sigmoid => y * (1.0 - y),
            Self::Tanh => 1.0 - y * y,
            Self::Gelu => {
                let below = 0.5 * (1.0 + erf_f32(x * std::f32::consts::FRAC_1_SQRT_2));
                // The normal density: e^(-x²/2) / √(2π).
                below + x * (-0.5 * x * x).exp() * 0.398_942_3
            }
            Self::GeluTanh => {
                let t = (GELU.0 * (x + GELU.1 * x * x * x)).tanh();
                let inner = GELU.0 * (1.0 + 3.0 * GELU.1 * x * x);
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner
            }
            Self::Silu => {
                let s = sigmoid(x);
                s * (1.0 + x * (1.0 - s))
            }
            Self::Softplus => sigmoid(x),
        }
    }
}

/// How many values are a piece of work.
const PIECE: usize = 4096;

/// `f` of each index below `length`, over the pool's threads.
pub(super) fn map(length: usize, f: impl Fn(usize) -> f32 + Sync) -> Vec<f32> {
    // SAFETY: every index of every piece is written.
    unsafe {
        filled(length, |out: Shared<f32>| {
            for_each(length.div_ceil(PIECE), length * 4, |piece| {
                for i in piece * PIECE..length.min((piece + 1) * PIECE) {
                    out.at(i).write(f(i));
                }
            });
        })
    }
}

struct Activate(Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let out = match self.0 {
            // The branch on the activation outside the loop, where the loop becomes vectors.
            Activation::Relu => map(x.len(), |i| Activation::Relu.value(x[i])),
            activation => map(x.len(), |i| activation.value(x[i])),
        };
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let gradient = with_values(x, |x| {
            with_values(out, |out| {
                with_values(grad, |grad| {
                    Ok(match self.0 {
                        Activation::Relu => {
                            map(x.len(), |i| grad[i] * Activation::Relu.slope(x[i], out[i]))
                        }
                        activation => map(x.len(), |i| grad[i] * activation.slope(x[i], out[i])),
                    })
                })
            })
        })?;
        Tensor::from_vec(gradient, x.shape(), x.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::cpu::erf::erf_f64;
    use candle_core::{Device, Var};

    use super::super::check::{check_gradients, flat};
    use super::*;

    fn reference(activation: Activation, x: f64) -> f64 {
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        match activation {
            Activation::None => x,
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu { slope } => x.max(slope * x),
            Activation::Elu { alpha } => x.max(0.0) + alpha * (x.min(0.0).exp() - 1.0),
            Activation::Sigmoid => sigmoid,
            Activation::Tanh => x.tanh(),
            Activation::Gelu => 0.5 * x * (1.0 + erf_f64(x / std::f64::consts::SQRT_2)),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
            Activation::Silu => x * sigmoid,
            Activation::Softplus => x.exp().ln_1p(),
        }
    }

    #[test]
    fn values_and_gradients_agree_with_the_definition() {
        let points = vec![-6.0_f32, -2.5, -1.0, -0.3, -0.01, 0.02, 0.5, 1.0, 3.0, 8.0];
        let x = [Var::new(points, &Device::Cpu).expect("a variable")];
        for activation in [
            Activation::Relu,
            Activation::LeakyRelu { slope: 0.01 },
            Activation::Elu { alpha: 1.5 },
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Silu,
            Activation::Softplus,
        ] {
            let expected =
                |v: &[Vec<f64>]| v[0].iter().map(|&x| reference(activation, x)).collect();
            check_gradients(&x, |t| activate(&t[0], activation), expected);
            check_gradients(&x, |t| composed::activate(&t[0], activation), expected);
        }
    }

    #[test]
    fn extremes_stay_finite_and_relu_is_flat_at_zero() {
        let x = Var::new(&[-200.0_f32, 0.0, 200.0], &Device::Cpu).expect("a variable");
        for activation in [Activation::Sigmoid, Activation::Softplus, Activation::Silu] {
            let out = activate(&x, activation).expect("it runs");
            assert!(flat(&out).iter().all(|v| v.is_finite()));
        }
        let sum = relu(&x).and_then(|y| y.sum_all()).expect("it runs");
        let gradients = sum.backward().expect("gradients");
        assert_eq!(flat(gradients.get(&x).expect("a gradient")), [0.0, 0.0, 1.0]);
    }
}
