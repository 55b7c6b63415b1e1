//! The two streams: results go to the standard output, everything said about them to the
//! standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::args::GlobalArgs;
use crate::error::CommandError;
use crate::render::{Paint, Style};

/// The terminal, or what stands in its place.
pub struct Ui {
    /// How the standard output is styled.
    pub out: Style,
    /// How the standard error is styled.
    pub err: Style,
    /// Columns of the terminal that the standard output is; `None` if it is none.
    pub width: Option<u16>,
    /// Whether the standard error is a terminal: live progress can be drawn there.
    pub live: bool,
    /// How much is said: -1 with `-q`, 0, 1 with `-v`, …
    pub verbosity: i16,
    closed: AtomicBool,
}

impl Ui {
    /// What the command line and the environment ask for.
    pub fn new(global: &GlobalArgs) -> Self {
        let out_is_terminal = io::stdout().is_terminal();
        let err_is_terminal = io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            out: Style::choose(global.color, out_is_terminal),
            err: Style::choose(global.color, err_is_terminal),
            width: out_is_terminal.then(output_width).flatten(),
            live: err_is_terminal && !dumb && !global.quiet,
            verbosity: if global.quiet { -1 } else { i16::from(global.verbose) },
            closed: AtomicBool::new(false),
        }
    }

    /// Prints a result and a line break.
    pub fn print(&self, text: impl Display) {
        self.write(format_args!("{text}\n").to_string().as_bytes());
    }

    /// Prints bytes as they are.
    pub fn write(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        // Who closed the pipe has read enough (`wick runs | head -1`): that is no failure, and
        // the exit code still tells how the command went.
        if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
            self.closed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether nobody reads the standard output any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Prints a result for programs.
    pub fn json(&self, value: &impl Serialize) -> Result<(), CommandError> {
        let text = serde_json::to_string_pretty(value).map_err(CommandError::internal)?;
        self.print(text);
        Ok(())
    }

    /// Says something beside the result, unless `-q` was given.
    pub fn note(&self, text: impl Display) {
        if self.verbosity >= 0 {
            self.say(text);
        }
    }

    /// Says something that should be looked at.
    pub fn warn(&self, text: impl Display) {
        self.note(format_args!("{} {text}", self.err.paint(Paint::Warning, "warning:")));
    }

    /// Says something whatever `-q` says.
    pub fn say(&self, text: impl Display) {
        // If the standard error is gone there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// How diagnostics are drawn on the standard output or the standard error.
    pub fn diagnostics_style(&self, on_output: bool) -> wick_pipeline::Style {
        let style = if on_output { self.out } else { self.err };
        wick_pipeline::Style {
            width: usize::from(self.width.unwrap_or(100)),
            color: style.has_colors(),
            unicode: true,
        }
    }

    /// Shows an error with its causes and hints.
    pub fn error(&self, error: &CommandError) {
        let mut causes = error.error.chain();
        if let Some(first) = causes.next() {
            self.say(format_args!("{} {first}", self.err.paint(Paint::Bad, "error:")));
        }
        let mut before = String::new();
        for cause in causes.map(ToString::to_string) {
            // Some errors tell their own cause, and it would be told twice.
            if !before.ends_with(&cause) {
                self.say(format_args!("  {} {cause}", self.err.paint(Paint::Faint, "because:")));
                before = cause;
            }
        }
        for hint in &error.hints {
            self.say(format_args!("  {} {hint}", self.err.paint(Paint::Command, "hint:")));
        }
    }
}

/// The columns of the terminal that the standard output is.
pub fn output_width() -> Option<u16> {
    width_of(io::stdout())
}

/// The width of the terminal that the standard error goes to.
pub fn terminal_width() -> Option<u16> {
    width_of(io::stderr())
}

fn width_of(stream: impl std::os::fd::AsFd) -> Option<u16> {
    let columns = rustix::termios::tcgetwinsize(stream).ok()?.ws_col;
    // Some pseudo-terminals say 0; narrower than this no table can be read anyway.
    (columns > 0).then_some(columns.max(40))
}
