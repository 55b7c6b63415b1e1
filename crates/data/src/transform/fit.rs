//! Fits a transform: decides what becomes of each column, and learns from the fitted input.

use std::collections::HashSet;

use polars::prelude::{BooleanChunked, DataFrame, DataType, NewChunkedArray, Series, TimeUnit};
use serde::{Deserialize, Serialize};
use wick_stage::{Column, ColumnType};

use super::config::{ColumnConfig, DatePart, Encode, FeatureType, Impute, PreprocessConfig};
use super::encode::{CategoryPlan, texts_of};
use super::number::{Fill, NumberPlan, ScaleStep, fill_in, values_of};
use super::{FittedColumn, Step};
use crate::columns::{columns_of_frame, names_of};
use crate::dates::parse_moment;
use crate::error::{DataError, DataResult};
use crate::values::{find, labels};

/// What is done with a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// It stays as it is.
    Keep,
    /// It is seen as a number.
    Number(NumberPlan),
    /// It is seen as a category.
    Category(CategoryPlan),
    /// It is seen as a date.
    Date(DatePlan),
}

impl Treatment {
    /// The columns that `column` becomes.
    pub fn produced(&self, column: &Column) -> Vec<String> {
        match self {
            Treatment::Keep => vec![column.name.clone()],
            Treatment::Number(plan) => plan.produced(&column.name),
            Treatment::Category(plan) => plan.produced(&column.name),
            Treatment::Date(plan) => plan.produced(),
        }
    }
}

/// The treatment of a column of dates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatePlan {
    /// What fills in for missing moments, in microseconds since 1970.
    pub fill: Option<Fill<f64>>,
    /// The column that tells where moments were missing.
    pub indicator: Option<String>,
    /// The columns that it becomes.
    pub columns: Vec<DateColumn>,
}

/// A number taken from a date.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DateColumn {
    /// The column.
    pub name: String,
    /// The part.
    pub part: DatePart,
    /// Which coordinate of the part's point on a circle, if it is one.
    pub wave: Option<Wave>,
    /// Scaling, first to last.
    pub scale: Vec<ScaleStep>,
}

/// A coordinate on the unit circle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wave {
    /// The sine.
    Sin,
    /// The cosine.
    Cos,
}

impl DatePlan {
    fn produced(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.columns.iter().map(|column| column.name.clone()).collect();
        names.extend(self.indicator.clone());
        names
    }
}

/// What a user wants done with a column, once defaults are resolved.
pub(crate) enum Wanted<'a> {
    /// Left out.
    Drop,
    /// Kept as it is.
    Keep,
    /// Treated so, seen so.
    Treat(&'a ColumnConfig, FeatureType),
}

/// Resolves what `config` wants done with `column`. See [`PreprocessConfig`] for the order.
pub(crate) fn wanted<'a>(config: &'a PreprocessConfig, column: &Column) -> Wanted<'a> {
    let name = &column.name;
    let natural = natural_type(&column.column_type);
    if let Some(treatment) = config.columns.get(name) {
        return match feature_type(treatment).or(natural) {
            Some(seen) => Wanted::Treat(treatment, seen),
            None => Wanted::Keep,
        };
    }
    if config.drop.contains(name) {
        return Wanted::Drop;
    }
    if config.keep.contains(name) || config.target.as_ref() == Some(name) {
        return Wanted::Keep;
    }
    // Flags are numbers already: a default for numbers, scaling above all, is not meant for them.
    if column.column_type == ColumnType::Boolean {
        return Wanted::Keep;
    }
    let group = match natural {
        Some(FeatureType::Number) => &config.numeric,
        Some(FeatureType::Category) => &config.category,
        Some(FeatureType::Date) => &config.date,
        None => &None,
    };
    match (group, natural) {
        (Some(treatment), Some(natural)) => {
            Wanted::Treat(treatment, feature_type(treatment).unwrap_or(natural))
        }
        _ => Wanted::Keep,
    }
}

/// How a column of this type is seen unless the user says otherwise.
fn natural_type(column_type: &ColumnType) -> Option<FeatureType> {
    match column_type {
        ColumnType::Boolean | ColumnType::Integer | ColumnType::Float => Some(FeatureType::Number),
        ColumnType::Text | ColumnType::Category => Some(FeatureType::Category),
        ColumnType::Date | ColumnType::Datetime => Some(FeatureType::Date),
        _ => None,
    }
}

/// How a treatment sees its column, if its keys tell.
pub(crate) fn feature_type(config: &ColumnConfig) -> Option<FeatureType> {
    if config.column_type.is_some() {
        config.column_type
    } else if !config.parts.is_empty() || !config.cycles.is_empty() {
        Some(FeatureType::Date)
    } else if config.bins.is_some() || config.outlier_strategy.is_some() {
        Some(FeatureType::Number)
    } else if config.encode.is_some() {
        Some(FeatureType::Category)
    } else {
        None
    }
}

