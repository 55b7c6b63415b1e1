//! Planning is quick: a rerun with nothing to do is mostly this.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Instant;

use wick_core::Digest;
use wick_plan::Materials;

use crate::kinds::SCHEMAS_MADE;
use crate::{check_yaml, plan};

/// A fan of so many stages and a join.
fn fan(stages: usize) -> String {
    let mut yaml = String::from("pipeline: fan\nstages:\n");
    for stage in 0..stages {
        writeln!(
            yaml,
            "  s{stage}:\n    uses: command\n    with: {{run: [\"true\", \"{stage}\"]}}"
        )
        .expect("a text takes all");
    }
    yaml.push_str("  join:\n    uses: command\n    with: {run: [\"true\"]}\n    after: [");
    for stage in 0..stages {
        write!(yaml, "s{stage}, ").expect("a text takes all");
    }
    yaml.push_str("]\n");
    yaml
}

/// Times are for an unoptimised build, with much room for a busy machine.
#[test]
fn a_thousand_stages_are_planned_at_once() {
    let yaml = fan(1000);
    let start = Instant::now();
    let plan = plan(&yaml);
    for (index, stage) in plan.indexed() {
        let inputs: Vec<_> =
            stage.inputs.iter().map(|input| (input.port.to_string(), Digest::of(b"x"))).collect();
        plan.fingerprint_parts(index, Materials { inputs: &inputs, ..Materials::default() })
            .fingerprint();
    }
    plan.digest();
    let all = start.elapsed();
    assert!(all.as_millis() < 3000, "{all:?}");
}

#[test]
fn a_kinds_schema_is_made_once() {
    let mut yaml = String::from("pipeline: p\nstages:\n");
    for stage in 0..50 {
        writeln!(yaml, "  s{stage}: {{uses: make, with: {{columns: [a]}}}}").expect("a text");
    }
    let before = SCHEMAS_MADE.load(Ordering::Relaxed);
    plan(&yaml);
    // Other tests make it too, meanwhile, each once for its file.
    assert!(SCHEMAS_MADE.load(Ordering::Relaxed) - before < 50);
}

#[test]
fn many_mistakes_take_no_quadratic_time() {
    let mut yaml = String::from("pipeline: p\nstages:\n");
    for stage in 0..10_000 {
        writeln!(yaml, "  s{stage}: {{uses: note, inputs: {{model: t{stage}}}}}").expect("a text");
    }
    let start = Instant::now();
    let (_, found) = check_yaml(yaml.as_bytes(), &[]);
    assert_eq!(found.len(), 10_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
