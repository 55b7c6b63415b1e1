//! How the process gets its memory.

use std::ffi::c_int;

/// The number of the allocator's option that says how many milliseconds it keeps memory that
/// nobody uses: the same in all versions of its interface.
const PURGE_DELAY: c_int = 15;

/// Suits the allocator to a process that computes, or to one that only drives others.
///
/// Who computes wants memory in huge pages, and keeps what it has used once. Who only drives
/// others would hold tens of megabytes that way: two megabytes at a time where a few kilobytes
/// are wanted, and all that a file took while it was read. The setting of huge pages is
/// inherited, so it is made for both.
pub fn suit(computes: bool) {
    // Where the system does not know the setting, nothing is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(!computes);
    if !computes {
        // SAFETY: the allocator is the program's own, and the option takes any number.
        unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) };
    }
}
