//! The supervisor: a small process that starts the attempts' processes and outlives the engine
//! by a moment.
//!
//! The engine starts one when it needs it (`wick supervisor`) and speaks to it over a socket.
//! Every process that it starts leads a process group of its own. When the socket closes, for
//! whatever reason, the supervisor kills all groups and ends: a `kill -9` of the engine leaves
//! no process behind. Should the supervisor itself be killed, the system kills its direct
//! children (`PR_SET_PDEATHSIG`).
//!
//! A process that hides from its group, in a session of its own, comes to the supervisor when its
//! parent ends; it is known by a variable of its environment, [`MARK`], and killed when the
//! attempt that it belongs to has ended.
//!
//! The supervisor has one thread and little memory, and makes processes without copying its own,
//! so a start costs little more than the program's own `exec`. It knows nothing of plans, stages
//! or stores.

mod masked;
mod spawn;
mod system;

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cgroup::Group;
use crate::mask::Masks;
use crate::protocol::{self, Inbox, ProcessId, Report, Request, SpawnStep, Start};
use masked::MaskedLog;
use spawn::{Order, Spawner};
use system::{kill, kill_group, own_children};

/// The variable by which the processes of an attempt are known: the supervisor's pid, a dot, and
/// what the engine calls the attempt.
pub const MARK: &str = "WICK_PROCESS";

/// How long the news of a started process may wait for more to tell: a process that ends at once
/// costs the engine one wake-up rather than two.
const REPORT_DELAY: Duration = Duration::from_millis(5);

/// How long after the end of an attempt it is looked what it left behind. Not at once: the look
/// costs as much as a tenth of a short attempt, and one look serves many of them.
const STRAYS_DELAY: Duration = Duration::from_millis(50);

/// The unit in which the system counts what a process reads from disks and writes to them.
const BLOCK: u64 = 512;

/// How often it is tried to take away a control group whose processes are ending.
const GROUP_DELAY: Duration = Duration::from_millis(5);

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
    /// Its log, if something must not be seen in it.
    masked: Option<MaskedLog>,
    /// The control group that holds it to its memory.
    group: Option<Group>,
}

impl Child {
    /// Kills the process, which is `pid`, and all that is known to belong to it.
    fn kill(&self, pid: libc::pid_t) {
        kill_group(pid, libc::SIGKILL);
        if let Some(group) = &self.group {
            group.kill();
        }
    }
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
    /// When it is to be looked for what ended attempts left behind.
    strays_at: Option<Instant>,
    /// Control groups of ended attempts, and when it is tried again to take them away.
    leaving: Vec<Group>,
    leave_at: Option<Instant>,
}

