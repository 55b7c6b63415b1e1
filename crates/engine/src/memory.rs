//! Holds attempts to their stage's `resources.memory`, and tells when one ran out of it.
//!
//! In a control group the kernel counts, kills and says so ([`crate::cgroup`]). Elsewhere each
//! process gets a limit on its data (`RLIMIT_DATA`): an allocation beyond it fails, and the
//! program says what programs say then. The limit is on data rather than on the whole address
//! space (`RLIMIT_AS`) because that counts what costs no memory: mapped files and libraries, the
//! 64 MiB that glibc sets aside for each thread, the tables that polars and PyTorch map. A Python
//! of eight threads that uses 14 MB has 75 MB of data and an address space of 670 MB; a worker
//! that uses 67 MB has 65 MB of data and an address space of 740 MB.

use std::path::Path;

use wick_core::{Exit, Failure, FailureCause};

use crate::log::tail_log;

/// How much data a program may have beyond the stage's limit, in bytes. Data counts when it is
/// asked for, not when it is used: what an allocator keeps ahead, for one.
const HEADROOM: u64 = 16 << 20;

/// How much data a worker may have beyond the stage's limit, in bytes: its own pools of threads
/// and tables, whatever the stage does. Measured: 20 to 50 MiB.
const WORKER_HEADROOM: u64 = 64 << 20;

/// The stack that is set aside for a thread, in bytes: the common default.
const STACK: u64 = 8 << 20;

/// How many of the last lines of a log are searched for what a program says when memory is out.
const LINES: usize = 40;

/// What programs say when an allocation fails, in lower case.
const SIGNS: &[&str] = &[
    // Rust, C++, C and the system's own words.
    "memory allocation of",
    "bad_alloc",
    "cannot allocate memory",
    "can't allocate memory",
    "not enough memory",
    "memory exhausted",
    // Python and NumPy.
    "memoryerror",
    "unable to allocate",
    // Perl, awk, node, R, Julia, Java.
    "out of memory",
    "cannot allocate vector",
    "outofmemoryerror",
];

/// What programs say when a thread cannot be made, which needs memory for its stack, but can have
/// other reasons.
const WEAK_SIGNS: &[&str] =
    &["could not spawn thread", "failed to spawn thread", "start new thread"];

/// How much memory an attempt may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLimit {
    /// What the stage says, in bytes.
    pub bytes: u64,
    /// What each process may have as data where there is no control group, in bytes.
    pub data: u64,
}

impl MemoryLimit {
    /// A limit of `bytes` for a program that may use `cpus` processors.
    pub const fn of_program(bytes: u64, cpus: u32) -> Self {
        Self::with(bytes, HEADROOM, cpus)
    }

    /// A limit of `bytes` for a worker that may use `cpus` processors.
    pub const fn of_worker(bytes: u64, cpus: u32) -> Self {
        Self::with(bytes, WORKER_HEADROOM, cpus)
    }

    /// The stacks of threads count in full as well, and are hardly touched.
    const fn with(bytes: u64, headroom: u64, cpus: u32) -> Self {
        Self { bytes, data: bytes.saturating_add(headroom).saturating_add(STACK * cpus as u64) }
    }
}

/// What is known of an attempt's memory when it has ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryUse<'a> {
    /// What it was held to.
    pub limit: Option<&'a MemoryLimit>,
    /// The most that it used, in bytes, as far as is known.
    pub peak: u64,
    /// Whether it was in a control group, and how many processes were killed for the limit.
    pub kills: Option<u32>,
    /// What it printed.
    pub log: Option<&'a Path>,
}

impl MemoryUse<'_> {
    /// Whether the attempt, which did not end well, ran out of the memory that it may use.
    pub fn ran_out(&self, exit: Option<Exit>, failure: Option<&Failure>) -> bool {
        let Some(limit) = self.limit else { return false };
        if let Some(kills) = self.kills {
            return kills > 0;
        }
        // Most such ends far from the limit have nothing to do with memory.
        let is_near = self.peak >= limit.bytes / 4 * 3;
        let says = |text: &str| {
            let text = text.to_lowercase();
            let has = |signs: &[&str]| signs.iter().any(|sign| text.contains(sign));
            has(SIGNS) || is_near && has(WEAK_SIGNS)
        };
        if let Some(failure) = failure {
            if matches!(failure.cause, FailureCause::Gate | FailureCause::Config) {
                return false;
            }
            if std::iter::once(&failure.message).chain(&failure.chain).any(|text| says(text)) {
                return true;
            }
        }
        let printed = self.log.and_then(|log| tail_log(log, LINES).ok()).unwrap_or_default();
        if printed.iter().any(|line| says(line)) {
            return true;
        }
        // Programs that do not look at what an allocation returns: dash, for one.
        let crashed = matches!(exit, Some(Exit::Signal(libc::SIGSEGV | libc::SIGABRT)));
        failure.is_none() && crashed && is_near
    }

    /// The failure of an attempt that ran out of memory; `what` is its process.
    pub fn failure(&self, what: &str, exit: Option<Exit>) -> Failure {
        let (message, help) = match self.limit {
            Some(limit) => {
                let bytes = size(limit.bytes);
                let peak = match self.peak {
                    0 => String::new(),
                    // Refused in one piece: the peak alone would read like a contradiction.
                    peak if peak < limit.bytes / 4 * 3 => {
                        format!(": it held {} and asked for too much at once", size(peak))
                    }
                    peak => format!(", and its peak was {}", size(peak)),
                };
                (
                    format!("{what} needed more memory than the {bytes} of its stage{peak}"),
                    "raise `resources.memory` of the stage, or let it hold less at a time",
                )
            }
            None => (
                format!("{what} was killed because the machine's memory ran out"),
                "let the stage hold less at a time, let fewer stages run at once with \
                 `resources.memory` or `--jobs`, or give the machine more memory",
            ),
        };
        Failure {
            cause: FailureCause::OutOfMemory,
            message,
            chain: Vec::new(),
            help: Some(help.to_owned()),
            exit,
        }
    }
}

