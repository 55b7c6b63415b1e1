//! What a stage is: the [`Kind`] trait, its ports, what is known of them before anything runs,
//! and the [`Context`] that a running attempt gets.
//!
//! Kinds live in other crates (`load` in `wick-data`, `train` in `wick-nn`, …); the engine and
//! the plan know them only through this trait. Kinds know no store and no database: what they
//! want recorded they report through their context.

pub mod checkpoint;
pub mod context;
pub mod error;
pub mod facts;
pub mod issue;
pub mod kind;
pub mod layout;
pub mod registry;

pub use checkpoint::{Checkpoint, CheckpointPlace, Checkpoints, Line};
pub use context::{AssignedInput, AssignedOutput, Assignment, Context, EventSink};
pub use error::{StageError, StageResult};
pub use facts::{Column, ColumnType, DatasetFacts, ModelFacts, PortFacts, TaskType};
pub use issue::{Issue, Issues, PathSegment};
pub use kind::{
    AnyInput, Checked, Documentation, Example, InputPort, Kind, Known, OutputPort, Ports, Typed,
    TypedKind,
};
pub use registry::Registry;
