//! Diagnostics as text for a terminal and as JSON for programs.

use std::fmt;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Severity};
use crate::span::{SourceText, Span};

/// How diagnostics are drawn. The caller knows the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// The width in columns.
    pub width: usize,
    /// Whether to use colours.
    pub color: bool,
    /// Whether to draw with Unicode's lines rather than ASCII's.
    pub unicode: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { width: 100, color: false, unicode: true }
    }
}

/// Draws `diagnostics`, each with its line, column, excerpt, reason and mend. `file` is the name
/// shown; `source` is what was parsed.
pub fn render(diagnostics: &[Diagnostic], file: &str, source: &[u8], style: Style) -> String {
    let text = SourceText::new(source);
    let named = Excerpts { file, text: text.text() };
    let theme = match (style.unicode, style.color) {
        (true, true) => GraphicalTheme::unicode(),
        (true, false) => GraphicalTheme::unicode_nocolor(),
        (false, true) => GraphicalTheme {
            characters: miette::ThemeCharacters::ascii(),
            styles: miette::ThemeStyles::ansi(),
        },
        (false, false) => GraphicalTheme::none(),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(style.width.max(40))
        .with_links(false)
        .with_context_lines(1)
        .without_syntax_highlighting();
    let mut out = String::new();
    for diagnostic in diagnostics {
        let drawn = Drawn { diagnostic, text: &text, source: &named };
        // Writing into a string cannot fail, and every span lies within the source.
        let _ = handler.render_report(&mut out, &drawn);
        if !out.ends_with("\n\n") {
            out.push('\n');
        }
    }
    // The drawing pads some lines; no one can see that, but it upsets diffs.
    let mut trimmed = String::with_capacity(out.len());
    for line in out.trim_matches('\n').lines() {
        trimmed.push_str(line.trim_end());
        trimmed.push('\n');
    }
    trimmed
}

/// `2 errors, 1 warning`; empty if there are none.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let count = |severity| diagnostics.iter().filter(|found| found.severity == severity).count();
    let words = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        n => Some(format!("{n} {word}s")),
    };
    let parts =
        [words(count(Severity::Error), "error"), words(count(Severity::Warning), "warning")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `diagnostics` as a JSON list of objects: `severity`, `code`, `message`, `file`, `line`,
/// `column`, `end_line`, `end_column`, `label`, `help`, `related`. Lines and columns count
/// from 1.
pub fn to_json(diagnostics: &[Diagnostic], file: &str, source: &[u8]) -> Value {
    let text = SourceText::new(source);
    let all = diagnostics.iter().map(|diagnostic| {
        let (line, column) = text.line_column(diagnostic.span.start);
        let (end_line, end_column) = text.line_column(diagnostic.span.end);
        let related: Vec<Value> = diagnostic
            .related
            .iter()
            .map(|related| {
                let (line, column) = text.line_column(related.span.start);
                json!({"message": related.message, "line": line, "column": column})
            })
            .collect();
        json!({
            "severity": diagnostic.severity.as_str(),
            "code": diagnostic.code,
            "message": diagnostic.message,
            "file": file,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "label": diagnostic.label,
            "help": diagnostic.help,
            "related": related,
        })
    });
    Value::Array(all.collect())
}

/// A line longer than this many bytes is shown in part.
const MAX_LINE: usize = 400;

/// How many bytes around the place in question are shown of such a line.
const AROUND: usize = 60;

/// The text that excerpts are taken of. Of very long lines they show only the part in question:
/// a file in one line of many megabytes must not be printed to say that it is too large.
#[derive(Debug)]
struct Excerpts<'a> {
    file: &'a str,
    text: &'a str,
}

impl SourceCode for Excerpts<'_> {
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let whole = self.text.read_span(span, lines_before, lines_after)?;
        // miette counts bytes, and may cut within a character.
        let mut start = self.text.floor_char_boundary(whole.span().offset());
        let mut end = self.text.ceil_char_boundary(whole.span().offset() + whole.span().len());
        let mut line = whole.line();
        let mut lines = whole.line_count();
        if self.text[start..end].lines().any(|line| line.len() > MAX_LINE) {
            let marked = span.offset()..span.offset() + span.len().min(MAX_LINE);
            let shown_from = self.text.floor_char_boundary(marked.start.saturating_sub(AROUND));
            let shown_to = self.text.ceil_char_boundary(marked.end + AROUND);
            let skipped = &self.text[start..shown_from.max(start)];
            line += skipped.matches('\n').count();
            start = shown_from.max(start);
            end = shown_to.min(end).max(start);
            lines = self.text[start..end].lines().count();
        }
        let shown = &self.text[start..end];
        // In characters, as editors count them, and the JSON does.
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let column = self.text[line_start..start].chars().count();
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.to_owned(),
            shown.as_bytes(),
            (start, shown.len()).into(),
            line,
            column,
            lines,
        )))
    }
}

/// A diagnostic as miette wants it.
#[derive(Debug)]
struct Drawn<'a> {
    diagnostic: &'a Diagnostic,
    text: &'a SourceText<'a>,
    source: &'a Excerpts<'a>,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl miette::Diagnostic for Drawn<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let Diagnostic { code, severity, .. } = self.diagnostic;
        Some(Box::new(format!("{severity}[{code}]")))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic.help.as_deref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = self.diagnostic.label.clone();
        let primary = LabeledSpan::new_primary_with_span(label, self.span(self.diagnostic.span));
        let related = self.diagnostic.related.iter().map(|related| {
            LabeledSpan::new_with_span(Some(related.message.clone()), self.span(related.span))
        });
        Some(Box::new(std::iter::once(primary).chain(related)))
    }
}

impl Drawn<'_> {
    /// The part of `span` on its first line: a mark over many lines says no more, and hides the
    /// text.
    fn span(&self, span: Span) -> SourceSpan {
        let span = self.text.clamp(span);
        let shown = &self.text.text()[span.start..span.end];
        let first_line = shown.lines().next().unwrap_or("").trim_end();
        (span.start, first_line.len()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_very_long_line_a_part_is_shown() {
        let source = format!("pipeline: x\n{}wrong{}", "é".repeat(5_000), "b".repeat(1_000_000));
        let start = "pipeline: x\n".len() + 10_000;
        let found = Diagnostic::error("syntax", Span::new(start, start + 5), "this is wrong");
        let shown = render(&[found], "long.yaml", source.as_bytes(), Style::default());
        assert!(shown.len() < 2_000, "{} bytes", shown.len());
        assert!(shown.contains("long.yaml:2:5001"), "{shown}");
        assert!(shown.contains("éwrongb"), "{shown}");
    }
}
