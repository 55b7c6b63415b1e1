//! What networks, metrics and explanations read from a table: matrices of numbers, blocks of
//! bytes, labels. Missing values are errors here: whether to fill them in, and with what, is the
//! user's decision, made in a `preprocess` stage.

use std::cmp::Ordering;
use std::collections::HashMap;

use polars::prelude::{ChunkUnique, DataFrame, DataType, Float32Chunked, Series};

use crate::columns::{column_type, names_of};
use crate::error::{DataError, DataResult, closest};

/// Numbers by row: the value of row `r` and column `c` is at `r * width + c`.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// How many rows.
    pub rows: usize,
    /// How many columns.
    pub width: usize,
    /// The values, row after row.
    pub values: Vec<f32>,
}

/// Blocks of bytes, one a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteBlocks {
    /// How many rows.
    pub rows: usize,
    /// The shape of a block as far as the table's own type says it: one dimension for blocks
    /// written by this crate, whose full shape [`crate::DatasetInfo`] has.
    pub shape: Vec<usize>,
    /// The bytes, block after block.
    pub values: Vec<u8>,
}

/// Classes, and the class of each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// The classes, in natural order or as given.
    pub classes: Vec<String>,
    /// For each row the place of its class in `classes`.
    pub indices: Vec<u32>,
}

/// The columns `names` as one matrix. Booleans count as 0 and 1; a vector takes as many columns
/// of the matrix as it is wide.
///
/// # Errors
/// If a column does not exist, is not numeric, or has missing values.
pub fn matrix(frame: &DataFrame, names: &[String]) -> DataResult<Matrix> {
    let columns = names.iter().map(|name| find(frame, name)).collect::<DataResult<Vec<_>>>()?;
    let widths = columns.iter().map(width_of).collect::<DataResult<Vec<_>>>()?;
    let width: usize = widths.iter().sum();
    let rows = frame.height();
    let mut values = vec![0.0; rows * width];
    let mut start = 0;
    for (series, own) in columns.iter().zip(widths) {
        fill(series, own, width, start, &mut values)?;
        start += own;
    }
    Ok(Matrix { rows, width, values })
}

/// How many columns of a matrix a column takes.
fn width_of(series: &Series) -> DataResult<usize> {
    match series.dtype() {
        DataType::Boolean => Ok(1),
        DataType::Array(inner, width) if inner.is_primitive_numeric() => Ok(*width),
        data_type if data_type.is_primitive_numeric() => Ok(1),
        data_type => Err(not_numeric(series.name(), data_type)),
    }
}

/// Writes a column's values into its columns of a matrix.
fn fill(series: &Series, own: usize, width: usize, start: usize, values: &mut [f32]) -> DataResult {
    refuse_missing(series)?;
    let flat = match series.dtype() {
        DataType::Array(..) => inner_of(series)?,
        _ => series.clone(),
    };
    // A cast from f64 that overflows becomes infinite; only NaN counts as missing.
    let numbers = flat
        .cast(&DataType::Float32)
        .map_err(|error| DataError::polars(format!("read column `{}`", series.name()), error))?;
    let numbers = as_f32(&numbers)?;
    let mut missing = 0;
    for (place, value) in numbers.iter().enumerate() {
        let value = value.unwrap_or(f32::NAN);
        missing += usize::from(value.is_nan());
        values[place / own * width + start + place % own] = value;
    }
    if missing > 0 {
        return Err(missing_error(series.name(), missing, numbers.len(), "is not a number (NaN)"));
    }
    Ok(())
}

fn as_f32(series: &Series) -> DataResult<&Float32Chunked> {
    series.f32().map_err(|error| DataError::polars(format!("read `{}`", series.name()), error))
}

/// The values inside a column of blocks, one after the other.
fn inner_of(series: &Series) -> DataResult<Series> {
    let reading = |error| DataError::polars(format!("read column `{}`", series.name()), error);
    Ok(series.array().map_err(reading)?.get_leaf_array())
}

/// The column `name` as blocks of bytes.
///
/// # Errors
/// If it does not exist, does not hold fixed-size blocks of bytes, or has missing values.
pub fn byte_blocks(frame: &DataFrame, name: &str) -> DataResult<ByteBlocks> {
    let series = find(frame, name)?;
    let wick_stage::ColumnType::Bytes { shape } = column_type(series.dtype()) else {
        return Err(DataError::column(
            name,
            format!("holds {}, not images or other blocks of bytes", column_type(series.dtype())),
        )
        .help("load images with `format: idx` or `format: images`"));
    };
    refuse_missing(&series)?;
    let inner = inner_of(&series)?;
    let bytes =
        inner.u8().map_err(|error| DataError::polars(format!("read column `{name}`"), error))?;
    if bytes.null_count() > 0 {
        return Err(DataError::column(name, "has blocks with missing bytes")
            .help("make every byte of every block known before this stage"));
    }
    let mut values = Vec::with_capacity(bytes.len());
    for chunk in bytes.downcast_iter() {
        values.extend_from_slice(chunk.values());
    }
    Ok(ByteBlocks { rows: series.len(), shape, values })
}

