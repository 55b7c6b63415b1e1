//! Events: what happened in a run. The only thing the engine emits, and the source of every
//! row that the store keeps of a run.

use serde::{Deserialize, Serialize};

use crate::worker::Progress;
use crate::{
    AttemptState, Digest, Fingerprint, KindName, MetricPoint, ModelName, PortName, PortType, RunId,
    RunState, StageName, Timestamp, Token,
};

/// Something that happened in a run, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// What.
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventBody {
    /// An engine began, or began again, to drive the run.
    RunStarted {
        /// The machine's name.
        host: String,
        /// The engine's process.
        pid: u32,
    },
    /// An attempt is about to be started: recorded before its process exists.
    AttemptStarted {
        /// The stage.
        stage: StageName,
        /// Which try of the stage in this run, from 1.
        attempt: u32,
        /// Who holds it may publish.
        token: Token,
        /// The stage's fingerprint.
        fingerprint: Fingerprint,
        /// Since when it could have been started: when all that it needs was there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queued: Option<Timestamp>,
        /// What it reads.
        inputs: Vec<Input>,
        /// What went into the fingerprint, to tell later what changed: JSON. Kept once for each
        /// fingerprint, not with the event: it is left out of the event's JSON.
        #[serde(default, skip_serializing)]
        parts: Option<String>,
    },
    /// The attempt's process exists.
    AttemptSpawned {
        /// The stage.
        stage: StageName,
        /// Which try.
        attempt: u32,
        /// The process, which leads a process group of its own.
        pid: u32,
        /// What tells it from any other process that ever had this pid; 0 if that is unknown.
        #[serde(default)]
        started: u64,
    },
    /// Points were measured. Kept as metrics, not as an event.
    Metrics {
        /// The stage.
        stage: StageName,
        /// Which try.
        attempt: u32,
        /// The points, in the order in which they were measured.
        points: Vec<MetricPoint>,
    },
    /// How far an attempt is. Shown, never stored.
    Progress {
        /// The stage.
        stage: StageName,
        /// Which try.
        attempt: u32,
        /// How far.
        progress: Progress,
    },
    /// An attempt ended; with `succeeded`, its outputs and effects are published with this event.
    AttemptFinished {
        /// The stage.
        stage: StageName,
        /// Which try.
        attempt: u32,
        /// The token that the attempt was started with: without it nothing is published.
        token: Token,
        /// `succeeded`, `failed`, `cancelled` or `lost`.
        state: AttemptState,
        /// What it used.
        usage: Usage,
        /// Why it failed.
        failure: Option<Failure>,
        /// What it made.
        outputs: Vec<Output>,
        /// What it asks of the store.
        effects: Vec<Effect>,
    },
    /// A failed attempt will be followed by another.
    RetryScheduled {
        /// The stage.
        stage: StageName,
        /// The attempt that failed.
        attempt: u32,
        /// How long until the next, in milliseconds.
        delay_ms: u64,
    },
    /// The outputs of an equal fingerprint are reused.
    StageCached {
        /// The stage.
        stage: StageName,
        /// The fingerprint found.
        fingerprint: Fingerprint,
        /// The attempt that made the outputs.
        origin: StageOrigin,
        /// What it would have read.
        inputs: Vec<Input>,
        /// The outputs reused.
        outputs: Vec<Output>,
        /// Effects to apply again; each is idempotent.
        effects: Vec<Effect>,
    },
    /// The stage will not run in this run.
    StageSkipped {
        /// The stage.
        stage: StageName,
        /// Why not.
        reason: SkipReason,
    },
    /// The stage is written once for each item of a list that is known now. Its instances are
    /// stages of their own, `queued` from here on; the stage itself stands for all of them, and
    /// runs until [`StageGathered`](EventBody::StageGathered).
    StageExpanded {
        /// The stage.
        stage: StageName,
        /// Its instances with their kinds, in the list's order.
        instances: Vec<(StageName, KindName)>,
    },
    /// All instances of the stage have ended.
    StageGathered {
        /// The stage.
        stage: StageName,
        /// `succeeded`, `failed`, `cancelled` or `skipped`: the worst of them.
        state: AttemptState,
    },
    /// The stage had come to an end earlier in this run and is to be done again: what it made
    /// then is no longer the run's. It is `queued` from here on.
    StageRequeued {
        /// The stage.
        stage: StageName,
    },
    /// The stage was waiting when the run was cancelled.
    StageCancelled {
        /// The stage.
        stage: StageName,
    },
    /// The run ended.
    RunFinished {
        /// How.
        state: RunState,
    },
}

impl EventBody {
    /// Whether the store keeps it in the run's list of events. Progress is only shown, and
    /// metrics have a table of their own.
    pub const fn is_kept(&self) -> bool {
        !matches!(self, EventBody::Progress { .. } | EventBody::Metrics { .. })
    }
}

/// Why a stage does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// Something that it needs did not succeed: this stage.
    Need(StageName),
    /// Its `when` does not hold: the condition, with the values that it had.
    Condition(String),
    /// The run was asked for other stages only.
    NotSelected,
    /// It is an instance for an item that is no longer in the list.
    NoItem,
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SkipReason::Need(stage) => write!(f, "needs {stage}, which did not succeed"),
            SkipReason::Condition(condition) => write!(f, "only when {condition}"),
            SkipReason::NotSelected => f.write_str("not selected"),
            SkipReason::NoItem => f.write_str("its item is no longer in the list"),
        }
    }
}

