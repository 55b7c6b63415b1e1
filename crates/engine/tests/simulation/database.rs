//! What a store does, in memory and without any fault: the rows, and what may follow what.
//!
//! It is written apart from the real stores on purpose, as a second opinion of what
//! `wick_store::Store` promises; `replay.rs` compares it with the real one.

use std::collections::BTreeMap;
use std::sync::Arc;

use wick_core::{
    AttemptState, Effect, Event, EventBody, Fingerprint, KindName, MetricKey, Output, RunId,
    RunState, SkipReason, StageName, StageOrigin, Timestamp, Token,
};
use wick_store::{
    ArtifactRecord, CachedOutputs, EngineId, InputRecord, LEASE_MICROS, Lease, Marks, NewRun,
    RunRecord, RunSummary, SourceStamp, StageRecord, StoreError, StoreResult,
};

/// All rows. A copy shares what is not changed.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// In the order in which they were made.
    pub runs: Vec<Arc<Run>>,
    /// The newest successful attempt of each fingerprint: run, place, attempt.
    pub fingerprints: Arc<BTreeMap<Fingerprint, (RunId, usize, u32)>>,
    pub stamps: Arc<BTreeMap<String, SourceStamp>>,
    pub last_event: i64,
}

#[derive(Debug, Clone)]
pub struct Run {
    pub new: Arc<NewRun>,
    pub state: RunState,
    pub started: Timestamp,
    pub finished: Option<Timestamp>,
    pub lease: Option<Held>,
    pub stages: Vec<Stage>,
    pub attempts: BTreeMap<(usize, u32), Attempt>,
    /// Of each attempt and metric the first point and the latest: step and value.
    pub metrics: BTreeMap<(usize, u32, MetricKey), [(i64, f64); 2]>,
    /// By their places in the order of all events.
    pub events: BTreeMap<i64, Arc<Event>>,
}

/// A lease that is held.
#[derive(Debug, Clone)]
pub struct Held {
    pub engine: EngineId,
    pub expires: Timestamp,
    pub cancel_requested: bool,
}

#[derive(Debug, Clone)]
pub struct Stage {
    pub name: StageName,
    pub kind: KindName,
    /// The place of the stage that it is an instance of, if that has a list.
    pub template: Option<usize>,
    pub state: AttemptState,
    /// Why it is skipped.
    pub because: Option<SkipReason>,
    pub fingerprint: Option<Fingerprint>,
    pub attempts: u32,
    /// Whose outputs are its own: an attempt of it, or one of another run.
    pub source: Option<Source>,
}

#[derive(Debug, Clone)]
pub enum Source {
    Own(u32),
    Origin(StageOrigin),
}

#[derive(Debug, Clone)]
pub struct Attempt {
    pub state: AttemptState,
    pub token: Token,
    pub fingerprint: Fingerprint,
    pub finished: Option<Timestamp>,
    pub outputs: Vec<Output>,
    pub effects: Vec<Effect>,
}

/// What the database says when it does not take a write.
pub fn refusal(reason: &str) -> StoreError {
    StoreError::Database { location: "memory".to_owned(), source: reason.into() }
}

/// What is said when nobody knows whether a write happened.
pub fn unknown() -> StoreError {
    StoreError::Unknown { location: "memory".to_owned(), source: "the connection broke".into() }
}

/// Whether a power cut may take a batch back: it only says what began or was measured.
pub fn is_replaceable(events: &[Event]) -> bool {
    events.iter().all(|event| {
        matches!(
            event.body,
            EventBody::RunStarted { .. }
                | EventBody::AttemptStarted { .. }
                | EventBody::AttemptSpawned { .. }
                | EventBody::RetryScheduled { .. }
                | EventBody::Metrics { .. }
                | EventBody::Progress { .. }
        )
    })
}

impl Tables {
    pub fn run(&self, id: &RunId) -> Option<&Arc<Run>> {
        self.runs.iter().find(|run| run.new.id == *id)
    }

    fn run_mut(&mut self, id: &RunId) -> StoreResult<&mut Run> {
        let run = self.runs.iter_mut().find(|run| run.new.id == *id);
        run.map(Arc::make_mut).ok_or_else(|| StoreError::NoRun(id.clone()))
    }

