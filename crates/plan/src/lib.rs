//! Checks and resolves a pipeline into a [`Plan`], and gives each stage its fingerprint.
//!
//! [`check()`] is the way from a file's text to a plan or to all that is wrong with it. It knows
//! kinds only through the registry that it is given; the one thing it knows of a particular kind
//! is that the `run` of a `command` may hold references which only a running attempt can
//! replace. It neither writes nor asks the clock; a kind's own check may read the headers of
//! files that the pipeline names.

mod build;
mod canonical;
pub mod check;
mod cycles;
pub mod fingerprint;
mod graft;
mod graph;
mod link;
mod machine;
mod names;
mod open;
mod pipeline_schema;
mod place;
pub mod plan;
mod run_references;
mod schema;
pub mod selection;
mod subpipeline;
pub mod times;

pub use check::{Request, Verdict, check, check_part};
pub use fingerprint::{
    Change, FingerprintParts, Materials, Part, Section, changes, config_path, explain_change,
};
pub use graft::GraftError;
pub use machine::Machine;
pub use pipeline_schema::pipeline_schema;
pub use plan::{
    Best, Foreach, Hook, HookDeed, Hooks, InputSource, Instance, Join, KnownList, Missed, Mode,
    Overlap, Plan, PlannedInput, PlannedOutput, PlannedStage, Resources, Retry, Schedule, Secret,
    SecretSource, StageIndex,
};
pub use selection::{Selection, SelectionError, Treatment, Treatments, UnknownStage};
pub use subpipeline::pipeline_kind;
pub use times::{Times, TimesError};
pub use wick_pipeline::{
    Condition, Diagnostic, Loader, Override, RetryOn, Severity, Sources, Style, condition,
    files::no_files, params::OverrideError, render, summary, template, to_json,
};
