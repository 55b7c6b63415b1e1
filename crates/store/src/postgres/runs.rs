//! Runs come and go: creating, taking up, leases, and what dead engines leave.

use sqlx::PgConnection;
use wick_core::{Digest, Event, EventBody, RunId, RunState, StageName, Timestamp};

use super::append::token;
use super::{PostgresStore, clean, json_text};
use crate::directory::Directory;
use crate::error::{StoreError, StoreResult};
use crate::records::{EngineId, LEASE_MICROS, Lease, NewRun, check_names};
use crate::rows::{LeaseRow, RunningRow};

const NEW_RUN: &str = "
    INSERT INTO runs (public_id, experiment_id, pipeline, pipeline_path, pipeline_text_id,
                      parent_id, environment, plan, state, started, git_diff_id)
    VALUES ($1, (SELECT id FROM experiments WHERE name = $2), $3, $4,
            (SELECT id FROM pipeline_texts WHERE digest = $5),
            (SELECT id FROM runs WHERE public_id = $6), $7, $8, 'running', $9,
            (SELECT id FROM pipeline_texts WHERE digest = $10))
    RETURNING id";

const NEW_LEASE: &str = "
    INSERT INTO leases (run_id, token, host, pid, process_start, expires)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (run_id) DO UPDATE
        SET token = excluded.token, host = excluded.host, pid = excluded.pid,
            process_start = excluded.process_start, expires = excluded.expires,
            cancel_requested = NULL";

const LEASES: &str = "
    SELECT l.run_id, r.public_id, l.token, l.host, l.pid, l.process_start, l.expires
    FROM leases l JOIN runs r ON r.id = l.run_id";

const LEASE_OF: &str = "
    SELECT l.run_id, r.public_id, l.token, l.host, l.pid, l.process_start, l.expires
    FROM leases l JOIN runs r ON r.id = l.run_id
    WHERE l.run_id = $1";

/// When the engine that drives a run began with it: every engine says so first of all.
const DRIVEN_SINCE: &str = "
    SELECT coalesce((SELECT max(time) FROM events
                     WHERE run_id = $1 AND body::text LIKE '{\"run_started\"%'),
                    (SELECT started FROM runs WHERE id = $1))";

const LOCKED_LEASE_OF: &str = "
    SELECT l.run_id, r.public_id, l.token, l.host, l.pid, l.process_start, l.expires
    FROM leases l JOIN runs r ON r.id = l.run_id
    WHERE l.run_id = $1
    FOR UPDATE OF l";

