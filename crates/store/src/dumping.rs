//! Dumping runs: from rows to what people name.
//!
//! Many runs at a time: a query of each table for all of them, for a query of its own for each run
//! would take longer than the rows. Both databases read alike, but for the way a list is passed.

use std::collections::{BTreeMap, HashMap};

use sqlx::FromRow;
use wick_core::{Fingerprint, Input, RunId, StageOrigin, Timestamp};

use crate::dump::*;
use crate::error::StoreResult;
use crate::points::Points;
use crate::rows::{MarksRow, UsageRow, count, digest, json, port_type, size, text};

/// More points are not read at once, unless one run has them: 24 bytes each.
const MOST_POINTS: i64 = 1_000_000;

/// The queries, each for many runs: `$1` of the first are their ids, of the others their numbers.
pub(crate) struct DumpSql {
    pub(crate) runs: &'static str,
    pub(crate) counts: &'static str,
    pub(crate) params: &'static str,
    pub(crate) tags: &'static str,
    pub(crate) stages: &'static str,
    pub(crate) inputs: &'static str,
    pub(crate) latest: &'static str,
    pub(crate) attempts: &'static str,
    pub(crate) outputs: &'static str,
    pub(crate) series: &'static str,
    pub(crate) parts: &'static str,
    pub(crate) events: &'static str,
}

