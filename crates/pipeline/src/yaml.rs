//! Bytes to a tree of [`Node`]s.
//!
//! Two parsers read the same text. saphyr's gives the places, and sees duplicate keys; serde_yaml
//! gives the values, by the rules of YAML that Rust programs are used to (`012` is a text, `yes`
//! too). The two trees are then joined. Before serde_yaml sees the text, its size, its depth
//! and what its aliases expand to are bounded.

use std::collections::HashMap;
use std::fmt;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::node::{Data, Entry, Node};
use crate::span::{FileId, Span, without_byte_order_mark};

/// The largest file that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;
/// How deep values may lie in each other.
pub const MAX_DEPTH: usize = 64;
/// How many values all aliases together may stand for.
pub const MAX_ALIASED: usize = 20_000;

/// Reads `source`, the text of `file`. Gives no tree if it is no YAML that we can read.
pub fn read(source: &[u8], file: FileId, diagnostics: &mut Diagnostics) -> Option<Node> {
    let source = without_byte_order_mark(source);
    if source.len() > MAX_BYTES {
        diagnostics.push(
            Diagnostic::error(
                "too-large",
                Span::start_of(file),
                format!("the file has {} bytes; at most {MAX_BYTES} are read", source.len()),
            )
            .help("keep data in files of its own and name them in the pipeline"),
        );
        return None;
    }
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            diagnostics.push(
                Diagnostic::error("syntax", Span::new(file, at, at), "the file is not UTF-8 text")
                    .label("the first byte that is not")
                    .help("save it as UTF-8"),
            );
            return None;
        }
    };
    let offsets = Offsets::new(text);
    let mut composer = Composer {
        parser: Parser::new_from_str(text),
        text,
        file,
        offsets: &offsets,
        anchors: HashMap::new(),
        aliased: 0,
        nodes: 0,
    };
    let shape = match composer.document() {
        Ok(Some(shape)) => shape,
        Ok(None) => return Some(Node::new(Span::start_of(file), Data::Null)),
        Err(error) => {
            diagnostics.push(*error);
            return None;
        }
    };
    let raw: Raw = match serde_yaml::from_str(text) {
        Ok(raw) => raw,
        Err(error) => {
            let at = error.location().map_or(0, |location| location.index().min(text.len()));
            let message = error.to_string();
            // The place is shown with the excerpt.
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            diagnostics.push(syntax_error(text, file, at, &message));
            return None;
        }
    };
    let mut join = Join { diagnostics, agree: true };
    let node = join.node(shape, raw);
    join.agree.then_some(node)
}

/// From characters, which saphyr counts, to bytes.
struct Offsets(Option<Vec<u32>>);

impl Offsets {
    fn new(text: &str) -> Self {
        if text.is_ascii() {
            return Self(None);
        }
        let starts = text.char_indices().map(|(at, _)| at as u32);
        Self(Some(starts.chain([text.len() as u32]).collect()))
    }

    fn byte(&self, marker: &Marker) -> usize {
        match &self.0 {
            None => marker.index(),
            Some(table) => {
                table.get(marker.index()).or(table.last()).map_or(0, |byte| *byte as usize)
            }
        }
    }
}

/// The shape of a document: all but the values of its scalars.
#[derive(Debug, Clone)]
struct Shape {
    span: Span,
    data: ShapeData,
}

#[derive(Debug, Clone)]
enum ShapeData {
    Scalar { text: String, plain: bool },
    List(Vec<Shape>),
    Map(Vec<(Shape, Shape)>),
}

type Composed<T> = Result<T, Box<Diagnostic>>;

struct Composer<'t> {
    parser: Parser<'t, StrInput<'t>>,
    text: &'t str,
    file: FileId,
    offsets: &'t Offsets,
    /// Values by anchor, with how many values each holds; `None` while one is being read.
    anchors: HashMap<usize, Option<(Shape, usize)>>,
    aliased: usize,
    nodes: usize,
}

