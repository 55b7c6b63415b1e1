//! Answers from a SQLite file: on a thread and a connection of their own.
//!
//! The thread is none of the runtime's: were SQLite ever not to stop, the process could still end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use libsqlite3_sys as ffi;
use tokio::sync::{mpsc, oneshot};

use super::lex::{self, Dialect};
use super::raw::{Connection, RawError};
use super::{Batches, Limit, Message, Question, SqlError, What, views};
use crate::error::{StoreError, StoreResult};
use crate::sqlite::{busy_error, location_error};

/// No value in a query may be longer. What the store holds is far shorter; a query that makes
/// longer ones is after the memory.
const LONGEST: i32 = 64 * 1024 * 1024;

/// Writers are waited for so long: in WAL mode a reader hardly ever has to.
const WAIT: Duration = Duration::from_secs(5);

type Messages = mpsc::Receiver<StoreResult<Message>>;

/// What a thread has to answer.
struct Asked {
    path: PathBuf,
    sql: String,
    /// What is answered after it, with rows of the same columns.
    rest: Vec<String>,
    /// Whether a person wrote it.
    theirs: bool,
    explain: bool,
    max_rows: u64,
    end: Option<Instant>,
    limit: Limit,
}

pub(super) async fn ask(
    path: PathBuf,
    question: &Question,
    limit: Limit,
) -> StoreResult<(Vec<String>, Messages)> {
    let (mut statements, theirs, explain) = match &question.what {
        What::Query { sql, explain } => {
            let query = lex::read(sql, Dialect::Sqlite)?;
            (vec![query.text.to_owned()], true, *explain)
        }
        What::View { view, runs } => {
            (view.exports(views::Database::Sqlite, "main.", runs.as_deref()), false, false)
        }
    };
    let rest = statements.split_off(1);
    let asked = Asked {
        path,
        sql: statements.remove(0),
        rest,
        theirs,
        explain,
        max_rows: question.max_rows.unwrap_or(u64::MAX),
        end: limit.end.map(Into::into),
        limit,
    };
    let (columns, their_columns) = oneshot::channel();
    let (rows, their_rows) = mpsc::channel(2);
    let thread = std::thread::Builder::new().name("wick sql".to_owned());
    let location = asked.path.display().to_string();
    thread
        .spawn(move || {
            let mut columns = Some(columns);
            if let Err(error) = answer(&asked, &mut columns, &rows) {
                // Whoever asked may have gone.
                match columns.take() {
                    Some(columns) => drop(columns.send(Err(error))),
                    None => drop(rows.blocking_send(Err(error))),
                }
            }
        })
        .map_err(|source| StoreError::Database { location, source: Box::new(source) })?;
    let columns = their_columns.await.unwrap_or_else(|_| {
        Err(StoreError::Refused("the thread that asked SQLite is gone".to_owned()))
    })?;
    Ok((columns, their_rows))
}

type Columns = oneshot::Sender<StoreResult<Vec<String>>>;

fn answer(
    asked: &Asked,
    columns: &mut Option<Columns>,
    rows: &mpsc::Sender<StoreResult<Message>>,
) -> StoreResult<()> {
    let refused = |error: RawError| explain_error(asked, error);
    let mut connection = Connection::open(&asked.path, WAIT).map_err(refused)?;
    connection
        .execute(
            "PRAGMA temp_store = file; PRAGMA cache_size = -16384; PRAGMA trusted_schema = off",
        )
        .map_err(refused)?;
    if asked.theirs {
        connection.execute(&views::sqlite_views()).map_err(refused)?;
    }
    connection.execute("PRAGMA query_only = on").map_err(refused)?;
    let (end, gone) = (asked.end, rows.clone());
    let go_on = move || end.is_none_or(|end| Instant::now() < end) && !gone.is_closed();
    connection.guard(LONGEST, Box::new(go_on)).map_err(refused)?;
    if asked.explain {
        return explain(asked, &connection, columns, rows);
    }
    let mut batches = Batches::default();
    let mut count = 0;
    let mut more = false;
    'all: for sql in std::iter::once(&asked.sql).chain(&asked.rest) {
        let mut statement = connection.prepare(sql).map_err(refused)?;
        if let Some(columns) = columns.take() {
            drop(columns.send(Ok(statement.columns())));
        }
        while let Some(row) = statement.step().map_err(refused)? {
            if count == asked.max_rows {
                more = true;
                break 'all;
            }
            count += 1;
            if let Some(message) = batches.push(row)
                && rows.blocking_send(Ok(message)).is_err()
            {
                return Ok(());
            }
        }
    }
    let _ = rows.blocking_send(Ok(batches.take()));
    let _ = rows.blocking_send(Ok(Message::End { more }));
    Ok(())
}

/// How SQLite would go about it: one line a step, indented as they depend on each other.
fn explain(
    asked: &Asked,
    connection: &Connection,
    columns: &mut Option<Columns>,
    rows: &mpsc::Sender<StoreResult<Message>>,
) -> StoreResult<()> {
    const PREFIX: &str = "EXPLAIN QUERY PLAN ";
    let sql = format!("{PREFIX}{}", asked.sql);
    let refused = |mut error: RawError| {
        error.place = error.place.map(|place| place.saturating_sub(PREFIX.len()));
        explain_error(asked, error)
    };
    let mut statement = connection.prepare(&sql).map_err(refused)?;
    let mut depths = std::collections::HashMap::new();
    let mut lines = Vec::new();
    while let Some(row) = statement.step().map_err(refused)? {
        use super::Cell::{Integer, Text};
        if let [Integer(id), Integer(parent), _, Text(step)] = &row[..] {
            let depth = depths.get(parent).map_or(0, |depth| depth + 1);
            depths.insert(*id, depth);
            lines.push(vec![Text(format!("{}{step}", "  ".repeat(depth)))]);
        }
    }
    if let Some(columns) = columns.take() {
        drop(columns.send(Ok(vec!["plan".to_owned()])));
    }
    let _ = rows.blocking_send(Ok(Message::Rows(lines)));
    let _ = rows.blocking_send(Ok(Message::End { more: false }));
    Ok(())
}

/// Whose fault an error is, and what it means.
fn explain_error(asked: &Asked, error: RawError) -> StoreError {
    match error.code {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL => busy_error(&asked.path),
        ffi::SQLITE_NOTADB => location_error(&asked.path, "the file is not a SQLite database"),
        ffi::SQLITE_INTERRUPT => asked.limit.error(),
        ffi::SQLITE_AUTH | ffi::SQLITE_READONLY if asked.theirs => {
            SqlError::new("it would do something other than read")
                .help("the store is only read here; nothing was changed")
                .into()
        }
        ffi::SQLITE_TOOBIG if asked.theirs => SqlError::new("a value in it is too large")
            .help("no text and no list of bytes may have more than 64 MiB here")
            .into(),
        ffi::SQLITE_ERROR | ffi::SQLITE_MISMATCH | ffi::SQLITE_RANGE | ffi::SQLITE_CONSTRAINT
            if asked.theirs =>
        {
            let unknown = error.message.starts_with("no such table");
            let circular = error.message.starts_with("circular reference");
            let mut sql = SqlError::new(error.message).with_views(unknown);
            sql.place = error.place.filter(|place| *place <= asked.sql.len());
            if circular {
                sql = sql.help("a view cannot be used by a WITH of the same name: rename yours");
            }
            sql.into()
        }
        _ => StoreError::Database {
            location: asked.path.display().to_string(),
            source: error.message.into(),
        },
    }
}
