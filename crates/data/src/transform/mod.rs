//! The transform: a preprocessing that was fitted on one table and treats others the same. It
//! travels with the datasets that it made and the models trained on them, so training and
//! serving see the same features.

mod apply;
pub mod config;
mod encode;
mod fit;
mod number;

use std::path::Path;

use indexmap::IndexMap;
use polars::prelude::DataFrame;
use serde::{Deserialize, Serialize};
use wick_stage::Column;

use crate::dataset::write_json;
use crate::error::{DataError, DataResult};

pub use config::{ColumnConfig, PreprocessConfig};
pub use encode::{CategoryPlan, Encoding};
pub use fit::{DateColumn, DatePlan, Treatment, Wave};
pub(crate) use fit::{Wanted, feature_type, moments_of, sees, wanted};
pub(crate) use number::values_of;
pub use number::{Fill, NumberPlan, ScaleStep};

/// The version of `transform.json`.
pub const TRANSFORM_VERSION: u32 = 1;

/// A fitted preprocessing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    version: u32,
    /// The columns that it wants, before anything is done to them.
    raw: Vec<Column>,
    /// For each of them the columns that it became.
    produced: IndexMap<String, Vec<String>>,
    /// One step, or more where a transformed dataset was transformed again.
    steps: Vec<Step>,
}

/// What one `preprocess` stage does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The columns it uses, in their order. Others are left out.
    pub columns: Vec<FittedColumn>,
}

/// What is done with a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedColumn {
    /// The column as it was when the transform was fitted.
    pub column: Column,
    /// Whether tables without it are treated all the same: it is what a model predicts, or it is
    /// only kept.
    pub optional: bool,
    /// What is done.
    pub treatment: Treatment,
}

impl Transform {
    /// Fits the preprocessing that `config` describes on `frame`.
    ///
    /// # Errors
    /// If a column does not exist or cannot be treated so.
    pub fn fit(config: &PreprocessConfig, frame: &DataFrame) -> DataResult<Self> {
        let step = fit::fit_step(config, frame)?;
        let raw = step.columns.iter().map(|fitted| fitted.column.clone()).collect();
        let produced = step
            .columns
            .iter()
            .map(|fitted| (fitted.column.name.clone(), fitted.treatment.produced(&fitted.column)))
            .collect();
        Ok(Self { version: TRANSFORM_VERSION, raw, produced, steps: vec![step] })
    }

    /// Treats `frame`: one row out for each row in, and only the columns that the transform
    /// makes. Columns that it only keeps, and the target, may be absent.
    ///
    /// # Errors
    /// If a column is absent or of another type, or a row would have been left out in training.
    pub fn apply(&self, frame: &DataFrame) -> DataResult<DataFrame> {
        let mut frame = frame.clone();
        for step in &self.steps {
            frame = apply::apply_step(step, &frame, apply::MissingRows::Refuse)?;
        }
        Ok(frame)
    }

    /// Like [`Transform::apply`], but leaves out the rows that `impute: drop_row` leaves out.
    ///
    /// # Errors
    /// If a column is absent or of another type.
    pub fn apply_dropping(&self, frame: &DataFrame) -> DataResult<DataFrame> {
        let mut frame = frame.clone();
        for step in &self.steps {
            frame = apply::apply_step(step, &frame, apply::MissingRows::Drop)?;
        }
        Ok(frame)
    }

    /// The columns that a user of a model must give, before any treatment: those that became a
    /// feature or were kept, the target among them.
    pub fn raw_columns(&self) -> &[Column] {
        &self.raw
    }

    /// The columns that the raw column `raw` became: several for a one-hot encoding, which count
    /// as one player in explanations. Empty if there is no such raw column.
    pub fn produced(&self, raw: &str) -> &[String] {
        self.produced.get(raw).map_or(&[], Vec::as_slice)
    }

    /// The raw column that the column `produced` was made of.
    pub fn raw_of(&self, produced: &str) -> Option<&str> {
        self.produced
            .iter()
            .find(|(_, columns)| columns.iter().any(|column| column == produced))
            .map(|(raw, _)| raw.as_str())
    }

    /// The steps, first to last.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// This transform, and after it `later`, which was fitted on what this one makes.
    #[must_use]
    pub fn then(&self, later: &Transform) -> Transform {
        let mut produced: IndexMap<String, Vec<String>> = self
            .produced
            .iter()
            .map(|(raw, columns)| {
                let became = columns.iter().flat_map(|column| later.produced(column));
                (raw.clone(), became.cloned().collect())
            })
            .collect();
        // A column whose every product is left out later is not needed from the start.
        produced.retain(|_, columns: &mut Vec<String>| !columns.is_empty());
        let mut steps: Vec<Step> = self.steps.clone();
        if let Some(first) = steps.first_mut() {
            first.columns.retain(|fitted| produced.contains_key(&fitted.column.name));
        }
        steps.extend(later.steps.iter().cloned());
        let raw =
            self.raw.iter().filter(|column| produced.contains_key(&column.name)).cloned().collect();
        Transform { version: TRANSFORM_VERSION, raw, produced, steps }
    }

    /// Reads `transform.json`.
    ///
    /// # Errors
    /// If it cannot be read, or is not one.
    pub fn read(path: &Path) -> DataResult<Self> {
        let bytes = std::fs::read(path).map_err(|error| DataError::io("read", path, error))?;
        // The version first: a later format need not parse as this one.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let not_one = |error| DataError::file(path, format!("is not a transform: {error}"));
        let Version { version } = serde_json::from_slice(&bytes).map_err(not_one)?;
        if version != TRANSFORM_VERSION {
            return Err(DataError::file(path, format!("has the version {version}"))
                .help(format!("this wick reads version {TRANSFORM_VERSION}")));
        }
        serde_json::from_slice(&bytes).map_err(not_one)
    }

    /// Writes `transform.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> DataResult {
        write_json(path, self)
    }
}
