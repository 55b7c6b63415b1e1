use serde_json::{Value, json};
use wick_data::{Dataset, PreprocessConfig, Transform, matrix, numbers};

use crate::harness::{Made, check, facts, issues, refused, run, show};

fn titanic() -> Made {
    let data = run("load", json!({ "path": "data/titanic.csv" }), &[]).expect("loaded");
    let with = json!({ "parts": {"train": 0.8, "test": 0.2}, "stratify": "survived", "seed": 7 });
    run("split", with, &[("data", data.path("data"))]).expect("split")
}

fn preprocess(parts: &Made, with: Value) -> Result<Made, wick_core::Failure> {
    run("preprocess", with, &[("train", parts.path("train")), ("test", parts.path("test"))])
}

fn ages(dataset: &Dataset) -> Vec<Option<f64>> {
    let frame = dataset.frame().expect("read");
    let ages = frame.column("age").expect("ages").as_materialized_series().clone();
    ages.f64().expect("floats").iter().collect()
}

#[test]
fn everything_is_learned_from_the_training_part_only() {
    let parts = titanic();
    let with = json!({
        "target": "survived", "drop": ["name"],
        "columns": {
            "age": {"impute": "median", "indicator": true, "scale": "zscore"},
            "sex": {"encode": "onehot"}, "class": {"encode": "onehot"},
        },
    });
    let made = preprocess(&parts, with.clone()).expect("made");
    // The same by hand: median, then mean and deviation of the filled training ages.
    let train = ages(&parts.dataset("train"));
    let mut known: Vec<f64> = train.iter().flatten().copied().collect();
    known.sort_by(f64::total_cmp);
    let middle = known.len() / 2;
    let median = if known.len() % 2 == 1 {
        known[middle]
    } else {
        (known[middle - 1] + known[middle]) / 2.0
    };
    let filled: Vec<f64> = train.iter().map(|age| age.unwrap_or(median)).collect();
    let mean = filled.iter().sum::<f64>() / filled.len() as f64;
    let variance = filled.iter().map(|age| (age - mean).powi(2)).sum::<f64>() / filled.len() as f64;
    for part in ["train", "test"] {
        let frame = made.dataset(part).frame().expect("read");
        let got = numbers(&frame, "age").expect("ages");
        let missing = numbers(&frame, "age_missing").expect("indicator");
        for ((raw, got), missing) in ages(&parts.dataset(part)).iter().zip(got).zip(missing) {
            let expect = (raw.unwrap_or(median) - mean) / variance.sqrt();
            assert!((got - expect).abs() < 1e-6, "{part}: {got} is not {expect}");
            assert_eq!(missing, f64::from(u8::from(raw.is_none())));
        }
    }
    let dataset = made.dataset("test");
    let names: Vec<&str> = dataset.info().columns.iter().map(|c| c.name.as_str()).collect();
    let transform = dataset.transform().expect("read").expect("a transform");
    assert_eq!(names[0], transform.produced("class")[0]);
    assert!(names.contains(&"sex_female") && names.contains(&"survived"));
    assert_eq!(transform.produced("sex"), ["sex_female", "sex_male"]);
    assert_eq!(transform.raw_of("sex_male"), Some("sex"));
    let raw: Vec<&str> = transform.raw_columns().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(raw, ["class", "age", "sex", "survived"]);
    let whole = Transform::read(&made.path("transform")).expect("read");
    assert_eq!(whole, transform);
    // Serving: the target is not there, a category is new, the age is missing.
    let frame = wick_data::frame_from_json(
        &[serde_json::from_value(json!({"sex": "male", "class": "9th"})).expect("a row")],
        &transform.raw_columns()[..3],
    )
    .expect("a table");
    let features = transform.apply(&frame).expect("applied");
    assert!(features.column("survived").is_err());
    let row: Vec<String> = [transform.produced("class"), transform.produced("sex")].concat();
    let values = matrix(&features, &row).expect("numbers").values;
    assert_eq!(values.iter().sum::<f32>(), 1.0);
    assert_eq!(values.last(), Some(&1.0));
}

