//! Vectors of `f32` behind one small trait, so that each kernel is written once and compiled for
//! AVX-512, for AVX2 with FMA, and for any machine at all.
//!
//! A kernel is a generic `#[inline(always)]` function over [`Lanes`]. The `dispatch!` macro wraps it
//! in one function per instruction set and picks among them by a [`Level`]. The instruction sets
//! round differently (lanes are summed in another order, and only some fuse multiply and add), so
//! results agree within tolerance between machines and are bit-identical on one.

use std::sync::OnceLock;

/// The instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Whatever the compiler makes of plain Rust.
    Portable,
    /// 8 lanes, fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 16 lanes, masks, 32 registers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The best that this machine has: asked once.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| *Self::available().last().unwrap_or(&Self::Portable))
    }

    /// All that this machine has, the best last.
    pub(crate) fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "nothing to add"))]
        let mut levels = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.push(Self::Avx2);
                if is_x86_feature_detected!("avx512f") {
                    levels.push(Self::Avx512);
                }
            }
        }
        levels
    }
}

/// A vector of `f32`.
///
/// # Safety
/// All methods need the instruction set of the implementing type. Loads and stores need the memory
/// they touch to be valid; they need no alignment.
pub(crate) trait Lanes: Copy {
    /// How many lanes there are.
    const LANES: usize;
    /// How many rows a matrix kernel's tile may have for its accumulators to stay in registers.
    const TILE_ROWS: usize;
    /// How many columns a tile of dot products may have, for 4 rows.
    const DOT_COLUMNS: usize;

    unsafe fn zero() -> Self;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// Loads the first `count` lanes; the others are 0. `count` may be more than there are lanes.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    /// Stores the first `count` lanes.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn sqrt(self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    /// `self * factor + term`.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// In each lane `yes` where `self > other`, else `no`.
    unsafe fn if_greater(self, other: Self, yes: Self, no: Self) -> Self;
    /// Stores those lanes of `value` that are not 0, and the whole numbers in the same lanes of
    /// `place`, close together, and tells how many. Writes up to [`Self::LANES`] values in any case.
    #[inline(always)]
    unsafe fn store_nonzero(self, place: Self, values: *mut f32, places: *mut u32) -> usize {
        let (mut v, mut p) = ([0.0; 16], [0.0; 16]);
        // SAFETY: no vector is wider than 16; the caller vouches for room for all lanes.
        unsafe {
            self.store(v.as_mut_ptr());
            place.store(p.as_mut_ptr());
            let mut count = 0;
            for (&value, &place) in v.iter().zip(&p).take(Self::LANES) {
                // Written always and kept only if it counts: no branch to guess wrongly.
                *values.add(count) = value;
                *places.add(count) = place as u32;
                count += usize::from(value != 0.0);
            }
            count
        }
    }
    /// Turns a block of [`Self::LANES`] rows into columns, and stores the first `columns` of them,
    /// `rows` values each. The whole block is read.
    #[inline(always)]
    unsafe fn transpose(
        from: *const f32,
        from_stride: usize,
        to: *mut f32,
        to_stride: usize,
        rows: usize,
        columns: usize,
    ) {
        for column in 0..columns.min(Self::LANES) {
            for row in 0..rows.min(Self::LANES) {
                // SAFETY: the caller vouches for both blocks.
                unsafe {
                    *to.add(column * to_stride + row) = *from.add(row * from_stride + column);
                }
            }
        }
    }
    /// The sums of four vectors.
    unsafe fn sum4(vectors: [Self; 4]) -> [f32; 4];
}

/// Four lanes of plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Plain([f32; 4]);

macro_rules! lanewise {
    ($a:expr, $b:expr, $f:expr) => {{
        let (a, b) = ($a.0, $b.0);
        Plain([$f(a[0], b[0]), $f(a[1], b[1]), $f(a[2], b[2]), $f(a[3], b[3])])
    }};
}

