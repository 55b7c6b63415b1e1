//! Appending events.
//!
//! A batch is folded into rows first ([`crate::changes`]); each table is then written by one
//! statement, while the lease's row is locked.

use std::collections::HashMap;

use sqlx::PgConnection;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use wick_core::{Event, StageOrigin, Token};

use super::columns::{Columns, UsageColumns};
use super::{PostgresStore, json_text};
use crate::changes::{Changes, Source, fold, refuse};
use crate::error::{StoreError, StoreResult};
use crate::records::Lease;

const EVENTS: &str = "
    INSERT INTO events (run_id, time, body)
    SELECT $1, time, body
    FROM unnest($2::bigint[], $3::text[]) WITH ORDINALITY AS new (time, body, place)
    ORDER BY place";

const INSTANCES: &str = "
    INSERT INTO stages (run_id, position, name, kind, state, template)
    SELECT $1, new.position, new.name, new.kind, 'queued', new.template
    FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[])
         AS new (template, position, name, kind)";

/// What an instance has made stays; if it has made nothing it waits again.
const AGAIN: &str = "
    UPDATE stages s
    SET because = NULL, failure = NULL,
        started = CASE WHEN s.state IN ('succeeded', 'cached') THEN s.started END,
        finished = CASE WHEN s.state IN ('succeeded', 'cached') THEN s.finished END,
        state = CASE WHEN s.state IN ('succeeded', 'cached') THEN s.state ELSE 'queued' END
    FROM unnest($2::bigint[], $3::bigint[]) AS new (template, position)
    WHERE s.run_id = $1 AND s.position = new.position AND s.template = new.template";

const NO_ITEM: &str = "
    UPDATE stages
    SET state = 'skipped', because = '\"no_item\"', fingerprint = NULL, failure = NULL,
        started = NULL, finished = $4, source_run_id = NULL, source_position = NULL,
        source_attempt = NULL
    WHERE run_id = $1 AND template = $2 AND position <> ALL ($3)";

const BEGUN: &str = "
    INSERT INTO attempts (run_id, position, attempt, token, fingerprint, pid, queued, started,
                          state, finished, wall_micros, cpu_micros, max_rss_bytes, read_bytes,
                          written_bytes, energy_joules, energy_source, co2_grams, gpu_memory_bytes,
                          gpu_busy_micros, failure, effects)
    SELECT $1, new.*
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[],
                $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[],
                $13::bigint[], $14::bigint[], $15::bigint[], $16::double precision[], $17::text[],
                $18::double precision[], $19::bigint[], $20::bigint[], $21::text[], $22::text[])
         AS new";

const ENDED: &str = "
    UPDATE attempts a
    SET state = new.state, finished = new.finished, wall_micros = new.wall, cpu_micros = new.cpu,
        max_rss_bytes = new.rss, read_bytes = new.read, written_bytes = new.written,
        energy_joules = new.joules, energy_source = new.energy, co2_grams = new.co2,
        gpu_memory_bytes = new.gpu_memory, gpu_busy_micros = new.gpu_busy,
        failure = new.failure, effects = new.effects
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[],
                $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::double precision[],
                $13::text[], $14::double precision[], $15::bigint[], $16::bigint[], $17::text[],
                $18::text[])
         AS new (position, attempt, token, state, finished, wall, cpu, rss, read, written, joules,
                 energy, co2, gpu_memory, gpu_busy, failure, effects)
    WHERE a.run_id = $1 AND a.position = new.position AND a.attempt = new.attempt
      AND a.token = new.token AND a.state = 'running'";

/// Two stages of a batch may have one fingerprint: the later one in the plan counts.
const SUCCEEDED: &str = "
    INSERT INTO fingerprints (fingerprint, run_id, position, attempt)
    SELECT DISTINCT ON (a.fingerprint) a.fingerprint, a.run_id, a.position, a.attempt
    FROM unnest($2::bigint[], $3::bigint[]) AS new (position, attempt)
         JOIN attempts a
             ON a.run_id = $1 AND a.position = new.position AND a.attempt = new.attempt
    ORDER BY a.fingerprint, a.position DESC
    ON CONFLICT (fingerprint) DO UPDATE
        SET run_id = excluded.run_id, position = excluded.position, attempt = excluded.attempt";

const SPAWNED: &str = "
    UPDATE attempts a SET pid = new.pid
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS new (position, attempt, pid)
    WHERE a.run_id = $1 AND a.position = new.position AND a.attempt = new.attempt";

