//! `wick up`: runs by schedule.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::sandbox::{Sandbox, send};

/// A running `wick up`, which tells what happens as JSON.
struct Up {
    child: Child,
    lines: Receiver<String>,
}

impl Up {
    fn start(sandbox: &Sandbox) -> Self {
        let mut child = sandbox.spawn(&["up", "-o", "json"]);
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for this event; those before it are passed over.
    #[track_caller]
    fn hears(&self, event: &str) -> Value {
        loop {
            let line = self
                .lines
                .recv_timeout(Duration::from_secs(120))
                .unwrap_or_else(|error| panic!("no `{event}`: {error}"));
            let value: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(value["version"], 1, "{line}");
            if value["event"] == event {
                return value;
            }
        }
    }

    /// Ends it with Ctrl-C and returns its exit code and what it said on the standard error.
    fn end(self) -> (Option<i32>, String) {
        send(self.child.id(), Signal::INT);
        let output = self.child.wait_with_output().expect("wick ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn on_change(overlap: &str, run: &str) -> String {
    format!(
        "pipeline: watched\nschedule: {{on_change: ['data/*.csv'], overlap: {overlap}}}\n\
         stages:\n  only: {{uses: command, with: {{run: '{run}'}}, cache: false}}\n"
    )
}

#[test]
fn files_that_change_begin_runs_and_one_process_watches() {
    let sandbox = Sandbox::with_pipeline(&on_change("skip", "true"));
    sandbox.write("broken.yaml", "pipeline: broken\nschedule: {cron: '0 3 * *'}\nstages: {}\n");
    sandbox.write("wick.yaml", "{}\n");
    let up = Up::start(&sandbox);
    assert_eq!(up.hears("watching")["pipeline"], "broken", "it may be mended");
    let watching = up.hears("watching");
    assert_eq!(watching["on_change"][0], "data/*.csv", "{watching}");
    let second = sandbox.wick(&["up"]).ends_with(75);
    second.says(&[&format!("process {} begins runs in the store", up.child.id()), "kill"]);
    // A hidden file is none that was handed over.
    sandbox.write("data/.a.csv.tmp", "1");
    sandbox.write("data/a.csv", "1");
    let begins = up.hears("begins");
    assert_eq!(begins["cause"]["kind"], "change", "{begins}");
    let run = up.hears("begun")["run"].as_str().expect("a run").to_owned();
    let ended = up.hears("ended");
    assert_eq!((ended["run"].as_str(), &ended["state"]), (Some(run.as_str()), &"succeeded".into()));
    // The file is read again for each run; one that is broken is told, and the loop goes on.
    let source = on_change("skip", "false");
    sandbox.write("pipeline.yaml", &source.replace("uses: command", "uses: comand"));
    assert!(up.hears("broken")["error"].as_str().is_some_and(|error| error.contains("1 error")));
    sandbox.write("pipeline.yaml", &source);
    sandbox.write("data/b.csv", "1");
    let ended = up.hears("ended");
    assert_eq!((&ended["state"], &ended["failed"][0]["stage"]), (&"failed".into(), &"only".into()));
    let (code, said) = up.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("broken.yaml has a schedule that cannot be"), "{said}");
    assert!(said.contains("4 fields rather than 5"), "{said}");
    assert_eq!(sandbox.runs().len(), 2);
    // The lock went with the process.
    let up = Up::start(&sandbox);
    up.hears("watching");
    assert_eq!(up.end().0, Some(0));
}

#[test]
fn a_run_that_overlaps_is_cancelled_where_that_is_declared() {
    let slow = "touch begun; while ! test -e go; do sleep 0.05; done";
    let sandbox = Sandbox::with_pipeline(&on_change("cancel", slow));
    let up = Up::start(&sandbox);
    up.hears("watching");
    sandbox.write("data/a.csv", "1");
    let first = up.hears("begun")["run"].clone();
    crate::sandbox::wait_until(|| sandbox.has("begun"));
    sandbox.write("data/a.csv", "12");
    up.hears("cancelling");
    let ended = up.hears("ended");
    assert_eq!((&ended["run"], &ended["state"]), (&first, &"cancelled".into()));
    let second = up.hears("begun")["run"].clone();
    assert_ne!(first, second);
    sandbox.write("go", "");
    let ended = up.hears("ended");
    assert_eq!((&ended["run"], &ended["state"]), (&second, &"succeeded".into()));
    assert_eq!(up.end().0, Some(0));
}

#[test]
fn what_goes_on_at_the_end_is_cut_short_and_told() {
    let slow = "touch begun; while ! test -e go; do sleep 0.05; done";
    let sandbox = Sandbox::with_pipeline(&on_change("skip", slow));
    let up = Up::start(&sandbox);
    up.hears("watching");
    sandbox.write("data/a.csv", "1");
    crate::sandbox::wait_until(|| sandbox.has("begun"));
    send(up.child.id(), Signal::INT);
    let stopping = up.hears("stopping");
    assert!(stopping["message"].as_str().is_some_and(|text| text.contains("Ctrl-C again")));
    // Again stops the stage, which would wait for ever.
    let (code, said) = up.end();
    assert_eq!(code, Some(130), "{said}");
    assert_eq!(sandbox.states("@last")[0].1, "cancelled");
}

#[test]
fn times_that_passed_while_nobody_was_there_count_as_declared() {
    let nightly = |missed: &str| {
        format!(
            "pipeline: nightly\nschedule: {{cron: '0 3 * * *', timezone: Europe/Zurich, \
             missed: {missed}}}\nstages:\n  only: {{uses: command, with: {{run: 'true'}}}}\n"
        )
    };
    let sandbox = Sandbox::with_pipeline(&nightly("run_once"));
    // What is remembered means nothing for another schedule, nor is anything missed at first.
    let up = Up::start(&sandbox);
    let watching = up.hears("watching");
    assert!(watching["next"].is_i64(), "{watching}");
    assert_eq!(up.end().0, Some(0));
    assert_eq!(sandbox.runs(), Vec::<String>::new());
    let three_days_earlier = || {
        let mut memory: Value = serde_json::from_str(&sandbox.read(".wick/up.json")).expect("JSON");
        let seen = &mut memory["pipelines"]["pipeline.yaml"]["seen"];
        *seen = (seen.as_i64().expect("a moment") - 3 * 86_400_000_000).into();
        sandbox.write(".wick/up.json", &memory.to_string());
    };
    three_days_earlier();
    let up = Up::start(&sandbox);
    let cause = up.hears("begins")["cause"].clone();
    assert_eq!((&cause["kind"], &cause["count"]), (&"missed".into(), &3.into()), "{cause}");
    assert_eq!(up.hears("ended")["state"], "succeeded");
    assert_eq!(up.end().0, Some(0));
    // Dealt with, it is not dealt with again.
    let up = Up::start(&sandbox);
    up.hears("watching");
    assert_eq!(up.end().0, Some(0));
    assert_eq!(sandbox.runs().len(), 1);
    sandbox.write("pipeline.yaml", &nightly("skip"));
    three_days_earlier();
    let up = Up::start(&sandbox);
    assert_eq!(up.hears("missed")["cause"]["count"], 3);
    assert_eq!(up.end().0, Some(0));
    assert_eq!(sandbox.runs().len(), 1);
}

#[test]
fn what_would_begin_is_listed() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: nightly\nschedule: {cron: '30 3 29 2 *', timezone: Europe/Zurich, \
         on_change: [in/**]}\nstages:\n  only: {uses: command, with: {run: 'true'}}\n",
    );
    sandbox.write("other.yaml", "pipeline: other\nstages:\n  a: {uses: command, with: {run: a}}\n");
    let listed = sandbox.wick(&["up", "--list"]).ends_with(0);
    listed.says(&["nightly", "-02-29 03:30 CET", "when in/** changes", "skip"]);
    assert!(!sandbox.has(".wick"), "looking leaves no trace");
    let listed = sandbox.json(&["up", "--dry-run", "-n", "2", "-o", "json"]);
    let pipelines = listed["pipelines"].as_array().expect("pipelines");
    assert_eq!(pipelines.len(), 1, "{listed}");
    assert_eq!(pipelines[0]["next"].as_array().map(Vec::len), Some(2));
    assert_eq!(pipelines[0]["timezone"], "Europe/Zurich");
    sandbox.wick(&["up", "--list", "other.yaml"]).ends_with(2).says(&["declares no schedule"]);
    let none =
        Sandbox::with_pipeline("pipeline: x\nstages:\n  a: {uses: command, with: {run: a}}\n");
    none.wick(&["up"]).ends_with(2).says(&["declares a schedule", "schedule: {cron:"]);
}

#[test]
fn all_files_of_a_pipeline_are_watched() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: whole\nschedule: {on_change: ['data/*.csv']}\nstages:\n  \
         part: {uses: pipeline, with: {file: parts/part.yaml}}\n",
    );
    let part = "pipeline: part\nstages:\n  a: {uses: command, with: {run: 'true'}}\n";
    sandbox.write("parts/part.yaml", part);
    let up = Up::start(&sandbox);
    up.hears("watching");
    sandbox.write("parts/part.yaml", &part.replace("uses: command", "uses: comand"));
    up.hears("broken");
    sandbox.write("parts/part.yaml", part);
    sandbox.write("data/a.csv", "1");
    assert_eq!(up.hears("ended")["state"], "succeeded");
    assert_eq!(up.end().0, Some(0));
}