    pub fn create_run(
        &mut self,
        new: NewRun,
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<Lease> {
        if self.run(&new.id).is_some() {
            return Err(refusal("the id is taken"));
        }
        let lease = Lease { run: new.id.clone(), engine: engine.token };
        self.runs.push(Arc::new(Run {
            stages: new.stages.iter().map(|(name, kind)| Stage::new(name, kind, None)).collect(),
            new: Arc::new(new),
            state: RunState::Running,
            started: now,
            finished: None,
            lease: Some(Held::new(engine, now)),
            attempts: BTreeMap::new(),
            metrics: BTreeMap::new(),
            events: BTreeMap::new(),
        }));
        Ok(lease)
    }

    /// `is_alive` tells of a process on the caller's machine; of others it knows nothing.
    pub fn take_run(
        &mut self,
        id: &RunId,
        left: &[StageName],
        engine: &EngineId,
        now: Timestamp,
        is_alive: impl Fn(&EngineId) -> Option<bool>,
    ) -> StoreResult<Lease> {
        let last_event = self.last_event;
        let run = self.run_mut(id)?;
        if let Some(held) = &run.lease
            && held.engine.token != engine.token
            && !held.is_dead(now, &is_alive)
        {
            let EngineId { host, pid, .. } = held.engine.clone();
            let since = run.started;
            return Err(StoreError::Leased { run: id.clone(), host, pid, since });
        }
        let last_event = run.lose_attempts(last_event, now);
        for stage in &mut run.stages {
            // Instances wait for their list, which queues them again.
            let stays = stage.template.is_some() || left.contains(&stage.name);
            if !stage.state.has_outputs() && !stays {
                (stage.state, stage.because) = (AttemptState::Queued, None);
            }
        }
        (run.state, run.finished) = (RunState::Running, None);
        run.lease = Some(Held::new(engine, now));
        self.last_event = last_event;
        Ok(Lease { run: id.clone(), engine: engine.token })
    }

    pub fn renew_lease(&mut self, lease: &Lease, now: Timestamp) -> StoreResult<()> {
        let lost = || StoreError::LeaseLost(lease.run.clone());
        let held = self.run_mut(&lease.run)?.lease.as_mut().ok_or_else(lost)?;
        if held.engine.token != lease.engine {
            return Err(lost());
        }
        held.expires = Timestamp(now.0 + LEASE_MICROS);
        Ok(())
    }

    pub fn interrupt_dead_runs(
        &mut self,
        now: Timestamp,
        is_alive: impl Fn(&EngineId) -> Option<bool>,
    ) -> Vec<RunId> {
        let mut interrupted = Vec::new();
        for run in &mut self.runs {
            if run.lease.as_ref().is_some_and(|held| held.is_dead(now, &is_alive)) {
                let run = Arc::make_mut(run);
                self.last_event = run.lose_attempts(self.last_event, now);
                run.lease = None;
                (run.state, run.finished) = (RunState::Interrupted, Some(now));
                let body = EventBody::RunFinished { state: RunState::Interrupted };
                self.last_event = run.keep(self.last_event, Event { time: now, body });
                interrupted.push(run.new.id.clone());
            }
        }
        interrupted
    }

    pub fn request_cancel(&mut self, id: &RunId) -> StoreResult<()> {
        if let Some(held) = &mut self.run_mut(id)?.lease {
            held.cancel_requested = true;
        }
        Ok(())
    }

    /// All or nothing.
    pub fn append(&mut self, lease: &Lease, events: &[Event]) -> StoreResult<()> {
        let place = self.runs.iter().position(|run| run.new.id == lease.run);
        let place = place.ok_or_else(|| StoreError::NoRun(lease.run.clone()))?;
        let mut run = (*self.runs[place]).clone();
        if run.lease.as_ref().is_none_or(|held| held.engine.token != lease.engine) {
            return Err(StoreError::LeaseLost(lease.run.clone()));
        }
        let mut published = Vec::new();
        let mut last_event = self.last_event;
        for event in events {
            run.apply(event, &mut published)?;
            if event.body.is_kept() {
                last_event = run.keep(last_event, event.clone());
            }
        }
        if !published.is_empty() {
            let fingerprints = Arc::make_mut(&mut self.fingerprints);
            for (fingerprint, place, attempt) in published {
                fingerprints.insert(fingerprint, (lease.run.clone(), place, attempt));
            }
        }
        self.runs[place] = Arc::new(run);
        self.last_event = last_event;
        Ok(())
    }

    pub fn find_cached(&self, fingerprint: &Fingerprint) -> Option<CachedOutputs> {
        let (id, place, attempt) = self.fingerprints.get(fingerprint)?;
        let run = self.run(id)?;
        let row = run.attempts.get(&(*place, *attempt))?;
        let stage = run.stages[*place].name.clone();
        Some(CachedOutputs {
            origin: StageOrigin { run: id.clone(), stage, attempt: *attempt },
            outputs: row.outputs.clone(),
            effects: row.effects.clone(),
        })
    }

    /// What a stage of a run has made, or reuses.
    pub fn outputs_of<'a>(&'a self, run: &'a Run, place: usize) -> &'a [Output] {
        let found = match &run.stages[place].source {
            None => None,
            Some(Source::Own(attempt)) => run.attempts.get(&(place, *attempt)),
            Some(Source::Origin(origin)) => self.run(&origin.run).and_then(|run| {
                let place = run.stages.iter().position(|stage| stage.name == origin.stage)?;
                run.attempts.get(&(place, origin.attempt))
            }),
        };
        found.map(|attempt| attempt.outputs.as_slice()).unwrap_or_default()
    }

    /// What an attempt has measured: of each metric the latest value, or the `first`.
    pub fn metrics_of(&self, attempt: &StageOrigin, first: bool) -> Vec<(String, f64)> {
        let Some(run) = self.run(&attempt.run) else { return Vec::new() };
        let Some(of) = run.place(&attempt.stage) else { return Vec::new() };
        run.metrics
            .iter()
            .filter(|((place, number, _), _)| (*place, *number) == (of, attempt.attempt))
            .map(|((.., key), points)| (key.to_string(), points[usize::from(!first)].1))
            .collect()
    }

    pub fn artifacts(&self, id: &RunId) -> Vec<ArtifactRecord> {
        let Some(run) = self.run(id) else { return Vec::new() };
        run.shown()
            .flat_map(|(place, stage)| {
                self.outputs_of(run, place).iter().map(|output| ArtifactRecord {
                    stage: stage.name.clone(),
                    port: output.port.clone(),
                    port_type: output.port_type,
                    digest: output.digest,
                    bytes: output.bytes,
                    meta: output.meta.clone(),
                })
            })
            .collect()
    }

    /// What the stages of a run read: each what its latest attempt or reuse told.
    pub fn inputs(&self, id: &RunId) -> Vec<InputRecord> {
        let Some(run) = self.run(id) else { return Vec::new() };
        let mut read: BTreeMap<usize, Vec<InputRecord>> = BTreeMap::new();
        for event in run.events.values() {
            let (EventBody::AttemptStarted { stage, inputs, .. }
            | EventBody::StageCached { stage, inputs, .. }) = &event.body
            else {
                continue;
            };
            let record = |input: &wick_core::Input| InputRecord {
                stage: stage.clone(),
                port: input.port.clone(),
                item: input.item.clone(),
                from_stage: input.stage.clone(),
                from_output: input.output.clone(),
                digest: input.digest,
            };
            if let Some(place) = run.place(stage) {
                read.insert(place, inputs.iter().map(record).collect());
            }
        }
        run.shown().filter_map(|(place, _)| read.remove(&place)).flatten().collect()
    }
}

impl Held {
    fn new(engine: &EngineId, now: Timestamp) -> Self {
        let expires = Timestamp(now.0 + LEASE_MICROS);
        Self { engine: engine.clone(), expires, cancel_requested: false }
    }

