//! A YAML document as a tree of values, each with its place.

use serde_json::{Number, Value};

use crate::span::Span;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it stands. What came through an alias stands at its anchor; what came through a
    /// reference stands where the reference does.
    pub span: Span,
    /// The value.
    pub data: Data,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the file's order; no key stands twice.
    Map(Vec<Entry>),
    /// A value that could not be had; the reason has been reported. It passes every check.
    Unknown,
    /// A value that only the run will know, as it is written: with `${foreach.…}` in it, before
    /// the list is there. It passes every check.
    Open(String),
}

/// A key of a mapping and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key, as it is written.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// `data` at `span`.
    pub const fn new(span: Span, data: Data) -> Self {
        Self { span, data }
    }

    /// `value`, all of it at `span`.
    pub fn from_json(span: Span, value: &Value) -> Self {
        let data = match value {
            Value::Null => Data::Null,
            Value::Bool(bool) => Data::Bool(*bool),
            Value::Number(number) => Data::Number(number.clone()),
            Value::String(text) => Data::Text(text.clone()),
            Value::Array(items) => {
                Data::List(items.iter().map(|item| Node::from_json(span, item)).collect())
            }
            Value::Object(entries) => Data::Map(
                entries
                    .iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_span: span,
                        value: Node::from_json(span, value),
                    })
                    .collect(),
            ),
        };
        Node { span, data }
    }

    /// The value as JSON; `None` if part of it is unknown.
    pub fn to_json(&self) -> Option<Value> {
        Some(match &self.data {
            Data::Null => Value::Null,
            Data::Bool(bool) => Value::Bool(*bool),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => {
                Value::Array(items.iter().map(Node::to_json).collect::<Option<_>>()?)
            }
            Data::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| Some((entry.key.clone(), entry.value.to_json()?)))
                    .collect::<Option<_>>()?,
            ),
            // What is open stands as it is written.
            Data::Open(text) => Value::String(text.clone()),
            Data::Unknown => return None,
        })
    }

    /// The entries, if it is a mapping.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.data {
            Data::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.data {
            Data::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entry called `key`, if it is a mapping that has one.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.as_map()?.iter().find(|entry| entry.key == key)
    }

    /// Whether the value is not known: [`Data::Unknown`] or [`Data::Open`].
    pub fn is_unknown(&self) -> bool {
        matches!(self.data, Data::Unknown | Data::Open(_))
    }

    /// What it is, for a message: `text "abc"`, `the number 3`, `a list`.
    pub fn describe(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Bool(bool) => format!("`{bool}`"),
            Data::Number(number) => format!("`{number}`"),
            Data::Text(text) if text.chars().count() <= 40 && !text.contains('\n') => {
                format!("the text `{text}`")
            }
            Data::Text(_) => "a text".to_owned(),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a mapping".to_owned(),
            Data::Unknown | Data::Open(_) => "an unknown value".to_owned(),
        }
    }
}
