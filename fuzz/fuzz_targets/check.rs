//! Whatever the bytes of a pipeline file, `check` answers, and what it says can be shown.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use wick_plan::{Machine, Materials, Request, Severity, Style, Verdict, check, no_files, render, to_json};
use wick_stage::Registry;

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::new().with(wick_engine::command::kinds()));

fuzz_target!(|bytes: &[u8]| {
    let Verdict { plan, diagnostics: found, sources } = check(&Request {
        source: bytes,
        file: Path::new("/nowhere/pipeline.yaml"),
        name: "pipeline.yaml",
        root: Path::new("/nowhere"),
        load: &no_files,
        overrides: &[],
        registry: &REGISTRY,
        environment: &|name| (name == "HOME").then(|| "/home/ada".to_owned()),
        machine: Machine { cpus: 4, memory: Some(8_000_000_000), gpus: 0, named: None },
        lists: &[],
    });
    let errors = found.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(plan.is_some(), !errors);
    assert!(found.is_sorted_by_key(|found| found.span));
    let few = &found[..found.len().min(10)];
    to_json(few, &sources);
    render(few, &sources, Style::default());
    if let Some(plan) = plan {
        plan.digest();
        for (index, stage) in plan.indexed() {
            if stage.inputs.is_empty() && stage.sources.is_empty() && stage.environment.is_empty() {
                plan.fingerprint_parts(index, Materials::default()).fingerprint();
            }
        }
    }
});
