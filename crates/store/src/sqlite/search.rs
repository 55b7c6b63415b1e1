//! Finding runs: what `search` asks, asked of SQLite.

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Row, Sqlite};
use tokio::sync::Mutex;

use super::SqliteStore;
use super::runs::array;
use crate::error::StoreResult;
use crate::rows::SummaryRow;
use crate::search::{
    Arg, Cell, Database, Dialect, Found, Fragment, RunPage, Search, Shape, Step, explain, find,
};

/// A search reads small pieces of many pages. Mapped into memory each costs no call of the system.
const MAP: &str = "PRAGMA mmap_size = 1073741824";

/// CROSS JOIN: from the page to its runs.
const PAGE: &str = "
    SELECT r.id, r.public_id, e.name AS experiment, r.pipeline, p.public_id AS parent,
           r.state, r.started, r.finished, r.name, r.note, r.starred, r.archived, r.deleted
    FROM json_each($1) j CROSS JOIN runs r ON r.id = j.value
         JOIN experiments e ON e.id = r.experiment_id
         LEFT JOIN runs p ON p.id = r.parent_id
    ORDER BY j.key";

impl SqliteStore {
    pub(super) async fn search(&self, query: &Search) -> StoreResult<RunPage> {
        let Found { ids, more, columns } = find(&self.searching().await?, query).await?;
        let rows: Vec<SummaryRow> = sqlx::query_as(PAGE)
            .bind(array(&ids)?)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.refused(error))?;
        Ok(RunPage { runs: self.summaries(rows).await?, more, columns })
    }

    /// By which statements `query` is answered, each with the plan that the database makes for it.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn explain(&self, query: &Search) -> StoreResult<Vec<Step>> {
        explain(&self.searching().await?, query).await
    }

    async fn searching(&self) -> StoreResult<Searching<'_>> {
        let mut connection = self.readers.acquire().await.map_err(|error| self.refused(error))?;
        sqlx::raw_sql(MAP).execute(&mut *connection).await.map_err(|error| self.refused(error))?;
        Ok(Searching { store: self, connection: Mutex::new(connection) })
    }
}

/// A store with the connection on which it searches.
struct Searching<'a> {
    store: &'a SqliteStore,
    connection: Mutex<PoolConnection<Sqlite>>,
}

impl Database for Searching<'_> {
    const DIALECT: Dialect = Dialect::Sqlite;

    async fn ask(&self, question: Fragment, shape: &[Shape]) -> StoreResult<Vec<Vec<Cell>>> {
        let (text, args) = question.finish();
        let mut query = sqlx::query(AssertSqlSafe(text));
        for arg in args {
            query = match arg {
                Arg::Int(int) => query.bind(int),
                Arg::Float(float) => query.bind(float),
                Arg::Text(text) => query.bind(text),
            };
        }
        let mut connection = self.connection.lock().await;
        let rows = query.fetch_all(&mut **connection).await;
        let rows = rows.map_err(|error| self.store.refused(error))?;
        let cell = |row: &sqlx::sqlite::SqliteRow, place: usize, shape: Shape| match shape {
            Shape::Int => row.try_get::<Option<i64>, _>(place).map(|v| v.map(Cell::Int)),
            Shape::Float => row.try_get::<Option<f64>, _>(place).map(|v| v.map(Cell::Float)),
            Shape::Text => row.try_get::<Option<String>, _>(place).map(|v| v.map(Cell::Text)),
        };
        rows.iter()
            .map(|row| {
                let cells = shape.iter().enumerate().map(|(place, shape)| {
                    let cell =
                        cell(row, place, *shape).map_err(|error| self.store.refused(error))?;
                    Ok(cell.unwrap_or(Cell::Null))
                });
                cells.collect()
            })
            .collect()
    }

    async fn plan(&self, question: Fragment) -> StoreResult<Vec<String>> {
        let mut explained = Fragment::new("EXPLAIN QUERY PLAN ");
        explained.append(question);
        let shape = [Shape::Int, Shape::Int, Shape::Int, Shape::Text];
        let rows = self.ask(explained, &shape).await?;
        Ok(rows.iter().filter_map(|row| Some(row[3].text()?.to_owned())).collect())
    }
}
