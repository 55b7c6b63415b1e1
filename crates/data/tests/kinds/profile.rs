use serde_json::{Value, json};

use crate::harness::{Made, check, facts, issues, run};

fn titanic() -> Made {
    run("load", json!({ "path": "data/titanic.csv" }), &[]).expect("loaded")
}

fn report(with: Value) -> (Made, Value) {
    let made = run("profile", with, &[("data", titanic().path("data"))]).expect("reported");
    let report = std::fs::read(made.path("report").join("report.json")).expect("read");
    (made, serde_json::from_slice(&report).expect("JSON"))
}

#[test]
fn a_report_tells_how_values_are_distributed() {
    let (made, report) = report(json!({}));
    let metrics: Vec<(&str, f64)> =
        made.metrics.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    assert_eq!(metrics, [("rows", 1313.0), ("columns", 5.0), ("missing", 557.0)]);
    let columns = report["tables"][0]["rows"].as_array().expect("rows");
    let age = columns.iter().find(|row| row[0] == "age").expect("the column");
    // What `pandas.read_csv("titanic.csv")["age"].describe()` says.
    assert_eq!((&age[2], &age[3]), (&json!(557), &json!(75)));
    let near = |place: usize, expect: f64| {
        let found = age[place].as_f64().expect("a number");
        assert!((found - expect).abs() < 1e-9, "{found} is not {expect}");
    };
    near(4, 30.397989417989418);
    near(5, 14.259048710359018);
    near(6, 0.17);
    near(7, 6.0);
    near(8, 21.0);
    near(9, 28.0);
    near(10, 39.0);
    near(11, 57.0);
    near(12, 71.0);
    let top = report["tables"][1]["rows"].as_array().expect("rows");
    assert!(top.contains(&json!(["sex", "male", 851])), "{top:?}");
    let plots = report["plots"].as_array().expect("plots");
    assert!(plots.len() >= 4);
    for plot in plots {
        let file = made.path("report").join(plot["file"].as_str().expect("a name"));
        assert!(std::fs::read_to_string(file).expect("a drawing").starts_with("<svg"));
    }
}

#[test]
fn some_columns_are_asked_for_and_must_be_there() {
    let (_, report) = report(json!({"columns": ["sex", "age"]}));
    let columns = report["tables"][0]["rows"].as_array().expect("rows");
    let names: Vec<&Value> = columns.iter().map(|row| &row[0]).collect();
    assert_eq!(names, ["sex", "age"]);
    let data = facts(&check("load", json!({ "path": "data/titanic.csv" }), &[]), "data");
    let wrong = issues(check("profile", json!({"columns": ["aeg"]}), &[("data", data)]));
    assert_eq!(wrong, ["with.columns.[0]: there is no column `aeg` [did you mean `age`?]"]);
}
