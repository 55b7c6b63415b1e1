//! The size of a folder that is the cache of a remote.
//!
//! No books are kept of what lies there. When it may have grown too large it is looked at as it
//! is, and what was not used for the longest time goes, if the remote has it at that moment and
//! nobody holds it. So neither a crash nor a stranger's hand can make the books wrong.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::FlockOperation;
use wick_core::Digest;

use crate::store::ArtifactStore;
use crate::used::NOTED_AFTER;

/// In a cache uses are noted this finely.
const NOTED_IN_CACHE: Duration = Duration::from_secs(60);

/// A cache that is too large is cleared by this part of its bound more than needed, and looked at
/// again when it has grown by as much: others may fill it, too.
const MARGIN: u64 = 16;

/// The bound of a cache, and what this process knows of its size.
#[derive(Debug)]
pub(crate) struct Cache {
    /// `None` for a folder that is no cache.
    bound: Option<u64>,
    grown: Mutex<Grown>,
}

#[derive(Debug, Default)]
struct Grown {
    /// How large it was when it was last looked at; `None` before.
    seen: Option<u64>,
    /// By how much this process has let it grow since.
    since: u64,
}

impl Cache {
    pub(crate) fn new(bound: Option<u64>) -> Self {
        Self { bound, grown: Mutex::default() }
    }

    /// How long a use stays unnoted.
    pub(crate) const fn notices_after(&self) -> Duration {
        if self.bound.is_none() { NOTED_AFTER } else { NOTED_IN_CACHE }
    }
}

impl ArtifactStore {
    /// The folder has grown by `bytes`. If it is too large now, it is cleared of what was not used
    /// for the longest time, but not of `spared`. What cannot be cleared stays: the bound is a
    /// wish, and no reason for a run to fail.
    pub(crate) fn cache_grew(&self, bytes: u64, spared: &Digest) {
        let Some(bound) = self.cache.bound else { return };
        let mut grown = self.cache.grown.lock().unwrap_or_else(PoisonError::into_inner);
        grown.since = grown.since.saturating_add(bytes);
        if let Some(seen) = grown.seen
            && grown.since <= bound / MARGIN
            && seen.saturating_add(grown.since) <= bound
        {
            return;
        }
        if let Some(left) = self.clear(bound, spared) {
            *grown = Grown { seen: Some(left), since: 0 };
        }
    }

    /// Clears the cache if it holds more than `bound`; returns how much it holds then. `None` if
    /// another process clears it, or it cannot be looked at.
    fn clear(&self, bound: u64, spared: &Digest) -> Option<u64> {
        let _turn = turn(&self.root.join("tmp/clearing"))?;
        let remote = self.remote.as_ref()?;
        let mut entries = self.entries().ok()?;
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        if total <= bound {
            return Some(total);
        }
        entries.sort_by_key(|entry| entry.last_use);
        for entry in entries {
            if total <= bound - bound / MARGIN {
                break;
            }
            // Asked at this moment: what is nowhere else is never removed.
            if entry.digest != *spared
                && remote.holds(&entry.digest).unwrap_or(false)
                && self.remove_here(&entry.digest, Duration::ZERO).unwrap_or(false)
            {
                total -= entry.bytes;
            }
        }
        Some(total)
    }
}

/// The only process that clears; `None` if another one does.
fn turn(path: &Path) -> Option<std::fs::File> {
    let file = std::fs::File::create(path).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}
