//! The suite on Postgres, and what only a server can go through.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{ConnectOptions, Connection};
use wick_core::{AttemptState, RunState, Timestamp};
use wick_store::hold::{Asked, Holder, hold};
use wick_store::postgres::PostgresStore;
use wick_store::sql::{Cell, Question, ask};
use wick_store::{LEASE_MICROS, Search, Store, StoreError, open};

use crate::cluster::Cluster;
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

/// Gives `case` the URL of an empty schema. Where there is no Postgres nothing is tested, which is
/// said; it is a failure where all must be tested.
fn with_url(case: impl AsyncFnOnce(String)) {
    static SCHEMAS: AtomicU32 = AtomicU32::new(0);
    let Some(cluster) = Cluster::get() else {
        let all = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!all, "PostgreSQL is not installed, and with CI=true it must be");
        not_tested();
        return;
    };
    let schema = format!("case_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
    block_on(async {
        execute(&cluster.url("public"), &format!("CREATE SCHEMA {schema}")).await;
        case(cluster.url(&schema)).await;
    });
}

#[expect(clippy::print_stdout, reason = "whoever runs the tests must be told")]
fn not_tested() {
    println!("not tested: PostgreSQL (initdb, pg_ctl) is not installed here");
}

pub fn run(case: impl AsyncFnOnce(&dyn Store)) {
    with_url(async |url| {
        let store = PostgresStore::open(&url).await.expect("a store");
        case(&store).await;
        store.close().await;
    });
}

crate::suite!(run);

#[test]
fn a_database_is_looked_at_without_being_changed() {
    with_url(async |url| {
        let found = wick_store::inspect(&url).await.expect("an empty schema");
        assert_eq!((found.migration, found.bytes), (0, 0));
        let store = PostgresStore::open(&url).await.expect("a store");
        let driven = Driven::new(&store, &["a", "b"]).await;
        let found = wick_store::inspect(&url).await.expect("a store");
        assert_eq!(found.migration, found.known);
        assert_eq!(found.counts.runs, [(RunState::Running, 1)]);
        assert_eq!((found.counts.stages, found.counts.attempts), (2, 0));
        assert_eq!(found.engines.len(), 1);
        assert_eq!(found.engines[0].run, driven.run);
        assert!(found.bytes > 0 && !found.server.is_empty());
        store.close().await;
    });
}

/// Asks the server itself, past the store.
async fn execute(url: &str, sql: &str) {
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
    let mut connection = options.connect().await.expect("a connection");
    let query = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()));
    query.execute(&mut connection).await.expect("it works");
    connection.close().await.expect("it closes");
}

#[test]
fn a_store_is_found_again() {
    with_url(async |url| {
        let store = open(&url).await.expect("a new store");
        let run = new_run(&["a"]);
        store.create_run(&run, &engine(), now()).await.expect("a new run");
        store.close().await;
        assert!(store.models().await.is_err(), "closed");
        let store = open(&url).await.expect("the same store");
        assert_eq!(store.find_runs("@last").await.expect("an answer"), [run.id]);
        store.close().await;
    });
}

#[test]
fn many_open_a_new_store_at_once() {
    with_url(async |url| {
        let open = async || {
            let store = PostgresStore::open(&url).await.expect("a store");
            Driven::new(&store, &["a"]).await.succeed("a", "a").await;
            store.close().await;
        };
        futures_util::future::join_all((0..6).map(|_| open())).await;
        let store = PostgresStore::open(&url).await.expect("a store");
        assert_eq!(store.search(&Search::default()).await.expect("runs").runs.len(), 6);
        store.close().await;
    });
}

#[test]
fn of_a_server_that_is_not_there_the_cause_is_told() {
    // A port that was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("its address").port()
    };
    let opened = block_on(open(&format!("postgres://wick:secret@127.0.0.1:{port}/none")));
    let Err(StoreError::Database { location, source }) = opened else { panic!("it opened") };
    assert_eq!(location, format!("postgres://wick@127.0.0.1:{port}/none"));
    assert!(source.to_string().contains("refused"), "{source}");
}

