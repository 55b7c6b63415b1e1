//! Runs come and go: creating, taking up, leases, and what dead engines leave.

use sqlx::{Connection, SqliteConnection};
use wick_core::{
    AttemptState, Digest, Event, EventBody, RunId, RunState, StageName, Timestamp, Token,
};

use super::{Durability, Outcome, SqliteStore, run_all};
use crate::directory::Directory;
use crate::error::{StoreError, StoreResult};
use crate::records::{EngineId, LEASE_MICROS, Lease, NewRun, check_names};
use crate::rows::{LeaseRow, RunningRow};

/// `$1` is the run's public id; the rest is named where it is bound.
const CREATE: &str = "
    INSERT INTO experiments (name, created) VALUES ($2, $10) ON CONFLICT (name) DO NOTHING;
    INSERT INTO pipeline_texts (digest, text) VALUES ($5, $6) ON CONFLICT (digest) DO NOTHING;
    INSERT INTO pipeline_texts (digest, text) SELECT $18, $19 WHERE $18 IS NOT NULL
        ON CONFLICT (digest) DO NOTHING;
    INSERT INTO runs (public_id, experiment_id, pipeline, pipeline_path, pipeline_text_id,
                      parent_id, environment, git_diff_id, plan, state, started)
        VALUES ($1, (SELECT id FROM experiments WHERE name = $2), $3, $4,
                (SELECT id FROM pipeline_texts WHERE digest = $5),
                (SELECT id FROM runs WHERE public_id = $7), $8,
                (SELECT id FROM pipeline_texts WHERE digest = $18), $9, 'running', $10);
    INSERT INTO leases (run_id, token, host, pid, process_start, expires)
        SELECT id, $11, $12, $13, $14, $15 FROM runs WHERE public_id = $1;
    INSERT INTO params (run_id, name, value, number, overridden)
        SELECT (SELECT id FROM runs WHERE public_id = $1),
               value ->> 0, value ->> 1, value ->> 2, value ->> 3
        FROM json_each($16);
    INSERT INTO stages (run_id, position, name, kind, state)
        SELECT (SELECT id FROM runs WHERE public_id = $1), key, value ->> 0, value ->> 1, 'queued'
        FROM json_each($17);
    SELECT id FROM runs WHERE public_id = $1";

/// CROSS JOIN: from the few leases to their runs, not the other way.
const LEASES: &str = "
    SELECT l.run_id, r.public_id, l.token, l.host, l.pid, l.process_start, l.expires
    FROM leases l CROSS JOIN runs r ON r.id = l.run_id";

const LEASE_OF: &str = "
    SELECT l.run_id, r.public_id, l.token, l.host, l.pid, l.process_start, l.expires
    FROM leases l JOIN runs r ON r.id = l.run_id
    WHERE l.run_id = $1";

/// When the engine that drives a run began with it: every engine says so first of all.
const DRIVEN_SINCE: &str = "
    SELECT coalesce((SELECT max(time) FROM events
                     WHERE run_id = $1 AND body LIKE '{\"run_started\"%'),
                    (SELECT started FROM runs WHERE id = $1))";

