//! Between polars types and the column types of the vocabulary.

use polars::prelude::{DataFrame, DataType, Schema, TimeUnit};
use wick_stage::{Column, ColumnType};

/// What a polars type is called on the edges of a pipeline.
pub fn column_type(data_type: &DataType) -> ColumnType {
    match data_type {
        DataType::Boolean => ColumnType::Boolean,
        DataType::String => ColumnType::Text,
        DataType::Categorical(..) | DataType::Enum(..) => ColumnType::Category,
        DataType::Date => ColumnType::Date,
        DataType::Datetime(..) => ColumnType::Datetime,
        DataType::Time | DataType::Duration(_) => ColumnType::Time,
        DataType::Array(..) => array_type(data_type),
        other if other.is_integer() => ColumnType::Integer,
        other if other.is_float() => ColumnType::Float,
        other => ColumnType::Other(other.to_string()),
    }
}

/// Arrays of bytes are blocks with a shape, one dimension a level; one level of another number
/// is a vector.
fn array_type(data_type: &DataType) -> ColumnType {
    let mut shape = Vec::new();
    let mut inner = data_type;
    while let DataType::Array(next, width) = inner {
        shape.push(*width);
        inner = next;
    }
    match (inner, shape.as_slice()) {
        (DataType::UInt8, _) => ColumnType::Bytes { shape },
        (inner, [width]) if inner.is_primitive_numeric() => ColumnType::Vector { width: *width },
        _ => ColumnType::Other(data_type.to_string()),
    }
}

/// A polars type that stands for `column_type` in empty tables: its widest. `None` where the
/// vocabulary does not say enough.
pub fn data_type(column_type: &ColumnType) -> Option<DataType> {
    Some(match column_type {
        ColumnType::Boolean => DataType::Boolean,
        ColumnType::Integer => DataType::Int64,
        ColumnType::Float => DataType::Float64,
        ColumnType::Text | ColumnType::Category => DataType::String,
        ColumnType::Date => DataType::Date,
        ColumnType::Datetime => DataType::Datetime(TimeUnit::Microseconds, None),
        ColumnType::Time => DataType::Time,
        ColumnType::Bytes { shape } => {
            DataType::Array(Box::new(DataType::UInt8), shape.iter().product())
        }
        ColumnType::Vector { width } => DataType::Array(Box::new(DataType::Float32), *width),
        ColumnType::Other(_) => return None,
    })
}

/// The columns of a polars schema.
pub fn columns_of(schema: &Schema) -> Vec<Column> {
    schema
        .iter()
        .map(|(name, data_type)| Column {
            name: name.to_string(),
            column_type: column_type(data_type),
        })
        .collect()
}

/// The columns of a table.
pub fn columns_of_frame(frame: &DataFrame) -> Vec<Column> {
    columns_of(frame.schema())
}

/// The name of every column of a table.
pub fn names_of(frame: &DataFrame) -> Vec<&str> {
    frame.columns().iter().map(|column| column.name().as_str()).collect()
}

/// Whether polars type stands for a fixed-size block: what Parquet would store badly.
pub(crate) fn is_block(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Array(..))
}

/// `inferred`, with the shape of every block that `known` knows better: polars keeps only how
/// many bytes a block has.
pub(crate) fn with_shapes(mut inferred: Vec<Column>, known: &[Column]) -> Vec<Column> {
    for column in &mut inferred {
        let ColumnType::Bytes { shape } = &mut column.column_type else { continue };
        let better = known.iter().find(|known| known.name == column.name);
        if let Some(Column { column_type: ColumnType::Bytes { shape: known }, .. }) = better
            && known.iter().product::<usize>() == shape.iter().product::<usize>()
        {
            shape.clone_from(known);
        }
    }
    inferred
}
