use serde_json::json;
use wick_stage::{Column, ColumnType, DatasetFacts};

use crate::harness::{Made, check, facts, issues, refused, run, show};

fn flights() -> Made {
    let with = json!({ "path": "data/nycflights13_flights.parquet", "limit": 20_000 });
    run("load", with, &[]).expect("loaded")
}

#[test]
fn a_query_runs_and_its_columns_are_known_before() {
    let data = flights();
    let with = json!({ "query": "
        SELECT carrier, count(*) AS flights, avg(arr_delay) AS late
        FROM flights WHERE arr_delay IS NOT NULL GROUP BY carrier" });
    let known = data.dataset("data").info().facts();
    let checked = check("sql", with.clone(), &[("flights", known)]);
    let columns = facts(&checked, "data").columns;
    assert_eq!(issues(checked), Vec::<String>::new());
    let run = || run("sql", with.clone(), &[("flights", data.path("data"))]).expect("ran");
    let made = run();
    assert_eq!(columns.as_ref(), Some(&made.dataset("data").info().columns));
    // No ORDER BY: still the same bytes every time.
    let bytes = |made: &Made| std::fs::read(made.path("data").join("data.parquet")).expect("read");
    assert_eq!(bytes(&made), bytes(&run()));
}

#[test]
fn the_queries_of_the_ready_pipelines_work() {
    let titanic = run("load", json!({ "path": "data/titanic.csv" }), &[]).expect("loaded");
    let with = json!({ "query": "
        SELECT class, sex, age, survived,
               CASE WHEN name LIKE '%, Master%' THEN 'master'
                    WHEN name LIKE '%, Miss%' THEN 'miss'
                    WHEN name LIKE '%, Mrs%' THEN 'mrs'
                    WHEN name LIKE '%, Mr%' THEN 'mr'
                    ELSE 'other' END AS title
        FROM passengers" });
    let known = titanic.dataset("data").info().facts();
    let checked = check("sql", with.clone(), &[("passengers", known)]);
    let columns = facts(&checked, "data").columns;
    assert_eq!(issues(checked), Vec::<String>::new());
    let made = run("sql", with, &[("passengers", titanic.path("data"))]).expect("ran");
    let dataset = made.dataset("data");
    assert_eq!(columns.as_ref(), Some(&dataset.info().columns));
    let titles = wick_data::labels(&dataset.frame().expect("read"), "title", None).expect("labels");
    assert_eq!(titles.classes, ["master", "miss", "mr", "mrs", "other"]);
}

#[test]
fn mistakes_are_found_before_running() {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
    let known = DatasetFacts {
        columns: Some(vec![
            column("carrier", ColumnType::Text),
            column("arr_delay", ColumnType::Float),
            column("time_hour", ColumnType::Datetime),
        ]),
        ..DatasetFacts::default()
    };
    let found = |query: &str| {
        issues(check("sql", json!({ "query": query }), &[("flights", known.clone())]))
    };
    assert_eq!(
        found("SELECT carier FROM flights"),
        ["with.query: there is no column `carier` [did you mean `carrier`?]"]
    );
    assert_eq!(
        found("SELECT carrier FROM flights WHERE arr_dely > 3"),
        ["with.query: there is no column `arr_dely` [did you mean `arr_delay`?]"]
    );
    assert_eq!(
        found("SELECT avg(f.arr_dely) FROM flights f GROUP BY f.carrier"),
        ["with.query: there is no column `arr_dely` [did you mean `arr_delay`?]"]
    );
    assert_eq!(
        found("SELECT carrier FROM flight"),
        ["with.query: there is no input `flight` [did you mean `flights`?]"]
    );
    assert!(found("SELECT carrier FROM flights WHERE")[0].contains("the query cannot work"));
    assert!(found("SELECT f.carrier FROM flights g")[0].contains("'f'"));
    assert_eq!(
        found("WITH x AS (SELECT carrier FROM flights) SELECT * FROM x"),
        Vec::<String>::new()
    );
    let refused = |query: &str| {
        refused("sql", json!({ "query": query })).into_iter().map(show).collect::<Vec<_>>()
    };
    assert!(refused("SELECT * FROM read_csv('/etc/passwd')")[0].contains("cannot read files"));
    assert!(refused("DELETE FROM flights")[0].contains("this begins with `delete`"));
    assert!(refused("  ")[0].contains("the query is empty"));
}
