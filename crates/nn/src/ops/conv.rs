//! Convolution of images: `relu(w * x + b)`.
//!
//! Each image is laid out so that the convolution is one matrix product (`im2col`: Chellapilla,
//! Puri and Simard, 2006): a row for each tap, a column for each place of the window. The layout is
//! made again for the gradient rather than stored: it is `kernel²` times the size of the image.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::composed;
use super::geometry::Convolution;
use super::matrix::{Finish, Into, Strided, dots, product};
use super::parallel::{Scratch, Shared, filled, for_each, piece_length};
use super::simd::Level;
use super::tensor::{bias_or_zeros, has_kernels, slice, with_values};

/// How a convolution moves over its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// How far the window moves: (down, right).
    pub stride: (usize, usize),
    /// How many zeros are put around the images: (above and below, left and right).
    pub padding: (usize, usize),
    /// Whether what is below 0 becomes 0.
    pub relu: bool,
}

impl Default for ConvOptions {
    /// Every place once, no padding, no activation.
    fn default() -> Self {
        Self { stride: (1, 1), padding: (0, 0), relu: false }
    }
}

/// Convolves images `x[N, C, H, W]` with `weight[O, C, h, w]`, adds `bias[O]`, and optionally takes
/// the relu: `[N, O, H', W']`.
///
/// # Errors
/// If the shapes do not fit.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvOptions,
) -> Result<Tensor> {
    let bias = bias_or_zeros(bias, weight)?;
    let ConvOptions { stride, padding, relu } = options;
    let sizes = Convolution::new(x.dims(), weight.dims(), bias.dims(), stride, padding)?;
    if !has_kernels(&[x, weight, &bias]) {
        return composed::conv2d(x, weight, &bias, options);
    }
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias, Conv2d { sizes, relu })
}

struct Conv2d {
    sizes: Convolution,
    relu: bool,
}

/// At most so many partial sums of a gradient are kept, whatever the number of threads.
pub(super) const PARTIAL_SUMS: usize = 16;

/// How many images go into each partial sum: more where the sums are large, so that all of them
/// stay below about 32 MB.
pub(super) fn images_per_sum(images: usize, length: usize) -> usize {
    let most = ((8 << 20) / length.max(1)).clamp(1, PARTIAL_SUMS);
    piece_length(images, most)
}

/// Lays a padded image out as `columns[taps][places]`.
fn lay_out(sizes: &Convolution, padded: &[f32], columns: &mut [f32]) {
    let (stride_y, stride_x) = sizes.window.stride;
    let (places, width) = (sizes.out_pixels(), sizes.padded_width());
    for (row, from) in columns.chunks_exact_mut(places).zip(sizes.tap_offsets()) {
        for (y, line) in row.chunks_exact_mut(sizes.out_width).enumerate() {
            let source = &padded[from + y * stride_y * width..];
            if stride_x == 1 {
                line.copy_from_slice(&source[..sizes.out_width]);
            } else {
                for (x, value) in line.iter_mut().enumerate() {
                    *value = source[x * stride_x];
                }
            }
        }
    }
}

/// Adds a layout back into a padded image: the gradient of [`lay_out`].
pub(super) fn fold_back(sizes: &Convolution, columns: &[f32], padded: &mut [f32]) {
    let (stride_y, stride_x) = sizes.window.stride;
    let (places, width) = (sizes.out_pixels(), sizes.padded_width());
    for (row, from) in columns.chunks_exact(places).zip(sizes.tap_offsets()) {
        for (y, line) in row.chunks_exact(sizes.out_width).enumerate() {
            let target = &mut padded[from + y * stride_y * width..];
            for (x, value) in line.iter().enumerate() {
                target[x * stride_x] += value;
            }
        }
    }
}

impl Conv2d {
    fn cost(&self) -> usize {
        self.sizes.images * self.sizes.filters * self.sizes.taps() * self.sizes.out_pixels()
    }

