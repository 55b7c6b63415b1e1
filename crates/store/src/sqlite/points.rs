//! Points of metrics, and the row of each series that sums them up.
//!
//! Numbers are bound one by one: SQLite does not read every number in a text back to the same
//! bits. Nor does a row keep every one, see [`is_lost`]; a chunk does.

use std::collections::{BTreeMap, HashMap};

use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use wick_core::{MetricKey, MetricPoint};

use super::runs::array;
use super::{Outcome, SqliteStore, run_all};
use crate::batches::{batches, unnamed_values};
use crate::changes::{Changes, SeriesChange};
use crate::chunk;
use crate::error::StoreResult;
use crate::points::{Chunk, GrownRow, LONG_TAIL, Points, SHORT_TAIL};
use crate::rows::PointRow;

/// The most rows of one statement.
const MOST: usize = 512;

/// CROSS JOIN: from the few series to their stages.
const LATEST: &str = "
    INSERT INTO run_metrics (run_id, position, key_id, value)
        SELECT m.run_id, m.position, m.key_id, m.value
        FROM json_each($1) AS new
            CROSS JOIN metrics m ON m.id = new.value
            CROSS JOIN stages s ON s.run_id = m.run_id AND s.position = m.position
        WHERE s.source_run_id = m.run_id AND s.source_attempt = m.attempt
        ON CONFLICT (run_id, position, key_id) DO UPDATE SET value = excluded.value";

const TAIL: &str = "
    SELECT p.metric_id, p.place, p.step, p.time, p.value
    FROM json_each($1) j CROSS JOIN metric_points p ON p.metric_id = j.value
    ORDER BY p.metric_id, p.place";

const CHUNKS: &str = "
    SELECT c.metric_id, c.place, c.data
    FROM json_each($1) j CROSS JOIN metric_chunks c ON c.metric_id = j.value
    ORDER BY c.metric_id, c.place";

const SEALED: &str = "
    DELETE FROM metric_points WHERE metric_id IN (SELECT value FROM json_each($1));
    UPDATE metrics SET sealed = points WHERE id IN (SELECT value FROM json_each($1))";

/// Whether a row would not give a value back as it was: it keeps NaN as NULL, and -0 as 0.
pub(super) const fn is_lost(value: f64) -> bool {
    value.is_nan() || (value == 0.0 && value.is_sign_negative())
}

impl SqliteStore {
    /// Writes the points of a batch, and seals the tails that are long or come to their end. Gives
    /// the series with what is left of their tails.
    pub(super) async fn write_points(
        &self,
        connection: &mut SqliteConnection,
        run: i64,
        changes: &Changes<'_>,
        new_keys: &mut Vec<(MetricKey, i64)>,
    ) -> StoreResult<Vec<GrownRow>> {
        let ended = changes.ended_attempts();
        // What is to be sealed, with what comes after the tail that is there.
        let mut sealed: BTreeMap<i64, &[&MetricPoint]> = BTreeMap::new();
        for (position, attempt) in &ended {
            let tails = self.tails.of((run, *position, *attempt));
            let long = tails.into_iter().filter(|(_, tail)| *tail >= SHORT_TAIL);
            sealed.extend(long.map(|(id, _)| (id, [].as_slice())));
        }
        let mut left = Vec::new();
        if !changes.series.is_empty() {
            self.find_keys(connection, &changes.series, new_keys).await?;
            let grown = self.grow(connection, run, &changes.series, new_keys).await?;
            self.tell_latest(connection, &grown).await?;
            let mut rows = Vec::new();
            for (row, points) in grown {
                let ends = ended.contains(&(row.position, row.attempt));
                if row.tail() >= if ends { SHORT_TAIL } else { LONG_TAIL }
                    || points.iter().any(|point| is_lost(point.value))
                {
                    sealed.insert(row.id, points);
                    left.push(GrownRow { sealed: row.points, ..row });
                    continue;
                }
                sealed.remove(&row.id);
                let first = row.points - points.len() as i64;
                rows.extend((first..).zip(points).map(|(place, point)| (row.id, place, *point)));
                left.push(row);
            }
            self.insert_points(connection, &rows).await?;
        }
        self.seal(connection, &sealed).await?;
        Ok(left)
    }

