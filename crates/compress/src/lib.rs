//! Pruning and quantisation.
