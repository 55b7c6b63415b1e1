//! Puts values in the place of references.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::files::Sources;
use crate::matrix::Values;
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
    /// The names of the secrets.
    pub secrets: Vec<String>,
    /// The secrets that something referred to.
    pub used_secrets: RefCell<HashSet<String>>,
    /// What the stage that is being read can refer to beside these.
    pub local: RefCell<Local>,
}

/// What tells the instance that is being read from the others.
#[derive(Debug, Default)]
pub(crate) enum Local {
    /// There is only one.
    #[default]
    None,
    /// The values of a matrix.
    Matrix(Values),
    /// An item of a list; `None` while the list is not known.
    Item(String, Option<Value>),
    /// The matrix or the list could not be read, which has been reported.
    Unknown,
}

/// How references are put into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    /// The scopes whose references stay in the text, for the engine to replace. Everything else
    /// in such a text is escaped.
    kept: &'static [&'static str],
    /// How what is put in is quoted.
    quoting: Quoting,
    /// Whether the result is a text even where the text is one reference.
    text: bool,
}

impl Mode {
    /// A value: one reference alone keeps its type.
    pub const VALUE: Mode = Mode { kept: &[], quoting: Quoting::None, text: false };
    /// A text in which a secret may stand.
    pub const SECRET: Mode = Mode { kept: &["secrets"], quoting: Quoting::None, text: true };

    /// The words of a command, or its text for a shell.
    const fn run(quoting: Quoting) -> Self {
        Mode { kept: &RUN_SCOPES, quoting, text: true }
    }

    /// The words of a hook, or its text for a shell: all in it is known.
    const fn hook(quoting: Quoting) -> Self {
        Mode { kept: &[], quoting, text: true }
    }

    const fn escapes(self) -> bool {
        !self.kept.is_empty()
    }
}

/// The scopes that only a running attempt knows.
pub const RUN_SCOPES: [&str; 3] = ["run", "inputs", "outputs"];

/// The scopes that are known before anything runs.
const SCOPES: [&str; 4] = ["params", "env", "matrix", "foreach"];

