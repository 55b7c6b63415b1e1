//! From text to tokens, each with its place.

use std::ops::Range;

use super::error::FilterError;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Names joined by dots: `metrics.evaluate."top 5"`. A keyword is one of them, too.
    Path(Vec<Segment>),
    /// A text in `'` or `"`.
    Text(String),
    /// A name in backquotes that no dot joins to anything.
    Backquoted(String),
    Number(f64),
    /// Digits that go on as letters: `90s`, `7h2k`.
    Bare(String),
    /// `=`, `!=`, `<`, …
    Operator(Operator),
    Open,
    Close,
    Comma,
    /// The end of the text.
    End,
}

/// A name in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) text: String,
    pub(super) quoted: bool,
    pub(super) span: Range<usize>,
}

pub(super) type Operator = super::expr::Comparison;

/// A token and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) span: Range<usize>,
}

/// All tokens of `text`, and the end.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, FilterError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_spaces();
        let start = lexer.at;
        let token = lexer.next()?;
        let is_end = token == Token::End;
        tokens.push(Placed { token, span: start..lexer.at });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

/// What may stand in a name without quotes. `[` opens a label.
fn is_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '_' | '-' | '/')
}

fn starts_name(char: char) -> bool {
    char.is_alphabetic() || char == '_'
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn next(&mut self) -> Result<Token, FilterError> {
        let Some(first) = self.peek() else { return Ok(Token::End) };
        let one = self.at..self.at + first.len_utf8();
        match first {
            '(' => Ok(self.symbol(Token::Open)),
            ')' => Ok(self.symbol(Token::Close)),
            ',' => Ok(self.symbol(Token::Comma)),
            '=' | '!' | '<' | '>' => self.operator(),
            '\'' | '"' => Ok(Token::Text(self.quoted(first)?)),
            '`' => Ok(Token::Backquoted(self.quoted(first)?)),
            '0'..='9' | '+' | '-' | '.' => self.number(),
            first if starts_name(first) => self.path(),
            '‘' | '’' | '“' | '”' => {
                Err(FilterError::new(one, format!("`{first}` is not a quote that a filter knows"))
                    .help("texts stand in plain quotes: 'vision'"))
            }
            '&' | '|' => Err(FilterError::new(one, format!("`{first}` means nothing here"))
                .help("conditions are joined with `and` and `or`")),
            ';' => Err(FilterError::new(one, "a filter is one condition, not several statements")
                .help("join conditions with `and`")),
            '[' | ']' => Err(FilterError::new(one, format!("`{first}` means nothing here"))
                .help("a list stands in parentheses: in ('a', 'b')")),
            _ => Err(FilterError::new(one, format!("`{first}` means nothing here"))
                .help("keys with odd characters stand in backquotes: tags.`a b`")),
        }
    }

    fn symbol(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn operator(&mut self) -> Result<Token, FilterError> {
        // The longer ones first.
        const ALL: [(&str, Operator); 7] = [
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("==", Operator::Equal),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let span = self.at..self.at + 2;
        if self.rest().starts_with("<>") {
            return Err(FilterError::new(span, "`<>` is not an operator").help("write `!=`"));
        }
        if let Some(wrong) =
            ["=>", "=<", "=!"].iter().find(|wrong| self.rest().starts_with(**wrong))
        {
            let right: String = wrong.chars().rev().collect();
            return Err(FilterError::new(span, format!("`{wrong}` is not an operator"))
                .help(format!("write `{right}`")));
        }
        match ALL.iter().find(|(text, _)| self.rest().starts_with(text)) {
            Some((text, operator)) => {
                self.at += text.len();
                Ok(Token::Operator(*operator))
            }
            None => Err(FilterError::new(self.at..self.at + 1, "`!` means nothing here")
                .help("write `not`, or `!=`")),
        }
    }

    /// What stands between two quotes; a quote in it is written twice.
    fn quoted(&mut self, quote: char) -> Result<String, FilterError> {
        let start = self.at;
        self.at += quote.len_utf8();
        let mut text = String::new();
        while let Some(char) = self.peek() {
            self.at += char.len_utf8();
            if char != quote {
                text.push(char);
            } else if self.peek() == Some(quote) {
                self.at += quote.len_utf8();
                text.push(quote);
            } else {
                return Ok(text);
            }
        }
        Err(FilterError::new(start..self.text.len(), "this quote is never closed")
            .help(format!("end the text with {quote}; a quote in a text is written twice")))
    }

    fn number(&mut self) -> Result<Token, FilterError> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut at = start + usize::from(matches!(bytes[start], b'+' | b'-'));
        let sign_end = at;
        at = digits(at);
        if bytes.get(at) == Some(&b'.') {
            at = digits(at + 1);
        }
        let has_digits = self.text[sign_end..at].bytes().any(|byte| byte.is_ascii_digit());
        if has_digits && matches!(bytes.get(at), Some(b'e' | b'E')) {
            let exponent = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            if digits(exponent) > exponent {
                at = digits(exponent);
            }
        }
        let rest = &self.text[at..];
        let word = rest.find(|char| !is_name(char) && char != '.').unwrap_or(rest.len());
        self.at = at + word;
        let text = &self.text[start..self.at];
        let unsigned = &self.text[sign_end..self.at];
        if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
            let is_negative = text.starts_with('-');
            return Ok(Token::Number(if is_negative { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        if has_digits && word > 0 {
            return Ok(Token::Bare(text.to_owned()));
        }
        match text.parse::<f64>() {
            Ok(number) if has_digits => Ok(Token::Number(number)),
            _ => {
                let shown = self.peek().filter(|_| text.is_empty()).map(String::from);
                let text = shown.unwrap_or_else(|| text.to_owned());
                let end = self.at.max(start + text.len());
                Err(FilterError::new(start..end, format!("`{text}` is not a number")))
            }
        }
    }

    /// Names joined by dots.
    fn path(&mut self) -> Result<Token, FilterError> {
        let mut segments = vec![self.segment()?];
        while self.peek() == Some('.') {
            self.at += 1;
            segments.push(self.segment()?);
        }
        Ok(Token::Path(segments))
    }

    fn segment(&mut self) -> Result<Segment, FilterError> {
        let start = self.at;
        if let Some(quote @ ('`' | '"' | '\'')) = self.peek() {
            let text = self.quoted(quote)?;
            if text.is_empty() {
                return Err(FilterError::new(start..self.at, "a key is at least one character"));
            }
            return Ok(Segment { text, quoted: true, span: start..self.at });
        }
        while let Some(char) = self.peek() {
            if char == '[' && self.at > start {
                self.label()?;
            } else if is_name(char) {
                self.at += char.len_utf8();
            } else {
                break;
            }
        }
        if self.at == start {
            return Err(FilterError::new(start.saturating_sub(1)..start, "a key is missing here")
                .help("a key follows the dot: metrics.accuracy"));
        }
        let text = self.text[start..self.at].to_owned();
        Ok(Segment { text, quoted: false, span: start..self.at })
    }

    /// The label of an instance, with its brackets: it may hold dots, commas and `=`.
    fn label(&mut self) -> Result<(), FilterError> {
        let Some(end) = self.rest().find(']') else {
            let rest = self.at..self.text.len();
            return Err(FilterError::new(rest, "this bracket is never closed")
                .help("an instance of a stage is called as in `stage.train[lr=0.1].status`"));
        };
        self.at += end + 1;
        Ok(())
    }
}
