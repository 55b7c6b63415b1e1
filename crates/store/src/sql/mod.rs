//! Questions in SQL, over documented views that are the same on both databases.
//!
//! A question is answered on a connection of its own that can write nothing, within a time and a
//! number of rows. What it may be is decided three times: the text is read (`lex`) and must be
//! one query; the connection is read-only; and the database is asked before it executes, SQLite
//! by its authorizer, Postgres by a cursor, which holds nothing but a query.
//!
//! The views are not objects of the database: they are made for the connection (SQLite) or put in
//! front of the query (Postgres). So they need no migration, and stand in no migration's way.

mod lex;
mod postgres;
mod raw;
mod sqlite;
pub mod views;

use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use wick_core::RunId;

use crate::error::{StoreError, StoreResult};
use crate::location::{self, Location};

pub use views::{ColumnType, VIEWS, View, ViewColumn};

/// Of a text or of bytes so much is shown of a cell: 256 KiB.
pub const MAX_CELL: usize = 256 * 1024;

/// The longest text that a question may be.
pub const MAX_SQL: usize = 1024 * 1024;

/// Rows of a batch weigh about so much at most.
const BATCH_BYTES: usize = 1024 * 1024;

/// How long after its time a database may take to notice that the time is over.
const GRACE: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    what: What,
    /// At most so many rows.
    max_rows: Option<u64>,
    /// At most so long, all in all.
    timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
enum What {
    /// What a person wrote: their query, or how the database would go about it.
    Query { sql: String, explain: bool },
    /// All rows of a view that belong to these runs, or all rows; times as microseconds.
    View { view: &'static View, runs: Option<Vec<RunId>> },
}

impl Question {
    /// A query that a person wrote.
    pub fn query(sql: impl Into<String>) -> Self {
        let what = What::Query { sql: sql.into(), explain: false };
        Self { what, max_rows: None, timeout: None }
    }

    /// All rows of `view` in its order: of these runs, or of all. Times come as microseconds since
    /// 1970 rather than as text.
    pub fn view(view: &'static View, runs: Option<Vec<RunId>>) -> Self {
        Self { what: What::View { view, runs }, max_rows: None, timeout: None }
    }

    /// Not the answer, but how the database would find it.
    #[must_use]
    pub fn explained(mut self) -> Self {
        if let What::Query { explain, .. } = &mut self.what {
            *explain = true;
        }
        self
    }

    /// At most so many rows; whether there are more is [told](Answer::is_cut).
    #[must_use]
    pub fn max_rows(mut self, rows: u64) -> Self {
        self.max_rows = Some(rows);
        self
    }

    /// At most so long.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// What stands in one column of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Nothing.
    Null,
    /// True or false; SQLite has none of these.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A text, or what is shown as one: a time, a list.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Cell {
    fn weight(&self) -> usize {
        let content = match self {
            Cell::Text(text) => text.len(),
            Cell::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        size_of::<Self>() + content
    }
}

/// The cells of a row, in the order of the columns.
pub type Row = Vec<Cell>;

/// Why a question cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// What is wrong.
    pub message: String,
    /// Where in the question: a place between its bytes.
    pub place: Option<usize>,
    /// What would help.
    pub help: Option<String>,
}

impl SqlError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, help: None }
    }

    fn at(mut self, place: usize) -> Self {
        self.place = Some(place);
        self
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn out_of_time(timeout: Duration) -> Self {
        Self::new(format!("there was no answer within {timeout:?}"))
            .help("ask for less, or give it longer with --timeout")
    }

    /// Adds the names of the views where a name was not found.
    fn with_views(self, unknown_table: bool) -> Self {
        if !unknown_table {
            return self;
        }
        let names: Vec<&str> = VIEWS.iter().map(|view| view.name).collect();
        self.help(format!("there are {}", names.join(", ")))
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<SqlError> for StoreError {
    fn from(error: SqlError) -> Self {
        StoreError::Sql(Box::new(error))
    }
}

/// What comes from whoever executes the question.
enum Message {
    Rows(Vec<Row>),
    /// The end. Whether there would have been more rows, and how many cells were cut.
    End {
        more: bool,
    },
}

/// An answer, as it comes.
#[derive(Debug)]
pub struct Answer {
    columns: Vec<String>,
    messages: mpsc::Receiver<StoreResult<Message>>,
    limit: Limit,
    more: bool,
    cut_cells: u64,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Rows(rows) => write!(f, "{} rows", rows.len()),
            Message::End { .. } => f.write_str("the end"),
        }
    }
}

