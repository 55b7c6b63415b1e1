//! The suite on SQLite, and what only a file can go through.

use std::path::Path;

use tempfile::TempDir;
use wick_store::hold::{Asked, Holder, hold};
use wick_store::sql::{Question, ask};
use wick_store::sqlite::SqliteStore;
use wick_store::{Search, Store, StoreError, open};

use crate::hold::holder;
use crate::world::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

fn run(case: impl AsyncFnOnce(&dyn Store)) {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("store.db")).await.expect("a store");
        case(&store).await;
        store.close().await;
    });
}

crate::suite!(run);

/// Asks the file itself, past the store.
pub async fn execute(path: &Path, sql: &str) {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.expect("a connection");
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("it works");
    sqlx::Connection::close(connection).await.expect("it closes");
}

#[test]
fn a_store_is_made_and_found_again() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("deep/store.db");
        let location = path.display().to_string();
        let store = open(&location).await.expect("a new store");
        let run = new_run(&["a"]);
        store.create_run(&run, &engine(), now()).await.expect("a new run");
        store.close().await;
        assert!(matches!(store.models().await, Err(StoreError::Database { .. })), "closed");
        assert!(store.create_run(&run, &engine(), now()).await.is_err(), "closed");
        let store = open(&format!("sqlite://{location}")).await.expect("the same store");
        assert_eq!(store.location(), location);
        assert_eq!(store.find_runs("@last").await.expect("an answer"), [run.id]);
    });
}

#[test]
fn a_killed_writer_loses_nothing_committed() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("store.db");
        let store = SqliteStore::open(&path).await.expect("a store");
        let driven = Driven::new(&store, &["a"]).await;
        driven.succeed("a", "a").await;
        // As the file is when the process dies here: the log is not yet in the file.
        let copy = folder.path().join("copy.db");
        std::fs::copy(&path, &copy).expect("a copy");
        std::fs::copy(path.with_extension("db-wal"), copy.with_extension("db-wal"))
            .expect("a copy");
        let again = SqliteStore::open(&copy).await.expect("it recovers");
        let stages = again.stages(&driven.run).await.expect("stages");
        assert_eq!(stages[0].state, wick_core::AttemptState::Succeeded);
    });
}

#[test]
fn many_open_a_new_store_at_once() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("store.db");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                block_on(async {
                    let store = SqliteStore::open(&path).await.expect("a store");
                    let driven = Driven::new(&store, &["a"]).await;
                    driven.succeed("a", "a").await;
                });
            });
        }
    });
    block_on(async {
        let store = SqliteStore::open(&path).await.expect("a store");
        assert_eq!(store.search(&Search::default()).await.expect("runs").runs.len(), 6);
    });
}

#[test]
fn what_is_not_a_store_is_left_alone() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("notes.db");
        execute(&path, "CREATE TABLE notes (text TEXT)").await;
        let error = SqliteStore::open(&path).await.expect_err("another program's");
        assert!(error.to_string().ends_with("a database of another program"), "{error}");
        let path = folder.path().join("text");
        std::fs::write(&path, "not a database, but long enough to be read as one").expect("a file");
        let error = SqliteStore::open(&path).await.expect_err("a text");
        assert!(matches!(error, StoreError::Location { .. }), "{error:?}");
        let error = SqliteStore::open(folder.path()).await.expect_err("a folder");
        assert!(error.to_string().contains("it is a folder; name the file in it"), "{error}");
        let error = open("mysql://host/db").await.err().expect("not supported");
        assert!(matches!(error, StoreError::Location { .. }), "{error:?}");
    });
}

#[test]
fn a_newer_store_is_refused() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("store.db");
        SqliteStore::open(&path).await.expect("a store").close().await;
        execute(&path, "PRAGMA user_version = 9999").await;
        let error = SqliteStore::open(&path).await.expect_err("too new");
        assert!(matches!(error, StoreError::Newer { found: 9999, .. }), "{error:?}");
    });
}

#[test]
fn an_interrupted_migration_is_finished() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("store.db");
        SqliteStore::open(&path).await.expect("a store").close().await;
        // The migrations were applied, and the process died before it wrote the version.
        execute(&path, "PRAGMA user_version = 0").await;
        let store = SqliteStore::open(&path).await.expect("a store");
        Driven::new(&store, &["a"]).await.succeed("a", "a").await;
    });
}

