//! Looking at a file without changing it.

use std::fs;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::connect::{BUSY_TIMEOUT, newest, version};
use super::refused;
use crate::error::StoreResult;
use crate::inspect::{COUNTS, Counts, CountsRow, DrivenRun, ENGINES, Inspection, RUN_STATES};

/// What there is in the file `path`; it need not be there.
pub(crate) async fn inspect(path: &Path) -> StoreResult<Inspection> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        fs::metadata(name).map_or(0, |metadata| metadata.len())
    };
    let mut found = Inspection {
        location: path.display().to_string(),
        database: "sqlite",
        server: String::new(),
        migration: 0,
        known: newest(),
        bytes: beside("") + beside("-wal"),
        counts: Counts::default(),
        engines: Vec::new(),
    };
    if beside("") == 0 {
        return Ok(found);
    }
    let refused = |error| refused(path, error);
    let mut connection = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("query_only", "on")
        .disable_statement_logging()
        .connect()
        .await
        .map_err(refused)?;
    found.migration = version(&mut connection, path).await?;
    found.server = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await
        .map_err(refused)?;
    if found.migration > 0 {
        let counts: CountsRow =
            sqlx::query_as(COUNTS).fetch_one(&mut connection).await.map_err(refused)?;
        let states =
            sqlx::query_as(RUN_STATES).fetch_all(&mut connection).await.map_err(refused)?;
        found.counts = Counts::new(counts, states)?;
        let engines = sqlx::query_as(ENGINES).fetch_all(&mut connection).await.map_err(refused)?;
        found.engines = DrivenRun::all(engines)?;
    }
    // It only read: how it closes says nothing.
    let _ = connection.close().await;
    Ok(found)
}
