//! The supervisor: a small process that starts the attempts' processes and outlives the engine
//! by a moment.
//!
//! The engine starts one when it needs it (`wick supervisor`) and speaks to it over a socket.
//! Every process that it starts leads a process group of its own. When the socket closes, for
//! whatever reason, the supervisor kills all groups and ends: a `kill -9` of the engine leaves
//! no process behind. Should the supervisor itself be killed, the system kills its direct
//! children (`PR_SET_PDEATHSIG`).
//!
//! It has one thread and little memory, and makes processes without copying its own, so a start
//! costs little more than the program's own `exec`. It knows nothing of plans, stages or stores.

mod spawn;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::protocol::{self, Inbox, ProcessId, Report, Request};
use spawn::Spawner;

/// How long the news of a started process may wait for more to tell: a process that ends at once
/// costs the engine one wake-up rather than two.
const REPORT_DELAY: Duration = Duration::from_millis(5);

/// How often, 5 ms apart, the supervisor looks at its end whether something is left.
const LAST_LOOKS: u32 = 200;

/// Runs the supervisor on the socket that is its standard input, until that closes. Returns the
/// exit code. Meant to be all that its process does.
pub fn main() -> ExitCode {
    match Supervisor::new(libc::STDIN_FILENO).and_then(|mut supervisor| supervisor.serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// A process that runs.
struct Child {
    id: ProcessId,
    started: Instant,
    /// When its group is killed, if it was told to stop.
    kill_at: Option<Instant>,
}

struct Supervisor {
    socket: RawFd,
    signals: OwnedFd,
    spawner: Spawner,
    children: HashMap<libc::pid_t, Child>,
    by_id: HashMap<ProcessId, libc::pid_t>,
    inbox: Inbox,
    out: Vec<u8>,
    /// When what is in `out` must be sent.
    flush_at: Option<Instant>,
}

impl Supervisor {
    fn new(socket: RawFd) -> io::Result<Self> {
        let signals = detach()?;
        Ok(Self {
            socket,
            signals,
            spawner: Spawner::new()?,
            children: HashMap::new(),
            by_id: HashMap::new(),
            inbox: Inbox::default(),
            out: Vec::new(),
            flush_at: None,
        })
    }

    /// Serves until the engine is gone or this process is asked to end; then kills every group.
    fn serve(&mut self) -> io::Result<()> {
        let served = self.serve_requests();
        self.end_everything();
        served
    }

    /// Kills every group; then whatever made itself a group of its own and lost its parent, for
    /// such processes come to this one. Waits a little for them to be gone.
    fn end_everything(&self) {
        for pid in self.children.keys() {
            kill_group(*pid, libc::SIGKILL);
        }
        for _ in 0..LAST_LOOKS {
            let mut left = false;
            for pid in own_children() {
                left = true;
                // SAFETY: a call without pointers; `pid` is a child that was not reaped.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            if !left {
                return;
            }
            let mut polled =
                libc::pollfd { fd: self.signals.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: `polled` is one valid entry; `waitpid` takes no pointer here.
            unsafe {
                libc::poll(&raw mut polled, 1, 5);
                while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
            }
        }
    }

    fn serve_requests(&mut self) -> io::Result<()> {
        loop {
            let mut polled = [
                libc::pollfd { fd: self.socket, events: libc::POLLIN, revents: 0 },
                libc::pollfd { fd: self.signals.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            ];
            let timeout = self.next_deadline().map_or(-1, |at| {
                let wait = at.saturating_duration_since(Instant::now());
                wait.as_micros().div_ceil(1000).min(60_000) as libc::c_int
            });
            // SAFETY: `polled` is an array of two valid entries.
            if unsafe { libc::poll(polled.as_mut_ptr(), 2, timeout) } < 0 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
                continue;
            }
            if polled[1].revents != 0 && self.take_signals()? {
                return Ok(());
            }
            if polled[0].revents != 0 && !self.receive()? {
                return Ok(());
            }
            self.kill_overdue();
            if self.flush_at.is_some_and(|at| at <= Instant::now()) {
                self.flush()?;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.children.values().filter_map(|child| child.kill_at).chain(self.flush_at).min()
    }

    /// Takes what the engine sent. False when it is gone.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        // SAFETY: `buffer` is valid for its length.
        let read = unsafe {
            libc::recv(self.socket, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
        };
        if read < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(true),
                _ => Err(error),
            };
        }
        self.inbox.push(&buffer[..read as usize]);
        let mut inbox = std::mem::take(&mut self.inbox);
        while let Some(frame) = inbox.next_frame()? {
            self.obey(protocol::read_request(frame)?)?;
        }
        self.inbox = inbox;
        Ok(read > 0)
    }

    fn obey(&mut self, request: Request<'_>) -> io::Result<()> {
        match request {
            Request::Hello(protocol::VERSION) => {
                self.report(&Report::Hello(protocol::VERSION), Instant::now());
                Ok(())
            }
            Request::Hello(_) => Err(io::Error::other("the engine is another version of wick")),
            Request::Spawn { id, folder, log, programs, arguments, environment } => {
                let started = Instant::now();
                match self.spawner.spawn(folder, log, &programs, &arguments, &environment) {
                    Ok(pid) => {
                        self.children.insert(pid, Child { id, started, kill_at: None });
                        self.by_id.insert(id, pid);
                        let report = Report::Spawned { id, pid: pid.unsigned_abs() };
                        self.report(&report, started + REPORT_DELAY);
                    }
                    Err((step, error)) => {
                        let errno = error.raw_os_error().unwrap_or(libc::EIO);
                        self.report(&Report::Refused { id, step, errno }, started);
                    }
                }
                Ok(())
            }
            Request::Stop { id, grace_ms } => {
                if let Some(pid) = self.by_id.get(&id)
                    && let Some(child) = self.children.get_mut(pid)
                {
                    kill_group(*pid, libc::SIGTERM);
                    // A stopped process does not see SIGTERM before it goes on.
                    kill_group(*pid, libc::SIGCONT);
                    let kill_at = Instant::now() + Duration::from_millis(u64::from(grace_ms));
                    child.kill_at = Some(child.kill_at.map_or(kill_at, |at| at.min(kill_at)));
                }
                Ok(())
            }
        }
    }

    /// Takes the signals that came. True when this process is asked to end.
    fn take_signals(&mut self) -> io::Result<bool> {
        let mut end = false;
        loop {
            // SAFETY: a zeroed `signalfd_siginfo` is valid: it is plain numbers.
            let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
            let size = size_of::<libc::signalfd_siginfo>();
            // SAFETY: `info` is valid for `size` bytes.
            let read =
                unsafe { libc::read(self.signals.as_raw_fd(), (&raw mut info).cast(), size) };
            if read != size as isize {
                break;
            }
            end |= info.ssi_signo != libc::SIGCHLD as u32;
        }
        self.reap()?;
        Ok(end)
    }

    /// Reports every child that ended. The rest of its group is killed while the dead leader
    /// still holds the group's number, so no stranger can be hit.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            // SAFETY: a zeroed `siginfo_t` is valid, and is what `waitid` asks for.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            // SAFETY: `info` is valid for writing.
            if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } < 0 {
                break;
            }
            // SAFETY: `waitid` succeeded and filled `info`, or left it zeroed.
            let pid = unsafe { info.si_pid() };
            if pid == 0 {
                break;
            }
            if self.children.contains_key(&pid) {
                kill_group(pid, libc::SIGKILL);
            }
            let mut status = 0;
            // SAFETY: a zeroed `rusage` is valid: it is plain numbers.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: both places are valid for writing.
            unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
            // Others are orphans of a child's own, which come here to be reaped.
            if let Some(child) = self.children.remove(&pid) {
                self.by_id.remove(&child.id);
                let micros =
                    |time: libc::timeval| (time.tv_sec as u64) * 1_000_000 + time.tv_usec as u64;
                let now = Instant::now();
                let report = Report::Exited {
                    id: child.id,
                    status,
                    wall_micros: now.duration_since(child.started).as_micros() as u64,
                    cpu_micros: micros(usage.ru_utime) + micros(usage.ru_stime),
                    max_rss_bytes: usage.ru_maxrss as u64 * 1024,
                };
                self.report(&report, now);
            }
        }
        Ok(())
    }

    fn kill_overdue(&mut self) {
        let now = Instant::now();
        for (pid, child) in &mut self.children {
            if child.kill_at.is_some_and(|at| at <= now) {
                kill_group(*pid, libc::SIGKILL);
                child.kill_at = None;
            }
        }
    }

    fn report(&mut self, report: &Report, flush_at: Instant) {
        protocol::put_report(&mut self.out, report);
        self.flush_at = Some(self.flush_at.map_or(flush_at, |at| at.min(flush_at)));
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.out.len() {
            let rest = &self.out[sent..];
            // SAFETY: `rest` is valid for its length.
            let wrote = unsafe {
                libc::send(self.socket, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL)
            };
            if wrote < 0 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            } else {
                sent += wrote as usize;
            }
        }
        self.out.clear();
        self.flush_at = None;
        Ok(())
    }
}

/// Makes this process one that no terminal reaches, that orphans of its children come to, and
/// that is told of signals through a descriptor.
fn detach() -> io::Result<OwnedFd> {
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
fn own_children() -> Vec<libc::pid_t> {
    let listed = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Sends `signal` to the group that `leader` leads. That the group may be gone is fine.
fn kill_group(leader: libc::pid_t, signal: libc::c_int) {
    // SAFETY: a call without pointers; `leader` is a child of this process that was not reaped.
    unsafe { libc::kill(-leader, signal) };
}
