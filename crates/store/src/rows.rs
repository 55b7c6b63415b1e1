//! Rows as both databases give them, and what they mean.
//!
//! The SQL differs between the databases, the columns it returns do not: whole numbers, text,
//! bytes. Here they become the types of [`crate::records`], or [`StoreError::Corrupt`].

use std::collections::HashMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::FromRow;
use wick_core::{
    Digest, Effect, EnergySource, Event, EventBody, Fingerprint, MetricPoint, Output, PortType,
    RunId, SkipReason, StageName, StageOrigin, Timestamp, Token, Usage,
};

use crate::error::{StoreError, StoreResult};
use crate::liveness::LeaseState;
use crate::marks::Marks;
use crate::records::{
    ArtifactRecord, AttemptRecord, EngineId, EventRecord, InputRecord, MetricSummary, ModelRecord,
    ModelVersion, ParamRecord, RunRecord, RunSummary, SourceStamp, StageRecord,
};

pub(crate) fn corrupt(what: &str, found: &dyn std::fmt::Debug) -> StoreError {
    StoreError::Corrupt(format!("{found:?} is not {what}"))
}

/// A text that is the written form of a `T`.
pub(crate) fn text<T: FromStr>(what: &str, text: &str) -> StoreResult<T> {
    text.parse().map_err(|_| corrupt(what, &text))
}

/// A JSON text.
pub(crate) fn json<T: DeserializeOwned>(what: &str, text: &str) -> StoreResult<T> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt(format!("a text is not {what}: {error}")))
}

pub(crate) fn digest(bytes: &[u8]) -> StoreResult<Digest> {
    bytes.try_into().map(Digest::from_bytes).map_err(|_| corrupt("a digest", &bytes.len()))
}

pub(crate) fn port_type(word: &str) -> StoreResult<PortType> {
    PortType::ALL
        .into_iter()
        .find(|port_type| port_type.as_str() == word)
        .ok_or_else(|| corrupt("a port type", &word))
}

pub(crate) fn count(number: i64) -> StoreResult<u32> {
    number.try_into().map_err(|_| corrupt("a small number", &number))
}

pub(crate) fn size(number: i64) -> StoreResult<u64> {
    number.try_into().map_err(|_| corrupt("a size", &number))
}

#[derive(Debug, FromRow)]
pub(crate) struct RunRow {
    public_id: String,
    experiment: String,
    pipeline: String,
    pipeline_path: String,
    pipeline_text: String,
    parent: Option<String>,
    environment: String,
    git_diff: Option<String>,
    plan: Vec<u8>,
    state: String,
    started: i64,
    finished: Option<i64>,
    #[sqlx(flatten)]
    marks: MarksRow,
}

/// The columns of a run that people fill.
#[derive(Debug, Default, FromRow)]
pub(crate) struct MarksRow {
    name: Option<String>,
    note: Option<String>,
    starred: Option<i64>,
    archived: Option<i64>,
    deleted: Option<i64>,
}

impl MarksRow {
    pub(crate) fn record(self, tags: Vec<(String, String)>) -> Marks {
        Marks {
            name: self.name,
            note: self.note,
            starred: self.starred.map(Timestamp),
            archived: self.archived.map(Timestamp),
            deleted: self.deleted.map(Timestamp),
            tags,
        }
    }
}

