//! The pipeline language: from YAML to a typed [`Pipeline`], with every mistake at its place.
//!
//! Pure: bytes go in, a pipeline and [`Diagnostic`]s come out. Nothing here reads a file, the
//! environment or the clock; the values of environment variables are asked of the caller. It
//! knows no kind: what stands in a stage's `with` stays a tree of [`Node`]s, which `wick-plan`
//! checks.

pub mod condition;
pub mod diagnostic;
mod fields;
pub mod files;
pub mod hooks;
pub mod include;
pub mod instances;
pub mod matrix;
pub mod node;
pub mod params;
pub mod pipeline;
pub mod render;
mod resolve;
pub mod schedule;
pub mod secrets;
pub mod settings;
pub mod span;
mod stage;
pub mod subpipeline;
pub mod suggest;
pub mod target;
pub mod template;
pub mod units;
pub mod when;
pub mod yaml;

pub use condition::Condition;
pub use diagnostic::{Diagnostic, Diagnostics, Related, Severity, Speaker};
pub use files::{Loader, SourceFile, Sources};
pub use hooks::{Hook, HookDeed, Hooks};
pub use instances::{ForeachList, InstanceOf, KnownList};
pub use node::{Data, Entry, Node};
pub use params::{Override, Param};
pub use pipeline::{Given, Pipeline, parse};
pub use render::{Style, render, summary, to_json};
pub use schedule::{Missed, Overlap, Schedule};
pub use secrets::{Secret, SecretSource};
pub use settings::{Resources, Retry, RetryOn};
pub use span::{FileId, SourceText, Span, Spanned};
pub use stage::{Before, Edge, Mode, STAGE_KEYS, Select, Stage};
pub use suggest::did_you_mean;
pub use target::{Target, Which};
pub use when::When;
