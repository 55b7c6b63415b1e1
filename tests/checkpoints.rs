//! A training that is killed goes on from its last whole checkpoint, with the real `wick`: the
//! model and every point of every metric are those of a training that nobody disturbed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use wick_core::{AttemptState, Digest};

use crate::sandbox::Sandbox;

/// Far more epochs than pass before the kill.
const EPOCHS: usize = 600;

/// Two rings of points, one class each, and a network that learns to tell them apart.
fn sandbox(checkpoint: &str, more: &str) -> Sandbox {
    let mut rows = String::from("a,b,ring\n");
    for row in 0..120 {
        let angle = f64::from(row) * 0.7;
        let radius = if row % 2 == 0 { 1.0 } else { 2.0 } + 0.3 * (f64::from(row) * 1.3).sin();
        rows += &format!("{},{},r{}\n", radius * angle.cos(), radius * angle.sin(), row % 2);
    }
    let sandbox = Sandbox::with_pipeline(&format!(
        "pipeline: rings
stages:
  rings: {{uses: load, with: {{path: rings.csv}}}}
  parts: {{uses: split, inputs: {{data: rings}}, with: {{parts: {{train: 0.8, validation: 0.2}}}}}}
  train:
    uses: train
    inputs: {{train: parts.train, validation: parts.validation}}
    with:
      target: ring
      model: [{{dense: {{units: 12, activation: tanh}}}}, {{dropout: 0.1}}, {{dense: 2}}]
      epochs: {EPOCHS}
      optimizer: {{adam: {{learning_rate: 0.01}}}}
      learning_rate_scheduler: cosine
      checkpoint: {checkpoint}
{more}"
    ));
    sandbox.write("rings.csv", &rows);
    // A project of its own, wherever the tests run.
    fs::create_dir_all(sandbox.path().join(".wick")).expect("made");
    sandbox
}

/// The checkpoints that are there, by epoch.
fn saved(sandbox: &Sandbox) -> Vec<(usize, PathBuf)> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let fingerprints = entries(&sandbox.path().join(".wick/checkpoints"));
    let files = fingerprints.iter().flat_map(|folder| entries(&folder.join("shared")));
    let mut saved: Vec<(usize, PathBuf)> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "ckpt"))
        .filter_map(|file| Some((file.file_stem()?.to_str()?.parse().ok()?, file)))
        .collect();
    saved.sort_unstable();
    saved
}

/// Starts a run and waits until its training has saved the state of some epochs.
fn start(sandbox: &Sandbox) -> std::process::Child {
    let mut command = sandbox.command(&["run", "pipeline.yaml"]);
    let mut engine =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("wick starts");
    while saved(sandbox).last().is_none_or(|(epoch, _)| *epoch < 20) {
        assert!(engine.try_wait().expect("asked").is_none(), "the run ended too soon");
        std::thread::sleep(Duration::from_millis(1));
    }
    engine
}

/// The model, and every point of every metric: key, step and bits.
type Outcome = (Digest, Vec<(String, i64, u64)>);

/// What the training of the last run came to, and how its attempts ended.
fn outcome(sandbox: &Sandbox) -> (Outcome, Vec<AttemptState>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let location = sandbox.path().join(".wick/store.db");
        let store = wick_store::open(location.to_str().expect("text")).await.expect("a store");
        let run = store.find_runs("@last").await.expect("asked").remove(0);
        let artifacts = store.artifacts(&run).await.expect("artifacts");
        let model = artifacts.iter().find(|made| made.port == "model").expect("a model").digest;
        let series = store.series(&run, None).await.expect("series");
        // What it used of the machine is its own.
        let is_own = |key: &str| !wick_core::metric::is_system(key);
        let of_train = series.iter().filter(|one| one.stage == "train" && is_own(&one.key));
        let points = of_train.flat_map(|series| {
            let point = |point: &wick_core::MetricPoint| (point.step, point.value.to_bits());
            series.points.iter().map(point).map(|(step, bits)| (series.key.clone(), step, bits))
        });
        let points = points.collect();
        let attempts = store.attempts(&run).await.expect("attempts");
        store.close().await;
        let attempts = attempts.iter().filter(|attempt| attempt.stage == "train");
        ((model, points), attempts.map(|attempt| attempt.state).collect())
    })
}

