//! Pipelines made of several files.

use std::collections::HashMap;
use std::path::Path;

use wick_plan::{Override, Plan, Verdict};

use crate::check_with;

/// Checks the first of `files`, which are named from the project's folder.
fn verdict(files: &[(&str, &str)], arguments: &[&str]) -> Verdict {
    let overrides: Vec<Override> =
        arguments.iter().map(|text| Override::parse(text).expect("an override")).collect();
    let others: HashMap<&Path, &str> =
        files.iter().map(|(name, text)| (Path::new(*name), *text)).collect();
    let load = |path: &Path| {
        let name = path.strip_prefix("/project").expect("inside the project");
        match others.get(name) {
            Some(text) => Ok(text.as_bytes().to_vec()),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    };
    check_with(files[0].1.as_bytes(), &overrides, &load)
}

/// The plan of files without mistakes.
#[track_caller]
fn plan(files: &[(&str, &str)], arguments: &[&str]) -> Plan {
    let verdict = verdict(files, arguments);
    match verdict.plan {
        Some(plan) => {
            assert_eq!(verdict.diagnostics, []);
            plan
        }
        None => panic!("{}", told(&verdict)),
    }
}

/// `file:line:column code: message / label / help` for each diagnostic, related places below.
fn told(verdict: &Verdict) -> String {
    let place = |span: wick_pipeline::Span| {
        let file = verdict.sources.get(span.file);
        let (line, column) = file.text().line_column(span.start);
        format!("{}:{line}:{column}", file.name())
    };
    let mut out = String::new();
    for found in &verdict.diagnostics {
        out += &format!("{} {}: {}", place(found.span), found.code, found.message);
        for more in found.label.iter().chain(&found.help) {
            out += &format!(" / {more}");
        }
        out.push('\n');
        for related in &found.related {
            out += &format!("  {}: {}\n", place(related.span), related.message);
        }
    }
    out
}

/// Compares what is told of `files` with `expect`.
#[track_caller]
fn check(files: &[(&str, &str)], expect: &str) {
    let told = told(&verdict(files, &[]));
    assert!(told.trim() == expect.trim(), "found:\n{told}\nexpected:\n{expect}");
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.stages.iter().map(|stage| stage.name.as_str()).collect()
}

mod include {
    use serde_json::json;

    use super::*;

    #[test]
    fn fragments_come_before_the_file_that_includes_them() {
        let files = [
            (
                "test.yaml",
                "pipeline: p\ninclude: [common/more.yaml]\nparams: {rows: 7}\n\
                 defaults: {retry: {attempts: 3}}\n\
                 stages:\n  own: {uses: make, with: {columns: [a], rows: \"${params.twice}\"}}\n",
            ),
            (
                "common/more.yaml",
                "include: [base.yaml]\nparams: {other: x}\n\
                 stages:\n  more: {uses: make, with: {columns: [\"${params.other}\"]}}\n",
            ),
            (
                "common/base.yaml",
                "params: {rows: 1, twice: \"${params.rows}\"}\n\
                 defaults: {retry: {attempts: 2, backoff: 9s}, timeout: 5s}\n\
                 stages:\n  base: {uses: make, with: {columns: [a], rows: \"${params.rows}\"}}\n",
            ),
        ];
        let plan = plan(&files, &[]);
        assert_eq!(names(&plan), ["base", "more", "own"]);
        let params: Vec<(&str, String)> =
            plan.params.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
        let expect = [("rows", "7"), ("twice", "7"), ("other", "\"x\"")];
        assert_eq!(params, expect.map(|(name, value)| (name, value.to_owned())));
        for stage in &plan.stages {
            assert_eq!(stage.retry.attempts, 3, "the file's own default counts");
            assert_eq!(stage.retry.backoff.as_secs(), 9, "what it leaves open is the fragment's");
            assert_eq!(stage.timeout.map(|timeout| timeout.as_secs()), Some(5));
        }
        assert_eq!(plan.stages[2].config["rows"], json!(7));
        let bases: Vec<&Path> = plan.stages.iter().map(|stage| stage.base.as_path()).collect();
        assert_eq!(bases, ["/project/common", "/project/common", "/project"].map(Path::new));
    }

    #[test]
    fn params_of_fragments_are_given_from_outside() {
        let files = [
            ("test.yaml", "pipeline: p\ninclude: [base.yaml]\n"),
            (
                "base.yaml",
                "params: {rows: 1, spare: 2}\n\
                 stages:\n  base: {uses: make, with: {columns: [a], rows: \"${params.rows}\"}}\n",
            ),
        ];
        let plan = plan(&files, &["rows=5"]);
        assert_eq!(plan.stages[0].config["rows"], json!(5));
        assert_eq!(plan.overridden, ["rows"]);
    }

    #[test]
    fn a_fragment_that_is_reached_twice_counts_once() {
        let files = [
            ("test.yaml", "pipeline: p\ninclude: [a.yaml, b.yaml, ./a.yaml]\n"),
            ("a.yaml", "include: [c.yaml]\n"),
            ("b.yaml", "include: [c.yaml]\nparams:\nstages:\n"),
            ("c.yaml", "stages: {s: {uses: make, with: {columns: [a]}}}\n"),
        ];
        assert_eq!(names(&plan(&files, &[])), ["s"]);
    }

    #[test]
    fn a_stage_stands_in_one_file() {
        let stage = "stages:\n  s: {uses: make, with: {columns: [a]}}\n";
        check(
            &[
                ("test.yaml", &format!("pipeline: p\ninclude: [a.yaml]\n{stage}")),
                ("a.yaml", stage),
            ],
            "test.yaml:4:3 duplicate-stage: there are two stages `s` / again here / remove one of \
             the two, or give it another name\n  a.yaml:2:3: first here",
        );
    }

    #[test]
    fn mistakes_are_shown_in_their_files() {
        check(
            &[
                (
                    "test.yaml",
                    "pipeline: p\ninclude: [a/b.yaml, ../c.yaml, 3, /d, \"${params.x}\", e.yaml]\n",
                ),
                (
                    "a/b.yaml",
                    "param: x\nexperiment: {}\nparams: [1]\nstages:\n  s: {uses: mak, with: {x: \"${params.y}\"}}\n",
                ),
            ],
            r"
test.yaml:2:21 bad-path: `../c.yaml` cannot be a part of this pipeline / it lies outside of the project / move it below the project's folder: the one that holds the `wick.yaml`
test.yaml:2:32 wrong-type: `include` lists files, not `3`
test.yaml:2:35 bad-path: `/d` cannot be a part of this pipeline / it is an absolute path / write a path from the folder of this file
test.yaml:2:39 bad-reference: a reference cannot stand here / files are included before params have values / write the file's name out
test.yaml:2:54 no-file: there is no file `e.yaml` / paths are meant from the folder of the file that they stand in
a/b.yaml:1:1 unknown-key: a fragment has no key `param` / did you mean `params`?
a/b.yaml:2:1 misplaced-key: `experiment` cannot stand in a fragment / write it into the pipeline file; a fragment may hold `include`, `params`, `defaults`, `secrets` and `stages`
a/b.yaml:3:9 wrong-type: `params` must be a mapping, not a list / write one `name: …` on each line below it
a/b.yaml:5:13 unknown-kind: there is no kind `mak` / did you mean `make`?
a/b.yaml:5:29 bad-reference: there is no param `y` / declare it: `params: {y: …}`",
        );
    }

    #[test]
    fn circles_show_their_way() {
        check(
            &[
                (
                    "test.yaml",
                    "pipeline: p\ninclude: [a.yaml]\nstages: {s: {uses: make, with: {columns: [a]}}}\n",
                ),
                ("a.yaml", "include: [b/c.yaml]\n"),
                ("b/c.yaml", "include:\n  - ../a.yaml\n  - c.yaml\n  - ../test.yaml\n"),
            ],
            r"
b/c.yaml:2:5 cycle: files include each other in a circle: a.yaml → b/c.yaml → a.yaml / this includes a.yaml again / move what they share into a file that includes neither
  a.yaml:1:11: this includes b/c.yaml
b/c.yaml:3:5 cycle: b/c.yaml includes itself / this includes b/c.yaml again / move what they share into a file that includes neither
b/c.yaml:4:5 cycle: files include each other in a circle: test.yaml → a.yaml → b/c.yaml → test.yaml / this includes test.yaml again / move what they share into a file that includes neither
  test.yaml:2:11: this includes a.yaml
  a.yaml:1:11: this includes b/c.yaml",
        );
    }

    #[test]
    fn a_pipeline_is_no_fragment() {
        check(
            &[
                (
                    "test.yaml",
                    "pipeline: p\ninclude: [a.yaml, b.yaml, c.yaml]\nstages: {s: {uses: make, with: {columns: [a]}}}\n",
                ),
                ("a.yaml", "pipeline: a\nstages: {}\n"),
                ("b.yaml", "- x\n"),
                ("c.yaml", "# nothing\n"),
            ],
            r"
a.yaml:1:1 misplaced-key: this is a pipeline of its own, and cannot be included / a fragment has no name: remove it, or use the file with `uses: pipeline`
b.yaml:1:1 wrong-type: a fragment must be a mapping, not a list / write keys below it: `include`, `params`, `defaults`, `secrets` or `stages`",
        );
    }
}
