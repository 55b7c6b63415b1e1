//! Reading a mapping whose keys are known.

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Data, Entry, Node};
use crate::span::{Span, Spanned};

/// A key that the language will know later.
pub(crate) struct Later {
    /// The key.
    pub key: &'static str,
    /// What to do without it.
    pub help: &'static str,
}

/// The entries of `node`, which must be a mapping with keys from `known`. Reports every other.
/// `what` names the mapping: `a stage`, `retry`.
pub(crate) fn entries<'n>(
    node: &'n Node,
    what: &str,
    known: &[&str],
    later: &[Later],
    diagnostics: &mut Diagnostics,
) -> Option<&'n [Entry]> {
    let entries = match &node.data {
        Data::Map(entries) => entries,
        Data::Unknown | Data::Open(_) => return None,
        _ => {
            diagnostics.push(
                wrong_type(node, &format!("{what} must be a mapping"))
                    .help(format!("write keys below it: {}", crate::suggest::alternatives(known))),
            );
            return None;
        }
    };
    for entry in entries {
        if known.contains(&entry.key.as_str()) {
            continue;
        }
        if let Some(later) = later.iter().find(|later| later.key == entry.key) {
            diagnostics.push(
                Diagnostic::error(
                    "not-yet",
                    entry.key_span,
                    format!("`{}` is not supported by this version of wick", entry.key),
                )
                .help(later.help),
            );
            continue;
        }
        let help = diagnostics.suggest(&entry.key, known.iter().copied());
        diagnostics.push(
            Diagnostic::error(
                "unknown-key",
                entry.key_span,
                format!("{what} has no key `{}`", entry.key),
            )
            .maybe_help(help),
        );
    }
    Some(entries)
}

/// Whether some key that is not in `known` was probably meant to be `key`: then it is enough to
/// report that one.
pub(crate) fn misspelled(entries: &[Entry], key: &str, known: &[&str]) -> bool {
    entries
        .iter()
        .filter(|entry| !known.contains(&entry.key.as_str()))
        .any(|entry| crate::suggest::nearest(&entry.key, known.iter().copied()) == Some(key))
}

/// The entry called `key`.
pub(crate) fn find<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Entry> {
    entries.iter().find(|entry| entry.key == key)
}

/// "X is a Y, not Z", at the value.
pub(crate) fn wrong_type(node: &Node, expected: &str) -> Diagnostic {
    Diagnostic::error("wrong-type", node.span, format!("{expected}, not {}", node.describe()))
}

/// The text in `entry`.
pub(crate) fn text(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<Spanned<String>> {
    match &entry.value.data {
        Data::Text(text) => Some(Spanned::new(text.clone(), entry.value.span)),
        Data::Unknown | Data::Open(_) => None,
        _ => {
            let help = match &entry.value.data {
                Data::Number(_) | Data::Bool(_) => Some("put quotes around it".to_owned()),
                _ => None,
            };
            diagnostics.push(
                wrong_type(&entry.value, &format!("`{}` must be a text", entry.key))
                    .maybe_help(help),
            );
            None
        }
    }
}

/// The whole number in `entry`, which must lie from `min` to `max`.
pub(crate) fn whole(
    entry: &Entry,
    min: u32,
    max: u32,
    diagnostics: &mut Diagnostics,
) -> Option<u32> {
    let key = &entry.key;
    let number = match &entry.value.data {
        Data::Number(number) if number.is_i64() || number.is_u64() => number,
        Data::Unknown | Data::Open(_) => return None,
        _ => {
            diagnostics.push(wrong_type(&entry.value, &format!("`{key}` must be a whole number")));
            return None;
        }
    };
    match number.as_u64().and_then(|number| u32::try_from(number).ok()) {
        Some(number) if (min..=max).contains(&number) => Some(number),
        _ => {
            diagnostics.push(out_of_range(
                entry.value.span,
                format!("`{key}` is {number}"),
                format!("write a number from {min} to {max}"),
            ));
            None
        }
    }
}

/// The number in `entry`, whole or not, which must lie from `min` to `max`.
pub(crate) fn number(
    entry: &Entry,
    min: f64,
    max: f64,
    diagnostics: &mut Diagnostics,
) -> Option<f64> {
    let key = &entry.key;
    let number = match &entry.value.data {
        Data::Number(number) => number,
        Data::Unknown | Data::Open(_) => return None,
        _ => {
            diagnostics.push(wrong_type(&entry.value, &format!("`{key}` must be a number")));
            return None;
        }
    };
    match number.as_f64() {
        Some(value) if (min..=max).contains(&value) => Some(value),
        _ => {
            diagnostics.push(out_of_range(
                entry.value.span,
                format!("`{key}` is {number}"),
                format!("write a number from {min} to {max}"),
            ));
            None
        }
    }
}

/// The word in `entry`, which must be one of `words`; its place among them.
pub(crate) fn choice(
    entry: &Entry,
    words: &[&str],
    diagnostics: &mut Diagnostics,
) -> Option<usize> {
    let found = match &entry.value.data {
        Data::Text(text) => words.iter().position(|word| word == text),
        Data::Unknown | Data::Open(_) => return None,
        _ => None,
    };
    if found.is_none() {
        let help = entry
            .value
            .as_text()
            .and_then(|text| crate::suggest::nearest(text, words.iter().copied()));
        diagnostics.push(
            Diagnostic::error(
                "wrong-value",
                entry.value.span,
                format!(
                    "`{}` is {}, not {}",
                    entry.key,
                    crate::suggest::alternatives(words),
                    entry.value.describe()
                ),
            )
            .maybe_help(help.map(|word| format!("did you mean `{word}`?"))),
        );
    }
    found
}

/// A value beyond what is allowed.
pub(crate) fn out_of_range(span: Span, message: String, help: String) -> Diagnostic {
    Diagnostic::error("out-of-range", span, message).label("out of range").help(help)
}

/// The boolean in `entry`.
pub(crate) fn boolean(entry: &Entry, diagnostics: &mut Diagnostics) -> Option<bool> {
    match &entry.value.data {
        Data::Bool(value) => Some(*value),
        Data::Unknown | Data::Open(_) => None,
        _ => {
            diagnostics.push(
                wrong_type(&entry.value, &format!("`{}` must be true or false", entry.key))
                    .help("write `true` or `false`"),
            );
            None
        }
    }
}
