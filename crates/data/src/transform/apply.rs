//! Applies a fitted transform to a table.

use polars::prelude::{
    Column as TableColumn, DataFrame, Float32Chunked, IntoColumn, NewChunkedArray,
};

use super::Step;
use super::config::FeatureType;
use super::encode::{CategoryPlan, Encoding, bucket, fill_texts, texts_of};
use super::fit::{DateColumn, DatePlan, MissingMask, Treatment, Wave, moments_of, sees};
use super::number::{Fill, NumberPlan, fill_in, scale, values_of};
use crate::columns::{column_type, names_of};
use crate::dates::date_part;
use crate::error::{DataError, DataResult};

/// What to do with rows that `impute: drop_row` does not want.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingRows {
    /// Leave them out, as in training.
    Drop,
    /// Refuse the table: every row wants an answer.
    Refuse,
}

pub(crate) fn apply_step(
    step: &Step,
    frame: &DataFrame,
    missing_rows: MissingRows,
) -> DataResult<DataFrame> {
    check_columns(step, frame)?;
    let frame = drop_rows(step, frame, missing_rows)?;
    let mut columns = Vec::new();
    for fitted in &step.columns {
        let name = fitted.column.name.as_str();
        let Ok(column) = frame.column(name) else { continue };
        let series = column.as_materialized_series();
        match &fitted.treatment {
            Treatment::Keep => columns.push(column.clone()),
            Treatment::Number(plan) => {
                apply_number(name, plan, values_of(series)?, &mut columns)?;
            }
            Treatment::Category(plan) => {
                apply_category(name, plan, series, &mut columns)?;
            }
            Treatment::Date(plan) => apply_date(plan, moments_of(series)?, &mut columns)?,
        }
    }
    DataFrame::new(frame.height(), columns)
        .map_err(|error| DataError::polars("put the treated columns together", error))
}

/// Every column that is needed is there, and is what it was.
fn check_columns(step: &Step, frame: &DataFrame) -> DataResult {
    for fitted in &step.columns {
        let name = fitted.column.name.as_str();
        let Ok(column) = frame.column(name) else {
            if fitted.optional {
                continue;
            }
            return Err(DataError::no_column(name, names_of(frame)));
        };
        let seen = match &fitted.treatment {
            Treatment::Keep => continue,
            Treatment::Number(_) => FeatureType::Number,
            Treatment::Category(_) => FeatureType::Category,
            Treatment::Date(_) => FeatureType::Date,
        };
        // A column without a single value has no type of its own.
        let now = column_type(column.dtype());
        if column.null_count() < column.len() && sees(&now, seen).is_err() {
            return Err(DataError::column(
                name,
                format!(
                    "holds {now}, and was {} when the transform was fitted",
                    fitted.column.column_type
                ),
            )
            .help(format!("give it as {}", fitted.column.column_type)));
        }
    }
    Ok(())
}

fn drop_rows(step: &Step, frame: &DataFrame, missing_rows: MissingRows) -> DataResult<DataFrame> {
    let mut missing = MissingMask::default();
    for fitted in &step.columns {
        let name = fitted.column.name.as_str();
        let Ok(column) = frame.column(name) else { continue };
        let series = column.as_materialized_series();
        let before = missing.first();
        match &fitted.treatment {
            Treatment::Number(plan) if plan.fill == Some(Fill::DropRow) => {
                let mut values = values_of(series)?;
                plan.limit(&mut values);
                missing.add(values.iter().map(|value| value.is_nan()));
            }
            treatment if drops(treatment) => {
                missing.add(series.is_null().iter().map(|null| null.unwrap_or(true)));
            }
            _ => {}
        }
        if missing_rows == MissingRows::Refuse
            && before.is_none()
            && let Some(row) = missing.first()
        {
            return Err(DataError::column(
                name,
                format!(
                    "is missing or an outlier in row {}, and training left such rows out",
                    row + 1
                ),
            )
            .help("give a value, or train with another `impute`"));
        }
    }
    missing.without(frame)
}

fn drops(treatment: &Treatment) -> bool {
    match treatment {
        Treatment::Keep => false,
        Treatment::Number(plan) => plan.fill == Some(Fill::DropRow),
        Treatment::Category(plan) => plan.fill == Some(Fill::DropRow),
        Treatment::Date(plan) => plan.fill == Some(Fill::DropRow),
    }
}

