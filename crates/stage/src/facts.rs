//! What is known of the value on an edge before anything runs.

use std::fmt;

use serde::{Deserialize, Serialize};
use wick_core::PortType;

/// What is known of the value at a port. Every field beyond the type may be unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortFacts {
    /// The type; always known.
    pub port_type: PortType,
    /// Of a dataset: its table.
    pub dataset: Option<DatasetFacts>,
    /// Of a model: its signature.
    pub model: Option<ModelFacts>,
}

impl PortFacts {
    /// Nothing but the type is known.
    pub const fn unknown(port_type: PortType) -> Self {
        Self { port_type, dataset: None, model: None }
    }

    /// A dataset with these facts.
    pub const fn dataset(facts: DatasetFacts) -> Self {
        Self { port_type: PortType::Dataset, dataset: Some(facts), model: None }
    }

    /// A model with these facts.
    pub const fn model(facts: ModelFacts) -> Self {
        Self { port_type: PortType::Model, dataset: None, model: Some(facts) }
    }
}

/// What is known of a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetFacts {
    /// The columns in order, if they are all known.
    pub columns: Option<Vec<Column>>,
    /// How many rows there are.
    pub rows: Option<u64>,
    /// Whether a fitted transform made it.
    pub transformed: bool,
    /// The columns before that transform: what a user of a model will have.
    pub raw_columns: Option<Vec<Column>>,
    /// What is known of the names of columns that are not all known: a column is called as one
    /// of these, or its name begins so. One-hot encoding names its columns by what it finds in
    /// the data, but always after the column that it encodes.
    #[serde(default)]
    pub name_starts: Option<Vec<String>>,
}

impl DatasetFacts {
    /// The column called `name`: `None` if the columns are not known or none is called so.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.as_ref()?.iter().find(|column| column.name == name)
    }

    /// Whether it is known that no column is called `name`.
    pub fn lacks(&self, name: &str) -> bool {
        match (&self.columns, &self.name_starts) {
            (Some(columns), _) => columns.iter().all(|column| column.name != name),
            (None, Some(starts)) => !starts.iter().any(|start| name.starts_with(start)),
            (None, None) => false,
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// A whole number, signed or not, of any width.
    Integer,
    /// A floating-point number.
    Float,
    /// Text.
    Text,
    /// Text from a small set.
    Category,
    /// A day.
    Date,
    /// A moment.
    Datetime,
    /// A span or a time of day.
    Time,
    /// A fixed-size block of bytes, an image for one: its shape, for example `[28, 28, 1]`.
    Bytes {
        /// Rows, columns, channels for an image.
        shape: Vec<usize>,
    },
    /// A fixed-size vector of numbers.
    Vector {
        /// How many.
        width: usize,
    },
    /// Anything else, by its polars name.
    Other(String),
}

impl ColumnType {
    /// Whether it is a number or a boolean: something a network can read as it is.
    pub const fn is_numeric(&self) -> bool {
        matches!(self, ColumnType::Boolean | ColumnType::Integer | ColumnType::Float)
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::Boolean => f.write_str("boolean"),
            ColumnType::Integer => f.write_str("integer"),
            ColumnType::Float => f.write_str("float"),
            ColumnType::Text => f.write_str("text"),
            ColumnType::Category => f.write_str("category"),
            ColumnType::Date => f.write_str("date"),
            ColumnType::Datetime => f.write_str("datetime"),
            ColumnType::Time => f.write_str("time"),
            ColumnType::Bytes { shape } => write!(f, "bytes {shape:?}"),
            ColumnType::Vector { width } => write!(f, "vector of {width}"),
            ColumnType::Other(name) => f.write_str(name),
        }
    }
}

/// What a model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// One of two classes.
    Binary,
    /// One of several classes.
    Multiclass,
    /// A number.
    Regression,
}

/// What is known of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The column that it predicts.
    pub target: String,
    /// What it predicts, if known.
    pub task: Option<TaskType>,
    /// The columns that the network reads (after any transform), if known.
    pub features: Option<Vec<Column>>,
}
