//! What the store takes and gives, as plain types.

use crate::marks::Marks;
use serde::Serialize;
use serde_json::Value;
use wick_core::{
    AttemptState, Digest, Effect, ExperimentName, Failure, Fingerprint, KindName, MetricPoint,
    ModelName, Output, PortName, PortType, RunId, RunState, SkipReason, StageName, StageOrigin,
    Timestamp, Token, Usage,
};

/// A process that drives runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineId {
    /// The machine's name.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// When the process started, in the system's own ticks: tells a reused pid apart.
    pub process_start: u64,
    /// A random number that no other engine has.
    pub token: Token,
}

/// The right to drive a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// Whose it is.
    pub engine: Token,
}

/// How long a lease lasts without being renewed, in microseconds: 15 s. On the engine's own
/// machine a dead process is recognised at once, whatever its lease says.
pub const LEASE_MICROS: i64 = 15_000_000;

/// A run to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The experiment.
    pub experiment: ExperimentName,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline file's absolute path.
    pub pipeline_path: String,
    /// The pipeline file as it was run.
    pub pipeline_text: String,
    /// The run that this one repeats.
    pub parent: Option<RunId>,
    /// Resolved params, in the file's order.
    pub params: Vec<(String, Value)>,
    /// Which params were given on the command line: a subset of `params`' names.
    pub overridden: Vec<String>,
    /// Machine, versions, git commit and dirty flag: an object.
    pub environment: Value,
    /// How the working tree differed from the commit, where it did.
    pub git_diff: Option<String>,
    /// The digest of the resolved plan: equal plans can share a run.
    pub plan: Digest,
    /// The stages, in the plan's order.
    pub stages: Vec<(StageName, KindName)>,
}

/// A run, in full.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The experiment.
    pub experiment: ExperimentName,
    /// The pipeline's name.
    pub pipeline: String,
    /// The pipeline file's absolute path.
    pub pipeline_path: String,
    /// The pipeline file as it was run.
    pub pipeline_text: String,
    /// The run that this one repeats.
    pub parent: Option<RunId>,
    /// Which params were given on the command line.
    pub overridden: Vec<String>,
    /// Machine, versions, git.
    pub environment: Value,
    /// How the working tree differed from the commit, where it did.
    pub git_diff: Option<String>,
    /// The digest of the resolved plan.
    pub plan: Digest,
    /// Where it stands.
    pub state: RunState,
    /// When it was first started.
    pub started: Timestamp,
    /// When it ended last.
    pub finished: Option<Timestamp>,
    /// What people say of it.
    pub marks: Marks,
}

/// A run, as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// Its id.
    pub id: RunId,
    /// The experiment.
    pub experiment: ExperimentName,
    /// The pipeline's name.
    pub pipeline: String,
    /// Where it stands.
    pub state: RunState,
    /// When it was first started.
    pub started: Timestamp,
    /// When it ended last.
    pub finished: Option<Timestamp>,
    /// The run that this one repeats.
    pub parent: Option<RunId>,
    /// What people say of it.
    pub marks: Marks,
    /// How many of its stages stand where.
    pub stages: Vec<(AttemptState, u32)>,
    /// Latest metrics, by `stage.key`; at most [`MAX_SUMMARY_METRICS`].
    pub metrics: Vec<(String, f64)>,
}

/// How many metrics a [`RunSummary`] carries at most.
pub const MAX_SUMMARY_METRICS: usize = 32;

/// How many runs a prefix of an id brings at most.
pub(crate) const MAX_FOUND_RUNS: i64 = 20;

/// The first text after all that start with `prefix`; `None` if no run id starts so.
pub(crate) fn end_of_prefix(prefix: &str) -> Option<String> {
    let fits = prefix.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    if prefix.is_empty() || !fits {
        return None;
    }
    // `{` follows `z`, the last character of an id.
    Some(format!("{prefix}{{"))
}

