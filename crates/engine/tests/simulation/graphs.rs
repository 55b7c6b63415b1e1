//! Random plans, and what their stages make.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use wick_core::{Digest, PortName, StageName};
use wick_engine::Slots;
use wick_engine::executor::Submission;
use wick_plan::{
    Foreach, InputSource, Instance, KnownList, Plan, PlannedStage, Selection, StageIndex,
};

use crate::dice::Dice;

/// The port at which a stage makes a list.
const LIST: &str = "list";

/// What attempts measure.
pub const METRIC: &str = "loss";

/// How the digest of a list ends. So a digest alone says what stands in the artifact.
const LIST_MARK: [u8; 4] = *b"list";

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
        return marked(port, Digest::of(&dice.next().to_le_bytes()));
    }
    let inputs = submission.inputs.iter();
    let inputs = inputs.map(|input| (input.port.clone(), input.item.clone(), input.digest));
    expected(planned, inputs.collect(), port)
}

/// What a stage finds at one of its ports: what gathers finds an entry for each label.
pub type Found = (PortName, Option<String>, Digest);

/// What a stage makes at a port, unless it is fickle. In which order a list has its items makes no
/// difference to those who gather from it, as none to the entries of a folder.
pub fn expected(stage: &PlannedStage, mut inputs: Vec<Found>, port: &PortName) -> Digest {
    inputs.sort_unstable();
    let mut bytes = format!("{} {} {port}", stage.kind, stage.config);
    for (_, _, digest) in inputs {
        bytes.push_str(&digest.to_string());
    }
    marked(port, Digest::of(bytes.as_bytes()))
}

/// The digest of what is made at a port, which says whether that is a list.
fn marked(port: &PortName, digest: Digest) -> Digest {
    if *port != LIST {
        return digest;
    }
    let mut bytes = *digest.as_bytes();
    bytes[28..].copy_from_slice(&LIST_MARK);
    Digest::from_bytes(bytes)
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
    while (plan.stages.len() as u64) < count {
        let stage = stage(dice, &plan, plan.stages.len() as u64, edges);
        if stage.foreach.is_none() && dice.chance(150) {
            // One that is written once for each value of a matrix.
            let values = dice.between(2, 3);
            plan.stages.extend((0..values).map(|value| instance(&stage, "k", &json!(value))));
        } else {
            plan.stages.push(stage);
        }
    }
    plan
}

/// The instance of a stage for one value.
fn instance(stage: &PlannedStage, variable: &str, value: &Value) -> PlannedStage {
    let mut instance = stage.clone();
    let label = format!("{variable}={value}");
    instance.name = StageName::new(format!("{}[{label}]", stage.name)).expect("a name");
    instance.config[variable] = value.clone();
    let values = vec![(variable.to_owned(), value.clone())];
    instance.instance = Some(Instance { template: stage.name.clone(), label, values });
    instance
}

/// The plan with the instances of the stages whose lists are known, after all other stages: what
/// a check of the pipeline gives when it is told the lists.
pub fn grown(plan: &Plan, lists: &[KnownList]) -> Plan {
    let mut grown = plan.clone();
    for template in &plan.stages {
        let Some(Foreach { variable, from: list, output }) = &template.foreach else { continue };
        let made_by = &plan.stage(*list).name;
        let known = lists.iter().find(|list| list.stage == *made_by && list.output == *output);
        for item in known.iter().flat_map(|list| &list.items) {
            let mut instance = instance(template, variable, item);
            (instance.foreach, instance.condition) = (None, None);
            instance.after.push(*list);
            for input in &mut instance.inputs {
                match &mut input.source {
                    // Of a stage with the same list, the instance for the same item.
                    InputSource::Output { from, .. } => {
                        let name = format!("{}[{variable}={item}]", plan.stage(*from).name);
                        *from = grown.find(&name).unwrap_or(*from);
                    }
                    InputSource::Gather { from, .. } => *from = spread(&grown, from),
                    InputSource::Select { from, best, .. } => {
                        *from = spread(&grown, from);
                        best.of = spread(&grown, &best.of);
                    }
                }
            }
            grown.stages.push(instance);
        }
    }
    grown
}

/// The stages `from` of a [grown] plan, with the instances in the place of those that stand for
/// them.
pub fn spread(grown: &Plan, from: &[StageIndex]) -> Vec<StageIndex> {
    let instances = |index: &StageIndex| match grown.stage(*index) {
        PlannedStage { foreach: Some(_), name, .. } => grown.instances_of(name),
        _ => vec![*index],
    };
    from.iter().flat_map(instances).collect()
}

/// The list that a stage of a plan is written for, by the place and the port of who makes it.
fn list(dice: &mut Dice, plan: &Plan) -> Option<(u32, PortName)> {
    let lists: Vec<(u32, PortName)> = plan
        .indexed()
        .flat_map(|(index, stage)| stage.outputs.iter().map(move |made| (index.0, &made.port)))
        .filter(|(_, port)| **port == LIST)
        .map(|(place, port)| (place, port.clone()))
        .collect();
    let is_template = !lists.is_empty() && dice.chance(500);
    is_template.then(|| lists[dice.below(lists.len() as u64) as usize].clone())
}

