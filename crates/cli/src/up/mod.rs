//! `wick up`: begins runs by schedule.
//!
//! What is to be done is decided in [`agenda`] and [`changes`], which know no clock and no file:
//! they are told what time it is and what the files look like. [`driver`] tells them, and does
//! what they say. What must outlive the process is kept by [`memory`]; which pipelines have a
//! schedule is found by [`discover`]; [`report`] says what happens.

pub mod agenda;
pub mod changes;
pub mod discover;
pub mod driver;
pub mod memory;
pub mod report;
