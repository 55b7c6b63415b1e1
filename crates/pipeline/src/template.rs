//! The reference language: `${scope.name}` inside a text, `$${` for a literal `${`.
//!
//! Most references are replaced when the file is checked. Those that only a running attempt
//! knows, `${run.id}`, `${inputs.x}` and `${outputs.x}`, stay in the text of a command's `run`
//! and are replaced by the engine with [`expand`].

use std::borrow::Cow;

use crate::span::Span;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Literal text, with `$${` already made `${`.
    Text(Cow<'a, str>),
    /// A reference.
    Reference(Reference<'a>),
}

/// A reference: `${scope.name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The scope: `params`, `env`, `run`, `inputs`, `outputs`.
    pub scope: &'a str,
    /// The name within the scope.
    pub name: &'a str,
    /// Where its `$` stands in the text.
    pub start: usize,
    /// Where the byte after its `}` stands.
    pub end: usize,
}

/// Why a text cannot be split into pieces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Where the faulty reference starts.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// What is wrong with it.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// Whether `text` holds a reference or an escape at all.
pub fn has_references(text: &str) -> bool {
    text.contains("${")
}

/// Splits `text` into its pieces, faulty references among them.
pub fn pieces(text: &str) -> Vec<Result<Piece<'_>, TemplateError>> {
    let mut pieces = Vec::new();
    let mut rest_from = 0;
    let mut literal: Cow<'_, str> = Cow::Borrowed("");
    while let Some(found) = text[rest_from..].find("${") {
        let at = rest_from + found;
        if text[rest_from..at].ends_with('$') {
            append(&mut literal, &text[rest_from..at]);
            append(&mut literal, "{");
            rest_from = at + 2;
            continue;
        }
        append(&mut literal, &text[rest_from..at]);
        if !literal.is_empty() {
            pieces.push(Ok(Piece::Text(std::mem::take(&mut literal))));
        }
        let (piece, end) = reference(text, at);
        pieces.push(piece.map(Piece::Reference));
        rest_from = end;
    }
    append(&mut literal, &text[rest_from..]);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Ok(Piece::Text(literal)));
    }
    pieces
}

fn append<'a>(literal: &mut Cow<'a, str>, text: &'a str) {
    if literal.is_empty() {
        *literal = Cow::Borrowed(text);
    } else if !text.is_empty() {
        literal.to_mut().push_str(text);
    }
}

/// Reads the reference that starts at `start`, and where to go on after it.
fn reference(text: &str, start: usize) -> (Result<Reference<'_>, TemplateError>, usize) {
    let inside_from = start + 2;
    let after = &text[inside_from..];
    let error = |end, message: String, help: &str| {
        (Err(TemplateError { start, end, message, help: help.to_owned() }), end)
    };
    let Some(length) = after.find(['}', '\n']).filter(|at| after.as_bytes()[*at] == b'}') else {
        let end = inside_from + after.find('\n').unwrap_or(after.len());
        return error(
            end,
            "the reference is not closed".to_owned(),
            "close it with `}`, or write `$${` for a literal `${`",
        );
    };
    let end = inside_from + length + 1;
    let inside = after[..length].trim();
    let Some((scope, name)) = inside.split_once('.') else {
        return error(
            end,
            format!("`${{{inside}}}` names no scope"),
            "write `${params.NAME}` or `${env.NAME}`, or `$${` for a literal `${`",
        );
    };
    if name.is_empty() {
        return error(
            end,
            format!("`${{{inside}}}` names nothing"),
            "write the name after the dot",
        );
    }
    (Ok(Reference { scope, name, start, end }), end)
}

/// How a value is put into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// As it is.
    None,
    /// As one word of a POSIX shell.
    Shell,
}

impl Quoting {
    /// `value` as this quoting writes it.
    pub fn apply(self, value: &str) -> Cow<'_, str> {
        match self {
            Quoting::None => Cow::Borrowed(value),
            Quoting::Shell => shell_word(value),
        }
    }
}

/// `value` as one word of a POSIX shell.
fn shell_word(value: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&b);
    if !value.is_empty() && value.bytes().all(plain) {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(format!("'{}'", value.replace('\'', r"'\''")))
    }
}

