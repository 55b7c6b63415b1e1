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

mod sub_pipelines {
    use serde_json::json;
    use wick_plan::InputSource;

    use super::*;

    /// `stage <- inputs; after` for each stage.
    fn edges(plan: &Plan) -> Vec<String> {
        let name = |index| plan.stage(index).name.as_str();
        plan.stages
            .iter()
            .map(|stage| {
                let mut line = stage.name.to_string();
                for input in &stage.inputs {
                    let InputSource::Output { from, output } = &input.source else { continue };
                    line += &format!(" {}={}.{output}", input.port, name(*from));
                }
                if !stage.after.is_empty() {
                    let after: Vec<&str> = stage.after.iter().map(|after| name(*after)).collect();
                    line += &format!(" after {}", after.join(" "));
                }
                line
            })
            .collect()
    }

    const PARTS: (&str, &str) = (
        "sub/parts.yaml",
        "pipeline: parts\ninputs: {raw: dataset}\noutputs: {big: cut.big, small: cut.small}\n\
         params: {share: 0.5}\n\
         stages:\n  cut:\n    uses: part\n    inputs: {data: inputs.raw}\n    \
         with: {parts: {big: \"${params.share}\", small: 0.1}}\n",
    );

    #[test]
    fn its_stages_stand_in_the_place_of_the_stage() {
        let files = [
            (
                "test.yaml",
                "pipeline: p\nparams: {share: 0.7}\nstages:\n  \
                 raw: {uses: make, with: {columns: [a]}}\n  \
                 side: {uses: make, with: {columns: [b]}}\n  \
                 parts:\n    uses: pipeline\n    inputs: {raw: raw}\n    after: [side]\n    \
                 with: {file: sub/parts.yaml, params: {share: \"${params.share}\"}}\n  \
                 learn: {uses: learn, inputs: {train: parts.big, validation: parts.small}, with: {target: a, epochs: 1}}\n  \
                 last: {uses: make, with: {columns: [c]}, after: [parts]}\n",
            ),
            PARTS,
        ];
        let plan = plan(&files, &[]);
        assert_eq!(
            edges(&plan),
            [
                "raw",
                "side",
                "parts/cut data=raw.data after side",
                "learn train=parts/cut.big validation=parts/cut.small",
                "last after parts/cut",
            ]
        );
        assert_eq!(plan.stages[2].config["parts"]["big"], json!(0.7));
        assert_eq!(plan.stages[2].base, Path::new("/project/sub"));
        assert_eq!(plan.stages[3].base, Path::new("/project"));
        assert_eq!(plan.params, [("share".to_owned(), json!(0.7))]);
    }

    #[test]
    fn what_comes_before_and_after_goes_to_its_first_and_last_stages() {
        let make = "{uses: make, with: {columns: [a]}";
        let files = [
            (
                "test.yaml",
                format!(
                    "pipeline: p\nstages:\n  first: {make}}}\n  \
                     outer: {{uses: pipeline, after: [first], with: {{file: outer.yaml}}}}\n  \
                     last: {make}, after: [outer]}}\n"
                ),
            ),
            (
                "outer.yaml",
                format!(
                    "pipeline: outer\nstages:\n  a: {make}}}\n  b: {make}, after: [a]}}\n  \
                     inner: {{uses: pipeline, after: [a], with: {{file: inner.yaml}}}}\n  \
                     c: {make}, after: [inner]}}\n  \
                     free: {{uses: pipeline, with: {{file: inner.yaml}}}}\n"
                ),
            ),
            (
                "inner.yaml",
                format!(
                    "pipeline: inner\nstages:\n  x: {make}}}\n  y: {make}, after: [x]}}\n  z: {make}}}\n"
                ),
            ),
        ];
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        assert_eq!(
            edges(&plan(&files, &[])),
            [
                "first",
                "outer/a after first",
                "outer/b after outer/a",
                "outer/inner/x after outer/a",
                "outer/inner/y after outer/inner/x",
                "outer/inner/z after outer/a",
                "outer/c after outer/inner/y outer/inner/z",
                "outer/free/x after first",
                "outer/free/y after outer/free/x",
                "outer/free/z after first",
                "last after outer/b outer/c outer/free/y outer/free/z",
            ]
        );
    }

