//! What becomes of processes that go wrong: out of memory, deaf, in hiding, orphaned; and of
//! secrets that programs print.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use wick_core::Exit;
use wick_engine::mask::Masks;
use wick_engine::protocol::{self, Inbox, Report, SpawnRequest};
use wick_plan::{Secret, SecretSource};

use super::*;

pub const TESTS: &[(&str, fn())] = &[
    ("a_program_out_of_memory_is_told_apart", a_program_out_of_memory_is_told_apart),
    ("a_worker_out_of_memory_is_told_apart", a_worker_out_of_memory_is_told_apart),
    ("a_limit_leaves_others_alone", a_limit_leaves_others_alone),
    ("a_secret_reaches_its_program_and_nothing_else", a_secret_reaches_its_program),
    ("a_secret_that_is_not_there_fails_its_stage", a_secret_that_is_not_there_fails_its_stage),
    ("a_masked_program_ends_as_any_other", a_masked_program_ends_as_any_other),
    ("what_ignores_sigterm_is_killed", what_ignores_sigterm_is_killed),
    ("what_an_attempt_leaves_behind_ends_with_it", what_an_attempt_leaves_behind_ends_with_it),
    ("orphans_of_engine_and_supervisor_are_ended", orphans_are_ended),
    ("a_gigabyte_of_log_is_no_burden", a_gigabyte_of_log_is_no_burden),
];

// ---- memory ----------------------------------------------------------------------------------

fn a_program_out_of_memory_is_told_apart() {
    // `tail` keeps the last line, which never ends.
    let project = Project::new(
        "  hoard:
    uses: command
    retry: {attempts: 3, backoff: 10ms}
    resources: {memory: 64MiB}
    with: {run: 'head -c 600M /dev/zero | tail -n 1 > /dev/null; exit $?'}
",
    );
    let outcome = project.run();
    let failed = &outcome.failed[0];
    assert_eq!(failed.failure.cause, FailureCause::OutOfMemory, "{:?}", failed.failure);
    assert_eq!(failed.attempt, 1, "it is not tried again");
    let message = &failed.failure.message;
    assert!(message.starts_with("the program needed more memory than the 64 MiB of its stage"));
    assert!(failed.failure.help.as_ref().is_some_and(|help| help.contains("resources.memory")));
}

fn a_worker_out_of_memory_is_told_apart() {
    let project = Project::new(
        "  hoard: {uses: probe, resources: {memory: 48MiB}, with: {act: hoard}}
  fits: {uses: probe, resources: {memory: 48MiB}, with: {act: write}}
",
    );
    let outcome = project.run();
    assert_eq!(project.state(&outcome.run, "fits"), AttemptState::Succeeded, "{outcome:?}");
    let failure = &outcome.failed[0].failure;
    assert_eq!(failure.cause, FailureCause::OutOfMemory, "{failure:?}");
    assert!(failure.message.starts_with("the worker needed more memory"), "{failure:?}");
}

fn a_limit_leaves_others_alone() {
    let project = Project::new(
        "  limited: {uses: command, resources: {memory: 1GiB}, with: {run: 'ulimit -d > limited'}}
  free: {uses: command, with: {run: 'ulimit -d > free'}}
  says: {uses: command, with: {run: 'echo MemoryError; exit 1'}}
",
    );
    let outcome = project.run();
    assert_eq!(outcome.failed[0].failure.cause, FailureCause::Exit, "without a limit: words only");
    let own = Command::new("sh").args(["-c", "ulimit -d"]).output().expect("a shell");
    assert_eq!(project.read("free").as_bytes(), own.stdout);
    if wick_engine::cgroup::delegated().is_none() {
        let kibibytes: u64 = project.read("limited").trim().parse().expect("a limit");
        assert!((1 << 20..2 << 20).contains(&kibibytes), "{kibibytes} KiB");
    }
}

// ---- secrets ---------------------------------------------------------------------------------

const SECRET: &str = "sword/fish?17";

/// A plan whose pipeline has the secret `token`, in a file outside of the project.
fn with_secret(project: &Project, place: &Path, env: Value) -> Plan {
    let source = SecretSource::File(place.to_owned());
    let mut plan = project.plan();
    plan.secrets = vec![Secret { name: "token".to_owned(), source }];
    for stage in &mut plan.stages {
        stage.config["env"] = env.clone();
    }
    plan
}

