//! Checks and resolves a pipeline into a [`Plan`], and gives each stage its fingerprint.

pub mod plan;

pub use plan::{Plan, PlannedInput, PlannedOutput, PlannedStage, Resources, Retry, StageIndex};
