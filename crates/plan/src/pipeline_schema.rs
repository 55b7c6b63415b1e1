//! The JSON schema of pipeline files, for editors.

use serde_json::{Map, Value, json};
use wick_pipeline::pipeline::COMMAND_KIND;
use wick_stage::{Kind, Registry};

/// The JSON schema of a pipeline file with the kinds of `registry`. Written by `wick schema`.
///
/// Every place where a value is not a text also takes a reference, `${…}`, which is one.
pub fn pipeline_schema(registry: &Registry) -> Value {
    let mut definitions = Map::new();
    definitions.insert("reference".into(), reference());
    definitions.insert("retry".into(), retry());
    definitions.insert("resources".into(), resources());
    definitions.insert("duration".into(), duration());
    definitions.insert("secret".into(), secret());
    definitions.insert("hooks".into(), hooks());
    definitions.insert("schedule".into(), schedule());
    definitions.insert("matrix".into(), matrix());
    definitions.insert("input".into(), input());
    definitions.insert("stage".into(), stage(registry));
    for kind in registry.iter() {
        definitions.insert(definition(kind), with_schema(kind));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Candlewick pipeline",
        "type": "object",
        "additionalProperties": false,
        "required": ["pipeline", "stages"],
        "properties": {
            "pipeline": {
                "description": "The pipeline's name.",
                "$ref": "#/$defs/name",
            },
            "experiment": {
                "description": "The group that its runs belong to; by default the pipeline's name.",
                "$ref": "#/$defs/name",
            },
            "description": {"description": "What the pipeline is for.", "type": "string"},
            "include": {
                "description": "Fragments whose params, defaults, secrets and stages are taken \
                    over: files, named from this file's folder. What this file says counts.",
                "type": "array",
                "items": {"type": "string"},
            },
            "inputs": {
                "description": "What the file takes when another pipeline uses it, with its type; \
                    its stages read it as `inputs.NAME`. A file with inputs cannot run by itself.",
                "type": "object",
                "propertyNames": {"$ref": "#/$defs/name"},
                "additionalProperties": {
                    "enum": wick_core::PortType::ALL.map(wick_core::PortType::as_str),
                },
            },
            "outputs": {
                "description": "What the file gives to pipelines that use it: `name: stage` or \
                    `name: stage.output`.",
                "type": "object",
                "propertyNames": {"$ref": "#/$defs/name"},
                "additionalProperties": {"type": "string"},
            },
            "params": {
                "description": "Values to refer to as `${params.NAME}`, with their defaults. \
                    Override them with `-p NAME=VALUE` or `--params FILE`.",
                "type": "object",
                "propertyNames": {"$ref": "#/$defs/name"},
            },
            "defaults": {
                "description": "For every stage; each can say otherwise.",
                "type": "object",
                "additionalProperties": false,
                "properties": common_settings(),
            },
            "secrets": {
                "description": "Where the values come from that may be stored nowhere, to refer \
                    to as `${secrets.NAME}` in the `env` of a command, and in the `env` and \
                    `headers` of a hook.",
                "type": "object",
                "propertyNames": {"$ref": "#/$defs/name"},
                "additionalProperties": {"$ref": "#/$defs/secret"},
            },
            "timeout": {
                "description": "How long a run may take: `30m`, `2h`.",
                "anyOf": [{"$ref": "#/$defs/duration"}, {"type": "null"}],
            },
            "hooks": {
                "description": "What is done when a run has ended.",
                "$ref": "#/$defs/hooks",
            },
            "schedule": {
                "description": "When `wick up` begins runs.",
                "$ref": "#/$defs/schedule",
            },
            "stages": {
                "description": "The stages by name.",
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"$ref": "#/$defs/name"},
                "additionalProperties": {"$ref": "#/$defs/stage"},
            },
        },
        "$defs": with_name(definitions),
    })
}

