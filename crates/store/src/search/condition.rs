//! Conditions as SQL over `runs r`, with two truth values: none of them is ever NULL, so that `not`
//! turns each into its opposite.

use super::Context;
use super::fragment::{Arg, Dialect, Fragment};
use super::source::{Source, param_text, source};
use crate::filter::{Comparison, Condition, Expr, Field, Pattern, RunField, Test, Value};

/// Adds `expr` to `sql`.
pub(crate) fn expr(sql: &mut Fragment, context: &Context, expr: &Expr) {
    match expr {
        Expr::Always(true) => _ = sql.push("true"),
        Expr::Always(false) => _ = sql.push("false"),
        Expr::And(all) => joined(sql, context, all, " AND "),
        Expr::Or(all) => joined(sql, context, all, " OR "),
        Expr::Not(inner) => {
            sql.push("NOT ");
            joined(sql, context, std::slice::from_ref(inner), "");
        }
        Expr::Is(condition) => self::condition(sql, context, condition),
    }
}

fn joined(sql: &mut Fragment, context: &Context, all: &[Expr], word: &'static str) {
    sql.push("(");
    for (place, one) in all.iter().enumerate() {
        if place > 0 {
            sql.push(word);
        }
        expr(sql, context, one);
    }
    sql.push(")");
}

fn condition(sql: &mut Fragment, context: &Context, condition: &Condition) {
    let Condition { field, test } = condition;
    match (source(context, field), test) {
        // A row whose value is NULL is one for metrics, where it stands for NaN, and none
        // elsewhere.
        (Source::Rows(rows, value), Test::Missing | Test::Present) => {
            sql.push(if *test == Test::Missing { "NOT " } else { "" });
            sql.push(exists(context.dialect)).append(rows);
            if !matches!(field, Field::Metric(_) | Field::Param(_)) {
                sql.push(" AND ").push(value).push(" IS NOT NULL");
            }
            sql.push(exists_end(context.dialect));
        }
        (Source::Rows(rows, value), test) => {
            sql.push(exists(context.dialect)).append(rows).push(" AND (");
            match field {
                Field::Metric(_) => metric_test(sql, context.dialect, value, test),
                Field::Param(_) => param_test(sql, context.dialect, test),
                _ => plain_test(sql, context.dialect, value, test),
            }
            sql.push(")").push(exists_end(context.dialect));
        }
        (Source::Run(value), Test::Missing) => {
            sql.push(value).push(" IS NULL");
        }
        (Source::Run(value), Test::Present) => {
            sql.push(value).push(" IS NOT NULL");
        }
        (Source::Run(value), test) => {
            let is_always_there =
                matches!(field, Field::Run(RunField::Id | RunField::State | RunField::Started));
            sql.push(if is_always_there { "(" } else { "coalesce(" });
            plain_test(sql, context.dialect, value, test);
            sql.push(if is_always_there { ")" } else { ", false)" });
        }
    }
}

/// That there are rows. SQLite 3.51 makes a join of a plain `EXISTS`, and with an `OFFSET` such a
/// join gives a run again for each of its rows; the plus sign keeps it a condition.
pub(crate) const fn exists(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "+EXISTS (SELECT 1 FROM ",
        Dialect::Postgres => "EXISTS (SELECT 1 FROM ",
    }
}

/// The end of [`exists`]. Postgres would make a join of it, too, and at times begin with the wrong
/// side of it; behind an `OFFSET` it asks for each run.
pub(crate) const fn exists_end(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => ")",
        Dialect::Postgres => " OFFSET 0)",
    }
}

fn arg(value: &Value) -> Arg {
    match value {
        Value::Number(number) => Arg::Float(*number),
        Value::Text(text) => Arg::Text(text.clone()),
        Value::Moment(micros) | Value::Duration(micros) => Arg::Int(*micros),
    }
}

/// A test of a value that is there; NULL if it is not.
fn plain_test(sql: &mut Fragment, dialect: Dialect, value: &'static str, test: &Test) {
    match test {
        Test::Missing => _ = sql.push(value).push(" IS NULL"),
        Test::Present => _ = sql.push(value).push(" IS NOT NULL"),
        Test::Nan { .. } => _ = sql.push("false"),
        Test::Compare(operator, right) => {
            sql.push(value);
            if !matches!(operator, Comparison::Equal | Comparison::NotEqual) {
                by_bytes(sql, dialect, right);
            }
            sql.push(operator_sql(*operator)).bind(arg(right));
        }
        Test::Between { low, high, negated } => {
            sql.push(value);
            by_bytes(sql, dialect, low);
            sql.push(if *negated { " NOT BETWEEN " } else { " BETWEEN " });
            sql.bind(arg(low)).push(" AND ").bind(arg(high));
        }
        Test::In { values, negated } => {
            sql.push(value).push(if *negated { " NOT IN " } else { " IN " });
            sql.list(values.iter().map(arg));
        }
        Test::Like { pattern, ignore_case, negated } => {
            like(sql, dialect, value, pattern, *ignore_case, *negated);
        }
    }
}