    #[test]
    fn what_is_given_may_be_handed_on() {
        let files = [
            (
                "test.yaml",
                "pipeline: p\nstages:\n  raw: {uses: make, with: {columns: [a]}}\n  \
                 on: {uses: pipeline, inputs: {raw: raw}, with: {file: on.yaml}}\n  \
                 learn: {uses: learn, inputs: {train: on.same, validation: on.big}, with: {target: a, epochs: 1}}\n",
            ),
            (
                "on.yaml",
                "pipeline: on\ninputs: {raw: dataset}\n\
                 outputs: {same: inputs, big: parts.big}\n\
                 stages:\n  parts: {uses: pipeline, inputs: {raw: inputs.raw}, with: {file: sub/parts.yaml}}\n",
            ),
            PARTS,
        ];
        assert_eq!(
            edges(&plan(&files, &[])),
            [
                "raw",
                "on/parts/cut data=raw.data",
                "learn train=raw.data validation=on/parts/cut.big"
            ]
        );
    }

    #[test]
    fn the_interface_is_checked_on_both_sides() {
        check(
            &[
                (
                    "test.yaml",
                    "pipeline: p\nstages:\n  raw: {uses: make, with: {columns: [a]}}\n  \
                     learn: {uses: learn, inputs: {train: raw, validation: parts.big}, with: {target: a, epochs: 1}}\n  \
                     parts:\n    uses: pipeline\n    retry: {attempts: 2}\n    inputs: {raww: raw}\n    \
                     with: {file: sub/parts.yaml, params: {share: half, shar: 1}, fil: x}\n  \
                     wrong: {uses: pipeline, inputs: {raw: learn.model}, with: {file: sub/parts.yaml}}\n  \
                     note: {uses: note, inputs: {model: wrong.huge}}\n  \
                     note2: {uses: note, inputs: {model: parts}}\n",
                ),
                PARTS,
            ],
            r"
test.yaml:7:5 misplaced-key: a stage that uses a pipeline has no `retry` of its own / write it into the other file: for one stage, or below `defaults` for all
test.yaml:8:14 unknown-input: stage `parts` has no input `raww` / did you mean `raw`?
test.yaml:9:43 wrong-type: param `share` is a number, not the text `half`
  sub/parts.yaml:4:17: the default says the type
test.yaml:9:56 unknown-param: the pipeline has no param `shar` / did you mean `share`?
  sub/parts.yaml:4:1: its params are declared here
test.yaml:9:66 unknown-key: `with` of a stage that uses a pipeline has no key `fil` / did you mean `file`?
test.yaml:10:41 port-type: input `raw` takes a dataset, and `learn.model` is a model / this is a model / stage `learn` makes no dataset
test.yaml:11:38 unknown-output: stage `wrong` has no output `huge` / there are `big` and `small`",
        );
    }

    #[test]
    fn mistakes_inside_name_who_uses_the_file() {
        check(
            &[
                (
                    "test.yaml",
                    "pipeline: p\nstages:\n  \
                     one: {uses: pipeline, with: {file: sub/bad.yaml}}\n  \
                     two: {uses: pipeline, with: {file: sub/bad.yaml}}\n",
                ),
                (
                    "sub/bad.yaml",
                    "pipeline: bad\ninputs: {raw: datset, none: value}\noutputs: {x: cutt.big}\nstages:\n  \
                     inputs: {uses: make, with: {columns: [a]}}\n  \
                     cut: {uses: part, inputs: {data: inputs.row}, with: {part: {big: 0.5}}, after: [raw, cot]}\n",
                ),
            ],
            r"
sub/bad.yaml:2:15 wrong-value: there is no type `datset` / did you mean `dataset`?
  test.yaml:3:3: used by stage `one` here
  test.yaml:4:3: used by stage `two` here
sub/bad.yaml:2:23 unused-input: nothing reads the input `none` / read it as `inputs.none`, or remove it
  test.yaml:3:3: used by stage `one` here
  test.yaml:4:3: used by stage `two` here
sub/bad.yaml:3:14 unknown-stage: there is no stage `cutt` / did you mean `cut`?
  test.yaml:3:3: used by stage `one` here
  test.yaml:4:3: used by stage `two` here
sub/bad.yaml:5:3 bad-name: `inputs` cannot name a stage of a pipeline that others use / `inputs.NAME` is what the pipeline is given / give the stage another name
  test.yaml:3:3: used by stage `one` here
  test.yaml:4:3: used by stage `two` here
sub/bad.yaml:6:56 unknown-key: `with` has no key `part` / did you mean `parts`?
  test.yaml:3:3: used by stage `one` here
  test.yaml:4:3: used by stage `two` here
sub/bad.yaml:6:83 unknown-stage: there is no stage `raw` / there is only `cut`
  test.yaml:3:3: used by stage `one` here
  test.yaml:4:3: used by stage `two` here
sub/bad.yaml:6:88 unknown-stage: there is no stage `cot` / did you mean `cut`?
  test.yaml:3:3: used by stage `one` here
  test.yaml:4:3: used by stage `two` here",
        );
    }