    fn forward(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        let sizes = &self.sizes;
        let (places, taps, filters) = (sizes.out_pixels(), sizes.taps(), sizes.filters);
        let level = Level::best();
        // A single image is split within the product instead.
        let single = sizes.images == 1;
        let relu = self.relu;
        // SAFETY: each image writes its own maps, all of them.
        unsafe {
            filled(sizes.images * filters * places, |out: Shared<f32>| {
                for_each(sizes.images, self.cost(), |n| {
                    let image = &x[n * sizes.image_length()..][..sizes.image_length()];
                    let mut padded = Scratch::zeroed(sizes.padded_length());
                    sizes.pad(image, &mut padded);
                    let mut columns = Scratch::new(taps * places);
                    lay_out(sizes, &padded, &mut columns);
                    for (o, &value) in bias.iter().enumerate() {
                        for p in 0..places {
                            out.at((n * filters + o) * places + p).write(value);
                        }
                    }
                    let maps = out.part(n * filters * places, filters * places);
                    let left = Strided { values: weight, row_stride: taps, column_stride: 1 };
                    product(level, filters, places, taps, left, &columns, maps, Into::Add, single);
                    if relu {
                        // Written so that a NaN stays one.
                        maps.iter_mut().for_each(|v| *v = if *v <= 0.0 { 0.0 } else { *v });
                    }
                });
            })
        }
    }

    /// The gradients of the images, the weights and the bias, those that are asked for.
    fn backward(
        &self,
        [x, weight, out, grad]: [&[f32]; 4],
        [for_x, for_weight, for_bias]: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let sizes = &self.sizes;
        let (places, taps, filters) = (sizes.out_pixels(), sizes.taps(), sizes.filters);
        let level = Level::best();
        let single = sizes.images == 1;
        // Each partial sum holds the weights' gradient, then the bias's.
        let length = filters * taps + filters;
        let per_sum = images_per_sum(sizes.images, length);
        let pieces = sizes.images.div_ceil(per_sum);
        let mut sums = Scratch::zeroed(pieces * length);
        let shared = Shared::new(&mut sums);
        let mut x_gradient = vec![0.0; if for_x { x.len() } else { 0 }];
        let x_shared = Shared::new(&mut x_gradient);
        for_each(pieces, 2 * self.cost(), |piece| {
            // SAFETY: each piece has a sum and images of its own.
            let sum = unsafe { shared.part(piece * length, length) };
            let (weight_sum, bias_sum) = sum.split_at_mut(filters * taps);
            let mut padded = Scratch::zeroed(sizes.padded_length());
            let mut columns = Scratch::new(taps * places);
            let mut masked = Scratch::new(filters * places);
            for n in piece * per_sum..sizes.images.min((piece + 1) * per_sum) {
                let maps = n * filters * places..(n + 1) * filters * places;
                let grad = &grad[maps.clone()];
                let grad = if self.relu {
                    for ((to, &g), &o) in masked.iter_mut().zip(grad).zip(&out[maps]) {
                        *to = if o > 0.0 { g } else { 0.0 };
                    }
                    &masked[..]
                } else {
                    grad
                };
                if for_bias {
                    for (sum, map) in bias_sum.iter_mut().zip(grad.chunks_exact(places)) {
                        *sum += map.iter().sum::<f32>();
                    }
                }
                if for_weight {
                    sizes.pad(&x[n * sizes.image_length()..][..sizes.image_length()], &mut padded);
                    lay_out(sizes, &padded, &mut columns);
                    let finish = Finish { bias: None, relu: false, into: Into::Add };
                    dots(level, filters, taps, places, grad, &columns, weight_sum, finish, single);
                }
                if for_x {
                    let left = Strided { values: weight, row_stride: 1, column_stride: taps };
                    let into = Into::Replace;
                    product(level, taps, places, filters, left, grad, &mut columns, into, single);
                    let mut folded = Scratch::zeroed(sizes.padded_length());
                    fold_back(sizes, &columns, &mut folded);
                    let length = sizes.image_length();
                    // SAFETY: as above.
                    let image = unsafe { x_shared.part(n * length, length) };
                    sizes.unpad_add(&folded, image);
                }
            }
        });
        let total = add_up(&sums, length);
        let (weight_total, bias_total) = total.split_at(filters * taps);
        [
            for_x.then_some(x_gradient),
            for_weight.then(|| weight_total.to_vec()),
            for_bias.then(|| bias_total.to_vec()),
        ]
    }
}

