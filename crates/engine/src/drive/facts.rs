//! Facts on their way into the store, and back to those who watch the run.

use wick_core::{AttemptState, Digest, Event, EventBody, Fingerprint, Input, RunState, SkipReason};
use wick_plan::{StageIndex, Treatment};

use super::{Drive, Setup};
use crate::dispatcher::{Fact, Why};
use crate::error::{EngineError, EngineResult};
use crate::failure;
use crate::folder::attempt_folder;
use crate::reads::ReadInput;
use crate::recorder::Entry;
use crate::report::{FailedStage, Reporter};
use crate::resolver::Found;

impl Drive {
    /// Sends a fact of the dispatcher to the store.
    pub(super) fn record(&mut self, fact: Fact) -> EngineResult<()> {
        if let Fact::Started { stage, .. }
        | Fact::Cached { stage }
        | Fact::Skipped { stage, .. }
        | Fact::Cancelled { stage }
        | Fact::Expanded { stage, .. } = fact
            && std::mem::take(&mut self.stages[stage.get()].has_ended)
        {
            // Until now it stood as an earlier drive of the run had left it.
            let stage = self.setup.plan.stage(stage).name.clone();
            self.record_also(EventBody::StageRequeued { stage });
        }
        if let Fact::RunFinished { state } = fact {
            self.end_unlisted(state);
        }
        let body = self.body_of(fact)?;
        self.is_ending |= matches!(fact, Fact::RunFinished { .. });
        self.send(body, true);
        if let Fact::Started { stage, attempt } = fact
            && self.stages[stage.get()].resolved.is_some()
        {
            // Ready by the time at which the start is recorded.
            let submission = Box::new(self.submission(stage, attempt)?);
            self.setup.executor.expect(&submission)?;
            self.stages[stage.get()].expected = Some(submission);
        }
        Ok(())
    }

    /// Sends something to the store that the dispatcher does not wait for.
    pub(super) fn record_also(&mut self, body: EventBody) {
        self.send(body, false);
    }

    /// Ends the instances that came to nothing in an earlier drive, and whose list was not made
    /// again in this one: they are stages of the run, and nobody else will. Otherwise one that had
    /// failed would stand beside a stage that is skipped now, in a run that has succeeded.
    fn end_unlisted(&mut self, end: RunState) {
        for (stage, template, state) in self.setup.history.open_instances() {
            let Some(index) = self.setup.plan.find(template.as_str()) else { continue };
            if self.stages[index.get()].instances.is_some() {
                continue;
            }
            let is_left = self.setup.treatments.of_instance(index, &stage) == Treatment::Leave;
            let has_ended = state != AttemptState::Queued;
            // It stands as the stage does that stands for it, unless that waited and is skipped.
            let stands = self.setup.history.state(&template) != Some(AttemptState::Queued);
            if is_left && has_ended && stands {
                continue;
            }
            if has_ended {
                self.record_also(EventBody::StageRequeued { stage: stage.clone() });
            }
            let body = if is_left {
                EventBody::StageSkipped { stage, reason: SkipReason::NotSelected }
            } else if end == RunState::Cancelled {
                EventBody::StageCancelled { stage }
            } else {
                EventBody::StageSkipped { stage, reason: SkipReason::Need(template) }
            };
            self.totals.grow(1);
            self.record_also(body);
        }
    }

    fn send(&self, body: EventBody, is_fact: bool) {
        if let Some(entries) = &self.entries {
            let event = Event { time: self.setup.world.now(), body };
            // The recorder ends early only with an error, of which it has sent news.
            let _ = entries.send(Entry { event, is_fact });
        }
    }