    #[test]
    fn circles_of_files_and_of_stages_show_their_way() {
        check(
            &[
                (
                    "test.yaml",
                    "pipeline: p\nstages:\n  a: {uses: pipeline, with: {file: a.yaml}}\n  \
                     self: {uses: pipeline, with: {file: test.yaml}}\n",
                ),
                ("a.yaml", "pipeline: a\nstages: {b: {uses: pipeline, with: {file: b.yaml}}}\n"),
                ("b.yaml", "pipeline: b\nstages: {a: {uses: pipeline, with: {file: a.yaml}}}\n"),
            ],
            r"
test.yaml:4:39 cycle: test.yaml uses itself / this uses test.yaml again / a pipeline cannot be a part of itself
b.yaml:2:43 cycle: pipelines use each other in a circle: a.yaml → b.yaml → a.yaml / this uses a.yaml again / a pipeline cannot be a part of itself
  a.yaml:2:43: this uses b.yaml
  a.yaml:2:10: used by stage `b` here
  test.yaml:3:3: used by stage `a` here",
        );
        check(
            &[
                (
                    "test.yaml",
                    "pipeline: p\nstages:\n  \
                     learn: {uses: learn, inputs: {train: parts.big, validation: parts.small}, with: {target: a, epochs: 1}, after: [x]}\n  \
                     x: {uses: make, with: {columns: [a]}, after: [learn]}\n  \
                     parts: {uses: pipeline, inputs: {raw: raw}, with: {file: sub/parts.yaml}}\n  \
                     raw: {uses: make, with: {columns: [a]}, after: [parts]}\n",
                ),
                PARTS,
            ],
            r"
test.yaml:3:115 cycle: stages need each other in a circle: learn → x → learn / `learn` needs `x` / remove one of these edges
  test.yaml:4:49: `x` needs `learn`
test.yaml:5:41 cycle: stages need each other in a circle: parts → raw → parts / `parts` needs `raw` / remove one of these edges
  test.yaml:6:51: `raw` needs `parts`",
        );
    }

