//! Where windows lie in an image.

use candle_core::{Result, bail};

/// A window that slides over an image: sizes as (height, width), in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The window's size.
    pub kernel: (usize, usize),
    /// How far it moves.
    pub stride: (usize, usize),
    /// How many pixels are added on each side.
    pub padding: (usize, usize),
}

impl Window {
    /// A square window that moves by its own size, as pooling does.
    pub fn tiles(size: usize) -> Self {
        Self { kernel: (size, size), stride: (size, size), padding: (0, 0) }
    }

    /// How many places it has in an image: `floor((size + 2 padding - kernel) / stride) + 1`.
    ///
    /// # Errors
    /// If a size is 0 or the window is larger than the padded image.
    pub fn places(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let along = |size: usize, kernel: usize, stride: usize, padding: usize| {
            if kernel == 0 || stride == 0 {
                bail!("a window's kernel and stride must be at least 1")
            }
            match (size + 2 * padding).checked_sub(kernel) {
                Some(room) => Ok(room / stride + 1),
                None => bail!(
                    "a window of {kernel} does not fit into {size} pixels with padding {padding}"
                ),
            }
        };
        Ok((
            along(height, self.kernel.0, self.stride.0, self.padding.0)?,
            along(width, self.kernel.1, self.stride.1, self.padding.1)?,
        ))
    }

    /// That pooling windows hold at least one pixel each.
    pub(super) fn check_pooling(&self) -> Result<()> {
        let half = |kernel: usize, padding: usize| 2 * padding <= kernel;
        if !half(self.kernel.0, self.padding.0) || !half(self.kernel.1, self.padding.1) {
            bail!("the padding of a pooling window can be at most half its kernel")
        }
        Ok(())
    }
}

/// All sizes of one convolution of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Convolution {
    pub(super) images: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) filters: usize,
    pub(super) window: Window,
    pub(super) out_height: usize,
    pub(super) out_width: usize,
}

impl Convolution {
    /// From the shapes of the batch `[N, C, H, W]` and the weights `[O, C, kh, kw]`.
    pub(super) fn new(
        input: &[usize],
        weight: &[usize],
        bias: &[usize],
        stride: (usize, usize),
        padding: (usize, usize),
    ) -> Result<Self> {
        let (&[images, channels, height, width], &[filters, inputs, kh, kw]) = (input, weight)
        else {
            bail!(
                "a convolution takes images [N, C, H, W] and weights [O, C, h, w], not {input:?} and {weight:?}"
            )
        };
        if channels != inputs {
            bail!("images of {channels} channels do not fit weights for {inputs}")
        }
        if channels == 0 || filters == 0 {
            bail!("a convolution needs at least one channel and one filter")
        }
        if bias != [filters] {
            bail!("a bias of shape {bias:?} does not fit {filters} filters")
        }
        let window = Window { kernel: (kh, kw), stride, padding };
        let (out_height, out_width) = window.places(height, width)?;
        Ok(Self { images, channels, height, width, filters, window, out_height, out_width })
    }

    /// Terms of each sum: channels × kernel.
    pub(super) fn taps(&self) -> usize {
        self.channels * self.window.kernel.0 * self.window.kernel.1
    }

    /// Pixels of an output map.
    pub(super) fn out_pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Values of one image.
    pub(super) fn image_length(&self) -> usize {
        self.channels * self.height * self.width
    }

    pub(super) fn padded_height(&self) -> usize {
        self.height + 2 * self.window.padding.0
    }

    pub(super) fn padded_width(&self) -> usize {
        self.width + 2 * self.window.padding.1
    }

    /// Values of one image with its padding.
    pub(super) fn padded_length(&self) -> usize {
        self.channels * self.padded_height() * self.padded_width()
    }

    /// Copies an image into the middle of `to`, whose border is 0.
    pub(super) fn pad(&self, image: &[f32], to: &mut [f32]) {
        let (ph, pw) = self.window.padding;
        let (height, width) = (self.padded_height(), self.padded_width());
        if (ph, pw) == (0, 0) {
            to[..image.len()].copy_from_slice(image);
            return;
        }
        for (row, pixels) in image.chunks_exact(self.width).enumerate() {
            let (channel, y) = (row / self.height, row % self.height);
            let at = (channel * height + y + ph) * width + pw;
            to[at..at + self.width].copy_from_slice(pixels);
        }
    }

    /// Adds the middle of a padded image to an image: the gradient of [`Self::pad`].
    pub(super) fn unpad_add(&self, padded: &[f32], image: &mut [f32]) {
        let (ph, pw) = self.window.padding;
        let (height, width) = (self.padded_height(), self.padded_width());
        for (row, pixels) in image.chunks_exact_mut(self.width).enumerate() {
            let (channel, y) = (row / self.height, row % self.height);
            let at = (channel * height + y + ph) * width + pw;
            for (pixel, value) in pixels.iter_mut().zip(&padded[at..at + self.width]) {
                *pixel += value;
            }
        }
    }

    /// Where each tap lies in a padded image, relative to the window's corner.
    pub(super) fn tap_offsets(&self) -> Vec<usize> {
        let (kh, kw) = self.window.kernel;
        let mut offsets = Vec::with_capacity(self.taps());
        for channel in 0..self.channels {
            for y in 0..kh {
                for x in 0..kw {
                    offsets.push((channel * self.padded_height() + y) * self.padded_width() + x);
                }
            }
        }
        offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let window = Window { kernel: (3, 3), stride: (2, 1), padding: (1, 0) };
        assert_eq!(window.places(5, 5).expect("it fits"), (3, 3));
        assert!(window.places(0, 5).is_err());
        assert!(window.places(5, 2).is_err());
        assert!(Window { stride: (0, 1), ..window }.places(5, 5).is_err());
        assert!(Window { padding: (2, 0), ..window }.check_pooling().is_err());
    }
}
