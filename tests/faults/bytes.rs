//! Bytes that change behind wick's back: in artifacts, in the store's log, in what attempts wrote.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::aftermath::History;
use super::mixed::{Subject, mend};
use super::shim::{Fault, Faults, Role};
use crate::sandbox::{Sandbox, ended, wait_until};

/// The files of all artifacts, by artifact.
fn artifact_files(sandbox: &Sandbox) -> Vec<PathBuf> {
    let root = sandbox.path().join(".wick/artifacts");
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root)
        .expect("artifacts")
        .flatten()
        .filter(|entry| entry.file_name().len() == 2)
        .map(|entry| entry.path())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}

/// Changes one bit in the middle of a file.
fn flip(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).expect("writable");
    let file = std::fs::File::options().read(true).write(true).open(path).expect("opened");
    let place = file.metadata().expect("its size").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, place).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], place).expect("written");
}

#[test]
fn a_flipped_bit_in_any_artifact_is_found_and_its_stage_computed_again() {
    let sandbox = Subject::Mixed.sandbox();
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let undisturbed = Subject::Mixed.undisturbed();
    let files = artifact_files(&sandbox);
    assert!(files.len() > 12, "{files:?}");
    for (number, path) in files.iter().enumerate() {
        flip(path);
        sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
        let history = History::of(&sandbox.path()).expect("a run");
        history.check(&sandbox.path(), None, undisturbed);
        let again = history.attempts.len();
        assert!(again > 0, "{} was served as it was", path.display());
        assert!(again < 5, "{} cost {again} attempts", path.display());
        let aside = std::fs::read_dir(sandbox.path().join(".wick/artifacts/quarantine"));
        assert_eq!(aside.expect("a quarantine").count(), number + 1, "it was moved aside");
    }
}

#[test]
fn a_damaged_model_answers_nothing() {
    let sandbox = Subject::Mixed.sandbox();
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let predict = ["predict", "@last:train.model", "rows.csv"];
    sandbox.wick(&predict).ends_with(0);
    let weights: Vec<PathBuf> = artifact_files(&sandbox)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"))
        .collect();
    let [weights] = weights.as_slice() else { panic!("one model: {weights:?}") };
    let times = std::fs::metadata(weights).expect("there").modified().expect("a time");
    flip(weights);
    // As a disk would: without a trace in the file's time.
    let file = std::fs::File::options().write(true).open(weights).expect("opened");
    file.set_modified(times).expect("set");
    drop(file);
    let ran = sandbox.wick(&predict).ends_with(70).says(&["is damaged", "hint:"]);
    assert_eq!(ran.stdout, "", "no prediction of a damaged model");
    sandbox.wick(&["serve", "@last:train.model", "--port", "0"]).ends_with(70);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&predict).ends_with(0);
}

/// The bytes change between the stage that made them and the one that reads them.
#[test]
fn an_input_that_was_damaged_in_the_midst_of_a_run_is_not_read() {
    let sandbox = Sandbox::with_pipeline(
        "
pipeline: midst
stages:
  made: {uses: command, with: {run: 'seq 100 > ${outputs.made}', outputs: {made: file}}}
  gate: {uses: command, after: [made], with: {run: 'touch begun; while ! test -e go; do sleep 0.02; done'}}
  read: {uses: command, inputs: {made: made}, after: [gate], with: {run: 'cp ${inputs.made} copy'}}
",
    );
    sandbox.write("wick.yaml", "");
    let engine = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("begun"));
    flip(&artifact_files(&sandbox)[0]);
    sandbox.write("go", "");
    ended(engine, &["run"]).ends_with(1).says(&[
        "input `made` is gone",
        "is damaged",
        "wick rerun",
    ]);
    assert!(!sandbox.has("copy"), "it was not read");
    sandbox.wick(&["rerun"]).ends_with(0);
    let numbers: String = (1..=100).map(|number| format!("{number}\n")).collect();
    assert_eq!(sandbox.read("copy"), numbers);
}

/// A power cut may take the end of the store's log back, to any byte.
#[test]
fn a_store_whose_log_was_cut_short_goes_on_from_what_is_left() {
    Subject::Small.undisturbed();
    let mut counted = 0;
    for part in 0..=16 {
        let sandbox = Subject::Small.sandbox();
        let faults = Faults::under(&sandbox.path())
            .in_roles(&[Role::Engine])
            .at_calls(&["sync"])
            .at_paths("store.db-wal")
            // Late in the run, before the log is moved into the store.
            .happens(Fault::Kill, 14, 1);
        let mut command = sandbox.command(&["run", "pipeline.yaml"]);
        faults.arm(&mut command);
        ended(sandbox.spawn_command(command), &["run"]);
        super::aftermath::assert_deserted(&sandbox.path());
        let log = sandbox.path().join(".wick/store.db-wal");
        if let Ok(file) = std::fs::File::options().write(true).open(&log) {
            let length = file.metadata().expect("its size").len();
            // Some way into a page, too.
            file.set_len((length * part / 16).saturating_sub(part % 3)).expect("cut");
            counted += 1;
        }
        mend(&sandbox, Subject::Small, part % 2 == 0);
    }
    assert!(counted > 10, "only {counted} logs were cut");
}

/// Someone empties the log and what a worker reports while both are being written.
#[test]
fn logs_that_are_emptied_in_the_midst_disturb_nothing() {
    let sandbox = Sandbox::with_pipeline(
        "
pipeline: emptied
stages:
  talker:
    uses: command
    with:
      run: |
        seq 1000; echo '{\"metric\": \"before\", \"value\": 1}' >> $WICK_METRICS
        touch begun; while ! test -e go; do sleep 0.02; done
        echo afterwards; echo '{\"metric\": \"after\", \"value\": 2}' >> $WICK_METRICS
",
    );
    sandbox.write("wick.yaml", "");
    let engine = sandbox.spawn(&["run", "pipeline.yaml"]);
    wait_until(|| sandbox.has("begun"));
    let attempt = sandbox.path().join(format!(".wick/runs/{}/talker.1", sandbox.runs()[0]));
    for file in std::fs::read_dir(&attempt).expect("the attempt").flatten() {
        if file.path().is_file() {
            std::fs::File::create(file.path()).expect("emptied");
        }
    }
    sandbox.write("go", "");
    ended(engine, &["run"]).ends_with(0);
    let logs = sandbox.wick(&["logs"]).ends_with(0).says(&["afterwards"]).everything();
    assert!(!logs.contains("1000"), "{logs}");
}
