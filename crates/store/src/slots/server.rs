//! Units as advisory locks of a Postgres session.
//!
//! A session may take one lock several times, so what this process has is known here, too. A
//! session that is cut off, by the network or a server that starts again, loses its locks: what is
//! still held is taken again as soon as the server answers.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;
use wick_core::RunId;

use super::Key;

/// What the sessions are called whose locks are held; the run follows.
const NAME: &str = "wick slots of run ";

/// How often a session that holds something is looked after.
const LOOK: Duration = Duration::from_secs(1);

/// A server that does not answer for so long is not there.
const PATIENCE: Duration = Duration::from_secs(10);

/// The number of the lock called `$1`: in each schema another.
const NUMBER: &str = "hashtextextended(current_schema() || ' wick ' || $1, 0)";

/// The session of one run.
#[derive(Debug)]
pub(super) struct Server {
    url: String,
    name: String,
    session: Mutex<Option<PgConnection>>,
    /// Whether somebody looks after it.
    is_tended: AtomicBool,
    held: SyncMutex<Names>,
}

/// The locks of this process, by their names.
#[derive(Debug, Default)]
struct Names {
    held: BTreeSet<String>,
    /// Given back here, but not yet at the server.
    freed: BTreeSet<String>,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    server: Arc<Server>,
    name: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut names = lock(&self.server.held);
        names.held.remove(&self.name);
        names.freed.insert(std::mem::take(&mut self.name));
        drop(names);
        // Without a runtime the process is about to end, and its session with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let server = self.server.clone();
            runtime.spawn(async move {
                // What fails now is done with the next lock, or by the end of the session.
                let _ = server.with(async |_| Ok(())).await;
            });
        }
    }
}

fn lock<T>(mutex: &SyncMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// The session of `run` on the server at `url`, which begins with its first lock.
    pub(super) fn new(url: String, run: &RunId) -> Self {
        Self {
            url,
            name: format!("{NAME}{run}"),
            session: Mutex::default(),
            is_tended: AtomicBool::new(false),
            held: SyncMutex::default(),
        }
    }

    /// Takes the lock; `None` while another has it, in this process or any other.
    pub(super) async fn try_lock(
        self: &Arc<Self>,
        key: Key<'_>,
    ) -> Result<Option<Held>, sqlx::Error> {
        let (server, name) = (self.clone(), key.to_string());
        // On its own, for it must not be left half done: whoever gives up has nothing then.
        let locking = tokio::spawn(async move {
            let tended = server.clone();
            server
                .with(async |session| {
                    if lock(&server.held).held.contains(&name) {
                        return Ok(None);
                    }
                    if !lock_now(session, &name).await? {
                        return Ok(None);
                    }
                    lock(&server.held).held.insert(name.clone());
                    Ok(Some(Held { server: tended.clone(), name: name.clone() }))
                })
                .await
        });
        if !self.is_tended.swap(true, Ordering::Relaxed) {
            tokio::spawn(tend(Arc::downgrade(self)));
        }
        match locking.await {
            Ok(locked) => locked,
            Err(_) => Err(sqlx::Error::WorkerCrashed),
        }
    }

    /// The run whose session has the lock.
    pub(super) async fn holder(self: &Arc<Self>, key: Key<'_>) -> Option<RunId> {
        let (server, name) = (self.clone(), key.to_string());
        let asking = tokio::spawn(async move {
            server.with(async |session| holder_now(session, &name).await).await
        });
        let name = asking.await.ok()?.ok()??;
        name.strip_prefix(NAME)?.parse().ok()
    }

    /// Does `work` in the session, in which everything is held that is to be, and nothing else.
    async fn with<T>(
        self: &Arc<Self>,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut session = self.session.lock().await;
        let done = tokio::time::timeout(PATIENCE, async {
            if session.is_none() {
                *session = Some(self.connect().await?);
            }
            let connection = session.as_mut().ok_or(sqlx::Error::PoolClosed)?;
            let freed = std::mem::take(&mut lock(&self.held).freed);
            for name in freed {
                let sql = format!("SELECT pg_advisory_unlock({NUMBER})");
                sqlx::query(sqlx::AssertSqlSafe(sql)).bind(name).execute(&mut *connection).await?;
            }
            work(connection).await
        });
        let done = done.await.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut));
        if done.is_err() {
            // What the session still has at the server is freed with it.
            *session = None;
        }
        done
    }

    /// A session that has what this process holds, as far as no other was quicker.
    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let options = PgConnectOptions::from_str(&self.url)?.application_name(&self.name);
        let mut connection = options.disable_statement_logging().connect().await?;
        let names = {
            let mut names = lock(&self.held);
            names.freed.clear();
            names.held.clone()
        };
        for name in names {
            lock_now(&mut connection, &name).await?;
        }
        Ok(connection)
    }
}

/// Looks after a session, so that one that was cut off is replaced while something is held.
async fn tend(server: std::sync::Weak<Server>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(server) = server.upgrade() else { return };
        if !lock(&server.held).held.is_empty() {
            // Asked again in a moment.
            let _ = server.with(async |session| session.ping().await).await;
        }
    }
}

async fn lock_now(session: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    let sql = format!("SELECT pg_try_advisory_lock({NUMBER})");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(name).fetch_one(session).await
}

/// The name of the session that has a lock.
async fn holder_now(session: &mut PgConnection, name: &str) -> Result<Option<String>, sqlx::Error> {
    let sql = format!(
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid,
         (SELECT {NUMBER} AS number) wanted
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND l.classid::bigint = (wanted.number >> 32) & 4294967295
         AND l.objid::bigint = wanted.number & 4294967295"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(name).fetch_optional(session).await
}
