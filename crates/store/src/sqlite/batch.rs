//! A whole batch as one statement.
//!
//! Each statement is a round trip to the connection's thread, and a transaction of its own takes
//! two more, for its begin and its commit: for a short stage that is most of what a commit costs.
//! So a connection gets a view that nothing can be read from, with a trigger that writes a batch
//! into the tables. One `INSERT` into the view is then a batch with its transaction: it takes the
//! write lock first, and is written whole or not at all.
//!
//! A statement without rows costs nearly as much as one with a few. So there are two such views: one
//! for all batches, and one without the statements that a batch seldom has rows for.

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

/// A view that writes batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Of batches with rows for the statements that nearly every batch has rows for, and no other.
    Usual,
    /// Of all batches.
    Whole,
}

impl Shape {
    /// The one for a batch.
    fn of(parts: &[Part]) -> Self {
        match parts.iter().any(|part| part.is_seldom && part.rows.is_some()) {
            true => Shape::Whole,
            false => Shape::Usual,
        }
    }

    const fn view(self) -> &'static str {
        match self {
            Shape::Usual => "usual_batch",
            Shape::Whole => "whole_batch",
        }
    }

    /// The statements that it executes, each with the column in which it finds its rows.
    fn parts(self, parts: &[Part]) -> impl Iterator<Item = (usize, &Part)> {
        (OWN_COLUMNS + 1..)
            .zip(parts)
            .filter(move |(_, part)| self == Shape::Whole || !part.is_seldom)
    }
}

/// Makes the view of a shape and its trigger, for batches of the statements of `parts`. Both
/// belong to the connection alone and are in no file.
fn definition(shape: Shape, parts: &[Part]) -> String {
    let view = shape.view();
    let columns: Vec<String> = (1..=OWN_COLUMNS)
        .chain(shape.parts(parts).map(|(column, _)| column))
        .map(|column| format!("NULL AS c{column}"))
        .collect();
    let mut sql = format!(
        "CREATE TEMP VIEW IF NOT EXISTS {view} AS SELECT {};
         CREATE TEMP TRIGGER IF NOT EXISTS {view}_is_written INSTEAD OF INSERT ON {view} BEGIN
             SELECT raise(ABORT, 'lease') WHERE NOT EXISTS
                 (SELECT 1 FROM leases WHERE run_id = new.c1 AND token = new.c2)",
        columns.join(", "),
    );
    for (column, part) in shape.parts(parts) {
        sql.push_str(&in_trigger(part.sql));
        if part.expected.is_some() {
            let _ = write!(
                sql,
                ";
                SELECT raise(ABORT, 'misfit')
                    WHERE changes() <> coalesce(json_array_length(new.c{column}), 0)"
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
fn insertion(shape: Shape, parts: &[Part]) -> String {
    let columns = OWN_COLUMNS + shape.parts(parts).count();
    let values: Vec<String> = (1..=columns).map(|place| format!("${place}")).collect();
    format!("INSERT INTO {} VALUES ({})", shape.view(), values.join(", "))
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
        let shape = Shape::of(parts);
        let mut writer = self.writer().await?;
        let open = writer.open();
        let prepared = async {
            if !open.batches.contains(&shape) {
                let definition = sqlx::raw_sql(AssertSqlSafe(definition(shape, parts)));
                definition.execute(&mut open.connection).await?;
                open.batches.push(shape);
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
        let insertion = AssertSqlSafe(insertion(shape, parts));
        let mut query = sqlx::query(insertion).bind(run).bind(token(lease));
        for (_, part) in shape.parts(parts) {
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
    use wick_core::{Digest, Event, EventBody, Fingerprint, RunId, SkipReason, Timestamp};

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
    async fn the_shape_of_a_batch_has_all_its_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("store.db")).await.expect("a store");
        let run = run();
        let engine = EngineId { host: "h".to_owned(), pid: 1, process_start: 1, token: Token(5) };
        store.create_run(&run, &engine, Timestamp(1)).await.expect("a run");
        let directory = store.directory(&run.id).await.expect("its stages");
        let stage = || "s".parse().expect("a name");
        let at = |time, body| [Event { time: Timestamp(time), body }];
        let skipped = at(2, EventBody::StageSkipped { stage: stage(), reason: SkipReason::NoItem });
        let again = at(3, EventBody::StageRequeued { stage: stage() });
        for (events, shape) in [(skipped, Shape::Usual), (again, Shape::Whole)] {
            let changes = fold(&directory, &events).expect("they fit");
            let parts = append::parts(&directory, &changes, &Default::default()).expect("rows");
            assert_eq!(Shape::of(&parts), shape);
            let with_rows = parts.iter().filter(|part| part.rows.is_some()).count();
            let written = shape.parts(&parts).filter(|(_, part)| part.rows.is_some()).count();
            assert_eq!(written, with_rows);
            let written =
                store.write_batch(Durability::Flushed, directory.run, Token(5), &parts).await;
            assert_eq!(written.expect("the store answers"), Written::Whole);
        }
        let (state, events): (String, i64) =
            sqlx::query_as("SELECT state, (SELECT count(*) FROM events) FROM stages")
                .fetch_one(&store.readers)
                .await
                .expect("read");
        assert_eq!((state.as_str(), events), ("queued", 2));
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
