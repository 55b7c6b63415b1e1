//! What the paths cost that every stage takes, and what questions cost in a long history:
//! `cargo bench -p wick-store`. A Postgres is measured too if its address is given:
//! `cargo bench -p wick-store -- postgres://…`; it should be an empty database.

#![expect(clippy::print_stdout, reason = "that is what benches are for")]

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wick_core::{AttemptState, Event, EventBody, StageOrigin, Token};
use wick_store::filter::Filter;
use wick_store::sqlite::SqliteStore;
use wick_store::{Search, Store};

#[path = "../tests/store/world.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod world;

use world::*;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        small_history().await;
        long_history().await;
        for address in std::env::args().skip(1).filter(|word| word.starts_with("postgres")) {
            hot_paths(&*wick_store::open(&address).await.expect("a store")).await;
        }
    });
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let main: u64 = stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    let mut total = main;
    if let Ok(threads) = std::fs::read_dir("/proc/self/task") {
        total = threads
            .filter_map(|thread| {
                std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()
            })
            .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
            .sum();
    }
    Duration::from_nanos(total)
}

async fn figure<T>(name: &str, count: u32, work: impl Future<Output = T>) -> T {
    let (wall, used) = (Instant::now(), cpu());
    let done = work.await;
    let (wall, used) = (wall.elapsed(), cpu().saturating_sub(used));
    println!(
        "{name:42} {:9.1} us wall {:9.1} us cpu   x {count}",
        wall.as_secs_f64() * 1e6 / f64::from(count),
        used.as_secs_f64() * 1e6 / f64::from(count),
    );
    done
}

/// A store that is new, or holds a few runs of a thousand stages.
async fn small_history() {
    let folder = TempDir::new_in("/var/tmp").expect("a folder");
    let path = folder.path().join("store.db");
    figure("open, new", 1, SqliteStore::open(&path)).await.expect("a store").close().await;
    for _ in 0..3 {
        let store = figure("open", 1, SqliteStore::open(&path)).await.expect("a store");
        figure("first read", 1, store.find_runs("@last")).await.expect("an answer");
        figure("interrupt_dead_runs", 1, store.interrupt_dead_runs(now())).await.expect("ok");
        store.close().await;
    }
    let store = SqliteStore::open(&path).await.expect("a store");
    hot_paths(&store).await;
    figure("close", 1, store.close()).await;
    let store = figure("open", 1, SqliteStore::open(&path)).await.expect("a store");
    let prints = prints(20);
    figure("find_cached, 1,000, first", 1, store.find_cached(&prints)).await.expect("found");
}

fn names() -> Vec<String> {
    (0..1_000).map(|n| format!("stage_{n}")).collect()
}

/// The fingerprints of the stages that came in batches of so many.
fn prints(batch: usize) -> Vec<wick_core::Fingerprint> {
    names().iter().map(|name| fingerprint(&format!("{batch} {name}"))).collect()
}

/// What the engine does for a thousand stages.
async fn hot_paths(store: &dyn Store) {
    let names = names();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for batch in [1_usize, 5, 20, 100, 1_000] {
        let run = new_run(&names);
        let engine = engine();
        let create = store.create_run(&run, &engine, now());
        let lease = figure("create_run, 1,000 stages", 1, create).await.expect("a run");
        let mut batches = Vec::new();
        for chunk in names.chunks(batch) {
            let tokens: Vec<_> = chunk.iter().map(|_| Token(number())).collect();
            let event = |body| Event { time: now(), body };
            let begin: Vec<_> = chunk
                .iter()
                .zip(&tokens)
                .flat_map(|(name, token)| {
                    let print = format!("{batch} {name}");
                    let mut start = started(name, 1, *token, &print);
                    if let EventBody::AttemptStarted { parts, .. } = &mut start {
                        *parts = Some(
                            serde_json::json!({
                                "kind": "command", "revision": 1, "with": {"run": ["true"]},
                                "inputs": {}, "sources": {}, "environment": {},
                            })
                            .to_string(),
                        );
                    }
                    [event(start)]
                })
                .collect();
            let end: Vec<_> = chunk
                .iter()
                .zip(&tokens)
                .flat_map(|(name, token)| {
                    let pid = 77;
                    let spawned = EventBody::AttemptSpawned {
                        stage: stage(name),
                        attempt: 1,
                        pid,
                        started: 0,
                    };
                    let mut end = finished(name, 1, *token, AttemptState::Succeeded);
                    if let EventBody::AttemptFinished { outputs, .. } = &mut end {
                        outputs.clear();
                    }
                    [event(spawned), event(end)]
                })
                .collect();
            batches.push(begin);
            batches.push(end);
        }
        let name = format!("append, {batch} attempts a batch (of 3 events)");
        figure(&name, 1_000, async {
            for events in &batches {
                store.append(&lease, events).await.expect("it fits");
            }
        })
        .await;
    }
    let prints = prints(20);
    for _ in 0..2 {
        let found = figure("find_cached, 1,000", 1, store.find_cached(&prints)).await;
        assert!(found.expect("an answer").iter().all(Option::is_some));
    }
    let run = new_run(&names);
    let lease = store.create_run(&run, &engine(), now()).await.expect("a run");
    let found = store.find_cached(&prints).await.expect("an answer");
    let events: Vec<_> = names
        .iter()
        .zip(found)
        .map(|(name, found)| {
            let origin: StageOrigin = found.expect("it is there").origin;
            Event { time: now(), body: cached(name, name, origin, Vec::new()) }
        })
        .collect();
    figure("append, 1,000 cached stages", 1, store.append(&lease, &events)).await.expect("it fits");
    figure("stages, 1,000", 1, store.stages(&run.id)).await.expect("stages");
    figure("attempts, 1,000", 1, store.attempts(&run.id)).await.expect("attempts");
    let query = Search { limit: 20, ..Search::default() };
    figure("runs, 7 of 1,000 stages", 1, store.search(&query)).await.expect("runs");

    let driven = Driven::new(store, &["train"]).await;
    driven.tell([started("train", 1, Token(number()), "t")]).await;
    let told: Vec<_> = (0..100_000).map(|n| ("loss", n, n as f64)).collect();
    figure("append, 100,000 points", 100_000, async {
        for told in told.chunks(1_000) {
            driven.tell([points("train", 1, told)]).await;
        }
    })
    .await;
    figure("series, 100,000 points", 100_000, store.series(&driven.run, None))
        .await
        .expect("series");
}

