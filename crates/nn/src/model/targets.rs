//! What a network is to predict, row by row.

use wick_data::DataFrame;

use super::info::TargetInfo;
use super::inputs::Inputs;
use crate::error::NnResult;

/// The truth of each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The place of its class.
    Classes(Vec<u32>),
    /// Its value, in the target's own units.
    Values(Vec<f64>),
}

impl Targets {
    /// The target column of `frame`.
    ///
    /// # Errors
    /// If it is missing, has missing values, or holds a class that the model does not know.
    pub fn encode(frame: &DataFrame, target: &TargetInfo) -> NnResult<Self> {
        Ok(if target.is_classification() {
            let labels = wick_data::labels(frame, &target.column, Some(&target.classes))?;
            Targets::Classes(labels.indices)
        } else {
            Targets::Values(wick_data::numbers(frame, &target.column)?)
        })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Targets::Classes(classes) => classes.len(),
            Targets::Values(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Samples with their truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    /// What the network reads.
    pub inputs: Inputs,
    /// What it is to predict.
    pub targets: Targets,
}

impl Examples {
    /// How many.
    pub fn rows(&self) -> usize {
        self.inputs.rows()
    }
}
