//! What people say of runs.

use sqlx::AssertSqlSafe;
use wick_core::{RunId, Timestamp};

use super::SqliteStore;
use super::runs::array;
use crate::error::{StoreError, StoreResult};
use crate::marks::{Mark, Setting};

impl SqliteStore {
    pub(super) async fn mark_runs(
        &self,
        runs: &[RunId],
        marks: &[Mark],
        now: Timestamp,
    ) -> StoreResult<()> {
        marks.iter().try_for_each(Mark::check)?;
        if runs.is_empty() || marks.is_empty() {
            return Ok(());
        }
        let names = array(runs)?;
        self.write(async |connection| {
            let found: Vec<(i64, String)> = sqlx::query_as(
                "SELECT r.id, r.public_id
                 FROM json_each($1) j CROSS JOIN runs r ON r.public_id = j.value",
            )
            .bind(&names)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
            if let Some(run) = runs.iter().find(|run| found.iter().all(|row| row.1 != run.as_str()))
            {
                return Err(StoreError::NoRun(run.clone()));
            }
            let ids = array(&found.iter().map(|row| row.0).collect::<Vec<_>>())?;
            for mark in marks {
                let query = match (mark, mark.setting()) {
                    (Mark::Tag { key, value }, _) => sqlx::query(
                        "INSERT OR REPLACE INTO tags (run_id, key, value)
                             SELECT value, $2, $3 FROM json_each($1)",
                    )
                    .bind(&ids)
                    .bind(key)
                    .bind(value),
                    (Mark::Untag(key), _) => sqlx::query(
                        "DELETE FROM tags
                             WHERE run_id IN (SELECT value FROM json_each($1)) AND key = $2",
                    )
                    .bind(&ids)
                    .bind(key),
                    (_, Some(Setting::Text(column, text))) => sqlx::query(AssertSqlSafe(format!(
                        "UPDATE runs SET {column} = $2
                             WHERE id IN (SELECT value FROM json_each($1))"
                    )))
                    .bind(&ids)
                    .bind(text),
                    (_, Some(Setting::Since(column, set))) => sqlx::query(AssertSqlSafe(format!(
                        "UPDATE runs
                             SET {column} = CASE WHEN $2 IS NOT NULL THEN coalesce({column}, $2) END
                             WHERE id IN (SELECT value FROM json_each($1))"
                    )))
                    .bind(&ids)
                    .bind(set.then_some(now.0)),
                    (_, None) => continue,
                };
                query.execute(&mut *connection).await.map_err(|error| self.refused(error))?;
            }
            Ok(())
        })
        .await
    }
}
