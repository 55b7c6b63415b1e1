//! Why a run could not be driven to its end. A stage that fails is no such error: it is recorded.

use std::path::PathBuf;

use wick_artifact::ArtifactError;
use wick_core::{RunId, StageName};
use wick_plan::SelectionError;
use wick_store::StoreError;

/// The result of driving a run.
pub type EngineResult<T> = Result<T, EngineError>;

/// Why a run could not be driven to its end.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store could not answer or record.
    #[error("cannot record the run")]
    Store(#[from] StoreError),
    /// The artifact store could not be used.
    #[error("cannot use the artifact store")]
    Artifact(#[from] ArtifactError),
    /// The selection does not fit the plan.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// Stages that are not to be run now, whose outputs are needed and are not there.
    #[error("{}", not_there(.stages))]
    NotThere {
        /// The stages, each with the reason why it would have to run.
        stages: Vec<(StageName, String)>,
    },
    /// Another engine drives the run now. Every process of this one was stopped.
    #[error("another wick has taken over run {run}; this one has stopped")]
    LeaseLost {
        /// The run.
        run: RunId,
    },
    /// The process that starts all others could not be started.
    #[error("cannot start {program} as supervisor")]
    Supervisor {
        /// What was to be run.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Something of the system that the engine itself needs refused.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A part of the engine ended too soon.
    #[error("a part of the engine stopped working: {0}")]
    Internal(String),
}

fn not_there(stages: &[(StageName, String)]) -> String {
    let mut text = String::from("what is needed is not there");
    for (stage, why) in stages {
        text.push_str(&format!("\n  {stage}: {why}"));
    }
    text
}

impl EngineError {
    /// An error of the system, from what was tried.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| EngineError::System { what, source }
    }
}