fn with_name(mut definitions: Map<String, Value>) -> Value {
    definitions.insert(
        "name".into(),
        json!({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,127}$"}),
    );
    Value::Object(definitions)
}

fn definition(kind: &dyn Kind) -> String {
    format!("with-{}", kind.name())
}

fn stage(registry: &Registry) -> Value {
    let names: Vec<Value> = registry
        .iter()
        .map(|kind| json!({"const": kind.name(), "description": kind.documentation().summary}))
        .collect();
    let by_kind: Vec<Value> = registry
        .iter()
        .map(|kind| {
            json!({
                "if": {"properties": {"uses": {"const": kind.name()}}, "required": ["uses"]},
                "then": {
                    "properties": {"with": {"$ref": format!("#/$defs/{}", definition(kind))}},
                },
            })
        })
        .collect();
    let mut properties = json!({
        "uses": {"description": "What the stage does: its kind.", "oneOf": names},
        "inputs": {
            "description": "What the stage reads: `port: stage` or `port: stage.output`.",
            "type": "object",
            "additionalProperties": {"$ref": "#/$defs/input"},
        },
        "with": {"description": "The configuration of the stage's kind.", "type": "object"},
        "after": {
            "description": "Stages that come before this one without giving it data.",
            "type": "array",
            "items": {"type": "string"},
        },
        "needs": {
            "description": "How many of the stages before it must succeed: `all`, or `any` to run \
                once all have ended and at least one succeeded.",
            "enum": ["all", "any"],
        },
        "when": {
            "description": "A condition: the stage runs only if it holds. It may ask for \
                `${params.X}`, `${matrix.X}`, `${metrics.STAGE.KEY}` and `${values.STAGE.OUTPUT}`, \
                and knows `== != < <= > >= in`, `and`, `or`, `not`.",
            "type": ["string", "boolean"],
        },
        "matrix": {
            "description": "The stage is written once for each combination of these values, \
                `${matrix.NAME}`.",
            "$ref": "#/$defs/matrix",
        },
        "foreach": {
            "description": "The stage is written once for each item of a list that another stage \
                makes, `${foreach.NAME}`: `{NAME: STAGE.OUTPUT}`.",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "propertyNames": {"$ref": "#/$defs/name"},
            "additionalProperties": {"type": "string"},
        },
        "description": {"description": "What the stage is for.", "type": "string"},
    });
    if let (Value::Object(properties), Value::Object(common)) = (&mut properties, common_settings())
    {
        properties.extend(common);
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["uses"],
        "properties": properties,
        "allOf": by_kind,
    })
}

fn common_settings() -> Value {
    json!({
        "retry": {"$ref": "#/$defs/retry"},
        "timeout": {
            "description": "How long one attempt may take: `30s`, `1h30m`.",
            "anyOf": [{"$ref": "#/$defs/duration"}, {"type": "null"}],
        },
        "resources": {"$ref": "#/$defs/resources"},
        "cache": {
            "description": "Whether outputs recorded for equal inputs and configuration may be \
                reused.",
            "anyOf": [{"type": "boolean"}, {"$ref": "#/$defs/reference"}],
        },
    })
}

fn reference() -> Value {
    json!({
        "description": "A reference to a param or an environment variable.",
        "type": "string",
        "pattern": r"^\$\{.+\}$",
    })
}

fn duration() -> Value {
    json!({
        "type": "string",
        "pattern": r"^(\s*([0-9.]+(ms|s|m|h|d))+\s*|.*\$\{.+\}.*)$",
    })
}

fn retry() -> Value {
    json!({
        "description": "How often and how a stage that failed is tried again.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "attempts": {
                "description": "Attempts in all.",
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 100},
                    {"$ref": "#/$defs/reference"},
                ],
            },
            "backoff": {
                "description": "The wait before the second attempt: 1s without.",
                "$ref": "#/$defs/duration",
            },
            "factor": {
                "description": "By what the wait grows with each further attempt: 2 without.",
                "anyOf": [
                    {"type": "number", "minimum": 1, "maximum": 100},
                    {"$ref": "#/$defs/reference"},
                ],
            },
            "max_backoff": {
                "description": "The longest wait: 1h without.",
                "$ref": "#/$defs/duration",
            },
            "jitter": {
                "description": "By which part of itself a wait may be longer or shorter.",
                "anyOf": [
                    {"type": "number", "minimum": 0, "maximum": 1},
                    {"$ref": "#/$defs/reference"},
                ],
            },
            "on": {
                "description": "After which failures: causes, and exit codes of a program.",
                "type": "array",
                "items": {
                    "anyOf": [
                        {"enum": ["exit", "signal", "timeout", "io", "spawn", "out_of_memory"]},
                        {"type": "integer", "minimum": 1, "maximum": 255},
                        {"$ref": "#/$defs/reference"},
                    ],
                },
            },
        },
    })
}

