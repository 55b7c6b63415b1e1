//! Why a network says what it says: SHAP, LIME, integrated gradients, saliency, permutation
//! importance.
//!
//! The methods are pure functions over a closure that predicts for a batch of rows (or gives its
//! gradients); they know no network, no table and no pipeline.

pub mod draw;
pub mod gradients;
pub mod importance;
pub mod lime;
pub mod linear;
pub mod matrix;
pub mod players;
pub mod shap;

pub use matrix::{Matrix, Real};
pub use players::Players;
