//! `wick store`: the store itself, rather than what is in it.

use crate::sandbox::Sandbox;

const PIPELINE: &str = "pipeline: p\nstages: {a: {uses: command, with: {run: 'true'}}}\n";

/// A project that has not run anything yet.
fn new_project() -> Sandbox {
    let sandbox = Sandbox::with_pipeline(PIPELINE);
    sandbox.write("wick.yaml", "");
    sandbox
}

#[test]
fn the_state_of_a_store_is_shown_and_nothing_is_made() {
    let sandbox = new_project();
    let told = sandbox.wick(&["store", "status"]).ends_with(0);
    assert!(told.stdout.contains("there is no store yet"), "{}", told.stdout);
    assert!(!sandbox.has(".wick/store.db"));
    assert_eq!(sandbox.json(&["store", "status", "-o", "json"])["state"], "missing");

    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let told = sandbox.wick(&["store", "status"]).ends_with(0);
    assert!(told.stdout.contains("1: 1 succeeded"), "{}", told.stdout);
    assert!(told.stdout.contains("that of this wick"), "{}", told.stdout);
    let told = sandbox.json(&["store", "status", "-o", "json"]);
    assert_eq!(told["state"], "current");
    assert_eq!(told["store"]["migration"], told["store"]["known"]);
    assert_eq!(told["store"]["counts"]["attempts"], 1);
    assert_eq!(told["store"]["engines"], serde_json::json!([]));
}

#[test]
fn a_store_is_made_and_brought_up_to_date_by_hand() {
    let sandbox = new_project();
    let made = sandbox.wick(&["store", "migrate"]).ends_with(0);
    assert!(made.stdout.starts_with("made the store at "), "{}", made.stdout);
    let again = sandbox.json(&["store", "migrate", "-o", "json"]);
    assert_eq!(again["before"], again["after"]);
}

#[test]
fn a_file_of_another_program_is_left_alone() {
    let sandbox = new_project();
    sandbox.write("notes.db", "These are no tables.");
    for command in ["status", "migrate"] {
        let told = sandbox.wick(&["store", command, "--store", "notes.db"]).ends_with(2);
        assert!(told.stderr.contains("not a SQLite database"), "{}", told.stderr);
    }
    assert_eq!(sandbox.read("notes.db"), "These are no tables.");
}
