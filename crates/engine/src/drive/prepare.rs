//! Makes an attempt's files before its process starts: its folder, links to its inputs, what a
//! worker is told; and says what process to start.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use wick_artifact::ArtifactStore;
use wick_core::{Digest, Failure, FailureCause, PortName, PortType, RunId, Token};
use wick_plan::{Plan, PlannedStage, StageIndex};
use wick_stage::context::ASSIGNMENT_VERSION;
use wick_stage::{AssignedInput, AssignedOutput, Assignment, StageError, StageResult, layout};

use super::Drive;
use crate::command::config::CommandConfig;
use crate::command::launch::{CommandAttempt, Passed, ProcessSpec, variable};
use crate::folder::make_attempt_folder;
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

impl Drive {
    /// All that is needed to make the files of an attempt; `command` of a command stage.
    pub(super) fn preparation(
        &self,
        stage: StageIndex,
        attempt: u32,
        command: Option<Arc<CommandConfig>>,
        folder: &Path,
    ) -> Preparation {
        let planned = self.setup.plan.stage(stage);
        let metas = planned.inputs.iter().map(|input| {
            let outputs = &self.stages[input.from()[0].get()].outputs;
            let output = outputs.iter().find(|output| output.port == *input.output());
            output.map(|output| output.meta.clone()).unwrap_or_default()
        });
        let inputs = planned
            .inputs
            .iter()
            .zip(&self.stages[stage.get()].inputs)
            .zip(metas)
            .map(|((planned, input), meta)| PreparedInput {
                port: planned.port.clone(),
                port_type: planned.port_type,
                digest: input.digest,
                meta,
            })
            .collect();
        Preparation {
            plan: self.setup.plan.clone(),
            stage,
            attempt,
            run: self.setup.lease.run.clone(),
            token: self.stages[stage.get()].token,
            folder: folder.to_owned(),
            artifacts: self.setup.artifacts.clone(),
            inputs,
            command,
            passed: self.passed.clone(),
            program: self.setup.program.clone(),
        }
    }
}

/// An input of the attempt.
struct PreparedInput {
    port: PortName,
    port_type: PortType,
    digest: Digest,
    meta: serde_json::Value,
}

/// All that is needed to make an attempt's files, on any thread.
pub(super) struct Preparation {
    plan: Arc<Plan>,
    stage: StageIndex,
    attempt: u32,
    run: RunId,
    token: Option<Token>,
    folder: PathBuf,
    artifacts: Arc<ArtifactStore>,
    inputs: Vec<PreparedInput>,
    /// Of a command stage.
    command: Option<Arc<CommandConfig>>,
    passed: Arc<Passed>,
    program: Program,
}

impl Preparation {
    fn planned(&self) -> &PlannedStage {
        self.plan.stage(self.stage)
    }

    /// Whether it is no more than a folder: quicker done than handed to a thread.
    pub(super) fn is_small(&self) -> bool {
        self.inputs.is_empty()
            && self.command.as_ref().is_some_and(|config| config.outputs.is_empty())
    }

    pub(super) fn carry_out(self) -> Result<ProcessSpec, Failure> {
        self.prepare().map_err(|error| error.to_failure())
    }

    fn prepare(&self) -> StageResult<ProcessSpec> {
        make_attempt_folder(&self.folder).map_err(|error| {
            StageError::io(format!("cannot make the folder {}", self.folder.display()), error)
        })?;
        let mut paths = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let path = self.artifacts.open_verified(&input.digest).map_err(|error| {
                StageError::new(FailureCause::Data, format!("input `{}` is gone", input.port))
                    .because(error)
                    .help("`wick rerun` makes it again")
            })?;
            let path = std::path::absolute(&path).unwrap_or(path);
            paths.push(path);
        }
        match &self.command {
            Some(config) => self.prepare_command(config, paths),
            None => self.prepare_worker(paths),
        }
    }

    fn prepare_command(
        &self,
        config: &CommandConfig,
        paths: Vec<PathBuf>,
    ) -> StageResult<ProcessSpec> {
        let inputs: Vec<(PortName, PortType, PathBuf)> = self
            .inputs
            .iter()
            .zip(paths)
            .map(|(input, path)| (input.port.clone(), input.port_type, path))
            .collect();
        let planned = self.planned();
        let attempt = CommandAttempt {
            run: &self.run,
            stage: &planned.name,
            attempt: self.attempt,
            folder: &self.folder,
            base: &self.plan.base,
            config,
            inputs: &inputs,
            cpus: planned.resources.cpus.max(1),
        };
        attempt.prepare(&self.passed)
    }

    fn prepare_worker(&self, paths: Vec<PathBuf>) -> StageResult<ProcessSpec> {
        let planned = self.planned();
        let inputs: IndexMap<PortName, AssignedInput> = self
            .inputs
            .iter()
            .zip(paths)
            .map(|(input, path)| {
                let PreparedInput { port, port_type, digest, meta } = input;
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
            pipeline: self.plan.pipeline.clone(),
            stage: planned.name.clone(),
            attempt: self.attempt,
            token: self.token.ok_or_else(|| StageError::internal("the attempt has no token"))?,
            kind: planned.kind.clone(),
            config: planned.config.clone(),
            inputs,
            outputs,
            base: self.plan.base.clone(),
            artifacts: std::path::absolute(artifacts).unwrap_or_else(|_| artifacts.to_owned()),
            cpus,
            checkpoints: None,
        };
        let path = self.folder.join(layout::ASSIGNMENT);
        let written = serde_json::to_vec_pretty(&assignment)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&path, bytes));
        written
            .map_err(|error| StageError::io(format!("cannot write {}", path.display()), error))?;
        let bytes = |text: &OsStr| text.as_bytes().to_vec();
        let program = bytes(self.program.path.as_os_str());
        let mut arguments = vec![PROCESS_NAME.as_bytes().to_vec()];
        arguments.extend(self.program.worker.iter().map(|argument| bytes(argument)));
        arguments.push(bytes(self.folder.as_os_str()));
        // A worker is this same binary: it sees the engine's environment, threads apart.
        let threads = cpus.to_string();
        let environment = std::env::vars_os()
            .filter(|(name, _)| {
                name != ONE_THREAD && !THREADS.iter().any(|threads| name == threads)
            })
            .map(|(name, value)| variable(name.as_bytes(), value.as_bytes()))
            .chain(THREADS.iter().map(|name| variable(name.as_bytes(), threads.as_bytes())))
            .chain([variable(ONE_THREAD.as_bytes(), b"1")])
            .collect();
        Ok(ProcessSpec {
            folder: self.plan.base.clone(),
            programs: vec![program],
            arguments,
            environment,
        })
    }
}
