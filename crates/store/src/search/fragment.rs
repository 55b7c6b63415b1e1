//! Pieces of SQL with their arguments.

/// Which SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// An argument of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arg {
    Int(i64),
    Float(f64),
    Text(String),
}

/// A piece of SQL. Its text is ours; everything that came from outside is an argument.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fragment {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Sql(&'static str),
    Arg(Arg),
}

impl Fragment {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { parts: vec![Part::Sql(sql)] }
    }

    /// Adds SQL.
    pub(crate) fn push(&mut self, sql: &'static str) -> &mut Self {
        self.parts.push(Part::Sql(sql));
        self
    }

    /// Adds an argument in its place.
    pub(crate) fn bind(&mut self, arg: Arg) -> &mut Self {
        self.parts.push(Part::Arg(arg));
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bind(Arg::Text(text.to_owned()))
    }

    pub(crate) fn int(&mut self, int: i64) -> &mut Self {
        self.bind(Arg::Int(int))
    }

    /// Adds another piece.
    pub(crate) fn append(&mut self, other: Fragment) -> &mut Self {
        self.parts.extend(other.parts);
        self
    }

    /// Adds a list in parentheses; one that nothing is in if there is no argument.
    pub(crate) fn list(&mut self, args: impl IntoIterator<Item = Arg>) -> &mut Self {
        self.push("(");
        let mut is_empty = true;
        for arg in args {
            if !is_empty {
                self.push(", ");
            }
            is_empty = false;
            self.bind(arg);
        }
        if is_empty {
            self.push("SELECT NULL WHERE false");
        }
        self.push(")")
    }

    /// The statement, with `$1`, `$2`, … for its arguments.
    pub(crate) fn finish(self) -> (String, Vec<Arg>) {
        let mut text = String::new();
        let mut args = Vec::new();
        for part in self.parts {
            match part {
                Part::Sql(sql) => text.push_str(sql),
                Part::Arg(arg) => {
                    args.push(arg);
                    text.push_str(&format!("${}", args.len()));
                }
            }
        }
        (text, args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_numbered_across_pieces() {
        let mut inner = Fragment::new("b = ");
        inner.text("x'; DROP TABLE runs; --");
        let mut all = Fragment::new("a = ");
        all.int(1).push(" AND ").append(inner).push(" AND c IN ").list([Arg::Float(0.5)]);
        all.push(" AND d IN ").list([]);
        let (text, args) = all.finish();
        assert_eq!(text, "a = $1 AND b = $2 AND c IN ($3) AND d IN (SELECT NULL WHERE false)");
        let injected = Arg::Text("x'; DROP TABLE runs; --".into());
        assert_eq!(args, [Arg::Int(1), injected, Arg::Float(0.5)]);
    }
}