/// The column `name` as numbers.
///
/// # Errors
/// If it does not exist, is not numeric, or has missing values.
pub fn numbers(frame: &DataFrame, name: &str) -> DataResult<Vec<f64>> {
    let series = find(frame, name)?;
    if !(series.dtype() == &DataType::Boolean || series.dtype().is_primitive_numeric()) {
        return Err(not_numeric(name, series.dtype()));
    }
    refuse_missing(&series)?;
    let values = series
        .cast(&DataType::Float64)
        .map_err(|error| DataError::polars(format!("read column `{name}`"), error))?;
    let values =
        values.f64().map_err(|error| DataError::polars(format!("read column `{name}`"), error))?;
    let values: Vec<f64> = values.iter().map(|value| value.unwrap_or(f64::NAN)).collect();
    match values.iter().filter(|value| value.is_nan()).count() {
        0 => Ok(values),
        missing => Err(missing_error(name, missing, values.len(), "is not a number (NaN)")),
    }
}

/// The column `name` as labels: integers, text, booleans, categories, or floats that are whole.
/// Without `classes` the classes are those that occur, in natural order: numbers by value, text
/// by its letters with the numbers in it by value, `false` before `true`.
///
/// # Errors
/// If the column does not exist, cannot be labels, has missing values, or holds a class that is
/// not among `classes`.
pub fn labels(frame: &DataFrame, name: &str, classes: Option<&[String]>) -> DataResult<Labels> {
    let series = find(frame, name)?;
    refuse_missing(&series)?;
    let whole = match series.dtype() {
        DataType::Boolean | DataType::String => series.clone(),
        data_type if data_type.is_integer() => series.clone(),
        DataType::Categorical(..) | DataType::Enum(..) => series.clone(),
        DataType::Float32 | DataType::Float64 => whole_numbers(&series)?,
        data_type => {
            return Err(DataError::column(
                name,
                format!("holds {}, which cannot be classes", column_type(data_type)),
            )
            .help("a class is an integer, a text, a boolean or a category"));
        }
    };
    let text = whole
        .cast(&DataType::String)
        .map_err(|error| DataError::polars(format!("read column `{name}`"), error))?;
    let text =
        text.str().map_err(|error| DataError::polars(format!("read column `{name}`"), error))?;
    let classes = match classes {
        Some(classes) => classes.to_vec(),
        None => {
            let mut found: Vec<String> = text
                .unique()
                .map_err(|error| DataError::polars(format!("read column `{name}`"), error))?
                .iter()
                .flatten()
                .map(str::to_owned)
                .collect();
            sort_naturally(&mut found);
            found
        }
    };
    let places: HashMap<&str, u32> =
        classes.iter().enumerate().map(|(place, class)| (class.as_str(), place as u32)).collect();
    let mut indices = Vec::with_capacity(text.len());
    for (row, class) in text.iter().enumerate() {
        let class = class.unwrap_or_default();
        let Some(place) = places.get(class) else {
            let names: Vec<&str> = classes.iter().map(String::as_str).collect();
            let known = match closest(class, &names) {
                Some(near) => format!("did you mean `{near}`? The model knows {}", list(&names)),
                None => format!("the model knows {}", list(&names)),
            };
            return Err(DataError::column(
                name,
                format!("holds the unknown class `{class}` (row {})", row + 1),
            )
            .help(known));
        };
        indices.push(*place);
    }
    Ok(Labels { classes, indices })
}

/// Names in backticks, the first dozen of them.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    let mut text =
        names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// Floats as integers, if they all are: a CSV with missing values gives integers as floats.
fn whole_numbers(series: &Series) -> DataResult<Series> {
    let reading = |error| DataError::polars(format!("read column `{}`", series.name()), error);
    let values = series.cast(&DataType::Float64).map_err(reading)?;
    let values = values.f64().map_err(reading)?;
    // Up to 2^53 every whole number is a float of its own.
    let odd = values.iter().flatten().find(|v| v.fract() != 0.0 || v.abs() > 9.007e15);
    if let Some(odd) = odd {
        return Err(DataError::column(
            series.name().as_str(),
            format!("holds {odd}, which cannot be a class"),
        )
        .help("for numbers on a scale use a regression loss: `mse`, `mae` or `huber`"));
    }
    series.cast(&DataType::Int64).map_err(reading)
}

/// Sorts classes as a person would: by value if all are integers, else in natural order.
pub fn sort_naturally(texts: &mut [String]) {
    if texts.iter().all(|text| text.parse::<i64>().is_ok()) {
        texts.sort_by_key(|text| text.parse::<i64>().unwrap_or_default());
    } else {
        texts.sort_by(|left, right| natural_order(left, right));
    }
}

