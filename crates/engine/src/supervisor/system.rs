//! What the supervisor asks of the system.

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Makes this process one that no terminal reaches, that orphans of its children come to, and
/// that is told of signals through a descriptor.
pub fn detach() -> io::Result<OwnedFd> {
    // SAFETY: calls without pointers, and `set` is initialised by `sigemptyset` before its use.
    unsafe {
        // Fails where the process leads its group already; then no terminal reaches it either.
        libc::setsid();
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_NAME, c"wick-supervisor".as_ptr());
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
        let signals = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if signals < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(signals))
    }
}

/// The children of this process, as the system lists them; none where it does not.
pub fn own_children() -> Vec<libc::pid_t> {
    let listed = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// The value of the variable that starts with `name=` in the environment with which the child
/// `pid` was started.
pub fn variable_of(pid: libc::pid_t, name: &[u8]) -> Option<Vec<u8>> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(name)?.strip_prefix(b"="))
        .map(<[u8]>::to_vec)
}

/// Sends `signal` to the child `pid`.
pub fn kill(pid: libc::pid_t, signal: c_int) {
    // SAFETY: a call without pointers; `pid` is a child of this process that was not reaped.
    unsafe { libc::kill(pid, signal) };
}

/// Sends `signal` to the group that `leader` leads. That the group may be gone is fine.
pub fn kill_group(leader: libc::pid_t, signal: c_int) {
    // SAFETY: a call without pointers; `leader` is a child of this process that was not reaped.
    unsafe { libc::kill(-leader, signal) };
}

/// Waits until one of `polled` is ready, at most `timeout` milliseconds; for ever if negative.
pub fn poll(polled: &mut [libc::pollfd], timeout: c_int) -> io::Result<()> {
    // SAFETY: `polled` is a slice of valid entries.
    if unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        polled.iter_mut().for_each(|polled| polled.revents = 0);
    }
    Ok(())
}

/// What [`poll`] is to look at: whether `descriptor` can be read.
pub const fn readable(descriptor: c_int) -> libc::pollfd {
    libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 }
}

/// Opens the file at `path`, for this process alone.
pub fn open(path: &CStr, flags: c_int) -> io::Result<OwnedFd> {
    // SAFETY: `path` is a valid text; the descriptor is owned by nobody else.
    unsafe {
        let descriptor = libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// A pipe: its end to read from, which does not wait, and its end to write to.
pub fn pipe(capacity: c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors, which are owned by nobody else.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        let (reader, writer) = (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]));
        if libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) < 0 {
            return Err(io::Error::last_os_error());
        }
        // A small pipe is slower, and as good.
        libc::fcntl(reader.as_raw_fd(), libc::F_SETPIPE_SZ, capacity);
        Ok((reader, writer))
    }
}
