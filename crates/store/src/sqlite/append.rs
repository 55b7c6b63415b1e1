//! Appending events: the path that every stage of every run takes, so it is kept short.
//!
//! A batch is folded into rows first ([`crate::changes`]). Then one text of several statements
//! writes them; or one statement alone, where that is all that the batch writes ([`super::batch`]).

use std::collections::HashMap;

use serde::ser::{Serialize, SerializeSeq, Serializer};
use sqlx::{AssertSqlSafe, SqliteConnection};
use wick_core::{AttemptState, Event, Failure, Fingerprint, Input, Output, StageOrigin, Usage};

use super::batch::Written;
use super::runs::{array, token};
use super::{Durability, Outcome, SqliteStore, run_all};
use crate::changes::{
    AttemptEnd, BegunAttempt, Changes, EndedAttempt, Expansion, Source, StageChange, fold, refuse,
};
use crate::directory::Directory;
use crate::error::{StoreError, StoreResult};
use crate::records::Lease;

/// Every batch asks first whether the lease still holds. `$1` is the run, `$2` the lease's token.
const LEASE_HOLDS: &str = "SELECT 1 FROM leases WHERE run_id = $1 AND token = $2";

// The statements that follow, in this order, each over a JSON array of rows: `$3` for the first,
// `$4` for the second, … `->` and `->>` take a column of a row by its place. Instances come before
// all that tells of attempts, for they may start in the batch that names them.
//
// `$1 + 0 * new.key` is `$1`. Written so, it says nothing before there is a row of `new`: so the
// planner takes the rows one by one and finds each in the table by its key, and does not go
// through all rows of the run for each.

const EVENTS: &str = ";
    INSERT INTO events (run_id, time, body)
        SELECT $1, value ->> 0, value -> 1 FROM json_each($3)";

const INSTANCES: &str = ";
    INSERT INTO stages (run_id, position, name, kind, state, template)
        SELECT $1, value ->> 1, value ->> 2, value ->> 3, 'queued', value ->> 0
        FROM json_each($4)";

/// What an instance has made stays; if it has made nothing it waits again.
const AGAIN: &str = ";
    UPDATE stages
        SET because = NULL,
            started = CASE WHEN stages.state IN ('succeeded', 'cached') THEN stages.started END,
            finished = CASE WHEN stages.state IN ('succeeded', 'cached') THEN stages.finished END,
            failure = NULL,
            state = CASE WHEN stages.state IN ('succeeded', 'cached') THEN stages.state
                         ELSE 'queued' END
        FROM json_each($5) AS new
        WHERE stages.run_id = $1 + 0 * new.key AND stages.position = new.value ->> 1
          AND stages.template = new.value ->> 0";

const NO_ITEM: &str = ";
    UPDATE stages
        SET state = 'skipped', because = '\"no_item\"', fingerprint = NULL, failure = NULL,
            started = NULL, finished = new.value ->> 2, source_run_id = NULL,
            source_position = NULL, source_attempt = NULL
        FROM json_each($6) AS new
        WHERE stages.run_id = $1 + 0 * new.key AND stages.template = new.value ->> 0
          AND stages.position NOT IN (SELECT value FROM json_each(new.value -> 1))";

const BEGUN: &str = ";
    INSERT INTO attempts (run_id, position, attempt, token, fingerprint, pid, queued, started,
                          state, finished, wall_micros, cpu_micros, max_rss_bytes, read_bytes,
                          written_bytes, energy_joules, energy_source, co2_grams, gpu_memory_bytes,
                          gpu_busy_micros, failure, effects)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4,
               value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10,
               value ->> 11, value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16,
               value ->> 17, value ->> 18, value ->> 19, value ->> 20
        FROM json_each($7)";