impl RunRow {
    pub(crate) fn record(
        self,
        overridden: Vec<String>,
        tags: Vec<(String, String)>,
    ) -> StoreResult<RunRecord> {
        Ok(RunRecord {
            id: text("a run id", &self.public_id)?,
            experiment: text("an experiment", &self.experiment)?,
            pipeline: self.pipeline,
            pipeline_path: self.pipeline_path,
            pipeline_text: self.pipeline_text,
            parent: self.parent.as_deref().map(|id| text("a run id", id)).transpose()?,
            overridden,
            environment: json("an environment", &self.environment)?,
            git_diff: self.git_diff,
            plan: digest(&self.plan)?,
            state: text("a state", &self.state)?,
            started: Timestamp(self.started),
            finished: self.finished.map(Timestamp),
            marks: self.marks.record(tags),
        })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct SummaryRow {
    pub(crate) id: i64,
    public_id: String,
    experiment: String,
    pipeline: String,
    parent: Option<String>,
    state: String,
    started: i64,
    finished: Option<i64>,
    #[sqlx(flatten)]
    marks: MarksRow,
}

impl SummaryRow {
    pub(crate) fn record(self) -> StoreResult<RunSummary> {
        Ok(RunSummary {
            id: text("a run id", &self.public_id)?,
            experiment: text("an experiment", &self.experiment)?,
            pipeline: self.pipeline,
            state: text("a state", &self.state)?,
            started: Timestamp(self.started),
            finished: self.finished.map(Timestamp),
            parent: self.parent.as_deref().map(|id| text("a run id", id)).transpose()?,
            marks: self.marks.record(Vec::new()),
            stages: Vec::new(),
            metrics: Vec::new(),
        })
    }
}

/// How many stages of a run stand where.
#[derive(Debug, FromRow)]
pub(crate) struct StageCountRow {
    pub(crate) run_id: i64,
    state: String,
    stages: i64,
}

impl StageCountRow {
    pub(crate) fn record(&self) -> StoreResult<(wick_core::AttemptState, u32)> {
        Ok((text("a state", &self.state)?, count(self.stages)?))
    }
}

/// A metric of a run in a list.
#[derive(Debug, FromRow)]
pub(crate) struct SummaryMetricRow {
    pub(crate) run_id: i64,
    pub(crate) stage: String,
    pub(crate) key: String,
    pub(crate) value: Option<f64>,
}

/// The runs that a text names: those of the surest sort.
pub(crate) fn named(rows: Vec<(i32, String)>) -> StoreResult<Vec<RunId>> {
    let surest = rows.first().map(|row| row.0);
    rows.iter().filter(|row| Some(row.0) == surest).map(|(_, id)| text("a run id", id)).collect()
}

#[derive(Debug, FromRow)]
pub(crate) struct ParamRow {
    name: String,
    value: String,
}

impl ParamRow {
    pub(crate) fn record(self) -> StoreResult<ParamRecord> {
        Ok(ParamRecord { value: json("a param's value", &self.value)?, name: self.name })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct StageRow {
    name: String,
    kind: String,
    state: String,
    fingerprint: Option<Vec<u8>>,
    attempts: i64,
    origin_run: Option<String>,
    origin_stage: Option<String>,
    origin_attempt: Option<i64>,
    because: Option<String>,
    started: Option<i64>,
    finished: Option<i64>,
    failure: Option<String>,
    template: Option<String>,
}

/// Why a stage was skipped: JSON, or in rows of earlier versions the name of a stage.
pub(crate) fn skip_reason(written: &str) -> StoreResult<SkipReason> {
    match StageName::new(written) {
        Ok(stage) => Ok(SkipReason::Need(stage)),
        Err(_) => json("a reason", written),
    }
}

impl StageRow {
    pub(crate) fn record(self) -> StoreResult<StageRecord> {
        let origin = match (self.origin_run, self.origin_stage, self.origin_attempt) {
            (Some(run), Some(stage), Some(attempt)) => Some(StageOrigin {
                run: text("a run id", &run)?,
                stage: text("a stage", &stage)?,
                attempt: count(attempt)?,
            }),
            _ => None,
        };
        Ok(StageRecord {
            stage: text("a stage", &self.name)?,
            template: self.template.as_deref().map(|name| text("a stage", name)).transpose()?,
            kind: text("a kind", &self.kind)?,
            state: text("a state", &self.state)?,
            fingerprint: self.fingerprint.as_deref().map(digest).transpose()?.map(Fingerprint),
            attempts: count(self.attempts)?,
            origin,
            because: self.because.as_deref().map(skip_reason).transpose()?,
            started: self.started.map(Timestamp),
            finished: self.finished.map(Timestamp),
            failure: self.failure.as_deref().map(|text| json("a failure", text)).transpose()?,
        })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct AttemptRow {
    stage: String,
    attempt: i64,
    state: String,
    fingerprint: Vec<u8>,
    pid: Option<i64>,
    queued: Option<i64>,
    started: i64,
    finished: Option<i64>,
    #[sqlx(flatten)]
    usage: UsageRow,
    failure: Option<String>,
}

/// What an attempt used.
#[derive(Debug, FromRow)]
pub(crate) struct UsageRow {
    wall_micros: Option<i64>,
    cpu_micros: Option<i64>,
    max_rss_bytes: Option<i64>,
    read_bytes: Option<i64>,
    written_bytes: Option<i64>,
    energy_joules: Option<f64>,
    energy_source: Option<String>,
    co2_grams: Option<f64>,
    gpu_memory_bytes: Option<i64>,
    gpu_busy_micros: Option<i64>,
}

impl UsageRow {
    /// `None` for an attempt that runs.
    pub(crate) fn record(self) -> StoreResult<Option<Usage>> {
        let (Some(wall), Some(cpu), Some(rss)) =
            (self.wall_micros, self.cpu_micros, self.max_rss_bytes)
        else {
            return Ok(None);
        };
        Ok(Some(Usage {
            wall_micros: size(wall)?,
            cpu_micros: size(cpu)?,
            max_rss_bytes: size(rss)?,
            read_bytes: self.read_bytes.map(size).transpose()?,
            written_bytes: self.written_bytes.map(size).transpose()?,
            energy_joules: self.energy_joules,
            energy_source: self.energy_source.as_deref().map(energy_source).transpose()?,
            co2_grams: self.co2_grams,
            gpu_memory_bytes: self.gpu_memory_bytes.map(size).transpose()?,
            gpu_busy_micros: self.gpu_busy_micros.map(size).transpose()?,
        }))
    }
}

fn energy_source(word: &str) -> StoreResult<EnergySource> {
    EnergySource::ALL
        .into_iter()
        .find(|source| source.as_str() == word)
        .ok_or_else(|| corrupt("a source of energy", &word))
}

impl AttemptRow {
    pub(crate) fn record(self) -> StoreResult<AttemptRecord> {
        Ok(AttemptRecord {
            stage: text("a stage", &self.stage)?,
            attempt: count(self.attempt)?,
            state: text("a state", &self.state)?,
            fingerprint: Fingerprint(digest(&self.fingerprint)?),
            pid: self.pid.map(count).transpose()?,
            queued: self.queued.map(Timestamp),
            started: Timestamp(self.started),
            finished: self.finished.map(Timestamp),
            usage: self.usage.record()?,
            failure: self.failure.as_deref().map(|text| json("a failure", text)).transpose()?,
        })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct MetricRow {
    pub(crate) id: i64,
    pub(crate) stage: String,
    pub(crate) attempt: i64,
    pub(crate) key: String,
    points: i64,
    step: i64,
    value: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
}

impl MetricRow {
    pub(crate) fn record(self) -> StoreResult<MetricSummary> {
        Ok(MetricSummary {
            stage: text("a stage", &self.stage)?,
            key: self.key,
            step: self.step,
            value: self.value.unwrap_or(f64::NAN),
            points: size(self.points)?,
            min: self.min.unwrap_or(f64::NAN),
            max: self.max.unwrap_or(f64::NAN),
        })
    }

    pub(crate) fn series(&self, points: Vec<MetricPoint>) -> StoreResult<crate::Series> {
        Ok(crate::Series {
            stage: text("a stage", &self.stage)?,
            attempt: count(self.attempt)?,
            key: self.key.clone(),
            points,
        })
    }
}

/// A point: series, place, step, time, value.
pub(crate) type PointRow = (i64, i64, i64, i64, Option<f64>);

#[derive(Debug, FromRow)]
pub(crate) struct ArtifactRow {
    stage: String,
    port: String,
    port_type: String,
    digest: Vec<u8>,
    bytes: i64,
    meta: String,
}

impl ArtifactRow {
    pub(crate) fn record(self) -> StoreResult<ArtifactRecord> {
        Ok(ArtifactRecord {
            stage: text("a stage", &self.stage)?,
            port: text("a port", &self.port)?,
            port_type: port_type(&self.port_type)?,
            digest: digest(&self.digest)?,
            bytes: size(self.bytes)?,
            meta: json("an artifact's meta", &self.meta)?,
        })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct InputRow {
    stage: String,
    port: String,
    item: String,
    from_stage: String,
    from_output: String,
    digest: Vec<u8>,
}

impl InputRow {
    pub(crate) fn record(self) -> StoreResult<InputRecord> {
        Ok(InputRecord {
            stage: text("a stage", &self.stage)?,
            port: text("a port", &self.port)?,
            item: Some(self.item).filter(|item| !item.is_empty()),
            from_stage: text("a stage", &self.from_stage)?,
            from_output: text("a port", &self.from_output)?,
            digest: digest(&self.digest)?,
        })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct EventRow {
    id: i64,
    time: i64,
    body: String,
}

impl EventRow {
    pub(crate) fn record(self) -> StoreResult<EventRecord> {
        let body: EventBody = json("an event", &self.body)?;
        Ok(EventRecord { sequence: self.id, event: Event { time: Timestamp(self.time), body } })
    }
}

/// An attempt found by its fingerprint, with one of its outputs if it has any.
#[derive(Debug, FromRow)]
pub(crate) struct CachedRow {
    /// The place of the fingerprint in the question.
    place: i64,
    run: String,
    stage: String,
    attempt: i64,
    effects: Option<String>,
    port: Option<String>,
    port_type: Option<String>,
    digest: Option<Vec<u8>>,
    bytes: Option<i64>,
    meta: Option<String>,
}

impl CachedRow {
    /// The answers to a question for `asked` fingerprints; the rows of one attempt lie together.
    pub(crate) fn answers(
        rows: &[Self],
        asked: usize,
    ) -> StoreResult<Vec<Option<crate::CachedOutputs>>> {
        let mut answers = vec![None; asked];
        for row in rows {
            let answer = usize::try_from(row.place).ok().and_then(|place| answers.get_mut(place));
            let answer = answer.ok_or_else(|| corrupt("a place", &row.place))?;
            let cached = match answer {
                Some(cached) => cached,
                None => answer.insert(row.cached()?),
            };
            cached.outputs.extend(row.output()?);
        }
        Ok(answers)
    }

    fn cached(&self) -> StoreResult<crate::CachedOutputs> {
        let effects: Option<Vec<Effect>> =
            self.effects.as_deref().map(|text| json("effects", text)).transpose()?;
        Ok(crate::CachedOutputs {
            origin: StageOrigin {
                run: text("a run id", &self.run)?,
                stage: text("a stage", &self.stage)?,
                attempt: count(self.attempt)?,
            },
            outputs: Vec::new(),
            effects: effects.unwrap_or_default(),
        })
    }

    fn output(&self) -> StoreResult<Option<Output>> {
        let Self {
            port: Some(port),
            port_type: Some(kind),
            digest: Some(bytes),
            bytes: Some(length),
            meta: Some(meta),
            ..
        } = self
        else {
            return Ok(None);
        };
        Ok(Some(Output {
            port: text("a port", port)?,
            port_type: port_type(kind)?,
            digest: digest(bytes)?,
            bytes: size(*length)?,
            meta: json("an artifact's meta", meta)?,
        }))
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct StampRow {
    pub(crate) place: i64,
    path: String,
    size: i64,
    modified_ns: i64,
    inode: i64,
    digest: Vec<u8>,
}

impl StampRow {
    pub(crate) fn record(self) -> StoreResult<SourceStamp> {
        Ok(SourceStamp {
            path: self.path,
            size: size(self.size)?,
            modified_ns: self.modified_ns,
            // Databases have no unsigned numbers; the bits are kept.
            inode: self.inode as u64,
            digest: digest(&self.digest)?,
        })
    }
}

/// A lease, with its run.
#[derive(Debug, FromRow)]
pub(crate) struct LeaseRow {
    pub(crate) run_id: i64,
    pub(crate) public_id: String,
    pub(crate) token: i64,
    host: String,
    pid: i64,
    process_start: i64,
    expires: i64,
}

impl LeaseRow {
    pub(crate) fn run(&self) -> StoreResult<RunId> {
        text("a run id", &self.public_id)
    }

    pub(crate) fn state(&self) -> StoreResult<LeaseState> {
        Ok(LeaseState {
            engine: EngineId {
                host: self.host.clone(),
                pid: count(self.pid)?,
                process_start: self.process_start as u64,
                token: Token(self.token as u64),
            },
            expires: Timestamp(self.expires),
        })
    }
}

/// An attempt that runs when its engine is found dead.
#[derive(Debug, FromRow)]
pub(crate) struct RunningRow {
    pub(crate) stage: String,
    pub(crate) attempt: i64,
    pub(crate) token: i64,
    pub(crate) started: i64,
}

impl RunningRow {
    /// What is recorded of it: nobody saw how it ended.
    pub(crate) fn lost(&self, now: Timestamp) -> StoreResult<Event> {
        let wall = now.micros_since(Timestamp(self.started)).max(0) as u64;
        Ok(Event {
            time: now,
            body: EventBody::AttemptFinished {
                stage: text("a stage", &self.stage)?,
                attempt: count(self.attempt)?,
                token: Token(self.token as u64),
                state: wick_core::AttemptState::Lost,
                usage: Usage { wall_micros: wall, ..Usage::default() },
                failure: None,
                outputs: Vec::new(),
                effects: Vec::new(),
            },
        })
    }
}

#[derive(Debug, FromRow)]
pub(crate) struct VersionRow {
    model: String,
    version: i64,
    digest: Vec<u8>,
    run: Option<String>,
    stage: Option<String>,
    created: i64,
    tags: String,
    /// A JSON list.
    aliases: String,
}

/// Models by name, each with its versions, which come in order. A version whose model was not
/// there yet when the models were read is left out.
pub(crate) fn models(
    models: Vec<(String, Option<String>)>,
    versions: Vec<VersionRow>,
) -> StoreResult<Vec<ModelRecord>> {
    let mut by_model = HashMap::<_, Vec<_>>::new();
    for version in versions {
        let version = version.record()?;
        by_model.entry(version.name.clone()).or_default().push(version);
    }
    models
        .into_iter()
        .map(|(name, description)| {
            let name = text("a model", &name)?;
            let versions = by_model.remove(&name).unwrap_or_default();
            Ok(ModelRecord { name, description, versions })
        })
        .collect()
}

impl VersionRow {
    pub(crate) fn record(self) -> StoreResult<ModelVersion> {
        Ok(ModelVersion {
            name: text("a model", &self.model)?,
            version: count(self.version)?,
            digest: digest(&self.digest)?,
            run: self.run.as_deref().map(|run| text("a run id", run)).transpose()?,
            stage: self.stage.as_deref().map(|stage| text("a stage", stage)).transpose()?,
            created: Timestamp(self.created),
            tags: json("tags", &self.tags)?,
            aliases: json("aliases", &self.aliases)?,
        })
    }
}
