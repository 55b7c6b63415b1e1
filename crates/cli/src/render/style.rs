//! Colours with a meaning, and when to use them.

use std::fmt::Display;

use owo_colors::OwoColorize;
use wick_core::{AttemptState, RunState};

use crate::args::ColorWhen;

/// What a piece of text is, for the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it is.
    Plain,
    /// A heading or a name.
    Strong,
    /// Of less interest.
    Faint,
    /// Well.
    Good,
    /// Nothing to do, something to know.
    Calm,
    /// Look here.
    Warning,
    /// Broken.
    Bad,
    /// To be typed.
    Command,
}

/// Whether one stream takes colours.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    colors: bool,
}

impl Style {
    /// No colours at all.
    #[cfg(test)]
    pub const PLAIN: Style = Style { colors: false };

    /// The style of a stream. `--color` goes before NO_COLOR (<https://no-color.org>), which
    /// goes before what the stream is.
    pub fn choose(when: ColorWhen, is_terminal: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colors = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => is_terminal && !no_color && !dumb,
        };
        Self { colors }
    }

    /// Whether colours are used.
    pub const fn has_colors(self) -> bool {
        self.colors
    }

    /// `text`, painted.
    pub fn paint(self, paint: Paint, text: impl Display) -> String {
        if !self.colors {
            return text.to_string();
        }
        match paint {
            Paint::Plain => text.to_string(),
            Paint::Strong => text.bold().to_string(),
            Paint::Faint => text.dimmed().to_string(),
            Paint::Good => text.green().to_string(),
            Paint::Calm => text.blue().to_string(),
            Paint::Warning => text.yellow().to_string(),
            Paint::Bad => text.red().to_string(),
            Paint::Command => text.cyan().to_string(),
        }
    }
}

/// How the state of a stage looks.
pub const fn attempt_paint(state: AttemptState) -> Paint {
    match state {
        AttemptState::Succeeded => Paint::Good,
        AttemptState::Cached | AttemptState::Running => Paint::Calm,
        AttemptState::Failed | AttemptState::Lost => Paint::Bad,
        AttemptState::Cancelled => Paint::Warning,
        AttemptState::Queued | AttemptState::Skipped => Paint::Faint,
    }
}

/// How the state of a run looks.
pub const fn run_paint(state: RunState) -> Paint {
    match state {
        RunState::Succeeded => Paint::Good,
        RunState::Running => Paint::Calm,
        RunState::Failed => Paint::Bad,
        RunState::Cancelled | RunState::Interrupted => Paint::Warning,
    }
}
