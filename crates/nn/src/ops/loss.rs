//! Losses: the mean over a batch, in one pass with its gradient.
//!
//! The gradient of a loss is known as soon as the loss is, so both are made together; the backward
//! pass only scales. Targets get no gradient. Sums are kept in `f64`.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};

use super::activation::{sigmoid, softplus};
use super::composed::host;

/// The mean cross-entropy of the softmax of `logits[N, C]` against class indices `labels[N]`.
///
/// With `class_weights`, the mean is weighted by the weight of each row's class. With
/// `label_smoothing` ε in [0, 1), the target is `1 - ε` on the label and `ε / C` on every class.
/// Both are as in PyTorch's `cross_entropy`.
///
/// # Errors
/// If shapes do not fit, or a label is not below `C`.
pub fn softmax_cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    class_weights: Option<&[f32]>,
    label_smoothing: f64,
) -> Result<Tensor> {
    let &[rows, classes] = logits.dims() else {
        bail!("cross-entropy takes logits [N, C], not {:?}", logits.dims())
    };
    if labels.dims() != [rows] || rows == 0 {
        bail!("labels of shape {:?} do not fit logits of {rows} rows", labels.dims())
    }
    if class_weights.is_some_and(|weights| weights.len() != classes) {
        bail!("there must be one class weight for each of {classes} classes")
    }
    if !(0.0..1.0).contains(&label_smoothing) {
        bail!("label smoothing must be at least 0 and below 1, not {label_smoothing}")
    }
    let labels: Vec<u32> = labels.to_dtype(DType::U32)?.to_vec1()?;
    if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
        bail!("label {label} is not below the number of classes, {classes}")
    }
    let values = host(logits)?;
    let weight = |class: usize| class_weights.map_or(1.0, |weights| f64::from(weights[class]));
    let total: f64 = labels.iter().map(|&label| weight(label as usize)).sum();
    if total <= 0.0 {
        bail!("the class weights of a batch sum to {total}: at least one must be above 0")
    }
    let smooth = label_smoothing / classes as f64;
    let mut loss = 0.0;
    let mut gradient = Vec::with_capacity(values.len());
    let mut exponentials = vec![0.0; classes];
    for (row, &label) in values.chunks_exact(classes).zip(&labels) {
        let label = label as usize;
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (e, &value) in exponentials.iter_mut().zip(row) {
            *e = (value - largest).exp();
            sum += f64::from(*e);
        }
        let log_sum = f64::from(largest) + sum.ln();
        // The row's target: what each class's -log p counts for.
        let target = |class: usize| {
            let hit = if class == label { 1.0 - label_smoothing } else { 0.0 };
            weight(class) * (hit + smooth)
        };
        if label_smoothing == 0.0 {
            loss += weight(label) * (log_sum - f64::from(row[label]));
        } else {
            loss += (0..classes).map(|c| target(c) * (log_sum - f64::from(row[c]))).sum::<f64>();
        }
        let mass: f64 =
            if label_smoothing == 0.0 { weight(label) } else { (0..classes).map(target).sum() };
        for (class, &e) in exponentials.iter().enumerate() {
            gradient.push(((mass * f64::from(e) / sum - target(class)) / total) as f32);
        }
    }
    record(logits, loss / total, gradient)
}

/// The mean cross-entropy of the sigmoid of `logits` against `targets` in [0, 1] of the same shape,
/// stable for any logits. `positive_weight` multiplies the part of the loss that targets of 1 have:
/// one value, or one for each column of the last dimension.
///
/// # Errors
/// If shapes do not fit.
pub fn sigmoid_binary_cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    positive_weight: Option<&[f32]>,
) -> Result<Tensor> {
    let columns = logits.dims().last().copied().unwrap_or(1);
    if positive_weight.is_some_and(|weights| weights.len() != 1 && weights.len() != columns) {
        bail!("there must be one positive weight, or one for each of {columns} columns")
    }
    pointwise(logits, targets, |i, z, y| {
        let weight = positive_weight.map_or(1.0, |weights| weights[i % weights.len()]);
        // (1 - y) z + (1 + (w - 1) y) ln(1 + e^-z), as PyTorch's binary_cross_entropy_with_logits.
        let factor = 1.0 + (weight - 1.0) * y;
        ((1.0 - y) * z + factor * softplus(-z), (1.0 - y) - factor * sigmoid(-z))
    })
}

