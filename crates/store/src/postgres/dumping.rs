//! Dumping runs, as they are at one moment.

use sqlx::Connection;
use wick_core::RunId;

use super::PostgresStore;
use crate::dump::RunDump;
use crate::dumping::{DumpSql, dump_sql, read_runs};
use crate::error::StoreResult;

const SQL: DumpSql = dump_sql!("= ANY ($1)");

/// An array is passed as it is.
fn list<T: Clone>(items: &[T]) -> StoreResult<Vec<T>> {
    Ok(items.to_vec())
}

impl PostgresStore {
    pub(super) async fn dump_runs(&self, runs: &[RunId]) -> StoreResult<Vec<Option<RunDump>>> {
        let mut connection = self.pool.acquire().await.map_err(|error| self.refused(error))?;
        let mut transaction = connection
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(|error| self.refused(error))?;
        let dumps = async { read_runs!(self, transaction, SQL, list, runs) }.await;
        // It has only read.
        let _ = transaction.rollback().await;
        dumps
    }
}
