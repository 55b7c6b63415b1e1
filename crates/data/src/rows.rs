//! Tables of rows that arrive as JSON, for serving.

use polars::prelude::{
    BooleanChunked, Column as TableColumn, DataFrame, DataType, Float32Chunked, Float64Chunked,
    Int64Chunked, IntoColumn, IntoSeries, NewChunkedArray, ReshapeDimension, Series, StringChunked,
    TimeUnit, UInt8Chunked,
};
use serde_json::{Map, Value};
use wick_stage::{Column, ColumnType};

use crate::error::{DataError, DataResult, column_help};

/// A table of `rows`, with the columns `columns`. A key that a row lacks, or that is null, is a
/// missing value.
///
/// # Errors
/// If a row has a key that is no column, or a value that is not of its column's type.
pub fn frame_from_json(rows: &[Map<String, Value>], columns: &[Column]) -> DataResult<DataFrame> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    for (place, row) in rows.iter().enumerate() {
        if let Some(key) = row.keys().find(|key| !names.contains(&key.as_str())) {
            return Err(DataError::data(format!("row {}: there is no column `{key}`", place + 1))
                .help(column_help(key, &names)));
        }
    }
    let columns =
        columns.iter().map(|column| read_column(rows, column)).collect::<DataResult<Vec<_>>>()?;
    DataFrame::new(rows.len(), columns).map_err(|error| DataError::polars("make a table", error))
}

fn read_column(rows: &[Map<String, Value>], column: &Column) -> DataResult<TableColumn> {
    let name = || column.name.as_str().into();
    Ok(match &column.column_type {
        ColumnType::Boolean => BooleanChunked::from_iter_options(
            name(),
            each(rows, column, |value| match value {
                Value::Number(number) if number.as_u64() == Some(0) => Some(false),
                Value::Number(number) if number.as_u64() == Some(1) => Some(true),
                value => value.as_bool(),
            })?
            .into_iter(),
        )
        .into_column(),
        // A whole number written as a float is one all the same: JavaScript knows no other.
        ColumnType::Integer => {
            let whole = |value: &Value| {
                value.as_i64().or_else(|| {
                    value.as_f64().filter(|v| v.fract() == 0.0 && v.abs() < 9e15).map(|v| v as i64)
                })
            };
            Int64Chunked::from_iter_options(name(), each(rows, column, whole)?.into_iter())
                .into_column()
        }
        ColumnType::Float => Float64Chunked::from_iter_options(
            name(),
            each(rows, column, Value::as_f64)?.into_iter(),
        )
        .into_column(),
        ColumnType::Text | ColumnType::Category => {
            // Categories may be numbers to whoever sends them.
            let text = |value: &Value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Bool(flag) => Some(flag.to_string()),
                _ => None,
            };
            StringChunked::from_iter_options(name(), each(rows, column, text)?.into_iter())
                .into_column()
        }
        ColumnType::Date => moments(rows, column, &DataType::Date)?,
        ColumnType::Datetime => {
            moments(rows, column, &DataType::Datetime(TimeUnit::Microseconds, None))?
        }
        ColumnType::Bytes { shape } => bytes(rows, column, shape.iter().product())?,
        ColumnType::Vector { width } => vectors(rows, column, *width)?,
        ColumnType::Time | ColumnType::Other(_) => {
            return Err(DataError::column(
                &column.name,
                format!("holds {}, which cannot be given as JSON", column.column_type),
            )
            .help("train the model without it"));
        }
    })
}

/// The value of `column` in every row.
fn each<T>(
    rows: &[Map<String, Value>],
    column: &Column,
    read: impl Fn(&Value) -> Option<T>,
) -> DataResult<Vec<Option<T>>> {
    rows.iter()
        .enumerate()
        .map(|(place, row)| match row.get(&column.name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| wrong_value(place, column, value)),
        })
        .collect()
}

fn wrong_value(place: usize, column: &Column, value: &Value) -> DataError {
    const SHOWN: usize = 40;
    let mut text = value.to_string();
    if text.chars().count() > SHOWN {
        text = text.chars().take(SHOWN).chain("…".chars()).collect();
    }
    let expected = match &column.column_type {
        ColumnType::Date => "a date such as \"2024-02-29\"".to_owned(),
        ColumnType::Datetime => "a moment such as \"2024-02-29T12:30:00\"".to_owned(),
        ColumnType::Bytes { shape } => format!("numbers from 0 to 255 in the shape {shape:?}"),
        ColumnType::Vector { width } => format!("a list of {width} numbers"),
        other => other.to_string(),
    };
    DataError::column(&column.name, format!("is {text} in row {}", place + 1))
        .help(format!("it wants {expected}"))
}

/// Dates and moments as ISO 8601.
fn moments(
    rows: &[Map<String, Value>],
    column: &Column,
    data_type: &DataType,
) -> DataResult<TableColumn> {
    let texts = each(rows, column, |value| value.as_str().map(str::to_owned))?;
    let micros = texts
        .iter()
        .enumerate()
        .map(|(place, text)| match text {
            None => Ok(None),
            Some(text) => crate::dates::parse_moment(text)
                .map(Some)
                .ok_or_else(|| wrong_value(place, column, &Value::from(text.as_str()))),
        })
        .collect::<DataResult<Vec<Option<i64>>>>()?;
    Int64Chunked::from_iter_options(column.name.as_str().into(), micros.into_iter())
        .into_series()
        .cast(&DataType::Datetime(TimeUnit::Microseconds, None))
        .and_then(|series| series.cast(data_type))
        .map(IntoColumn::into_column)
        .map_err(|error| DataError::polars(format!("read column `{}`", column.name), error))
}

