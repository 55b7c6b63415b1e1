//! Says in words how a process ended, and why.

use std::io;
use std::time::Duration;

use wick_core::{Exit, Failure, FailureCause};

use crate::command::launch::ProcessSpec;
use crate::log::printable;
use crate::mask::Masks;
use crate::protocol::SpawnStep;

/// The longest text of a failure that is kept, in bytes.
const MAX_TEXT: usize = 4096;

/// The most causes that are kept behind a failure.
const MAX_CHAIN: usize = 16;

/// How ends of 128 and more come about.
const SHELL_SIGNALS: i32 = 128;

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

/// A failure as it is recorded: without what must not be seen, without characters that a
/// terminal would obey, and not endless. Much of its text can come from a program or from data.
pub fn recorded(mut failure: Failure, masks: &Masks) -> Failure {
    masks.mask_failure(&mut failure);
    failure.message = printable(&failure.message, MAX_TEXT);
    failure.chain.truncate(MAX_CHAIN);
    failure.chain.iter_mut().for_each(|cause| *cause = printable(cause, MAX_TEXT));
    failure.help = failure.help.map(|help| printable(&help, MAX_TEXT));
    failure
}

/// The failure of a process that ended in this way, without having said why.
pub fn ended(exit: Exit, what: &str) -> Failure {
    let failure = match exit {
        Exit::Code(code) => {
            let (words, help) = words_of_code(code);
            failure(FailureCause::Exit, format!("{what} ended with code {code}{words}"), help)
        }
        Exit::Signal(signal) => {
            let (name, words, help) = words_of_signal(signal);
            failure(FailureCause::Signal, format!("{what} was killed by {name}{words}"), help)
        }
    };
    Failure { exit: Some(exit), ..failure }
}

/// What a code says beside its number, and what can be done.
fn words_of_code(code: i32) -> (String, Option<&'static str>) {
    match code {
        126 => (
            ": the shell found a program that it could not run".to_owned(),
            Some("make the file executable with `chmod +x`, or name its interpreter"),
        ),
        127 => (
            ": the shell did not find a program".to_owned(),
            Some("install it, or see that `PATH` names its folder; its name is in the log"),
        ),
        code if code > SHELL_SIGNALS && code <= SHELL_SIGNALS + 64 => {
            let (name, words, help) = words_of_signal(code - SHELL_SIGNALS);
            (format!(": a program that it ran was killed by {name}{words}"), help)
        }
        _ => (String::new(), None),
    }
}

/// The name of a signal, what it means, and what can be done.
fn words_of_signal(signal: i32) -> (String, &'static str, Option<&'static str>) {
    let (name, words, help) = match signal {
        libc::SIGHUP => ("SIGHUP", ": its terminal went away", None),
        libc::SIGINT => ("SIGINT", ": an interrupt", None),
        libc::SIGQUIT => ("SIGQUIT", "", None),
        libc::SIGILL => (
            "SIGILL",
            ": an instruction that this processor does not have",
            Some("take a build of the program or of its libraries for this processor"),
        ),
        libc::SIGTRAP => ("SIGTRAP", "", None),
        libc::SIGABRT => ("SIGABRT", ": it gave up", Some("its log should say why")),
        libc::SIGBUS => (
            "SIGBUS",
            ": an access beyond a mapped file",
            Some("see whether the disk is full, or a file that it reads was cut short"),
        ),
        libc::SIGFPE => ("SIGFPE", ": an arithmetic error", None),
        libc::SIGKILL => (
            "SIGKILL",
            "",
            Some(
                "often the system kills so when memory runs out, which it could not tell here: \
                 see `dmesg`; a stage with `resources: {memory: …}` is told apart",
            ),
        ),
        libc::SIGSEGV => (
            "SIGSEGV",
            ": an access to memory that is not its own",
            Some("a defect of the program, or of a library that it uses"),
        ),
        libc::SIGPIPE => ("SIGPIPE", ": it wrote to a closed pipe", None),
        libc::SIGTERM => ("SIGTERM", ": it was asked to end", None),
        libc::SIGXCPU => ("SIGXCPU", ": its processor time ran out", None),
        libc::SIGXFSZ => ("SIGXFSZ", ": a file grew larger than it may (`ulimit -f`)", None),
        libc::SIGSYS => ("SIGSYS", ": a system call that is not allowed here", None),
        other => return (format!("signal {other}"), "", None),
    };
    (format!("{name} (signal {signal})"), words, help)
}

/// The failure of an attempt that was stopped because it ran too long.
pub fn timed_out(timeout: Duration, exit: Option<Exit>) -> Failure {
    let help = Some("raise the stage's `timeout`, or find out in its log what it waited for");
    let message = format!("it ran longer than its timeout of {}", span(timeout));
    Failure { exit, ..failure(FailureCause::Timeout, message, help) }
}

/// A duration as pipelines write it: `90s`, `1h 30m`.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 || duration.subsec_millis() > 0 && seconds < 60 {
        return format!("{duration:?}");
    }
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m")];
    let parts = parts.into_iter().chain([(seconds % 60, "s")]).filter(|(count, _)| *count > 0);
    parts.map(|(count, unit)| format!("{count}{unit}")).collect::<Vec<_>>().join(" ")
}

