//! Removing runs, and what must stay of artifacts.

use wick_core::{Digest, PortType, RunId};

use super::SqliteStore;
use super::load::hex;
use super::runs::array;
use crate::error::StoreResult;
use crate::gone::{
    CLEAR_TEXTS, Candidate, MOST_PARTS, MadeRow, PurgePreview, UNUSED_PARTS, can_go, nobody_needs,
    referenced,
};
use crate::queries::{MADE, REGISTERED, RUN_IDS};
use crate::rows::text;

/// The runs that may go, of those asked for.
const CANDIDATES: &str = concat!(
    "SELECT r.id, r.public_id FROM json_each($1) j CROSS JOIN runs r ON r.public_id = j.value
     WHERE r.deleted IS NOT NULL AND ",
    nobody_needs!()
);

/// Who has taken outputs of runs.
const TAKEN: &str = "
    SELECT DISTINCT s.source_run_id, s.run_id
    FROM json_each($1) j CROSS JOIN stages s
        ON s.source_run_id = j.value AND s.source_run_id <> s.run_id";

/// What hangs on a run by a foreign key goes with it.
const PURGE: &str = "
    DELETE FROM fingerprints WHERE (fingerprint, run_id) IN
        (SELECT a.fingerprint, a.run_id
         FROM json_each($1) j CROSS JOIN attempts a ON a.run_id = j.value);
    DELETE FROM runs WHERE id IN (SELECT value FROM json_each($1))";

/// The runs that could go, of those asked for, if they were deleted.
const COULD_GO: &str = concat!(
    "SELECT r.id, r.public_id FROM json_each($1) j CROSS JOIN runs r ON r.public_id = j.value
     WHERE ",
    nobody_needs!()
);

/// What only these runs have made, and no model is.
const ONLY_THEIRS: &str = "
    WITH going AS MATERIALIZED (SELECT value AS id FROM json_each($1))
    SELECT o.digest, max(o.bytes) FROM going g CROSS JOIN outputs o ON o.run_id = g.id
    WHERE NOT EXISTS (SELECT 1 FROM model_versions m WHERE m.digest = o.digest)
      AND NOT EXISTS (SELECT 1 FROM outputs p WHERE p.digest = o.digest
                      AND p.run_id NOT IN (SELECT id FROM going))
    GROUP BY o.digest ORDER BY o.digest";

/// Of these fingerprints the parts that nothing uses. Nobody else writes meanwhile.
const CLEAR_PARTS: &str = "
    DELETE FROM fingerprint_parts WHERE fingerprint IN
        (SELECT unhex(value) FROM json_each($1)
         EXCEPT SELECT fingerprint FROM stages EXCEPT SELECT fingerprint FROM attempts)";

impl SqliteStore {
    pub(super) async fn clear_unused(&self) -> StoreResult<u64> {
        let mut cleared = 0;
        loop {
            let gone = self.clear(CLEAR_TEXTS, None).await?;
            cleared += gone;
            if gone == 0 {
                break;
            }
        }
        let unused: Vec<Vec<u8>> = sqlx::query_scalar(UNUSED_PARTS)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        for some in unused.chunks(MOST_PARTS) {
            let hex: Vec<String> = some.iter().map(|bytes| hex(bytes)).collect();
            cleared += self.clear(CLEAR_PARTS, Some(array(&hex)?)).await?;
        }
        Ok(cleared)
    }

    /// Removes rows in a transaction of their own; how many there were.
    async fn clear(&self, sql: &'static str, list: Option<String>) -> StoreResult<u64> {
        self.write(async |connection| {
            let done = sqlx::query(sql).bind(list).execute(connection).await;
            Ok(done.map_err(|error| self.refused(error))?.rows_affected())
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
            .fetch_all(&self.readers)
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
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        let registered: Vec<(Vec<u8>,)> = sqlx::query_as(REGISTERED)
            .bind(&after)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        referenced(&made, &registered, limit)
    }

    pub(super) async fn preview_purge(&self, runs: &[RunId]) -> StoreResult<PurgePreview> {
        let asked = array(runs)?;
        let rows: Vec<(i64, String)> = sqlx::query_as(COULD_GO)
            .bind(&asked)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        let ids = array(&rows.iter().map(|row| row.0).collect::<Vec<_>>())?;
        let taken: Vec<(i64, i64)> = sqlx::query_as(TAKEN)
            .bind(&ids)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        let candidates = rows.into_iter().map(|(id, name)| Candidate { id, name });
        let going = can_go(candidates.collect(), &taken);
        let ids = array(&going.iter().map(|run| run.id).collect::<Vec<_>>())?;
        let artifacts: Vec<(Vec<u8>, i64)> = sqlx::query_as(ONLY_THEIRS)
            .bind(&ids)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        PurgePreview::new(&going, &artifacts)
    }

    pub(super) async fn purge_runs(&self, runs: &[RunId]) -> StoreResult<Vec<RunId>> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let asked = array(runs)?;
        let gone = self
            .write(async |connection| {
                let rows: Vec<(i64, String)> = sqlx::query_as(CANDIDATES)
                    .bind(&asked)
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(|error| self.refused(error))?;
                let ids = array(&rows.iter().map(|row| row.0).collect::<Vec<_>>())?;
                let taken: Vec<(i64, i64)> = sqlx::query_as(TAKEN)
                    .bind(&ids)
                    .fetch_all(&mut *connection)
                    .await
                    .map_err(|error| self.refused(error))?;
                let candidates = rows.into_iter().map(|(id, name)| Candidate { id, name });
                let going = can_go(candidates.collect(), &taken);
                let ids = array(&going.iter().map(|run| run.id).collect::<Vec<_>>())?;
                sqlx::query(PURGE)
                    .bind(&ids)
                    .execute(connection)
                    .await
                    .map_err(|error| self.refused(error))?;
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
