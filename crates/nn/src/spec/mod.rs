//! The architecture of a network as a pipeline declares it: a list of layers, and what shape
//! each gives. Pure: no weights, no data.

mod forms;
pub mod layer;
pub mod shape;
pub mod short;

pub use layer::{Activation, Conv2d, Dense, Dropout, LayerSpec, Padding, Pair, Pool2d};
pub use shape::{LayerShape, Misfit, SampleShape, WeightShape, shapes};
