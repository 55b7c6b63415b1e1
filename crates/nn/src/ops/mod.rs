//! The ops that networks are trained with: forward, backward, and fast on the CPU.
//!
//! Several of candle's own ops have wrong gradients (max pooling scales them, the fused softmax and
//! norms drop them, relu's slope at 0 is 1), and its CPU training is several times slower than
//! PyTorch's. These are put beside them through candle's public custom-op traits: each makes the
//! gradients by hand, of those inputs only that a variable leads to, and takes no memory that it
//! can use again.
//!
//! | op | what is special |
//! |---|---|
//! | [`conv2d`] | bias and relu inside; any stride and padding |
//! | [`conv2d_max_pool2d`] | the full map is never stored: use it wherever a convolution is pooled |
//! | [`max_pool2d`], [`avg_pool2d`] | any stride, padding and size; the first of equals wins |
//! | [`dense`] | bias and relu inside; takes images without a flattening before it |
//! | [`activate`], [`relu`], [`softmax`] | relu's slope at 0 is 0 |
//! | [`softmax_cross_entropy`], [`sigmoid_binary_cross_entropy`] | stable, from logits; class weights, label smoothing |
//! | [`mean_squared_error`], [`mean_absolute_error`], [`huber`] | |
//! | [`dropout`] | the mask is a function of seed, step and layer |
//! | [`Init`] | first values from the seed and the parameter's name |
//!
//! **Types and devices.** `f32` on the CPU runs the kernels here, written once and compiled for
//! AVX-512, AVX2 and anything else. Whatever else goes through candle's own ops, those whose
//! gradients are right: slower, but the same numbers within tolerance.
//!
//! **Threads.** Work is split over rayon's pool in pieces that depend on the shapes alone, so
//! results are bit-identical for any number of threads. A loop over many steps runs faster inside
//! [`in_pool`].
//!
//! What this does not know: models, configuration, data, or how a training proceeds.

mod activation;
#[cfg(test)]
pub(crate) mod check;
mod composed;
mod conv;
mod conv_pool;
mod dense;
mod dropout;
mod geometry;
mod init;
mod loss;
mod matrix;
pub(crate) mod parallel;
mod pool;
pub(crate) mod random;
pub(crate) mod simd;
mod tensor;

pub use activation::{Activation, activate, relu, softmax};
pub use conv::{ConvOptions, conv2d};
pub use conv_pool::conv2d_max_pool2d;
pub use dense::dense;
pub use dropout::{DropoutKey, dropout};
pub use geometry::Window;
pub use init::{Init, fans};
pub use loss::{
    huber, mean_absolute_error, mean_squared_error, sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
};
pub use parallel::in_pool;
pub use pool::{avg_pool2d, max_pool2d};
