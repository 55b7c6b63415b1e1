//! When an entry was last used.
//!
//! An entry's own access time tells it, or the time at which it was put, whichever is later.
//! Access times that a file system keeps by itself only make entries younger. So that using an
//! entry costs nothing as a rule, its time is set again only when it has become old.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

/// The use of an entry is noted when the last that was noted is longer ago. Who removes what was
/// not used must leave twice that time.
pub const NOTED_AFTER: Duration = Duration::from_secs(6 * 3600);

/// When the entry was last used, as far as that was noted.
pub(crate) fn last_use(metadata: &Metadata) -> SystemTime {
    let read = (metadata.atime(), metadata.atime_nsec());
    let (seconds, nanos) = read.max((metadata.ctime(), metadata.ctime_nsec()));
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// For how long something was not used that was last used at `last`. Of the future counts as just
/// now.
pub(crate) fn since(last: SystemTime) -> Duration {
    SystemTime::now().duration_since(last).unwrap_or(Duration::ZERO)
}

/// Notes that the entry at `path` is used now, if that was not noted within `after`.
pub(crate) fn note(path: &Path, metadata: &Metadata, after: Duration) {
    if since(last_use(metadata)) < after {
        return;
    }
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let left = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: now, last_modification: left };
    // Who may only read cannot note it: then somebody else must use it to keep it.
    let _ = rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}