#[test]
fn a_newer_store_is_refused() {
    with_url(async |url| {
        PostgresStore::open(&url).await.expect("a store").close().await;
        let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum,
                                                 execution_time)
                   VALUES (9999, 'later', true, '', 0)";
        execute(&url, sql).await;
        let error = PostgresStore::open(&url).await.expect_err("too new");
        assert!(matches!(error, StoreError::Newer { found: 9999, .. }), "{error:?}");
    });
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    block_on(async {
        let url = "postgres://me:secret@localhost/db?host=/nonexistent";
        let error = open(url).await.err().expect("nothing is there");
        let text = format!("{error}: {error:?}");
        assert!(text.contains("postgres://me@localhost/db"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    });
}

#[test]
fn many_engines_share_fingerprints_keys_and_models() {
    with_url(async |url| {
        let store = PostgresStore::open(&url).await.expect("a store");
        let names: Vec<_> = (0..20).map(|n| format!("s{n}")).collect();
        let drive = async |engine: usize| {
            // Each in an order of its own.
            let mut names: Vec<_> = names.iter().map(String::as_str).collect();
            names.rotate_left(engine * 3);
            let driven = Driven::new(&store, &names).await;
            let tokens: Vec<_> = names.iter().map(|_| wick_core::Token(number())).collect();
            let all = || names.iter().zip(&tokens);
            driven.tell(all().map(|(name, token)| started(name, 1, *token, name))).await;
            driven.tell(all().map(|(name, _)| points(name, 1, &[(name, 0, 1.0)]))).await;
            driven
                .tell(all().map(|(name, token)| {
                    let mut end = finished(name, 1, *token, AttemptState::Succeeded);
                    if let wick_core::EventBody::AttemptFinished { effects, .. } = &mut end {
                        effects.push(wick_core::Effect::RegisterModel {
                            name: name.parse().expect("a name"),
                            digest: wick_core::Digest::of(&engine.to_le_bytes()),
                            description: None,
                            tags: Vec::new(),
                        });
                    }
                    end
                }))
                .await;
            driven.end(RunState::Succeeded).await;
        };
        futures_util::future::join_all((0..6).map(drive)).await;
        let models = store.models().await.expect("models");
        assert_eq!(models.len(), 20);
        for model in models {
            let versions: Vec<_> = model.versions.iter().map(|v| v.version).collect();
            assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
        }
        store.close().await;
    });
}

#[test]
fn of_many_engines_one_takes_a_run() {
    with_url(async |url| {
        let store = PostgresStore::open(&url).await.expect("a store");
        let driven = Driven::new(&store, &["a"]).await;
        for free in [false, true] {
            if free {
                driven.tell([]).await;
                let later = Timestamp(now().0 + 4 * LEASE_MICROS);
                store.interrupt_dead_runs(later).await.expect("an answer");
            }
            let later = Timestamp(now().0 + if free { 0 } else { 2 * LEASE_MICROS });
            let take = async || store.take_run(&driven.run, &[], &engine(), later).await;
            let taken = futures_util::future::join_all((0..6).map(|_| take())).await;
            assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1, "{taken:?}");
            for refused in taken.into_iter().filter_map(Result::err) {
                assert!(matches!(refused, StoreError::Leased { .. }), "{refused:?}");
            }
        }
        store.close().await;
    });
}

#[test]
fn runs_share_named_slots() {
    with_url(async |url| {
        PostgresStore::open(&url).await.expect("a store").close().await;
        crate::slots::runs_share_what_is_counted_by_name(&url).await;
        crate::slots::who_waits_is_next(&url).await;
        crate::slots::nobody_waits_in_a_circle(&url).await;
    });
}

#[test]
fn a_session_that_is_cut_off_takes_its_slots_again() {
    with_url(async |url| {
        let (run, taken) = crate::slots::take_mutex(&url).await;
        let name = format!("wick slots of run {run}");
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
        );
        execute(&url, &end).await;
        let mut tries = 0;
        while count(&url, &name).await == 0 {
            tries += 1;
            assert!(tries < 500, "it is not taken again");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(crate::slots::waits_for_mutex(&url).await.holder, Some(run));
        drop(taken);
    });
}

