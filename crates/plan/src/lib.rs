//! Checks and resolves a pipeline into a [`Plan`], and gives each stage its fingerprint.

mod canonical;
pub mod fingerprint;
pub mod plan;

pub use fingerprint::{FingerprintParts, Materials, Part, Section, config_path, explain_change};
pub use plan::{Plan, PlannedInput, PlannedOutput, PlannedStage, Resources, Retry, StageIndex};
pub use wick_pipeline::template;