    /// What an input reads, by name.
    fn read_from<'p>(plan: &'p Plan, stage: &str, port: &str) -> Vec<&'p str> {
        let stage = plan.stage(plan.find(stage).expect("the stage"));
        let input = stage.inputs.iter().find(|input| input.port == port).expect("the input");
        input.from().iter().map(|from| plan.stage(*from).name.as_str()).collect()
    }

    #[test]
    fn with_a_matrix_there_are_all_of_its_stages_for_each_combination() {
        let files = [
            (
                "test.yaml",
                "pipeline: p\nstages:\n  \
                 raw: {uses: make, matrix: {share: [0.2, 0.4]}, with: {columns: [a], rows: 3}}\n  \
                 parts:\n    uses: pipeline\n    matrix: {share: [0.2, 0.4]}\n    inputs: {raw: raw}\n    \
                 with: {file: sub/parts.yaml, params: {share: \"${matrix.share}\"}}\n  \
                 learn: {uses: learn, matrix: {share: [0.2, 0.4]}, inputs: {train: parts.big}, with: {target: a, epochs: 1}}\n  \
                 one: {uses: learn, inputs: {train: \"parts[share=0.4].small\"}, with: {target: a, epochs: 1}}\n  \
                 all: {uses: command, inputs: {parts: \"parts[*].big\"}, with: {run: \"ls ${inputs.parts}\"}}\n  \
                 last: {uses: make, with: {columns: [c]}, after: [\"parts[*]\"]}\n",
            ),
            PARTS,
        ];
        let plan = plan(&files, &[]);
        let cut = ["parts[share=0.2]/cut", "parts[share=0.4]/cut"];
        for (cut, label) in cut.iter().zip(["share=0.2", "share=0.4"]) {
            assert_eq!(read_from(&plan, cut, "data"), [format!("raw[{label}]")]);
            assert_eq!(read_from(&plan, &format!("learn[{label}]"), "train"), [*cut]);
        }
        assert_eq!(read_from(&plan, "one", "train"), [cut[1]]);
        assert_eq!(read_from(&plan, "all", "parts"), cut);
        let last = plan.stage(plan.find("last").expect("the stage"));
        let after: Vec<&str> = last.after.iter().map(|of| plan.stage(*of).name.as_str()).collect();
        assert_eq!(after, cut);
        let share = &plan.stage(plan.find(cut[1]).expect("the stage")).config["parts"]["big"];
        assert_eq!(*share, json!(0.4));
    }

    #[test]
    fn what_was_chosen_is_handed_on_to_one_reader_alone() {
        let sub = "pipeline: best\n\
             outputs: {model: {from: \"learn[*]\", select: {metric: loss, mode: min}}, all: all}\n\
             stages:\n  raw: {uses: make, with: {columns: [a]}}\n  \
             learn: {uses: learn, matrix: {epochs: [1, 2]}, inputs: {train: raw}, with: {target: a, epochs: \"${matrix.epochs}\"}}\n  \
             all: {uses: command, with: {run: 'true', outputs: {list: value}}}\n";
        let main = "pipeline: p\nstages:\n  \
                    best: {uses: pipeline, with: {file: best.yaml}}\n  \
                    note: {uses: note, inputs: {model: best.model}}\n";
        let chosen = plan(&[("test.yaml", main), ("best.yaml", sub)], &[]);
        assert_eq!(
            read_from(&chosen, "note", "model"),
            ["best/learn[epochs=1]", "best/learn[epochs=2]"]
        );
        check(
            &[
                (
                    "test.yaml",
                    "pipeline: p\nstages:\n  \
                     best: {uses: pipeline, matrix: {x: [1, 2]}, with: {file: best.yaml}}\n  \
                     all: {uses: command, inputs: {models: \"best[*].model\"}, with: {run: 'true'}}\n",
                ),
                ("best.yaml", sub),
            ],
            "test.yaml:4:41 bad-instance: `best` hands on what it chose among instances / name one of \
             its instances",
        );
    }

    #[test]
    fn all_instances_use_one_file() {
        check(
            &[
                (
                    "test.yaml",
                    "pipeline: p\nstages:\n  \
                     x: {uses: pipeline, matrix: {file: [a.yaml, b.yaml]}, with: {file: \"${matrix.file}\"}}\n",
                ),
                ("a.yaml", "pipeline: a\nstages: {m: {uses: make, with: {columns: [a]}}}\n"),
            ],
            "test.yaml:3:70 bad-matrix: all instances of a stage use the same file / let params of \
             the file tell them apart, or write a stage for each file",
        );
    }

    #[test]
    fn conditions_hold_for_each_stage_and_joins_for_the_first() {
        let make = "uses: make, with: {columns: [a]}";
        let files = [
            (
                "test.yaml",
                format!(
                    "pipeline: p\nstages:\n  a: {{{make}}}\n  b: {{{make}}}\n  \
                     ask: {{uses: command, with: {{run: 'true', outputs: {{go: value}}}}}}\n  \
                     sub: {{uses: pipeline, after: [a, b], needs: any, when: \"${{values.ask}} == 1\", with: {{file: sub.yaml}}}}\n"
                ),
            ),
            (
                "sub.yaml",
                format!(
                    "pipeline: sub\nparams: {{deep: true}}\nstages:\n  x: {{{make}}}\n  \
                     y: {{{make}, after: [x], when: \"${{params.deep}}\"}}\n"
                ),
            ),
        ];
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let plan = plan(&files, &[]);
        let stage = |name: &str| plan.stage(plan.find(name).expect("the stage"));
        let condition =
            |name: &str| stage(name).condition.as_ref().expect("a condition").text().to_owned();
        assert_eq!(stage("sub/x").join, wick_plan::Join::Any);
        assert_eq!(stage("sub/y").join, wick_plan::Join::All);
        let outer = condition("sub/x");
        assert_eq!(condition("sub/y"), format!("({outer}) and (${{params.deep}})"));
        let of_y = stage("sub/y").condition.as_ref().expect("a condition");
        assert_eq!(of_y.holds(&|_| Some(json!(1))), Ok(true));
        assert_eq!(of_y.holds(&|_| Some(json!(2))), Ok(false));
        for name in ["sub/x", "sub/y"] {
            let after = &stage(name).after;
            assert!(after.contains(&plan.find("ask").expect("the stage")), "{name} asks it");
        }
        assert_eq!(stage("sub/x").after.len(), 3);
    }

    #[test]
    fn a_file_that_takes_inputs_cannot_run_by_itself() {
        check(
            &[PARTS],
            "test.yaml:2:1 takes-inputs: the pipeline cannot run by itself / it takes inputs, which another pipeline gives / use it in another file: `uses: pipeline` and `with: {file: test.yaml}`",
        );
        let part = |text: &str| {
            crate::verdict(wick_plan::check_part, text.as_bytes(), &[], &wick_plan::no_files)
        };
        let verdict = part(PARTS.1);
        assert_eq!((verdict.diagnostics.len(), verdict.part), (0, Some(1)), "{}", told(&verdict));
        assert!(verdict.plan.is_none());
        let verdict = part(
            "pipeline: p\ninputs: {raw: dataset}\noutputs: {x: b}\nstages: {a: {uses: make, with: {columns: [a]}}}\n",
        );
        assert!(verdict.part.is_none());
        assert_eq!(
            told(&verdict),
            "test.yaml:2:10 unused-input: nothing reads the input `raw` / read it as `inputs.raw`, \
             or remove it\n\
             test.yaml:3:14 unknown-stage: there is no stage `b` / there is only `a`\n"
        );
    }
}

