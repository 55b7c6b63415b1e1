//! What searches cost in a history of 100,000 runs of ten params and ten metrics each:
//! `cargo bench -p wick-store --bench search`. A Postgres is measured too if its address is given:
//! `cargo bench -p wick-store --bench search -- postgres://…`; it should be an empty database.
//!
//! `--way drive` and `--way walk` show what the other way to the same runs would have cost.

#![expect(clippy::print_stdout, reason = "that is what benches are for")]

use std::time::Instant;

use tempfile::TempDir;
use wick_core::Timestamp;
use wick_store::{Search, Store, Way, filter, open};

#[path = "../tests/store/filled.rs"]
mod filled;

/// How often each question is asked; the best and the median are told.
const TIMES: usize = 15;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let words: Vec<String> = std::env::args().skip(1).collect();
    let way = match words.iter().position(|word| word == "--way").map(|at| words[at + 1].as_str()) {
        None => Way::Quickest,
        Some("drive") => Way::Drive,
        Some(_) => Way::Walk,
    };
    runtime.block_on(async {
        let folder = TempDir::new_in("/var/tmp").expect("a folder");
        let path = folder.path().join("store.db").display().to_string();
        let addresses = words.iter().filter(|word| word.starts_with("postgres")).cloned();
        for location in std::iter::once(path).chain(addresses) {
            println!("{location}");
            open(&location).await.expect("a new store").close().await;
            fill(&location).await;
            let before = Instant::now();
            let store = open(&location).await.expect("a store");
            println!("{:38} {:8.2} ms", "open", before.elapsed().as_secs_f64() * 1e3);
            measure(&*store, way).await;
            store.close().await;
        }
    });
}

/// Fills the store at `location`, as a database has it whose statistics are up to date.
async fn fill(location: &str) {
    use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
    let before = Instant::now();
    let sql = AssertSqlSafe(filled::sql(location, 100_000));
    if location.starts_with("postgres") {
        let options: sqlx::postgres::PgConnectOptions = location.parse().expect("a URL");
        let mut connection = options.connect().await.expect("a connection");
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("it works");
        sqlx::raw_sql("VACUUM ANALYZE").execute(&mut connection).await.expect("it works");
        connection.close().await.expect("it closes");
    } else {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(location);
        let mut connection = options.connect().await.expect("a connection");
        sqlx::raw_sql(sql).execute(&mut connection).await.expect("it works");
        connection.close().await.expect("it closes");
    }
    println!("{:38} {:8.1} s", "fill", before.elapsed().as_secs_f64());
}

async fn measure(store: &dyn Store, way: Way) {
    for (name, text, order) in filled::SHAPES {
        let filter =
            (!text.is_empty()).then(|| filter::parse(text, Timestamp(0)).expect("a filter"));
        let order = if order.is_empty() {
            Vec::new()
        } else {
            filter::parse_order(order).expect("an order")
        };
        let search = Search { filter, order, limit: 100, way, ..Search::default() };
        ask(store, name, &search).await;
    }
    for page in [10, 100, 900] {
        let search = Search { limit: 100, offset: 100 * (page - 1), ..Search::default() };
        ask(store, &format!("page {page}"), &search).await;
    }
    let page = store.search(&Search { limit: 1, offset: 777, ..Search::default() }).await;
    let run = page.expect("a page").runs.swap_remove(0).id;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let before = Instant::now();
        store.run(&run).await.expect("an answer").expect("the run");
        store.params(&run).await.expect("params");
        store.stages(&run).await.expect("stages");
        store.latest_metrics(&run).await.expect("metrics");
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    tell("one run, its params, stages, metrics", times, 1);
}

async fn ask(store: &dyn Store, name: &str, search: &Search) {
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..TIMES {
        let before = Instant::now();
        found = store.search(search).await.expect("an answer").runs.len();
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    tell(name, times, found);
}

fn tell(name: &str, mut times: Vec<f64>, found: usize) {
    let first = times[0];
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!(
        "{name:38} {median:8.2} ms   first {first:8.2}   best {:8.2}   {found} runs",
        times[0]
    );
}
