//! Orders as SQL: by a value that may be missing, with NaN behind all numbers and what is missing
//! behind both, whatever the direction; and in the end the newest first.

use super::Context;
use super::fragment::{Dialect, Fragment};
use super::source::{Source, param_text, source};
use crate::filter::{Field, Order};

/// The keys of `order`, each with a comma behind it. Of several values the run counts as the one
/// that comes first.
pub(crate) fn keys(sql: &mut Fragment, context: &Context, order: &[Order]) {
    for Order { field, descending } in order {
        let direction = if *descending { " DESC NULLS LAST, " } else { " ASC NULLS LAST, " };
        let first = if *descending { "max(" } else { "min(" };
        match source(context, field) {
            Source::Rows(rows, value) if matches!(field, Field::Metric(_)) => {
                sql.push("(SELECT ").push(first).push(value).push(") FROM ").append(rows.clone());
                if context.dialect == Dialect::Postgres {
                    sql.push(" AND m.value < 'NaN'");
                }
                sql.push(")").push(direction);
                sql.push("EXISTS (SELECT 1 FROM ").append(rows).push(") DESC, ");
            }
            Source::Rows(rows, _) if matches!(field, Field::Param(_)) => {
                let text = param_text(context.dialect);
                sql.push("(SELECT p.number FROM ").append(rows.clone()).push(")").push(direction);
                sql.push("(SELECT ").push(text);
                by_bytes(sql, context, field);
                sql.push(" FROM ").append(rows).push(" AND p.number IS NULL)").push(direction);
            }
            Source::Rows(rows, value) => {
                sql.push("(SELECT ").push(first).push(value);
                by_bytes(sql, context, field);
                sql.push(") FROM ").append(rows).push(")").push(direction);
            }
            Source::Run(value) => {
                sql.push(value);
                by_bytes(sql, context, field);
                sql.push(direction);
            }
        }
    }
}

/// Texts are in the order of their bytes, whatever the language of a Postgres database.
fn by_bytes(sql: &mut Fragment, context: &Context, field: &Field) {
    if context.dialect == Dialect::Postgres && field.is_text() {
        sql.push(" COLLATE \"C\"");
    }
}
