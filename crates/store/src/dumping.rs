//! Dumping runs: from rows to what people name. Both databases read alike; the rows of a run are
//! found by its number, which `$1` is.

use std::collections::{BTreeMap, HashMap};

use sqlx::FromRow;
use wick_core::{Fingerprint, Input, StageOrigin, Timestamp};

use crate::dump::*;
use crate::error::StoreResult;
use crate::points::Points;
use crate::rows::{MarksRow, UsageRow, count, digest, json, port_type, size, text};

pub(crate) const RUN: &str = "
    SELECT r.id, r.public_id, e.name AS experiment, r.pipeline, r.pipeline_path,
    t.text AS pipeline_text, p.public_id AS parent, r.environment, d.text AS git_diff, r.plan,
    r.state, r.started, r.finished, r.name, r.note, r.starred, r.archived, r.deleted
    FROM runs r JOIN experiments e ON e.id = r.experiment_id
    JOIN pipeline_texts t ON t.id = r.pipeline_text_id
    LEFT JOIN pipeline_texts d ON d.id = r.git_diff_id
    LEFT JOIN runs p ON p.id = r.parent_id
    WHERE r.public_id = $1";

pub(crate) const PARAMS: &str =
    "SELECT name, value, overridden FROM params WHERE run_id = $1 ORDER BY name";

pub(crate) const TAGS: &str = "SELECT key, value FROM tags WHERE run_id = $1 ORDER BY key";

pub(crate) const STAGES: &str = "
    SELECT s.name, t.name AS template, s.kind, s.state, s.fingerprint, s.attempts,
    r.public_id AS source_run, o.name AS source_stage, s.source_attempt, s.because, s.started,
    s.finished, s.failure
    FROM stages s
    LEFT JOIN stages t ON t.run_id = s.run_id AND t.position = s.template
    LEFT JOIN runs r ON r.id = s.source_run_id
    LEFT JOIN stages o ON o.run_id = s.source_run_id AND o.position = s.source_position
    WHERE s.run_id = $1 ORDER BY s.position";

pub(crate) const INPUTS: &str = "
    SELECT s.name AS stage, i.port, i.item, i.from_stage, i.from_output, i.digest
    FROM stages s JOIN inputs i ON i.run_id = s.run_id AND i.position = s.position
    WHERE s.run_id = $1 ORDER BY i.position, i.place";

pub(crate) const LATEST: &str = "
    SELECT s.name, k.name, m.value
    FROM run_metrics m JOIN stages s ON s.run_id = m.run_id AND s.position = m.position
    JOIN metric_keys k ON k.id = m.key_id
    WHERE m.run_id = $1 ORDER BY m.position, k.name";

pub(crate) const ATTEMPTS: &str = "
    SELECT s.name AS stage, a.attempt, a.state, a.fingerprint, a.pid, a.queued, a.started,
    a.finished, a.wall_micros, a.cpu_micros, a.max_rss_bytes, a.read_bytes, a.written_bytes,
    a.energy_joules, a.energy_source, a.co2_grams, a.gpu_memory_bytes, a.gpu_busy_micros, a.failure,
    a.effects
    FROM attempts a JOIN stages s ON s.run_id = a.run_id AND s.position = a.position
    WHERE a.run_id = $1 ORDER BY a.position, a.attempt";

pub(crate) const OUTPUTS: &str = "
    SELECT s.name AS stage, o.attempt, o.port, o.type AS port_type, o.digest, o.bytes, o.meta
    FROM outputs o JOIN stages s ON s.run_id = o.run_id AND s.position = o.position
    WHERE o.run_id = $1 ORDER BY o.position, o.attempt, o.place";

pub(crate) const SERIES: &str = "
    SELECT m.id, s.name AS stage, m.attempt, k.name AS key
    FROM metrics m JOIN stages s ON s.run_id = m.run_id AND s.position = m.position
    JOIN metric_keys k ON k.id = m.key_id
    WHERE m.run_id = $1 ORDER BY m.position, m.attempt, k.name";

/// Also of attempts that do not count any more: it may be them whose outputs others use.
pub(crate) const PARTS: &str = "
    SELECT p.fingerprint, p.parts
    FROM (SELECT s.fingerprint FROM stages s WHERE s.run_id = $1
          UNION SELECT a.fingerprint FROM attempts a WHERE a.run_id = $1) AS used
    JOIN fingerprint_parts p ON p.fingerprint = used.fingerprint
    ORDER BY p.fingerprint";

