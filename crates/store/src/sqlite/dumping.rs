//! Dumping runs, each as it is at one moment.

use sqlx::Connection;
use wick_core::RunId;

use super::SqliteStore;
use crate::dump::RunDump;
use crate::dumping::read_run;
use crate::error::StoreResult;

impl SqliteStore {
    pub(super) async fn dump_run(&self, run: &RunId) -> StoreResult<Option<RunDump>> {
        let mut connection = self.readers.acquire().await.map_err(|error| self.refused(error))?;
        let mut transaction =
            connection.begin_with("BEGIN").await.map_err(|error| self.refused(error))?;
        let dump = read_run!(self, transaction, run);
        // It has only read.
        let _ = transaction.rollback().await;
        dump
    }
}
