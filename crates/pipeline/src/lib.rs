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
pub mod include;
pub mod node;
pub mod params;
pub mod pipeline;
pub mod render;
mod resolve;
pub mod span;
mod stage;
pub mod subpipeline;
pub mod suggest;
pub mod template;
pub mod units;
pub mod yaml;

pub use condition::Condition;
pub use diagnostic::{Diagnostic, Diagnostics, Related, Severity};
pub use files::{Loader, SourceFile, Sources};
pub use node::{Data, Entry, Node};
pub use params::{Override, Param};
pub use pipeline::{Given, Pipeline, parse};
pub use render::{Style, render, summary, to_json};
pub use span::{FileId, SourceText, Span, Spanned};
pub use stage::{Edge, Resources, Retry, RetryOn, STAGE_KEYS, Stage};
pub use suggest::did_you_mean;
