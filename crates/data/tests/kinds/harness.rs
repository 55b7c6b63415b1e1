//! Runs a kind in a folder of its own, as a worker does.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;
use wick_core::{Digest, Failure, PortName, RunId, StageName, Token, WorkerEvent};
use wick_data::Dataset;
use wick_stage::context::{ASSIGNMENT_VERSION, CollectedEvents};
use wick_stage::{
    AssignedInput, AssignedOutput, Assignment, Checked, Context, DatasetFacts, Issue, Kind, Known,
    PortFacts,
};

/// The repository's pipelines, whose data the tests read.
pub fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines")
}

/// What a kind made.
pub struct Made {
    folder: tempfile::TempDir,
    pub metrics: Vec<(String, f64)>,
    pub meta: IndexMap<PortName, Value>,
}

impl Made {
    pub fn path(&self, port: &str) -> PathBuf {
        self.folder.path().join("outputs").join(port)
    }

    pub fn dataset(&self, port: &str) -> Dataset {
        Dataset::open(self.path(port)).expect("a dataset")
    }
}

pub fn kind(name: &str) -> Box<dyn Kind> {
    let found = wick_data::kinds().into_iter().find(|kind| kind.name() == name);
    found.unwrap_or_else(|| panic!("there is no kind {name}"))
}

pub fn name(text: &str) -> PortName {
    PortName::new(text).expect("a name")
}

/// Runs the kind `kind` on `inputs`, each a dataset's folder.
pub fn run(kind_name: &str, with: Value, inputs: &[(&str, PathBuf)]) -> Result<Made, Failure> {
    run_at(&pipelines(), kind_name, with, inputs)
}

/// Like [`run`], with relative paths meant from `base`.
pub fn run_at(
    base: &Path,
    kind_name: &str,
    with: Value,
    inputs: &[(&str, PathBuf)],
) -> Result<Made, Failure> {
    let kind = kind(kind_name);
    let mut ports = kind.ports(&with).expect("a valid configuration");
    ports.connect(inputs.iter().map(|(port, _)| *port));
    let assigned = |(port, path): &(&str, PathBuf)| {
        let input = AssignedInput {
            port_type: wick_core::PortType::Dataset,
            digest: Digest::of(b"input"),
            path: path.clone(),
            meta: Value::Null,
        };
        (name(port), input)
    };
    let assignment = Assignment {
        version: ASSIGNMENT_VERSION,
        run: RunId::from_random(1),
        pipeline: "test".to_owned(),
        stage: StageName::new("stage").expect("a name"),
        attempt: 1,
        token: Token(1),
        kind: kind_name.parse().expect("a name"),
        config: with.clone(),
        inputs: inputs.iter().map(assigned).collect(),
        outputs: ports
            .outputs
            .iter()
            .map(|port| (port.name.clone(), AssignedOutput { port_type: port.port_type }))
            .collect(),
        base: base.to_owned(),
        artifacts: base.to_owned(),
        cpus: 2,
        checkpoints: None,
    };
    let folder = tempfile::tempdir().expect("a folder");
    let mut events = CollectedEvents::default();
    let mut context = Context::new(&assignment, folder.path(), &mut events);
    kind.run(&with, &mut context).map_err(|error| error.to_failure())?;
    let meta = context.into_output_meta();
    for port in &ports.outputs {
        assert!(folder.path().join("outputs").join(port.name.as_str()).exists(), "{}", port.name);
    }
    let metrics = events.0.into_iter().flat_map(|event| match event {
        WorkerEvent::Metrics(points) => points,
        _ => Vec::new(),
    });
    let metrics = metrics.map(|point| (point.key.to_string(), point.value)).collect();
    Ok(Made { folder, metrics, meta })
}

/// Checks a stage against the facts of its inputs.
pub fn check(kind_name: &str, with: Value, inputs: &[(&str, DatasetFacts)]) -> Checked {
    let inputs: IndexMap<PortName, PortFacts> = inputs
        .iter()
        .map(|(port, facts)| (name(port), PortFacts::dataset(facts.clone())))
        .collect();
    let base = pipelines();
    let kind = kind(kind_name);
    kind.ports(&with).expect("a valid configuration");
    kind.check(&with, &Known { base: &base, inputs: &inputs })
}

/// What a configuration alone is refused for.
pub fn refused(kind_name: &str, with: Value) -> Vec<Issue> {
    kind(kind_name).ports(&with).expect_err("refused")
}

/// What a check found wrong: place, message and help.
pub fn issues(checked: Checked) -> Vec<String> {
    checked.issues.into_vec().into_iter().map(show).collect()
}

pub fn show(issue: Issue) -> String {
    let place: Vec<String> = issue.path.iter().map(ToString::to_string).collect();
    let help = issue.help.unwrap_or_default();
    format!("{}: {} [{help}]", place.join("."), issue.message)
}

/// The facts of an output.
pub fn facts(checked: &Checked, port: &str) -> DatasetFacts {
    checked.outputs[&name(port)].dataset.clone().expect("facts of a dataset")
}
