//! From events to rows: what a batch of events changes, without a database.
//!
//! A batch may hold any part of the lives of many stages. It is folded into the least that has
//! to be written: at most one change for each stage and each attempt. A change also says which
//! state it expects to find, which the database checks while it writes: so events that do not
//! fit what is recorded are refused without reading anything first.

use std::collections::{HashMap, HashSet};

use wick_core::{
    AttemptState, Effect, Event, EventBody, Failure, Fingerprint, Input, MetricKey, MetricPoint,
    Output, RunState, SkipReason, StageName, StageOrigin, Timestamp, Token, Usage,
};

use crate::directory::Directory;
use crate::error::{StoreError, StoreResult};

/// All that a batch of events writes.
#[derive(Debug, Default)]
pub(crate) struct Changes<'a> {
    /// Events that are kept, in order.
    pub(crate) events: Vec<&'a Event>,
    /// Attempts that began in this batch.
    pub(crate) begun: Vec<BegunAttempt<'a>>,
    /// Attempts that began earlier and ended in this batch.
    pub(crate) ended: Vec<EndedAttempt<'a>>,
    /// Processes of attempts that began earlier: place, attempt, pid.
    pub(crate) spawned: Vec<(u32, u32, u32)>,
    /// Stages that moved.
    pub(crate) stages: Vec<StageChange<'a>>,
    /// What stages read, by place.
    pub(crate) inputs: Vec<(u32, &'a [Input])>,
    /// What attempts made: place, attempt, outputs.
    pub(crate) outputs: Vec<(u32, u32, &'a [Output])>,
    /// Attempts that succeeded: place, attempt.
    pub(crate) succeeded: Vec<(u32, u32)>,
    /// What went into fingerprints, by place.
    pub(crate) parts: Vec<(Fingerprint, &'a str)>,
    /// Points, by series.
    pub(crate) series: Vec<SeriesChange<'a>>,
    /// Effects to apply, with the stage that asked for each.
    pub(crate) effects: Vec<(&'a StageName, Timestamp, &'a Effect)>,
    /// How and when the run ended.
    pub(crate) finished: Option<(RunState, Timestamp)>,
}

impl Changes<'_> {
    /// Whether a power cut may take the batch back: it only tells what began or was measured,
    /// and what a power cut took that from, it also ended. The next batch that is flushed
    /// flushes this one too.
    pub(crate) fn is_replaceable(&self) -> bool {
        self.events.iter().all(|event| {
            matches!(
                event.body,
                EventBody::RunStarted { .. }
                    | EventBody::AttemptStarted { .. }
                    | EventBody::AttemptSpawned { .. }
                    | EventBody::RetryScheduled { .. }
            )
        })
    }
}

/// An attempt that began in the batch; it may have ended in it too.
#[derive(Debug)]
pub(crate) struct BegunAttempt<'a> {
    pub(crate) place: u32,
    pub(crate) attempt: u32,
    pub(crate) token: Token,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) pid: Option<u32>,
    pub(crate) started: Timestamp,
    pub(crate) end: Option<AttemptEnd<'a>>,
}

/// An attempt that ended.
#[derive(Debug)]
pub(crate) struct EndedAttempt<'a> {
    pub(crate) stage: &'a StageName,
    pub(crate) place: u32,
    pub(crate) attempt: u32,
    pub(crate) token: Token,
    pub(crate) end: AttemptEnd<'a>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptEnd<'a> {
    pub(crate) state: AttemptState,
    pub(crate) finished: Timestamp,
    pub(crate) usage: Usage,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) effects: &'a [Effect],
}

/// How a stage moved, from the first to the last of its events in the batch.
#[derive(Debug)]
pub(crate) struct StageChange<'a> {
    pub(crate) stage: &'a StageName,
    pub(crate) place: u32,
    /// Where it must stand before; a lost stage counts as failed.
    pub(crate) expected: AttemptState,
    /// Where it stands after.
    pub(crate) state: AttemptState,
    /// `None` leaves what is recorded, here and in the next three.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) attempts: Option<u32>,
    pub(crate) source: Option<Source<'a>>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) because: Option<&'a SkipReason>,
    pub(crate) finished: Option<Timestamp>,
    /// The outer `None` leaves what is recorded.
    pub(crate) failure: Option<Option<&'a Failure>>,
}

/// The attempt whose outputs and metrics are a stage's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Source<'a> {
    /// One of its own in this run.
    Own(u32),
    /// One of another run.
    Origin(&'a StageOrigin),
}

