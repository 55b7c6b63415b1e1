//! Starts a process the way `posix_spawn` does: the child borrows the parent's memory until its
//! `exec`, so nothing is copied. Done by hand because the child must also ask to be killed with
//! its parent, go to a folder, and be held to its memory, before its program runs.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use super::system::open;
use crate::protocol::SpawnStep;

/// How much stack the child has before its `exec`; it calls a handful of system calls.
const CHILD_STACK: usize = 64 << 10;

/// What is kept from one start to the next.
pub struct Spawner {
    null: OwnedFd,
    stack: Vec<u8>,
    pid: libc::pid_t,
    /// The most data that a process here may have at all.
    data_ceiling: u64,
}

/// What to start.
pub struct Order<'a> {
    /// Where it works.
    pub folder: &'a CStr,
    /// Where it prints to.
    pub log: &'a OwnedFd,
    /// Files to try as its program, in order.
    pub programs: &'a [&'a CStr],
    /// Its arguments.
    pub arguments: &'a [&'a CStr],
    /// Its environment.
    pub environment: &'a [&'a CStr],
    /// How many bytes of data it may have.
    pub data: Option<u64>,
    /// The file by which it gets into its control group.
    pub entrance: Option<CString>,
}

/// What the child needs, and where it leaves why it failed. Lives on the parent's stack while
/// the parent stands still.
struct Start<'a> {
    folder: &'a CStr,
    programs: &'a [&'a CStr],
    arguments: *const *const c_char,
    environment: *const *const c_char,
    null: c_int,
    log: c_int,
    parent: libc::pid_t,
    data: Option<libc::rlimit>,
    entrance: Option<&'a CStr>,
    failure: Option<(SpawnStep, c_int)>,
}

impl Spawner {
    /// Opens what every start needs.
    pub fn new() -> io::Result<Self> {
        let null = open(c"/dev/null", libc::O_RDONLY)?;
        let mut data = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: `data` is valid for writing; `getpid` takes nothing.
        let pid = unsafe {
            libc::getrlimit(libc::RLIMIT_DATA, &raw mut data);
            libc::getpid()
        };
        Ok(Self { null, stack: vec![0; CHILD_STACK], pid, data_ceiling: data.rlim_max })
    }

    /// Starts a process: the first of the programs that there is.
    pub fn spawn(&mut self, order: &Order<'_>) -> Result<libc::pid_t, (SpawnStep, io::Error)> {
        let pointers = |texts: &[&CStr]| -> Vec<*const c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(order.arguments), pointers(order.environment));
        let data = order.data.map(|bytes| bytes.min(self.data_ceiling));
        let mut start = Start {
            folder: order.folder,
            programs: order.programs,
            arguments: arguments.as_ptr(),
            environment: environment.as_ptr(),
            null: self.null.as_raw_fd(),
            log: order.log.as_raw_fd(),
            parent: self.pid,
            data: data.map(|bytes| libc::rlimit { rlim_cur: bytes, rlim_max: bytes }),
            entrance: order.entrance.as_deref(),
            failure: None,
        };
        let top = self.stack.as_mut_ptr_range().end;
        // The system wants the stack aligned to 16 bytes.
        let top = top.wrapping_sub(top as usize % 16);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: `CLONE_VFORK` holds this process, which has one thread, until the child has
        // ended or runs its program; so the child has `start` and the stack to itself. The
        // stack is large enough for `child`, which only makes system calls.
        let pid = unsafe {
            libc::clone(child, top.cast::<c_void>(), flags, (&raw mut start).cast::<c_void>())
        };
        if pid < 0 {
            return Err((SpawnStep::Fork, io::Error::last_os_error()));
        }
        // The child wrote it through the pointer that `clone` took.
        // SAFETY: `start` is alive, and the child no longer uses it.
        let failure = unsafe { (&raw const start.failure).read_volatile() };
        if let Some((step, errno)) = failure {
            // SAFETY: the child has ended; nobody else waits for it.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            return Err((step, io::Error::from_raw_os_error(errno)));
        }
        Ok(pid)
    }
}

