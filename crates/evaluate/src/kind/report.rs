//! The report of an evaluation.

use indexmap::IndexMap;
use wick_nn::Model;
use wick_report::draw::{Axis, HeatMap, LineChart, LineStyle, Series};
use wick_report::{Cell, Report, Table};

use crate::metric::{CALIBRATION_BINS, ClassOutcomes, Metric, Outcomes};
use crate::metrics::{average_precision, calibration, pr_curve, roc_auc, roc_curve};

/// Curves of each class against the rest are drawn for at most this many classes: one colour
/// each.
const CURVES: usize = 10;
/// How many of the worst mistakes are listed.
const MISTAKES: usize = 20;
/// How many bins of equal size the predicted numbers are put into.
const VALUE_BINS: usize = 20;

/// Metrics, tables and plots.
pub(super) fn compose(
    model: &Model,
    outcomes: &Outcomes,
    values: &IndexMap<Metric, f64>,
) -> Report {
    let target = &model.info().target;
    let mut report = Report::new(format!("Evaluation of `{}`", target.column));
    for (metric, value) in values {
        report.add_metric(metric.name(), *value);
    }
    match outcomes {
        Outcomes::Classes(outcomes) => add_classes(&mut report, outcomes, &target.classes),
        Outcomes::Numbers { actual, predicted } => {
            add_numbers(&mut report, actual, predicted, &target.column);
        }
    }
    report
}

fn add_classes(report: &mut Report, outcomes: &ClassOutcomes, classes: &[String]) {
    let matrix = outcomes.confusion();

    let mut table = Table::new(
        "classes",
        "By class",
        ["class", "rows", "precision", "recall", "f1", "specificity", "predicted"],
    );
    for (place, class) in classes.iter().enumerate() {
        let counts = matrix.class(place);
        table.push([
            class.as_str().into(),
            counts.support().into(),
            counts.precision().into(),
            counts.recall().into(),
            counts.f1().into(),
            counts.specificity().into(),
            (counts.true_positive + counts.false_positive).into(),
        ]);
    }
    report.add_table(table);

    let columns = ["actual".to_owned()].into_iter().chain(classes.iter().cloned());
    let mut table = Table::new("confusion_matrix", "Confusion matrix", columns);
    for (actual, class) in classes.iter().enumerate() {
        let counts = (0..classes.len()).map(|predicted| matrix.count(actual, predicted).into());
        table.push([class.as_str().into()].into_iter().chain(counts));
    }
    report.add_table(table);
    report.add_table(mistakes(outcomes, classes));

    let values = (0..classes.len())
        .map(|actual| {
            (0..classes.len()).map(|predicted| matrix.count(actual, predicted) as f64).collect()
        })
        .collect();
    let map = HeatMap {
        title: "Confusion matrix".to_owned(),
        row_label: "actual".to_owned(),
        column_label: "predicted".to_owned(),
        rows: classes.to_vec(),
        columns: classes.to_vec(),
        values,
        by_row: true,
    };
    report.add_plot("confusion_matrix", "Confusion matrix", map.svg());
    if classes.len() <= CURVES {
        add_curves(report, outcomes, classes);
    }
    add_calibration(report, outcomes, classes);
}

/// The mistakes that the model was surest of: the first place to look for wrong labels.
fn mistakes(outcomes: &ClassOutcomes, classes: &[String]) -> Table {
    let mut wrong: Vec<(usize, usize, usize, f64)> = outcomes
        .actual()
        .iter()
        .zip(outcomes.predicted())
        .zip(outcomes.probabilities().rows())
        .enumerate()
        .filter(|(_, ((actual, predicted), _))| actual != predicted)
        .map(|(row, ((actual, predicted), p))| (row, *actual, *predicted, p[*predicted]))
        .collect();
    wrong.sort_by(|a, b| b.3.total_cmp(&a.3).then(a.0.cmp(&b.0)));
    let mut table = Table::new(
        "mistakes",
        "The most confident mistakes",
        ["row", "actual", "predicted", "probability"],
    );
    for (row, actual, predicted, p) in wrong.into_iter().take(MISTAKES) {
        let name = |class: usize| Cell::from(classes.get(class).map(String::as_str));
        table.push([row.into(), name(actual), name(predicted), p.into()]);
    }
    table
}

