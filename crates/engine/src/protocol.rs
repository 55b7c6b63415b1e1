//! What the engine and its supervisor say to each other: length-prefixed frames over a Unix
//! stream socket.
//!
//! A frame is its length (`u32`, little-endian, without itself), a kind (`u8`), and a body.
//! Texts are NUL-terminated as the system wants them, behind their length, so that the
//! supervisor starts a process straight from the bytes that it received. Both sides are the same
//! binary; the version guards against a binary replaced while a run starts.

use std::ffi::CStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cgroup::GroupUsage;
use crate::memory::MemoryLimit;

/// The version of this protocol.
pub const VERSION: u32 = 3;

/// The longest frame, in bytes: above the system's own limit for arguments and environment.
pub const MAX_FRAME: usize = 4 << 20;

/// What the engine calls an attempt when it speaks to the supervisor.
pub type ProcessId = u64;

const HELLO: u8 = 0;
const SPAWN: u8 = 1;
const STOP: u8 = 2;
const SPAWNED: u8 = 1;
const REFUSED: u8 = 2;
const EXITED: u8 = 3;

/// A process to start, as the engine describes it.
#[derive(Debug, Clone, Copy)]
pub struct SpawnRequest<'a> {
    /// What to call it.
    pub id: ProcessId,
    /// Where it works.
    pub folder: &'a Path,
    /// What it prints is appended to this file.
    pub log: &'a Path,
    /// Files to try as its program, in order.
    pub programs: &'a [Vec<u8>],
    /// Its arguments, from the program's name on.
    pub arguments: &'a [Vec<u8>],
    /// Its environment, each as `NAME=value`.
    pub environment: &'a [Vec<u8>],
    /// How much memory it may use.
    pub memory: Option<&'a MemoryLimit>,
    /// The control group that groups for attempts are made in, if there is one.
    pub groups: Option<&'a Path>,
    /// What must not be seen in its log.
    pub masks: &'a [Vec<u8>],
}

/// A process to start, as the supervisor reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// What to call it.
    pub id: ProcessId,
    /// Where it works.
    pub folder: &'a CStr,
    /// Its log file.
    pub log: &'a CStr,
    /// Files to try as its program.
    pub programs: Vec<&'a CStr>,
    /// Its arguments.
    pub arguments: Vec<&'a CStr>,
    /// Its environment.
    pub environment: Vec<&'a CStr>,
    /// How much memory it may use.
    pub memory: Option<MemoryLimit>,
    /// The control group that groups for attempts are made in; empty if there is none.
    pub groups: &'a CStr,
    /// What must not be seen in its log.
    pub masks: Vec<&'a CStr>,
}

/// A request as the supervisor reads it; texts lie in the frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The engine speaks this version.
    Hello(u32),
    /// Start a process.
    Spawn(Start<'a>),
    /// Stop a process: SIGTERM to its group, and SIGKILL after a grace.
    Stop {
        /// Which.
        id: ProcessId,
        /// How long it has to end by itself, in milliseconds.
        grace_ms: u32,
    },
}

/// What the supervisor tells the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The supervisor speaks this version.
    Hello(u32),
    /// A process runs.
    Spawned {
        /// Which.
        id: ProcessId,
        /// Its number, and that of its group.
        pid: u32,
    },
    /// A process could not be started.
    Refused {
        /// Which.
        id: ProcessId,
        /// What could not be done.
        step: SpawnStep,
        /// The system's error number.
        errno: i32,
    },
    /// A process ended, and what was left of its group was killed.
    Exited {
        /// Which.
        id: ProcessId,
        /// As `wait` tells it.
        status: i32,
        /// How long it lived, in microseconds.
        wall_micros: u64,
        /// User and system time of it and its finished children, in microseconds.
        cpu_micros: u64,
        /// The largest resident memory, in bytes.
        max_rss_bytes: u64,
        /// What it and its finished children have read from disks, in bytes.
        read_bytes: u64,
        /// What they have written to disks, in bytes.
        written_bytes: u64,
        /// What its control group says of its memory, if it had one.
        group: Option<GroupUsage>,
    },
}

/// A step of starting a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnStep {
    /// Opening its log.
    Log,
    /// Holding it to its memory.
    Memory,
    /// Making the process.
    Fork,
    /// Going to its folder.
    Folder,
    /// Running its program.
    Program,
}

impl SpawnStep {
    const ALL: [SpawnStep; 5] =
        [SpawnStep::Log, SpawnStep::Memory, SpawnStep::Fork, SpawnStep::Folder, SpawnStep::Program];
}

