//! What the paths cost that every stage takes. Prints figures; run it with
//! `cargo test -p wick-store --test store figures -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use wick_core::{AttemptState, Event, EventBody, StageOrigin, Token};
use wick_store::sqlite::SqliteStore;
use wick_store::{RunQuery, Store};

use crate::world::*;

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

#[test]
#[ignore = "prints figures"]
fn figures() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
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
        let names: Vec<_> = (0..1_000).map(|n| format!("stage_{n}")).collect();
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
                            *parts = Some(serde_json::json!({
                                "kind": "command", "revision": 1, "with": {"run": ["true"]},
                                "inputs": {}, "sources": {}, "environment": {},
                            }));
                        }
                        [event(start)]
                    })
                    .collect();
                let end: Vec<_> = chunk
                    .iter()
                    .zip(&tokens)
                    .flat_map(|(name, token)| {
                        let pid = 77;
                        let spawned =
                            EventBody::AttemptSpawned { stage: stage(name), attempt: 1, pid };
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
        let prints: Vec<_> = names.iter().map(|name| fingerprint(&format!("20 {name}"))).collect();
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
        figure("append, 1,000 cached stages", 1, store.append(&lease, &events))
            .await
            .expect("it fits");
        figure("stages, 1,000", 1, store.stages(&run.id)).await.expect("stages");
        figure("attempts, 1,000", 1, store.attempts(&run.id)).await.expect("attempts");
        let query = RunQuery { limit: 20, ..RunQuery::default() };
        figure("runs, 7 of 1,000 stages", 1, store.runs(&query)).await.expect("runs");

        let driven = Driven::new(&store, &["train"]).await;
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
        figure("close", 1, store.close()).await;
        let store = figure("open", 1, SqliteStore::open(&path)).await.expect("a store");
        figure("find_cached, 1,000, first", 1, store.find_cached(&prints)).await.expect("found");
    });
}
