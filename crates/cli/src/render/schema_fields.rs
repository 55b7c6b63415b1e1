//! A kind's JSON schema as a list of fields that can be read.

use serde_json::Value;

use crate::render::{Paint, Style};

/// How deep nested objects are unfolded.
const MAX_DEPTH: usize = 4;

/// The fields of an object's schema, a few lines each, nested ones indented.
pub fn render(schema: &Value, style: Style, width: usize) -> String {
    let mut printer = Printer { root: schema, style, width, lines: Vec::new() };
    printer.object(schema, 1, &mut Vec::new());
    if printer.lines.is_empty() {
        printer.lines.push("  none".to_owned());
    }
    printer.lines.join("\n")
}

struct Printer<'a> {
    root: &'a Value,
    style: Style,
    width: usize,
    lines: Vec<String>,
}

impl<'a> Printer<'a> {
    /// Follows `$ref`, and an `allOf` or `anyOf` that only adds `null`, to what is meant.
    fn resolve(&self, schema: &'a Value) -> (&'a Value, Option<&'a str>) {
        let mut schema = schema;
        let mut name = None;
        for _ in 0..8 {
            if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
                let Some(definition) =
                    target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer))
                else {
                    break;
                };
                name = target.rsplit('/').next();
                schema = definition;
            } else if let Some(only) = single_variant(schema) {
                schema = only;
            } else {
                break;
            }
        }
        (schema, name)
    }

    fn object(&mut self, schema: &'a Value, depth: usize, seen: &mut Vec<&'a str>) {
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        for (name, property) in properties {
            self.field(name, property, required.contains(&name.as_str()), depth, seen);
        }
    }

    fn field(
        &mut self,
        name: &str,
        property: &'a Value,
        required: bool,
        depth: usize,
        seen: &mut Vec<&'a str>,
    ) {
        let (resolved, definition) = self.resolve(property);
        let mut facts = vec![self.type_name(property)];
        if required {
            facts.push(self.style.paint(Paint::Warning, "required"));
        } else if let Some(default) = property.get("default").filter(|value| !value.is_null()) {
            facts.push(format!("default {default}"));
        }
        facts.extend(range(resolved).or_else(|| range(property)));
        let indent = "  ".repeat(depth);
        self.lines.push(format!(
            "{indent}{}  {}",
            self.style.paint(Paint::Strong, name),
            facts.join(", ")
        ));
        let description = property
            .get("description")
            .or_else(|| resolved.get("description"))
            .and_then(Value::as_str);
        if let Some(description) = description {
            self.paragraph(description, depth + 2);
        }
        self.inside(resolved, definition, depth + 1, seen);
    }

    /// What a value may consist of: the fields of an object, the variants of a choice.
    fn inside(
        &mut self,
        schema: &'a Value,
        definition: Option<&'a str>,
        depth: usize,
        seen: &mut Vec<&'a str>,
    ) {
        if depth > MAX_DEPTH || definition.is_some_and(|name| seen.contains(&name)) {
            return;
        }
        seen.extend(definition);
        self.object(schema, depth, seen);
        for inner in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(inner).filter(|inner| inner.is_object()) {
                let (resolved, name) = self.resolve(inner);
                self.inside(resolved, name, depth, seen);
            }
        }
        for variant in variants(schema).into_iter().flatten() {
            let (resolved, name) = self.resolve(variant);
            self.variant(resolved, name, depth, seen);
        }
        if definition.is_some() {
            seen.pop();
        }
    }

    /// A variant of a choice: a word, or an object whose only key says which.
    fn variant(
        &mut self,
        schema: &'a Value,
        definition: Option<&'a str>,
        depth: usize,
        seen: &mut Vec<&'a str>,
    ) {
        let word = schema.get("const").and_then(Value::as_str);
        if let Some(word) = word {
            let indent = "  ".repeat(depth);
            self.lines.push(format!("{indent}{}", self.style.paint(Paint::Strong, word)));
            if let Some(description) = schema.get("description").and_then(Value::as_str) {
                self.paragraph(description, depth + 2);
            }
            return;
        }
        self.inside(schema, definition, depth, seen);
    }

    fn paragraph(&mut self, text: &str, depth: usize) {
        let indent = "  ".repeat(depth);
        let room = self.width.saturating_sub(indent.len()).max(30);
        for line in wrap(text, room) {
            self.lines.push(format!("{indent}{}", self.style.paint(Paint::Faint, line)));
        }
    }

    /// The type in a word or two.
    fn type_name(&self, property: &'a Value) -> String {
        let (schema, _) = self.resolve(property);
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<String> = words.iter().map(plain).collect();
            return words.join(" | ");
        }
        if let Some(word) = schema.get("const") {
            return plain(word);
        }
        let of = |key: &str| {
            schema
                .get(key)
                .filter(|inner| inner.is_object())
                .map(|inner| self.type_name(inner))
                .unwrap_or_else(|| "anything".to_owned())
        };
        match schema.get("type") {
            Some(Value::String(name)) if name == "array" => format!("list of {}", of("items")),
            Some(Value::String(name)) if name == "object" => {
                match schema.get("properties").and_then(Value::as_object) {
                    Some(properties) if properties.len() == 1 => {
                        properties.keys().next().map(|key| format!("{{{key}: …}}"))
                    }
                    Some(_) => None,
                    None if schema.get("additionalProperties").is_some() => {
                        Some(format!("map to {}", of("additionalProperties")))
                    }
                    None => None,
                }
                .unwrap_or_else(|| "map".to_owned())
            }
            Some(Value::String(name)) => type_word(name).to_owned(),
            Some(Value::Array(names)) => {
                let names: Vec<&str> = names
                    .iter()
                    .filter_map(Value::as_str)
                    .filter(|name| *name != "null")
                    .map(type_word)
                    .collect();
                names.join(" | ")
            }
            _ => match variants(schema) {
                Some(variants) => {
                    let mut names: Vec<String> = Vec::new();
                    for variant in variants.iter().filter(|variant| !is_null(variant)) {
                        let name = self.type_name(variant);
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                    names.join(" | ")
                }
                None => "anything".to_owned(),
            },
        }
    }
}

