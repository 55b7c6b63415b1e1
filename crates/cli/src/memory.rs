//! How the process gets its memory.

/// Sets whether the process, and those that it starts, may be given memory in huge pages.
///
/// They suit whoever computes. A process that only drives others would hold tens of megabytes
/// that it never writes to: the allocator asks for them, and the system hands out two megabytes
/// where a few kilobytes were wanted. The setting is inherited, so whoever computes for such a
/// process has to take it back.
pub fn allow_huge_pages(allowed: bool) {
    // Where the system does not know the setting, nothing is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(!allowed);
}
