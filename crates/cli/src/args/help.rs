//! The help of `wick` itself: its commands in groups, by what they are for.
//!
//! clap lists commands in one column without headings. Of thirty of them nobody finds one; so the
//! list is made here, from what clap knows of the commands, and put into its template.

use std::fmt::Write;

use clap::{Command, CommandFactory, FromArgMatches};

use super::{Cli, STYLES};
use crate::render::ui::output_width;

/// The commands under their headings, in the order of the help. One that is named nowhere stands
/// under the last.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Run pipelines", &["init", "check", "plan", "run", "rerun", "cancel", "up"]),
    ("Look at runs", &["runs", "show", "logs", "metrics", "artifacts"]),
    (
        "Ask the history",
        &["best", "compare", "diff", "history", "trend", "lineage", "sql", "export", "import"],
    ),
    (
        "Keep the history in order",
        &["name", "note", "tag", "star", "archive", "delete", "restore", "gc", "store"],
    ),
    ("Use models", &["models", "predict", "serve"]),
    ("Tools", &["kinds", "schema", "completions", "doctor"]),
];

/// How wide the help is at the most, and where the width of the terminal is not known.
const MAX_WIDTH: usize = 100;

/// What was typed; ends the process where it cannot be understood, or asks for help.
pub fn parse() -> Cli {
    let matches = command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// The grammar, with its help in groups.
pub fn command() -> Command {
    let command = Cli::command();
    let width = output_width().map_or(MAX_WIDTH, usize::from).min(MAX_WIDTH);
    let header = STYLES.get_header();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}\
         {header}Options:{header:#}\n{{options}}{{after-help}}",
        groups = grouped(&command, width),
    );
    command.help_template(template)
}

/// The list of commands.
fn grouped(command: &Command, width: usize) -> String {
    let visible: Vec<&Command> =
        command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let column = visible.iter().map(|command| command.get_name().len()).max().unwrap_or(0);
    let (header, literal) = (STYLES.get_header(), STYLES.get_literal());
    let mut text = String::new();
    for (place, (title, names)) in GROUPS.iter().enumerate() {
        let named = names
            .iter()
            .filter_map(|name| visible.iter().copied().find(|command| command.get_name() == *name));
        let is_last = place + 1 == GROUPS.len();
        let others = visible.iter().copied().filter(|command| is_last && !is_named(command));
        let listed: Vec<&Command> = named.chain(others).collect();
        if listed.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{header}{title}:{header:#}");
        for command in listed {
            let name = command.get_name();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let mut lines = wrapped(&about, width.saturating_sub(column + 4)).into_iter();
            let first = lines.next().unwrap_or_default();
            let _ = writeln!(text, "  {literal}{name:column$}{literal:#}  {first}");
            for line in lines {
                let _ = writeln!(text, "  {:column$}  {line}", "");
            }
        }
        text.push('\n');
    }
    text
}

fn is_named(command: &Command) -> bool {
    GROUPS.iter().any(|(_, names)| names.contains(&command.get_name()))
}

/// A sentence in lines of at most `width` characters, where its words allow it.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_one_group() {
        let command = Cli::command();
        for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let groups = GROUPS.iter().filter(|(_, names)| names.contains(&name)).count();
            assert_eq!(groups, 1, "say in `GROUPS` where `wick {name}` belongs");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let text = grouped(&Cli::command(), 60);
        let plain = without_colours(&text);
        for line in plain.lines() {
            assert!(line.chars().count() <= 60, "{line}");
        }
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    }

    /// The text without its colours.
    fn without_colours(text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').map_or("", |(_, rest)| rest);
        }
        plain + rest
    }
}
