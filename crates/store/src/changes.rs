//! From events to rows: what a batch of events changes, without a database.
//!
//! A batch may hold any part of the lives of many stages. It is folded into the least that has
//! to be written: at most one change for each stage and each attempt. A change also says which
//! state it expects to find, which the database checks while it writes: so events that do not
//! fit what is recorded are refused without reading anything first.

use std::collections::{HashMap, HashSet};

use wick_core::{
    AttemptState, Effect, Event, EventBody, Failure, Fingerprint, Input, KindName, MetricKey,
    MetricPoint, Output, RunState, SkipReason, StageName, StageOrigin, Timestamp, Token, Usage,
};

use crate::directory::Directory;
use crate::error::{StoreError, StoreResult};

/// All that a batch of events writes.
#[derive(Debug, Default)]
pub(crate) struct Changes<'a> {
    /// Events that are kept, in order.
    pub(crate) events: Vec<&'a Event>,
    /// Lists that became known.
    pub(crate) expanded: Vec<Expansion<'a>>,
    /// Attempts that began in this batch.
    pub(crate) begun: Vec<BegunAttempt<'a>>,
    /// Attempts that began earlier and ended in this batch.
    pub(crate) ended: Vec<EndedAttempt<'a>>,
    /// Processes of attempts that began earlier: place, attempt, pid.
    pub(crate) spawned: Vec<(u32, u32, u32)>,
    /// Stages that moved.
    pub(crate) stages: Vec<StageChange<'a>>,
    /// Stages whose inputs and metrics may be recorded already and do not count any more, by place.
    pub(crate) unread: Vec<u32>,
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
    /// The attempts that end with the batch: place, number.
    pub(crate) fn ended_attempts(&self) -> Vec<(i64, i64)> {
        let begun = self.begun.iter().filter(|row| row.end.is_some());
        let begun = begun.map(|row| (row.place, row.attempt));
        let ended = self.ended.iter().map(|row| (row.place, row.attempt));
        let both = begun.chain(ended);
        both.map(|(place, attempt)| (i64::from(place), i64::from(attempt))).collect()
    }

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

    /// Whether all of it is rows of which the batch itself tells everything: no points, which
    /// need to know what is recorded of their series, no effects, and not the end of the run.
    pub(crate) fn is_rows_alone(&self) -> bool {
        self.series.is_empty() && self.effects.is_empty() && self.finished.is_none()
    }
}

/// The instances of a stage whose list became known.
#[derive(Debug)]
pub(crate) struct Expansion<'a> {
    /// The place of the stage itself.
    pub(crate) template: u32,
    /// Instances that the run has not had before: place, name, kind.
    pub(crate) new: Vec<(u32, &'a StageName, &'a KindName)>,
    /// Instances of an earlier drive of the run that are in the list again.
    pub(crate) again: Vec<u32>,
    pub(crate) time: Timestamp,
}

impl Expansion<'_> {
    /// The places of all instances.
    pub(crate) fn listed(&self) -> Vec<u32> {
        self.again.iter().copied().chain(self.new.iter().map(|new| new.0)).collect()
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
    pub(crate) queued: Option<Timestamp>,
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
    /// Where it must stand before.
    pub(crate) expected: Expected,
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
    /// Whether it begins anew: what is recorded of an earlier round does not count any more.
    pub(crate) anew: bool,
}

/// Where a stage must stand before it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Here; a lost stage counts as failed.
    At(AttemptState),
    /// At any end.
    Ended,
}

