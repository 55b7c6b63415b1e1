//! Why a network says what it says: SHAP, LIME, integrated gradients, saliency, permutation
//! importance; the kind `explain`.
//!
//! The methods are pure functions over a closure that predicts for a batch of rows (or gives its
//! gradients); they know no network, no table and no pipeline. [`kind`] joins them to models and
//! data.

pub mod draw;
pub mod gradients;
pub mod importance;
pub mod kind;
pub mod lime;
pub mod linear;
pub mod matrix;
pub mod players;
pub mod shap;

pub use kind::Explain;
pub use matrix::{Matrix, Real};
pub use players::Players;

/// The kinds of this crate.
pub fn kinds() -> Vec<Box<dyn wick_stage::Kind>> {
    vec![wick_stage::Typed::boxed(Explain)]
}