/// How many advisory locks the sessions called `name` have.
async fn count(url: &str, name: &str) -> i64 {
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
    let mut connection = options.connect().await.expect("a connection");
    let sql = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
               WHERE l.locktype = 'advisory' AND a.application_name = $1";
    let count = sqlx::query_scalar(sql).bind(name).fetch_one(&mut connection).await;
    connection.close().await.expect("it closes");
    count.expect("an answer")
}

#[test]
fn one_process_begins_runs_by_schedule() {
    with_url(async |url| {
        PostgresStore::open(&url).await.expect("a store").close().await;
        crate::hold::one_holds_at_a_time(&url).await;
        // A session that the server ended is asked for again.
        let mut held = crate::hold::ours_soon(&url, holder(1)).await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE application_name = 'wick up 1@here'";
        execute(&url, end).await;
        // It is asked to end, and does so in its own time.
        while count(&url, "wick up 1@here").await > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert!(held.confirm().await.expect("an answer"), "it is ours again");
        let other = hold(&url, holder(2)).await.expect("an answer");
        assert!(matches!(other, Asked::Theirs(Some(Holder { pid: 1, .. }))), "{other:?}");
    });
}

#[test]
fn each_schema_has_its_own_schedules() {
    with_url(async |one| {
        with_second_url(&one, async |two| {
            let _one = crate::hold::ours(hold(&one, holder(1)).await.expect("an answer"));
            let _two = crate::hold::ours(hold(&two, holder(2)).await.expect("an answer"));
        })
        .await;
    });
}

/// Gives `case` the URL of another schema on the server of `url`.
async fn with_second_url(url: &str, case: impl AsyncFnOnce(String)) {
    let (server, schema) = url.rsplit_once('=').expect("a schema");
    let second = format!("{schema}_b");
    execute(url, &format!("CREATE SCHEMA {second}")).await;
    case(format!("{server}={second}")).await;
}

#[test]
fn functions_that_act_are_not_called() {
    with_url(async |url| {
        let store = PostgresStore::open(&url).await.expect("a store");
        let make = "CREATE FUNCTION sneak() RETURNS int LANGUAGE sql AS
                    $$ INSERT INTO metric_keys (name) VALUES ('x') RETURNING 1 $$;
                    CREATE FUNCTION sneakier() RETURNS int STABLE LANGUAGE plpgsql AS
                    $$ BEGIN INSERT INTO metric_keys (name) VALUES ('x'); RETURN 1; END $$";
        execute(&url, make).await;
        for sql in [
            "SELECT pg_terminate_backend(1)",
            "SELECT pg_catalog.\"pg_terminate_backend\" /* */ (1)",
            "SELECT set_config('statement_timeout', '0', false)",
            "SELECT * FROM pg_read_file('/etc/passwd')",
            "SELECT PG_SLEEP(100)",
            "SELECT query_to_xml('DELETE FROM runs', true, true, '')",
            "SELECT pg_advisory_lock(1)",
            "SELECT nextval('runs_id_seq')",
            "SELECT sneak()",
            "SELECT sneakier()",
            "SELECT lo_import('/etc/passwd')",
            "SELECT u&\"pg\\005fsleep\"(1)",
            "SELECT 1 FROM metric_keys FOR UPDATE",
            "TABLE metric_keys FOR UPDATE",
            "SELECT $1",
            "SELECT",
        ] {
            let question = Question::query(sql).timeout(std::time::Duration::from_secs(60));
            let error = match ask(&url, &question).await {
                Ok(mut answer) => answer.next().await.err(),
                Err(error) => Some(error),
            };
            assert!(matches!(error, Some(StoreError::Sql(_))), "{sql}: {error:?}");
        }
        let harmless = "SELECT random() < 2 AND clock_timestamp() > '2000-01-01', lower('A'), 2.5,
                        '\\x00ff'::bytea, NULL::text, '{1,2}'::int[]";
        let mut answer = ask(&url, &Question::query(harmless)).await.expect("an answer");
        let text = |text: &str| Cell::Text(text.to_owned());
        assert_eq!(
            answer.next().await.expect("rows").expect("one"),
            [[
                Cell::Boolean(true),
                text("a"),
                Cell::Real(2.5),
                Cell::Bytes(vec![0, 255]),
                Cell::Null,
                text("{1,2}")
            ]]
        );
        store.close().await;
    });
}