    fn is_dead(&self, now: Timestamp, is_alive: impl Fn(&EngineId) -> Option<bool>) -> bool {
        is_alive(&self.engine).map_or(self.expires <= now, |alive| !alive)
    }
}

impl Stage {
    fn new(name: &StageName, kind: &KindName, template: Option<usize>) -> Self {
        Self {
            name: name.clone(),
            kind: kind.clone(),
            template,
            state: AttemptState::Queued,
            because: None,
            fingerprint: None,
            attempts: 0,
            source: None,
        }
    }
}

impl Run {
    /// The stages with their places as they are shown: instances after the stage that stands for
    /// them.
    fn shown(&self) -> impl Iterator<Item = (usize, &Stage)> {
        let mut stages: Vec<(usize, &Stage)> = self.stages.iter().enumerate().collect();
        stages.sort_by_key(|(place, stage)| (stage.template.unwrap_or(*place), *place));
        stages.into_iter()
    }

    pub fn place(&self, stage: &StageName) -> Option<usize> {
        self.stages.iter().position(|row| row.name == *stage)
    }

    fn keep(&mut self, last_event: i64, event: Event) -> i64 {
        // The parts of a fingerprint are kept elsewhere.
        let mut event = event;
        if let EventBody::AttemptStarted { parts, .. } = &mut event.body {
            *parts = None;
        }
        self.events.insert(last_event + 1, Arc::new(event));
        last_event + 1
    }