/// The queries of a database, of which `$among` says that something is in the list `$1`.
macro_rules! dump_sql {
    ($among:literal) => {
        $crate::dumping::DumpSql {
            runs: concat!(
                "SELECT r.id, r.public_id, e.name AS experiment, r.pipeline, r.pipeline_path,
                 t.text AS pipeline_text, p.public_id AS parent, r.environment,
                 d.text AS git_diff, r.plan, r.state, r.started, r.finished, r.name, r.note,
                 r.starred, r.archived, r.deleted
                 FROM runs r JOIN experiments e ON e.id = r.experiment_id
                 JOIN pipeline_texts t ON t.id = r.pipeline_text_id
                 LEFT JOIN pipeline_texts d ON d.id = r.git_diff_id
                 LEFT JOIN runs p ON p.id = r.parent_id
                 WHERE r.public_id ",
                $among
            ),
            counts: concat!(
                "SELECT run_id, CAST(sum(points) AS BIGINT) FROM metrics WHERE run_id ",
                $among,
                " GROUP BY run_id"
            ),
            params: concat!(
                "SELECT run_id, name, value, overridden FROM params WHERE run_id ",
                $among,
                " ORDER BY run_id, name"
            ),
            tags: concat!(
                "SELECT run_id, key, value FROM tags WHERE run_id ",
                $among,
                " ORDER BY run_id, key"
            ),
            stages: concat!(
                "SELECT s.run_id, s.name, t.name AS template, s.kind, s.state, s.fingerprint,
                 s.attempts, r.public_id AS source_run, o.name AS source_stage, s.source_attempt,
                 s.because, s.started, s.finished, s.failure
                 FROM stages s
                 LEFT JOIN stages t ON t.run_id = s.run_id AND t.position = s.template
                 LEFT JOIN runs r ON r.id = s.source_run_id
                 LEFT JOIN stages o ON o.run_id = s.source_run_id
                     AND o.position = s.source_position
                 WHERE s.run_id ",
                $among,
                " ORDER BY s.run_id, s.position"
            ),
            inputs: concat!(
                "SELECT i.run_id, s.name AS stage, i.port, i.item, i.from_stage, i.from_output,
                 i.digest
                 FROM inputs i JOIN stages s ON s.run_id = i.run_id AND s.position = i.position
                 WHERE i.run_id ",
                $among,
                " ORDER BY i.run_id, i.position, i.place"
            ),
            latest: concat!(
                "SELECT m.run_id, s.name, k.name, m.value
                 FROM run_metrics m
                 JOIN stages s ON s.run_id = m.run_id AND s.position = m.position
                 JOIN metric_keys k ON k.id = m.key_id
                 WHERE m.run_id ",
                $among,
                " ORDER BY m.run_id, m.position, k.name"
            ),
            attempts: concat!(
                "SELECT a.run_id, s.name AS stage, a.attempt, a.state, a.fingerprint, a.pid,
                 a.queued, a.started, a.finished, a.wall_micros, a.cpu_micros, a.max_rss_bytes,
                 a.read_bytes, a.written_bytes, a.energy_joules, a.energy_source, a.co2_grams,
                 a.gpu_memory_bytes, a.gpu_busy_micros, a.failure, a.effects
                 FROM attempts a JOIN stages s ON s.run_id = a.run_id AND s.position = a.position
                 WHERE a.run_id ",
                $among,
                " ORDER BY a.run_id, a.position, a.attempt"
            ),
            outputs: concat!(
                "SELECT o.run_id, s.name AS stage, o.attempt, o.port, o.type AS port_type,
                 o.digest, o.bytes, o.meta
                 FROM outputs o JOIN stages s ON s.run_id = o.run_id AND s.position = o.position
                 WHERE o.run_id ",
                $among,
                " ORDER BY o.run_id, o.position, o.attempt, o.place"
            ),
            series: concat!(
                "SELECT m.run_id, m.id, s.name AS stage, m.attempt, k.name AS key
                 FROM metrics m JOIN stages s ON s.run_id = m.run_id AND s.position = m.position
                 JOIN metric_keys k ON k.id = m.key_id
                 WHERE m.run_id ",
                $among,
                " ORDER BY m.run_id, m.position, m.attempt, k.name"
            ),
            // Also of attempts that do not count any more: it may be them whose outputs others use.
            parts: concat!(
                "SELECT used.run_id, p.fingerprint, p.parts
                 FROM (SELECT s.run_id, s.fingerprint FROM stages s WHERE s.run_id ",
                $among,
                " UNION SELECT a.run_id, a.fingerprint FROM attempts a WHERE a.run_id ",
                $among,
                ") AS used
                 JOIN fingerprint_parts p ON p.fingerprint = used.fingerprint
                 ORDER BY used.run_id, p.fingerprint"
            ),
            events: concat!(
                "SELECT run_id, time, body FROM events WHERE run_id ",
                $among,
                " ORDER BY run_id, id"
            ),
        }
    };
}
pub(crate) use dump_sql;

#[derive(Debug, FromRow)]
pub(crate) struct RunRow {
    pub(crate) id: i64,
    pub(crate) public_id: String,
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
    pub(crate) run_id: i64,
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
    pub(crate) run_id: i64,
    stage: String,
    port: String,
    item: String,
    from_stage: String,
    from_output: String,
    digest: Vec<u8>,
}

#[derive(Debug, FromRow)]
pub(crate) struct AttemptRow {
    pub(crate) run_id: i64,
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
    pub(crate) run_id: i64,
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
    pub(crate) run_id: i64,
    pub(crate) id: i64,
    stage: String,
    attempt: i64,
    key: String,
}

/// Rows by the number of their run.
pub(crate) struct ByRun<T>(HashMap<i64, Vec<T>>);

impl<T> ByRun<T> {
    pub(crate) fn new(rows: Vec<T>, run: fn(&T) -> i64) -> Self {
        let mut by_run: HashMap<i64, Vec<T>> = HashMap::new();
        for row in rows {
            by_run.entry(run(&row)).or_default().push(row);
        }
        Self(by_run)
    }

    fn take(&mut self, run: i64) -> Vec<T> {
        self.0.remove(&run).unwrap_or_default()
    }
}

/// Those of the runs that are there, in the order in which they were asked for, as far as they may
/// be read together by the numbers of their points: at least the first.
pub(crate) fn first_runs(
    asked: &[RunId],
    rows: Vec<RunRow>,
    counts: &[(i64, i64)],
) -> Vec<Option<RunRow>> {
    let mut rows: HashMap<String, RunRow> =
        rows.into_iter().map(|row| (row.public_id.clone(), row)).collect();
    let counts: HashMap<i64, i64> = counts.iter().copied().collect();
    let mut points = 0;
    let mut first = Vec::with_capacity(asked.len());
    for id in asked {
        let row = rows.remove(id.as_str());
        points += row.as_ref().and_then(|row| counts.get(&row.id)).copied().unwrap_or(0);
        if points > MOST_POINTS && !first.is_empty() {
            break;
        }
        first.push(row);
    }
    first
}

/// All rows of some runs, as they were read in one look at the database.
pub(crate) struct AllRows {
    pub(crate) runs: Vec<Option<RunRow>>,
    pub(crate) params: ByRun<(i64, String, String, bool)>,
    pub(crate) tags: ByRun<(i64, String, String)>,
    pub(crate) stages: ByRun<StageRow>,
    pub(crate) inputs: ByRun<InputRow>,
    pub(crate) latest: ByRun<(i64, String, String, Option<f64>)>,
    pub(crate) attempts: ByRun<AttemptRow>,
    pub(crate) outputs: ByRun<OutputRow>,
    pub(crate) series: ByRun<SeriesRow>,
    /// By the number of the series.
    pub(crate) points: HashMap<i64, Points>,
    pub(crate) parts: ByRun<(i64, Vec<u8>, String)>,
    pub(crate) events: ByRun<(i64, i64, String)>,
}

impl AllRows {
    pub(crate) fn dump(mut self) -> StoreResult<Vec<Option<RunDump>>> {
        let runs = std::mem::take(&mut self.runs);
        runs.into_iter().map(|run| run.map(|run| self.rows_of(run).dump()).transpose()).collect()
    }

    fn rows_of(&mut self, run: RunRow) -> RunRows {
        let series = self.series.take(run.id);
        RunRows {
            params: self.params.take(run.id),
            tags: self.tags.take(run.id),
            stages: self.stages.take(run.id),
            inputs: self.inputs.take(run.id),
            latest: self.latest.take(run.id),
            attempts: self.attempts.take(run.id),
            outputs: self.outputs.take(run.id),
            points: series
                .iter()
                .filter_map(|row| Some((row.id, self.points.remove(&row.id)?)))
                .collect(),
            series,
            parts: self.parts.take(run.id),
            events: self.events.take(run.id),
            run,
        }
    }
}

/// All rows of a run.
struct RunRows {
    run: RunRow,
    params: Vec<(i64, String, String, bool)>,
    tags: Vec<(i64, String, String)>,
    stages: Vec<StageRow>,
    inputs: Vec<InputRow>,
    latest: Vec<(i64, String, String, Option<f64>)>,
    attempts: Vec<AttemptRow>,
    outputs: Vec<OutputRow>,
    series: Vec<SeriesRow>,
    points: HashMap<i64, Points>,
    parts: Vec<(i64, Vec<u8>, String)>,
    events: Vec<(i64, i64, String)>,
}

impl RunRows {
    fn dump(self) -> StoreResult<RunDump> {
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
        for (_, stage, key, value) in self.latest {
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
        let params = self.params.into_iter().map(|(_, name, value, overridden)| {
            Ok(ParamDump { name, value: Json::from_text("a param's value", value)?, overridden })
        });
        let parts = self.parts.into_iter().map(|(_, fingerprint, parts)| {
            Ok(PartsDump {
                fingerprint: Fingerprint(digest(&fingerprint)?),
                parts: Json::from_text("the parts of a fingerprint", parts)?,
            })
        });
        let events = self.events.into_iter().map(|(_, time, body)| {
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
            marks: run
                .marks
                .record(self.tags.into_iter().map(|(_, key, value)| (key, value)).collect()),
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
        run: &RunId,
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

/// Reads runs on `$connection`, which looks at one state of the database, by the queries `$sql`, to
/// which lists are passed as `$list` makes them.
macro_rules! read_runs {
    ($store:expr, $connection:expr, $sql:expr, $list:path, $asked:expr) => {{
        use $crate::dumping::*;
        let (store, connection, sql): (_, _, &DumpSql) = ($store, &mut *$connection, &$sql);
        macro_rules! all {
            ($query:expr, $list_of:expr) => {
                sqlx::query_as($query)
                    .bind(&$list_of)
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(|error| store.refused(error))?
            };
        }
        let asked: &[RunId] = $asked;
        let names: Vec<&str> = asked.iter().map(RunId::as_str).collect();
        let found: Vec<RunRow> = all!(sql.runs, $list(&names)?);
        let numbers: Vec<i64> = found.iter().map(|row| row.id).collect();
        let counts: Vec<(i64, i64)> = all!(sql.counts, $list(&numbers)?);
        let runs = first_runs(asked, found, &counts);
        let numbers: Vec<i64> = runs.iter().flatten().map(|row| row.id).collect();
        let list = $list(&numbers)?;
        let series: Vec<SeriesRow> = all!(sql.series, list);
        let ids: Vec<i64> = series.iter().map(|row| row.id).collect();
        let (tail, chunks) = store.read_points(connection, &ids).await?;
        let points = $crate::points::join_ids(&ids, &tail, chunks)?;
        let rows = AllRows {
            runs,
            params: ByRun::new(all!(sql.params, list), |row| row.0),
            tags: ByRun::new(all!(sql.tags, list), |row| row.0),
            stages: ByRun::new(all!(sql.stages, list), |row| row.run_id),
            inputs: ByRun::new(all!(sql.inputs, list), |row| row.run_id),
            latest: ByRun::new(all!(sql.latest, list), |row| row.0),
            attempts: ByRun::new(all!(sql.attempts, list), |row| row.run_id),
            outputs: ByRun::new(all!(sql.outputs, list), |row| row.run_id),
            series: ByRun::new(series, |row| row.run_id),
            points: ids.into_iter().zip(points).collect(),
            parts: ByRun::new(all!(sql.parts, list), |row| row.0),
            events: ByRun::new(all!(sql.events, list), |row| row.0),
        };
        rows.dump()
    }};
}
pub(crate) use read_runs;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, name: &str) -> RunRow {
        RunRow {
            id,
            public_id: name.to_owned(),
            experiment: String::new(),
            pipeline: String::new(),
            pipeline_path: String::new(),
            pipeline_text: String::new(),
            parent: None,
            environment: String::new(),
            git_diff: None,
            plan: Vec::new(),
            state: String::new(),
            started: 0,
            finished: None,
            marks: MarksRow::default(),
        }
    }

    #[test]
    fn no_more_runs_are_read_at_once_than_fit() {
        let asked: Vec<RunId> = (0..4).map(RunId::from_random).collect();
        let first = |counts: &[(i64, i64)]| -> Vec<Option<i64>> {
            // The third is not there; they come in another order.
            let rows = [3, 1, 0].map(|n| row(n as i64, asked[n].as_str())).into();
            let first = first_runs(&asked, rows, counts);
            first.iter().map(|row| row.as_ref().map(|row| row.id)).collect()
        };
        assert_eq!(first(&[]), [Some(0), Some(1), None, Some(3)]);
        assert_eq!(first(&[(0, 2), (1, MOST_POINTS)]), [Some(0)]);
        assert_eq!(first(&[(0, 5 * MOST_POINTS)]), [Some(0)], "at least the first");
        assert_eq!(first(&[(1, 1), (3, MOST_POINTS)]), [Some(0), Some(1), None]);
    }
}
