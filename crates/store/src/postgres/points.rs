//! Points of metrics, and the row of each series that sums them up.

use std::collections::HashMap;

use sqlx::PgConnection;
use wick_core::MetricKey;

use super::{PostgresStore, clean};
use crate::changes::SeriesChange;
use crate::error::StoreResult;

const SERIES: &str = "
    INSERT INTO metrics AS old (run_id, position, attempt, key_id, points, step, time, value, min,
                                max)
    SELECT $1, new.*
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                $7::bigint[], $8::double precision[], $9::double precision[],
                $10::double precision[]) AS new
    ON CONFLICT (run_id, position, attempt, key_id) DO UPDATE SET
        points = old.points + excluded.points,
        value = CASE WHEN excluded.step >= old.step THEN excluded.value ELSE old.value END,
        time = CASE WHEN excluded.step >= old.step THEN excluded.time ELSE old.time END,
        step = greatest(old.step, excluded.step),
        min = least(old.min, excluded.min),
        max = greatest(old.max, excluded.max)
    RETURNING id, position, attempt, key_id, points";

const POINTS: &str = "
    INSERT INTO metric_points (metric_id, place, step, time, value)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[],
                         $5::double precision[])";

/// Tells the latest values of series, unless they are of an attempt that does not count any more.
const LATEST: &str = "
    INSERT INTO run_metrics (run_id, position, key_id, value)
    SELECT m.run_id, m.position, m.key_id, m.value
    FROM metrics m JOIN stages s ON s.run_id = m.run_id AND s.position = m.position
    WHERE m.id = ANY ($1) AND s.source_run_id = m.run_id AND s.source_attempt = m.attempt
    ON CONFLICT (run_id, position, key_id) DO UPDATE SET value = excluded.value";

impl PostgresStore {
    pub(super) async fn write_points(
        &self,
        connection: &mut PgConnection,
        run: i64,
        series: &[SeriesChange<'_>],
        new_keys: &mut Vec<(MetricKey, i64)>,
    ) -> StoreResult<()> {
        if series.is_empty() {
            return Ok(());
        }
        self.find_keys(connection, series, new_keys).await?;
        let new: HashMap<_, _> = new_keys.iter().map(|(key, id)| (&**key, *id)).collect();
        let mut by_row = HashMap::with_capacity(series.len());
        let (mut positions, mut attempts, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let (mut counts, mut steps, mut times) = (Vec::new(), Vec::new(), Vec::new());
        let (mut values, mut mins, mut maxs) = (Vec::new(), Vec::new(), Vec::new());
        for change in series {
            let name = clean(change.key);
            let key = new.get(&*name).copied().or_else(|| self.key(change.key));
            let (Some(key), Some(summary)) = (key, change.summary()) else { continue };
            let row = (i64::from(change.place), i64::from(change.attempt), key);
            positions.push(row.0);
            attempts.push(row.1);
            keys.push(row.2);
            counts.push(summary.points);
            steps.push(summary.step);
            times.push(summary.time);
            values.push(summary.value);
            mins.push(summary.min);
            maxs.push(summary.max);
            by_row.insert(row, change);
        }
        let rows: Vec<(i64, i64, i64, i64, i64)> = sqlx::query_as(SERIES)
            .bind(run)
            .bind(&positions)
            .bind(&attempts)
            .bind(&keys)
            .bind(&counts)
            .bind(&steps)
            .bind(&times)
            .bind(&values)
            .bind(&mins)
            .bind(&maxs)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
        let ids: Vec<_> = rows.iter().map(|row| row.0).collect();
        self.execute(connection, sqlx::query(LATEST).bind(&ids)).await?;
        let (mut metrics, mut places, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        let (mut times, mut values) = (Vec::new(), Vec::new());
        for (id, position, attempt, key, count) in rows {
            let Some(change) = by_row.get(&(position, attempt, key)) else { continue };
            let first = count - change.points.len() as i64;
            for (place, point) in (first..).zip(&change.points) {
                metrics.push(id);
                places.push(place);
                steps.push(point.step);
                times.push(point.time.0);
                values.push(point.value);
            }
        }
        let query = sqlx::query(POINTS)
            .bind(&metrics)
            .bind(&places)
            .bind(&steps)
            .bind(&times)
            .bind(&values);
        self.execute(connection, query).await?;
        Ok(())
    }

    /// The ids of keys that are not known yet; they are remembered once they are committed.
    async fn find_keys(
        &self,
        connection: &mut PgConnection,
        series: &[SeriesChange<'_>],
        new_keys: &mut Vec<(MetricKey, i64)>,
    ) -> StoreResult<()> {
        let unknown: Vec<_> = series
            .iter()
            .filter(|change| self.key(change.key).is_none())
            .map(|change| clean(change.key).into_owned())
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(
            "INSERT INTO metric_keys (name)
             SELECT DISTINCT name FROM unnest($1::text[]) AS new (name) ORDER BY name
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(&unknown);
        self.execute(connection, query).await?;
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT name, id FROM metric_keys WHERE name = ANY ($1::text[])")
                .bind(&unknown)
                .fetch_all(connection)
                .await
                .map_err(|error| self.refused(error))?;
        new_keys.extend(rows.into_iter().map(|(name, id)| (name.into(), id)));
        Ok(())
    }
}
