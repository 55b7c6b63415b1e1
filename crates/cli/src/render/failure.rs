//! The report of a failed stage: which, why, what it printed last, and what to type next.

use std::path::Path;

use wick_core::{AttemptState, Exit, Failure, FailureCause};
use wick_store::StageRecord;

use crate::render::{Paint, Style, human};

/// How many lines of a failed attempt's log are shown.
pub const LOG_LINES: usize = 20;

/// What the report of a failed stage shows.
pub struct FailureReport<'a> {
    /// The stage.
    pub stage: &'a StageRecord,
    /// Which attempt failed last.
    pub attempt: u32,
    /// The attempt's folder.
    pub folder: String,
    /// The last lines of its log.
    pub log: &'a [String],
    /// Whether there are more lines than these.
    pub log_is_cut: bool,
    /// The command that shows the whole log.
    pub logs_command: String,
}

impl FailureReport<'_> {
    /// The report as lines of text.
    pub fn render(&self, style: Style) -> String {
        let mut lines = Vec::new();
        let attempt = match self.attempt {
            0 | 1 => String::new(),
            attempt => format!(" in attempt {attempt}"),
        };
        let verb = if self.stage.state == AttemptState::Lost { "was lost" } else { "failed" };
        lines.push(format!(
            "{} stage {} {verb}{attempt}",
            style.paint(Paint::Bad, "✗"),
            style.paint(Paint::Strong, &self.stage.stage)
        ));
        match &self.stage.failure {
            Some(failure) => self.reason(style, failure, &mut lines),
            None => lines.push("  its engine died while it ran".to_owned()),
        }
        if self.log.is_empty() {
            lines.push(format!("  {}", style.paint(Paint::Faint, "it printed nothing")));
        } else {
            let title = if self.log_is_cut {
                format!("the last {} lines of its log:", self.log.len())
            } else {
                "its log:".to_owned()
            };
            lines.push(format!("  {}", style.paint(Paint::Faint, title)));
            let bar = style.paint(Paint::Faint, "│");
            lines.extend(self.log.iter().map(|line| format!("  {bar} {line}")));
        }
        lines.push(format!(
            "  {} {}",
            style.paint(Paint::Faint, "all of it:"),
            style.paint(Paint::Command, &self.logs_command)
        ));
        lines.push(format!("  {} {}", style.paint(Paint::Faint, "its folder:"), self.folder));
        lines.join("\n")
    }

    fn reason(&self, style: Style, failure: &Failure, lines: &mut Vec<String>) {
        // Of a program's own end the message says all there is to say.
        lines.push(match failure.cause {
            FailureCause::Exit | FailureCause::Signal => format!("  {}", failure.message),
            cause => format!("  {}: {}", human::cause(cause), failure.message),
        });
        for cause in &failure.chain {
            lines.push(format!("  {} {cause}", style.paint(Paint::Faint, "because:")));
        }
        if let Some(exit) = failure.exit.filter(|exit| says_more(*exit, failure)) {
            let exit = human::exit(exit);
            lines.push(format!("  {} {exit}", style.paint(Paint::Faint, "its process:")));
        }
        if let Some(help) = &failure.help {
            lines.push(format!("  {} {help}", style.paint(Paint::Command, "help:")));
        }
    }
}

/// Whether how the process ended is worth a line beside the message of the failure.
fn says_more(exit: Exit, failure: &Failure) -> bool {
    match exit {
        Exit::Code(126 | 127) => true,
        // `code 3` is what the message of a failed program says already; of a kind that told why
        // it failed, the code of its worker says nothing.
        Exit::Code(_) => false,
        Exit::Signal(_) => failure.cause != FailureCause::Timeout,
    }
}

/// The last `count` lines of a log, and whether there are more.
pub fn log_tail(log: &Path, count: usize) -> (Vec<String>, bool) {
    // A log that cannot be read must not hide the failure that it would explain.
    let lines = wick_engine::log::tail_log(log, count + 1).unwrap_or_default();
    let skip = lines.len().saturating_sub(count);
    (lines[skip..].iter().map(|line| printable(line)).collect(), skip > 0)
}

/// A line without control characters: a log must not move the cursor or change its colour. Of
/// a line that was drawn over itself (a progress bar), the last drawing is kept.
fn printable(line: &str) -> String {
    let last_drawing = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or(line);
    let mut text = String::with_capacity(last_drawing.len());
    let mut chars = last_drawing.chars().peekable();
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            // CSI sequences end with a letter; anything else after an escape is one character.
            if chars.next_if_eq(&'[').is_some() {
                for next in chars.by_ref() {
                    if next.is_ascii_alphabetic() {
                        break;
                    }
                }
            } else {
                chars.next();
            }
        } else if char == '\t' || !char.is_control() {
            text.push(char);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_shown_without_its_escapes() {
        #[track_caller]
        fn check(line: &str, expect: &str) {
            assert_eq!(printable(line), expect);
        }
        check("plain", "plain");
        check("\u{1b}[31mred\u{1b}[0m", "red");
        check("10%\r50%\r100%\r", "100%");
        check("a\tb\u{7}", "a\tb");
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let text: String = (0..50).map(|line| format!("line {line}\n")).collect();
        std::fs::write(&log, text).expect("written");
        let (lines, cut) = log_tail(&log, 3);
        assert_eq!(lines, ["line 47", "line 48", "line 49"]);
        assert!(cut);
        assert_eq!(log_tail(&folder.path().join("none"), 3), (Vec::new(), false));
    }
}
