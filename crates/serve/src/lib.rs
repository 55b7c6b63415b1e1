//! What happens to a model after training: the registry's kinds `register` and `deploy`, and
//! the inference server.

pub mod register;

use wick_stage::{Kind, Typed};

/// The kinds of this crate.
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![Typed::boxed(register::Register), Typed::boxed(register::Deploy)]
}
