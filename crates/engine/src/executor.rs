//! Executors: who carries attempts out.
//!
//! The drive decides what is to run and records it; an [`Executor`] runs it and tells what
//! becomes of it. It owns the attempt's folder, its process and its files, and knows neither the
//! store nor the rest of the run. What it says is a hint: news of an attempt that does not run
//! any more is left out, so an executor may tell late, or twice.
//!
//! [`local`] runs attempts as processes of this machine.

pub mod local;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use wick_core::{
    Digest, Effect, Failure, Fingerprint, MetricPoint, Output, PortName, PortType, Progress, RunId,
    Token, Usage,
};
use wick_plan::{Plan, PlannedStage, StageIndex};
use wick_stage::Line;
use wick_store::Store;

pub use crate::dispatcher::StopReason;
use crate::error::EngineResult;
use crate::meter::Carbon;

/// Makes the executor of each run.
#[async_trait]
pub trait Executors: Send + Sync {
    /// Where the files of `run` lie, or will.
    fn run_folder(&self, run: &RunId) -> PathBuf;

    /// Ends what is left of `run`, whose engine has died, before it is taken up.
    ///
    /// # Errors
    /// If the store does not tell what there may be.
    async fn end_orphans(&self, _store: &dyn Store, _run: &RunId) -> EngineResult<()> {
        Ok(())
    }

    /// Makes ready to carry out the attempts of `run`; `carbon` says what energy costs.
    ///
    /// # Errors
    /// If that cannot be, so that nothing can run.
    fn begin(&self, run: &RunId, carbon: Carbon) -> EngineResult<Box<dyn Executor>>;
}

/// Carries out the attempts of one run. When it is dropped it ends all that it has started.
#[async_trait]
pub trait Executor: Send {
    /// The attempt will be submitted as soon as its start is recorded, or never: a good time to
    /// make ready what it and all others need. Nothing of it may run before it is submitted, and
    /// what was made ready for one that never is must be in nobody's way.
    ///
    /// # Errors
    /// If no attempt can be carried out.
    fn expect(&mut self, submission: &Submission) -> EngineResult<()> {
        let _ = submission;
        Ok(())
    }

    /// Carries out an attempt, whose start is recorded. That it cannot is told as its end.
    ///
    /// # Errors
    /// If no attempt can be carried out.
    fn submit(&mut self, submission: Submission) -> EngineResult<()>;

    /// Stops an attempt, which ends soon after. A second reason does not hide the first.
    fn stop(&mut self, stage: StageIndex, attempt: u32, reason: StopReason);

    /// The outputs of the stage with this fingerprint are recorded: what its attempts saved of
    /// their state is not needed any more.
    fn published(&mut self, fingerprint: &Fingerprint) {
        let _ = fingerprint;
    }

    /// Waits for news, at least one. May be dropped at any time and asked again, and loses
    /// nothing by it.
    ///
    /// # Errors
    /// If no attempt can be carried out any more.
    async fn news(&mut self) -> EngineResult<Vec<News>>;
}

/// An attempt to be carried out.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The plan that the stage is in.
    pub plan: Arc<Plan>,
    /// The stage.
    pub stage: StageIndex,
    /// Which try, from 1.
    pub attempt: u32,
    /// Who holds it may publish.
    pub token: Token,
    /// The stage's fingerprint.
    pub fingerprint: Fingerprint,
    /// Whose checkpoints it may go on from.
    pub line: Line,
    /// What it reads, in the plan's order.
    pub inputs: Vec<SubmittedInput>,
    /// Where its files are to lie.
    pub folder: PathBuf,
}

impl Submission {
    /// The stage, as it is planned.
    pub fn planned(&self) -> &PlannedStage {
        self.plan.stage(self.stage)
    }
}

/// What an attempt reads at a port.
#[derive(Debug, Clone)]
pub struct SubmittedInput {
    /// The port.
    pub port: PortName,
    /// Where the port gathers instances: the label of the one that made it.
    pub item: Option<String>,
    /// Its type.
    pub port_type: PortType,
    /// The artifact.
    pub digest: Digest,
    /// What is known of it.
    pub meta: serde_json::Value,
}

/// What became of an attempt.
#[derive(Debug)]
pub struct News {
    /// The stage.
    pub stage: StageIndex,
    /// The attempt.
    pub attempt: u32,
    /// What.
    pub change: Change,
}

/// What became of an attempt.
#[derive(Debug)]
pub enum Change {
    /// Its process runs. Not told of attempts that end at once.
    Spawned {
        /// The process.
        pid: u32,
        /// What tells it from any other process that ever had this pid; 0 if that is unknown.
        started: u64,
    },
    /// It measured something.
    Measured(Vec<MetricPoint>),
    /// It came further.
    Progressed(Progress),
    /// It ended, and its process is gone.
    Ended {
        /// What it used.
        usage: Usage,
        /// How it ended.
        end: End,
    },
}

/// How an attempt ended.
#[derive(Debug)]
pub enum End {
    /// What it made lies in the artifact store.
    Succeeded(Made),
    /// It failed.
    Failed(Failure),
    /// It was stopped with the whole run.
    Cancelled,
}

/// What an attempt made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Made {
    /// Its outputs, all that its stage declares.
    pub outputs: Vec<Output>,
    /// What it asks of the store.
    pub effects: Vec<Effect>,
}
