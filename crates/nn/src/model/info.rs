//! `model.json`: what a network is, what it reads and what it predicts.

use serde::{Deserialize, Serialize};
use wick_stage::{ModelFacts, TaskType};

use crate::features::{Feature, sample_shape};
use crate::spec::{LayerShape, LayerSpec, Misfit, SampleShape, shapes};
use crate::train::config::LossSpec;

/// The version of `model.json`.
pub const MODEL_VERSION: u32 = 1;

/// What a network is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelInfo {
    /// The version of this format.
    pub version: u32,
    /// The layers, first to last.
    pub layers: Vec<LayerSpec>,
    /// The columns that the network reads, after any transform, in the order of its inputs.
    pub features: Vec<Feature>,
    /// What it predicts.
    pub target: TargetInfo,
    /// What it was trained to make small.
    pub loss: LossSpec,
    /// How many weights it has.
    pub parameters: u64,
}

/// What a network predicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetInfo {
    /// The column.
    pub column: String,
    /// Classes or a number.
    pub task: TaskType,
    /// The classes in the order of the outputs; with a single output the second one is what the
    /// probability is of. Empty for a number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// For a number: what is added to the scaled output.
    #[serde(default)]
    pub mean: f64,
    /// For a number: what the output is multiplied by.
    #[serde(default = "one")]
    pub scale: f64,
}

const fn one() -> f64 {
    1.0
}

impl TargetInfo {
    /// Whether classes are told apart.
    pub fn is_classification(&self) -> bool {
        self.task != TaskType::Regression
    }
}

impl ModelInfo {
    /// The shape of a sample.
    pub fn input_shape(&self) -> SampleShape {
        sample_shape(&self.features)
    }

    /// The layers in their places, with their weights.
    ///
    /// # Errors
    /// If a layer does not fit.
    pub fn shapes(&self) -> Result<Vec<LayerShape>, Misfit> {
        shapes(&self.layers, self.input_shape())
    }

    /// What the plan knows of such a model.
    pub fn facts(&self) -> ModelFacts {
        ModelFacts {
            target: self.target.column.clone(),
            task: Some(self.target.task),
            features: Some(self.features.iter().map(Feature::to_column).collect()),
        }
    }

    /// Facts worth showing of the artifact.
    pub fn meta(&self) -> serde_json::Value {
        serde_json::json!({
            "parameters": self.parameters,
            "target": self.target.column,
            "task": self.target.task,
            "classes": self.target.classes.len(),
            "features": self.features.len(),
            "layers": self.layers.len(),
        })
    }
}
