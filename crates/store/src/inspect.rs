//! Looking at a store without changing it: whether it is there, which migrations it has, how much
//! is in it, and who drives runs in it now.

use serde::Serialize;
use wick_core::{RunId, RunState, Timestamp};

use crate::error::{StoreError, StoreResult};
use crate::location::{self, Location};
use crate::rows::text;
use crate::{postgres, sqlite};

/// What there is at a place for a store. Nothing is made, and no migration is run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Where it is, without a password.
    pub location: String,
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// The version of the database's own program.
    pub server: String,
    /// The newest migration that it has; 0 where there is no store yet.
    pub migration: i64,
    /// The newest migration that this `wick` knows.
    pub known: i64,
    /// Bytes on disk, the log of SQLite included.
    pub bytes: u64,
    /// What is in it.
    pub counts: Counts,
    /// Who drives which run.
    pub engines: Vec<DrivenRun>,
}

/// How much is in a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Experiments.
    pub experiments: u64,
    /// How many runs stand where; states without a run are left out.
    pub runs: Vec<(RunState, u64)>,
    /// Stages of all runs.
    pub stages: u64,
    /// Attempts of all stages.
    pub attempts: u64,
    /// Series of metrics.
    pub series: u64,
    /// Points of all series.
    pub points: u64,
    /// Registered models.
    pub models: u64,
}

/// A run that an engine holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DrivenRun {
    /// The run.
    pub run: RunId,
    /// The engine's machine.
    pub host: String,
    /// The engine's process.
    pub pid: u32,
    /// Until when the lease holds if it is not renewed.
    pub expires: Timestamp,
}

/// Looks at the place that [`open`](crate::open) would open.
///
/// # Errors
/// If the place cannot be read, or holds something else than a store.
pub async fn inspect(location: &str) -> StoreResult<Inspection> {
    match location::parse(location)? {
        Location::Sqlite(path) => sqlite::inspect(&path).await,
        Location::Postgres(url) => postgres::inspect(&url).await,
    }
}

/// What both databases are asked, in tables that every store has had from the first migration on.
pub(crate) const COUNTS: &str = "
    SELECT (SELECT count(*) FROM experiments), (SELECT count(*) FROM stages),
           (SELECT count(*) FROM attempts), (SELECT count(*) FROM metrics),
           (SELECT CAST(coalesce(sum(points), 0) AS BIGINT) FROM metrics),
           (SELECT count(*) FROM models)";

/// The states of all runs.
pub(crate) const RUN_STATES: &str = "SELECT state, count(*) FROM runs GROUP BY state";

/// Who drives which run, in the order of the runs.
pub(crate) const ENGINES: &str = "
    SELECT r.public_id, l.host, l.pid, l.expires
    FROM leases l JOIN runs r ON r.id = l.run_id
    ORDER BY r.id";

/// A row of [`COUNTS`].
pub(crate) type CountsRow = (i64, i64, i64, i64, i64, i64);

/// A row of [`ENGINES`].
pub(crate) type EngineRow = (String, String, i64, i64);

impl Counts {
    pub(crate) fn new(row: CountsRow, states: Vec<(String, i64)>) -> StoreResult<Self> {
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let mut runs = states
            .iter()
            .map(|(state, runs)| Ok((text("a state", state)?, count(*runs))))
            .collect::<StoreResult<Vec<(RunState, u64)>>>()?;
        runs.sort_unstable();
        Ok(Self {
            experiments: count(row.0),
            runs,
            stages: count(row.1),
            attempts: count(row.2),
            series: count(row.3),
            points: count(row.4),
            models: count(row.5),
        })
    }

    /// All runs.
    pub fn all_runs(&self) -> u64 {
        self.runs.iter().map(|(_, runs)| runs).sum()
    }
}

impl DrivenRun {
    pub(crate) fn all(rows: Vec<EngineRow>) -> StoreResult<Vec<Self>> {
        rows.into_iter()
            .map(|(run, host, pid, expires)| {
                Ok(Self {
                    run: text("a run id", &run)?,
                    host,
                    pid: u32::try_from(pid)
                        .map_err(|_| StoreError::Corrupt(format!("{pid} is not a process")))?,
                    expires: Timestamp(expires),
                })
            })
            .collect()
    }
}
