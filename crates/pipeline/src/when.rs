//! Reads what `when` says: from its text to a [`Condition`], with every mistake at its place.
//!
//! Params, environment variables, values of a matrix and known items are put in when the file is
//! read. What a run will measure and make stays a [`Reference`]: its stage is as it is written
//! here, and `wick-plan` looks for it.

use serde_json::Value;

use crate::condition::{Comparison, Condition, Expression, Reference};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::fields;
use crate::node::{Data, Entry};
use crate::resolve::{Found, Mode, Scope};
use crate::span::Span;
use crate::target::{Target, dot_outside_brackets};
use crate::template::{self, Piece, Places};

/// The longest that a condition may be.
const MAX_LENGTH: usize = 4000;

/// How deep parentheses, lists and `not` may stand in each other.
const MAX_DEPTH: usize = 50;

/// A condition as it is written in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct When {
    /// The condition. The stages in its references are as they are written.
    pub condition: Condition,
    /// Where each of its references stands, in the order of
    /// [`Condition::references`](crate::condition::Condition::references).
    pub spans: Vec<Span>,
    /// Whether it asks for an item of a list that is not known: then it holds, or does not, for
    /// each instance on its own.
    pub open: bool,
}

/// Reads the `when` in `entry`.
pub(crate) fn read(
    entry: &Entry,
    scope: &Scope<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<When> {
    let span = entry.value.span;
    let text = match &entry.value.data {
        Data::Text(text) => text,
        Data::Bool(truth) => {
            let condition = Condition::new(truth.to_string(), Expression::Value((*truth).into()));
            return Some(When { condition, spans: Vec::new(), open: false });
        }
        Data::Unknown | Data::Open(_) => return None,
        _ => {
            diagnostics.push(
                fields::wrong_type(&entry.value, "`when` must be a condition")
                    .help("write `when: \"${metrics.STAGE.KEY} >= 0.9\"`"),
            );
            return None;
        }
    };
    if text.len() > MAX_LENGTH {
        diagnostics.push(
            Diagnostic::error("too-large", span, "the condition is too long")
                .help(format!("a condition has at most {MAX_LENGTH} characters")),
        );
        return None;
    }
    let errors_before = diagnostics.errors();
    let places = Places { source: scope.sources.text(span.file), span, text };
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        scope,
        places: &places,
        diagnostics,
        spans: Vec::new(),
        open: false,
    };
    let read = reader.whole();
    let Reader { spans, open, .. } = reader;
    match read {
        Ok(root) if diagnostics.errors() == errors_before => {
            let condition = Condition::new(text.trim(), root);
            Some(When { condition, spans, open })
        }
        Ok(_) => None,
        Err(fault) => {
            let at = if fault.start < fault.end { places.of(fault.start, fault.end) } else { span };
            diagnostics
                .push(Diagnostic::error("bad-condition", at, fault.message).maybe_help(fault.help));
            None
        }
    }
}

/// Why the text is no condition.
struct Fault {
    start: usize,
    end: usize,
    message: String,
    help: Option<String>,
}

/// What a part of a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Truth,
    Number,
    Text,
    List,
    Mapping,
    Nothing,
    /// Only the run will know.
    Any,
}

impl Type {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Type::Nothing,
            Value::Bool(_) => Type::Truth,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::Text,
            Value::Array(_) => Type::List,
            Value::Object(_) => Type::Mapping,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Type::Truth => "true or false",
            Type::Number => "a number",
            Type::Text => "a text",
            Type::List => "a list",
            Type::Mapping => "a mapping",
            Type::Nothing => "`null`",
            Type::Any => "a value",
        }
    }
}

