//! Artifacts in a bucket, behind a server that speaks S3 (moto, from PyPI), and in a folder that
//! several machines share. `scripts/test.sh` installs the server.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::sandbox::{Ran, Sandbox};

/// What may be used to write to the bucket; the server takes any.
const SECRET: &str = "hunter2-is-no-good-password";

/// Serves S3 until its input ends, which it does when the test does, however that ends. Looks into
/// buckets and changes them as it is asked to, by a client of its own.
const KEEPER: &str = r#"
import sys
import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
url = f"http://127.0.0.1:{port}"
s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1",
                  aws_access_key_id="keeper", aws_secret_access_key="keeper")
print(url, flush=True)
for line in sys.stdin:
    word, *rest = line.split()
    if word == "make":
        s3.create_bucket(Bucket=rest[0])
        print("made", flush=True)
    elif word == "keys":
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=rest[0])
        print(*[each["Key"] for page in pages for each in page.get("Contents", [])], flush=True)
    elif word == "flip":
        body = bytearray(s3.get_object(Bucket=rest[0], Key=rest[1])["Body"].read())
        body[len(body) // 2] ^= 1
        s3.put_object(Bucket=rest[0], Key=rest[1], Body=bytes(body))
        print("flipped", flush=True)
    elif word == "parts":
        print(s3.head_object(Bucket=rest[0], Key=rest[1])["ETag"].strip('"').partition("-")[2] or 1,
              flush=True)
server.stop()
"#;

/// A server that speaks S3, with one bucket.
struct S3 {
    url: String,
    asked: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    keeper: Child,
}

impl S3 {
    /// A new server; `None`, and a note, where there is no moto.
    #[expect(clippy::print_stderr, reason = "who runs the tests must know what they left out")]
    fn start() -> Option<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python3");
        let has_moto = |python: &PathBuf| {
            let mut look = Command::new(python);
            look.args(["-c", "import moto.server, boto3"]).stderr(Stdio::null());
            look.status().is_ok_and(|status| status.success())
        };
        let Some(python) = [own, PathBuf::from("python3")].into_iter().find(has_moto) else {
            let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!must, "moto is not installed, and with CI=true it must be");
            eprintln!(
                "note: no moto here: artifacts are not tested on S3; scripts/test.sh installs it"
            );
            return None;
        };
        let mut keeper = Command::new(python)
            .args(["-c", KEEPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python starts");
        let asked = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().expect("it is piped"));
        let mut s3 = Self { url: String::new(), asked, answers, keeper };
        s3.url = s3.answer();
        assert!(s3.url.starts_with("http://"), "the server does not start: {:?}", s3.url);
        s3.ask("make wick");
        Some(s3)
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("its output");
        line.trim_end().to_owned()
    }

    fn ask(&mut self, what: &str) -> String {
        let asked = self.asked.as_mut().expect("it serves");
        writeln!(asked, "{what}").expect("it listens");
        self.answer()
    }

    fn keys(&mut self) -> Vec<String> {
        self.ask("keys wick").split_whitespace().map(str::to_owned).collect()
    }

    /// The `wick.yaml` of a project that keeps its artifacts in the bucket.
    fn config(&self) -> String {
        format!(
            "artifacts:\n  url: s3://wick/team/one\n  endpoint: {}\n  region: us-east-1\n",
            self.url
        )
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.asked.take());
        let _ = self.keeper.wait();
    }
}

/// Runs `wick` as someone who may use the bucket.
#[track_caller]
fn wick(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let mut command = sandbox.command(arguments);
    command.env("AWS_ACCESS_KEY_ID", "tester").env("AWS_SECRET_ACCESS_KEY", SECRET);
    Ran::new(arguments, command.output().expect("wick starts"))
}

/// A file of 20 MiB, a folder, a value and a native stage, and who reads them.
const PIPELINE: &str = r#"
pipeline: shared
params: {note: one}
stages:
  large:
    uses: command
    with:
      run: yes wick | head -c 20971520 > ${outputs.out}; mkdir ${outputs.more}; echo a > ${outputs.more}/a; touch ${outputs.more}/empty
      outputs: {out: file, more: folder}
  table: {uses: load, with: {path: rows.csv}}
  read:
    uses: command
    inputs: {large: large.out, more: large.more, rows: table}
    with:
      run: cksum < ${inputs.large} > ${outputs.sum}; ls ${inputs.more} >> ${outputs.sum}; echo ${params.note} >> ${outputs.sum}
      outputs: {sum: file}
"#;