#[test]
fn searches_follow_indexes() {
    with_url(async |url| {
        PostgresStore::open(&url).await.expect("a store").close().await;
        execute(&url, &crate::filled::sql(&url, crate::plans::RUNS)).await;
        // What a server does by itself, sooner or later.
        for table in ["runs", "stages", "params", "tags", "run_metrics", "metric_keys"] {
            execute(&url, &format!("VACUUM ANALYZE {table}")).await;
        }
        let store = PostgresStore::open(&url).await.expect("a store");
        for (name, search) in crate::plans::searches() {
            let steps = store.explain(&search).await.expect("plans");
            // Keys and experiments are few: nobody looks for an index in a page or two.
            let is_scan = |line: &str| {
                line.contains("Seq Scan on ")
                    && !line.contains("Seq Scan on metric_keys")
                    && !line.contains("Seq Scan on experiments")
            };
            crate::plans::check(&name, &steps, is_scan);
        }
        store.close().await;
    });
}

/// What stages read and made, beside the long history: each trained from the data of an
/// experiment, which came from a file.
const MADE: &str = "
    INSERT INTO attempts (run_id, position, attempt, state, token, fingerprint, started)
        SELECT run_id, position, 1, 'succeeded', 0,
               decode(md5(run_id || ' ' || position), 'hex'), started FROM stages;
    INSERT INTO outputs (run_id, position, attempt, place, port, type, digest, bytes, meta)
        SELECT run_id, position, 1, 0, 'out', 'file', decode(md5('o' || run_id || position), 'hex'),
               1, '{}' FROM stages;
    INSERT INTO inputs (run_id, position, port, from_stage, from_output, digest, place)
        SELECT run_id, position, 'in', 'data', 'out', decode(md5('o' || run_id || 0), 'hex'), 0
        FROM stages WHERE position = 1;
    INSERT INTO fingerprints (fingerprint, run_id, position, attempt)
        SELECT fingerprint, run_id, position, attempt FROM attempts;
    INSERT INTO fingerprint_parts (fingerprint, parts) SELECT fingerprint, '{}' FROM attempts;
    INSERT INTO fingerprint_sources (fingerprint, digest, path)
        SELECT fingerprint, decode(md5('s' || run_id), 'hex'), 'rows.csv' FROM attempts;";

#[test]
fn lineage_follows_indexes() {
    with_url(async |url| {
        PostgresStore::open(&url).await.expect("a store").close().await;
        execute(&url, &crate::filled::sql(&url, crate::plans::RUNS)).await;
        execute(&url, MADE).await;
        for table in [
            "runs",
            "stages",
            "attempts",
            "inputs",
            "outputs",
            "fingerprints",
            "fingerprint_parts",
            "fingerprint_sources",
        ] {
            execute(&url, &format!("VACUUM ANALYZE {table}")).await;
        }
        let store = PostgresStore::open(&url).await.expect("a store");
        // As many as a level of a wide graph has, of which the server cannot know how few they are.
        for count in [1_u32, 20] {
            let digests: Vec<_> =
                (0..count).map(|n| wick_core::Digest::of(&n.to_le_bytes())).collect();
            let steps = store.explain_lineage(&digests, 500).await.expect("plans");
            assert_eq!(steps.len(), 3);
            crate::plans::check("lineage", &steps, |line| line.contains("Seq Scan on "));
        }
        store.close().await;
    });
}

#[test]
fn a_backup_is_a_store() {
    with_url(async |url| {
        let store = PostgresStore::open(&url).await.expect("a store");
        crate::copying::a_backup_is_a_store(&store, &url).await;
        store.close().await;
    });
}
