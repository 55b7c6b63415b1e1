//! The main network on the whole of MNIST. Takes half a minute and needs the data:
//! `WICK_MNIST=pipelines/data/mnist cargo test -p wick-nn -- --ignored --nocapture mnist`.

use std::io::Read;
use std::path::Path;

use wick_nn::train::EpochReport;
use wick_nn::train::config::{CrossEntropy, LossSpec};
use wick_nn::{Examples, FitSettings, Inputs, NnResult, SampleShape, Targets, Watcher, fit, score};

use crate::untrained;

/// The bytes after the header of a gzipped IDX file.
fn read(folder: &Path, name: &str, header: usize) -> Vec<u8> {
    let file = std::fs::File::open(folder.join(name)).unwrap();
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes.split_off(header)
}

fn digits(folder: &Path, part: &str) -> Examples {
    let images = read(folder, &format!("{part}-images-idx3-ubyte.gz"), 16);
    let labels = read(folder, &format!("{part}-labels-idx1-ubyte.gz"), 8);
    let shape = SampleShape::Image { height: 28, width: 28, channels: 1 };
    Examples {
        inputs: Inputs::from_bytes(labels.len(), shape, images, 255.0).unwrap(),
        targets: Targets::Classes(labels.into_iter().map(u32::from).collect()),
    }
}

struct Printed;

impl Watcher for Printed {
    #[expect(clippy::print_stderr, reason = "run by hand, to be read")]
    fn epoch(&mut self, report: &EpochReport) -> NnResult {
        eprintln!(
            "epoch {}: loss {:.4}, accuracy {:.4}, {:.0} images/s",
            report.epoch,
            report.train.loss,
            report.train.accuracy.unwrap_or_default(),
            report.rows_per_second
        );
        Ok(())
    }
}

#[test]
#[ignore = "half a minute, and needs MNIST"]
#[expect(clippy::print_stderr, reason = "run by hand, to be read")]
fn mnist_reaches_98_percent() {
    let folder = std::env::var("WICK_MNIST").expect("WICK_MNIST is the folder of MNIST");
    let (train, test) = (digits(folder.as_ref(), "train"), digits(folder.as_ref(), "t10k"));
    let layers = r#"[{"conv2d": {"filters": 32, "kernel": 3, "activation": "relu"}},
                     {"max_pool2d": 2}, "flatten", {"dense": 10}]"#;
    let loss = LossSpec::CrossEntropy(CrossEntropy::default());
    let mut model = untrained(layers, &[28, 28, 1], loss, 10, 42);
    let settings = FitSettings { seed: 42, ..FitSettings::new(loss, 10) };
    fit(&mut model, &train, None, &settings, &mut Printed).unwrap();
    let start = std::time::Instant::now();
    let scores = score(&model, &test).unwrap();
    let speed = 10_000.0 / start.elapsed().as_secs_f64();
    eprintln!("test: {scores:?}, {speed:.0} images/s");
    assert!(scores.accuracy.unwrap() >= 0.98);
}
