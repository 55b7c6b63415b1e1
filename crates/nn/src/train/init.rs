//! First weights.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use crate::error::NnResult;
use crate::ops::Init;
use crate::spec::{Activation, LayerShape, LayerSpec};

/// First weights for `layers` in their `places`.
///
/// Uniform within ±√(6 / inputs) before a rectifier (He et al., 2015), within
/// ±√(6 / (inputs + outputs)) otherwise (Glorot and Bengio, 2010); biases are zero.
///
/// # Errors
/// If a tensor cannot be made.
pub fn weights(
    layers: &[LayerSpec],
    places: &[LayerShape],
    seed: u64,
) -> NnResult<BTreeMap<String, Tensor>> {
    let mut weights = BTreeMap::new();
    for (index, place) in places.iter().enumerate() {
        let rectified = is_rectified(&layers[index..]);
        for weight in &place.weights {
            let init = match (weight.dims.len(), rectified) {
                (1, _) => Init::Constant(0.0),
                (_, true) => Init::HeUniform,
                (_, false) => Init::XavierUniform,
            };
            let tensor = init.draw(seed, &weight.name, weight.dims.as_slice(), &Device::Cpu)?;
            weights.insert(weight.name.clone(), tensor);
        }
    }
    Ok(weights)
}

/// Whether what the first of `layers` gives goes through a rectifier, next or after pooling.
fn is_rectified(layers: &[LayerSpec]) -> bool {
    let activation = match layers[0].activation() {
        Some(activation) => Some(activation),
        None => layers[1..]
            .iter()
            .find(|layer| !matches!(layer, LayerSpec::MaxPool2d(_) | LayerSpec::AvgPool2d(_)))
            .and_then(|layer| match layer {
                LayerSpec::Activation(activation) => Some(*activation),
                _ => None,
            }),
    };
    matches!(
        activation,
        Some(
            Activation::Relu
                | Activation::LeakyRelu
                | Activation::Elu
                | Activation::Gelu
                | Activation::Silu
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{SampleShape, shapes};

    fn of(json: &str, seed: u64) -> BTreeMap<String, Vec<f32>> {
        let layers: Vec<LayerSpec> = serde_json::from_str(json).expect("layers");
        let places = shapes(&layers, SampleShape::Flat { width: 600 }).expect("they fit");
        weights(&layers, &places, seed)
            .expect("they can be made")
            .into_iter()
            .map(|(name, weight)| {
                (name, weight.flatten_all().and_then(|w| w.to_vec1()).expect("floats"))
            })
            .collect()
    }

    #[test]
    fn weights_follow_seed_name_and_activation() {
        let first = of(r#"[{"dense": {"units": 40, "activation": "relu"}}, {"dense": 10}]"#, 1);
        let largest = |values: &[f32]| values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        // √(6/600) = 0.1 and √(6/50) = 0.346.
        assert!((0.0999..=0.1).contains(&largest(&first["dense_1.weight"])));
        assert!((0.33..=0.3465).contains(&largest(&first["dense_2.weight"])));
        assert!(first["dense_1.bias"].iter().all(|bias| *bias == 0.0));
        let mean: f32 = first["dense_1.weight"].iter().sum::<f32>() / 24_000.0;
        assert!(mean.abs() < 0.002, "{mean}");

        let deeper = of(r#"[{"dense": {"units": 40, "activation": "relu"}}, {"dense": 40}]"#, 1);
        assert_eq!(first["dense_1.weight"], deeper["dense_1.weight"]);
        let other = of(r#"[{"dense": {"units": 40, "activation": "relu"}}]"#, 2);
        assert_ne!(first["dense_1.weight"], other["dense_1.weight"]);
    }
}
