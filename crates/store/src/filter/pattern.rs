//! Patterns of `like`: `%` stands for any text, `_` for one character; behind a backslash both
//! stand for themselves.

/// One piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Char(char),
}

/// A pattern, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            let piece = match char {
                '%' => Piece::Any,
                '_' => Piece::One,
                // Before anything else a backslash is one: paths have them.
                '\\' => match chars.next_if(|next| matches!(next, '%' | '_' | '\\')) {
                    Some(next) => Piece::Char(next),
                    None => Piece::Char('\\'),
                },
                char => Piece::Char(char),
            };
            // Two in a row say no more than one, and cost much more to try.
            if piece != Piece::Any || pieces.last() != Some(&Piece::Any) {
                pieces.push(piece);
            }
        }
        Self(pieces)
    }

    /// For SQLite's `GLOB`, which tells upper from lower case.
    pub(crate) fn glob(&self) -> String {
        let mut glob = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Any => glob.push('*'),
                Piece::One => glob.push('?'),
                Piece::Char(special @ ('*' | '?' | '[')) => {
                    glob.extend(['[', *special, ']']);
                }
                Piece::Char(char) => glob.push(*char),
            }
        }
        glob
    }

    /// For Postgres' `LIKE`, where a backslash is before what stands for itself.
    pub(crate) fn like(&self) -> String {
        let mut like = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Any => like.push('%'),
                Piece::One => like.push('_'),
                Piece::Char(special @ ('%' | '_' | '\\')) => like.extend(['\\', *special]),
                Piece::Char(char) => like.push(*char),
            }
        }
        like
    }

    /// Whether `text` is like it.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        // Where the pattern and the text go on when what was taken for the last `%` was too short.
        let mut retry: Option<(usize, usize)> = None;
        let (mut piece, mut at) = (0, 0);
        while at < text.len() || piece < self.0.len() {
            match self.0.get(piece) {
                Some(Piece::Any) => {
                    retry = (at < text.len()).then_some((piece, at + 1));
                    piece += 1;
                    continue;
                }
                Some(Piece::One) if at < text.len() => {
                    (piece, at) = (piece + 1, at + 1);
                    continue;
                }
                Some(Piece::Char(char)) if text.get(at) == Some(char) => {
                    (piece, at) = (piece + 1, at + 1);
                    continue;
                }
                _ => {}
            }
            match retry.take() {
                Some(from) => (piece, at) = from,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_sql() {
        #[track_caller]
        fn check(pattern: &str, text: &str, expect: bool) {
            assert_eq!(Pattern::new(pattern).matches(text), expect, "{pattern} {text}");
        }
        check("", "", true);
        check("", "a", false);
        check("%", "", true);
        check("a%", "abc", true);
        check("a%", "ba", false);
        check("%c", "abc", true);
        check("%b%", "abc", true);
        check("%%b%%", "abc", true);
        check("a_c", "abc", true);
        check("a_c", "ac", false);
        check("_", "é", true);
        check("A%", "abc", false);
        check("%ab%ab", "ab_abab", true);
        check(r"50\%", "50%", true);
        check(r"50\%", "50x", false);
        check(r"a\b", r"a\b", true);
        check(r"a\\b", r"a\b", true);
        check("[a]*?", "[a]*?", true);
    }

    #[test]
    fn patterns_are_written_for_each_database() {
        let pattern = Pattern::new(r"a%_\%*[\x");
        assert_eq!(pattern.glob(), r"a*?%[*][[]\x");
        assert_eq!(pattern.like(), r"a%_\%*[\\x");
    }
}
