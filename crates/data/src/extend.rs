//! New columns for a table, from plain values: what predictions are added with.

use polars::prelude::{Column, DataFrame, NamedFrom, Series};

use crate::error::{DataError, DataResult};

/// The values of a new column, one for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum NewColumn {
    /// True or false.
    Boolean(Vec<bool>),
    /// Whole numbers.
    Integer(Vec<i64>),
    /// Numbers.
    Float(Vec<f32>),
    /// Text.
    Text(Vec<String>),
}

/// Adds the column `name` at the end of `frame`, or gives it new values if there is one.
///
/// # Errors
/// If there are not as many values as rows.
pub fn set_column(frame: &mut DataFrame, name: &str, values: NewColumn) -> DataResult {
    let series = match values {
        NewColumn::Boolean(values) => Series::new(name.into(), values),
        NewColumn::Integer(values) => Series::new(name.into(), values),
        NewColumn::Float(values) => Series::new(name.into(), values),
        NewColumn::Text(values) => Series::new(name.into(), values),
    };
    frame
        .with_column(Column::from(series))
        .map(|_| ())
        .map_err(|error| DataError::polars(format!("add the column `{name}`"), error))
}
