//! The gradients of whole models, against central differences of the loss.

use candle_core::{Device, Tensor, Var};
use wick_nn::model::{Network, TrainingStep};
use wick_nn::ops;
use wick_nn::train::config::{CrossEntropy, LossSpec};

use crate::untrained;

/// Values in ±1 that look like chance: SplitMix64, so that no two windows are nearly alike.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64)
        .map(|i| {
            let mut bits = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((bits >> 40) as f32 / (1u64 << 23) as f32) - 1.0
        })
        .collect()
}

#[track_caller]
fn check(layers: &str, input: &[usize]) {
    let loss = LossSpec::CrossEntropy(CrossEntropy::default());
    let model = untrained(layers, input, loss, 3, 7);
    let weights: std::collections::BTreeMap<String, Var> = model
        .weights()
        .iter()
        .map(|(name, weight)| {
            // Biases begin at zero, where a rectifier may have its kink: move them away.
            let shift = Tensor::new(if weight.rank() == 1 { 0.1f32 } else { 0.0 }, &Device::Cpu);
            let moved = weight.broadcast_add(&shift.unwrap()).unwrap();
            (name.clone(), Var::from_tensor(&moved).unwrap())
        })
        .collect();
    let tensors = weights.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
    let network = Network::new(&model.info().layers, model.layers(), &tensors.collect()).unwrap();
    let mut dims = vec![4];
    dims.extend(model.info().input_shape().dims());
    let count = dims.iter().product();
    let x = Var::from_tensor(
        &Tensor::from_vec(noise(count, 3), dims.as_slice(), &Device::Cpu).unwrap(),
    )
    .unwrap();
    let labels = Tensor::from_vec(vec![0u32, 1, 2, 1], 4, &Device::Cpu).unwrap();
    let step = Some(TrainingStep { seed: 5, step: 11 });
    let loss = || {
        let outputs = network.forward(&x, step).unwrap();
        ops::softmax_cross_entropy(&outputs, &labels, None, 0.0).unwrap()
    };
    let gradients = loss().backward().unwrap();
    let value = || f64::from(loss().to_scalar::<f32>().unwrap());
    let mut all: Vec<(&str, &Var)> =
        weights.iter().map(|(name, var)| (name.as_str(), var)).collect();
    all.push(("input", &x));
    for (name, var) in all {
        let gradient: Vec<f32> =
            gradients.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let start: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
        // A spread of places: every one would take minutes for the larger weights.
        for place in (0..start.len()).step_by((start.len() / 12).max(1)) {
            let at = |shift: f32| {
                let mut moved = start.clone();
                moved[place] += shift;
                var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                value()
            };
            // A rectifier or a pooling window may have its kink on one side of the place: the
            // gradient then lies between the slopes on both sides.
            let width = 5e-4f32;
            let (left, middle, right) = (at(-width), at(0.0), at(width));
            at(0.0);
            let slopes = [middle - left, right - middle].map(|rise| rise / f64::from(width));
            let (low, high) = (slopes[0].min(slopes[1]), slopes[0].max(slopes[1]));
            let tolerance = 2e-3 * low.abs().max(high.abs()).max(1.0) + 1e-3;
            let found = f64::from(gradient[place]);
            assert!(
                (low - tolerance..=high + tolerance).contains(&found),
                "{layers}: the gradient of {name} at {place} is {found}, not in {low}..{high}",
            );
        }
    }
}

#[test]
fn dense_layers_and_activations() {
    for activation in ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softmax"] {
        check(
            &format!(
                r#"[{{"dense": {{"units": 9, "activation": "{activation}"}}}}, {{"dense": 3}}]"#
            ),
            &[6],
        );
        check(&format!(r#"[{{"dense": 5}}, "{activation}", {{"dense": 3}}]"#), &[6]);
    }
}

#[test]
fn convolution_and_pooling() {
    let end = r#""flatten", {"dense": 3}"#;
    for layers in [
        r#"{"conv2d": {"filters": 4, "kernel": 3, "activation": "relu"}}, {"max_pool2d": 2}"#,
        r#"{"conv2d": {"filters": 4, "kernel": 3, "activation": "tanh"}}, {"max_pool2d": 2}"#,
        r#"{"conv2d": {"filters": 3, "kernel": [3, 2], "stride": 2, "padding": 1}}, "tanh""#,
        r#"{"conv2d": {"filters": 3, "kernel": 3, "padding": "same"}}, {"avg_pool2d": 2}"#,
        r#"{"conv2d": {"filters": 3, "kernel": 3}}, {"max_pool2d": {"kernel": 3, "stride": 1}}"#,
        r#"{"avg_pool2d": {"kernel": 3, "stride": 2}}, {"conv2d": {"filters": 3, "kernel": 2}}"#,
        r#"{"conv2d": {"filters": 4, "kernel": 3, "activation": "relu"}}, {"max_pool2d": 2},
           {"conv2d": {"filters": 5, "kernel": 2, "activation": "silu"}}"#,
    ] {
        check(&format!("[{layers}, {end}]"), &[9, 9, 2]);
    }
}

#[test]
fn dropout() {
    check(
        r#"[{"dense": {"units": 20, "activation": "tanh"}}, {"dropout": 0.4}, {"dense": 3}]"#,
        &[6],
    );
    check(
        r#"[{"conv2d": {"filters": 4, "kernel": 3}}, {"dropout": 0.3}, "flatten", {"dense": 3}]"#,
        &[5, 5, 1],
    );
}
