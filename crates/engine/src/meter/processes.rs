//! The processes of the machine, and what a group of them uses: read from `/proc`.
//!
//! A process belongs to the attempt whose leader it is, in whose process group it is, or whose
//! descendant it is. A process adds what its ended children used to its own counters when it
//! takes note of their end, so a sum over those that live counts the dead as well.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A process, as its `stat` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// User and system time, its own and that of children whose end it has noted, in ticks.
    pub ticks: u64,
    /// Resident memory, in pages.
    pub pages: u64,
}

/// What a group of processes uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupUse {
    /// Who they are.
    pub pids: Vec<u32>,
    /// User and system time since they began, in microseconds.
    pub cpu_micros: u64,
    /// Resident memory now, in bytes.
    pub memory_bytes: u64,
    /// What was read from disks; `None` where the system does not tell.
    pub read_bytes: Option<u64>,
    /// What was written to disks.
    pub written_bytes: Option<u64>,
}

/// The processes that there are at one moment.
#[derive(Debug)]
pub struct ProcessTable {
    root: PathBuf,
    processes: HashMap<u32, Process>,
}

impl ProcessTable {
    /// Looks at all processes under `root`, which is `/proc`. One that ends meanwhile is left out.
    pub fn read(root: &Path) -> Self {
        let entries = fs::read_dir(root).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let processes = numbers
            .filter_map(|pid: u32| {
                let stat = fs::read(root.join(pid.to_string()).join("stat")).ok()?;
                Some((pid, parse_stat(pid, &stat)?))
            })
            .collect();
        Self { root: root.to_owned(), processes }
    }

    /// What the processes of the group that `leader` leads use, its descendants in other groups
    /// among them. Nothing if none is left.
    pub fn use_of(&self, leader: u32) -> Option<GroupUse> {
        let mut used = GroupUse::default();
        let (mut ticks, mut pages) = (0, 0);
        let (mut read, mut written) = (None, None);
        for process in self.processes.values().filter(|process| self.belongs(process, leader)) {
            used.pids.push(process.pid);
            ticks += process.ticks;
            pages += process.pages;
            // Another user's process, of a `sudo` for one, does not show it.
            if let Some((from, to)) = self.disk(process.pid) {
                *read.get_or_insert(0) += from;
                *written.get_or_insert(0) += to;
            }
        }
        if used.pids.is_empty() {
            return None;
        }
        used.pids.sort_unstable();
        used.cpu_micros = ticks_to_micros(ticks);
        used.memory_bytes = pages * page_bytes();
        (used.read_bytes, used.written_bytes) = (read, written);
        Some(used)
    }

    fn belongs(&self, process: &Process, leader: u32) -> bool {
        let mut at = process;
        // A number that was used again could close a circle.
        for _ in 0..self.processes.len().min(1000) {
            if at.pid == leader || at.group == leader {
                return true;
            }
            match self.processes.get(&at.parent) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    }

    /// What a process has read from disks and written to them.
    fn disk(&self, pid: u32) -> Option<(u64, u64)> {
        let text = fs::read_to_string(self.root.join(pid.to_string()).join("io")).ok()?;
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        Some((value("read_bytes:")?, value("write_bytes:")?))
    }
}

/// Reads `/proc/PID/stat`. The program's name stands in parentheses and may hold any character.
fn parse_stat(pid: u32, stat: &[u8]) -> Option<Process> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let text = std::str::from_utf8(&stat[after_name..]).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    // Numbered from 1 in proc(5); the state, which comes first here, is the third.
    let field = |number: usize| fields.get(number - 3);
    let number = |place: usize| field(place)?.parse::<i64>().ok();
    let positive = |place: usize| number(place).map(|value| u64::try_from(value).unwrap_or(0));
    Some(Process {
        pid,
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().unwrap_or(0),
        ticks: positive(14)? + positive(15)? + positive(16)? + positive(17)?,
        pages: positive(24)?,
    })
}