const STAGES: &str = "
    UPDATE stages s
    SET state = new.state,
        fingerprint = coalesce(new.fingerprint, CASE WHEN new.anew THEN NULL ELSE s.fingerprint END),
        attempts = coalesce(new.attempts, s.attempts),
        source_run_id =
            coalesce(new.source_run, CASE WHEN new.anew THEN NULL ELSE s.source_run_id END),
        source_position =
            coalesce(new.source_position, CASE WHEN new.anew THEN NULL ELSE s.source_position END),
        source_attempt =
            coalesce(new.source_attempt, CASE WHEN new.anew THEN NULL ELSE s.source_attempt END),
        because = new.because,
        started = coalesce(CASE WHEN new.anew THEN NULL ELSE s.started END, new.started),
        finished = new.finished,
        failure = CASE WHEN new.sets_failure OR new.anew THEN new.failure ELSE s.failure END
    FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[],
                $8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::bigint[],
                $13::boolean[], $14::text[], $15::boolean[])
         AS new (position, expected, state, fingerprint, attempts, source_run, source_position,
                 source_attempt, because, started, finished, sets_failure, failure, anew)
    WHERE s.run_id = $1 AND s.position = new.position
      AND CASE WHEN new.expected = 'ended' THEN s.state NOT IN ('queued', 'running')
               WHEN s.state = 'lost' THEN new.expected = 'failed'
               ELSE s.state = new.expected END";

const UNREAD: &str = "DELETE FROM inputs WHERE run_id = $1 AND position = ANY ($2)";

const UNMEASURED: &str = "DELETE FROM run_metrics WHERE run_id = $1 AND position = ANY ($2)";

/// An instance that is not in the list any more has measured nothing.
const NO_METRICS: &str = "
    DELETE FROM run_metrics m USING stages s
    WHERE m.run_id = $1 AND s.run_id = $1 AND s.template = $2 AND s.position = m.position
      AND m.position <> ALL ($3)";

/// What was measured where a stage's outputs come from is what it would have measured.
const TAKEN: &str = "
    INSERT INTO run_metrics (run_id, position, key_id, value)
    SELECT $1, new.position, m.key_id, m.value
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
             AS new (position, source_run, source_position, source_attempt)
         JOIN metrics m ON m.run_id = new.source_run AND m.position = new.source_position
                       AND m.attempt = new.source_attempt
    ON CONFLICT (run_id, position, key_id) DO UPDATE SET value = excluded.value";

const INPUTS: &str = "
    INSERT INTO inputs (run_id, position, port, item, from_stage, from_output, digest, place)
    SELECT $1, new.*
    FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[],
                $8::bigint[]) AS new";

const OUTPUTS: &str = "
    INSERT INTO outputs (run_id, position, attempt, place, port, type, digest, bytes, meta)
    SELECT $1, new.*
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::bytea[],
                $8::bigint[], $9::text[]) AS new";

const PARTS: &str = "
    INSERT INTO fingerprint_parts (fingerprint, parts)
    SELECT DISTINCT ON (fingerprint) fingerprint, parts
    FROM unnest($1::bytea[], $2::text[]) AS new (fingerprint, parts)
    ORDER BY fingerprint
    ON CONFLICT (fingerprint) DO NOTHING";

type Statement<'q> = Query<'q, sqlx::Postgres, PgArguments>;

impl PostgresStore {
    pub(super) async fn append(&self, lease: &Lease, events: &[Event]) -> StoreResult<()> {
        if events.is_empty() {
            return Ok(());
        }
        let directory = self.directory(&lease.run).await?;
        let changes = fold(&directory, events)?;
        let origins = self.origins(&changes).await?;
        let columns = Columns::of(&directory, &changes, &origins)?;
        let (mut new_keys, mut grown) = (Vec::new(), Vec::new());
        self.write(async |connection| {
            self.lock_lease(connection, lease, directory.run).await?;
            self.write_attempts(connection, directory.run, &changes, &columns).await?;
            self.write_stages(connection, directory.run, &changes, &columns).await?;
            grown = self.write_points(connection, directory.run, &changes, &mut new_keys).await?;
            for (stage, time, effect) in &changes.effects {
                let by = Some((directory.run, stage.as_str()));
                self.write_effect(connection, effect, by, *time).await?;
            }
            if let Some((state, time)) = changes.finished {
                let query = sqlx::query("UPDATE runs SET state = $2, finished = $3 WHERE id = $1")
                    .bind(directory.run)
                    .bind(state.as_str())
                    .bind(time.0);
                self.execute(connection, query).await?;
                let query = sqlx::query("DELETE FROM leases WHERE run_id = $1").bind(directory.run);
                self.execute(connection, query).await?;
            }
            Ok(())
        })
        .await?;
        self.keep_keys(new_keys);
        self.tails.keep(directory.run, &grown, &changes.ended_attempts());
        self.keep_instances(&lease.run, &directory, &changes);
        Ok(())
    }

