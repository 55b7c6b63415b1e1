//! Networks on candle: layers, losses, optimizers, kernels, the training loop.

pub mod packed;
