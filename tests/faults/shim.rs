//! Faults from outside: `shim.c`, compiled once and preloaded into the real binary, kills it at a
//! chosen write, lets a chosen call fail, moves its clock. The binary itself has nothing in it
//! for tests.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: calls are only counted.
    Count,
    /// `kill -9`, just before the call.
    Kill,
    /// The process stops before the call, until SIGCONT.
    Stop,
    /// The call is not done and gives this error.
    Fail(i32),
    /// The call is done and gives this error all the same.
    FailAfter(i32),
}

/// The processes of `wick` in which faults may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `wick run` and `wick rerun`.
    Engine,
    /// `wick worker`.
    Worker,
    /// Commands that only ask.
    Asker,
    /// `wick gc` and `wick store`.
    Keeper,
}

impl Role {
    const fn words(self) -> &'static str {
        match self {
            Role::Engine => "run,rerun,",
            Role::Worker => "worker,",
            Role::Asker => "runs,show,plan,",
            Role::Keeper => "gc,store,",
        }
    }
}

/// Faults for the processes of one command.
pub struct Faults {
    folder: TempDir,
    control: File,
    under: PathBuf,
    fault: Fault,
    roles: String,
    calls: String,
    part: String,
    haste: bool,
}

// The places in the control block, which `shim.c` describes.
const CALLS: u64 = 0;
const FIRST: u64 = 8;
const TIMES: u64 = 16;
const HITS: u64 = 24;
const CLOCK: u64 = 32;

impl Faults {
    /// No faults yet: counts all calls of engine and workers that write below `under`.
    pub fn under(under: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let control = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(folder.path().join("control"))
            .expect("a control block");
        control.set_len(4096).expect("a control block");
        let faults = Self {
            folder,
            control,
            under: under.to_owned(),
            fault: Fault::Count,
            roles: String::new(),
            calls: String::new(),
            part: String::new(),
            haste: false,
        };
        faults.set(TIMES, 1);
        faults.in_roles(&[Role::Engine, Role::Worker])
    }

    /// Only in these processes.
    pub fn in_roles(mut self, roles: &[Role]) -> Self {
        self.roles = roles.iter().fold(",".to_owned(), |all, role| all + role.words());
        self
    }

    /// Only at these calls: `write`, `sync`, `rename`, `mkdir`, `remove`, `link`, `truncate`,
    /// `chmod`.
    pub fn at_calls(mut self, calls: &[&str]) -> Self {
        self.calls = format!(",{},", calls.join(","));
        self
    }

    /// Only for paths that hold `part`.
    pub fn at_paths(mut self, part: &str) -> Self {
        part.clone_into(&mut self.part);
        self
    }

    /// Sleeping takes no time in these processes.
    pub fn with_haste(mut self) -> Self {
        self.haste = true;
        self
    }

    /// `fault` happens at the `first` call that counts, from 1, and at those after it: `times` in
    /// all, 0 for all that come.
    pub fn happens(mut self, fault: Fault, first: i64, times: i64) -> Self {
        self.fault = fault;
        self.set(FIRST, first);
        self.set(TIMES, times);
        self
    }

    /// How many calls counted so far.
    pub fn calls(&self) -> i64 {
        self.get(CALLS)
    }

    /// How often the fault happened.
    pub fn hits(&self) -> i64 {
        self.get(HITS)
    }

    /// Sets the wall clock of these processes ahead by so many seconds, now.
    pub fn set_clock(&self, seconds: i64) {
        self.set(CLOCK, seconds);
    }

    /// The calls that counted, a line each: number, call, path; `!` where something happened.
    pub fn trace(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("trace")).unwrap_or_default()
    }

    /// Lets `command` run with these faults.
    pub fn arm(&self, command: &mut Command) {
        let (action, number) = match self.fault {
            Fault::Count => ("count", 0),
            Fault::Kill => ("kill", 0),
            Fault::Stop => ("stop", 0),
            Fault::Fail(number) => ("fail", number),
            Fault::FailAfter(number) => ("fail-after", number),
        };
        command
            .env("LD_PRELOAD", library())
            .env("FAULT_CONTROL", self.folder.path().join("control"))
            .env("FAULT_TRACE", self.folder.path().join("trace"))
            .env("FAULT_ROLES", &self.roles)
            .env("FAULT_CALLS", &self.calls)
            .env("FAULT_UNDER", &self.under)
            .env("FAULT_PATH", &self.part)
            .env("FAULT_ACTION", action)
            .env("FAULT_ERRNO", number.to_string())
            .env("FAULT_HASTE", if self.haste { "1" } else { "" });
    }

    fn set(&self, place: u64, value: i64) {
        self.control.write_all_at(&value.to_ne_bytes(), place).expect("written");
    }

    fn get(&self, place: u64) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, place).expect("read");
        i64::from_ne_bytes(bytes)
    }
}

/// The compiled `shim.c`.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (made, place) =
            (folder.join(format!("shim-{}.so", std::process::id())), folder.join("shim.so"));
        let compiled = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o"])
            .arg(&made)
            .arg(SOURCE)
            .arg("-ldl")
            .output()
            .expect("the fault suite needs a C compiler: install gcc, or clang as `cc`");
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{SOURCE} does not compile:\n{said}");
        // Renamed, so that two test programs at a time do not see it half written.
        std::fs::rename(&made, &place).expect("renamed");
        place
    })
}
