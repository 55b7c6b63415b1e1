//! Control groups (cgroup v2) that hold an attempt to its memory: the kernel counts what all of
//! its processes really use together, ends all of them when that is too much, and says so.
//!
//! They are used where this process was given a part of the tree to itself: a container with a
//! namespace of its own, `systemd-run --user --scope -p Delegate=yes wick run …`. Elsewhere the
//! tree is the system's, and attempts get a limit of their own instead ([`crate::memory`]).
//!
//! The engine finds the group that attempts' groups may be made in; its supervisor makes one for
//! each attempt, and takes it away again.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the tree is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The group that the engine moves itself into: only a group without processes of its own may
/// hand memory out to groups below it.
const ENGINE: &str = "wick-engine";

/// What the groups of attempts are called, before the supervisor's pid.
const ATTEMPT: &str = "wick-attempt-";

/// The group in which groups for attempts can be made; `None` where there is none. It is looked
/// for once, and may then move this process into a group of its own below the one it is in.
pub fn delegated() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        delegated_in(Path::new(ROOT), &own, std::process::id())
    };
    FOUND.get_or_init(find).as_deref()
}

/// [`delegated`] for the process `pid`, which is in the groups `own` (as `/proc/PID/cgroup` lists
/// them), in the tree at `root`.
fn delegated_in(root: &Path, own: &str, pid: u32) -> Option<PathBuf> {
    // The line of the second version has no number and no controllers.
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut group = root.join(path);
    if group.file_name().is_some_and(|name| name == ENGINE) {
        group.pop();
    }
    if !lists(&group.join("cgroup.controllers"), "memory") {
        return None;
    }
    if !lists(&group.join("cgroup.subtree_control"), "memory") {
        let processes = fs::read_to_string(group.join("cgroup.procs")).ok()?;
        if processes.split_ascii_whitespace().any(|other| other.parse() != Ok(pid)) {
            return None;
        }
        let engine = group.join(ENGINE);
        make_folder(&engine).ok()?;
        fs::write(engine.join("cgroup.procs"), pid.to_string()).ok()?;
        if fs::write(group.join("cgroup.subtree_control"), "+memory").is_err() {
            // As it was before.
            let _ = fs::write(group.join("cgroup.procs"), pid.to_string());
            let _ = fs::remove_dir(&engine);
            return None;
        }
    }
    // What is there may still be another's.
    let probe = group.join(format!("{ATTEMPT}{pid}-probe"));
    make_folder(&probe).ok()?;
    let has_limit = probe.join("memory.max").exists();
    let removed = fs::remove_dir(&probe).is_ok();
    if !has_limit || !removed {
        return None;
    }
    sweep(&group);
    Some(group)
}