fn undisturbed() -> Outcome {
    let sandbox = sandbox("never", "");
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let (outcome, attempts) = outcome(&sandbox);
    assert_eq!(attempts, [AttemptState::Succeeded]);
    assert_eq!(outcome.1.iter().filter(|(key, ..)| key == "train.loss").count(), EPOCHS);
    outcome
}

/// The log of the training's second attempt.
fn log(sandbox: &Sandbox) -> String {
    sandbox.read(format!(".wick/runs/{}/train.2/log", sandbox.runs()[0]))
}

/// The number after `text` in the log of the training's second attempt.
#[track_caller]
fn number_after(sandbox: &Sandbox, text: &str) -> usize {
    let log = log(sandbox);
    let (_, after) = log.split_once(text).unwrap_or_else(|| panic!("no {text:?} in {log}"));
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..digits].parse().expect("a number")
}

fn is_empty(sandbox: &Sandbox) -> bool {
    fs::read_dir(sandbox.path().join(".wick/checkpoints")).expect("listed").next().is_none()
}

#[test]
fn a_training_whose_engine_was_killed_goes_on_before_its_damaged_checkpoint() {
    let sandbox = sandbox("1", "");
    let mut engine = start(&sandbox);
    engine.kill().expect("killed");
    engine.wait().expect("waited for");
    // The supervisor ends the worker; what was saved by then stays.
    while worker(&sandbox.path()).is_some() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Two are kept, and three in the moment before the oldest goes.
    let saved = saved(&sandbox);
    let [.., (older, _), (newest, path)] = saved.as_slice() else { panic!("two are kept") };
    assert_eq!(older + 1, *newest);
    let mut bytes = fs::read(path).expect("a checkpoint");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).expect("spoiled");

    sandbox.wick(&["rerun"]).ends_with(0);
    let (outcome, attempts) = outcome(&sandbox);
    assert_eq!(attempts, [AttemptState::Lost, AttemptState::Succeeded]);
    assert_eq!(number_after(&sandbox, "goes on from epoch "), *older);
    assert_eq!(number_after(&sandbox, "(checkpoint of attempt "), 1);
    assert!(log(&sandbox).contains("cannot be used: its bytes are not those"));
    assert!(outcome == undisturbed(), "the rerun came to something else");
    assert!(is_empty(&sandbox), "what is published needs no checkpoint");
}

#[test]
fn a_training_whose_worker_was_killed_goes_on_at_its_retry() {
    let sandbox = sandbox("1", "    retry: {attempts: 2, backoff: 1ms}\n");
    let mut engine = start(&sandbox);
    let worker = worker(&sandbox.path()).expect("a worker");
    let killed = Command::new("kill").args(["-9", &worker.to_string()]).status().expect("kill");
    assert!(killed.success());
    assert!(engine.wait().expect("waited for").success());
    let (outcome, attempts) = outcome(&sandbox);
    assert_eq!(attempts, [AttemptState::Failed, AttemptState::Succeeded]);
    assert!(number_after(&sandbox, "goes on from epoch ") >= 20);
    assert!(outcome == undisturbed(), "the retry came to something else");
    assert!(is_empty(&sandbox));
}

/// The process of a worker that works in `folder`.
fn worker(folder: &Path) -> Option<u32> {
    let processes = fs::read_dir("/proc").expect("proc").flatten();
    processes
        .filter(|process| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let works_in = fs::read_link(process.path().join("cwd"));
            name.trim() == "wick-worker" && works_in.is_ok_and(|cwd| cwd == folder)
        })
        .find_map(|process| process.file_name().to_str()?.parse().ok())
}
