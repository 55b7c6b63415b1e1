//! The resolved, type-checked graph.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wick_core::{Digest, ExperimentName, KindName, PortName, PortType, StageName};
use wick_pipeline::Condition;
pub use wick_pipeline::{
    Hook, HookDeed, Hooks, KnownList, Missed, Mode, Overlap, Resources, Retry, Schedule, Secret,
    SecretSource,
};

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
    /// The files that it was made of: the pipeline file, then those that it includes or uses.
    #[serde(default)]
    pub files: Vec<PlanFile>,
    /// How long a run may take.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Where the secrets that stages and hooks refer to come from.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// What is done when a run has ended.
    #[serde(default)]
    pub hooks: Hooks,
    /// When `wick up` begins runs.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// Resolved params, in the file's order.
    pub params: Vec<(String, Value)>,
    /// The names of the params that were given from outside.
    pub overridden: Vec<String>,
    /// Topologically sorted: a stage comes after all that it needs; otherwise in the file's
    /// order.
    pub stages: Vec<PlannedStage>,
}

/// A file that a plan was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Where it lies, absolute.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// A stage, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    /// Its name.
    pub name: StageName,
    /// The stage as it is written, where this is one of several instances of it.
    #[serde(default)]
    pub instance: Option<Instance>,
    /// Where the stage is written once for each item of a list that only the run will know: until
    /// then it stands for all of its instances. It is never run itself. In its `config`, a value
    /// that depends on the item is the text as it is written, with `${foreach.…}` in it, whatever
    /// its type will be; its `metrics`, `sources` and the like are those that do not depend on
    /// it. An input from another stage with the same list means its instance for the same item.
    /// Its `condition` is one that does not depend on the item.
    #[serde(default)]
    pub foreach: Option<Foreach>,
    /// What it says of itself.
    pub description: Option<String>,
    /// The folder that its relative paths are meant from, and that its programs run in.
    #[serde(default)]
    pub base: PathBuf,
    /// Its kind.
    pub kind: KindName,
    /// The revision of its kind.
    pub revision: u32,
    /// The resolved `with`. Values of a command's `env` and of its `run` are templates that the
    /// engine [expands](wick_pipeline::template::expand).
    pub config: Value,
    /// Its edges, in the file's order.
    pub inputs: Vec<PlannedInput>,
    /// What it makes.
    pub outputs: Vec<PlannedOutput>,
    /// Stages that come before it without giving it data; those that `when` looks at among them.
    pub after: Vec<StageIndex>,
    /// How many of the stages before it must have succeeded.
    #[serde(default)]
    pub join: Join,
    /// It runs only if this holds.
    #[serde(default)]
    pub condition: Option<Condition>,
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
    /// Places in `config` that determine nothing of the outputs, written likewise: to the
    /// fingerprint they are not there.
    #[serde(default)]
    pub neutral_fields: Vec<String>,
    /// Environment variables that determine the outputs, by name.
    pub environment: Vec<String>,
    /// The metrics that the stage will report, if all are known.
    pub metrics: Option<Vec<String>>,
}

/// The name of an instance, taken apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The stage as it is written.
    pub template: StageName,
    /// What stands in the brackets.
    pub label: String,
    /// What tells it from the other instances, in the file's order.
    pub values: Vec<(String, Value)>,
}

/// The list that a stage is written once for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Foreach {
    /// The name of an item: `${foreach.NAME}`.
    pub variable: String,
    /// The stage that makes the list.
    pub from: StageIndex,
    /// Its output, a `value`.
    pub output: PortName,
}

/// How many of the stages that a stage needs must have succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// All of them.
    #[default]
    All,
    /// At least one, once all have ended.
    Any,
}

/// An edge that ends in a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedInput {
    /// The port that reads.
    pub port: PortName,
    /// What it reads.
    pub source: InputSource,
    /// The type of both ends; of a port that gathers, the type of each item.
    pub port_type: PortType,
}

/// What an input reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSource {
    /// An output of one stage.
    Output {
        /// The stage that makes the value.
        from: StageIndex,
        /// The output of that stage.
        output: PortName,
    },
    /// An output of every instance of a stage, in their order. The place of a stage with
    /// [`PlannedStage::foreach`] stands for its instances.
    Gather {
        /// The instances.
        from: Vec<StageIndex>,
        /// The output.
        output: PortName,
    },
    /// An output of the best instance of a stage.
    Select {
        /// The instances, as in [`Gather`](InputSource::Gather).
        from: Vec<StageIndex>,
        /// The output.
        output: PortName,
        /// Which is the best.
        best: Best,
    },
}

