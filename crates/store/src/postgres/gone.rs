//! Removing runs, and what must stay of artifacts.

use wick_core::{Digest, PortType, RunId};

use super::PostgresStore;
use crate::error::StoreResult;
use crate::gone::{
    CLEAR_TEXTS, Candidate, MOST_PARTS, MadeRow, PurgePreview, UNUSED_PARTS, can_go, nobody_needs,
    referenced,
};
use crate::queries::{MADE, REGISTERED, RUN_IDS};
use crate::rows::text;

/// The runs that may go, of those asked for. Locked, so that nobody takes one up meanwhile.
const CANDIDATES: &str = concat!(
    "SELECT r.id, r.public_id FROM runs r
     WHERE r.public_id = ANY ($1) AND r.deleted IS NOT NULL AND ",
    nobody_needs!(),
    " ORDER BY r.id FOR UPDATE"
);

/// Who has taken outputs of runs.
const TAKEN: &str = "
    SELECT DISTINCT source_run_id, run_id FROM stages
    WHERE source_run_id = ANY ($1) AND source_run_id <> run_id";

/// In this order; what hangs on a run by a foreign key goes with it.
const PURGE: [&str; 4] = [
    "DELETE FROM fingerprints f USING attempts a
     WHERE a.run_id = ANY ($1) AND f.fingerprint = a.fingerprint AND f.run_id = a.run_id",
    "DELETE FROM metric_chunks c USING metrics m WHERE m.run_id = ANY ($1) AND c.metric_id = m.id",
    "DELETE FROM metric_points p USING metrics m WHERE m.run_id = ANY ($1) AND p.metric_id = m.id",
    "DELETE FROM runs WHERE id = ANY ($1)",
];

/// The runs that could go, of those asked for, if they were deleted.
const COULD_GO: &str = concat!(
    "SELECT r.id, r.public_id FROM runs r WHERE r.public_id = ANY ($1) AND ",
    nobody_needs!(),
    " ORDER BY r.id"
);

/// What only these runs have made, and no model is.
const ONLY_THEIRS: &str = "
    SELECT o.digest, max(o.bytes) FROM outputs o
    WHERE o.run_id = ANY ($1)
      AND NOT EXISTS (SELECT 1 FROM model_versions m WHERE m.digest = o.digest)
      AND NOT EXISTS (SELECT 1 FROM outputs p WHERE p.digest = o.digest
                      AND NOT p.run_id = ANY ($1))
    GROUP BY o.digest ORDER BY o.digest";

/// Of these fingerprints the parts that nothing uses.
const CLEAR_PARTS: &str = "
    DELETE FROM fingerprint_parts p USING unnest($1::bytea[]) AS j (fingerprint)
    WHERE p.fingerprint = j.fingerprint
      AND NOT EXISTS (SELECT 1 FROM stages s WHERE s.fingerprint = j.fingerprint)
      AND NOT EXISTS (SELECT 1 FROM attempts a WHERE a.fingerprint = j.fingerprint)";

// Who wants to use a row of these writes to the table first, in the transaction in which it comes
// to refer to it. So under these locks whoever did is seen, and whoever will finds the row gone
// and writes it anew.
const LOCK_TEXTS: &str = "LOCK TABLE pipeline_texts IN SHARE ROW EXCLUSIVE MODE";
const LOCK_PARTS: &str = "LOCK TABLE fingerprint_parts IN SHARE ROW EXCLUSIVE MODE";

impl PostgresStore {
    pub(super) async fn clear_unused(&self) -> StoreResult<u64> {
        let mut cleared = 0;
        loop {
            let gone = self.clear(LOCK_TEXTS, sqlx::query(CLEAR_TEXTS)).await?;
            cleared += gone;
            if gone == 0 {
                break;
            }
        }
        let unused: Vec<Vec<u8>> = sqlx::query_scalar(UNUSED_PARTS)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        for some in unused.chunks(MOST_PARTS) {
            cleared += self.clear(LOCK_PARTS, sqlx::query(CLEAR_PARTS).bind(some)).await?;
        }
        Ok(cleared)
    }

    /// Removes rows in a transaction of their own under `lock`; how many there were.
    async fn clear(
        &self,
        lock: &'static str,
        query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> StoreResult<u64> {
        self.write(async |connection| {
            self.execute(connection, sqlx::query(lock)).await?;
            self.execute(connection, query).await
        })
        .await
    }

    pub(super) async fn run_ids(
        &self,
        after: Option<&RunId>,
        limit: u32,
    ) -> StoreResult<Vec<RunId>> {
        let ids: Vec<String> = sqlx::query_scalar(RUN_IDS)
            .bind(after.map(RunId::as_str))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        ids.iter().map(|id| text("a run id", id)).collect()
    }

    pub(super) async fn referenced_artifacts(
        &self,
        after: Option<Digest>,
        limit: u32,
    ) -> StoreResult<Vec<(Digest, PortType, u64)>> {
        // Before the first digest comes the empty text of bytes.
        let after = after.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
        let made: Vec<MadeRow> = sqlx::query_as(MADE)
            .bind(&after)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        let registered: Vec<(Vec<u8>,)> = sqlx::query_as(REGISTERED)
            .bind(&after)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        referenced(&made, &registered, limit)
    }

    pub(super) async fn preview_purge(&self, runs: &[RunId]) -> StoreResult<PurgePreview> {
        let asked = runs.iter().map(RunId::as_str).collect::<Vec<_>>();
        let rows: Vec<(i64, String)> = sqlx::query_as(COULD_GO)
            .bind(&asked)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        let ids = rows.iter().map(|row| row.0).collect::<Vec<_>>();
        let taken: Vec<(i64, i64)> = sqlx::query_as(TAKEN)
            .bind(&ids)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        let candidates = rows.into_iter().map(|(id, name)| Candidate { id, name });
        let going = can_go(candidates.collect(), &taken);
        let ids = going.iter().map(|run| run.id).collect::<Vec<_>>();
        let artifacts: Vec<(Vec<u8>, i64)> = sqlx::query_as(ONLY_THEIRS)
            .bind(&ids)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        PurgePreview::new(&going, &artifacts)
    }

    pub(super) async fn purge_runs(&self, runs: &[RunId]) -> StoreResult<Vec<RunId>> {
        let asked: Vec<_> = runs.iter().map(RunId::as_str).collect();
        let gone = self
            .write(async |connection| {
                let rows: Vec<(i64, String)> = sqlx::query_as(CANDIDATES)
                    .bind(&asked)
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(|error| self.refused(error))?;
                let ids: Vec<_> = rows.iter().map(|row| row.0).collect();
                let taken: Vec<(i64, i64)> = sqlx::query_as(TAKEN)
                    .bind(&ids)
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(|error| self.refused(error))?;
                let candidates = rows.into_iter().map(|(id, name)| Candidate { id, name });
                let going = can_go(candidates.collect(), &taken);
                let ids: Vec<_> = going.iter().map(|run| run.id).collect();
                for sql in PURGE {
                    self.execute(connection, sqlx::query(sql).bind(&ids)).await?;
                }
                Ok(going)
            })
            .await?;
        gone.iter()
            .map(|run| {
                let run = text("a run id", &run.name)?;
                self.directories.forget(&run);
                Ok(run)
            })
            .collect()
    }
}