/// Whether a column of `column_type` can be seen as `seen`; otherwise the mend.
pub(crate) fn sees(column_type: &ColumnType, seen: FeatureType) -> Result<(), &'static str> {
    use ColumnType::{Boolean, Category, Date, Datetime, Float, Integer, Text};
    match (seen, column_type) {
        (FeatureType::Number, Boolean | Integer | Float)
        | (FeatureType::Category, Boolean | Integer | Float | Text | Category)
        | (FeatureType::Date, Date | Datetime | Text) => Ok(()),
        (FeatureType::Number, Text | Category) => {
            Err("encode it (`encode: onehot`), or load it as a number (`types: {COLUMN: float}`)")
        }
        (FeatureType::Number | FeatureType::Category, Date | Datetime) => {
            Err("take it apart: `parts: [year, month, day]`")
        }
        _ => Err("leave it as it is, or drop it"),
    }
}

pub(crate) fn fit_step(config: &PreprocessConfig, frame: &DataFrame) -> DataResult<Step> {
    check_names(config, frame)?;
    let columns = columns_of_frame(frame);
    let frame = drop_rows(config, frame, &columns)?;
    if frame.height() == 0 {
        return Err(DataError::data("the input to fit on has no rows")
            .help("look at the stage that makes it: `wick show` tells its row count"));
    }
    let mut target = None;
    let mut fitted = Vec::new();
    for column in columns {
        let optional_target = config.target.as_ref() == Some(&column.name);
        let treatment = match wanted(config, &column) {
            Wanted::Drop => continue,
            Wanted::Keep => Treatment::Keep,
            Wanted::Treat(treatment, seen) => {
                check_type(&column, seen)?;
                if treatment.encode == Some(Encode::Target) && target.is_none() {
                    target = target_values(config, &frame)?;
                }
                let series = find(&frame, &column.name)?;
                fit_column(&column.name, treatment, seen, &series, target.as_deref())?
            }
        };
        let optional = optional_target || treatment == Treatment::Keep;
        fitted.push(FittedColumn { column, optional, treatment });
    }
    check_distinct(&fitted)?;
    Ok(Step { columns: fitted })
}

/// Every name in the configuration must be a column.
fn check_names(config: &PreprocessConfig, frame: &DataFrame) -> DataResult {
    let names = names_of(frame);
    let named = config.columns.keys().chain(&config.drop).chain(&config.keep).chain(&config.target);
    for name in named {
        if !names.contains(&name.as_str()) {
            return Err(DataError::no_column(name, names));
        }
    }
    Ok(())
}

fn check_type(column: &Column, seen: FeatureType) -> DataResult {
    sees(&column.column_type, seen).map_err(|help| {
        let word = match seen {
            FeatureType::Number => "a number",
            FeatureType::Category => "a category",
            FeatureType::Date => "a date",
        };
        let message = format!("holds {}, which cannot be seen as {word}", column.column_type);
        DataError::column(&column.name, message).help(help.replace("COLUMN", &column.name))
    })
}

/// Without the rows that `impute: drop_row` leaves out: they shall not weigh in any statistic.
fn drop_rows(
    config: &PreprocessConfig,
    frame: &DataFrame,
    columns: &[Column],
) -> DataResult<DataFrame> {
    let mut missing = MissingMask::default();
    for column in columns {
        let Wanted::Treat(treatment, seen) = wanted(config, column) else { continue };
        if treatment.impute != Some(Impute::DropRow) {
            continue;
        }
        check_type(column, seen)?;
        let series = find(frame, &column.name)?;
        if seen == FeatureType::Number {
            let mut values = values_of(&series)?;
            NumberPlan::fit_bounds(&column.name, treatment, &values)?.limit(&mut values);
            missing.add(values.iter().map(|value| value.is_nan()));
        } else {
            missing.add(series.is_null().iter().map(|null| null.unwrap_or(true)));
        }
    }
    missing.without(frame)
}

/// Rows in which something is missing.
#[derive(Default)]
pub(crate) struct MissingMask(Vec<bool>);

impl MissingMask {
    /// Notes where another column is missing.
    pub(crate) fn add(&mut self, missing: impl ExactSizeIterator<Item = bool>) {
        self.0.resize(missing.len(), false);
        for (row, missing) in self.0.iter_mut().zip(missing) {
            *row |= missing;
        }
    }

    /// The first row in which something is missing.
    pub(crate) fn first(&self) -> Option<usize> {
        self.0.iter().position(|missing| *missing)
    }

    /// `frame` without those rows.
    pub(crate) fn without(&self, frame: &DataFrame) -> DataResult<DataFrame> {
        if self.first().is_none() {
            return Ok(frame.clone());
        }
        let keep =
            BooleanChunked::from_iter_values("keep".into(), self.0.iter().map(|missing| !missing));
        frame.filter(&keep).map_err(|error| DataError::polars("leave out rows", error))
    }
}