/// For how long all processors of the machine together have been busy since it was started, in
/// seconds.
pub fn machine_busy(root: &Path) -> Option<f64> {
    let text = fs::read_to_string(root.join("stat")).ok()?;
    let numbers: Vec<u64> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq: what others took (steal) was not ours.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|place| numbers.get(*place)).sum();
    Some(ticks_to_micros(busy) as f64 / 1e6)
}

fn ticks_to_micros(ticks: u64) -> u64 {
    // SAFETY: a call without pointers.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ticks.saturating_mul(1_000_000) / u64::try_from(per_second).unwrap_or(100).max(1)
}

fn page_bytes() -> u64 {
    // SAFETY: a call without pointers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A `/proc` that a test makes.
    pub(crate) struct FakeProc(pub tempfile::TempDir);

    impl FakeProc {
        pub(crate) fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        pub(crate) fn path(&self) -> &Path {
            self.0.path()
        }

        /// A process with so many ticks, pages, and bytes read and written.
        pub(crate) fn process(
            &self,
            [pid, parent, group]: [u32; 3],
            [ticks, pages]: [u64; 2],
            disk: Option<[u64; 2]>,
        ) {
            let folder = self.path().join(pid.to_string());
            fs::create_dir_all(&folder).expect("made");
            // Half of the time is its own, half that of children; the name is a nasty one.
            let (own, children) = (ticks - ticks / 2, ticks / 2);
            let stat = format!(
                "{pid} (a) b (c) S {parent} {group} {group} 0 -1 4194304 9 9 9 9 {own} 0 {children} 0 20 0 1 0 77 \
                 1000000 {pages} 18446744073709551615 1 1\n"
            );
            fs::write(folder.join("stat"), stat).expect("written");
            if let Some([read, written]) = disk {
                let io = format!(
                    "rchar: 1\nwchar: 2\nread_bytes: {read}\nwrite_bytes: {written}\n\
                     cancelled_write_bytes: 0\n"
                );
                fs::write(folder.join("io"), io).expect("written");
            }
        }

        /// The machine's counters: so many ticks of user time, beside time that counts not.
        pub(crate) fn machine(&self, ticks: u64) {
            let text = format!("cpu  {ticks} 0 0 5000 600 0 0 70 0 0\ncpu0 1 2 3\n");
            fs::write(self.path().join("stat"), text).expect("written");
        }
    }

    #[test]
    fn a_group_is_all_that_descends_from_its_leader() {
        let proc = FakeProc::new();
        let per_second = 1_000_000 / ticks_to_micros(1);
        proc.process([10, 1, 10], [per_second, 100], Some([1000, 10]));
        proc.process([11, 10, 10], [2 * per_second, 50], Some([500, 5]));
        // In a session of its own, and another user's.
        proc.process([12, 11, 12], [per_second, 1], None);
        // Its parent has ended; the group tells.
        proc.process([13, 1, 10], [0, 2], Some([0, 0]));
        proc.process([20, 1, 20], [9 * per_second, 1000], Some([7, 7]));
        let table = ProcessTable::read(proc.path());
        let expect = GroupUse {
            pids: vec![10, 11, 12, 13],
            cpu_micros: 4_000_000,
            memory_bytes: 153 * page_bytes(),
            read_bytes: Some(1500),
            written_bytes: Some(15),
        };
        assert_eq!(table.use_of(10), Some(expect));
        assert_eq!(table.use_of(99), None);
    }

    #[test]
    fn the_machine_is_busy_when_it_computes() {
        let proc = FakeProc::new();
        assert_eq!(machine_busy(proc.path()), None);
        proc.machine(1_000_000 / ticks_to_micros(1) * 3);
        assert_eq!(machine_busy(proc.path()), Some(3.0));
    }

    #[test]
    fn this_process_is_found_on_the_real_machine() {
        let own = ProcessTable::read(Path::new("/proc")).use_of(std::process::id());
        let own = own.expect("this process lives");
        assert!(own.pids.contains(&std::process::id()));
        assert!(own.memory_bytes > 0);
        assert!(machine_busy(Path::new("/proc")).is_some_and(|busy| busy > 0.0));
    }
}
