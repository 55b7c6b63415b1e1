//! Checks a `with` against its kind's JSON schema, and reports everything that does not fit.
//!
//! serde stops at the first mistake and says what the program wanted; this says all of them, at
//! their places, in the words of the file. It knows the part of JSON schema that schemars
//! writes for configuration types: `$ref`, `type`, `properties`, `required`,
//! `additionalProperties`, `propertyNames`, `items`, `prefixItems`, `enum`, `const`, ranges and
//! lengths, `oneOf`, `anyOf`, `allOf`. What it does not know it lets pass: the configuration
//! type itself, which reads the value next, has the last word.

use std::borrow::Cow;

use serde_json::Value;
use wick_pipeline::suggest;
use wick_pipeline::{Data, Diagnostic, Diagnostics, Entry, Node, Span};

/// How often a schema may refer on without coming to a value.
const MAX_REFERENCES: usize = 32;

/// Checks `node` against `schema`. `name` is what to call the value (`with`), `key_span` where
/// to report what is missing from it.
pub(crate) fn check(
    schema: &Value,
    node: &Node,
    name: &str,
    key_span: Span,
    diagnostics: &mut Diagnostics,
) {
    let walker = Walker { root: schema };
    let place = Place { name: Cow::Borrowed(name), key_span };
    walker.value(schema, node, &place, &mut Sink::Report(diagnostics));
}

/// Where a value stands, for messages.
struct Place<'a> {
    /// Its key, or what it is an item of.
    name: Cow<'a, str>,
    key_span: Span,
}

impl Place<'_> {
    fn item<'b>(&'b self, key_span: Span) -> Place<'b> {
        let name = match self.name.strip_prefix("an item of ") {
            Some(_) => self.name.clone(),
            None => Cow::Owned(format!("an item of {}", self.quoted())),
        };
        Place { name, key_span }
    }

    fn quoted(&self) -> String {
        if self.name.contains(' ') { self.name.to_string() } else { format!("`{}`", self.name) }
    }
}

/// What to do with a mistake.
enum Sink<'d> {
    /// Count it: to find the alternative that fits best.
    Count(usize),
    /// Report it.
    Report(&'d mut Diagnostics),
}

impl Sink<'_> {
    fn report(&mut self, make: impl FnOnce(&mut Diagnostics) -> Diagnostic) {
        match self {
            Sink::Count(count) => *count += 1,
            Sink::Report(diagnostics) => {
                let diagnostic = make(diagnostics);
                diagnostics.push(diagnostic);
            }
        }
    }
}

struct Walker<'s> {
    root: &'s Value,
}

impl<'s> Walker<'s> {
    fn value(&self, schema: &'s Value, node: &Node, place: &Place<'_>, sink: &mut Sink<'_>) {
        if node.is_unknown() || schema == &Value::Bool(true) {
            return;
        }
        if let Some(target) = self.reference(schema) {
            self.value(target, node, place, sink);
        }
        if let Some(all) = list(schema, "allOf") {
            for part in all {
                self.value(part, node, place, sink);
            }
        }
        if let Some(branches) = list(schema, "oneOf").or_else(|| list(schema, "anyOf")) {
            self.alternatives(branches, node, place, sink);
        }
        if let Some(constant) = schema.get("const")
            && node.to_json().as_ref() != Some(constant)
        {
            self.wrong_choice(&[constant], node, place, sink);
            return;
        }
        if let Some(choices) = list(schema, "enum") {
            let json = node.to_json();
            if !choices.iter().any(|choice| Some(choice) == json.as_ref()) {
                self.wrong_choice(&choices.iter().collect::<Vec<_>>(), node, place, sink);
                return;
            }
        }
        if !accepts_type(schema, node) {
            self.wrong_type(&[schema], node, place, sink);
            return;
        }
        match &node.data {
            Data::Map(entries) => self.mapping(schema, entries, place, sink),
            Data::List(items) => self.list(schema, items, node.span, place, sink),
            Data::Number(_) => self.range(schema, node, place, sink),
            Data::Text(text) => self.length(schema, text, node.span, place, sink),
            _ => {}
        }
    }

