//! Which folder is the project, and where its things are.
//!
//! A project is a folder with a `wick.yaml` or a `.wick/`. A pipeline file belongs to the
//! nearest one at or above its own folder; where there is none, its own folder becomes one. A
//! command without a pipeline file looks upward from where it is typed.

mod artifacts;
mod config;
pub mod pipelines;
mod retention;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use wick_artifact::{ArtifactStore, Remote};

pub use artifacts::ArtifactsConfig;
pub use config::Config;
pub use retention::{Retention, Rule};

use crate::args::GlobalArgs;
use crate::error::{CommandError, CommandResult, ResultExt};
use crate::render::{Ui, human};

/// The file that makes a folder a project and configures it.
pub const CONFIG_FILE: &str = "wick.yaml";

/// The folder in a project that holds what wick writes.
pub const STATE_FOLDER: &str = ".wick";

/// The variable that names the place of artifacts, before `wick.yaml` does.
const ARTIFACTS_VARIABLE: &str = "WICK_ARTIFACTS";

/// A project.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder.
    pub root: PathBuf,
    /// What its `wick.yaml` says.
    pub config: Config,
    /// The store named on the command line or by WICK_STORE.
    store_override: Option<String>,
    /// The place of artifacts named by WICK_ARTIFACTS.
    artifacts_override: Option<ArtifactsConfig>,
}

impl Project {
    /// The project of the pipeline file `file`.
    pub fn of_pipeline(file: &Path, global: &GlobalArgs, ui: &Ui) -> CommandResult<Self> {
        let root = match &global.project {
            Some(folder) => given(folder)?,
            None => root_of(&absolute(file)?),
        };
        Self::load(root, global, ui)
    }

    /// The project in which a command without a pipeline file was typed.
    pub fn here(global: &GlobalArgs, ui: &Ui) -> CommandResult<Self> {
        let root = match &global.project {
            Some(folder) => given(folder)?,
            None => {
                let folder = absolute(Path::new("."))?;
                find_here(&folder).ok_or_else(|| {
                    CommandError::invalid(format!("there is no project at {}", folder.display()))
                        .hint("a project is a folder with a wick.yaml or a .wick/; this folder and those above it have neither")
                        .hint("`wick run FILE` makes one beside the pipeline file, `wick init` a new one")
                })?
            }
        };
        Self::load(root, global, ui)
    }

    /// The project in which a command was typed, or the folder itself where there is none:
    /// for commands that only look around.
    pub fn here_or_new(global: &GlobalArgs, ui: &Ui) -> CommandResult<Self> {
        let folder = match &global.project {
            Some(folder) => given(folder)?,
            None => absolute(Path::new("."))?,
        };
        Self::load(find_here(&folder).unwrap_or(folder), global, ui)
    }

    /// The project in which the store in `file` is used: the one in whose `.wick` it lies, or else
    /// the nearest one above it. What the environment says of this command's project is nothing
    /// to it.
    pub fn of_store(file: &Path, ui: &Ui) -> CommandResult<Option<Self>> {
        let Some(folder) = file.parent() else { return Ok(None) };
        let root = if folder.file_name().is_some_and(|name| name == STATE_FOLDER) {
            folder.parent()
        } else {
            search_upward(folder)
        };
        let Some(root) = root else { return Ok(None) };
        let config = Config::read(&root.join(CONFIG_FILE), ui)?;
        let root = root.to_owned();
        Ok(Some(Self { root, config, store_override: None, artifacts_override: None }))
    }

    fn load(root: PathBuf, global: &GlobalArgs, ui: &Ui) -> CommandResult<Self> {
        let config = Config::read(&root.join(CONFIG_FILE), ui)?;
        let artifacts_override = match std::env::var(ARTIFACTS_VARIABLE) {
            Ok(text) if !text.is_empty() => Some(
                ArtifactsConfig::from_text(&text)
                    .or_invalid(format!("{ARTIFACTS_VARIABLE} names no place for artifacts"))?,
            ),
            _ => None,
        };
        let store_override = global.store.clone();
        Ok(Self { root, config, store_override, artifacts_override })
    }

    /// Where artifacts are kept: the environment goes before `wick.yaml`.
    pub fn artifacts_place(&self) -> Option<&ArtifactsConfig> {
        self.artifacts_override.as_ref().or(self.config.artifacts.as_ref())
    }

    /// The folder that holds what wick writes.
    pub fn state_folder(&self) -> PathBuf {
        self.root.join(STATE_FOLDER)
    }

    /// The folder of artifacts; of those in an object storage, the folder of the cache.
    pub fn artifacts_folder(&self) -> PathBuf {
        match self.artifacts_place() {
            Some(ArtifactsConfig::Folder(folder)) => self.root.join(folder),
            Some(ArtifactsConfig::Remote { .. }) | None => self.state_folder().join("artifacts"),
        }
    }

    /// What to call the place of artifacts.
    pub fn artifacts_shown(&self) -> String {
        match self.artifacts_place() {
            Some(ArtifactsConfig::Remote { place, .. }) => place.to_string(),
            _ => Self::shown(&self.artifacts_folder()),
        }
    }

    /// The artifacts, of which the folder is made if it is not there. Nothing is sent yet to an
    /// object storage.
    pub fn artifacts(&self) -> CommandResult<ArtifactStore> {
        let folder = self.artifacts_folder();
        let store = ArtifactStore::open(&folder)
            .map_err(CommandError::internal)
            .map_err(|error| error.context(format!("no artifacts at {}", folder.display())))?;
        Ok(match self.artifacts_place() {
            Some(ArtifactsConfig::Remote { place, cache }) => {
                store.with_remote(Arc::new(Remote::new(place.clone())), *cache)
            }
            _ => store,
        })
    }

