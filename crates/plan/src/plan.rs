//! The resolved, type-checked graph.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wick_core::{Digest, ExperimentName, KindName, PortName, PortType, StageName};

use crate::canonical::Encoder;

/// The place of a stage in [`Plan::stages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageIndex(pub u32);

impl StageIndex {
    /// As an index into [`Plan::stages`].
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// A pipeline, checked and resolved: nothing in it depends on the file any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The pipeline's name.
    pub pipeline: String,
    /// The experiment that its runs belong to.
    pub experiment: ExperimentName,
    /// What the pipeline says of itself.
    pub description: Option<String>,
    /// The pipeline file, absolute.
    pub file: PathBuf,
    /// The folder that relative paths are meant from.
    pub base: PathBuf,
    /// Resolved params, in the file's order.
    pub params: Vec<(String, Value)>,
    /// The names of the params that were given from outside.
    pub overridden: Vec<String>,
    /// Topologically sorted: a stage comes after all that it needs; otherwise in the file's
    /// order.
    pub stages: Vec<PlannedStage>,
}

/// A stage, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    /// Its name.
    pub name: StageName,
    /// What it says of itself.
    pub description: Option<String>,
    /// Its kind.
    pub kind: KindName,
    /// The revision of its kind.
    pub revision: u32,
    /// The resolved `with`.
    pub config: Value,
    /// Its edges, in the file's order.
    pub inputs: Vec<PlannedInput>,
    /// What it makes.
    pub outputs: Vec<PlannedOutput>,
    /// Stages that come before it without giving it data.
    pub after: Vec<StageIndex>,
    /// How often and how it is tried again.
    pub retry: Retry,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// What an attempt occupies.
    pub resources: Resources,
    /// Whether recorded outputs of an equal fingerprint may be reused.
    pub cache: bool,
    /// Files and folders outside the pipeline that determine the outputs, absolute.
    pub sources: Vec<PathBuf>,
    /// Places in `config` that only say where the sources lie, as
    /// [`config_path`](crate::fingerprint::config_path) writes them: left out of the
    /// fingerprint.
    pub source_fields: Vec<String>,
    /// Mappings in `config` whose order of keys determines the outputs, written likewise.
    pub ordered_fields: Vec<String>,
    /// Environment variables that determine the outputs, by name.
    pub environment: Vec<String>,
    /// The metrics that the stage will report, if all are known.
    pub metrics: Option<Vec<String>>,
}

/// An edge that ends in a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedInput {
    /// The port that reads.
    pub port: PortName,
    /// The stage that makes the value.
    pub from: StageIndex,
    /// The output of that stage.
    pub output: PortName,
    /// The type of both ends.
    pub port_type: PortType,
}

/// An output of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedOutput {
    /// The port.
    pub port: PortName,
    /// Its type.
    pub port_type: PortType,
}

/// How often and how a stage is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles with each further one.
    pub backoff: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 1, backoff: Duration::from_secs(1) }
    }
}

/// What an attempt occupies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processors.
    pub cpus: u32,
    /// Memory in bytes; unknown counts as none.
    pub memory: Option<u64>,
    /// GPUs.
    pub gpus: u32,
}

impl Default for Resources {
    fn default() -> Self {
        Self { cpus: 1, memory: None, gpus: 0 }
    }
}

impl Plan {
    /// The stage at `index`.
    pub fn stage(&self, index: StageIndex) -> &PlannedStage {
        &self.stages[index.get()]
    }

    /// All stages with their places.
    pub fn indexed(&self) -> impl Iterator<Item = (StageIndex, &PlannedStage)> {
        self.stages.iter().enumerate().map(|(place, stage)| (StageIndex(place as u32), stage))
    }

    /// The digest of all that the plan says of params and stages, but not of where the files
    /// lie or what they hold: equal plans can share a run.
    pub fn digest(&self) -> Digest {
        let mut encoder = Encoder::new("wick plan 1");
        encoder.text(&self.pipeline);
        encoder.text(self.experiment.as_str());
        encoder.list(self.params.len());
        for (name, value) in &self.params {
            encoder.text(name);
            encoder.value(value);
        }
        encoder.list(self.stages.len());
        for stage in &self.stages {
            stage.encode(&mut encoder);
        }
        encoder.finish()
    }

    /// The place of the stage called `name`.
    pub fn find(&self, name: &str) -> Option<StageIndex> {
        self.indexed().find(|(_, stage)| stage.name == name).map(|(index, _)| index)
    }
}

impl PlannedStage {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.text(self.name.as_str());
        encoder.text(self.kind.as_str());
        encoder.number(u64::from(self.revision));
        encoder.value(&self.config);
        encoder.list(self.inputs.len());
        for input in &self.inputs {
            encoder.text(input.port.as_str());
            encoder.number(u64::from(input.from.0));
            encoder.text(input.output.as_str());
        }
        encoder.list(self.outputs.len());
        for output in &self.outputs {
            encoder.text(output.port.as_str());
            encoder.text(output.port_type.as_str());
        }
        encoder.list(self.after.len());
        for stage in &self.after {
            encoder.number(u64::from(stage.0));
        }
        encoder.number(u64::from(self.retry.attempts));
        encoder.number(self.retry.backoff.as_millis() as u64);
        match self.timeout {
            Some(timeout) => encoder.number(timeout.as_millis() as u64),
            None => encoder.nothing(),
        }
        encoder.number(u64::from(self.resources.cpus));
        match self.resources.memory {
            Some(memory) => encoder.number(memory),
            None => encoder.nothing(),
        }
        encoder.number(u64::from(self.resources.gpus));
        encoder.number(u64::from(self.cache));
    }

    /// Every stage that must have succeeded before this one starts: those it reads from, then
    /// those it comes after. May name a stage twice.
    pub fn needs(&self) -> impl Iterator<Item = StageIndex> + '_ {
        self.inputs.iter().map(|input| input.from).chain(self.after.iter().copied())
    }
}