const fn operator_sql(operator: Comparison) -> &'static str {
    match operator {
        Comparison::Equal => " = ",
        Comparison::NotEqual => " <> ",
        Comparison::Less => " < ",
        Comparison::LessOrEqual => " <= ",
        Comparison::Greater => " > ",
        Comparison::GreaterOrEqual => " >= ",
    }
}

/// Texts are in the order of their bytes, whatever the language of a Postgres database.
fn by_bytes(sql: &mut Fragment, dialect: Dialect, right: &Value) {
    if dialect == Dialect::Postgres && matches!(right, Value::Text(_)) {
        sql.push(" COLLATE \"C\"");
    }
}

/// Upper and lower case are the same for ASCII letters only: more SQLite does not know.
fn like(
    sql: &mut Fragment,
    dialect: Dialect,
    value: &'static str,
    pattern: &str,
    ignore_case: bool,
    negated: bool,
) {
    let lower = pattern.to_ascii_lowercase();
    let pattern = Pattern::new(if ignore_case { &lower } else { pattern });
    sql.push(if ignore_case { "lower(" } else { "(" }).push(value);
    match dialect {
        Dialect::Sqlite => {
            sql.push(if negated { ") NOT GLOB " } else { ") GLOB " }).text(&pattern.glob());
        }
        Dialect::Postgres => {
            sql.push(if negated { " COLLATE \"C\") NOT LIKE " } else { " COLLATE \"C\") LIKE " });
            sql.text(&pattern.like());
        }
    }
}

/// What makes a number of `m.value`: it is NULL for NaN in SQLite, and NaN is the greatest number
/// in Postgres.
const fn is_number(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "m.value IS NOT NULL",
        Dialect::Postgres => "m.value < 'NaN'",
    }
}

/// A test of a metric that is there, and may be NaN: nothing equals it, nothing is less or greater.
fn metric_test(sql: &mut Fragment, dialect: Dialect, value: &'static str, test: &Test) {
    let negated = match test {
        Test::Nan { negated } => {
            sql.push(if *negated { "" } else { "NOT coalesce(" }).push(is_number(dialect));
            sql.push(if *negated { "" } else { ", false)" });
            return;
        }
        Test::Compare(operator, _) => *operator == Comparison::NotEqual,
        Test::Between { negated, .. } | Test::In { negated, .. } => *negated,
        _ => false,
    };
    if negated {
        sql.push("m.value IS NULL OR ");
    } else {
        sql.push(is_number(dialect)).push(" AND ");
    }
    plain_test(sql, dialect, value, test);
}

/// The JSON that a param of this text may be: a text, or what is written without quotes.
pub(crate) fn param_json(text: &str) -> impl Iterator<Item = Arg> + use<> {
    let quoted = serde_json::Value::String(text.to_owned()).to_string();
    let bare = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .filter(|value| !value.is_string())
        .map(|value| value.to_string())
        // Written otherwise it is another text: `0.10`.
        .filter(|written| written == text);
    std::iter::once(quoted).chain(bare).map(Arg::Text)
}

/// A test of a param that is there. Numbers are compared with numbers, everything as a text with
/// texts; what is no number is unequal to every number.
fn param_test(sql: &mut Fragment, dialect: Dialect, test: &Test) {
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    match test {
        Test::Compare(operator @ (Comparison::Equal | Comparison::NotEqual), value) => {
            let negated = *operator == Comparison::NotEqual;
            param_in(sql, std::slice::from_ref(value), negated);
        }
        Test::In { values, negated } => param_in(sql, values, *negated),
        Test::Compare(_, value) | Test::Between { low: value, .. } if is_text(value) => {
            plain_test(sql, dialect, param_text(dialect), test);
        }
        Test::Between { negated: true, .. } => {
            sql.push("p.number IS NULL OR ");
            plain_test(sql, dialect, "p.number", test);
        }
        Test::Like { .. } => plain_test(sql, dialect, param_text(dialect), test),
        _ => plain_test(sql, dialect, "p.number", test),
    }
}

fn param_in(sql: &mut Fragment, values: &[Value], negated: bool) {
    let numbers = || values.iter().filter(|value| matches!(value, Value::Number(_)));
    let texts = || {
        values.iter().filter_map(|value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    };
    sql.push(if negated { "NOT (false" } else { "(false" });
    if numbers().next().is_some() {
        sql.push(" OR (p.number IS NOT NULL AND p.number IN ").list(numbers().map(arg)).push(")");
    }
    if texts().next().is_some() {
        sql.push(" OR p.value IN ").list(texts().flat_map(|text| param_json(text)));
    }
    sql.push(")");
}
