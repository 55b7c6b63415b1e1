//! `predict`: adds what a model predicts to a dataset.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use wick_core::{PortName, PortType};
use wick_data::{DataFrame, Dataset, NewColumn, set_column};
use wick_stage::{
    Checked, Column, ColumnType, Context, DatasetFacts, Documentation, Example, Issues, Known,
    ModelFacts, PortFacts, Ports, StageResult, TaskType, TypedKind,
};

use crate::error::NnResult;
use crate::model::{Model, Predictions};

/// The kind `predict`.
#[derive(Debug, Clone, Copy)]
pub struct PredictKind;

/// Configuration of `predict`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictConfig {
    /// Whether to add the probability of every class, as `probability_CLASS`.
    #[serde(default)]
    pub probabilities: bool,
    /// The columns of the data to keep; all if left out.
    #[serde(default)]
    pub keep: Option<Vec<String>>,
}

const DESCRIPTION: &str = "\
Adds to the data what the model predicts: `prediction`, a class or a number, and for classes
`probability`, how sure the network is of it. With `probabilities: true` also the probability of
every class, as `probability_CLASS`.

The data may be raw or transformed: unless it carries a transform of its own, the one that the
model carries is applied first, to what the network reads and not to what is written. The target
may be absent. Columns that have the names of the new ones are replaced.";

const EXAMPLES: &[Example] = &[
    Example {
        title: "Score a dataset",
        yaml: "uses: predict\ninputs: {model: train.model, data: passengers}\n",
    },
    Example {
        title: "Keep only what is needed",
        yaml: "\
uses: predict
inputs: {model: train.model, data: passengers}
with: {keep: [passenger_id], probabilities: true}
",
    },
];

impl TypedKind for PredictKind {
    type Config = PredictConfig;

    const NAME: &'static str = "predict";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation {
            summary: "Adds a model's predictions to a dataset",
            description: DESCRIPTION,
            examples: EXAMPLES,
        }
    }

    fn ports(&self, _config: &PredictConfig, _issues: &mut Issues) -> Ports {
        Ports::new()
            .input("model", PortType::Model)
            .input("data", PortType::Dataset)
            .primary_output("data", PortType::Dataset)
    }

    fn check(&self, config: &PredictConfig, known: &Known<'_>) -> Checked {
        let mut issues = Issues::new();
        let model = known.input("model").and_then(|facts| facts.model.as_ref());
        let data = known.input("data").and_then(|facts| facts.dataset.as_ref());
        if let Some(data) = data {
            check_kept(config, data, &mut issues);
        }
        let mut outputs = IndexMap::new();
        if let (Some(data), Ok(port)) = (data, PortName::new("data")) {
            let columns = predicted_columns(config, data, model);
            let facts = DatasetFacts { columns, name_starts: None, ..data.clone() };
            outputs.insert(port, PortFacts::dataset(facts));
        }
        Checked { issues, outputs, metrics: Some(Vec::new()), ..Checked::default() }
    }

    fn run(&self, config: PredictConfig, context: &mut Context<'_>) -> StageResult {
        let model = Model::load(&context.input("model")?.path)?;
        let dataset = Dataset::open(&context.input("data")?.path)?;
        let predictions = model.predict(&model.encode(&model.prepare(&dataset)?)?)?;
        let mut frame = match &config.keep {
            Some(columns) => {
                let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                dataset.frame_of(&columns)?
            }
            None => dataset.frame()?,
        };
        add_predictions(&mut frame, &predictions, config.probabilities)?;
        let folder = context.output("data")?;
        let transform = dataset.transform()?;
        let known = &dataset.info().columns;
        let info = Dataset::write_shaped(folder, &mut frame, transform.as_ref(), known)?;
        if let Ok(port) = PortName::new("data") {
            context.describe_output(&port, info.meta());
        }
        Ok(())
    }
}