/// Appends a frame to `out`: `body` writes what comes after the kind.
fn frame(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    body(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
    out.push(0);
}

fn put_texts(out: &mut Vec<u8>, texts: &[Vec<u8>]) {
    out.extend_from_slice(&(texts.len() as u32).to_le_bytes());
    for text in texts {
        put_text(out, text);
    }
}

/// Appends the engine's greeting.
pub fn put_hello(out: &mut Vec<u8>) {
    frame(out, HELLO, |out| out.extend_from_slice(&VERSION.to_le_bytes()));
}

/// Appends a request to start a process.
///
/// # Errors
/// If a text holds a NUL, or the request is longer than [`MAX_FRAME`]. Nothing is appended then.
pub fn put_spawn(out: &mut Vec<u8>, request: &SpawnRequest<'_>) -> io::Result<()> {
    let paths = [request.folder, request.log].map(|path| path.as_os_str().as_bytes());
    let lists = [request.programs, request.arguments, request.environment, request.masks];
    let groups = request.groups.map_or(&[][..], |groups| groups.as_os_str().as_bytes());
    let texts = || {
        let paths = paths.into_iter().chain([groups]);
        paths.chain(lists.into_iter().flatten().map(Vec::as_slice))
    };
    let wrong = |message| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    if texts().any(|text| text.contains(&0)) {
        return wrong("an argument or an environment variable holds a NUL character");
    }
    if texts().map(|text| text.len() + 5).sum::<usize>() + 64 > MAX_FRAME {
        return wrong("the arguments and the environment are too long for the system");
    }
    frame(out, SPAWN, |out| {
        out.extend_from_slice(&request.id.to_le_bytes());
        paths.iter().for_each(|path| put_text(out, path));
        lists.iter().for_each(|texts| put_texts(out, texts));
        put_text(out, groups);
        // No limit is written as 0, which would be none that a program could live with.
        let (bytes, data) = request.memory.map_or((0, 0), |limit| (limit.bytes, limit.data));
        out.extend_from_slice(&bytes.to_le_bytes());
        out.extend_from_slice(&data.to_le_bytes());
    });
    Ok(())
}

/// Appends a request to stop a process.
pub fn put_stop(out: &mut Vec<u8>, id: ProcessId, grace_ms: u32) {
    frame(out, STOP, |out| {
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&grace_ms.to_le_bytes());
    });
}

/// Appends a report.
pub fn put_report(out: &mut Vec<u8>, report: &Report) {
    match report {
        Report::Hello(version) => {
            frame(out, HELLO, |out| out.extend_from_slice(&version.to_le_bytes()));
        }
        Report::Spawned { id, pid } => frame(out, SPAWNED, |out| {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&pid.to_le_bytes());
        }),
        Report::Refused { id, step, errno } => frame(out, REFUSED, |out| {
            out.extend_from_slice(&id.to_le_bytes());
            out.push(*step as u8);
            out.extend_from_slice(&errno.to_le_bytes());
        }),
        Report::Exited {
            id,
            status,
            wall_micros,
            cpu_micros,
            max_rss_bytes,
            read_bytes,
            written_bytes,
            group,
        } => {
            frame(out, EXITED, |out| {
                out.extend_from_slice(&id.to_le_bytes());
                out.extend_from_slice(&status.to_le_bytes());
                let numbers = [wall_micros, cpu_micros, max_rss_bytes, read_bytes, written_bytes];
                for number in numbers {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.push(u8::from(group.is_some()));
                let GroupUsage { kills, peak_bytes } = group.unwrap_or_default();
                out.extend_from_slice(&kills.to_le_bytes());
                out.extend_from_slice(&peak_bytes.to_le_bytes());
            });
        }
    }
}

/// Bytes received, from which whole frames are taken.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl Inbox {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, kind first, if there is one.
    ///
    /// # Errors
    /// If the frame is empty or longer than [`MAX_FRAME`].
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        let rest = &self.bytes[self.taken..];
        let Some((length, _)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length == 0 || length > MAX_FRAME {
            return Err(malformed());
        }
        if rest.len() < 4 + length {
            return Ok(None);
        }
        let start = self.taken + 4;
        self.taken = start + length;
        Ok(Some(&self.bytes[start..start + length]))
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed message between wick's processes")
}

/// Reads numbers and texts off the front of a frame.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> io::Result<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> io::Result<&'a CStr> {
        let length = self.u32()? as usize;
        let (text, rest) = self.0.split_at_checked(length + 1).ok_or_else(malformed)?;
        self.0 = rest;
        CStr::from_bytes_with_nul(text).map_err(|_| malformed())
    }

    fn texts(&mut self) -> io::Result<Vec<&'a CStr>> {
        let count = self.u32()? as usize;
        // A text takes at least five bytes: a count beyond that is not believed.
        if count > self.0.len() / 5 {
            return Err(malformed());
        }
        (0..count).map(|_| self.text()).collect()
    }
}

/// Reads a frame that the engine sent.
///
/// # Errors
/// If it is malformed.
pub fn read_request(frame: &[u8]) -> io::Result<Request<'_>> {
    let (kind, body) = frame.split_first().ok_or_else(malformed)?;
    let mut body = Reader(body);
    match *kind {
        HELLO => Ok(Request::Hello(body.u32()?)),
        SPAWN => {
            let (id, folder, log) = (body.u64()?, body.text()?, body.text()?);
            let (programs, arguments, environment) = (body.texts()?, body.texts()?, body.texts()?);
            let (masks, groups) = (body.texts()?, body.text()?);
            let (bytes, data) = (body.u64()?, body.u64()?);
            let memory = (bytes > 0).then_some(MemoryLimit { bytes, data });
            Ok(Request::Spawn(Start {
                id,
                folder,
                log,
                programs,
                arguments,
                environment,
                memory,
                groups,
                masks,
            }))
        }
        STOP => Ok(Request::Stop { id: body.u64()?, grace_ms: body.u32()? }),
        _ => Err(malformed()),
    }
}

