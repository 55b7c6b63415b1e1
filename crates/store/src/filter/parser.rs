//! Recursive descent over the tokens.
//!
//! ```text
//! or         := and ("or" and)*
//! and        := unary ("and" unary)*
//! unary      := "not" unary | "(" or ")" | comparison | "true" | "false"
//! comparison := path [operator value
//!                    | ["not"] "in" "(" value ("," value)* ")"
//!                    | ["not"] ("like" | "ilike") text
//!                    | ["not"] "between" value "and" value
//!                    | "is" ["not"] ("null" | "nan")]
//! path       := name ("." name)*
//! ```

use std::ops::Range;

use wick_core::Timestamp;

use super::check::{self, Asked, Literal, Operand};
use super::error::FilterError;
use super::expr::{Column, Expr, Order};
use super::lexer::{Placed, Segment, Token, tokens};
use super::path;
use super::{MAX_DEPTH, MAX_FIELDS, MAX_LENGTH, MAX_PARTS};

pub(super) fn parse(text: &str, now: Timestamp) -> Result<Expr, FilterError> {
    let mut parser = Parser::new(text, now)?;
    if parser.peek() == &Token::End {
        return Err(parser
            .error("there is no condition")
            .help("such as metrics.accuracy > 0.97, or state = 'failed'"));
    }
    let expr = parser.or()?;
    match parser.peek() {
        Token::End => Ok(expr),
        Token::Close => Err(parser.error("this parenthesis closes nothing")),
        Token::Path(_) => {
            Err(parser.error("another condition begins here").help("join them with `and` or `or`"))
        }
        _ => Err(parser.error("the condition has ended before this")),
    }
}

pub(super) fn parse_order(text: &str) -> Result<Vec<Order>, FilterError> {
    let mut parser = Parser::new(text, Timestamp(0))?;
    let orders = parser.list(|parser| {
        let (field, _) = parser.field()?;
        let descending = parser.take_keyword("desc");
        if !descending {
            parser.take_keyword("asc");
        }
        if matches!(parser.peek(), Token::Path(_)) {
            return Err(parser.error("this is not a direction").help("write `asc` or `desc`"));
        }
        Ok(Order { field, descending })
    })?;
    Ok(orders)
}