const ENDED: &str = ";
    UPDATE attempts
        SET state = new.value ->> 3, finished = new.value ->> 4, wall_micros = new.value ->> 5,
            cpu_micros = new.value ->> 6, max_rss_bytes = new.value ->> 7,
            read_bytes = new.value ->> 8, written_bytes = new.value ->> 9,
            energy_joules = new.value ->> 10, energy_source = new.value ->> 11,
            co2_grams = new.value ->> 12, gpu_memory_bytes = new.value ->> 13,
            gpu_busy_micros = new.value ->> 14, failure = new.value ->> 15,
            effects = new.value ->> 16
        FROM json_each($8) AS new
        WHERE attempts.run_id = $1 + 0 * new.key AND attempts.position = new.value ->> 0
          AND attempts.attempt = new.value ->> 1 AND attempts.token = new.value ->> 2
          AND attempts.state = 'running'";

const SUCCEEDED: &str = ";
    INSERT INTO fingerprints (fingerprint, run_id, position, attempt)
        SELECT a.fingerprint, a.run_id, a.position, a.attempt
        FROM json_each($9) AS new CROSS JOIN attempts a
            ON a.run_id = $1 AND a.position = new.value ->> 0 AND a.attempt = new.value ->> 1
        WHERE true
        ON CONFLICT (fingerprint) DO UPDATE
            SET run_id = excluded.run_id, position = excluded.position, attempt = excluded.attempt";

const SPAWNED: &str = ";
    UPDATE attempts SET pid = new.value ->> 2
        FROM json_each($10) AS new
        WHERE attempts.run_id = $1 + 0 * new.key AND attempts.position = new.value ->> 0
          AND attempts.attempt = new.value ->> 1";

const STAGES: &str = ";
    UPDATE stages
        SET state = new.value ->> 2,
            fingerprint = coalesce(unhex(new.value ->> 3), iif(new.value ->> 13, NULL, fingerprint)),
            attempts = coalesce(new.value ->> 4, attempts),
            source_run_id = coalesce(new.value ->> 5, iif(new.value ->> 13, NULL, source_run_id)),
            source_position = coalesce(new.value ->> 6,
                                       iif(new.value ->> 13, NULL, source_position)),
            source_attempt = coalesce(new.value ->> 7,
                                      iif(new.value ->> 13, NULL, source_attempt)),
            because = new.value ->> 8,
            started = coalesce(iif(new.value ->> 13, NULL, started), new.value ->> 9),
            finished = new.value ->> 10,
            failure = iif(new.value ->> 11, new.value ->> 12, iif(new.value ->> 13, NULL, failure))
        FROM json_each($11) AS new
        WHERE stages.run_id = $1 + 0 * new.key AND stages.position = new.value ->> 0
          AND CASE WHEN new.value ->> 1 = 'ended' THEN stages.state NOT IN ('queued', 'running')
                   WHEN stages.state = 'lost' THEN new.value ->> 1 = 'failed'
                   ELSE stages.state = new.value ->> 1 END";

const UNREAD: &str = ";
    DELETE FROM inputs WHERE run_id = $1 AND position IN (SELECT value FROM json_each($12))";

const INPUTS: &str = ";
    INSERT INTO inputs (run_id, position, port, item, from_stage, from_output, digest, place)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
               unhex(value ->> 5), value ->> 6
        FROM json_each($13)";

const OUTPUTS: &str = ";
    INSERT INTO outputs (run_id, position, attempt, place, port, type, digest, bytes, meta)
        SELECT $1, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
               unhex(value ->> 5), value ->> 6, value -> 7
        FROM json_each($14)";

const PARTS: &str = ";
    INSERT OR IGNORE INTO fingerprint_parts (fingerprint, parts)
        SELECT unhex(value ->> 0), value ->> 1 FROM json_each($15)";

const NO_METRICS: &str = ";
    DELETE FROM run_metrics
        WHERE run_id = $1 AND position IN (
            SELECT s.position FROM json_each($16) AS new
                CROSS JOIN stages s ON s.run_id = $1 AND s.template = new.value ->> 0
            WHERE s.position NOT IN (SELECT value FROM json_each(new.value -> 1)))";

