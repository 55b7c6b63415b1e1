//! Reading: what ran, with what, how well.

use std::collections::HashMap;
use std::sync::Arc;

use wick_core::{Fingerprint, RunId, StageName, StageOrigin};

use super::SqliteStore;
use super::runs::array;
use crate::curve;
use crate::directory::Directory;
use crate::error::StoreResult;
use crate::points;
use crate::queries::*;
use crate::records::*;
use crate::rows::*;

/// Latest metrics of some runs, at most so many of each; those of the machine have no place in
/// lists.
const SUMMARY_METRICS: &str = "
    SELECT run_id, stage, key, value FROM (
        SELECT m.run_id, s.name AS stage, k.name AS key, m.value,
               row_number() OVER (PARTITION BY m.run_id ORDER BY m.position, k.name) AS place
        FROM json_each($1) j
        CROSS JOIN run_metrics m ON m.run_id = j.value
        CROSS JOIN stages s ON s.run_id = m.run_id AND s.position = m.position
        CROSS JOIN metric_keys k ON k.id = m.key_id
        WHERE substr(k.name, 1, 7) <> 'system.'
    )
    WHERE place <= $2
    ORDER BY run_id, place";

const LATEST_METRICS: &str = "
    SELECT m.id, s.name AS stage, m.attempt, k.name AS key, m.points, m.step, m.value, m.min, m.max
    FROM stages s
    CROSS JOIN metrics m ON m.run_id = s.source_run_id AND m.position = s.source_position
                        AND m.attempt = s.source_attempt
    JOIN metric_keys k ON k.id = m.key_id
    WHERE s.run_id = (SELECT id FROM runs WHERE public_id = $1)
      AND ($2 IS NULL OR k.name = $2 OR s.name || '.' || k.name = $2)
    ORDER BY coalesce(s.template, s.position), s.position, k.name";

/// CROSS JOIN: from each fingerprint asked for to its rows, by their keys.
const CACHED: &str = "
    SELECT j.key AS place, r.public_id AS run, s.name AS stage, a.attempt, a.effects,
           o.port, o.type AS port_type, o.digest, o.bytes, o.meta
    FROM json_each($1) j
    CROSS JOIN fingerprints f ON f.fingerprint = unhex(j.value)
    CROSS JOIN attempts a ON a.run_id = f.run_id AND a.position = f.position
                         AND a.attempt = f.attempt
    CROSS JOIN stages s ON s.run_id = f.run_id AND s.position = f.position
    CROSS JOIN runs r ON r.id = f.run_id
    LEFT JOIN outputs o ON o.run_id = f.run_id AND o.position = f.position
                       AND o.attempt = f.attempt
    ORDER BY j.key, o.place";

impl SqliteStore {
    pub(super) async fn find_directory(&self, run: &RunId) -> StoreResult<Option<Arc<Directory>>> {
        let rows: Vec<(i64, Option<String>)> = sqlx::query_as(STAGES_OF_RUN_BY_ID)
            .bind(run.as_str())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        let Some(id) = rows.first().map(|row| row.0) else { return Ok(None) };
        let names = rows
            .iter()
            .filter_map(|row| row.1.as_deref())
            .map(|name| text("a stage", name))
            .collect::<StoreResult<Vec<StageName>>>()?;
        Ok(Some(self.directories.keep(run, Directory::new(id, names))))
    }

    pub(super) async fn find_cached(
        &self,
        fingerprints: &[Fingerprint],
    ) -> StoreResult<Vec<Option<CachedOutputs>>> {
        let asked = array(fingerprints)?;
        let rows: Vec<CachedRow> = sqlx::query_as(CACHED)
            .bind(asked)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        CachedRow::answers(&rows, fingerprints.len())
    }

    pub(super) async fn metrics_of(
        &self,
        attempt: &StageOrigin,
    ) -> StoreResult<Vec<(String, f64)>> {
        let rows: Vec<(String, Option<f64>)> = sqlx::query_as(METRICS_OF)
            .bind(attempt.run.as_str())
            .bind(attempt.stage.as_str())
            .bind(i64::from(attempt.attempt))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        // A database may keep what is no number as NULL.
        Ok(rows.into_iter().map(|(key, value)| (key, value.unwrap_or(f64::NAN))).collect())
    }

