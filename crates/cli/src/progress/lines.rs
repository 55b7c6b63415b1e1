//! Progress as plain lines, for logs, pipes and CI: no colours that were not asked for, no
//! cursor movements, no times of day.

use std::collections::HashMap;

use wick_core::{AttemptState, Event, EventBody, StageName, Timestamp};
use wick_engine::Totals;

use super::stages::{Instances, RunningStages};
use crate::render::style::attempt_paint;
use crate::render::{Paint, Style, human};

/// A stage's progress is told at most this often, in microseconds.
const INTERVAL: i64 = 10_000_000;

/// Progress that completes a unit (an epoch) is told this often.
const UNIT_INTERVAL: i64 = 2_000_000;

/// Runs with more stages than this only tell what is not routine.
const QUIET_ABOVE: usize = 60;

/// Turns events into lines of text.
pub struct Lines {
    style: Style,
    width: usize,
    total: usize,
    running: RunningStages,
    told: HashMap<StageName, (Timestamp, f64)>,
    last_count: Option<Timestamp>,
    instances: Instances,
}

impl Lines {
    /// For a run of these stages.
    pub fn new<'a>(stages: impl IntoIterator<Item = &'a StageName> + Clone, style: Style) -> Self {
        let mut instances = Instances::default();
        instances.add(stages.clone());
        let (total, width) = stages
            .into_iter()
            .fold((0, 0), |(total, width), name| (total + 1, width.max(name.as_str().len())));
        Self {
            style,
            width: width.min(32),
            total,
            running: RunningStages::default(),
            told: HashMap::new(),
            last_count: None,
            instances,
        }
    }

    /// Counts instances that end, begin again, or come to be known.
    fn count(&mut self, body: &EventBody) {
        match body {
            EventBody::AttemptFinished { stage, .. }
            | EventBody::StageCached { stage, .. }
            | EventBody::StageSkipped { stage, .. }
            | EventBody::StageCancelled { stage } => self.instances.end(stage),
            EventBody::RetryScheduled { stage, .. } => self.instances.again(stage),
            EventBody::StageExpanded { instances, .. } => {
                self.total += instances.len();
                self.instances.add(instances.iter().map(|(stage, _)| stage));
            }
            _ => {}
        }
    }

    /// How far the run is: `12 of 1,000 stages done: train 3 of 9`.
    pub fn how_far(&self, totals: &Totals) -> String {
        let instances = self.instances.describe();
        let mut text = stages_done(totals);
        if !instances.is_empty() {
            text.push_str(": ");
            text.push_str(&instances);
        }
        text
    }

    /// What to print for an event, if anything; `totals` counts it already.
    pub fn line_for(&mut self, event: &Event, totals: &Totals) -> Option<String> {
        self.count(&event.body);
        let now = event.time;
        match &event.body {
            EventBody::AttemptStarted { stage, attempt, .. } => {
                self.running.start(stage, now);
                self.told.remove(stage);
                let again = match attempt {
                    1 => String::new(),
                    attempt => format!(" (attempt {attempt})"),
                };
                self.unless_many(|this| this.line(stage, format!("started{again}")))
            }
            EventBody::Metrics { stage, points, .. } => {
                if let Some(running) = self.running.get(stage) {
                    running.note_metrics(points);
                }
                None
            }
            EventBody::Progress { stage, progress, .. } => {
                let running = self.running.get(stage)?;
                let left = running.note_progress(progress, now);
                let (told_at, told_done) =
                    *self.told.get(stage).unwrap_or(&(running.started, f64::NEG_INFINITY));
                let since = now.micros_since(told_at);
                let whole_unit = progress.done.floor() > told_done.floor();
                let due = since >= INTERVAL || (whole_unit && since >= UNIT_INTERVAL);
                if !due {
                    return None;
                }
                let mut text = running.describe(progress);
                if let Some(left) = left {
                    text.push_str(&format!("  {} left", human::micros(left)));
                }
                self.told.insert(stage.clone(), (now, progress.done));
                Some(self.line(stage, text))
            }
            EventBody::AttemptFinished { stage, state, usage, failure, .. } => {
                self.running.end(stage);
                let mut text = format!(
                    "{}  {}",
                    self.style.paint(attempt_paint(*state), state),
                    human::micros(i64::try_from(usage.wall_micros).unwrap_or(i64::MAX))
                );
                if let Some(failure) = failure {
                    // Long ones are told in full at the end.
                    let first = failure.message.lines().next().unwrap_or_default();
                    text.push_str(&format!("  {first}"));
                }
                if *state == AttemptState::Succeeded {
                    self.routine(stage, text, now, totals)
                } else {
                    Some(self.line(stage, text))
                }
            }
            EventBody::RetryScheduled { stage, delay_ms, .. } => {
                let delay = human::micros(i64::try_from(*delay_ms).unwrap_or(i64::MAX) * 1000);
                Some(self.line(stage, format!("will be tried again in {delay}")))
            }
            EventBody::StageCached { stage, origin, .. } => {
                let text =
                    format!("{}  from run {}", self.style.paint(Paint::Calm, "cached"), origin.run);
                self.routine(stage, text, now, totals)
            }
            EventBody::StageSkipped { stage, reason } => {
                let text = format!("{}  {reason}", self.style.paint(Paint::Faint, "skipped"));
                self.unless_many(|this| this.line(stage, text))
            }
            EventBody::StageCancelled { stage } => {
                let text = self.style.paint(Paint::Warning, "cancelled");
                self.unless_many(|this| this.line(stage, text))
            }
            EventBody::StageExpanded { stage, instances } => {
                let count = human::plural(instances.len(), "instance");
                let text = format!("its list is known: {count}");
                Some(self.line(stage, text))
            }
            EventBody::StageGathered { stage, state } => {
                let text = format!(
                    "{}  all instances have ended",
                    self.style.paint(attempt_paint(*state), state)
                );
                self.unless_many(|this| this.line(stage, text))
            }
            EventBody::RunStarted { .. }
            | EventBody::AttemptSpawned { .. }
            | EventBody::StageRequeued { .. }
            | EventBody::RunFinished { .. } => None,
        }
    }

    /// A stage that ended well: its own line, or among thousands a count now and then.
    fn routine(
        &mut self,
        stage: &StageName,
        text: String,
        now: Timestamp,
        totals: &Totals,
    ) -> Option<String> {
        if self.total <= QUIET_ABOVE {
            return Some(self.line(stage, text));
        }
        let last = *self.last_count.get_or_insert(now);
        if now.micros_since(last) < UNIT_INTERVAL {
            return None;
        }
        self.last_count = Some(now);
        Some(self.how_far(totals))
    }

    fn unless_many(&self, line: impl FnOnce(&Self) -> String) -> Option<String> {
        (self.total <= QUIET_ABOVE).then(|| line(self))
    }

    fn line(&self, stage: &StageName, text: String) -> String {
        let width = self.width;
        let name = self.style.paint(Paint::Strong, format_args!("{:width$}", stage.as_str()));
        format!("{name}  {text}")
    }
}

