//! Shows a place in a line of text that somebody typed.

/// The lines longer than this are shown from near the place on.
const WIDTH: usize = 100;

/// How much of such a line stands before the place.
const BEFORE: usize = 40;

/// The line of `text` that the byte `place` lies in, and a caret under it.
pub fn caret(text: &str, place: usize) -> String {
    let place = text.floor_char_boundary(place.min(text.len()));
    let start = text[..place].rfind('\n').map_or(0, |end| end + 1);
    let end = text[place..].find('\n').map_or(text.len(), |end| place + end);
    // What is not printed takes a column, as a space does.
    let shown = |text: &str| -> Vec<char> {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    };
    let (before, after) = (shown(&text[start..place]), shown(&text[place..end]));
    let cut =
        if before.len() + after.len() > WIDTH { before.len().saturating_sub(BEFORE) } else { 0 };
    let mut line = String::from(if cut > 0 { "…" } else { "" });
    line.extend(&before[cut..]);
    let column = line.chars().count();
    let room = WIDTH.saturating_sub(column);
    line.extend(after.iter().take(room));
    if after.len() > room {
        line.push('…');
    }
    format!("{}\n{}^", line.trim_end(), " ".repeat(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_with_its_place() {
        assert_eq!(caret("SELECT a\nFROM é, runz\nWHERE 1", 18), "FROM é, runz\n        ^");
        assert_eq!(caret("SELECT", 99), "SELECT\n      ^");
        assert_eq!(caret("", 0), "\n^");
        assert_eq!(caret("a\tb\u{1b}[1mc", 2), "a b [1mc\n  ^");
    }

    #[test]
    fn long_lines_are_cut() {
        let text = format!("{}here{}", "a".repeat(300), "b".repeat(300));
        let shown = caret(&text, 300);
        let (line, mark) = shown.split_once('\n').expect("two lines");
        assert!(line.starts_with("…aaa") && line.ends_with("b…"), "{line}");
        assert_eq!(line.chars().nth(mark.len() - 1), Some('h'));
        assert!(line.chars().count() <= WIDTH + 1);
    }
}