impl<'t> Composer<'t> {
    /// The only document; `None` if there is none.
    fn document(&mut self) -> Composed<Option<Shape>> {
        let mut document = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(document),
                Event::DocumentStart(_) if document.is_some() => {
                    return Err(Box::new(
                        Diagnostic::error("syntax", span, "the file holds more than one document")
                            .help("remove what follows `---`, or put it into a file of its own"),
                    ));
                }
                Event::StreamStart
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Nothing => {}
                event => document = Some(self.value(event, span, 0)?),
            }
        }
    }

    fn next(&mut self) -> Composed<(Event<'t>, Span)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let span = Span::new(
                    self.file,
                    self.offsets.byte(&span.start),
                    self.offsets.byte(&span.end),
                );
                Ok((event, span))
            }
            Some(Err(error)) => {
                let at = self.offsets.byte(error.marker());
                Err(Box::new(syntax_error(self.text, self.file, at, error.info())))
            }
            None => Ok((Event::StreamEnd, Span::new(self.file, self.text.len(), self.text.len()))),
        }
    }

    fn value(&mut self, event: Event<'t>, span: Span, depth: usize) -> Composed<Shape> {
        if depth > MAX_DEPTH {
            return Err(Box::new(
                Diagnostic::error("too-deep", span, "values lie too deep in each other")
                    .label(format!("this is more than {MAX_DEPTH} levels deep")),
            ));
        }
        self.nodes += 1;
        let before = self.nodes;
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag),
            _ => (0, &None),
        };
        if let Some(tag) = tag {
            let known = matches!(tag.suffix.as_str(), "str" | "int" | "float" | "bool" | "null");
            if !(tag.is_yaml_core_schema() && known && matches!(event, Event::Scalar(..))) {
                return Err(Box::new(
                    Diagnostic::error("syntax", span, format!("the tag `{tag}` is not known"))
                        .help(
                            "remove the tag; quote the value if it is a text that starts with `!`",
                        ),
                ));
            }
        }
        if anchor > 0 {
            self.anchors.insert(anchor, None);
        }
        let shape = match event {
            Event::Alias(anchor) => return self.alias(anchor, span),
            Event::Scalar(text, style, _, _) => {
                let plain = style == ScalarStyle::Plain;
                // An absent value: saphyr says `~`, at a place of its own choice.
                let text = if span.start == span.end { String::new() } else { text.into_owned() };
                Shape { span, data: ShapeData::Scalar { text, plain } }
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                let mut end = span.end;
                loop {
                    let (event, at) = self.next()?;
                    if event == Event::SequenceEnd {
                        end = end.max(at.end.min(trimmed(self.text, at.end)));
                        break;
                    }
                    let item = self.value(event, at, depth + 1)?;
                    end = end.max(item.span.end);
                    items.push(item);
                }
                Shape { span: Span::new(self.file, span.start, end), data: ShapeData::List(items) }
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                let mut end = span.end;
                loop {
                    let (event, at) = self.next()?;
                    if event == Event::MappingEnd {
                        end = end.max(at.end.min(trimmed(self.text, at.end)));
                        break;
                    }
                    let key = self.value(event, at, depth + 1)?;
                    let (event, at) = self.next()?;
                    let mut value = self.value(event, at, depth + 1)?;
                    if value.span.start == value.span.end {
                        // Nothing stands there: what is said of it is said at its key.
                        value.span = key.span;
                    }
                    end = end.max(value.span.end);
                    entries.push((key, value));
                }
                Shape { span: Span::new(self.file, span.start, end), data: ShapeData::Map(entries) }
            }
            other => {
                let message = format!("YAML that cannot be read: {other:?}");
                return Err(Box::new(Diagnostic::error("syntax", span, message)));
            }
        };
        if anchor > 0 {
            self.anchors.insert(anchor, Some((shape.clone(), self.nodes - before + 1)));
        }
        Ok(shape)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Composed<Shape> {
        match self.anchors.get(&anchor) {
            Some(Some((shape, size))) => {
                self.aliased += size;
                self.nodes += size;
                if self.aliased > MAX_ALIASED {
                    return Err(Box::new(
                        Diagnostic::error("too-large", span, "the aliases stand for too much")
                            .help(format!(
                                "all aliases together may stand for at most {MAX_ALIASED} values"
                            )),
                    ));
                }
                Ok(shape.clone())
            }
            Some(None) => Err(Box::new(
                Diagnostic::error("syntax", span, "the alias stands inside its own anchor")
                    .help("write the value out"),
            )),
            None => Err(Box::new(Diagnostic::error(
                "syntax",
                span,
                "no anchor of this name comes before",
            ))),
        }
    }
}

/// `end` without the white space before it.
fn trimmed(text: &str, end: usize) -> usize {
    text.get(..end).map_or(end, |before| before.trim_end().len())
}

fn syntax_error(text: &str, file: FileId, at: usize, message: &str) -> Diagnostic {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let message = message.trim().trim_end_matches('.');
    // At the end of the text there is nothing to point at: point at the last thing there is.
    if at == text.len() {
        at = text.trim_end().char_indices().next_back().map_or(0, |(last, _)| last);
    }
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    let line = &text[line_start..line_end];
    let indent = &line[..line.len() - line.trim_start().len()];
    let help = if indent.contains('\t') {
        Some("indent with spaces: YAML does not allow tabs")
    } else if unquoted_reference_in_flow(line) {
        Some("inside `{…}` and `[…]`, put quotes around a reference: `\"${params.x}\"`")
    } else if message.contains("mapping values are not allowed") {
        Some("put quotes around a text that holds `: `")
    } else if message.contains("unknown anchor") {
        Some("`*NAME` stands for what `&NAME` marked further up")
    } else if message.contains("block mapping") || message.contains("block collection") {
        Some("check the indentation: keys of one mapping start in the same column")
    } else if message.contains("flow") {
        Some("close `[` with `]` and `{` with `}`, and put a comma between two items")
    } else {
        None
    };
    let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
    Diagnostic::error("syntax", Span::new(file, at, end), format!("this is not YAML: {message}"))
        .maybe_help(help.map(str::to_owned))
}