fn resources() -> Value {
    let whole = |description: &str, minimum: u32, maximum: u32| {
        json!({
            "description": description,
            "anyOf": [
                {"type": "integer", "minimum": minimum, "maximum": maximum},
                {"$ref": "#/$defs/reference"},
            ],
        })
    };
    json!({
        "description": "What an attempt occupies.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "cpus": whole("Processors.", 1, 4096),
            "gpus": whole("GPUs.", 0, 64),
            "memory": {
                "description": "Memory: `512MB`, `2GiB`.",
                "type": ["string", "null"],
            },
            "slots": {
                "description": "Shares of what wick.yaml counts by name, under `slots: {named: …}`.",
                "type": "object",
                "propertyNames": {"$ref": "#/$defs/name"},
                "additionalProperties": {
                    "anyOf": [
                        {"type": "integer", "minimum": 1},
                        {"$ref": "#/$defs/reference"},
                    ],
                },
            },
            "mutex": {
                "description": "What no two attempts may hold at once, by names of your choice.",
                "type": "array",
                "items": {"type": "string"},
            },
        },
    })
}

fn secret() -> Value {
    json!({
        "anyOf": [
            {"type": "string", "pattern": r"^\s*\$\{\s*env\.[^}]+\}\s*$"},
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["file"],
                "properties": {
                    "file": {"description": "A file that holds the value.", "type": "string"},
                },
            },
        ],
    })
}

fn hooks() -> Value {
    let texts = json!({
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    });
    let timeout = json!({
        "description": "How long it may take: 30s without.",
        "$ref": "#/$defs/duration",
    });
    let hook = json!({
        "anyOf": [
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["command"],
                "properties": {
                    "command": {
                        "description": "What to run: a list of words, or a text for the shell.",
                        "anyOf": [
                            {
                                "type": "array",
                                "items": {"type": ["string", "number", "boolean"]},
                                "minItems": 1,
                            },
                            {"type": "string"},
                        ],
                    },
                    "env": texts,
                    "timeout": timeout,
                },
            },
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["webhook"],
                "properties": {
                    "webhook": {"description": "Where to post to.", "type": "string"},
                    "headers": texts,
                    "timeout": timeout,
                },
            },
        ],
    });
    let list =
        |description: &str| json!({"description": description, "type": "array", "items": hook});
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "on_success": list("When the run succeeded."),
            "on_failure": list("When the run failed."),
        },
    })
}

fn schedule() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "cron": {
                "description": "Minute, hour, day, month, weekday: `0 3 * * *`.",
                "type": "string",
            },
            "timezone": {
                "description": "The time zone that `cron` is meant in: UTC without.",
                "type": "string",
            },
            "on_change": {
                "description": "Patterns of files, from the pipeline's folder: a run begins when \
                    one of them changes.",
                "type": "array",
                "items": {"type": "string"},
            },
            "missed": {
                "description": "What becomes of times that passed while nobody was there.",
                "enum": ["skip", "run_once"],
            },
            "overlap": {
                "description": "What happens when the time comes while a run is still going on.",
                "enum": ["skip", "queue", "cancel"],
            },
        },
    })
}

fn matrix() -> Value {
    let scalar = json!({"type": ["string", "number", "boolean"]});
    let rows = |description: &str| {
        json!({
            "description": description,
            "type": "array",
            "items": {"type": "object", "additionalProperties": scalar},
        })
    };
    json!({
        "type": "object",
        "minProperties": 1,
        "properties": {
            "include": rows("Further combinations, each with a value for every axis."),
            "exclude": rows("Combinations to leave out, by some or all of their values."),
        },
        "additionalProperties": {
            "anyOf": [
                {"type": "array", "items": scalar, "minItems": 1},
                {"$ref": "#/$defs/reference"},
            ],
        },
    })
}

