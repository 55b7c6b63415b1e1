//! The same weights give the same outputs and gradients as in PyTorch. The files are recorded
//! values of PyTorch 2.15; `crates/explain/tests/reference/README.md` says how they were made.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, IndexOp, Tensor, Var};
use wick_nn::train::config::{CrossEntropy, LossSpec};
use wick_nn::{Inputs, Model, SampleShape};

use crate::untrained;

fn tensors(name: &str) -> HashMap<String, Tensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../explain/tests/reference");
    candle_core::safetensors::load(folder.join(name), &Device::Cpu).unwrap()
}

/// `model` with the weights of `file`, layer by layer in the order of `names`.
fn with_weights(model: &Model, file: &str, names: &[&str]) -> Model {
    let file = tensors(file);
    let mut weights = BTreeMap::new();
    let layers = model.layers().iter().filter(|layer| !layer.weights.is_empty());
    for (layer, name) in layers.zip(names) {
        for weight in &layer.weights {
            let part = weight.name.rsplit('.').next().unwrap();
            weights.insert(weight.name.clone(), file[&format!("{name}.{part}")].clone());
        }
    }
    model.with_weights(weights).unwrap()
}

pub fn mlp() -> Model {
    let layers = r#"[{"dense": {"units": 64, "activation": "relu"}},
                     {"dense": {"units": 32, "activation": "relu"}}, {"dense": 1}]"#;
    let model = untrained(layers, &[30], LossSpec::BinaryCrossEntropy, 2, 0);
    with_weights(&model, "mlp_breast.safetensors", &["fc1", "fc2", "fc3"])
}

pub fn cnn() -> Model {
    let layers = r#"[{"conv2d": {"filters": 8, "kernel": 3, "activation": "relu"}},
                     {"max_pool2d": 2},
                     {"conv2d": {"filters": 16, "kernel": 3, "activation": "relu"}},
                     {"max_pool2d": 2}, "flatten", {"dense": 10}]"#;
    let loss = LossSpec::CrossEntropy(CrossEntropy::default());
    let model = untrained(layers, &[28, 28, 1], loss, 10, 0);
    with_weights(&model, "cnn_mnist.safetensors", &["c1", "c2", "fc"])
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(actual.dims(), expected.dims());
    for (place, (actual, expected)) in values(actual).iter().zip(values(expected)).enumerate() {
        let error = (actual - expected).abs();
        assert!(error <= tolerance, "{actual} is not {expected} at {place}");
    }
}

#[test]
fn a_convolutional_network_gives_the_recorded_outputs_and_gradients() {
    let recorded = tensors("cnn_attr.safetensors");
    let model = cnn();
    let x = Var::from_tensor(&recorded["x"]).unwrap();
    let outputs = model.forward(&x).unwrap();
    assert_close(&outputs, &recorded["logits"], 2e-5);
    // The gradient of each image's own class with respect to its pixels.
    let target = &recorded["target"];
    let own: Vec<Tensor> = target
        .to_vec1::<i64>()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(row, class)| outputs.i((row, *class as usize)).unwrap())
        .collect();
    let gradients = Tensor::stack(&own, 0).unwrap().sum_all().unwrap().backward().unwrap();
    let saliency = gradients.get(&x).unwrap().abs().unwrap();
    assert_close(&saliency, &recorded["saliency"], 2e-5);
    // The outputs do not depend on which layers one op computes together.
    let each = model.forward_each(&recorded["x"]).unwrap();
    assert_close(each.last().unwrap(), &recorded["logits"], 2e-5);
    assert_eq!(each[2].dims(), [6, 16, 11, 11]);
}