#[test]
fn the_test_part_does_not_change_what_is_learned() {
    let parts = titanic();
    let other =
        run("load", json!({ "path": "data/titanic.csv", "limit": 50 }), &[]).expect("loaded");
    let with = json!({ "columns": {
        "age": {"impute": "mean", "scale": ["robust", "minmax"]}, "name": {"encode": "hash", "buckets": 4},
        "sex": {"encode": "frequency"}, "class": {"encode": "target"}, }, "target": "survived" });
    let one = preprocess(&parts, with.clone()).expect("made");
    let inputs = [("train", parts.path("train")), ("test", other.path("data"))];
    let two = run("preprocess", with, &inputs).expect("made");
    let read = |made: &Made, file: &str| std::fs::read(made.path(file)).expect("read");
    assert_eq!(read(&one, "transform"), read(&two, "transform"));
    assert_eq!(read(&one, "train/data.parquet"), read(&two, "train/data.parquet"));
}

#[test]
fn rows_can_be_left_out_in_training_and_are_refused_later() {
    let parts = titanic();
    let made =
        preprocess(&parts, json!({ "columns": {"age": {"impute": "drop_row"}} })).expect("made");
    let known = ages(&parts.dataset("train")).iter().flatten().count();
    let dataset = made.dataset("train");
    assert_eq!(dataset.info().rows as usize, known);
    let transform = dataset.transform().expect("read").expect("a transform");
    let error = transform.apply(&parts.dataset("train").frame().expect("read")).expect_err("no");
    assert!(error.to_string().contains("training left such rows out"), "{error}");
}

#[test]
fn a_transform_after_a_transform_is_one() {
    let parts = titanic();
    let first = preprocess(
        &parts,
        json!({ "drop": ["name"], "target": "survived", "columns": {
            "age": {"impute": "median"}, "sex": {"encode": "onehot"}, "class": {"encode": "ordinal"} } }),
    )
    .expect("made");
    let second = preprocess(
        &first,
        json!({ "drop": ["sex_male", "class"], "keep": ["survived"], "columns": {"age": {"scale": "zscore"}} }),
    )
    .expect("made");
    let dataset = second.dataset("test");
    let whole = dataset.transform().expect("read").expect("a transform");
    assert_eq!(whole.steps().len(), 2);
    assert_eq!(whole.produced("sex"), ["sex_female"]);
    assert_eq!(whole.produced("class"), [""; 0]);
    let raw: Vec<&str> = whole.raw_columns().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(raw, ["age", "sex", "survived"]);
    let again = whole.apply(&parts.dataset("test").frame().expect("read")).expect("applied");
    assert!(again.equals_missing(&dataset.frame().expect("read")));
}

#[test]
fn fitting_flights_is_quick_and_the_same_every_time() {
    let with = json!({ "path": "data/nycflights13_flights.parquet", "columns":
        ["month", "hour", "distance", "dep_delay", "carrier", "origin", "dest", "time_hour", "arr_delay"] });
    let data = run("load", with, &[]).expect("loaded");
    let frame = data.dataset("data").frame().expect("read");
    let config: PreprocessConfig = serde_json::from_value(json!({
        "keep": ["arr_delay"], "numeric": {"impute": "median", "scale": "zscore"},
        "columns": {
            "carrier": {"encode": "onehot"}, "origin": {"encode": "onehot"},
            "dest": {"encode": "onehot", "most_common": 60}, "time_hour": {"cycles": ["hour", "weekday"]},
        },
    }))
    .expect("a configuration");
    let start = std::time::Instant::now();
    let transform = Transform::fit(&config, &frame).expect("fitted");
    let features = transform.apply(&frame).expect("applied");
    let took = start.elapsed();
    assert_eq!(features.height(), 336_776);
    assert_eq!(transform.produced("dest").len(), 61);
    assert_eq!(transform.produced("origin").len(), 3);
    assert!(features.equals_missing(&transform.apply(&frame).expect("applied")));
    // Far above what it takes, even without optimisation on a busy machine: it guards against
    // loops over single values.
    assert!(took.as_secs() < 20, "{took:?}");
}

