//! The data stages of the ready pipelines: each is checked, then run, on what came before it.

use std::collections::HashMap;

use serde_json::Value;
use wick_stage::DatasetFacts;

use crate::harness::{Made, check, facts, issues, pipelines, run};

/// Runs the stages of this crate's kinds, and returns how many there were.
fn run_pipeline(file: &str) -> usize {
    let text = std::fs::read_to_string(pipelines().join(file)).expect(file);
    // Which seed it is does not matter here.
    let text = text.replace("\"${params.seed}\"", "1");
    let pipeline: Value = serde_yaml::from_str(&text).expect("a pipeline");
    let kinds: Vec<&str> = wick_data::kinds().iter().map(|kind| kind.name()).collect();
    let mut made: HashMap<String, (Made, Vec<String>)> = HashMap::new();
    let mut known: HashMap<(String, String), DatasetFacts> = HashMap::new();
    for (name, stage) in pipeline["stages"].as_object().expect("stages") {
        let Some(kind) = kinds.iter().find(|kind| stage["uses"] == **kind) else { continue };
        let with = stage["with"].clone();
        let mut inputs = Vec::new();
        for (port, edge) in stage["inputs"].as_object().into_iter().flatten() {
            let edge = edge.as_str().expect("an edge");
            let (from, output) = edge.split_once('.').unwrap_or((edge, "data"));
            // What another crate's stage makes is not there.
            let Some((from_made, outputs)) = made.get(from) else { break };
            assert!(outputs.iter().any(|known| known == output), "{edge}");
            let facts = known[&(from.to_owned(), output.to_owned())].clone();
            inputs.push((port.as_str(), from_made.path(output), facts));
        }
        if inputs.len() < stage["inputs"].as_object().map_or(0, serde_json::Map::len) {
            continue;
        }
        let arriving: Vec<_> =
            inputs.iter().map(|(port, _, facts)| (*port, facts.clone())).collect();
        let checked = check(kind, with.clone(), &arriving);
        let outputs: Vec<String> = checked.outputs.keys().map(ToString::to_string).collect();
        for output in &outputs {
            if checked.outputs[output.as_str()].dataset.is_some() {
                known.insert((name.clone(), output.clone()), facts(&checked, output));
            }
        }
        assert_eq!(issues(checked), Vec::<String>::new(), "{file}: {name}");
        let paths: Vec<_> = inputs.iter().map(|(port, path, _)| (*port, path.clone())).collect();
        let result =
            run(kind, with, &paths).unwrap_or_else(|why| panic!("{file}: {name}: {why:?}"));
        for output in &outputs {
            let Some(facts) = known.get(&(name.clone(), output.clone())) else { continue };
            let dataset = result.dataset(output);
            if let Some(columns) = &facts.columns {
                assert_eq!(columns, &dataset.info().columns, "{file}: {name}.{output}");
            }
            assert!(facts.rows.is_none_or(|rows| rows == dataset.info().rows), "{name}.{output}");
        }
        made.insert(name.clone(), (result, outputs));
    }
    made.len()
}

#[test]
fn mnist() {
    assert_eq!(run_pipeline("mnist-cnn.yaml"), 3);
}

#[test]
fn titanic() {
    assert_eq!(run_pipeline("titanic.yaml"), 4);
}

#[test]
fn flights() {
    assert_eq!(run_pipeline("flights.yaml"), 4);
}

#[test]
fn penguins() {
    assert_eq!(run_pipeline("penguins.yaml"), 2);
}
