//! The engine's end of the socket to its supervisor.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use wick_core::RunId;
use wick_store::slots::dying;

use crate::cgroup;
use crate::command::launch::ProcessSpec;
use crate::error::{EngineError, EngineResult};
use crate::protocol::{self, Inbox, ProcessId, Report, SpawnRequest};

/// How `wick` starts itself again, as supervisor and as worker.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// The arguments that make it a supervisor.
    pub supervisor: Vec<OsString>,
    /// The arguments that make it a worker; the attempt's folder follows.
    pub worker: Vec<OsString>,
}

impl Program {
    /// The binary that runs now, with the hidden subcommands `supervisor` and `worker`.
    ///
    /// # Errors
    /// If the system does not tell which binary that is.
    pub fn current() -> EngineResult<Self> {
        // The link leads to the very binary that runs, even where another one has taken its
        // place on the disk since: an upgrade in the midst of a run mixes no versions.
        let link = Path::new("/proc/self/exe");
        let path = if link.exists() {
            link.to_owned()
        } else {
            std::env::current_exe().map_err(EngineError::system("find the binary that runs"))?
        };
        Ok(Self { path, supervisor: vec!["supervisor".into()], worker: vec!["worker".into()] })
    }
}

/// What the engine's own processes are called.
pub const PROCESS_NAME: &str = "wick";

/// How much of the supervisor's reports is read at once, in bytes.
const READ_AT_ONCE: usize = 16 << 10;

/// A running supervisor. It ends, and with it all that it started, when this is dropped.
#[derive(Debug)]
pub struct Supervisor {
    process: Child,
    socket: Option<OwnedWriteHalf>,
    out: Vec<u8>,
    /// How much of `out` is sent.
    sent: usize,
}

impl Supervisor {
    /// Starts one for `run`. What it reports is to be read from the second value.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(program: &Program, run: &RunId) -> EngineResult<(Self, Reports)> {
        let failed = |source| EngineError::Supervisor { program: program.path.clone(), source };
        // It may move this process to another control group, to which the supervisor then belongs.
        cgroup::delegated();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(failed)?;
        let process = Command::new(&program.path)
            .arg0(PROCESS_NAME)
            .args(&program.supervisor)
            // By which others see that it still ends what a dead engine had started.
            .env(dying::SUPERVISES, dying::mark(run))
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let (reports, socket) = UnixStream::from_std(ours).map_err(failed)?.into_split();
        let mut out = Vec::new();
        protocol::put_hello(&mut out);
        let supervisor = Self { process, socket: Some(socket), out, sent: 0 };
        let buffer = vec![0; READ_AT_ONCE];
        Ok((supervisor, Reports { socket: reports, inbox: Inbox::default(), buffer }))
    }

    /// Asks for a process. Sent with the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// If the system could not start such a process at all.
    pub fn spawn(&mut self, id: ProcessId, spec: &ProcessSpec, log: &Path) -> io::Result<()> {
        let request = SpawnRequest {
            id,
            folder: &spec.folder,
            log,
            programs: &spec.programs,
            arguments: &spec.arguments,
            environment: &spec.environment,
            memory: spec.memory.as_ref(),
            groups: cgroup::delegated(),
            masks: spec.masks.patterns(),
        };
        protocol::put_spawn(&mut self.out, &request)
    }

    /// Asks to stop a process: SIGTERM, and SIGKILL after `grace`.
    pub fn stop(&mut self, id: ProcessId, grace: Duration) {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        protocol::put_stop(&mut self.out, id, grace_ms);
    }

    /// Whether anything was asked for that is not sent.
    pub const fn has_unsent(&self) -> bool {
        !self.out.is_empty()
    }

    /// Sends what was asked for. May be dropped at any time: the next call goes on.
    ///
    /// # Errors
    /// If the supervisor is gone.
    pub async fn flush(&mut self) -> io::Result<()> {
        while let Some(socket) = &mut self.socket
            && self.sent < self.out.len()
        {
            self.sent += socket.write(&self.out[self.sent..]).await?;
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Sends nothing any more: the supervisor is gone, as its reports will tell.
    pub fn give_up(&mut self) {
        self.socket = None;
        self.out.clear();
        self.sent = 0;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The closed socket tells it to end everything; that takes it no time to speak of, and
        // waiting means that no process of the run is left when the engine returns.
        self.socket = None;
        let _ = self.process.wait();
    }
}

/// What the supervisor reports.
#[derive(Debug)]
pub struct Reports {
    socket: OwnedReadHalf,
    inbox: Inbox,
    buffer: Vec<u8>,
}

impl Reports {
    /// The next reports, at least one. None when the supervisor is gone. May be dropped at any
    /// time, and loses nothing by it.
    ///
    /// # Errors
    /// If the socket fails, or what comes is not understood.
    pub async fn next(&mut self) -> io::Result<Option<Vec<Report>>> {
        let mut reports = Vec::new();
        while reports.is_empty() {
            let read = self.socket.read(&mut self.buffer).await?;
            if read == 0 {
                return Ok(None);
            }
            self.inbox.push(&self.buffer[..read]);
            while let Some(frame) = self.inbox.next_frame()? {
                match protocol::read_report(frame)? {
                    Report::Hello(protocol::VERSION) => {}
                    Report::Hello(_) => return Err(io::Error::other("another version of wick")),
                    report => reports.push(report),
                }
            }
        }
        Ok(Some(reports))
    }
}
