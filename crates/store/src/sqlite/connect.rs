//! Opening the file: its settings, its version, its migrations.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::{BUSY, SqliteStore, WriterState, primary_code, refused};
use crate::error::{StoreError, StoreResult};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/sqlite");

/// What the first migration writes into the head of the file: "WICK".
const APPLICATION_ID: i64 = 0x5749_434b;

/// Writers of other processes are waited for this long: an engine writes for milliseconds, but
/// a backup or a person with a database tool may take a while.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait before another look where SQLite does not wait by itself.
const CONNECT_WAIT: Duration = Duration::from_millis(50);

const MAX_READERS: u32 = 4;

/// The writing connection; the readers, none of which is open yet; how to open another writer.
pub(super) async fn open(
    path: &Path,
) -> StoreResult<(SqliteConnection, SqlitePool, SqliteConnectOptions)> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Full)
        .pragma("temp_store", "memory")
        // Rows come from another thread; fewer, longer visits to it.
        .row_buffer_size(1024)
        .disable_statement_logging();
    let readers = SqlitePoolOptions::new()
        .max_connections(MAX_READERS)
        .min_connections(0)
        // A connection to a file does not go stale.
        .test_before_acquire(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options.clone().pragma("query_only", "on"));
    let metadata = fs::metadata(path);
    if metadata.as_ref().is_ok_and(fs::Metadata::is_dir) {
        return Err(StoreError::Location {
            location: path.display().to_string(),
            reason: "it is a folder; name the file in it, such as .wick/store.db".to_owned(),
        });
    }
    // Nearly always the file is there and needs nothing.
    if metadata.is_ok_and(|metadata| metadata.len() > 0) {
        let mut writer = options.connect().await.map_err(|error| refused(path, error))?;
        if needs(&mut writer, path).await? == Needs::Nothing {
            return Ok((writer, readers, options));
        }
        writer.close().await.map_err(|error| refused(path, error))?;
    }
    Ok((prepare(path, &options).await?, readers, options))
}

/// Makes the file or brings it up to date, one process at a time.
async fn prepare(path: &Path, options: &SqliteConnectOptions) -> StoreResult<SqliteConnection> {
    // SQLite does not wait for a lock while it changes the journal mode, and sqlx takes none
    // for its migrations: so a file beside the store is locked.
    let _lock = lock_beside(path).await?;
    let options = options.clone().create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    let mut writer = connect_patiently(&options).await.map_err(|error| refused(path, error))?;
    if needs(&mut writer, path).await? == Needs::Nothing {
        // Another process was quicker.
        return Ok(writer);
    }
    MIGRATIONS.run(&mut writer).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            refused(path, error)
        }
        error => {
            let location = path.display().to_string();
            StoreError::Database { location, source: Box::new(error) }
        }
    })?;
    // What the next opening looks at, so that it need not ask the migrator.
    let stamp = format!("PRAGMA user_version = {}", newest());
    sqlx::raw_sql(AssertSqlSafe(stamp))
        .execute(&mut writer)
        .await
        .map_err(|error| refused(path, error))?;
    Ok(writer)
}

/// Connects, and waits for other programs where SQLite itself does not: while it changes the
/// journal mode.
async fn connect_patiently(
    options: &SqliteConnectOptions,
) -> Result<SqliteConnection, sqlx::Error> {
    let mut tries = BUSY_TIMEOUT.as_millis() / CONNECT_WAIT.as_millis();
    loop {
        match options.connect().await {
            Err(error) if primary_code(&error) == Some(BUSY) && tries > 0 => tries -= 1,
            connected => return connected,
        }
        tokio::time::sleep(CONNECT_WAIT).await;
    }
}

/// The newest migration that this program knows.
pub(super) fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

#[derive(PartialEq, Eq)]
enum Needs {
    Nothing,
    Migrations,
}

async fn needs(connection: &mut SqliteConnection, path: &Path) -> StoreResult<Needs> {
    let version = version(connection, path).await?;
    if version > newest() {
        return Err(StoreError::Newer {
            location: path.display().to_string(),
            found: version,
            known: newest(),
        });
    }
    Ok(if version == newest() { Needs::Nothing } else { Needs::Migrations })
}

/// The newest migration that the file has; 0 for an empty one. Fails for a database of another
/// program.
pub(super) async fn version(connection: &mut SqliteConnection, path: &Path) -> StoreResult<i64> {
    let row = sqlx::query(
        "SELECT (SELECT user_version FROM pragma_user_version),
                (SELECT application_id FROM pragma_application_id),
                EXISTS (SELECT 1 FROM sqlite_schema WHERE name NOT LIKE '\\_sqlx%' ESCAPE '\\'
                                                      AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\')",
    )
    .fetch_one(connection)
    .await
    .map_err(|error| refused(path, error))?;
    let read = |place: usize| row.try_get::<i64, _>(place).map_err(|error| refused(path, error));
    let (version, application, in_use) = (read(0)?, read(1)?, read(2)? != 0);
    if in_use && application != APPLICATION_ID {
        return Err(StoreError::Location {
            location: path.display().to_string(),
            reason: "the file is a database of another program".to_owned(),
        });
    }
    Ok(version)
}

/// Locks the file `<store>.lock`; the lock ends when the file is dropped.
async fn lock_beside(path: &Path) -> StoreResult<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let (folder, lock) = (path.parent().map(Path::to_owned), PathBuf::from(name));
    let locked = tokio::task::spawn_blocking(move || {
        if let Some(folder) = folder {
            fs::create_dir_all(folder)?;
        }
        let file = File::create(lock)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    });
    let locked = locked.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    locked.map_err(|error| refused(path, sqlx::Error::Io(error)))
}

impl SqliteStore {
    /// Closes all connections. The last one to close moves the log into the file, so that the
    /// next opening finds nothing to do.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        let writer = std::mem::replace(&mut *self.writer.lock().await, WriterState::Closed);
        if let WriterState::Open(writer) = writer {
            // Everything is committed; what cannot be tidied up now is at the next opening.
            let _ = writer.connection.close().await;
        }
    }

    /// Writes the whole store, as it is at one moment, into a new file. Others read and write
    /// meanwhile.
    pub(crate) async fn vacuum_into(&self, file: &Path) -> StoreResult<()> {
        let refused = |error| refused(file, error);
        let mut connection = self.options.connect().await.map_err(|error| self.refused(error))?;
        let written = sqlx::query("VACUUM INTO $1")
            .bind(file.to_string_lossy().into_owned())
            .execute(&mut connection)
            .await;
        // It has only read.
        let _ = connection.close().await;
        written.map_err(refused)?;
        // As every store: so that whoever opens it finds nothing to do.
        let options = SqliteConnectOptions::new()
            .filename(file)
            .journal_mode(SqliteJournalMode::Wal)
            .disable_statement_logging();
        let connection = options.connect().await.map_err(refused)?;
        connection.close().await.map_err(refused)
    }
}
