//! Loading dumps.

use std::borrow::Cow;

use sqlx::{AssertSqlSafe, SqliteConnection};

use super::SqliteStore;
use super::points::is_lost;
use super::runs::array;
use crate::chunk;
use crate::dump::{Loaded, RunDump};
use crate::error::{StoreError, StoreResult};
use crate::load::{KnownRun, Loader, Names, Numbers, Rows, insert_rows, load};
use crate::points::Piece;

const KNOWN: &str = "
    SELECT r.public_id, r.id, EXISTS (SELECT 1 FROM leases l WHERE l.run_id = r.id) AS driven,
           (SELECT count(*) FROM events e WHERE e.run_id = r.id) AS events, r.finished,
           (SELECT coalesce(sum(m.points), 0) FROM metrics m WHERE m.run_id = r.id) AS points
    FROM json_each($1) j CROSS JOIN runs r ON r.public_id = j.value";

const PLACES: &str = "
    SELECT s.run_id, s.name, s.position FROM json_each($1) j CROSS JOIN stages s ON s.run_id = j.value";

/// The row of the run stays: who refers to it does so by its number. What hangs on stages goes
/// with them.
const CLEAR: &str = "
    DELETE FROM params WHERE run_id IN (SELECT value FROM json_each($1));
    DELETE FROM tags WHERE run_id IN (SELECT value FROM json_each($1));
    DELETE FROM events WHERE run_id IN (SELECT value FROM json_each($1));
    DELETE FROM run_metrics WHERE run_id IN (SELECT value FROM json_each($1));
    DELETE FROM stages WHERE run_id IN (SELECT value FROM json_each($1))";

/// A connection in a transaction that dumps are loaded in.
struct SqliteLoader<'a> {
    store: &'a SqliteStore,
    connection: &'a mut SqliteConnection,
}

impl SqliteLoader<'_> {
    fn refused(&self, error: sqlx::Error) -> StoreError {
        self.store.refused(error)
    }

    /// The numbers of names that are there: `$1` in `sql` is a list.
    async fn numbers_of<T>(&mut self, sql: &'static str, names: &str) -> StoreResult<Vec<(T, i64)>>
    where
        (T, i64): for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Unpin,
    {
        let found = sqlx::query_as(sql).bind(names).fetch_all(&mut *self.connection).await;
        found.map_err(|error| self.refused(error))
    }
}

impl Loader for SqliteLoader<'_> {
    async fn known(&mut self, runs: &[&str]) -> StoreResult<Vec<KnownRun>> {
        let runs = array(runs)?;
        let known = sqlx::query_as(KNOWN).bind(runs).fetch_all(&mut *self.connection).await;
        known.map_err(|error| self.refused(error))
    }

    async fn places(&mut self, runs: &[i64]) -> StoreResult<Vec<(i64, String, i64)>> {
        let runs = array(runs)?;
        let places = sqlx::query_as(PLACES).bind(runs).fetch_all(&mut *self.connection).await;
        places.map_err(|error| self.refused(error))
    }

    async fn numbers(&mut self, names: &Names) -> StoreResult<Numbers> {
        let insert = async |connection: &mut SqliteConnection| {
            names.experiments.insert_into_sqlite(connection).await?;
            names.texts.insert_into_sqlite(connection).await?;
            names.keys.insert_into_sqlite(connection).await
        };
        insert(self.connection).await.map_err(|error| self.refused(error))?;
        let hex: Vec<String> = names.texts.digest.iter().map(|digest| hex(digest)).collect();
        let experiments = self
            .numbers_of(
                "SELECT e.name, e.id FROM json_each($1) j
                 CROSS JOIN experiments e ON e.name = j.value",
                &array(&names.experiments.name)?,
            )
            .await?;
        let texts = self
            .numbers_of(
                "SELECT t.digest, t.id FROM json_each($1) j
                 CROSS JOIN pipeline_texts t ON t.digest = unhex(j.value)",
                &array(&hex)?,
            )
            .await?;
        let keys = self
            .numbers_of(
                "SELECT k.name, k.id FROM json_each($1) j
                 CROSS JOIN metric_keys k ON k.name = j.value",
                &array(&names.keys.name)?,
            )
            .await?;
        Ok(Numbers {
            experiments: experiments.into_iter().collect(),
            texts: texts.into_iter().collect(),
            keys: keys.into_iter().collect(),
        })
    }

    async fn free(&mut self, table: &'static str, count: usize) -> StoreResult<Vec<i64>> {
        // Numbers of runs are never used again: the last one is kept apart, too.
        let sql = format!(
            "SELECT max(coalesce((SELECT max(id) FROM {table}), 0),
                        coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0))"
        );
        let last: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut *self.connection)
            .await
            .map_err(|error| self.refused(error))?;
        Ok((last + 1..).take(count).collect())
    }

    async fn clear(&mut self, runs: &[i64]) -> StoreResult<()> {
        let runs = array(runs)?;
        let cleared = sqlx::query(CLEAR).bind(&runs).execute(&mut *self.connection).await;
        cleared.map_err(|error| self.refused(error))?;
        Ok(())
    }

    async fn insert(&mut self, rows: &Rows<'_>) -> StoreResult<()> {
        let insert = async |connection: &mut SqliteConnection| {
            insert_rows!(rows, insert_into_sqlite, connection)
        };
        insert(self.connection).await.map_err(|error| self.refused(error))?;
        let pack = |(id, place, piece): &(i64, i64, Piece<'_>)| {
            (*id, *place, piece.values.len(), chunk::pack(*piece))
        };
        // A part at a time: the bytes of all would lie in memory twice.
        for part in rows.chunks.chunks(4_096) {
            let packed: Vec<_> = part.iter().map(pack).collect();
            self.store.insert_chunks(self.connection, &packed).await?;
        }
        Ok(())
    }

    fn text(text: &str) -> Cow<'_, str> {
        text.into()
    }

    fn is_lost(value: f64) -> bool {
        is_lost(value)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl SqliteStore {
    pub(super) async fn load_runs(&self, runs: &[RunDump]) -> StoreResult<Vec<Loaded>> {
        self.write(async |connection| {
            // Runs may come in any order, also before the run that they repeat.
            sqlx::query("PRAGMA defer_foreign_keys = on")
                .execute(&mut *connection)
                .await
                .map_err(|error| self.refused(error))?;
            load(&mut SqliteLoader { store: self, connection }, runs).await
        })
        .await
    }
}
