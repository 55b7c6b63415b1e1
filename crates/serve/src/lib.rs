//! What happens to a model after training: the registry's kinds `register` and `deploy`, and
//! the inference server.

pub mod register;
pub mod request;
pub mod server;

use wick_stage::{Kind, Typed};

pub use server::{ServeError, Served, serve};

/// The kinds of this crate.
pub fn kinds() -> Vec<Box<dyn Kind>> {
    vec![Typed::boxed(register::Register), Typed::boxed(register::Deploy)]
}
