//! Numbers are those of pandas 3.1 and NumPy 2.4.

use polars::prelude::{NamedFrom, df};

use super::*;
use crate::columns::columns_of_frame;

fn profile(frame: &DataFrame) -> Profile {
    Profile::of(frame, &columns_of_frame(frame))
}

#[track_caller]
fn near(found: f64, expect: f64) {
    let error = (found - expect).abs() / expect.abs().max(1.0);
    assert!(error < 1e-12, "{found} is not {expect}");
}

#[test]
fn numbers_are_those_of_pandas_and_numpy() {
    let values: Vec<f64> = (0..60)
        .map(|i| {
            let squared = if i % 3 == 0 { 0.001 * f64::from(i * i) } else { 0.0 };
            f64::from(i * 37 % 101) / 7.0 - 5.0 + squared
        })
        .collect();
    let frame = df!("x" => values).expect("a table");
    let column = &profile(&frame).columns[0];
    let numbers = column.numbers.as_ref().expect("numbers");
    for (found, expect) in [
        (numbers.mean, 2.4443095238095243),
        (numbers.std, 4.41493421474079),
        (numbers.min, -5.0),
        (numbers.q05, -4.3),
        (numbers.q25, -1.3214285714285712),
        (numbers.median, 2.3982142857142863),
        (numbers.q75, 5.892857142857143),
        (numbers.q95, 8.874371428571427),
        (numbers.max, 10.963285714285714),
    ] {
        near(found, expect);
    }
    assert_eq!((column.missing, column.distinct, numbers.zeros), (0, Some(60), 0));
    assert_eq!(
        numbers.histogram.counts,
        [4, 2, 5, 2, 3, 4, 2, 4, 2, 4, 2, 6, 0, 6, 1, 5, 2, 4, 0, 2]
    );
    assert_eq!((numbers.histogram.from, numbers.histogram.to), (numbers.min, numbers.max));
}

#[test]
fn what_is_no_number_is_counted_and_left_out() {
    let values =
        [Some(1.0), None, Some(f64::NAN), Some(3.0), Some(f64::INFINITY), Some(-0.0), Some(0.0)];
    let frame = df!("x" => values, "empty" => [None::<f64>; 7]).expect("a table");
    let found = profile(&frame);
    let column = &found.columns[0];
    let numbers = column.numbers.as_ref().expect("numbers");
    assert_eq!((column.missing, numbers.nan, numbers.infinite, numbers.zeros), (1, 1, 1, 2));
    assert_eq!(column.distinct, Some(5), "0, 1, 3, infinity and NaN");
    assert_eq!((numbers.min, numbers.median, numbers.max, numbers.mean), (0.0, 0.5, 3.0, 1.0));
    assert_eq!((found.columns[1].missing, found.columns[1].numbers.clone()), (7, None));
    assert_eq!(found.columns[1].distinct, Some(0));
    let one = df!("x" => [7i64]).expect("a table");
    let numbers = profile(&one).columns[0].numbers.clone().expect("numbers");
    assert_eq!((numbers.std, numbers.q05, numbers.histogram.counts[0]), (0.0, 7.0, 1));
    let huge = df!("x" => [f64::MAX, f64::MAX, -f64::MAX]).expect("a table");
    assert_eq!(profile(&huge).columns[0].numbers, None, "their deviation is no number");
}

#[test]
fn texts_truths_and_codes_have_top_values() {
    let frame = df!(
        "sex" => [Some("male"), Some("female"), Some("male"), None],
        "alone" => [true, false, true, true],
        "class" => [3i64, 1, 3, 2],
        "long" => ["é\u{1b}[31m", "", "x", "y"],
    )
    .expect("a table");
    let found = profile(&frame);
    let top = |place: usize| {
        let top = &found.columns[place].top;
        top.iter().map(|(text, count)| (text.as_str(), *count)).collect::<Vec<_>>()
    };
    assert_eq!(top(0), [("male", 2), ("female", 1)]);
    assert_eq!((found.columns[0].missing, found.columns[0].lengths), (1, Some((4, 6))));
    assert_eq!(top(1), [("true", 3), ("false", 1)]);
    assert_eq!(top(2), [("3", 2), ("1", 1), ("2", 1)]);
    assert_eq!(top(3)[3], ("é\u{fffd}[31m", 1), "no terminal obeys it");
    let names = Series::new("name".into(), (0..50).map(|i| format!("n{i}")).collect::<Vec<_>>());
    let frame = DataFrame::new_infer_height(vec![names.into()]).expect("a table");
    let found = profile(&frame);
    assert_eq!((found.columns[0].distinct, found.columns[0].top.len()), (Some(50), 0));
}

#[test]
fn dates_have_a_span() {
    let days = Series::new("day".into(), [19_000i32, 19_003, 19_000]);
    let days = days.cast(&DataType::Date).expect("dates");
    let frame = DataFrame::new_infer_height(vec![days.into()]).expect("a table");
    let column = &profile(&frame).columns[0];
    let span = Some(("2022-01-08".to_owned(), "2022-01-11".to_owned()));
    assert_eq!((column.span.clone(), column.distinct), (span, Some(2)));
}

#[test]
fn a_large_table_is_sampled_evenly_and_summed_whole() {
    let values: Vec<i64> = (0..1000).collect();
    let missing: Vec<Option<i64>> = (0..1000).map(|i| (i % 10 != 0).then_some(i)).collect();
    let frame = df!("x" => values, "y" => missing).expect("a table");
    let columns = columns_of_frame(&frame);
    let found = Profile::within(&frame, &columns, 200, 1_000_000);
    assert_eq!((found.rows, found.sampled_rows, found.all_sampled), (1000, Some(200), false));
    let numbers = found.columns[0].numbers.as_ref().expect("numbers");
    assert_eq!((numbers.mean, numbers.min, numbers.max), (499.5, 0.0, 999.0));
    assert_eq!(found.columns[0].distinct, Some(200));
    near(numbers.median, 497.5);
    assert_eq!(numbers.histogram.counts.iter().sum::<u64>(), 200);
    assert_eq!(found.columns[1].missing, 100, "counted in all rows");
    let found = Profile::within(&frame, &columns, 200, 100);
    assert!(found.all_sampled);
    assert_eq!(found.columns[0].numbers.as_ref().expect("numbers").max, 995.0);
}

#[test]
fn equal_tables_have_equal_profiles_however_they_are_cut() {
    let values: Vec<f64> = (0..999).map(|i| (f64::from(i) * 0.7).sin() * 1e6).collect();
    let whole = df!("x" => values.clone()).expect("a table");
    let mut parts = df!("x" => values[..10].to_vec()).expect("a table");
    for part in values[10..].chunks(100) {
        parts.vstack_mut(&df!("x" => part.to_vec()).expect("a table")).expect("stacked");
    }
    assert_eq!(profile(&whole), profile(&parts));
    let json = serde_json::to_string(&profile(&whole)).expect("JSON");
    assert_eq!(serde_json::from_str::<Profile>(&json).expect("its own JSON"), profile(&whole));
}
