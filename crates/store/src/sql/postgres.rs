//! Answers from a Postgres server: in a read-only transaction on a connection of its own.
//!
//! The query stands behind a cursor, which takes queries only, whatever a text tries to be; each
//! cell is cut on the server, so that none is larger than it may be here. What a read-only
//! transaction lets through are functions that act without writing a row: they end sessions, read
//! files, change settings. So of the functions that a query calls none may be one that the
//! catalog calls volatile, but for some that are harmless.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgErrorPosition, PgRow};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Either, Executor, Row as _, SqlSafeStr,
    Statement, TypeInfo,
};
use tokio::sync::mpsc;

use super::lex::{self, Dialect, Query};
use super::{
    BATCH_ROWS, Batches, Cell, Limit, MAX_CELL, Message, Question, Row, SqlError, What, cut_text,
    views,
};
use crate::error::{Said, StoreError, StoreResult};
use crate::location::without_password;

/// Functions that give another answer each time, and do nothing else; and sizes, which the catalog
/// calls volatile because they change.
const HARMLESS: &[&str] = &[
    "random",
    "random_normal",
    "gen_random_uuid",
    "clock_timestamp",
    "timeofday",
    "pg_relation_size",
    "pg_total_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_database_size",
    "pg_column_size",
];

type Messages = mpsc::Receiver<StoreResult<Message>>;

pub(super) async fn ask(
    url: &str,
    question: &Question,
    limit: Limit,
) -> StoreResult<(Vec<String>, Messages)> {
    let location = without_password(url);
    // Before anything is asked of the server.
    let query = match &question.what {
        What::Query { sql, .. } => Some(lex::read(sql, Dialect::Postgres)?),
        What::View { .. } => None,
    };
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StoreError::Location {
            location: location.clone(),
            reason: error.to_string(),
        })?
        .application_name("wick sql")
        .disable_statement_logging();
    let refused = |source: sqlx::Error| StoreError::Database {
        location: location.clone(),
        source: Box::new(Said(source)),
    };
    let mut connection = options.connect().await.map_err(refused)?;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    connection.execute(begin).await.map_err(refused)?;
    let mut asked = Asked {
        connection,
        location: location.clone(),
        limit,
        text: Spliced::default(),
        rest: Vec::new(),
    };
    asked.allow_time().await?;
    let schema: Option<String> = sqlx::query_scalar("SELECT quote_ident(current_schema()) || '.'")
        .fetch_one(&mut asked.connection)
        .await
        .map_err(|error| asked.error(error))?;
    let schema = schema.unwrap_or_default();
    match (&question.what, query) {
        (What::View { view, runs }, _) => {
            asked.rest = view.exports(views::Database::Postgres, &schema, runs.as_deref());
            asked.text.sql = asked.rest.remove(0);
        }
        (What::Query { explain, .. }, Some(query)) => {
            asked.check_calls(&query).await?;
            asked.text = Spliced::new(&query, &schema);
            if *explain {
                return asked.explain().await;
            }
        }
        (What::Query { .. }, None) => {}
    }
    let columns = asked.declare().await?;
    let names = columns.iter().map(|column| column.name.clone()).collect();
    let (sender, receiver) = mpsc::channel(2);
    let max_rows = question.max_rows.unwrap_or(u64::MAX);
    tokio::spawn(async move {
        if let Err(error) = asked.fetch(&columns, max_rows, &sender).await {
            // Whoever asked may have gone.
            let _ = sender.send(Err(error)).await;
        }
        // What was asked has changed nothing: how the session ends tells nothing.
        let _ = asked.connection.close().await;
    });
    Ok((names, receiver))
}

/// A query with the views in front of it.
#[derive(Debug, Default)]
struct Spliced {
    sql: String,
    /// Where the text of the person was cut open, and how many bytes came in there.
    at: usize,
    added: usize,
    /// What the person wrote.
    theirs: Option<String>,
}