fn apply_number(
    name: &str,
    plan: &NumberPlan,
    mut values: Vec<f64>,
    columns: &mut Vec<TableColumn>,
) -> DataResult {
    plan.limit(&mut values);
    let indicator = plan.indicator.as_ref().map(|name| missing_column(name, &values));
    fill_in(plan.fill.as_ref(), &mut values);
    plan.finish(name, &mut values)?;
    match &plan.onehot {
        Some(names) => {
            // A missing number is in no bin: all columns stay 0.
            let codes = values
                .iter()
                .map(|value| if value.is_nan() { usize::MAX } else { *value as usize });
            onehot(names, values.len(), codes, columns);
        }
        None => columns.push(number_column(name, &values)),
    }
    columns.extend(indicator);
    Ok(())
}

fn apply_category(
    name: &str,
    plan: &CategoryPlan,
    series: &polars::prelude::Series,
    columns: &mut Vec<TableColumn>,
) -> DataResult {
    let texts = texts_of(series)?;
    let indicator = plan.indicator.as_ref().map(|name| {
        let missing = texts.iter().map(|text| f32::from(u8::from(text.is_none())));
        Float32Chunked::from_iter_values(name.as_str().into(), missing).into_column()
    });
    let texts = fill_texts(plan.fill.as_ref(), &texts);
    let rows = texts.len();
    match &plan.encoding {
        None => columns.push(texts.into_column()),
        Some(Encoding::Onehot { columns: names }) => {
            let codes = plan.codes(name, &texts)?;
            onehot(names, rows, codes.0.iter().map(|code| *code as usize), columns);
        }
        Some(Encoding::Hash { columns: names }) => {
            let codes =
                texts.iter().map(|text| text.map_or(usize::MAX, |text| bucket(text, names.len())));
            onehot(names, rows, codes, columns);
        }
        Some(Encoding::Ordinal | Encoding::Numbers { .. }) => {
            let codes = plan.codes(name, &texts)?;
            let mut values = plan.numbers(&codes).unwrap_or_default();
            scale(&plan.scale, name, &mut values)?;
            columns.push(number_column(name, &values));
        }
    }
    columns.extend(indicator);
    Ok(())
}

fn apply_date(plan: &DatePlan, mut values: Vec<f64>, columns: &mut Vec<TableColumn>) -> DataResult {
    let indicator = plan.indicator.as_ref().map(|name| missing_column(name, &values));
    fill_in(plan.fill.as_ref(), &mut values);
    for column in &plan.columns {
        let mut taken = date_values(column, &values);
        scale(&column.scale, &column.name, &mut taken)?;
        columns.push(number_column(&column.name, &taken));
    }
    columns.extend(indicator);
    Ok(())
}

/// A column of 0 and 1 for each name; the row's code tells which is 1, if any.
fn onehot(
    names: &[String],
    rows: usize,
    codes: impl Iterator<Item = usize>,
    columns: &mut Vec<TableColumn>,
) {
    let mut values = vec![vec![0.0f32; rows]; names.len()];
    for (row, code) in codes.enumerate() {
        if let Some(column) = values.get_mut(code) {
            column[row] = 1.0;
        }
    }
    for (name, values) in names.iter().zip(values) {
        columns.push(Float32Chunked::from_vec(name.as_str().into(), values).into_column());
    }
}

fn missing_column(name: &str, values: &[f64]) -> TableColumn {
    let missing = values.iter().map(|value| f32::from(u8::from(value.is_nan())));
    Float32Chunked::from_iter_values(name.into(), missing).into_column()
}

/// Features are f32, which networks compute in; what is still missing stays missing.
fn number_column(name: &str, values: &[f64]) -> TableColumn {
    if values.iter().any(|value| value.is_nan()) {
        let values = values.iter().map(|value| (!value.is_nan()).then_some(*value as f32));
        Float32Chunked::from_iter_options(name.into(), values).into_column()
    } else {
        let values = values.iter().map(|value| *value as f32).collect();
        Float32Chunked::from_vec(name.into(), values).into_column()
    }
}

/// A part of each moment, in microseconds since 1970; missing stays missing.
pub(crate) fn date_values(column: &DateColumn, moments: &[f64]) -> Vec<f64> {
    let part = |moment: f64| {
        if moment.is_nan() {
            return moment;
        }
        let value = date_part(column.part, moment as i64);
        match (column.wave, column.part.cycle()) {
            (Some(wave), Some((first, length))) => {
                let angle = std::f64::consts::TAU * (value - first) / length;
                if wave == Wave::Sin { angle.sin() } else { angle.cos() }
            }
            _ => value,
        }
    };
    moments.iter().map(|moment| part(*moment)).collect()
}
