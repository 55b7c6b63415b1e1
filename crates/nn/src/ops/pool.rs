//! Pooling: the largest or the mean of each window.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::composed;
use super::geometry::Window;
use super::parallel::{Shared, filled, for_each};
use super::tensor::{has_kernels, slice, with_values};

/// The largest value of each window of `x[N, C, H, W]`: `[N, C, H', W']`. The gradient goes to the
/// largest alone, the first where several are equal. Padding never wins.
///
/// # Errors
/// If the shapes do not fit.
pub fn max_pool2d(x: &Tensor, window: Window) -> Result<Tensor> {
    let pool = Pool::new(x, window)?;
    if !has_kernels(&[x]) {
        return composed::max_pool2d(x, window);
    }
    x.contiguous()?.apply_op1(MaxPool { pool, winners: OnceLock::new() })
}

/// The mean of each window of `x[N, C, H, W]`: `[N, C, H', W']`. Padding counts as zeros.
///
/// # Errors
/// If the shapes do not fit.
pub fn avg_pool2d(x: &Tensor, window: Window) -> Result<Tensor> {
    let pool = Pool::new(x, window)?;
    if !has_kernels(&[x]) {
        return composed::avg_pool2d(x, window);
    }
    x.contiguous()?.apply_op1(AvgPool { pool })
}

#[derive(Clone, Copy)]
struct Pool {
    images: usize,
    channels: usize,
    height: usize,
    width: usize,
    window: Window,
    out_height: usize,
    out_width: usize,
}

impl Pool {
    fn new(x: &Tensor, window: Window) -> Result<Self> {
        let &[images, channels, height, width] = x.dims() else {
            bail!("pooling takes images [N, C, H, W], not {:?}", x.dims())
        };
        window.check_pooling()?;
        let (out_height, out_width) = window.places(height, width)?;
        Ok(Self { images, channels, height, width, window, out_height, out_width })
    }

    fn planes(&self) -> usize {
        self.images * self.channels
    }

    fn plane_length(&self) -> usize {
        self.height * self.width
    }

    fn out_length(&self) -> usize {
        self.out_height * self.out_width
    }

    fn cost(&self) -> usize {
        self.planes() * self.out_length() * self.window.kernel.0 * self.window.kernel.1
    }

    fn shape(&self) -> Shape {
        (self.images, self.channels, self.out_height, self.out_width).into()
    }

    /// The rows and columns of the image that the window at an output pixel covers.
    fn covers(&self, pixel: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let along = |at: usize, kernel: usize, stride: usize, padding: usize, size: usize| {
            let from = at * stride;
            from.saturating_sub(padding)..(from + kernel).saturating_sub(padding).min(size)
        };
        let (y, x) = (pixel / self.out_width, pixel % self.out_width);
        let Window { kernel, stride, padding } = self.window;
        (
            along(y, kernel.0, stride.0, padding.0, self.height),
            along(x, kernel.1, stride.1, padding.1, self.width),
        )
    }

    /// Makes the gradient of the images: `add(plane, its gradient)` for each plane of zeros.
    fn gradient(&self, add: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
        let length = self.plane_length();
        let mut gradient = vec![0.0; self.planes() * length];
        let shared = Shared::new(&mut gradient);
        for_each(self.planes(), self.cost(), |plane| {
            // SAFETY: each plane is a part of its own.
            add(plane, unsafe { shared.part(plane * length, length) });
        });
        gradient
    }
}

struct MaxPool {
    pool: Pool,
    /// For each output value, where in its plane it came from.
    winners: OnceLock<Vec<u32>>,
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let pool = &self.pool;
        let length = pool.out_length();
        let mut winners = Vec::new();
        // SAFETY: each plane writes its own values and winners, all of them.
        let out = unsafe {
            filled(pool.planes() * length, |out: Shared<f32>| {
                winners = filled(pool.planes() * length, |winners: Shared<u32>| {
                    for_each(pool.planes(), pool.cost(), |plane| {
                        let from = &x[plane * pool.plane_length()..][..pool.plane_length()];
                        for pixel in 0..length {
                            let (rows, columns) = pool.covers(pixel);
                            let mut winner = rows.start * pool.width + columns.start;
                            for y in rows {
                                for i in
                                    y * pool.width + columns.start..y * pool.width + columns.end
                                {
                                    if from[i] > from[winner] || from[i].is_nan() {
                                        winner = i;
                                    }
                                }
                            }
                            out.at(plane * length + pixel).write(from[winner]);
                            winners.at(plane * length + pixel).write(winner as u32);
                        }
                    });
                });
            })
        };
        // An op is applied once, so nothing is there yet.
        let _ = self.winners.set(winners);
        Ok((CpuStorage::F32(out), pool.shape()))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let Some(winners) = self.winners.get() else { bail!("backward before forward") };
        let length = self.pool.out_length();
        let gradient = with_values(grad, |grad| {
            Ok(self.pool.gradient(|plane, to| {
                let range = plane * length..(plane + 1) * length;
                for (&g, &winner) in grad[range.clone()].iter().zip(&winners[range]) {
                    to[winner as usize] += g;
                }
            }))
        })?;
        Tensor::from_vec(gradient, x.shape(), x.device()).map(Some)
    }
}

