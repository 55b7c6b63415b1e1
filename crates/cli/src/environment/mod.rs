//! What is recorded of the machine and the code with every run. Never secrets: no environment
//! variables but the user's name and Slurm's numbers, no arguments, no remote URLs.

pub mod git;
mod place;

use std::path::Path;

use serde::Serialize;

pub use git::Git;
pub use place::pythons;
use place::{Gpu, Python};

/// Where and with what a run was made.
#[derive(Debug, Clone, Serialize)]
pub struct Environment {
    /// The version of this format.
    pub version: u32,
    /// The version of `wick`.
    pub wick: &'static str,
    /// How it was built: `release`, for one, and for which system.
    pub build: String,
    /// The operating system and its kernel: `linux 6.1.0`.
    pub os: String,
    /// The system's name for people.
    pub distribution: Option<String>,
    /// The processor architecture.
    pub arch: &'static str,
    /// The processor's name.
    pub cpu: Option<String>,
    /// How many processors there are for this process.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// NVIDIA's GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
    /// The version of their driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_driver: Option<String>,
    /// The Pythons that stages run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pythons: Vec<Python>,
    /// What kind of container this is in, if it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<&'static str>,
    /// The numbers by which Slurm knows this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slurm: Option<serde_json::Map<String, serde_json::Value>>,
    /// The machine's name.
    pub host: String,
    /// Who ran it.
    pub user: Option<String>,
    /// The code's version, if the pipeline lies in a git repository.
    pub git: Option<Git>,
}

impl Environment {
    /// What there is now; `folder` is where the pipeline lies, whose stages run `pythons`.
    pub fn collect(folder: &Path, pythons: &[String]) -> Self {
        let system = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let (gpus, gpu_driver) = place::gpus(Path::new("/proc/driver/nvidia"));
        Self {
            version: 1,
            wick: env!("CARGO_PKG_VERSION"),
            build: build(),
            os: format!("{} {}", std::env::consts::OS, text(system.release())),
            distribution: place::distribution(),
            arch: std::env::consts::ARCH,
            cpu: cpu_name(),
            cpus: cpus(),
            memory_bytes: memory_bytes(),
            gpus,
            gpu_driver,
            pythons: place::versions(folder, pythons),
            container: place::container(),
            slurm: place::slurm(),
            host: text(system.nodename()),
            user: user(),
            git: Git::of(folder),
        }
    }
}

/// How this binary was built.
fn build() -> String {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    format!("{profile} {}-{}-{libc}", std::env::consts::ARCH, std::env::consts::OS)
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
        let environment = Environment::collect(folder.path(), &[]);
        let value = serde_json::to_value(&environment).expect("JSON");
        let known = [
            "version",
            "wick",
            "build",
            "os",
            "distribution",
            "arch",
            "cpu",
            "cpus",
            "memory_bytes",
            "gpus",
            "gpu_driver",
            "container",
            "slurm",
            "host",
            "user",
            "git",
        ];
        for key in value.as_object().expect("an object").keys() {
            assert!(known.contains(&key.as_str()), "{key}");
        }
        assert!(environment.cpus >= 1);
    }
}
