//! A project with its store open.

use wick_artifact::ArtifactStore;
use wick_store::Store;

use crate::args::GlobalArgs;
use crate::error::CommandResult;
use crate::project::Project;
use crate::render::{Ui, human};

/// What a store is called on all machines: by its URL, or by machine and path.
pub fn store_name(store: &dyn Store) -> String {
    let location = store.location();
    match location.contains("://") {
        true => location,
        false => format!("{}:{location}", wick_store::this_host()),
    }
}

/// A project with its store open.
pub struct Session {
    /// The project.
    pub project: Project,
    /// Its store.
    pub store: std::sync::Arc<dyn Store>,
}

impl Session {
    /// The project in which a command was typed, to ask its history.
    pub async fn here(global: &GlobalArgs, ui: &Ui) -> CommandResult<Self> {
        let project = Project::here(global, ui)?;
        project.has_named_store()?;
        Self::open(project, ui).await
    }

    /// Opens the store of `project`. Runs whose engine has died are marked so, that nobody
    /// waits for them.
    pub async fn open(project: Project, ui: &Ui) -> CommandResult<Self> {
        project.prepare()?;
        let location = project.store_location()?;
        let store = wick_store::open(&location).await?;
        for run in store.interrupt_dead_runs(human::now()).await? {
            wick_engine::orphans::end_of_run(store.as_ref(), &run).await?;
            ui.warn(format_args!(
                "the engine of run {run} has died; `wick rerun {run}` goes on with it"
            ));
        }
        Ok(Self { project, store })
    }

    /// The artifact store.
    pub fn artifacts(&self) -> CommandResult<ArtifactStore> {
        self.project.artifacts()
    }
}