mod never_panics {
    use proptest::prelude::*;
    use wick_plan::{Severity, Style, check, check_part, render, to_json};

    use super::*;
    use crate::never_panic::{Damage, apply, cases, damage};

    /// Files that use each other.
    const SEEDS: [(&str, &str); 4] = [
        (
            "test.yaml",
            "pipeline: seed\ninclude: [common.yaml, part.yaml]\nparams: {share: 0.5}\n\
             inputs: {raw: dataset}\noutputs: {all: raw, big: parts.big}\n\
             stages:\n  more: {uses: make, with: {columns: [a], rows: \"${params.rows}\"}, after: [parts]}\n  \
             parts:\n    uses: pipeline\n    inputs: {raw: raw}\n    \
             with: {file: part.yaml, params: {share: \"${params.share}\"}}\n",
        ),
        (
            "common.yaml",
            "include: [deep.yaml]\nparams: {rows: 3}\ndefaults: {timeout: 1m}\n\
             stages: {raw: {uses: make, with: {columns: [a]}}}\n",
        ),
        (
            "part.yaml",
            "pipeline: part\ninclude: [deep.yaml]\ninputs: {raw: dataset}\n\
             outputs: {big: cut.big, same: inputs.raw}\nparams: {share: 0.1}\n\
             stages:\n  cut: {uses: part, inputs: {data: inputs.raw}, with: {parts: {big: \"${params.share}\"}}}\n  \
             again: {uses: pipeline, inputs: {raw: inputs}, with: {file: test.yaml}}\n",
        ),
        ("deep.yaml", "include: [common.yaml]\nparams: {deep: 1}\n"),
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

        #[test]
        fn spoiled_files_that_use_each_other_get_an_answer(
            damages in prop::collection::vec((0..SEEDS.len(), damage()), 0..8),
        ) {
            let mut files = SEEDS.map(|(name, text)| (name, text.as_bytes().to_vec()));
            let spoil = |(file, damage): &(usize, Damage)| apply(&mut files[*file].1, damage);
            damages.iter().for_each(spoil);
            let load = |path: &Path| {
                let name = path.strip_prefix("/project").expect("inside the project");
                let found = files.iter().find(|(file, _)| Path::new(file) == name);
                found.map(|(_, bytes)| bytes.clone()).ok_or(std::io::ErrorKind::NotFound.into())
            };
            for how in [check, check_part] {
                let verdict = crate::verdict(how, &files[0].1, &[], &load);
                let found = &verdict.diagnostics;
                let errors = found.iter().any(|found| found.severity == Severity::Error);
                let sound = verdict.plan.is_some() || verdict.part.is_some();
                prop_assert_eq!(sound, !errors);
                let few = &found[..found.len().min(20)];
                to_json(few, &verdict.sources);
                let drawn = render(few, &verdict.sources, Style::default());
                prop_assert_eq!(drawn.is_empty(), few.is_empty());
                verdict.sources.recorded();
            }
        }
    }

    /// Two files, each of which uses the next twice or more: few lines, and stages without end.
    #[test]
    fn what_grows_without_end_is_bounded() {
        let uses = |next: usize| {
            let stages: String = (0..40)
                .map(|stage| {
                    format!("  s{stage}: {{uses: pipeline, with: {{file: f{next}.yaml}}}}\n")
                })
                .collect();
            format!("pipeline: p\nstages:\n{stages}")
        };
        let files: Vec<(String, String)> = (0..8)
            .map(|file| {
                (
                    if file == 0 { "test.yaml".to_owned() } else { format!("f{file}.yaml") },
                    uses(file + 1),
                )
            })
            .chain([(
                "f8.yaml".to_owned(),
                "pipeline: p\nstages: {m: {uses: make, with: {columns: [a]}}}\n".to_owned(),
            )])
            .collect();
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let verdict = verdict(&files, &[]);
        assert!(verdict.plan.is_none());
        assert!(verdict.diagnostics.iter().any(|found| found.code == "too-large"));
    }
}