/// The mean of `(prediction - target)²`.
///
/// # Errors
/// If shapes do not fit.
pub fn mean_squared_error(predictions: &Tensor, targets: &Tensor) -> Result<Tensor> {
    pointwise(predictions, targets, |_, p, t| ((p - t) * (p - t), 2.0 * (p - t)))
}

/// The mean of `|prediction - target|`; its slope at 0 is 0.
///
/// # Errors
/// If shapes do not fit.
pub fn mean_absolute_error(predictions: &Tensor, targets: &Tensor) -> Result<Tensor> {
    pointwise(predictions, targets, |_, p, t| {
        let d = p - t;
        (d.abs(), if d == 0.0 { 0.0 } else { d.signum() })
    })
}

/// Huber's loss: `d²/2` where `|d| ≤ delta`, else `delta (|d| - delta/2)`; the mean of it.
///
/// # Errors
/// If shapes do not fit, or `delta` is not above 0.
pub fn huber(predictions: &Tensor, targets: &Tensor, delta: f64) -> Result<Tensor> {
    if delta.is_nan() || delta <= 0.0 {
        bail!("the delta of Huber's loss must be above 0, not {delta}")
    }
    let delta = delta as f32;
    pointwise(predictions, targets, |_, p, t| {
        let d = p - t;
        if d.abs() > delta {
            (delta * (d.abs() - 0.5 * delta), delta * d.signum())
        } else {
            (0.5 * d * d, d)
        }
    })
}

/// The mean of a loss of each prediction and target; `f` gives the loss and its slope.
fn pointwise(
    predictions: &Tensor,
    targets: &Tensor,
    f: impl Fn(usize, f32, f32) -> (f32, f32),
) -> Result<Tensor> {
    if predictions.dims() != targets.dims() || predictions.elem_count() == 0 {
        bail!(
            "targets of shape {:?} do not fit predictions of shape {:?}",
            targets.dims(),
            predictions.dims()
        )
    }
    let (p, t) = (host(predictions)?, host(targets)?);
    let count = p.len() as f32;
    let mut loss = 0.0;
    let mut gradient = Vec::with_capacity(p.len());
    for (i, (&p, &t)) in p.iter().zip(&t).enumerate() {
        let (value, slope) = f(i, p, t);
        loss += f64::from(value);
        gradient.push(slope / count);
    }
    record(predictions, loss / f64::from(count), gradient)
}

/// A scalar that depends on `x` with a gradient that is known already.
fn record(x: &Tensor, loss: f64, gradient: Vec<f32>) -> Result<Tensor> {
    let loss_tensor = |dtype| Tensor::new(loss, x.device())?.to_dtype(dtype);
    if !x.track_op() {
        return loss_tensor(x.dtype());
    }
    let gradient = Tensor::from_vec(gradient, x.shape(), x.device())?.to_dtype(x.dtype())?;
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return x.contiguous()?.apply_op1(Loss { loss: loss as f32, gradient });
    }
    // Without an op of our own: Σ gradient · x has that gradient; the rest only sets the value.
    let sum = x.mul(&gradient)?.sum_all()?;
    let rest = loss_tensor(x.dtype())?.sub(&sum.detach())?;
    sum.add(&rest)
}

struct Loss {
    loss: f32,
    gradient: Tensor,
}

