//! Dense layers: `activation(x wᵀ + b)`.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::activation::{Activation, activate};
use super::composed;
use super::matrix::{Finish, Into, Strided, dots, product};
use super::parallel::Scratch;
use super::simd::Level;
use super::tensor::{bias_or_zeros, has_kernels, slice, with_values};

/// `activation(x · weightᵀ + bias)` with `weight[O, I]` and `bias[O]`.
///
/// `x` has rows of `I` values: `[…, I]` gives `[…, O]`. Or each of its first dimension's items has
/// `I` values in all, and is taken as flat: `[N, C, H, W]` gives `[N, O]`. This saves the copies
/// that the gradient of a separate flattening makes.
///
/// # Errors
/// If the shapes do not fit.
pub fn dense(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    let bias = bias_or_zeros(bias, weight)?;
    let &[outputs, inputs] = weight.dims() else {
        bail!("the weights of a dense layer are [outputs, inputs], not {:?}", weight.dims())
    };
    if inputs == 0 || outputs == 0 {
        bail!("a dense layer needs at least one input and one output")
    }
    if bias.dims() != [outputs] {
        bail!("a bias of shape {:?} does not fit {outputs} outputs", bias.dims())
    }
    let mut shape = x.dims().to_vec();
    let rows = match (shape.as_slice(), shape.last()) {
        ([.., _], Some(&last)) if last == inputs => {
            shape.pop();
            shape.iter().product()
        }
        ([first, rest @ ..], _) if rest.iter().product::<usize>() == inputs => {
            let first = *first;
            shape.truncate(1);
            first
        }
        _ => bail!("values of shape {shape:?} do not fit a dense layer of {inputs} inputs"),
    };
    shape.push(outputs);
    if !has_kernels(&[x, weight, &bias]) {
        let out = composed::dense(&x.reshape((rows, inputs))?, weight, &bias)?;
        return activate(&out.reshape(shape)?, activation);
    }
    let relu = activation == Activation::Relu;
    let op = Dense { rows, inputs, outputs, shape: shape.into(), relu };
    let out = x.contiguous()?.apply_op3(&weight.contiguous()?, &bias, op)?;
    if relu { Ok(out) } else { activate(&out, activation) }
}

struct Dense {
    rows: usize,
    inputs: usize,
    outputs: usize,
    shape: Shape,
    relu: bool,
}

impl Dense {
    /// The gradients of the rows, the weights and the bias, those that are asked for.
    fn backward(
        &self,
        [x, weight, out, grad]: [&[f32]; 4],
        [for_x, for_weight, for_bias]: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let Self { rows, inputs, outputs, .. } = *self;
        let level = Level::best();
        let mut masked = Scratch::new(if self.relu { grad.len() } else { 0 });
        let grad = if self.relu {
            for ((to, &g), &o) in masked.iter_mut().zip(grad).zip(out) {
                *to = if o > 0.0 { g } else { 0.0 };
            }
            &masked[..]
        } else {
            grad
        };
        let bias = for_bias.then(|| {
            let mut sum = vec![0.0; outputs];
            for row in grad.chunks_exact(outputs) {
                for (sum, g) in sum.iter_mut().zip(row) {
                    *sum += g;
                }
            }
            sum
        });
        let weight_gradient = for_weight.then(|| {
            let mut gradient = vec![0.0; outputs * inputs];
            let left = Strided { values: grad, row_stride: 1, column_stride: outputs };
            product(level, outputs, inputs, rows, left, x, &mut gradient, Into::Replace, true);
            gradient
        });
        let x_gradient = for_x.then(|| {
            let mut gradient = vec![0.0; rows * inputs];
            let left = Strided { values: grad, row_stride: outputs, column_stride: 1 };
            product(level, rows, inputs, outputs, left, weight, &mut gradient, Into::Replace, true);
            gradient
        });
        [x_gradient, weight_gradient, bias]
    }
}

impl CustomOp3 for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, x_layout)?, slice(weight, weight_layout)?);
        let bias = Some(slice(bias, bias_layout)?);
        let mut out = vec![0.0; self.rows * self.outputs];
        let finish = Finish { bias, relu: self.relu, into: Into::Replace };
        let (rows, outputs, inputs) = (self.rows, self.outputs, self.inputs);
        dots(Level::best(), rows, outputs, inputs, x, weight, &mut out, finish, true);
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let asked = [x.track_op(), weight.track_op(), bias.track_op()];
        let [gx, gw, gb] = with_values(x, |x| {
            with_values(weight, |weight| {
                with_values(out, |out| {
                    with_values(grad, |grad| Ok(self.backward([x, weight, out, grad], asked)))
                })
            })
        })?;
        let tensor = |values: Option<Vec<f32>>, like: &Tensor| {
            values.map(|v| Tensor::from_vec(v, like.shape(), like.device())).transpose()
        };
        Ok((tensor(gx, x)?, tensor(gw, weight)?, tensor(gb, bias)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{check_gradients, variable};
    use super::*;

    #[test]
    fn values_and_gradients_agree_with_the_definition() {
        for (shape, inputs, outputs) in [
            (vec![3, 7], 7, 5),
            (vec![1, 1], 1, 1),
            (vec![33, 20], 20, 70),
            (vec![4, 2, 3, 3], 18, 10),
            (vec![2, 3, 6], 6, 4),
        ] {
            for activation in [Activation::None, Activation::Relu, Activation::Tanh] {
                let inputs_ =
                    [variable(&shape, 1), variable(&[outputs, inputs], 2), variable(&[outputs], 3)];
                check_gradients(
                    &inputs_,
                    |t| dense(&t[0], &t[1], Some(&t[2]), activation),
                    |v| {
                        let mut out = Vec::new();
                        for row in v[0].chunks_exact(inputs) {
                            for (w, b) in v[1].chunks_exact(inputs).zip(&v[2]) {
                                let sum = row.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() + b;
                                out.push(match activation {
                                    Activation::Relu => sum.max(0.0),
                                    Activation::Tanh => sum.tanh(),
                                    _ => sum,
                                });
                            }
                        }
                        out
                    },
                );
            }
        }
    }

    #[test]
    fn shapes_tell_rows_from_images() {
        let shape = |x: &[usize], w: &[usize]| {
            dense(&variable(x, 1), &variable(w, 2), None, Activation::None)
                .map(|out| out.dims().to_vec())
        };
        assert_eq!(shape(&[2, 3, 6], &[4, 6]).expect("rows"), [2, 3, 4]);
        assert_eq!(shape(&[2, 3, 6], &[4, 18]).expect("flat"), [2, 4]);
        assert!(shape(&[2, 3, 6], &[4, 12]).is_err());
        assert!(shape(&[2, 6], &[6]).is_err());
    }
}
