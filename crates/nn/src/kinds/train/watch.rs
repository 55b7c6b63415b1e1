//! How a training is shown while it runs.

use wick_core::MetricKey;
use wick_core::worker::Progress;
use wick_stage::Context;

use crate::error::NnResult;
use crate::train::{BatchReport, EpochReport, Watcher};

/// Reports a training to the engine.
pub(super) struct StageWatcher<'a, 'context> {
    pub(super) context: &'a mut Context<'context>,
    pub(super) is_image: bool,
    pub(super) epochs: usize,
}

impl StageWatcher<'_, '_> {
    fn unit(&self) -> &'static str {
        if self.is_image { "images" } else { "rows" }
    }
}

impl Watcher for StageWatcher<'_, '_> {
    fn batch(&mut self, report: &BatchReport) -> NnResult {
        // Only built when it will be shown: a small network makes thousands of steps a second.
        if !self.context.is_progress_due() {
            return Ok(());
        }
        let note = format!(
            "loss {:.4}, {} {}/s",
            report.loss,
            thousands(report.rows_per_second),
            self.unit()
        );
        self.context.progress(Progress {
            unit: "epoch".to_owned(),
            done: report.epochs_done,
            total: Some(report.epochs as f64),
            note: Some(note),
        })?;
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport) -> NnResult {
        let step = report.epoch as i64;
        let part = |part: &str, name: &str| -> MetricKey { format!("{part}.{name}").into() };
        let mut points: Vec<(MetricKey, i64, f64)> =
            report.train.iter().map(|(name, value)| (part("train", name), step, value)).collect();
        if let Some(validation) = &report.validation {
            points.extend(
                validation.iter().map(|(name, value)| (part("validation", name), step, value)),
            );
        }
        points.push(("learning_rate".into(), step, report.learning_rate));
        self.context.metrics(points)?;
        let mut line = format!("epoch {}/{}:", report.epoch, self.epochs);
        for (name, value) in report.train.iter() {
            line += &format!(" train.{name} {value:.4}");
        }
        for (name, value) in report.validation.iter().flat_map(|scores| scores.iter()) {
            line += &format!(" validation.{name} {value:.4}");
        }
        line += &format!(", {} {}/s", thousands(report.rows_per_second), self.unit());
        self.context.log(line);
        Ok(())
    }
}

/// `12,345`.
fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_for_people() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(999.0), "999");
    }
}
