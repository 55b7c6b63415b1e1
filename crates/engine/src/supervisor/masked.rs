//! The log of a program that knows secrets: what it prints comes through a pipe, and reaches the
//! disk without them. Other programs write to their logs themselves.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::system;
use crate::mask::{Masker, Masks};

/// How much the pipe holds: a program seldom waits for this process.
const CAPACITY: i32 = 1 << 20;

/// How much is taken from one pipe before the others have their turn.
const TURN: usize = 1 << 20;

/// A pipe that a program prints to, and the log behind it.
pub struct MaskedLog {
    pipe: File,
    log: File,
    masker: Masker,
    buffer: Vec<u8>,
    masked: Vec<u8>,
    /// Whether the pipe has come to its end, or the log takes no more.
    closed: bool,
}

impl MaskedLog {
    /// Makes one in front of `log`; the program gets the second value.
    pub fn new(log: OwnedFd, masks: Masks) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = system::pipe(CAPACITY)?;
        let masked = Self {
            pipe: File::from(reader),
            log: File::from(log),
            masker: Masker::new(masks),
            buffer: vec![0; 64 << 10],
            masked: Vec::new(),
            closed: false,
        };
        Ok((masked, writer))
    }

    /// What to look at for more; `None` when no more comes.
    pub fn pipe(&self) -> Option<RawFd> {
        (!self.closed).then(|| self.pipe.as_raw_fd())
    }

    /// Takes what was printed by now, at most one turn's worth.
    pub fn take(&mut self) {
        let mut taken = 0;
        while !self.closed && taken < TURN {
            match self.pipe.read(&mut self.buffer) {
                Ok(0) => self.closed = true,
                Ok(read) => {
                    taken += read;
                    self.masker.push(&self.buffer[..read], &mut self.masked);
                    self.write();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.closed = true,
            }
        }
    }

    /// The program has ended: takes what is left in the pipe, and what was held back. Somebody
    /// else may still write to it, and finds nobody at the other end from now on.
    pub fn finish(mut self) {
        // More than the pipe holds was written after the end.
        self.take();
        self.take();
        self.masker.finish(&mut self.masked);
        self.write();
    }

    /// A full disk costs the rest of the log, as it does a program that does not look at what
    /// its own write returns; the pipe is read on, that nobody waits for ever.
    fn write(&mut self) {
        let _ = self.log.write_all(&self.masked);
        self.masked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_reaches_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let log = File::create(&path).expect("made");
        let masks = Masks::of(["swordfish"]);
        let (mut masked, writer) = MaskedLog::new(log.into(), masks).expect("made");
        let mut writer = File::from(writer);
        let on_disk = || std::fs::read_to_string(&path).expect("read");
        masked.take();
        writer.write_all(b"the password is sword").expect("written");
        masked.take();
        assert_eq!(on_disk(), "the password is ", "what may become a secret is held back");
        writer.write_all(b"fish, I say: swordf").expect("written");
        masked.take();
        assert_eq!(on_disk(), "the password is ***, I say: ");
        assert!(masked.pipe().is_some());
        drop(writer);
        masked.take();
        assert!(masked.pipe().is_none(), "its end was seen");
        masked.finish();
        assert_eq!(on_disk(), "the password is ***, I say: swordf");
    }
}
