//! Networks from end to end: against recorded values of PyTorch, against finite differences, and
//! as stages.

#![allow(clippy::unwrap_used)]

mod gradients;
mod learning;
mod reference;
mod resuming;
mod stages;
mod summary;

use wick_nn::train::config::LossSpec;
use wick_nn::{Feature, FeatureForm, LayerSpec, Model, ModelInfo, TargetInfo};
use wick_stage::TaskType;

/// A model that was not trained, of `width` numbers or of images `[height, width, channels]`.
fn untrained(layers: &str, input: &[usize], loss: LossSpec, classes: usize, seed: u64) -> Model {
    let layers: Vec<LayerSpec> = serde_json::from_str(layers).unwrap();
    let form = match *input {
        [width] => FeatureForm::Vector { width },
        [height, width, channels] => FeatureForm::Image { height, width, channels },
        _ => panic!("{input:?} is no shape"),
    };
    let classes: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
    let info = ModelInfo {
        version: 1,
        layers,
        features: vec![Feature { column: "x".to_owned(), form, scale: 1.0 }],
        target: TargetInfo {
            column: "y".to_owned(),
            task: match classes.len() {
                0 => TaskType::Regression,
                2 => TaskType::Binary,
                _ => TaskType::Multiclass,
            },
            classes,
            mean: 0.0,
            scale: 1.0,
        },
        loss,
        parameters: 0,
    };
    Model::untrained(info, None, seed).unwrap()
}
