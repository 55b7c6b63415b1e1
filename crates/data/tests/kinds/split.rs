use serde_json::{Value, json};
use wick_data::{labels, numbers};

use crate::harness::{Made, check, facts, issues, refused, run, show};

fn load(path: &str) -> Made {
    run("load", json!({ "path": path }), &[]).expect("loaded")
}

fn split(data: &Made, with: Value) -> Made {
    run("split", with, &[("data", data.path("data"))]).expect("split")
}

// What scikit-learn's `train_test_split(test_size=0.2, stratify=survived)` gives: 1050 and 263
// rows, 360 and 90 of the 450 survivors.
#[test]
fn stratified_parts_keep_the_shares_of_classes() {
    let data = load("data/titanic.csv");
    let with = json!({ "parts": {"train": 0.8, "test": 0.2}, "stratify": "survived", "seed": 7 });
    let parts = split(&data, with);
    for (part, rows, survivors) in [("train", 1050, 360), ("test", 263, 90)] {
        let frame = parts.dataset(part).frame().expect("read");
        let labels = labels(&frame, "survived", None).expect("labels");
        let alive = labels.indices.iter().filter(|label| **label == 1).count();
        assert!(frame.height().abs_diff(rows) <= 1, "{part}: {}", frame.height());
        assert!(alive.abs_diff(survivors) <= 1, "{part}: {alive}");
    }
}

#[test]
fn equal_seeds_give_equal_bytes() {
    let data = load("data/titanic.csv");
    let with = |seed: u64| json!({ "parts": {"a": 0.5, "b": 0.5}, "seed": seed });
    let bytes = |made: &Made| std::fs::read(made.path("a").join("data.parquet")).expect("read");
    let first = bytes(&split(&data, with(1)));
    assert_eq!(first, bytes(&split(&data, with(1))));
    assert_ne!(first, bytes(&split(&data, with(2))));
}

#[test]
fn by_time_no_part_knows_what_came_later() {
    let data = run(
        "load",
        json!({ "path": "data/nycflights13_flights.parquet", "columns": ["time_hour", "day", "month"] }),
        &[],
    )
    .expect("loaded");
    let with = json!({ "parts": {"train": 0.8, "test": 0.2}, "by_time": "time_hour" });
    let parts = split(&data, with);
    let months = |part: &str| {
        let frame = parts.dataset(part).frame().expect("read");
        numbers(&frame, "month").expect("months")
    };
    let (train, test) = (months("train"), months("test"));
    assert_eq!(train.len() + test.len(), 336_776);
    assert!(train.is_sorted() && test.is_sorted());
    assert!(train.last() <= test.first());
}

#[test]
fn images_keep_their_shape() {
    let with = json!({ "format": "idx", "limit": 100, "files": {
        "image": "data/mnist/t10k-images-idx3-ubyte.gz",
        "label": "data/mnist/t10k-labels-idx1-ubyte.gz",
    } });
    let data = run("load", with, &[]).expect("loaded");
    let parts = split(&data, json!({ "parts": {"a": 60, "b": 40} }));
    assert_eq!(parts.dataset("a").info().rows, 60);
    assert_eq!(parts.dataset("b").info().columns, data.dataset("data").info().columns);
}

#[test]
fn mistakes_are_found_before_running() {
    let data = facts(&check("load", json!({ "path": "data/titanic.csv" }), &[]), "data");
    let found = |with: Value| issues(check("split", with, &[("data", data.clone())]));
    assert_eq!(
        found(json!({ "parts": {"a": 0.5}, "stratify": "survivd" })),
        ["with.stratify: there is no column `survivd` [did you mean `survived`?]"]
    );
    assert_eq!(
        found(json!({ "parts": {"a": 0.5}, "by_time": "tme" })),
        [
            "with.by_time: there is no column `tme` [the columns are `name`, `class`, `age`, `sex`, `survived`]"
        ]
    );
    assert!(found(json!({ "parts": {"a": 1000, "b": 1000} }))[0].contains("want 2000 rows"));
    let known = check("split", json!({ "parts": {"a": 0.9, "b": 0.1} }), &[("data", data.clone())]);
    assert_eq!(facts(&known, "b").rows, Some(131));
    let refused = |with| refused("split", with).into_iter().map(show).collect::<Vec<_>>();
    assert_eq!(
        refused(json!({ "parts": {"train": 0.8, "test": 0.4} })),
        ["with.parts: the parts add up to 1.2 [let them add up to at most 1]"]
    );
    assert!(refused(json!({ "parts": {"a b": 0.8} }))[0].contains("cannot name a part"));
    assert!(refused(json!({ "parts": {"a": 0.8, "b": 100.5} }))[0].contains("mix shares"));
    assert!(
        refused(json!({ "parts": {"a": 0.8}, "group": "x", "stratify": "y" }))[0]
            .contains("`stratify` and `group` cannot go together")
    );
}