pub(crate) const EVENTS: &str = "SELECT time, body FROM events WHERE run_id = $1 ORDER BY id";

#[derive(Debug, FromRow)]
pub(crate) struct RunRow {
    pub(crate) id: i64,
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

#[derive(Debug, FromRow)]
pub(crate) struct StageRow {
    name: String,
    template: Option<String>,
    kind: String,
    state: String,
    fingerprint: Option<Vec<u8>>,
    attempts: i64,
    source_run: Option<String>,
    source_stage: Option<String>,
    source_attempt: Option<i64>,
    because: Option<String>,
    started: Option<i64>,
    finished: Option<i64>,
    failure: Option<String>,
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
    effects: Option<String>,
}

#[derive(Debug, FromRow)]
pub(crate) struct OutputRow {
    stage: String,
    attempt: i64,
    port: String,
    port_type: String,
    digest: Vec<u8>,
    bytes: i64,
    meta: String,
}

#[derive(Debug, FromRow)]
pub(crate) struct SeriesRow {
    pub(crate) id: i64,
    stage: String,
    attempt: i64,
    key: String,
}

/// All rows of a run, as they were read in one look at the database.
pub(crate) struct RunRows {
    pub(crate) run: RunRow,
    pub(crate) params: Vec<(String, String, bool)>,
    pub(crate) tags: Vec<(String, String)>,
    pub(crate) stages: Vec<StageRow>,
    pub(crate) inputs: Vec<InputRow>,
    pub(crate) latest: Vec<(String, String, Option<f64>)>,
    pub(crate) attempts: Vec<AttemptRow>,
    pub(crate) outputs: Vec<OutputRow>,
    pub(crate) series: Vec<SeriesRow>,
    pub(crate) points: HashMap<i64, Points>,
    pub(crate) parts: Vec<(Vec<u8>, String)>,
    pub(crate) events: Vec<(i64, String)>,
}

impl RunRows {
    pub(crate) fn dump(self) -> StoreResult<RunDump> {
        let Self { run, mut points, .. } = self;
        let id = text("a run id", &run.public_id)?;
        let mut inputs: HashMap<String, Vec<Input>> = HashMap::new();
        for row in self.inputs {
            let input = Input {
                port: text("a port", &row.port)?,
                stage: text("a stage", &row.from_stage)?,
                output: text("a port", &row.from_output)?,
                item: Some(row.item).filter(|item| !item.is_empty()),
                digest: digest(&row.digest)?,
            };
            inputs.entry(row.stage).or_default().push(input);
        }
        let mut latest: HashMap<String, Vec<MetricDump>> = HashMap::new();
        for (stage, key, value) in self.latest {
            let metric = MetricDump { key, value: value.unwrap_or(f64::NAN) };
            latest.entry(stage).or_default().push(metric);
        }
        let mut outputs: BTreeMap<(String, i64), Vec<OutputDump>> = BTreeMap::new();
        for row in self.outputs {
            let output = OutputDump {
                port: text("a port", &row.port)?,
                port_type: port_type(&row.port_type)?,
                digest: digest(&row.digest)?,
                bytes: size(row.bytes)?,
                meta: Json::from_text("an artifact's meta", row.meta)?,
            };
            outputs.entry((row.stage, row.attempt)).or_default().push(output);
        }
        let stages = self.stages.into_iter().map(|row| {
            let inputs = inputs.remove(&row.name).unwrap_or_default();
            let metrics = latest.remove(&row.name).unwrap_or_default();
            row.dump(&id, inputs, metrics)
        });
        let stages = stages.collect::<StoreResult<_>>()?;
        let attempts = self.attempts.into_iter().map(|row| {
            let outputs = outputs.remove(&(row.stage.clone(), row.attempt)).unwrap_or_default();
            row.dump(outputs)
        });
        let attempts = attempts.collect::<StoreResult<_>>()?;
        let series = self.series.into_iter().map(|row| {
            let points = points.remove(&row.id).unwrap_or_default();
            Ok(SeriesDump {
                stage: text("a stage", &row.stage)?,
                attempt: count(row.attempt)?,
                key: row.key,
                steps: points.steps,
                times: points.times,
                values: points.values,
            })
        });
        let series = series.collect::<StoreResult<_>>()?;
        let params = self.params.into_iter().map(|(name, value, overridden)| {
            Ok(ParamDump { name, value: Json::from_text("a param's value", value)?, overridden })
        });
        let parts = self.parts.into_iter().map(|(fingerprint, parts)| {
            Ok(PartsDump {
                fingerprint: Fingerprint(digest(&fingerprint)?),
                parts: Json::from_text("the parts of a fingerprint", parts)?,
            })
        });
        let events = self.events.into_iter().map(|(time, body)| {
            Ok(EventDump { time: Timestamp(time), body: Json::from_text("an event", body)? })
        });
        Ok(RunDump {
            version: DUMP_VERSION,
            experiment: text("an experiment", &run.experiment)?,
            pipeline: run.pipeline,
            pipeline_path: run.pipeline_path,
            pipeline_text: run.pipeline_text,
            parent: run.parent.as_deref().map(|id| text("a run id", id)).transpose()?,
            environment: Json::from_text("an environment", run.environment)?,
            git_diff: run.git_diff,
            plan: digest(&run.plan)?,
            state: text("a state", &run.state)?,
            started: Timestamp(run.started),
            finished: run.finished.map(Timestamp),
            marks: run.marks.record(self.tags),
            params: params.collect::<StoreResult<_>>()?,
            stages,
            attempts,
            series,
            parts: parts.collect::<StoreResult<_>>()?,
            events: events.collect::<StoreResult<_>>()?,
            id,
        })
    }
}

impl StageRow {
    fn dump(
        self,
        run: &wick_core::RunId,
        inputs: Vec<Input>,
        metrics: Vec<MetricDump>,
    ) -> StoreResult<StageDump> {
        let source = match (self.source_run, self.source_stage, self.source_attempt) {
            (Some(run), Some(stage), Some(attempt)) => Some(StageOrigin {
                run: text("a run id", &run)?,
                stage: text("a stage", &stage)?,
                attempt: count(attempt)?,
            }),
            _ => None,
        };
        let stage = text("a stage", &self.name)?;
        // Its own series tell of its own attempts.
        let is_own =
            source.as_ref().is_some_and(|source| source.run == *run && source.stage == stage);
        Ok(StageDump {
            template: self.template.as_deref().map(|name| text("a stage", name)).transpose()?,
            kind: text("a kind", &self.kind)?,
            state: text("a state", &self.state)?,
            fingerprint: self.fingerprint.as_deref().map(digest).transpose()?.map(Fingerprint),
            attempts: count(self.attempts)?,
            source,
            because: self.because.as_deref().map(crate::rows::skip_reason).transpose()?,
            started: self.started.map(Timestamp),
            finished: self.finished.map(Timestamp),
            failure: self.failure.as_deref().map(|text| json("a failure", text)).transpose()?,
            inputs,
            metrics: if is_own { Vec::new() } else { metrics },
            stage,
        })
    }
}

impl AttemptRow {
    fn dump(self, outputs: Vec<OutputDump>) -> StoreResult<AttemptDump> {
        let effects = self.effects.map(|effects| Json::from_text("effects", effects));
        Ok(AttemptDump {
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
            effects: effects.transpose()?,
            outputs,
        })
    }
}

/// Reads all rows of a run on `$connection`, which looks at one state of the database.
macro_rules! read_run {
    ($store:expr, $connection:expr, $run:expr) => {{
        use $crate::dumping::*;
        let (store, connection) = ($store, &mut *$connection);
        macro_rules! all {
            ($sql:expr, $id:expr) => {
                sqlx::query_as($sql)
                    .bind($id)
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(|error| store.refused(error))?
            };
        }
        let run: Vec<RunRow> = all!(RUN, $run.as_str());
        match run.into_iter().next() {
            None => Ok(None),
            Some(run) => {
                let id = run.id;
                let series: Vec<SeriesRow> = all!(SERIES, id);
                let ids: Vec<i64> = series.iter().map(|row| row.id).collect();
                let (tail, chunks) = store.read_points(connection, &ids).await?;
                let points = $crate::points::join_ids(&ids, &tail, chunks)?;
                let rows = RunRows {
                    run,
                    params: all!(PARAMS, id),
                    tags: all!(TAGS, id),
                    stages: all!(STAGES, id),
                    inputs: all!(INPUTS, id),
                    latest: all!(LATEST, id),
                    attempts: all!(ATTEMPTS, id),
                    outputs: all!(OUTPUTS, id),
                    series,
                    points: ids.into_iter().zip(points).collect(),
                    parts: all!(PARTS, id),
                    events: all!(EVENTS, id),
                };
                rows.dump().map(Some)
            }
        }
    }};
}
pub(crate) use read_run;
