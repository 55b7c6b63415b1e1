//! What a running attempt gets, and how it reports.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use wick_core::worker::Progress;
use wick_core::{
    Digest, Effect, KindName, MetricKey, MetricPoint, PortName, PortType, RunId, StageName,
    Timestamp, Token, WorkerEvent,
};

use crate::checkpoint::{CheckpointPlace, Checkpoints};
use crate::error::{StageError, StageResult};
use crate::layout;

/// What an attempt is to do: written by the engine as `attempt.json` into the attempt's folder,
/// read by its worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The version of this format.
    pub version: u32,
    /// The run.
    pub run: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// The stage.
    pub stage: StageName,
    /// Which try, from 1.
    pub attempt: u32,
    /// Who holds it may publish.
    pub token: Token,
    /// The kind of the stage.
    pub kind: KindName,
    /// The resolved `with`.
    pub config: serde_json::Value,
    /// What to read, by port.
    pub inputs: IndexMap<PortName, AssignedInput>,
    /// What to make, by port.
    pub outputs: IndexMap<PortName, AssignedOutput>,
    /// The folder that relative paths in the pipeline are meant from.
    pub base: PathBuf,
    /// The folder of the artifact store.
    pub artifacts: PathBuf,
    /// How many processors the attempt may use.
    pub cpus: u32,
    /// Where it may save its state; nowhere if it is alone in the world, as in tests.
    pub checkpoints: Option<CheckpointPlace>,
}

/// The version of [`Assignment`].
pub const ASSIGNMENT_VERSION: u32 = 2;

/// An input of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssignedInput {
    /// Its type.
    #[serde(rename = "type")]
    pub port_type: PortType,
    /// The artifact.
    pub digest: Digest,
    /// Where its bytes are: a file, or a folder where the type is one.
    pub path: PathBuf,
    /// What was recorded of it when it was made.
    pub meta: serde_json::Value,
}

/// An output of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssignedOutput {
    /// Its type.
    #[serde(rename = "type")]
    pub port_type: PortType,
}

/// Takes what a worker reports. The worker writes it to its events file; tests collect it.
pub trait EventSink {
    /// Takes one report.
    ///
    /// # Errors
    /// If it cannot be kept.
    fn emit(&mut self, event: WorkerEvent) -> std::io::Result<()>;

    /// The time now: the sink owns the clock.
    fn now(&self) -> Timestamp;
}

/// What a running attempt sees of the world.
pub struct Context<'a> {
    assignment: &'a Assignment,
    folder: &'a Path,
    sink: &'a mut dyn EventSink,
    output_meta: IndexMap<PortName, serde_json::Value>,
    last_progress: Option<Timestamp>,
}

/// Progress is reported at most this often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

impl<'a> Context<'a> {
    /// The context of an attempt whose files lie in `folder`.
    pub fn new(assignment: &'a Assignment, folder: &'a Path, sink: &'a mut dyn EventSink) -> Self {
        Self { assignment, folder, sink, output_meta: IndexMap::new(), last_progress: None }
    }

