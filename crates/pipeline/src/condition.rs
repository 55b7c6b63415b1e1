//! Conditions: what `when` says.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A condition, with everything in it that was known when the file was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    text: String,
    root: Expression,
}

/// A part of a condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// A value.
    Value(Value),
    /// What only the run will know.
    Reference(Reference),
    /// `[a, b]`.
    List(Vec<Expression>),
    /// `not a`.
    Not(Box<Expression>),
    /// `a and b`.
    And(Box<Expression>, Box<Expression>),
    /// `a or b`.
    Or(Box<Expression>, Box<Expression>),
    /// `a < b` and the like.
    Compare(Box<Expression>, Comparison, Box<Expression>),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// `==`: of equal type and value; whole and other numbers compare by value.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`: of two numbers or two texts.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
    /// `in`: a value in a list, or a text in a text.
    In,
    /// `not in`.
    NotIn,
}

/// What a condition asks of the run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// `${metrics.STAGE.KEY}`: the latest value of a metric.
    Metric {
        /// The stage.
        stage: String,
        /// The key.
        key: String,
    },
    /// `${values.STAGE.OUTPUT.key}`: what a stage put into a `value`.
    Output {
        /// The stage.
        stage: String,
        /// The output; the stage's only or primary one if it is not named.
        output: Option<String>,
        /// The keys of mappings on the way into it.
        path: Vec<String>,
    },
}

/// What a reference refers to: `None` while there is no such thing, because its stage did not
/// come to make it.
pub type LookUp<'a> = dyn Fn(&Reference) -> Option<Value> + 'a;

/// Why a condition has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Something other than a truth value stands where one is wanted.
    #[error("`{0}` is neither true nor false")]
    NoTruth(Box<Value>),
    /// Two values that have no order.
    #[error("`{}` and `{}` cannot be compared: both must be numbers, or both texts", .0.0, .0.1)]
    NoOrder(Box<(Value, Value)>),
    /// `in` wants a list or a text on its right.
    #[error("`{0}` is neither a list nor a text that something could be in")]
    NoContainer(Box<Value>),
}

impl Condition {
    /// The condition `root`, written as `text`.
    pub fn new(text: impl Into<String>, root: Expression) -> Self {
        Self { text: text.into(), root }
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it asks of the run, in the order in which it is written; may name a thing twice.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        self.root.collect(&mut found);
        found
    }

    /// The same condition with other references in the place of its own, given in the order in
    /// which [`references`](Condition::references) tells them.
    #[must_use]
    pub fn rewritten(mut self, rewrite: &mut dyn FnMut(&Reference) -> Reference) -> Self {
        self.root.rewrite(rewrite);
        self
    }

    /// That both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let text = format!("({}) and ({})", self.text, other.text);
        Self { text, root: Expression::And(Box::new(self.root), Box::new(other.root)) }
    }

    /// Whether it holds. What `look_up` does not find is `null`, which is equal to itself alone,
    /// and neither less nor greater than anything.
    ///
    /// # Errors
    /// If values of types that do not go together meet.
    pub fn holds(&self, look_up: &LookUp<'_>) -> Result<bool, ConditionError> {
        self.root.truth(look_up)
    }

    /// The condition and the values that its references had: for people.
    pub fn explain(&self, look_up: &LookUp<'_>) -> String {
        let mut text = self.text.clone();
        let mut shown: Vec<&Reference> = Vec::new();
        for reference in self.references() {
            if shown.contains(&reference) {
                continue;
            }
            let value = look_up(reference).map_or_else(|| "nothing".to_owned(), |v| v.to_string());
            let link = if shown.is_empty() { ", where" } else { " and" };
            text.push_str(&format!("{link} {reference} is {value}"));
            shown.push(reference);
        }
        text
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reference::Metric { stage, key } => write!(f, "metrics.{stage}.{key}"),
            Reference::Output { stage, output, path } => {
                write!(f, "values.{stage}")?;
                output.iter().chain(path).try_for_each(|part| write!(f, ".{part}"))
            }
        }
    }
}

