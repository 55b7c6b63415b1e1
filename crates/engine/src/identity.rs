//! Who drives a run, on what machine, from which commit; and the clock and the random numbers
//! that the rest of the engine is handed.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wick_core::{Timestamp, Token};
use wick_store::EngineId;

use crate::error::{EngineError, EngineResult};
use crate::slots::Slots;

/// How long `git` may take to say whether the working tree is clean.
const GIT_PATIENCE: Duration = Duration::from_millis(500);

/// The time now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_micros() as i64)
}

/// A random number from the system.
///
/// # Errors
/// If the system has none to give.
pub fn random() -> EngineResult<u64> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(EngineError::system("read random numbers from /dev/urandom"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Draws the tokens of attempts: distinct, and not to be guessed from one another by accident.
#[derive(Debug)]
pub struct Tokens(u64);

impl Tokens {
    /// Tokens that follow from `seed`.
    pub const fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// The next token (the SplitMix64 generator of Steele, Lea and Flood, 2014).
    pub const fn draw(&mut self) -> Token {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Databases keep signed numbers: the top bit stays clear.
        Token((z ^ (z >> 31)) >> 1)
    }
}

/// The machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// This process, as an engine.
///
/// # Errors
/// If the system has no random numbers to give.
pub fn engine_id() -> EngineResult<EngineId> {
    Ok(EngineId {
        host: host(),
        pid: std::process::id(),
        process_start: process_start().unwrap_or(0),
        token: Tokens::from_seed(random()?).draw(),
    })
}

/// When this process started, in ticks since the machine did: the 22nd field of its `stat`
/// (proc(5)). The second field is the name in brackets, which may hold anything.
fn process_start() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// What is recorded of the surroundings of a run: machine, versions, git commit and whether the
/// working tree has changes that are not committed. `base` is the pipeline's folder.
pub fn environment(base: &Path, slots: &Slots) -> Value {
    let system = rustix::system::uname();
    json!({
        "version": 1,
        "wick": env!("CARGO_PKG_VERSION"),
        "host": host(),
        "system": format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
        "architecture": std::env::consts::ARCH,
        "cpus": slots.cpus,
        "memory": slots.memory,
        "gpus": slots.gpus,
        "git": git(base),
    })
}

/// The commit that `base` stands on. `dirty` is null where git took too long to tell.
fn git(base: &Path) -> Value {
    if !base.ancestors().any(|folder| folder.join(".git").exists()) {
        return Value::Null;
    }
    let Some(status) = git_output(base, &["status", "--porcelain=2", "--branch", "-uno"]) else {
        let commit = git_output(base, &["rev-parse", "HEAD"]).map(|text| text.trim().to_owned());
        return json!({"commit": commit, "branch": null, "dirty": null});
    };
    let header = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        value.filter(|value| !value.starts_with('('))
    };
    json!({
        "commit": header("# branch.oid "),
        "branch": header("# branch.head "),
        "dirty": status.lines().any(|line| !line.starts_with('#')),
    })
}

/// What `git` prints, if it ends well and in time.
fn git_output(base: &Path, arguments: &[&str]) -> Option<String> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(base)
        .args(arguments)
        // A look from aside must not wait for, or hold, the locks of someone's work.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut pipe = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let began = Instant::now();
    let mut pause = Duration::from_micros(200);
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if began.elapsed() < GIT_PATIENCE => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(5));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
        }
    };
    let text = reader.join().ok()?.ok()?;
    ended.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_fit_a_signed_column() {
        let mut tokens = Tokens::from_seed(1);
        let drawn: std::collections::HashSet<u64> = (0..1000).map(|_| tokens.draw().0).collect();
        assert_eq!(drawn.len(), 1000);
        assert!(drawn.iter().all(|token| i64::try_from(*token).is_ok()));
    }

    #[test]
    fn a_process_knows_when_it_started() {
        assert!(process_start().is_some_and(|ticks| ticks > 0));
    }

    #[test]
    fn a_folder_outside_git_has_no_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(git(folder.path()), Value::Null);
    }
}
