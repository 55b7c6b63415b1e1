//! The layers of the models that a run has made.

use serde_json::Value;
use wick_core::PortType;
use wick_store::ArtifactRecord;

use super::Shown;
use crate::render::{Cell, Paint, Table, Ui, human};

/// A table for each model whose layers are noted.
pub fn tables(ui: &Ui, shown: &Shown) -> Option<String> {
    let models = shown.history.artifacts.iter().filter(|made| made.port_type == PortType::Model);
    let tables: Vec<String> = models.filter_map(|model| table(ui, model)).collect();
    (!tables.is_empty()).then(|| tables.join("\n\n"))
}

fn table(ui: &Ui, model: &ArtifactRecord) -> Option<String> {
    let layers = model.meta.get("summary")?.as_array()?;
    let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64);
    let mut title = format!("  {}.{}", model.stage, model.port);
    if let Some(parameters) = number(&model.meta, "parameters") {
        title.push_str(&format!("  {} parameters", human::count(parameters)));
    }
    if let Some(bytes) = number(&model.meta, "parameter_bytes") {
        title.push_str(&format!(", {}", human::bytes(bytes)));
    }
    let mut table = Table::new(ui, &["layer", "output", "parameters", "bytes"]);
    for layer in layers {
        let text = |key: &str| layer.get(key).and_then(Value::as_str).unwrap_or_default();
        let sizes = layer.get("output").and_then(Value::as_array).into_iter().flatten();
        let sizes: Vec<String> = sizes.map(ToString::to_string).collect();
        let count = |key: &str| number(layer, key).filter(|count| *count > 0);
        table.row([
            Cell::painted(Paint::Strong, text("layer")),
            Cell::new(sizes.join(" × ")),
            Cell::number(count("parameters").map(human::count).unwrap_or_default()),
            Cell::number(count("bytes").map(human::bytes).unwrap_or_default()),
        ]);
    }
    Some(format!("{title}\n{}", table.render_indented(4)))
}