/// Blocks of bytes: nested or flat lists. A network cannot read a missing image.
fn bytes(rows: &[Map<String, Value>], column: &Column, width: usize) -> DataResult<TableColumn> {
    let mut all: Vec<u8> = Vec::with_capacity(rows.len() * width);
    for (place, row) in rows.iter().enumerate() {
        let value = row.get(&column.name).unwrap_or(&Value::Null);
        let before = all.len();
        let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
        if !flatten(value, &byte, before + width, &mut all) || all.len() != before + width {
            return Err(wrong_value(place, column, value));
        }
    }
    blocks(UInt8Chunked::from_vec(column.name.as_str().into(), all).into_series(), width)
}

fn vectors(rows: &[Map<String, Value>], column: &Column, width: usize) -> DataResult<TableColumn> {
    let mut all: Vec<f32> = Vec::with_capacity(rows.len() * width);
    for (place, row) in rows.iter().enumerate() {
        let value = row.get(&column.name).unwrap_or(&Value::Null);
        let before = all.len();
        let number = |value: &Value| value.as_f64().map(|number| number as f32);
        if !flatten(value, &number, before + width, &mut all) || all.len() != before + width {
            return Err(wrong_value(place, column, value));
        }
    }
    blocks(Float32Chunked::from_vec(column.name.as_str().into(), all).into_series(), width)
}

/// Appends the numbers in nested lists, at most up to `limit` in all. serde_json bounds the
/// depth of what it parses.
fn flatten<T>(
    value: &Value,
    read: &impl Fn(&Value) -> Option<T>,
    limit: usize,
    all: &mut Vec<T>,
) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| flatten(item, read, limit, all)),
        value => match read(value) {
            Some(number) if all.len() < limit => {
                all.push(number);
                true
            }
            _ => false,
        },
    }
}

/// A flat series as blocks of `width`.
pub(crate) fn blocks(series: Series, width: usize) -> DataResult<TableColumn> {
    let name = series.name().clone();
    if series.is_empty() {
        // Nothing to infer the number of blocks from.
        let data_type = DataType::Array(Box::new(series.dtype().clone()), width);
        return Ok(Series::new_empty(name, &data_type).into_column());
    }
    series
        .reshape_array(&[ReshapeDimension::Infer, ReshapeDimension::new(width as i64)])
        .map(IntoColumn::into_column)
        .map_err(|error| DataError::polars(format!("make blocks of column `{name}`"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, column_type: ColumnType) -> Column {
        Column { name: name.to_owned(), column_type }
    }

    fn rows(value: Value) -> Vec<Map<String, Value>> {
        serde_json::from_value(value).expect("rows")
    }

    #[test]
    fn rows_become_a_table() {
        let columns = [
            column("age", ColumnType::Float),
            column("class", ColumnType::Text),
            column("alone", ColumnType::Boolean),
            column("day", ColumnType::Date),
            column("image", ColumnType::Bytes { shape: vec![1, 2, 1] }),
        ];
        let frame = frame_from_json(
            &rows(serde_json::json!([
                {"age": 3, "class": 1, "alone": true, "day": "2024-02-29", "image": [[[1], [2]]]},
                {"class": "2nd", "day": null, "image": [3, 255]}
            ])),
            &columns,
        )
        .expect("a table");
        assert_eq!(frame.shape(), (2, 5));
        assert_eq!(frame.column("age").map(|c| c.null_count()).ok(), Some(1));
        assert_eq!(crate::byte_blocks(&frame, "image").expect("bytes").values, [1, 2, 3, 255]);
        assert_eq!(frame.column("day").map(|c| c.dtype().clone()).ok(), Some(DataType::Date));
    }

    #[test]
    fn wrong_rows_are_refused() {
        #[track_caller]
        fn check(column_type: ColumnType, value: Value, message: &str) {
            let row = rows(serde_json::json!([{ "x": value }]));
            let error = frame_from_json(&row, &[column("x", column_type)]).expect_err("refused");
            assert_eq!(error.to_string(), message);
        }
        check(ColumnType::Float, "a".into(), "column `x` is \"a\" in row 1");
        check(ColumnType::Integer, 1.5.into(), "column `x` is 1.5 in row 1");
        check(ColumnType::Date, "2024-02-30".into(), "column `x` is \"2024-02-30\" in row 1");
        let bytes = ColumnType::Bytes { shape: vec![2] };
        check(bytes.clone(), serde_json::json!([1, 256]), "column `x` is [1,256] in row 1");
        check(bytes.clone(), serde_json::json!([1, 2, 3]), "column `x` is [1,2,3] in row 1");
        check(bytes, Value::Null, "column `x` is null in row 1");
        let error = frame_from_json(
            &rows(serde_json::json!([{ "agee": 1 }])),
            &[column("age", ColumnType::Float)],
        )
        .expect_err("refused");
        assert_eq!(error.to_string(), "row 1: there is no column `agee`");
        assert_eq!(error.mend(), Some("did you mean `age`?"));
    }
}
