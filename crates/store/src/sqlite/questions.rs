//! Asking over many runs. CROSS JOIN keeps the order of what is looked up: from what is asked
//! for, by keys, to what is wanted.

use sqlx::{QueryBuilder, Sqlite};
use wick_core::Digest;

use super::SqliteStore;
use super::runs::array;
use crate::error::StoreResult;
use crate::questions::*;
use crate::rows::digest;

const MAKERS: &str =
    makers!("FROM json_each($1) j CROSS JOIN outputs o ON o.digest = unhex(j.value)");

const READERS: &str = readers!(
    "FROM json_each($1) j CROSS JOIN inputs i ON i.digest = unhex(j.value)
     CROSS JOIN stages s ON s.run_id = i.run_id AND s.position = i.position"
);

const SOURCE_READERS: &str = source_readers!(
    "FROM json_each($1) j CROSS JOIN fingerprint_sources i ON i.digest = unhex(j.value)"
);

const PAGE_ATTEMPTS: &str = "
    SELECT a.run_id, a.position, a.attempt, a.state, a.started, a.wall_micros, a.cpu_micros,
           a.max_rss_bytes, a.failure
    FROM json_each($1) j
    CROSS JOIN attempts a ON a.run_id = j.value ->> 0 AND a.position = j.value ->> 1
    ORDER BY a.run_id, a.position, a.attempt";

const PAGE_METRICS: &str = "
    SELECT m.run_id, m.position, m.attempt, k.name, m.value
    FROM json_each($1) j
    CROSS JOIN metrics m ON m.run_id = j.value ->> 0 AND m.position = j.value ->> 1
                        AND m.attempt = j.value ->> 2
    JOIN metric_keys k ON k.id = m.key_id
    ORDER BY m.run_id, m.position, m.attempt, k.name";

/// The stages of a page, found by walking the runs from the newest on.
fn page_query(query: &StageQuery) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::<Sqlite>::new("WITH page AS (SELECT r.id AS run_id, ");
    sql.push("s.position, r.public_id AS run, r.experiment_id, r.state AS run_state, ");
    sql.push("r.started AS run_started FROM ");
    sql.push("runs r CROSS JOIN stages s ON s.run_id = r.id WHERE ").push(IS_TOLD);
    // The stage itself, or an instance of it.
    let instance = format!("{}[", query.stage);
    sql.push(" AND (s.name = ").push_bind(&query.stage);
    sql.push(" OR substr(s.name, 1, ").push_bind(instance.chars().count() as i64);
    sql.push(") = ").push_bind(instance).push(")");
    if let Some(experiment) = &query.experiment {
        sql.push(" AND r.experiment_id = (SELECT id FROM experiments WHERE name = ")
            .push_bind(experiment.as_str())
            .push(")");
    }
    let limit = if query.limit == 0 { -1 } else { i64::from(query.limit) };
    sql.push(" ORDER BY r.id DESC, s.position LIMIT ").push_bind(limit);
    sql.push(" OFFSET ").push_bind(query.offset);
    sql.push(")").push(STAGES_OF_PAGE);
    sql
}

impl SqliteStore {
    pub(super) async fn stage_history(&self, query: &StageQuery) -> StoreResult<Vec<StageInRun>> {
        let mut sql = page_query(query);
        let rows: Vec<PageRow> = sql
            .build_query_as()
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        let places: Vec<_> = rows.iter().map(|row| (row.run_id, row.position)).collect();
        let attempts: Vec<PageAttemptRow> = sqlx::query_as(PAGE_ATTEMPTS)
            .bind(array(&places)?)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        let sources: Vec<_> = rows
            .iter()
            .map(|row| (row.source_run_id, row.source_position, row.source_attempt))
            .collect::<std::collections::HashSet<_>>()
            .into_iter()
            .collect();
        let metrics: Vec<PageMetricRow> = sqlx::query_as(PAGE_METRICS)
            .bind(array(&sources)?)
            .fetch_all(&self.readers)
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
            .fetch_all(&self.readers)
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
            .bind(array(digests)?)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        rows.into_iter().map(MadeRow::record).collect()
    }

    pub(super) async fn readers(&self, digests: &[Digest], limit: u32) -> StoreResult<Vec<Reader>> {
        let rows: Vec<ReaderRow> = sqlx::query_as(READERS)
            .bind(array(digests)?)
            .bind(limit)
            .fetch_all(&self.readers)
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
            .bind(array(digests)?)
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        ReaderRow::of_sources(&rows)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;

    /// The steps of a plan that read a whole table, or sort.
    async fn scanned(store: &SqliteStore, sql: &str) -> Vec<String> {
        let steps: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                .fetch_all(&store.readers)
                .await
                .expect("a plan");
        let steps = steps.into_iter().map(|step| step.3);
        let steps = steps.filter(|step| step.starts_with("SCAN") || step.contains("TEMP B-TREE"));
        // Whether a part of the order is there already says nothing here.
        let plain = |step: String| match step.ends_with("TERMS OF ORDER BY") {
            true => "USE TEMP B-TREE FOR ORDER BY".to_owned(),
            false => step,
        };
        steps.map(plain).collect()
    }

    #[tokio::test]
    async fn questions_find_their_rows_by_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("store.db")).await.expect("a store");
        let order = "USE TEMP B-TREE FOR ORDER BY";
        let asked = "SCAN j VIRTUAL TABLE INDEX 1:";
        // What is asked for is read as a whole, and few rows are sorted.
        assert_eq!(scanned(&store, MAKERS).await, [asked, order]);
        let grouped = "USE TEMP B-TREE FOR GROUP BY";
        assert_eq!(scanned(&store, READERS).await, [asked, grouped, order, "SCAN reader", order]);
        assert_eq!(scanned(&store, SOURCE_READERS).await, [asked, order, "SCAN reader", order]);
        assert_eq!(scanned(&store, PAGE_ATTEMPTS).await, [asked, order]);
        assert_eq!(scanned(&store, PAGE_METRICS).await, [asked, order]);

        // The runs are walked in the order of the answer, so that a page ends early: nothing is
        // sorted before the page is there.
        let experiment = Some("digits".parse().expect("a name"));
        for experiment in [None, experiment] {
            let is_one = experiment.is_some();
            let query = StageQuery { stage: "a".to_owned(), experiment, ..StageQuery::default() };
            let steps = scanned(&store, page_query(&query).sql().as_str()).await;
            let walk = steps.split(|step| step == "SCAN page").next().unwrap_or_default();
            assert!(!walk.contains(&order.to_owned()), "{steps:?}");
            assert!(!is_one || walk.is_empty(), "{steps:?}");
        }
        store.close().await;
    }
}
