//! Every kind that this `wick` knows: the one place where the rooms that bring kinds are named.

use wick_stage::Registry;

/// All kinds.
pub fn registry() -> Registry {
    Registry::new()
        .with(wick_engine::command::kinds())
        .with([wick_plan::pipeline_kind()])
        .with(wick_data::kinds())
        .with(wick_nn::kinds())
        .with(wick_evaluate::kinds())
        .with(wick_explain::kinds())
        .with(wick_compress::kinds())
        .with(wick_serve::kinds())
}