/// A param of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParamRecord {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// A stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageRecord {
    /// The stage.
    pub stage: StageName,
    /// The stage that it is an instance of, for an item of a list that the run has made.
    pub template: Option<StageName>,
    /// Its kind.
    pub kind: KindName,
    /// Where it stands.
    pub state: AttemptState,
    /// Its fingerprint, once it was known.
    pub fingerprint: Option<Fingerprint>,
    /// How many attempts it had in this run.
    pub attempts: u32,
    /// Where its outputs came from, if it is cached.
    pub origin: Option<StageOrigin>,
    /// Why it was skipped, if it was.
    pub because: Option<SkipReason>,
    /// When its first attempt of the latest round started.
    pub started: Option<Timestamp>,
    /// When it came to where it stands.
    pub finished: Option<Timestamp>,
    /// Why its last attempt failed.
    pub failure: Option<Failure>,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptRecord {
    /// The stage.
    pub stage: StageName,
    /// Which try, from 1.
    pub attempt: u32,
    /// Where it stands.
    pub state: AttemptState,
    /// The stage's fingerprint.
    pub fingerprint: Fingerprint,
    /// Its process.
    pub pid: Option<u32>,
    /// Since when it could have been started, as far as it was told.
    pub queued: Option<Timestamp>,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// What it used.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// The outputs that a fingerprint once had.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedOutputs {
    /// The attempt that made them.
    pub origin: StageOrigin,
    /// The outputs.
    pub outputs: Vec<Output>,
    /// What it asked of the store.
    pub effects: Vec<Effect>,
}

/// What is remembered of a source file, so that an unchanged file is not read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStamp {
    /// Its absolute path.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Its inode.
    pub inode: u64,
    /// The digest of its content.
    pub digest: Digest,
}

/// The last value of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricSummary {
    /// The stage that measured it.
    pub stage: StageName,
    /// The metric.
    pub key: String,
    /// The last point's step.
    pub step: i64,
    /// The last point's value.
    pub value: f64,
    /// How many points the series has.
    pub points: u64,
    /// The smallest value; NaN is left out.
    pub min: f64,
    /// The largest value; NaN is left out.
    pub max: f64,
}

/// A whole series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// The stage that measured it.
    pub stage: StageName,
    /// The attempt that measured it.
    pub attempt: u32,
    /// The metric.
    pub key: String,
    /// Its points, by step.
    pub points: Vec<MetricPoint>,
}

/// An artifact in its place in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArtifactRecord {
    /// The stage that made it.
    pub stage: StageName,
    /// The port.
    pub port: PortName,
    /// Its type.
    #[serde(rename = "type")]
    pub port_type: PortType,
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// Facts noted of it.
    pub meta: Value,
}

/// An edge as it was used: what a stage read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InputRecord {
    /// The stage that read.
    pub stage: StageName,
    /// The port that read.
    pub port: PortName,
    /// Where the port gathers instances: the label of the one that made it.
    pub item: Option<String>,
    /// The stage that made it.
    pub from_stage: StageName,
    /// The output of that stage.
    pub from_output: PortName,
    /// The artifact.
    pub digest: Digest,
}

/// A kept event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventRecord {
    /// Its place in the order of all events of the store.
    pub sequence: i64,
    /// When, and what.
    pub event: wick_core::Event,
}

/// A registered model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRecord {
    /// Its name.
    pub name: ModelName,
    /// What it is.
    pub description: Option<String>,
    /// Its versions, oldest first.
    pub versions: Vec<ModelVersion>,
}

/// A version of a registered model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelVersion {
    /// The model.
    pub name: ModelName,
    /// From 1.
    pub version: u32,
    /// The artifact.
    pub digest: Digest,
    /// The run that registered it first.
    pub run: Option<RunId>,
    /// The stage that registered it first.
    pub stage: Option<StageName>,
    /// When.
    pub created: Timestamp,
    /// Free words.
    pub tags: Vec<(String, String)>,
    /// The aliases that name it now.
    pub aliases: Vec<String>,
}

/// An alias that looks like a number could not be told from a version.
pub(crate) fn check_alias(alias: &str) -> crate::StoreResult<()> {
    wick_core::id::check_name(alias).map_err(|error| {
        crate::StoreError::Refused(format!("`{alias}` cannot be an alias: {error}"))
    })
}

/// A plan never names two stages alike; the tables have no index that would find it out.
pub(crate) fn check_names(stages: &[(StageName, KindName)]) -> crate::StoreResult<()> {
    let mut seen = std::collections::HashSet::new();
    match stages.iter().find(|(name, _)| !seen.insert(name)) {
        Some((name, _)) => Err(crate::StoreError::Refused(format!("two stages are called {name}"))),
        None => Ok(()),
    }
}
