//! What people say of runs.

use sqlx::AssertSqlSafe;
use wick_core::{RunId, Timestamp};

use super::{PostgresStore, clean};
use crate::error::{StoreError, StoreResult};
use crate::marks::{Mark, Setting};

impl PostgresStore {
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
        let names: Vec<_> = runs.iter().map(RunId::as_str).collect();
        self.write(async |connection| {
            // Locked in one order, so that no two transactions wait for each other.
            let found: Vec<(i64, String)> = sqlx::query_as(
                "SELECT id, public_id FROM runs WHERE public_id = ANY ($1)
                 ORDER BY id FOR NO KEY UPDATE",
            )
            .bind(&names)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| self.refused(error))?;
            if let Some(run) = runs.iter().find(|run| found.iter().all(|row| row.1 != run.as_str()))
            {
                return Err(StoreError::NoRun(run.clone()));
            }
            let ids: Vec<_> = found.iter().map(|row| row.0).collect();
            for mark in marks {
                let query = match (mark, mark.setting()) {
                    (Mark::Tag { key, value }, _) => sqlx::query(
                        "INSERT INTO tags (run_id, key, value)
                         SELECT run, $2, $3 FROM unnest($1::bigint[]) AS new (run)
                         ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value",
                    )
                    .bind(&ids)
                    .bind(key)
                    .bind(clean(value)),
                    (Mark::Untag(key), _) => {
                        sqlx::query("DELETE FROM tags WHERE run_id = ANY ($1) AND key = $2")
                            .bind(&ids)
                            .bind(clean(key))
                    }
                    (_, Some(Setting::Text(column, text))) => sqlx::query(AssertSqlSafe(format!(
                        "UPDATE runs SET {column} = $2 WHERE id = ANY ($1)"
                    )))
                    .bind(&ids)
                    .bind(text.map(clean)),
                    (_, Some(Setting::Since(column, set))) => sqlx::query(AssertSqlSafe(format!(
                        "UPDATE runs
                         SET {column} = CASE WHEN $2::bigint IS NOT NULL
                                        THEN coalesce({column}, $2) END
                         WHERE id = ANY ($1)"
                    )))
                    .bind(&ids)
                    .bind(set.then_some(now.0)),
                    (_, None) => continue,
                };
                self.execute(connection, query).await?;
            }
            Ok(())
        })
        .await
    }
}
