//! Saves a training's state where its attempt may, and finds what an earlier attempt saved.

use std::time::{Duration, Instant};

use wick_core::RunId;
use wick_stage::Context;
use wick_stage::checkpoint::{Checkpoints, Saved};

use super::config::CheckpointSpec;
use super::state::{StateError, TrainingState};

/// For how long nothing is saved after saving, as a multiple of the time that it took.
const SPARING: u32 = 100;

/// Saves the state of one training, at the pace that its configuration asks for. What it does is
/// seen in the attempt's log; a state that cannot be saved or used never ends a training.
///
/// A [`Watcher`](super::Watcher) of a stage has one, and hands its calls on.
#[derive(Debug)]
pub struct Saver {
    checkpoints: Option<Checkpoints>,
    found: Option<Saved>,
    /// Who saved the state that was found last.
    origin: Option<(RunId, u32)>,
    pace: Pace,
}

impl Saver {
    /// For the attempt of `context`.
    pub fn new(context: &Context<'_>, spec: CheckpointSpec) -> Self {
        let wanted = spec != CheckpointSpec::Never;
        let checkpoints = context.checkpoints().filter(|_| wanted);
        let found = checkpoints.as_ref().map(Checkpoints::saved);
        Self { checkpoints, found, origin: None, pace: Pace::new(spec) }
    }

    /// For [`Watcher::saved`](super::Watcher::saved).
    pub fn saved(&mut self, context: &mut Context<'_>) -> Option<TrainingState> {
        while let Some(found) = self.found.as_mut()?.next() {
            match found {
                Ok(checkpoint) => {
                    self.origin = Some((checkpoint.run, checkpoint.attempt));
                    match TrainingState::from_bytes(&checkpoint.state) {
                        Ok(state) => return Some(state),
                        Err(error) => self.refused(context, &error),
                    }
                }
                Err(error) => warn(context, &error),
            }
        }
        None
    }

    /// For [`Watcher::refused`](super::Watcher::refused).
    pub fn refused(&mut self, context: &mut Context<'_>, error: &StateError) {
        let of = self.origin(context);
        context.log(format_args!("warning: the checkpoint of {of} cannot be used: {error}"));
    }

    /// For [`Watcher::resumed`](super::Watcher::resumed): after `epochs` epochs.
    pub fn resumed(&mut self, context: &mut Context<'_>, epochs: usize) {
        let of = self.origin(context);
        context.log(format_args!("goes on from epoch {epochs} (checkpoint of {of})"));
        self.pace.begin(epochs);
    }

    fn origin(&self, context: &Context<'_>) -> String {
        match &self.origin {
            Some((run, attempt)) if *run == context.assignment().run => {
                format!("attempt {attempt}")
            }
            Some((run, attempt)) => format!("attempt {attempt} in run {run}"),
            None => "an earlier attempt".to_owned(),
        }
    }

    /// For [`Watcher::is_save_due`](super::Watcher::is_save_due).
    pub fn is_due(&self, epoch: usize) -> bool {
        self.checkpoints.is_some() && self.pace.is_due(epoch)
    }

    /// For [`Watcher::save`](super::Watcher::save).
    pub fn save(&mut self, context: &mut Context<'_>, state: &TrainingState) {
        let Some(checkpoints) = &self.checkpoints else { return };
        let began = Instant::now();
        let epoch = state.epoch();
        match state.to_bytes() {
            Ok(bytes) => {
                if let Err(error) = checkpoints.save(epoch as u64, &bytes) {
                    warn(context, &error);
                }
            }
            Err(error) => warn(context, &error),
        }
        self.pace.saved(epoch, began.elapsed());
    }
}

/// Tells a problem with a checkpoint, with what it came from: a line in the log.
fn warn(context: &mut Context<'_>, error: &dyn std::error::Error) {
    let mut line = format!("warning: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        line += &format!(": {error}");
        cause = error.source();
    }
    context.log(line);
}

/// When to save. Nothing that is computed depends on it.
#[derive(Debug)]
struct Pace {
    spec: CheckpointSpec,
    /// When, and after which epoch, it was last saved or begun.
    last: Instant,
    last_epoch: usize,
    /// How long saving took.
    cost: Duration,
}

impl Pace {
    fn new(spec: CheckpointSpec) -> Self {
        Self { spec, last: Instant::now(), last_epoch: 0, cost: Duration::ZERO }
    }

    fn begin(&mut self, epoch: usize) {
        self.last_epoch = epoch;
        self.last = Instant::now();
    }

    fn saved(&mut self, epoch: usize, cost: Duration) {
        self.begin(epoch);
        self.cost = cost;
    }

    fn is_due(&self, epoch: usize) -> bool {
        is_due(self.spec, epoch.saturating_sub(self.last_epoch), self.last.elapsed(), self.cost)
    }
}

/// Whether to save when `epochs` were done and `time` has passed since it was last done, which
/// took `cost`.
fn is_due(spec: CheckpointSpec, epochs: usize, time: Duration, cost: Duration) -> bool {
    match spec {
        CheckpointSpec::Never => false,
        CheckpointSpec::Epochs(every) => epochs >= every,
        CheckpointSpec::Seconds(every) => {
            time.as_secs_f64() >= every && time >= cost.saturating_mul(SPARING)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_what_was_asked_for_and_never_takes_more_than_its_share() {
        let ms = Duration::from_millis;
        let ten = CheckpointSpec::default();
        assert_eq!(ten, CheckpointSpec::Seconds(10.0));
        assert!(!is_due(ten, 500, ms(9_999), ms(0)));
        assert!(is_due(ten, 1, ms(10_000), ms(100)));
        // Saving takes half a second: not before fifty have passed.
        assert!(!is_due(ten, 1, ms(49_999), ms(500)));
        assert!(is_due(ten, 1, ms(50_000), ms(500)));
        assert!(is_due(CheckpointSpec::Epochs(3), 3, ms(0), ms(500)));
        assert!(!is_due(CheckpointSpec::Epochs(3), 2, ms(90_000), ms(0)));
        assert!(!is_due(CheckpointSpec::Never, 9, ms(90_000), ms(0)));
    }
}
