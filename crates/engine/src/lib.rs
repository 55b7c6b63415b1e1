//! Executes plans: dispatcher, executors, retries, recovery, the command kind.

pub mod dispatcher;
pub mod slots;

mod ready;

#[cfg(test)]
mod test_support;
