//! What a kind finds wrong with its configuration, placed by path; the plan turns the path into
//! a line and column.

use std::fmt;

/// One step on the way to a value inside `with` (or inside the stage, see [`Issue::path`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathSegment {
    /// A key of a mapping.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

impl From<&str> for PathSegment {
    fn from(key: &str) -> Self {
        PathSegment::Key(key.to_owned())
    }
}

impl From<String> for PathSegment {
    fn from(key: String) -> Self {
        PathSegment::Key(key)
    }
}

impl From<usize> for PathSegment {
    fn from(index: usize) -> Self {
        PathSegment::Index(index)
    }
}

impl fmt::Display for PathSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathSegment::Key(key) => write!(f, "{key}"),
            PathSegment::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Something wrong, where, and the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// The way to the value, from the stage: `["with", "parts", "train"]`, `["inputs", "data"]`.
    /// A place that does not exist stands for the nearest one that does.
    pub path: Vec<PathSegment>,
    /// Whether the key at the end of the path is meant rather than its value.
    pub at_key: bool,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// Collects [`Issue`]s.
#[derive(Debug, Default)]
pub struct Issues(Vec<Issue>);

impl Issues {
    /// Nothing wrong yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something is wrong with the value at `path` inside `with`.
    ///
    /// ```
    /// # use wick_stage::Issues;
    /// let mut issues = Issues::new();
    /// issues.with(["parts", "train"], "the parts add up to 1.2", "let them add up to at most 1");
    /// ```
    pub fn with<S: Into<PathSegment>>(
        &mut self,
        path: impl IntoIterator<Item = S>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let mut whole = vec![PathSegment::from("with")];
        whole.extend(path.into_iter().map(Into::into));
        self.push(Issue {
            path: whole,
            at_key: false,
            message: message.into(),
            help: Some(help.into()).filter(|help| !help.is_empty()),
        });
    }

    /// Something is wrong with what arrives at input `port`.
    pub fn input(&mut self, port: &str, message: impl Into<String>, help: impl Into<String>) {
        self.push(Issue {
            path: vec!["inputs".into(), port.into()],
            at_key: false,
            message: message.into(),
            help: Some(help.into()).filter(|help| !help.is_empty()),
        });
    }

    /// Adds `issue`.
    pub fn push(&mut self, issue: Issue) {
        self.0.push(issue);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The issues, in the order in which they were found.
    pub fn into_vec(self) -> Vec<Issue> {
        self.0
    }
}
