//! A whole batch as one statement.
//!
//! Each statement is a round trip to the connection's thread, and a transaction of its own takes
//! two more, for its begin and its commit: for a short stage that is most of what a commit costs.
//! So a connection gets a view that nothing can be read from, with a trigger that writes a batch
//! into the tables. One `INSERT` into the view is then a batch with its transaction: it takes the
//! write lock first, and is written whole or not at all.

use std::fmt::Write as _;

use sqlx::AssertSqlSafe;
use wick_core::Token;

use super::append::Part;
use super::runs::token;
use super::{CONSTRAINT, Durability, SqliteStore, primary_code};
use crate::error::{StoreError, StoreResult};

/// The batch's own columns: its run, and the token of the lease under which it is written.
const OWN_COLUMNS: usize = 2;

/// What came of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is in the store.
    Whole,
    /// It does not fit what is recorded, and nothing of it was written.
    Nothing,
}

/// Makes the view and its trigger, for batches of the statements of `parts`. Both belong to the
/// connection alone and are in no file.
fn definition(parts: &[Part]) -> String {
    let columns = |prefix: &str| {
        let columns: Vec<String> =
            (1..=OWN_COLUMNS + parts.len()).map(|place| format!("{prefix}{place}")).collect();
        columns.join(", ")
    };
    let mut sql = format!(
        "CREATE TEMP VIEW IF NOT EXISTS batch AS SELECT {};
         CREATE TEMP TRIGGER IF NOT EXISTS batch_is_written INSTEAD OF INSERT ON batch BEGIN
             SELECT raise(ABORT, 'lease') WHERE NOT EXISTS
                 (SELECT 1 FROM leases WHERE run_id = new.c1 AND token = new.c2)",
        columns("NULL AS c"),
    );
    for (part, place) in parts.iter().zip(OWN_COLUMNS + 1..) {
        sql.push_str(&in_trigger(part.sql));
        if part.expected.is_some() {
            let _ = write!(
                sql,
                ";
                SELECT raise(ABORT, 'misfit')
                    WHERE changes() <> coalesce(json_array_length(new.c{place}), 0)"
            );
        }
    }
    sql.push_str("; END");
    sql
}

/// A statement as it stands in the trigger: `$3` is the third column of the row that is
/// inserted, which a trigger calls `new`; so what the statement calls so is called otherwise.
fn in_trigger(sql: &str) -> String {
    sql.replace("new.", "part.").replace("AS new", "AS part").replace('$', "new.c")
}

/// The statement that writes a batch.
fn insertion(parts: &[Part]) -> String {
    let values: Vec<String> =
        (1..=OWN_COLUMNS + parts.len()).map(|place| format!("${place}")).collect();
    format!("INSERT INTO batch VALUES ({})", values.join(", "))
}

impl SqliteStore {
    /// Writes a batch into `run`, in a transaction of its own.
    pub(super) async fn write_batch(
        &self,
        durability: Durability,
        run: i64,
        lease: Token,
        parts: &[Part],
    ) -> StoreResult<Written> {
        let mut writer = self.writer().await?;
        let open = writer.open();
        let prepared = async {
            if !open.takes_batches {
                let definition = sqlx::raw_sql(AssertSqlSafe(definition(parts)));
                definition.execute(&mut open.connection).await?;
                open.takes_batches = true;
            }
            if open.durability != Some(durability) {
                sqlx::raw_sql(durability.pragma()).execute(&mut open.connection).await?;
                open.durability = Some(durability);
            }
            Ok(())
        };
        if let Err(error) = prepared.await {
            writer.discard().await;
            return Err(self.refused(error));
        }
        let mut query = sqlx::query(AssertSqlSafe(insertion(parts))).bind(run).bind(token(lease));
        for part in parts {
            query = query.bind(part.rows.as_deref());
        }
        let open = writer.open();
        let Err(error) = query.execute(&mut open.connection).await else {
            open.log_room.keep(&mut open.connection).await;
            return Ok(Written::Whole);
        };
        if primary_code(&error) == Some(CONSTRAINT) {
            return Ok(Written::Nothing);
        }
        let error = self.uncommitted(error);
        if !matches!(error, StoreError::Busy { .. }) {
            writer.discard().await;
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use wick_core::{Digest, Event, EventBody, Fingerprint, RunId, Timestamp};

    use super::super::append;
    use super::*;
    use crate::changes::fold;
    use crate::records::{EngineId, NewRun};

    fn run() -> NewRun {
        NewRun {
            id: RunId::from_random(1),
            experiment: "e".parse().expect("a name"),
            pipeline: "p".to_owned(),
            pipeline_path: "p.yaml".to_owned(),
            pipeline_text: String::new(),
            parent: None,
            params: Default::default(),
            overridden: Vec::new(),
            environment: serde_json::Value::Null,
            git_diff: None,
            plan: Digest::of(b""),
            stages: vec![("s".parse().expect("a name"), "command".parse().expect("a kind"))],
        }
    }

    fn started() -> Event {
        let body = EventBody::AttemptStarted {
            stage: "s".parse().expect("a name"),
            attempt: 1,
            token: Token(7),
            fingerprint: Fingerprint(Digest::of(b"s")),
            queued: None,
            inputs: Vec::new(),
            parts: Some("{}".to_owned()),
        };
        Event { time: Timestamp(2), body }
    }

    #[tokio::test]
    async fn a_batch_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("store.db")).await.expect("a store");
        let run = run();
        let engine = EngineId { host: "h".to_owned(), pid: 1, process_start: 1, token: Token(5) };
        store.create_run(&run, &engine, Timestamp(1)).await.expect("a run");
        let directory = store.directory(&run.id).await.expect("its stages");
        let events = [started()];
        let changes = fold(&directory, &events).expect("they fit");
        let parts = append::parts(&directory, &changes, &Default::default()).expect("rows");
        let write = async |lease: u64| {
            let written =
                store.write_batch(Durability::Flushed, directory.run, Token(lease), &parts).await;
            written.expect("the store answers")
        };
        let count = async |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            let counted = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&store.readers).await;
            counted.expect("counted")
        };
        assert_eq!(write(6).await, Written::Nothing, "the lease is another engine's");
        assert_eq!((count("events").await, count("attempts").await), (0, 0));
        assert_eq!(write(5).await, Written::Whole);
        assert_eq!((count("events").await, count("attempts").await), (1, 1));
        assert_eq!(count("stages WHERE state = 'running'").await, 1);
        // The stage runs already: no second attempt of it, and no second event.
        assert_eq!(write(5).await, Written::Nothing);
        assert_eq!((count("events").await, count("fingerprint_parts").await), (1, 1));
    }
}
