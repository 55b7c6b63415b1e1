//! The store in a SQLite file.
//!
//! One connection writes, a few read; in WAL mode they do not wait for each other. Every
//! connection of sqlx has a thread of its own, and each statement is a round trip to it, so what
//! belongs together is sent as one text of several statements, and many rows as one JSON array.

mod append;
mod batch;
mod busy;
mod connect;
mod dumping;
mod gone;
mod history;
mod inspect;
mod load;
mod log_room;
mod marks;
mod models;
mod points;
pub(crate) mod points_table;
mod questions;
mod runs;
mod search;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Either, Executor, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{Mutex, MutexGuard};
use wick_core::{
    Digest, Effect, Event, Fingerprint, MetricKey, ModelName, PortType, RunId, StageName,
    StageOrigin, Timestamp,
};

use crate::changes::Changes;
use crate::delegate::impl_store;
use crate::directory::{Directories, Directory};
use crate::dump::{Loaded, ModelDump, RunDump};
use crate::error::{Said, StoreError, StoreResult};
use crate::liveness::this_host;
use crate::marks::Mark;
use crate::points::Tails;
use crate::questions::{MadeArtifact, Reader, StageInRun, StageQuery};
use crate::records::*;
use crate::search::{RunPage, Search};
use log_room::LogRoom;

/// How sure a commit is when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// It survives a power cut.
    Flushed,
    /// It survives the death of the process; a power cut may take it back, whole. Never what
    /// was committed as [`Flushed`](Self::Flushed) before or after: the log is one file.
    Written,
}

impl Durability {
    /// How a transaction begins. It takes the write lock at once: one that reads first and writes
    /// later would fail, however long it waits, when another one wrote in between.
    const fn begin(self) -> &'static str {
        match self {
            Durability::Flushed => "PRAGMA synchronous = FULL; BEGIN IMMEDIATE",
            Durability::Written => "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE",
        }
    }

    /// How it is set for all transactions that follow.
    const fn pragma(self) -> &'static str {
        match self {
            Durability::Flushed => "PRAGMA synchronous = FULL",
            Durability::Written => "PRAGMA synchronous = NORMAL",
        }
    }
}

pub(crate) use inspect::inspect;

/// A store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    location: String,
    host: String,
    writer: Mutex<WriterState>,
    /// How a writing connection is opened.
    options: SqliteConnectOptions,
    readers: SqlitePool,
    directories: Directories,
    /// The ids of metric keys, which never change.
    keys: std::sync::Mutex<HashMap<MetricKey, i64>>,
    tails: Tails,
}

impl SqliteStore {
    /// Opens the store in the file `path`, and makes it if it is not there.
    ///
    /// # Errors
    /// If the file is not a store, was made by a newer `wick`, or cannot be used.
    pub async fn open(path: &Path) -> StoreResult<Self> {
        let (writer, readers, options) = connect::open(path).await?;
        Ok(Self {
            location: path.display().to_string(),
            host: this_host(),
            writer: Mutex::new(WriterState::Open(OpenWriter::new(writer, path))),
            options,
            readers,
            directories: Directories::default(),
            keys: std::sync::Mutex::default(),
            tails: Tails::default(),
        })
    }

    async fn writer(&self) -> StoreResult<Writer<'_>> {
        let mut guard = self.writer.lock().await;
        match &*guard {
            WriterState::Open(_) => {}
            WriterState::Broken => {
                let writer = self.options.connect().await.map_err(|error| self.refused(error))?;
                let path = Path::new(&self.location);
                *guard = WriterState::Open(OpenWriter::new(writer, path));
            }
            WriterState::Closed => return Err(self.refused(sqlx::Error::PoolClosed)),
        }
        Ok(Writer(guard))
    }

    /// The database refused; nothing was written.
    fn refused(&self, error: sqlx::Error) -> StoreError {
        refused(Path::new(&self.location), error)
    }

    /// The commit of a transaction failed.
    fn uncommitted(&self, error: sqlx::Error) -> StoreError {
        // These leave the transaction as it was before the commit; after anything else it may be
        // on the disk or not.
        if matches!(primary_code(&error), Some(BUSY | CONSTRAINT)) {
            return self.refused(error);
        }
        StoreError::Unknown { location: self.location.clone(), source: Box::new(Said(error)) }
    }

    /// The stages of `run`.
    async fn directory(&self, run: &RunId) -> StoreResult<Arc<Directory>> {
        if let Some(directory) = self.directories.get(run) {
            return Ok(directory);
        }
        self.find_directory(run).await?.ok_or_else(|| StoreError::NoRun(run.clone()))
    }

    /// The run and the place in it of a stage that an attempt was made of.
    async fn place(&self, run: &RunId, stage: &StageName) -> StoreResult<Option<(i64, u32)>> {
        let directory = self.directory(run).await?;
        if let Some(place) = directory.place(stage) {
            return Ok(Some((directory.run, place)));
        }
        // It may be an instance that has come to the run since.
        let directory = self.find_directory(run).await?;
        Ok(directory.and_then(|directory| Some((directory.run, directory.place(stage)?))))
    }

    /// Remembers the places of instances that have come to `run`.
    fn keep_instances(&self, run: &RunId, directory: &Directory, changes: &Changes<'_>) {
        let mut new = changes.expanded.iter().flat_map(|expansion| &expansion.new).peekable();
        if new.peek().is_some() {
            let new = new.map(|(place, name, _)| (*name, *place));
            self.directories.keep(run, directory.with(new));
        }
    }

    fn key(&self, key: &MetricKey) -> Option<i64> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn keep_keys(&self, keys: impl IntoIterator<Item = (MetricKey, i64)>) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
    }
}