fn fit_column(
    name: &str,
    config: &ColumnConfig,
    seen: FeatureType,
    series: &Series,
    target: Option<&[f64]>,
) -> DataResult<Treatment> {
    Ok(match seen {
        FeatureType::Number => {
            let values = values_of(series)?;
            Treatment::Number(NumberPlan::fit(name, config, &values)?)
        }
        FeatureType::Category => {
            // An empty column has no categories and no statistics.
            if config.encode.is_some() && texts_of(series)?.null_count() == series.len() {
                return Err(DataError::column(name, "has no known value to learn from")
                    .help(format!("leave it out: `drop: [{name}]`")));
            }
            Treatment::Category(CategoryPlan::fit(name, config, series, target)?)
        }
        FeatureType::Date => Treatment::Date(fit_date(name, config, series)?),
    })
}

/// The target as numbers; of two classes the second in natural order counts as 1.
fn target_values(config: &PreprocessConfig, frame: &DataFrame) -> DataResult<Option<Vec<f64>>> {
    let Some(name) = &config.target else { return Ok(None) };
    let series = find(frame, name)?;
    if series.dtype().is_primitive_numeric() || series.dtype() == &DataType::Boolean {
        return values_of(&series).map(Some);
    }
    let labels = labels(frame, name, None)?;
    if labels.classes.len() > 2 {
        return Err(DataError::column(
            name,
            format!(
                "has {} classes, and `encode: target` wants two or a number",
                labels.classes.len()
            ),
        )
        .help("use `encode: onehot` or `encode: frequency`"));
    }
    Ok(Some(labels.indices.iter().map(|index| f64::from(*index)).collect()))
}

/// Moments as microseconds since 1970, missing ones as NaN; text is read as ISO 8601. Exact for
/// any year a data set has: f64 holds whole numbers up to 2^53, the year 2255.
pub(crate) fn moments_of(series: &Series) -> DataResult<Vec<f64>> {
    if series.dtype() == &DataType::String {
        return read_moments(series);
    }
    let reading = |error| DataError::polars(format!("read column `{}`", series.name()), error);
    let moments = series
        .cast(&DataType::Datetime(TimeUnit::Microseconds, None))
        .and_then(|series| series.cast(&DataType::Int64))
        .map_err(reading)?;
    values_of(&moments)
}

fn read_moments(series: &Series) -> DataResult<Vec<f64>> {
    let read = |row: usize, text: &str| {
        parse_moment(text).map(|moment| moment as f64).ok_or_else(|| {
            DataError::column(
                series.name().as_str(),
                format!("holds `{text}` (row {}), which is not a date", row + 1),
            )
            .help("a date is written so: `2013-01-31`, `2013-01-31T17:30:00`")
        })
    };
    let texts = texts_of(series)?;
    texts
        .iter()
        .enumerate()
        .map(|(row, text)| text.map_or(Ok(f64::NAN), |t| read(row, t)))
        .collect()
}

fn fit_date(name: &str, config: &ColumnConfig, series: &Series) -> DataResult<DatePlan> {
    if config.parts.is_empty() && config.cycles.is_empty() {
        return Err(DataError::config(format!(
            "column `{name}` holds dates, and its treatment names no parts"
        ))
        .help("name what to take: `parts: [year, month, weekday]`, `cycles: [hour]`"));
    }
    let mut values = moments_of(series)?;
    // A date is filled in as the number that it is; it is neither scaled nor cut.
    let fill_only = ColumnConfig {
        impute: config.impute.clone(),
        indicator: config.indicator,
        ..ColumnConfig::default()
    };
    let NumberPlan { fill, indicator, .. } = NumberPlan::fit(name, &fill_only, &values)?;
    fill_in(fill.as_ref(), &mut values);
    let mut columns = Vec::new();
    let waves =
        config.cycles.iter().flat_map(|part| [(part, Some(Wave::Sin)), (part, Some(Wave::Cos))]);
    for (part, wave) in config.parts.iter().map(|part| (part, None)).chain(waves) {
        let suffix = match wave {
            None => "",
            Some(Wave::Sin) => "_sin",
            Some(Wave::Cos) => "_cos",
        };
        let mut column = DateColumn {
            name: format!("{name}_{}{suffix}", part.as_str()),
            part: *part,
            wave,
            scale: Vec::new(),
        };
        // Points on a circle are between -1 and 1 already.
        if wave.is_none() && !config.scale.0.is_empty() {
            let mut taken: Vec<f64> = super::apply::date_values(&column, &values);
            taken.retain(|value| !value.is_nan());
            let plan = ColumnConfig { scale: config.scale.clone(), ..ColumnConfig::default() };
            column.scale = NumberPlan::fit(&column.name, &plan, &taken)?.scale;
        }
        columns.push(column);
    }
    Ok(DatePlan { fill, indicator, columns })
}

/// No two columns of the result may have one name.
fn check_distinct(fitted: &[FittedColumn]) -> DataResult {
    let mut seen = HashSet::new();
    for fitted in fitted {
        for name in fitted.treatment.produced(&fitted.column) {
            if !seen.insert(name.clone()) {
                return Err(DataError::column(
                    &fitted.column.name,
                    format!("becomes `{name}`, which another column is already called"),
                )
                .help("rename or drop one of them before this stage"));
            }
        }
    }
    Ok(())
}
