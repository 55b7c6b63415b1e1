//! What a training leaves to read.

use wick_report::draw::{Axis, LineChart, LineStyle, Series};
use wick_report::{Cell, Report, Table};
use wick_stage::{Context, StageError, StageResult};

use crate::train::{FitOutcome, TrainConfig};

/// The learning curve. Nothing in it depends on the clock: equal trainings give equal reports.
pub(super) fn write_report(
    outcome: &FitOutcome,
    config: &TrainConfig,
    context: &mut Context<'_>,
) -> StageResult {
    let mut report = Report::new(format!("Training of `{}`", config.target));
    report.add_metric("epochs", outcome.epochs.len() as f64);
    report.add_metric("best_epoch", outcome.best_epoch as f64);
    let kept = outcome.best_epoch.checked_sub(1).and_then(|place| outcome.epochs.get(place));
    let mut names: Vec<String> = Vec::new();
    if let Some(kept) = kept {
        names.extend(kept.train.iter().map(|(name, _)| format!("train.{name}")));
        let validation = kept.validation.iter().flat_map(|scores| scores.iter());
        names.extend(validation.map(|(name, _)| format!("validation.{name}")));
        for name in &names {
            if let Some(value) = kept.metric(name) {
                report.add_metric(name.as_str(), value);
            }
        }
    }
    let columns = ["epoch", "learning_rate"].into_iter().map(str::to_owned);
    let mut table = Table::new("epochs", "Learning curve", columns.chain(names.iter().cloned()));
    for epoch in &outcome.epochs {
        let scores = names.iter().map(|name| epoch.metric(name).map_or(Cell::Empty, Cell::from));
        let first = [Cell::from(epoch.epoch), Cell::from(epoch.learning_rate)];
        table.push(first.into_iter().chain(scores));
    }
    report.add_table(table);
    let mut curves = vec![("loss", "Loss")];
    match kept.map(|epoch| epoch.train.accuracy.is_some()) {
        Some(true) => curves.push(("accuracy", "Accuracy")),
        Some(false) => curves.push(("rmse", "Root mean squared error")),
        None => {}
    }
    for (name, title) in curves {
        let line = |part: &str| {
            let points = outcome.epochs.iter().filter_map(|epoch| {
                Some((epoch.epoch as f64, epoch.metric(&format!("{part}.{name}"))?))
            });
            Series::new(part, points.collect())
        };
        let series = vec![line("train").style(LineStyle::Dashed), line("validation")];
        let chart = LineChart {
            title: title.to_owned(),
            x: Axis::new("epoch"),
            y: Axis::new(name),
            series: series.into_iter().filter(|series| !series.points.is_empty()).collect(),
        };
        report.add_plot(name, title, chart.svg());
    }
    let folder = context.output("report")?;
    report
        .write(&folder)
        .map_err(|error| StageError::io("cannot write the report", std::io::Error::other(error)))
}
