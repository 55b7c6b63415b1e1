//! The pipelines of a project: the files at its top and in its folder `pipelines` that say
//! `pipeline: NAME`.

use std::path::{Path, PathBuf};

use wick_core::id::check_name;
use wick_pipeline::{Diagnostics, FileId, did_you_mean, yaml};

use super::{CONFIG_FILE, Project};
use crate::args::GlobalArgs;
use crate::error::{CommandError, CommandResult};
use crate::pipeline::{load, near_files};
use crate::render::Ui;

/// The folder of a project that holds pipelines, besides the project's own.
const FOLDER: &str = "pipelines";

/// More files of a folder than this are not looked at.
const MAX_FILES: usize = 1_000;

/// A pipeline of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name; of a file that cannot be read as YAML the file's.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
}

/// The pipelines of the project in `root`, by path. Fragments are none.
pub fn all(root: &Path) -> Vec<Named> {
    let mut found: Vec<Named> = [root.to_owned(), root.join(FOLDER)]
        .iter()
        .flat_map(|folder| files(folder))
        .filter_map(|path| Some(Named { name: name_of(&path)?, path }))
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The YAML files in `folder` that may be pipelines.
fn files(folder: &Path) -> Vec<PathBuf> {
    // A folder that cannot be read holds no pipeline of ours.
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(MAX_FILES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"))
        .filter(|path| path.file_name().is_some_and(|name| name != CONFIG_FILE) && path.is_file())
        .collect()
}

/// What the pipeline in the file at `path` is called; `None` if it is no pipeline. One that is
/// broken is: its mistake is to be told.
fn name_of(path: &Path) -> Option<String> {
    let bytes = load(path).ok()?;
    let stem = || Some(path.file_stem()?.to_str()?.to_owned());
    match yaml::read(&bytes, FileId::MAIN, &mut Diagnostics::new()) {
        Some(root) => {
            let name = &root.get("pipeline")?.value;
            name.as_text().map(str::to_owned).or_else(stem)
        }
        None => String::from_utf8_lossy(&bytes).contains("pipeline:").then(stem).flatten(),
    }
}

/// The file of the pipeline that `named` names; `None` if it names a file, or cannot name a
/// pipeline.
pub fn named(named: &Path, global: &GlobalArgs, ui: &Ui) -> CommandResult<Option<PathBuf>> {
    let Some(name) = named.to_str().filter(|name| check_name(name).is_ok()) else {
        return Ok(None);
    };
    if named.exists() {
        return Ok(None);
    }
    let project = Project::here_or_new(global, ui)?;
    let all = all(&project.root);
    let mut paths: Vec<PathBuf> =
        all.iter().filter(|pipeline| pipeline.name == name).map(|one| one.path.clone()).collect();
    if paths.len() > 1 {
        let files: Vec<String> = paths.iter().map(|path| Project::shown(path)).collect();
        return Err(CommandError::invalid(format!(
            "{} pipelines are called `{name}`",
            files.len()
        ))
        .hint(format!("name the file: {}", files.join(", "))));
    }
    if let Some(path) = paths.pop() {
        return Ok(Some(path));
    }
    let hint = match did_you_mean(name, all.iter().map(|pipeline| pipeline.name.as_str())) {
        Some(hint) => hint,
        None => near_files(named),
    };
    let what = format!("there is no file and no pipeline of the project called `{name}`");
    Err(CommandError::invalid(what).hint(hint))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn pipelines_are_known_by_their_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("pipelines/parts")).expect("made");
        for (file, text) in [
            ("a.yaml", "pipeline: first\nstages: {}\n"),
            ("wick.yaml", "pipeline: none\n"),
            ("fragment.yaml", "stages: {}\n"),
            ("notes.txt", "pipeline: none\n"),
            ("pipelines/b.yml", "pipeline: [wrong]\n"),
            ("pipelines/c.yaml", "pipeline: other\nbroken\n"),
            ("pipelines/list.yaml", "- a\n"),
            ("pipelines/parts/d.yaml", "pipeline: deep\n"),
        ] {
            fs::write(root.join(file), text).expect("written");
        }
        let found = all(root);
        let found: Vec<(&str, &Path)> = found
            .iter()
            .map(|one| (one.name.as_str(), one.path.strip_prefix(root).expect("inside")))
            .collect();
        let expect = [("first", "a.yaml"), ("b", "pipelines/b.yml"), ("c", "pipelines/c.yaml")];
        assert_eq!(found, expect.map(|(name, path)| (name, Path::new(path))));
    }
}