/// A part of a condition, where it stands, and what it is.
struct Part {
    expression: Expression,
    kind: Type,
    start: usize,
    end: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Token<'t> {
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
    Compare(Comparison),
    And,
    Or,
    Not,
    In,
    Value(Value),
    Reference(template::Reference<'t>),
    End,
}

struct Reader<'a, 's> {
    text: &'a str,
    at: usize,
    depth: usize,
    scope: &'a Scope<'s>,
    places: &'a Places<'a>,
    diagnostics: &'a mut Diagnostics,
    spans: Vec<Span>,
    open: bool,
}

fn fault<T>(
    start: usize,
    end: usize,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, Fault> {
    let help = Some(help.into()).filter(|help| !help.is_empty());
    Err(Fault { start, end, message: message.into(), help })
}

impl<'a> Reader<'a, '_> {
    fn whole(&mut self) -> Result<Expression, Fault> {
        let root = self.either()?;
        let (token, start, end) = self.peek()?;
        match token {
            Token::End => {}
            Token::Close => return fault(start, end, "this closes nothing", "remove it"),
            _ => {
                return fault(
                    start,
                    end,
                    "the condition should end here",
                    "join two conditions with `and` or `or`",
                );
            }
        }
        truth(&root)?;
        Ok(root.expression)
    }

    fn either(&mut self) -> Result<Part, Fault> {
        let mut left = self.both()?;
        while self.take(&Token::Or)? {
            let right = self.both()?;
            truth(&left)?;
            truth(&right)?;
            left = joined(left, right, Expression::Or);
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Part, Fault> {
        let mut left = self.negated()?;
        while self.take(&Token::And)? {
            let right = self.negated()?;
            truth(&left)?;
            truth(&right)?;
            left = joined(left, right, Expression::And);
        }
        Ok(left)
    }

    fn negated(&mut self) -> Result<Part, Fault> {
        let (token, start, end) = self.peek()?;
        if token != Token::Not {
            return self.comparison();
        }
        self.at = end;
        self.deeper(start, end)?;
        let inner = self.negated()?;
        self.depth -= 1;
        truth(&inner)?;
        Ok(Part {
            expression: Expression::Not(Box::new(inner.expression)),
            kind: Type::Truth,
            start,
            end: inner.end,
        })
    }

    fn comparison(&mut self) -> Result<Part, Fault> {
        let left = self.operand()?;
        let Some((how, start, end)) = self.comparator()? else { return Ok(left) };
        let right = self.operand()?;
        check_comparison(&left, how, &right, (start, end))?;
        if let Some((_, start, end)) = self.comparator()? {
            return fault(
                start,
                end,
                "a comparison has two sides",
                "write `a < b and b < c`, or use parentheses",
            );
        }
        let (start, end) = (left.start, right.end);
        let (left, right) = (Box::new(left.expression), Box::new(right.expression));
        let expression = Expression::Compare(left, how, right);
        Ok(Part { expression, kind: Type::Truth, start, end })
    }

    /// Takes `==`, `in`, `not in` and the like, if one comes next.
    fn comparator(&mut self) -> Result<Option<(Comparison, usize, usize)>, Fault> {
        let (token, start, end) = self.peek()?;
        let how = match token {
            Token::Compare(how) => how,
            Token::In => Comparison::In,
            Token::Not => {
                let before = self.at;
                self.at = end;
                let (next, _, end) = self.peek()?;
                if next == Token::In {
                    self.at = end;
                    return Ok(Some((Comparison::NotIn, start, end)));
                }
                self.at = before;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        self.at = end;
        Ok(Some((how, start, end)))
    }

    fn operand(&mut self) -> Result<Part, Fault> {
        let (token, start, end) = self.peek()?;
        self.at = end;
        match token {
            Token::Value(value) => {
                let kind = Type::of(&value);
                Ok(Part { expression: Expression::Value(value), kind, start, end })
            }
            Token::Reference(reference) => Ok(self.reference(&reference, start, end)),
            Token::Open => {
                self.deeper(start, end)?;
                let inner = self.either()?;
                self.depth -= 1;
                let (token, _, end) = self.peek()?;
                if token != Token::Close {
                    return fault(start, start + 1, "this is not closed", "close it with `)`");
                }
                self.at = end;
                Ok(Part { start, end, ..inner })
            }
            Token::OpenList => self.list(start, end),
            Token::End => fault(
                start,
                end,
                if start == 0 || self.text.trim().is_empty() {
                    "the condition is empty"
                } else {
                    "the condition ends where a value should stand"
                },
                "write `VALUE == VALUE`, where a value is `${…}`, a number, a 'text', `true`, \
                 `false`, `null` or a `[list]`",
            ),
            _ => fault(
                start,
                end,
                format!("`{}` stands where a value should", &self.text[start..end]),
                "a value is `${…}`, a number, a 'text', `true`, `false`, `null` or a `[list]`",
            ),
        }
    }

    fn list(&mut self, start: usize, end: usize) -> Result<Part, Fault> {
        self.deeper(start, end)?;
        let mut items = Vec::new();
        loop {
            if self.take(&Token::CloseList)? {
                break;
            }
            if !items.is_empty() && !self.take(&Token::Comma)? {
                return fault(start, start + 1, "this list is not closed", "close it with `]`");
            }
            if !items.is_empty() && self.take(&Token::CloseList)? {
                break;
            }
            items.push(self.operand()?.expression);
        }
        self.depth -= 1;
        let expression = Expression::List(items);
        Ok(Part { expression, kind: Type::List, start, end: self.at })
    }

    fn deeper(&mut self, start: usize, end: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return fault(start, end, "the condition is too deep", "use fewer parentheses");
        }
        Ok(())
    }

    /// What is known of a reference. Mistakes in it are reported at once: the rest can be read.
    fn reference(&mut self, reference: &template::Reference<'_>, start: usize, end: usize) -> Part {
        let place = self.places.of(start, end);
        let unknown =
            Part { expression: Expression::Value(Value::Null), kind: Type::Any, start, end };
        let asked = match reference.scope {
            "metrics" => metric(reference.name).map(|asked| (asked, Type::Number)),
            "values" => output(reference.name).map(|asked| (asked, Type::Any)),
            "run" | "inputs" | "outputs" => {
                self.diagnostics.push(
                    Diagnostic::error(
                        "bad-reference",
                        place,
                        format!("a condition cannot ask for `${{{}.…}}`", reference.scope),
                    )
                    .help(
                        "it can ask for `params`, `env`, `matrix`, `foreach`, `metrics.STAGE.KEY` \
                         and `values.STAGE`",
                    ),
                );
                return unknown;
            }
            _ => {
                let found = self.scope.look_up(reference, place, Mode::VALUE, self.diagnostics);
                return match found {
                    Some(Found::Value(value)) => {
                        let kind = Type::of(&value);
                        Part { expression: Expression::Value(value), kind, start, end }
                    }
                    Some(Found::Open) => {
                        self.open = true;
                        unknown
                    }
                    Some(Found::Kept) | None => unknown,
                };
            }
        };
        match asked {
            Ok((asked, kind)) => {
                self.spans.push(place);
                Part { expression: Expression::Reference(asked), kind, start, end }
            }
            Err(help) => {
                let text = &self.text[start..end];
                self.diagnostics.push(
                    Diagnostic::error(
                        "bad-reference",
                        place,
                        format!("`{text}` names nothing that a stage makes"),
                    )
                    .help(help),
                );
                unknown
            }
        }
    }

    fn take(&mut self, wanted: &Token<'_>) -> Result<bool, Fault> {
        let (token, _, end) = self.peek()?;
        let found = token == *wanted;
        if found {
            self.at = end;
        }
        Ok(found)
    }

    /// The next token, and where it starts and ends.
    fn peek(&self) -> Result<(Token<'a>, usize, usize), Fault> {
        let text = self.text;
        let start = self.at + (text[self.at..].len() - text[self.at..].trim_start().len());
        let rest = &text[start..];
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start, start)) };
        let symbol = |token, length| Ok((token, start, start + length));
        match first {
            '(' => symbol(Token::Open, 1),
            ')' => symbol(Token::Close, 1),
            '[' => symbol(Token::OpenList, 1),
            ']' => symbol(Token::CloseList, 1),
            ',' => symbol(Token::Comma, 1),
            '=' | '!' | '<' | '>' | '&' | '|' => self.operator(start),
            '\'' | '"' => self.quoted(first, start),
            '$' if rest.starts_with("${") => self.referred(start),
            '-' | '+' | '.' | '0'..='9' => self.number(start),
            _ if first.is_alphabetic() || first == '_' => self.word(start),
            _ => fault(
                start,
                start + first.len_utf8(),
                format!("`{first}` cannot stand in a condition"),
                "put quotes around a text: `'…'`",
            ),
        }
    }

    fn operator(&self, start: usize) -> Result<(Token<'a>, usize, usize), Fault> {
        const OPERATORS: [(&str, Comparison); 6] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let rest = &self.text[start..];
        if let Some((sign, how)) = OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign)) {
            return Ok((Token::Compare(how), start, start + sign.len()));
        }
        let (length, help) = match rest {
            _ if rest.starts_with("&&") => (2, "write `and`"),
            _ if rest.starts_with("||") => (2, "write `or`"),
            _ if rest.starts_with('=') => (1, "write `==`"),
            _ if rest.starts_with('!') => (1, "write `not`"),
            _ if rest.starts_with('&') => (1, "write `and`"),
            _ => (1, "write `or`"),
        };
        let sign = &rest[..length];
        fault(start, start + length, format!("`{sign}` means nothing in a condition"), help)
    }

    /// A text in quotes; a quote within is written twice.
    fn quoted(&self, quote: char, start: usize) -> Result<(Token<'a>, usize, usize), Fault> {
        let mut value = String::new();
        let mut rest = self.text[start + 1..].char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            if c != quote {
                value.push(c);
            } else if rest.peek().is_some_and(|(_, next)| *next == quote) {
                value.push(c);
                rest.next();
            } else {
                let end = start + 1 + at + 1;
                if template::has_references(&value) {
                    return fault(
                        start,
                        end,
                        "a reference stands in quotes",
                        "write it without quotes: it is a value of its own",
                    );
                }
                return Ok((Token::Value(Value::String(value)), start, end));
            }
        }
        fault(start, self.text.len(), "the text is not closed", "close it with another quote")
    }

    fn referred(&self, start: usize) -> Result<(Token<'a>, usize, usize), Fault> {
        match template::pieces(&self.text[start..]).into_iter().next() {
            Some(Ok(Piece::Reference(mut reference))) => {
                let end = start + reference.end;
                (reference.start, reference.end) = (start, end);
                Ok((Token::Reference(reference), start, end))
            }
            Some(Err(error)) => {
                fault(start + error.start, start + error.end, error.message, error.help)
            }
            _ => fault(start, start + 1, "`$` means nothing in a condition", ""),
        }
    }

    fn number(&self, start: usize) -> Result<(Token<'a>, usize, usize), Fault> {
        let rest = &self.text[start..];
        let mut end = 0;
        for (at, c) in rest.char_indices() {
            let signed = matches!(c, '+' | '-')
                && (at == 0 || matches!(rest.as_bytes()[at - 1], b'e' | b'E'));
            if !(signed || c.is_ascii_alphanumeric() || matches!(c, '.' | '_')) {
                break;
            }
            end = at + 1;
        }
        let written = &rest[..end];
        match serde_json::from_str::<serde_json::Number>(written) {
            Ok(number) => Ok((Token::Value(Value::Number(number)), start, start + end)),
            Err(_) => fault(
                start,
                start + end,
                format!("`{written}` is not a number"),
                "write it as in `0.5`, `-3` or `1e-4`; put quotes around a text",
            ),
        }
    }

    fn word(&self, start: usize) -> Result<(Token<'a>, usize, usize), Fault> {
        let rest = &self.text[start..];
        let length = rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .unwrap_or(rest.len());
        let word = &rest[..length];
        let token = match word {
            "and" => Token::And,
            "or" => Token::Or,
            "not" => Token::Not,
            "in" => Token::In,
            "true" => Token::Value(Value::Bool(true)),
            "false" => Token::Value(Value::Bool(false)),
            "null" => Token::Value(Value::Null),
            _ => {
                let lower = word.to_lowercase();
                let help = match lower.as_str() {
                    "and" | "or" | "not" | "in" | "true" | "false" | "null" => {
                        format!("write `{lower}`")
                    }
                    "none" => "write `null`".to_owned(),
                    "yes" => "write `true`".to_owned(),
                    "no" => "write `false`".to_owned(),
                    _ if word.contains('.') => format!("write `${{{word}}}`"),
                    _ => format!("put quotes around a text: `'{word}'`"),
                };
                return fault(
                    start,
                    start + length,
                    format!("`{word}` means nothing in a condition"),
                    help,
                );
            }
        };
        Ok((token, start, start + length))
    }
}