fn a_secret_reaches_its_program() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let place = elsewhere.path().join("token");
    std::fs::write(&place, format!("{SECRET}\n")).expect("written");
    // It says it whole, in pieces, encoded, as a metric's name, in an output, and on its way out.
    let project = Project::new(
        "  tell:
    uses: command
    with:
      run: |
        test \"$TOKEN\" = 'sword/fish?17' || exit 9
        echo \"token $TOKEN\"; echo \"again $AUTH\" >&2
        printf sword/; sleep 0.02; echo 'fish?17'
        printf \"$TOKEN\" | base64
        echo '{\"metric\": \"sword/fish?17\", \"value\": 1}' >> $WICK_METRICS
        echo '{\"metric\": \"\\u001b[31mred\", \"value\": 2}' >> $WICK_METRICS
        echo 5 > ${outputs.fine}
        yes \"filler $TOKEN\" | head -c 3000000
        echo; echo done
        exit 3
      outputs: {fine: value}
",
    );
    let env = json!({"TOKEN": "${secrets.token}", "AUTH": "Bearer ${secrets.token}"});
    let outcome = project.run_plan(&with_secret(&project, &place, env));
    let failed = &outcome.failed[0];
    assert_eq!(failed.failure.exit, Some(Exit::Code(3)), "{:?}", failed.failure);
    let log = std::fs::read_to_string(&failed.log).expect("a log");
    assert!(log.starts_with("token ***\nagain Bearer ***\n***\n***"), "{}", &log[..200]);
    assert!(log.ends_with("done\n"));
    assert_eq!(log.matches("filler ***").count(), 3_000_000 / "filler sword/fish?17\n".len());
    assert_eq!(project.metric(&outcome.run, "***"), [(0, 1.0)]);
    assert_eq!(project.metric(&outcome.run, "red"), [(0, 2.0)], "no terminal is to obey a name");
    for (file, bytes) in files_in(&project.folder) {
        // What the program writes into files is its own.
        if file.ends_with("metrics.jsonl") {
            continue;
        }
        // The pipeline itself names the value, to test for it, in this test only.
        let is_about_the_text = file.ends_with("pipeline.yaml") || file.contains("store.db");
        let needle: &[u8] = if is_about_the_text { b"Bearer sword" } else { SECRET.as_bytes() };
        assert!(!holds(&bytes, needle), "{file} holds the secret");
    }
}

fn a_secret_that_is_not_there_fails_its_stage() {
    let project = Project::new("  tell: {uses: command, with: {run: [\"true\"]}}\n");
    let place = project.folder.join("none");
    let plan = with_secret(&project, &place, json!({"TOKEN": "${secrets.token}"}));
    let failure = project.run_plan(&plan).failed.remove(0).failure;
    assert_eq!(failure.cause, FailureCause::Config);
    assert_eq!(failure.message, "the secret `token` cannot be read");
    assert!(failure.chain[0].contains("none"), "{failure:?}");
}

/// All files below `folder`, by name.
fn files_in(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else if path.is_file() {
            files.push((path.display().to_string(), std::fs::read(&path).expect("read")));
        }
    }
    files
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

// ---- the supervisor by itself ----------------------------------------------------------------

/// A supervisor that a test speaks to.
struct Spoken {
    socket: std::os::unix::net::UnixStream,
    process: std::process::Child,
    inbox: Inbox,
    folder: tempfile::TempDir,
}

impl Spoken {
    fn new() -> Self {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket");
        let process = Command::new(std::env::current_exe().expect("this binary"))
            .arg("supervisor")
            .stdin(std::os::fd::OwnedFd::from(theirs))
            .spawn()
            .expect("a supervisor");
        let folder = tempfile::tempdir().expect("a folder");
        Self { socket: ours, process, inbox: Inbox::default(), folder }
    }

    fn start(&mut self, id: u64, script: &str, masks: &Masks) {
        let mut out = Vec::new();
        let words = [b"sh".to_vec(), b"-c".to_vec(), script.as_bytes().to_vec()];
        let request = SpawnRequest {
            id,
            folder: self.folder.path(),
            log: &self.folder.path().join(format!("log{id}")),
            programs: &[b"/bin/sh".to_vec()],
            arguments: &words,
            environment: &[b"PATH=/usr/bin:/bin".to_vec()],
            memory: None,
            groups: None,
            masks: masks.patterns(),
        };
        protocol::put_spawn(&mut out, &request).expect("a small request");
        self.socket.write_all(&out).expect("sent");
    }