fn check_kept(config: &PredictConfig, data: &DatasetFacts, issues: &mut Issues) {
    let Some(columns) = &data.columns else { return };
    for (index, name) in config.keep.iter().flatten().enumerate() {
        if data.lacks(name) {
            let (message, help) = crate::features::missing_column(name, columns);
            issues.with([wick_stage::PathSegment::from("keep"), index.into()], message, help);
        }
    }
}

/// The columns that come out, if they are known.
fn predicted_columns(
    config: &PredictConfig,
    data: &DatasetFacts,
    model: Option<&ModelFacts>,
) -> Option<Vec<Column>> {
    let model = model?;
    let classification = match model.task? {
        TaskType::Regression => false,
        // The classes are known by the training data alone.
        _ if config.probabilities => return None,
        _ => true,
    };
    let mut columns: Vec<Column> = match &config.keep {
        None => data.columns.clone()?,
        Some(kept) => {
            kept.iter().map(|name| data.column(name).cloned()).collect::<Option<Vec<_>>>()?
        }
    };
    let class_type = data.column(&model.target).map(|column| column.column_type.clone());
    let prediction = match (classification, class_type) {
        (false, _) => ColumnType::Float,
        (true, Some(held @ (ColumnType::Integer | ColumnType::Boolean))) => held,
        (true, Some(ColumnType::Text | ColumnType::Category)) => ColumnType::Text,
        (true, _) => ColumnType::Other("a class".to_owned()),
    };
    let mut added = vec![("prediction", prediction)];
    if classification {
        added.push(("probability", ColumnType::Float));
    }
    columns.retain(|column| added.iter().all(|(name, _)| column.name != *name));
    columns.extend(
        added.into_iter().map(|(name, column_type)| Column { name: name.to_owned(), column_type }),
    );
    Some(columns)
}

/// Adds `prediction`, and for classes `probability` and, if `all`, `probability_CLASS`.
///
/// # Errors
/// If the frame has not as many rows as the predictions.
pub fn add_predictions(frame: &mut DataFrame, predictions: &Predictions, all: bool) -> NnResult {
    if predictions.classes.is_empty() {
        set_column(frame, "prediction", NewColumn::Float(predictions.values.clone()))?;
        return Ok(());
    }
    let rows = 0..predictions.rows;
    let likeliest: Vec<usize> = rows.clone().map(|row| predictions.class_index(row)).collect();
    set_column(frame, "prediction", class_column(&predictions.classes, &likeliest))?;
    let probability = |row: usize, class: usize| predictions.row(row)[class];
    let sure = rows.clone().zip(&likeliest).map(|(row, class)| probability(row, *class));
    set_column(frame, "probability", NewColumn::Float(sure.collect()))?;
    if all {
        for (place, class) in predictions.classes.iter().enumerate() {
            let values = rows.clone().map(|row| probability(row, place)).collect();
            set_column(frame, &format!("probability_{class}"), NewColumn::Float(values))?;
        }
    }
    Ok(())
}

/// Classes by place, as the target had them: whole numbers or booleans where all classes are.
fn class_column(classes: &[String], places: &[usize]) -> NewColumn {
    let integers: Option<Vec<i64>> = classes.iter().map(|class| class.parse().ok()).collect();
    if let Some(integers) = integers {
        return NewColumn::Integer(places.iter().map(|place| integers[*place]).collect());
    }
    let booleans: Option<Vec<bool>> = classes.iter().map(|class| class.parse().ok()).collect();
    if let Some(booleans) = booleans {
        return NewColumn::Boolean(places.iter().map(|place| booleans[*place]).collect());
    }
    NewColumn::Text(places.iter().map(|place| classes[*place].clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_keep_their_type() {
        let of = |classes: &[&str]| {
            let classes: Vec<String> = classes.iter().map(|class| (*class).to_owned()).collect();
            class_column(&classes, &[1, 0])
        };
        assert_eq!(of(&["0", "10"]), NewColumn::Integer(vec![10, 0]));
        assert_eq!(of(&["false", "true"]), NewColumn::Boolean(vec![true, false]));
        assert_eq!(of(&["3", "x"]), NewColumn::Text(vec!["x".to_owned(), "3".to_owned()]));
    }
}