    /// What `$ref` points at.
    fn reference(&self, schema: &Value) -> Option<&'s Value> {
        let mut found = None;
        let mut next = schema.get("$ref").and_then(Value::as_str);
        for _ in 0..MAX_REFERENCES {
            let Some(path) = next else { break };
            let target = match path.strip_prefix('#') {
                Some("") => self.root,
                Some(pointer) => self.root.pointer(pointer)?,
                None => return None,
            };
            found = Some(target);
            // A definition that is itself only a reference is followed; other keywords beside
            // a reference are looked at by the caller.
            next = match target.as_object() {
                Some(object) if object.len() == 1 => target.get("$ref").and_then(Value::as_str),
                _ => None,
            };
        }
        found
    }

    fn count(&self, schema: &'s Value, node: &Node, place: &Place<'_>) -> usize {
        let mut sink = Sink::Count(0);
        self.value(schema, node, place, &mut sink);
        match sink {
            Sink::Count(count) => count,
            Sink::Report(_) => 0,
        }
    }

    // ---- alternatives --------------------------------------------------------------------

    fn alternatives(
        &self,
        branches: &'s [Value],
        node: &Node,
        place: &Place<'_>,
        sink: &mut Sink<'_>,
    ) {
        let mut leaves = Vec::new();
        for branch in branches {
            self.leaves(branch, &mut leaves, 0);
        }
        if leaves.iter().any(|leaf| self.count(leaf, node, place) == 0) {
            return;
        }
        match &node.data {
            Data::Text(text) => self.wrong_word(&leaves, text, node, place, sink),
            Data::Map(entries) => self.wrong_mapping(&leaves, entries, node, place, sink),
            _ => self.nearest(leaves, node, place, sink),
        }
    }

    /// The alternatives in `schema` that are not alternatives themselves.
    fn leaves(&self, schema: &'s Value, leaves: &mut Vec<&'s Value>, depth: usize) {
        if depth > MAX_REFERENCES {
            return;
        }
        if let Some(target) = self.reference(schema) {
            return self.leaves(target, leaves, depth + 1);
        }
        match list(schema, "oneOf").or_else(|| list(schema, "anyOf")) {
            Some(branches) => {
                branches.iter().for_each(|branch| self.leaves(branch, leaves, depth + 1));
            }
            None => leaves.push(schema),
        }
    }

    /// Explains why `node` does not fit, by the alternative that it misses least.
    fn nearest(&self, leaves: Vec<&'s Value>, node: &Node, place: &Place<'_>, sink: &mut Sink<'_>) {
        let nearest = leaves
            .iter()
            .filter(|leaf| accepts_type(leaf, node))
            .min_by_key(|leaf| self.count(leaf, node, place));
        match nearest {
            Some(leaf) => self.value(leaf, node, place, sink),
            None => self.wrong_type(&leaves, node, place, sink),
        }
    }

    fn wrong_word(
        &self,
        leaves: &[&'s Value],
        text: &str,
        node: &Node,
        place: &Place<'_>,
        sink: &mut Sink<'_>,
    ) {
        let words: Vec<&str> = leaves.iter().flat_map(|leaf| words(leaf)).collect();
        let tagged: Vec<(&str, &Value)> = leaves.iter().filter_map(|leaf| tag(leaf)).collect();
        if let Some((name, settings)) = tagged.iter().find(|(name, _)| *name == text) {
            let example = self.example(settings);
            sink.report(|_| {
                Diagnostic::error("wrong-type", node.span, format!("`{name}` needs settings"))
                    .help(format!("write `{name}: {example}`"))
            });
            return;
        }
        if words.is_empty() && tagged.is_empty() {
            return self.nearest(leaves.to_vec(), node, place, sink);
        }
        let known: Vec<&str> =
            words.into_iter().chain(tagged.iter().map(|(name, _)| *name)).collect();
        sink.report(|diagnostics| {
            let help = diagnostics.suggest(text, known);
            Diagnostic::error(
                "unknown-value",
                node.span,
                format!("{} cannot be `{text}`", place.quoted()),
            )
            .maybe_help(help)
        });
    }

    fn wrong_mapping(
        &self,
        leaves: &[&'s Value],
        entries: &[Entry],
        node: &Node,
        place: &Place<'_>,
        sink: &mut Sink<'_>,
    ) {
        let tagged: Vec<(&str, &'s Value)> = leaves.iter().filter_map(|leaf| tag(leaf)).collect();
        let plain_mapping =
            leaves.iter().any(|leaf| tag(leaf).is_none() && accepts_type(leaf, node));
        let words: Vec<&str> = leaves.iter().flat_map(|leaf| words(leaf)).collect();
        if let [entry] = entries
            && words.contains(&entry.key.as_str())
            && tagged.iter().all(|(name, _)| *name != entry.key)
        {
            sink.report(|_| {
                let message = format!("`{}` has no settings", entry.key);
                Diagnostic::error("wrong-type", entry.key_span, message)
                    .help(format!("write `{}` alone", entry.key))
            });
            return;
        }
        if tagged.is_empty() || plain_mapping {
            return self.nearest(leaves.to_vec(), node, place, sink);
        }
        let known = || tagged.iter().map(|(name, _)| *name).chain(words.iter().copied());
        let [entry] = entries else {
            sink.report(|_| not_one(entries, node.span, place, &shortened(known())));
            return;
        };
        let key = entry.key.as_str();
        let with_this_tag: Vec<&'s Value> =
            tagged.iter().filter(|(name, _)| *name == key).map(|(_, settings)| *settings).collect();
        if !with_this_tag.is_empty() {
            let inner = Place { name: Cow::Borrowed(key), key_span: entry.key_span };
            return self.nearest(
                {
                    let mut inner_leaves = Vec::new();
                    for settings in with_this_tag {
                        self.leaves(settings, &mut inner_leaves, 0);
                    }
                    inner_leaves
                },
                &entry.value,
                &inner,
                sink,
            );
        }
        sink.report(|diagnostics| {
            let help = diagnostics.suggest(key, known());
            Diagnostic::error(
                "unknown-value",
                entry.key_span,
                format!("{} cannot be `{key}`", place.quoted()),
            )
            .maybe_help(help)
        });
    }

    // ---- one sort of value ---------------------------------------------------------------

    fn mapping(
        &self,
        schema: &'s Value,
        entries: &[Entry],
        place: &Place<'_>,
        sink: &mut Sink<'_>,
    ) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let other = schema.get("additionalProperties");
        let names = schema.get("propertyNames");
        // Keys that something misspelled was probably meant to be: not reported as missing too.
        let mut misspelled: Vec<&str> = Vec::new();
        for entry in entries {
            let inner = Place { name: Cow::Borrowed(&entry.key), key_span: entry.key_span };
            if let Some(schema) = properties.and_then(|properties| properties.get(&entry.key)) {
                self.value(schema, &entry.value, &inner, sink);
                continue;
            }
            match other {
                Some(Value::Bool(false)) => sink.report(|diagnostics| {
                    let missing = properties.into_iter().flat_map(|map| map.keys());
                    let missing = missing
                        .map(String::as_str)
                        .filter(|key| entries.iter().all(|entry| entry.key != *key));
                    misspelled.extend(suggest::nearest(&entry.key, missing));
                    let known = properties.into_iter().flat_map(|map| map.keys());
                    let known: Vec<&str> = known.map(String::as_str).collect();
                    let help = if known.is_empty() {
                        Some("remove it".to_owned())
                    } else {
                        diagnostics.suggest(&entry.key, known)
                    };
                    Diagnostic::error(
                        "unknown-key",
                        entry.key_span,
                        format!("{} has no key `{}`", place.quoted(), entry.key),
                    )
                    .maybe_help(help)
                }),
                Some(schema) => self.value(schema, &entry.value, &inner, sink),
                None => {}
            }
            if let Some(names) = names {
                let key = Node::new(entry.key_span, Data::Text(entry.key.clone()));
                let place = Place {
                    name: Cow::Owned(format!("a key of {}", place.quoted())),
                    key_span: entry.key_span,
                };
                self.value(names, &key, &place, sink);
            }
        }
        for required in list(schema, "required").into_iter().flatten().filter_map(Value::as_str) {
            let given = entries.iter().any(|entry| entry.key == required);
            if given || misspelled.contains(&required) {
                continue;
            }
            sink.report(|_| {
                let about = properties
                    .and_then(|properties| properties.get(required))
                    .and_then(|schema| self.description(schema));
                let help = match about {
                    Some(about) => format!("add `{required}: …`: {about}"),
                    None => format!("add `{required}: …`"),
                };
                Diagnostic::error(
                    "missing-key",
                    place.key_span,
                    format!("{} lacks the key `{required}`", place.quoted()),
                )
                .help(help)
            });
        }
        let least = schema.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if (entries.len() as u64) < least {
            sink.report(|_| too_few(place, place.key_span, entries.len(), least, "key", "keys"));
        }
    }

    fn list(
        &self,
        schema: &'s Value,
        items: &[Node],
        span: Span,
        place: &Place<'_>,
        sink: &mut Sink<'_>,
    ) {
        let first = list(schema, "prefixItems").unwrap_or_default();
        let others = schema.get("items");
        for (index, item) in items.iter().enumerate() {
            let inner = place.item(item.span);
            if let Some(schema) = first.get(index).or(others)
                && schema != &Value::Bool(false)
            {
                self.value(schema, item, &inner, sink);
            }
        }
        let count = items.len();
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let most = schema.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        if (count as u64) < least {
            sink.report(|_| too_few(place, span, count, least, "item", "items"));
        } else if count as u64 > most {
            sink.report(|_| {
                Diagnostic::error(
                    "out-of-range",
                    span,
                    format!("{} has {count} items", place.quoted()),
                )
                .help(format!("at most {most} can stand here"))
            });
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut seen: std::collections::HashMap<String, Span> = Default::default();
            for item in items {
                let Some(text) = item.to_json().map(|json| json.to_string()) else { continue };
                if let Some(before) = seen.insert(text, item.span) {
                    sink.report(|_| {
                        Diagnostic::error(
                            "wrong-value",
                            item.span,
                            format!("{} stands twice in {}", item.describe(), place.quoted()),
                        )
                        .related(before, "first here")
                        .help("remove one of the two")
                    });
                }
            }
        }
    }

    fn range(&self, schema: &Value, node: &Node, place: &Place<'_>, sink: &mut Sink<'_>) {
        let Data::Number(number) = &node.data else { return };
        let Some(value) = number.as_f64() else { return };
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let fits = bound("minimum").is_none_or(|min| value >= min)
            && bound("maximum").is_none_or(|max| value <= max)
            && bound("exclusiveMinimum").is_none_or(|min| value > min)
            && bound("exclusiveMaximum").is_none_or(|max| value < max)
            && bound("multipleOf").is_none_or(|step| (value / step).fract() == 0.0);
        if fits {
            return;
        }
        sink.report(|_| {
            let mut rules = Vec::new();
            match (bound("minimum"), bound("maximum")) {
                (Some(min), Some(max)) => rules.push(format!("from {min} to {max}")),
                (Some(min), None) => rules.push(format!("at least {min}")),
                (None, Some(max)) => rules.push(format!("at most {max}")),
                (None, None) => {}
            }
            rules.extend(bound("exclusiveMinimum").map(|min| format!("more than {min}")));
            rules.extend(bound("exclusiveMaximum").map(|max| format!("less than {max}")));
            rules.extend(bound("multipleOf").map(|step| format!("a multiple of {step}")));
            Diagnostic::error("out-of-range", node.span, format!("{} is {number}", place.quoted()))
                .label("out of range")
                .help(format!("it must be {}", rules.join(" and ")))
        });
    }

    fn length(
        &self,
        schema: &Value,
        text: &str,
        span: Span,
        place: &Place<'_>,
        sink: &mut Sink<'_>,
    ) {
        let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
        let most = schema.get("maxLength").and_then(Value::as_u64).unwrap_or(u64::MAX);
        let count = text.chars().count() as u64;
        if (least..=most).contains(&count) {
            return;
        }
        sink.report(|_| {
            let (message, help) = if count == 0 {
                (format!("{} is empty", place.quoted()), "write a text".to_owned())
            } else if count < least {
                (format!("{} is too short", place.quoted()), format!("at least {least} characters"))
            } else {
                (format!("{} is too long", place.quoted()), format!("at most {most} characters"))
            };
            Diagnostic::error("out-of-range", span, message).help(help)
        });
    }

    // ---- words ---------------------------------------------------------------------------

    fn wrong_choice(
        &self,
        choices: &[&Value],
        node: &Node,
        place: &Place<'_>,
        sink: &mut Sink<'_>,
    ) {
        sink.report(|diagnostics| {
            let words: Vec<String> = choices.iter().map(|choice| bare(choice)).collect();
            let found = node.to_json().map(|json| bare(&json));
            match (&node.data, found) {
                (Data::Text(text), _) => {
                    let help = diagnostics.suggest(text, words.iter().map(String::as_str));
                    Diagnostic::error(
                        "unknown-value",
                        node.span,
                        format!("{} cannot be `{text}`", place.quoted()),
                    )
                    .maybe_help(help)
                }
                _ => Diagnostic::error(
                    "wrong-type",
                    node.span,
                    format!(
                        "{} must be {}, not {}",
                        place.quoted(),
                        suggest::alternatives(&shortened(words.iter().map(String::as_str))),
                        node.describe()
                    ),
                ),
            }
        });
    }

    fn wrong_type(
        &self,
        schemas: &[&'s Value],
        node: &Node,
        place: &Place<'_>,
        sink: &mut Sink<'_>,
    ) {
        sink.report(|_| {
            let mut expected: Vec<String> = Vec::new();
            for schema in schemas {
                for word in expectations(schema) {
                    if !expected.contains(&word) {
                        expected.push(word);
                    }
                }
            }
            if expected.len() > 1 {
                expected.retain(|word| word != "nothing");
            }
            // `adam` and `adam: …` are two ways to write one thing.
            let plain = expected.clone();
            expected.retain(|word| {
                let alone = word.replace(": …", "");
                alone == *word || !plain.contains(&alone)
            });
            let expected = match expected.as_slice() {
                [] => "another value".to_owned(),
                [only] => only.clone(),
                [all @ .., last] => format!("{} or {last}", all.join(", ")),
            };
            let open = schemas.iter().filter(|schema| words(schema).is_empty());
            let names: Vec<&str> = open.flat_map(|schema| type_names(schema)).collect();
            Diagnostic::error(
                "wrong-type",
                node.span,
                format!("{} must be {expected}, not {}", place.quoted(), node.describe()),
            )
            .maybe_help(mend(&names, node).or_else(|| {
                let mapping =
                    schemas.iter().find(|schema| type_names(schema).contains(&"object"))?;
                let example = self.example(mapping);
                (example != "{}").then(|| format!("write `{}: {example}`", place.name))
            }))
        });
    }

    /// The first sentence of what the schema says of itself.
    fn description(&self, schema: &Value) -> Option<String> {
        let text = schema
            .get("description")
            .or_else(|| self.reference(schema)?.get("description"))
            .and_then(Value::as_str)?;
        let paragraph = text.split("\n\n").next()?.split_whitespace().collect::<Vec<_>>().join(" ");
        let sentence = paragraph.split(". ").next()?.trim_end_matches('.').to_owned();
        let mut letters = sentence.chars();
        let first = letters.next()?;
        // `CSV` stays as it is; `The files` becomes `the files`.
        let second_is_lower = letters.clone().next().is_none_or(|c| !c.is_uppercase());
        if second_is_lower {
            Some(first.to_lowercase().chain(letters).collect())
        } else {
            Some(sentence)
        }
    }

    /// The shortest value that `schema` could take, for a message.
    fn example(&self, schema: &'s Value) -> String {
        let mut leaves = Vec::new();
        self.leaves(schema, &mut leaves, 0);
        let Some(leaf) = leaves.first() else { return "…".to_owned() };
        let required: Vec<String> = list(leaf, "required")
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|key| format!("{key}: …"))
            .collect();
        if type_names(leaf).contains(&"object") {
            format!("{{{}}}", required.join(", "))
        } else {
            "…".to_owned()
        }
    }
}

fn list<'v>(schema: &'v Value, key: &str) -> Option<&'v [Value]> {
    schema.get(key).and_then(Value::as_array).map(Vec::as_slice)
}

