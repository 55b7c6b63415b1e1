//! Reads what attempts printed: whole, or the end of it, with bounds, whatever the bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use wick_core::{RunId, StageName};
use wick_stage::layout;

use crate::folder::{attempt_folder, run_folder};

/// The longest line of a tail; what is longer is cut.
const MAX_TAIL_LINE: usize = 4096;

/// The most that is read from the end of a log for a tail.
const MAX_TAIL_BYTES: u64 = 1 << 20;

/// Where the log of an attempt lies. An attempt that printed nothing may have none.
pub fn log_path(project: &Path, run: &RunId, stage: &StageName, attempt: u32) -> PathBuf {
    attempt_folder(&run_folder(project, run), stage, attempt).join(layout::LOG)
}

/// What an attempt printed, from the byte `offset` on, at most `limit` bytes; and the offset to
/// go on from. Bytes that are not UTF-8 are shown as `U+FFFD`. A log that is not there reads as
/// empty.
///
/// # Errors
/// If the log is there and cannot be read.
pub fn read_log(path: &Path, offset: u64, limit: usize) -> io::Result<(String, u64)> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((String::new(), 0)),
        file => file?,
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(limit as u64).read_to_end(&mut bytes)?;
    // A character cut in two is left for the next read.
    if bytes.len() == limit
        && let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
        && error.valid_up_to() > 0
    {
        bytes.truncate(error.valid_up_to());
    }
    let next = offset + bytes.len() as u64;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), next))
}

/// The last `lines` lines of a log, without control characters that could disturb a terminal.
/// Of a line that was drawn over with carriage returns, as progress bars are, the last state.
///
/// # Errors
/// If the log is there and cannot be read.
pub fn tail_log(path: &Path, lines: usize) -> io::Result<Vec<String>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let length = file.metadata()?.len();
    let start = length.saturating_sub(MAX_TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(MAX_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut last = VecDeque::with_capacity(lines.min(1000));
    // Where the file was cut into, the first line is not whole.
    for line in text.lines().skip(usize::from(start > 0)) {
        if last.len() == lines {
            last.pop_front();
        }
        last.push_back(line);
    }
    Ok(last.into_iter().map(clean_line).collect())
}

fn clean_line(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    printable(line.rsplit('\r').next().unwrap_or(line), MAX_TAIL_LINE)
}

/// `text` without what a terminal would obey rather than show: escape sequences, control
/// characters, and those that turn the direction of writing round. Of a longer text the first
/// `limit` bytes or so.
pub fn printable(text: &str, limit: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(limit));
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if clean.len() >= limit {
            clean.push('…');
            break;
        }
        match character {
            '\u{1b}' => skip_escape(&mut characters),
            '\n' => clean.push('\n'),
            '\t' => clean.push_str("    "),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            control if control.is_control() => {}
            other => clean.push(other),
        }
    }
    clean
}

/// Skips the rest of a terminal's escape sequence (ECMA-48): colours and movements of the cursor;
/// titles and other strings, which end with a bell or with `ESC \`.
fn skip_escape(characters: &mut std::str::Chars<'_>) {
    match characters.next() {
        Some('[') => while characters.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(character) = characters.next() {
                if character == '\u{7}' {
                    break;
                }
                if character == '\u{1b}' {
                    characters.next();
                    break;
                }
            }
        }
        // A charset is named by one more character.
        Some('(' | ')' | '*' | '+') => drop(characters.next()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(bytes: &[u8], lines: usize) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(&path, bytes).expect("written");
        tail_log(&path, lines).expect("read")
    }

    #[test]
    fn a_tail_is_the_last_lines_made_harmless() {
        assert_eq!(tail(b"a\nb\nc\n", 2), ["b", "c"]);
        assert_eq!(tail(b"10%\r50%\r100%\n\x1b[31mred\x1b[0m\x07\n", 5), ["100%", "red"]);
        assert_eq!(tail(b"\x1b]0;a\\b\x1b\\title\x1bPq#\x1b\\ \x1b(Bend\n", 5), ["title end"]);
        assert_eq!(tail("\u{9b}31m \u{202e}x\n".as_bytes(), 5), ["31m x"]);
        assert_eq!(tail(b"\xff\xfe bad\r\n", 5), ["\u{fffd}\u{fffd} bad"]);
        assert_eq!(tail(b"", 5), Vec::<String>::new());
    }

    #[test]
    fn a_long_log_costs_a_bounded_read() {
        let mut bytes = vec![b'x'; 3 << 20];
        bytes.extend_from_slice(b"\nlast\n");
        assert_eq!(tail(&bytes, 3), ["last"]);
    }

    #[test]
    fn a_log_is_read_on_from_where_it_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        assert_eq!(read_log(&path, 0, 100).expect("absent"), (String::new(), 0));
        std::fs::write(&path, "aé").expect("written");
        assert_eq!(read_log(&path, 0, 2).expect("read"), ("a".to_owned(), 1));
        assert_eq!(read_log(&path, 1, 100).expect("read"), ("é".to_owned(), 3));
    }
}