/// The child's life until its program runs. Only calls that are safe after a `vfork`: no
/// allocation, no locks, no unwinding.
extern "C" fn child(start: *mut c_void) -> c_int {
    // SAFETY: the parent passes a `Start` that it leaves alone until this function has ended;
    // all pointers in it are valid until then.
    unsafe {
        let start = &mut *start.cast::<Start<'_>>();
        let errno = || *libc::__errno_location();
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != start.parent {
            // The supervisor died before it could be seen to.
            libc::_exit(127);
        }
        // Rust ignores SIGPIPE and the supervisor blocks signals; programs expect neither.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::dup2(start.null, 0);
        libc::dup2(start.log, 1);
        libc::dup2(start.log, 2);
        if libc::chdir(start.folder.as_ptr()) < 0 {
            start.failure = Some((SpawnStep::Folder, errno()));
            libc::_exit(127);
        }
        if let Some(entrance) = start.entrance {
            let file = libc::open(entrance.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            // `0` stands for the process that writes it.
            if file < 0 || libc::write(file, c"0".as_ptr().cast(), 1) < 0 {
                start.failure = Some((SpawnStep::Memory, errno()));
                libc::_exit(127);
            }
        }
        // Limits belong to the process, not to the memory that it still shares.
        if let Some(data) = &start.data
            && libc::setrlimit(libc::RLIMIT_DATA, data) < 0
        {
            start.failure = Some((SpawnStep::Memory, errno()));
            libc::_exit(127);
        }
        let mut failure = libc::ENOENT;
        for program in start.programs {
            libc::execve(program.as_ptr(), start.arguments, start.environment);
            match errno() {
                // Look further, as a shell does; a file that may not be run is told of only if
                // no other is found.
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => failure = libc::EACCES,
                other => {
                    failure = other;
                    break;
                }
            }
        }
        start.failure = Some((SpawnStep::Program, failure));
        libc::_exit(127)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(entrance: Option<CString>, data: Option<u64>, script: &CStr) -> (String, i32) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let log = std::fs::File::create(&path).expect("made").into();
        let order = Order {
            folder: c"/",
            log: &log,
            programs: &[c"/nowhere/sh", c"/bin/sh"],
            arguments: &[c"sh", c"-c", script],
            environment: &[c"PATH=/usr/bin:/bin"],
            data,
            entrance,
        };
        let mut spawner = Spawner::new().expect("a spawner");
        let pid = spawner.spawn(&order).expect("it starts");
        let mut status = 0;
        // SAFETY: `status` is valid for writing; nobody else waits for the child.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        (std::fs::read_to_string(&path).expect("a log"), status)
    }

    #[test]
    fn a_process_enters_its_control_group_before_its_program() {
        let folder = tempfile::tempdir().expect("a folder");
        let entrance = folder.path().join("cgroup.procs");
        std::fs::write(&entrance, "").expect("written");
        let path = CString::new(entrance.to_str().expect("text")).expect("a path");
        let script = CString::new(format!("cat {}", entrance.display())).expect("a script");
        assert_eq!(run(Some(path), None, &script), ("0".to_owned(), 0));
    }

    #[test]
    fn a_process_gets_its_limit_and_this_one_does_not() {
        let limit = || {
            let mut data = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: `data` is valid for writing.
            unsafe { libc::getrlimit(libc::RLIMIT_DATA, &raw mut data) };
            (data.rlim_cur, data.rlim_max)
        };
        let before = limit();
        assert_eq!(run(None, Some(64 << 20), c"ulimit -d"), ("65536\n".to_owned(), 0));
        assert_eq!(limit(), before);
    }

    #[test]
    fn a_group_that_cannot_be_entered_refuses_the_start() {
        let log = std::fs::File::open("/dev/null").expect("opened").into();
        let order = Order {
            folder: c"/",
            log: &log,
            programs: &[c"/bin/true"],
            arguments: &[c"true"],
            environment: &[],
            data: None,
            entrance: Some(c"/nowhere/cgroup.procs".to_owned()),
        };
        let refused = Spawner::new().expect("a spawner").spawn(&order);
        let (step, error) = refused.expect_err("there is no such group");
        assert_eq!((step, error.kind()), (SpawnStep::Memory, io::ErrorKind::NotFound));
    }
}