pub(super) fn parse_columns(text: &str) -> Result<Vec<Column>, FilterError> {
    let mut parser = Parser::new(text, Timestamp(0))?;
    parser.list(|parser| {
        let (field, span) = parser.field()?;
        Ok(Column { name: text[span].to_owned(), field })
    })
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    now: Timestamp,
    depth: usize,
    parts: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, now: Timestamp) -> Result<Self, FilterError> {
        if text.len() > MAX_LENGTH {
            let message = format!("this is longer than {MAX_LENGTH} bytes");
            let mut end = MAX_LENGTH;
            while !text.is_char_boundary(end) {
                end += 1;
            }
            return Err(FilterError::new(end..end, message));
        }
        Ok(Self { text, tokens: tokens(text)?, at: 0, now, depth: 0, parts: 0 })
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].span.clone()
    }

    /// The token here, of which the place is left; the end stays where it is.
    fn take(&mut self) -> Token {
        let token = self.tokens[self.at].token.clone();
        if token != Token::End {
            self.at += 1;
        }
        token
    }

    fn error(&self, message: impl Into<String>) -> FilterError {
        FilterError::new(self.span(), message)
    }

    fn is_keyword(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Path(segments) if is_word(segments, word))
    }

    fn take_keyword(&mut self, word: &str) -> bool {
        let is_it = self.is_keyword(word);
        self.at += usize::from(is_it);
        is_it
    }

    fn deeper(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("this is nested more than {MAX_DEPTH} deep")));
        }
        Ok(())
    }

    fn count_part(&mut self) -> Result<(), FilterError> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(
                self.error(format!("this has more than {MAX_PARTS} comparisons and values"))
            );
        }
        Ok(())
    }

    /// Fields with commas between them, up to the end.
    fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, FilterError>,
    ) -> Result<Vec<T>, FilterError> {
        let mut all = Vec::new();
        loop {
            if all.len() == MAX_FIELDS {
                return Err(self.error(format!("these are more than {MAX_FIELDS} fields")));
            }
            if self.peek() == &Token::End {
                return Err(self
                    .error("a name is missing here")
                    .help("such as metrics.accuracy, params.lr, tags.team or state"));
            }
            all.push(one(self)?);
            match self.peek() {
                Token::End => return Ok(all),
                Token::Comma => self.at += 1,
                _ => return Err(self.error("a comma is missing before this")),
            }
        }
    }

    fn or(&mut self) -> Result<Expr, FilterError> {
        let mut all = vec![self.and()?];
        while self.take_keyword("or") {
            all.push(self.and()?);
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { Expr::Or(flat(all, is_or)) })
    }

    fn and(&mut self) -> Result<Expr, FilterError> {
        let mut all = vec![self.unary()?];
        while self.take_keyword("and") {
            all.push(self.unary()?);
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { Expr::And(flat(all, is_and)) })
    }

    fn unary(&mut self) -> Result<Expr, FilterError> {
        self.count_part()?;
        if self.take_keyword("not") {
            self.deeper()?;
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Expr::Not(Box::new(inner)));
        }
        if self.peek() == &Token::Open {
            let opened = self.span();
            self.at += 1;
            self.deeper()?;
            let inner = self.or()?;
            self.depth -= 1;
            if self.peek() != &Token::Close {
                return Err(self.error("a `)` is missing here").help(format!(
                    "the `(` at character {} is not closed",
                    self.text[..opened.start].chars().count() + 1
                )));
            }
            self.at += 1;
            return Ok(inner);
        }
        for (word, always) in [("true", true), ("false", false)] {
            if self.take_keyword(word) {
                return Ok(Expr::Always(always));
            }
        }
        self.comparison()
    }

    fn field(&mut self) -> Result<(super::Field, Range<usize>), FilterError> {
        let span = self.span();
        match self.take() {
            Token::Path(segments) => Ok((path::field(&segments)?, span)),
            // MLflow has an attribute with a space in its name.
            Token::Backquoted(text) => {
                Ok((path::field(&[Segment { text, quoted: true, span: span.clone() }])?, span))
            }
            Token::End => Err(FilterError::new(span, "a condition is missing here")),
            Token::Number(_) | Token::Text(_) | Token::Bare(_) => {
                let message = "a comparison begins with what is compared";
                Err(FilterError::new(span, message).help("such as metrics.accuracy > 0.97"))
            }
            _ => Err(FilterError::new(span, "a name is missing before this")
                .help("such as metrics.accuracy, params.lr, tags.team or state")),
        }
    }

    fn comparison(&mut self) -> Result<Expr, FilterError> {
        let (field, place) = self.field()?;
        let asked = match self.peek().clone() {
            Token::Operator(operator) => {
                self.at += 1;
                self.refuse_null()?;
                Asked::Compare(operator, self.value()?)
            }
            _ if self.take_keyword("is") => {
                let negated = self.take_keyword("not");
                if self.take_keyword("null") {
                    Asked::Null { negated }
                } else if self.take_keyword("nan") {
                    Asked::Nan { negated }
                } else {
                    return Err(self
                        .error("after `is` comes `null`, `not null` or `nan`")
                        .help("to compare with a value write `=`"));
                }
            }
            _ => {
                let negated = self.take_keyword("not");
                match self.listed(negated)? {
                    Some(asked) => asked,
                    None if !negated && field.is_flag() => return Ok(check::flag(field)),
                    None => return Err(self.no_operator()),
                }
            }
        };
        check::condition(field, place, asked, self.now)
    }

    /// What may follow a field and a `not`.
    fn listed(&mut self, negated: bool) -> Result<Option<Asked>, FilterError> {
        if self.take_keyword("in") {
            return Ok(Some(Asked::In { values: self.values()?, negated }));
        }
        if self.take_keyword("between") {
            let low = self.value()?;
            if !self.take_keyword("and") {
                return Err(self
                    .error("`and` is missing here")
                    .help("write `between LOW and HIGH`; both are included"));
            }
            return Ok(Some(Asked::Between { low, high: self.value()?, negated }));
        }
        for (word, ignore_case) in [("like", false), ("ilike", true)] {
            if self.take_keyword(word) {
                return Ok(Some(Asked::Like { pattern: self.value()?, ignore_case, negated }));
            }
        }
        Ok(None)
    }

    fn values(&mut self) -> Result<Vec<Operand>, FilterError> {
        if self.peek() != &Token::Open {
            return Err(self.error("a list stands in parentheses").help("write in ('a', 'b')"));
        }
        self.at += 1;
        let mut values = vec![self.value()?];
        loop {
            self.count_part()?;
            match self.take() {
                Token::Close => return Ok(values),
                Token::Comma => values.push(self.value()?),
                token => {
                    self.at -= usize::from(token != Token::End);
                    return Err(self.error("a comma or a `)` is missing here"));
                }
            }
        }
    }

    fn value(&mut self) -> Result<Operand, FilterError> {
        let span = self.span();
        let help_quotes = |text: &str| format!("texts stand in quotes: '{text}'");
        let value = match self.peek().clone() {
            Token::Number(number) => Literal::Number(number),
            Token::Text(text) => Literal::Text(text),
            Token::Path(segments) if is_word(&segments, "true") => Literal::Bool(true),
            Token::Path(segments) if is_word(&segments, "false") => Literal::Bool(false),
            Token::Path(segments)
                if is_word(&segments, "inf") || is_word(&segments, "infinity") =>
            {
                Literal::Number(f64::INFINITY)
            }
            Token::Path(segments) if is_word(&segments, "nan") => {
                return Err(FilterError::new(span, "nothing equals NaN, and nothing is less")
                    .help("write `is nan`"));
            }
            Token::Path(_) | Token::Bare(_) => {
                let text = &self.text[span.clone()];
                return Err(FilterError::new(span.clone(), format!("`{text}` is not a value"))
                    .help(help_quotes(text)));
            }
            Token::Backquoted(text) => {
                return Err(
                    FilterError::new(span, "backquotes are for keys").help(help_quotes(&text))
                );
            }
            Token::Operator(_) => {
                return Err(FilterError::new(span, "a value is missing before this"));
            }
            Token::Open | Token::Close | Token::Comma | Token::End => {
                return Err(FilterError::new(span, "a value is missing here")
                    .help("a number, or a text in quotes"));
            }
        };
        self.at += 1;
        Ok(Operand { value, span })
    }

    fn refuse_null(&self) -> Result<(), FilterError> {
        if ["null", "none"].iter().any(|word| self.is_keyword(word)) {
            return Err(self.error("nothing equals null").help("write `is null` or `is not null`"));
        }
        Ok(())
    }

    fn no_operator(&self) -> FilterError {
        let error = self.error("a comparison is missing here");
        match self.peek() {
            Token::Path(segments) => {
                const OPERATORS: [&str; 5] = ["in", "like", "ilike", "between", "is"];
                match super::suggest::nearest(&segments[0].text, OPERATORS) {
                    Some(nearest) => error.help(format!("did you mean `{nearest}`?")),
                    None => error.help("such as > 0.97, = 'vision', in ('a', 'b'), is not null"),
                }
            }
            Token::Comma => error.help("join conditions with `and` or `or`"),
            _ => error.help("such as > 0.97, = 'vision', in ('a', 'b'), is not null"),
        }
    }
}

fn is_word(segments: &[Segment], word: &str) -> bool {
    matches!(segments, [only] if !only.quoted && only.text.eq_ignore_ascii_case(word))
}

fn is_and(expr: Expr) -> Result<Vec<Expr>, Expr> {
    if let Expr::And(inner) = expr { Ok(inner) } else { Err(expr) }
}

fn is_or(expr: Expr) -> Result<Vec<Expr>, Expr> {
    if let Expr::Or(inner) = expr { Ok(inner) } else { Err(expr) }
}

/// What stands in parentheses among its like, beside them: `a and (b and c)`.
fn flat(all: Vec<Expr>, inner: fn(Expr) -> Result<Vec<Expr>, Expr>) -> Vec<Expr> {
    all.into_iter().flat_map(|expr| inner(expr).unwrap_or_else(|expr| vec![expr])).collect()
}
