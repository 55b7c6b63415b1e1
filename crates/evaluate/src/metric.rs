//! The metrics by name: which there are, what they need, and their values.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wick_stage::TaskType;

use crate::metrics::{
    self, Average, ConfusionMatrix, Probabilities, average_precision, classes, curves,
};

/// A metric that `evaluate` can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of right decisions.
    Accuracy,
    /// The mean recall over classes: a rare class counts as much as a frequent one.
    BalancedAccuracy,
    /// Of those taken for a class, the share that is of it.
    Precision,
    /// Of those of a class, the share that was found.
    Recall,
    /// The harmonic mean of precision and recall.
    F1,
    /// Of those not of a class, the share that was told apart.
    Specificity,
    /// The area under the ROC curve; with several classes the mean of each against the rest.
    RocAuc,
    /// The area under the precision-recall curve, as average precision; with several classes
    /// the mean of each against the rest.
    PrAuc,
    /// The mean of −ln of the probability given to the actual class.
    LogLoss,
    /// Matthews' correlation coefficient.
    Mcc,
    /// Cohen's kappa.
    CohenKappa,
    /// The share of rows whose class is among the `top_k` likeliest.
    TopKAccuracy,
    /// The mean squared error of the probabilities.
    Brier,
    /// The expected calibration error over ten bins.
    Ece,
    /// The mean absolute error.
    Mae,
    /// The mean squared error.
    Mse,
    /// The root of the mean squared error.
    Rmse,
    /// The mean absolute error as a share of the true value.
    Mape,
    /// The mean absolute error as a share of the mean of true and predicted value.
    Smape,
    /// The coefficient of determination.
    R2,
    /// The median absolute error.
    MedianAe,
    /// The share of the variance that is explained.
    ExplainedVariance,
}

impl Metric {
    /// Every metric, in the order of the documentation.
    pub const ALL: [Metric; 22] = [
        Metric::Accuracy,
        Metric::BalancedAccuracy,
        Metric::Precision,
        Metric::Recall,
        Metric::F1,
        Metric::Specificity,
        Metric::RocAuc,
        Metric::PrAuc,
        Metric::LogLoss,
        Metric::Mcc,
        Metric::CohenKappa,
        Metric::TopKAccuracy,
        Metric::Brier,
        Metric::Ece,
        Metric::Mae,
        Metric::Mse,
        Metric::Rmse,
        Metric::Mape,
        Metric::Smape,
        Metric::R2,
        Metric::MedianAe,
        Metric::ExplainedVariance,
    ];

