//! Puts values in the place of references.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::files::Sources;
use crate::node::{Data, Node};
use crate::span::Span;
use crate::suggest;
use crate::template::{self, Piece, Places, Quoting, Reference};

/// What references can refer to.
pub(crate) struct Scope<'a> {
    /// The files that what is resolved stands in.
    pub sources: &'a Sources,
    /// Params resolved so far; `None` for one whose value could not be had.
    pub params: HashMap<String, Option<Value>>,
    /// Names of params that are declared further down: for params that refer to others.
    pub later: HashSet<String>,
    /// The value of an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The params that something referred to.
    pub used: RefCell<HashSet<String>>,
}

/// What becomes of references that only a running attempt knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deferred {
    /// They are mistakes here.
    Refused,
    /// They stay, and what is put into the text is quoted so and escaped.
    Kept(Quoting),
}

/// The scopes that only a running attempt knows.
pub const RUN_SCOPES: [&str; 3] = ["run", "inputs", "outputs"];

/// The scopes that are known before anything runs.
const SCOPES: [&str; 2] = ["params", "env"];

impl Scope<'_> {
    /// Resolves every reference in `node`.
    pub fn resolve(&self, node: &mut Node, diagnostics: &mut Diagnostics) {
        match &mut node.data {
            Data::Text(text) if template::has_references(text) => {
                let text = std::mem::take(text);
                node.data = self.text_value(&text, node.span, Deferred::Refused, diagnostics);
            }
            Data::List(items) => {
                items.iter_mut().for_each(|item| self.resolve(item, diagnostics));
            }
            Data::Map(entries) => {
                for entry in entries {
                    self.resolve(&mut entry.value, diagnostics);
                }
            }
            _ => {}
        }
    }

    /// Resolves a command's `run`: a text for a shell, or a list of words. `${run.id}`,
    /// `${inputs.x}` and `${outputs.x}` stay, and so do escapes, for the engine to replace.
    pub fn resolve_run(&self, node: &mut Node, diagnostics: &mut Diagnostics) {
        match &mut node.data {
            Data::List(words) => {
                for word in words {
                    self.resolve_word(word, Quoting::None, diagnostics);
                }
            }
            Data::Text(_) => self.resolve_word(node, Quoting::Shell, diagnostics),
            _ => self.resolve(node, diagnostics),
        }
    }

    fn resolve_word(&self, word: &mut Node, quoting: Quoting, diagnostics: &mut Diagnostics) {
        match &word.data {
            Data::Text(text) if template::has_references(text) => {
                word.data = self.text_value(text, word.span, Deferred::Kept(quoting), diagnostics);
            }
            // `[sleep, 5]`: a word of a command is a text, as it is written.
            Data::Number(_) | Data::Bool(_) => {
                if let Some(written) =
                    self.sources.text(word.span.file).get(word.span.start..word.span.end)
                {
                    word.data = Data::Text(written.to_owned());
                }
            }
            _ => {}
        }
    }

    fn text_value(
        &self,
        text: &str,
        span: Span,
        deferred: Deferred,
        diagnostics: &mut Diagnostics,
    ) -> Data {
        let pieces = template::pieces(text);
        let places = Places { source: self.sources.text(span.file), span, text };
        if let ([Ok(Piece::Reference(reference))], Deferred::Refused) =
            (pieces.as_slice(), deferred)
        {
            let place = places.of(reference.start, reference.end);
            return match self.look_up(reference, place, deferred, diagnostics) {
                Some(Found::Value(value)) => Node::from_json(span, &value).data,
                _ => Data::Unknown,
            };
        }
        let mut out = String::with_capacity(text.len());
        let mut sound = true;
        for piece in pieces {
            match piece {
                Ok(Piece::Text(literal)) => match deferred {
                    Deferred::Refused => out.push_str(&literal),
                    Deferred::Kept(_) => out.push_str(&template::escape(&literal)),
                },
                Ok(Piece::Reference(reference)) => {
                    let place = places.of(reference.start, reference.end);
                    match self.look_up(&reference, place, deferred, diagnostics) {
                        Some(Found::Kept) => out.push_str(&text[reference.start..reference.end]),
                        Some(Found::Value(value)) => match word_of(&value) {
                            Some(word) => match deferred {
                                Deferred::Refused => out.push_str(&word),
                                Deferred::Kept(quoting) => {
                                    out.push_str(&template::escape(&quoting.apply(&word)));
                                }
                            },
                            None => {
                                sound = false;
                                let what = match &value {
                                    Value::Null => "an empty value".to_owned(),
                                    value => Node::from_json(span, value).describe(),
                                };
                                diagnostics.push(
                                    Diagnostic::error(
                                        "bad-reference",
                                        place,
                                        format!("{what} cannot stand inside a text"),
                                    )
                                    .help("let the reference be the whole value"),
                                );
                            }
                        },
                        None => sound = false,
                    }
                }
                Err(error) => {
                    sound = false;
                    diagnostics.push(
                        Diagnostic::error(
                            "bad-reference",
                            places.of(error.start, error.end),
                            error.message,
                        )
                        .help(error.help),
                    );
                }
            }
        }
        if sound { Data::Text(out) } else { Data::Unknown }
    }

    fn look_up(
        &self,
        reference: &Reference<'_>,
        place: Span,
        deferred: Deferred,
        diagnostics: &mut Diagnostics,
    ) -> Option<Found> {
        let Reference { scope, name, .. } = *reference;
        let error = |message: String| Diagnostic::error("bad-reference", place, message);
        match scope {
            "params" => {
                if let Some(value) = self.params.get(name) {
                    self.used.borrow_mut().insert(name.to_owned());
                    return value.clone().map(Found::Value);
                }
                if self.later.contains(name) {
                    self.used.borrow_mut().insert(name.to_owned());
                    diagnostics.push(
                        error(format!("param `{name}` is declared further down"))
                            .help("a param can refer to those above it: move it up"),
                    );
                    return None;
                }
                let mut known: Vec<&str> = self.params.keys().map(String::as_str).collect();
                known.sort_unstable();
                // What was meant is used: there is no need to say that nothing refers to it.
                if let Some(meant) = suggest::nearest(name, known.iter().copied()) {
                    self.used.borrow_mut().insert(meant.to_owned());
                }
                let help = if known.is_empty() {
                    Some(format!("declare it: `params: {{{name}: …}}`"))
                } else {
                    diagnostics.suggest(name, known)
                };
                diagnostics.push(error(format!("there is no param `{name}`")).maybe_help(help));
                None
            }
            "env" => match (self.environment)(name) {
                Some(value) => Some(Found::Value(Value::String(value))),
                None => {
                    diagnostics.push(
                        error(format!("the environment variable `{name}` is not set"))
                            .help(format!("set it before you call wick: `{name}=… wick …`")),
                    );
                    None
                }
            },
            _ if RUN_SCOPES.contains(&scope) => {
                if deferred != Deferred::Refused {
                    return Some(Found::Kept);
                }
                diagnostics.push(
                    error(format!("`${{{scope}.{name}}}` is known only while a command runs"))
                        .help("it can stand in the `run` of a `command` stage"),
                );
                None
            }
            "matrix" | "stages" | "metrics" => {
                diagnostics.push(
                    error(format!("`${{{scope}.…}}` is not supported by this version of wick"))
                        .help("refer to `params` or `env`"),
                );
                None
            }
            _ => {
                let known = SCOPES.iter().chain(&RUN_SCOPES).copied();
                let help = diagnostics.suggest(scope, known);
                diagnostics.push(
                    error(format!("`${{{scope}.…}}` refers to nothing that wick knows"))
                        .maybe_help(help),
                );
                None
            }
        }
    }
}

enum Found {
    Value(Value),
    Kept,
}

/// `value` inside a text, if it can stand there.
fn word_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