impl Spliced {
    fn new(query: &Query<'_>, schema: &str) -> Self {
        let views = views::postgres_views(query.text, schema);
        let theirs = Some(query.text.to_owned());
        if views.is_empty() {
            return Self { sql: query.text.to_owned(), at: 0, added: 0, theirs };
        }
        match query.with {
            None => {
                let front = format!("WITH {views} ");
                Self { sql: format!("{front}{}", query.text), at: 0, added: front.len(), theirs }
            }
            Some(with) => {
                let (before, after) = query.text.split_at(with.end);
                // Their own WITH goes on behind the views.
                let views = format!(" {views},");
                let sql = format!("{before}{views}{after}");
                Self { sql, at: with.end, added: views.len(), theirs }
            }
        }
    }

    /// The place in the person's text that Postgres means by the character `position`, from 1.
    fn place(&self, position: usize) -> Option<usize> {
        let theirs = self.theirs.as_ref()?;
        let place = self.sql.char_indices().nth(position.checked_sub(1)?).map(|(place, _)| place);
        let place = place.unwrap_or(self.sql.len());
        let place =
            if place < self.at { place } else { place.checked_sub(self.added)?.max(self.at) };
        Some(place.min(theirs.len()))
    }
}

/// A column of the answer.
struct AnswerColumn {
    name: String,
    shape: Shape,
}

/// What a column's text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Boolean,
    Integer,
    Real,
    /// A number that is whole or not.
    Numeric,
    Bytes,
    Text,
}

impl Shape {
    fn of(type_name: &str) -> Self {
        match type_name {
            "BOOL" => Shape::Boolean,
            "INT2" | "INT4" | "INT8" | "OID" => Shape::Integer,
            "FLOAT4" | "FLOAT8" => Shape::Real,
            "NUMERIC" => Shape::Numeric,
            "BYTEA" => Shape::Bytes,
            _ => Shape::Text,
        }
    }

    /// The column as text, no longer than a cell may be.
    fn select(self, column: &str) -> String {
        match self {
            Shape::Bytes => format!("encode(substr({column}, 1, {MAX_CELL}), 'hex')"),
            _ => format!("left({column}::text, {})", MAX_CELL + 1),
        }
    }

    fn cell(self, text: Option<&str>) -> Cell {
        let Some(text) = text else { return Cell::Null };
        let other = || Cell::Text(cut_text(text));
        let real = || text.parse().map_or_else(|_| other(), Cell::Real);
        match self {
            Shape::Boolean => Cell::Boolean(text == "true"),
            Shape::Integer => text.parse().map_or_else(|_| other(), Cell::Integer),
            Shape::Real => real(),
            Shape::Numeric => text.parse().map_or_else(|_| real(), Cell::Integer),
            Shape::Bytes => Cell::Bytes(from_hex(text)),
            Shape::Text => other(),
        }
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// A question that is being answered.
struct Asked {
    connection: PgConnection,
    location: String,
    limit: Limit,
    text: Spliced,
    /// What is answered after it, with rows of the same columns.
    rest: Vec<String>,
}

impl Asked {
    /// Tells the server how long the next statement may take: what is left. Asked before each, so
    /// that nothing in a query could give itself more.
    async fn allow_time(&mut self) -> StoreResult<()> {
        let Some(left) = self.limit.left() else { return Ok(()) };
        if left.is_zero() {
            return Err(self.limit.error());
        }
        let sql = format!("SET LOCAL statement_timeout = {}", left.as_millis().clamp(1, 1 << 30));
        let set = self.connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await;
        set.map(|_| ()).map_err(|error| self.error(error))
    }

    /// Refuses what calls a function that does more than answer.
    async fn check_calls(&mut self, query: &Query<'_>) -> StoreResult<()> {
        if query.calls.is_empty() {
            return Ok(());
        }
        let found: Option<String> = sqlx::query_scalar(
            "SELECT proname::text FROM pg_proc
             WHERE proname = ANY ($1) AND provolatile = 'v'
               AND NOT (pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ($2))
             ORDER BY proname LIMIT 1",
        )
        .bind(&query.calls)
        .bind(HARMLESS)
        .fetch_optional(&mut self.connection)
        .await
        .map_err(|error| self.error(error))?;
        match found {
            None => Ok(()),
            Some(name) => Err(SqlError::new(format!("`{name}` may do something other than read"))
                .help("functions that Postgres calls volatile are not called here")
                .into()),
        }
    }

    /// How the server would go about it.
    async fn explain(mut self) -> StoreResult<(Vec<String>, Messages)> {
        self.prepare().await?;
        let sql = format!("EXPLAIN {}", self.text.sql);
        let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql))
            .fetch_all(&mut self.connection)
            .await
            .map_err(|error| self.error(error))?;
        let rows = rows.into_iter().map(|line| vec![Cell::Text(cut_text(&line))]).collect();
        let (sender, receiver) = mpsc::channel(2);
        // There is room for both.
        let _ = sender.send(Ok(Message::Rows(rows))).await;
        let _ = sender.send(Ok(Message::End { more: false })).await;
        let _ = self.connection.close().await;
        Ok((vec!["plan".to_owned()], receiver))
    }

