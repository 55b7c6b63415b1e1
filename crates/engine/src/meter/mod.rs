//! Meters: what attempts use of the machine, looked at while they run.
//!
//! An attempt that lives for a second or more is sampled ([`sampler`]): the processor time,
//! memory and disk of all its processes ([`processes`]), and the GPUs that they use ([`gpu`]).
//! What one sample shows is recorded as metrics of the attempt, whose names begin with `system.`;
//! the sums are its [`Usage`](wick_core::Usage). Shorter attempts cost nothing here: what the
//! system says of them when they end is all that is recorded.
//!
//! Energy is read from counters of the hardware where there are any that this process may read
//! ([`rapl`], and those of the GPUs), and else estimated from processor time ([`energy`]).

pub mod energy;
pub mod gpu;
pub mod processes;
pub mod rapl;
pub mod sampler;

pub use energy::Carbon;

/// Processors that were busy with the attempt, on average since the last sample: 1 is one
/// processor that did nothing else.
pub const CPU: &str = "system.cpu";

/// Resident memory of all processes of the attempt together, in bytes. What several of them share
/// counts for each.
pub const MEMORY: &str = "system.memory";

/// What the attempt has read from disks since it began, in bytes.
pub const DISK_READ: &str = "system.disk_read";

/// What the attempt has written to disks since it began, in bytes.
pub const DISK_WRITTEN: &str = "system.disk_written";

/// The name of a metric of the GPU with this number: `system.gpu0.power`.
pub fn gpu_metric(index: u32, what: &str) -> String {
    format!("system.gpu{index}.{what}")
}

/// How much of the time the GPU computed, from 0 to 1, whoever it computed for.
pub const GPU_UTILISATION: &str = "utilisation";

/// The memory of the GPU that the attempt holds, in bytes.
pub const GPU_MEMORY: &str = "memory";

/// What the GPU draws, in watts, whoever it computes for.
pub const GPU_POWER: &str = "power";