    /// What the attempt is to do.
    pub fn assignment(&self) -> &'a Assignment {
        self.assignment
    }

    /// The attempt's own folder.
    pub fn folder(&self) -> &'a Path {
        self.folder
    }

    /// How many processors the attempt may use: at least 1.
    pub fn cpus(&self) -> usize {
        self.assignment.cpus.max(1) as usize
    }

    /// `path` as written in the pipeline, made absolute.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.assignment.base.join(path)
    }

    /// Whether anything is connected to the input `port`.
    pub fn has_input(&self, port: &str) -> bool {
        self.assignment.inputs.contains_key(port)
    }

    /// The input at `port`.
    ///
    /// # Errors
    /// If nothing is connected to it; the plan lets this happen only for optional ports.
    pub fn input(&self, port: &str) -> StageResult<&'a AssignedInput> {
        self.assignment
            .inputs
            .get(port)
            .ok_or_else(|| StageError::internal(format!("nothing is connected to input `{port}`")))
    }

    /// All inputs, in the pipeline's order.
    pub fn inputs(&self) -> impl Iterator<Item = (&'a PortName, &'a AssignedInput)> {
        self.assignment.inputs.iter()
    }

    /// Where to write the output `port`. For a type whose bytes are a folder, the folder is made.
    ///
    /// # Errors
    /// If the stage has no such output, or the folder cannot be made.
    pub fn output(&self, port: &str) -> StageResult<PathBuf> {
        let output = self
            .assignment
            .outputs
            .get(port)
            .ok_or_else(|| StageError::internal(format!("the stage has no output `{port}`")))?;
        let path = self.folder.join(layout::OUTPUTS).join(port);
        let folder =
            if output.port_type.is_folder() { Some(path.as_path()) } else { path.parent() };
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder).map_err(|error| {
                StageError::io(format!("cannot make {}", folder.display()), error)
            })?;
        }
        Ok(path)
    }

    /// Notes facts worth showing of the output `port`: an object, such as `{"rows": 891}`.
    pub fn describe_output(&mut self, port: &PortName, meta: serde_json::Value) {
        self.output_meta.insert(port.clone(), meta);
    }

    /// The facts noted of the outputs, for whoever publishes them.
    pub fn into_output_meta(self) -> IndexMap<PortName, serde_json::Value> {
        self.output_meta
    }

    /// Reports a metric that has one value.
    ///
    /// # Errors
    /// If the report cannot be kept.
    pub fn metric(&mut self, key: impl Into<MetricKey>, value: f64) -> StageResult {
        self.metric_at(key, 0, value)
    }

    /// Reports the value of a metric at a step of its series.
    ///
    /// # Errors
    /// If the report cannot be kept.
    pub fn metric_at(&mut self, key: impl Into<MetricKey>, step: i64, value: f64) -> StageResult {
        self.metrics([(key.into(), step, value)])
    }

    /// Reports several points at once: `(key, step, value)`.
    ///
    /// # Errors
    /// If the report cannot be kept.
    pub fn metrics(
        &mut self,
        points: impl IntoIterator<Item = (MetricKey, i64, f64)>,
    ) -> StageResult {
        let time = self.sink.now();
        let points: Vec<_> = points
            .into_iter()
            .map(|(key, step, value)| MetricPoint { key, step, time, value })
            .collect();
        self.emit(WorkerEvent::Metrics(points))
    }

    /// Whether a report of progress would be passed on now: ask before building a costly one.
    pub fn is_progress_due(&self) -> bool {
        self.last_progress.is_none_or(|last| {
            (self.sink.now().micros_since(last) as i128) >= PROGRESS_INTERVAL.as_micros() as i128
        })
    }

    /// Reports how far the attempt is. Cheap to call often: what comes too soon after the last
    /// report is dropped, unless it is the end.
    ///
    /// # Errors
    /// If the report cannot be kept.
    pub fn progress(&mut self, progress: Progress) -> StageResult {
        if !self.is_progress_due() && progress.total != Some(progress.done) {
            return Ok(());
        }
        self.last_progress = Some(self.sink.now());
        self.emit(WorkerEvent::Progress(progress))
    }

    /// Where to save the attempt's state, and where to look for that of an earlier attempt.
    pub fn checkpoints(&self) -> Option<Checkpoints> {
        Checkpoints::of(self.assignment)
    }

    /// Asks the store for `effect` when the attempt is published.
    ///
    /// # Errors
    /// If the request cannot be kept.
    pub fn effect(&mut self, effect: Effect) -> StageResult {
        self.emit(WorkerEvent::Effect(effect))
    }

    /// Writes a line to the attempt's log.
    pub fn log(&mut self, line: impl std::fmt::Display) {
        use std::io::Write;
        // The process's standard output is the attempt's log; if it cannot be written, the
        // attempt is still worth finishing.
        let _ = writeln!(std::io::stdout(), "{line}");
    }

    fn emit(&mut self, event: WorkerEvent) -> StageResult {
        self.sink.emit(event).map_err(|error| StageError::io("cannot report to the engine", error))
    }
}

/// Collects what a stage reports: for tests of kinds.
#[derive(Debug, Default)]
pub struct CollectedEvents(pub Vec<WorkerEvent>);

impl EventSink for CollectedEvents {
    fn emit(&mut self, event: WorkerEvent) -> std::io::Result<()> {
        self.0.push(event);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        Timestamp(0)
    }
}
