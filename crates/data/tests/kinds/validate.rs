use serde_json::{Value, json};
use wick_core::FailureCause;

use crate::harness::{Made, check, facts, issues, refused, run, show};

fn titanic() -> Made {
    run("load", json!({ "path": "data/titanic.csv" }), &[]).expect("loaded")
}

fn validate(columns: Value) -> Result<Made, wick_core::Failure> {
    let with = json!({ "rows": {"min": 1000}, "columns": columns });
    run("validate", with, &[("data", titanic().path("data"))])
}

#[test]
fn what_keeps_the_rules_passes_with_a_report() {
    let made = validate(json!({
        "age": {"type": "number", "min": 0, "max": 110, "max_missing": 0.5},
        "sex": {"allowed": ["female", "male"], "nullable": false},
        "survived": {"allowed": [0, 1]},
    }))
    .expect("passed");
    let given = titanic();
    let frame = |made: &Made| made.dataset("data").frame().expect("read");
    assert!(frame(&made).equals_missing(&frame(&given)));
    assert_eq!(made.metrics[0], ("rows".to_owned(), 1313.0));
    assert_eq!(made.metrics[3], ("missing".to_owned(), 557.0));
    let report = std::fs::read(made.path("report").join("report.json")).expect("read");
    let report: Value = serde_json::from_slice(&report).expect("JSON");
    assert_eq!(report["version"], 1);
    assert_eq!(report["tables"][1]["rows"][2][2], 557);
}

#[test]
fn every_broken_rule_is_named() {
    let failure = validate(json!({
        "age": {"nullable": false, "min": 1},
        "class": {"allowed": ["1st", "2nd"]},
    }))
    .err()
    .expect("refused");
    assert_eq!(failure.cause, FailureCause::Data);
    assert!(failure.message.starts_with("the data breaks 3 of 4 rules:\n"), "{}", failure.message);
    assert!(failure.message.contains("`age`: no missing values, broken in 557 rows (row "));
    assert!(failure.message.contains("`class`: one of 1st, 2nd, broken in "));
}

#[test]
fn mistakes_are_found_before_running() {
    let data = facts(&check("load", json!({ "path": "data/titanic.csv" }), &[]), "data");
    let found = |columns: Value| {
        issues(check("validate", json!({ "columns": columns }), &[("data", data.clone())]))
    };
    assert_eq!(
        found(json!({ "agee": {}, "sex": {"type": "integer"}, "name": {"min": 3} })),
        [
            "with.columns.agee: there is no column `agee` [did you mean `age`?]",
            "with.columns.sex.type: column `sex` holds text, not integer [load it so: `types: {sex: integer}`]",
            "with.columns.name.min: column `name` holds text, which has no order [leave out `min`]",
        ]
    );
    let refused =
        refused("validate", json!({ "columns": {"name": {"pattern": "("}} })).into_iter().map(show);
    assert!(
        refused.collect::<Vec<_>>()[0].contains("this is no regular expression: unclosed group")
    );
}