impl CustomOp1 for Loss {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn cpu_fwd(&self, _x: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![self.loss]), Shape::from(())))
    }

    fn bwd(&self, _x: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let scale = grad.to_scalar::<f32>()?;
        if scale == 1.0 {
            return Ok(Some(self.gradient.clone()));
        }
        self.gradient.affine(f64::from(scale), 0.0).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::check::{check_gradients, flat, variable};
    use super::*;

    #[test]
    fn cross_entropy_agrees_with_the_definition() {
        let logits = [variable(&[5, 4], 1)];
        let labels = [3_u32, 0, 0, 2, 1];
        let tensor = Tensor::new(&labels, &Device::Cpu).expect("labels");
        let weights = [0.5_f32, 2.0, 1.0, 0.25];
        for class_weights in [None, Some(&weights[..])] {
            for smoothing in [0.0, 0.1] {
                check_gradients(
                    &logits,
                    |t| softmax_cross_entropy(&t[0], &tensor, class_weights, smoothing),
                    |v| {
                        let w = |c: usize| class_weights.map_or(1.0, |w| f64::from(w[c]));
                        let (mut hit, mut smooth, mut total) = (0.0, 0.0, 0.0);
                        for (row, &label) in v[0].chunks_exact(4).zip(&labels) {
                            let label = label as usize;
                            let log_sum = row.iter().map(|z| z.exp()).sum::<f64>().ln();
                            hit += w(label) * (log_sum - row[label]);
                            smooth += (0..4).map(|c| w(c) * (log_sum - row[c])).sum::<f64>();
                            total += w(label);
                        }
                        // PyTorch's documentation of CrossEntropyLoss.
                        vec![((1.0 - smoothing) * hit + smoothing / 4.0 * smooth) / total]
                    },
                );
            }
        }
    }

    #[test]
    fn binary_cross_entropy_agrees_with_the_definition() {
        let logits = [variable(&[3, 2], 1)];
        let targets = [1.0_f64, 0.0, 0.0, 1.0, 0.3, 1.0];
        let tensor = Tensor::from_vec(targets.map(|t| t as f32).to_vec(), (3, 2), &Device::Cpu)
            .expect("targets");
        for weights in [None, Some(&[3.0_f32][..]), Some(&[2.0_f32, 0.5][..])] {
            check_gradients(
                &logits,
                |t| sigmoid_binary_cross_entropy(&t[0], &tensor, weights),
                |v| {
                    let terms = v[0].iter().zip(targets).enumerate().map(|(i, (&z, y))| {
                        let p = 1.0 / (1.0 + (-z).exp());
                        let w = weights.map_or(1.0, |w| f64::from(w[i % w.len()]));
                        -(w * y * p.ln() + (1.0 - y) * (1.0 - p).ln())
                    });
                    vec![terms.sum::<f64>() / 6.0]
                },
            );
        }
    }

    #[test]
    fn regression_losses_agree_with_the_definition() {
        let predictions = [variable(&[4, 2], 1)];
        let targets = variable(&[4, 2], 2).as_detached_tensor();
        let t = flat(&targets);
        let mean = |v: &[Vec<f64>], f: &dyn Fn(f64) -> f64| {
            vec![v[0].iter().zip(&t).map(|(p, t)| f(p - t)).sum::<f64>() / 8.0]
        };
        check_gradients(
            &predictions,
            |p| mean_squared_error(&p[0], &targets),
            |v| mean(v, &|d| d * d),
        );
        check_gradients(
            &predictions,
            |p| mean_absolute_error(&p[0], &targets),
            |v| mean(v, &f64::abs),
        );
        check_gradients(
            &predictions,
            |p| huber(&p[0], &targets, 0.5),
            |v| mean(v, &|d| if d.abs() <= 0.5 { d * d / 2.0 } else { 0.5 * (d.abs() - 0.25) }),
        );
    }

    #[test]
    fn extreme_logits_are_stable() {
        let logits = Var::new(&[[1000.0_f32, -1000.0], [-1000.0, 1000.0]], &Device::Cpu)
            .expect("a variable");
        let labels = Tensor::new(&[1_u32, 1], &Device::Cpu).expect("labels");
        let loss = softmax_cross_entropy(&logits, &labels, None, 0.0).expect("it runs");
        assert_eq!(flat(&loss), [1000.0]);
        let targets = Tensor::new(&[[0.0_f32, 0.0], [0.0, 1.0]], &Device::Cpu).expect("targets");
        let loss = sigmoid_binary_cross_entropy(&logits, &targets, None).expect("it runs");
        assert_eq!(flat(&loss), [250.0]);
    }

    #[test]
    fn a_scaled_loss_scales_its_gradient() {
        let x = variable(&[3], 1);
        let zeros = Tensor::zeros(3, DType::F32, &Device::Cpu).expect("zeros");
        let gradient = |factor: f64| {
            let loss = mean_squared_error(&x, &zeros).and_then(|l| l * factor).expect("a loss");
            flat(loss.backward().expect("gradients").get(&x).expect("a gradient"))
        };
        let (one, half) = (gradient(1.0), gradient(0.5));
        assert!(one.iter().zip(&half).all(|(a, b)| (a - 2.0 * b).abs() < 1e-12));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let logits = variable(&[2, 3], 1);
        let labels = Tensor::new(&[0_u32, 3], &Device::Cpu).expect("labels");
        assert!(softmax_cross_entropy(&logits, &labels, None, 0.0).is_err());
        let labels = Tensor::new(&[0_u32, 2], &Device::Cpu).expect("labels");
        assert!(softmax_cross_entropy(&logits, &labels, Some(&[1.0]), 0.0).is_err());
        assert!(softmax_cross_entropy(&logits, &labels, None, 1.0).is_err());
        assert!(mean_squared_error(&logits, &variable(&[2], 1)).is_err());
        assert!(huber(&logits, &logits, 0.0).is_err());
    }
}
