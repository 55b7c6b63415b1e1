//! The run for programs: everything, or the sections that are asked for.

use serde_json::{Map, Value, json};

use super::Shown;
use super::resources::Totals;
use crate::args::ShowSection;
use crate::render::run_view;

/// The keys of the JSON that belong to a section.
fn keys(section: ShowSection) -> &'static [&'static str] {
    match section {
        // The run holds its environment; it is always there, as it says which run this is.
        ShowSection::Overview | ShowSection::Environment => &["run"],
        ShowSection::Params => &["params"],
        ShowSection::Stages | ShowSection::Failures => &["stages"],
        ShowSection::Attempts => &["attempts"],
        ShowSection::Resources => &["resources"],
        ShowSection::Metrics => &["metrics"],
        ShowSection::Inputs => &["inputs", "parts"],
        ShowSection::Artifacts | ShowSection::Models => &["artifacts"],
    }
}

/// Everything recorded of the run, or what belongs to the sections `only`.
pub fn to_json(shown: &Shown, only: &[ShowSection]) -> Value {
    let mut all: Map<String, Value> = match run_view::to_json(&shown.history) {
        Value::Object(all) => all,
        other => return other,
    };
    all.insert("resources".to_owned(), json!(Totals::of(shown)));
    all.insert("inputs".to_owned(), json!(shown.inputs));
    let parts = shown.parts.iter().map(|(stage, parts)| json!({"stage": stage, "parts": parts}));
    all.insert("parts".to_owned(), parts.collect());
    if !only.is_empty() {
        let wanted: Vec<&str> = only.iter().flat_map(|section| keys(*section)).copied().collect();
        all.retain(|key, _| ["version", "run"].contains(&key.as_str()) || wanted.contains(&&**key));
    }
    Value::Object(all)
}