struct AvgPool {
    pool: Pool,
}

impl AvgPool {
    fn share(&self) -> f32 {
        1.0 / (self.pool.window.kernel.0 * self.pool.window.kernel.1) as f32
    }
}

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let pool = &self.pool;
        let length = pool.out_length();
        // SAFETY: each plane writes its own values, all of them.
        let out = unsafe {
            filled(pool.planes() * length, |out: Shared<f32>| {
                for_each(pool.planes(), pool.cost(), |plane| {
                    let from = &x[plane * pool.plane_length()..][..pool.plane_length()];
                    for pixel in 0..length {
                        let (rows, columns) = pool.covers(pixel);
                        let mut sum = 0.0;
                        for y in rows {
                            let row = &from[y * pool.width..(y + 1) * pool.width];
                            sum += row[columns.clone()].iter().sum::<f32>();
                        }
                        out.at(plane * length + pixel).write(sum * self.share());
                    }
                });
            })
        };
        Ok((CpuStorage::F32(out), pool.shape()))
    }

    fn bwd(&self, x: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let pool = &self.pool;
        let length = pool.out_length();
        let gradient = with_values(grad, |grad| {
            Ok(pool.gradient(|plane, to| {
                for pixel in 0..length {
                    let g = grad[plane * length + pixel] * self.share();
                    let (rows, columns) = pool.covers(pixel);
                    for y in rows {
                        for value in &mut to[y * pool.width..(y + 1) * pool.width][columns.clone()]
                        {
                            *value += g;
                        }
                    }
                }
            }))
        })?;
        Tensor::from_vec(gradient, x.shape(), x.device()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::check::{check_gradients, flat, variable};
    use super::*;

    fn reference(shape: &[usize; 4], window: Window, x: &[f64], mean: bool) -> Vec<f64> {
        let [n, c, h, w] = *shape;
        let (oh, ow) = window.places(h, w).expect("it fits");
        let mut out = Vec::new();
        for plane in 0..n * c {
            for y in 0..oh {
                for xx in 0..ow {
                    let (mut largest, mut sum) = (f64::NEG_INFINITY, 0.0);
                    for ky in 0..window.kernel.0 {
                        for kx in 0..window.kernel.1 {
                            let iy =
                                (y * window.stride.0 + ky) as isize - window.padding.0 as isize;
                            let ix =
                                (xx * window.stride.1 + kx) as isize - window.padding.1 as isize;
                            if (0..h as isize).contains(&iy) && (0..w as isize).contains(&ix) {
                                let v = x[(plane * h + iy as usize) * w + ix as usize];
                                largest = largest.max(v);
                                sum += v;
                            }
                        }
                    }
                    let area = (window.kernel.0 * window.kernel.1) as f64;
                    out.push(if mean { sum / area } else { largest });
                }
            }
        }
        out
    }

    #[test]
    fn values_and_gradients_agree_with_the_definition() {
        for (shape, kernel, stride, padding) in [
            ([2, 3, 6, 6], (2, 2), (2, 2), (0, 0)),
            ([1, 2, 7, 5], (2, 2), (2, 2), (0, 0)),
            ([2, 1, 7, 5], (3, 2), (1, 2), (1, 1)),
            ([1, 1, 1, 1], (1, 1), (1, 1), (0, 0)),
            ([1, 2, 5, 5], (2, 2), (3, 3), (0, 0)),
            ([1, 1, 4, 6], (4, 3), (1, 1), (2, 1)),
        ] {
            let window = Window { kernel, stride, padding };
            let x = [variable(&shape, 5)];
            let op = |t: &[Tensor]| max_pool2d(&t[0], window);
            check_gradients(&x, op, |v| reference(&shape, window, &v[0], false));
            let op = |t: &[Tensor]| avg_pool2d(&t[0], window);
            check_gradients(&x, op, |v| reference(&shape, window, &v[0], true));
            let op = |t: &[Tensor]| composed::max_pool2d(&t[0], window);
            check_gradients(&x, op, |v| reference(&shape, window, &v[0], false));
            let op = |t: &[Tensor]| composed::avg_pool2d(&t[0], window);
            check_gradients(&x, op, |v| reference(&shape, window, &v[0], true));
        }
    }

    #[test]
    fn the_first_of_equals_gets_the_gradient() {
        let x = Var::from_vec(vec![1_f32; 16], (1, 1, 4, 4), &Device::Cpu).expect("a variable");
        for pool in [max_pool2d, composed::max_pool2d] {
            let out = pool(&x, Window::tiles(2)).expect("it runs");
            let gradients = out.sum_all().and_then(|s| s.backward()).expect("gradients");
            let gradient = flat(gradients.get(&x).expect("a gradient"));
            let expected: Vec<f64> =
                (0..16).map(|i| f64::from(u8::from([0, 2, 8, 10].contains(&i)))).collect();
            assert_eq!(gradient, expected);
        }
    }

    #[test]
    fn a_nan_is_not_hidden() {
        let x = Var::from_vec(vec![1_f32, f32::NAN, 2.0, 3.0], (1, 1, 2, 2), &Device::Cpu)
            .expect("a variable");
        assert!(flat(&max_pool2d(&x, Window::tiles(2)).expect("it runs"))[0].is_nan());
    }
}
