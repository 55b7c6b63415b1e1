//! From a model and examples to what metrics are computed of.

use wick_nn::{Examples, Model, NnError, NnResult, Predictions, Targets};

use crate::metric::{ClassOutcomes, Outcomes};

/// What `model` predicts for `examples`, beside what is true of them. With two classes the
/// second one is decided for where its probability is at least one half.
///
/// # Errors
/// If a prediction fails, or the model does not tell apart the classes of the examples.
pub fn outcomes(model: &Model, examples: &Examples) -> NnResult<Outcomes> {
    of_predictions(&model.predict(&examples.inputs)?, &examples.targets, 0.5)
}

/// What was predicted beside what is true; two classes are decided at `threshold`.
///
/// # Errors
/// If predictions and truth are not of one task.
pub fn of_predictions(
    predictions: &Predictions,
    targets: &Targets,
    threshold: f64,
) -> NnResult<Outcomes> {
    let values = || predictions.values.iter().map(|value| f64::from(*value));
    match targets {
        Targets::Values(actual) => Ok(Outcomes::Numbers {
            actual: actual.clone(),
            predicted: values().step_by(predictions.width.max(1)).collect(),
        }),
        Targets::Classes(actual) => {
            let actual = actual.iter().map(|class| *class as usize).collect();
            ClassOutcomes::new(predictions.classes.len(), actual, values().collect(), threshold)
                .map(Outcomes::Classes)
                .ok_or_else(|| {
                    NnError::data(
                        "the model does not tell apart the classes of the data",
                        "evaluate it on data with the classes that it was trained on",
                    )
                })
        }
    }
}