/// Makes `value` safe to stand in a text that will be expanded later.
pub fn escape(value: &str) -> Cow<'_, str> {
    if has_references(value) {
        Cow::Owned(value.replace("${", "$${"))
    } else {
        Cow::Borrowed(value)
    }
}

/// Replaces every reference in `text` by what `lookup` says it is, quoted.
///
/// # Errors
/// If a reference is faulty or `lookup` does not know it.
pub fn expand(
    text: &str,
    quoting: Quoting,
    mut lookup: impl FnMut(&Reference<'_>) -> Option<String>,
) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece? {
            Piece::Text(literal) => out.push_str(&literal),
            Piece::Reference(reference) => {
                let value = lookup(&reference).ok_or_else(|| TemplateError {
                    start: reference.start,
                    end: reference.end,
                    message: format!(
                        "`${{{}.{}}}` refers to nothing",
                        reference.scope, reference.name
                    ),
                    help: "write `$${` for a literal `${`".to_owned(),
                })?;
                out.push_str(&quoting.apply(&value));
            }
        }
    }
    Ok(out)
}

/// Finds references of a text in the source, where the text may be quoted and folded.
pub struct Places<'a> {
    /// The source.
    pub source: &'a str,
    /// Where the text stands in it.
    pub span: Span,
    /// The text as it was read.
    pub text: &'a str,
}

impl Places<'_> {
    /// The place of `text[start..end]`, a reference; the whole text if it cannot be told.
    pub fn of(&self, start: usize, end: usize) -> Span {
        let (Some(written), Some(reference)) =
            (self.source.get(self.span.start..self.span.end), self.text.get(start..end))
        else {
            return self.span;
        };
        let nth = self.text[..start].matches(reference).count();
        match written.match_indices(reference).nth(nth) {
            Some((at, _)) => {
                let start = self.span.start + at;
                Span::new(self.span.file, start, start + reference.len())
            }
            None => self.span,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        pieces(text)
            .into_iter()
            .map(|piece| match piece {
                Ok(Piece::Text(text)) => format!("[{text}]"),
                Ok(Piece::Reference(r)) => {
                    format!("<{}|{}@{}..{}>", r.scope, r.name, r.start, r.end)
                }
                Err(error) => format!("!{}..{} {}!", error.start, error.end, error.message),
            })
            .collect()
    }

    #[test]
    fn texts_split_into_pieces() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            assert_eq!(show(text), expect, "{text}");
        }
        check("", "[]");
        check("plain $5 {x}", "[plain $5 {x}]");
        check("${params.x}", "<params|x@0..11>");
        check("a ${ env.HOME }/b", "[a ]<env|HOME@2..15>[/b]");
        check("${a.b}${c.d.e}", "<a|b@0..6><c|d.e@6..14>");
        check("$${x} $$${y}", "[${x} $${y}]");
        check("x$${a}${b.c}", "[x${a}]<b|c@6..12>");
        check("${x", "!0..3 the reference is not closed!");
        check("${x\n}", "!0..3 the reference is not closed![\n}]");
        check("${x}", "!0..4 `${x}` names no scope!");
        check("${params.}", "!0..10 `${params.}` names nothing!");
        check("é${p.é}", "[é]<p|é@2..9>");
    }

    #[test]
    fn values_are_quoted_for_the_shell() {
        #[track_caller]
        fn check(value: &str, expect: &str) {
            let text = expand("echo ${inputs.x}", Quoting::Shell, |_| Some(value.to_owned()));
            assert_eq!(text, Ok(format!("echo {expect}")));
        }
        check("a/b.csv", "a/b.csv");
        check("", "''");
        check("a b", "'a b'");
        check("it's; rm -rf $HOME", r"'it'\''s; rm -rf $HOME'");
        check("~", "'~'");
    }

    #[test]
    fn escaped_text_expands_to_itself() {
        for text in ["${x}", "$${x}", "a$", "$$", "${", "}", "$$${a.b}"] {
            assert_eq!(
                expand(&escape(text), Quoting::None, |_| None).as_deref(),
                Ok(text),
                "{text}"
            );
        }
    }
}