/// The words that `schema` takes, if it takes only words.
fn words(schema: &Value) -> Vec<&str> {
    let constant = schema.get("const").and_then(Value::as_str);
    let choices = list(schema, "enum").into_iter().flatten().filter_map(Value::as_str);
    constant.into_iter().chain(choices).collect()
}

/// The tag and the settings, if `schema` is one case of an externally tagged enum.
fn tag(schema: &Value) -> Option<(&str, &Value)> {
    let properties = schema.get("properties")?.as_object()?;
    let required = list(schema, "required")?;
    let (name, settings) = properties.iter().next()?;
    let only = properties.len() == 1 && required.len() == 1 && required[0] == name.as_str();
    let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
    (only && closed).then_some((name.as_str(), settings))
}

fn type_names(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn accepts_type(schema: &Value, node: &Node) -> bool {
    if schema == &Value::Bool(false) {
        return false;
    }
    let names = type_names(schema);
    names.is_empty()
        || names.iter().any(|name| match &node.data {
            Data::Null => *name == "null",
            Data::Bool(_) => *name == "boolean",
            Data::Number(number) => *name == "number" || (*name == "integer" && !number.is_f64()),
            Data::Text(_) => *name == "string",
            Data::List(_) => *name == "array",
            Data::Map(_) => *name == "object",
            Data::Unknown | Data::Open(_) => true,
        })
}

/// What `schema` wants, in words.
fn expectations(schema: &Value) -> Vec<String> {
    if let Some((name, _)) = tag(schema) {
        return vec![format!("`{name}: …`")];
    }
    let words = words(schema);
    if !words.is_empty() {
        return words.into_iter().map(|word| format!("`{word}`")).collect();
    }
    let name = |name: &str| match name {
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    };
    type_names(schema).into_iter().map(|word| name(word).to_owned()).collect()
}

/// How to make `node` one of the types `names`.
fn mend(names: &[&str], node: &Node) -> Option<String> {
    let wants = |name: &str| names.contains(&name);
    match &node.data {
        Data::Text(text) if wants("number") && text.trim().parse::<f64>().is_ok() => {
            Some("remove the quotes".to_owned())
        }
        Data::Text(text) if wants("integer") && text.trim().parse::<i64>().is_ok() => {
            Some("remove the quotes".to_owned())
        }
        Data::Text(text) if wants("boolean") => match text.to_lowercase().as_str() {
            "yes" | "on" | "true" => Some("write `true`".to_owned()),
            "no" | "off" | "false" => Some("write `false`".to_owned()),
            _ => None,
        },
        Data::Number(number) if wants("integer") => {
            let value = number.as_f64()?;
            (value.fract() == 0.0 && value.abs() < 1e15).then(|| format!("write `{value:.0}`"))
        }
        Data::Number(_) | Data::Bool(_) if wants("string") => {
            Some("put quotes around it".to_owned())
        }
        Data::Text(text) if wants("array") => Some(format!("write `[{text}]`")),
        Data::Number(number) if wants("array") => Some(format!("write `[{number}]`")),
        Data::Null if !wants("object") => Some("write a value, or remove the key".to_owned()),
        _ => None,
    }
}

/// A mapping that should have exactly one key, from `known`.
fn not_one(entries: &[Entry], span: Span, place: &Place<'_>, known: &[&str]) -> Diagnostic {
    let one_of = format!("it is one of {}", suggest::alternatives(known));
    let Some(second) = entries.get(1) else {
        let message = format!("{} is empty", place.quoted());
        return Diagnostic::error("wrong-value", span, message).help(one_of);
    };
    let mut named = entries.iter().filter(|entry| known.contains(&entry.key.as_str()));
    let help = match (named.next(), named.next()) {
        (None, _) => one_of,
        (Some(_), Some(_)) => {
            "keep one of them; in a list, each begins with a `-` of its own".to_owned()
        }
        (Some(first), None) => {
            let other = entries.iter().find(|entry| entry.key != first.key).unwrap_or(second);
            format!("put it inside: `{}: {{{}: …}}`, or remove it", first.key, other.key)
        }
    };
    let message = format!("{} takes one thing, and this is a second", place.quoted());
    Diagnostic::error("wrong-value", second.key_span, message).help(help)
}

fn too_few(
    place: &Place<'_>,
    span: Span,
    count: usize,
    least: u64,
    one: &str,
    many: &str,
) -> Diagnostic {
    let message = match count {
        0 => format!("{} is empty", place.quoted()),
        1 => format!("{} has only 1 {one}", place.quoted()),
        n => format!("{} has only {n} {many}", place.quoted()),
    };
    let noun = if least == 1 { one } else { many };
    Diagnostic::error("out-of-range", span, message)
        .help(format!("give it at least {least} {noun}"))
}

/// A value as it is written in a file.
fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// At most a line's worth of names.
fn shortened<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.into_iter().collect();
    names.dedup();
    names.truncate(16);
    names
}
