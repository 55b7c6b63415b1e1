//! The reference networks as models.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use serde_json::json;
use wick_nn::{Feature, FeatureForm, Model, ModelInfo, TargetInfo};
use wick_stage::TaskType;

use super::Tensors;

fn model(
    file: &str,
    layers: serde_json::Value,
    features: Vec<Feature>,
    task: TaskType,
    classes: Vec<String>,
    names: &[(&str, &str)],
) -> Model {
    let loss = if task == TaskType::Binary { "binary_cross_entropy" } else { "cross_entropy" };
    let info = ModelInfo {
        version: 1,
        layers: serde_json::from_value(layers).expect("layers"),
        features,
        target: TargetInfo { column: "y".to_owned(), task, classes, mean: 0.0, scale: 1.0 },
        loss: serde_json::from_value(json!(loss)).expect("a loss"),
        parameters: 0,
    };
    let untrained = Model::untrained(info, None, 0).expect("a model");
    let file = Tensors::open(file);
    let weights: BTreeMap<String, Tensor> = untrained
        .weights()
        .iter()
        .map(|(name, weight)| {
            let (layer, part) = name.split_once('.').expect("a layer and a part");
            let (_, theirs) = names.iter().find(|(ours, _)| *ours == layer).expect("a layer");
            let values = file.values(&format!("{theirs}.{part}"));
            let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            let tensor = Tensor::from_vec(values, weight.shape(), &Device::Cpu).expect("its shape");
            (name.clone(), tensor)
        })
        .collect();
    untrained.with_weights(weights).expect("all weights")
}

/// The MLP on the columns `c0` to `c29`.
pub fn breast() -> Model {
    let features = (0..30)
        .map(|column| Feature {
            column: format!("c{column}"),
            form: FeatureForm::Number,
            scale: 1.0,
        })
        .collect();
    model(
        "mlp_breast",
        json!([
            {"dense": {"units": 64, "activation": "relu"}},
            {"dense": {"units": 32, "activation": "relu"}},
            {"dense": {"units": 1}},
        ]),
        features,
        TaskType::Binary,
        vec!["malignant".to_owned(), "benign".to_owned()],
        &[("dense_1", "fc1"), ("dense_2", "fc2"), ("dense_3", "fc3")],
    )
}

/// The CNN on `image`.
pub fn digits() -> Model {
    let form = FeatureForm::Image { height: 28, width: 28, channels: 1 };
    model(
        "cnn_mnist",
        json!([
            {"conv2d": {"filters": 8, "kernel": 3, "activation": "relu"}},
            {"max_pool2d": 2},
            {"conv2d": {"filters": 16, "kernel": 3, "activation": "relu"}},
            {"max_pool2d": 2},
            "flatten",
            {"dense": {"units": 10}},
        ]),
        vec![Feature { column: "image".to_owned(), form, scale: 255.0 }],
        TaskType::Multiclass,
        (0..10).map(|digit| digit.to_string()).collect(),
        &[("conv2d_1", "c1"), ("conv2d_2", "c2"), ("dense_1", "fc")],
    )
}
