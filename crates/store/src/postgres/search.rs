//! Finding runs: what `search` asks, asked of Postgres.

use sqlx::{AssertSqlSafe, Row};

use super::{PostgresStore, clean};
use crate::error::StoreResult;
use crate::rows::SummaryRow;
use crate::search::{
    Arg, Cell, Database, Dialect, Found, Fragment, RunPage, Search, Shape, Step, explain, find,
};

const PAGE: &str = "
    SELECT r.id, r.public_id, e.name AS experiment, r.pipeline, p.public_id AS parent,
           r.state, r.started, r.finished, r.name, r.note, r.starred, r.archived, r.deleted
    FROM unnest($1::bigint[]) WITH ORDINALITY AS j (id, place)
         JOIN runs r ON r.id = j.id
         JOIN experiments e ON e.id = r.experiment_id
         LEFT JOIN runs p ON p.id = r.parent_id
    ORDER BY j.place";

impl PostgresStore {
    pub(super) async fn search(&self, query: &Search) -> StoreResult<RunPage> {
        let Found { ids, more, columns } = find(self, query).await?;
        let rows: Vec<SummaryRow> = sqlx::query_as(PAGE)
            .bind(&ids)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.refused(error))?;
        Ok(RunPage { runs: self.summaries(rows).await?, more, columns })
    }

    /// By which statements `query` is answered, each with the plan that the database makes for it.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn explain(&self, query: &Search) -> StoreResult<Vec<Step>> {
        explain(self, query).await
    }
}

impl Database for PostgresStore {
    const DIALECT: Dialect = Dialect::Postgres;

    async fn ask(&self, question: Fragment, shape: &[Shape]) -> StoreResult<Vec<Vec<Cell>>> {
        let (text, args) = question.finish();
        // Planned for its arguments each time: what is quick for one value is not for another.
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        for arg in args {
            query = match arg {
                Arg::Int(int) => query.bind(int),
                Arg::Float(float) => query.bind(float),
                Arg::Text(text) => query.bind(clean(&text).into_owned()),
            };
        }
        let rows = query.fetch_all(&self.pool).await.map_err(|error| self.refused(error))?;
        let cell = |row: &sqlx::postgres::PgRow, place: usize, shape: Shape| match shape {
            Shape::Int => row.try_get::<Option<i64>, _>(place).map(|v| v.map(Cell::Int)),
            Shape::Float => row.try_get::<Option<f64>, _>(place).map(|v| v.map(Cell::Float)),
            Shape::Text => row.try_get::<Option<String>, _>(place).map(|v| v.map(Cell::Text)),
        };
        rows.iter()
            .map(|row| {
                let cells = shape.iter().enumerate().map(|(place, shape)| {
                    let cell = cell(row, place, *shape).map_err(|error| self.refused(error))?;
                    Ok(cell.unwrap_or(Cell::Null))
                });
                cells.collect()
            })
            .collect()
    }

    async fn plan(&self, question: Fragment) -> StoreResult<Vec<String>> {
        let mut explained = Fragment::new("EXPLAIN ");
        explained.append(question);
        let shape = [Shape::Text];
        let rows = self.ask(explained, &shape).await?;
        Ok(rows.iter().filter_map(|row| Some(row[0].text()?.to_owned())).collect())
    }
}
