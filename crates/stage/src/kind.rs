//! The [`Kind`] trait: what a stage does.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use wick_core::{PortName, PortType};

use crate::context::Context;
use crate::error::{StageError, StageResult};
use crate::facts::PortFacts;
use crate::issue::{Issue, Issues, PathSegment};

/// What a stage does.
///
/// A kind is checked in two steps, both without side effects. [`ports`](Kind::ports) tells
/// from the configuration alone which inputs and outputs the stage has, so the graph can be
/// drawn and its edges typed. [`check`](Kind::check) then looks at what is known of the values
/// that arrive, and tells what is known of those that leave. [`run`](Kind::run) is called in a
/// process of its own.
///
/// Implement [`TypedKind`] instead, and wrap it in [`Typed`]: it parses the configuration.
pub trait Kind: Send + Sync {
    /// The word after `uses:`.
    fn name(&self) -> &'static str;

    /// Raised whenever equal configuration and inputs may now give other outputs; part of the
    /// fingerprint.
    fn revision(&self) -> u32;

    /// For `wick kinds`.
    fn documentation(&self) -> Documentation;

    /// The JSON schema of `with`.
    fn schema(&self) -> Schema;

    /// The ports of a stage with this configuration, which satisfies [`Kind::schema`].
    ///
    /// # Errors
    /// All that is wrong with the configuration.
    fn ports(&self, config: &serde_json::Value) -> Result<Ports, Vec<Issue>>;

    /// Checks a stage against what is known of its inputs. The configuration has passed
    /// [`Kind::ports`]. May read the headers of the files that it names; may not write, and may
    /// not read the clock or the network.
    fn check(&self, config: &serde_json::Value, known: &Known<'_>) -> Checked;

    /// Runs an attempt.
    ///
    /// # Errors
    /// Why the attempt failed.
    fn run(&self, config: &serde_json::Value, context: &mut Context<'_>) -> StageResult;
}

/// What `wick kinds NAME` shows beside the schema.
#[derive(Debug, Clone, Copy)]
pub struct Documentation {
    /// One line.
    pub summary: &'static str,
    /// A few paragraphs of Markdown: what it does, what it makes, what to mind.
    pub description: &'static str,
    /// Examples, simplest first.
    pub examples: &'static [Example],
}

/// An example of a stage.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// What it shows.
    pub title: &'static str,
    /// The stage's body as YAML, from `uses:` on.
    pub yaml: &'static str,
}

/// An input that a stage takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputPort {
    /// Its name.
    pub name: PortName,
    /// The types that it takes.
    pub types: Vec<PortType>,
    /// Whether something must be connected to it.
    pub required: bool,
}

/// That a stage takes inputs under names of the user's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyInput {
    /// The types that they may have.
    pub types: Vec<PortType>,
    /// How many there must be at least.
    pub at_least: usize,
    /// Whether such an input may gather many values, all instances of a stage: then it is a folder
    /// with an entry for each. It may also lack a value that no stage came to make.
    pub gathers: bool,
}

/// An output that a stage makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputPort {
    /// Its name.
    pub name: PortName,
    /// Its type.
    pub port_type: PortType,
    /// Whether `port: stage`, without naming an output, means this one. A stage with a single
    /// output needs no mark.
    pub primary: bool,
}

/// The ports of a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// Inputs with fixed names.
    pub inputs: Vec<InputPort>,
    /// Inputs with names of the user's choice.
    pub any_input: Option<AnyInput>,
    /// Outputs.
    pub outputs: Vec<OutputPort>,
    /// Whether each input with a name of the user's choice also is an output of that name, of
    /// the first type that [`Ports::any_input`] takes.
    pub output_for_each_input: bool,
}

impl Ports {
    /// No ports yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an input that must be connected.
    ///
    /// # Panics
    /// If `name` is not a name: port names in code are literals.
    #[must_use]
    pub fn input(self, name: &str, port_type: PortType) -> Self {
        self.add_input(name, port_type, true)
    }

    /// Adds an input that may be left out.
    ///
    /// # Panics
    /// If `name` is not a name.
    #[must_use]
    pub fn optional_input(self, name: &str, port_type: PortType) -> Self {
        self.add_input(name, port_type, false)
    }

