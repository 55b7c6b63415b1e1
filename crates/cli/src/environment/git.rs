//! The state of the code: commit, branch, and what differs from it in the working tree.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

/// How much of a diff is recorded, in bytes.
const MAX_DIFF: usize = 1 << 20;

/// How many files that git does not know are named.
const MAX_UNTRACKED: usize = 200;

/// The state of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Git {
    /// The commit that is checked out.
    pub commit: String,
    /// The branch, unless none is.
    pub branch: Option<String>,
    /// Whether files differ from the commit.
    pub dirty: bool,
    /// Files and folders that git does not know, and does not ignore: the first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untracked: Vec<String>,
    /// How many more there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_untracked: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Git {
    /// The state of the repository around `folder`; `None` without one, or without git.
    pub fn of(folder: &Path) -> Option<Git> {
        let status = git(folder, &["status", "--porcelain=v2", "--branch"])?;
        let mut state = Git {
            commit: String::new(),
            branch: None,
            dirty: false,
            untracked: Vec::new(),
            more_untracked: 0,
        };
        for line in status.lines() {
            if let Some(commit) = line.strip_prefix("# branch.oid ") {
                state.commit = commit.to_owned();
            } else if let Some(branch) = line.strip_prefix("# branch.head ") {
                state.branch = (branch != "(detached)").then(|| branch.to_owned());
            } else if !line.starts_with('#') {
                state.dirty = true;
                if let Some(path) = line.strip_prefix("? ") {
                    if state.untracked.len() < MAX_UNTRACKED {
                        state.untracked.push(path.to_owned());
                    } else {
                        state.more_untracked += 1;
                    }
                }
            }
        }
        // A repository before its first commit has no version to record.
        state.commit.chars().all(|char| char.is_ascii_hexdigit()).then_some(state)
    }
}

/// `git ARGUMENTS` in `folder`.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(folder)
        // Reading the state must not wait for, or disturb, another git.
        .args(["--no-optional-locks", "-c", "core.quotePath=false"])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// What `git ARGUMENTS` prints in `folder`, if it succeeds.
pub fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = command(folder, arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What differs from the commit that is checked out, in files that git knows: text that `git
/// apply` takes. Binary files are only named. `None` where nothing differs, or git does not say.
pub fn diff(folder: &Path) -> Option<String> {
    // No program that the repository's own settings name is started for it.
    let arguments = ["diff", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD"];
    let mut process = command(folder, &arguments).stdout(Stdio::piped()).spawn().ok()?;
    let mut bytes = Vec::new();
    let read =
        process.stdout.take().map(|out| out.take(MAX_DIFF as u64 + 1).read_to_end(&mut bytes))?;
    let is_cut = bytes.len() > MAX_DIFF;
    if is_cut {
        // It would wait for somebody to read the rest.
        let _ = process.kill();
    }
    let ended = process.wait().ok()?;
    if read.is_err() || bytes.is_empty() || !(is_cut || ended.success()) {
        return None;
    }
    if is_cut {
        bytes.truncate(MAX_DIFF);
        let whole_lines = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        bytes.truncate(whole_lines);
        bytes.extend_from_slice(b"# cut here: the diff is longer than 1 MiB\n");
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let run = |arguments: &[&str]| git(folder.path(), arguments).expect("git succeeds");
        run(&["init", "-q", "-b", "main"]);
        run(&["config", "user.name", "A"]);
        run(&["config", "user.email", "a@example.org"]);
        std::fs::write(folder.path().join("code.py"), "one\ntwo\n").expect("written");
        run(&["add", "."]);
        run(&["commit", "-q", "-m", "Begin"]);
        folder
    }

    #[test]
    fn what_differs_is_told() {
        let folder = repository();
        let clean = Git::of(folder.path()).expect("a repository");
        assert!(!clean.dirty && clean.untracked.is_empty());
        assert_eq!((clean.branch.as_deref(), diff(folder.path())), (Some("main"), None));
        std::fs::write(folder.path().join("code.py"), "one\nthree\n").expect("written");
        std::fs::write(folder.path().join("neü.py"), "new").expect("written");
        let dirty = Git::of(folder.path()).expect("a repository");
        assert!(dirty.dirty);
        assert_eq!((dirty.untracked, dirty.more_untracked), (vec!["neü.py".to_owned()], 0));
        let told = diff(folder.path()).expect("a diff");
        assert!(told.starts_with("diff --git a/code.py b/code.py\n"), "{told}");
        assert!(told.ends_with(" one\n-two\n+three\n"), "{told}");
    }

    #[test]
    fn a_long_diff_is_cut_at_a_line_and_says_so() {
        let folder = repository();
        let long = "a line of sixteen\n".repeat(2 * MAX_DIFF / 16);
        std::fs::write(folder.path().join("code.py"), long).expect("written");
        let told = diff(folder.path()).expect("a diff");
        assert!(told.len() <= MAX_DIFF + 100);
        let tail = "+a line of sixteen\n# cut here: the diff is longer than 1 MiB\n";
        assert!(told.ends_with(tail));
    }

    #[test]
    fn without_a_repository_there_is_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!((Git::of(folder.path()), diff(folder.path())), (None, None));
    }
}
