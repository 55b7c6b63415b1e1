//! Makes an attempt's files before its process starts: its folder, links to its inputs, what a
//! worker is told; and says what process to start.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use wick_artifact::{ArtifactError, ArtifactStore, Held};
use wick_core::{Failure, FailureCause, PortName, RunId};
use wick_plan::InputSource;
use wick_plan::SecretSource;
use wick_stage::context::ASSIGNMENT_VERSION;
use wick_stage::{
    AssignedInput, AssignedOutput, Assignment, CheckpointPlace, StageError, StageResult, layout,
};

use crate::command::config::CommandConfig;
use crate::command::launch::{CommandAttempt, LinkedInput, Passed, ProcessSpec, variable};
use crate::executor::{Submission, SubmittedInput};
use crate::folder::make_attempt_folder;
use crate::mask::Masks;
use crate::memory::MemoryLimit;
use crate::orphans::RUN_MARK;
use crate::process::{PROCESS_NAME, Program};

/// Variables by which numeric libraries are told how many threads they may use.
const THREADS: &[&str] = &[
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
];

/// The size of candle's own pool, which waits by spinning: beside any other busy program each of
/// its waits costs a time slice, and training is ten times slower. All that is worth splitting in
/// a worker is split over rayon's pool.
const ONE_THREAD: &str = "CANDLE_NUM_THREADS";

/// Whether Rust tells on its end by which calls it came there. That needs memory, and without any
/// left a worker that tries can wait for ever for itself: not where memory is limited.
const BACKTRACE: &str = "RUST_BACKTRACE";

/// Variables that tell a program of its attempt: those of another attempt are not handed on.
const MARKS: &[&str] = &[RUN_MARK, "WICK_STAGE", "WICK_ATTEMPT", "WICK_OUTPUTS", "WICK_METRICS"];

/// An attempt whose files are made.
pub struct Prepared {
    /// The process to start.
    pub spec: ProcessSpec,
    /// What it reads, kept where it is as long as the attempt goes on.
    pub inputs: Vec<Held>,
}

/// All that is needed to make an attempt's files, on any thread.
pub struct Preparation {
    pub submission: Submission,
    /// Whether its folder is there, empty but for its log.
    pub folder_is_made: bool,
    pub run: RunId,
    pub artifacts: Arc<ArtifactStore>,
    /// The folder of all checkpoints.
    pub checkpoints: PathBuf,
    /// Of a command stage.
    pub command: Option<Arc<CommandConfig>>,
    pub passed: Arc<Passed>,
    pub program: Program,
}

impl Preparation {
    /// Whether it is no more than a folder: quicker done than handed to a thread.
    pub fn is_small(&self) -> bool {
        self.submission.inputs.is_empty()
            && self.command.as_ref().is_some_and(|config| config.outputs.is_empty())
    }

    pub fn carry_out(self) -> Result<Prepared, Failure> {
        self.prepare().map_err(|error| error.to_failure())
    }

    /// Where the attempt saves its state.
    fn checkpoint_place(&self) -> CheckpointPlace {
        CheckpointPlace {
            root: self.checkpoints.clone(),
            fingerprint: self.submission.fingerprint,
            line: self.submission.line,
        }
    }

