//! Comma-separated values (RFC 4180), with plain line feeds.

/// A line of these cells; those that hold a comma, a quote or a line break are quoted.
pub fn line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>) -> String {
    let mut line = String::new();
    for (place, cell) in cells.into_iter().enumerate() {
        if place > 0 {
            line.push(',');
        }
        let cell = cell.as_ref();
        if cell.contains([',', '"', '\n', '\r']) {
            line.push('"');
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(cell);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn what_would_break_a_cell_is_quoted() {
        assert_eq!(line(["a", "b c", ""]), "a,b c,\n");
        assert_eq!(
            line(["1,5", "say \"hi\"", "two\nlines"]),
            "\"1,5\",\"say \"\"hi\"\"\",\"two\nlines\"\n"
        );
    }
}
