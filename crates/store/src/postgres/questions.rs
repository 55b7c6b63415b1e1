//! Asking over many runs.

use sqlx::{AssertSqlSafe, Postgres, QueryBuilder};
use wick_core::Digest;

use super::PostgresStore;
use crate::error::StoreResult;
use crate::questions::*;
use crate::rows::digest;
use crate::search::Step;

const MAKERS: &str =
    makers!("FROM unnest($1::bytea[]) AS j (digest) JOIN outputs o USING (digest)");

const READERS: &str = readers!(
    "FROM unnest($1::bytea[]) AS j (digest) JOIN inputs i ON i.digest = j.digest
     JOIN stages s ON s.run_id = i.run_id AND s.position = i.position"
);

const SOURCE_READERS: &str = source_readers!(
    "FROM unnest($1::bytea[]) AS j (digest) JOIN fingerprint_sources i ON i.digest = j.digest"
);

const PAGE_ATTEMPTS: &str = "
    SELECT a.run_id, a.position, a.attempt, a.state, a.started, a.wall_micros, a.cpu_micros,
           a.max_rss_bytes, a.failure
    FROM unnest($1::bigint[], $2::bigint[]) AS j (run, position)
    JOIN attempts a ON a.run_id = j.run AND a.position = j.position
    ORDER BY a.run_id, a.position, a.attempt";

const PAGE_METRICS: &str = "
    SELECT m.run_id, m.position, m.attempt, k.name, m.value
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS j (run, position, attempt)
    JOIN metrics m ON m.run_id = j.run AND m.position = j.position AND m.attempt = j.attempt
    JOIN metric_keys k ON k.id = m.key_id
    ORDER BY m.run_id, m.position, m.attempt, k.name";

impl PostgresStore {
    pub(super) async fn stage_history(&self, query: &StageQuery) -> StoreResult<Vec<StageInRun>> {
        let mut sql = QueryBuilder::<Postgres>::new("WITH page AS (SELECT r.id AS run_id, ");
        sql.push("s.position, r.public_id AS run, r.experiment_id, r.state AS run_state, ");
        sql.push("r.started AS run_started FROM ");
        sql.push("runs r JOIN stages s ON s.run_id = r.id WHERE ").push(IS_TOLD);
        // The stage itself, or an instance of it.
        let instance = format!("{}[", query.stage);
        sql.push(" AND (s.name = ").push_bind(&query.stage);
        sql.push(" OR substr(s.name, 1, ").push_bind(instance.chars().count() as i32);
        sql.push(") = ").push_bind(instance).push(")");
        if let Some(experiment) = &query.experiment {
            sql.push(" AND r.experiment_id = (SELECT id FROM experiments WHERE name = ")
                .push_bind(experiment.as_str())
                .push(")");
        }
        let limit = (query.limit > 0).then_some(i64::from(query.limit));
        sql.push(" ORDER BY r.id DESC, s.position LIMIT ").push_bind(limit);
        sql.push(" OFFSET ").push_bind(i64::from(query.offset));
        sql.push(")").push(STAGES_OF_PAGE);
        let rows: Vec<PageRow> = sql
            .build_query_as()
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        let runs: Vec<_> = rows.iter().map(|row| row.run_id).collect();
        let positions: Vec<_> = rows.iter().map(|row| row.position).collect();
        let attempts: Vec<PageAttemptRow> = sqlx::query_as(PAGE_ATTEMPTS)
            .bind(runs)
            .bind(positions)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        let sources: std::collections::HashSet<_> = rows
            .iter()
            .map(|row| (row.source_run_id, row.source_position, row.source_attempt))
            .collect();
        let metrics: Vec<PageMetricRow> = sqlx::query_as(PAGE_METRICS)
            .bind(sources.iter().map(|source| source.0).collect::<Vec<_>>())
            .bind(sources.iter().map(|source| source.1).collect::<Vec<_>>())
            .bind(sources.iter().map(|source| source.2).collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        page(rows, &attempts, metrics)
    }

    pub(super) async fn find_artifacts(&self, prefix: &str) -> StoreResult<Vec<Digest>> {
        let Some((low, high)) = digests_between(prefix) else { return Ok(Vec::new()) };
        let found: Vec<Vec<u8>> = sqlx::query_scalar(ARTIFACTS_BETWEEN)
            .bind(low)
            .bind(high)
            .bind(MAX_FOUND_ARTIFACTS)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        found.iter().map(|bytes| digest(bytes)).collect()
    }

    pub(super) async fn makers(
        &self,
        digests: &[Digest],
        limit: u32,
    ) -> StoreResult<Vec<MadeArtifact>> {
        let rows: Vec<MadeRow> = sqlx::query_as(MAKERS)
            .bind(bytes(digests))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        rows.into_iter().map(MadeRow::record).collect()
    }

    pub(super) async fn readers(&self, digests: &[Digest], limit: u32) -> StoreResult<Vec<Reader>> {
        let rows: Vec<ReaderRow> = sqlx::query_as(READERS)
            .bind(bytes(digests))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        ReaderRow::of_artifacts(&rows)
    }

    pub(super) async fn source_readers(
        &self,
        digests: &[Digest],
        limit: u32,
    ) -> StoreResult<Vec<Reader>> {
        let rows: Vec<ReaderRow> = sqlx::query_as(SOURCE_READERS)
            .bind(bytes(digests))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        ReaderRow::of_sources(&rows)
    }

    /// By which statements the makers and readers of `digests`, and the readers of sources, are
    /// found, each with the plan that the database makes for it.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn explain_lineage(&self, digests: &[Digest], limit: u32) -> StoreResult<Vec<Step>> {
        let mut steps = Vec::new();
        for statement in [MAKERS, READERS, SOURCE_READERS] {
            let plan = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN {statement}")))
                .bind(bytes(digests))
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await
                .map_err(|error| self.refused(error))?;
            steps.push(Step { statement: statement.to_owned(), plan });
        }
        Ok(steps)
    }
}

fn bytes(digests: &[Digest]) -> Vec<Vec<u8>> {
    digests.iter().map(|digest| digest.as_bytes().to_vec()).collect()
}