    /// Adds to the rows that sum series up; gives each with its new points.
    async fn grow<'a>(
        &self,
        connection: &mut SqliteConnection,
        run: i64,
        series: &'a [SeriesChange<'_>],
        new_keys: &[(MetricKey, i64)],
    ) -> StoreResult<Vec<(GrownRow, &'a [&'a MetricPoint])>> {
        let new: HashMap<_, _> = new_keys.iter().map(|(key, id)| (key, *id)).collect();
        let mut by_row = HashMap::with_capacity(series.len());
        let mut grown = Vec::with_capacity(series.len());
        for batch in batches(series, MOST) {
            let sql = format!(
                "INSERT INTO metrics (run_id, position, attempt, key_id, points, step, time, value,
                                      min, max)
                     VALUES {}
                 ON CONFLICT (run_id, position, attempt, key_id) DO UPDATE SET
                     points = points + excluded.points,
                     value = CASE WHEN excluded.step >= step THEN excluded.value ELSE value END,
                     time = CASE WHEN excluded.step >= step THEN excluded.time ELSE time END,
                     step = max(step, excluded.step),
                     min = coalesce(min(min, excluded.min), min, excluded.min),
                     max = coalesce(max(max, excluded.max), max, excluded.max)
                 RETURNING id, position, attempt, key_id, points, sealed",
                unnamed_values(10, batch.len())
            );
            let mut query = sqlx::query_as(AssertSqlSafe(sql));
            for change in batch {
                let key = new.get(change.key).copied().or_else(|| self.key(change.key));
                let (Some(key), Some(summary)) = (key, change.summary()) else { continue };
                query = query
                    .bind(run)
                    .bind(change.place)
                    .bind(change.attempt)
                    .bind(key)
                    .bind(summary.points)
                    .bind(summary.step)
                    .bind(summary.time)
                    .bind(summary.value)
                    .bind(summary.min)
                    .bind(summary.max);
                let row = (i64::from(change.place), i64::from(change.attempt), key);
                by_row.insert(row, change.points.as_slice());
            }
            let rows: Vec<GrownRow> =
                query.fetch_all(&mut *connection).await.map_err(|error| self.refused(error))?;
            grown.extend(rows.into_iter().filter_map(|row| {
                Some((row, *by_row.get(&(row.position, row.attempt, row.key_id))?))
            }));
        }
        Ok(grown)
    }

    /// Tells the latest values of series, unless they are of an attempt that does not count any
    /// more.
    async fn tell_latest(
        &self,
        connection: &mut SqliteConnection,
        grown: &[(GrownRow, &[&MetricPoint])],
    ) -> StoreResult<()> {
        let ids: Vec<_> = grown.iter().map(|(row, _)| row.id).collect();
        sqlx::query(LATEST)
            .bind(array(&ids)?)
            .execute(connection)
            .await
            .map_err(|error| self.refused(error))?;
        Ok(())
    }

    async fn insert_points(
        &self,
        connection: &mut SqliteConnection,
        points: &[(i64, i64, &MetricPoint)],
    ) -> StoreResult<()> {
        for batch in batches(points, MOST) {
            let sql = format!(
                "INSERT INTO metric_points (metric_id, place, step, time, value) VALUES {}",
                unnamed_values(5, batch.len())
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (metric, place, point) in batch {
                query = query
                    .bind(metric)
                    .bind(place)
                    .bind(point.step)
                    .bind(point.time.0)
                    .bind(point.value);
            }
            query.execute(&mut *connection).await.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// Packs the tails of series, each with what comes after it.
    async fn seal(
        &self,
        connection: &mut SqliteConnection,
        series: &BTreeMap<i64, &[&MetricPoint]>,
    ) -> StoreResult<()> {
        if series.is_empty() {
            return Ok(());
        }
        let ids = array(&series.keys().collect::<Vec<_>>())?;
        let rows: Vec<PointRow> = sqlx::query_as(TAIL)
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
        let sealed: HashMap<i64, i64> = sqlx::query_as(
            "SELECT m.id, m.sealed FROM json_each($1) j CROSS JOIN metrics m ON m.id = j.value",
        )
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| self.refused(error))?
        .into_iter()
        .collect();
        let mut tails: BTreeMap<i64, Points> = BTreeMap::new();
        for (id, _, step, time, value) in rows {
            tails.entry(id).or_default().push(step, time, value.unwrap_or(f64::NAN));
        }
        let mut chunks = Vec::new();
        for (id, new) in series {
            let mut points = tails.remove(id).unwrap_or_default();
            points.extend(new);
            let start = sealed.get(id).copied().unwrap_or(0);
            chunks.extend(points.pieces().map(|(place, piece)| {
                (*id, start + place, piece.values.len(), chunk::pack(piece))
            }));
        }
        self.insert_chunks(connection, &chunks).await?;
        sqlx::query(SEALED)
            .bind(&ids)
            .execute(connection)
            .await
            .map_err(|error| self.refused(error))?;
        Ok(())
    }

    /// Chunks: series, place, number of points, bytes.
    pub(super) async fn insert_chunks(
        &self,
        connection: &mut SqliteConnection,
        chunks: &[(i64, i64, usize, Vec<u8>)],
    ) -> StoreResult<()> {
        for batch in batches(chunks, MOST) {
            let sql = format!(
                "INSERT INTO metric_chunks (metric_id, place, points, data) VALUES {}",
                unnamed_values(4, batch.len())
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (metric, place, points, data) in batch {
                query = query.bind(metric).bind(place).bind(*points as i64).bind(data.as_slice());
            }
            query.execute(&mut *connection).await.map_err(|error| self.refused(error))?;
        }
        Ok(())
    }

    /// The points of series: the tails first, see [`crate::points::join`].
    pub(super) async fn read_points(
        &self,
        connection: &mut SqliteConnection,
        series: &[i64],
    ) -> StoreResult<(Vec<PointRow>, Vec<Chunk>)> {
        let ids = array(series)?;
        let tail = sqlx::query_as(TAIL)
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
        let chunks: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(CHUNKS)
            .bind(&ids)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
        let chunks = chunks
            .iter()
            .map(|(id, place, data)| Ok((*id, *place, chunk::unpack(data)?)))
            .collect::<StoreResult<_>>()?;
        Ok((tail, chunks))
    }

    /// The ids of keys that are not known yet; they are remembered once they are committed.
    async fn find_keys(
        &self,
        connection: &mut SqliteConnection,
        series: &[SeriesChange<'_>],
        new_keys: &mut Vec<(MetricKey, i64)>,
    ) -> StoreResult<()> {
        let unknown: Vec<&str> = series
            .iter()
            .filter(|change| self.key(change.key).is_none())
            .map(|change| &**change.key)
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(
            "INSERT INTO metric_keys (name) SELECT value FROM json_each($1) WHERE true
                 ON CONFLICT (name) DO NOTHING;
             SELECT name, id FROM metric_keys WHERE name IN (SELECT value FROM json_each($1))",
        )
        .bind(array(&unknown)?);
        let mut outcome = Outcome::default();
        run_all(connection, query, &mut outcome).await.map_err(|error| self.refused(error))?;
        for row in &outcome.rows {
            let name: String = row.try_get(0).map_err(|error| self.refused(error))?;
            let id = row.try_get(1).map_err(|error| self.refused(error))?;
            new_keys.push((name.into(), id));
        }
        Ok(())
    }
}
