//! What is recorded of the machine and the code with every run. Never secrets: no environment
//! variables, no arguments, no remote URLs.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

/// Where and with what a run was made.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// The version of this format.
    pub version: u32,
    /// The version of `wick`.
    pub wick: &'static str,
    /// The operating system and its kernel: `linux 6.1.0`.
    pub os: String,
    /// The processor architecture.
    pub arch: &'static str,
    /// The processor's name.
    pub cpu: Option<String>,
    /// How many processors there are for this process.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The machine's name.
    pub host: String,
    /// Who ran it.
    pub user: Option<String>,
    /// The code's version, if the pipeline lies in a git repository.
    pub git: Option<Git>,
}

/// The state of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Git {
    /// The commit that is checked out.
    pub commit: String,
    /// The branch, unless none is.
    pub branch: Option<String>,
    /// Whether files differ from the commit.
    pub dirty: bool,
}

impl Environment {
    /// What there is now; `folder` is where the pipeline lies.
    pub fn collect(folder: &Path) -> Self {
        let system = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Self {
            version: 1,
            wick: env!("CARGO_PKG_VERSION"),
            os: format!("{} {}", std::env::consts::OS, text(system.release())),
            arch: std::env::consts::ARCH,
            cpu: cpu_name(),
            cpus: cpus(),
            memory_bytes: memory_bytes(),
            host: text(system.nodename()),
            user: user(),
            git: Git::of(folder),
        }
    }
}

impl Git {
    /// The state of the repository around `folder`; `None` without one, or without git.
    pub fn of(folder: &Path) -> Option<Git> {
        let status = git(folder, &["status", "--porcelain=v2", "--branch"])?;
        let mut state = Git { commit: String::new(), branch: None, dirty: false };
        for line in status.lines() {
            if let Some(commit) = line.strip_prefix("# branch.oid ") {
                state.commit = commit.to_owned();
            } else if let Some(branch) = line.strip_prefix("# branch.head ") {
                state.branch = (branch != "(detached)").then(|| branch.to_owned());
            } else if !line.starts_with('#') {
                state.dirty = true;
            }
        }
        // A repository before its first commit has no version to record.
        state.commit.chars().all(|char| char.is_ascii_hexdigit()).then_some(state)
    }
}

/// What `git ARGUMENTS` prints in `folder`, if it succeeds.
pub fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        // Reading the state must not wait for, or disturb, another git.
        .arg("--no-optional-locks")
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How many processors this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The machine's memory in bytes.
pub fn memory_bytes() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The processor's name.
fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Who runs this: by the environment, else by the user's number.
fn user() -> Option<String> {
    ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .or_else(|| Some(format!("uid {}", rustix::process::getuid().as_raw())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_environment_variable_is_recorded_but_the_user() {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = Environment::collect(folder.path());
        let value = serde_json::to_value(&environment).expect("JSON");
        let keys: Vec<&str> =
            value.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["version", "wick", "os", "arch", "cpu", "cpus", "memory_bytes", "host", "user", "git"]
        );
        assert!(environment.cpus >= 1);
    }
}
