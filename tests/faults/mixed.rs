//! The pipelines that are disturbed, and what they make undisturbed. Every stage is determined
//! by what it reads: so however often it was killed, the artifacts must be the same.

use std::fmt::Write as _;
use std::sync::OnceLock;

use super::aftermath::History;
use crate::sandbox::Sandbox;

/// Programs that make files and folders, a diamond, a retry, an equal stage under another name,
/// a stage that takes a while, instances of a matrix and of a list that a stage writes, a condition
/// that does not hold, and a network that is trained: every kind of stage there is.
const MIXED: &str = r#"
pipeline: mixed
stages:
  numbers:
    uses: command
    with: {run: 'seq 1 200 > ${outputs.all}', outputs: {all: file}}
  left:
    uses: command
    inputs: {all: numbers}
    with: {run: 'grep 1 ${inputs.all} > ${outputs.picked}', outputs: {picked: file}}
  right:
    uses: command
    inputs: {all: numbers}
    with:
      run: 'mkdir -p ${outputs.parts}/deep; split -l 50 ${inputs.all} ${outputs.parts}/deep/'
      outputs: {parts: folder}
  joined:
    uses: command
    inputs: {picked: left, parts: right}
    with:
      run: 'cat ${inputs.picked} ${inputs.parts}/deep/* > ${outputs.all}'
      outputs: {all: file}
  again:
    uses: command
    inputs: {all: numbers}
    after: [left]
    with: {run: 'grep 1 ${inputs.all} > ${outputs.picked}', outputs: {picked: file}}
  flaky:
    uses: command
    retry: {attempts: 3, backoff: 10ms}
    with:
      run: 'test $WICK_ATTEMPT -gt 1 && echo steady > ${outputs.made}'
      outputs: {made: file}
  slow:
    uses: command
    inputs: {all: joined}
    with:
      run: 'sleep 0.5; wc -l < ${inputs.all} > ${outputs.count}'
      outputs: {count: file}
  rows:
    uses: load
    with: {path: rows.csv}
  parts:
    uses: split
    inputs: {data: rows}
    with: {parts: {train: 0.7, test: 0.3}, stratify: label, seed: 3}
  train:
    uses: train
    inputs: {train: parts.train}
    with:
      target: label
      model: [{dense: {units: 4, activation: tanh}}, {dense: 2}]
      epochs: 3
      batch_size: 16
      seed: 5
  evaluate:
    uses: evaluate
    inputs: {model: train, data: parts.test}
    with: {metrics: [accuracy]}
  grid:
    uses: command
    matrix: {word: [one, two], number: [1, 2], exclude: [{word: two, number: 2}]}
    with: {run: 'echo ${matrix.word} ${matrix.number} > ${outputs.line}', outputs: {line: file}}
  lines:
    uses: command
    inputs: {lines: "grid[*].line"}
    with: {run: 'cat ${inputs.lines}/* > ${outputs.all}', outputs: {all: file}}
  picks:
    uses: command
    with: {run: 'echo "[3, 5]" > ${outputs.list}', outputs: {list: value}}
  heads:
    uses: command
    foreach: {length: picks.list}
    inputs: {all: numbers}
    with: {run: 'head -n ${foreach.length} ${inputs.all} > ${outputs.head}', outputs: {head: file}}
  joint:
    uses: command
    inputs: {heads: "heads[*].head"}
    with: {run: 'cat ${inputs.heads}/* > ${outputs.all}', outputs: {all: file}}
  doubtful:
    uses: command
    inputs: {model: train}
    after: [evaluate]
    when: "${metrics.evaluate.accuracy} > 2"
    with: {run: ['false']}
  either:
    uses: command
    needs: any
    after: [evaluate, doubtful]
    with: {run: 'echo one of them > ${outputs.word}', outputs: {word: file}}
  last:
    uses: command
    inputs: {count: slow, made: flaky}
    after: [either, joint, lines]
    with:
      run: |
        cat ${inputs.count} ${inputs.made} > ${outputs.end}
        echo '{"metric": "lines", "value": 2}' >> $WICK_METRICS
      outputs: {end: file}
"#;

/// The same ways of publishing in as few writes as possible: a file, a folder, a native stage
/// with two outputs.
const SMALL: &str = r#"
pipeline: small
stages:
  rows:
    uses: load
    with: {path: rows.csv}
  numbers:
    uses: command
    with:
      run: 'mkdir ${outputs.parts}; seq 1 9 > ${outputs.parts}/a; seq 1 3 > ${outputs.parts}/b'
      outputs: {parts: folder}
  parts:
    uses: split
    inputs: {data: rows}
    with: {parts: {train: 0.7, test: 0.3}, seed: 3}
  sum:
    uses: command
    inputs: {parts: numbers}
    with: {run: 'cat ${inputs.parts}/* > ${outputs.all}', outputs: {all: file}}
"#;

/// A pipeline that is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Every kind of stage.
    Mixed,
    /// As few writes as possible.
    Small,
}

impl Subject {
    /// A folder with the pipeline and its data.
    pub fn sandbox(self) -> Sandbox {
        let sandbox = Sandbox::with_pipeline(match self {
            Subject::Mixed => MIXED,
            Subject::Small => SMALL,
        });
        sandbox.write("rows.csv", &rows());
        // A project of its own, wherever temporary folders lie.
        sandbox.write("wick.yaml", "");
        sandbox
    }

    /// What it makes when nothing disturbs it.
    pub fn undisturbed(self) -> &'static History {
        static MIXED: OnceLock<History> = OnceLock::new();
        static SMALL: OnceLock<History> = OnceLock::new();
        let known = match self {
            Subject::Mixed => &MIXED,
            Subject::Small => &SMALL,
        };
        known.get_or_init(|| {
            let sandbox = self.sandbox();
            sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
            let history = History::of(&sandbox.path()).expect("a run");
            history.check(&sandbox.path(), None, &history);
            history
        })
    }
}

/// Sixty rows of two classes that overlap.
fn rows() -> String {
    let mut text = "x,y,label\n".to_owned();
    for row in 0_i32..60 {
        let (x, y) = ((row * 37) % 100, (row * 61) % 100);
        let label = if x + y > 90 { "yes" } else { "no" };
        let _ = writeln!(text, "{x},{y},{label}");
    }
    text
}

/// Brings a disturbed run to its end, as a person would, and checks what came of it: nothing
/// lives after the fault, the run is not said to run, a plain `wick rerun` mends all. With `ask`,
/// someone looks first; otherwise the rerun is the first that sees what the fault left.
#[track_caller]
pub fn mend(sandbox: &Sandbox, subject: Subject, ask: bool) {
    let folder = sandbox.path();
    super::aftermath::assert_deserted(&folder);
    let before = History::of(&folder);
    if ask {
        let listed = sandbox.wick(&["runs"]).ends_with(0);
        assert!(!listed.stdout.contains("running"), "nothing runs\n{}", listed.everything());
    }
    match &before {
        // Killed before there was a run to go on with.
        None => {
            sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
        }
        Some(before) if before.state == wick_core::RunState::Succeeded => {}
        Some(_) => {
            sandbox.wick(&["rerun"]).ends_with(0);
        }
    }
    let after = History::of(&folder).expect("a run");
    if let Some(before) = &before {
        assert_eq!(after.run, before.run, "the same run goes on");
    }
    after.check(&folder, before.as_ref(), subject.undisturbed());
    super::aftermath::assert_deserted(&folder);
}
