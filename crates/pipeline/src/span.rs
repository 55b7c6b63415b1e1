//! Places in the files of a pipeline.

use std::borrow::Cow;

/// A file of a pipeline: its place in [`Sources`](crate::files::Sources).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u16);

impl FileId {
    /// The pipeline file itself.
    pub const MAIN: FileId = FileId(0);
}

/// A range of bytes in the text of a file. Spans are ordered by file, then by position.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// From `start` to before `end` in `file`.
    pub const fn new(file: FileId, start: usize, end: usize) -> Self {
        Self { file, start, end }
    }

    /// The start of `file`.
    pub const fn start_of(file: FileId) -> Self {
        Self::new(file, 0, 0)
    }

    /// From the start of this span to the end of `other`, which stands in the same file.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span::new(self.file, self.start, other.end.max(self.start))
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// `value`, which stands at `span`.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// The text of a file, with its lines.
#[derive(Debug, Clone)]
pub struct SourceText<'a> {
    text: Cow<'a, str>,
    line_starts: Vec<usize>,
}

/// The byte order mark in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// `source` without a leading byte order mark. Every [`Span`] counts from here.
pub(crate) fn without_byte_order_mark(source: &[u8]) -> &[u8] {
    source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source)
}

impl<'a> SourceText<'a> {
    /// The text of `source`. Bytes that are not UTF-8 are replaced; places before the first of
    /// them stay where they are.
    pub fn new(source: &'a [u8]) -> Self {
        let text = String::from_utf8_lossy(without_byte_order_mark(source));
        let line_starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, line_starts }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same text, for as long as it is wanted.
    pub fn into_owned(self) -> SourceText<'static> {
        SourceText { text: Cow::Owned(self.text.into_owned()), line_starts: self.line_starts }
    }

    /// The line and column of a byte, both from 1; the column counts characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let offset = self.floor(offset);
        let line = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts[line - 1];
        (line, self.text[start..offset].chars().count() + 1)
    }

    /// `span`, moved to lie within the text and between characters.
    pub fn clamp(&self, span: Span) -> Span {
        let start = self.floor(span.start);
        Span::new(span.file, start, self.floor(span.end).max(start))
    }

    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        #[track_caller]
        fn check(source: &[u8], offset: usize, expect: (usize, usize)) {
            assert_eq!(SourceText::new(source).line_column(offset), expect);
        }
        check(b"", 0, (1, 1));
        check(b"", 7, (1, 1));
        check(b"a\nbc\n", 0, (1, 1));
        check(b"a\nbc\n", 3, (2, 2));
        check(b"a\nbc\n", 5, (3, 1));
        check("é: ü\n".as_bytes(), 4, (1, 4));
        check("é: ü\n".as_bytes(), 5, (1, 4));
        check(b"\xEF\xBB\xBFa: b", 3, (1, 4));
        check(b"a\xFFb", 1, (1, 2));
    }
}