/// `12 of 1,000 stages done`.
fn stages_done(totals: &Totals) -> String {
    format!(
        "{} of {} stages done",
        human::count(totals.done().into()),
        human::count(totals.stages.into())
    )
}

#[cfg(test)]
mod tests {
    use wick_core::{Fingerprint, Progress, Token, Usage};

    use super::*;

    fn event(seconds: i64, body: EventBody) -> Event {
        Event { time: Timestamp(seconds * 1_000_000), body }
    }

    fn progress(done: f64) -> EventBody {
        EventBody::Progress {
            stage: StageName::new("train").expect("a name"),
            attempt: 1,
            progress: Progress {
                unit: "epoch".into(),
                done,
                total: Some(4.0),
                note: Some(format!("loss {:.3}", 1.0 / (1.0 + done))),
            },
        }
    }

    #[test]
    fn a_stage_tells_its_start_its_epochs_and_its_end() {
        let stage = StageName::new("train").expect("a name");
        let mut lines = Lines::new([&stage], Style::PLAIN);
        let started = EventBody::AttemptStarted {
            stage: stage.clone(),
            attempt: 1,
            token: Token(1),
            fingerprint: Fingerprint(wick_core::Digest::from_bytes([0; 32])),
            queued: None,
            inputs: Vec::new(),
            parts: None,
        };
        let finished = EventBody::AttemptFinished {
            stage,
            attempt: 1,
            token: Token(1),
            state: AttemptState::Succeeded,
            usage: Usage { wall_micros: 20_000_000, ..Usage::default() },
            failure: None,
            outputs: Vec::new(),
            effects: Vec::new(),
        };
        let events = [
            event(0, started),
            event(1, progress(0.2)),
            event(5, progress(1.0)),
            event(6, progress(1.2)),
            event(10, progress(2.0)),
            event(11, progress(3.0)),
            event(20, finished),
        ];
        let text: Vec<String> =
            events.iter().filter_map(|event| lines.line_for(event, &Totals::default())).collect();
        assert_eq!(
            text,
            [
                "train  started",
                "train  epoch 1/4  loss 0.500  15 s left",
                "train  epoch 2/4  loss 0.333  10 s left",
                "train  succeeded  20 s",
            ]
        );
    }
}
