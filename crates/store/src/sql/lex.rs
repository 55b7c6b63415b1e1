//! Reads a question as far as it must be known before a database sees it: whether it is one query,
//! which functions it calls, where it ends.
//!
//! This is no parser, and nothing depends on it alone: it tells strings, quoted names and comments
//! from the rest, as both databases do.

use super::SqlError;

/// Which database's strings and quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// What is known of a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query<'a> {
    /// The query, without what stands behind its semicolon.
    pub text: &'a str,
    /// Names before an opening bracket, as the database reads them: functions, and a few words.
    pub calls: Vec<String>,
    /// Where the names of the first WITH begin; `None` if it does not begin with one.
    pub with: Option<With>,
}

/// The WITH that a query begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct With {
    /// Before the word.
    pub start: usize,
    /// After it, and after RECURSIVE.
    pub end: usize,
    /// Whether it says RECURSIVE.
    pub recursive: bool,
}

/// The words that a query begins with.
const QUERIES: [&str; 4] = ["select", "with", "values", "table"];

/// Reads `text`.
pub(super) fn read(text: &str, dialect: Dialect) -> Result<Query<'_>, SqlError> {
    if let Some(place) = text.find('\0') {
        return Err(SqlError::new("there is a zero byte in it").at(place));
    }
    let mut lexer = Lexer { text, dialect, place: 0 };
    let mut query = Query { text, calls: Vec::new(), with: None };
    let mut began = false;
    let mut after_with = false;
    // What a bracket after it would call.
    let mut callee: Option<String> = None;
    let mut tokens = 0;
    while let Some(token) = lexer.next()? {
        if token.kind == Kind::Semicolon {
            query.text = &text[..token.start];
            if let Some(next) = lexer.next_that_is_not_a_semicolon()? {
                let error = SqlError::new("one query at a time: a second one begins here");
                return Err(error.at(next.start));
            }
            break;
        }
        let name = token.name(text, dialect);
        if !began && token.kind != Kind::Open {
            began = true;
            let word = if token.kind == Kind::Word { name.as_deref() } else { None };
            let word = word.unwrap_or_default().to_ascii_lowercase();
            check_first(&word, token.start)?;
            if word == "with" && tokens == 0 {
                let (start, end) = (token.start, token.end);
                query.with = Some(With { start, end, recursive: false });
                after_with = true;
            }
        } else if std::mem::take(&mut after_with)
            && let Some(with) = &mut query.with
            && token.kind == Kind::Word
            && name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case("recursive"))
        {
            (with.end, with.recursive) = (token.end, true);
        }
        match callee.take() {
            Some(callee) if token.kind == Kind::Open => query.calls.push(callee),
            _ => callee = name,
        }
        tokens += 1;
    }
    if !began {
        return Err(SqlError::new("there is no query").help("a query begins with SELECT"));
    }
    query.calls.sort_unstable();
    query.calls.dedup();
    Ok(query)
}

