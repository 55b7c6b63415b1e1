//! Processes of a run whose engine, or supervisor, has died: finds them and ends them.
//!
//! As a rule there are none: a supervisor ends all that it started when its engine dies, and the
//! system ends a supervisor's children with it. Left over is what those children had started
//! themselves, if engine and supervisor were killed together. It is found by two signs: the pid
//! and start time that were recorded of an attempt's process, which leads the group of its
//! children; and the run's id in the environment, which children inherit. A pid alone says
//! nothing, for pids are used again; and a process of another user is never touched. What
//! hides in a session of its own, with an environment of its own, is not found.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use wick_core::{AttemptState, Digest, EventBody, RunId};
use wick_store::{Store, StoreResult, process_start, this_host};

/// The variable that marks the processes of a run.
pub const RUN_MARK: &str = "WICK_RUN";

/// How many bits of [`started`] are clock ticks: three centuries of them.
const TICK_BITS: u32 = 40;

/// How many bits of [`started`] tell the boot; together few enough for any reader of JSON.
const BOOT_BITS: u32 = 12;

/// The process of an attempt, as it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its pid, and that of its group.
    pub pid: u32,
    /// What [`started`] said of it; 0 if it was not known.
    pub started: u64,
}

/// A number that tells the process `pid` of this machine from any other that ever had this pid,
/// also before the machine was last started; `None` if there is no such process.
pub fn started(pid: u32) -> Option<u64> {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(mix(process_start(pid)?, &boot))
}

fn mix(ticks: u64, boot: &[u8]) -> u64 {
    let [first, second, ..] = *Digest::of(boot).as_bytes();
    let boot = u64::from(u16::from_le_bytes([first, second])) & ((1 << BOOT_BITS) - 1);
    boot << TICK_BITS | ticks & ((1 << TICK_BITS) - 1)
}

/// Ends what is left of the dead run `run` on this machine.
///
/// # Errors
/// If the store does not tell what the run had started.
pub async fn end_of_run(store: &dyn Store, run: &RunId) -> StoreResult<()> {
    if let Some(recorded) = recorded(store, run).await? {
        let run = run.clone();
        // It looks at every process of the machine, and waits a little.
        let _ = tokio::task::spawn_blocking(move || end(&run, &recorded)).await;
    }
    Ok(())
}

/// The processes that `run` had started on this machine and whose end is not known; `None` if
/// it was last driven from another.
///
/// # Errors
/// If the store does not answer.
pub async fn recorded(store: &dyn Store, run: &RunId) -> StoreResult<Option<Vec<Recorded>>> {
    let here = this_host();
    let mut is_here = false;
    let mut open = HashMap::new();
    for record in store.events(run, None).await? {
        match record.event.body {
            EventBody::RunStarted { host, .. } => is_here = host == here,
            EventBody::AttemptSpawned { stage, attempt, pid, started } if is_here => {
                open.insert((stage, attempt), Recorded { pid, started });
            }
            EventBody::AttemptFinished { stage, attempt, state, .. }
                if state != AttemptState::Lost =>
            {
                open.remove(&(stage, attempt));
            }
            _ => {}
        }
    }
    Ok(is_here.then(|| open.into_values().collect()))
}

/// Ends the process groups of `recorded` that are still led by the very process that was
/// recorded, and every process that carries the mark of `run`.
pub fn end(run: &RunId, recorded: &[Recorded]) {
    for process in recorded {
        if process.started != 0
            && started(process.pid) == Some(process.started)
            && is_own(&process_folder(process.pid))
        {
            kill_group(process.pid);
        }
    }
    kill_marked(run);
}

/// Kills a process group. What leads it must have been seen to be ours.
pub fn kill_group(pid: u32) {
    if let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // That nothing is left is the usual case.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Kills every process that carries the mark of `run` in its environment: a supervisor may die
/// before it has told the pid of what it started. Nothing of the run is to live now.
pub fn kill_marked(run: &RunId) {
    let mark = format!("{RUN_MARK}={run}");
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

/// Kills every other process of this user with the variable `mark` in its environment; tells how
/// many.
fn kill_bearers(mark: &[u8]) -> usize {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let others = processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id());
    let mut killed = 0;
    for pid in others {
        let folder = process_folder(pid);
        // What cannot be read belongs to someone else, or has ended.
        let environment = std::fs::read(folder.join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark)
            && is_own(&folder)
            && let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::KILL);
            killed += 1;
        }
    }
    killed
}

fn process_folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Whether the process belongs to the user who runs this one.
fn is_own(folder: &Path) -> bool {
    std::fs::metadata(folder)
        .is_ok_and(|metadata| metadata.uid() == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that waits until it is killed, leading a group of its own.
    fn sleeper(mark: Option<&RunId>) -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").process_group(0).stdin(Stdio::null());
        if let Some(run) = mark {
            command.env(RUN_MARK, run.as_str());
        }
        command.spawn().expect("sleep starts")
    }

    fn is_killed(mut child: Child) -> bool {
        child.wait().expect("it ends").signal() == Some(libc::SIGKILL)
    }

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let run = RunId::from_random(11);
        let recorded = |child: &Child| {
            let started = started(child.id()).expect("it runs");
            Recorded { pid: child.id(), started }
        };
        let (orphan, mut stranger, mut unknown) = (sleeper(None), sleeper(None), sleeper(None));
        let reused = Recorded { started: recorded(&stranger).started + 1, ..recorded(&stranger) };
        let before_start = Recorded { started: 0, ..recorded(&unknown) };
        end(&run, &[recorded(&orphan), reused, before_start]);
        assert!(is_killed(orphan));
        for survivor in [&mut stranger, &mut unknown] {
            assert_eq!(survivor.try_wait().expect("asked"), None, "a stranger was killed");
            survivor.kill().expect("killed");
            survivor.wait().expect("it ends");
        }
    }

    #[test]
    fn a_process_is_known_by_the_mark_of_its_run() {
        let (run, other) = (RunId::from_random(12), RunId::from_random(13));
        let (mine, mut others) = (sleeper(Some(&run)), sleeper(Some(&other)));
        end(&run, &[]);
        assert!(is_killed(mine));
        assert_eq!(others.try_wait().expect("asked"), None, "another run's was killed");
        end(&other, &[]);
        assert!(is_killed(others));
    }

    #[test]
    fn a_start_is_told_from_one_of_another_boot() {
        assert_eq!(mix(5, b"a"), mix(5, b"a"));
        assert_ne!(mix(5, b"a"), mix(6, b"a"));
        assert_ne!(mix(5, b"a"), mix(5, b"b"));
        assert!(mix(u64::MAX, b"a") < 1 << 53, "JSON readers keep it whole");
        assert_eq!(started(std::process::id()), started(std::process::id()));
        assert_eq!(started(u32::MAX), None);
    }
}
