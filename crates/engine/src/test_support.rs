//! What several tests need: small plans.

use serde_json::{Value, json};
use wick_plan::{Plan, PlannedStage};

/// A stage called `name` of the kind `command`, as JSON that tests change before it is read.
pub fn stage_json(name: &str, after: &[u32]) -> Value {
    json!({
        "name": name,
        "description": null,
        "kind": "command",
        "revision": 1,
        "config": {"run": ["true"]},
        "inputs": [],
        "outputs": [],
        "after": after,
        "retry": {"attempts": 1, "backoff": {"secs": 1, "nanos": 0}},
        "timeout": null,
        "resources": {"cpus": 1, "memory": null, "gpus": 0},
        "cache": true,
        "sources": [],
        "source_fields": [],
        "ordered_fields": [],
        "neutral_fields": [],
        "environment": [],
        "metrics": null,
    })
}

/// The stage that `json` describes.
pub fn stage(json: Value) -> PlannedStage {
    serde_json::from_value(json).expect("a planned stage")
}

/// A plan with these stages.
pub fn plan(base: &std::path::Path, stages: Vec<PlannedStage>) -> Plan {
    let json = json!({
        "pipeline": "test",
        "experiment": "test",
        "description": null,
        "file": base.join("test.yaml"),
        "base": base,
        "params": [],
        "overridden": [],
        "stages": [],
    });
    let mut plan: Plan = serde_json::from_value(json).expect("a plan");
    plan.stages = stages;
    plan
}
