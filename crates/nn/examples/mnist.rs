//! The classic small network on the whole of MNIST, without the engine around it:
//! `cargo run --release -p wick-nn --example mnist`. Another folder with the data may be named.

#![expect(clippy::print_stdout, reason = "an example is run to be read")]

use std::io::Read;
use std::path::Path;

use wick_nn::train::EpochReport;
use wick_nn::train::config::{CrossEntropy, LossSpec};
use wick_nn::{
    Examples, Feature, FeatureForm, FitSettings, Inputs, Model, ModelInfo, NnResult, SampleShape,
    TargetInfo, Targets, Watcher, fit, score,
};
use wick_stage::TaskType;

/// The bytes after the header of a gzipped IDX file.
fn read(folder: &Path, name: &str, header: usize) -> Vec<u8> {
    let file = std::fs::File::open(folder.join(name)).expect("MNIST is there");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("MNIST is there");
    bytes.split_off(header)
}

fn digits(folder: &Path, part: &str) -> Examples {
    let images = read(folder, &format!("{part}-images-idx3-ubyte.gz"), 16);
    let labels = read(folder, &format!("{part}-labels-idx1-ubyte.gz"), 8);
    let shape = SampleShape::Image { height: 28, width: 28, channels: 1 };
    Examples {
        inputs: Inputs::from_bytes(labels.len(), shape, images, 255.0).expect("MNIST is there"),
        targets: Targets::Classes(labels.into_iter().map(u32::from).collect()),
    }
}

struct Printed;

impl Watcher for Printed {
    fn epoch(&mut self, report: &EpochReport) -> NnResult {
        println!(
            "epoch {}: loss {:.4}, accuracy {:.4}, {:.0} images/s",
            report.epoch,
            report.train.loss,
            report.train.accuracy.unwrap_or_default(),
            report.rows_per_second
        );
        Ok(())
    }
}

/// The classic small network, not trained yet.
fn network(loss: LossSpec) -> Model {
    let layers = r#"[{"conv2d": {"filters": 32, "kernel": 3, "activation": "relu"}},
                     {"max_pool2d": 2}, "flatten", {"dense": 10}]"#;
    let info = ModelInfo {
        version: 1,
        layers: serde_json::from_str(layers).expect("these are layers"),
        features: vec![Feature {
            column: "image".to_owned(),
            form: FeatureForm::Image { height: 28, width: 28, channels: 1 },
            scale: 1.0,
        }],
        target: TargetInfo {
            column: "label".to_owned(),
            task: TaskType::Multiclass,
            classes: (0..10).map(|class| class.to_string()).collect(),
            mean: 0.0,
            scale: 1.0,
        },
        loss,
        parameters: 0,
    };
    Model::untrained(info, None, 42).expect("the layers fit")
}

fn main() -> NnResult {
    let given = std::env::args().nth(1);
    let folder = given.unwrap_or_else(|| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipelines/data/mnist").to_owned()
    });
    let (train, test) = (digits(folder.as_ref(), "train"), digits(folder.as_ref(), "t10k"));
    let loss = LossSpec::CrossEntropy(CrossEntropy::default());
    let mut model = network(loss);
    let settings = FitSettings { seed: 42, ..FitSettings::new(loss, 10) };
    fit(&mut model, &train, None, &settings, &mut Printed)?;
    let start = std::time::Instant::now();
    let scores = score(&model, &test)?;
    let speed = test.targets.len() as f64 / start.elapsed().as_secs_f64();
    println!("test: {scores:?}, {speed:.0} images/s");
    Ok(())
}