    /// Lets the server understand the query as it is written: errors have their places here.
    async fn prepare(&mut self) -> StoreResult<Vec<AnswerColumn>> {
        let sql = AssertSqlSafe(self.text.sql.clone()).into_sql_str();
        let statement = (&mut self.connection).prepare(sql).await;
        let statement = statement.map_err(|error| self.error(error))?;
        if let Some(Either::Left([_, ..])) = statement.parameters() {
            let error = SqlError::new("there is no value for its `$1`");
            return Err(error.help("write the value itself").into());
        }
        let column = |column: &sqlx::postgres::PgColumn| AnswerColumn {
            name: column.name().to_owned(),
            shape: Shape::of(column.type_info().name()),
        };
        let columns: Vec<AnswerColumn> = statement.columns().iter().map(column).collect();
        if columns.is_empty() {
            return Err(SqlError::new("its answer would have no columns").into());
        }
        Ok(columns)
    }

    /// Opens the cursor.
    async fn declare(&mut self) -> StoreResult<Vec<AnswerColumn>> {
        let columns = self.prepare().await?;
        let numbered = || columns.iter().zip(1..);
        let cells: Vec<String> = numbered()
            .map(|(column, number)| column.shape.select(&format!("answer.c{number}")))
            .collect();
        let names: Vec<String> = numbered().map(|(_, number)| format!("c{number}")).collect();
        // The line break ends a comment that the query may end with.
        let sql = format!(
            "DECLARE wick_answer NO SCROLL CURSOR FOR SELECT {} FROM ({}\n) AS answer ({})",
            cells.join(", "),
            self.text.sql,
            names.join(", ")
        );
        self.allow_time().await?;
        let declared = self.connection.execute(AssertSqlSafe(sql)).await;
        match declared {
            Ok(_) => Ok(columns),
            // A query that is none within another.
            Err(error) if matches!(code(&error).as_deref(), Some("0A000" | "42601")) => {
                Err(writes().into())
            }
            Err(error) => Err(self.error(error)),
        }
    }

