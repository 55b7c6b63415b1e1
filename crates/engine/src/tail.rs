//! Follows the files into which attempts report, line by line, while they grow.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use wick_core::WorkerEvent;

/// The longest line that is read; a longer one is left out and counted.
const MAX_LINE: usize = 16 << 20;

/// The most that is read at a time.
const CHUNK: usize = 256 << 10;

/// The most that is read at one look: whatever a program reports, the engine has its other work.
const LOOK: usize = 4 << 20;

/// Follows one file of lines. What was not ended by a newline yet is left for later; after a
/// crash it is never ended, and so never read.
#[derive(Debug)]
pub struct LineTail {
    path: PathBuf,
    file: Option<File>,
    partial: Vec<u8>,
    /// Whether the rest of an overlong line is being skipped.
    skipping: bool,
    skipped: u64,
}

impl LineTail {
    /// Follows the file at `path`, which need not be there yet.
    pub const fn new(path: PathBuf) -> Self {
        Self { path, file: None, partial: Vec::new(), skipping: false, skipped: 0 }
    }

    /// How many lines were too long to be read.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Hands every line that is whole by now to `take`, or as many as one look reads. Tells
    /// whether there may be more.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let Some(file) = self.file.as_mut() else { return Ok(false) };
        let mut buffer = vec![0; CHUNK];
        let mut looked = 0;
        while looked < LOOK {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(false);
            }
            looked += read;
            let mut rest = &buffer[..read];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let (line, after) = (&rest[..end], &rest[end + 1..]);
                rest = after;
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                if self.partial.is_empty() {
                    take(line);
                } else {
                    self.partial.extend_from_slice(line);
                    take(&self.partial);
                    self.partial.clear();
                }
            }
            if !self.skipping {
                self.partial.extend_from_slice(rest);
                if self.partial.len() > MAX_LINE {
                    self.partial = Vec::new();
                    self.skipping = true;
                    self.skipped += 1;
                }
            }
        }
        Ok(true)
    }

    /// Whoever writes the file has ended, and all of it was read: hands on what is left without a
    /// line break.
    pub fn finish(&mut self, mut take: impl FnMut(&[u8])) {
        let rest = std::mem::take(&mut self.partial);
        if !rest.is_empty() && !std::mem::take(&mut self.skipping) {
            take(&rest);
        }
    }
}

/// Follows a worker's `events.jsonl`. Lines that do not read as events are left out: a newer
/// worker may say more than this engine understands.
#[derive(Debug)]
pub struct WorkerTail(LineTail);

impl WorkerTail {
    /// Follows the file at `path`.
    pub const fn new(path: PathBuf) -> Self {
        Self(LineTail::new(path))
    }

    /// Hands every event that is whole by now to `take`, or as many as one look reads. Tells
    /// whether there may be more.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn read(&mut self, mut take: impl FnMut(WorkerEvent)) -> io::Result<bool> {
        self.0.read(|line| {
            if let Ok(event) = serde_json::from_slice(line) {
                take(event);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_line_is_whole_when_it_ends_or_its_writer_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut tail = LineTail::new(path.clone());
        let mut lines = Vec::new();
        assert!(!tail.read(|_| panic!("there is none")).expect("absent"));
        let mut file = File::create(&path).expect("made");
        write!(file, "one\ntw").expect("written");
        tail.read(|line| lines.push(line.to_vec())).expect("read");
        assert_eq!(lines, [b"one"]);
        write!(file, "o\nthree").expect("written");
        tail.read(|line| lines.push(line.to_vec())).expect("read");
        tail.finish(|line| lines.push(line.to_vec()));
        tail.finish(|line| lines.push(line.to_vec()));
        assert_eq!(lines[1..], [b"two".to_vec(), b"three".to_vec()]);
    }

    #[test]
    fn an_overlong_line_is_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let mut bytes = vec![b'x'; MAX_LINE + CHUNK * 2];
        bytes.extend_from_slice(b"\nshort\n");
        std::fs::write(&path, bytes).expect("written");
        let mut tail = LineTail::new(path);
        let mut lines = Vec::new();
        let mut looks = 1;
        while tail.read(|line| lines.push(line.to_vec())).expect("read") {
            looks += 1;
        }
        assert!(looks > MAX_LINE / LOOK, "one look reads no more than its share");
        assert_eq!((lines, tail.skipped()), (vec![b"short".to_vec()], 1));
    }
}
