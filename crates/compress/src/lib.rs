//! Makes models smaller: pruning and quantisation, and what that saves and costs.

pub mod prune;
