//! The plan, with small kinds of its own.

mod control;
mod files;
mod fingerprints;
mod instances;
mod kinds;
mod mistakes;
mod never_panic;
mod resolving;
mod speed;

use std::collections::BTreeMap;
use std::path::Path;

use wick_plan::{Diagnostic, KnownList, Loader, Machine, Override, Plan, Request, Verdict, check};
use wick_stage::Registry;

/// Checks `yaml` with the kinds of these tests, on a machine with 4 processors and 8 GB.
pub fn check_yaml(yaml: &[u8], overrides: &[Override]) -> (Option<Plan>, Vec<Diagnostic>) {
    let verdict = check_with(yaml, overrides, &wick_plan::no_files);
    (verdict.plan, verdict.diagnostics)
}

/// Checks `yaml` as [`check_yaml`] does; `load` reads the other files of `/project`.
pub fn check_with(yaml: &[u8], overrides: &[Override], load: Loader<'_>) -> Verdict {
    verdict(check, yaml, overrides, load)
}

/// What `check`, or `check_part`, says of `yaml`.
pub fn verdict(
    check: fn(&Request<'_>) -> Verdict,
    yaml: &[u8],
    overrides: &[Override],
    load: Loader<'_>,
) -> Verdict {
    check(&request(yaml, overrides, load, &kinds::registry()))
}

/// What is said of a pipeline when a run has made these lists.
pub fn check_lists(yaml: &[u8], lists: &[KnownList]) -> Verdict {
    let registry = kinds::registry();
    let request = request(yaml, &[], &wick_plan::no_files, &registry);
    check(&Request { lists, ..request })
}

fn request<'a>(
    yaml: &'a [u8],
    overrides: &'a [Override],
    load: Loader<'a>,
    registry: &'a Registry,
) -> Request<'a> {
    Request {
        source: yaml,
        file: Path::new("/project/test.yaml"),
        name: "test.yaml",
        root: Path::new("/project"),
        load,
        overrides,
        registry,
        environment: &|name| (name == "HOME").then(|| "/home/ada".to_owned()),
        machine: Machine {
            cpus: 4,
            memory: Some(8_000_000_000),
            gpus: 0,
            named: Some(BTreeMap::from([("database".to_owned(), 2)])),
        },
        lists: &[],
    }
}

/// The plan of a pipeline without mistakes.
#[track_caller]
pub fn plan(yaml: &str) -> Plan {
    plan_with(yaml, &[])
}

/// The plan of a pipeline without mistakes, with these `-p` arguments.
#[track_caller]
pub fn plan_with(yaml: &str, arguments: &[&str]) -> Plan {
    let overrides: Vec<Override> =
        arguments.iter().map(|text| Override::parse(text).expect("an override")).collect();
    let (plan, diagnostics) = check_yaml(yaml.as_bytes(), &overrides);
    match plan {
        Some(plan) => plan,
        None => panic!("{diagnostics:#?}"),
    }
}