fn joined(
    left: Part,
    right: Part,
    join: fn(Box<Expression>, Box<Expression>) -> Expression,
) -> Part {
    Part {
        expression: join(Box::new(left.expression), Box::new(right.expression)),
        kind: Type::Truth,
        start: left.start,
        end: right.end,
    }
}

/// That `part` can be true or false.
fn truth(part: &Part) -> Result<(), Fault> {
    match part.kind {
        Type::Truth | Type::Any => Ok(()),
        kind => fault(
            part.start,
            part.end,
            format!("this is {}, and neither true nor false", kind.noun()),
            "compare it with a value: `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`",
        ),
    }
}

/// That the two sides of a comparison go together, as far as that is known.
fn check_comparison(
    left: &Part,
    how: Comparison,
    right: &Part,
    (start, end): (usize, usize),
) -> Result<(), Fault> {
    use Comparison::*;
    let known = |part: &Part| part.kind != Type::Any;
    match how {
        Equal | NotEqual => {
            let nothing = left.kind == Type::Nothing || right.kind == Type::Nothing;
            if known(left) && known(right) && !nothing && left.kind != right.kind {
                let (left, right) = (left.kind.noun(), right.kind.noun());
                return fault(
                    start,
                    end,
                    format!("this compares {left} with {right}: they are never equal"),
                    "compare values of one type",
                );
            }
        }
        Less | LessOrEqual | Greater | GreaterOrEqual => {
            for part in [left, right] {
                if !matches!(part.kind, Type::Number | Type::Text | Type::Any) {
                    return fault(
                        part.start,
                        part.end,
                        format!("{} is neither less nor greater than anything", part.kind.noun()),
                        "compare two numbers or two texts",
                    );
                }
            }
            if known(left) && known(right) && left.kind != right.kind {
                let (left, right) = (left.kind.noun(), right.kind.noun());
                return fault(
                    start,
                    end,
                    format!("{left} and {right} have no order"),
                    "compare two numbers or two texts",
                );
            }
        }
        In | NotIn => {
            let fits = match right.kind {
                Type::List | Type::Any => true,
                Type::Text => matches!(left.kind, Type::Text | Type::Any),
                _ => false,
            };
            if !fits {
                return fault(
                    right.start,
                    right.end,
                    format!("{} is never in {}", left.kind.noun(), right.kind.noun()),
                    "write a list: `in [a, b]`",
                );
            }
        }
    }
    Ok(())
}

