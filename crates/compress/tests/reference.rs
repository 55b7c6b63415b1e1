//! Masks and 8-bit weights against those of PyTorch.

use std::collections::BTreeMap;

use safetensors::SafeTensors;
use wick_compress::prune;
use wick_nn::packed::quantize;

const WEIGHTS: &[u8] = include_bytes!("reference/cnn_mnist.safetensors");
const REFERENCE: &[u8] = include_bytes!("reference/modelopt.safetensors");
const LAYERS: [&str; 3] = ["c1", "c2", "fc"];

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).expect("the reference has it");
    tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn bytes(file: &SafeTensors<'_>, name: &str) -> Vec<u8> {
    file.tensor(name).expect("the reference has it").data().to_vec()
}

fn weights() -> BTreeMap<String, Vec<f32>> {
    let file = SafeTensors::deserialize(WEIGHTS).expect("a safetensors file");
    LAYERS
        .into_iter()
        .map(|layer| (layer.to_owned(), floats(&file, &format!("{layer}.weight"))))
        .collect()
}

#[test]
fn masks_are_those_of_pytorch() {
    let file = SafeTensors::deserialize(REFERENCE).expect("a safetensors file");
    let weights = weights();
    let stays = |name: &str| -> Vec<bool> {
        bytes(&file, name).into_iter().map(|byte| byte == 1).collect()
    };
    for amount in ["0.5", "0.8", "0.9"] {
        let masks = prune::global(&weights, amount.parse().expect("a number"));
        for layer in LAYERS {
            assert_eq!(masks[layer], stays(&format!("global_l1_{amount}_{layer}_mask")), "{layer}");
        }
    }
    let masks = prune::per_layer(&weights, 0.5);
    assert_eq!(masks["fc"], stays("l1_unstructured_.5_fc_mask"));
}

#[test]
fn eight_bit_weights_are_those_of_pytorch() {
    let file = SafeTensors::deserialize(REFERENCE).expect("a safetensors file");
    for (layer, weight) in weights() {
        for (granularity, channels) in [
            ("pertensor", 1),
            (
                "perchannel",
                match layer.as_str() {
                    "c1" => 8,
                    "c2" => 16,
                    _ => 10,
                },
            ),
        ] {
            let (values, scales) = quantize(&weight, channels);
            let name = format!("int8_{granularity}_{layer}");
            let expect: Vec<i8> =
                bytes(&file, &format!("{name}_q")).iter().map(|b| *b as i8).collect();
            assert_eq!(values, expect, "{name}");
            assert_eq!(scales, floats(&file, &format!("{name}_s")), "{name}");
        }
    }
}
