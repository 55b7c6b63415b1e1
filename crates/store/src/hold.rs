//! Who begins runs by schedule: one process for each store.
//!
//! Two that watched the same clock would begin every run twice. With SQLite a locked file beside
//! the store says who it is, with Postgres an advisory lock of a session: both are given back by
//! the system when their process dies, however it dies.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use wick_core::Timestamp;

use crate::error::{StoreError, StoreResult};
use crate::location::{self, Location, without_password};

/// What is added to the name of a SQLite store for the file that is locked.
const SUFFIX: &str = "-up";

/// The first half of the advisory lock's number: "wick" in ASCII. The other half is the schema's.
const LOCK_CLASS: i32 = 0x7769_636b;

/// How often it is looked whether a session of our own that was cut off is gone, and the wait
/// between two looks.
const OWN_LOOKS: u32 = 50;
const OWN_WAIT: Duration = Duration::from_millis(20);

/// A process that begins runs by schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
}

/// What came of asking for a [`Hold`].
#[derive(Debug)]
pub enum Asked {
    /// It is ours until it is dropped.
    Ours(Hold),
    /// Another process has it: this one, if it can be told.
    Theirs(Option<Holder>),
}

/// The right to begin runs by schedule, held until it is dropped.
#[derive(Debug)]
pub struct Hold {
    location: String,
    holder: Holder,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    File { file: File, path: PathBuf },
    Session(Option<Box<PgConnection>>),
}

/// Asks for the right to begin runs by schedule in the store at `location`, which exists.
///
/// # Errors
/// If the file cannot be locked or the server cannot be asked.
pub async fn hold(location: &str, holder: Holder) -> StoreResult<Asked> {
    match location::parse(location)? {
        Location::Sqlite(path) => {
            // Whatever name it is given, a store has one lock.
            let path = path.canonicalize().unwrap_or(path);
            let mut name = path.into_os_string();
            name.push(SUFFIX);
            let path = PathBuf::from(name);
            let refused = |source: io::Error| StoreError::Database {
                location: path.display().to_string(),
                source: Box::new(source),
            };
            Ok(match lock_file(&path, &holder).map_err(refused)? {
                Ok(file) => Asked::Ours(Hold {
                    location: location.to_owned(),
                    holder,
                    kind: Kind::File { file, path },
                }),
                Err(other) => Asked::Theirs(other),
            })
        }
        Location::Postgres(url) => {
            let refused = |source: sqlx::Error| StoreError::Database {
                location: without_password(&url),
                source: Box::new(source),
            };
            Ok(match lock_session(&url, &holder).await.map_err(refused)? {
                Ok(connection) => Asked::Ours(Hold {
                    location: url,
                    holder,
                    kind: Kind::Session(Some(Box::new(connection))),
                }),
                Err(other) => Asked::Theirs(other),
            })
        }
    }
}

impl Hold {
    /// Whether it is still ours. A file may have been removed, a session cut off by the network:
    /// then it is asked for again.
    ///
    /// # Errors
    /// If it was lost and cannot be asked for again now.
    pub async fn confirm(&mut self) -> StoreResult<bool> {
        let there = match &mut self.kind {
            Kind::File { file, path } => same_file(file, path),
            Kind::Session(Some(connection)) => connection.ping().await.is_ok(),
            Kind::Session(None) => false,
        };
        if there {
            return Ok(true);
        }
        if let Kind::Session(connection) = &mut self.kind {
            // The server must not count the old session for another holder.
            if let Some(connection) = connection.take() {
                let _ = connection.close_hard().await;
            }
        }
        for _ in 0..OWN_LOOKS {
            match hold(&self.location, self.holder.clone()).await? {
                Asked::Ours(hold) => {
                    *self = hold;
                    return Ok(true);
                }
                // Our old session, which the server is just ending.
                Asked::Theirs(Some(other))
                    if (other.pid, &other.host) == (self.holder.pid, &self.holder.host) =>
                {
                    tokio::time::sleep(OWN_WAIT).await;
                }
                Asked::Theirs(_) => break,
            }
        }
        Ok(false)
    }
}

/// Locks the file at `path` and writes `holder` into it, or says who has locked it.
fn lock_file(path: &Path, holder: &Holder) -> io::Result<Result<File, Option<Holder>>> {
    loop {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // Whoever has it may be writing just now.
                file.take(4096).read_to_string(&mut text)?;
                return Ok(Err(serde_json::from_str(&text).ok()));
            }
            Err(error) => return Err(error.into()),
        }
        // Between opening and locking the file may have been removed; what was locked is nothing.
        if !same_file(&file, path) {
            continue;
        }
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(serde_json::to_string(holder).map_err(io::Error::other)?.as_bytes())?;
        return Ok(Ok(file));
    }
}

/// Whether `file` is what lies at `path` now.
fn same_file(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), path.metadata()) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

/// Opens a session that holds the advisory lock, or says whose session does.
async fn lock_session(
    url: &str,
    holder: &Holder,
) -> Result<Result<PgConnection, Option<Holder>>, sqlx::Error> {
    // The server shows the name of a session to others; since when it lasts it knows itself.
    let name = format!("wick up {}@{}", holder.pid, holder.host);
    let options = PgConnectOptions::from_str(url)?.application_name(&name);
    let mut connection = options.disable_statement_logging().connect().await?;
    let locked: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1, hashtext(current_schema()))")
            .bind(LOCK_CLASS)
            .fetch_one(&mut connection)
            .await?;
    if locked {
        return Ok(Ok(connection));
    }
    let other: Option<(Option<String>, Option<i64>)> = sqlx::query_as(
        "SELECT a.application_name, (extract(epoch FROM a.backend_start) * 1000000)::bigint
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND l.classid::bigint = $1::bigint
         AND l.objid::bigint = (hashtext(current_schema())::bigint & 4294967295)",
    )
    .bind(LOCK_CLASS)
    .fetch_optional(&mut connection)
    .await?;
    connection.close().await?;
    Ok(Err(other.and_then(|(name, since)| {
        let name = name?;
        let (pid, host) = name.strip_prefix("wick up ")?.split_once('@')?;
        Some(Holder { host: host.to_owned(), pid: pid.parse().ok()?, since: Timestamp(since?) })
    })))
}