const UNMEASURED: &str = ";
    DELETE FROM run_metrics WHERE run_id = $1 AND position IN (SELECT value FROM json_each($17))";

/// What was measured where a stage's outputs come from is what it would have measured.
const TAKEN: &str = ";
    INSERT OR REPLACE INTO run_metrics (run_id, position, key_id, value)
        SELECT $1, new.value ->> 0, m.key_id, m.value
        FROM json_each($18) AS new CROSS JOIN metrics m
            ON m.run_id = new.value ->> 1 AND m.position = new.value ->> 2
            AND m.attempt = new.value ->> 3";

/// The columns of a new attempt, in the order in which [`BEGUN`] reads them.
struct BegunColumns<'a>(&'a BegunAttempt<'a>);

impl Serialize for BegunColumns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (row, end) = (self.0, self.0.end.as_ref());
        let mut columns = serializer.serialize_seq(None)?;
        columns.serialize_element(&row.place)?;
        columns.serialize_element(&row.attempt)?;
        columns.serialize_element(&token(row.token))?;
        columns.serialize_element(&row.fingerprint)?;
        columns.serialize_element(&row.pid)?;
        columns.serialize_element(&row.queued)?;
        columns.serialize_element(&row.started)?;
        let state = end.map_or(AttemptState::Running, |end| end.state);
        columns.serialize_element(state.as_str())?;
        columns.serialize_element(&end.map(|end| end.finished))?;
        serialize_usage(&mut columns, end.map(|end| &end.usage))?;
        columns.serialize_element(&end.and_then(|end| end.failure))?;
        let effects = end.map(|end| end.effects);
        columns.serialize_element(&effects.filter(|effects| !effects.is_empty()))?;
        columns.end()
    }
}

/// The columns of an attempt that ended, in the order in which [`ENDED`] reads them.
struct EndedColumns<'a>(&'a EndedAttempt<'a>);

impl Serialize for EndedColumns<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (row, AttemptEnd { state, finished, usage, failure, effects }) = (self.0, &self.0.end);
        let mut columns = serializer.serialize_seq(None)?;
        columns.serialize_element(&row.place)?;
        columns.serialize_element(&row.attempt)?;
        columns.serialize_element(&token(row.token))?;
        columns.serialize_element(state.as_str())?;
        columns.serialize_element(finished)?;
        serialize_usage(&mut columns, Some(usage))?;
        columns.serialize_element(failure)?;
        columns.serialize_element(&Some(effects).filter(|effects| !effects.is_empty()))?;
        columns.end()
    }
}

/// Ten columns; all are NULL for an attempt that runs.
fn serialize_usage<S: SerializeSeq>(
    columns: &mut S,
    usage: Option<&Usage>,
) -> Result<(), S::Error> {
    columns.serialize_element(&usage.map(|usage| usage.wall_micros))?;
    columns.serialize_element(&usage.map(|usage| usage.cpu_micros))?;
    columns.serialize_element(&usage.map(|usage| usage.max_rss_bytes))?;
    columns.serialize_element(&usage.and_then(|usage| usage.read_bytes))?;
    columns.serialize_element(&usage.and_then(|usage| usage.written_bytes))?;
    columns.serialize_element(&usage.and_then(|usage| usage.energy_joules))?;
    columns.serialize_element(&usage.and_then(|usage| usage.energy_source))?;
    columns.serialize_element(&usage.and_then(|usage| usage.co2_grams))?;
    columns.serialize_element(&usage.and_then(|usage| usage.gpu_memory_bytes))?;
    columns.serialize_element(&usage.and_then(|usage| usage.gpu_busy_micros))
}

/// The columns of a stage's change.
type StageColumns<'a> = (
    u32,
    &'static str,
    &'static str,
    Option<Fingerprint>,
    Option<u32>,
    Option<i64>,
    Option<u32>,
    Option<u32>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    u8,
    Option<&'a Failure>,
    u8,
);

