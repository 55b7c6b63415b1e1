//! Curves over all thresholds: ROC, and precision against recall.

use super::{Probabilities, mean};

/// A point of the ROC curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RocPoint {
    /// The share of the negatives that is taken for positive.
    pub false_positive_rate: f64,
    /// The share of the positives that is found.
    pub true_positive_rate: f64,
    /// Scores of at least this much are taken for positive.
    pub threshold: f64,
}

/// A point of the precision-recall curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrPoint {
    /// Of those taken for positive, the share that is.
    pub precision: f64,
    /// The share of the positives that is found.
    pub recall: f64,
    /// Scores of at least this much are taken for positive.
    pub threshold: f64,
}

/// How many positives and negatives have at least a score.
struct Cut {
    threshold: f64,
    positives: u64,
    negatives: u64,
}

/// The counts at each distinct score, highest score first.
fn cuts(positive: &[bool], scores: &[f64]) -> Vec<Cut> {
    let mut order: Vec<usize> = (0..positive.len().min(scores.len())).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut cuts: Vec<Cut> = Vec::new();
    let (mut positives, mut negatives) = (0, 0);
    for place in order {
        if positive[place] {
            positives += 1;
        } else {
            negatives += 1;
        }
        match cuts.last_mut() {
            Some(cut) if cut.threshold == scores[place] => {
                (cut.positives, cut.negatives) = (positives, negatives);
            }
            _ => cuts.push(Cut { threshold: scores[place], positives, negatives }),
        }
    }
    cuts
}

/// The ROC curve from (0, 0) to (1, 1), without the points that lie on a straight line between
/// their neighbours. NaN rates where one of the classes does not occur.
pub fn roc_curve(positive: &[bool], scores: &[f64]) -> Vec<RocPoint> {
    let mut cuts = cuts(positive, scores);
    cuts.insert(0, Cut { threshold: f64::INFINITY, positives: 0, negatives: 0 });
    let last = &cuts[cuts.len() - 1];
    let (positives, negatives) = (last.positives as f64, last.negatives as f64);
    let step =
        |from: &Cut, to: &Cut| (to.positives - from.positives, to.negatives - from.negatives);
    cuts.iter()
        .enumerate()
        .filter(|(place, cut)| match (place.checked_sub(1), cuts.get(place + 1)) {
            (Some(before), Some(after)) => step(&cuts[before], cut) != step(cut, after),
            _ => true,
        })
        .map(|(_, cut)| RocPoint {
            false_positive_rate: cut.negatives as f64 / negatives,
            true_positive_rate: cut.positives as f64 / positives,
            threshold: cut.threshold,
        })
        .collect()
}

/// The area under the ROC curve: the chance that a positive has a higher score than a negative,
/// ties counting half. NaN where one of the classes does not occur.
pub fn roc_auc(positive: &[bool], scores: &[f64]) -> f64 {
    let cuts = cuts(positive, scores);
    let Some(last) = cuts.last() else { return f64::NAN };
    let pairs = last.positives as f64 * last.negatives as f64;
    let (mut area, mut positives, mut negatives) = (0.0, 0.0, 0.0);
    for cut in &cuts {
        let (new_positives, new_negatives) = (cut.positives as f64, cut.negatives as f64);
        area += (new_negatives - negatives) * (new_positives + positives) / 2.0;
        (positives, negatives) = (new_positives, new_negatives);
    }
    // 0 / 0 is the NaN that is promised.
    area / pairs
}

/// The mean, over the classes that occur, of the area under the ROC curve of each class against
/// the rest (Fawcett 2006, section 9.1, unweighted).
pub fn roc_auc_ovr(actual: &[usize], probabilities: Probabilities<'_>) -> f64 {
    mean(one_against_rest(actual, probabilities, roc_auc))
}

/// A value of each class against the rest, without those that have none.
pub(crate) fn one_against_rest(
    actual: &[usize],
    probabilities: Probabilities<'_>,
    value: impl Fn(&[bool], &[f64]) -> f64,
) -> Vec<f64> {
    (0..probabilities.width())
        .map(|class| {
            let positive: Vec<bool> = actual.iter().map(|actual| *actual == class).collect();
            let scores: Vec<f64> = probabilities.column(class).collect();
            value(&positive, &scores)
        })
        .filter(|value| !value.is_nan())
        .collect()
}

/// The precision-recall curve: from everything taken for positive to nothing, with a last point
/// of precision 1 and recall 0. Recall is NaN where there is no positive.
pub fn pr_curve(positive: &[bool], scores: &[f64]) -> Vec<PrPoint> {
    let cuts = cuts(positive, scores);
    let all = cuts.last().map_or(0, |cut| cut.positives) as f64;
    let mut points: Vec<PrPoint> = cuts
        .iter()
        .rev()
        .map(|cut| PrPoint {
            precision: cut.positives as f64 / (cut.positives + cut.negatives) as f64,
            recall: cut.positives as f64 / all,
            threshold: cut.threshold,
        })
        .collect();
    points.push(PrPoint { precision: 1.0, recall: 0.0, threshold: f64::INFINITY });
    points
}

/// The area under the precision-recall curve as average precision: the sum of precision times
/// the step in recall, without the optimism of drawing straight lines between the points.
pub fn average_precision(positive: &[bool], scores: &[f64]) -> f64 {
    let points = pr_curve(positive, scores);
    points.windows(2).map(|pair| (pair[0].recall - pair[1].recall) * pair[0].precision).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_half() {
        assert_eq!(roc_auc(&[true, false], &[0.5, 0.5]), 0.5);
        assert_eq!(roc_auc(&[true, false, true], &[0.9, 0.1, 0.8]), 1.0);
        assert!(roc_auc(&[true, true], &[0.9, 0.1]).is_nan());
        assert!(roc_auc(&[], &[]).is_nan());
    }

    #[test]
    fn a_curve_has_its_ends_and_no_straight_points() {
        let curve = roc_curve(&[true, true, true, false, false], &[0.9, 0.8, 0.7, 0.6, 0.5]);
        let points: Vec<_> =
            curve.iter().map(|p| (p.false_positive_rate, p.true_positive_rate)).collect();
        assert_eq!(points, [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]);
    }
}