impl PostgresStore {
    pub(super) async fn create_run(
        &self,
        run: &NewRun,
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<Lease> {
        check_names(&run.stages)?;
        let id = self
            .write(async |connection| {
                let id = self.insert_run(connection, run, now).await?;
                self.insert_params(connection, id, run).await?;
                let names: Vec<_> = run.stages.iter().map(|stage| stage.0.as_str()).collect();
                let kinds: Vec<_> = run.stages.iter().map(|stage| stage.1.as_str()).collect();
                let query = sqlx::query(
                    "INSERT INTO stages (run_id, position, name, kind, state)
                     SELECT $1, new.place - 1, new.name, new.kind, 'queued'
                     FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS new (name, kind, place)",
                )
                .bind(id)
                .bind(&names)
                .bind(&kinds);
                self.execute(connection, query).await?;
                self.insert_lease(connection, id, engine, now).await?;
                Ok(id)
            })
            .await?;
        let names = run.stages.iter().map(|stage| stage.0.clone());
        self.directories.keep(&run.id, Directory::new(id, names));
        Ok(Lease { run: run.id.clone(), engine: engine.token })
    }

    async fn insert_run(
        &self,
        connection: &mut PgConnection,
        run: &NewRun,
        now: Timestamp,
    ) -> StoreResult<i64> {
        let query = sqlx::query(
            "INSERT INTO experiments (name, created) VALUES ($1, $2)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(run.experiment.as_str())
        .bind(now.0);
        self.execute(connection, query).await?;
        let digest_of = |text: &str| Digest::of(text.as_bytes()).as_bytes().to_vec();
        let digest = digest_of(&run.pipeline_text);
        let diff_digest = run.git_diff.as_deref().map(digest_of);
        let mut texts = vec![(digest.clone(), clean(&run.pipeline_text))];
        texts.extend(diff_digest.clone().zip(run.git_diff.as_deref().map(clean)));
        // In the order of their digests, as in every other transaction.
        texts.sort();
        for (digest, text) in texts {
            let query = sqlx::query(
                "INSERT INTO pipeline_texts (digest, text) VALUES ($1, $2)
                 ON CONFLICT (digest) DO NOTHING",
            )
            .bind(digest)
            .bind(text);
            self.execute(connection, query).await?;
        }
        sqlx::query_scalar(NEW_RUN)
            .bind(run.id.as_str())
            .bind(run.experiment.as_str())
            .bind(clean(&run.pipeline))
            .bind(clean(&run.pipeline_path))
            .bind(&digest)
            .bind(run.parent.as_ref().map(RunId::as_str))
            .bind(json_text(&run.environment)?)
            .bind(run.plan.as_bytes().to_vec())
            .bind(now.0)
            .bind(diff_digest)
            .fetch_one(connection)
            .await
            .map_err(|error| self.refused(error))
    }

    async fn insert_params(
        &self,
        connection: &mut PgConnection,
        id: i64,
        run: &NewRun,
    ) -> StoreResult<()> {
        let names: Vec<_> = run.params.iter().map(|(name, _)| clean(name).into_owned()).collect();
        let values: Vec<_> = run.params.iter().map(|(_, value)| value.to_string()).collect();
        let numbers: Vec<_> = run.params.iter().map(|(_, value)| value.as_f64()).collect();
        let overridden: Vec<_> =
            run.params.iter().map(|(name, _)| run.overridden.contains(name)).collect();
        let query = sqlx::query(
            "INSERT INTO params (run_id, name, value, number, overridden)
             SELECT $1, new.*
             FROM unnest($2::text[], $3::text[], $4::double precision[], $5::boolean[]) AS new",
        )
        .bind(id)
        .bind(&names)
        .bind(&values)
        .bind(&numbers)
        .bind(&overridden);
        self.execute(connection, query).await?;
        Ok(())
    }

    async fn insert_lease(
        &self,
        connection: &mut PgConnection,
        run: i64,
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<()> {
        let query = sqlx::query(NEW_LEASE)
            .bind(run)
            .bind(token(engine.token))
            .bind(clean(&engine.host))
            .bind(i64::from(engine.pid))
            .bind(engine.process_start as i64)
            .bind(now.0 + LEASE_MICROS);
        self.execute(connection, query).await?;
        Ok(())
    }

    pub(super) async fn take_run(
        &self,
        run: &RunId,
        left: &[StageName],
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<Lease> {
        // Read anew: another engine may have added instances.
        let directory = self.find_directory(run).await?;
        let id = directory.ok_or_else(|| StoreError::NoRun(run.clone()))?.run;
        let left: Vec<&str> = left.iter().map(StageName::as_str).collect();
        self.write(async |connection| {
            // First the lease, then the run: in the order of an engine that ends its run.
            self.check_free(connection, LOCKED_LEASE_OF, run, id, engine, now).await?;
            let query =
                sqlx::query("SELECT state FROM runs WHERE id = $1 FOR NO KEY UPDATE").bind(id);
            self.execute(connection, query).await?;
            // There was no lease to lock, and another engine took the run in the meantime. Only
            // looked at: who holds that lease may wait for the run, which is locked here.
            self.check_free(connection, LEASE_OF, run, id, engine, now).await?;
            self.lose_attempts(connection, id, now).await?;
            let query = sqlx::query(
                "UPDATE stages SET state = 'queued', because = NULL, started = NULL,
                                   finished = NULL, failure = NULL
                 WHERE run_id = $1 AND state NOT IN ('queued', 'succeeded', 'cached')
                   AND template IS NULL AND name <> ALL ($2)",
            )
            .bind(id)
            .bind(&left);
            self.execute(connection, query).await?;
            let query =
                sqlx::query("UPDATE runs SET state = 'running', finished = NULL WHERE id = $1")
                    .bind(id);
            self.execute(connection, query).await?;
            self.insert_lease(connection, id, engine, now).await
        })
        .await?;
        Ok(Lease { run: run.clone(), engine: engine.token })
    }

    /// Fails if another engine, which lives, drives the run.
    async fn check_free(
        &self,
        connection: &mut PgConnection,
        sql: &'static str,
        run: &RunId,
        id: i64,
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<()> {
        let held: Option<LeaseRow> = sqlx::query_as(sql)
            .bind(id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
        let Some(held) = held else { return Ok(()) };
        let held = held.state()?;
        if held.engine.token == engine.token || held.is_dead(now, &self.host) {
            return Ok(());
        }
        let EngineId { host, pid, .. } = held.engine;
        let since = sqlx::query_scalar(DRIVEN_SINCE)
            .bind(id)
            .fetch_one(connection)
            .await
            .map_err(|error| self.refused(error))?;
        Err(StoreError::Leased { run: run.clone(), host, pid, since: Timestamp(since) })
    }

    pub(super) async fn engine_of(&self, run: &RunId) -> StoreResult<Option<EngineId>> {
        let id = self.directory(run).await?.run;
        let held: Option<LeaseRow> = sqlx::query_as(LEASE_OF)
            .bind(id)
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        Ok(held.map(|held| held.state()).transpose()?.map(|held| held.engine))
    }

    pub(super) async fn renew_lease(&self, lease: &Lease, now: Timestamp) -> StoreResult<()> {
        let renewed = self
            .write(async |connection| {
                let query = sqlx::query(
                    "UPDATE leases SET expires = $3
                     WHERE run_id = (SELECT id FROM runs WHERE public_id = $1) AND token = $2",
                )
                .bind(lease.run.as_str())
                .bind(token(lease.engine))
                .bind(now.0 + LEASE_MICROS);
                self.execute(connection, query).await
            })
            .await?;
        if renewed == 0 { Err(StoreError::LeaseLost(lease.run.clone())) } else { Ok(()) }
    }

    pub(super) async fn interrupt_dead_runs(&self, now: Timestamp) -> StoreResult<Vec<RunId>> {
        let leases: Vec<LeaseRow> = sqlx::query_as(LEASES)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        let mut interrupted = Vec::new();
        for lease in leases {
            let state = lease.state()?;
            if state.is_dead(now, &self.host) && self.interrupt(&lease, now).await? {
                interrupted.push(lease.run()?);
            }
        }
        Ok(interrupted)
    }

    /// Interrupts a run, unless its lease changed since it was read.
    async fn interrupt(&self, lease: &LeaseRow, now: Timestamp) -> StoreResult<bool> {
        let expires = lease.state()?.expires;
        self.write(async |connection| {
            let query =
                sqlx::query("DELETE FROM leases WHERE run_id = $1 AND token = $2 AND expires = $3")
                    .bind(lease.run_id)
                    .bind(lease.token)
                    .bind(expires.0);
            if self.execute(connection, query).await? == 0 {
                return Ok(false);
            }
            self.lose_attempts(connection, lease.run_id, now).await?;
            let query =
                sqlx::query("UPDATE runs SET state = 'interrupted', finished = $2 WHERE id = $1")
                    .bind(lease.run_id)
                    .bind(now.0);
            self.execute(connection, query).await?;
            let body = EventBody::RunFinished { state: RunState::Interrupted };
            self.insert_events(connection, lease.run_id, &[&Event { time: now, body }]).await?;
            Ok(true)
        })
        .await
    }

    /// What runs in a run whose engine is dead is lost.
    async fn lose_attempts(
        &self,
        connection: &mut PgConnection,
        run: i64,
        now: Timestamp,
    ) -> StoreResult<()> {
        let running: Vec<RunningRow> = sqlx::query_as(
            "SELECT s.name AS stage, a.attempt, a.token, a.started
             FROM stages s JOIN attempts a ON a.run_id = s.run_id AND a.position = s.position
             WHERE s.run_id = $1 AND a.state = 'running'
             ORDER BY s.position, a.attempt",
        )
        .bind(run)
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| self.refused(error))?;
        if !running.is_empty() {
            let events: StoreResult<Vec<_>> = running.iter().map(|row| row.lost(now)).collect();
            self.insert_events(connection, run, &events?.iter().collect::<Vec<_>>()).await?;
        }
        // A stage that stands for instances runs without an attempt of its own.
        for sql in [
            "UPDATE attempts SET state = 'lost', finished = $2
             WHERE run_id = $1 AND state = 'running'",
            "UPDATE stages SET state = 'lost', finished = $2
             WHERE run_id = $1 AND state = 'running'",
        ] {
            self.execute(connection, sqlx::query(sql).bind(run).bind(now.0)).await?;
        }
        Ok(())
    }

    pub(super) async fn request_cancel(&self, run: &RunId, now: Timestamp) -> StoreResult<()> {
        let id = self.directory(run).await?.run;
        self.write(async |connection| {
            let query = sqlx::query("UPDATE leases SET cancel_requested = $2 WHERE run_id = $1")
                .bind(id)
                .bind(now.0);
            self.execute(connection, query).await
        })
        .await?;
        Ok(())
    }

    pub(super) async fn cancel_requested(&self, run: &RunId) -> StoreResult<bool> {
        let id = self.directory(run).await?.run;
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM leases
                            WHERE run_id = $1 AND cancel_requested IS NOT NULL)",
        )
        .bind(id)
        .fetch_one(&self.pool)
        .await
        .map_err(|error| self.refused(error))
    }
}
