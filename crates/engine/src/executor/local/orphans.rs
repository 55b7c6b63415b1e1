//! Ends what a supervisor left behind that died.

use std::time::Duration;

use wick_core::RunId;

/// Kills what is left of a process group whose supervisor died. The system has killed its leader
/// already; this is for the leader's children.
pub fn kill_group(pid: u32) {
    if let Some(group) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // That nothing is left is the usual case.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Kills every process that carries the mark of `run` in its environment: a supervisor may die
/// before it has told the pid of what it started. Nothing of the run is to live now.
pub fn kill_marked(run: &RunId) {
    let mark = format!("WICK_RUN={run}");
    // A process that is just being made shows no environment for a moment: so it is over only
    // when nothing was found twice in a row.
    let mut quiet = 0;
    for _ in 0..20 {
        quiet = if kill_bearers(mark.as_bytes()) == 0 { quiet + 1 } else { 0 };
        if quiet == 2 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills every other process with the variable `mark` in its environment; tells how many.
fn kill_bearers(mark: &[u8]) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let others = processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != std::process::id()));
    let mut killed = 0;
    for pid in others {
        // What cannot be read belongs to someone else, or has ended.
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            killed += 1;
        }
    }
    killed
}