fn unquoted_reference_in_flow(line: &str) -> bool {
    line.match_indices("${").any(|(at, _)| {
        let before = &line[..at];
        let open = before.contains(['{', '[']);
        let quoted = before.matches('"').count() % 2 == 1 || before.matches('\'').count() % 2 == 1;
        open && !quoted
    })
}

/// What serde_yaml reads, duplicate keys included.
#[derive(Debug)]
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    /// A number that JSON has no form for: infinite, or not a number.
    NoNumber,
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    // A whole number beyond 64 bits is read as the nearest float, as JSON readers do.
    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Number::from_f64(value as f64).map_or(Raw::NoNumber, Raw::Number))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Number::from_f64(value as f64).map_or(Raw::NoNumber, Raw::Number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Number::from_f64(value).map_or(Raw::NoNumber, Raw::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

/// Joins places and values.
struct Join<'a> {
    diagnostics: &'a mut Diagnostics,
    /// Whether the two parsers read the same.
    agree: bool,
}

impl Join<'_> {
    fn node(&mut self, shape: Shape, raw: Raw) -> Node {
        let span = shape.span;
        let data = match (shape.data, raw) {
            (ShapeData::Scalar { .. }, Raw::Null) => Data::Null,
            (ShapeData::Scalar { .. }, Raw::Bool(value)) => Data::Bool(value),
            (ShapeData::Scalar { .. }, Raw::Number(value)) => Data::Number(value),
            (ShapeData::Scalar { .. }, Raw::Text(value)) => Data::Text(value),
            (ShapeData::Scalar { text, .. }, Raw::NoNumber) => {
                self.diagnostics.push(
                    Diagnostic::error("wrong-value", span, format!("`{text}` is no finite number"))
                        .help("put quotes around it if it is a text"),
                );
                Data::Unknown
            }
            (ShapeData::List(shapes), Raw::List(raws)) if shapes.len() == raws.len() => {
                Data::List(shapes.into_iter().zip(raws).map(|(s, r)| self.node(s, r)).collect())
            }
            (ShapeData::Map(shapes), Raw::Map(raws)) if shapes.len() == raws.len() => {
                self.map(shapes, raws)
            }
            _ => {
                self.diagnostics.push(
                    Diagnostic::error("syntax", span, "this YAML can be read in more than one way")
                        .help("write it more plainly: quote texts, and indent with two spaces"),
                );
                self.agree = false;
                Data::Unknown
            }
        };
        Node { span, data }
    }

    fn map(&mut self, shapes: Vec<(Shape, Shape)>, raws: Vec<(Raw, Raw)>) -> Data {
        let mut entries: Vec<Entry> = Vec::with_capacity(shapes.len());
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut merges = Vec::new();
        for ((key_shape, value_shape), (_, raw)) in shapes.into_iter().zip(raws) {
            let key_span = key_shape.span;
            let value = self.node(value_shape, raw);
            let ShapeData::Scalar { text: key, plain } = key_shape.data else {
                self.diagnostics.push(
                    Diagnostic::error("wrong-type", key_span, "a key is one word")
                        .label("this is a list or a mapping"),
                );
                continue;
            };
            if plain && key == "<<" {
                merges.push((key_span, value));
                continue;
            }
            match places.get(&key) {
                Some(place) => {
                    let first = entries[*place].key_span;
                    self.diagnostics.push(
                        Diagnostic::error(
                            "duplicate-key",
                            key_span,
                            format!("the key `{key}` stands here twice"),
                        )
                        .label("again here")
                        .related(first, "first here")
                        .help("remove one of the two, or give it another name"),
                    );
                }
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push(Entry { key, key_span, value });
                }
            }
        }
        for (span, value) in merges {
            self.merge(span, value, &mut entries, &mut places);
        }
        Data::Map(entries)
    }

    /// Adds what `<<: value` brings: entries whose keys are not there yet.
    fn merge(
        &mut self,
        span: Span,
        value: Node,
        entries: &mut Vec<Entry>,
        places: &mut HashMap<String, usize>,
    ) {
        let brought = match value.data {
            Data::List(items) => items,
            _ => vec![value],
        };
        for node in brought {
            let Data::Map(more) = node.data else {
                self.diagnostics.push(
                    Diagnostic::error("wrong-type", span, "`<<` takes a mapping or a list of them")
                        .help("write `<<: *anchor`, where the anchor names a mapping"),
                );
                continue;
            };
            for entry in more {
                if !places.contains_key(&entry.key) {
                    places.insert(entry.key.clone(), entries.len());
                    entries.push(entry);
                }
            }
        }
    }
}
