//! Engines that have died a moment ago, and whose supervisors still end what they had started.
//!
//! The locks of a dead process are free at once. Its attempts live on for a moment, until their
//! supervisor has noticed: who got a lock in that moment would run beside them. So the supervisors
//! of this machine are known by a variable of their environment, which says for which run and
//! which process they work.

use wick_core::RunId;

use crate::liveness::process_start;

/// The variable in the environment of a supervisor, and of nothing that it starts.
pub const SUPERVISES: &str = "WICK_SUPERVISES";

/// What [`SUPERVISES`] says to a supervisor that this process starts for `run`.
pub fn mark(run: &RunId) -> String {
    let pid = std::process::id();
    format!("{run}.{pid}.{}", process_start(pid).unwrap_or_default())
}

/// Whether a supervisor with this mark is there.
pub(super) fn is_supervised(mark: &str) -> bool {
    marks().any(|found| found == mark)
}

/// The marks of the supervisors of this user on this machine. What has ended has no environment.
fn marks() -> impl Iterator<Item = String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter(|process| {
        process.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit)
    });
    processes.filter_map(|process| {
        let environment = std::fs::read(process.path().join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0);
        let mark = variables.find_map(|variable| {
            variable.strip_prefix(SUPERVISES.as_bytes())?.strip_prefix(b"=")
        })?;
        Some(String::from_utf8_lossy(mark).into_owned())
    })
}
