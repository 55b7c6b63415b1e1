//! Which pipelines of a project have a schedule.

use std::path::{Path, PathBuf};

use wick_pipeline::{Diagnostics, FileId, yaml};

use crate::pipeline::load;
use crate::project::pipelines;

/// The files of the project's pipelines that declare a schedule, or seem to: sorted by path.
pub fn scheduled_files(root: &Path) -> Vec<PathBuf> {
    let pipelines = pipelines::all(root).into_iter().map(|pipeline| pipeline.path);
    pipelines.filter(|path| declares_schedule(path)).collect()
}

/// Whether the pipeline file at `path` has a schedule. One that cannot be read as YAML, but speaks
/// of a schedule, has: its mistake is to be told.
fn declares_schedule(path: &Path) -> bool {
    let Ok(source) = load(path) else { return false };
    match yaml::read(&source, FileId::MAIN, &mut Diagnostics::new()) {
        Some(root) => root.get("schedule").is_some(),
        None => String::from_utf8_lossy(&source).contains("schedule:"),
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
        write("pipelines/a.yml", schedule);
        write("broken.yaml", "pipeline: x\nschedule: {cron: [\n");
        write("plain.yaml", "pipeline: x\nstages: {schedule: {uses: command}}\n");
        write("wick.yaml", schedule);
        write("elsewhere/c.yaml", schedule);
        write("notes.txt", schedule);
        let found = scheduled_files(folder.path());
        let found: Vec<_> =
            found.iter().map(|path| path.strip_prefix(folder.path()).expect("below")).collect();
        let expect = ["b.yaml", "broken.yaml", "pipelines/a.yml"];
        assert_eq!(found, expect.map(Path::new));
    }
}