impl Scope<'_> {
    /// Resolves every reference in `node`.
    pub fn resolve(&self, node: &mut Node, diagnostics: &mut Diagnostics) {
        match &mut node.data {
            Data::Text(text) if template::has_references(text) => {
                let text = std::mem::take(text);
                node.data = self.text_value(&text, node.span, Mode::VALUE, diagnostics);
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
        self.resolve_command(node, Mode::run, diagnostics);
    }

    /// Resolves a hook's `command`, in which nothing stays.
    pub fn resolve_hook(&self, node: &mut Node, diagnostics: &mut Diagnostics) {
        self.resolve_command(node, Mode::hook, diagnostics);
    }

    fn resolve_command(
        &self,
        node: &mut Node,
        mode: fn(Quoting) -> Mode,
        diagnostics: &mut Diagnostics,
    ) {
        match &mut node.data {
            Data::List(words) => {
                for word in words {
                    self.resolve_word(word, mode(Quoting::None), diagnostics);
                }
            }
            Data::Text(_) => self.resolve_word(node, mode(Quoting::Shell), diagnostics),
            _ => self.resolve(node, diagnostics),
        }
    }

    /// Resolves the values of a mapping of texts in which secrets may stand: the environment of a
    /// command. `${secrets.x}` stays, and so do escapes, for the engine to replace. Anything but a
    /// mapping is resolved as elsewhere.
    pub fn resolve_env(&self, node: &mut Node, diagnostics: &mut Diagnostics) {
        match &mut node.data {
            Data::Map(entries) => {
                for entry in entries {
                    self.resolve_word(&mut entry.value, Mode::SECRET, diagnostics);
                }
            }
            _ => self.resolve(node, diagnostics),
        }
    }

    fn resolve_word(&self, word: &mut Node, mode: Mode, diagnostics: &mut Diagnostics) {
        match &word.data {
            Data::Text(text) if template::has_references(text) => {
                word.data = self.text_value(text, word.span, mode, diagnostics);
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
        mode: Mode,
        diagnostics: &mut Diagnostics,
    ) -> Data {
        let pieces = template::pieces(text);
        let places = Places { source: self.sources.text(span.file), span, text };
        if let ([Ok(Piece::Reference(reference))], false) = (pieces.as_slice(), mode.text) {
            let place = places.of(reference.start, reference.end);
            return match self.look_up(reference, place, mode, diagnostics) {
                Some(Found::Value(value)) => Node::from_json(span, &value).data,
                Some(Found::Open) => Data::Open(text.to_owned()),
                Some(Found::Kept) | None => Data::Unknown,
            };
        }
        let mut out = String::with_capacity(text.len());
        let (mut sound, mut open) = (true, false);
        for piece in pieces {
            match piece {
                Ok(Piece::Text(literal)) if mode.escapes() => {
                    out.push_str(&template::escape(&literal));
                }
                Ok(Piece::Text(literal)) => out.push_str(&literal),
                Ok(Piece::Reference(reference)) => {
                    let place = places.of(reference.start, reference.end);
                    match self.look_up(&reference, place, mode, diagnostics) {
                        Some(Found::Kept) => out.push_str(&text[reference.start..reference.end]),
                        Some(Found::Open) => {
                            open = true;
                            out.push_str(&text[reference.start..reference.end]);
                        }
                        Some(Found::Value(value)) => match word_of(&value) {
                            Some(word) => {
                                let word = mode.quoting.apply(&word);
                                if mode.escapes() {
                                    out.push_str(&template::escape(&word));
                                } else {
                                    out.push_str(&word);
                                }
                            }
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
        match (sound, open && !mode.text) {
            (false, _) => Data::Unknown,
            (true, true) => Data::Open(out),
            (true, false) => Data::Text(out),
        }
    }

    /// What `reference`, which stands at `place`, refers to; `None` if that has been reported.
    pub fn look_up(
        &self,
        reference: &Reference<'_>,
        place: Span,
        mode: Mode,
        diagnostics: &mut Diagnostics,
    ) -> Option<Found> {
        let Reference { scope, name, .. } = *reference;
        let error = |message: String| Diagnostic::error("bad-reference", place, message);
        match scope {
            "params" => self.param(name, place, diagnostics),
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
            "matrix" => self.axis(name, place, diagnostics),
            "foreach" => self.item(name, place, diagnostics),
            "secrets" => self.secret(name, place, mode, diagnostics),
            _ if mode.kept.contains(&scope) => Some(Found::Kept),
            _ if RUN_SCOPES.contains(&scope) => {
                diagnostics.push(
                    error(format!("`${{{scope}.{name}}}` is known only while a command runs"))
                        .help("it can stand in the `run` of a `command` stage"),
                );
                None
            }
            "metrics" | "values" => {
                diagnostics.push(
                    error(format!("`${{{scope}.{name}}}` is known only when a stage has run"))
                        .help(
                            "`when` can ask for it; a stage reads what another makes by `inputs`",
                        ),
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

    fn param(&self, name: &str, place: Span, diagnostics: &mut Diagnostics) -> Option<Found> {
        let error = |message: String| Diagnostic::error("bad-reference", place, message);
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

    fn axis(&self, name: &str, place: Span, diagnostics: &mut Diagnostics) -> Option<Found> {
        let local = self.local.borrow();
        let (message, help) = match &*local {
            Local::Unknown => return None,
            Local::Matrix(values) => {
                if let Some((_, value)) = values.iter().find(|(axis, _)| axis == name) {
                    return Some(Found::Value(value.clone()));
                }
                let axes = values.iter().map(|(axis, _)| axis.as_str());
                (format!("the matrix has no axis `{name}`"), diagnostics.suggest(name, axes))
            }
            Local::None | Local::Item(..) => (
                format!("`${{matrix.{name}}}` stands in no stage with a matrix"),
                Some(format!("give the stage `matrix: {{{name}: [VALUE, VALUE]}}`")),
            ),
        };
        diagnostics.push(Diagnostic::error("bad-reference", place, message).maybe_help(help));
        None
    }

    /// `NAME`, or `NAME.KEY` and so on where the item is a mapping.
    fn item(&self, name: &str, place: Span, diagnostics: &mut Diagnostics) -> Option<Found> {
        let local = self.local.borrow();
        let mut path = name.split('.');
        let variable = path.next().unwrap_or_default();
        let (message, help) = match &*local {
            Local::Unknown => return None,
            Local::Item(known, item) if known == variable => {
                let Some(item) = item else { return Some(Found::Open) };
                let mut found = item;
                loop {
                    let Some(key) = path.next() else {
                        return Some(Found::Value(found.clone()));
                    };
                    let Some(entries) = found.as_object() else {
                        break (format!("the item is no mapping: it has no `{key}`"), None);
                    };
                    match entries.get(key) {
                        Some(value) => found = value,
                        None => {
                            let known = entries.keys().map(String::as_str);
                            let help = diagnostics.suggest(key, known);
                            break (format!("the item has no key `{key}`"), help);
                        }
                    }
                }
            }
            Local::Item(known, _) => (
                format!("the items are not called `{variable}`"),
                Some(format!("write `${{foreach.{known}}}`")),
            ),
            Local::None | Local::Matrix(_) => (
                format!("`${{foreach.{name}}}` stands in no stage with a `foreach`"),
                Some(format!("give the stage `foreach: {{{variable}: STAGE.OUTPUT}}`")),
            ),
        };
        diagnostics.push(Diagnostic::error("bad-reference", place, message).maybe_help(help));
        None
    }

    fn secret(
        &self,
        name: &str,
        place: Span,
        mode: Mode,
        diagnostics: &mut Diagnostics,
    ) -> Option<Found> {
        let error = |message: String| Diagnostic::error("bad-reference", place, message);
        if !self.secrets.iter().any(|secret| secret == name) {
            let known = self.secrets.iter().map(String::as_str);
            let help = if self.secrets.is_empty() {
                Some(format!("declare it: `secrets: {{{name}: \"${{env.NAME}}\"}}`"))
            } else {
                diagnostics.suggest(name, known)
            };
            diagnostics.push(error(format!("there is no secret `{name}`")).maybe_help(help));
            return None;
        }
        self.used_secrets.borrow_mut().insert(name.to_owned());
        if mode.kept.contains(&"secrets") {
            return Some(Found::Kept);
        }
        diagnostics.push(
            error("a secret cannot stand here: it would be stored and shown".to_owned()).help(
                "hand it to a program by its environment, `with: {env: {NAME: \"${secrets.…}\"}}` \
                 of a `command`; it can also stand in the `env` and `headers` of a hook",
            ),
        );
        None
    }
}

/// What a reference refers to.
pub(crate) enum Found {
    /// This.
    Value(Value),
    /// What the engine will put in its place.
    Kept,
    /// An item of a list that is not known.
    Open,
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
