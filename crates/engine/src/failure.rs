//! Says in words how a process ended.

use std::io;
use std::time::Duration;

use wick_core::{Exit, Failure, FailureCause};

use crate::command::launch::ProcessSpec;
use crate::protocol::SpawnStep;

/// How a process ended, from what `wait` tells.
pub fn exit_of(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    }
}

fn failure(cause: FailureCause, message: String, help: Option<&str>) -> Failure {
    Failure { cause, message, chain: Vec::new(), help: help.map(str::to_owned), exit: None }
}

/// The failure of a process that ended in this way, without having said why.
pub fn ended(exit: Exit, what: &str, out_of_memory: bool) -> Failure {
    let mut failure = match exit {
        Exit::Code(code) => {
            let help = match code {
                126 => Some("126 is what a shell says of a file that cannot be run"),
                127 => Some("127 is what a shell says of a program that it does not find"),
                _ => None,
            };
            failure(FailureCause::Exit, format!("{what} ended with code {code}"), help)
        }
        Exit::Signal(signal) if out_of_memory => failure(
            FailureCause::OutOfMemory,
            format!("{what} was killed by signal {signal} because memory ran out"),
            Some("give the stage less data at a time, or the machine more memory"),
        ),
        Exit::Signal(signal) => failure(
            FailureCause::Signal,
            format!("{what} was killed by signal {signal}{}", signal_name(signal)),
            (signal == libc::SIGKILL)
                .then_some("SIGKILL often comes from the system when memory runs out"),
        ),
    };
    failure.exit = Some(exit);
    failure
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP, its terminal went away",
        libc::SIGINT => "SIGINT, an interrupt",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL, an instruction that this processor does not have",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT, the program gave up",
        libc::SIGBUS => "SIGBUS, an access beyond a mapped file or a full disk",
        libc::SIGFPE => "SIGFPE, an arithmetic error",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV, an access to memory that is not the program's",
        libc::SIGPIPE => "SIGPIPE, a write to a closed pipe",
        libc::SIGTERM => "SIGTERM, a request to end",
        libc::SIGXCPU => "SIGXCPU, its processor time ran out",
        libc::SIGXFSZ => "SIGXFSZ, a file grew too large",
        libc::SIGSYS => "SIGSYS, a system call that is not allowed",
        _ => return String::new(),
    };
    format!(" ({name})")
}

/// The failure of an attempt that was stopped because it ran too long.
pub fn timed_out(timeout: Duration, exit: Option<Exit>) -> Failure {
    let help = Some("raise the stage's `timeout`, or find out in its log what it waited for");
    let message = format!("it ran longer than its timeout of {timeout:?}");
    Failure { exit, ..failure(FailureCause::Timeout, message, help) }
}

/// The failure of a process that could not be started.
pub fn refused(step: SpawnStep, errno: i32, spec: &ProcessSpec) -> Failure {
    let error = io::Error::from_raw_os_error(errno);
    let program = spec.arguments.first().map(|name| String::from_utf8_lossy(name).into_owned());
    let program = program.unwrap_or_default();
    let (message, help) = match step {
        SpawnStep::Log => ("cannot open the attempt's log".to_owned(), None),
        SpawnStep::Fork => ("cannot make a process".to_owned(), None),
        SpawnStep::Folder => (format!("cannot run in the folder {}", spec.folder.display()), None),
        SpawnStep::Program => {
            let help = match errno {
                libc::ENOENT if program.contains('/') => {
                    "see that the file is there, and that the program in its `#!` line is"
                }
                libc::ENOENT => "install it, or see that `PATH` names its folder",
                libc::EACCES => "make the file executable with `chmod +x`, or name its interpreter",
                libc::ENOEXEC => "a script starts with a `#!` line that names its interpreter",
                libc::E2BIG => "hand long lists over in a file rather than as arguments",
                _ => "",
            };
            (format!("cannot run `{program}`"), Some(help).filter(|help| !help.is_empty()))
        }
    };
    Failure { chain: vec![error.to_string()], ..failure(FailureCause::Spawn, message, help) }
}

/// The failure of an attempt whose supervisor died.
pub fn supervisor_lost() -> Failure {
    failure(
        FailureCause::Signal,
        "the supervisor died, the process that watches over the attempts, and they with it"
            .to_owned(),
        Some("something killed it, perhaps for lack of memory; `wick rerun` goes on"),
    )
}

/// How many processes the kernel has killed for memory in this control group so far.
pub fn out_of_memory_kills() -> u64 {
    let Ok(events) = std::fs::read_to_string("/sys/fs/cgroup/memory.events") else { return 0 };
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_words() {
        #[track_caller]
        fn check(status: i32, cause: FailureCause, message: &str) {
            let failure = ended(exit_of(status), "the program", false);
            assert_eq!((failure.cause, failure.message.as_str()), (cause, message));
        }
        check(3 << 8, FailureCause::Exit, "the program ended with code 3");
        let segv = "the program was killed by signal 11 (SIGSEGV, an access to memory that is not \
                    the program's)";
        check(11, FailureCause::Signal, segv);
        let failure = ended(exit_of(9), "the program", true);
        assert_eq!(failure.cause, FailureCause::OutOfMemory);
    }

    #[test]
    fn a_missing_program_is_named() {
        let spec = ProcessSpec {
            folder: "/".into(),
            programs: Vec::new(),
            arguments: vec![b"python4".to_vec()],
            environment: Vec::new(),
        };
        let failure = refused(SpawnStep::Program, libc::ENOENT, &spec);
        assert_eq!(failure.message, "cannot run `python4`");
        assert_eq!(failure.chain, ["No such file or directory (os error 2)"]);
    }
}
