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
    /// Whether another program ran it: then there is neither a log nor a folder.
    pub is_imported: bool,
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
            None if self.is_imported => {
                lines.push("  it had not ended when it was imported".to_owned());
            }
            None => lines.push("  its engine died while it ran".to_owned()),
        }
        if self.is_imported {
            return lines.join("\n");
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
const fn says_more(exit: Exit, failure: &Failure) -> bool {
    match exit {
        // The message of a failed program says its code already; of a kind that told why it
        // failed, the code of its worker says nothing.
        Exit::Code(_) => false,
        Exit::Signal(_) => !matches!(failure.cause, FailureCause::Timeout | FailureCause::Signal),
    }
}

/// The last `count` lines of a log, without what a terminal would obey, and whether there are
/// more.
pub fn log_tail(log: &Path, count: usize) -> (Vec<String>, bool) {
    // A log that cannot be read must not hide the failure that it would explain.
    let lines = wick_engine::log::tail_log(log, count + 1).unwrap_or_default();
    let skip = lines.len().saturating_sub(count);
    (lines[skip..].to_vec(), skip > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

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