/// What an attempt reads from an earlier stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The port that reads.
    pub port: PortName,
    /// The stage that made it.
    pub stage: StageName,
    /// The output of that stage.
    pub output: PortName,
    /// Where the port gathers instances: the label of the one that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The artifact.
    pub digest: Digest,
}

/// What an attempt made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The port.
    pub port: PortName,
    /// Its type.
    #[serde(rename = "type")]
    pub port_type: PortType,
    /// The artifact.
    pub digest: Digest,
    /// Its size on disk.
    pub bytes: u64,
    /// Facts worth showing and searching: rows, columns, parameters. An object.
    pub meta: serde_json::Value,
}

/// Where reused outputs came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StageOrigin {
    /// The run.
    pub run: RunId,
    /// The stage in that run.
    pub stage: StageName,
    /// The attempt that succeeded.
    pub attempt: u32,
}

/// What an attempt used. What a machine cannot measure is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end, in microseconds.
    pub wall_micros: u64,
    /// User and system time of the process and its finished children, in microseconds.
    pub cpu_micros: u64,
    /// The largest resident memory, in bytes.
    pub max_rss_bytes: u64,
    /// What it read from disks, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// What it wrote to disks, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// The energy that it took, in joules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
    /// How the energy is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_source: Option<EnergySource>,
    /// What making that energy set free, in grams of CO₂.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub co2_grams: Option<f64>,
    /// The most memory of GPUs that it held, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory_bytes: Option<u64>,
    /// For how long GPUs were busy with it, in microseconds, added up over all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_busy_micros: Option<u64>,
}

/// How the energy that an attempt took is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EnergySource {
    /// The counters of the processor.
    #[serde(rename = "rapl")]
    Rapl,
    /// The counters of the GPUs.
    #[serde(rename = "nvml")]
    Nvml,
    /// Both.
    #[serde(rename = "rapl+nvml")]
    RaplAndNvml,
    /// No counter: guessed from the time that it computed.
    #[serde(rename = "estimate")]
    Estimate,
}

impl EnergySource {
    /// Every source.
    pub const ALL: [EnergySource; 4] =
        [EnergySource::Rapl, EnergySource::Nvml, EnergySource::RaplAndNvml, EnergySource::Estimate];

    /// The word shown and stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            EnergySource::Rapl => "rapl",
            EnergySource::Nvml => "nvml",
            EnergySource::RaplAndNvml => "rapl+nvml",
            EnergySource::Estimate => "estimate",
        }
    }
}

impl std::fmt::Display for EnergySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// What sort of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// The program returned a code other than zero.
    Exit,
    /// A signal killed the process.
    Signal,
    /// The system or the stage's memory limit killed it.
    OutOfMemory,
    /// It ran longer than its `timeout`.
    Timeout,
    /// A requirement on a metric was not met.
    Gate,
    /// The data is not what the stage was told it would be.
    Data,
    /// The configuration cannot work.
    Config,
    /// The file system, the network or another resource refused.
    Io,
    /// A declared output was not made, or is not of its type.
    Output,
    /// The program could not be started.
    Spawn,
    /// A defect of Candlewick.
    Internal,
}

impl FailureCause {
    /// The word shown and stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureCause::Exit => "exit",
            FailureCause::Signal => "signal",
            FailureCause::OutOfMemory => "out_of_memory",
            FailureCause::Timeout => "timeout",
            FailureCause::Gate => "gate",
            FailureCause::Data => "data",
            FailureCause::Config => "config",
            FailureCause::Io => "io",
            FailureCause::Output => "output",
            FailureCause::Spawn => "spawn",
            FailureCause::Internal => "internal",
        }
    }

    /// Whether another attempt could end otherwise. Stages that compute the same from the same
    /// inputs fail the same: a gate, bad data or a bad configuration is not tried again.
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            FailureCause::Exit
                | FailureCause::Signal
                | FailureCause::Timeout
                | FailureCause::Io
                | FailureCause::Spawn
        )
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What sort.
    pub cause: FailureCause,
    /// What went wrong, in one sentence fragment.
    pub message: String,
    /// The causes behind it, nearest first.
    #[serde(default)]
    pub chain: Vec<String>,
    /// How to mend it, if that is known.
    #[serde(default)]
    pub help: Option<String>,
    /// How the process ended.
    #[serde(default)]
    pub exit: Option<Exit>,
}

/// What a stage asks of the store. Applied in the transaction that publishes the attempt, and
/// again, to no further effect, when the stage is cached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Make the model a version of `name`, unless it is one already.
    RegisterModel {
        /// The registered model.
        name: ModelName,
        /// The artifact.
        digest: Digest,
        /// What it is.
        description: Option<String>,
        /// Free words.
        tags: Vec<(String, String)>,
    },
    /// Note params that the stage's program found out: of its run they are the params
    /// `STAGE.NAME`, a name that no param of a pipeline has.
    ReportParams {
        /// Names and values.
        params: Vec<(String, serde_json::Value)>,
    },
    /// Let `alias` name the version of `name` with this artifact.
    SetAlias {
        /// The registered model.
        name: ModelName,
        /// The alias: `production`, `staging`.
        alias: String,
        /// The artifact.
        digest: Digest,
    },
}
