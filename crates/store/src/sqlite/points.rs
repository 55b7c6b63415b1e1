//! Points of metrics, and the row of each series that sums them up.
//!
//! Numbers are bound one by one: SQLite does not read every number in a text back to the same
//! bits.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use wick_core::{MetricKey, MetricPoint};

use super::runs::array;
use super::{Outcome, SqliteStore, run_all};
use crate::changes::SeriesChange;
use crate::error::StoreResult;

/// CROSS JOIN: from the few series to their stages.
const LATEST: &str = "
    INSERT INTO run_metrics (run_id, position, key_id, value)
        SELECT m.run_id, m.position, m.key_id, m.value
        FROM json_each($1) AS new
            CROSS JOIN metrics m ON m.id = new.value
            CROSS JOIN stages s ON s.run_id = m.run_id AND s.position = m.position
        WHERE s.source_run_id = m.run_id AND s.source_attempt = m.attempt
        ON CONFLICT (run_id, position, key_id) DO UPDATE SET value = excluded.value";

impl SqliteStore {
    pub(super) async fn write_points(
        &self,
        connection: &mut SqliteConnection,
        run: i64,
        series: &[SeriesChange<'_>],
        new_keys: &mut Vec<(MetricKey, i64)>,
    ) -> StoreResult<()> {
        if series.is_empty() {
            return Ok(());
        }
        self.find_keys(connection, series, new_keys).await?;
        let new: HashMap<_, _> = new_keys.iter().map(|(key, id)| (key, *id)).collect();
        let mut by_row = HashMap::with_capacity(series.len());
        for chunk in chunks(series) {
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
                 RETURNING id, position, attempt, key_id, points",
                values(10, chunk.len())
            );
            let mut query = sqlx::query_as(AssertSqlSafe(sql));
            for change in chunk {
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
                by_row.insert((i64::from(change.place), i64::from(change.attempt), key), change);
            }
            let rows: Vec<(i64, i64, i64, i64, i64)> =
                query.fetch_all(&mut *connection).await.map_err(|error| self.refused(error))?;
            let ids: Vec<_> = rows.iter().map(|row| row.0).collect();
            self.tell_latest(connection, &ids).await?;
            let mut points = Vec::new();
            for (id, position, attempt, key, count) in rows {
                let Some(change) = by_row.get(&(position, attempt, key)) else { continue };
                let first = count - change.points.len() as i64;
                points.extend((first..).zip(&change.points).map(|(n, point)| (id, n, *point)));
            }
            self.insert_points(connection, &points).await?;
        }
        Ok(())
    }

    /// Tells the latest values of series, unless they are of an attempt that does not count any
    /// more.
    async fn tell_latest(
        &self,
        connection: &mut SqliteConnection,
        series: &[i64],
    ) -> StoreResult<()> {
        sqlx::query(LATEST)
            .bind(array(series)?)
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
        for chunk in chunks(points) {
            let sql = format!(
                "INSERT INTO metric_points (metric_id, place, step, time, value) VALUES {}",
                values(5, chunk.len())
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for (metric, place, point) in chunk {
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

/// Cuts rows into pieces of a few fixed lengths, so that a few prepared statements do for all.
fn chunks<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    const LENGTHS: [usize; 4] = [512, 64, 8, 1];
    let mut rest = rows;
    std::iter::from_fn(move || {
        let length = LENGTHS.into_iter().find(|length| *length <= rest.len())?;
        let (chunk, after) = rest.split_at(length);
        rest = after;
        Some(chunk)
    })
}

/// `(?, ?), (?, ?)`: so many rows of so many columns.
fn values(columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row; rows].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_leave_nothing_out() {
        for length in [0, 1, 7, 8, 73, 513, 2000] {
            let rows: Vec<_> = (0..length).collect();
            let joined: Vec<_> = chunks(&rows).flatten().copied().collect();
            assert_eq!(joined, rows);
        }
        assert_eq!(values(2, 2), "(?, ?), (?, ?)");
    }
}