    fn lose_attempts(&mut self, mut last_event: i64, now: Timestamp) -> i64 {
        let running: Vec<(usize, u32, Token)> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.state == AttemptState::Running)
            .map(|(key, attempt)| (key.0, key.1, attempt.token))
            .collect();
        for (place, attempt, token) in running {
            if let Some(row) = self.attempts.get_mut(&(place, attempt)) {
                (row.state, row.finished) = (AttemptState::Lost, Some(now));
            }
            let stage = self.stages[place].name.clone();
            let body = EventBody::AttemptFinished {
                stage,
                attempt,
                token,
                state: AttemptState::Lost,
                usage: wick_core::Usage::default(),
                failure: None,
                outputs: Vec::new(),
                effects: Vec::new(),
            };
            last_event = self.keep(last_event, Event { time: now, body });
        }
        for stage in &mut self.stages {
            if stage.state == AttemptState::Running {
                stage.state = AttemptState::Lost;
            }
        }
        last_event
    }

    fn step(&mut self, stage: &StageName, next: AttemptState) -> StoreResult<usize> {
        let place = self
            .place(stage)
            .ok_or_else(|| StoreError::Refused(format!("stage {stage}: it is not in the run")))?;
        let Stage { state, because, .. } = &mut self.stages[place];
        let fits = match next {
            AttemptState::Queued => matches!(state, AttemptState::Failed | AttemptState::Lost),
            next => state.can_become(next),
        };
        if !fits {
            let reason = format!("stage {stage}: it is {state}, which no {next} follows");
            return Err(StoreError::Refused(reason));
        }
        (*state, *because) = (next, None);
        Ok(place)
    }

    fn apply(
        &mut self,
        event: &Event,
        published: &mut Vec<(Fingerprint, usize, u32)>,
    ) -> StoreResult<()> {
        match &event.body {
            EventBody::AttemptStarted { stage, attempt, token, fingerprint, .. } => {
                if let Some(place) = self.place(stage)
                    && self.attempts.contains_key(&(place, *attempt))
                {
                    return Err(refusal("UNIQUE constraint failed: attempts"));
                }
                let place = self.step(stage, AttemptState::Running)?;
                let row = &mut self.stages[place];
                row.fingerprint = Some(*fingerprint);
                row.attempts = *attempt;
                row.source = Some(Source::Own(*attempt));
                let row = Attempt {
                    state: AttemptState::Running,
                    token: *token,
                    fingerprint: *fingerprint,
                    finished: None,
                    outputs: Vec::new(),
                    effects: Vec::new(),
                };
                self.attempts.insert((place, *attempt), row);
            }
            EventBody::AttemptFinished {
                stage, attempt, token, state, outputs, effects, ..
            } => {
                let stale = || StoreError::StaleToken { stage: stage.clone(), attempt: *attempt };
                let place = self.place(stage).ok_or_else(stale)?;
                let row = self.attempts.get_mut(&(place, *attempt)).ok_or_else(stale)?;
                if row.token == *token && (row.state, row.finished) == (*state, Some(event.time)) {
                    return Err(StoreError::Refused("an attempt ended twice".to_owned()));
                }
                if row.token != *token || row.state != AttemptState::Running {
                    return Err(stale());
                }
                (row.state, row.finished) = (*state, Some(event.time));
                if *state == AttemptState::Succeeded {
                    (row.outputs, row.effects) = (outputs.clone(), effects.clone());
                    published.push((row.fingerprint, place, *attempt));
                }
                self.step(stage, *state)?;
            }
            EventBody::RetryScheduled { stage, .. } => {
                self.step(stage, AttemptState::Queued)?;
            }
            EventBody::StageCached { stage, fingerprint, origin, .. } => {
                let place = self.step(stage, AttemptState::Cached)?;
                self.stages[place].fingerprint = Some(*fingerprint);
                self.stages[place].source = Some(Source::Origin(origin.clone()));
            }
            EventBody::StageSkipped { stage, reason } => {
                let place = self.step(stage, AttemptState::Skipped)?;
                self.stages[place].because = Some(reason.clone());
            }
            EventBody::StageCancelled { stage } => {
                let running = self.place(stage).map(|place| self.stages[place].state);
                if running == Some(AttemptState::Running) {
                    return Err(StoreError::Refused(format!("stage {stage}: an attempt runs")));
                }
                self.step(stage, AttemptState::Cancelled)?;
            }
            EventBody::RunFinished { state } => {
                (self.state, self.finished) = (*state, Some(event.time));
                self.lease = None;
            }
            EventBody::Metrics { stage, attempt, points } => {
                let place = self.place(stage).ok_or_else(|| {
                    StoreError::Refused(format!("stage {stage}: it is not in the run"))
                })?;
                for point in points {
                    let (key, new) = (point.key.clone(), (point.step, point.value));
                    let [_, latest] =
                        self.metrics.entry((place, *attempt, key)).or_insert([new, new]);
                    if point.step >= latest.0 {
                        *latest = new;
                    }
                }
            }
            EventBody::RunStarted { .. }
            | EventBody::AttemptSpawned { .. }
            | EventBody::Progress { .. } => {}
            EventBody::StageRequeued { stage } => {
                let place = self.place(stage).filter(|place| self.stages[*place].state.is_final());
                let place = place.ok_or_else(|| {
                    StoreError::Refused(format!("stage {stage}: it cannot be done again"))
                })?;
                let row = &mut self.stages[place];
                (row.state, row.because) = (AttemptState::Queued, None);
                (row.source, row.fingerprint) = (None, None);
            }
            EventBody::StageExpanded { stage, instances } => self.expand(stage, instances)?,
            EventBody::StageGathered { stage, state } => {
                let place = self.place(stage).filter(|place| {
                    let stands = self.stages[*place].state == AttemptState::Running;
                    stands && state.is_final() && *state != AttemptState::Cached
                });
                let place = place.ok_or_else(|| {
                    StoreError::Refused(format!("stage {stage}: it stands for no instances"))
                })?;
                self.stages[place].state = *state;
            }
        }
        Ok(())
    }

