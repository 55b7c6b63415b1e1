//! What explanations cost: processor seconds for the cases that shap and lime are measured on,
//! an MLP 30-64-32-1 with 100 background rows and 100 explained ones.
//!
//! `cargo run --release -p wick-explain --example cost`
#![expect(clippy::print_stdout, reason = "a program that prints its measurements")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Tensors, head, models};
use serde_json::json;
use wick_explain::Matrix;
use wick_explain::kind::config::{ExplainConfig, Method};
use wick_explain::kind::explain::{Row, Setting};
use wick_explain::kind::subject::Subject;

/// Processor seconds of this process, user and system.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("a name in brackets");
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

fn main() {
    let subject = Subject::new(models::breast(), 7).expect("a subject");
    let data = Tensors::open("breast_data");
    let train: Matrix<f32> = data.matrix("X_train");
    let test: Matrix<f32> = data.matrix("X_test");
    let background = head(&train, 100);
    let rows: Vec<Row> = test
        .iter()
        .take(100)
        .enumerate()
        .map(|(place, row)| Row { place, values: row.to_vec(), class: 1, prediction: 0.0 })
        .collect();
    for (name, method, config) in [
        ("KernelSHAP, 2048 samples, 100 rows", Method::Shap, json!({"samples": 2048})),
        ("LIME, quartile, 5000 samples, 100 rows", Method::Lime, json!({})),
        ("LIME, continuous, 100 rows", Method::Lime, json!({"lime": {"values": "continuous"}})),
        ("integrated gradients, 100 rows", Method::IntegratedGradients, json!({})),
        ("saliency, 100 rows", Method::Saliency, json!({})),
    ] {
        let config: ExplainConfig = serde_json::from_value(config).expect("a configuration");
        let setting = Setting {
            config: &config,
            subject: &subject,
            background: &background,
            variety: &train,
        };
        let (cpu, wall) = (processor_seconds(), std::time::Instant::now());
        setting.explain(method, &rows, &mut || Ok(())).expect("explained");
        let (cpu, wall) = (processor_seconds() - cpu, wall.elapsed().as_secs_f64());
        println!("{name}: {cpu:.2} s of processor, {wall:.2} s");
    }
}
