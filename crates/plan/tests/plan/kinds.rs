//! Small kinds that exercise what a real one can ask of the plan.

use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use wick_core::{PortName, PortType};
use wick_stage::{
    Checked, Column, ColumnType, Context, DatasetFacts, Documentation, Issues, Known, PortFacts,
    Ports, Registry, StageResult, Typed, TypedKind,
};

/// How often the schema of `make` was computed.
pub static SCHEMAS_MADE: AtomicUsize = AtomicUsize::new(0);

pub fn registry() -> Registry {
    Registry::new().with([
        Typed::boxed(Make),
        Typed::boxed(Part),
        Typed::boxed(Learn),
        Typed::boxed(Command),
        Typed::boxed(Note),
    ])
}

const NO_DOCUMENTATION: Documentation =
    Documentation { summary: "a kind for tests", description: "", examples: &[] };

fn dataset(columns: &[String]) -> PortFacts {
    let columns = columns
        .iter()
        .map(|name| Column { name: name.clone(), column_type: ColumnType::Float })
        .collect();
    PortFacts::dataset(DatasetFacts { columns: Some(columns), ..Default::default() })
}

/// Makes a table with the columns that it is told.
pub struct Make;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-made" = count_schema()))]
pub struct MakeConfig {
    /// The columns of the table. At least one.
    #[schemars(length(min = 1))]
    columns: Vec<String>,
    /// How many rows.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    #[allow(dead_code)]
    rows: u32,
    /// Where the rows lie.
    path: Option<String>,
    /// A variable that matters.
    variable: Option<String>,
    /// How it looks.
    #[allow(dead_code)]
    style: Option<Style>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Style {
    /// Of what colour, which determines nothing.
    colour: Option<String>,
}

fn count_schema() -> bool {
    SCHEMAS_MADE.fetch_add(1, Ordering::Relaxed);
    true
}

impl TypedKind for Make {
    type Config = MakeConfig;
    const NAME: &'static str = "make";
    const REVISION: u32 = 3;

    fn documentation(&self) -> Documentation {
        NO_DOCUMENTATION
    }

    fn ports(&self, _: &MakeConfig, _: &mut Issues) -> Ports {
        Ports::new().output("data", PortType::Dataset)
    }

    fn check(&self, config: &MakeConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked::default();
        let data = PortName::new("data").expect("a name");
        checked.outputs.insert(data, dataset(&config.columns));
        if let Some(path) = &config.path {
            checked.sources.push(known.resolve(path));
            checked.source_fields.push(vec!["path".into()]);
        }
        checked.environment.extend(config.variable.clone());
        checked.neutral_fields.push(vec!["style".into(), "colour".into()]);
        checked
    }

    fn run(&self, _: MakeConfig, _: &mut Context<'_>) -> StageResult {
        Ok(())
    }
}

/// Divides a table.
pub struct Part;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// The parts and their shares.
    #[schemars(length(min = 1))]
    parts: IndexMap<String, f64>,
}

impl TypedKind for Part {
    type Config = PartConfig;
    const NAME: &'static str = "part";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        NO_DOCUMENTATION
    }

    fn ports(&self, config: &PartConfig, issues: &mut Issues) -> Ports {
        let mut ports = Ports::new().input("data", PortType::Dataset);
        let sum: f64 = config.parts.values().sum();
        if sum > 1.0 {
            issues.with(["parts"], format!("the parts add up to {sum}"), "at most 1");
        }
        for name in config.parts.keys() {
            match PortName::new(name) {
                Ok(name) => ports = ports.named_output(name, PortType::Dataset, false),
                Err(error) => issues.with(["parts", name], error.to_string(), ""),
            }
        }
        ports
    }

    fn check(&self, config: &PartConfig, known: &Known<'_>) -> Checked {
        let mut checked =
            Checked { ordered_fields: vec![vec!["parts".into()]], ..Checked::default() };
        if let Some(facts) = known.input("data") {
            for name in config.parts.keys() {
                let name = PortName::new(name).expect("checked in ports");
                checked.outputs.insert(name, facts.clone());
            }
        }
        checked
    }

    fn run(&self, _: PartConfig, _: &mut Context<'_>) -> StageResult {
        Ok(())
    }
}

