//! Runs a program after a run: in the pipeline's folder, with the environment that a `command`
//! stage gets, and what happened as JSON on its standard input.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use wick_core::Exit;
use wick_engine::command::launch::is_passed;
use wick_engine::mask::{Masker, Masks};
use wick_plan::Plan;

use super::payload::Payload;
use super::{Done, MAX_ANSWER};
use crate::render::human;

/// After its end a program's output is awaited so long: what it left running may hold it open.
const LINGER: Duration = Duration::from_millis(500);

/// A program that is asked to end has so long before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// What is run.
pub struct Program<'a> {
    /// The words, or a text for the shell alone.
    pub run: &'a [String],
    /// Whether it is a text for the shell.
    pub shell: bool,
    /// What it finds in its environment besides; may hold secrets.
    pub env: &'a [(String, String)],
}

/// Runs the program to its end, or until it has taken too long.
pub async fn run(
    program: &Program<'_>,
    plan: &Plan,
    payload: &Payload,
    timeout: Duration,
    masks: &Masks,
) -> Done {
    let mut child = match command(program, plan, payload).spawn() {
        Ok(child) => child,
        Err(error) => return Done::failed(format!("cannot be run: {error}")),
    };
    let group = child.id();
    let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut kept = Kept::new(masks);
    let ended = {
        let told = async {
            if let Some(mut input) = input {
                // A program that does not read what it is told is none the worse.
                let _ = input.write_all(payload.json.as_bytes()).await;
            }
        };
        let reading = read(out, err, &mut kept);
        let waiting = async { tokio::time::timeout(timeout, child.wait()).await };
        tokio::pin!(told, reading, waiting);
        let mut told_all = false;
        let mut read_all = false;
        let ended = loop {
            tokio::select! {
                ended = &mut waiting => break ended,
                () = &mut told, if !told_all => told_all = true,
                () = &mut reading, if !read_all => read_all = true,
            }
        };
        if !read_all {
            let _ = tokio::time::timeout(LINGER, &mut reading).await;
        }
        ended
    };
    let result = match ended {
        Ok(Ok(status)) => match exit(status) {
            Exit::Code(0) => Ok("ended with code 0".to_owned()),
            other => Err(human::exit(other)),
        },
        Ok(Err(error)) => Err(format!("its end cannot be known: {error}")),
        Err(_) => {
            end(&mut child, group).await;
            Err(format!("was stopped after its timeout of {timeout:?}"))
        }
    };
    // What it has left running in its group ends with it: nothing of a hook stays behind.
    signal(group, rustix::process::Signal::KILL);
    Done { result, answer: kept.text() }
}

fn command(program: &Program<'_>, plan: &Plan, payload: &Payload) -> Command {
    let mut command = if program.shell {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").args(program.run);
        command
    } else {
        let (name, words) =
            program.run.split_first().map_or(("", &[][..]), |(name, words)| (name.as_str(), words));
        let mut command = Command::new(name);
        command.args(words);
        command
    };
    command
        .current_dir(&plan.base)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed)))
        .envs(program.env.iter().map(|(name, value)| (name, value)))
        .env("WICK_RUN", payload.run.as_str())
        .env("WICK_PIPELINE", &plan.pipeline)
        .env("WICK_EXPERIMENT", plan.experiment.as_str())
        .env("WICK_FAILED_STAGES", &payload.failed)
        .env("WICK_STATE", payload.state)
        .env("WICK_EVENT", payload.event)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Asks the program's group to end, then kills it.
async fn end(child: &mut Child, group: Option<u32>) {
    signal(group, rustix::process::Signal::TERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        signal(group, rustix::process::Signal::KILL);
        let _ = child.wait().await;
    }
}