/// One of the statements of a batch.
pub(super) struct Part {
    pub(super) sql: &'static str,
    /// What it binds: a JSON array. A statement without rows is left out.
    pub(super) rows: Option<String>,
    /// How many rows it must change, and what it means if it does not.
    pub(super) expected: Option<(u64, Misfit)>,
}

/// What does not fit the records.
#[derive(Debug, Clone, Copy)]
pub(super) enum Misfit {
    /// An attempt that ended is not the one that runs.
    Stale,
    /// A stage that moved is not where it must be.
    Misplaced,
}

impl Part {
    fn new<T: Serialize>(sql: &'static str, rows: &[T]) -> StoreResult<Self> {
        let rows = if rows.is_empty() { None } else { Some(array(rows)?) };
        Ok(Self { sql, rows, expected: None })
    }

    fn expecting<T: Serialize>(sql: &'static str, rows: &[T], misfit: Misfit) -> StoreResult<Self> {
        let expected = Some((rows.len() as u64, misfit));
        Ok(Self { expected, ..Self::new(sql, rows)? })
    }
}

/// The statements that write `changes`, but for points and effects.
pub(super) fn parts(
    directory: &Directory,
    changes: &Changes<'_>,
    origins: &HashMap<&StageOrigin, (i64, u32)>,
) -> StoreResult<[Part; 16]> {
    let events: Vec<_> = changes.events.iter().map(|event| (event.time.0, &event.body)).collect();
    let expanded = || changes.expanded.iter();
    let instances: Vec<_> = expanded()
        .flat_map(|Expansion { template, new, .. }| {
            new.iter().map(move |(place, name, kind)| (template, place, name, kind))
        })
        .collect();
    let again: Vec<_> = expanded()
        .flat_map(|Expansion { template, again, .. }| {
            again.iter().map(move |place| (template, place))
        })
        .collect();
    let listed: Vec<_> = expanded().map(|e| (e.template, e.listed(), e.time.0)).collect();
    let begun: Vec<_> = changes.begun.iter().map(BegunColumns).collect();
    let ended: Vec<_> = changes.ended.iter().map(EndedColumns).collect();
    let taken: Vec<_> = changes
        .stages
        .iter()
        .filter_map(|change| {
            let Some(Source::Origin(origin)) = change.source else { return None };
            let (run, place) = origins.get(origin)?;
            Some((change.place, *run, *place, origin.attempt))
        })
        .collect();
    let stages: Vec<_> =
        changes.stages.iter().map(|change| stage_columns(directory.run, change, origins)).collect();
    let inputs: Vec<_> = changes
        .inputs
        .iter()
        .flat_map(|(place, inputs)| {
            inputs.iter().enumerate().map(move |(number, input)| {
                let Input { port, stage, output, item, digest } = input;
                let item = item.as_deref().unwrap_or_default();
                (place, port, item, stage, output, digest, number)
            })
        })
        .collect();
    let outputs: Vec<_> = changes
        .outputs
        .iter()
        .flat_map(|(place, attempt, outputs)| {
            outputs.iter().enumerate().map(move |(number, output)| {
                let Output { port, port_type, digest, bytes, meta } = output;
                (place, attempt, number, port, port_type, digest, bytes, meta)
            })
        })
        .collect();
    Ok([
        Part::new(EVENTS, &events)?,
        Part::new(INSTANCES, &instances)?,
        Part::expecting(AGAIN, &again, Misfit::Misplaced)?,
        Part::new(NO_ITEM, &listed)?,
        Part::new(BEGUN, &begun)?,
        Part::expecting(ENDED, &ended, Misfit::Stale)?,
        Part::new(SUCCEEDED, &changes.succeeded)?,
        Part::new(SPAWNED, &changes.spawned)?,
        Part::expecting(STAGES, &stages, Misfit::Misplaced)?,
        Part::new(UNREAD, &changes.unread)?,
        Part::new(INPUTS, &inputs)?,
        Part::new(OUTPUTS, &outputs)?,
        Part::new(PARTS, &changes.parts)?,
        Part::new(NO_METRICS, &listed)?,
        Part::new(UNMEASURED, &changes.unread)?,
        Part::new(TAKEN, &taken)?,
    ])
}