    /// The word in a pipeline, and the name of the recorded metric.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::BalancedAccuracy => "balanced_accuracy",
            Metric::Precision => "precision",
            Metric::Recall => "recall",
            Metric::F1 => "f1",
            Metric::Specificity => "specificity",
            Metric::RocAuc => "roc_auc",
            Metric::PrAuc => "pr_auc",
            Metric::LogLoss => "log_loss",
            Metric::Mcc => "mcc",
            Metric::CohenKappa => "cohen_kappa",
            Metric::TopKAccuracy => "top_k_accuracy",
            Metric::Brier => "brier",
            Metric::Ece => "ece",
            Metric::Mae => "mae",
            Metric::Mse => "mse",
            Metric::Rmse => "rmse",
            Metric::Mape => "mape",
            Metric::Smape => "smape",
            Metric::R2 => "r2",
            Metric::MedianAe => "median_ae",
            Metric::ExplainedVariance => "explained_variance",
        }
    }

    /// The metric called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// Whether it is about predicted numbers rather than classes.
    pub const fn is_regression(self) -> bool {
        matches!(
            self,
            Metric::Mae
                | Metric::Mse
                | Metric::Rmse
                | Metric::Mape
                | Metric::Smape
                | Metric::R2
                | Metric::MedianAe
                | Metric::ExplainedVariance
        )
    }

    /// Whether it can be computed for models of this task.
    pub fn fits(self, task: TaskType) -> bool {
        self.is_regression() == (task == TaskType::Regression)
    }

    /// Whether more is better.
    pub const fn more_is_better(self) -> bool {
        match self {
            Metric::LogLoss
            | Metric::Brier
            | Metric::Ece
            | Metric::Mae
            | Metric::Mse
            | Metric::Rmse
            | Metric::Mape
            | Metric::Smape
            | Metric::MedianAe => false,
            Metric::Accuracy
            | Metric::BalancedAccuracy
            | Metric::Precision
            | Metric::Recall
            | Metric::F1
            | Metric::Specificity
            | Metric::RocAuc
            | Metric::PrAuc
            | Metric::Mcc
            | Metric::CohenKappa
            | Metric::TopKAccuracy
            | Metric::R2
            | Metric::ExplainedVariance => true,
        }
    }

    /// The metrics computed where a pipeline names none.
    pub fn defaults(task: TaskType) -> Vec<Metric> {
        match task {
            TaskType::Binary => vec![
                Metric::Accuracy,
                Metric::Precision,
                Metric::Recall,
                Metric::F1,
                Metric::RocAuc,
                Metric::PrAuc,
                Metric::LogLoss,
            ],
            TaskType::Multiclass => vec![
                Metric::Accuracy,
                Metric::BalancedAccuracy,
                Metric::Precision,
                Metric::Recall,
                Metric::F1,
                Metric::LogLoss,
            ],
            TaskType::Regression => vec![Metric::Mae, Metric::Rmse, Metric::R2, Metric::MedianAe],
        }
    }

    /// Its value for these outcomes; `None` if it does not fit them.
    pub fn value(self, outcomes: &Outcomes, options: MetricOptions) -> Option<f64> {
        match outcomes {
            Outcomes::Classes(outcomes) => self.of_classes(outcomes, options),
            Outcomes::Numbers { actual, predicted } => self.of_numbers(actual, predicted),
        }
    }

    fn of_classes(self, outcomes: &ClassOutcomes, options: MetricOptions) -> Option<f64> {
        let ClassOutcomes { actual, confusion, .. } = outcomes;
        let two = outcomes.classes() == 2;
        let average = options.average.unwrap_or(if two { Average::Binary } else { Average::Macro });
        let p = outcomes.probabilities();
        let ranked = |value: fn(&[bool], &[f64]) -> f64| {
            if two {
                let positive: Vec<bool> = actual.iter().map(|class| *class == 1).collect();
                value(&positive, &p.column(1).collect::<Vec<_>>())
            } else {
                metrics::mean(curves::one_against_rest(actual, p, value))
            }
        };
        Some(match self {
            Metric::Accuracy => confusion.accuracy(),
            Metric::BalancedAccuracy => confusion.balanced_accuracy(),
            Metric::Precision => confusion.precision(average),
            Metric::Recall => confusion.recall(average),
            Metric::F1 => confusion.f1(average),
            Metric::Specificity => confusion.specificity(average),
            Metric::Mcc => confusion.mcc(),
            Metric::CohenKappa => confusion.cohen_kappa(),
            Metric::RocAuc => ranked(metrics::roc_auc),
            Metric::PrAuc => ranked(average_precision),
            Metric::LogLoss => metrics::log_loss(actual, p),
            Metric::TopKAccuracy => metrics::top_k(actual, p, options.top_k),
            Metric::Brier => metrics::brier(actual, p),
            Metric::Ece => metrics::expected_calibration_error(actual, p, CALIBRATION_BINS),
            _ => return None,
        })
    }

    fn of_numbers(self, actual: &[f64], predicted: &[f64]) -> Option<f64> {
        use metrics::values;
        Some(match self {
            Metric::Mae => values::mae(actual, predicted),
            Metric::Mse => values::mse(actual, predicted),
            Metric::Rmse => values::rmse(actual, predicted),
            Metric::Mape => values::mape(actual, predicted),
            Metric::Smape => values::smape(actual, predicted),
            Metric::R2 => values::r2(actual, predicted),
            Metric::MedianAe => values::median_ae(actual, predicted),
            Metric::ExplainedVariance => values::explained_variance(actual, predicted),
            _ => return None,
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Bins of the calibration curve and its error.
pub const CALIBRATION_BINS: usize = 10;

/// What some metrics need to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricOptions {
    /// How precision, recall, F1 and specificity are averaged; by default the positive class's
    /// own with two classes, and the mean over classes with more.
    pub average: Option<Average>,
    /// The k of `top_k_accuracy`.
    pub top_k: usize,
}

impl Default for MetricOptions {
    fn default() -> Self {
        Self { average: None, top_k: 5 }
    }
}

/// What was, and what was predicted.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcomes {
    /// Of a classification.
    Classes(ClassOutcomes),
    /// Of a regression.
    Numbers {
        /// What was.
        actual: Vec<f64>,
        /// What was predicted.
        predicted: Vec<f64>,
    },
}

/// What was, and what was predicted, of a classification.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassOutcomes {
    actual: Vec<usize>,
    predicted: Vec<usize>,
    probabilities: Vec<f64>,
    confusion: ConfusionMatrix,
}

