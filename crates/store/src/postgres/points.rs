//! Points of metrics, and the row of each series that sums them up.

use std::collections::{BTreeMap, HashMap};

use sqlx::{AssertSqlSafe, PgConnection};
use wick_core::{MetricKey, MetricPoint};

use super::{PostgresStore, clean};
use crate::batches::{batches, values};
use crate::changes::{Changes, SeriesChange};
use crate::error::{StoreError, StoreResult};
use crate::points::{Chunk, GrownRow, LONG_TAIL, Piece, Points, SHORT_TAIL};
use crate::rows::PointRow;

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
    RETURNING id, position, attempt, key_id, points, sealed";

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

const TAIL: &str = "
    SELECT metric_id, place, step, time, value FROM metric_points WHERE metric_id = ANY ($1)
    ORDER BY metric_id, place";

const CHUNKS: &str = "
    SELECT metric_id, place, step, stride, steps, time, delays, times, values
    FROM metric_chunks WHERE metric_id = ANY ($1)
    ORDER BY metric_id, place";

/// The most chunks of one statement: they are large.
const MOST_CHUNKS: usize = 64;

/// A chunk as the database keeps it.
#[derive(sqlx::FromRow)]
pub(super) struct ChunkRow {
    metric_id: i64,
    place: i64,
    step: i64,
    stride: i64,
    steps: Option<Vec<i64>>,
    time: i64,
    delays: Option<Vec<i32>>,
    times: Option<Vec<i64>>,
    values: Vec<f64>,
}

impl ChunkRow {
    /// `place` is that of the first of these points.
    pub(super) fn of(metric_id: i64, place: i64, points: Piece<'_>) -> Self {
        let first = |numbers: &[i64]| numbers.first().copied().unwrap_or(0);
        let (step, time) = (first(points.steps), first(points.times));
        let stride = points.stride();
        let delay = |at: &i64| at.checked_sub(time).and_then(|delay| i32::try_from(delay).ok());
        let delays: Option<Vec<i32>> = points.times.iter().map(delay).collect();
        Self {
            metric_id,
            place,
            step,
            stride: stride.unwrap_or(0),
            steps: stride.is_none().then(|| points.steps.to_vec()),
            time,
            times: delays.is_none().then(|| points.times.to_vec()),
            delays,
            values: points.values.to_vec(),
        }
    }

    fn chunk(self) -> StoreResult<Chunk> {
        let count = self.values.len();
        let steps = self.steps.unwrap_or_else(|| {
            let step = |n| self.step.wrapping_add(self.stride.wrapping_mul(n));
            (0..count as i64).map(step).collect()
        });
        let times = match (self.delays, self.times) {
            (Some(delays), _) => {
                delays.into_iter().map(|delay| self.time.wrapping_add(i64::from(delay))).collect()
            }
            (None, times) => times.unwrap_or_default(),
        };
        if (steps.len(), times.len()) != (count, count) {
            let place = self.place;
            return Err(StoreError::Corrupt(format!("the columns of chunk {place} are uneven")));
        }
        Ok((self.metric_id, self.place, Points { steps, times, values: self.values }))
    }
}