    fn stop(&mut self, id: u64, grace_ms: u32) {
        let mut out = Vec::new();
        protocol::put_stop(&mut out, id, grace_ms);
        self.socket.write_all(&out).expect("sent");
    }

    /// How the next process to end did.
    fn ended(&mut self) -> (u64, std::process::ExitStatus) {
        loop {
            while let Some(frame) = self.inbox.next_frame().expect("frames") {
                match protocol::read_report(frame).expect("a report") {
                    Report::Exited { id, status, .. } => {
                        return (id, std::process::ExitStatus::from_raw(status));
                    }
                    Report::Refused { id, errno, .. } => panic!("{id} was refused: {errno}"),
                    _ => {}
                }
            }
            let mut buffer = [0; 4096];
            let read = self.socket.read(&mut buffer).expect("it speaks");
            assert!(read > 0, "the supervisor ended");
            self.inbox.push(&buffer[..read]);
        }
    }

    fn log(&self, id: u64) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("log{id}"))).unwrap_or_default()
    }

    fn wait_for_log(&self, id: u64, text: &str) {
        while !self.log(id).contains(text) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn end(self) {
        let Self { socket, mut process, folder, .. } = self;
        drop(socket);
        assert!(process.wait().expect("it ends").success());
        drop(folder);
    }
}

fn a_masked_program_ends_as_any_other() {
    let mut supervisor = Spoken::new();
    for masks in [Masks::default(), Masks::of(["swordfish"])] {
        let masked = |text: &str| masks.mask(text);
        supervisor.start(1, "echo swordfish; exit 3", &masks);
        let (id, status) = supervisor.ended();
        assert_eq!((id, status.code()), (1, Some(3)));
        assert_eq!(supervisor.log(1), format!("{}\n", masked("swordfish")));
        supervisor.start(2, "printf 'a sword'; kill -ABRT $$", &masks);
        let (id, status) = supervisor.ended();
        assert_eq!((id, status.signal()), (2, Some(libc::SIGABRT)));
        assert_eq!(supervisor.log(2), "a sword", "what was held back is there in the end");
        supervisor.start(
            3,
            "trap 'echo asked; exit 4' TERM; echo up; while :; do sleep 0.01; done",
            &masks,
        );
        supervisor.wait_for_log(3, "up");
        supervisor.stop(3, 60_000);
        let (id, status) = supervisor.ended();
        assert_eq!((id, status.code()), (3, Some(4)));
        // The shell may have a word to say of its `sleep`.
        assert!(supervisor.log(3).ends_with("asked\n"), "{}", supervisor.log(3));
        // A child that keeps the log open does not keep the attempt.
        supervisor.start(4, "setsid sleep 1000 & echo gone", &masks);
        assert_eq!(supervisor.ended().0, 4);
        assert_eq!(supervisor.log(4), "gone\n");
        for id in 1..=4 {
            std::fs::remove_file(supervisor.folder.path().join(format!("log{id}")))
                .expect("removed");
        }
    }
    supervisor.end();
}

fn what_ignores_sigterm_is_killed() {
    let mut supervisor = Spoken::new();
    let deaf = "trap '' TERM; (trap '' TERM; echo child; sleep 1000) & echo up; wait; sleep 1000";
    supervisor.start(1, deaf, &Masks::default());
    supervisor.wait_for_log(1, "up");
    supervisor.wait_for_log(1, "child");
    supervisor.stop(1, 50);
    let (_, status) = supervisor.ended();
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    assert!(no_process_in(supervisor.folder.path()), "its child was left behind");
    supervisor.end();
}

// ---- what is left behind ---------------------------------------------------------------------

