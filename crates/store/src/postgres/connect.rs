//! Connecting to the database: its version, its migrations.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::time::timeout;

use crate::error::{Said, StoreError, StoreResult};
use crate::location::without_password;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations/postgres");

/// An engine writes on one connection at a time and reads on another; a server for many
/// readers has use for some more.
const MAX_CONNECTIONS: u32 = 8;

/// A server that does not answer for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server that refuses connections for so long is not about to start.
const PATIENCE: Duration = Duration::from_secs(3);

/// What people see of `url`, and its connections, one of which is open. The database may not be
/// a store yet.
pub(super) async fn connect(url: &str) -> StoreResult<(String, PgPool)> {
    let location = without_password(url);
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| StoreError::Location {
            location: location.clone(),
            reason: error.to_string(),
        })?
        .application_name("wick")
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .min_connections(0)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with(options.clone());
    reach(&pool, &options).await.map_err(|error| StoreError::Database {
        location: location.clone(),
        source: Box::new(Said(error)),
    })?;
    Ok((location, pool))
}

/// Opens the first connection. The pool waits for a server that refuses, which may be starting,
/// and in the end tells only that it waited: what is wrong a connection of its own tells.
async fn reach(pool: &PgPool, options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    if let Ok(opened) = timeout(PATIENCE, pool.acquire()).await {
        return opened.map(drop);
    }
    match timeout(CONNECT_TIMEOUT, options.connect()).await {
        // It is only slow.
        Ok(Ok(connection)) => connection.close().await,
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer").into()),
    }
}

/// The newest migration that this program knows.
pub(super) fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// [`connect`]s to a store, which is made or brought up to date.
pub(super) async fn open(url: &str) -> StoreResult<(String, PgPool)> {
    let (location, pool) = connect(url).await?;
    let known = newest();
    let found = version(&pool).await.map_err(|error| StoreError::Database {
        location: location.clone(),
        source: Box::new(Said(error)),
    })?;
    if found > known {
        return Err(StoreError::Newer { location, found, known });
    }
    if found < known {
        // The migrator holds an advisory lock of the database meanwhile, so that of many that
        // open a new store at once one makes it and the others wait.
        MIGRATIONS.run(&pool).await.map_err(|error| StoreError::Database {
            location: location.clone(),
            source: Box::new(error),
        })?;
    }
    Ok((location, pool))
}

/// The newest migration that was applied; 0 for an empty database.
pub(super) async fn version(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(pool)
        .await?;
    if !exists {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
        .fetch_one(pool)
        .await
}
