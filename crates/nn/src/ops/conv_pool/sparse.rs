//! The sparse gradient of a pooled convolution: a few places for each filter.

use crate::ops::simd::{Lanes, Level, dispatch};

/// Filters and taps are made up to a multiple of this, the most lanes of any level, so that winners
/// and sums lie alike at all of them.
pub(super) const WHOLE: usize = 16;

/// For each filter the places that its map's gradient goes to, and how much of it.
pub(super) struct Lists {
    /// Room for each filter.
    stride: usize,
    places: Vec<u32>,
    values: Vec<f32>,
    lengths: Vec<usize>,
}

impl Lists {
    pub(super) fn new(filters: usize, pixels: usize) -> Self {
        // Whole vectors are written behind the last that counts.
        let stride = pixels + WHOLE;
        let (places, values) = (vec![0; filters * stride], vec![0.0; filters * stride]);
        Self { stride, places, values, lengths: vec![0; filters] }
    }

    /// Fills a filter's list with what is not 0. Where there is an `out`, the gradient counts where
    /// it is above 0.
    pub(super) fn collect(
        &mut self,
        level: Level,
        filter: usize,
        grad: &[f32],
        out: Option<&[f32]>,
        winners: &[f32],
    ) {
        let room = filter * self.stride..(filter + 1) * self.stride;
        let (values, places) = (&mut self.values[room.clone()], &mut self.places[room]);
        let length = grad.len();
        assert!(winners.len() == length && length + WHOLE <= places.len());
        assert!(out.is_none_or(|out| out.len() == length));
        // SAFETY: the lengths were checked.
        unsafe {
            collect_list(
                level,
                length,
                grad.as_ptr(),
                out.map_or(std::ptr::null(), <[f32]>::as_ptr),
                winners.as_ptr(),
                values.as_mut_ptr(),
                places.as_mut_ptr(),
                &mut self.lengths[filter],
            );
        }
    }

    #[inline(always)]
    fn get(&self, filter: usize) -> (&[u32], &[f32]) {
        let range = filter * self.stride..filter * self.stride + self.lengths[filter];
        (&self.places[range.clone()], &self.values[range])
    }
}

#[inline(always)]
unsafe fn collect_lanes<S: Lanes>(
    length: usize,
    grad: *const f32,
    out: *const f32,
    winners: *const f32,
    values: *mut f32,
    places: *mut u32,
    count: &mut usize,
) {
    // SAFETY: the caller vouches for `length` values to read, and a vector more to write.
    unsafe {
        *count = 0;
        for at in (0..length).step_by(S::LANES) {
            let left = length - at;
            let mut value = S::load_first(grad.add(at), left);
            if !out.is_null() {
                let out = S::load_first(out.add(at), left);
                value = out.if_greater(S::zero(), value, S::zero());
            }
            let place = S::load_first(winners.add(at), left);
            *count += value.store_nonzero(place, values.add(*count), places.add(*count));
        }
    }
}

dispatch! {
    unsafe fn collect_list(
        length: usize, grad: *const f32, out: *const f32, winners: *const f32,
        values: *mut f32, places: *mut u32, count: &mut usize,
    ) = collect_lanes
}