    fn add_input(mut self, name: &str, port_type: PortType, required: bool) -> Self {
        let name = literal(name);
        self.inputs.push(InputPort { name, types: vec![port_type], required });
        self
    }

    /// Lets the user name the inputs.
    #[must_use]
    pub fn any_input(mut self, types: impl Into<Vec<PortType>>, at_least: usize) -> Self {
        self.any_input = Some(AnyInput { types: types.into(), at_least, gathers: false });
        self
    }

    /// Lets the inputs that the user names gather many values: see [`AnyInput::gathers`].
    #[must_use]
    pub fn gathering(mut self) -> Self {
        if let Some(any) = &mut self.any_input {
            any.gathers = true;
        }
        self
    }

    /// Lets every input that the user names be an output too. The outputs are there once
    /// [`Ports::connect`] has been told the inputs.
    #[must_use]
    pub fn output_for_each_input(mut self) -> Self {
        self.output_for_each_input = true;
        self
    }

    /// Tells which inputs are connected: adds the outputs that follow from their names.
    pub fn connect<'a>(&mut self, inputs: impl IntoIterator<Item = &'a str>) {
        let port_type = self.any_input.as_ref().and_then(|any| any.types.first().copied());
        let (true, Some(port_type)) = (self.output_for_each_input, port_type) else { return };
        for input in inputs {
            let taken = self.inputs.iter().any(|port| port.name == input)
                || self.outputs.iter().any(|port| port.name == input);
            if let (false, Ok(name)) = (taken, PortName::new(input)) {
                self.outputs.push(OutputPort { name, port_type, primary: false });
            }
        }
    }

    /// Adds an output.
    ///
    /// # Panics
    /// If `name` is not a name.
    #[must_use]
    pub fn output(self, name: &str, port_type: PortType) -> Self {
        let name = literal(name);
        self.named_output(name, port_type, false)
    }

    /// Adds the output that is meant where only the stage is named.
    ///
    /// # Panics
    /// If `name` is not a name.
    #[must_use]
    pub fn primary_output(self, name: &str, port_type: PortType) -> Self {
        let name = literal(name);
        self.named_output(name, port_type, true)
    }

    /// Adds an output whose name came from a pipeline.
    #[must_use]
    pub fn named_output(mut self, name: PortName, port_type: PortType, primary: bool) -> Self {
        self.outputs.push(OutputPort { name, port_type, primary });
        self
    }

    /// The output meant where only the stage is named.
    pub fn primary(&self) -> Option<&OutputPort> {
        match self.outputs.as_slice() {
            [only] => Some(only),
            outputs => outputs.iter().find(|output| output.primary),
        }
    }

    /// The types that input `name` takes, if there is such an input.
    pub fn input_types(&self, name: &str) -> Option<&[PortType]> {
        self.inputs
            .iter()
            .find(|input| input.name == name)
            .map(|input| input.types.as_slice())
            .or(self.any_input.as_ref().map(|any| any.types.as_slice()))
    }
}

fn literal(name: &str) -> PortName {
    match PortName::new(name) {
        Ok(name) => name,
        Err(error) => panic!("`{name}` is not a port name: {error}"),
    }
}

/// What a kind may look at when it checks a stage.
pub struct Known<'a> {
    /// The folder that relative paths in the pipeline are meant from.
    pub base: &'a Path,
    /// What is known of the connected inputs, in the pipeline's order.
    pub inputs: &'a IndexMap<PortName, PortFacts>,
}