/// Natural order: runs of digits by their value, the rest by its characters.
pub fn natural_order(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left, right);
    loop {
        let (digits_a, digits_b) = (leading_digits(a), leading_digits(b));
        if digits_a > 0 && digits_b > 0 {
            let (number_a, number_b) =
                (a[..digits_a].trim_start_matches('0'), b[..digits_b].trim_start_matches('0'));
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[digits_a..], &b[digits_b..]);
            continue;
        }
        let (mut chars_a, mut chars_b) = (a.chars(), b.chars());
        match (chars_a.next(), chars_b.next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (chars_a.as_str(), chars_b.as_str()),
            // Equal but for leading zeros: by their characters, so that the order is total.
            (None, None) => return left.cmp(right),
            (x, y) => return x.cmp(&y),
        }
    }
}

fn leading_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

pub(crate) fn find(frame: &DataFrame, name: &str) -> DataResult<Series> {
    frame
        .column(name)
        .map(|column| column.as_materialized_series().clone())
        .map_err(|_| DataError::no_column(name, names_of(frame)))
}

fn refuse_missing(series: &Series) -> DataResult {
    match series.null_count() {
        0 => Ok(()),
        missing => Err(missing_error(series.name(), missing, series.len(), "is missing")),
    }
}

fn missing_error(name: &str, missing: usize, rows: usize, what: &str) -> DataError {
    DataError::column(name, format!("{what} in {missing} of {rows} rows")).help(format!(
        "fill them in with a `preprocess` stage: `columns: {{{name}: {{impute: median}}}}`, or \
         leave the rows out with `impute: drop_row`"
    ))
}

fn not_numeric(name: &str, data_type: &DataType) -> DataError {
    let column_type = column_type(data_type);
    DataError::column(name, format!("holds {column_type}, which a network cannot read")).help(
        match column_type {
            wick_stage::ColumnType::Text | wick_stage::ColumnType::Category => format!(
                "encode it with a `preprocess` stage: `columns: {{{name}: {{encode: onehot}}}}`"
            ),
            wick_stage::ColumnType::Date | wick_stage::ColumnType::Datetime => format!(
                "take it apart with a `preprocess` stage: \
                 `columns: {{{name}: {{parts: [month, weekday, hour]}}}}`"
            ),
            _ => "use a column of numbers, or leave this one out of `features`".to_owned(),
        },
    )
}

#[cfg(test)]
mod tests {
    use polars::prelude::df;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_matrix_is_row_major() {
        let frame = df!("a" => [1i64, 2], "b" => [0.5, 1.5], "c" => [true, false]).expect("table");
        let matrix = matrix(&frame, &names(&["a", "c", "b"])).expect("numbers");
        assert_eq!((matrix.rows, matrix.width), (2, 3));
        assert_eq!(matrix.values, [1.0, 1.0, 0.5, 2.0, 0.0, 1.5]);
    }

    #[test]
    fn what_is_missing_is_counted_and_the_mend_named() {
        let frame =
            df!("age" => [Some(1.0), None, None], "x" => [1.0, f64::NAN, 2.0], "t" => ["a"; 3])
                .expect("table");
        let check = |name: &str, message: &str, help: &str| {
            let error = matrix(&frame, &names(&[name])).expect_err("refused");
            assert_eq!(error.to_string(), message);
            assert!(error.mend().is_some_and(|mend| mend.contains(help)), "{:?}", error.mend());
        };
        check("age", "column `age` is missing in 2 of 3 rows", "impute: median");
        check("x", "column `x` is not a number (NaN) in 1 of 3 rows", "impute");
        check("t", "column `t` holds text, which a network cannot read", "encode: onehot");
        check("agee", "column `agee` does not exist", "did you mean `age`?");
    }

    #[test]
    fn labels_of_every_sort() {
        let frame = df!(
            "digit" => [10i64, 2, 2], "text" => ["c10", "c9", "c9"], "flag" => [true, false, false],
            "whole" => [1.0, 0.0, 0.0], "odd" => [0.5, 1.0, 2.0]
        )
        .expect("table");
        let check = |name: &str, classes: &[&str]| {
            let labels = labels(&frame, name, None).expect("labels");
            assert_eq!(labels.classes, classes, "{name}");
            assert_eq!(labels.indices, [1, 0, 0], "{name}");
        };
        check("digit", &["2", "10"]);
        check("text", &["c9", "c10"]);
        check("flag", &["false", "true"]);
        check("whole", &["0", "1"]);
        assert!(labels(&frame, "odd", None).is_err());
        let error = labels(&frame, "text", Some(&names(&["c9"]))).expect_err("unknown");
        assert_eq!(error.to_string(), "column `text` holds the unknown class `c10` (row 1)");
    }

    #[test]
    fn natural_order_is_total() {
        let check = |texts: &[&str], expect: &[&str]| {
            let mut texts = names(texts);
            sort_naturally(&mut texts);
            assert_eq!(texts, expect);
        };
        check(&["3", "-3", "20", "-10"], &["-10", "-3", "3", "20"]);
        check(
            &["b", "a10", "a9", "a", "-3", "07", "7", "é"],
            &["-3", "07", "7", "a", "a9", "a10", "b", "é"],
        );
    }
}
