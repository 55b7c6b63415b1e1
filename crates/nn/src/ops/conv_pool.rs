//! Convolution, bias, relu and max pooling in one op.
//!
//! The full map never exists: the values of one pooling window stay in registers, a lane for each
//! filter, and only the largest is stored, with its place. The gradient is sparse, one place for
//! each pooled value, and that is all it costs: a 2×2 pool saves three quarters of the work.

mod sparse;

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::conv::{ConvOptions, add_up, conv2d, fold_back, images_per_sum};
use super::geometry::{Convolution, Window};
use super::parallel::{Scratch, Shared, filled, for_each};
use super::pool::max_pool2d;
use super::simd::{Lanes, Level, dispatch, turn};
use super::tensor::{bias_or_zeros, has_kernels, slice, with_values};
use sparse::{Lists, WHOLE, gather_sums, scatter_rows};

/// [`conv2d`] followed by [`max_pool2d`] with windows of `pool` (height, width) that move by their
/// own size: `[N, O, H'/pool, W'/pool]`. Several times faster than the two.
///
/// # Errors
/// If the shapes do not fit.
pub fn conv2d_max_pool2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: ConvOptions,
    pool: (usize, usize),
) -> Result<Tensor> {
    let bias = bias_or_zeros(bias, weight)?;
    let ConvOptions { stride, padding, relu } = options;
    let sizes = Convolution::new(x.dims(), weight.dims(), bias.dims(), stride, padding)?;
    let tiles = Window { kernel: pool, stride: pool, padding: (0, 0) };
    let (out_height, out_width) = tiles.places(sizes.out_height, sizes.out_width)?;
    // The place within a window is kept in a byte.
    if !has_kernels(&[x, weight, &bias]) || pool.0 * pool.1 > 256 {
        return max_pool2d(&conv2d(x, weight, Some(&bias), options)?, tiles);
    }
    let tracked = x.track_op() || weight.track_op() || bias.track_op();
    let op =
        ConvPool { sizes, relu, pool, out_height, out_width, tracked, winners: OnceLock::new() };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias, op)
}

struct ConvPool {
    sizes: Convolution,
    relu: bool,
    pool: (usize, usize),
    out_height: usize,
    out_width: usize,
    /// Whether a gradient may be asked for.
    tracked: bool,
    /// For each pooled value where the patch of the largest begins among the image's patches.
    winners: OnceLock<Vec<f32>>,
}

/// What the forward kernel needs for one image.
#[derive(Clone, Copy)]
struct Pass<'a> {
    /// The padded image.
    image: &'a [f32],
    /// Where each pooled pixel's window begins in it.
    corners: &'a [usize],
    /// Where the places of a pooling window lie, relative to its corner.
    places: &'a [usize],
    /// Where the patches of the corners and of the places begin: numbers for lanes.
    corner_patches: &'a [f32],
    place_patches: &'a [f32],
    /// Where the taps lie, relative to a place.
    taps: &'a [usize],
    /// The weights, `[taps][lanes]`.
    weight: &'a [f32],
    /// The bias, a lane each.
    bias: &'a [f32],
    /// Filters, made up to whole vectors.
    lanes: usize,
    relu: bool,
    /// Whether the places of the largest are to be kept.
    keep: bool,
}

/// The largest of a window's places so far, and which it is.
#[inline(always)]
unsafe fn visit<S: Lanes, const PLACES: usize, const VECTORS: usize>(
    pass: &Pass<'_>,
    corner: usize,
    first: usize,
    lane: usize,
    best: &mut [S; VECTORS],
    winner: &mut [S; VECTORS],
) {
    // SAFETY: the offsets were made from the sizes that the image has; the weights and the bias
    // hold `lanes` values for each tap.
    unsafe {
        let image = pass.image.as_ptr();
        let mut sums = [[S::zero(); VECTORS]; PLACES];
        let mut from = [image; PLACES];
        for (j, from) in from.iter_mut().enumerate() {
            *from = image.add(corner + *pass.places.get_unchecked(first + j));
        }
        for row in &mut sums {
            for (v, sum) in row.iter_mut().enumerate() {
                *sum = S::load(pass.bias.as_ptr().add(lane + v * S::LANES));
            }
        }
        let mut weight = pass.weight.as_ptr().add(lane);
        for &tap in pass.taps {
            let mut right = [S::zero(); VECTORS];
            for (v, lanes) in right.iter_mut().enumerate() {
                *lanes = S::load(weight.add(v * S::LANES));
            }
            for (row, from) in sums.iter_mut().zip(from) {
                let pixel = S::splat(*from.add(tap));
                for (sum, lanes) in row.iter_mut().zip(right) {
                    *sum = pixel.mul_add(lanes, *sum);
                }
            }
            weight = weight.add(pass.lanes);
        }
        for (j, row) in sums.iter().enumerate() {
            if first + j == 0 {
                *best = *row;
                continue;
            }
            let index = S::splat(*pass.place_patches.get_unchecked(first + j));
            for v in 0..VECTORS {
                winner[v] = row[v].if_greater(best[v], index, winner[v]);
                best[v] = row[v].if_greater(best[v], row[v], best[v]);
            }
        }
    }
}