/// `STAGE.KEY`, where the key may hold dots.
fn metric(name: &str) -> Result<Reference, &'static str> {
    const HELP: &str = "write `${metrics.STAGE.KEY}`";
    let dot = dot_outside_brackets(name).ok_or(HELP)?;
    let (stage, key) = (&name[..dot], &name[dot + 1..]);
    Target::parse(stage).ok_or(HELP)?;
    if key.is_empty() {
        return Err(HELP);
    }
    Ok(Reference::Metric { stage: stage.to_owned(), key: key.to_owned() })
}

/// `STAGE`, `STAGE.OUTPUT`, and keys into it. Which of them is the output is told when the stage's
/// outputs are known: here all are taken for keys.
fn output(name: &str) -> Result<Reference, &'static str> {
    const HELP: &str = "write `${values.STAGE}`, `${values.STAGE.OUTPUT}` or \
        `${values.STAGE.OUTPUT.KEY}`";
    let (stage, path) = match dot_outside_brackets(name) {
        None => (name, Vec::new()),
        Some(dot) => {
            (&name[..dot], name[dot + 1..].split('.').map(str::to_owned).collect::<Vec<_>>())
        }
    };
    Target::parse(stage).ok_or(HELP)?;
    if path.iter().any(String::is_empty) {
        return Err(HELP);
    }
    Ok(Reference::Output { stage: stage.to_owned(), output: None, path })
}
