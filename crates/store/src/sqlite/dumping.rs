//! Dumping runs, as they are at one moment.

use sqlx::Connection;
use wick_core::RunId;

use super::SqliteStore;
use super::runs::array;
use crate::dump::RunDump;
use crate::dumping::{DumpSql, dump_sql, read_runs};
use crate::error::StoreResult;

const SQL: DumpSql = dump_sql!("IN (SELECT value FROM json_each($1))");

impl SqliteStore {
    pub(super) async fn dump_runs(&self, runs: &[RunId]) -> StoreResult<Vec<Option<RunDump>>> {
        let mut connection = self.readers.acquire().await.map_err(|error| self.refused(error))?;
        let mut transaction =
            connection.begin_with("BEGIN").await.map_err(|error| self.refused(error))?;
        let dumps = async { read_runs!(self, transaction, SQL, array, runs) }.await;
        // It has only read.
        let _ = transaction.rollback().await;
        dumps
    }
}
