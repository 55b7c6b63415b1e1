//! The language against files: what is wrong with each of `corpus/invalid`, word for word, and
//! that nothing is wrong with those in `corpus/valid`. `UPDATE_CORPUS=1` writes the expected
//! texts anew; look at what changed before you commit them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use wick_pipeline::{Style, render, summary};
use wick_plan::{Machine, Request, Verdict, check};
use wick_stage::Registry;

fn registry() -> Registry {
    Registry::new()
        .with(wick_data::kinds())
        .with(wick_nn::kinds())
        .with(wick_evaluate::kinds())
        .with(wick_explain::kinds())
        .with(wick_compress::kinds())
        .with(wick_serve::kinds())
        .with(wick_engine::command::kinds())
        .with([wick_plan::pipeline_kind()])
}

/// The files in `folder`, by name. Paths are relative to this package, where tests run, so that
/// messages with paths are the same on every machine.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn check_file(registry: &Registry, file: &Path) -> Verdict {
    check(&Request {
        source: &fs::read(file).expect("a file of the corpus"),
        file,
        name: &file.to_string_lossy(),
        root: file.parent().expect("a folder"),
        load: &|path| fs::read(path),
        overrides: &[],
        registry,
        environment: &|name| (name == "HOME").then(|| "/home/ada".to_owned()),
        machine: Machine {
            cpus: 4,
            memory: Some(16_000_000_000),
            gpus: 0,
            named: Some(BTreeMap::from([("database".to_owned(), 2)])),
        },
        lists: &[],
    })
}

fn told(verdict: &Verdict) -> String {
    render(&verdict.diagnostics, &verdict.sources, Style::default())
}

#[test]
fn every_mistake_is_told_as_expected() {
    let registry = registry();
    let update = std::env::var_os("UPDATE_CORPUS").is_some();
    let files = files("tests/corpus/invalid");
    assert!(files.len() >= 130, "{} files", files.len());
    let mut differ = Vec::new();
    for file in files {
        let verdict = check_file(&registry, &file);
        assert!(verdict.plan.is_none(), "{} has nothing wrong", file.display());
        let mut told = told(&verdict);
        told.push_str(&format!("\n{}\n", summary(&verdict.diagnostics)));
        let expected = file.with_extension("txt");
        if update {
            fs::write(&expected, told).expect("the corpus can be written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != told {
            differ.push(format!("{}:\n{told}", file.display()));
        }
    }
    assert!(
        differ.is_empty(),
        "{}\n{} files are told of otherwise; UPDATE_CORPUS=1 accepts it",
        differ.join("\n"),
        differ.len()
    );
}

#[test]
fn nothing_is_wrong_with_valid_files() {
    let registry = registry();
    let files = files("tests/corpus/valid");
    assert!(files.len() >= 30, "{} files", files.len());
    for file in files {
        let verdict = check_file(&registry, &file);
        assert!(verdict.diagnostics.is_empty(), "{}", told(&verdict));
        let plan = verdict.plan.expect("a plan where nothing is wrong");
        assert!(!plan.stages.is_empty());
    }
}

/// The ready pipelines refer to data that is fetched on its own, so only what needs no file is
/// checked of them.
#[test]
fn ready_pipelines_have_no_mistakes_of_their_own() {
    let registry = registry();
    for file in files("pipelines") {
        let verdict = check_file(&registry, &file);
        assert!(verdict.diagnostics.is_empty(), "{}", told(&verdict));
    }
}

#[test]
fn the_schema_for_editors_is_up_to_date() {
    let schema = wick_plan::pipeline_schema(&registry());
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    let file = "schema/pipeline.json";
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        fs::create_dir_all("schema").expect("a folder");
        fs::write(file, text).expect("the schema can be written");
    } else {
        let written = fs::read_to_string(file).unwrap_or_default();
        assert!(written == text, "`wick schema > {file}` brings it up to date");
    }
}

/// Valid files with something spoiled in each get an answer from every kind, never a panic. The
/// damage is drawn from a fixed seed, so a failure can be repeated.
#[test]
fn spoiled_files_never_make_a_kind_panic() {
    let registry = registry();
    let pieces = ["\"\"", "-1", "1.5e300", "[]", "{}", "null", "\"é ${\"", "[[1]]", "{a: {b: c}}"];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut draw = |below: usize| {
        // xorshift64 (Marsaglia, 2003): enough to choose places.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    for file in files("tests/corpus/valid") {
        let text = String::from_utf8(fs::read(&file).expect("a file")).expect("a text");
        for _ in 0..40 {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            for _ in 0..=draw(2) {
                let (a, b) = (draw(lines.len()), draw(lines.len()));
                match draw(4) {
                    0 => drop(lines.remove(a)),
                    1 => lines.swap(a, b),
                    // Another value behind one of the line's colons.
                    _ => {
                        let colons: Vec<usize> =
                            lines[a].match_indices(": ").map(|(at, _)| at + 2).collect();
                        if let Some(at) = colons.get(draw(colons.len())) {
                            let rest = &lines[a][*at..];
                            let end = rest.find([',', '}', ']']).unwrap_or(rest.len());
                            let piece = pieces[draw(pieces.len())];
                            lines[a].replace_range(*at..at + end, piece);
                        }
                    }
                }
                if lines.is_empty() {
                    break;
                }
            }
            let spoiled = lines.join("\n");
            let verdict = check(&Request {
                source: spoiled.as_bytes(),
                file: &file,
                name: "spoiled.yaml",
                root: file.parent().expect("a folder"),
                load: &|path| fs::read(path),
                overrides: &[],
                registry: &registry,
                environment: &|_| None,
                machine: Machine::UNLIMITED,
                lists: &[],
            });
            told(&verdict);
            let Verdict { plan, diagnostics: found, .. } = verdict;
            let panicked = found.iter().find(|found| found.code == "internal");
            assert!(panicked.is_none(), "{panicked:?} in:\n{spoiled}");
            assert_eq!(
                plan.is_none(),
                found.iter().any(|found| { found.severity == wick_plan::Severity::Error })
            );
        }
    }
}