/// The sum of all parts of `length`, in their order.
pub(super) fn add_up(parts: &[f32], length: usize) -> Vec<f32> {
    let mut total = vec![0.0; length];
    if length > 0 {
        for part in parts.chunks_exact(length) {
            for (sum, value) in total.iter_mut().zip(part) {
                *sum += value;
            }
        }
    }
    total
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
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
        let out = self.forward(
            slice(x, x_layout)?,
            slice(weight, weight_layout)?,
            slice(bias, bias_layout)?,
        );
        let sizes = &self.sizes;
        let shape = (sizes.images, sizes.filters, sizes.out_height, sizes.out_width);
        Ok((CpuStorage::F32(out), shape.into()))
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
        let gradients = with_values(x, |x| {
            with_values(weight, |weight| {
                with_values(out, |out| {
                    with_values(grad, |grad| Ok(self.backward([x, weight, out, grad], asked)))
                })
            })
        })?;
        let [gx, gw, gb] = gradients;
        let tensor = |values: Option<Vec<f32>>, like: &Tensor| {
            values.map(|v| Tensor::from_vec(v, like.shape(), like.device())).transpose()
        };
        Ok((tensor(gx, x)?, tensor(gw, weight)?, tensor(gb, bias)?))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::check::{check_gradients, variable};
    use super::*;

    /// The definition, in `f64`.
    pub(in super::super) fn reference(
        sizes: &Convolution,
        x: &[f64],
        weight: &[f64],
        bias: &[f64],
        relu: bool,
    ) -> Vec<f64> {
        let (kh, kw) = sizes.window.kernel;
        let ((sy, sx), (py, px)) = (sizes.window.stride, sizes.window.padding);
        let mut out = Vec::new();
        for n in 0..sizes.images {
            for (o, &first) in bias.iter().enumerate() {
                for y in 0..sizes.out_height {
                    for xx in 0..sizes.out_width {
                        let mut sum = first;
                        for c in 0..sizes.channels {
                            for ky in 0..kh {
                                for kx in 0..kw {
                                    let (iy, ix) = (y * sy + ky, xx * sx + kx);
                                    if iy < py || ix < px {
                                        continue;
                                    }
                                    let (iy, ix) = (iy - py, ix - px);
                                    if iy >= sizes.height || ix >= sizes.width {
                                        continue;
                                    }
                                    let at = ((n * sizes.channels + c) * sizes.height + iy)
                                        * sizes.width
                                        + ix;
                                    let w = ((o * sizes.channels + c) * kh + ky) * kw + kx;
                                    sum += x[at] * weight[w];
                                }
                            }
                        }
                        out.push(if relu { sum.max(0.0) } else { sum });
                    }
                }
            }
        }
        out
    }

    #[test]
    fn values_and_gradients_agree_with_the_definition() {
        for (input, weight, stride, padding) in [
            ([2, 1, 6, 7], [5, 1, 3, 3], (1, 1), (0, 0)),
            ([3, 2, 5, 5], [3, 2, 3, 2], (2, 1), (1, 0)),
            ([1, 3, 4, 4], [17, 3, 1, 1], (1, 1), (0, 0)),
            ([1, 1, 1, 1], [1, 1, 1, 1], (1, 1), (0, 0)),
            ([2, 2, 3, 5], [2, 2, 3, 3], (3, 2), (1, 2)),
        ] {
            for relu in [false, true] {
                let options = ConvOptions { stride, padding, relu };
                let sizes = Convolution::new(&input, &weight, &[weight[0]], stride, padding)
                    .expect("it fits");
                let inputs = [variable(&input, 1), variable(&weight, 2), variable(&[weight[0]], 3)];
                check_gradients(
                    &inputs,
                    |t| conv2d(&t[0], &t[1], Some(&t[2]), options),
                    |v| reference(&sizes, &v[0], &v[1], &v[2], relu),
                );
            }
        }
    }

    #[test]
    fn only_variables_get_gradients() {
        let x = variable(&[1, 1, 4, 4], 1).as_detached_tensor();
        let weight = variable(&[2, 1, 3, 3], 2);
        let out = conv2d(&x, &weight, None, ConvOptions::default()).expect("it runs");
        let gradients = out.sum_all().and_then(|s| s.backward()).expect("gradients");
        assert!(gradients.get(&x).is_none());
        assert!(gradients.get(&weight).is_some());
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let x = variable(&[1, 2, 4, 4], 1);
        let options = ConvOptions::default();
        assert!(conv2d(&x, &variable(&[2, 1, 3, 3], 2), None, options).is_err());
        assert!(conv2d(&x, &variable(&[2, 2, 5, 3], 2), None, options).is_err());
        let bias = variable(&[3], 3);
        assert!(conv2d(&x, &variable(&[2, 2, 3, 3], 2), Some(&bias), options).is_err());
    }
}