#[test]
fn a_dense_network_gives_the_recorded_outputs_and_gradients() {
    let recorded = tensors("grad_mlp.safetensors");
    let data = tensors("breast_data.safetensors");
    let model = mlp();
    let x = Var::from_tensor(&data["X_test"].i(..20).unwrap()).unwrap();
    let outputs = model.forward(&x).unwrap();
    assert_close(&outputs, &recorded["logits"], 2e-5);
    let gradients = outputs.sum_all().unwrap().backward().unwrap();
    let saliency = gradients.get(&x).unwrap().abs().unwrap();
    assert_close(&saliency, &recorded["saliency"], 2e-5);
}

#[test]
fn predictions_are_as_accurate_as_recorded() {
    let data = tensors("breast_data.safetensors");
    let flat = SampleShape::Flat { width: 30 };
    let inputs = Inputs::from_values(143, flat, values(&data["X_test"])).unwrap();
    let predictions = mlp().predict(&inputs).unwrap();
    assert_eq!((predictions.rows, predictions.width), (143, 2));
    let truth = data["y_test"].to_vec1::<i64>().unwrap();
    let right = (0..143).filter(|row| predictions.class_index(*row) as i64 == truth[*row]).count();
    assert_eq!(right, 135);
    for row in 0..143 {
        let sum: f32 = predictions.row(row).iter().sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_model_survives_its_folder_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let again = tempfile::tempdir().unwrap();
    let model = cnn();
    model.save(folder.path()).unwrap();
    let back = Model::load(folder.path()).unwrap();
    assert_eq!(back.info(), model.info());
    assert_eq!(back.info().parameters, 5_258);
    for (name, weight) in model.weights() {
        assert_eq!(values(weight), values(&back.weights()[name]));
    }
    back.save(again.path()).unwrap();
    for file in ["model.json", "weights.safetensors"] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert_eq!(read(folder.path()), read(again.path()), "{file}");
    }
}

#[test]
fn packed_weights_are_read_back_as_what_they_stand_for() {
    use wick_nn::packed::Storage;
    let folder = tempfile::tempdir().unwrap();
    let model = cnn();
    let pack = |name: &str| name.ends_with(".weight").then_some(Storage::Int8PerChannel);
    model.save_packed(folder.path(), pack).unwrap();
    let back = Model::load(folder.path()).unwrap();
    let (dense, packed) =
        (values(&model.weights()["dense_1.weight"]), values(&back.weights()["dense_1.weight"]));
    assert_ne!(dense, packed);
    for (row, (dense, packed)) in dense.chunks(400).zip(packed.chunks(400)).enumerate() {
        let scale = dense.iter().fold(0f32, |a, b| a.max(b.abs())) / 127.0;
        for (a, b) in dense.iter().zip(packed) {
            assert!((a - b).abs() <= scale * 0.5001, "row {row}");
        }
    }
    let recorded = tensors("cnn_attr.safetensors");
    let outputs = back.forward(&recorded["x"]).unwrap();
    assert_close(&outputs, &recorded["logits"], 0.5);
}

#[test]
fn a_damaged_model_is_refused() {
    #[track_caller]
    fn check(break_it: impl Fn(&Path), expect: &str) {
        let folder = tempfile::tempdir().unwrap();
        cnn().save(folder.path()).unwrap();
        break_it(folder.path());
        let error = Model::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    let change = |folder: &Path, from: &str, to: &str| {
        let path = folder.join("model.json");
        let json = std::fs::read_to_string(&path).unwrap();
        assert!(json.contains(from), "{json}");
        std::fs::write(path, json.replacen(from, to, 1)).unwrap();
    };
    check(|folder| change(folder, r#""version": 1"#, r#""version": 2"#), "it has version 2, not 1");
    check(|folder| change(folder, r#""filters": 16"#, r#""filters": 17"#), "its layer wants");
    check(|folder| change(folder, r#""layers""#, r#""layer""#), "unknown field `layer`");
    check(
        |folder| std::fs::write(folder.join("weights.safetensors"), b"no").unwrap(),
        "not a model",
    );
    check(|folder| std::fs::remove_file(folder.join("model.json")).unwrap(), "cannot read");
}