    /// A list is known. Instances that were there before keep what they have made, and those that
    /// are no longer in the list make nothing any more.
    fn expand(
        &mut self,
        stage: &StageName,
        instances: &[(StageName, KindName)],
    ) -> StoreResult<()> {
        let template = self.step(stage, AttemptState::Running)?;
        let mut listed = Vec::new();
        for (name, kind) in instances {
            let place = self.place(name).unwrap_or(self.stages.len());
            if place == self.stages.len() {
                self.stages.push(Stage::new(name, kind, Some(template)));
            }
            if self.stages[place].template != Some(template) || listed.contains(&place) {
                return Err(StoreError::Refused(format!("stage {name}: it is no new instance")));
            }
            listed.push(place);
            let row = &mut self.stages[place];
            row.because = None;
            if !row.state.has_outputs() {
                row.state = AttemptState::Queued;
            }
        }
        for (place, row) in self.stages.iter_mut().enumerate() {
            if row.template == Some(template) && !listed.contains(&place) {
                (row.state, row.because) = (AttemptState::Skipped, Some(SkipReason::NoItem));
                (row.source, row.fingerprint) = (None, None);
            }
        }
        Ok(())
    }

    pub fn record(&self) -> RunRecord {
        let NewRun { id, experiment, pipeline, pipeline_path, pipeline_text, .. } = &*self.new;
        RunRecord {
            id: id.clone(),
            experiment: experiment.clone(),
            pipeline: pipeline.clone(),
            pipeline_path: pipeline_path.clone(),
            pipeline_text: pipeline_text.clone(),
            parent: self.new.parent.clone(),
            overridden: self.new.overridden.clone(),
            environment: self.new.environment.clone(),
            git_diff: self.new.git_diff.clone(),
            plan: self.new.plan,
            state: self.state,
            started: self.started,
            finished: self.finished,
            marks: Marks::default(),
        }
    }

    pub fn summary(&self) -> RunSummary {
        RunSummary {
            id: self.new.id.clone(),
            experiment: self.new.experiment.clone(),
            pipeline: self.new.pipeline.clone(),
            state: self.state,
            started: self.started,
            finished: self.finished,
            parent: self.new.parent.clone(),
            marks: Marks::default(),
            stages: Vec::new(),
            metrics: Vec::new(),
        }
    }

    pub fn stage_records(&self) -> Vec<StageRecord> {
        self.shown()
            .map(|(_, stage)| StageRecord {
                stage: stage.name.clone(),
                kind: stage.kind.clone(),
                state: stage.state,
                fingerprint: stage.fingerprint,
                attempts: stage.attempts,
                origin: match &stage.source {
                    Some(Source::Origin(origin)) => Some(origin.clone()),
                    _ => None,
                },
                because: stage.because.clone(),
                template: stage.template.map(|place| self.stages[place].name.clone()),
                started: None,
                finished: None,
                failure: None,
            })
            .collect()
    }
}