/// Whether the file at `path` names `word` among others.
fn lists(path: &Path, word: &str) -> bool {
    fs::read_to_string(path)
        .is_ok_and(|text| text.split_ascii_whitespace().any(|listed| listed == word))
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Takes away the groups of supervisors that died. One that still holds processes stays.
fn sweep(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let supervisor = name
            .to_str()
            .and_then(|name| name.strip_prefix(ATTEMPT)?.split_once('-'))
            .map(|(pid, _)| pid);
        if supervisor.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// What the processes of an attempt's group did with their memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupUsage {
    /// How many of them the kernel has killed because of the limit.
    pub kills: u32,
    /// The most that they used together, in bytes; 0 if the kernel does not tell.
    pub peak_bytes: u64,
}

/// The group of an attempt.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// Makes a group in `parent` whose processes may use `memory` bytes together, and no swap.
    ///
    /// # Errors
    /// If the system does not allow it. Nothing is left then.
    pub fn make(parent: &Path, process: u64, memory: u64) -> io::Result<Self> {
        let folder = parent.join(format!("{ATTEMPT}{}-{process:x}", std::process::id()));
        make_folder(&folder)?;
        let group = Self { folder };
        if let Err(error) = group.limit(memory) {
            group.remove();
            return Err(error);
        }
        Ok(group)
    }

    fn limit(&self, memory: u64) -> io::Result<()> {
        write(&self.folder.join("memory.max"), &memory.to_string())?;
        // All or none: half of a pipeline of programs goes on as if nothing were.
        write(&self.folder.join("memory.oom.group"), "1")?;
        // Not there where the system has no swap.
        match write(&self.folder.join("memory.swap.max"), "0") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The file that moves a process which writes `0` to it into the group.
    pub fn entrance(&self) -> io::Result<CString> {
        let path = self.folder.join("cgroup.procs");
        CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
    }

    /// What became of its memory so far.
    pub fn usage(&self) -> GroupUsage {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let kills = read("memory.events")
            .lines()
            .find_map(|line| number(line.strip_prefix("oom_kill ")?))
            .unwrap_or(0);
        GroupUsage {
            kills: u32::try_from(kills).unwrap_or(u32::MAX),
            peak_bytes: number(&read("memory.peak")).unwrap_or(0),
        }
    }

    /// Kills every process in the group, whatever session or process group it hides in.
    pub fn kill(&self) {
        let _ = write(&self.folder.join("cgroup.kill"), "1");
    }

    /// Takes the group away; false as long as there are processes in it.
    pub fn remove(&self) -> bool {
        match fs::remove_dir(&self.folder) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Writes to a file of the tree, which the kernel has made.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use io::Write;
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a group which was given away.
    fn tree(controllers: &str, subtree: &str, processes: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let group = root.path().join("mine");
        fs::create_dir(&group).expect("made");
        for (name, text) in [
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", subtree),
            ("cgroup.procs", processes),
        ] {
            fs::write(group.join(name), text).expect("written");
        }
        root
    }

    #[test]
    fn only_a_group_of_ones_own_is_used() {
        let found = |root: &Path, own: &str| delegated_in(root, own, 7);
        // Another process lives there.
        let root = tree("cpu memory\n", "", "7\n8\n");
        assert_eq!(found(root.path(), "0::/mine\n"), None);
        assert!(!root.path().join("mine").join(ENGINE).exists(), "nothing was moved");
        // Memory is not handed down.
        let root = tree("cpu\n", "", "7\n");
        assert_eq!(found(root.path(), "0::/mine\n"), None);
        // Only the first version.
        assert_eq!(found(root.path(), "4:memory:/mine\n"), None);
    }

    #[test]
    fn the_engine_moves_out_of_the_way() {
        let root = tree("memory\n", "", "7\n");
        let group = root.path().join("mine");
        let found = delegated_in(root.path(), "4:cpu:/x\n0::/mine\n", 7);
        // Folders made here have no files of the kernel's, so it stops at the probe.
        assert_eq!(found, None);
        let read = |name: &str| fs::read_to_string(group.join(name)).expect("read");
        assert_eq!(read("wick-engine/cgroup.procs"), "7");
        assert_eq!(read("cgroup.subtree_control"), "+memory");
        assert!(!group.join("wick-attempt-7-probe").exists());
    }

    #[test]
    fn a_group_is_limited_and_tells_what_became_of_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let refused = Group::make(parent.path(), 5, 1 << 20);
        assert!(refused.is_err(), "the kernel made no files there");
        assert_eq!(fs::read_dir(parent.path()).expect("read").count(), 0, "nothing is left");

        let folder = parent.path().join("group");
        fs::create_dir(&folder).expect("made");
        for name in ["memory.max", "memory.oom.group", "cgroup.kill", "cgroup.procs"] {
            fs::write(folder.join(name), "").expect("written");
        }
        let group = Group { folder: folder.clone() };
        group.limit(1 << 20).expect("without swap");
        fs::write(folder.join("memory.swap.max"), "").expect("written");
        group.limit(1 << 20).expect("with swap");
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("read");
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!((read("memory.swap.max"), read("memory.oom.group")), ("0".into(), "1".into()));
        assert_eq!(group.usage(), GroupUsage::default(), "an old kernel tells nothing");
        fs::write(folder.join("memory.events"), "low 0\noom 3\noom_kill 2\n").expect("written");
        fs::write(folder.join("memory.peak"), "1048000\n").expect("written");
        assert_eq!(group.usage(), GroupUsage { kills: 2, peak_bytes: 1_048_000 });
        group.kill();
        assert_eq!(read("cgroup.kill"), "1");
        assert!(group.entrance().expect("a path").as_bytes().ends_with(b"/group/cgroup.procs"));
        assert!(!group.remove(), "there is something in it");
        fs::remove_dir_all(&folder).expect("removed");
        assert!(group.remove(), "it is gone");
    }

    #[test]
    fn groups_of_dead_supervisors_are_swept() {
        let parent = tempfile::tempdir().expect("a folder");
        let own = format!("{ATTEMPT}{}-1", std::process::id());
        for name in ["wick-attempt-999999999-1", &own, "other"] {
            fs::create_dir(parent.path().join(name)).expect("made");
        }
        sweep(parent.path());
        let left: Vec<bool> = ["wick-attempt-999999999-1", &own, "other"]
            .iter()
            .map(|name| parent.path().join(name).exists())
            .collect();
        assert_eq!(left, [false, true, true]);
    }
}
