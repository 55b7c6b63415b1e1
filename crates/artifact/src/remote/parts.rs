//! Files in parts: as many at a time as the buffers allow.

use std::fs::File;
use std::io::{self, Read};

use tokio::sync::OwnedSemaphorePermit;
use wick_core::Digest;

use super::Client;

/// Files up to this size travel in one piece, larger ones in parts of it. Servers want parts of
/// at least 5 MiB.
pub(super) const PART: u64 = 8 << 20;

/// Servers take at most 10,000 parts: beyond this many they become larger.
const MOST_PARTS: u64 = 5_000;

/// How many parts of one file travel at once.
pub(super) const PARTS_AT_ONCE: usize = 4;

/// How many files of an artifact travel at once.
pub(super) const FILES_AT_ONCE: usize = 16;

/// How large the parts of a file of `bytes` are.
pub(super) fn part_size(bytes: u64) -> u64 {
    // Whole KiB, as the budget is counted.
    bytes.div_ceil(MOST_PARTS).next_multiple_of(1024).max(PART)
}

impl Client {
    /// Waits until a buffer of `bytes` may be made; it may live as long as the permit.
    pub(super) async fn room_for(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        // One that is larger than everything waits until it is alone.
        let all = (super::BUDGET >> 10) as u64;
        let permits = bytes.div_ceil(1024).clamp(1, all) as u32;
        // It is never closed.
        self.budget.clone().acquire_many_owned(permits).await.ok()
    }
}

/// A file that is hashed as it is read or written.
pub(super) struct Hashed {
    pub(super) file: File,
    hasher: blake3::Hasher,
}

impl Hashed {
    pub(super) fn new(file: File) -> Self {
        Self { file, hasher: blake3::Hasher::new() }
    }

    /// The next `bytes`; fewer at the end of the file.
    pub(super) fn read(&mut self, bytes: u64) -> io::Result<Vec<u8>> {
        let mut part = Vec::with_capacity(usize::try_from(bytes).unwrap_or(usize::MAX));
        (&self.file).take(bytes).read_to_end(&mut part)?;
        self.hasher.update(&part);
        Ok(part)
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The digest of what went through, and how much that was.
    pub(super) fn finish(&self) -> (Digest, u64) {
        (Digest::from_bytes(*self.hasher.finalize().as_bytes()), self.hasher.count())
    }
}

/// Does work that blocks on a thread for such.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fit_what_servers_take() {
        for bytes in [0, 1, PART, PART + 1, 1 << 40, 5 << 40] {
            let part = part_size(bytes);
            assert!(
                part >= PART && bytes.div_ceil(part) <= MOST_PARTS && part.is_multiple_of(1024)
            );
        }
    }
}
