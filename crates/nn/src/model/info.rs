//! `model.json`: what a network is, what it reads and what it predicts.

use serde::{Deserialize, Serialize};
use wick_stage::{ModelFacts, TaskType};

use crate::features::{Feature, sample_shape};
use crate::spec::{LayerShape, LayerSpec, Misfit, SampleShape, WeightShape, shapes};
use crate::train::config::LossSpec;

/// The version of `model.json`.
pub const MODEL_VERSION: u32 = 1;

/// How many layers are told with a model's facts, which travel with every run.
const MAX_SUMMARY: usize = 100;

/// How many bytes a weight has: `f32`.
const BYTES: u64 = 4;

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
            "parameter_bytes": self.parameters * BYTES,
            "summary": self.summary(),
        })
    }

    /// What each layer gives and how many weights it has, as people know it from Keras: of a deep
    /// network the first layers.
    fn summary(&self) -> Vec<serde_json::Value> {
        // A model that is there fits; of one that does not there is nothing to tell.
        let shapes = self.shapes().unwrap_or_default();
        let row = |layer: &LayerShape| {
            let output = match layer.output {
                SampleShape::Flat { width } => vec![width],
                SampleShape::Image { height, width, channels } => vec![height, width, channels],
            };
            let parameters: usize = layer.weights.iter().map(WeightShape::elements).sum();
            serde_json::json!({
                "layer": layer.name,
                "output": output,
                "parameters": parameters,
                "bytes": parameters as u64 * BYTES,
            })
        };
        shapes.iter().take(MAX_SUMMARY).map(row).collect()
    }
}