/// Which instance is the best. Of equals it is the first; one without the metric, or where it is
/// not a number, is not chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The key of the metric: its latest value counts.
    pub metric: String,
    /// Stages with the same instances that have the metric, in the same order; empty where the
    /// instances themselves have it.
    pub of: Vec<StageIndex>,
    /// Which end is best.
    pub mode: Mode,
}

/// An output of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedOutput {
    /// The port.
    pub port: PortName,
    /// Its type.
    pub port_type: PortType,
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

    /// The digest of all that the plan says of params and stages, but not of where the files lie
    /// or what they hold, nor of hooks and schedules: equal plans can share a run.
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

impl PlannedInput {
    /// The output that is read of each stage.
    pub fn output(&self) -> &PortName {
        match &self.source {
            InputSource::Output { output, .. }
            | InputSource::Gather { output, .. }
            | InputSource::Select { output, .. } => output,
        }
    }

    /// The stages whose outputs are read, or may be.
    pub fn from(&self) -> &[StageIndex] {
        match &self.source {
            InputSource::Output { from, .. } => std::slice::from_ref(from),
            InputSource::Gather { from, .. } | InputSource::Select { from, .. } => from,
        }
    }

    /// Every stage that must have ended before the input can be read. May name a stage twice.
    pub fn needs(&self) -> impl Iterator<Item = StageIndex> + '_ {
        let of = match &self.source {
            InputSource::Select { best, .. } => best.of.as_slice(),
            InputSource::Output { .. } | InputSource::Gather { .. } => &[],
        };
        self.from().iter().chain(of).copied()
    }

    fn encode(&self, encoder: &mut Encoder) {
        encoder.text(self.port.as_str());
        encoder.list(self.from().len());
        for from in self.from() {
            encoder.number(u64::from(from.0));
        }
        encoder.text(self.output().as_str());
        match &self.source {
            InputSource::Output { .. } => encoder.number(0),
            InputSource::Gather { .. } => encoder.number(1),
            InputSource::Select { best: Best { metric, of, mode }, .. } => {
                encoder.number(2);
                encoder.text(metric);
                encoder.list(of.len());
                for stage in of {
                    encoder.number(u64::from(stage.0));
                }
                encoder.number(*mode as u64);
            }
        }
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
            input.encode(encoder);
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
        encoder.number(self.join as u64);
        match &self.condition {
            // Not its text: what the text refers to may have another value now.
            Some(condition) => {
                encoder.value(&serde_json::to_value(condition).unwrap_or_default());
            }
            None => encoder.nothing(),
        }
        match &self.foreach {
            Some(Foreach { variable, from, output }) => {
                encoder.text(variable);
                encoder.number(u64::from(from.0));
                encoder.text(output.as_str());
            }
            None => encoder.nothing(),
        }
        let Retry { attempts, backoff, factor, max_backoff, jitter, on } = &self.retry;
        encoder.number(u64::from(*attempts));
        encoder.number(backoff.as_millis() as u64);
        encoder.number(factor.to_bits());
        encoder.number(max_backoff.as_millis() as u64);
        encoder.number(jitter.to_bits());
        encoder.value(&serde_json::to_value(on).unwrap_or_default());
        match self.timeout {
            Some(timeout) => encoder.number(timeout.as_millis() as u64),
            None => encoder.nothing(),
        }
        let Resources { cpus, memory, gpus, named, mutex } = &self.resources;
        encoder.number(u64::from(*cpus));
        match memory {
            Some(memory) => encoder.number(*memory),
            None => encoder.nothing(),
        }
        encoder.number(u64::from(*gpus));
        encoder.list(named.len());
        for (name, share) in named {
            encoder.text(name);
            encoder.number(u64::from(*share));
        }
        encoder.list(mutex.len());
        for name in mutex {
            encoder.text(name);
        }
        encoder.number(u64::from(self.cache));
    }

    /// Every stage that must have ended before this one starts: those it reads from, then those
    /// it comes after. May name a stage twice.
    pub fn needs(&self) -> impl Iterator<Item = StageIndex> + '_ {
        let list = self.foreach.as_ref().map(|foreach| foreach.from);
        let inputs = self.inputs.iter().flat_map(PlannedInput::needs);
        inputs.chain(self.after.iter().copied()).chain(list)
    }
}