/// New points of one series.
#[derive(Debug)]
pub(crate) struct SeriesChange<'a> {
    pub(crate) place: u32,
    pub(crate) attempt: u32,
    pub(crate) key: &'a MetricKey,
    pub(crate) points: Vec<&'a MetricPoint>,
}

/// What a series' row says of some of its points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SeriesSummary {
    pub(crate) points: i64,
    pub(crate) step: i64,
    pub(crate) time: i64,
    pub(crate) value: f64,
    /// `None` where every value is NaN.
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
}

impl SeriesChange<'_> {
    /// The summary of the new points. The latest is the one with the highest step; among those
    /// with one step, the one that came last.
    pub(crate) fn summary(&self) -> Option<SeriesSummary> {
        let latest = self.points.iter().max_by_key(|point| point.step)?;
        let numbers = || self.points.iter().map(|point| point.value).filter(|v| !v.is_nan());
        Some(SeriesSummary {
            points: self.points.len() as i64,
            step: latest.step,
            time: latest.time.0,
            value: latest.value,
            min: numbers().reduce(f64::min),
            max: numbers().reduce(f64::max),
        })
    }
}

/// Folds `events` of the run that `directory` describes.
///
/// # Errors
/// If the events contradict each other, or name a stage that the run does not have.
pub(crate) fn fold<'a>(directory: &Directory, events: &'a [Event]) -> StoreResult<Changes<'a>> {
    let mut folder = Folder {
        directory,
        changes: Changes::default(),
        stages: HashMap::new(),
        begun: HashMap::new(),
        series: HashMap::new(),
        read: HashSet::new(),
    };
    for event in events {
        if event.body.is_kept() {
            folder.changes.events.push(event);
        }
        folder.fold(event)?;
    }
    Ok(folder.changes)
}

struct Folder<'d, 'a> {
    directory: &'d Directory,
    changes: Changes<'a>,
    /// Place to index in `changes.stages`.
    stages: HashMap<u32, usize>,
    /// Place and attempt to index in `changes.begun`.
    begun: HashMap<(u32, u32), usize>,
    /// Place, attempt and key to index in `changes.series`.
    series: HashMap<(u32, u32, &'a str), usize>,
    /// Places whose inputs are in `changes`.
    read: HashSet<u32>,
}

impl<'a> Folder<'_, 'a> {
    fn fold(&mut self, event: &'a Event) -> StoreResult<()> {
        let time = event.time;
        match &event.body {
            EventBody::RunStarted { .. } | EventBody::Progress { .. } => {}
            EventBody::AttemptStarted { stage, attempt, token, fingerprint, inputs, parts } => {
                let place = self.step(stage, AttemptState::Running)?;
                let change = self.change(place);
                change.fingerprint = Some(*fingerprint);
                change.attempts = Some(*attempt);
                change.source = Some(Source::Own(*attempt));
                change.started = change.started.or(Some(time));
                change.failure = Some(None);
                let row = BegunAttempt {
                    place,
                    attempt: *attempt,
                    token: *token,
                    fingerprint: *fingerprint,
                    pid: None,
                    started: time,
                    end: None,
                };
                let index = self.changes.begun.len();
                self.changes.begun.push(row);
                if self.begun.insert((place, *attempt), index).is_some() {
                    return Err(refuse(stage, &format!("attempt {attempt} starts twice")));
                }
                self.reads(place, inputs);
                self.changes.parts.extend(parts.iter().map(|parts| (*fingerprint, &**parts)));
            }
            EventBody::AttemptSpawned { stage, attempt, pid } => {
                let place = self.place(stage)?;
                match self.begun.get(&(place, *attempt)) {
                    Some(&index) => self.changes.begun[index].pid = Some(*pid),
                    None => self.changes.spawned.push((place, *attempt, *pid)),
                }
            }
            EventBody::Metrics { stage, attempt, points } => {
                let place = self.place(stage)?;
                for point in points {
                    self.point(place, *attempt, point);
                }
            }
            EventBody::AttemptFinished {
                stage,
                attempt,
                token,
                state,
                usage,
                failure,
                outputs,
                effects,
            } => {
                let place = self.step(stage, *state)?;
                let published = *state == AttemptState::Succeeded;
                let end = AttemptEnd {
                    state: *state,
                    finished: time,
                    usage: *usage,
                    failure: failure.as_ref(),
                    effects: if published { effects } else { &[] },
                };
                self.ended(stage, place, *attempt, *token, end)?;
                let change = self.change(place);
                change.finished = Some(time);
                change.failure = Some(failure.as_ref());
                if published {
                    self.changes.succeeded.push((place, *attempt));
                    if !outputs.is_empty() {
                        self.changes.outputs.push((place, *attempt, outputs));
                    }
                    self.effects(stage, time, effects);
                }
            }
            EventBody::RetryScheduled { stage, .. } => {
                self.step(stage, AttemptState::Queued)?;
            }
            EventBody::StageCached { stage, fingerprint, origin, inputs, effects, .. } => {
                let place = self.step(stage, AttemptState::Cached)?;
                let change = self.change(place);
                change.fingerprint = Some(*fingerprint);
                change.source = Some(Source::Origin(origin));
                change.finished = Some(time);
                self.reads(place, inputs);
                self.effects(stage, time, effects);
            }
            EventBody::StageSkipped { stage, reason } => {
                let place = self.step(stage, AttemptState::Skipped)?;
                let change = self.change(place);
                change.because = Some(reason);
                change.finished = Some(time);
            }
            EventBody::StageExpanded { stage, .. } | EventBody::StageGathered { stage, .. } => {
                return Err(refuse(stage, "its instances cannot be recorded"));
            }
            EventBody::StageCancelled { stage } => {
                let place = self.step(stage, AttemptState::Cancelled)?;
                if self.begun.values().any(|&index| {
                    let begun = &self.changes.begun[index];
                    begun.place == place && begun.end.is_none()
                }) {
                    return Err(refuse(stage, "an attempt of it runs"));
                }
                self.change(place).finished = Some(time);
            }
            EventBody::RunFinished { state } => {
                if !RunState::Running.can_become(*state) || self.changes.finished.is_some() {
                    return Err(StoreError::Refused(format!(
                        "a run that ended cannot become {state}"
                    )));
                }
                self.changes.finished = Some((*state, time));
            }
        }
        Ok(())
    }

