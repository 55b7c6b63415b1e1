use serde_json::json;
use wick_data::{byte_blocks, labels};
use wick_stage::ColumnType;

use crate::harness::{check, facts, issues, pipelines, refused, run, run_at, show};

fn mnist(set: &str) -> serde_json::Value {
    json!({ "format": "idx", "files": {
        "image": format!("data/mnist/{set}-images-idx3-ubyte.gz"),
        "label": format!("data/mnist/{set}-labels-idx1-ubyte.gz"),
    } })
}

#[test]
fn the_whole_of_mnist() {
    for (set, rows, zeros, checksum) in
        [("train", 60_000, 5_923, 1_567_298_545), ("t10k", 10_000, 980, 264_923_200)]
    {
        let checked = check("load", mnist(set), &[]);
        assert_eq!(checked.sources.len(), 2);
        assert_eq!(checked.source_fields.len(), 2);
        let known = facts(&checked, "data");
        let made = run("load", mnist(set), &[]).expect("loaded");
        let dataset = made.dataset("data");
        assert_eq!(known.columns.as_ref(), Some(&dataset.info().columns));
        assert_eq!((known.rows, dataset.info().rows), (Some(rows), rows));
        assert_eq!(
            dataset.info().columns[0].column_type,
            ColumnType::Bytes { shape: vec![28, 28, 1] }
        );
        assert_eq!(made.meta["data"], json!({ "rows": rows, "columns": 2 }));
        let frame = dataset.frame().expect("read");
        let images = byte_blocks(&frame, "image").expect("images");
        assert_eq!(images.values.len(), rows as usize * 784);
        assert_eq!(images.values.iter().map(|pixel| u64::from(*pixel)).sum::<u64>(), checksum);
        let labels = labels(&frame, "label", None).expect("labels");
        assert_eq!(labels.classes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(labels.indices.iter().filter(|label| **label == 0).count(), zeros);
    }
}

#[test]
fn titanic_lacks_557_ages() {
    let with = json!({ "path": "data/titanic.csv" });
    let known = facts(&check("load", with.clone(), &[]), "data");
    let made = run("load", with, &[]).expect("loaded");
    let dataset = made.dataset("data");
    assert_eq!(known.columns.as_ref(), Some(&dataset.info().columns));
    assert_eq!(known.rows, Some(1313));
    let frame = dataset.frame().expect("read");
    assert_eq!(frame.column("age").expect("ages").null_count(), 557);
}

#[test]
fn flights_are_parquet() {
    let with = json!({ "path": "data/nycflights13_flights.parquet", "limit": 1000,
        "columns": {"late": "arr_delay", "carrier": "carrier"} });
    let known = facts(&check("load", with.clone(), &[]), "data");
    assert_eq!(known.rows, Some(1000));
    let dataset = run("load", with, &[]).expect("loaded").dataset("data");
    assert_eq!(known.columns.as_ref(), Some(&dataset.info().columns));
    assert_eq!(dataset.info().columns[0].name, "late");
}

#[test]
fn files_of_equal_columns_are_put_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect(name);
    write("a.csv", "x,y\n1,a\n2,b\n");
    write("b.csv", "x,y\n1.5,c\n");
    let made = run_at(folder.path(), "load", json!({ "path": "*.csv" }), &[]).expect("loaded");
    let frame = made.dataset("data").frame().expect("read");
    assert_eq!(wick_data::numbers(&frame, "x").expect("numbers"), [1.0, 2.0, 1.5]);
    write("c.csv", "x,z\n1,a\n");
    let failure = run_at(folder.path(), "load", json!({ "path": "*.csv" }), &[]).err().expect("no");
    assert!(failure.message.ends_with("only it has the column `z`"), "{}", failure.message);
    let with = json!({ "path": ["a.csv", "d.csv"] });
    let failure = run_at(folder.path(), "load", with, &[]).err().expect("refused");
    assert_eq!(failure.help.as_deref(), Some("did you mean `a.csv`?"));
}

#[test]
fn mistakes_are_found_before_running() {
    let found = |with| issues(check("load", with, &[]));
    let base = pipelines();
    let base = base.display();
    assert_eq!(
        found(json!({ "path": "data/titanik.csv" })),
        [format!(
            "with.path: {base}/data/titanik.csv: there is no such file [did you mean `titanic.csv`?]"
        )]
    );
    assert_eq!(
        found(json!({ "path": "data/iris.csv", "columns": ["targett"] })),
        ["with.columns.targett: there is no column `targett` [did you mean `target`?]"]
    );
    assert_eq!(
        found(json!({ "path": "data/titanic.csv", "types": {"agee": "float"} })),
        [format!(
            "with.types: `types` names `agee`, and {base}/data/titanic.csv has no such column \
             [did you mean `age`?]"
        )]
    );
    let mixed = json!({ "format": "idx", "files": {
        "image": "data/mnist/train-images-idx3-ubyte.gz",
        "label": "data/mnist/t10k-labels-idx1-ubyte.gz",
    } });
    assert!(found(mixed)[0].contains("has 10000 rows, and"));
    assert!(found(json!({ "path": "data" }))[0].contains("the extension does not tell the format"));
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let refused = |with| refused("load", with).into_iter().map(show).collect::<Vec<_>>();
    assert_eq!(refused(json!({})), ["with.path: there is nothing to load [write `path: FILE`]"]);
    assert_eq!(
        refused(json!({ "format": "idx", "path": "a" })),
        [
            "with.format: `format: idx` wants the file of each column [write `files: {image: FILE, label: FILE}`]",
            "with.path: `format: idx` has no `path` [write `files: {COLUMN: FILE}`]",
        ]
    );
    assert!(
        refused(json!({ "path": "a.csv", "delimiter": "ab" }))[0].contains("one ASCII character")
    );
}
