//! Looking at a database without changing it.

use super::connect::{connect, newest, version};
use crate::error::{Said, StoreError, StoreResult};
use crate::inspect::{COUNTS, Counts, CountsRow, DrivenRun, ENGINES, Inspection, RUN_STATES};

/// What there is in the database at `url`.
pub(crate) async fn inspect(url: &str) -> StoreResult<Inspection> {
    let (location, pool) = connect(url).await?;
    let refused = |error: sqlx::Error| StoreError::Database {
        location: location.clone(),
        source: Box::new(Said(error)),
    };
    let migration = version(&pool).await.map_err(refused)?;
    // Of the schema that the store is in: other programs may share the database.
    let (server, bytes): (String, i64) = sqlx::query_as(
        "SELECT current_setting('server_version'),
                (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'm'))",
    )
    .fetch_one(&pool)
    .await
    .map_err(refused)?;
    let mut found = Inspection {
        location: location.clone(),
        database: "postgres",
        server,
        migration,
        known: newest(),
        bytes: u64::try_from(bytes).unwrap_or_default(),
        counts: Counts::default(),
        engines: Vec::new(),
    };
    if migration > 0 {
        let counts: CountsRow = sqlx::query_as(COUNTS).fetch_one(&pool).await.map_err(refused)?;
        let states = sqlx::query_as(RUN_STATES).fetch_all(&pool).await.map_err(refused)?;
        found.counts = Counts::new(counts, states)?;
        let engines = sqlx::query_as(ENGINES).fetch_all(&pool).await.map_err(refused)?;
        found.engines = DrivenRun::all(engines)?;
    }
    pool.close().await;
    Ok(found)
}