fn input() -> Value {
    json!({
        "anyOf": [
            {
                "description": "`STAGE` or `STAGE.OUTPUT`; of a stage with instances \
                    `STAGE[LABEL].OUTPUT`, or `STAGE[*].OUTPUT` for all of them.",
                "type": "string",
            },
            {
                "description": "The best instance of a stage.",
                "type": "object",
                "additionalProperties": false,
                "required": ["from", "select"],
                "properties": {
                    "from": {"description": "`STAGE[*]` or `STAGE[*].OUTPUT`.", "type": "string"},
                    "select": {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["metric", "mode"],
                        "properties": {
                            "metric": {"description": "The metric.", "type": "string"},
                            "of": {
                                "description": "The stage that has it, if it is another with the \
                                    same instances: `STAGE[*]`.",
                                "type": "string",
                            },
                            "mode": {
                                "description": "Which end is best.",
                                "enum": ["min", "max"],
                            },
                        },
                    },
                },
            },
        ],
    })
}

/// The schema of a kind's `with`, made part of the whole: its own definitions are found from
/// where it stands, and its values may be references.
fn with_schema(kind: &dyn Kind) -> Value {
    let mut schema = kind.schema().to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    if kind.name() == COMMAND_KIND
        && let Some(run) = schema.pointer_mut("/properties/run")
    {
        // Words of a command are texts, however they are written.
        let description = run.get("description").cloned().unwrap_or_default();
        let word = json!({"type": ["string", "number", "boolean"]});
        *run = json!({
            "description": description,
            "anyOf": [{"type": "array", "items": word, "minItems": 1}, {"type": "string"}],
        });
    }
    let prefix = format!("#/$defs/{}", definition(kind));
    adapt(&mut schema, &prefix);
    schema
}

/// Keywords whose value is a mapping from names to schemas.
const SCHEMAS_BY_NAME: [&str; 3] = ["properties", "$defs", "patternProperties"];
/// Keywords whose value is a schema or a list of them.
const SCHEMAS: [&str; 8] =
    ["items", "prefixItems", "additionalProperties", "oneOf", "anyOf", "allOf", "not", "contains"];

fn adapt(schema: &mut Value, prefix: &str) {
    let Value::Object(object) = schema else { return };
    // A reference may fit several cases, and `oneOf` would refuse it.
    if !object.contains_key("anyOf")
        && let Some(cases) = object.remove("oneOf")
    {
        object.insert("anyOf".to_owned(), cases);
    }
    if let Some(Value::String(target)) = object.get_mut("$ref")
        && let Some(rest) = target.strip_prefix('#')
    {
        *target = format!("{prefix}{rest}");
    }
    for key in SCHEMAS_BY_NAME {
        if let Some(Value::Object(named)) = object.get_mut(key) {
            named.values_mut().for_each(|inner| adapt(inner, prefix));
        }
    }
    for key in SCHEMAS {
        match object.get_mut(key) {
            Some(Value::Array(list)) => list.iter_mut().for_each(|inner| adapt(inner, prefix)),
            Some(inner) => adapt(inner, prefix),
            None => {}
        }
    }
    if takes_reference(object) {
        let description = object.remove("description");
        let default = object.remove("default");
        let inner = Value::Object(std::mem::take(object));
        object.extend(description.map(|text| ("description".to_owned(), text)));
        object.extend(default.map(|value| ("default".to_owned(), value)));
        object.insert("anyOf".to_owned(), json!([inner, {"$ref": "#/$defs/reference"}]));
    }
}

/// Whether a reference may stand in the place of such a value: of all but free text, which is
/// one already, and mappings with keys of their own, which no param holds.
fn takes_reference(schema: &Map<String, Value>) -> bool {
    if schema.contains_key("enum") || schema.contains_key("const") {
        return true;
    }
    let fits = |name: &Value| match name.as_str() {
        Some("integer" | "number" | "boolean" | "array") => true,
        Some("object") => !schema.contains_key("properties"),
        _ => false,
    };
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().any(fits),
        Some(name) => fits(name),
        None => false,
    }
}
