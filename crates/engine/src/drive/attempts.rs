//! The way of a stage: resolved, submitted to the executor, ended.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use wick_core::{AttemptState, Event, EventBody, Failure, StageName, Usage};
use wick_plan::{Plan, StageIndex, Treatment};
use wick_stage::Line;

use super::{Drive, Ending, News, StageInfo};
use crate::dispatcher::{Decision, Message, Outcome, Spec};
use crate::error::{EngineError, EngineResult};
use crate::executor::{self, Change, End, Submission, SubmittedInput};
use crate::failure;
use crate::folder::attempt_folder;
use crate::reads::{self, Before, Befores, Measured, Reading};
use crate::report::Reporter;
use crate::resolver::{Found, Request, Resolution, Verdict};
use crate::world::Task;

impl Drive {
    pub(super) fn resolve(&mut self, stages: Vec<StageIndex>) {
        let request = |stage: StageIndex| {
            let treatment = self.stages[stage.get()].treatment;
            Request { stage, before: self.before(stage), treatment }
        };
        let requests: Vec<Request> = stages.iter().copied().map(request).collect();
        let now = self.setup.world.now();
        for stage in stages {
            self.stages[stage.get()].queued = Some(now);
        }
        let (resolver, news) = (self.setup.resolver.clone(), self.news.clone());
        let plan = self.setup.plan.clone();
        let mut task: Task = Box::pin(async move {
            let _ = news.send(News::Resolved(resolver.resolve(&plan, requests).await));
        });
        // Nearly always everything is known, and the answer is there at once: then the starts of
        // the stages share a commit with the ends that they waited for.
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.setup.world.spawn(task);
        }
    }

    /// How the stages ended that `stage` needs, with their instances.
    fn before(&self, stage: StageIndex) -> Befores {
        let mut befores = Befores::new();
        let mut add = |index: StageIndex| {
            let info = &self.stages[index.get()];
            let before = Before {
                state: self.dispatcher.end_of(index).unwrap_or(AttemptState::Queued),
                outputs: info.outputs.clone(),
                metrics: info.measured.clone(),
                instances: info.instances.clone(),
            };
            befores.insert(index, before);
        };
        for need in self.setup.plan.stage(stage).needs() {
            add(need);
            self.stages[need.get()].instances.iter().flatten().copied().for_each(&mut add);
        }
        befores
    }

    pub(super) fn resolved(&mut self, resolution: Resolution) -> EngineResult<()> {
        let Resolution { stage, verdict } = resolution;
        let info = &mut self.stages[stage.get()];
        let decision = match verdict {
            Verdict::Go(resolved) => {
                let (outputs, measured, decision) = match &resolved.found {
                    Found::Kept(kept) => {
                        (kept.outputs.clone(), kept.origin.clone(), Decision::Kept)
                    }
                    Found::Cached(cached) => {
                        (cached.outputs.clone(), cached.origin.clone(), Decision::Cached)
                    }
                    Found::Nothing => {
                        info.resolved = Some(Box::new(resolved));
                        return self.tell(Message::Resolved { stage, decision: Decision::Run });
                    }
                };
                info.outputs = outputs;
                info.measured = Measured::Stored(measured);
                info.resolved = Some(Box::new(resolved));
                decision
            }
            Verdict::Skip(condition) => {
                info.condition = condition;
                Decision::Skip
            }
            Verdict::Fail(failure) => self.refuse(stage, failure),
            Verdict::Expand(plan, instances) => match self.expand(stage, &plan, &instances) {
                Ok(specs) => Decision::Expand(specs),
                Err(failure) => self.refuse(stage, failure),
            },
        };
        self.tell(Message::Resolved { stage, decision })
    }

    /// Fails a stage that cannot be tried.
    fn refuse(&mut self, stage: StageIndex, failure: Failure) -> Decision {
        let ending = Ending { failure: Some(failure), ..Ending::default() };
        self.stages[stage.get()].ending = Some(Box::new(ending));
        Decision::Fail
    }

    /// Takes the instances of `template` into the plan.
    fn expand(
        &mut self,
        template: StageIndex,
        planned: &Plan,
        instances: &[StageIndex],
    ) -> Result<Vec<Spec>, Failure> {
        // While the run was stopped nothing grows any more, and the dispatcher will not listen.
        if !self.dispatcher.is_resolving(template) {
            return Ok(Vec::new());
        }
        let names: Vec<StageName> =
            instances.iter().map(|index| planned.stage(*index).name.clone()).collect();
        let missing = self.setup.treatments.missing_instances(template, &names).next().cloned();
        if let Some(missing) = missing {
            let message = format!("there is no instance {missing} in the list");
            let help = names.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let help = format!("there are: {help}");
            return Err(reads::failure(wick_core::FailureCause::Config, message, help));
        }
        let first = self.setup.plan.stages.len();
        Arc::make_mut(&mut self.setup.plan).graft(planned, instances).map_err(|error| {
            let help = "mend the pipeline, then `wick rerun`";
            reads::failure(wick_core::FailureCause::Config, error.to_string(), help)
        })?;
        let mut specs = Vec::with_capacity(names.len());
        for (place, name) in (first..).zip(&names) {
            let treatment = self.setup.treatments.of_instance(template, name);
            let past = self.setup.history.past(name, treatment);
            specs.push(Spec::new(&self.setup.plan.stages[place], past));
            self.stages.push(StageInfo::new(treatment, &past));
        }
        let places = (first as u32..).map(StageIndex).take(names.len()).collect();
        self.stages[template.get()].instances = Some(places);
        self.totals.grow(names.len() as u32);
        self.watch_metrics();
        Ok(specs)
    }

    /// Notes the stages whose metrics others ask for.
    pub(super) fn watch_metrics(&mut self) {
        let plan = self.setup.plan.clone();
        for stage in &plan.stages {
            for index in Reading::asks_metrics_of(&plan, stage) {
                let instances = self.stages[index.get()].instances.clone();
                for watched in instances.into_iter().flatten().chain([index]) {
                    self.stages[watched.get()].is_watched = true;
                }
            }
        }
    }

    /// Hands an attempt, whose start is recorded, to the executor.
    pub(super) fn launch(&mut self, stage: StageIndex, attempt: u32) -> EngineResult<()> {
        let info = &mut self.stages[stage.get()];
        let expected = info.expected.take().filter(|expected| expected.attempt == attempt);
        let submission = expected.ok_or_else(|| {
            EngineError::Internal("an attempt was launched that was not expected".to_owned())
        })?;
        info.submitted = Some(attempt);
        // What an earlier attempt measured is not this one's, however far it came.
        info.measured = Measured::Nothing;
        info.steps.clear();
        self.setup.executor.submit(*submission)
    }

    /// What the executor is to know of an attempt.
    pub(super) fn submission(&self, stage: StageIndex, attempt: u32) -> EngineResult<Submission> {
        let planned = self.setup.plan.stage(stage);
        let info = &self.stages[stage.get()];
        let resolved = info
            .resolved
            .as_ref()
            .ok_or_else(|| EngineError::Internal("an attempt was begun unresolved".to_owned()))?;
        let inputs = resolved.inputs.iter().map(|read| SubmittedInput {
            port: read.input.port.clone(),
            item: read.input.item.clone(),
            port_type: read.port_type,
            digest: read.input.digest,
            meta: read.meta.clone(),
        });
        Ok(Submission {
            plan: self.setup.plan.clone(),
            stage,
            attempt,
            token: info.token.ok_or_else(|| {
                EngineError::Internal("an attempt was begun without its token".to_owned())
            })?,
            fingerprint: resolved.fingerprint,
            line: self.line_of(stage),
            inputs: inputs.collect(),
            folder: attempt_folder(&self.setup.folder, &planned.name, attempt),
        })
    }

    /// Whose checkpoints the stage may go on from: those of whom it may reuse the outputs, and of
    /// its own run's attempts; where it is computed anew, of those from now on.
    fn line_of(&self, stage: StageIndex) -> Line {
        let info = &self.stages[stage.get()];
        if info.treatment == Treatment::Force {
            return Line::Since(info.first_attempt);
        }
        let reuses = self.setup.resolver.reuses(self.setup.plan.stage(stage));
        if reuses { Line::Shared } else { Line::Run }
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
                let name = name();
                if self.stages[stage.get()].is_watched {
                    self.stages[stage.get()].measure(&points);
                }
                let stage = name;
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
        info.ending = Some(Box::new(ending));
        let wall = Duration::from_micros(usage.wall_micros);
        self.tell(Message::Ended { stage, attempt, outcome, wall })
    }
}