#[test]
fn mistakes_are_found_before_running() {
    let data = facts(&check("load", json!({ "path": "data/titanic.csv" }), &[]), "data");
    let found = |with: Value| {
        let inputs = [("train", data.clone()), ("test", data.clone())];
        issues(check("preprocess", with, &inputs))
    };
    assert_eq!(
        found(
            json!({ "columns": {"agee": {"scale": "zscore"}}, "drop": ["nme"], "target": "survivd" })
        ),
        [
            "with.columns.agee: there is no column `agee` [did you mean `age`?]",
            "with.drop.[0]: there is no column `nme` [did you mean `name`?]",
            "with.target: there is no column `survivd` [did you mean `survived`?]",
        ]
    );
    assert_eq!(
        found(json!({ "columns": {"sex": {"type": "number"}} })),
        [
            "with.columns.sex: column `sex` holds text [encode it (`encode: onehot`), or load it as a number (`types: {sex: float}`)]"
        ]
    );
    assert_eq!(
        found(json!({ "columns": {"sex": {"impute": "mean"}} })),
        [
            "with.columns.sex.impute: categories have no mean or median [use `impute: mode` or `impute: {constant: unknown}`]"
        ]
    );
    assert_eq!(
        found(json!({ "fit": "trian" })),
        ["with.fit: there is no input `trian` [the inputs are `train`, `test`]"]
    );
    let refused = |with| refused("preprocess", with).into_iter().map(show).collect::<Vec<_>>();
    assert_eq!(
        refused(
            json!({ "columns": {"sex": {"encode": "onehot", "scale": "zscore"}}, "numeric": {"encode": "onehot"} })
        ),
        [
            "with.columns.sex.scale: `scale` is not for categories [leave it out, or say how to see the column: `type: number`, `category` or `date`]",
            "with.numeric.encode: `encode` is not for numbers [leave it out, or say how to see the column: `type: number`, `category` or `date`]",
        ]
    );
    assert!(
        refused(json!({ "columns": {"x": {"cycles": ["year"]}} }))[0]
            .contains("does not come round")
    );
    assert!(
        refused(json!({ "columns": {"x": {"encode": "target"}} }))[0]
            .contains("needs to know the target")
    );
}

#[test]
fn known_columns_are_the_columns_made() {
    let parts = titanic();
    let with = json!({ "target": "survived", "drop": ["name"], "columns": {
        "age": {"impute": "indicator", "bins": {"quantile": 5}}, "sex": {"encode": "ordinal"},
        "class": {"encode": "hash", "buckets": 3} } });
    let info = |part: &str| parts.dataset(part).info().facts();
    let checked =
        check("preprocess", with.clone(), &[("train", info("train")), ("test", info("test"))]);
    let known = facts(&checked, "test");
    assert!(known.transformed);
    let made = preprocess(&parts, with).expect("made");
    let dataset = made.dataset("test");
    assert_eq!(known.columns.as_ref(), Some(&dataset.info().columns));
    assert_eq!(known.rows, Some(dataset.info().rows));
    let transform = dataset.transform().expect("read").expect("a transform");
    assert_eq!(known.raw_columns.as_deref(), Some(transform.raw_columns()));
}

#[test]
fn a_category_that_became_a_number_is_scaled_like_one() {
    let parts = titanic();
    for encode in ["ordinal", "frequency", "target"] {
        let class = json!({"encode": encode, "impute": "mode", "scale": "minmax"});
        let with = json!({ "target": "survived", "drop": ["name"], "columns": {"class": class} });
        let made = preprocess(&parts, with).expect("made");
        let frame = made.dataset("train").frame().expect("read");
        let values = frame.column("class").expect("a column").f32().expect("numbers");
        let values: Vec<f32> = values.iter().flatten().collect();
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!((low, high), (0.0, 1.0), "{encode}");
    }
}

#[test]
fn missing_categories_become_a_one_hot_column() {
    let data = run("load", json!({ "path": "data/penguins.csv" }), &[]).expect("loaded");
    let with = json!({ "category": {"encode": "onehot", "impute": "indicator"} });
    let made = run("preprocess", with, &[("train", data.path("data"))]).expect("made");
    let frame = made.dataset("train").frame().expect("read");
    let missing = frame.column("sex_missing").expect("a column").f32().expect("numbers");
    // Eleven penguins got away before anyone looked.
    assert_eq!(missing.iter().flatten().sum::<f32>(), 11.0);
}
