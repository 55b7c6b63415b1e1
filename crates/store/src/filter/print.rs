//! A filter as text again: what is printed is read as the same filter.

use std::fmt;

use super::expr::{
    Column, Condition, Expr, Field, Filter, MetricName, Order, RunField, Test, Value,
};
use super::literal::{duration_text, moment_text};
use super::words::{ARTIFACT_FIELDS, ATTRIBUTES, DATASET_FIELDS, STAGE_FIELDS, name_of};

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.field, if self.descending { " desc" } else { "" })
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.field.fmt(f)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Always(always) => write!(f, "{always}"),
            Expr::And(all) => joined(f, all, " and "),
            Expr::Or(all) => joined(f, all, " or "),
            Expr::Not(inner) => {
                f.write_str("not ")?;
                grouped(f, inner)
            }
            Expr::Is(condition) => condition.fmt(f),
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, all: &[Expr], word: &str) -> fmt::Result {
    for (place, expr) in all.iter().enumerate() {
        if place > 0 {
            f.write_str(word)?;
        }
        grouped(f, expr)?;
    }
    Ok(())
}

/// In parentheses where it is made of several.
fn grouped(f: &mut fmt::Formatter<'_>, expr: &Expr) -> fmt::Result {
    match expr {
        Expr::And(_) | Expr::Or(_) => write!(f, "({expr})"),
        _ => write!(f, "{expr}"),
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |negated: &bool| if *negated { "not " } else { "" };
        self.field.fmt(f)?;
        match &self.test {
            Test::Missing => f.write_str(" is null"),
            Test::Present => f.write_str(" is not null"),
            Test::Nan { negated } => write!(f, " is {}nan", not(negated)),
            Test::Compare(operator, value) => write!(f, " {} {value}", operator.as_str()),
            Test::Between { low, high, negated } => {
                write!(f, " {}between {low} and {high}", not(negated))
            }
            Test::In { values, negated } => {
                write!(f, " {}in (", not(negated))?;
                for (place, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if place > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Test::Like { pattern, ignore_case, negated } => {
                let word = if *ignore_case { "ilike" } else { "like" };
                write!(f, " {}{word} ", not(negated))?;
                quoted(f, pattern, '\'')
            }
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number:?}"),
            Value::Text(text) => quoted(f, text, '\''),
            Value::Moment(micros) => write!(f, "'{}'", moment_text(*micros)),
            Value::Duration(micros) => write!(f, "'{}'", duration_text(*micros)),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Metric(MetricName { text }) => path(f, &["metrics", text]),
            Field::Param(name) => path(f, &["params", name]),
            Field::Tag(key) => path(f, &["tags", key]),
            Field::Run(field) => f.write_str(name_of::<RunField>(&ATTRIBUTES, field)),
            Field::Stage { stage, field } => {
                path(f, &["stage", stage, name_of(&STAGE_FIELDS, field)])
            }
            Field::Artifact { stage, port, field } => {
                let field = name_of(&ARTIFACT_FIELDS, field);
                match port {
                    Some(port) => path(f, &["artifact", stage, port, field]),
                    None => path(f, &["artifact", stage, field]),
                }
            }
            Field::Dataset(field) => path(f, &["dataset", name_of(&DATASET_FIELDS, field)]),
        }
    }
}

fn path(f: &mut fmt::Formatter<'_>, names: &[&str]) -> fmt::Result {
    for (place, name) in names.iter().enumerate() {
        if place > 0 {
            f.write_str(".")?;
        }
        let is_plain = !name.is_empty()
            && name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'));
        if is_plain {
            f.write_str(name)?;
        } else {
            quoted(f, name, '`')?;
        }
    }
    Ok(())
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    write!(f, "{quote}{}{quote}", text.replace(quote, &format!("{quote}{quote}")))
}
