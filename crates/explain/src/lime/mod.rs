//! LIME: a simple model that is faithful near one row (Ribeiro, Singh and Guestrin 2016).
//! Follows lime 0.2.

pub mod local;
pub mod neighbourhood;
pub mod table;

pub use local::{LocalModel, fit_local, kernel_weights};
pub use neighbourhood::{Neighbourhood, segments};
pub use table::{TableSampler, Values};