fn check_first(word: &str, place: usize) -> Result<(), SqlError> {
    if QUERIES.contains(&word) {
        return Ok(());
    }
    let help = if word == "explain" {
        "--explain shows how a query would be answered"
    } else {
        "a query begins with SELECT, WITH or VALUES; nothing else is executed"
    };
    Err(SqlError::new("only queries can be asked, and this is none").at(place).help(help))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A name or a word of the language.
    Word,
    /// A name in quotes.
    Quoted,
    Open,
    Semicolon,
    /// A string, a number, an operator.
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

impl Token {
    /// The name that it is, as the database reads it.
    fn name(&self, text: &str, dialect: Dialect) -> Option<String> {
        let text = &text[self.start..self.end];
        match self.kind {
            // Postgres folds names to lower case; SQLite does not mind the case.
            Kind::Word if dialect == Dialect::Postgres => Some(text.to_lowercase()),
            Kind::Word => Some(text.to_owned()),
            Kind::Quoted => {
                let quote = &text[..1];
                Some(text[1..text.len() - 1].replace(&quote.repeat(2), quote))
            }
            _ => None,
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    dialect: Dialect,
    place: usize,
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || !c.is_ascii()
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.place..]
    }

    /// The next token that is not a comment.
    fn next(&mut self) -> Result<Option<Token>, SqlError> {
        self.skip()?;
        let start = self.place;
        let postgres = self.dialect == Dialect::Postgres;
        let rest = &self.text[start..];
        let Some(c) = rest.chars().next() else { return Ok(None) };
        let second = rest[c.len_utf8()..].chars().next();
        let kind = match c {
            '(' | ';' => {
                self.place += 1;
                if c == '(' { Kind::Open } else { Kind::Semicolon }
            }
            '\'' => self.string(start, false)?,
            'e' | 'E' if postgres && second == Some('\'') => {
                self.place += 1;
                self.string(start, true)?
            }
            'u' | 'U' if postgres && rest[1..].starts_with("&\"") => {
                return Err(SqlError::new("names in Unicode escapes are not understood here")
                    .at(start)
                    .help("write the name itself in double quotes"));
            }
            '"' => self.quoted(start, '"')?,
            '`' if !postgres => self.quoted(start, '`')?,
            '[' if !postgres => self.quoted(start, ']')?,
            '$' if postgres && !second.is_some_and(|c| c.is_ascii_digit()) => {
                self.dollars(start)?
            }
            _ if is_word_start(c) => {
                let length = rest
                    .find(|c: char| !(is_word_start(c) || c.is_ascii_digit() || c == '$'))
                    .unwrap_or(rest.len());
                self.place += length;
                Kind::Word
            }
            _ if c.is_ascii_digit() => {
                let length = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
                    .unwrap_or(rest.len());
                self.place += length;
                Kind::Other
            }
            _ => {
                self.place += c.len_utf8();
                Kind::Other
            }
        };
        Ok(Some(Token { kind, start, end: self.place }))
    }

    fn next_that_is_not_a_semicolon(&mut self) -> Result<Option<Token>, SqlError> {
        loop {
            match self.next()? {
                Some(token) if token.kind == Kind::Semicolon => {}
                other => return Ok(other),
            }
        }
    }

    /// Passes white space and comments.
    fn skip(&mut self) -> Result<(), SqlError> {
        loop {
            let rest = self.rest();
            let start = self.place;
            if rest.starts_with("--") {
                self.place += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                self.comment(start)?;
            } else {
                let trimmed = rest.trim_start();
                let passed = rest.len() - trimmed.len();
                if passed == 0 {
                    return Ok(());
                }
                self.place += passed;
            }
        }
    }

    /// A comment in signs. In Postgres they nest.
    fn comment(&mut self, start: usize) -> Result<(), SqlError> {
        let mut depth = 0_u32;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                depth += 1;
                self.place += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.place += 2;
                if depth == 0 {
                    return Ok(());
                }
            } else if let Some(c) = rest.chars().next() {
                self.place += c.len_utf8();
            } else {
                return Err(SqlError::new("this comment has no end").at(start));
            }
        }
    }

    /// A string, whose opening quote is next.
    fn string(&mut self, start: usize, escapes: bool) -> Result<Kind, SqlError> {
        self.place += 1;
        while let Some(c) = self.rest().chars().next() {
            self.place += c.len_utf8();
            match c {
                '\\' if escapes => {
                    self.place += self.rest().chars().next().map_or(0, char::len_utf8);
                }
                '\'' if self.rest().starts_with('\'') => self.place += 1,
                '\'' => return Ok(Kind::Other),
                _ => {}
            }
        }
        Err(SqlError::new("this string has no end").at(start))
    }

    /// A name in quotes, whose opening quote is next.
    fn quoted(&mut self, start: usize, close: char) -> Result<Kind, SqlError> {
        self.place += 1;
        while let Some(c) = self.rest().chars().next() {
            self.place += c.len_utf8();
            if c == close {
                // `]` cannot be doubled.
                if close != ']' && self.rest().starts_with(close) {
                    self.place += 1;
                } else {
                    return Ok(Kind::Quoted);
                }
            }
        }
        Err(SqlError::new("this name in quotes has no end").at(start))
    }

    /// `$tag$ … $tag$`, or a dollar that begins nothing.
    fn dollars(&mut self, start: usize) -> Result<Kind, SqlError> {
        let rest = self.rest();
        let tag_end = rest[1..].find(|c: char| !(is_word_start(c) || c.is_ascii_digit()));
        let tag = match tag_end {
            Some(end) if rest[1 + end..].starts_with('$') => &rest[..end + 2],
            _ => {
                self.place += 1;
                return Ok(Kind::Other);
            }
        };
        match rest[tag.len()..].find(tag) {
            Some(content) => {
                self.place += content + 2 * tag.len();
                Ok(Kind::Other)
            }
            None => Err(SqlError::new("this string in dollars has no end").at(start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect::*;
    use super::*;

    #[test]
    fn one_query_is_taken() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            for dialect in [Sqlite, Postgres] {
                assert_eq!(read(text, dialect).expect(text).text, expect);
            }
        }
        check("SELECT 1", "SELECT 1");
        check(" -- why\n/* and */ select 1; ; -- done", " -- why\n/* and */ select 1");
        check(
            "SELECT ';--', \"a;b\", 'it''s;' FROM runs;",
            "SELECT ';--', \"a;b\", 'it''s;' FROM runs",
        );
        check("(SELECT 1) UNION (VALUES (2))", "(SELECT 1) UNION (VALUES (2))");
        check("((with a as (select 1) select 2));", "((with a as (select 1) select 2))");
    }

    #[test]
    fn what_is_no_query_is_refused_at_its_place() {
        #[track_caller]
        fn check(dialect: Dialect, text: &str, place: Option<usize>, expect: &str) {
            let error = read(text, dialect).expect_err(text);
            assert_eq!(error.place, place, "{text}: {error}");
            assert!(error.message.contains(expect), "{text}: {error}");
        }
        for dialect in [Sqlite, Postgres] {
            check(dialect, "", None, "no query");
            check(dialect, " -- nothing", None, "no query");
            check(dialect, "; ;", None, "no query");
            check(dialect, "DELETE FROM runs", Some(0), "only queries");
            check(dialect, "/* x */ DROP TABLE runs", Some(8), "only queries");
            check(dialect, "(DELETE FROM runs)", Some(1), "only queries");
            check(dialect, "explain select 1", Some(0), "only queries");
            check(dialect, "'select'", Some(0), "only queries");
            check(dialect, "\"select\" 1", Some(0), "only queries");
            check(dialect, "SELECT 1; DELETE FROM runs", Some(10), "one query");
            check(dialect, "SELECT 1; -- x\n;; SELECT 2", Some(18), "one query");
            check(dialect, "SELECT 'a", Some(7), "no end");
            check(dialect, "SELECT \"a", Some(7), "no end");
            check(dialect, "SELECT /* a", Some(7), "no end");
            check(dialect, "SELECT 1\0", Some(8), "zero byte");
        }
        check(Postgres, "SELECT /* a /* b */", Some(7), "no end");
        check(Postgres, "SELECT $a$ ; $b$", Some(7), "no end");
        check(Postgres, "SELECT E'\\'; DELETE", Some(7), "no end");
        check(Postgres, "SELECT 1 AS U&\"x\"", Some(12), "Unicode escapes");
        check(Sqlite, "SELECT [a", Some(7), "no end");
        check(Sqlite, "SELECT `a", Some(7), "no end");
    }

    #[test]
    fn strings_differ_between_the_databases() {
        let text = "SELECT $x$ ; $x$, E'\\';', /* /* ; */ ; */ 1";
        assert_eq!(read(text, Postgres).expect("one").text, text);
        assert_eq!(read("SELECT [;], `;`", Sqlite).expect("one").text, "SELECT [;], `;`");
        assert!(read("SELECT '\\';'", Postgres).is_err(), "a backslash is a character");
        assert!(read("SELECT /* /* */ 1", Sqlite).is_ok(), "comments do not nest");
    }

    #[test]
    fn calls_are_found_however_they_are_written() {
        let text = "select Count(*), \"Odd name\" (1), a.b /* c */ (2), 'd'(3), (4) from e, f(5)";
        let calls = read(text, Postgres).expect("one").calls;
        assert_eq!(calls, ["Odd name", "b", "count", "f"]);
    }

    #[test]
    fn the_first_with_is_found() {
        let with = |text| read(text, Postgres).expect("one").with;
        assert_eq!(with("SELECT 1"), None);
        assert_eq!(with("(WITH a AS (SELECT 1) SELECT 2)"), None);
        let found = with(" WITH a AS (SELECT 1) SELECT 2").expect("it has one");
        assert_eq!((found.start, found.end, found.recursive), (1, 5, false));
        let found = with("with /* */ Recursive a AS (SELECT 1) SELECT 2").expect("it has one");
        assert_eq!((found.start, found.end, found.recursive), (0, 20, true));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([a-z$'\"`;/*()\\[\\]\\\\ \n-]|é|E'|U&\"|with|select ){0,40}") {
            for dialect in [Sqlite, Postgres] {
                let _ = read(&text, dialect);
                let _ = read(&format!("select {text}"), dialect);
            }
        }
    }
}