    fn prepare(&self) -> StageResult<Prepared> {
        let Submission { folder, inputs, .. } = &self.submission;
        if !self.folder_is_made {
            make_attempt_folder(folder).map_err(|error| {
                StageError::io(format!("cannot make the folder {}", folder.display()), error)
            })?;
        }
        let mut paths = Vec::with_capacity(inputs.len());
        let mut held = Vec::with_capacity(inputs.len());
        for input in inputs {
            let input = self.artifacts.hold(&input.digest).map_err(|error| lost(input, error))?;
            let path = input.path();
            paths.push(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
            held.push(input);
        }
        let spec = match &self.command {
            Some(config) => self.prepare_command(config, paths)?,
            None => self.prepare_worker(paths)?,
        };
        Ok(Prepared { spec, inputs: held })
    }

    fn prepare_command(
        &self,
        config: &CommandConfig,
        paths: Vec<PathBuf>,
    ) -> StageResult<ProcessSpec> {
        let Submission { plan, attempt, folder, inputs, .. } = &self.submission;
        let planned = self.submission.planned();
        let mut linked: Vec<LinkedInput> = Vec::new();
        for edge in &planned.inputs {
            let read = inputs.iter().zip(&paths).filter(|(input, _)| input.port == edge.port);
            let artifacts = read.map(|(input, path)| (input.item.clone(), path.clone())).collect();
            linked.push(LinkedInput {
                port: edge.port.clone(),
                port_type: edge.port_type,
                gathers: matches!(edge.source, InputSource::Gather { .. }),
                artifacts,
            });
        }
        let attempt = CommandAttempt {
            run: &self.run,
            stage: &planned.name,
            attempt: *attempt,
            folder,
            base: &planned.base,
            config,
            inputs: &linked,
            cpus: planned.resources.cpus.max(1),
            checkpoints: &self.checkpoint_place().folder(&self.run),
            memory: self.memory(),
            secrets: &plan.secrets,
        };
        attempt.prepare(&self.passed)
    }

    fn prepare_worker(&self, paths: Vec<PathBuf>) -> StageResult<ProcessSpec> {
        let Submission { plan, attempt, token, inputs, folder, .. } = &self.submission;
        let planned = self.submission.planned();
        let inputs: IndexMap<PortName, AssignedInput> = inputs
            .iter()
            .zip(paths)
            .map(|(input, path)| {
                let SubmittedInput { port, port_type, digest, meta, item: _ } = input;
                let (port_type, digest, meta) = (*port_type, *digest, meta.clone());
                (port.clone(), AssignedInput { port_type, digest, path, meta })
            })
            .collect();
        let outputs = planned
            .outputs
            .iter()
            .map(|output| (output.port.clone(), AssignedOutput { port_type: output.port_type }))
            .collect();
        let cpus = planned.resources.cpus.max(1);
        let artifacts = self.artifacts.folder();
        let assignment = Assignment {
            version: ASSIGNMENT_VERSION,
            run: self.run.clone(),
            pipeline: plan.pipeline.clone(),
            stage: planned.name.clone(),
            attempt: *attempt,
            token: *token,
            kind: planned.kind.clone(),
            config: planned.config.clone(),
            inputs,
            outputs,
            base: planned.base.clone(),
            artifacts: std::path::absolute(artifacts).unwrap_or_else(|_| artifacts.to_owned()),
            cpus,
            checkpoints: Some(self.checkpoint_place()),
        };
        let path = folder.join(layout::ASSIGNMENT);
        let written = serde_json::to_vec_pretty(&assignment)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&path, bytes));
        written
            .map_err(|error| StageError::io(format!("cannot write {}", path.display()), error))?;
        let bytes = |text: &OsStr| text.as_bytes().to_vec();
        let program = bytes(self.program.path.as_os_str());
        let mut arguments = vec![PROCESS_NAME.as_bytes().to_vec()];
        arguments.extend(self.program.worker.iter().map(|argument| bytes(argument)));
        arguments.push(bytes(folder.as_os_str()));
        Ok(ProcessSpec {
            folder: planned.base.clone(),
            programs: vec![program],
            arguments,
            environment: self.worker_environment(cpus),
            memory: self.memory(),
            masks: Masks::default(),
        })
    }

    /// A worker is this same binary: it sees the engine's environment, but for threads, for
    /// secrets, which no worker has a use for, and for the marks of a stage that this engine
    /// itself may be run by.
    fn worker_environment(&self, cpus: u32) -> Vec<Vec<u8>> {
        let threads = cpus.to_string();
        let secrets = &self.submission.plan.secrets;
        let is_secret = |name: &OsStr| {
            let mut sources = secrets.iter().map(|secret| &secret.source);
            sources.any(|source| matches!(source, SecretSource::Environment(of) if name == &**of))
        };
        let is_limited = self.submission.planned().resources.memory.is_some();
        let own = |name: &OsStr| {
            name == ONE_THREAD
                || THREADS.iter().chain(MARKS).any(|own| name == *own)
                || is_limited && name == BACKTRACE
        };
        std::env::vars_os()
            .filter(|(name, _)| !own(name) && !is_secret(name))
            .map(|(name, value)| variable(name.as_bytes(), value.as_bytes()))
            .chain(THREADS.iter().map(|name| variable(name.as_bytes(), threads.as_bytes())))
            .chain([
                variable(ONE_THREAD.as_bytes(), b"1"),
                variable(RUN_MARK.as_bytes(), self.run.as_str().as_bytes()),
            ])
            .collect()
    }

    /// How much memory the attempt may use.
    fn memory(&self) -> Option<MemoryLimit> {
        let resources = &self.submission.planned().resources;
        let (bytes, cpus) = (resources.memory?, resources.cpus.max(1));
        Some(match &self.command {
            Some(_) => MemoryLimit::of_program(bytes, cpus),
            None => MemoryLimit::of_worker(bytes, cpus),
        })
    }
}

/// An input cannot be had: because it is not there any more, or because nobody can tell now.
fn lost(input: &SubmittedInput, error: ArtifactError) -> StageError {
    let port = &input.port;
    match error {
        ArtifactError::Remote { .. } | ArtifactError::NoRoom { .. } => {
            StageError::new(FailureCause::Io, format!("input `{port}` cannot be fetched"))
                .because(error)
                .help("`wick rerun` goes on when that is mended; `wick doctor` looks at the place")
        }
        error => StageError::new(FailureCause::Data, format!("input `{port}` is gone"))
            .because(error)
            .help("`wick rerun` makes it again"),
    }
}
