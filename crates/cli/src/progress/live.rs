//! Progress on a terminal: a bar for each running stage, and a line that stays when it ends.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use wick_core::{Event, EventBody, Progress, StageName};
use wick_engine::Totals;

use super::lines::Lines;
use super::stages::RunningStages;
use crate::render::{Paint, Style, human, terminal_width};

/// How finely a bar is divided: progress is a fraction, bars count whole steps.
const STEPS: f64 = 1000.0;

/// How many bars are drawn at most; of further stages only their number is told.
const MAX_BARS: usize = 12;

/// How often bars are redrawn, in frames a second.
const FRAMES: u8 = 10;

/// Below so many columns bars are short.
const NARROW: u16 = 100;

/// Where bars are drawn: the standard error.
pub fn bars() -> MultiProgress {
    MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(FRAMES))
}

/// Draws the progress of a run on the standard error.
pub struct Live {
    style: Style,
    width: usize,
    bars: MultiProgress,
    overall: ProgressBar,
    by_stage: HashMap<StageName, ProgressBar>,
    running: RunningStages,
    lines: Lines,
}

impl Live {
    /// For a run of these stages.
    pub fn new<'a>(
        stages: impl IntoIterator<Item = &'a StageName> + Clone,
        style: Style,
        bars: MultiProgress,
    ) -> Self {
        let names = stages.clone().into_iter();
        let width = names.map(|name| name.as_str().len()).max().unwrap_or_default();
        let overall = bars.add(ProgressBar::new_spinner());
        overall.set_style(template("{wide_msg}"));
        Self {
            style,
            width: width.min(32),
            bars,
            overall,
            by_stage: HashMap::new(),
            running: RunningStages::default(),
            lines: Lines::new(stages, style),
        }
    }

    /// Shows what an event changes; `totals` counts it already.
    pub fn event(&mut self, event: &Event, totals: &Totals) {
        match &event.body {
            EventBody::AttemptStarted { stage, attempt, .. } => {
                self.running.start(stage, event.time);
                self.add_bar(stage, *attempt);
            }
            EventBody::Metrics { stage, points, .. } => {
                if let Some(running) = self.running.get(stage) {
                    running.note_metrics(points);
                }
            }
            EventBody::Progress { stage, progress, .. } => {
                let Some(running) = self.running.get(stage) else { return };
                let left = running.note_progress(progress, event.time);
                let text = running.describe(progress);
                if let Some(bar) = self.by_stage.get(stage) {
                    draw(bar, progress, text, left);
                }
            }
            EventBody::AttemptFinished { stage, .. } => {
                self.running.end(stage);
                if let Some(bar) = self.by_stage.remove(stage) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
            }
            _ => {}
        }
        // Bars tell of starts and progress; what ends leaves a line.
        let stays =
            !matches!(event.body, EventBody::AttemptStarted { .. } | EventBody::Progress { .. });
        if let Some(line) = self.lines.line_for(event, totals).filter(|_| stays) {
            self.println(&line);
        }
        self.draw_overall(totals);
    }

    fn println(&self, line: &str) {
        // A terminal that is gone has nobody to tell.
        let _ = self.bars.println(line);
    }

    /// Takes the bars away.
    pub fn finish(&mut self) {
        for (_, bar) in self.by_stage.drain() {
            bar.finish_and_clear();
        }
        self.overall.finish_and_clear();
        let _ = self.bars.clear();
    }

    fn add_bar(&mut self, stage: &StageName, attempt: u32) {
        if self.by_stage.len() >= MAX_BARS {
            return;
        }
        let bar = self.bars.insert_before(&self.overall, ProgressBar::new_spinner());
        let width = self.width;
        bar.set_prefix(self.style.paint(Paint::Strong, format_args!("{:width$}", stage.as_str())));
        bar.set_style(template("{prefix}  {spinner:.blue} {elapsed} {wide_msg}"));
        if attempt > 1 {
            bar.set_message(format!("attempt {attempt}"));
        }
        bar.enable_steady_tick(Duration::from_millis(1000 / u64::from(FRAMES)));
        self.by_stage.insert(stage.clone(), bar);
    }

    fn draw_overall(&self, totals: &Totals) {
        let hidden = (totals.running as usize).saturating_sub(self.by_stage.len());
        let mut text = self.lines.how_far(totals);
        if hidden > 0 {
            text.push_str(&format!(", {} more running", human::count(hidden as u64)));
        }
        self.overall.set_message(self.style.paint(Paint::Faint, text));
    }
}

/// Draws how far a stage is: `epoch 3/10  5.2 s left  loss …`. A narrow terminal cuts the end.
fn draw(bar: &ProgressBar, progress: &Progress, mut text: String, left: Option<i64>) {
    if let Some(left) = left {
        let place = text.find("  ").unwrap_or(text.len());
        text.insert_str(place, &format!("  {} left", human::micros(left)));
    }
    if let Some(total) = progress.total.filter(|total| *total > 0.0) {
        if bar.length().is_none() {
            bar.set_length(STEPS as u64);
            bar.set_style(template(bar_template()).progress_chars("━╸ "));
        }
        bar.set_position((progress.done / total * STEPS).clamp(0.0, STEPS) as u64);
    }
    bar.set_message(text);
}

/// A line that is cut at the terminal's edge rather than wrapped: indicatif draws over what it
/// has drawn before, line by line. On a narrow terminal the words need the room more than the bar.
fn bar_template() -> &'static str {
    match terminal_width() {
        Some(width) if width < NARROW => "{prefix}  [{bar:8.blue}] {wide_msg}",
        _ => "{prefix}  [{bar:24.blue}] {wide_msg}",
    }
}

/// A template written in this file; one with a mistake in it falls back to a plain bar.
fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar())
}