/// Tells the file itself, past the store.
async fn execute(path: &Path, sql: &'static str) {
    use sqlx::ConnectOptions;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.expect("a connection");
    sqlx::raw_sql(sql).execute(&mut connection).await.expect("it works");
    sqlx::Connection::close(connection).await.expect("it closes");
}

/// A history of 100,000 runs of ten stages, five metrics and three params each.
const FILL: &str = "
    INSERT INTO experiments (name, created)
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)
        SELECT 'experiment_' || i, 0 FROM n;
    INSERT INTO pipeline_texts (digest, text) VALUES (x'00', 'pipeline: many');
    INSERT INTO metric_keys (name) VALUES ('m0'), ('m1'), ('m2'), ('m3'), ('m4');
    INSERT INTO runs (public_id, experiment_id, pipeline, pipeline_path, pipeline_text_id,
                      environment, plan, state, started, finished)
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        SELECT format('%012d', (i * 7919) % 100000), 1 + i % 100, 'many', '/many.yaml', 1, '{}',
               zeroblob(32), CASE WHEN i % 50 = 0 THEN 'failed' ELSE 'succeeded' END, i, i + 1
        FROM n;
    INSERT INTO params (run_id, name, value, number, overridden)
        SELECT runs.id, 'p' || p.value, runs.id, runs.id, 0 FROM runs, json_each('[0,1,2]') p;
    INSERT INTO stages (run_id, position, name, kind, state, fingerprint, attempts, source_run_id,
                        source_position, source_attempt, started, finished)
        SELECT runs.id, s.value, 'stage_' || s.value, 'command', 'succeeded',
               unhex(format('%064x', runs.id * 10 + s.value)), 1, runs.id, s.value, 1, 0, 1
        FROM runs, json_each('[0,1,2,3,4,5,6,7,8,9]') s;
    INSERT INTO attempts (run_id, position, attempt, state, token, fingerprint, started, finished)
        SELECT run_id, position, 1, 'succeeded', 7, fingerprint, 0, 1 FROM stages;
    INSERT INTO fingerprints SELECT fingerprint, run_id, position, attempt FROM attempts;
    INSERT INTO metrics (run_id, position, attempt, key_id, points, step, time, value)
        SELECT runs.id, 9, 1, k.value, 1, 0, 0, (runs.id * 7919 % 100003) / 100003.0
        FROM runs, json_each('[1,2,3,4,5]') k;
    INSERT INTO metric_points (metric_id, place, step, time, value)
        SELECT id, 0, 0, 0, value FROM metrics;";

/// A store of 100,000 runs.
async fn long_history() {
    let folder = TempDir::new_in("/var/tmp").expect("a folder");
    let path = folder.path().join("store.db");
    SqliteStore::open(&path).await.expect("a store").close().await;
    figure("fill", 1, execute(&path, FILL)).await;
    let store = figure("open", 1, SqliteStore::open(&path)).await.expect("a store");
    for _ in 0..2 {
        let list = async |query: Search| store.search(&query).await.expect("runs").runs.len();
        let page = Search { limit: 50, ..Search::default() };
        assert_eq!(figure("50 newest runs", 1, list(page.clone())).await, 50);
        let filter = Some(Filter::of_experiment(&"experiment_7".parse().expect("a name")));
        let query = Search { filter, ..page.clone() };
        assert_eq!(figure("50 of an experiment", 1, list(query)).await, 50);
        let query =
            Search { filter: Some(Filter::in_state(wick_core::RunState::Failed)), ..page.clone() };
        assert_eq!(figure("50 failed", 1, list(query)).await, 50);
        let query = Search { offset: 90_000, ..page };
        assert_eq!(figure("50 after 90,000", 1, list(query)).await, 50);
        let found = figure("a prefix", 1, store.find_runs("0000000123")).await;
        let run = found.expect("an answer").swap_remove(0);
        figure("a run", 1, store.run(&run)).await.expect("the run");
        figure("its stages", 1, store.stages(&run)).await.expect("stages");
        let metrics = figure("its metrics", 1, store.latest_metrics(&run)).await;
        assert_eq!(metrics.expect("metrics").len(), 5);
        let series = figure("a series", 1, store.series(&run, Some("m3"))).await;
        assert_eq!(series.expect("series").len(), 1);
        let stages = store.stages(&run).await.expect("stages");
        let prints: Vec<_> = stages.iter().filter_map(|stage| stage.fingerprint).collect();
        figure("find_cached, 10", 1, store.find_cached(&prints)).await.expect("found");
        figure("interrupt_dead_runs", 1, store.interrupt_dead_runs(now())).await.expect("ok");
    }
    Driven::new(&store, &["a"]).await.succeed("a", "a").await;
    figure("a whole small run", 1, async {
        let driven = Driven::new(&store, &["a"]).await;
        driven.succeed("a", "a").await;
        driven.end(wick_core::RunState::Succeeded).await;
    })
    .await;
}