fn variants(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array)
}

/// The variant meant by a choice between it and nothing.
fn single_variant(schema: &Value) -> Option<&Value> {
    let list = variants(schema).or_else(|| schema.get("allOf").and_then(Value::as_array))?;
    let mut real = list.iter().filter(|variant| !is_null(variant));
    match (real.next(), real.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

fn type_word(name: &str) -> &str {
    match name {
        "string" => "text",
        "integer" => "whole number",
        "boolean" => "true | false",
        "array" => "list",
        "object" => "map",
        other => other,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The bounds of a number.
fn range(schema: &Value) -> Option<String> {
    let bound = |key: &str| schema.get(key).filter(|bound| bound.is_number());
    let low = bound("minimum")
        .map(|low| format!("at least {low}"))
        .or_else(|| bound("exclusiveMinimum").map(|low| format!("above {low}")));
    let high = bound("maximum")
        .map(|high| format!("at most {high}"))
        .or_else(|| bound("exclusiveMaximum").map(|high| format!("below {high}")));
    match (low, high) {
        // An unsigned type is not worth saying.
        (Some(low), None) if low == "at least 0" => None,
        (low, high) => {
            let bounds: Vec<String> = low.into_iter().chain(high).collect();
            (!bounds.is_empty()).then(|| bounds.join(" and "))
        }
    }
}

/// Text broken into lines of at most `width` characters; its own line breaks are joined, blank
/// lines kept.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, paragraph) in text.split("\n\n").enumerate() {
        if place > 0 {
            lines.push(String::new());
        }
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_say_type_default_range_and_meaning() {
        let schema = json!({
            "type": "object",
            "required": ["path"],
            "properties": {
                "path": {"type": "string", "description": "The file."},
                "rows": {"type": ["integer", "null"], "minimum": 1, "default": 5},
                "mode": {"$ref": "#/$defs/Mode"},
                "parts": {"type": "object", "additionalProperties": {"type": "number"}}
            },
            "$defs": {"Mode": {"oneOf": [
                {"const": "fast", "description": "Quick."},
                {"type": "object", "properties": {"slow": {"type": "integer", "maximum": 9}}}
            ]}}
        });
        insta::assert_snapshot!(render(&schema, Style::PLAIN, 60), @"
          path  text, required
              The file.
          rows  whole number, default 5, at least 1
          mode  fast | {slow: …}
            fast
                Quick.
            slow  whole number, at most 9
          parts  map to number
        ");
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = json!({
            "properties": {"layer": {"$ref": "#/$defs/Layer"}},
            "$defs": {"Layer": {"type": "object", "properties": {
                "inner": {"$ref": "#/$defs/Layer"}, "units": {"type": "integer"}}}}
        });
        let text = render(&schema, Style::PLAIN, 60);
        assert_eq!(text.matches("units").count(), 1, "{text}");
    }
}
