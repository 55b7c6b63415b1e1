//! A store on a server: engines that are killed, and a server that starts again while they run.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sqlx::{ConnectOptions, Connection};
use wick_core::{AttemptState, RunState};

use super::aftermath::{History, assert_deserted};
use super::cluster::Cluster;
use super::mixed::Subject;
use super::random_kills::Random;
use crate::sandbox::{Sandbox, ended, send, wait_until};

/// How often an engine is killed.
const KILLS: usize = 4;

/// Says so where there is no Postgres, which is a failure where all must be tested.
#[expect(clippy::print_stdout, reason = "whoever runs the tests must be told")]
pub fn not_tested() {
    let all = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!all, "PostgreSQL is not installed, and with CI=true it must be");
    println!("not tested: PostgreSQL (initdb, pg_ctl) is not installed here");
}

/// Makes an empty schema on the server; its URL.
pub fn schema(cluster: &Cluster, name: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let url = cluster.url("public");
        let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
        let mut connection = options.connect().await.expect("a connection");
        let sql = format!("CREATE SCHEMA {name}");
        let query = sqlx::raw_sql(sqlx::AssertSqlSafe(sql));
        query.execute(&mut connection).await.expect("it works");
        connection.close().await.expect("it closes");
    });
    cluster.url(name)
}

#[test]
fn kills_lose_nothing_on_a_server_either() {
    let Some(cluster) = Cluster::get() else { return not_tested() };
    let subject = Subject::Mixed;
    let undisturbed = subject.undisturbed();
    let mut random = Random(20_261_123);
    for kill in 0..KILLS {
        let url = schema(cluster, &format!("kills_{kill}"));
        let sandbox = subject.sandbox();
        sandbox.write("wick.yaml", &format!("store: \"{url}\"\n"));
        let folder = sandbox.path();
        let mut engine = sandbox
            .command(&["run", "pipeline.yaml"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("wick starts");
        // From where there is a run, anywhere in the seconds that it takes.
        wait_until(|| {
            folder.join(".wick/runs").read_dir().is_ok_and(|mut runs| runs.next().is_some())
        });
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        let _ = send(engine.id(), Signal::KILL);
        engine.wait().expect("waited for");
        assert_deserted(&folder);
        let before = History::in_store(&url).expect("a run");
        if before.state != RunState::Succeeded {
            sandbox.wick(&["rerun"]).ends_with(0);
        }
        let after = History::in_store(&url).expect("a run");
        assert_eq!(after.run, before.run, "the same run goes on");
        after.check(&folder, Some(&before), undisturbed);
        assert_deserted(&folder);
    }
}

#[test]
fn a_server_that_starts_again_is_waited_for() {
    let Some(cluster) = Cluster::own() else { return not_tested() };
    let url = schema(&cluster, "restarts");
    let mut pipeline = "pipeline: chain\nstages:\n".to_owned();
    for place in 0..12 {
        let after =
            if place > 0 { format!("    after: [s{}]\n", place - 1) } else { String::new() };
        pipeline.push_str(&format!(
            "  s{place}:\n    uses: command\n{after}    resources: {{mutex: [m]}}\n    with: {{run: \
             'echo x >> done{place}; sleep 0.1; echo {place} > ${{outputs.made}}', \
             outputs: {{made: file}}}}\n"
        ));
    }
    let sandbox = Sandbox::with_pipeline(&pipeline);
    sandbox.write("wick.yaml", &format!("store: \"{url}\"\n"));
    let words = ["run", "pipeline.yaml"];
    let engine = sandbox.spawn(&words);
    for place in [1, 5, 9] {
        let file = format!("done{place}");
        let begun = Instant::now();
        wait_until(|| sandbox.has(&file) || begun.elapsed() > Duration::from_secs(50));
        cluster.restart();
    }
    ended(engine, &words).ends_with(0);
    let history = History::in_store(&url).expect("a run");
    assert_eq!(history.state, RunState::Succeeded);
    assert_eq!(history.attempts.len(), 12, "nothing is done again");
    assert!(history.attempts.iter().all(|attempt| attempt.state == AttemptState::Succeeded));
    assert!(history.published.values().all(|times| *times == 1), "{:?}", history.published);
    for place in 0..12 {
        assert_eq!(sandbox.read(format!("done{place}")), "x\n", "its program ran once");
    }
}

#[test]
fn a_run_of_another_machine_is_left_to_it_until_its_lease_runs_out() {
    let Some(cluster) = Cluster::get() else { return not_tested() };
    let url = schema(cluster, "machines");
    let sandbox = Sandbox::with_pipeline(
        "pipeline: away\nstages:\n  only: {uses: command, with: {run: 'test -e go'}}\n",
    );
    sandbox.write("wick.yaml", &format!("store: \"{url}\"\n"));
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(1);
    sandbox.write("go", "");
    // An engine of another machine takes the run up: nothing is known of its process here.
    let elsewhere = |expires: i64| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let store = wick_store::open(&url).await.expect("the store");
            let run = store.find_runs("@last").await.expect("asked").remove(0);
            let engine = wick_store::EngineId {
                host: "elsewhere".into(),
                pid: 1,
                process_start: 1,
                token: wick_core::Token(77),
            };
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let now = now.expect("a time").as_micros() as i64;
            let at = wick_core::Timestamp(now + expires - wick_store::LEASE_MICROS);
            let taken = store.take_run(&run, &[], &engine, at).await;
            store.close().await;
            taken.map(drop)
        })
    };
    // As long as its lease holds, nobody else drives the run.
    elsewhere(60_000_000).expect("nobody has it");
    sandbox.wick(&["rerun"]).ends_with(75).says(&["process 1 on elsewhere"]);
    // The same engine, by its token, whose lease has run out since.
    elsewhere(-1).expect("it is its own");
    sandbox.wick(&["rerun"]).ends_with(0);
    let history = History::in_store(&url).expect("a run");
    assert_eq!(history.state, RunState::Succeeded);
}