fn stage_columns<'a>(
    run: i64,
    change: &StageChange<'a>,
    origins: &HashMap<&StageOrigin, (i64, u32)>,
) -> StageColumns<'a> {
    let source = match change.source {
        None => None,
        Some(Source::Own(attempt)) => Some((run, change.place, attempt)),
        Some(Source::Origin(origin)) => {
            origins.get(origin).map(|(run, place)| (*run, *place, origin.attempt))
        }
    };
    (
        change.place,
        change.expected.as_str(),
        change.state.as_str(),
        change.fingerprint,
        change.attempts,
        source.map(|source| source.0),
        source.map(|source| source.1),
        source.map(|source| source.2),
        // As a text, so that it is one in the row, whatever its JSON is.
        change.because.and_then(|reason| serde_json::to_string(reason).ok()),
        change.started.map(|time| time.0),
        change.finished.map(|time| time.0),
        u8::from(change.failure.is_some()),
        change.failure.flatten(),
        u8::from(change.anew),
    )
}

impl SqliteStore {
    pub(super) async fn append(&self, lease: &Lease, events: &[Event]) -> StoreResult<()> {
        if events.is_empty() {
            return Ok(());
        }
        let directory = self.directory(&lease.run).await?;
        let changes = fold(&directory, events)?;
        let origins = self.origins(&changes).await?;
        let parts = parts(&directory, &changes, &origins)?;
        let (mut new_keys, mut grown) = (Vec::new(), Vec::new());
        let durability =
            if changes.is_replaceable() { Durability::Written } else { Durability::Flushed };
        // Nearly always. Else what does not fit is found out below, statement by statement.
        if changes.is_rows_alone()
            && !self.tails.end(directory.run, &changes.ended_attempts())
            && self.write_batch(durability, directory.run, lease.engine, &parts).await?
                == Written::Whole
        {
            self.tails.keep(directory.run, &[], &changes.ended_attempts());
            self.keep_instances(&lease.run, &directory, &changes);
            return Ok(());
        }
        self.write_as(durability, async |connection| {
            self.write_rows(connection, lease, &directory, &changes, parts).await?;
            grown = self.write_points(connection, directory.run, &changes, &mut new_keys).await?;
            for (stage, time, effect) in &changes.effects {
                let by = Some((directory.run, stage.as_str()));
                self.write_effect(connection, effect, by, *time).await?;
            }
            if let Some((state, time)) = changes.finished {
                sqlx::query(
                    "UPDATE runs SET state = $2, finished = $3 WHERE id = $1;
                     DELETE FROM leases WHERE run_id = $1",
                )
                .bind(directory.run)
                .bind(state.as_str())
                .bind(time.0)
                .execute(connection)
                .await
                .map_err(|error| self.refused(error))?;
            }
            Ok(())
        })
        .await?;
        self.keep_keys(new_keys);
        self.tails.keep(directory.run, &grown, &changes.ended_attempts());
        self.keep_instances(&lease.run, &directory, &changes);
        Ok(())
    }

