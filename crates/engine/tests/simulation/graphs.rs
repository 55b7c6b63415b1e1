//! Random plans, and what their stages make.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use wick_core::{Digest, PortName};
use wick_engine::Slots;
use wick_engine::executor::Submission;
use wick_plan::{Plan, PlannedStage, Selection, StageIndex};

use crate::dice::Dice;

/// What a stage of a random plan is like, beside what its plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nature {
    /// Whether it always fails.
    pub is_doomed: bool,
    /// Whether it never makes the same twice.
    pub is_fickle: bool,
}

impl Nature {
    pub fn of(stage: &PlannedStage) -> Self {
        Self {
            is_doomed: stage.config["doomed"] == json!(true),
            is_fickle: stage.config["fickle"] == json!(true),
        }
    }
}

/// What an attempt makes at a port: the same from the same, unless the stage is fickle.
pub fn made(submission: &Submission, port: &PortName, dice: &mut Dice) -> Digest {
    let planned = submission.planned();
    if Nature::of(planned).is_fickle {
        return Digest::of(&dice.next().to_le_bytes());
    }
    let inputs: Vec<Digest> = submission.inputs.iter().map(|input| input.digest).collect();
    expected(planned, &inputs, port)
}

/// What a stage makes at a port, unless it is fickle.
pub fn expected(stage: &PlannedStage, inputs: &[Digest], port: &PortName) -> Digest {
    let mut bytes = format!("{} {} {port}", stage.kind, stage.config);
    for digest in inputs {
        bytes.push_str(&digest.to_string());
    }
    Digest::of(bytes.as_bytes())
}

/// A machine of some size.
pub fn slots(dice: &mut Dice) -> Slots {
    Slots { cpus: dice.between(1, 4) as u32, memory: 1000, gpus: dice.below(2) as u32 }
}

/// What the project counts by name.
pub fn named() -> Vec<(String, u32)> {
    vec![("database".to_owned(), 2)]
}

/// A plan of up to `most` stages.
pub fn plan(dice: &mut Dice, most: u64) -> Plan {
    let mut plan: Plan = serde_json::from_value(json!({
        "pipeline": "simulated",
        "experiment": "simulated",
        "description": null,
        "file": "/pipeline.yaml",
        "base": "/",
        "params": [],
        "overridden": [],
        "stages": [],
    }))
    .expect("a plan");
    plan.timeout = dice.chance(200).then(|| Duration::from_secs(dice.between(100, 300)));
    let count = dice.between(1, most);
    // Wide graphs and deep ones.
    let edges = dice.between(0, 3);
    for place in 0..count {
        let stage = stage(dice, &plan, place, edges);
        plan.stages.push(stage);
    }
    plan
}

fn stage(dice: &mut Dice, plan: &Plan, place: u64, edges: u64) -> PlannedStage {
    let mut inputs = Vec::new();
    let mut after = Vec::new();
    for edge in 0..edges.min(place) {
        if dice.chance(300) {
            continue;
        }
        let from = dice.below(place);
        let outputs = &plan.stage(StageIndex(from as u32)).outputs;
        if outputs.is_empty() {
            after.push(from);
        } else {
            let output = &outputs[dice.below(outputs.len() as u64) as usize].port;
            inputs.push(json!({
                "port": format!("in{edge}"),
                "source": {"output": {"from": from, "output": output}},
                "port_type": "value",
            }));
        }
    }
    let outputs: Vec<_> = (0..dice.below(3))
        .map(|port| json!({"port": format!("out{port}"), "port_type": "value"}))
        .collect();
    let sources: Vec<String> =
        if dice.chance(200) { vec![format!("/source{}", dice.below(3))] } else { Vec::new() };
    let condition =
        if place > 0 && dice.chance(150) { condition(dice, plan, place, &mut after) } else { None };
    // What may be absent is no input, and nothing that a condition asks for.
    let is_any = condition.is_none() && inputs.is_empty() && !after.is_empty() && dice.chance(400);
    let timeout = dice.chance(400).then(|| Duration::from_millis(dice.between(50, 5000)));
    let backoff = Duration::from_millis(dice.between(1, 500));
    let json = json!({
        "name": format!("s{place}"),
        "description": null,
        "kind": if dice.chance(500) { "command" } else { "train" },
        "revision": 1,
        // Few enough that some stages are alike.
        "config": {"x": dice.below(4), "doomed": dice.chance(30), "fickle": dice.chance(50)},
        "inputs": inputs,
        "outputs": outputs,
        "after": after,
        "condition": condition,
        "join": if is_any { "any" } else { "all" },
        "retry": {
            "attempts": dice.between(1, 4),
            "backoff": backoff,
            "jitter": dice.below(3) as f64 / 2.0,
        },
        "timeout": timeout,
        "resources": {
            "cpus": dice.between(1, 3),
            "memory": dice.chance(300).then(|| dice.between(1, 1500)),
            "gpus": dice.below(8) / 7,
            "named": if dice.chance(200) { vec![("database", dice.between(1, 3))] } else { vec![] },
            "mutex": if dice.chance(150) { vec!["scale"] } else { vec![] },
        },
        "cache": dice.chance(900),
        "sources": sources,
        "source_fields": [],
        "ordered_fields": [],
        "neutral_fields": [],
        "environment": [],
        "metrics": null,
    });
    serde_json::from_value(json).expect("a planned stage")
}

/// A condition over the value that an earlier stage makes, which comes to `after` then.
fn condition(
    dice: &mut Dice,
    plan: &Plan,
    place: u64,
    after: &mut Vec<u64>,
) -> Option<serde_json::Value> {
    let from = dice.below(place);
    let stage = plan.stage(StageIndex(from as u32));
    let output = &stage.outputs.first()?.port;
    after.push(from);
    let reference = json!({"output": {"stage": stage.name, "output": output, "path": []}});
    let most = json!({"value": dice.below(12)});
    Some(json!({
        "text": format!("{}.{output} is small", stage.name),
        "root": {"compare": [{"reference": reference}, "less", most]},
    }))
}

/// What stands in an artifact: a number below 10.
pub fn value(digest: &Digest) -> serde_json::Value {
    json!(digest.as_bytes()[0] % 10)
}

/// Some stages of a plan, as somebody may ask for them.
pub fn selection(dice: &mut Dice, plan: &Plan) -> Selection {
    let mut name = || {
        let place = dice.below(plan.stages.len() as u64) as usize;
        vec![plan.stages[place].name.to_string()]
    };
    let (first, second) = (name(), name());
    let nothing = Selection::default();
    // Not `only`: by its meaning it leaves what follows as it was made from something else.
    match dice.below(5) {
        0 => Selection { from: first, ..nothing },
        1 => Selection { until: first, ..nothing },
        2 => Selection { force: first, ..nothing },
        3 => Selection { force: first, until: second, ..nothing },
        _ => Selection { all: true, ..nothing },
    }
}

/// The plan as it is after somebody has changed the file.
pub fn changed(dice: &mut Dice, plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let place = dice.below(plan.stages.len() as u64) as usize;
    plan.stages[place].config["x"] = json!(dice.between(10, 13));
    plan
}

/// The source files that plans read.
pub fn sources() -> impl Iterator<Item = &'static Path> {
    ["/source0", "/source1", "/source2"].into_iter().map(Path::new)
}
