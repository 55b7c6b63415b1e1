//! What is shown while a run goes on. Reporters only consume events: how a run goes never
//! depends on who watches it. They read no clock: an event carries its time.

mod lines;
mod live;
mod stages;

use std::path::Path;

use indicatif::MultiProgress;
use wick_core::{Event, RunId, StageName};
use wick_engine::{Reporter, Totals};
use wick_plan::Plan;
use wick_store::slots::Obstacle;

use crate::render::{Paint, Style, Ui};
use lines::Lines;
use live::Live;

/// Shows a run on the standard error: live on a terminal, plain lines elsewhere, nothing with
/// `-q`.
pub struct Console {
    style: Style,
    bars: Option<MultiProgress>,
    quiet: bool,
    rerun: Option<RunId>,
    view: View,
}

/// Says something in the midst of a run, above whatever is drawn.
#[derive(Clone)]
pub struct Announcer(Option<MultiProgress>);

impl Announcer {
    /// Says it.
    pub fn say(&self, text: &str) {
        match &self.0 {
            // A terminal that is gone has nobody to tell.
            Some(bars) => drop(bars.println(text)),
            None => say(text),
        }
    }
}

enum View {
    /// Before the run begins, after its end, or with `-q`.
    None,
    Lines(Box<Lines>),
    Live(Box<Live>),
}

impl Console {
    /// Shows a run as `ui` asks for; `rerun` is the one that is to go on, if one is.
    pub fn new(ui: &Ui, rerun: Option<RunId>) -> Self {
        Self {
            style: ui.err,
            bars: ui.live.then(live::bars),
            quiet: ui.verbosity < 0,
            rerun,
            view: View::None,
        }
    }

    /// Takes away what is not to stay.
    pub fn finish(&mut self) {
        if let View::Live(live) = &mut self.view {
            live.finish();
        }
        self.view = View::None;
    }

    /// By which others say something meanwhile.
    pub fn announcer(&self) -> Announcer {
        Announcer(self.bars.clone())
    }
}

impl Reporter for Console {
    fn run_started(&mut self, run: &RunId, plan: &Plan, _folder: &Path) {
        if self.quiet {
            return;
        }
        let name = self.style.paint(Paint::Strong, run);
        say(&match &self.rerun {
            None => format!("run {name} of {}", plan.pipeline),
            Some(earlier) if earlier == run => format!("run {name} of {} goes on", plan.pipeline),
            Some(earlier) => format!("run {name} of {}, after run {earlier}", plan.pipeline),
        });
        let stages = plan.stages.iter().map(|stage| &stage.name);
        self.view = match &self.bars {
            Some(bars) => View::Live(Box::new(Live::new(stages, self.style, bars.clone()))),
            None => View::Lines(Box::new(Lines::new(stages, self.style))),
        };
    }

    fn store_busy(&mut self, holder: &str) {
        // Also with `-q`: somebody has to do something.
        self.announcer().say(&format!("waiting for the store, which is held by {holder}"));
    }

    fn stage_waits(&mut self, stage: &StageName, obstacle: &Obstacle) {
        if !self.quiet {
            let name = self.style.paint(Paint::Strong, stage);
            self.announcer().say(&format!("{name} waits for {obstacle}"));
        }
    }

    fn event(&mut self, event: &Event, totals: &Totals) {
        match &mut self.view {
            View::None => {}
            View::Live(live) => live.event(event, totals),
            View::Lines(lines) => {
                if let Some(line) = lines.line_for(event, totals) {
                    say(&line);
                }
            }
        }
    }
}

fn say(text: &str) {
    use std::io::Write;
    // If the standard error is gone there is nobody left to tell; the run goes on.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