    pub(super) async fn source_stamps(
        &self,
        paths: &[String],
    ) -> StoreResult<Vec<Option<SourceStamp>>> {
        let mut found = vec![None; paths.len()];
        let rows: Vec<StampRow> = sqlx::query_as(
            "SELECT j.key AS place, s.path, s.size, s.modified_ns, s.inode, s.digest
             FROM json_each($1) j CROSS JOIN source_stamps s ON s.path = j.value",
        )
        .bind(array(paths)?)
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.refused(error))?;
        for row in rows {
            let place = row.place as usize;
            found[place] = Some(row.record()?);
        }
        Ok(found)
    }

    pub(super) async fn keep_source_stamps(&self, stamps: &[SourceStamp]) -> StoreResult<()> {
        if stamps.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = stamps
            .iter()
            .map(|stamp| {
                (&stamp.path, stamp.size, stamp.modified_ns, stamp.inode as i64, stamp.digest)
            })
            .collect();
        let rows = array(&rows)?;
        self.write(async |connection| {
            sqlx::query(
                "INSERT OR REPLACE INTO source_stamps (path, size, modified_ns, inode, digest)
                     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, unhex(value ->> 4)
                     FROM json_each($1)",
            )
            .bind(rows)
            .execute(connection)
            .await
            .map_err(|error| self.refused(error))
        })
        .await?;
        Ok(())
    }

    pub(super) async fn find_runs(&self, name: &str) -> StoreResult<Vec<RunId>> {
        let rows: Vec<(i32, String)> = if name == "@last" {
            sqlx::query_as(LAST_RUN).fetch_all(&self.readers).await
        } else {
            sqlx::query_as(RUNS_BY_TEXT)
                .bind(name)
                .bind(end_of_prefix(name))
                .bind(MAX_FOUND_RUNS)
                .fetch_all(&self.readers)
                .await
        }
        .map_err(|error| self.refused(error))?;
        named(rows)
    }

    /// Adds to each run how its stages stand, and its metrics.
    pub(super) async fn summaries(&self, rows: Vec<SummaryRow>) -> StoreResult<Vec<RunSummary>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let places: HashMap<_, _> = ids.iter().copied().zip(0_usize..).collect();
        let mut runs = rows.into_iter().map(SummaryRow::record).collect::<StoreResult<Vec<_>>>()?;
        let ids = array(&ids)?;
        let counts: Vec<StageCountRow> = sqlx::query_as(
            "SELECT s.run_id, s.state, count(*) AS stages
             FROM json_each($1) j CROSS JOIN stages s ON s.run_id = j.value
             GROUP BY s.run_id, s.state",
        )
        .bind(&ids)
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.refused(error))?;
        for row in counts {
            if let Some(&place) = places.get(&row.run_id) {
                runs[place].stages.push(row.record()?);
            }
        }
        for run in &mut runs {
            run.stages.sort_unstable();
        }
        let tags: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT t.run_id, t.key, t.value
             FROM json_each($1) j CROSS JOIN tags t ON t.run_id = j.value
             ORDER BY t.run_id, t.key",
        )
        .bind(&ids)
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.refused(error))?;
        for (run, key, value) in tags {
            if let Some(&place) = places.get(&run) {
                runs[place].marks.tags.push((key, value));
            }
        }
        let metrics: Vec<SummaryMetricRow> = sqlx::query_as(SUMMARY_METRICS)
            .bind(&ids)
            .bind(MAX_SUMMARY_METRICS as i64)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        for row in metrics {
            if let Some(&place) = places.get(&row.run_id) {
                let value = row.value.unwrap_or(f64::NAN);
                runs[place].metrics.push((format!("{}.{}", row.stage, row.key), value));
            }
        }
        Ok(runs)
    }

    pub(super) async fn run(&self, run: &RunId) -> StoreResult<Option<RunRecord>> {
        let row: Option<RunRow> = sqlx::query_as(RUN)
            .bind(run.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        let Some(row) = row else { return Ok(None) };
        let overridden = sqlx::query_scalar(
            "SELECT name FROM params
             WHERE run_id = (SELECT id FROM runs WHERE public_id = $1) AND overridden = 1
             ORDER BY name",
        )
        .bind(run.as_str())
        .fetch_all(&self.readers)
        .await
        .map_err(|error| self.refused(error))?;
        let tags = sqlx::query_as(TAGS)
            .bind(run.as_str())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        row.record(overridden, tags).map(Some)
    }

    pub(super) async fn params(&self, run: &RunId) -> StoreResult<Vec<ParamRecord>> {
        self.rows(PARAMS, run, ParamRow::record).await
    }

    pub(super) async fn stages(&self, run: &RunId) -> StoreResult<Vec<StageRecord>> {
        self.rows(STAGES, run, StageRow::record).await
    }

    pub(super) async fn attempts(&self, run: &RunId) -> StoreResult<Vec<AttemptRecord>> {
        self.rows(ATTEMPTS, run, AttemptRow::record).await
    }

    pub(super) async fn stage_parts(
        &self,
        run: &RunId,
    ) -> StoreResult<Vec<(StageName, serde_json::Value)>> {
        self.rows(STAGE_PARTS, run, |(name, parts): (String, String)| {
            Ok((text("a stage", &name)?, json("the parts of a fingerprint", &parts)?))
        })
        .await
    }

    pub(super) async fn artifacts(&self, run: &RunId) -> StoreResult<Vec<ArtifactRecord>> {
        self.rows(ARTIFACTS, run, ArtifactRow::record).await
    }

    pub(super) async fn inputs(&self, run: &RunId) -> StoreResult<Vec<InputRecord>> {
        self.rows(INPUTS, run, InputRow::record).await
    }

    pub(super) async fn events(
        &self,
        run: &RunId,
        after: Option<i64>,
    ) -> StoreResult<Vec<EventRecord>> {
        let rows: Vec<EventRow> = sqlx::query_as(EVENTS)
            .bind(run.as_str())
            .bind(after.unwrap_or(0))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        rows.into_iter().map(EventRow::record).collect()
    }

    pub(super) async fn latest_metrics(&self, run: &RunId) -> StoreResult<Vec<MetricSummary>> {
        let rows = self.metric_rows(run, None).await?;
        rows.into_iter().map(MetricRow::record).collect()
    }

    async fn metric_rows(&self, run: &RunId, key: Option<&str>) -> StoreResult<Vec<MetricRow>> {
        sqlx::query_as(LATEST_METRICS)
            .bind(run.as_str())
            .bind(key)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))
    }

    pub(super) async fn series(&self, run: &RunId, key: Option<&str>) -> StoreResult<Vec<Series>> {
        let rows = self.metric_rows(run, key).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let mut connection = self.readers.acquire().await.map_err(|error| self.refused(error))?;
        let (tail, chunks) = self.read_points(&mut connection, &ids).await?;
        points::series(&rows, points::join(&rows, &tail, chunks)?)
    }

    pub(super) async fn curves(
        &self,
        run: &RunId,
        key: Option<&str>,
        most: usize,
    ) -> StoreResult<Vec<Series>> {
        let rows = self.metric_rows(run, key).await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let mut connection = self.readers.acquire().await.map_err(|error| self.refused(error))?;
        let (tail, chunks) = self.read_points(&mut connection, &ids).await?;
        let all = points::join(&rows, &tail, chunks)?;
        points::series(&rows, all.into_iter().map(|points| curve::thin(points, most)).collect())
    }

    /// The rows of one run, each as its record.
    async fn rows<R, T>(
        &self,
        sql: &'static str,
        run: &RunId,
        record: impl Fn(R) -> StoreResult<T>,
    ) -> StoreResult<Vec<T>>
    where
        R: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Unpin,
    {
        let rows: Vec<R> = sqlx::query_as(sql)
            .bind(run.as_str())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        rows.into_iter().map(record).collect()
    }
}
