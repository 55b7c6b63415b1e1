//! Faults: what `wick` does when processes are killed, disks fill or lie, bytes rot, clocks jump
//! and others hold what it needs. All against the real binary, without privileges; what a test
//! cannot do because the system refuses, it says.
//!
//! `cargo bench --bench kills -- 500` does at length what `kills` does shortly.

mod aftermath;
mod bytes;
#[path = "../../crates/store/tests/store/cluster.rs"]
pub mod cluster;
mod disk;
mod engines;
mod kills;
mod locked;
mod mixed;
mod order;
mod points;
pub mod postgres;
mod processes;
pub mod random_kills;
mod shim;
mod signals;
mod volume;
