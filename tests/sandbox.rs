//! A folder of its own for every test, and the real `wick` in it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A temporary folder with a project in it.
pub struct Sandbox {
    folder: TempDir,
}

/// What `wick` printed and returned.
#[derive(Debug)]
pub struct Ran {
    /// What was typed.
    pub typed: String,
    /// The exit code.
    pub code: i32,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl Sandbox {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// A folder with this `pipeline.yaml`.
    pub fn with_pipeline(pipeline: &str) -> Self {
        let sandbox = Self::new();
        sandbox.write("pipeline.yaml", pipeline);
        sandbox
    }

    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().expect("the folder is there")
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    /// Reads a file.
    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.folder.path().join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.folder.path().join(path).exists()
    }

    /// `wick`, about to be run in the folder, untouched by the environment of whoever tests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wick"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("WICK_STORE")
            .env_remove("WICK_ARTIFACTS")
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .stdin(Stdio::null());
        command
    }

    /// Runs `wick` with these words.
    pub fn wick(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().expect("wick starts");
        Ran::new(arguments, output)
    }

    /// Starts `wick` with these words; [`ended`] tells how it went.
    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.spawn_command(self.command(arguments))
    }

    /// Starts a command whose output is read when it has [`ended`].
    pub fn spawn_command(&self, mut command: Command) -> Child {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("wick starts")
    }

    /// Runs `wick` and reads what it printed as JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.wick(arguments);
        let value: Value = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{}: {error}\n{}", ran.typed, ran.everything()));
        assert_eq!(value["version"], 1, "`{}` carries a version", ran.typed);
        value
    }

    /// The states of the stages of a run, by name.
    #[track_caller]
    pub fn states(&self, run: &str) -> Vec<(String, String)> {
        let shown = self.json(&["show", run, "-o", "json"]);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        shown["stages"]
            .as_array()
            .expect("stages")
            .iter()
            .map(|stage| (text(&stage["stage"]), text(&stage["state"])))
            .collect()
    }

    /// The ids of all runs, newest first.
    #[track_caller]
    pub fn runs(&self) -> Vec<String> {
        let runs = self.json(&["runs", "-n", "0", "-o", "json"]);
        let runs = runs["runs"].as_array().expect("runs").iter();
        runs.map(|run| run["id"].as_str().expect("an id").to_owned()).collect()
    }
}

/// Waits until something holds.
#[track_caller]
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal to a process; whether it was still there.
pub fn send(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).is_ok()
}

/// Waits for a `wick` that was started with `arguments`.
pub fn ended(child: Child, arguments: &[&str]) -> Ran {
    Ran::new(arguments, child.wait_with_output().expect("wick ends"))
}

impl Drop for Sandbox {
    /// Artifacts are read-only, folders too, and only a superuser removes what is in such.
    fn drop(&mut self) {
        let mut folders = vec![self.folder.path().join(".wick/artifacts")];
        while let Some(folder) = folders.pop() {
            let _ = std::fs::set_permissions(&folder, Permissions::from_mode(0o755));
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            folders.extend(inner.map(|entry| entry.path()));
        }
    }
}

impl Ran {
    /// What a finished `wick` printed and returned.
    pub fn new(arguments: &[&str], output: Output) -> Self {
        Self {
            typed: format!("wick {}", arguments.join(" ")),
            // Killed by a signal: none of wick's own codes.
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// All that was printed.
    pub fn everything(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.typed, self.everything());
        self
    }

    /// Checks that it said each of these.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(
                self.stdout.contains(text) || self.stderr.contains(text),
                "{} does not say {text:?}\n{}",
                self.typed,
                self.everything()
            );
        }
        self
    }
}