/// The failure of an attempt that was stopped because the whole run took too long.
pub fn run_timed_out(timeout: Duration) -> Failure {
    let message = format!("the run took longer than its timeout of {}", span(timeout));
    let help = "raise the pipeline's `timeout`; `wick rerun` goes on from here";
    failure(FailureCause::Timeout, message, Some(help))
}

/// The failure of a process that could not be started.
pub fn refused(step: SpawnStep, errno: i32, spec: &ProcessSpec) -> Failure {
    let error = io::Error::from_raw_os_error(errno);
    let program = spec.arguments.first().map(|name| String::from_utf8_lossy(name).into_owned());
    let program = program.unwrap_or_default();
    let (message, help) = match step {
        SpawnStep::Log => (
            "cannot open the attempt's log".to_owned(),
            match errno {
                libc::ENOSPC => Some("make room on the disk of the project's `.wick` folder"),
                _ => Some("see that the project's `.wick` folder is there and can be written"),
            },
        ),
        SpawnStep::Memory => (
            "cannot hold it to its memory".to_owned(),
            Some("see the rights of the control group that wick runs in, or leave out `memory`"),
        ),
        SpawnStep::Fork => (
            "cannot make a process".to_owned(),
            match errno {
                libc::EAGAIN => Some("there are as many processes as may be: see `ulimit -u`"),
                libc::ENOMEM => Some("the machine's memory is used up: run fewer stages at once"),
                _ => None,
            },
        ),
        SpawnStep::Folder => (
            format!("cannot run in the folder {}", spec.folder.display()),
            Some("see that it is there, and that its rights allow you to enter it"),
        ),
        SpawnStep::Program => {
            let help = match errno {
                libc::ENOENT if program.contains('/') => {
                    "see that the file is there, and that the program in its `#!` line is"
                }
                libc::ENOENT => "install it, or see that `PATH` names its folder",
                libc::EACCES => "make the file executable with `chmod +x`, or name its interpreter",
                libc::ENOEXEC => "a script starts with a `#!` line that names its interpreter",
                libc::E2BIG => "hand long lists over in a file rather than as arguments",
                libc::ENOMEM => "raise `resources.memory` of the stage",
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

/// How many processes the kernel has killed for lack of memory so far: in the control group of
/// this process, or where there is none, on the machine.
pub fn out_of_memory_kills() -> u64 {
    let count = |path: &str| -> Option<u64> {
        let text = std::fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    };
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = own.lines().find_map(|line| line.strip_prefix("0::"));
    let group = group.map(|group| format!("/sys/fs/cgroup{group}/memory.events"));
    group.and_then(|path| count(&path)).or_else(|| count("/proc/vmstat")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_words() {
        #[track_caller]
        fn check(status: i32, cause: FailureCause, message: &str) {
            let failure = ended(exit_of(status), "the program");
            assert_eq!((failure.cause, failure.message.as_str()), (cause, message));
        }
        let (exit, signal) = (FailureCause::Exit, FailureCause::Signal);
        check(3 << 8, exit, "the program ended with code 3");
        check(127 << 8, exit, "the program ended with code 127: the shell did not find a program");
        let killed = "the program ended with code 137: a program that it ran was killed by SIGKILL \
                      (signal 9)";
        check(137 << 8, exit, killed);
        check(255 << 8, exit, "the program ended with code 255");
        check(9, signal, "the program was killed by SIGKILL (signal 9)");
        let segv = "the program was killed by SIGSEGV (signal 11): an access to memory that is not \
                    its own";
        check(11, signal, segv);
        check(40, signal, "the program was killed by signal 40");
    }

    #[test]
    fn durations_are_told_as_pipelines_write_them() {
        let check = |millis, expect: &str| assert_eq!(span(Duration::from_millis(millis)), expect);
        check(300, "300ms");
        check(1500, "1.5s");
        check(90_000, "1m 30s");
        check(7_200_000, "2h");
        check(90_061_000, "1d 1h 1m 1s");
    }

    #[test]
    fn a_missing_program_is_named() {
        let spec = ProcessSpec {
            folder: "/".into(),
            programs: Vec::new(),
            arguments: vec![b"python4".to_vec()],
            environment: Vec::new(),
            memory: None,
            masks: Masks::default(),
        };
        let failure = refused(SpawnStep::Program, libc::ENOENT, &spec);
        assert_eq!(failure.message, "cannot run `python4`");
        assert_eq!(failure.chain, ["No such file or directory (os error 2)"]);
    }

    #[test]
    fn what_is_recorded_is_harmless() {
        let mut told = ended(Exit::Code(1), "the program");
        told.message = "bad \u{1b}]0;owned\u{7}value \u{9b}31m swordfish\nsecond".to_owned();
        told.chain = vec!["\u{202e}swordfish".to_owned(), "x".repeat(1 << 20)];
        let failure = recorded(told, &Masks::of(["swordfish"]));
        assert_eq!(failure.message, "bad value 31m ***\nsecond");
        assert_eq!(failure.chain[0], "***");
        assert!(failure.chain[1].len() <= MAX_TEXT + 3);
    }
}
