//! The `register` and `deploy` kinds: what a pipeline asks of the model registry.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use wick_core::{Effect, ModelName, PortType};
use wick_stage::{
    Checked, Context, Documentation, Example, Issues, Known, Ports, StageError, StageResult,
    TypedKind,
};

/// The longest an alias may be.
const MAX_ALIAS_LENGTH: usize = 64;

/// The `register` kind.
pub struct Register;

/// Makes the model a version of a registered model.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterConfig {
    /// The name of the registered model: letters, digits, `_` and `-`.
    pub name: String,
    /// What the model is, for people.
    #[serde(default)]
    pub description: Option<String>,
    /// Free words about this version, such as `{team: vision}`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl TypedKind for Register {
    type Config = RegisterConfig;
    const NAME: &'static str = "register";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "makes a model a version of a registered model",
            description: "Gives the model the next version number of the registered model `name`, \
                in the same transaction in which the stage succeeds. A model that is a version \
                already keeps its number, so running the stage again changes nothing.\n\n\
                Put the stage `after` the gate that the model must pass.",
            examples: &[Example {
                title: "Register what passed its evaluation",
                yaml: "uses: register\ninputs: {model: train.model}\nafter: [evaluate]\nwith: {name: mnist}",
            }],
        }
    }

    fn ports(&self, config: &RegisterConfig, issues: &mut Issues) -> Ports {
        check_model_name(&config.name, issues);
        Ports::new().input("model", PortType::Model)
    }

    fn check(&self, _config: &RegisterConfig, _known: &Known<'_>) -> Checked {
        Checked { metrics: Some(Vec::new()), ..Checked::default() }
    }

    fn run(&self, config: RegisterConfig, context: &mut Context<'_>) -> StageResult {
        let model = context.input("model")?;
        let name = model_name(&config.name)?;
        context.log(format_args!("registering {} as a version of {name}", model.digest));
        context.effect(Effect::RegisterModel {
            name,
            digest: model.digest,
            description: config.description,
            tags: config.tags.into_iter().collect(),
        })
    }
}

/// The `deploy` kind.
pub struct Deploy;

/// Lets an alias of a registered model name this model.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployConfig {
    /// The name of the registered model.
    pub name: String,
    /// The alias to move: `wick serve NAME` serves `production` where there is one.
    #[serde(default = "production")]
    pub alias: String,
}

fn production() -> String {
    "production".to_owned()
}

impl TypedKind for Deploy {
    type Config = DeployConfig;
    const NAME: &'static str = "deploy";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "lets an alias of a registered model name this model",
            description: "Moves `alias` to the version of `name` that is this model, and registers \
                the model first if it is no version yet. `wick serve NAME` serves the version that \
                `production` names. The alias moves in the transaction in which the stage \
                succeeds.",
            examples: &[Example {
                title: "Put what passed its evaluation into production",
                yaml: "uses: deploy\ninputs: {model: train.model}\nafter: [evaluate]\nwith: {name: mnist, alias: production}",
            }],
        }
    }

    fn ports(&self, config: &DeployConfig, issues: &mut Issues) -> Ports {
        check_model_name(&config.name, issues);
        if let Err(reason) = check_alias(&config.alias) {
            issues.with(["alias"], reason, "use a word such as `production` or `staging`");
        }
        Ports::new().input("model", PortType::Model)
    }

    fn check(&self, _config: &DeployConfig, _known: &Known<'_>) -> Checked {
        Checked { metrics: Some(Vec::new()), ..Checked::default() }
    }

    fn run(&self, config: DeployConfig, context: &mut Context<'_>) -> StageResult {
        let model = context.input("model")?;
        let name = model_name(&config.name)?;
        context.log(format_args!("{name}@{} becomes {}", config.alias, model.digest));
        context.effect(Effect::RegisterModel {
            name: name.clone(),
            digest: model.digest,
            description: None,
            tags: Vec::new(),
        })?;
        context.effect(Effect::SetAlias { name, alias: config.alias, digest: model.digest })
    }
}

fn check_model_name(name: &str, issues: &mut Issues) {
    if let Err(error) = ModelName::new(name) {
        let message = format!("`{name}` cannot name a model: {error}");
        issues.with(["name"], message, "use letters, digits, `_` and `-`");
    }
}

fn model_name(name: &str) -> StageResult<ModelName> {
    ModelName::new(name)
        .map_err(|error| StageError::config(format!("`{name}` cannot name a model")).because(error))
}

/// An alias is a short word that cannot be taken for a version number.
fn check_alias(alias: &str) -> Result<(), String> {
    if alias.len() > MAX_ALIAS_LENGTH {
        return Err(format!("an alias is at most {MAX_ALIAS_LENGTH} characters"));
    }
    wick_core::id::check_name(alias).map_err(|error| format!("`{alias}` is not an alias: {error}"))
}

#[cfg(test)]
mod tests {
    use wick_core::WorkerEvent;
    use wick_stage::context::CollectedEvents;
    use wick_stage::{Assignment, Kind, Typed};

    use super::*;

    fn assignment(kind: &str, config: serde_json::Value) -> Assignment {
        serde_json::from_value(serde_json::json!({
            "version": 1, "run": "000000000000", "pipeline": "p", "stage": "s", "attempt": 1,
            "token": 1, "kind": kind, "config": config,
            "inputs": {"model": {"type": "model", "digest": "ab".repeat(32), "path": "m", "meta": {}}},
            "outputs": {}, "base": ".", "artifacts": ".", "cpus": 1,
        }))
        .expect("an assignment")
    }

    #[test]
    fn deploying_registers_and_then_moves_the_alias() {
        let config = serde_json::json!({"name": "mnist"});
        let assignment = assignment("deploy", config.clone());
        let mut events = CollectedEvents::default();
        let folder = std::path::Path::new(".");
        let mut context = Context::new(&assignment, folder, &mut events);
        Typed(Deploy).run(&config, &mut context).expect("it runs");
        let effects: Vec<_> = events.0.iter().collect();
        assert!(matches!(
            effects.as_slice(),
            [
                WorkerEvent::Effect(Effect::RegisterModel { .. }),
                WorkerEvent::Effect(Effect::SetAlias { alias, .. }),
            ] if alias == "production"
        ));
    }

    #[test]
    fn bad_names_are_refused_before_anything_runs() {
        let issues =
            Typed(Register).ports(&serde_json::json!({"name": "a b"})).expect_err("a space");
        assert_eq!(issues.len(), 1);
        let config = serde_json::json!({"name": "m", "alias": "3"});
        assert_eq!(Typed(Deploy).ports(&config).expect_err("a number").len(), 1);
    }
}