    /// Runs a statement; gives how many rows it changed.
    pub(super) async fn execute(
        &self,
        connection: &mut PgConnection,
        query: Statement<'_>,
    ) -> StoreResult<u64> {
        let done = query.execute(connection).await.map_err(|error| self.refused(error))?;
        Ok(done.rows_affected())
    }

    /// Keeps everyone else from the run until the transaction ends, if the lease still holds.
    async fn lock_lease(
        &self,
        connection: &mut PgConnection,
        lease: &Lease,
        run: i64,
    ) -> StoreResult<()> {
        let held: Option<i64> = sqlx::query_scalar(
            "SELECT run_id FROM leases WHERE run_id = $1 AND token = $2 FOR UPDATE",
        )
        .bind(run)
        .bind(token(lease.engine))
        .fetch_optional(connection)
        .await
        .map_err(|error| self.refused(error))?;
        held.map(|_| ()).ok_or_else(|| StoreError::LeaseLost(lease.run.clone()))
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

    async fn write_attempts(
        &self,
        connection: &mut PgConnection,
        run: i64,
        changes: &Changes<'_>,
        columns: &Columns,
    ) -> StoreResult<()> {
        if !columns.events.time.is_empty() {
            let rows = &columns.events;
            let query = sqlx::query(EVENTS).bind(run).bind(&rows.time).bind(&rows.body);
            self.execute(connection, query).await?;
        }
        self.write_instances(connection, run, changes, columns).await?;
        if !columns.begun.position.is_empty() {
            let rows = &columns.begun;
            let query = sqlx::query(BEGUN)
                .bind(run)
                .bind(&rows.position)
                .bind(&rows.attempt)
                .bind(&rows.token)
                .bind(&rows.fingerprint)
                .bind(&rows.pid)
                .bind(&rows.queued)
                .bind(&rows.started)
                .bind(&rows.state)
                .bind(&rows.finished);
            let query = bind_usage(query, &rows.usage).bind(&rows.failure).bind(&rows.effects);
            self.execute(connection, query).await?;
        }
        if !columns.ended.position.is_empty() {
            let rows = &columns.ended;
            let query = sqlx::query(ENDED)
                .bind(run)
                .bind(&rows.position)
                .bind(&rows.attempt)
                .bind(&rows.token)
                .bind(&rows.state)
                .bind(&rows.finished);
            let query = bind_usage(query, &rows.usage).bind(&rows.failure).bind(&rows.effects);
            if self.execute(connection, query).await? != changes.ended.len() as u64 {
                return Err(self.stale(connection, run, changes).await?);
            }
        }
        if !columns.succeeded.position.is_empty() {
            let rows = &columns.succeeded;
            let query = sqlx::query(SUCCEEDED).bind(run).bind(&rows.position).bind(&rows.attempt);
            self.execute(connection, query).await?;
        }
        if !columns.spawned.position.is_empty() {
            let rows = &columns.spawned;
            let query = sqlx::query(SPAWNED)
                .bind(run)
                .bind(&rows.position)
                .bind(&rows.attempt)
                .bind(&rows.pid);
            self.execute(connection, query).await?;
        }
        if !columns.outputs.position.is_empty() {
            let rows = &columns.outputs;
            let query = sqlx::query(OUTPUTS)
                .bind(run)
                .bind(&rows.position)
                .bind(&rows.attempt)
                .bind(&rows.place)
                .bind(&rows.port)
                .bind(&rows.port_type)
                .bind(&rows.digest)
                .bind(&rows.bytes)
                .bind(&rows.meta);
            self.execute(connection, query).await?;
        }
        Ok(())
    }

    /// What became known of lists: before anything that their instances do.
    async fn write_instances(
        &self,
        connection: &mut PgConnection,
        run: i64,
        changes: &Changes<'_>,
        columns: &Columns,
    ) -> StoreResult<()> {
        if !columns.instances.position.is_empty() {
            let rows = &columns.instances;
            let query = sqlx::query(INSTANCES)
                .bind(run)
                .bind(&rows.template)
                .bind(&rows.position)
                .bind(&rows.name)
                .bind(&rows.kind);
            self.execute(connection, query).await?;
        }
        if !columns.again.position.is_empty() {
            let rows = &columns.again;
            let query = sqlx::query(AGAIN).bind(run).bind(&rows.template).bind(&rows.position);
            if self.execute(connection, query).await? != rows.position.len() as u64 {
                return Err(self.misplaced(connection, run, changes).await?);
            }
        }
        for expansion in &changes.expanded {
            let listed: Vec<i64> = expansion.listed().into_iter().map(i64::from).collect();
            let query = sqlx::query(NO_ITEM)
                .bind(run)
                .bind(i64::from(expansion.template))
                .bind(&listed)
                .bind(expansion.time.0);
            self.execute(connection, query).await?;
            let query =
                sqlx::query(NO_METRICS).bind(run).bind(i64::from(expansion.template)).bind(&listed);
            self.execute(connection, query).await?;
        }
        Ok(())
    }

    async fn write_stages(
        &self,
        connection: &mut PgConnection,
        run: i64,
        changes: &Changes<'_>,
        columns: &Columns,
    ) -> StoreResult<()> {
        if !columns.stages.position.is_empty() {
            let rows = &columns.stages;
            let query = sqlx::query(STAGES)
                .bind(run)
                .bind(&rows.position)
                .bind(&rows.expected)
                .bind(&rows.state)
                .bind(&rows.fingerprint)
                .bind(&rows.attempts)
                .bind(&rows.source_run)
                .bind(&rows.source_position)
                .bind(&rows.source_attempt)
                .bind(&rows.because)
                .bind(&rows.started)
                .bind(&rows.finished)
                .bind(&rows.sets_failure)
                .bind(&rows.failure)
                .bind(&rows.anew);
            if self.execute(connection, query).await? != changes.stages.len() as u64 {
                return Err(self.misplaced(connection, run, changes).await?);
            }
        }
        if !columns.unread.is_empty() {
            let query = sqlx::query(UNREAD).bind(run).bind(&columns.unread);
            self.execute(connection, query).await?;
            let query = sqlx::query(UNMEASURED).bind(run).bind(&columns.unread);
            self.execute(connection, query).await?;
        }
        if !columns.taken.position.is_empty() {
            let rows = &columns.taken;
            let query = sqlx::query(TAKEN)
                .bind(run)
                .bind(&rows.position)
                .bind(&rows.source_run)
                .bind(&rows.source_position)
                .bind(&rows.source_attempt);
            self.execute(connection, query).await?;
        }
        if !columns.inputs.position.is_empty() {
            let rows = &columns.inputs;
            let query = sqlx::query(INPUTS)
                .bind(run)
                .bind(&rows.position)
                .bind(&rows.port)
                .bind(&rows.item)
                .bind(&rows.from_stage)
                .bind(&rows.from_output)
                .bind(&rows.digest)
                .bind(&rows.place);
            self.execute(connection, query).await?;
        }
        if !columns.parts.fingerprint.is_empty() {
            let rows = &columns.parts;
            let query = sqlx::query(PARTS).bind(&rows.fingerprint).bind(&rows.parts);
            self.execute(connection, query).await?;
        }
        Ok(())
    }

    /// Which attempt did not end: the one whose row is not as it was to be written.
    async fn stale(
        &self,
        connection: &mut PgConnection,
        run: i64,
        changes: &Changes<'_>,
    ) -> StoreResult<StoreError> {
        for row in &changes.ended {
            let ended: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM attempts
                                WHERE run_id = $1 AND position = $2 AND attempt = $3
                                  AND token = $4 AND state = $5 AND finished = $6)",
            )
            .bind(run)
            .bind(i64::from(row.place))
            .bind(i64::from(row.attempt))
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
        connection: &mut PgConnection,
        run: i64,
        changes: &Changes<'_>,
    ) -> StoreResult<StoreError> {
        for change in &changes.stages {
            let (state, finished): (String, Option<i64>) = sqlx::query_as(
                "SELECT state, finished FROM stages WHERE run_id = $1 AND position = $2",
            )
            .bind(run)
            .bind(i64::from(change.place))
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
        connection: &mut PgConnection,
        run: i64,
        events: &[&Event],
    ) -> StoreResult<()> {
        let times: Vec<_> = events.iter().map(|event| event.time.0).collect();
        let bodies =
            events.iter().map(|event| json_text(&event.body)).collect::<StoreResult<Vec<_>>>()?;
        let query = sqlx::query(EVENTS).bind(run).bind(&times).bind(&bodies);
        self.execute(connection, query).await?;
        Ok(())
    }
}

/// Ten columns, in the order of the statements.
fn bind_usage<'q>(query: Statement<'q>, rows: &'q UsageColumns) -> Statement<'q> {
    query
        .bind(&rows.wall)
        .bind(&rows.cpu)
        .bind(&rows.rss)
        .bind(&rows.read)
        .bind(&rows.written)
        .bind(&rows.joules)
        .bind(&rows.energy)
        .bind(&rows.co2)
        .bind(&rows.gpu_memory)
        .bind(&rows.gpu_busy)
}

/// A token as the database keeps it: the same bits.
pub(super) const fn token(token: Token) -> i64 {
    token.0 as i64
}
