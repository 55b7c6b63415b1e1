//! What a user asks of `preprocess`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

/// How to make features of columns. Statistics are computed on one input only, and applied to
/// all.
///
/// A column is treated as `columns` says; else, if it is in `drop`, left out; else, if it is in
/// `keep` or the `target`, kept as it is; else as the defaults of its type say (`numeric`,
/// `category`, `date`); else kept as it is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreprocessConfig {
    /// The input that statistics and vocabularies are computed on: by default the one called
    /// `train`, or the only one.
    #[serde(default)]
    pub fit: Option<String>,
    /// The column to predict. It is kept as it is, unless `columns` names it; when a model is
    /// used later it may be absent.
    #[serde(default)]
    pub target: Option<String>,
    /// The treatment of single columns, by name.
    #[serde(default)]
    pub columns: IndexMap<String, ColumnConfig>,
    /// The treatment of every other column of numbers.
    #[serde(default)]
    pub numeric: Option<ColumnConfig>,
    /// The treatment of every other column of text or categories.
    #[serde(default)]
    pub category: Option<ColumnConfig>,
    /// The treatment of every other column of dates or times.
    #[serde(default)]
    pub date: Option<ColumnConfig>,
    /// Columns to leave out.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Columns to keep as they are.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// The treatment of a column, in the order in which it happens: outliers, missing values, then
/// bins or scaling for numbers, an encoding for categories, parts for dates.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnConfig {
    /// How to see the column, where its type and the other keys do not tell: an integer that
    /// means a category, for one.
    #[serde(default, rename = "type")]
    pub column_type: Option<FeatureType>,
    /// What to put where the value is missing.
    #[serde(default)]
    pub impute: Option<Impute>,
    /// Add a column `NAME_missing` that is 1 where the value was missing.
    #[serde(default)]
    pub indicator: bool,
    /// What to do with numbers further than `outlier_threshold` from the mean.
    #[serde(default)]
    pub outlier_strategy: Option<OutlierStrategy>,
    /// How many standard deviations make an outlier; 3 by default.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub outlier_threshold: Option<f64>,
    /// How to scale numbers: one way, or several, one after the other (`[log1p, zscore]`). Also
    /// for the parts of dates, and for categories that became one number: by `ordinal`, `target`
    /// or `frequency`.
    #[serde(default)]
    pub scale: OneOrMany<Scale>,
    /// Cut numbers into bins: the feature is the number of the bin, from 0; with
    /// `encode: onehot` a column for each bin.
    #[serde(default)]
    pub bins: Option<Bins>,
    /// How to make numbers of categories.
    #[serde(default)]
    pub encode: Option<Encode>,
    /// Keep only so many categories, the most frequent; the others share the bucket `other`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub most_common: Option<usize>,
    /// The categories, if they are known: others share the bucket `other`.
    #[serde(default)]
    pub categories: Option<Vec<String>>,
    /// What becomes of a category that the fitted input did not have.
    #[serde(default)]
    pub unknown: Unknown,
    /// How many columns `encode: hash` spreads the categories over; 32 by default.
    #[serde(default)]
    #[schemars(range(min = 2, max = 65536))]
    pub buckets: Option<usize>,
    /// How strongly `encode: target` draws rare categories to the overall mean: it counts as
    /// much as so many rows. 10 by default.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub smoothing: Option<f64>,
    /// The parts to take of a date, each a column `NAME_PART`.
    #[serde(default)]
    pub parts: Vec<DatePart>,
    /// The parts to take of a date as a point on a circle, so that December is next to January:
    /// two columns `NAME_PART_sin` and `NAME_PART_cos` each.
    #[serde(default)]
    pub cycles: Vec<DatePart>,
}

/// How to see a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureType {
    /// As a number.
    Number,
    /// As one of several categories.
    Category,
    /// As a date or a moment.
    Date,
}

/// What to put where a value is missing.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Impute {
    /// The mean (numbers).
    Mean,
    /// The median (numbers, dates).
    Median,
    /// The most frequent value; of equals the smallest.
    Mode,
    /// The last known value before it; where there is none, the first known one of the fitted
    /// input.
    Ffill,
    /// The next known value after it; where there is none, the last known one of the fitted
    /// input.
    Bfill,
    /// Leave out the row. When a model is used later such a row is refused.
    DropRow,
    /// The mean (numbers), the category `missing` (categories), and a column `NAME_missing`
    /// that is 1 where the value was missing.
    Indicator,
    /// This value.
    Constant(Constant),
}

