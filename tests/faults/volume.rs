//! Much of everything: ten thousand stages, a gigabyte of log, bytes that are no text.

use std::fmt::Write as _;

use crate::sandbox::{Sandbox, ended};

#[test]
fn ten_thousand_stages_run_and_are_cached() {
    const STAGES: usize = 10_000;
    let mut text = "pipeline: wide\nstages:\n".to_owned();
    for place in 0..STAGES {
        let _ = writeln!(text, "  s{place}: {{uses: command, with: {{run: [\"true\"]}}}}");
    }
    let sandbox = Sandbox::with_pipeline(&text);
    sandbox.write("wick.yaml", "");
    sandbox.wick(&["run", "pipeline.yaml", "-q"]).ends_with(0);
    let shown = sandbox.wick(&["runs"]).ends_with(0);
    assert!(shown.stdout.contains("succeeded"), "{}", shown.everything());
    let states = sandbox.states("@last");
    assert_eq!(states.len(), STAGES);
    assert!(states.iter().all(|(_, state)| state == "succeeded"));
    sandbox.wick(&["run", "pipeline.yaml", "-q"]).ends_with(0);
    assert!(sandbox.states("@last").iter().all(|(_, state)| state == "cached"));
}

#[test]
fn a_gigabyte_of_log_costs_the_engine_nothing() {
    const BYTES: u64 = 1_000_000_000;
    let sandbox = Sandbox::with_pipeline(
        "
pipeline: loud
stages:
  loud:
    uses: command
    with: {run: 'yes \"a line like any other\" | head -c 1000000000; echo; echo the end; exit 3'}
",
    );
    sandbox.write("wick.yaml", "");
    let engine = sandbox.spawn(&["run", "pipeline.yaml"]);
    let status = format!("/proc/{}/status", engine.id());
    let watched = std::thread::spawn(move || {
        let mut most = 0;
        while let Some(kilobytes) = peak_kilobytes(&status) {
            most = kilobytes.max(most);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        most
    });
    // The failure report shows the end of the log.
    ended(engine, &["run"]).ends_with(1).says(&["the end", "code 3"]);
    let most = watched.join().expect("watched");
    assert!(most < 150_000, "the engine took {most} kB of memory");
    let log = sandbox.path().join(format!(".wick/runs/{}/loud.1/log", sandbox.runs()[0]));
    assert!(std::fs::metadata(&log).expect("a log").len() > BYTES);
    let last = sandbox.wick(&["logs", "-n", "2"]).ends_with(0);
    assert!(last.stdout.contains("the end"), "{}", last.everything());
    assert!(last.stdout.len() < 1000, "only the last lines");
}

fn peak_kilobytes(status: &str) -> Option<u64> {
    let status = std::fs::read_to_string(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[test]
fn output_that_is_no_text_is_shown_as_far_as_it_is() {
    let sandbox = Sandbox::with_pipeline(
        r"
pipeline: bytes
stages:
  bytes:
    uses: command
    with:
      run: |
        printf 'before \377\376\000 \303( after\n'
        printf '\033]0;title\007\033[2Jred\n'
        printf '{\377\n' >> $WICK_METRICS
        head -c 100000 /dev/urandom
        printf '\nthe last line'; exit 1
",
    );
    sandbox.write("wick.yaml", "");
    let ran = sandbox.command(&["run", "pipeline.yaml"]).output().expect("wick starts");
    assert_eq!(ran.status.code(), Some(1));
    for said in [ran.stdout, ran.stderr] {
        let said = String::from_utf8(said).expect("wick itself prints text");
        assert!(!said.contains('\u{1b}') && !said.contains('\0'), "{said:?}");
    }
    sandbox.wick(&["logs", "-n", "1"]).ends_with(0).says(&["the last line"]);
    let shown = sandbox.wick(&["show"]).ends_with(0);
    assert!(shown.stdout.contains("the last line"), "{}", shown.everything());
}