impl Supervisor {
    fn new(socket: RawFd) -> io::Result<Self> {
        let signals = system::detach()?;
        Ok(Self {
            socket,
            signals,
            spawner: Spawner::new()?,
            children: HashMap::new(),
            by_id: HashMap::new(),
            inbox: Inbox::default(),
            out: Vec::new(),
            flush_at: None,
            strays_at: None,
            leaving: Vec::new(),
            leave_at: None,
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
    fn end_everything(&mut self) {
        for (pid, child) in self.children.drain() {
            child.kill(pid);
            if let Some(masked) = child.masked {
                masked.finish();
            }
            self.leaving.extend(child.group);
        }
        for _ in 0..LAST_LOOKS {
            let left = own_children();
            left.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
            self.leaving.retain(|group| !group.remove());
            if left.is_empty() && self.leaving.is_empty() {
                return;
            }
            let _ = system::poll(&mut [system::readable(self.signals.as_raw_fd())], 5);
            // SAFETY: `waitpid` takes no pointer here.
            while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        }
    }

    fn serve_requests(&mut self) -> io::Result<()> {
        loop {
            let mut polled =
                vec![system::readable(self.socket), system::readable(self.signals.as_raw_fd())];
            let pipes = self.children.values().filter_map(|child| child.masked.as_ref()?.pipe());
            polled.extend(pipes.map(system::readable));
            let timeout = self.next_deadline().map_or(-1, |at| {
                let wait = at.saturating_duration_since(Instant::now());
                wait.as_micros().div_ceil(1000).min(60_000) as libc::c_int
            });
            system::poll(&mut polled, timeout)?;
            if polled[2..].iter().any(|pipe| pipe.revents != 0) {
                self.children
                    .values_mut()
                    .filter_map(|child| child.masked.as_mut())
                    .for_each(MaskedLog::take);
            }
            if polled[1].revents != 0 && self.take_signals()? {
                return Ok(());
            }
            if polled[0].revents != 0 && !self.receive()? {
                return Ok(());
            }
            self.kill_overdue();
            self.kill_strays();
            if self.leave_at.is_some_and(|at| at <= Instant::now()) {
                self.leaving.retain(|group| !group.remove());
                self.leave_at = (!self.leaving.is_empty()).then(|| Instant::now() + GROUP_DELAY);
            }
            if self.flush_at.is_some_and(|at| at <= Instant::now()) {
                self.flush()?;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let kills = self.children.values().filter_map(|child| child.kill_at);
        kills.chain(self.flush_at).chain(self.strays_at).chain(self.leave_at).min()
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
            Request::Spawn(start) => {
                let (id, started) = (start.id, Instant::now());
                match self.start(&start, started) {
                    Ok(pid) => {
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

    /// Starts a process, with its log and its control group.
    fn start(
        &mut self,
        start: &Start<'_>,
        started: Instant,
    ) -> Result<libc::pid_t, (SpawnStep, io::Error)> {
        let log = system::open(start.log, libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT)
            .map_err(|error| (SpawnStep::Log, error))?;
        let (masked, log) = if start.masks.is_empty() {
            (None, log)
        } else {
            let masks = Masks::from_patterns(start.masks.iter().map(|mask| mask.to_bytes().into()));
            let (masked, writer) =
                MaskedLog::new(log, masks).map_err(|error| (SpawnStep::Log, error))?;
            (Some(masked), writer)
        };
        let group = self.make_group(start);
        let entrance = match group.as_ref().map(Group::entrance).transpose() {
            Ok(entrance) => entrance,
            Err(error) => return Err((SpawnStep::Memory, error)),
        };
        let mark = format!("{MARK}={}.{}", std::process::id(), start.id);
        let mark =
            CString::new(mark).map_err(|error| (SpawnStep::Fork, io::Error::other(error)))?;
        // A `wick` in an attempt of another `wick` hands the other's mark on.
        let inherited = |text: &[u8]| {
            text.strip_prefix(MARK.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        };
        let mut environment = start.environment.clone();
        environment.retain(|variable| !inherited(variable.to_bytes()));
        environment.push(&mark);
        let order = Order {
            folder: start.folder,
            log: &log,
            programs: &start.programs,
            arguments: &start.arguments,
            environment: &environment,
            data: start.memory.as_ref().filter(|_| group.is_none()).map(|limit| limit.data),
            entrance,
        };
        match self.spawner.spawn(&order) {
            Ok(pid) => {
                let child = Child { id: start.id, started, kill_at: None, masked, group };
                self.children.insert(pid, child);
                self.by_id.insert(start.id, pid);
                Ok(pid)
            }
            Err(refused) => {
                self.leave(group);
                Err(refused)
            }
        }
    }

    /// The control group for a process that is to be held to its memory. Where none can be made,
    /// the process gets a limit of its own.
    fn make_group(&self, start: &Start<'_>) -> Option<Group> {
        use std::os::unix::ffi::OsStrExt;
        let limit = start.memory.as_ref()?;
        let groups = Path::new(std::ffi::OsStr::from_bytes(start.groups.to_bytes()));
        if groups.as_os_str().is_empty() {
            return None;
        }
        Group::make(groups, start.id, limit.bytes).ok()
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
            if let Some(child) = self.children.get(&pid) {
                child.kill(pid);
            }
            let mut status = 0;
            // SAFETY: a zeroed `rusage` is valid: it is plain numbers.
            let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
            // SAFETY: both places are valid for writing.
            unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
            // Others are orphans of a child's own, which come here to be reaped.
            if let Some(child) = self.children.remove(&pid) {
                self.ended(child, status, &usage);
            }
        }
        Ok(())
    }

    /// A process that the engine asked for has ended: its log is completed, then the engine is
    /// told.
    fn ended(&mut self, child: Child, status: i32, usage: &libc::rusage) {
        self.by_id.remove(&child.id);
        if let Some(masked) = child.masked {
            masked.finish();
        }
        let micros = |time: libc::timeval| (time.tv_sec as u64) * 1_000_000 + time.tv_usec as u64;
        let now = Instant::now();
        let report = Report::Exited {
            id: child.id,
            status,
            wall_micros: now.duration_since(child.started).as_micros() as u64,
            cpu_micros: micros(usage.ru_utime) + micros(usage.ru_stime),
            max_rss_bytes: usage.ru_maxrss as u64 * 1024,
            read_bytes: usage.ru_inblock as u64 * BLOCK,
            written_bytes: usage.ru_oublock as u64 * BLOCK,
            group: child.group.as_ref().map(Group::usage),
        };
        self.leave(child.group);
        self.strays_at.get_or_insert(now + STRAYS_DELAY);
        self.report(&report, now);
    }

    /// Takes a control group away, now or as soon as its processes are gone.
    fn leave(&mut self, group: Option<Group>) {
        if let Some(group) = group.filter(|group| !group.remove()) {
            self.leaving.push(group);
            self.leave_at.get_or_insert_with(|| Instant::now() + GROUP_DELAY);
        }
    }

    fn kill_overdue(&mut self) {
        let now = Instant::now();
        for (pid, child) in &mut self.children {
            if child.kill_at.is_some_and(|at| at <= now) {
                child.kill(*pid);
                child.kill_at = None;
            }
        }
    }

    /// Kills what attempts that have ended left behind in sessions of its own. What an attempt
    /// that still runs has started so is left alone; and what does not show whose it is, which
    /// is killed at the end of everything.
    fn kill_strays(&mut self) {
        if self.strays_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.strays_at = None;
        let own = std::process::id().to_string();
        for pid in own_children() {
            if self.children.contains_key(&pid) {
                continue;
            }
            let mark = system::variable_of(pid, MARK.as_bytes()).unwrap_or_default();
            let mark = String::from_utf8_lossy(&mark);
            let (supervisor, id) = mark.split_once('.').unwrap_or_default();
            if supervisor == own
                && id.parse::<ProcessId>().is_ok_and(|id| !self.by_id.contains_key(&id))
            {
                kill(pid, libc::SIGKILL);
                // Its own children come next.
                self.strays_at = Some(Instant::now() + STRAYS_DELAY);
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
