//! The same ops put together from candle's own, for devices and types without kernels here.
//!
//! Only those of candle's ops are used whose gradients are right (see the module above).

use candle_core::{D, DType, Result, Tensor};

use super::activation::Activation;
use super::conv::ConvOptions;
use super::geometry::Window;

/// `max(x, 0)` whose gradient at 0 is 0.
pub(super) fn relu(x: &Tensor) -> Result<Tensor> {
    x.mul(&x.gt(0.0)?.to_dtype(x.dtype())?)
}

fn pad(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    let x = if height > 0 { x.pad_with_zeros(2, height, height)? } else { x.clone() };
    if width > 0 { x.pad_with_zeros(3, width, width) } else { Ok(x) }
}

/// Every `stride`-th row or column from `from`, `count` of them.
fn every(x: &Tensor, dim: usize, from: usize, stride: usize, count: usize) -> Result<Tensor> {
    if stride == 1 {
        return x.narrow(dim, from, count);
    }
    let places: Vec<u32> = (0..count).map(|i| (from + i * stride) as u32).collect();
    x.contiguous()?.index_select(&Tensor::from_vec(places, count, x.device())?, dim)
}

pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    options: ConvOptions,
) -> Result<Tensor> {
    let (_, _, kh, kw) = weight.dims4()?;
    let window = Window { kernel: (kh, kw), stride: options.stride, padding: options.padding };
    let (height, width) = window.places(x.dim(2)?, x.dim(3)?)?;
    let padded = pad(x, options.padding)?;
    let maps = if options.stride.0 == options.stride.1 {
        padded.conv2d(weight, 0, options.stride.0, 1, 1)?
    } else {
        let all = padded.conv2d(weight, 0, 1, 1, 1)?;
        let rows = every(&all, 2, 0, options.stride.0, height)?;
        every(&rows, 3, 0, options.stride.1, width)?
    };
    let maps = maps.broadcast_add(&bias.reshape((1, (), 1, 1))?)?;
    if options.relu { relu(&maps) } else { Ok(maps) }
}

/// The pixels of each window of a padded image, `[N, C, H', W', kernel]`.
fn windows(padded: &Tensor, window: Window, places: (usize, usize)) -> Result<Tensor> {
    let mut views = Vec::with_capacity(window.kernel.0 * window.kernel.1);
    for y in 0..window.kernel.0 {
        let rows = every(padded, 2, y, window.stride.0, places.0)?;
        for x in 0..window.kernel.1 {
            views.push(every(&rows, 3, x, window.stride.1, places.1)?);
        }
    }
    Tensor::stack(&views, D::Minus1)?.contiguous()
}

pub(super) fn max_pool2d(x: &Tensor, window: Window) -> Result<Tensor> {
    let places = window.places(x.dim(2)?, x.dim(3)?)?;
    // Padding must not win: a border of the lowest value instead of zeros.
    let inside = pad(&x.ones_like()?.detach(), window.padding)?;
    let border = ((inside - 1.0)? * f64::from(f32::MAX))?;
    let padded = pad(x, window.padding)?.add(&border)?;
    let windows = windows(&padded, window, places)?;
    let winners = windows.detach().argmax_keepdim(D::Minus1)?;
    windows.gather(&winners, D::Minus1)?.squeeze(D::Minus1)
}

pub(super) fn avg_pool2d(x: &Tensor, window: Window) -> Result<Tensor> {
    let places = window.places(x.dim(2)?, x.dim(3)?)?;
    windows(&pad(x, window.padding)?, window, places)?.mean(D::Minus1)
}

pub(super) fn dense(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}

pub(super) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let sigmoid = |x: &Tensor| (x.neg()?.exp()? + 1.0)?.recip();
    match activation {
        Activation::None => Ok(x.clone()),
        Activation::Relu => relu(x),
        Activation::LeakyRelu { slope } => {
            let positive = x.gt(0.0)?.to_dtype(x.dtype())?;
            x.mul(&positive.affine(1.0 - slope, slope)?)
        }
        Activation::Elu { alpha } => {
            let below = (relu(&x.neg()?)?.neg()?.exp()? - 1.0)?;
            relu(x)? + (below * alpha)?
        }
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Silu => x.mul(&sigmoid(x)?),
        Activation::Softplus => {
            let (above, below) = (relu(x)?, relu(&x.neg()?)?);
            let far = (&above + &below)?;
            above + (far.neg()?.exp()? + 1.0)?.log()?
        }
    }
}

pub(super) fn dropout(x: &Tensor, mask: Vec<f32>) -> Result<Tensor> {
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
    x.mul(&mask)
}

/// The values of any tensor on the CPU, as `f32`.
pub(super) fn host(x: &Tensor) -> Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