    fn place(&self, stage: &StageName) -> StoreResult<u32> {
        self.directory.place(stage).ok_or_else(|| refuse(stage, "it is not in the run"))
    }

    /// Moves a stage to `next` and returns its place.
    fn step(&mut self, stage: &'a StageName, next: AttemptState) -> StoreResult<u32> {
        let place = self.place(stage)?;
        match self.stages.get(&place) {
            Some(&index) => {
                let change = &mut self.changes.stages[index];
                let fits = if next == AttemptState::Queued {
                    matches!(change.state, AttemptState::Failed | AttemptState::Lost)
                } else {
                    change.state.can_become(next)
                };
                if !fits {
                    let now = change.state;
                    return Err(refuse(stage, &format!("it is {now} and cannot become {next}")));
                }
                change.state = next;
                change.finished = None;
            }
            None => {
                let expected = match next {
                    // Another try of an attempt that failed.
                    AttemptState::Queued => AttemptState::Failed,
                    next if AttemptState::Running.can_become(next)
                        && !AttemptState::Queued.can_become(next) =>
                    {
                        AttemptState::Running
                    }
                    _ => AttemptState::Queued,
                };
                self.stages.insert(place, self.changes.stages.len());
                self.changes.stages.push(StageChange {
                    stage,
                    place,
                    expected,
                    state: next,
                    fingerprint: None,
                    attempts: None,
                    source: None,
                    started: None,
                    because: None,
                    finished: None,
                    failure: None,
                });
            }
        }
        Ok(place)
    }

    /// The change of a stage that [`step`](Self::step) has moved.
    fn change(&mut self, place: u32) -> &mut StageChange<'a> {
        let index = self.stages[&place];
        &mut self.changes.stages[index]
    }

    fn ended(
        &mut self,
        stage: &'a StageName,
        place: u32,
        attempt: u32,
        token: Token,
        end: AttemptEnd<'a>,
    ) -> StoreResult<()> {
        // Cancelled is the one state that both a waiting stage and a running attempt can come
        // to; here an attempt did.
        let change = self.change(place);
        if change.expected == AttemptState::Queued && change.attempts.is_none() {
            change.expected = AttemptState::Running;
        }
        match self.begun.get(&(place, attempt)) {
            Some(&index) => {
                let begun = &mut self.changes.begun[index];
                if begun.token != token || begun.end.is_some() {
                    return Err(StoreError::StaleToken { stage: stage.clone(), attempt });
                }
                begun.end = Some(end);
            }
            None => {
                self.changes.ended.push(EndedAttempt { stage, place, attempt, token, end });
            }
        }
        Ok(())
    }

    /// What the stage at `place` reads. Of two attempts in one batch the later one counts.
    fn reads(&mut self, place: u32, inputs: &'a [Input]) {
        if !self.read.insert(place) {
            self.changes.inputs.retain(|earlier| earlier.0 != place);
        }
        if !inputs.is_empty() {
            self.changes.inputs.push((place, inputs));
        }
    }

    fn effects(&mut self, stage: &'a StageName, time: Timestamp, effects: &'a [Effect]) {
        self.changes.effects.extend(effects.iter().map(|effect| (stage, time, effect)));
    }

    fn point(&mut self, place: u32, attempt: u32, point: &'a MetricPoint) {
        let index = *self.series.entry((place, attempt, &point.key)).or_insert_with(|| {
            self.changes.series.push(SeriesChange {
                place,
                attempt,
                key: &point.key,
                points: Vec::new(),
            });
            self.changes.series.len() - 1
        });
        self.changes.series[index].points.push(point);
    }
}