impl SqliteStore {
    pub(super) async fn create_run(
        &self,
        run: &NewRun,
        engine: &EngineId,
        now: Timestamp,
    ) -> StoreResult<Lease> {
        let params: Vec<_> = run
            .params
            .iter()
            .map(|(name, value)| {
                let overridden = run.overridden.contains(name);
                (name, value.to_string(), value.as_f64(), u8::from(overridden))
            })
            .collect();
        check_names(&run.stages)?;
        let query = sqlx::query(CREATE)
            .bind(run.id.as_str())
            .bind(run.experiment.as_str())
            .bind(&run.pipeline)
            .bind(&run.pipeline_path)
            .bind(Digest::of(run.pipeline_text.as_bytes()).as_bytes().to_vec())
            .bind(&run.pipeline_text)
            .bind(run.parent.as_ref().map(RunId::as_str))
            .bind(run.environment.to_string())
            .bind(run.plan.as_bytes().to_vec())
            .bind(now.0)
            .bind(token(engine.token))
            .bind(&engine.host)
            .bind(i64::from(engine.pid))
            .bind(engine.process_start as i64)
            .bind(now.0 + LEASE_MICROS)
            .bind(array(&params)?)
            .bind(array(&run.stages)?)
            .bind(diff_digest(run))
            .bind(&run.git_diff);
        let mut outcome = Outcome::default();
        self.write(async |connection| {
            run_all(connection, query, &mut outcome).await.map_err(|error| self.refused(error))
        })
        .await?;
        if let Some(row) = outcome.rows.first() {
            let id = sqlx::Row::try_get(row, 0).map_err(|error| self.refused(error))?;
            self.directories
                .keep(&run.id, Directory::new(id, run.stages.iter().map(|stage| stage.0.clone())));
        }
        Ok(Lease { run: run.id.clone(), engine: engine.token })
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
        self.write(async |connection| {
            let held: Option<LeaseRow> = sqlx::query_as(LEASE_OF)
                .bind(id)
                .fetch_optional(&mut *connection)
                .await
                .map_err(|error| self.refused(error))?;
            if let Some(held) = held.map(|held| held.state()).transpose()?
                && held.engine.token != engine.token
                && !held.is_dead(now, &self.host)
            {
                let EngineId { host, pid, .. } = held.engine;
                let since = sqlx::query_scalar(DRIVEN_SINCE)
                    .bind(id)
                    .fetch_one(&mut *connection)
                    .await
                    .map_err(|error| self.refused(error))?;
                let (run, since) = (run.clone(), Timestamp(since));
                return Err(StoreError::Leased { run, host, pid, since });
            }
            self.lose_attempts(connection, id, now).await?;
            let query = sqlx::query(
                "UPDATE stages SET state = 'queued', because = NULL, started = NULL,
                                   finished = NULL, failure = NULL
                     WHERE run_id = $1 AND state NOT IN ('queued', 'succeeded', 'cached')
                       AND template IS NULL AND name NOT IN (SELECT value FROM json_each($7));
                 UPDATE runs SET state = 'running', finished = NULL WHERE id = $1;
                 INSERT OR REPLACE INTO leases (run_id, token, host, pid, process_start, expires)
                     VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(id)
            .bind(token(engine.token))
            .bind(&engine.host)
            .bind(i64::from(engine.pid))
            .bind(engine.process_start as i64)
            .bind(now.0 + LEASE_MICROS)
            .bind(array(left)?);
            query.execute(&mut *connection).await.map_err(|error| self.refused(error))?;
            Ok(())
        })
        .await?;
        Ok(Lease { run: run.clone(), engine: engine.token })
    }

    pub(super) async fn engine_of(&self, run: &RunId) -> StoreResult<Option<EngineId>> {
        let id = self.directory(run).await?.run;
        let held: Option<LeaseRow> = sqlx::query_as(LEASE_OF)
            .bind(id)
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        Ok(held.map(|held| held.state()).transpose()?.map(|held| held.engine))
    }

    pub(super) async fn renew_lease(&self, lease: &Lease, now: Timestamp) -> StoreResult<()> {
        // After a power cut the engine is dead, whatever its lease says.
        let renewed = self
            .write_as(Durability::Written, async |connection| {
                sqlx::query(
                    "UPDATE leases SET expires = $3
                         WHERE run_id = (SELECT id FROM runs WHERE public_id = $1) AND token = $2",
                )
                .bind(lease.run.as_str())
                .bind(token(lease.engine))
                .bind(now.0 + LEASE_MICROS)
                .execute(connection)
                .await
                .map_err(|error| self.refused(error))
            })
            .await?;
        if renewed.rows_affected() == 0 {
            return Err(StoreError::LeaseLost(lease.run.clone()));
        }
        Ok(())
    }

    pub(super) async fn interrupt_dead_runs(&self, now: Timestamp) -> StoreResult<Vec<RunId>> {
        // There are as many leases as runs under way: nearly always none or a few.
        let leases: Vec<LeaseRow> = sqlx::query_as(LEASES)
            .fetch_all(&self.readers)
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
            let removed =
                sqlx::query("DELETE FROM leases WHERE run_id = $1 AND token = $2 AND expires = $3")
                    .bind(lease.run_id)
                    .bind(lease.token)
                    .bind(expires.0)
                    .execute(&mut *connection)
                    .await
                    .map_err(|error| self.refused(error))?;
            if removed.rows_affected() == 0 {
                return Ok(false);
            }
            self.lose_attempts(connection, lease.run_id, now).await?;
            sqlx::query("UPDATE runs SET state = 'interrupted', finished = $2 WHERE id = $1")
                .bind(lease.run_id)
                .bind(now.0)
                .execute(&mut *connection)
                .await
                .map_err(|error| self.refused(error))?;
            let body = EventBody::RunFinished { state: RunState::Interrupted };
            self.insert_events(connection, lease.run_id, &[&Event { time: now, body }]).await?;
            Ok(true)
        })
        .await
    }

    /// What runs in a run whose engine is dead is lost.
    async fn lose_attempts(
        &self,
        connection: &mut SqliteConnection,
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
        sqlx::query(
            "UPDATE attempts SET state = $2, finished = $3
                 WHERE run_id = $1 AND state = 'running';
             UPDATE stages SET state = $2, finished = $3 WHERE run_id = $1 AND state = 'running'",
        )
        .bind(run)
        .bind(AttemptState::Lost.as_str())
        .bind(now.0)
        .execute(connection)
        .await
        .map_err(|error| self.refused(error))?;
        Ok(())
    }

    pub(super) async fn request_cancel(&self, run: &RunId, now: Timestamp) -> StoreResult<()> {
        let id = self.directory(run).await?.run;
        self.write(async |connection| {
            sqlx::query("UPDATE leases SET cancel_requested = $2 WHERE run_id = $1")
                .bind(id)
                .bind(now.0)
                .execute(connection)
                .await
                .map_err(|error| self.refused(error))
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
        .fetch_one(&self.readers)
        .await
        .map_err(|error| self.refused(error))
    }

    /// Does `work` in one write transaction, which is on the disk when this returns.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> StoreResult<T>,
    ) -> StoreResult<T> {
        self.write_as(Durability::Flushed, work).await
    }

    /// Does `work` in one write transaction.
    pub(super) async fn write_as<T>(
        &self,
        durability: Durability,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let mut writer = self.writer().await?;
        let mut is_sound = true;
        let open = writer.open();
        // Only known again when the transaction has begun with it.
        open.durability = None;
        let result = self.transact(&mut open.connection, durability, work, &mut is_sound).await;
        if !is_sound {
            writer.discard().await;
        }
        result
    }

    /// The transaction itself; clears `is_sound` if the connection cannot be used after it.
    async fn transact<T>(
        &self,
        connection: &mut SqliteConnection,
        durability: Durability,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> StoreResult<T>,
        is_sound: &mut bool,
    ) -> StoreResult<T> {
        let begun = connection.begin_with(durability.begin()).await;
        let mut transaction = begun.map_err(|error| {
            let error = self.refused(error);
            *is_sound = matches!(error, StoreError::Busy { .. });
            error
        })?;
        match work(&mut transaction).await {
            Ok(done) => {
                transaction.commit().await.map_err(|error| {
                    *is_sound = false;
                    self.uncommitted(error)
                })?;
                Ok(done)
            }
            Err(error) => {
                // Its own failure would say less than the first.
                *is_sound = transaction.rollback().await.is_ok();
                Err(error)
            }
        }
    }
}

/// What the diff of a run's working tree is kept by.
fn diff_digest(run: &NewRun) -> Option<Vec<u8>> {
    run.git_diff.as_ref().map(|diff| Digest::of(diff.as_bytes()).as_bytes().to_vec())
}

/// Rows as one JSON array: one bound value, however many there are.
pub(super) fn array<T: serde::Serialize + ?Sized>(rows: &T) -> StoreResult<String> {
    serde_json::to_string(rows).map_err(|error| {
        StoreError::Refused(format!("something cannot be written as JSON: {error}"))
    })
}

/// A token as the database keeps it: the same bits.
pub(super) const fn token(token: Token) -> i64 {
    token.0 as i64
}