fn signal(group: Option<u32>, signal: rustix::process::Signal) {
    let group =
        group.and_then(|group| i32::try_from(group).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // A group that is gone needs no signal.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

fn exit(status: std::process::ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}

/// Reads both streams as they come.
async fn read(
    out: Option<impl AsyncRead + Unpin>,
    err: Option<impl AsyncRead + Unpin>,
    kept: &mut Kept,
) {
    let (Some(mut out), Some(mut err)) = (out, err) else { return };
    let (mut first, mut second) = ([0; 4096], [0; 4096]);
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        tokio::select! {
            read = out.read(&mut first), if out_open => match read {
                Ok(read) if read > 0 => kept.push(&first[..read]),
                _ => out_open = false,
            },
            read = err.read(&mut second), if err_open => match read {
                Ok(read) if read > 0 => kept.push(&second[..read]),
                _ => err_open = false,
            },
        }
    }
}

/// What is kept of an output: the first bytes, masked as they come, so that no secret is cut in
/// two.
struct Kept {
    masker: Masker,
    bytes: Vec<u8>,
}

impl Kept {
    fn new(masks: &Masks) -> Self {
        Self { masker: Masker::new(masks.clone()), bytes: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8]) {
        // All of it is read, that the program is not held up; not all of it is kept.
        if self.bytes.len() < MAX_ANSWER {
            self.masker.push(bytes, &mut self.bytes);
        }
    }

    fn text(mut self) -> String {
        if self.bytes.len() < MAX_ANSWER {
            self.masker.finish(&mut self.bytes);
        }
        self.bytes.truncate(MAX_ANSWER);
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use wick_core::RunId;

    use super::*;

    fn plan(base: &std::path::Path) -> Plan {
        Plan {
            pipeline: "p".into(),
            experiment: wick_core::ExperimentName::new("p").expect("a name"),
            description: None,
            file: base.join("p.yaml"),
            files: Vec::new(),
            base: base.to_owned(),
            timeout: None,
            secrets: Vec::new(),
            hooks: wick_plan::Hooks::default(),
            schedule: None,
            params: Vec::new(),
            overridden: Vec::new(),
            stages: Vec::new(),
        }
    }

    fn ran(script: &str, env: &[(&str, &str)], timeout: Duration) -> Done {
        let folder = tempfile::tempdir().expect("a folder");
        let payload = Payload {
            run: RunId::from_random(7),
            state: "failed",
            event: "on_failure",
            failed: "train evaluate".to_owned(),
            json: "{\"version\":1}".to_owned(),
        };
        let env: Vec<(String, String)> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let masks = Masks::of(env.iter().map(|(_, value)| value.as_str()));
        let script = [script.to_owned()];
        let program = Program { run: &script, shell: true, env: &env };
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(run(&program, &plan(folder.path()), &payload, timeout, &masks))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_is_told_what_happened() {
        let done = ran(
            "cat; echo; echo $WICK_RUN $WICK_STATE $WICK_PIPELINE; \
             echo $WICK_EXPERIMENT: $WICK_FAILED_STAGES",
            &[],
            LONG,
        );
        assert_eq!(done.result.as_deref(), Ok("ended with code 0"));
        assert_eq!(done.answer, "{\"version\":1}\n700000000000 failed p\np: train evaluate\n");
    }

    #[test]
    fn secrets_reach_the_program_and_nobody_else() {
        let script = "test \"$KEY\" = swordfish && echo \"<$KEY>\"; exit 3";
        let done = ran(script, &[("KEY", "swordfish")], LONG);
        assert_eq!(done.answer, "<***>\n");
        assert_eq!(done.result.expect_err("it failed"), "exit code 3");
    }

    #[test]
    fn a_program_that_takes_too_long_is_stopped_with_all_that_it_started() {
        let done = ran("sleep 600 & echo $!; sleep 600", &[], Duration::from_millis(200));
        let why = done.result.expect_err("it failed");
        assert_eq!(why, "was stopped after its timeout of 200ms");
        let child: i32 = done.answer.trim().parse().expect("a process");
        let child = rustix::process::Pid::from_raw(child).expect("a process");
        // It may take the system a moment to bury it.
        for _ in 0..500 {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
            if state.is_err() || state.is_ok_and(|state| state.contains(") Z ")) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it is still there");
    }

    #[test]
    fn endless_output_is_bounded() {
        let done = ran("head -c 10000000 /dev/zero | tr '\\0' x", &[], LONG);
        assert_eq!(done.result.as_deref(), Ok("ended with code 0"));
        assert_eq!(done.answer.len(), MAX_ANSWER);
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let payload = Payload {
            run: RunId::from_random(7),
            state: "failed",
            event: "on_failure",
            failed: "train evaluate".to_owned(),
            json: String::new(),
        };
        let run_words = ["no-such-program-of-wick".to_owned()];
        let program = Program { run: &run_words, shell: false, env: &[] };
        let done = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(run(&program, &plan(folder.path()), &payload, LONG, &Masks::default()));
        assert!(done.result.expect_err("it failed").contains("cannot be run"));
    }
}