impl Expression {
    fn collect<'a>(&'a self, found: &mut Vec<&'a Reference>) {
        match self {
            Expression::Value(_) => {}
            Expression::Reference(reference) => found.push(reference),
            Expression::List(items) => items.iter().for_each(|item| item.collect(found)),
            Expression::Not(inner) => inner.collect(found),
            Expression::And(left, right)
            | Expression::Or(left, right)
            | Expression::Compare(left, _, right) => {
                left.collect(found);
                right.collect(found);
            }
        }
    }

    fn rewrite(&mut self, rewrite: &mut dyn FnMut(&Reference) -> Reference) {
        match self {
            Expression::Value(_) => {}
            Expression::Reference(reference) => *reference = rewrite(reference),
            Expression::List(items) => items.iter_mut().for_each(|item| item.rewrite(rewrite)),
            Expression::Not(inner) => inner.rewrite(rewrite),
            Expression::And(left, right)
            | Expression::Or(left, right)
            | Expression::Compare(left, _, right) => {
                left.rewrite(rewrite);
                right.rewrite(rewrite);
            }
        }
    }

    fn truth(&self, look_up: &LookUp<'_>) -> Result<bool, ConditionError> {
        match self {
            Expression::Not(inner) => Ok(!inner.truth(look_up)?),
            Expression::And(left, right) => Ok(left.truth(look_up)? && right.truth(look_up)?),
            Expression::Or(left, right) => Ok(left.truth(look_up)? || right.truth(look_up)?),
            Expression::Compare(left, how, right) => {
                compare(&left.value(look_up)?, *how, &right.value(look_up)?)
            }
            Expression::Value(_) | Expression::Reference(_) | Expression::List(_) => {
                match self.value(look_up)? {
                    Value::Bool(truth) => Ok(truth),
                    other => Err(ConditionError::NoTruth(Box::new(other))),
                }
            }
        }
    }

    fn value(&self, look_up: &LookUp<'_>) -> Result<Value, ConditionError> {
        Ok(match self {
            Expression::Value(value) => value.clone(),
            Expression::Reference(reference) => look_up(reference).unwrap_or(Value::Null),
            Expression::List(items) => {
                let items = items.iter().map(|item| item.value(look_up));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Expression::Not(_)
            | Expression::And(..)
            | Expression::Or(..)
            | Expression::Compare(..) => Value::Bool(self.truth(look_up)?),
        })
    }
}

fn compare(left: &Value, how: Comparison, right: &Value) -> Result<bool, ConditionError> {
    use Comparison::*;
    match how {
        Equal => return Ok(is_equal(left, right)),
        NotEqual => return Ok(!is_equal(left, right)),
        In => return is_in(left, right),
        NotIn => return Ok(!is_in(left, right)?),
        Less | LessOrEqual | Greater | GreaterOrEqual => {}
    }
    if left.is_null() || right.is_null() {
        return Ok(false);
    }
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left.as_f64().zip(right.as_f64()).and_then(|(left, right)| left.partial_cmp(&right))
        }
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => return Err(ConditionError::NoOrder(Box::new((left.clone(), right.clone())))),
    };
    Ok(order.is_some_and(|order| match how {
        Less => order == Ordering::Less,
        LessOrEqual => order != Ordering::Greater,
        Greater => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

/// Numbers are equal by value, however they are written.
fn is_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => left == right,
    }
}

fn is_in(item: &Value, container: &Value) -> Result<bool, ConditionError> {
    match (item, container) {
        (_, Value::Array(items)) => Ok(items.iter().any(|other| is_equal(item, other))),
        (Value::String(part), Value::String(whole)) => Ok(whole.contains(part.as_str())),
        (_, Value::Null) => Ok(false),
        _ => Err(ConditionError::NoContainer(Box::new(container.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_compare_as_people_mean_it() {
        use Comparison::*;
        #[track_caller]
        fn check(left: Value, how: Comparison, right: Value, expect: bool) {
            assert_eq!(compare(&left, how, &right), Ok(expect), "{left} {how:?} {right}");
        }
        check(json!(1), Equal, json!(1.0), true);
        check(json!("1"), Equal, json!(1), false);
        check(json!(null), Equal, json!(null), true);
        check(json!(null), Less, json!(1), false);
        check(json!(null), GreaterOrEqual, json!(1), false);
        check(json!(0.98), GreaterOrEqual, json!(0.98), true);
        check(json!("a"), Less, json!("b"), true);
        check(json!(2), In, json!([1, 2.0]), true);
        check(json!("x"), NotIn, json!(["a"]), true);
        check(json!("ell"), In, json!("hello"), true);
        assert!(compare(&json!("a"), Less, &json!(1)).is_err());
        assert!(compare(&json!(1), In, &json!(1)).is_err());
    }

    #[test]
    fn what_is_not_there_is_null() {
        let reference =
            Reference::Metric { stage: "evaluate".to_owned(), key: "accuracy".to_owned() };
        let condition = Condition::new(
            "${metrics.evaluate.accuracy} > 0.9",
            Expression::Compare(
                Box::new(Expression::Reference(reference)),
                Comparison::Greater,
                Box::new(Expression::Value(json!(0.9))),
            ),
        );
        assert_eq!(condition.holds(&|_| None), Ok(false));
        assert_eq!(condition.holds(&|_| Some(json!(0.95))), Ok(true));
        assert_eq!(
            condition.explain(&|_| Some(json!(0.5))),
            "${metrics.evaluate.accuracy} > 0.9, where metrics.evaluate.accuracy is 0.5"
        );
    }
}