impl ClassOutcomes {
    /// Decides by `probabilities`, row by row with one for each of `classes`, at least two.
    /// `None` if there are not as many rows as in `actual`, or a class in it is not one of them.
    pub fn new(
        classes: usize,
        actual: Vec<usize>,
        probabilities: Vec<f64>,
        threshold: f64,
    ) -> Option<Self> {
        let view = Probabilities::new(&probabilities, classes)?;
        if classes < 2 || view.len() != actual.len() || actual.iter().any(|class| *class >= classes)
        {
            return None;
        }
        let predicted = classes::decide(view, threshold);
        let confusion = ConfusionMatrix::new(classes, &actual, &predicted);
        Some(Self { actual, predicted, probabilities, confusion })
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.confusion.classes()
    }

    /// The actual class of each row, by place.
    pub fn actual(&self) -> &[usize] {
        &self.actual
    }

    /// The predicted class of each row, by place.
    pub fn predicted(&self) -> &[usize] {
        &self.predicted
    }

    /// The probabilities of each class.
    pub fn probabilities(&self) -> Probabilities<'_> {
        // Checked when the outcomes were made.
        match Probabilities::new(&self.probabilities, self.classes()) {
            Some(view) => view,
            None => unreachable!("the probabilities are whole rows"),
        }
    }

    /// The confusion matrix.
    pub fn confusion(&self) -> &ConfusionMatrix {
        &self.confusion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_words_of_the_pipeline() {
        for metric in Metric::ALL {
            let word = serde_json::to_value(metric).expect("a word");
            assert_eq!(word, metric.name());
            assert_eq!(Metric::named(metric.name()), Some(metric));
        }
    }

    #[test]
    fn defaults_fit_their_task() {
        for task in [TaskType::Binary, TaskType::Multiclass, TaskType::Regression] {
            assert!(Metric::defaults(task).into_iter().all(|metric| metric.fits(task)));
        }
    }

    #[test]
    fn a_metric_of_the_other_task_has_no_value() {
        let numbers = Outcomes::Numbers { actual: vec![1.0, 2.0], predicted: vec![1.0, 2.5] };
        let classes = ClassOutcomes::new(2, vec![0, 1], vec![0.9, 0.1, 0.2, 0.8], 0.5)
            .map(Outcomes::Classes)
            .expect("two rows");
        for metric in Metric::ALL {
            let options = MetricOptions::default();
            assert_eq!(metric.value(&numbers, options).is_some(), metric.is_regression());
            assert_eq!(metric.value(&classes, options).is_some(), !metric.is_regression());
        }
    }
}