    fn body_of(&mut self, fact: Fact) -> EngineResult<EventBody> {
        let name = |stage: StageIndex| self.setup.plan.stage(stage).name.clone();
        let unresolved = || EngineError::Internal("a stage was started unresolved".to_owned());
        Ok(match fact {
            Fact::Started { stage, attempt } => {
                let name = name(stage);
                let info = &mut self.stages[stage.get()];
                let token = self.tokens.draw();
                info.token = Some(token);
                let Some(resolved) = &info.resolved else {
                    // It fails before anything is known of it: no fingerprint is like this one.
                    return Ok(EventBody::AttemptStarted {
                        stage: name,
                        attempt,
                        token,
                        fingerprint: Fingerprint(Digest::from_bytes([0; 32])),
                        queued: info.queued,
                        inputs: Vec::new(),
                        parts: None,
                    });
                };
                let parts = (!std::mem::replace(&mut info.parts_recorded, true)).then(|| {
                    let Setup { resolver, plan, .. } = &self.setup;
                    let parts = resolver.parts(plan, stage, &resolved.inputs);
                    serde_json::to_string(&parts).unwrap_or_default()
                });
                EventBody::AttemptStarted {
                    stage: name,
                    attempt,
                    token,
                    fingerprint: resolved.fingerprint,
                    queued: info.queued,
                    inputs: recorded(&resolved.inputs),
                    parts,
                }
            }
            Fact::Finished { stage, attempt, state } => {
                let name = name(stage);
                let info = &mut self.stages[stage.get()];
                if state == AttemptState::Succeeded
                    && let Some(resolved) = &info.resolved
                {
                    self.publishing.insert(name.clone(), resolved.fingerprint);
                    // It is not started again in this drive.
                    info.resolved = None;
                }
                // An attempt that was never launched has nothing to tell, unless it is there to
                // tell that the run's time was over.
                let mut ending = *info.ending.take().unwrap_or_default();
                if state == AttemptState::Failed && self.timed_out && ending.failure.is_none() {
                    let timeout = self.setup.plan.timeout.unwrap_or_default();
                    ending.failure = Some(failure::run_timed_out(timeout));
                }
                EventBody::AttemptFinished {
                    stage: name,
                    attempt,
                    token: info.token.take().ok_or_else(unresolved)?,
                    state,
                    usage: ending.usage,
                    failure: ending.failure,
                    outputs: ending.outputs,
                    effects: ending.effects,
                }
            }
            Fact::RetryScheduled { stage, attempt, delay } => EventBody::RetryScheduled {
                stage: name(stage),
                attempt,
                delay_ms: delay.as_millis() as u64,
            },
            Fact::Cached { stage } => {
                let name = name(stage);
                let info = &mut self.stages[stage.get()];
                let resolved = info.resolved.as_ref().ok_or_else(unresolved)?;
                let Found::Cached(cached) = &resolved.found else { return Err(unresolved()) };
                EventBody::StageCached {
                    stage: name,
                    fingerprint: resolved.fingerprint,
                    origin: cached.origin.clone(),
                    inputs: recorded(&resolved.inputs),
                    outputs: cached.outputs.clone(),
                    effects: cached.effects.clone(),
                }
            }
            Fact::Skipped { stage, why } => {
                let reason = match why {
                    Why::Need(need) => SkipReason::Need(name(need)),
                    Why::Condition => {
                        SkipReason::Condition(self.stages[stage.get()].condition.clone())
                    }
                    Why::NotSelected => SkipReason::NotSelected,
                };
                EventBody::StageSkipped { stage: name(stage), reason }
            }
            Fact::Expanded { stage, first, count } => {
                let last = first.get() + count as usize;
                let instances = self.setup.plan.stages[first.get()..last].iter();
                let instances = instances.map(|i| (i.name.clone(), i.kind.clone())).collect();
                EventBody::StageExpanded { stage: name(stage), instances }
            }
            Fact::Gathered { stage, state } => {
                EventBody::StageGathered { stage: name(stage), state }
            }
            Fact::Cancelled { stage } => EventBody::StageCancelled { stage: name(stage) },
            Fact::RunFinished { state } => EventBody::RunFinished { state },
        })
    }

    /// Tells the reporter what is now in the store.
    pub(super) fn report(&mut self, batch: &[Event], reporter: &mut dyn Reporter) {
        for event in batch {
            self.totals.count(&event.body);
            match &event.body {
                EventBody::AttemptFinished { stage, attempt, state, failure, .. }
                    if *state == AttemptState::Failed =>
                {
                    let folder = attempt_folder(&self.setup.folder, stage, *attempt);
                    let log = folder.join(wick_stage::layout::LOG);
                    if let Some(failure) = failure.clone() {
                        let (stage, attempt) = (stage.clone(), *attempt);
                        self.failed.push(FailedStage { stage, attempt, failure, folder, log });
                    }
                }
                EventBody::AttemptFinished { stage, .. } => {
                    if let Some(fingerprint) = self.publishing.remove(stage) {
                        self.setup.executor.published(&fingerprint);
                    }
                }
                EventBody::RetryScheduled { stage, .. } => {
                    self.failed.retain(|failed| failed.stage != *stage);
                }
                _ => {}
            }
            reporter.event(event, &self.totals);
        }
    }
}

/// What a stage reads, as it is recorded.
fn recorded(inputs: &[ReadInput]) -> Vec<Input> {
    inputs.iter().map(|read| read.input.clone()).collect()
}
