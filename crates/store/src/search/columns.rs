//! What a list shows of each run beside what it always shows.

use super::fragment::Fragment;
use super::source::{Source, source};
use super::{Cell, ColumnValue, Context, Database, Shape};
use crate::error::StoreResult;
use crate::filter::{Column, Field};
use crate::rows::json;

/// The values of `columns` for the runs with these ids, in their order.
pub(crate) async fn values<D: Database>(
    database: &D,
    context: &Context,
    columns: &[Column],
    ids: &[i64],
) -> StoreResult<Vec<Vec<Option<ColumnValue>>>> {
    if columns.is_empty() || ids.is_empty() {
        return Ok(vec![Vec::new(); ids.len()]);
    }
    let mut question = Fragment::new("SELECT r.id");
    let mut shape = vec![Shape::Int];
    for Column { field, .. } in columns {
        question.push(", ");
        match source(context, field) {
            // The stage that comes last in the plan has the last word.
            Source::Rows(rows, value) if matches!(field, Field::Metric(_)) => {
                question.push("(SELECT ").push(value).push(" FROM ").append(rows.clone());
                question.push(" ORDER BY m.position DESC, m.key_id LIMIT 1), ");
                question.push("CASE WHEN EXISTS (SELECT 1 FROM ").append(rows);
                question.push(") THEN CAST(1 AS bigint) END");
                shape.extend([Shape::Float, Shape::Int]);
            }
            Source::Rows(rows, _) if matches!(field, Field::Param(_)) => {
                question.push("(SELECT p.value FROM ").append(rows).push(")");
                shape.push(Shape::Text);
            }
            Source::Rows(rows, value) => {
                question.push("(SELECT max(").push(value).push(") FROM ").append(rows).push(")");
                shape.push(if field.is_text() { Shape::Text } else { Shape::Int });
            }
            Source::Run(value) => {
                question.push(value);
                shape.push(if field.is_text() { Shape::Text } else { Shape::Int });
            }
        }
    }
    question.push(" FROM runs r WHERE r.id IN ").list(ids.iter().map(|id| super::Arg::Int(*id)));
    let rows = database.ask(question, &shape).await?;
    let mut values = vec![vec![None; columns.len()]; ids.len()];
    for row in rows {
        let Some(place) = row[0].int().and_then(|id| ids.iter().position(|own| *own == id)) else {
            continue;
        };
        let mut cells = row.into_iter().skip(1);
        for (value, column) in values[place].iter_mut().zip(columns) {
            let cell = cells.next().unwrap_or(Cell::Null);
            *value = if matches!(column.field, Field::Metric(_)) {
                let is_there = cells.next().is_some_and(|there| there != Cell::Null);
                // A row without a number is NaN.
                is_there.then(|| ColumnValue::Number(cell.float().unwrap_or(f64::NAN)))
            } else {
                column_value(&column.field, cell)?
            };
        }
    }
    Ok(values)
}

fn column_value(field: &Field, cell: Cell) -> StoreResult<Option<ColumnValue>> {
    Ok(match cell {
        Cell::Null => None,
        Cell::Float(number) => Some(ColumnValue::Number(number)),
        Cell::Text(text) if matches!(field, Field::Param(_)) => {
            Some(ColumnValue::Json(json("a param's value", &text)?))
        }
        Cell::Text(text) => Some(ColumnValue::Text(text)),
        Cell::Int(int) => Some(field.of_int(int)),
    })
}