/// A machine of its own, with the store of all.
fn machine(config: &str, store: &Path) -> Sandbox {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.write("rows.csv", "a,b\n1,2\n3,4\n");
    sandbox.write("wick.yaml", &format!("store: {}\n{config}", store.display()));
    sandbox
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => found.extend(files_below(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[test]
fn two_machines_share_a_bucket() {
    let Some(mut s3) = S3::start() else { return };
    let common = tempfile::tempdir().expect("a folder");
    let store = common.path().join("runs.db");
    let first = machine(&s3.config(), &store);
    wick(&first, &["doctor"]).ends_with(0).says(&["s3://wick/team/one", "written, read"]);
    wick(&first, &["run", "pipeline.yaml"]).ends_with(0).says(&["s3://wick/team/one"]);
    let keys = s3.keys();
    assert!(keys.iter().all(|key| key.starts_with("team/one/")), "{keys:?}");
    let manifests = keys.iter().filter(|key| key.starts_with("team/one/artifacts/")).count();
    assert_eq!(manifests, 4, "{keys:?}");
    let parts: Vec<String> = keys.iter().map(|key| s3.ask(&format!("parts wick {key}"))).collect();
    assert!(parts.iter().any(|parts| parts == "3"), "20 MiB travel in parts: {parts:?}");
    let holds_secret = |file: &PathBuf| {
        let bytes = std::fs::read(file).expect("readable");
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    };
    let leaks: Vec<PathBuf> = files_below(&first.path())
        .into_iter()
        .chain(files_below(common.path()))
        .filter(holds_secret)
        .collect();
    assert!(leaks.is_empty(), "{leaks:?}");

    // Another machine: nothing is there but the store and the bucket.
    let second = machine(&s3.config(), &store);
    wick(&second, &["run", "pipeline.yaml"]).ends_with(0).says(&["3 cached"]);
    let here = std::fs::read_dir(second.path().join(".wick/artifacts")).expect("made");
    let names: Vec<_> = here.flatten().map(|entry| entry.file_name()).collect();
    assert!(names.iter().all(|name| name == "tmp" || name == "users"), "{names:?}");
    // What reads them fetches them.
    wick(&second, &["run", "pipeline.yaml", "-p", "note=two"]).ends_with(0).says(&["2 cached"]);
    wick(&second, &["rerun", "@last"]).ends_with(0);
    wick(&second, &["artifacts", "@last", "read.sum", "--export", "out"]).ends_with(0);
    let sum = second.read("out/read/sum");
    assert!(sum.contains(" 20971520\na\nempty\n"), "{sum}");
    // Everything is where the store says, to the last byte.
    wick(&second, &["store", "check", "--deep"]).ends_with(0).says(&["all are there"]);
    // And the first takes up what the second has begun.
    wick(&first, &["artifacts", "@last", "read.sum", "--export", "out"]).ends_with(0);
    assert_eq!(first.read("out/read/sum"), sum);
}

#[test]
fn a_flipped_byte_in_the_bucket_is_computed_anew() {
    let Some(mut s3) = S3::start() else { return };
    let common = tempfile::tempdir().expect("a folder");
    let store = common.path().join("runs.db");
    let first = machine(&s3.config(), &store);
    wick(&first, &["run", "pipeline.yaml"]).ends_with(0);
    for key in s3.keys().iter().filter(|key| key.contains("/bytes/")) {
        s3.ask(&format!("flip wick {key}"));
    }
    let second = machine(&s3.config(), &store);
    wick(&second, &["store", "check"]).ends_with(0).says(&["--deep"]);
    wick(&second, &["artifacts", "@last", "large.out", "--export", "out"])
        .ends_with(70)
        .says(&["is damaged at s3://wick/team/one"]);
    assert!(!second.has("out/large/out"));
    wick(&second, &["run", "pipeline.yaml", "-p", "note=two"]);
    // Whatever was found to be damaged has been set aside: now all comes out right.
    wick(&second, &["run", "pipeline.yaml", "-p", "note=two"]).ends_with(0);
    wick(&second, &["artifacts", "@last", "read.sum", "--export", "out"]).ends_with(0);
    assert!(second.read("out/read/sum").contains(" 20971520\na\nempty\n"));
}

#[test]
fn what_nothing_needs_goes_from_the_bucket() {
    let Some(mut s3) = S3::start() else { return };
    let common = tempfile::tempdir().expect("a folder");
    let store = common.path().join("runs.db");
    let first = machine(&s3.config(), &store);
    wick(&first, &["run", "pipeline.yaml"]).ends_with(0);
    wick(&first, &["run", "pipeline.yaml", "-p", "note=two"]).ends_with(0);
    let before = s3.keys();
    // Nothing of it is old; then it counts as old, but a run needs it.
    wick(&first, &["gc", "--yes"]).ends_with(0);
    wick(&first, &["gc", "--yes", "--grace", "0s"]).ends_with(0);
    assert_eq!(s3.keys(), before);
    let last = first.runs()[0].clone();
    wick(&first, &["delete", &last]).ends_with(0);
    wick(&first, &["gc", "--grace", "0s"]).ends_with(0).says(&["would remove: 1 run"]);
    assert_eq!(s3.keys(), before);
    // Another store has artifacts in the same place: nobody knows here what it needs.
    let other = machine(&s3.config(), &common.path().join("other.db"));
    wick(&other, &["run", "pipeline.yaml"]).ends_with(0);
    wick(&first, &["gc", "--yes", "--grace", "0s"]).ends_with(0).says(&["left alone", "other.db"]);
    assert!(before.iter().all(|key| s3.keys().contains(key)));
    let also = common.path().join("other.db").display().to_string();
    let ran = wick(&first, &["gc", "--yes", "--grace", "0s", "--also", &also]).ends_with(0);
    assert!(ran.stdout.contains("1 artifact of"), "{}", ran.everything());
    let second = machine(&s3.config(), &store);
    wick(&second, &["store", "check", "--deep"]).ends_with(0);
    wick(&other, &["store", "check", "--deep"]).ends_with(0);
}

#[test]
fn what_is_wrong_with_the_bucket_is_told() {
    let Some(s3) = S3::start() else { return };
    let common = tempfile::tempdir().expect("a folder");
    let store = common.path().join("runs.db");
    let config = s3.config().replace("s3://wick/", "s3://nowhere/");
    let sandbox = machine(&config, &store);
    wick(&sandbox, &["doctor"]).ends_with(70).says(&["there is no bucket `nowhere`"]);
    let ran = wick(&sandbox, &["run", "pipeline.yaml"]).ends_with(70);
    assert!(ran.everything().contains("there is no bucket `nowhere`"), "{}", ran.everything());
    assert!(!ran.everything().contains(SECRET));
}

#[test]
fn a_shared_folder_does_without_any_server() {
    let common = tempfile::tempdir().expect("a folder");
    let store = common.path().join("runs.db");
    let config = format!("artifacts: file://{}/shared\n", common.path().display());
    let first = machine(&config, &store);
    first.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let second = machine(&config, &store);
    second.wick(&["run", "pipeline.yaml", "-p", "note=two"]).ends_with(0).says(&["2 cached"]);
    // The environment goes before the file.
    let elsewhere = format!("file://{}/other", common.path().display());
    let third = machine(&config, &store);
    let mut run = third.command(&["run", "pipeline.yaml"]);
    let ran = run.env("WICK_ARTIFACTS", &elsewhere).output().expect("wick starts");
    let ran = Ran::new(&["run"], ran).ends_with(0);
    assert!(ran.everything().contains(&elsewhere), "{}", ran.everything());
    assert!(common.path().join("other/artifacts").exists());
    let wrong = second.command(&["doctor"]).env("WICK_ARTIFACTS", "ftp://x").output();
    Ran::new(&["doctor"], wrong.expect("wick starts"))
        .ends_with(2)
        .says(&["WICK_ARTIFACTS", "`ftp` is no storage"]);
}

/// What a process and those that it waited for had in memory at most, in KiB.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it, and tells what it used")]
fn peak_kib(mut command: Command) -> i64 {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("wick starts");
    let pid = i32::try_from(child.id()).expect("a pid");
    let mut status = 0;
    // SAFETY: a zeroed `rusage` is a valid one, and both pointers live through the call.
    let (waited, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(pid, &mut status, 0, &mut usage), usage)
    };
    assert_eq!((waited, status), (pid, 0), "wick ends well");
    usage.ru_maxrss
}

#[test]
fn however_large_an_artifact_is_its_way_takes_little_memory() {
    let common = tempfile::tempdir().expect("a folder");
    let store = common.path().join("runs.db");
    let pipeline = "pipeline: huge\nstages:\n  huge:\n    uses: command\n    with: {run: 'truncate -s 600M ${outputs.out}', outputs: {out: file}}\n";
    let config = format!(
        "store: {}\nartifacts: file://{}/shared\n",
        store.display(),
        common.path().display()
    );
    let machine = || {
        let sandbox = Sandbox::with_pipeline(pipeline);
        sandbox.write("wick.yaml", &config);
        sandbox
    };
    let (first, second) = (machine(), machine());
    let up = peak_kib(first.command(&["run", "pipeline.yaml"]));
    let down = peak_kib(second.command(&["artifacts", "@last", "--export", "out"]));
    assert!(up < 300 << 10, "{up} KiB on the way up");
    assert!(down < 300 << 10, "{down} KiB on the way down");
}
