//! Loading dumps.

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, PgConnection};

use super::points::ChunkRow;
use super::{PostgresStore, clean};
use crate::dump::{Loaded, RunDump};
use crate::error::{StoreError, StoreResult};
use crate::load::{KnownRun, Loader, Names, Numbers, Rows, insert_rows, load};

/// Locked, so that nobody takes one up or loads one meanwhile.
const KNOWN: &str = "
    SELECT r.public_id, r.id, EXISTS (SELECT 1 FROM leases l WHERE l.run_id = r.id) AS driven,
           (SELECT count(*) FROM events e WHERE e.run_id = r.id) AS events, r.finished,
           (SELECT coalesce(sum(m.points), 0)::bigint FROM metrics m WHERE m.run_id = r.id) AS points
    FROM runs r WHERE r.public_id = ANY ($1)
    ORDER BY r.id FOR NO KEY UPDATE";

/// The row of the run stays: who refers to it does so by its number. What hangs on stages goes with
/// them, but for points.
const CLEAR: [&str; 7] = [
    "DELETE FROM metric_chunks c USING metrics m WHERE m.run_id = ANY ($1) AND c.metric_id = m.id",
    "DELETE FROM metric_points p USING metrics m WHERE m.run_id = ANY ($1) AND p.metric_id = m.id",
    "DELETE FROM params WHERE run_id = ANY ($1)",
    "DELETE FROM tags WHERE run_id = ANY ($1)",
    "DELETE FROM events WHERE run_id = ANY ($1)",
    "DELETE FROM run_metrics WHERE run_id = ANY ($1)",
    "DELETE FROM stages WHERE run_id = ANY ($1)",
];

/// A connection in a transaction that dumps are loaded in.
struct PostgresLoader<'a> {
    store: &'a PostgresStore,
    connection: &'a mut PgConnection,
}

impl PostgresLoader<'_> {
    fn refused(&self, error: sqlx::Error) -> StoreError {
        self.store.refused(error)
    }
}

impl Loader for PostgresLoader<'_> {
    async fn known(&mut self, runs: &[&str]) -> StoreResult<Vec<KnownRun>> {
        let known = sqlx::query_as(KNOWN).bind(runs).fetch_all(&mut *self.connection).await;
        known.map_err(|error| self.refused(error))
    }

    async fn places(&mut self, runs: &[i64]) -> StoreResult<Vec<(i64, String, i64)>> {
        let places =
            sqlx::query_as("SELECT run_id, name, position FROM stages WHERE run_id = ANY ($1)")
                .bind(runs)
                .fetch_all(&mut *self.connection)
                .await;
        places.map_err(|error| self.refused(error))
    }

    async fn numbers(&mut self, names: &Names) -> StoreResult<Numbers> {
        let find = async |connection: &mut PgConnection| {
            names.experiments.insert_into_postgres(connection).await?;
            names.texts.insert_into_postgres(connection).await?;
            names.keys.insert_into_postgres(connection).await?;
            let experiments: Vec<(String, i64)> =
                sqlx::query_as("SELECT name, id FROM experiments WHERE name = ANY ($1)")
                    .bind(&names.experiments.name)
                    .fetch_all(&mut *connection)
                    .await?;
            let texts: Vec<(Vec<u8>, i64)> =
                sqlx::query_as("SELECT digest, id FROM pipeline_texts WHERE digest = ANY ($1)")
                    .bind(&names.texts.digest)
                    .fetch_all(&mut *connection)
                    .await?;
            let keys: Vec<(String, i64)> =
                sqlx::query_as("SELECT name, id FROM metric_keys WHERE name = ANY ($1)")
                    .bind(&names.keys.name)
                    .fetch_all(&mut *connection)
                    .await?;
            Ok(Numbers {
                experiments: experiments.into_iter().collect(),
                texts: texts.into_iter().collect(),
                keys: keys.into_iter().collect(),
            })
        };
        find(self.connection).await.map_err(|error| self.refused(error))
    }

    async fn free(&mut self, table: &'static str, count: usize) -> StoreResult<Vec<i64>> {
        let sql = format!(
            "SELECT nextval(pg_get_serial_sequence('{table}', 'id')) FROM generate_series(1, $1)"
        );
        let free = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(count as i64)
            .fetch_all(&mut *self.connection)
            .await;
        free.map_err(|error| self.refused(error))
    }

    async fn clear(&mut self, runs: &[i64]) -> StoreResult<()> {
        for sql in CLEAR {
            self.store.execute(self.connection, sqlx::query(sql).bind(runs)).await?;
        }
        Ok(())
    }

    async fn insert(&mut self, rows: &Rows<'_>) -> StoreResult<()> {
        let insert = async |connection: &mut PgConnection| {
            insert_rows!(rows, insert_into_postgres, connection)
        };
        insert(self.connection).await.map_err(|error| self.refused(error))?;
        // A part at a time: the columns of all would lie in memory twice.
        for part in rows.chunks.chunks(1_024) {
            let chunks: Vec<_> =
                part.iter().map(|(id, place, piece)| ChunkRow::of(*id, *place, *piece)).collect();
            self.store.insert_chunks(self.connection, &chunks).await?;
        }
        Ok(())
    }

    fn text(text: &str) -> Cow<'_, str> {
        clean(text)
    }

    fn is_lost(_: f64) -> bool {
        false
    }
}

impl PostgresStore {
    pub(super) async fn load_runs(&self, runs: &[RunDump]) -> StoreResult<Vec<Loaded>> {
        self.write(async |connection| {
            load(&mut PostgresLoader { store: self, connection }, runs).await
        })
        .await
    }
}