/// Learns a column.
pub struct Learn;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct LearnConfig {
    /// The column to learn.
    target: String,
    /// How often to look at everything.
    #[schemars(range(min = 1))]
    epochs: u32,
    /// How much to forget.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    dropout: f64,
    /// The layers.
    #[serde(default)]
    model: Vec<Layer>,
    /// How to step.
    #[serde(default)]
    optimizer: Optimizer,
    /// Whether to tell more.
    verbose: Option<bool>,
    /// The loss.
    loss: Option<Loss>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
pub enum Layer {
    /// Every unit sees every input.
    Dense(Dense),
    /// One dimension.
    Flatten,
    /// Forgets.
    Dropout(f64),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct Dense {
    /// How many.
    #[schemars(range(min = 1))]
    units: u32,
    /// Afterwards.
    activation: Option<Activation>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    Relu,
    Tanh,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// For classes.
    CrossEntropy,
    /// For numbers.
    Mse,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[allow(dead_code)]
pub enum Optimizer {
    /// Adaptive.
    Adam {
        /// How far.
        learning_rate: f64,
    },
    /// Plain.
    Sgd {
        /// How far.
        learning_rate: f64,
        /// How much of the last step.
        #[serde(default)]
        momentum: f64,
    },
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer::Adam { learning_rate: 0.001 }
    }
}

impl TypedKind for Learn {
    type Config = LearnConfig;
    const NAME: &'static str = "learn";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        NO_DOCUMENTATION
    }

    fn ports(&self, _: &LearnConfig, _: &mut Issues) -> Ports {
        Ports::new()
            .input("train", PortType::Dataset)
            .optional_input("validation", PortType::Dataset)
            .primary_output("model", PortType::Model)
            .output("report", PortType::Report)
    }

    fn check(&self, config: &LearnConfig, known: &Known<'_>) -> Checked {
        let mut checked = Checked::default();
        let facts = known.input("train").and_then(|facts| facts.dataset.as_ref());
        if facts.is_some_and(|facts| facts.lacks(&config.target)) {
            checked.issues.with(
                ["target"],
                format!("no column is called `{}`", config.target),
                "name a column of `train`",
            );
        }
        checked.metrics = Some(vec!["loss".to_owned()]);
        checked.neutral_fields.push(vec!["verbose".into()]);
        checked
    }

    fn run(&self, _: LearnConfig, _: &mut Context<'_>) -> StageResult {
        Ok(())
    }
}

/// Runs a program.
pub struct Command;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub struct CommandConfig {
    /// The program and its arguments.
    run: Run,
    /// What it makes.
    #[serde(default)]
    outputs: IndexMap<String, String>,
    /// What it finds in its environment.
    #[serde(default)]
    #[allow(dead_code)]
    env: IndexMap<String, String>,
}

/// A text for a shell, or a list of words.
pub struct Run;

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(|_| Run)
    }
}

impl JsonSchema for Run {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Run".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
        })
    }
}

impl TypedKind for Command {
    type Config = CommandConfig;
    const NAME: &'static str = "command";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        NO_DOCUMENTATION
    }

    fn ports(&self, config: &CommandConfig, issues: &mut Issues) -> Ports {
        let mut ports = Ports::new().any_input(PortType::ALL, 0).gathering();
        for (name, written) in &config.outputs {
            let port_type = PortType::ALL.into_iter().find(|known| known.as_str() == written);
            let port_type = port_type.unwrap_or(PortType::File);
            match PortName::new(name) {
                Ok(name) => ports = ports.named_output(name, port_type, false),
                Err(error) => issues.with(["outputs", name], error.to_string(), ""),
            }
        }
        ports
    }

    fn check(&self, _: &CommandConfig, _: &Known<'_>) -> Checked {
        Checked::default()
    }

    fn run(&self, _: CommandConfig, _: &mut Context<'_>) -> StageResult {
        Ok(())
    }
}

/// Reads a model, makes nothing.
pub struct Note;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteConfig {}

impl TypedKind for Note {
    type Config = NoteConfig;
    const NAME: &'static str = "note";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        NO_DOCUMENTATION
    }

    fn ports(&self, _: &NoteConfig, _: &mut Issues) -> Ports {
        Ports::new().input("model", PortType::Model)
    }

    fn check(&self, _: &NoteConfig, _: &Known<'_>) -> Checked {
        Checked::default()
    }

    fn run(&self, _: NoteConfig, _: &mut Context<'_>) -> StageResult {
        Ok(())
    }
}