    async fn fetch(
        &mut self,
        columns: &[AnswerColumn],
        max_rows: u64,
        sender: &mpsc::Sender<StoreResult<Message>>,
    ) -> StoreResult<()> {
        let mut batches = Batches::default();
        let mut count = 0;
        let mut rest = std::mem::take(&mut self.rest).into_iter();
        // Few first: cells may be large.
        let mut next = 16;
        let more = 'all: loop {
            self.allow_time().await?;
            let sql = AssertSqlSafe(format!("FETCH {next} FROM wick_answer"));
            let rows = sqlx::query(sql).fetch_all(&mut self.connection).await;
            let rows = rows.map_err(|error| self.error(error))?;
            let last = rows.len() < next;
            let mut weight = 0;
            for row in &rows {
                if count == max_rows {
                    break 'all true;
                }
                count += 1;
                let row = self.row(row, columns)?;
                weight += row.iter().map(Cell::weight).sum::<usize>();
                if let Some(message) = batches.push(row)
                    && sender.send(Ok(message)).await.is_err()
                {
                    return Ok(());
                }
            }
            if last {
                let Some(sql) = rest.next() else { break false };
                let closed = self.connection.execute("CLOSE wick_answer").await;
                closed.map_err(|error| self.error(error))?;
                self.text.sql = sql;
                self.declare().await?;
            }
            next = if weight < super::BATCH_BYTES / 16 { (next * 4).min(BATCH_ROWS) } else { 16 };
        };
        let _ = sender.send(Ok(batches.take())).await;
        let _ = sender.send(Ok(Message::End { more })).await;
        Ok(())
    }

    fn row(&self, row: &PgRow, columns: &[AnswerColumn]) -> StoreResult<Row> {
        columns
            .iter()
            .enumerate()
            .map(|(place, column)| {
                let text: Option<&str> = row.try_get(place).map_err(|error| self.error(error))?;
                Ok(column.shape.cell(text))
            })
            .collect()
    }

    /// Whose fault an error is, and what it means.
    fn error(&self, error: sqlx::Error) -> StoreError {
        let refused = |error: sqlx::Error| StoreError::Database {
            location: self.location.clone(),
            source: Box::new(Said(error)),
        };
        let Some(theirs) = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>())
        else {
            return refused(error);
        };
        match theirs.code() {
            // The server stopped it.
            "57014" => return self.limit.error(),
            "25006" => return writes().into(),
            _ => {}
        }
        // What is wrong with the query or its values, rather than with the server.
        let class = &theirs.code()[..2];
        if self.text.theirs.is_none() || !matches!(class, "42" | "22" | "21" | "0A" | "54" | "2B") {
            return refused(error);
        }
        let unknown = theirs.code() == "42P01";
        let mut sql = SqlError::new(theirs.message()).with_views(unknown);
        if let Some(PgErrorPosition::Original(position)) = theirs.position() {
            sql.place = self.text.place(position);
        }
        if let Some(hint) = theirs.hint() {
            sql = sql.help(hint);
        }
        if theirs.code() == "42712" {
            sql = sql.help("a view cannot be used by a WITH of the same name: rename yours");
        }
        sql.into()
    }
}

fn writes() -> SqlError {
    SqlError::new("it would do something other than read")
        .help("the store is only read here; nothing was changed")
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_question() {
        #[track_caller]
        fn check(text: &str, marked: &str) {
            let query = lex::read(text, Dialect::Postgres).expect("a query");
            let spliced = Spliced::new(&query, "s.");
            let byte = spliced.sql.rfind(marked).expect("it is there");
            let position = spliced.sql[..byte].chars().count() + 1;
            assert_eq!(spliced.place(position), text.rfind(marked), "{}", spliced.sql);
        }
        check("SELECT é, wrong FROM runs", "wrong");
        check("WITH é AS (SELECT wrong FROM runs) SELECT 1 FROM é", "wrong");
        check("-- c\nWITH RECURSIVE a AS (SELECT wrong FROM tags) SELECT 1", "wrong");
        check("SELECT wrong", "wrong");
    }

    #[test]
    fn cells_are_read_from_texts() {
        assert_eq!(Shape::Numeric.cell(Some("12")), Cell::Integer(12));
        assert_eq!(Shape::Numeric.cell(Some("2.5000")), Cell::Real(2.5));
        assert_eq!(Shape::Real.cell(Some("-Infinity")), Cell::Real(f64::NEG_INFINITY));
        assert_eq!(Shape::Boolean.cell(Some("false")), Cell::Boolean(false));
        assert_eq!(Shape::Bytes.cell(Some("00ff")), Cell::Bytes(vec![0, 255]));
        assert_eq!(Shape::Text.cell(None), Cell::Null);
    }
}