/// `sum += Σ value · patches[place]` over a list of places, for `VECTORS` vectors in registers.
/// Several independent sums hide the latency of the additions.
#[inline(always)]
unsafe fn gather<S: Lanes, const VECTORS: usize, const STREAMS: usize>(
    places: &[u32],
    values: &[f32],
    patches: *const f32,
    sum: *mut f32,
) {
    // SAFETY: the caller vouches that every place holds `VECTORS` vectors, as does `sum`.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; STREAMS];
        let whole = places.len() - places.len() % STREAMS;
        let mut i = 0;
        while i < whole {
            for (s, row) in sums.iter_mut().enumerate() {
                let value = S::splat(*values.get_unchecked(i + s));
                let from = patches.add(*places.get_unchecked(i + s) as usize);
                for (v, sum) in row.iter_mut().enumerate() {
                    *sum = value.mul_add(S::load(from.add(v * S::LANES)), *sum);
                }
            }
            i += STREAMS;
        }
        while i < places.len() {
            let value = S::splat(*values.get_unchecked(i));
            let from = patches.add(*places.get_unchecked(i) as usize);
            for (v, sum) in sums[0].iter_mut().enumerate() {
                *sum = value.mul_add(S::load(from.add(v * S::LANES)), *sum);
            }
            i += 1;
        }
        for v in 0..VECTORS {
            let mut total = S::load(sum.add(v * S::LANES));
            for row in &sums {
                total = total.add(row[v]);
            }
            total.store(sum.add(v * S::LANES));
        }
    }
}

/// `sums[filter] += Σ value · patches[place]` over each filter's list. A few columns of all patches
/// at a time, which stay in the cache while every filter reads them.
#[inline(always)]
unsafe fn gather_lanes<S: Lanes>(lists: &Lists, patches: *const f32, sums: *mut f32, patch: usize) {
    // SAFETY: the caller vouches that every place holds `patch` values, a multiple of the lanes, as
    // does `sums` for each filter.
    unsafe {
        let mut at = 0;
        macro_rules! columns {
            ($vectors:literal, $streams:literal) => {
                while patch - at >= $vectors * S::LANES {
                    for filter in 0..lists.lengths.len() {
                        let (places, values) = lists.get(filter);
                        let sum = sums.add(filter * patch + at);
                        gather::<S, $vectors, $streams>(places, values, patches.add(at), sum);
                    }
                    at += $vectors * S::LANES;
                }
            };
        }
        columns!(4, 2);
        columns!(2, 4);
        columns!(1, 8);
    }
}

dispatch! {
    pub(super) unsafe fn gather_sums(
        lists: &Lists, patches: *const f32, sums: *mut f32, patch: usize,
    ) = gather_lanes
}

/// `patches[place] += value · row`, for `VECTORS` vectors of the row in registers.
#[inline(always)]
unsafe fn scatter<S: Lanes, const VECTORS: usize>(
    places: &[u32],
    values: &[f32],
    patches: *mut f32,
    row: *const f32,
) {
    // SAFETY: the caller vouches that every place holds `VECTORS` vectors, as does `row`.
    unsafe {
        let mut factors = [S::zero(); VECTORS];
        for (v, factor) in factors.iter_mut().enumerate() {
            *factor = S::load(row.add(v * S::LANES));
        }
        for (&place, &value) in places.iter().zip(values) {
            let value = S::splat(value);
            let to = patches.add(place as usize);
            for (v, factor) in factors.iter().enumerate() {
                let to = to.add(v * S::LANES);
                value.mul_add(*factor, S::load(to)).store(to);
            }
        }
    }
}

/// The other way round than [`gather_lanes`]: `patches[place] += value · rows[filter]`.
#[inline(always)]
unsafe fn scatter_lanes<S: Lanes>(
    lists: &Lists,
    patches: *mut f32,
    rows: *const f32,
    patch: usize,
) {
    // SAFETY: as for `gather_lanes`.
    unsafe {
        let mut at = 0;
        macro_rules! columns {
            ($vectors:literal) => {
                while patch - at >= $vectors * S::LANES {
                    for filter in 0..lists.lengths.len() {
                        let (places, values) = lists.get(filter);
                        let row = rows.add(filter * patch + at);
                        scatter::<S, $vectors>(places, values, patches.add(at), row);
                    }
                    at += $vectors * S::LANES;
                }
            };
        }
        columns!(4);
        columns!(1);
    }
}

dispatch! {
    pub(super) unsafe fn scatter_rows(
        lists: &Lists, patches: *mut f32, rows: *const f32, patch: usize,
    ) = scatter_lanes
}
