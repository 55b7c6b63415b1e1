//! The way of a stage: its inputs found, resolved, submitted to the executor, ended.

use std::time::Duration;

use wick_core::{Event, EventBody, Input, Usage};
use wick_plan::{InputSource, StageIndex};
use wick_stage::Line;

use super::{Drive, Ending, News};
use crate::dispatcher::{Decision, Message, Outcome};
use crate::error::{EngineError, EngineResult};
use crate::executor::{self, Change, End, Submission, SubmittedInput};
use crate::failure;
use crate::folder::attempt_folder;
use crate::report::Reporter;
use crate::resolver::{Found, Request, Resolution};

impl Drive {
    pub(super) fn resolve(&mut self, stages: Vec<StageIndex>) -> EngineResult<()> {
        let mut requests = Vec::with_capacity(stages.len());
        for stage in stages {
            let inputs = self.inputs_of(stage)?;
            requests
                .push(Request { stage, inputs: inputs.iter().map(|input| input.digest).collect() });
            self.stages[stage.get()].inputs = inputs;
        }
        let (resolver, news) = (self.setup.resolver.clone(), self.news.clone());
        self.setup.world.spawn(Box::pin(async move {
            let _ = news.send(News::Resolved(resolver.resolve(requests).await));
        }));
        Ok(())
    }

    /// What a stage reads, now that all that it needs is there.
    fn inputs_of(&self, stage: StageIndex) -> EngineResult<Vec<Input>> {
        let planned = self.setup.plan.stage(stage);
        let inputs = planned.inputs.iter().map(|input| {
            let InputSource::Output { from, output: wanted } = &input.source else {
                let message = "inputs that gather instances cannot be read";
                return Err(EngineError::Internal(message.to_owned()));
            };
            let outputs = &self.stages[from.get()].outputs;
            let from = &self.setup.plan.stage(*from).name;
            let output = outputs.iter().find(|output| output.port == *wanted);
            output
                .map(|output| Input {
                    port: input.port.clone(),
                    stage: from.clone(),
                    output: wanted.clone(),
                    item: None,
                    digest: output.digest,
                })
                .ok_or_else(|| {
                    let output = wanted;
                    EngineError::Internal(format!("stage {from} succeeded without {output}"))
                })
        });
        inputs.collect()
    }

    pub(super) fn resolved(&mut self, resolution: Resolution) -> EngineResult<()> {
        let stage = resolution.stage;
        let info = &mut self.stages[stage.get()];
        let decision = match &resolution.found {
            Found::Kept(outputs) => {
                info.outputs.clone_from(outputs);
                Decision::Kept
            }
            Found::Cached(cached) => {
                info.outputs.clone_from(&cached.outputs);
                Decision::Cached
            }
            Found::Nothing => Decision::Run,
        };
        info.resolution = Some(resolution);
        self.tell(Message::Resolved { stage, decision })
    }

    /// Hands an attempt, whose start is recorded, to the executor.
    pub(super) fn launch(&mut self, stage: StageIndex, attempt: u32) -> EngineResult<()> {
        let planned = self.setup.plan.stage(stage);
        let info = &self.stages[stage.get()];
        let inputs = planned.inputs.iter().zip(&info.inputs).map(|(planned, input)| {
            let outputs = &self.stages[planned.from()[0].get()].outputs;
            let output = outputs.iter().find(|output| output.port == *planned.output());
            SubmittedInput {
                port: planned.port.clone(),
                port_type: planned.port_type,
                digest: input.digest,
                meta: output.map(|output| output.meta.clone()).unwrap_or_default(),
            }
        });
        let resolution = info.resolution.as_ref().ok_or_else(|| {
            EngineError::Internal("an attempt was launched unresolved".to_owned())
        })?;
        let submission = Submission {
            plan: self.setup.plan.clone(),
            stage,
            attempt,
            token: info.token.ok_or_else(|| {
                EngineError::Internal("an attempt was launched without its token".to_owned())
            })?,
            fingerprint: resolution.fingerprint,
            line: self.line_of(stage),
            inputs: inputs.collect(),
            folder: attempt_folder(&self.setup.folder, &planned.name, attempt),
        };
        self.stages[stage.get()].submitted = Some(attempt);
        self.setup.executor.submit(submission)
    }

    /// Whose checkpoints the stage may go on from: those of whom it may reuse the outputs, and of
    /// its own run's attempts.
    fn line_of(&self, stage: StageIndex) -> Line {
        if self.setup.resolver.reuses(stage) { Line::Shared } else { Line::Run }
    }

    /// Takes the executor's word for what became of an attempt, unless that is over.
    pub(super) fn hear(
        &mut self,
        news: executor::News,
        reporter: &mut dyn Reporter,
    ) -> EngineResult<()> {
        let executor::News { stage, attempt, change } = news;
        if self.stages.get(stage.get()).is_none_or(|info| info.submitted != Some(attempt)) {
            return Ok(());
        }
        let name = || self.setup.plan.stage(stage).name.clone();
        match change {
            Change::Spawned { pid, started } => {
                let stage = name();
                self.record_also(EventBody::AttemptSpawned { stage, attempt, pid, started });
            }
            Change::Measured(points) => {
                let stage = name();
                self.record_also(EventBody::Metrics { stage, attempt, points });
            }
            Change::Progressed(progress) => {
                let body = EventBody::Progress { stage: name(), attempt, progress };
                let time = self.setup.world.now();
                reporter.event(&Event { time, body }, &self.totals);
            }
            Change::Ended { usage, end } => return self.ended(stage, attempt, usage, end),
        }
        Ok(())
    }

    fn ended(
        &mut self,
        stage: StageIndex,
        attempt: u32,
        usage: Usage,
        end: End,
    ) -> EngineResult<()> {
        let (outcome, ending) = match end {
            End::Succeeded(made) => {
                let executor::Made { outputs, effects } = made;
                (Outcome::Succeeded, Ending { usage, failure: None, outputs, effects })
            }
            End::Failed(failure) => {
                let retry = self.setup.plan.stage(stage).retry.covers(&failure);
                let ending = Ending { usage, failure: Some(failure), ..Ending::default() };
                (Outcome::Failed { retry }, ending)
            }
            End::Cancelled if self.timed_out => {
                let timeout = self.setup.plan.timeout.unwrap_or_default();
                let failure = Some(failure::run_timed_out(timeout));
                (Outcome::Failed { retry: false }, Ending { usage, failure, ..Ending::default() })
            }
            End::Cancelled => (Outcome::Cancelled, Ending { usage, ..Ending::default() }),
        };
        let info = &mut self.stages[stage.get()];
        info.submitted = None;
        info.outputs.clone_from(&ending.outputs);
        info.ending = Some(ending);
        let wall = Duration::from_micros(usage.wall_micros);
        self.tell(Message::Ended { stage, attempt, outcome, wall })
    }
}