impl Answer {
    /// The names of the columns. They need not be unique.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// If the database refuses in the midst of it, or the time is over.
    pub async fn next(&mut self) -> StoreResult<Option<Vec<Row>>> {
        let next = self.limit.patiently(self.messages.recv()).await?;
        match next {
            Some(Ok(Message::Rows(rows))) => {
                let cells = rows.iter().flatten();
                self.cut_cells += cells.filter(|cell| is_cut(cell)).count() as u64;
                Ok(Some(rows))
            }
            Some(Ok(Message::End { more })) => {
                self.more = more;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => Ok(None),
        }
    }

    /// Whether there are more rows than were asked for; known after the last.
    pub fn is_cut(&self) -> bool {
        self.more
    }

    /// How many cells were too long to be shown in full.
    pub fn cut_cells(&self) -> u64 {
        self.cut_cells
    }
}

/// Whether a cell has as much in it as one can have.
fn is_cut(cell: &Cell) -> bool {
    match cell {
        Cell::Text(text) => text.ends_with(CUT) && text.len() > MAX_CELL - 4,
        Cell::Bytes(bytes) => bytes.len() == MAX_CELL,
        _ => false,
    }
}

/// What stands at the end of a text that was cut.
const CUT: char = '…';

/// The beginning of a text that is too long, with a mark.
fn cut_text(text: &str) -> String {
    if text.len() <= MAX_CELL {
        return text.to_owned();
    }
    let mut cut = text[..text.floor_char_boundary(MAX_CELL)].to_owned();
    cut.push(CUT);
    cut
}

/// Until when.
#[derive(Debug, Clone, Copy)]
struct Limit {
    timeout: Option<Duration>,
    end: Option<Instant>,
}

impl Limit {
    fn from_now(timeout: Option<Duration>) -> Self {
        Self { timeout, end: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    /// What is left; `None` where there is no limit.
    fn left(self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn error(self) -> StoreError {
        SqlError::out_of_time(self.timeout.unwrap_or_default()).into()
    }

    /// Waits for `what` a little longer than there is time: it will notice itself, and can say
    /// more.
    async fn patiently<T>(self, what: impl Future<Output = T>) -> StoreResult<T> {
        match self.end {
            None => Ok(what.await),
            Some(end) => tokio::time::timeout_at(end + GRACE, what).await.map_err(|_| self.error()),
        }
    }
}

/// Asks the store at `location`, which exists and is up to date, for rows. Nothing in it can be
/// changed by that.
///
/// # Errors
/// [`StoreError::Sql`] if it is not a query, or one that the database does not understand;
/// anything else if the store cannot be read.
pub async fn ask(location: &str, question: &Question) -> StoreResult<Answer> {
    let limit = Limit::from_now(question.timeout);
    let (columns, messages) = match location::parse(location)? {
        Location::Sqlite(path) => limit.patiently(sqlite::ask(path, question, limit)).await??,
        Location::Postgres(url) => limit.patiently(postgres::ask(&url, question, limit)).await??,
    };
    Ok(Answer { columns, messages, limit, more: false, cut_cells: 0 })
}

/// Rows on their way, in batches that are neither long nor heavy.
#[derive(Default)]
struct Batches {
    rows: Vec<Row>,
    weight: usize,
}

/// Rows of a batch at most.
const BATCH_ROWS: usize = 256;

impl Batches {
    /// Takes a row, and gives a batch that is full.
    fn push(&mut self, row: Row) -> Option<Message> {
        self.weight += row.iter().map(Cell::weight).sum::<usize>();
        self.rows.push(row);
        (self.rows.len() >= BATCH_ROWS || self.weight >= BATCH_BYTES).then(|| self.take())
    }

    fn take(&mut self) -> Message {
        self.weight = 0;
        Message::Rows(std::mem::take(&mut self.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut_text("short"), "short");
        let cut = cut_text(&"é".repeat(MAX_CELL));
        assert!(cut.ends_with("é…") && cut.len() <= MAX_CELL + CUT.len_utf8());
        assert!(is_cut(&Cell::Text(cut)));
        assert!(!is_cut(&Cell::Text("and so on…".to_owned())));
    }

    #[test]
    fn batches_are_neither_long_nor_heavy() {
        let mut batches = Batches::default();
        let full = (0..1000).filter(|n| batches.push(vec![Cell::Integer(*n)]).is_some()).count();
        assert_eq!(full, 1000 / BATCH_ROWS);
        let heavy = || vec![Cell::Text("x".repeat(BATCH_BYTES / 2))];
        batches.take();
        assert!(batches.push(heavy()).is_none());
        assert!(batches.push(heavy()).is_some());
    }
}