    /// Where the experiment store is: a URL, or an absolute path. The command line goes before
    /// the environment, which goes before `wick.yaml`.
    pub fn store_location(&self) -> CommandResult<String> {
        let is_url = |location: &str| location.contains("://");
        if let Some(location) = &self.store_override {
            if is_url(location) {
                return Ok(location.clone());
            }
            return path_text(&absolute(Path::new(location))?);
        }
        match &self.config.store {
            Some(location) if is_url(location) => Ok(location.clone()),
            Some(path) => path_text(&self.root.join(path)),
            None => path_text(&self.state_folder().join("store.db")),
        }
    }

    /// That a file named on the command line or by WICK_STORE is there: who asks for the history of
    /// a store does not mean to make one.
    pub fn has_named_store(&self) -> CommandResult<()> {
        let location = self.store_location()?;
        let path =
            location.split_once(':').map_or(location.as_str(), |(scheme, rest)| match scheme {
                "sqlite" | "file" => rest.strip_prefix("//").unwrap_or(rest),
                _ => location.as_str(),
            });
        if self.store_override.is_none() || path.contains("://") || Path::new(path).exists() {
            return Ok(());
        }
        Err(CommandError::invalid(format!("there is no store at {path}"))
            .hint("--store or WICK_STORE names it: look for a slip in the path, or leave it away for the project's own")
            .hint(format!("`wick run FILE --store {}` makes one", human::shell_word(path))))
    }

    /// Makes the folder that holds what wick writes. It ignores itself for git: what it holds
    /// is large, and is no source.
    pub fn prepare(&self) -> CommandResult<()> {
        let folder = self.state_folder();
        std::fs::create_dir_all(&folder)
            .or_internal(format!("cannot make {}", folder.display()))
            .map_err(|error| {
            error.hint("choose a folder that you may write with --project, or mend its rights")
        })?;
        let ignore = folder.join(".gitignore");
        if !ignore.exists() {
            std::fs::write(&ignore, "*\n")
                .or_internal(format!("cannot write {}", ignore.display()))?;
        }
        Ok(())
    }

    /// What a suggested command needs to find this project from where the user is: nothing, or
    /// ` --project …`.
    pub fn flag(&self) -> String {
        let here = std::env::current_dir().ok().and_then(|here| here.canonicalize().ok());
        match here.and_then(|here| find_here(&here)) {
            Some(found) if found == self.root => String::new(),
            _ => format!(" --project {}", human::shell_word(&Self::shown(&self.root))),
        }
    }

    /// `path` as people like to see it: relative to where they are, if it is below.
    pub fn shown(path: &Path) -> String {
        std::env::current_dir()
            .ok()
            // Everything is below the root; without its first slash a path looks misspelt.
            .filter(|here| here.parent().is_some())
            .and_then(|here| path.strip_prefix(here).ok().map(|below| below.display().to_string()))
            .filter(|below| !below.is_empty())
            .unwrap_or_else(|| path.display().to_string())
    }
}

/// The folder of the project that the pipeline file `file`, which is absolute, belongs to.
pub fn root_of(file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new("/"));
    search_upward(folder).unwrap_or(folder).to_owned()
}

/// The folder named by `--project`.
fn given(folder: &Path) -> CommandResult<PathBuf> {
    if folder.is_dir() {
        absolute(folder)
    } else {
        Err(CommandError::invalid(format!("--project {} is not a folder", folder.display())))
    }
}

/// An absolute path without `.`, `..` and links, as far as it exists.
pub fn absolute(path: &Path) -> CommandResult<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Ok(real);
    }
    // What is not there yet lies in a folder that mostly is.
    if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if let Ok(real) = folder.canonicalize() {
            return Ok(real.join(name));
        }
    }
    std::path::absolute(path).or_invalid(format!("cannot tell where {} is", path.display()))
}

fn path_text(path: &Path) -> CommandResult<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        CommandError::invalid(format!("the path {} is not UTF-8", path.display()))
            .hint("name the store with --store")
    })
}

/// The project at or above `folder`; else the one that a first run has made beside the
/// pipelines in `folder/pipelines`.
fn find_here(folder: &Path) -> Option<PathBuf> {
    if let Some(root) = search_upward(folder) {
        return Some(root.to_owned());
    }
    let pipelines = folder.join("pipelines");
    is_project(&pipelines).then_some(pipelines)
}

/// The nearest project at or above `folder`.
fn search_upward(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| is_project(folder))
}

fn is_project(folder: &Path) -> bool {
    folder.join(CONFIG_FILE).is_file() || folder.join(STATE_FOLDER).is_dir()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_nearest_project_is_meant() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        let deep = root.join("a/b/c");
        fs::create_dir_all(&deep).expect("made");
        fs::create_dir_all(root.join("a/.wick")).expect("made");
        assert_eq!(search_upward(&deep), Some(root.join("a").as_path()));
        fs::write(root.join("a/b/wick.yaml"), "").expect("written");
        assert_eq!(search_upward(&deep), Some(root.join("a/b").as_path()));
    }

    #[test]
    fn a_project_among_the_pipelines_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(find_here(folder.path()), None);
        fs::create_dir_all(folder.path().join("pipelines/.wick")).expect("made");
        assert_eq!(find_here(folder.path()), Some(folder.path().join("pipelines")));
    }
}