pub(crate) fn refuse(stage: &StageName, reason: &str) -> StoreError {
    StoreError::Refused(format!("stage {stage}: {reason}"))
}

#[cfg(test)]
mod tests {
    use wick_core::Digest;

    use super::*;

    fn folded(bodies: &[EventBody], look: impl Fn(&Changes<'_>)) {
        let names = ["a", "b"].map(|name| StageName::new(name).expect("a name"));
        let directory = Directory::new(1, names);
        let event = |body: &EventBody| Event { time: Timestamp(5), body: body.clone() };
        let events: Vec<_> = bodies.iter().map(event).collect();
        look(&fold(&directory, &events).expect("they fit"));
    }

    fn started(attempt: u32) -> EventBody {
        EventBody::AttemptStarted {
            stage: StageName::new("a").expect("a name"),
            attempt,
            token: Token(7),
            fingerprint: Fingerprint(Digest::of(b"a")),
            inputs: Vec::new(),
            parts: None,
        }
    }

    fn finished(state: AttemptState) -> EventBody {
        EventBody::AttemptFinished {
            stage: StageName::new("a").expect("a name"),
            attempt: 1,
            token: Token(7),
            state,
            usage: Usage::default(),
            failure: None,
            outputs: Vec::new(),
            effects: Vec::new(),
        }
    }

    #[test]
    fn only_beginnings_may_be_taken_back() {
        #[track_caller]
        fn check(bodies: &[EventBody], expect: bool) {
            folded(bodies, |changes| assert_eq!(changes.is_replaceable(), expect, "{bodies:?}"));
        }
        let stage = StageName::new("b").expect("a name");
        check(&[started(1)], true);
        check(&[EventBody::RunStarted { host: "here".to_owned(), pid: 1 }, started(1)], true);
        check(&[EventBody::Metrics { stage: stage.clone(), attempt: 1, points: Vec::new() }], true);
        check(&[started(1), finished(AttemptState::Succeeded)], false);
        check(&[finished(AttemptState::Failed)], false);
        check(&[started(1), EventBody::StageCancelled { stage: stage.clone() }], false);
        let reason = SkipReason::Need(stage.clone());
        check(&[EventBody::StageSkipped { stage, reason }], false);
        check(&[EventBody::RunFinished { state: RunState::Failed }], false);
    }

    #[test]
    fn two_attempts_in_one_batch_are_one_change_of_the_stage() {
        let stage = StageName::new("a").expect("a name");
        let bodies = [
            started(1),
            finished(AttemptState::Failed),
            EventBody::RetryScheduled { stage, attempt: 1, delay_ms: 0 },
            started(2),
        ];
        folded(&bodies, |changes| {
            assert_eq!((changes.begun.len(), changes.ended.len()), (2, 0));
            let [change] = changes.stages.as_slice() else { panic!("{changes:?}") };
            assert_eq!(change.expected, AttemptState::Queued);
            assert_eq!((change.state, change.attempts), (AttemptState::Running, Some(2)));
            assert_eq!(change.finished, None);
        });
    }

    #[test]
    fn what_expects_the_stage_to_run() {
        for (state, expect) in [
            (AttemptState::Succeeded, AttemptState::Running),
            (AttemptState::Failed, AttemptState::Running),
            (AttemptState::Lost, AttemptState::Running),
            (AttemptState::Cancelled, AttemptState::Running),
        ] {
            folded(&[finished(state)], |changes| assert_eq!(changes.stages[0].expected, expect));
        }
    }
}