    /// Where the attempts lie whose outputs are reused.
    async fn origins<'a>(
        &self,
        changes: &Changes<'a>,
    ) -> StoreResult<HashMap<&'a StageOrigin, (i64, u32)>> {
        let mut found = HashMap::new();
        for change in &changes.stages {
            let Some(Source::Origin(origin)) = change.source else { continue };
            let StageOrigin { run, stage, .. } = origin;
            let (run_id, place) = self.place(run, stage).await?.ok_or_else(|| {
                refuse(change.stage, &format!("run {run} has no stage {stage} to reuse"))
            })?;
            found.insert(origin, (run_id, place));
        }
        Ok(found)
    }

    async fn write_rows(
        &self,
        connection: &mut SqliteConnection,
        lease: &Lease,
        directory: &Directory,
        changes: &Changes<'_>,
        parts: [Part; 16],
    ) -> StoreResult<()> {
        // Batches come in a few shapes, so a few prepared texts do for all.
        let mut sql = LEASE_HOLDS.to_owned();
        let mut expected = Vec::new();
        for part in parts.iter().filter(|part| part.rows.is_some()) {
            sql.push_str(part.sql);
            expected.push(part.expected);
        }
        let mut query =
            sqlx::query(AssertSqlSafe(sql)).bind(directory.run).bind(token(lease.engine));
        for part in parts {
            query = query.bind(part.rows);
        }
        let mut outcome = Outcome::default();
        let done = run_all(connection, query, &mut outcome).await;
        if outcome.rows.is_empty() && !outcome.changed.is_empty() {
            return Err(StoreError::LeaseLost(lease.run.clone()));
        }
        // Looked at before the error: what a stale attempt brings along may not fit either. The
        // first statement is the question for the lease.
        for (expected, changed) in expected.iter().zip(outcome.changed.iter().skip(1)) {
            match expected {
                Some((rows, _)) if rows == changed => {}
                Some((_, Misfit::Stale)) => {
                    return Err(self.stale(connection, directory, changes).await?);
                }
                Some((_, Misfit::Misplaced)) => {
                    return Err(self.misplaced(connection, directory, changes).await?);
                }
                None => {}
            }
        }
        done.map_err(|error| self.refused(error))
    }

    /// Which attempt did not end: the one whose row is not as it was to be written.
    async fn stale(
        &self,
        connection: &mut SqliteConnection,
        directory: &Directory,
        changes: &Changes<'_>,
    ) -> StoreResult<StoreError> {
        for row in &changes.ended {
            let ended: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM attempts
                                WHERE run_id = $1 AND position = $2 AND attempt = $3
                                  AND token = $4 AND state = $5 AND finished = $6)",
            )
            .bind(directory.run)
            .bind(row.place)
            .bind(row.attempt)
            .bind(token(row.token))
            .bind(row.end.state.as_str())
            .bind(row.end.finished.0)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
            if !ended {
                let (stage, attempt) = (row.stage.clone(), row.attempt);
                return Ok(StoreError::StaleToken { stage, attempt });
            }
        }
        Ok(StoreError::Refused("an attempt ended twice".to_owned()))
    }

    /// Which stage was not where the events expect it.
    async fn misplaced(
        &self,
        connection: &mut SqliteConnection,
        directory: &Directory,
        changes: &Changes<'_>,
    ) -> StoreResult<StoreError> {
        for change in &changes.stages {
            let (state, finished): (String, Option<i64>) = sqlx::query_as(
                "SELECT state, finished FROM stages WHERE run_id = $1 AND position = $2",
            )
            .bind(directory.run)
            .bind(change.place)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
            if state != change.state.as_str() || finished != change.finished.map(|time| time.0) {
                let next = change.state;
                return Ok(refuse(
                    change.stage,
                    &format!("it is {state}, which no {next} follows"),
                ));
            }
        }
        Ok(StoreError::Refused("a stage moved twice".to_owned()))
    }

    /// Appends events that the store itself tells of.
    pub(super) async fn insert_events(
        &self,
        connection: &mut SqliteConnection,
        run: i64,
        events: &[&Event],
    ) -> StoreResult<()> {
        let rows: Vec<_> = events.iter().map(|event| (event.time.0, &event.body)).collect();
        sqlx::query(
            "INSERT INTO events (run_id, time, body)
                 SELECT $1, value ->> 0, value -> 1 FROM json_each($2)",
        )
        .bind(run)
        .bind(array(&rows)?)
        .execute(connection)
        .await
        .map_err(|error| self.refused(error))?;
        Ok(())
    }
}