impl PostgresStore {
    /// Writes the points of a batch, and seals the tails that are long or come to their end. Gives
    /// the series with what is left of their tails.
    pub(super) async fn write_points(
        &self,
        connection: &mut PgConnection,
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
            let ids: Vec<_> = grown.iter().map(|(row, _)| row.id).collect();
            self.execute(connection, sqlx::query(LATEST).bind(&ids)).await?;
            let mut rows = Vec::new();
            for (row, points) in grown {
                let ends = ended.contains(&(row.position, row.attempt));
                if row.tail() >= if ends { SHORT_TAIL } else { LONG_TAIL } {
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
        connection: &mut PgConnection,
        run: i64,
        series: &'a [SeriesChange<'_>],
        new_keys: &[(MetricKey, i64)],
    ) -> StoreResult<Vec<(GrownRow, &'a [&'a MetricPoint])>> {
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
            by_row.insert(row, change.points.as_slice());
        }
        let rows: Vec<GrownRow> = sqlx::query_as(SERIES)
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
            .fetch_all(connection)
            .await
            .map_err(|error| self.refused(error))?;
        let points =
            |row: GrownRow| Some((row, *by_row.get(&(row.position, row.attempt, row.key_id))?));
        Ok(rows.into_iter().filter_map(points).collect())
    }

    async fn insert_points(
        &self,
        connection: &mut PgConnection,
        points: &[(i64, i64, &MetricPoint)],
    ) -> StoreResult<()> {
        if points.is_empty() {
            return Ok(());
        }
        let metrics: Vec<_> = points.iter().map(|(metric, ..)| *metric).collect();
        let places: Vec<_> = points.iter().map(|(_, place, _)| *place).collect();
        let steps: Vec<_> = points.iter().map(|(.., point)| point.step).collect();
        let times: Vec<_> = points.iter().map(|(.., point)| point.time.0).collect();
        let values: Vec<_> = points.iter().map(|(.., point)| point.value).collect();
        let query = sqlx::query(POINTS)
            .bind(&metrics)
            .bind(&places)
            .bind(&steps)
            .bind(&times)
            .bind(&values);
        self.execute(connection, query).await?;
        Ok(())
    }

    /// Packs the tails of series, each with what comes after it.
    async fn seal(
        &self,
        connection: &mut PgConnection,
        series: &BTreeMap<i64, &[&MetricPoint]>,
    ) -> StoreResult<()> {
        if series.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = series.keys().copied().collect();
        let rows: Vec<PointRow> = sqlx::query_as(
            "DELETE FROM metric_points WHERE metric_id = ANY ($1)
             RETURNING metric_id, place, step, time, value",
        )
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| self.refused(error))?;
        // Where the tail of each began.
        let starts: HashMap<i64, i64> = sqlx::query_as(
            "UPDATE metrics m SET sealed = m.points FROM metrics old
             WHERE m.id = ANY ($1) AND old.id = m.id RETURNING old.id, old.sealed",
        )
        .bind(&ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(|error| self.refused(error))?
        .into_iter()
        .collect();
        // By series, then by place.
        let mut tails: BTreeMap<i64, BTreeMap<i64, _>> = BTreeMap::new();
        for (id, place, step, time, value) in rows {
            tails.entry(id).or_default().insert(place, (step, time, value));
        }
        let mut chunks = Vec::new();
        for (id, new) in series {
            let mut points = Points::default();
            for (step, time, value) in tails.remove(id).unwrap_or_default().into_values() {
                points.push(step, time, value.unwrap_or(f64::NAN));
            }
            points.extend(new);
            let start = starts.get(id).copied().unwrap_or(0);
            let pieces = points.pieces();
            chunks.extend(pieces.map(|(place, piece)| ChunkRow::of(*id, start + place, piece)));
        }
        self.insert_chunks(connection, &chunks).await
    }

    pub(super) async fn insert_chunks(
        &self,
        connection: &mut PgConnection,
        chunks: &[ChunkRow],
    ) -> StoreResult<()> {
        for batch in batches(chunks, MOST_CHUNKS) {
            let sql = format!(
                "INSERT INTO metric_chunks (metric_id, place, points, step, stride, steps, time,
                                            delays, times, values)
                 VALUES {}",
                values(10, batch.len())
            );
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for row in batch {
                query = query
                    .bind(row.metric_id)
                    .bind(row.place)
                    .bind(row.values.len() as i64)
                    .bind(row.step)
                    .bind(row.stride)
                    .bind(&row.steps)
                    .bind(row.time)
                    .bind(&row.delays)
                    .bind(&row.times)
                    .bind(&row.values);
            }
            self.execute(connection, query).await?;
        }
        Ok(())
    }

    /// The points of series: the tails first, see [`crate::points::join`].
    pub(super) async fn read_points(
        &self,
        connection: &mut PgConnection,
        series: &[i64],
    ) -> StoreResult<(Vec<PointRow>, Vec<Chunk>)> {
        let tail = sqlx::query_as(TAIL)
            .bind(series)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
        let chunks: Vec<ChunkRow> = sqlx::query_as(CHUNKS)
            .bind(series)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
        let chunks = chunks.into_iter().map(ChunkRow::chunk).collect::<StoreResult<_>>()?;
        Ok((tail, chunks))
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
