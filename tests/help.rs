//! Help, version, completions: what a user sees first.

use std::time::{Duration, Instant};

use crate::sandbox::Sandbox;

#[test]
fn the_help_tells_the_commands_and_the_exit_codes() {
    let help = Sandbox::new().wick(&["--help"]).ends_with(0).stdout;
    insta::assert_snapshot!("help", help);
}

#[test]
fn every_command_has_help_with_examples() {
    let sandbox = Sandbox::new();
    for command in [
        "init",
        "check",
        "plan",
        "run",
        "rerun",
        "cancel",
        "up",
        "runs",
        "show",
        "logs",
        "metrics",
        "best",
        "compare",
        "diff",
        "history",
        "trend",
        "lineage",
        "name",
        "note",
        "tag",
        "star",
        "archive",
        "delete",
        "restore",
        "gc",
        "store",
        "sql",
        "export",
        "import",
        "artifacts",
        "models",
        "predict",
        "serve",
        "kinds",
        "schema",
        "completions",
        "doctor",
    ] {
        sandbox.wick(&[command, "--help"]).ends_with(0).says(&["Examples:", "--store"]);
    }
}

#[test]
fn nothing_typed_is_answered_with_help() {
    let ran = Sandbox::new().wick(&[]).ends_with(2);
    assert!(ran.stderr.contains("Usage: wick"), "{}", ran.stderr);
}

#[test]
fn the_version_is_told_at_once() {
    let sandbox = Sandbox::new();
    let version = || {
        let begun = Instant::now();
        let ran = sandbox.wick(&["--version"]).ends_with(0);
        assert_eq!(ran.stdout, format!("wick {}\n", env!("CARGO_PKG_VERSION")));
        begun.elapsed()
    };
    // 20 ms is promised and measured in `benches/`; here a busy machine must not fail the test.
    let best = (0..5).map(|_| version()).min().unwrap_or_default();
    assert!(best < Duration::from_millis(500), "{best:?}");
}

#[test]
fn completions_name_the_commands() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.wick(&["completions", shell]).ends_with(0);
        assert!(script.stdout.contains("rerun"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let sandbox = Sandbox::new();
    let script = format!("{} kinds train | head -n 1", env!("CARGO_BIN_EXE_wick"));
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(sandbox.path())
        .output()
        .expect("sh starts");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}
