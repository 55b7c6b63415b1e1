//! Data sets on polars: load, sql, validate, split, preprocess, profile.
//!
//! A [`Dataset`] is a folder with one table; a [`Transform`] is a fitted preprocessing that
//! travels with it. [`matrix`], [`byte_blocks`], [`labels`] and [`numbers`] hand its columns to
//! networks and metrics, so that nothing above this crate needs to know how a table is stored.

pub mod columns;
pub mod dataset;
mod dates;
pub mod error;
pub mod extend;
mod kinds;
mod partition;
pub mod profile;
pub mod read;
mod rows;
pub mod rules;
pub mod stream;
pub mod transform;
pub mod values;
pub mod write;

pub use dataset::{Dataset, DatasetInfo};
pub use error::{DataError, DataResult, column_help};
pub use extend::{NewColumn, set_column};
pub use kinds::kinds;
pub use polars::prelude::DataFrame;
pub use profile::Profile;
pub use read::table::read_table;
pub use rows::frame_from_json;
pub use transform::{PreprocessConfig, Transform};
pub use values::{ByteBlocks, Labels, Matrix, byte_blocks, labels, matrix, natural_order, numbers};
pub use write::{csv_text, write_table};