/// `bytes` in the units of pipelines: `512 MiB`, `1.5 GiB`.
fn size(bytes: u64) -> String {
    let (mut number, mut units) = (bytes as f64, ["B", "KiB", "MiB", "GiB", "TiB"].iter());
    let mut unit = units.next();
    while number >= 1024.0
        && let Some(larger) = units.next()
    {
        (number, unit) = (number / 1024.0, Some(larger));
    }
    let number = format!("{number:.1}");
    format!("{} {}", number.trim_end_matches(".0"), unit.unwrap_or(&"B"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran_out(log: &str, exit: Exit, peak: u64, kills: Option<u32>) -> bool {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(&path, log).expect("written");
        let limit = MemoryLimit::of_program(100 << 20, 2);
        let used = MemoryUse { limit: Some(&limit), peak, kills, log: Some(&path) };
        used.ran_out(Some(exit), None)
    }

    #[test]
    fn what_programs_say_is_understood_where_there_is_a_limit() {
        let failed = Exit::Code(1);
        assert!(ran_out("Traceback\nMemoryError\n", failed, 0, None));
        assert!(ran_out("memory allocation of 65536 bytes failed\n", Exit::Signal(6), 0, None));
        assert!(ran_out("  what():  std::bad_alloc\n", Exit::Signal(6), 0, None));
        assert!(ran_out("sort: memory exhausted\n", Exit::Code(2), 0, None));
        assert!(!ran_out("no such file\n", failed, 200 << 20, None));
        let threads = "could not spawn threads: Resource temporarily unavailable\n";
        assert!(ran_out(threads, failed, 80 << 20, None));
        assert!(!ran_out(threads, failed, 10 << 20, None), "perhaps too many processes");
        assert!(ran_out("", Exit::Signal(11), 80 << 20, None), "a crash near the limit");
        assert!(!ran_out("", Exit::Signal(11), 10 << 20, None), "a crash far from it");
        let used = MemoryUse::default();
        assert!(!used.ran_out(Some(Exit::Signal(9)), None), "without a limit nothing is known");
    }

    #[test]
    fn a_control_group_is_believed_rather_than_words() {
        assert!(ran_out("", Exit::Signal(9), 0, Some(1)));
        assert!(!ran_out("MemoryError", Exit::Code(1), 0, Some(0)));
    }

    #[test]
    fn a_workers_own_words_count() {
        let limit = MemoryLimit::of_program(1 << 20, 1);
        let used = MemoryUse { limit: Some(&limit), ..MemoryUse::default() };
        let mut failure = used.failure("the worker", None);
        failure.message = "cannot map the table".to_owned();
        assert!(!used.ran_out(None, Some(&failure)));
        failure.chain = vec!["Cannot allocate memory (os error 12)".to_owned()];
        assert!(used.ran_out(None, Some(&failure)));
        failure.cause = FailureCause::Gate;
        assert!(!used.ran_out(None, Some(&failure)), "a gate is a gate");
    }

    #[test]
    fn the_failure_says_limit_peak_and_mend() {
        let limit = MemoryLimit::of_program(1536 << 20, 1);
        let refused = MemoryUse { limit: Some(&limit), peak: 200 << 20, kills: None, log: None };
        let message = "the program needed more memory than the 1.5 GiB of its stage: it held 200 \
                       MiB and asked for too much at once";
        assert_eq!(refused.failure("the program", Some(Exit::Code(1))).message, message);
        let used = MemoryUse { peak: 1500 << 20, ..refused };
        let failure = used.failure("the program", Some(Exit::Signal(9)));
        let message = "the program needed more memory than the 1.5 GiB of its stage, and its peak \
                       was 1.5 GiB";
        assert_eq!(failure.message, message);
        assert!(failure.help.expect("a mend").contains("`resources.memory`"));
        assert!(!failure.cause.is_transient());
    }
}