#[test]
fn runs_share_named_slots() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("store.db");
        let location = path.display().to_string();
        open(&location).await.expect("a store").close().await;
        crate::slots::runs_share_what_is_counted_by_name(&location).await;
        crate::slots::who_waits_is_next(&location).await;
        crate::slots::nobody_waits_in_a_circle(&location).await;
        // A folder that cannot be made is told, and waited for: it may be mended.
        let odd = folder.path().join("odd.db");
        std::fs::write(folder.path().join("odd.db-slots"), "").expect("a file in the way");
        let met = crate::slots::waits_for_mutex(&odd.display().to_string()).await;
        assert!(met.to_string().contains("which cannot be asked for: "), "{met}");
    });
}

#[test]
fn one_process_begins_runs_by_schedule() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("store.db");
        let location = path.display().to_string();
        open(&location).await.expect("a store").close().await;
        crate::hold::one_holds_at_a_time(&location).await;
        // By another name it is the same store.
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let mut held = crate::hold::ours(hold(&location, holder(1)).await.expect("an answer"));
        let other = hold(&link.display().to_string(), holder(2)).await.expect("an answer");
        assert!(matches!(other, Asked::Theirs(Some(Holder { pid: 1, .. }))), "{other:?}");
        // Who tidies up the folder must not let two in.
        std::fs::remove_file(folder.path().join("store.db-up")).expect("removed");
        let mut second = crate::hold::ours(hold(&location, holder(2)).await.expect("an answer"));
        assert!(!held.confirm().await.expect("an answer"), "it was lost to the second");
        assert!(second.confirm().await.expect("an answer"));
    });
}

#[test]
fn a_question_cannot_reach_beyond_the_store() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("store.db");
        let location = path.display().to_string();
        let store = open(&location).await.expect("a store");
        for sql in [
            "SELECT load_extension('x')",
            "SELECT * FROM pragma_user_version",
            "SELECT * FROM pragma_table_info('runs')",
            "SELECT zeroblob(1000000000)",
            "SELECT length(randomblob(1000000000))",
            "SELECT fts3_tokenizer('simple')",
        ] {
            let error = match ask(&location, &Question::query(sql)).await {
                Ok(mut answer) => answer.next().await.err(),
                Err(error) => Some(error),
            };
            assert!(matches!(error, Some(StoreError::Sql(_))), "{sql}: {error:?}");
        }
        store.close().await;
        // A question makes no store.
        let none = folder.path().join("none.db").display().to_string();
        assert!(ask(&none, &Question::query("SELECT 1")).await.is_err());
        assert!(!folder.path().join("none.db").exists());
    });
}

#[test]
fn searches_follow_indexes() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("store.db");
        SqliteStore::open(&path).await.expect("a store").close().await;
        execute(&path, &crate::filled::sql("", crate::plans::RUNS)).await;
        let store = SqliteStore::open(&path).await.expect("a store");
        for (name, search) in crate::plans::searches() {
            let steps = store.explain(&search).await.expect("plans");
            // `few` is what an index has given; of an index that is in order a part is read.
            let is_scan = |line: &str| {
                // Of one run's metrics all are few; of one key's they are a whole history.
                let is_history = line.contains("run_metrics_by_value")
                    && (line.starts_with("SEARCH m ") || line.starts_with("SEARCH v "));
                is_history
                    || line.starts_with("SCAN ")
                        && !line.starts_with("SCAN few")
                        && !line.contains(" USING INDEX ")
                        && !line.contains(" USING COVERING INDEX ")
                        && !line.starts_with("SCAN CONSTANT ROW")
                        && !line.starts_with("SCAN (")
            };
            crate::plans::check(&name, &steps, is_scan);
        }
        store.close().await;
    });
}

#[test]
fn a_backup_is_a_store() {
    block_on(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("store.db");
        let store = SqliteStore::open(&path).await.expect("a store");
        crate::copying::a_backup_is_a_store(&store, &path.display().to_string()).await;
    });
}
