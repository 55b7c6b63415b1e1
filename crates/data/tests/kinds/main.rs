//! The kinds of this crate, run as the worker runs them, on real data.

mod harness;

mod load;
mod pipelines;
mod preprocess;
mod profile;
mod split;
mod sql;
mod validate;
