//! Diagnostics as text for a terminal and as JSON for programs.

use std::fmt;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Severity};
use crate::files::{SourceFile, Sources};
use crate::span::{FileId, Span};

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

/// Draws `diagnostics`, each with its file, line, column, excerpt, reason and mend. `sources` are
/// the files that were parsed.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, style: Style) -> String {
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
        let drawn = Drawn { diagnostic, source: Excerpts::of(diagnostic, sources) };
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
pub fn to_json(diagnostics: &[Diagnostic], sources: &Sources) -> Value {
    let all = diagnostics.iter().map(|diagnostic| {
        let file = sources.get(diagnostic.span.file);
        let (line, column) = file.text().line_column(diagnostic.span.start);
        let (end_line, end_column) = file.text().line_column(diagnostic.span.end);
        let related: Vec<Value> = diagnostic
            .related
            .iter()
            .map(|related| {
                let file = sources.get(related.span.file);
                let (line, column) = file.text().line_column(related.span.start);
                json!({
                    "message": related.message,
                    "file": file.name(),
                    "line": line,
                    "column": column,
                })
            })
            .collect();
        json!({
            "severity": diagnostic.severity.as_str(),
            "code": diagnostic.code,
            "message": diagnostic.message,
            "file": file.name(),
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
///
/// miette knows one text for each diagnostic. So the files that one speaks of are laid one after
/// the other, its own first, and an offset into the whole tells the file too.
#[derive(Debug)]
struct Excerpts<'a> {
    /// The files, each with the offset of its first byte.
    files: Vec<(usize, FileId, &'a SourceFile)>,
}

impl<'a> Excerpts<'a> {
    fn of(diagnostic: &Diagnostic, sources: &'a Sources) -> Self {
        let mut files: Vec<(usize, FileId, &SourceFile)> = Vec::new();
        let mut end = 0;
        let related = diagnostic.related.iter().map(|related| related.span.file);
        for id in std::iter::once(diagnostic.span.file).chain(related) {
            if files.iter().all(|(_, known, _)| *known != id) {
                let file = sources.get(id);
                files.push((end, id, file));
                // The end of a file is a place too: it must not be the start of the next.
                end += file.text().text().len() + 1;
            }
        }
        Self { files }
    }

    /// The part of `span` on its first line: a mark over many lines says no more, and hides the
    /// text.
    fn place(&self, span: Span) -> SourceSpan {
        let Some((base, _, file)) = self.files.iter().find(|(_, id, _)| *id == span.file) else {
            return (0, 0).into();
        };
        let span = file.text().clamp(span);
        let shown = &file.text().text()[span.start..span.end];
        let first_line = shown.lines().next().unwrap_or("").trim_end();
        (base + span.start, first_line.len()).into()
    }
}

impl SourceCode for Excerpts<'_> {
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let place = self.files.partition_point(|(base, ..)| *base <= span.offset());
        let (base, _, file) =
            place.checked_sub(1).map(|at| self.files[at]).ok_or(MietteError::OutOfBounds)?;
        let text = file.text().text();
        // A span that leaves its file is out of bounds: miette asks for such to see whether two
        // places can be shown in one excerpt.
        let span = SourceSpan::from((span.offset() - base, span.len()));
        let whole = text.read_span(&span, lines_before, lines_after)?;
        // miette counts bytes, and may cut within a character.
        let mut start = text.floor_char_boundary(whole.span().offset());
        let mut end = text.ceil_char_boundary(whole.span().offset() + whole.span().len());
        let mut line = whole.line();
        let mut lines = whole.line_count();
        if text[start..end].lines().any(|line| line.len() > MAX_LINE) {
            let marked = span.offset()..span.offset() + span.len().min(MAX_LINE);
            let shown_from = text.floor_char_boundary(marked.start.saturating_sub(AROUND));
            let shown_to = text.ceil_char_boundary(marked.end + AROUND);
            let skipped = &text[start..shown_from.max(start)];
            line += skipped.matches('\n').count();
            start = shown_from.max(start);
            end = shown_to.min(end).max(start);
            lines = text[start..end].lines().count();
        }
        let shown = &text[start..end];
        // In characters, as editors count them, and the JSON does.
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let column = text[line_start..start].chars().count();
        Ok(Box::new(MietteSpanContents::new_named(
            file.name().to_owned(),
            shown.as_bytes(),
            (base + start, shown.len()).into(),
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
    source: Excerpts<'a>,
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
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = self.diagnostic.label.clone();
        let primary =
            LabeledSpan::new_primary_with_span(label, self.source.place(self.diagnostic.span));
        let related = self.diagnostic.related.iter().map(|related| {
            LabeledSpan::new_with_span(
                Some(related.message.clone()),
                self.source.place(related.span),
            )
        });
        Some(Box::new(std::iter::once(primary).chain(related)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_very_long_line_a_part_is_shown() {
        let source = format!("pipeline: x\n{}wrong{}", "é".repeat(5_000), "b".repeat(1_000_000));
        let start = "pipeline: x\n".len() + 10_000;
        let found =
            Diagnostic::error("syntax", Span::new(FileId::MAIN, start, start + 5), "this is wrong");
        let sources = Sources::of_one("long.yaml", source.as_bytes());
        let shown = render(&[found], &sources, Style::default());
        assert!(shown.len() < 2_000, "{} bytes", shown.len());
        assert!(shown.contains("long.yaml:2:5001"), "{shown}");
        assert!(shown.contains("éwrongb"), "{shown}");
    }

    #[test]
    fn places_in_other_files_are_shown_with_their_files() {
        let mut sources = Sources::of_one("main.yaml", b"a: 1\nb: 2\n");
        let other = sources.add("/p/parts/more.yaml", "parts/more.yaml", *b"c: 3\nb: 4");
        let other = other.expect("there is room");
        let found = Diagnostic::error("stage-twice", Span::new(other, 5, 6), "`b` stands twice")
            .label("again here")
            .related(Span::new(FileId::MAIN, 5, 6), "first here")
            .related(Span::new(other, 3, 4), "what comes before it");
        let shown = render(std::slice::from_ref(&found), &sources, Style::default());
        insta::assert_snapshot!(shown, @r"
        error[stage-twice]

          × `b` stands twice
           ╭─[parts/more.yaml:2:1]
         1 │ c: 3
           ·    ┬
           ·    ╰── what comes before it
         2 │ b: 4
           · ┬
           · ╰── again here
           ╰────
           ╭─[main.yaml:2:1]
         1 │ a: 1
         2 │ b: 2
           · ┬
           · ╰── first here
           ╰────
        ");
        let json = to_json(&[found], &sources);
        assert_eq!(json[0]["file"], "parts/more.yaml");
        assert_eq!(json[0]["related"][0]["file"], "main.yaml");
        assert_eq!(json[0]["related"][0]["line"], 2);
    }
}
