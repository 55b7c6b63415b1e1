//! Params: their defaults, and what is given from outside.

use serde_json::Value;
use wick_core::id::check_name;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Data, Node};
use crate::span::{FileId, Span};
use crate::yaml;

/// A param of a pipeline, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub span: Span,
    /// Its value: the default, or what was given. `None` if that could not be had.
    pub value: Option<Value>,
    /// Whether the value was given from outside.
    pub overridden: bool,
}

/// A value given to a param from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The param.
    pub name: String,
    /// The value, as YAML reads it.
    pub value: Value,
    /// The value as it was typed on a command line: what a param gets whose default is a text,
    /// so that `-p tag=2024` is one.
    pub typed: Option<String>,
    /// Where it came from, for messages: `-p epochs=3`, `params.yaml`.
    pub origin: String,
    /// Where it stands, if it is a file of the pipeline that gives it.
    pub given_at: Option<Span>,
}

/// Why an argument is no override.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// There is no `=`.
    #[error("`{0}` is not `name=value`")]
    NoValue(String),
    /// The value is no YAML.
    #[error("the value of param `{name}` is not YAML: {reason}; put quotes around it")]
    Value {
        /// The param.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

impl Override {
    /// Reads `name=value`, as in `-p epochs=3`. The value is read as YAML: `3`, `true`, `[1, 2]`.
    ///
    /// # Errors
    /// If it is not of this form.
    pub fn parse(argument: &str) -> Result<Override, OverrideError> {
        let (name, typed) =
            argument.split_once('=').ok_or_else(|| OverrideError::NoValue(argument.to_owned()))?;
        let mut diagnostics = Diagnostics::new();
        let value = yaml::read(typed.as_bytes(), FileId::MAIN, &mut diagnostics)
            .and_then(|node| node.to_json());
        match (value, diagnostics.into_sorted().into_iter().next()) {
            (Some(value), None) => Ok(Override {
                name: name.trim().to_owned(),
                value,
                typed: Some(typed.to_owned()),
                origin: format!("-p {argument}"),
                given_at: None,
            }),
            (_, error) => Err(OverrideError::Value {
                name: name.trim().to_owned(),
                reason: error.map(|error| error.message).unwrap_or_default(),
            }),
        }
    }

    /// Reads a file of params: a mapping from names to values. `file` is its name for messages.
    ///
    /// # Errors
    /// All that is wrong with the file, for [`render`](crate::render()) with its own text.
    pub fn read_file(file: &str, source: &[u8]) -> Result<Vec<Override>, Vec<Diagnostic>> {
        let mut diagnostics = Diagnostics::new();
        let mut overrides = Vec::new();
        if let Some(node) = yaml::read(source, FileId::MAIN, &mut diagnostics) {
            match &node.data {
                Data::Null => {}
                Data::Map(entries) => {
                    overrides.extend(entries.iter().filter_map(|entry| {
                        Some(Override {
                            name: entry.key.clone(),
                            value: entry.value.to_json()?,
                            typed: None,
                            origin: file.to_owned(),
                            given_at: None,
                        })
                    }));
                }
                _ => diagnostics.push(
                    Diagnostic::error("wrong-type", node.span, "a file of params is a mapping")
                        .help("write one `name: value` on each line"),
                ),
            }
        }
        if diagnostics.errors() == 0 { Ok(overrides) } else { Err(diagnostics.into_sorted()) }
    }
}

/// Checks the name of a param.
pub(crate) fn check_param_name(name: &str, span: Span, diagnostics: &mut Diagnostics) -> bool {
    match check_name(name) {
        Ok(()) => true,
        Err(error) => {
            diagnostics.push(
                Diagnostic::error("bad-name", span, format!("`{name}` cannot name a param"))
                    .label(error.to_string()),
            );
            false
        }
    }
}

/// Reports overrides that name no param.
pub(crate) fn check_overrides(
    overrides: &[Override],
    names: &[&str],
    declared_at: Span,
    diagnostics: &mut Diagnostics,
) {
    for given in overrides {
        if names.contains(&given.name.as_str()) {
            continue;
        }
        let help = if names.is_empty() {
            Some(format!("declare it: `params: {{{}: …}}`", given.name))
        } else {
            diagnostics.suggest(&given.name, names.iter().copied())
        };
        let (name, origin) = (&given.name, &given.origin);
        let found = match given.given_at {
            None => {
                let message = format!("there is no param `{name}` (`{origin}`)");
                Diagnostic::error("unknown-param", declared_at, message)
                    .label("the params are declared here")
            }
            Some(at) => {
                let message = format!("the pipeline has no param `{name}`");
                Diagnostic::error("unknown-param", at, message)
                    .related(declared_at, "its params are declared here")
            }
        };
        diagnostics.push(found.maybe_help(help));
    }
}

/// What `given` makes of a param whose default is `default`.
pub(crate) fn apply(
    given: &Override,
    default: &Node,
    name_span: Span,
    diagnostics: &mut Diagnostics,
) -> Option<Value> {
    if let (Data::Text(_), Some(typed)) = (&default.data, &given.typed) {
        return Some(Value::String(typed.clone()));
    }
    let value = &given.value;
    let fits = match (&default.data, value) {
        (Data::Null | Data::Unknown | Data::Open(_), _)
        | (Data::Bool(_), Value::Bool(_))
        | (Data::Text(_), Value::String(_))
        | (Data::List(_), Value::Array(_))
        | (Data::Map(_), Value::Object(_)) => true,
        (Data::Number(default), Value::Number(given)) => default.is_f64() || !given.is_f64(),
        _ => false,
    };
    if !fits {
        let (name, wanted) = (&given.name, type_of(&default.data));
        let value = Node::from_json(name_span, value).describe();
        diagnostics.push(match given.given_at {
            None => Diagnostic::error(
                "wrong-type",
                default.span,
                format!("param `{name}` is {wanted}, and `{}` gives {value}", given.origin),
            )
            .label("the default says the type"),
            Some(at) => {
                let message = format!("param `{name}` is {wanted}, not {value}");
                Diagnostic::error("wrong-type", at, message)
                    .related(default.span, "the default says the type")
            }
        });
        return None;
    }
    // A whole number given to a param that is a float becomes one: the type stays.
    match (&default.data, value) {
        (Data::Number(default), Value::Number(given)) if default.is_f64() && !given.is_f64() => {
            given.as_f64().map(Value::from)
        }
        _ => Some(value.clone()),
    }
}

fn type_of(data: &Data) -> &'static str {
    match data {
        Data::Null | Data::Unknown | Data::Open(_) => "anything",
        Data::Bool(_) => "true or false",
        Data::Number(number) if number.is_f64() => "a number",
        Data::Number(_) => "a whole number",
        Data::Text(_) => "a text",
        Data::List(_) => "a list",
        Data::Map(_) => "a mapping",
    }
}
