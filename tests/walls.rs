//! The walls of the house: which crate may depend on which, and which library stays in which
//! room. Read from `cargo metadata`, so that a new dependency has to be allowed here first.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The rooms that each room may depend on, itself left out.
const MAY_DEPEND_ON: [(&str, &[&str]); 17] = [
    ("wick-core", &[]),
    ("wick-pipeline", &["core"]),
    ("wick-stage", &["core"]),
    ("wick-artifact", &["core"]),
    ("wick-store", &["core"]),
    ("wick-report", &["core"]),
    ("wick-mlflow", &["core", "store"]),
    ("wick-plan", &["core", "pipeline", "stage"]),
    ("wick-engine", &["core", "pipeline", "stage", "artifact", "store", "plan"]),
    ("wick-data", &["core", "stage", "report"]),
    ("wick-nn", &["core", "stage", "data", "report"]),
    ("wick-evaluate", &["core", "stage", "data", "nn", "report"]),
    ("wick-explain", &["core", "stage", "data", "nn", "evaluate", "report"]),
    ("wick-compress", &["core", "stage", "data", "nn", "evaluate", "report"]),
    ("wick-serve", &["core", "stage", "data", "nn"]),
    (
        "candlewick",
        &[
            "core", "pipeline", "stage", "artifact", "store", "report", "plan", "engine", "data",
            "mlflow", "nn", "evaluate", "explain", "compress", "serve",
        ],
    ),
    // What fills a store for benches; no part of the binary.
    ("xtask", &["core", "store"]),
];

/// The packages that may name a library (or any of which the name begins so) directly.
const STAYS_IN: [(&str, &[&str]); 20] = [
    ("polars", &["wick-data"]),
    ("candle", &["wick-nn", "wick-explain", "wick-compress"]),
    ("safetensors", &["wick-nn"]),
    ("sqlx", &["wick-store", "wick-mlflow"]),
    ("libsqlite3", &["wick-store"]),
    ("object_store", &["wick-artifact"]),
    ("nvml", &["wick-engine"]),
    ("axum", &["wick-serve"]),
    ("tower", &["wick-serve"]),
    ("clap", &["candlewick"]),
    ("indicatif", &["candlewick"]),
    ("comfy-table", &["candlewick"]),
    ("owo-colors", &["candlewick"]),
    ("anyhow", &["candlewick"]),
    ("reqwest", &["candlewick", "wick-mlflow"]),
    ("croner", &["wick-plan"]),
    ("chrono", &["wick-plan"]),
    ("saphyr", &["wick-pipeline"]),
    ("serde_yaml", &["wick-pipeline", "wick-mlflow"]),
    ("miette", &["wick-pipeline"]),
];

/// The packages that do no I/O of their own: no runtime, no database, no processes.
const PURE: [&str; 3] = ["wick-core", "wick-pipeline", "wick-plan"];

/// What a pure package must not name.
const IMPURE: [&str; 6] = ["tokio", "rustix", "libc", "sqlx", "axum", "memmap2"];

/// The direct dependencies of every package of the workspace, those of tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let told = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("cargo runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let metadata: Value = serde_json::from_slice(&told.stdout).expect("cargo tells JSON");
    let name = |of: &Value| of["name"].as_str().expect("it has a name").to_owned();
    metadata["packages"]
        .as_array()
        .expect("a list of packages")
        .iter()
        .map(|package| {
            let names = package["dependencies"]
                .as_array()
                .expect("a list of dependencies")
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(name)
                .collect();
            (name(package), names)
        })
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, BTreeSet<String>> = MAY_DEPEND_ON
        .into_iter()
        .map(|(name, rooms)| (name, rooms.iter().map(|room| format!("wick-{room}")).collect()))
        .collect();
    for (package, dependencies) in dependencies() {
        let Some(allowed) = allowed.get(package.as_str()) else {
            panic!("{package} is a new room: say in this test what it may depend on");
        };
        let rooms: BTreeSet<String> = dependencies
            .into_iter()
            .filter(|name| name.starts_with("wick-") || name == "candlewick")
            .collect();
        let wrong: Vec<&String> = rooms.difference(allowed).collect();
        assert!(wrong.is_empty(), "{package} must not depend on {wrong:?}");
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    for (package, dependencies) in dependencies() {
        for (library, rooms) in STAYS_IN {
            let is_it = |name: &String| {
                name == library
                    || name.starts_with(&format!("{library}-"))
                    || name.starts_with(&format!("{library}_"))
            };
            if let Some(found) = dependencies.iter().find(|name| is_it(name)) {
                assert!(
                    rooms.contains(&package.as_str()),
                    "{package} must not name {found}: it stays in {rooms:?}"
                );
            }
        }
    }
}

#[test]
fn the_language_and_the_plan_are_pure() {
    let dependencies = dependencies();
    for package in PURE {
        let named = &dependencies[package];
        let wrong: Vec<&str> = IMPURE.into_iter().filter(|name| named.contains(*name)).collect();
        assert!(wrong.is_empty(), "{package} is pure and must not name {wrong:?}");
    }
}

#[test]
fn the_order_has_no_cycle() {
    let dependencies = dependencies();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    loop {
        let next = dependencies.iter().find(|(package, names)| {
            !done.contains(package.as_str())
                && names
                    .iter()
                    .filter(|name| dependencies.contains_key(*name))
                    .all(|name| done.contains(name.as_str()))
        });
        match next {
            Some((package, _)) => done.insert(package),
            None => break,
        };
    }
    assert_eq!(done.len(), dependencies.len(), "these depend on each other in a circle");
}