/// Reads a frame that the supervisor sent.
///
/// # Errors
/// If it is malformed.
pub fn read_report(frame: &[u8]) -> io::Result<Report> {
    let (kind, body) = frame.split_first().ok_or_else(malformed)?;
    let mut body = Reader(body);
    match *kind {
        HELLO => Ok(Report::Hello(body.u32()?)),
        SPAWNED => Ok(Report::Spawned { id: body.u64()?, pid: body.u32()? }),
        REFUSED => {
            let id = body.u64()?;
            let [step] = body.array::<1>()?;
            let step = SpawnStep::ALL.get(usize::from(step)).copied().ok_or_else(malformed)?;
            Ok(Report::Refused { id, step, errno: body.i32()? })
        }
        EXITED => Ok(Report::Exited {
            id: body.u64()?,
            status: body.i32()?,
            wall_micros: body.u64()?,
            cpu_micros: body.u64()?,
            max_rss_bytes: body.u64()?,
            read_bytes: body.u64()?,
            written_bytes: body.u64()?,
            group: {
                let [is_there] = body.array::<1>()?;
                let usage = GroupUsage { kills: body.u32()?, peak_bytes: body.u64()? };
                (is_there != 0).then_some(usage)
            },
        }),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_survives_the_socket_byte_by_byte() {
        let mut sent = Vec::new();
        put_hello(&mut sent);
        let words = [b"sh".to_vec(), b"-c".to_vec(), b"".to_vec()];
        let request = SpawnRequest {
            id: 7,
            folder: Path::new("/tmp"),
            log: Path::new("/tmp/log"),
            programs: &words[..1],
            arguments: &words,
            environment: &[b"A=1".to_vec()],
            memory: Some(&MemoryLimit { bytes: 5, data: 6 }),
            groups: Some(Path::new("/groups")),
            masks: &words[1..2],
        };
        put_spawn(&mut sent, &request).expect("a small request");
        put_stop(&mut sent, 7, 500);
        let mut inbox = Inbox::default();
        let mut seen = 0;
        for byte in sent {
            inbox.push(&[byte]);
            while let Some(frame) = inbox.next_frame().expect("whole frames") {
                match (seen, read_request(frame).expect("a request")) {
                    (0, request) => assert_eq!(request, Request::Hello(VERSION)),
                    (1, Request::Spawn(start)) => {
                        assert_eq!((start.id, start.folder), (7, c"/tmp"));
                        assert_eq!(start.arguments, [c"sh", c"-c", c""]);
                        assert_eq!(start.environment, [c"A=1"]);
                        assert_eq!(start.memory, Some(MemoryLimit { bytes: 5, data: 6 }));
                        assert_eq!((start.groups, start.masks), (c"/groups", vec![c"-c"]));
                    }
                    (_, request) => assert_eq!(request, Request::Stop { id: 7, grace_ms: 500 }),
                }
                seen += 1;
            }
        }
        assert_eq!(seen, 3);
    }

    #[test]
    fn a_report_survives_the_socket() {
        let reports = [
            Report::Hello(VERSION),
            Report::Spawned { id: 1, pid: 2 },
            Report::Refused { id: 3, step: SpawnStep::Folder, errno: 13 },
            Report::Exited {
                id: 4,
                status: 256,
                wall_micros: 5,
                cpu_micros: 6,
                max_rss_bytes: 1 << 40,
                read_bytes: 7,
                written_bytes: 8,
                group: Some(GroupUsage { kills: 1, peak_bytes: 9 }),
            },
            Report::Exited {
                id: 5,
                status: 0,
                wall_micros: 1,
                cpu_micros: 1,
                max_rss_bytes: 1,
                read_bytes: 0,
                written_bytes: 1 << 50,
                group: None,
            },
        ];
        let mut sent = Vec::new();
        reports.iter().for_each(|report| put_report(&mut sent, report));
        let mut inbox = Inbox::default();
        inbox.push(&sent);
        for report in reports {
            let frame = inbox.next_frame().expect("whole").expect("one more");
            assert_eq!(read_report(frame).expect("a report"), report);
        }
    }

    #[test]
    fn a_nul_in_an_argument_is_refused() {
        let words = [b"a\0b".to_vec()];
        let request = SpawnRequest {
            id: 1,
            folder: Path::new("/"),
            log: Path::new("/log"),
            programs: &[],
            arguments: &words,
            environment: &[],
            memory: None,
            groups: None,
            masks: &[],
        };
        let mut out = Vec::new();
        assert!(put_spawn(&mut out, &request).is_err() && out.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_request(&bytes), read_report(&bytes));
            let mut inbox = Inbox::default();
            inbox.push(&bytes);
            while let Ok(Some(_)) = inbox.next_frame() {}
        }
    }
}
