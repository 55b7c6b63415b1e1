//! The metrics against scikit-learn's values: see `reference/README.md`.

use serde_json::Value;
use wick_evaluate::metrics::{self, Probabilities, pr_curve, roc_curve, values};
use wick_evaluate::{Average, ClassOutcomes, Metric, MetricOptions, Outcomes};

const TOLERANCE: f64 = 1e-12;

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference")
}

fn tensors() -> Vec<u8> {
    std::fs::read(folder().join("metrics.safetensors")).expect("the reference values")
}

fn expected(section: &str) -> Value {
    let text = std::fs::read_to_string(folder().join("metrics.json")).expect("the metrics");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all[section].clone()
}

/// A tensor as f64, whatever its type.
fn read(bytes: &[u8], name: &str) -> Vec<f64> {
    let file = safetensors::SafeTensors::deserialize(bytes).expect("a safetensors file");
    let tensor = file.tensor(name).expect("the tensor");
    let data = tensor.data();
    match tensor.dtype() {
        safetensors::Dtype::F64 => {
            data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
        }
        safetensors::Dtype::F32 => {
            data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
        }
        safetensors::Dtype::I64 => {
            data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
        }
        other => panic!("no reference value is {other:?}"),
    }
}

#[track_caller]
fn near(what: &str, value: f64, expect: &Value) {
    let expect = expect.as_f64().expect("a number");
    assert!((value - expect).abs() <= TOLERANCE, "{what}: {value} instead of {expect}");
}

#[track_caller]
fn all_near(what: &str, values: &[f64], expect: &[f64]) {
    assert_eq!(values.len(), expect.len(), "{what}");
    for (value, expect) in values.iter().zip(expect) {
        assert!((value - expect).abs() <= TOLERANCE, "{what}: {value} instead of {expect}");
    }
}

fn binary() -> (Vec<usize>, Vec<f64>) {
    let bytes = tensors();
    let y = read(&bytes, "y").into_iter().map(|label| label as usize).collect();
    (y, read(&bytes, "q"))
}

#[test]
fn two_classes() {
    let (y, q) = binary();
    let expect = expected("binary");
    let both = q.iter().flat_map(|q| [1.0 - q, *q]).collect();
    let outcomes = ClassOutcomes::new(2, y, both, 0.5).expect("outcomes");
    for actual in 0..2 {
        for predicted in 0..2 {
            assert_eq!(
                expect["confusion"][actual][predicted],
                outcomes.confusion().count(actual, predicted)
            );
        }
    }
    let outcomes = Outcomes::Classes(outcomes);
    for (metric, name) in [
        (Metric::Accuracy, "accuracy"),
        (Metric::BalancedAccuracy, "balanced_accuracy"),
        (Metric::Precision, "precision"),
        (Metric::Recall, "recall"),
        (Metric::F1, "f1"),
        (Metric::RocAuc, "roc_auc"),
        (Metric::PrAuc, "average_precision"),
        (Metric::LogLoss, "log_loss"),
        (Metric::Mcc, "mcc"),
        (Metric::CohenKappa, "kappa"),
        (Metric::Brier, "brier"),
        (Metric::Ece, "ece10"),
    ] {
        let value = metric.value(&outcomes, MetricOptions::default()).expect("a value");
        near(name, value, &expect[name]);
    }
}

#[test]
fn curves() {
    let (y, q) = binary();
    let bytes = tensors();
    let positive: Vec<bool> = y.iter().map(|label| *label == 1).collect();
    let roc = roc_curve(&positive, &q);
    let fpr: Vec<f64> = roc.iter().map(|point| point.false_positive_rate).collect();
    let tpr: Vec<f64> = roc.iter().map(|point| point.true_positive_rate).collect();
    all_near("fpr", &fpr, &read(&bytes, "roc_fpr"));
    all_near("tpr", &tpr, &read(&bytes, "roc_tpr"));

    let pr = pr_curve(&positive, &q);
    let precision: Vec<f64> = pr.iter().map(|point| point.precision).collect();
    let recall: Vec<f64> = pr.iter().map(|point| point.recall).collect();
    all_near("precision", &precision, &read(&bytes, "pr_precision"));
    all_near("recall", &recall, &read(&bytes, "pr_recall"));

    let expect = expected("binary");
    let list = |name: &str| -> Vec<f64> {
        expect[name].as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
    };
    let both: Vec<f64> = q.iter().flat_map(|q| [1.0 - q, *q]).collect();
    let bins = metrics::calibration(&y, Probabilities::new(&both, 2).expect("rows"), 10);
    let observed: Vec<f64> = bins.iter().map(|bin| bin.observed).collect();
    let confidence: Vec<f64> = bins.iter().map(|bin| bin.confidence).collect();
    all_near("observed", &observed, &list("calib_true"));
    all_near("confidence", &confidence, &list("calib_pred"));
}

#[test]
fn many_classes() {
    let bytes = tensors();
    let y: Vec<usize> = read(&bytes, "mnist_y").into_iter().map(|label| label as usize).collect();
    let probabilities: Vec<f64> = read(&bytes, "mnist_logits")
        .chunks_exact(10)
        .flat_map(|logits| {
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            powers.into_iter().map(move |power| power / sum)
        })
        .collect();
    let expect = expected("multiclass_mnist_first1000");
    let outcomes = ClassOutcomes::new(10, y, probabilities, 0.5).expect("outcomes");
    for actual in 0..10 {
        for predicted in 0..10 {
            assert_eq!(
                expect["confusion"][actual][predicted],
                outcomes.confusion().count(actual, predicted)
            );
        }
    }
    let outcomes = Outcomes::Classes(outcomes);
    let with = |average| MetricOptions { average: Some(average), ..MetricOptions::default() };
    let plain = MetricOptions::default();
    for (metric, options, name) in [
        (Metric::Accuracy, plain, "accuracy"),
        (Metric::F1, plain, "f1_macro"),
        (Metric::F1, with(Average::Macro), "f1_macro"),
        (Metric::F1, with(Average::Micro), "f1_micro"),
        (Metric::F1, with(Average::Weighted), "f1_weighted"),
        (Metric::CohenKappa, plain, "kappa"),
        (Metric::Mcc, plain, "mcc"),
        (Metric::RocAuc, plain, "roc_auc_ovr_macro"),
        (Metric::TopKAccuracy, MetricOptions { top_k: 2, ..plain }, "top2"),
    ] {
        let value = metric.value(&outcomes, options).expect("a value");
        near(name, value, &expect[name]);
    }
}

#[test]
fn numbers() {
    let bytes = tensors();
    let (y, p) = (read(&bytes, "reg_y"), read(&bytes, "reg_p"));
    let expect = expected("regression");
    near("mae", values::mae(&y, &p), &expect["mae"]);
    near("mse", values::mse(&y, &p), &expect["mse"]);
    near("rmse", values::rmse(&y, &p), &expect["rmse"]);
    near("r2", values::r2(&y, &p), &expect["r2"]);
    near("mape", values::mape(&y, &p), &expect["mape"]);
    near("medae", values::median_ae(&y, &p), &expect["medae"]);
    near("explained_variance", values::explained_variance(&y, &p), &expect["explained_variance"]);
}
