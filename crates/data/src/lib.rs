//! Data sets on polars: load, sql, validate, split, preprocess.