/// ROC, and precision against recall: of the second of two classes, or of each against the rest.
fn add_curves(report: &mut Report, outcomes: &ClassOutcomes, classes: &[String]) {
    let two = classes.len() == 2;
    let mut roc = vec![Series::new("chance", vec![(0.0, 0.0), (1.0, 1.0)]).style(LineStyle::Guide)];
    let mut pr = Vec::new();
    for (class, name) in classes.iter().enumerate().skip(usize::from(two)) {
        let positive: Vec<bool> = outcomes.actual().iter().map(|actual| *actual == class).collect();
        let scores: Vec<f64> = outcomes.probabilities().column(class).collect();
        let areas = (roc_auc(&positive, &scores), average_precision(&positive, &scores));
        if areas.0.is_nan() {
            continue;
        }
        let points = roc_curve(&positive, &scores);
        let points = points.iter().map(|p| (p.false_positive_rate, p.true_positive_rate)).collect();
        roc.push(Series::new(format!("{name} ({:.3})", areas.0), points));
        let points = pr_curve(&positive, &scores);
        let points = points.iter().map(|p| (p.recall, p.precision)).collect();
        pr.push(Series::new(format!("{name} ({:.3})", areas.1), points));
    }
    if pr.is_empty() {
        return;
    }
    let subject = match classes {
        [_, positive] => format!("of `{positive}`"),
        _ => "of each class against the rest".to_owned(),
    };
    let chart = LineChart {
        title: format!("ROC curve {subject}"),
        x: Axis::unit("false positive rate"),
        y: Axis::unit("true positive rate"),
        series: roc,
    };
    report.add_plot("roc_curve", chart.title.clone(), chart.svg());
    let chart = LineChart {
        title: format!("Precision and recall {subject}"),
        x: Axis::unit("recall"),
        y: Axis::unit("precision"),
        series: pr,
    };
    report.add_plot("precision_recall_curve", chart.title.clone(), chart.svg());
}

fn add_calibration(report: &mut Report, outcomes: &ClassOutcomes, classes: &[String]) {
    let bins = calibration(outcomes.actual(), outcomes.probabilities(), CALIBRATION_BINS);
    let subject = match classes {
        [_, positive] => format!("of `{positive}`"),
        _ => "of the likeliest class".to_owned(),
    };
    let mut table = Table::new(
        "calibration",
        format!("Calibration {subject}"),
        ["mean probability", "observed share", "rows"],
    );
    for bin in &bins {
        table.push([bin.confidence.into(), bin.observed.into(), bin.rows.into()]);
    }
    report.add_table(table);
    let points = bins.iter().map(|bin| (bin.confidence, bin.observed)).collect();
    let chart = LineChart {
        title: format!("Calibration {subject}"),
        x: Axis::unit("mean probability"),
        y: Axis::unit("observed share"),
        series: vec![
            Series::new("perfect", vec![(0.0, 0.0), (1.0, 1.0)]).style(LineStyle::Guide),
            Series::new("model", points).style(LineStyle::Dotted),
        ],
    };
    report.add_plot("calibration", chart.title.clone(), chart.svg());
}

fn add_numbers(report: &mut Report, actual: &[f64], predicted: &[f64], target: &str) {
    let mut order: Vec<usize> = (0..actual.len()).collect();
    let error = |row: usize| predicted[row] - actual[row];
    order.sort_by(|a, b| error(*b).abs().total_cmp(&error(*a).abs()).then(a.cmp(b)));
    let mut table =
        Table::new("mistakes", "The largest errors", ["row", "actual", "predicted", "error"]);
    for row in order.iter().copied().take(MISTAKES) {
        table.push([row.into(), actual[row].into(), predicted[row].into(), error(row).into()]);
    }
    report.add_table(table);

    let mut sorted: Vec<f64> = (0..actual.len()).map(error).collect();
    sorted.sort_by(f64::total_cmp);
    let mut table =
        Table::new("errors", "Errors (predicted − actual)", ["share of rows below", "error"]);
    for share in [0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0] {
        let place = (share * (sorted.len() - 1) as f64).round() as usize;
        table.push([share.into(), sorted[place].into()]);
    }
    report.add_table(table);

    // Bins with equally many rows, by what was predicted: where the line leaves the diagonal,
    // the model is off on average.
    order.sort_by(|a, b| predicted[*a].total_cmp(&predicted[*b]).then(a.cmp(b)));
    let mean = |rows: &[usize], values: &[f64]| {
        rows.iter().map(|row| values[*row]).sum::<f64>() / rows.len() as f64
    };
    let points: Vec<(f64, f64)> = order
        .chunks(order.len().div_ceil(VALUE_BINS).max(1))
        .map(|rows| (mean(rows, predicted), mean(rows, actual)))
        .collect();
    let ends = points.first().into_iter().chain(points.last()).map(|(x, _)| (*x, *x)).collect();
    let chart = LineChart {
        title: format!("Predicted and actual `{target}`"),
        x: Axis::new("mean predicted"),
        y: Axis::new("mean actual"),
        series: vec![
            Series::new("perfect", ends).style(LineStyle::Guide),
            Series::new("model", points).style(LineStyle::Dotted),
        ],
    };
    report.add_plot("calibration", chart.title.clone(), chart.svg());
}
