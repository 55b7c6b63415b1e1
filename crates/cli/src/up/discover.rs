//! Which pipelines of a project have a schedule.

use std::path::{Path, PathBuf};

use wick_pipeline::node::Data;
use wick_pipeline::{Diagnostics, FileId, yaml};

use crate::project::{CONFIG_FILE, STATE_FOLDER};

/// Folders below the project's are looked into so deep.
const MAX_DEPTH: usize = 8;

/// More entries of folders than this are not looked at: a project with a data set of a million
/// files has its pipelines near the top.
const MAX_ENTRIES: usize = 50_000;

/// A file longer than this is no pipeline.
const MAX_BYTES: u64 = 4 << 20;

/// The pipeline files below `root` that declare a schedule, or seem to: sorted by path.
pub fn scheduled_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        // A folder that cannot be read holds no pipeline of ours.
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MAX_ENTRIES {
                break;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if depth < MAX_DEPTH && !is_for_tools(name) {
                    folders.push((entry.path(), depth + 1));
                }
            } else if (name.ends_with(".yaml") || name.ends_with(".yml"))
                && name != CONFIG_FILE
                && declares_schedule(&entry.path())
            {
                found.push(entry.path());
            }
        }
    }
    found.sort_unstable();
    found
}

/// Folders that no pipeline of the project lies in.
fn is_for_tools(name: &str) -> bool {
    name.starts_with('.')
        || matches!(name, "node_modules" | "target" | "__pycache__" | STATE_FOLDER)
}

/// Whether the file at `path` is a pipeline with a schedule. One that cannot be read as YAML, but
/// speaks of both, is: its mistake is to be told.
fn declares_schedule(path: &Path) -> bool {
    let small = std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() <= MAX_BYTES);
    let Some(source) = small.then(|| std::fs::read(path).ok()).flatten() else { return false };
    let holds = |word: &[u8]| source.windows(word.len()).any(|window| window == word);
    if !holds(b"schedule") || !holds(b"pipeline") {
        return false;
    }
    let mut diagnostics = Diagnostics::new();
    match yaml::read(&source, FileId::MAIN, &mut diagnostics) {
        None => true,
        Some(root) => match &root.data {
            Data::Map(entries) => {
                let has = |key: &str| entries.iter().any(|entry| entry.key == key);
                has("pipeline") && has("schedule")
            }
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_with_a_schedule_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("written");
        };
        let schedule = "pipeline: x\nschedule: {cron: '0 3 * * *'}\nstages: {}\n";
        write("b.yaml", schedule);
        write("deep/er/a.yml", schedule);
        write("broken.yaml", "pipeline: x\nschedule: {cron: [\n");
        write("plain.yaml", "pipeline: x\nstages: {schedule: {uses: command}}\n");
        write("wick.yaml", schedule);
        write(".wick/c.yaml", schedule);
        write("target/d.yaml", schedule);
        write("notes.txt", schedule);
        let found = scheduled_files(folder.path());
        let found: Vec<_> =
            found.iter().map(|path| path.strip_prefix(folder.path()).expect("below")).collect();
        let expect = ["b.yaml", "broken.yaml", "deep/er/a.yml"];
        assert_eq!(found, expect.map(Path::new));
    }
}