// SQLite's primary result codes, as far as they are told apart here.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
/// Too many tries to get a lock that other processes kept taking.
const PROTOCOL: i32 = 15;
const CONSTRAINT: i32 = 19;
const NOT_A_DATABASE: i32 = 26;

/// What SQLite calls an error, without its details.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

/// The database in the file `path` refused; nothing was written.
fn refused(path: &Path, error: sqlx::Error) -> StoreError {
    match primary_code(&error) {
        Some(BUSY | LOCKED | PROTOCOL) => busy_error(path),
        Some(NOT_A_DATABASE) => location_error(path, "the file is not a SQLite database"),
        _ => {
            let location = path.display().to_string();
            StoreError::Database { location, source: Box::new(Said(error)) }
        }
    }
}

/// Another program holds the database in the file `path`.
pub(crate) fn busy_error(path: &Path) -> StoreError {
    StoreError::Busy { location: path.display().to_string(), holder: busy::holder(path) }
}

/// The file `path` is no store.
pub(crate) fn location_error(path: &Path, reason: &str) -> StoreError {
    StoreError::Location { location: path.display().to_string(), reason: reason.to_owned() }
}

/// The writing connection.
#[derive(Debug)]
enum WriterState {
    Open(OpenWriter),
    /// A transaction ended in a way after which nothing more is known of the connection: SQLite
    /// rolls some failed ones back by itself, of which sqlx knows nothing. The next write opens
    /// another.
    Broken,
    /// The store is closed.
    Closed,
}

/// The writing connection, and what is known of it.
#[derive(Debug)]
struct OpenWriter {
    connection: SqliteConnection,
    /// How sure its commits are, once that was set.
    durability: Option<Durability>,
    /// Whether it was told how a batch is written: see [`batch`].
    takes_batches: bool,
    log_room: LogRoom,
}

impl OpenWriter {
    /// To the store in the file `path`.
    fn new(connection: SqliteConnection, path: &Path) -> Self {
        let log_room = LogRoom::of(path);
        Self { connection, durability: None, takes_batches: false, log_room }
    }
}

/// The writing connection, held by one method at a time.
struct Writer<'a>(MutexGuard<'a, WriterState>);

impl Writer<'_> {
    fn open(&mut self) -> &mut OpenWriter {
        match &mut *self.0 {
            WriterState::Open(open) => open,
            _ => unreachable!("checked when it was locked, and closing takes the lock"),
        }
    }

    /// Lets go of the connection.
    async fn discard(mut self) {
        if let WriterState::Open(open) = std::mem::replace(&mut *self.0, WriterState::Broken) {
            // It was broken before: how it closes says nothing new.
            let _ = open.connection.close().await;
        }
    }
}

/// What a text of several statements did, as far as it came.
#[derive(Default)]
struct Outcome {
    /// How many rows each statement changed. Of one that only reads it says nothing.
    changed: Vec<u64>,
    /// The rows that came back, of all statements together.
    rows: Vec<SqliteRow>,
}

/// Runs a text of one or several statements, in one round trip.
async fn run_all(
    connection: &mut SqliteConnection,
    query: Query<'_, Sqlite, SqliteArguments>,
    outcome: &mut Outcome,
) -> Result<(), sqlx::Error> {
    let mut stream = connection.fetch_many(query);
    // To the end in any case: what is not read is not executed.
    while let Some(step) = stream.try_next().await? {
        match step {
            Either::Left(done) => outcome.changed.push(done.rows_affected()),
            Either::Right(row) => outcome.rows.push(row),
        }
    }
    Ok(())
}

impl_store!(SqliteStore);