/// From where a stage with the list `list`, if it has one, reads an output of the stage `from`.
fn source(
    dice: &mut Dice,
    plan: &Plan,
    from: u32,
    output: &PortName,
    list: Option<&(u32, PortName)>,
) -> Value {
    let stage = plan.stage(StageIndex(from));
    if let Some(Foreach { from: maker, output: port, .. }) = &stage.foreach {
        let is_same = list.is_some_and(|(place, own)| *place == maker.0 && own == port);
        return if is_same && dice.chance(600) {
            json!({"output": {"from": from, "output": output}})
        } else {
            several(dice, plan, &[StageIndex(from)], output)
        };
    }
    match &stage.instance {
        Some(instance) if dice.chance(700) => {
            several(dice, plan, &plan.instances_of(&instance.template), output)
        }
        _ => json!({"output": {"from": from, "output": output}}),
    }
}

/// Reads an output of all instances `from`, or of the best of them.
fn several(dice: &mut Dice, plan: &Plan, from: &[StageIndex], output: &PortName) -> Value {
    if dice.chance(600) {
        return json!({"gather": {"from": from, "output": output}});
    }
    // What another stage with the same instances has measured may decide.
    let likes: Vec<Vec<StageIndex>> = match &plan.stage(from[0]).foreach {
        Some(list) => {
            let same = plan.indexed().filter(|(_, stage)| stage.foreach.as_ref() == Some(list));
            same.map(|(index, _)| vec![index]).collect()
        }
        None => {
            let templates = plan.stages.iter().filter_map(|stage| stage.instance.as_ref());
            let others = templates.map(|instance| plan.instances_of(&instance.template));
            others.filter(|others| others.len() == from.len()).collect()
        }
    };
    let of = if dice.chance(300) {
        likes[dice.below(likes.len() as u64) as usize].clone()
    } else {
        Vec::new()
    };
    let mode = if dice.chance(500) { "min" } else { "max" };
    let best = json!({"metric": METRIC, "of": of, "mode": mode});
    json!({"select": {"from": from, "output": output, "best": best}})
}

fn stage(dice: &mut Dice, plan: &Plan, place: u64, edges: u64) -> PlannedStage {
    let list = list(dice, plan);
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
                "source": source(dice, plan, from as u32, output, list.as_ref()),
                "port_type": "value",
            }));
        }
    }
    let mut outputs: Vec<_> = (0..dice.below(3))
        .map(|port| json!({"port": format!("out{port}"), "port_type": "value"}))
        .collect();
    if list.is_none() && dice.chance(300) {
        outputs.push(json!({"port": LIST, "port_type": "value"}));
    }
    let sources: Vec<String> =
        if dice.chance(200) { vec![format!("/source{}", dice.below(3))] } else { Vec::new() };
    let condition =
        if place > 0 && dice.chance(150) { condition(dice, plan, place, &mut after) } else { None };
    // What may be absent is no input, but one of several that are gathered, and nothing that a
    // condition or a list asks for.
    let may_be_any = condition.is_none()
        && list.is_none()
        && inputs.iter().all(|input| input["source"]["gather"].is_object())
        && !(inputs.is_empty() && after.is_empty());
    let is_any = may_be_any && dice.chance(400);
    let timeout = dice.chance(400).then(|| Duration::from_millis(dice.between(50, 5000)));
    let backoff = Duration::from_millis(dice.between(1, 500));
    let json = json!({
        "name": format!("s{place}"),
        "foreach": list.map(|(from, output)| {
            json!({"variable": "item", "from": from, "output": output})
        }),
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
fn condition(dice: &mut Dice, plan: &Plan, place: u64, after: &mut Vec<u64>) -> Option<Value> {
    let from = dice.below(place);
    let stage = plan.stage(StageIndex(from as u32));
    // A list is not small, and of instances nobody knows which is meant.
    let numbers = |port: &&wick_plan::PlannedOutput| port.port != LIST && stage.foreach.is_none();
    let output = &stage.outputs.iter().find(numbers)?.port;
    after.push(from);
    let reference = json!({"output": {"stage": stage.name, "output": output, "path": []}});
    let most = json!({"value": dice.below(12)});
    Some(json!({
        "text": format!("{}.{output} is small", stage.name),
        "root": {"compare": [{"reference": reference}, "less", most]},
    }))
}

/// What stands in an artifact: a number below 10, or a list of up to four, in some order.
pub fn value(digest: &Digest) -> Value {
    let bytes = digest.as_bytes();
    if !bytes.ends_with(&LIST_MARK) {
        return json!(bytes[0] % 10);
    }
    let mut items: Vec<u8> = (0..4).filter(|item| bytes[0] >> item & 1 == 1).collect();
    if bytes[0] >= 128 {
        items.reverse();
    }
    json!(items)
}

/// Some stages of a plan, as somebody may ask for them.
pub fn selection(dice: &mut Dice, plan: &Plan) -> Selection {
    let mut name = || {
        let place = dice.below(plan.stages.len() as u64) as usize;
        vec![plan.stages[place].name.to_string()]
    };
    let (first, second) = (name(), name());
    let nothing = Selection::default();
    match dice.below(6) {
        0 => Selection { from: first, ..nothing },
        1 => Selection { until: first, ..nothing },
        2 => Selection { force: first, ..nothing },
        3 => Selection { force: first, until: second, ..nothing },
        4 => Selection { only: first, ..nothing },
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
