//! A checked filter: every comparison is one that can be answered.

/// A checked filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter(pub(crate) Expr);

/// One field of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub(crate) field: Field,
    pub(crate) descending: bool,
}

/// A column of a list of runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub(crate) name: String,
    pub(crate) field: Field,
}

/// A condition of conditions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    /// True for every run, or for none.
    Always(bool),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Is(Condition),
}

/// What is asked of one field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    pub(crate) field: Field,
    pub(crate) test: Test,
}

/// A test. All but `Missing` are false where the field is missing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// `is null`.
    Missing,
    /// `is not null`.
    Present,
    /// `is nan`; negated, a number that is one.
    Nan {
        negated: bool,
    },
    Compare(Comparison, Value),
    /// Both ends are included.
    Between {
        low: Value,
        high: Value,
        negated: bool,
    },
    In {
        values: Vec<Value>,
        negated: bool,
    },
    Like {
        pattern: String,
        ignore_case: bool,
        negated: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Never NaN.
    Number(f64),
    Text(String),
    /// Microseconds since 1970.
    Moment(i64),
    /// Microseconds.
    Duration(i64),
}

/// What can be asked of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Metric(MetricName),
    Param(String),
    Tag(String),
    Run(RunField),
    Stage {
        stage: String,
        field: StageField,
    },
    Artifact {
        stage: String,
        port: Option<String>,
        field: ArtifactField,
    },
    /// What the run's stages read of the type dataset: MLflow's words for it.
    Dataset(DatasetField),
}

/// A metric as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetricName {
    /// `accuracy`, `evaluate.accuracy`.
    pub(crate) text: String,
}

impl MetricName {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The stage and the key that the name may mean, besides a key of any stage: no stage has a
    /// dot in its name, but for the label of an instance.
    pub(crate) fn stage_and_key(&self) -> Option<(&str, &str)> {
        let mut in_label = false;
        let dot = self.text.find(|char| {
            match char {
                '[' => in_label = true,
                ']' => in_label = false,
                _ => {}
            }
            char == '.' && !in_label
        })?;
        let (stage, key) = (&self.text[..dot], &self.text[dot + 1..]);
        let names_both = wick_core::id::check_stage_name(stage).is_ok() && !key.is_empty();
        names_both.then_some((stage, key))
    }
}

/// What is asked of the run itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunField {
    Id,
    Name,
    Experiment,
    Pipeline,
    State,
    Started,
    Finished,
    Duration,
    Parent,
    Starred,
    Archived,
    Deleted,
    Note,
    User,
    Host,
    Commit,
    Branch,
    Dirty,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StageField {
    Status,
    Duration,
    Attempts,
    Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArtifactField {
    Digest,
    Bytes,
    Type,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatasetField {
    Name,
    Digest,
    Context,
}

/// What values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    /// A number, or a text: params.
    Either,
    Text,
    /// 64 hexadecimal digits.
    Digest,
    Moment,
    Duration,
    RunState,
    StageState,
}

impl Field {
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Field::Metric(_) => Kind::Number,
            Field::Param(_) => Kind::Either,
            Field::Tag(_) => Kind::Text,
            Field::Run(field) => match field {
                RunField::State => Kind::RunState,
                RunField::Started
                | RunField::Finished
                | RunField::Starred
                | RunField::Archived
                | RunField::Deleted => Kind::Moment,
                RunField::Duration => Kind::Duration,
                _ => Kind::Text,
            },
            Field::Stage { field, .. } => match field {
                StageField::Status => Kind::StageState,
                StageField::Duration => Kind::Duration,
                StageField::Attempts => Kind::Number,
                StageField::Kind => Kind::Text,
            },
            Field::Artifact { field, .. } => match field {
                ArtifactField::Digest => Kind::Digest,
                ArtifactField::Bytes => Kind::Number,
                ArtifactField::Type => Kind::Text,
            },
            Field::Dataset(field) => match field {
                DatasetField::Digest => Kind::Digest,
                _ => Kind::Text,
            },
        }
    }

    /// Whether it is true or false of a run, so that its name alone is a condition.
    pub(crate) const fn is_flag(&self) -> bool {
        matches!(
            self,
            Field::Run(
                RunField::Starred | RunField::Archived | RunField::Deleted | RunField::Dirty
            )
        )
    }

    /// What it is, for people.
    pub(crate) const fn noun(&self) -> &'static str {
        match self {
            Field::Metric(_) => "a metric",
            Field::Param(_) => "a param",
            Field::Tag(_) => "a tag",
            _ => match self.kind() {
                Kind::Number => "a number",
                Kind::Either | Kind::Text => "a text",
                Kind::Digest => "a digest",
                Kind::Moment => "a time",
                Kind::Duration => "a duration",
                Kind::RunState | Kind::StageState => "a state",
            },
        }
    }
}

impl Field {
    /// Whether its values are texts in the database.
    pub(crate) const fn is_text(&self) -> bool {
        matches!(
            self.kind(),
            Kind::Either | Kind::Text | Kind::Digest | Kind::RunState | Kind::StageState
        )
    }

    /// A whole number of the database as what it means.
    pub(crate) const fn of_int(&self, int: i64) -> crate::search::ColumnValue {
        match self.kind() {
            Kind::Moment => crate::search::ColumnValue::Moment(wick_core::Timestamp(int)),
            Kind::Duration => crate::search::ColumnValue::Duration(int),
            _ => crate::search::ColumnValue::Number(int as f64),
        }
    }
}
