//! What is told of a model beside its weights.

use serde_json::{Value, json};
use wick_nn::train::config::LossSpec;

use crate::untrained;

#[test]
fn layers_are_told_with_their_shapes_and_weights() {
    let layers = r#"[{"conv2d": {"filters": 4, "kernel": 3, "activation": "relu"}},
        {"max_pool2d": 2}, "flatten", {"dropout": 0.5}, {"dense": 10}]"#;
    let model = untrained(layers, &[8, 8, 1], LossSpec::CrossEntropy(Default::default()), 10, 1);
    let meta = model.info().meta();
    // As `model.summary()` of Keras counts them.
    let expect = [
        ("conv2d_1", json!([6, 6, 4]), 4 * (3 * 3) + 4),
        ("max_pool2d_1", json!([3, 3, 4]), 0),
        ("flatten_1", json!([36]), 0),
        ("dropout_1", json!([36]), 0),
        ("dense_1", json!([10]), 36 * 10 + 10),
    ];
    let expect: Vec<Value> = expect
        .into_iter()
        .map(|(layer, output, parameters)| {
            let bytes = parameters * 4;
            json!({"layer": layer, "output": output, "parameters": parameters, "bytes": bytes})
        })
        .collect();
    assert_eq!(meta["summary"], Value::Array(expect));
    assert_eq!((&meta["parameters"], &meta["parameter_bytes"]), (&json!(410), &json!(1640)));
}