impl Lanes for Plain {
    const LANES: usize = 4;
    const TILE_ROWS: usize = 4;
    const DOT_COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 4])
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for four values at `from`.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for four values at `to`.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` values at `from`.
            *lane = unsafe { *from.add(i) };
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for (i, lane) in self.0.iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` values at `to`.
            unsafe { *to.add(i) = *lane }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        lanewise!(self, other, |a: f32, b: f32| a + b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        lanewise!(self, other, |a: f32, b: f32| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        lanewise!(self, other, |a: f32, b: f32| a / b)
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        let a = self.0;
        Self([a[0].sqrt(), a[1].sqrt(), a[2].sqrt(), a[3].sqrt()])
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        lanewise!(self, other, |a: f32, b: f32| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // Not `f32::mul_add`: without the instruction it is a call into the maths library.
        unsafe { self.mul(factor).add(term) }
    }
    #[inline(always)]
    unsafe fn if_greater(self, other: Self, yes: Self, no: Self) -> Self {
        let mut lanes = no.0;
        for (i, lane) in lanes.iter_mut().enumerate() {
            if self.0[i] > other.0[i] {
                *lane = yes.0[i];
            }
        }
        Self(lanes)
    }
    #[inline(always)]
    unsafe fn sum4(vectors: [Self; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        for (sum, vector) in sums.iter_mut().zip(vectors) {
            let v = vector.0;
            *sum = (v[0] + v[1]) + (v[2] + v[3]);
        }
        sums
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86;

/// Makes a function that runs a generic kernel at a [`Level`]:
/// `dispatch!(pub(crate) unsafe fn add(a: *const f32, n: usize) = add_lanes);`
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $kernel:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "kernels take pointers and sizes")]
        $vis unsafe fn $name(level: $crate::ops::simd::Level, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            unsafe fn avx512($($arg: $type),*) {
                // SAFETY: what the caller of the whole vouches for.
                unsafe { $kernel::<$crate::ops::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $type),*) {
                // SAFETY: as above.
                unsafe { $kernel::<$crate::ops::simd::Avx2>($($arg),*) }
            }
            // SAFETY: as above; and a `Level` is only had from `Level::available`.
            unsafe {
                match level {
                    $crate::ops::simd::Level::Portable =>
                        $kernel::<$crate::ops::simd::Plain>($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::ops::simd::Level::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::ops::simd::Level::Avx512 => avx512($($arg),*),
                }
            }
        }
    };
}
pub(crate) use dispatch;

/// `to[columns][rows] = from[rows][columns]`, both with the given strides. Whole blocks of 16 × 16
/// are read, so `from` is readable up to the next multiples of 16.
#[inline(always)]
unsafe fn turn_lanes<S: Lanes>(
    rows: usize,
    columns: usize,
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
) {
    for row in (0..rows).step_by(S::LANES) {
        for column in (0..columns).step_by(S::LANES) {
            // SAFETY: the caller vouches for the shapes.
            unsafe {
                S::transpose(
                    from.add(row * from_stride + column),
                    from_stride,
                    to.add(column * to_stride + row),
                    to_stride,
                    rows - row,
                    columns - column,
                );
            }
        }
    }
}

dispatch! {
    /// Transposes: see the kernel.
    pub(crate) unsafe fn turn(
        rows: usize, columns: usize,
        from: *const f32, from_stride: usize,
        to: *mut f32, to_stride: usize,
    ) = turn_lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_moves_every_value() {
        let (rows, columns, stride) = (37, 21, 32);
        let from: Vec<f32> = (0..48 * stride).map(|i| i as f32).collect();
        for level in Level::available() {
            let mut to = vec![-1.0; columns * rows];
            // SAFETY: 37 rows and 21 columns lie within blocks of 48 and 32.
            unsafe { turn(level, rows, columns, from.as_ptr(), stride, to.as_mut_ptr(), rows) };
            for (i, value) in to.iter().enumerate() {
                assert_eq!(*value, from[i % rows * stride + i / rows], "{level:?}");
            }
        }
    }
}
