//! The confusion matrix, and all that follows from it alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{mean, ratio};

/// How the values of several classes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// Of the positive class (the second of two) alone.
    Binary,
    /// The mean over classes: each counts the same.
    Macro,
    /// Over all decisions at once: each row counts the same.
    Micro,
    /// The mean over classes, each weighted by its number of rows.
    Weighted,
}

/// How often each class was taken for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    /// `[actual * classes + predicted]`.
    counts: Vec<u64>,
}

/// The decisions about one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Of the class, and taken for it.
    pub true_positive: u64,
    /// Not of the class, but taken for it.
    pub false_positive: u64,
    /// Of the class, but not taken for it.
    pub false_negative: u64,
    /// Not of the class, and not taken for it.
    pub true_negative: u64,
}

impl ClassCounts {
    /// How many rows are of the class.
    pub fn support(self) -> u64 {
        self.true_positive + self.false_negative
    }

    /// Of those taken for the class, the share that is.
    pub fn precision(self) -> f64 {
        ratio(self.true_positive as f64, (self.true_positive + self.false_positive) as f64)
    }

    /// Of the class, the share that was found.
    pub fn recall(self) -> f64 {
        ratio(self.true_positive as f64, self.support() as f64)
    }

    /// Of those not of the class, the share that was told apart.
    pub fn specificity(self) -> f64 {
        ratio(self.true_negative as f64, (self.true_negative + self.false_positive) as f64)
    }

    /// The harmonic mean of precision and recall.
    pub fn f1(self) -> f64 {
        let twice = 2.0 * self.true_positive as f64;
        ratio(twice, twice + (self.false_positive + self.false_negative) as f64)
    }

    fn add(self, other: Self) -> Self {
        Self {
            true_positive: self.true_positive + other.true_positive,
            false_positive: self.false_positive + other.false_positive,
            false_negative: self.false_negative + other.false_negative,
            true_negative: self.true_negative + other.true_negative,
        }
    }
}

impl ConfusionMatrix {
    /// The matrix of these decisions: classes by place, each below `classes`; a pair beyond is
    /// left out.
    pub fn new(classes: usize, actual: &[usize], predicted: &[usize]) -> Self {
        let mut counts = vec![0; classes * classes];
        for (actual, predicted) in actual.iter().zip(predicted) {
            if *actual < classes && *predicted < classes {
                counts[actual * classes + predicted] += 1;
            }
        }
        Self { classes, counts }
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How often class `actual` was taken for class `predicted`.
    pub fn count(&self, actual: usize, predicted: usize) -> u64 {
        self.counts[actual * self.classes + predicted]
    }

    /// The decisions about class `class`.
    pub fn class(&self, class: usize) -> ClassCounts {
        let hit = self.count(class, class);
        let (row, column) = (self.row_sum(class), self.column_sum(class));
        ClassCounts {
            true_positive: hit,
            false_positive: column - hit,
            false_negative: row - hit,
            true_negative: self.total() + hit - row - column,
        }
    }

    fn row_sum(&self, class: usize) -> u64 {
        (0..self.classes).map(|predicted| self.count(class, predicted)).sum()
    }

    fn column_sum(&self, class: usize) -> u64 {
        (0..self.classes).map(|actual| self.count(actual, class)).sum()
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn diagonal(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// The share of right decisions.
    pub fn accuracy(&self) -> f64 {
        self.diagonal() as f64 / self.total() as f64
    }

    /// The mean recall of the classes that occur.
    pub fn balanced_accuracy(&self) -> f64 {
        mean(self.each().filter(|counts| counts.support() > 0).map(ClassCounts::recall))
    }

    /// Precision.
    pub fn precision(&self, average: Average) -> f64 {
        self.averaged(average, ClassCounts::precision)
    }

    /// Recall, also called sensitivity.
    pub fn recall(&self, average: Average) -> f64 {
        self.averaged(average, ClassCounts::recall)
    }

    /// F1.
    pub fn f1(&self, average: Average) -> f64 {
        self.averaged(average, ClassCounts::f1)
    }

    /// Specificity.
    pub fn specificity(&self, average: Average) -> f64 {
        self.averaged(average, ClassCounts::specificity)
    }

    fn each(&self) -> impl Iterator<Item = ClassCounts> + '_ {
        (0..self.classes).map(|class| self.class(class))
    }

    /// The classes that occur, or were predicted: the others have nothing to say.
    fn seen(&self) -> impl Iterator<Item = ClassCounts> + '_ {
        self.each().filter(|counts| counts.support() + counts.false_positive > 0)
    }

    fn averaged(&self, average: Average, value: impl Fn(ClassCounts) -> f64) -> f64 {
        match average {
            Average::Binary => value(self.class(self.classes.saturating_sub(1))),
            Average::Macro => mean(self.seen().map(value)),
            Average::Micro => value(self.each().fold(ClassCounts::default(), ClassCounts::add)),
            Average::Weighted => {
                let sum: f64 =
                    self.each().map(|counts| counts.support() as f64 * value(counts)).sum();
                sum / self.total() as f64
            }
        }
    }

    /// Matthews' correlation coefficient, for any number of classes (Gorodkin 2004, equation 8).
    pub fn mcc(&self) -> f64 {
        let total = self.total() as f64;
        let (mut both, mut actual, mut predicted) = (0.0, 0.0, 0.0);
        for class in 0..self.classes {
            let (row, column) = (self.row_sum(class) as f64, self.column_sum(class) as f64);
            both += row * column;
            actual += row * row;
            predicted += column * column;
        }
        let covariance = self.diagonal() as f64 * total - both;
        let spread = (total * total - predicted) * (total * total - actual);
        ratio(covariance, spread.sqrt())
    }

    /// Cohen's kappa, unweighted (Cohen 1960).
    pub fn cohen_kappa(&self) -> f64 {
        let total = self.total() as f64;
        let by_chance: f64 = (0..self.classes)
            .map(|class| self.row_sum(class) as f64 * self.column_sum(class) as f64 / total)
            .sum();
        (self.diagonal() as f64 - by_chance) / (total - by_chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_never_occurs_does_not_count() {
        let matrix = ConfusionMatrix::new(3, &[0, 0, 1, 1], &[0, 1, 1, 1]);
        assert_eq!(matrix.balanced_accuracy(), 0.75);
        assert_eq!(matrix.recall(Average::Macro), 0.75);
        assert_eq!(matrix.recall(Average::Micro), 0.75);
        assert_eq!(matrix.precision(Average::Micro), 0.75);
    }

    #[test]
    fn specificity_is_the_recall_of_the_others() {
        let matrix = ConfusionMatrix::new(2, &[0, 0, 0, 1], &[0, 0, 1, 1]);
        assert_eq!(matrix.specificity(Average::Binary), 2.0 / 3.0);
        assert_eq!(matrix.class(0).specificity(), 1.0);
    }

    #[test]
    fn without_spread_there_is_no_correlation() {
        assert_eq!(ConfusionMatrix::new(2, &[1, 1], &[1, 1]).mcc(), 0.0);
    }
}
