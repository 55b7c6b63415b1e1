//! How a training is shown while it runs.

use wick_core::MetricKey;
use wick_core::worker::Progress;
use wick_stage::Context;

use crate::error::NnResult;
use crate::train::{BatchReport, EpochReport, Saver, StateError, TrainingState, Watcher};

/// Reports a training to the engine.
pub(super) struct StageWatcher<'a, 'context> {
    pub(super) context: &'a mut Context<'context>,
    pub(super) saver: Saver,
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
        self.context.metrics(points(report))?;
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

    fn saved(&mut self) -> NnResult<Option<TrainingState>> {
        Ok(self.saver.saved(self.context))
    }

    fn refused(&mut self, error: &StateError) {
        self.saver.refused(self.context, error);
    }

    fn resumed(&mut self, epochs: &[EpochReport]) -> NnResult {
        self.saver.resumed(self.context, epochs.len());
        // The series of this attempt is whole.
        for epochs in epochs.chunks(POINTS_AT_ONCE) {
            self.context.metrics(epochs.iter().flat_map(points))?;
        }
        Ok(())
    }

    fn is_save_due(&mut self, epoch: usize) -> bool {
        self.saver.is_due(epoch)
    }

    fn save(&mut self, state: &TrainingState) -> NnResult {
        self.saver.save(self.context, state);
        Ok(())
    }
}

/// Of how many earlier epochs the points are reported at once.
const POINTS_AT_ONCE: usize = 100;

/// What an epoch measured.
fn points(report: &EpochReport) -> Vec<(MetricKey, i64, f64)> {
    let step = report.epoch as i64;
    let part = |part: &str, name: &str| -> MetricKey { format!("{part}.{name}").into() };
    let train = report.train.iter().map(|(name, value)| (part("train", name), step, value));
    let validation = report.validation.iter().flat_map(|scores| scores.iter());
    let validation = validation.map(|(name, value)| (part("validation", name), step, value));
    let rate = ("learning_rate".into(), step, report.learning_rate);
    train.chain(validation).chain([rate]).collect()
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
