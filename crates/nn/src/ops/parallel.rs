//! Work split over rayon's pool, always in the same pieces.
//!
//! What a piece computes never depends on how many threads there are or which of them comes first,
//! and partial sums are added in the order of the pieces: so results are the same, bit for bit,
//! on one thread and on many.

use std::cell::RefCell;

use rayon::prelude::*;

/// Runs `work(i)` for each `i` below `pieces`. `cost` is a rough count of arithmetic in all: below
/// a few microseconds' worth, waking other threads takes longer than the work.
pub(crate) fn for_each(pieces: usize, cost: usize, work: impl Fn(usize) + Sync) {
    if pieces < 2 || cost < 100_000 {
        (0..pieces).for_each(work);
    } else {
        (0..pieces).into_par_iter().with_max_len(1).for_each(&work);
    }
}

/// Runs `work` on a thread of rayon's pool. A training loop that runs inside saves the hand-over
/// between threads at each op; everything works, somewhat slower, without.
pub fn in_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    // A scope on the global pool moves the work onto one of its threads.
    rayon::scope(|_| work())
}

/// How many of `items` go into each of at most `most` pieces.
pub(crate) fn piece_length(items: usize, most: usize) -> usize {
    items.div_ceil(most.max(1)).max(1)
}

thread_local! {
    /// Buffers that ops took and gave back, kept for the next step.
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// How many buffers a thread keeps.
const KEPT: usize = 8;

/// A temporary of `length` values whose memory is kept for the next that asks on this thread. The
/// values are whatever the last user left, or 0.
pub(crate) struct Scratch(Vec<f32>);

impl Scratch {
    pub(crate) fn new(length: usize) -> Self {
        let mut buffer = SCRATCH
            .with_borrow_mut(|kept| {
                // The smallest that is large enough, else the largest, which then grows.
                let fitting = (0..kept.len())
                    .filter(|&i| kept[i].capacity() >= length)
                    .min_by_key(|&i| kept[i].capacity());
                let index = fitting.or_else(|| (0..kept.len()).max_by_key(|&i| kept[i].capacity()));
                index.map(|i| kept.swap_remove(i))
            })
            .unwrap_or_default();
        if buffer.len() < length {
            buffer.resize(length, 0.0);
        }
        buffer.truncate(length);
        Self(buffer)
    }

    pub(crate) fn zeroed(length: usize) -> Self {
        let mut scratch = Self::new(length);
        scratch.0.fill(0.0);
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that ends drops its kept buffers first: then this one is simply freed.
        let _ = SCRATCH.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT {
                kept.push(buffer);
            }
        });
    }
}

impl std::ops::Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl std::ops::DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

/// A pointer that pieces of work share. Each piece writes a part of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: whoever makes one keeps the pieces apart.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// # Safety
    /// `offset` must lie within the slice.
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: the caller vouches for it.
        unsafe { self.0.add(offset) }
    }

    /// # Safety
    /// The range must lie within the slice, and no other piece may touch it.
    pub(crate) unsafe fn part<'a>(&self, offset: usize, length: usize) -> &'a mut [T] {
        // SAFETY: the caller vouches for it.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(offset), length) }
    }
}

/// A vector of `length` values that `fill` writes, every one of them, through the pointer it gets.
/// Saves the pass over fresh memory that zeroing it would be.
///
/// # Safety
/// `fill` must write all `length` values.
pub(crate) unsafe fn filled<T: Copy>(length: usize, fill: impl FnOnce(Shared<T>)) -> Vec<T> {
    let mut values = Vec::with_capacity(length);
    fill(Shared(values.as_mut_ptr()));
    // SAFETY: the capacity is there and the caller vouches that all values were written.
    unsafe { values.set_len(length) };
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_reused_on_the_same_thread() {
        let first = Scratch::new(1000);
        let address = first.as_ptr();
        drop(first);
        let second = Scratch::zeroed(900);
        assert_eq!(second.as_ptr(), address);
        assert_eq!(second.len(), 900);
    }

    #[test]
    fn every_piece_runs_once() {
        for pieces in [0, 1, 7, 64] {
            let mut seen = vec![0_u32; pieces];
            let shared = Shared::new(&mut seen);
            // SAFETY: each piece has an index of its own.
            for_each(pieces, usize::MAX, |i| unsafe { *shared.at(i) += 1 });
            assert!(seen.iter().all(|&n| n == 1));
        }
    }
}