#[inline(always)]
unsafe fn forward_vectors<S: Lanes, const VECTORS: usize>(
    pass: &Pass<'_>,
    lane: usize,
    pooled: *mut f32,
    winners: *mut f32,
) {
    // SAFETY: the caller vouches for room for `lanes` values for each corner in both.
    unsafe {
        for (pixel, &corner) in pass.corners.iter().enumerate() {
            let mut best = [S::zero(); VECTORS];
            let mut winner = [S::zero(); VECTORS];
            let mut first = 0;
            while pass.places.len() - first >= 4 {
                visit::<S, 4, VECTORS>(pass, corner, first, lane, &mut best, &mut winner);
                first += 4;
            }
            while pass.places.len() - first >= 1 {
                visit::<S, 1, VECTORS>(pass, corner, first, lane, &mut best, &mut winner);
                first += 1;
            }
            for v in 0..VECTORS {
                let at = pixel * pass.lanes + lane + v * S::LANES;
                // In this order a NaN stays one.
                let value = if pass.relu { S::zero().max(best[v]) } else { best[v] };
                value.store(pooled.add(at));
                if pass.keep {
                    let corner = S::splat(*pass.corner_patches.get_unchecked(pixel));
                    winner[v].add(corner).store(winners.add(at));
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn forward_lanes<S: Lanes>(pass: &Pass<'_>, pooled: *mut f32, winners: *mut f32) {
    // SAFETY: as for `forward_vectors`.
    unsafe {
        let mut lane = 0;
        while pass.lanes - lane >= 2 * S::LANES {
            forward_vectors::<S, 2>(pass, lane, pooled, winners);
            lane += 2 * S::LANES;
        }
        while lane < pass.lanes {
            forward_vectors::<S, 1>(pass, lane, pooled, winners);
            lane += S::LANES;
        }
    }
}

dispatch! {
    unsafe fn forward_image(pass: &Pass<'_>, pooled: *mut f32, winners: *mut f32) = forward_lanes
}

impl ConvPool {
    fn lanes(&self) -> usize {
        self.sizes.filters.next_multiple_of(WHOLE)
    }

    /// Values kept for each place: its taps and a 1 for the bias, made up to whole vectors.
    fn patch_length(&self) -> usize {
        (self.sizes.taps() + 1).next_multiple_of(WHOLE)
    }

    fn out_pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    fn cost(&self) -> usize {
        self.sizes.images * self.sizes.filters * self.sizes.taps() * self.sizes.out_pixels()
    }

    /// For each pooled pixel the value of `at(y, x)` for the first place of its window.
    fn corners(&self, at: impl Fn(usize, usize) -> usize) -> Vec<usize> {
        let mut corners = Vec::with_capacity(self.out_pixels());
        for y in 0..self.out_height {
            for x in 0..self.out_width {
                corners.push(at(y * self.pool.0, x * self.pool.1));
            }
        }
        corners
    }

    /// For each place of a window, in the order of reading.
    fn places(&self, at: impl Fn(usize, usize) -> usize) -> Vec<usize> {
        let (height, width) = self.pool;
        (0..height * width).map(|i| at(i / width, i % width)).collect()
    }

    fn forward(
        &self,
        level: Level,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let sizes = &self.sizes;
        let (taps, filters, lanes, pixels) =
            (sizes.taps(), sizes.filters, self.lanes(), self.out_pixels());
        let mut by_tap = Scratch::zeroed(taps * lanes);
        for (o, row) in weight.chunks_exact(taps.max(1)).enumerate() {
            for (k, &value) in row.iter().enumerate() {
                by_tap[k * lanes + o] = value;
            }
        }
        let mut whole_bias = Scratch::zeroed(lanes);
        whole_bias[..filters].copy_from_slice(bias);
        let (stride_y, stride_x) = sizes.window.stride;
        let row = sizes.padded_width();
        let in_image = |y: usize, x: usize| y * stride_y * row + x * stride_x;
        let (corners, places) = (self.corners(in_image), self.places(in_image));
        let patch = self.patch_length();
        let in_patches = |y: usize, x: usize| (y * sizes.out_width + x) * patch;
        let numbers = |places: Vec<usize>| places.into_iter().map(|p| p as f32).collect::<Vec<_>>();
        let (corner_patches, place_patches) =
            (numbers(self.corners(in_patches)), numbers(self.places(in_patches)));
        let offsets = sizes.tap_offsets();
        let maps = filters * pixels;
        let kept = if self.tracked { sizes.images * maps } else { 0 };
        let mut winners = Vec::new();
        // SAFETY: each image writes the maps and winners of its own, all of them.
        let out = unsafe {
            filled(sizes.images * maps, |out: Shared<f32>| {
                winners = filled(kept, |winners: Shared<f32>| {
                    let (weight, bias): (&[f32], &[f32]) = (&by_tap, &whole_bias);
                    for_each(sizes.images, self.cost(), |n| {
                        let image = &x[n * sizes.image_length()..][..sizes.image_length()];
                        let mut padded;
                        let image = if sizes.window.padding == (0, 0) {
                            image
                        } else {
                            padded = Scratch::zeroed(sizes.padded_length());
                            sizes.pad(image, &mut padded);
                            &padded
                        };
                        let pass = Pass {
                            image,
                            corners: &corners,
                            places: &places,
                            corner_patches: &corner_patches,
                            place_patches: &place_patches,
                            taps: &offsets,
                            weight,
                            bias,
                            lanes,
                            relu: self.relu,
                            keep: self.tracked,
                        };
                        // Whole blocks, for they are turned block by block.
                        let block = pixels.next_multiple_of(WHOLE) * lanes;
                        let mut pooled = Scratch::new(block);
                        let mut places = Scratch::new(if self.tracked { block } else { 0 });
                        let (from, places) = (pooled.as_mut_ptr(), places.as_mut_ptr());
                        forward_image(level, &pass, from, places);
                        turn(level, pixels, filters, from, lanes, out.at(n * maps), pixels);
                        if self.tracked {
                            let to = winners.at(n * maps);
                            turn(level, pixels, filters, places, lanes, to, pixels);
                        }
                    });
                });
            })
        };
        (out, winners)
    }

    /// The gradients of the images, the weights and the bias, those that are asked for.
    fn backward(
        &self,
        level: Level,
        [x, weight, out, grad]: [&[f32]; 4],
        winners: &[f32],
        [for_x, for_weight, for_bias]: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let sizes = &self.sizes;
        let (taps, filters, pixels) = (sizes.taps(), sizes.filters, self.out_pixels());
        let patch = self.patch_length();
        let mut whole_weight = Scratch::zeroed(if for_x { filters * patch } else { 0 });
        if for_x {
            for (to, from) in whole_weight.chunks_exact_mut(patch).zip(weight.chunks_exact(taps)) {
                to[..taps].copy_from_slice(from);
            }
        }
        let whole_weight: &[f32] = &whole_weight;
        // Patches are turned in blocks of whole rows.
        let turned_rows = sizes.out_pixels().next_multiple_of(WHOLE);
        let per_sum = images_per_sum(sizes.images, filters * patch);
        let pieces = sizes.images.div_ceil(per_sum);
        let mut sums = Scratch::zeroed(pieces * filters * patch);
        let shared = Shared::new(&mut sums);
        let mut x_gradient = vec![0.0; if for_x { x.len() } else { 0 }];
        let x_shared = Shared::new(&mut x_gradient);
        for_each(pieces, self.cost(), |piece| {
            // SAFETY: each piece has a sum of its own.
            let sum = unsafe { shared.part(piece * filters * patch, filters * patch) };
            let mut padded = Scratch::zeroed(sizes.padded_length() + SLACK);
            let mut patches = Scratch::zeroed(sizes.out_pixels() * patch + SLACK);
            let mut returned = Scratch::new(if for_x { turned_rows * patch } else { 0 });
            let mut turned = Scratch::new(if for_x { taps * sizes.out_pixels() } else { 0 });
            let mut lists = Lists::new(filters, pixels);
            for n in piece * per_sum..sizes.images.min((piece + 1) * per_sum) {
                if for_weight || for_bias {
                    sizes.pad(&x[n * sizes.image_length()..][..sizes.image_length()], &mut padded);
                    cut(sizes, &padded, patch, &mut patches);
                }
                returned.fill(0.0);
                for o in 0..filters {
                    let map = (n * filters + o) * pixels..(n * filters + o + 1) * pixels;
                    let out = self.relu.then_some(&out[map.clone()]);
                    lists.collect(level, o, &grad[map.clone()], out, &winners[map]);
                }
                // SAFETY: the places are those of patches, and all rows have `patch` values.
                unsafe {
                    if for_weight || for_bias {
                        gather_sums(level, &lists, patches.as_ptr(), sum.as_mut_ptr(), patch);
                    }
                    if for_x {
                        let rows = whole_weight.as_ptr();
                        scatter_rows(level, &lists, returned.as_mut_ptr(), rows, patch);
                    }
                }
                if for_x {
                    padded.fill(0.0);
                    let places = sizes.out_pixels();
                    // SAFETY: the rows of patches are whole vectors, and there are rows for a
                    // whole last block of them.
                    unsafe {
                        let to = turned.as_mut_ptr();
                        turn(level, places, taps, returned.as_ptr(), patch, to, places);
                    }
                    fold_back(sizes, &turned, &mut padded);
                    let length = sizes.image_length();
                    // SAFETY: each piece has images of its own.
                    let image = unsafe { x_shared.part(n * length, length) };
                    sizes.unpad_add(&padded, image);
                    // The border was 0 for the next image's padding; it must be again.
                    padded.fill(0.0);
                }
            }
        });
        let total = add_up(&sums, filters * patch);
        let rows = || total.chunks_exact(patch);
        [
            for_x.then_some(x_gradient),
            for_weight.then(|| rows().flat_map(|row| &row[..taps]).copied().collect()),
            for_bias.then(|| rows().map(|row| row[taps]).collect()),
        ]
    }
}

/// Values that may be read or written behind the end of images and patches, by copying in fours.
const SLACK: usize = 4;

/// Cuts a padded image into patches: for each place the pixels under its taps, then a 1. What is
/// behind the 1 is arbitrary.
fn cut(sizes: &Convolution, padded: &[f32], patch: usize, patches: &mut [f32]) {
    let (kh, kw) = sizes.window.kernel;
    let (stride_y, stride_x) = sizes.window.stride;
    let (height, width) = (sizes.padded_height(), sizes.padded_width());
    let rows: Vec<usize> =
        (0..sizes.channels * kh).map(|row| (row / kh * height + row % kh) * width).collect();
    assert!(padded.len() >= sizes.padded_length() + SLACK);
    assert!(patches.len() >= sizes.out_pixels() * patch + SLACK);
    assert!(patch > rows.len() * kw);
    let mut to = patches.as_mut_ptr();
    for y in 0..sizes.out_height {
        for x in 0..sizes.out_width {
            let corner = y * stride_y * width + x * stride_x;
            // SAFETY: a row of taps is copied in fours, whose last may reach three values too far:
            // into what is written next, or into the slack. All else lies within the lengths that
            // were checked.
            unsafe {
                let mut row_to = to;
                for &row in &rows {
                    let from = padded.as_ptr().add(corner + row);
                    for at in (0..kw).step_by(4) {
                        let four = from.add(at).cast::<[f32; 4]>().read_unaligned();
                        row_to.add(at).cast::<[f32; 4]>().write_unaligned(four);
                    }
                    row_to = row_to.add(kw);
                }
                row_to.write(1.0);
                to = to.add(patch);
            }
        }
    }
}

impl CustomOp3 for ConvPool {
    fn name(&self) -> &'static str {
        "conv2d_max_pool2d"
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
        let (out, winners) = self.forward(
            Level::best(),
            slice(x, x_layout)?,
            slice(weight, weight_layout)?,
            slice(bias, bias_layout)?,
        );
        // An op is applied once, so nothing is there yet.
        let _ = self.winners.set(winners);
        let shape = (self.sizes.images, self.sizes.filters, self.out_height, self.out_width);
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
        let Some(winners) = self.winners.get() else { bail!("backward before forward") };
        let [gx, gw, gb] = with_values(x, |x| {
            with_values(weight, |weight| {
                with_values(out, |out| {
                    with_values(grad, |grad| {
                        let level = Level::best();
                        Ok(self.backward(level, [x, weight, out, grad], winners, asked))
                    })
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
mod tests;