impl Known<'_> {
    /// What is known of input `port`; `None` if nothing is connected to it.
    pub fn input(&self, port: &str) -> Option<&PortFacts> {
        self.inputs.get(port)
    }

    /// `path` as written in the pipeline, made absolute.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong.
    pub issues: Issues,
    /// What is known of the outputs; those left out are known by their type alone.
    pub outputs: IndexMap<PortName, PortFacts>,
    /// The metrics that the stage will report, if all are known.
    pub metrics: Option<Vec<String>>,
    /// Files and folders outside the pipeline whose content determines the outputs: data,
    /// code. Absolute. Their digests are part of the fingerprint.
    pub sources: Vec<PathBuf>,
    /// The places inside `with`, such as `["files", "image"]`, whose text only says where
    /// the sources lie. The fingerprint leaves them out: what counts is the sources' content.
    pub source_fields: Vec<Vec<PathSegment>>,
    /// The mappings inside `with`, such as `["parts"]`, whose order of keys determines the
    /// outputs. The fingerprint takes the order of no other mapping into account.
    pub ordered_fields: Vec<Vec<PathSegment>>,
    /// The places inside `with`, such as `["checkpoint"]`, that determine nothing of the outputs.
    /// To the fingerprint they are as if they were not there.
    pub neutral_fields: Vec<Vec<PathSegment>>,
    /// The names of environment variables whose values determine the outputs.
    pub environment: Vec<String>,
}

/// A kind whose configuration is a type.
pub trait TypedKind: Send + Sync {
    /// The type of `with`. Derive `Deserialize`, `JsonSchema` and
    /// `#[serde(deny_unknown_fields)]`; give every field a doc comment, which is its
    /// documentation.
    type Config: DeserializeOwned + JsonSchema;

    /// See [`Kind::name`].
    const NAME: &'static str;
    /// See [`Kind::revision`].
    const REVISION: u32;

    /// See [`Kind::documentation`].
    fn documentation(&self) -> Documentation;

    /// See [`Kind::ports`]. Issues put into `issues` make the configuration invalid.
    fn ports(&self, config: &Self::Config, issues: &mut Issues) -> Ports;

    /// See [`Kind::check`].
    fn check(&self, config: &Self::Config, known: &Known<'_>) -> Checked;

    /// See [`Kind::run`].
    ///
    /// # Errors
    /// Why the attempt failed.
    fn run(&self, config: Self::Config, context: &mut Context<'_>) -> StageResult;
}

/// Makes a [`Kind`] of a [`TypedKind`].
pub struct Typed<K>(pub K);

impl<K: TypedKind + 'static> Typed<K> {
    /// The kind, boxed for a registry.
    pub fn boxed(kind: K) -> Box<dyn Kind> {
        Box::new(Typed(kind))
    }

    fn parse(config: &serde_json::Value) -> Result<K::Config, Issue> {
        serde_path_to_error::deserialize(config).map_err(|error| {
            let mut path = vec![PathSegment::from("with")];
            for segment in error.path() {
                match segment {
                    serde_path_to_error::Segment::Seq { index } => path.push((*index).into()),
                    serde_path_to_error::Segment::Map { key }
                    | serde_path_to_error::Segment::Enum { variant: key } => {
                        path.push(key.as_str().into());
                    }
                    serde_path_to_error::Segment::Unknown => {}
                }
            }
            Issue { path, at_key: false, message: error.inner().to_string(), help: None }
        })
    }
}

impl<K: TypedKind + 'static> Kind for Typed<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn revision(&self) -> u32 {
        K::REVISION
    }

    fn documentation(&self) -> Documentation {
        self.0.documentation()
    }

    fn schema(&self) -> Schema {
        schemars::schema_for!(K::Config)
    }

    fn ports(&self, config: &serde_json::Value) -> Result<Ports, Vec<Issue>> {
        let config = Self::parse(config).map_err(|issue| vec![issue])?;
        let mut issues = Issues::new();
        let ports = self.0.ports(&config, &mut issues);
        if issues.is_empty() { Ok(ports) } else { Err(issues.into_vec()) }
    }

    fn check(&self, config: &serde_json::Value, known: &Known<'_>) -> Checked {
        match Self::parse(config) {
            Ok(config) => self.0.check(&config, known),
            Err(issue) => {
                let mut checked = Checked::default();
                checked.issues.push(issue);
                checked
            }
        }
    }

    fn run(&self, config: &serde_json::Value, context: &mut Context<'_>) -> StageResult {
        let config = Self::parse(config).map_err(|issue| {
            StageError::internal(format!(
                "the plan let a wrong configuration pass: {}",
                issue.message
            ))
        })?;
        self.0.run(config, context)
    }
}
