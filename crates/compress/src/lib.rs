//! Makes models smaller: pruning and quantisation, and what that saves and costs.

pub mod config;
pub mod kind;
pub mod measure;
pub mod prune;

use wick_stage::{Kind, Typed};

/// The kinds of this crate.
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![Typed::boxed(kind::Compress)]
}
