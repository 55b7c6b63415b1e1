//! What both reporters know of the running stages.

use std::collections::{BTreeMap, HashMap};

use wick_core::{MetricPoint, Progress, StageName, Timestamp};

use crate::render::groups::is_instance;
use crate::render::human;

/// Metrics worth a place in a line of progress, most telling first.
const SHOWN_METRICS: [&str; 6] =
    ["validation.loss", "validation.accuracy", "loss", "train.loss", "accuracy", "train.accuracy"];

/// How many metrics a line of progress shows.
const MAX_SHOWN: usize = 2;

/// A stage whose attempt runs.
pub struct RunningStage {
    /// When it started.
    pub started: Timestamp,
    /// When it first told how far it is, and how far that was: the rate counts from there.
    first_progress: Option<(Timestamp, f64)>,
    /// The latest values of the metrics in [`SHOWN_METRICS`].
    metrics: HashMap<&'static str, f64>,
}

impl RunningStage {
    /// An attempt that starts now.
    pub fn new(started: Timestamp) -> Self {
        Self { started, first_progress: None, metrics: HashMap::new() }
    }

    /// Remembers what is shown of these points.
    pub fn note_metrics(&mut self, points: &[MetricPoint]) {
        for point in points {
            if let Some(key) = SHOWN_METRICS.into_iter().find(|key| **key == *point.key) {
                self.metrics.insert(key, point.value);
            }
        }
    }

    /// Notes how far it is; returns how many microseconds are left, if that can be told.
    pub fn note_progress(&mut self, progress: &Progress, now: Timestamp) -> Option<i64> {
        let (since, from) = *self.first_progress.get_or_insert((now, progress.done));
        let total = progress.total?;
        let (elapsed, done) = (now.micros_since(since) as f64, progress.done - from);
        // From less than a second, or no advance, nothing can be told.
        if elapsed < 1e6 || done <= 0.0 || progress.done >= total {
            return None;
        }
        Some((elapsed / done * (total - progress.done)) as i64)
    }

    /// `epoch 3/10  loss 0.042, 24,100 images/s  validation.loss 0.051`.
    pub fn describe(&self, progress: &Progress) -> String {
        let mut words = vec![how_far(progress)];
        let note = progress.note.as_deref().unwrap_or_default();
        if !note.is_empty() {
            words.push(note.to_owned());
        }
        let metrics = SHOWN_METRICS
            .iter()
            .filter(|key| !says(note, key))
            .filter_map(|key| {
                let value = self.metrics.get(*key)?;
                Some(format!("{key} {}", human::number(*value)))
            })
            .take(MAX_SHOWN);
        words.extend(metrics);
        words.join("  ")
    }
}

/// Whether a note tells of a metric already.
fn says(note: &str, key: &str) -> bool {
    note.split([' ', ',']).any(|word| word == key)
}

/// `epoch 3/10`, `rows 1,200`.
pub fn how_far(progress: &Progress) -> String {
    let number = |value: f64| human::count(value.max(0.0).floor() as u64);
    match progress.total {
        Some(total) => format!("{} {}/{}", progress.unit, number(progress.done), number(total)),
        None => format!("{} {}", progress.unit, number(progress.done)),
    }
}

/// How many instances of each stage have ended, of how many.
#[derive(Default)]
pub struct Instances(BTreeMap<String, (u32, u32)>);

/// So many stages with instances are named in a line.
const NAMED: usize = 3;

impl Instances {
    /// These stages are part of the run.
    pub fn add<'a>(&mut self, stages: impl IntoIterator<Item = &'a StageName>) {
        for stage in stages.into_iter().filter(|stage| is_instance(stage)) {
            self.0.entry(stage.template()).or_default().1 += 1;
        }
    }

    /// An instance has ended, for good or until it is tried again.
    pub fn end(&mut self, stage: &StageName) {
        self.count(stage, |done| done + 1);
    }

    /// An instance will be tried again.
    pub fn again(&mut self, stage: &StageName) {
        self.count(stage, |done| done.saturating_sub(1));
    }

    fn count(&mut self, stage: &StageName, count: impl Fn(u32) -> u32) {
        if is_instance(stage)
            && let Some((done, _)) = self.0.get_mut(&stage.template())
        {
            *done = count(*done);
        }
    }

    /// The stages whose instances are under way: `train 3 of 9, evaluate 1 of 9`; nothing if none
    /// is.
    pub fn describe(&self) -> String {
        let under_way: Vec<String> = self
            .0
            .iter()
            .filter(|(_, (done, all))| *done > 0 && done < all)
            .map(|(name, (done, all))| {
                let count = |number: u32| human::count(number.into());
                format!("{name} {} of {}", count(*done), count(*all))
            })
            .collect();
        let mut text = under_way[..under_way.len().min(NAMED)].join(", ");
        if under_way.len() > NAMED {
            text.push_str(", …");
        }
        text
    }
}

/// The running stages, by name.
#[derive(Default)]
pub struct RunningStages(HashMap<StageName, RunningStage>);

impl RunningStages {
    /// A stage's attempt starts.
    pub fn start(&mut self, stage: &StageName, now: Timestamp) {
        self.0.insert(stage.clone(), RunningStage::new(now));
    }

    /// The stage, if it runs.
    pub fn get(&mut self, stage: &StageName) -> Option<&mut RunningStage> {
        self.0.get_mut(stage)
    }

    /// A stage's attempt ended.
    pub fn end(&mut self, stage: &StageName) {
        self.0.remove(stage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: f64, note: &str) -> Progress {
        Progress { unit: "epoch".into(), done, total: Some(10.0), note: Some(note.into()) }
    }

    #[test]
    fn time_left_follows_the_rate() {
        let mut stage = RunningStage::new(Timestamp(0));
        assert_eq!(stage.note_progress(&progress(0.0, ""), Timestamp(0)), None);
        let left = stage.note_progress(&progress(2.5, ""), Timestamp(5_000_000));
        assert_eq!(left, Some(15_000_000));
        assert_eq!(stage.note_progress(&progress(10.0, ""), Timestamp(20_000_000)), None);
    }

    #[test]
    fn instances_are_counted_by_stage() {
        let name = |name: &str| StageName::new(name).expect("a name");
        let stages: Vec<StageName> =
            ["load", "fit[k=1]", "fit[k=2]", "fit[k=3]", "score[k=1]"].map(name).into();
        let mut instances = Instances::default();
        instances.add(&stages);
        assert_eq!(instances.describe(), "");
        instances.end(&name("load"));
        instances.end(&name("fit[k=1]"));
        instances.end(&name("fit[k=2]"));
        assert_eq!(instances.describe(), "fit 2 of 3");
        instances.again(&name("fit[k=2]"));
        assert_eq!(instances.describe(), "fit 1 of 3");
        instances.end(&name("score[k=1]"));
        instances.end(&name("fit[k=2]"));
        instances.end(&name("fit[k=3]"));
        assert_eq!(instances.describe(), "", "all have ended");
    }

    #[test]
    fn a_metric_is_said_once() {
        let mut stage = RunningStage::new(Timestamp(0));
        let point =
            |key: &str, value| MetricPoint { key: key.into(), step: 1, time: Timestamp(0), value };
        stage.note_metrics(&[point("loss", 0.042), point("validation.loss", 0.051)]);
        assert_eq!(
            stage.describe(&progress(3.4, "loss 0.042, 24,100 images/s")),
            "epoch 3/10  loss 0.042, 24,100 images/s  validation.loss 0.05100"
        );
    }
}
