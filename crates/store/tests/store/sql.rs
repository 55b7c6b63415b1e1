//! Questions in SQL: the same answers on both databases, and nothing but answers.

use std::time::Duration;

use serde_json::json;
use wick_core::{AttemptState, EventBody, RunState, StageOrigin, Token};
use wick_store::sql::{Answer, Cell, ColumnType, MAX_CELL, Question, Row, SqlError, VIEWS, ask};
use wick_store::{Mark, Store, StoreError};

use crate::world::*;

/// Long enough for a busy machine; what should take for ever is given less.
const TIME: Duration = Duration::from_secs(120);

async fn rows_of(mut answer: Answer) -> Result<Vec<Row>, StoreError> {
    let mut all = Vec::new();
    while let Some(rows) = answer.next().await? {
        all.extend(rows);
    }
    Ok(all)
}

async fn try_rows(store: &dyn Store, sql: &str) -> Result<Vec<Row>, StoreError> {
    let question = Question::query(sql).timeout(TIME);
    rows_of(ask(&store.location(), &question).await?).await
}

async fn rows(store: &dyn Store, sql: &str) -> Vec<Row> {
    try_rows(store, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

/// Points are rows to a question, wherever they lie.
pub async fn sealed_points_are_rows(store: &dyn Store) {
    let driven = Driven::new(store, &["a"]).await;
    driven.tell([started("a", 1, Token(number()), "a")]).await;
    for count in [3_i64, 10_000, 300, 5] {
        let told: Vec<_> = (0..count).map(|step| ("loss", step * step, step as f64)).collect();
        driven.tell([points("a", 1, &told), points("a", 1, &[("other", 0, 1.0)])]).await;
    }
    let counted = rows(
        store,
        "SELECT key, count(*), sum(value), sum(step), count(DISTINCT time) > 9000 AS apart
         FROM metrics GROUP BY key ORDER BY key",
    )
    .await;
    let sums = |count: i64| (count * (count - 1) / 2, (count - 1) * count * (2 * count - 1) / 6);
    let (values, steps) = [3, 10_000, 300, 5]
        .map(sums)
        .iter()
        .fold((0, 0), |all, sum| (all.0 + sum.0, all.1 + sum.1));
    assert_eq!(counted.len(), 2);
    assert_eq!(counted[0][..3], [text("loss"), Cell::Integer(10_308), Cell::Real(values as f64)]);
    assert!(format!("{:?}", counted[0][3]).contains(&steps.to_string()), "{:?}", counted[0]);
    assert_eq!(counted[1][..3], [text("other"), Cell::Integer(4), Cell::Real(4.0)]);
}

/// Why a question is not answered.
async fn error(store: &dyn Store, sql: &str) -> SqlError {
    match try_rows(store, sql).await {
        Err(StoreError::Sql(error)) => *error,
        other => panic!("{sql}: {other:?}"),
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn hex(content: &str) -> Cell {
    text(&wick_core::Digest::of(content.as_bytes()).to_string())
}

/// A run with a bit of everything, and one that takes a stage from it.
async fn two_runs(store: &dyn Store) -> (String, String) {
    let mut first = new_run(&["load", "fit", "late"]);
    first.params.push(("word".to_owned(), json!("adam")));
    first.params.push(("odd".to_owned(), json!("a\0b")));
    first.params.push(("quote".to_owned(), json!("it's \"q\" é")));
    first.environment = json!({
        "host": "here", "user": "ann",
        "git": {"commit": "abc", "branch": null, "dirty": true},
    });
    let driven = Driven::of(store, first).await;
    driven.succeed("load", "load").await;
    let token = Token(number());
    let mut begun = started("fit", 1, token, "fit");
    if let EventBody::AttemptStarted { inputs, .. } = &mut begun {
        inputs.push(input("data", "load", "load"));
    }
    driven
        .tell([
            begun,
            points("fit", 1, &[("loss", 1, 0.5), ("loss", 2, f64::NAN), ("loss", 3, 0.25)]),
            points("fit", 1, &[("top", 0, f64::INFINITY), ("none", 0, f64::NAN)]),
            finished("fit", 1, token, AttemptState::Succeeded),
        ])
        .await;
    let token = Token(number());
    driven
        .tell([started("late", 1, token, "late"), finished("late", 1, token, AttemptState::Failed)])
        .await;
    driven.end(RunState::Failed).await;

    let second = Driven::new(store, &["fit"]).await;
    let origin = StageOrigin { run: driven.run.clone(), stage: stage("fit"), attempt: 1 };
    second.tell([cached("fit", "fit", origin, Vec::new())]).await;
    second.end(RunState::Succeeded).await;
    (driven.run.to_string(), second.run.to_string())
}

pub async fn views_have_their_columns(store: &dyn Store) {
    two_runs(store).await;
    for view in VIEWS {
        let sql = format!("SELECT * FROM {}", view.name);
        let answer = ask(&store.location(), &Question::query(&sql)).await.expect(view.name);
        let names: Vec<&str> = view.columns.iter().map(|column| column.name).collect();
        assert_eq!(answer.columns(), names, "{}", view.name);
        let rows = rows_of(answer).await.expect(view.name);
        assert_eq!(rows.is_empty(), matches!(view.name, "models" | "tags"), "{}", view.name);
        for (row, raw) in [(&rows, false), (&exported(store, view, None).await, true)]
            .into_iter()
            .flat_map(|(rows, raw)| rows.iter().map(move |row| (row, raw)))
        {
            for (cell, column) in row.iter().zip(view.columns) {
                let fits = match (column.kind, cell) {
                    (_, Cell::Null) => true,
                    (ColumnType::Time, Cell::Integer(_)) => raw,
                    (ColumnType::Time, Cell::Text(time)) => !raw && time.len() == 26,
                    (ColumnType::Text, Cell::Text(_)) => true,
                    (ColumnType::Integer, Cell::Integer(_)) => true,
                    (ColumnType::Flag, Cell::Integer(flag)) => (0..=1).contains(flag),
                    (ColumnType::Real, Cell::Real(_)) => true,
                    _ => false,
                };
                assert!(fits, "{}.{}: {cell:?}", view.name, column.name);
            }
        }
    }
}

async fn exported(
    store: &dyn Store,
    view: &'static wick_store::sql::View,
    runs: Option<Vec<wick_core::RunId>>,
) -> Vec<Row> {
    let answer = ask(&store.location(), &Question::view(view, runs)).await.expect(view.name);
    rows_of(answer).await.expect(view.name)
}

pub async fn an_export_of_many_runs_is_whole(store: &dyn Store) {
    let (first, second) = two_runs(store).await;
    let id = |text: String| text.parse::<wick_core::RunId>().expect("an id");
    let (first, second) = (id(first), id(second));
    // More than are asked for at once; all but two of them are not there.
    let mut runs = vec![first.clone()];
    runs.extend((0..1_200).map(wick_core::RunId::from_random));
    runs.push(second.clone());
    for view in VIEWS.iter().filter(|view| view.is_of_runs()) {
        let mut expect = exported(store, view, Some(vec![first.clone()])).await;
        expect.extend(exported(store, view, Some(vec![second.clone()])).await);
        // Nobody has tagged them.
        assert!(!expect.is_empty() || view.name == "tags", "{}", view.name);
        // A NaN is not equal to itself.
        let found = exported(store, view, Some(runs.clone())).await;
        assert_eq!(format!("{found:?}"), format!("{expect:?}"), "{}", view.name);
        assert!(exported(store, view, Some(Vec::new())).await.is_empty());
    }
}

pub async fn views_say_what_was_recorded(store: &dyn Store) {
    let (first, second) = two_runs(store).await;
    let found = rows(
        store,
        &format!(
            "SELECT experiment, state, \"user\", host, git_commit, git_branch, git_dirty, parent,
                    duration > 0
             FROM runs WHERE run = '{first}'"
        ),
    )
    .await;
    let truth = |cell: &Cell| matches!(cell, Cell::Integer(1) | Cell::Boolean(true));
    assert!(truth(&found[0][8]), "{found:?}");
    assert_eq!(
        found[0][..8],
        [
            text("digits"),
            text("failed"),
            text("ann"),
            text("here"),
            text("abc"),
            Cell::Null,
            Cell::Integer(1),
            Cell::Null
        ]
    );
    let params = format!(
        "SELECT name, value, number, overridden FROM params WHERE run = '{first}'
                          ORDER BY name"
    );
    assert_eq!(
        rows(store, &params).await,
        [
            vec![text("epochs"), text("10"), Cell::Real(10.0), Cell::Integer(1)],
            vec![text("layers"), text("[32,\"relu\"]"), Cell::Null, Cell::Integer(0)],
            vec![text("learning_rate"), text("0.001"), Cell::Real(0.001), Cell::Integer(0)],
            vec![text("odd"), text("\"a\\u0000b\""), Cell::Null, Cell::Integer(0)],
            vec![text("quote"), text("it's \"q\" é"), Cell::Null, Cell::Integer(0)],
            vec![text("word"), text("adam"), Cell::Null, Cell::Integer(0)],
        ]
    );
    let stages = "SELECT run, stage, state, origin_run, failure_cause, failure FROM stages
                  WHERE stage <> 'load' ORDER BY started, stage";
    assert_eq!(
        rows(store, stages)
            .await
            .into_iter()
            .filter(|row| row[0] == text(&second))
            .collect::<Vec<_>>(),
        [vec![text(&second), text("fit"), text("cached"), text(&first), Cell::Null, Cell::Null]]
    );
    let failed = "SELECT a.run, a.stage, a.attempt, a.failure_cause, a.failure, a.cpu_seconds,
                         a.max_memory_bytes, s.attempts
                  FROM attempts a JOIN stages s ON s.run = a.run AND s.stage = a.stage
                  WHERE a.state = 'failed'";
    assert_eq!(
        rows(store, failed).await,
        [vec![
            text(&first),
            text("late"),
            Cell::Integer(1),
            text("exit"),
            text("the program returned 3"),
            Cell::Real(0.0009),
            Cell::Integer(1 << 20),
            Cell::Integer(1)
        ]]
    );
    let metrics = "SELECT run, stage, attempt, key, step, value FROM metrics ORDER BY key, step";
    let point = |key: &str, step: i64, value: Cell| {
        vec![text(&first), text("fit"), Cell::Integer(1), text(key), Cell::Integer(step), value]
    };
    assert_eq!(
        rows(store, metrics).await,
        [
            point("loss", 1, Cell::Real(0.5)),
            point("loss", 2, Cell::Null),
            point("loss", 3, Cell::Real(0.25)),
            point("none", 0, Cell::Null),
            point("top", 0, Cell::Real(f64::INFINITY)),
        ]
    );
    let latest = "SELECT run, key, value, step, points, min, max FROM latest_metrics
                  WHERE key = 'loss' ORDER BY run";
    let mut runs = [&first, &second];
    runs.sort();
    assert_eq!(
        rows(store, latest).await,
        runs.map(|run| vec![
            text(run),
            text("loss"),
            Cell::Real(0.25),
            Cell::Integer(3),
            Cell::Integer(3),
            Cell::Real(0.25),
            Cell::Real(0.5)
        ])
    );
    let artifacts = "SELECT run, stage, output, type, digest, bytes FROM artifacts
                     WHERE output = 'data' AND stage = 'fit' ORDER BY run";
    assert_eq!(
        rows(store, artifacts).await,
        runs.map(|run| vec![
            text(run),
            text("fit"),
            text("data"),
            text("dataset"),
            hex("fit"),
            Cell::Integer(3)
        ])
    );
    let lineage = format!(
        "SELECT stage, port, item, from_stage, from_output, digest, output, output_digest
         FROM lineage WHERE run = '{first}' AND (output = 'data' OR output IS NULL) ORDER BY stage"
    );
    assert_eq!(
        rows(store, &lineage).await,
        [
            vec![
                text("fit"),
                text("data"),
                Cell::Null,
                text("load"),
                text("data"),
                hex("load"),
                text("data"),
                hex("fit")
            ],
            vec![
                text("load"),
                Cell::Null,
                Cell::Null,
                Cell::Null,
                Cell::Null,
                Cell::Null,
                text("data"),
                hex("load")
            ],
        ]
    );
}

pub async fn times_are_texts_that_sort(store: &dyn Store) {
    let (first, _) = two_runs(store).await;
    let times = rows(store, "SELECT started FROM runs ORDER BY started").await;
    let view = VIEWS.iter().find(|view| view.name == "runs").expect("it is there");
    let place = view.columns.iter().position(|column| column.name == "started").expect("one");
    let raw = exported(store, view, Some(vec![first.parse().expect("an id")])).await;
    assert_eq!(raw.len(), 1);
    let (Cell::Text(time), Cell::Integer(micros)) = (&times[0][0], &raw[0][place]) else {
        panic!("{times:?} {raw:?}");
    };
    let whole = wick_core::Timestamp(*micros).to_string();
    assert_eq!(*time, format!("{whole}.{:06}", micros % 1_000_000));
    assert!(times[0][0] != times[1][0]);
    let since = "SELECT count(*) FROM runs WHERE started > '2023-11-14'";
    assert_eq!(rows(store, since).await, [[Cell::Integer(2)]]);
}

pub async fn questions_are_sql_in_full(store: &dyn Store) {
    two_runs(store).await;
    #[rustfmt::skip]
    let cases = [
        ("SELECT 1 -- done", Cell::Integer(1)),
        ("VALUES (2)", Cell::Integer(2)),
        ("SELECT 3;;", Cell::Integer(3)),
        ("WITH a AS (SELECT count(*) AS n FROM runs) SELECT n FROM a", Cell::Integer(2)),
        ("WITH RECURSIVE a (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a WHERE n < 9)
          SELECT max(n) + (SELECT count(*) FROM runs) FROM a", Cell::Integer(11)),
        ("SELECT avg(number) FROM params WHERE name = 'epochs'", Cell::Real(10.0)),
        ("SELECT count(*) FROM runs a JOIN runs b ON a.run <> b.run", Cell::Integer(2)),
        ("SELECT ';' FROM runs LIMIT 1", text(";")),
        ("SELECT NULL", Cell::Null),
        ("SELECT 0.5", Cell::Real(0.5)),
    ];
    for (sql, expect) in cases {
        assert_eq!(rows(store, sql).await, [[expect]], "{sql}");
    }
    let answer = ask(&store.location(), &Question::query("SELECT 1 AS a, 2 AS a")).await;
    assert_eq!(answer.expect("an answer").columns(), ["a", "a"]);
}

pub async fn nothing_but_a_query_is_executed(store: &dyn Store) {
    let (first, _) = two_runs(store).await;
    let runs = || async { rows(store, "SELECT run, state, note FROM runs ORDER BY run").await };
    let before = runs().await;
    for sql in [
        "DELETE FROM runs",
        "UPDATE runs SET note = 'x'",
        "INSERT INTO tags VALUES (1, 'a', 'b')",
        "DROP TABLE runs",
        "CREATE TABLE t (a INTEGER)",
        "CREATE TEMP TABLE t (a INTEGER)",
        "PRAGMA user_version = 7",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'copy.db'",
        "COPY runs TO PROGRAM 'cat'",
        "DO $$ BEGIN END $$",
        "SET statement_timeout = 0",
        "BEGIN",
        "COMMIT",
        "EXPLAIN DELETE FROM runs",
        "SELECT 1; DELETE FROM runs",
        "SELECT 1; -- x\n DELETE FROM runs",
        "/* SELECT */ DELETE FROM runs",
        "WITH a AS (SELECT 1) DELETE FROM runs",
        "WITH a AS (SELECT 1) INSERT INTO tags SELECT 1, 'a', 'b'",
        "WITH a AS (DELETE FROM main.runs RETURNING *) SELECT * FROM a",
        "SELECT * INTO copied FROM runs",
        "SELECT 1) AS x; DELETE FROM runs; --",
        "SELECT 1 FROM runs) DELETE FROM runs --",
        "",
        "   -- nothing\n",
    ] {
        error(store, sql).await;
    }
    assert_eq!(runs().await, before);
    let id: wick_core::RunId = first.parse().expect("an id");
    assert!(store.run(&id).await.expect("an answer").is_some());
}

pub async fn an_endless_question_ends(store: &dyn Store) {
    let endless = "WITH RECURSIVE a (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a)
                   SELECT count(*) FROM a";
    let question = Question::query(endless).timeout(Duration::from_millis(100));
    let ended = match ask(&store.location(), &question).await {
        Ok(answer) => rows_of(answer).await.map(|_| ()),
        Err(error) => Err(error),
    };
    match ended {
        Err(StoreError::Sql(error)) => {
            assert_eq!(error.message, "there was no answer within 100ms");
        }
        other => panic!("{other:?}"),
    }
    // The rows of one that never ends come, and who has enough just goes.
    let endless = "WITH RECURSIVE a (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM a)
                   SELECT n FROM a";
    let mut answer = ask(&store.location(), &Question::query(endless).timeout(TIME).max_rows(1000))
        .await
        .expect("an answer");
    let mut count = 0;
    while let Some(rows) = answer.next().await.expect("rows") {
        count += rows.len();
    }
    assert!(count == 1000 && answer.is_cut());
    let exact = "SELECT run FROM runs";
    let all = ask(&store.location(), &Question::query(exact).max_rows(0)).await.expect("an answer");
    assert!(rows_of(all).await.expect("none").is_empty());
}

pub async fn long_cells_are_cut(store: &dyn Store) {
    let long = "SELECT replace('xxxxxxxxxxxxxxxx', 'x', replace('yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy',
                   'y', replace('zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz', 'z',
                   'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl'))), 7";
    let mut answer = ask(&store.location(), &Question::query(long)).await.expect("an answer");
    let rows = answer.next().await.expect("rows").expect("one");
    let Cell::Text(cell) = &rows[0][0] else { panic!("{rows:?}") };
    assert!(cell.len() <= MAX_CELL + 3 && cell.ends_with('…'), "{}", cell.len());
    assert_eq!((answer.cut_cells(), &rows[0][1]), (1, &Cell::Integer(7)));
}

pub async fn errors_have_a_place_and_a_mend(store: &dyn Store) {
    let sql = "SELECT é, 1 FROM\nrunz";
    let wrong = error(store, sql).await;
    assert!(wrong.message.contains("runz"), "{wrong:?}");
    let help = wrong.help.expect("help");
    assert!(help.contains("runs, stages, attempts, params, metrics"), "{help}");
    let sql = "SELECT run, 'é', statte FROM runs";
    let wrong = error(store, sql).await;
    assert!(wrong.message.contains("statte"), "{wrong:?}");
    assert_eq!(wrong.place, sql.find("statte"));
    let sql = "SELECT run FROM runs WHERE WHERE";
    assert_eq!(error(store, sql).await.place, sql.rfind("WHERE"));
    let sql = "WITH x AS (SELECT 1) SELECT statte FROM x JOIN runs ON true";
    assert_eq!(error(store, sql).await.place, sql.find("statte"));
    let sql = "WITH runs AS (SELECT 1 AS a FROM runs) SELECT a FROM runs";
    assert!(error(store, sql).await.help.expect("help").contains("rename"));
}

pub async fn a_question_can_be_explained(store: &dyn Store) {
    two_runs(store).await;
    let question = Question::query("SELECT run FROM runs WHERE run = 'a';").explained();
    let answer = ask(&store.location(), &question).await.expect("an answer");
    assert_eq!(answer.columns(), ["plan"]);
    let rows = rows_of(answer).await.expect("a plan");
    assert!(format!("{rows:?}").contains("runs"), "{rows:?}");
    let wrong = Question::query("DELETE FROM runs").explained();
    assert!(ask(&store.location(), &wrong).await.is_err());
}

pub async fn marks_are_seen_and_deleted_runs_are_not(store: &dyn Store) {
    let (first, second) = two_runs(store).await;
    let id = |text: &str| -> wick_core::RunId { text.parse().expect("an id") };
    let marks = [
        Mark::Name(Some("best".to_owned())),
        Mark::Star(true),
        Mark::Tag { key: "team".to_owned(), value: "vision".to_owned() },
    ];
    store.mark_runs(&[id(&first)], &marks, now()).await.expect("marked");
    let sql = "SELECT r.name, r.starred IS NOT NULL, t.key, t.value
               FROM runs r JOIN tags t ON t.run = r.run";
    let found = rows(store, sql).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0][0], &found[0][2..]),
        (&text("best"), &[text("team"), text("vision")][..])
    );
    store.mark_runs(&[id(&first)], &[Mark::Delete(true)], now()).await.expect("marked");
    for view in VIEWS.iter().filter(|view| view.columns[0].name == "run") {
        let sql = format!("SELECT count(*) FROM {} WHERE run = '{first}'", view.name);
        assert_eq!(rows(store, &sql).await, [[Cell::Integer(0)]], "{}", view.name);
        let only = exported(store, view, Some(vec![id(&first)])).await;
        assert!(only.is_empty(), "{}", view.name);
    }
    assert_eq!(rows(store, "SELECT run FROM runs").await, [[text(&second)]]);
}