/// A number, a text, or true or false.
#[derive(Debug, Clone, PartialEq)]
pub enum Constant {
    /// True or false.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Constant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Constant::Boolean(value) => value.fmt(f),
            Constant::Number(value) => value.fmt(f),
            Constant::Text(value) => value.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Constant {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Constant;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, a text, true or false")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Constant, E> {
                Ok(Constant::Boolean(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Constant, E> {
                Ok(Constant::Number(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Constant, E> {
                Ok(Constant::Number(value as f64))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Constant, E> {
                Ok(Constant::Number(value as f64))
            }
            fn visit_str<E>(self, value: &str) -> Result<Constant, E> {
                Ok(Constant::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Constant {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Constant".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A number, a text, or true or false.",
            "type": ["number", "string", "boolean"]
        })
    }
}

/// What to do with outliers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutlierStrategy {
    /// Move them to the threshold.
    Clip,
    /// Treat them as missing.
    Missing,
}

/// How to scale numbers. Constant columns become 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Subtract the mean, divide by the standard deviation (of the population: ddof 0).
    Zscore,
    /// Map the smallest value to 0 and the largest to 1.
    Minmax,
    /// Subtract the median, divide by the distance between the quartiles.
    Robust,
    /// The natural logarithm of 1 + x; values must be above -1.
    Log1p,
    /// The share of values below: uniform between 0 and 1, by up to 1,000 quantiles.
    Quantile,
}

/// How to cut numbers into bins. Each bin holds its lower edge.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bins {
    /// So many bins with about equally many rows each.
    Quantile(#[schemars(range(min = 2, max = 1000))] usize),
    /// So many bins of equal width.
    Uniform(#[schemars(range(min = 2, max = 1000))] usize),
    /// Between these edges, in rising order; below the first and above the last are bins too.
    Edges(Vec<f64>),
}

/// How to make numbers of categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encode {
    /// A column `NAME_CATEGORY` of 0 and 1 for each category.
    Onehot,
    /// The place of the category in natural order, from 0; unknown ones come last.
    Ordinal,
    /// The mean of the target in the category, drawn to the overall mean (see `smoothing`).
    Target,
    /// One of `buckets` columns `NAME_hash_N` is 1, by a hash of the category.
    Hash,
    /// The share of rows with the category.
    Frequency,
}

/// What becomes of a category that the fitted input did not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It falls into the bucket `other` where the fitted input has rows in it; otherwise all
    /// columns of a one-hot encoding are 0.
    #[default]
    Bucket,
    /// It is an error.
    Error,
}

/// A part of a date or a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatePart {
    /// The year.
    Year,
    /// The quarter, 1 to 4.
    Quarter,
    /// The month, 1 to 12.
    Month,
    /// The ISO week, 1 to 53.
    Week,
    /// The day of the month, 1 to 31.
    Day,
    /// The day of the week, 1 (Monday) to 7.
    Weekday,
    /// The day of the year, 1 to 366.
    DayOfYear,
    /// The hour, 0 to 23.
    Hour,
    /// The minute, 0 to 59.
    Minute,
    /// The second, 0 to 59.
    Second,
    /// Days since 1970, with the time of day as a fraction.
    Days,
}

impl DatePart {
    /// The word used in pipelines and names of columns.
    pub const fn as_str(self) -> &'static str {
        match self {
            DatePart::Year => "year",
            DatePart::Quarter => "quarter",
            DatePart::Month => "month",
            DatePart::Week => "week",
            DatePart::Day => "day",
            DatePart::Weekday => "weekday",
            DatePart::DayOfYear => "day_of_year",
            DatePart::Hour => "hour",
            DatePart::Minute => "minute",
            DatePart::Second => "second",
            DatePart::Days => "days",
        }
    }

    /// The smallest value and how many there are, for a part that comes round again.
    pub const fn cycle(self) -> Option<(f64, f64)> {
        match self {
            DatePart::Year | DatePart::Days => None,
            DatePart::Quarter => Some((1.0, 4.0)),
            DatePart::Month => Some((1.0, 12.0)),
            DatePart::Week => Some((1.0, 53.0)),
            DatePart::Day => Some((1.0, 31.0)),
            DatePart::Weekday => Some((1.0, 7.0)),
            DatePart::DayOfYear => Some((1.0, 366.0)),
            DatePart::Hour => Some((0.0, 24.0)),
            DatePart::Minute | DatePart::Second => Some((0.0, 60.0)),
        }
    }
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
                T::deserialize(serde::de::value::StrDeserializer::new(value))
                    .map(|one| OneOrMany(vec![one]))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut sequence: A,
            ) -> Result<Self::Value, A::Error> {
                let mut many = Vec::new();
                while let Some(one) = sequence.next_element()? {
                    many.push(one);
                }
                Ok(OneOrMany(many))
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<T>();
        schemars::json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}