impl Expected {
    /// As statements compare it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Expected::At(state) => state.as_str(),
            Expected::Ended => "ended",
        }
    }
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
        new_places: HashMap::new(),
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
    /// Instances that the run has only had since this batch.
    new_places: HashMap<&'a StageName, u32>,
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
            EventBody::AttemptStarted {
                stage,
                attempt,
                token,
                fingerprint,
                queued,
                inputs,
                parts,
            } => {
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
                    queued: *queued,
                    started: time,
                    end: None,
                };
                let index = self.changes.begun.len();
                self.changes.begun.push(row);
                if self.begun.insert((place, *attempt), index).is_some() {
                    return Err(refuse(stage, &format!("attempt {attempt} starts twice")));
                }
                self.reads(place, *attempt == 1, inputs);
                self.changes.parts.extend(parts.iter().map(|parts| (*fingerprint, &**parts)));
            }
            EventBody::AttemptSpawned { stage, attempt, pid, .. } => {
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
                self.reads(place, false, inputs);
                self.effects(stage, time, effects);
            }
            EventBody::StageSkipped { stage, reason } => {
                let place = self.step(stage, AttemptState::Skipped)?;
                let change = self.change(place);
                change.because = Some(reason);
                change.finished = Some(time);
            }
            EventBody::StageExpanded { stage, instances } => self.expand(stage, instances, time)?,
            EventBody::StageGathered { stage, state } => {
                if *state == AttemptState::Cached || !state.is_final() {
                    return Err(refuse(stage, &format!("its instances cannot end as {state}")));
                }
                let place = self.gathered(stage, *state)?;
                self.change(place).finished = Some(time);
            }
            EventBody::StageRequeued { stage } => {
                let place = self.requeue(stage)?;
                self.change(place).anew = true;
                self.changes.unread.push(place);
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
        self.directory
            .place(stage)
            .or_else(|| self.new_places.get(stage).copied())
            .ok_or_else(|| refuse(stage, "it is not in the run"))
    }

    /// The list of a stage is known. Its instances are stages of the run from here on: those that
    /// the run has not had before come after all others.
    fn expand(
        &mut self,
        stage: &'a StageName,
        instances: &'a [(StageName, KindName)],
        time: Timestamp,
    ) -> StoreResult<()> {
        let template = self.step(stage, AttemptState::Running)?;
        let change = self.change(template);
        change.started = change.started.or(Some(time));
        change.failure = Some(None);
        let mut expansion = Expansion { template, new: Vec::new(), again: Vec::new(), time };
        for (name, kind) in instances {
            match self.place(name) {
                Ok(place) => {
                    // Instances come after their stage; those of this list are not there yet.
                    let twice = place >= self.directory.len() || expansion.again.contains(&place);
                    if place <= template || twice {
                        return Err(refuse(name, "it cannot be an instance: there is one already"));
                    }
                    expansion.again.push(place);
                }
                Err(_) => {
                    let place = self.directory.len() + self.new_places.len() as u32;
                    self.new_places.insert(name, place);
                    expansion.new.push((place, name, kind));
                }
            }
        }
        self.changes.expanded.push(expansion);
        Ok(())
    }

    /// Ends a stage that stands for its instances. It has no attempt, so it may come to any end.
    fn gathered(&mut self, stage: &'a StageName, end: AttemptState) -> StoreResult<u32> {
        let place = self.place(stage)?;
        match self.stages.get(&place) {
            Some(&index) => {
                let change = &mut self.changes.stages[index];
                if change.state != AttemptState::Running {
                    let now = change.state;
                    return Err(refuse(stage, &format!("it is {now}: it has no instances")));
                }
                change.state = end;
            }
            None => self.insert(stage, place, Expected::At(AttemptState::Running), end),
        }
        Ok(place)
    }

    fn requeue(&mut self, stage: &'a StageName) -> StoreResult<u32> {
        let place = self.place(stage)?;
        match self.stages.get(&place) {
            Some(&index) => {
                let change = &mut self.changes.stages[index];
                if !change.state.is_final() {
                    let now = change.state;
                    return Err(refuse(stage, &format!("it is {now} and cannot begin anew")));
                }
                change.state = AttemptState::Queued;
                (change.because, change.started, change.finished) = (None, None, None);
                (change.fingerprint, change.source, change.failure) = (None, None, None);
            }
            None => self.insert(stage, place, Expected::Ended, AttemptState::Queued),
        }
        Ok(place)
    }

    fn insert(
        &mut self,
        stage: &'a StageName,
        place: u32,
        expected: Expected,
        state: AttemptState,
    ) {
        self.stages.insert(place, self.changes.stages.len());
        self.changes.stages.push(StageChange {
            stage,
            place,
            expected,
            state,
            fingerprint: None,
            attempts: None,
            source: None,
            started: None,
            because: None,
            finished: None,
            failure: None,
            anew: false,
        });
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
                self.insert(stage, place, Expected::At(expected), next);
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
        if change.expected == Expected::At(AttemptState::Queued) && change.attempts.is_none() {
            change.expected = Expected::At(AttemptState::Running);
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

    /// What the stage at `place` reads, for the first time if `first`. Of two attempts in one batch
    /// the later one counts.
    fn reads(&mut self, place: u32, first: bool, inputs: &'a [Input]) {
        if !first {
            self.changes.unread.push(place);
        }
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
            queued: None,
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
            assert_eq!(change.expected, Expected::At(AttemptState::Queued));
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
            let expect = Expected::At(expect);
            folded(&[finished(state)], |changes| assert_eq!(changes.stages[0].expected, expect));
        }
    }

    fn name(text: &str) -> StageName {
        StageName::new(text).expect("a name")
    }

    fn expanded(instances: &[&str]) -> EventBody {
        let kind = KindName::new("command").expect("a name");
        let instances = instances.iter().map(|text| (name(text), kind.clone())).collect();
        EventBody::StageExpanded { stage: name("a"), instances }
    }

    #[test]
    fn instances_get_places_after_all_others() {
        let mut start = started(1);
        if let EventBody::AttemptStarted { stage, .. } = &mut start {
            *stage = name("a[x=1]");
        }
        folded(&[expanded(&["a[x=0]", "a[x=1]"]), start], |changes| {
            let [expansion] = changes.expanded.as_slice() else { panic!("{changes:?}") };
            let places: Vec<u32> = expansion.new.iter().map(|new| new.0).collect();
            assert_eq!((expansion.template, places), (0, vec![2, 3]));
            assert_eq!(changes.begun[0].place, 3, "it may start in the same batch");
            assert!(!changes.is_replaceable());
        });
    }

    #[test]
    fn instances_are_called_by_their_own_names() {
        let directory = Directory::new(1, ["a", "b", "a[x=0]"].map(name));
        let fold = |body: EventBody| {
            let events = [Event { time: Timestamp(5), body }];
            fold(&directory, &events).map(|changes| changes.expanded[0].again.clone())
        };
        assert_eq!(fold(expanded(&["a[x=0]", "a[x=1]"])).expect("it fits"), [2]);
        for wrong in [&["a"][..], &["a[x=1]", "a[x=1]"], &["a[x=0]", "a[x=0]"]] {
            assert!(matches!(fold(expanded(wrong)), Err(StoreError::Refused(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_stage_that_begins_anew_must_have_ended() {
        let again = || EventBody::StageRequeued { stage: name("a") };
        folded(&[again(), started(2)], |changes| {
            let change = &changes.stages[0];
            assert_eq!((change.expected, change.state), (Expected::Ended, AttemptState::Running));
            assert!(change.anew && !changes.is_replaceable());
            assert_eq!(changes.unread, [0, 0], "what it read before does not count");
        });
        let directory = Directory::new(1, ["a"].map(name));
        let events = [started(1), again()].map(|body| Event { time: Timestamp(5), body });
        assert!(matches!(fold(&directory, &events), Err(StoreError::Refused(_))));
    }
}