fn what_an_attempt_leaves_behind_ends_with_it() {
    // A daemon as they are made: in a session of its own, its parent gone. The second stage waits
    // for its end while the run goes on; a third has one, too, which is not to be touched.
    let project = Project::new(
        "  daemon: {uses: command, with: {run: [sh, daemon.sh, gone, exit]}}
  beside: {uses: command, with: {run: [sh, daemon.sh, kept, wait]}}
  waits: {uses: command, after: [daemon], timeout: 60s, with: {run: [sh, waits.sh]}}
",
    );
    project.write(
        "daemon.sh",
        "(setsid sh -c 'echo $$ > '$1'; exec sleep 1000' > /dev/null 2>&1 &)
while ! test -s $1; do sleep 0.01; done
test $2 = exit || while ! test -e enough; do sleep 0.01; done
",
    );
    project.write(
        "waits.sh",
        "while ! test -s kept; do sleep 0.01; done
while kill -0 $(cat gone) 2> /dev/null; do sleep 0.01; done
kill -0 $(cat kept); code=$?; touch enough; exit $code
",
    );
    let outcome = project.run();
    assert_eq!(outcome.state, RunState::Succeeded, "{:?}", outcome.failed);
    assert!(!is_alive(project.read("kept").trim()), "it outlived the run");
}

fn orphans_are_ended() {
    // The stage's program has a child, and one in a session of its own.
    let project = Project::new(
        "  parent: {uses: command, with: {run: [sh, parent.sh]}}
",
    );
    project.write(
        "parent.sh",
        "test -e second && exit 0
touch second
sh -c 'echo $$ > child; exec sleep 1000' &
setsid sh -c 'echo $$ > hidden; exec sleep 1000' &
while ! test -s child || ! test -s hidden; do sleep 0.01; done
echo $PPID > supervisor
wait
",
    );
    let mut engine = Command::new(std::env::current_exe().expect("this binary"))
        .args(["drive".as_ref(), project.folder.as_os_str()])
        .stdout(Stdio::null())
        .spawn()
        .expect("an engine");
    while project.read("supervisor").trim().is_empty() {
        assert!(engine.try_wait().expect("asked").is_none(), "it ended too soon");
        std::thread::sleep(Duration::from_millis(3));
    }
    let dead = project.runtime.block_on(project.store.find_runs("@last")).expect("asked").remove(0);
    let recorded = || {
        let recorded = wick_engine::orphans::recorded(project.store.as_ref(), &dead);
        project.runtime.block_on(recorded).expect("asked").expect("it runs here")
    };
    while recorded().is_empty() {
        std::thread::sleep(Duration::from_millis(3));
    }
    let parent = recorded()[0];
    assert_ne!(parent.started, 0);
    assert_eq!(wick_engine::orphans::started(parent.pid), Some(parent.started));
    // Both at once: neither sees the other's end.
    let signal = |pid: i32, signal: i32| {
        // SAFETY: a call without pointers, to processes that this test has started.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    };
    let engine_pid = i32::try_from(engine.id()).expect("a pid");
    signal(engine_pid, libc::SIGSTOP);
    signal(project.read("supervisor").trim().parse().expect("a pid"), libc::SIGKILL);
    engine.kill().expect("killed");
    engine.wait().expect("waited for");
    let orphans = || ["child", "hidden"].map(|file| project.read(file).trim().to_owned());
    for pid in orphans() {
        let pid = pid.parse().expect("a pid");
        assert!(wick_store::process_start(pid).is_some(), "the test makes no orphans");
    }
    let outcome = project.rerun(&dead);
    assert_eq!((outcome.run, outcome.state), (dead.clone(), RunState::Succeeded));
    for pid in orphans() {
        assert!(!is_alive(&pid), "{pid} was left behind");
    }
}

// ---- logs ------------------------------------------------------------------------------------

fn a_gigabyte_of_log_is_no_burden() {
    let project = Project::new(
        "  much:
    uses: command
    with: {run: 'truncate -s 1G /proc/self/fd/1; printf \"\\n\\377\\033[31mthe last\\n\"; exit 1'}
  cut: {uses: command, with: {run: 'echo one; : > /proc/self/fd/1; echo two; exit 1'}}
",
    );
    let before = peak_memory();
    let outcome = project.run();
    let grown = peak_memory() - before;
    assert!(grown < 32 << 20, "{grown} bytes for a log");
    let log = |name: &str| -> PathBuf {
        let mut failed = outcome.failed.iter();
        failed.find(|failed| failed.stage == name).expect("it failed").log.clone()
    };
    assert!(std::fs::metadata(log("much")).expect("a log").len() > 1 << 30);
    let tail = |name: &str| wick_engine::log::tail_log(&log(name), 1).expect("read");
    assert_eq!(tail("much"), ["\u{fffd}the last"]);
    assert_eq!(tail("cut"), ["two"]);
}

/// The most memory that this process ever held, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}
