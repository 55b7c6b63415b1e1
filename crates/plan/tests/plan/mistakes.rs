//! What is wrong is said, all of it, at its place, and once.

use wick_pipeline::SourceText;

use crate::check_yaml;

/// `line:column code: message / label / help` for each diagnostic.
fn told(yaml: &str) -> String {
    let (plan, diagnostics) = check_yaml(yaml.as_bytes(), &[]);
    let text = SourceText::new(yaml.as_bytes());
    let errors = diagnostics.iter().any(|found| found.severity == wick_plan::Severity::Error);
    assert_eq!(plan.is_none(), errors);
    let mut out = String::new();
    for found in diagnostics {
        let (line, column) = text.line_column(found.span.start);
        let shown = &text.text()[found.span.start..found.span.end];
        let shown = shown.lines().next().unwrap_or("");
        out += &format!("{line}:{column} `{shown}` {}: {}", found.code, found.message);
        for more in found.label.iter().chain(&found.help) {
            out += &format!(" / {more}");
        }
        out.push('\n');
    }
    out
}

/// Compares what is told of `yaml` with `expect`.
#[track_caller]
fn check(yaml: &str, expect: &str) {
    let told = told(yaml);
    assert!(told.trim() == expect.trim(), "of:\n{yaml}\nfound:\n{told}\nexpected:\n{expect}");
}

#[test]
fn the_top_of_the_file() {
    check(
        r##""##,
        r##"1:1 `` missing-key: the file is empty / start with `pipeline: NAME` and `stages:`; `wick init` writes an example"##,
    );
    check(
        r##"- a
"##,
        r##"1:1 `- a` wrong-type: a pipeline must be a mapping, not a list / write keys below it: `pipeline`, `experiment`, `description`, `include`, `inputs`, `outputs`, `params`, `defaults`, `secrets`, `timeout`, `hooks`, `schedule` or `stages`"##,
    );
    check(
        r##"pipeline: p
"##,
        r##"1:1 `pipeline` missing-key: the pipeline has no stages / add `stages:` and below it one stage after the other"##,
    );
    check(
        r##"stages: {}
"##,
        r##"1:1 `stages` missing-key: the pipeline has no name / start the file with `pipeline: NAME`
1:1 `stages` missing-key: the pipeline has no stages / write one stage after the other below `stages:`"##,
    );
    check(
        r##"pipeline: 1a
stages:
  s: {uses: make, with: {columns: [a]}}
"##,
        r##"1:11 `1a` bad-name: `1a` cannot name a pipeline / a name starts with a letter or `_`, not with `1`"##,
    );
    check(
        r##"pipelin: p
schedule: daily
params: [a]
stages:
  s: {uses: make, with: {columns: [a]}}
"##,
        r##"1:1 `pipelin` unknown-key: a pipeline has no key `pipelin` / did you mean `pipeline`?
2:11 `daily` wrong-type: `schedule` must be a mapping, not the text `daily` / write `schedule: {cron: "MINUTE HOUR DAY MONTH WEEKDAY"}`
3:9 `[a]` wrong-type: `params` must be a mapping, not a list / write `params:` and below it one `name: default` on each line"##,
    );
}

#[test]
fn syntax() {
    check(
        r##"pipeline: p
stages:
	s: {}
"##,
        r##"3:2 `s` syntax: this is not YAML: tabs disallowed within this context (block indentation) / indent with spaces: YAML does not allow tabs"##,
    );
    check(
        r##"pipeline: p
stages: {s: {uses: make, with: {columns: [${params.x}]}}}
"##,
        r##"2:44 `{` syntax: this is not YAML: while parsing a flow sequence, expected ',' or ']' / inside `{…}` and `[…]`, put quotes around a reference: `"${params.x}"`"##,
    );
    check(
        r##"pipeline: p
description: a: b
"##,
        r##"2:15 `:` syntax: this is not YAML: mapping values are not allowed in this context / put quotes around a text that holds `: `"##,
    );
    check(
        r##"pipeline: p
pipeline: q
stages:
  s: {uses: make, uses: note, with: {columns: [a]}}
"##,
        r##"2:1 `pipeline` duplicate-key: the key `pipeline` stands here twice / again here / remove one of the two, or give it another name
4:19 `uses` duplicate-key: the key `uses` stands here twice / again here / remove one of the two, or give it another name"##,
    );
    check(
        r##"pipeline: [p
"##,
        r##"1:12 `p` syntax: this is not YAML: while parsing a flow sequence, expected ',' or ']' / close `[` with `]` and `{` with `}`, and put a comma between two items"##,
    );
    check(
        r##"pipeline: p
params: {x: .inf}
stages:
  s: {uses: make, with: {columns: ["${params.x}"]}}
"##,
        r##"2:13 `.inf` wrong-value: `.inf` is no finite number / put quotes around it if it is a text"##,
    );
}

#[test]
fn params_and_references() {
    check(
        r##"pipeline: p
params: {epochs: 3, unused: 1, "a b": 1}
stages:
  s:
    uses: make
    with: {columns: ["${params.epoch}", "${env.NOPE}", "${parms.x}", "${x", "${inputs.x}", "${matrix.x}"], rows: "${params.epochs}"}
"##,
        r##"2:21 `unused` unused-param: nothing refers to param `unused` / use it as `${params.unused}`, or remove it
2:32 `"a b"` bad-name: `a b` cannot name a param / ` ` cannot stand in a name: letters, digits, `_` and `-` can
6:23 `${params.epoch}` bad-reference: there is no param `epoch` / did you mean `epochs`?
6:42 `${env.NOPE}` bad-reference: the environment variable `NOPE` is not set / set it before you call wick: `NOPE=… wick …`
6:57 `${parms.x}` bad-reference: `${parms.…}` refers to nothing that wick knows / did you mean `params`?
6:71 `${x` bad-reference: the reference is not closed / close it with `}`, or write `$${` for a literal `${`
6:78 `${inputs.x}` bad-reference: `${inputs.x}` is known only while a command runs / it can stand in the `run` of a `command` stage
6:93 `${matrix.x}` bad-reference: `${matrix.x}` stands in no stage with a matrix / give the stage `matrix: {x: [VALUE, VALUE]}`"##,
    );
    check(
        r##"pipeline: p
params: {a: "${params.b}", b: [1], c: "x${params.b}"}
stages:
  s: {uses: make, with: {columns: ["${params.a}", "${params.c}"]}}
"##,
        r##"2:14 `${params.b}` bad-reference: param `b` is declared further down / a param can refer to those above it: move it up
2:41 `${params.b}` bad-reference: a list cannot stand inside a text / let the reference be the whole value"##,
    );
    check(
        r##"pipeline: p
stages:
  s:
    uses: command
    inputs: {data: m}
    with:
      run: [cat, "${inputs.dat}", "${outputs.x}", "${run.name}"]
  m: {uses: make, with: {columns: [a]}}
"##,
        r##"7:19 `${inputs.dat}` bad-reference: stage `s` has no input `dat` / did you mean `data`?
7:36 `${outputs.x}` bad-reference: stage `s` has no output `x` / declare it: `outputs: {x: …}`
7:52 `${run.name}` bad-reference: a run has no value `name` / there is only `id`"##,
    );
}

#[test]
fn common_keys() {
    check(
        r##"pipeline: p
defaults: {retries: 3, timeout: 1x}
stages:
  s:
    uses: make
    retry: 3
    timeout: 10
    cache: yes
    after: s2
    resources: {cpus: 0, memory: 1KB, gpu: 1}
    executor: slurm
    description: 3
    inputs: [a]
  1s: {uses: make, with: {columns: [a]}}
  s2: text
  s3: {with: {columns: [a]}}
"##,
        r##"2:12 `retries` unknown-key: `defaults` has no key `retries` / there are `retry`, `timeout`, `resources` and `cache`
2:33 `1x` wrong-value: `timeout` must be a duration / `x` is not a unit of time / write `30s`, `5m` or `1h30m`
4:3 `s` missing-key: `with` lacks the key `columns` / add `columns: …`: the columns of the table
6:12 `3` wrong-type: `retry` must be a mapping, not `3` / write `retry: {attempts: 3}`
7:14 `10` wrong-value: `timeout` must be a duration / `10` has no unit / write `30s`, `5m` or `1h30m`
8:12 `yes` wrong-type: `cache` must be true or false, not the text `yes` / write `true` or `false`
9:12 `s2` wrong-type: `after` must be a list, not the text `s2` / write `after: [s2]`
10:23 `0` out-of-range: `cpus` is 0 / out of range / write a number from 1 to 4096
10:34 `1KB` out-of-range: `memory` is 1 KB / out of range / no stage runs in less than 1MB
10:39 `gpu` unknown-key: `resources` has no key `gpu` / did you mean `gpus`?
11:5 `executor` not-yet: `executor` is not supported by this version of wick / remove it; stages run on this machine
12:18 `3` wrong-type: `description` must be a text, not `3` / put quotes around it
13:13 `[a]` wrong-type: `inputs` must be a mapping, not a list / write `inputs: {PORT: STAGE}` or `{PORT: STAGE.OUTPUT}`
14:3 `1s` bad-name: `1s` cannot name a stage / a name starts with a letter or `_`, not with `1`
15:7 `text` wrong-type: a stage must be a mapping, not the text `text` / write keys below it: `uses`, `inputs`, `with`, `after`, `needs`, `when`, `matrix`, `foreach`, `retry`, `timeout`, `resources`, `cache` or `description`
16:3 `s3` missing-key: stage `s3` does not say what it `uses` / add `uses: KIND`; `wick kinds` lists them"##,
    );
}

#[test]
fn kinds_and_configurations() {
    check(
        r##"pipeline: p
stages:
  a: {uses: mak}
  b: {uses: make}
  c: {uses: learn, inputs: {train: b}, with: {target: 3, epochs: 1.0, dropot: 1, model: {}, optimizer: {adam: {}}, loss: {mse: 1}}}
  d: {uses: learn, inputs: {train: e}, with: {target: x, epochs: 0, optimizer: {adam: {learning_rate: 1}, sgd: {}}, model: [{}, {dropout: many}]}}
  e: {uses: part, inputs: {data: a}, with: {parts: {"a b": 1, c: one}}}
"##,
        r##"3:13 `mak` unknown-kind: there is no kind `mak` / did you mean `make`?
4:3 `b` missing-key: `with` lacks the key `columns` / add `columns: …`: the columns of the table
5:55 `3` wrong-type: `target` must be a text, not `3` / put quotes around it
5:66 `1.0` wrong-type: `epochs` must be a whole number, not `1.0` / write `1`
5:71 `dropot` unknown-key: `with` has no key `dropot` / did you mean `dropout`?
5:89 `{}` wrong-type: `model` must be a list, not a mapping
5:105 `adam` missing-key: `adam` lacks the key `learning_rate` / add `learning_rate: …`: how far
5:123 `mse` wrong-type: `mse` has no settings / write `mse` alone
6:66 `0` out-of-range: `epochs` is 0 / out of range / it must be at least 1
6:107 `sgd` wrong-value: `optimizer` takes one thing, and this is a second / keep one of them; in a list, each begins with a `-` of its own
6:125 `{}` wrong-value: an item of `model` is empty / it is one of `dense`, `dropout` or `flatten`
6:139 `many` wrong-type: `dropout` must be a number, not the text `many`
7:66 `one` wrong-type: `c` must be a number, not the text `one`"##,
    );
}

#[test]
fn edges() {
    check(
        r##"pipeline: p
stages:
  raw: {uses: make, with: {columns: [a]}}
  parts: {uses: part, inputs: {data: raw}, with: {parts: {a: 0.5, b: 0.5}}}
  learn:
    uses: learn
    inputs: {train: parts, valid: parts.b}
    with: {target: a, epochs: 1}
  learn2: {uses: learn, with: {target: a, epochs: 1}}
  note: {uses: note, inputs: {model: learn.report}}
  note2: {uses: note, inputs: {model: parts.c}}
  note3: {uses: note, inputs: {model: note}, after: [lern]}
  note4: {uses: note, inputs: {model: .x}}
"##,
        r##"7:21 `parts` unknown-output: stage `parts` has more than one output / name the one you mean: `parts.a` or `parts.b`
7:28 `valid` unknown-input: stage `learn` has no input `valid` / did you mean `validation`?
9:3 `learn2` missing-input: stage `learn2` lacks the input `train`, a dataset / write `inputs: {train: STAGE}`
10:38 `learn.report` port-type: input `model` takes a model, and `learn.report` is a report / this is a report / did you mean `learn.model`?
11:39 `parts.c` unknown-output: stage `parts` has no output `c` / there are `a` and `b`
12:39 `note` unknown-output: stage `note` makes nothing that could be read / to run after it, write `after: [note]`
12:54 `lern` unknown-stage: there is no stage `lern` / did you mean `learn`?
13:39 `.x` wrong-value: `.x` names no output of a stage / write `STAGE` or `STAGE.OUTPUT`"##,
    );
}

#[test]
fn columns_flow_along_the_edges() {
    check(
        r##"pipeline: p
stages:
  learn: {uses: learn, inputs: {train: parts.a}, with: {target: y, epochs: 1}}
  parts: {uses: part, inputs: {data: raw}, with: {parts: {a: 1}}}
  raw: {uses: make, with: {columns: [x, z]}}
"##,
        r##"3:65 `y` bad-config: no column is called `y` / name a column of `train`"##,
    );
}

#[test]
fn cycles_are_shown_as_a_path() {
    check(
        r##"pipeline: p
stages:
  a: {uses: part, inputs: {data: c.x}, with: {parts: {x: 1}}}
  b: {uses: part, inputs: {data: a.x}, with: {parts: {x: 1}}}
  c:
    uses: part
    inputs: {data: b.x}
    with: {parts: {x: 1}}
  d: {uses: part, inputs: {data: d.x}, with: {parts: {x: 1}}}
  e: {uses: learn, inputs: {train: c.x}, with: {target: y, epochs: 1}}
"##,
        r##"3:34 `c.x` cycle: stages need each other in a circle: a → c → b → a / `a` needs `c` / remove one of these edges
9:34 `d.x` cycle: stage `d` needs itself / let it read from another stage"##,
    );
}

#[test]
fn a_broken_stage_is_told_of_once() {
    check(
        r##"pipeline: p
stages:
  raw: {uses: make, with: {columns: 3}}
  parts: {uses: part, inputs: {data: raw}, with: {parts: {a: 1}}}
  learn: {uses: learn, inputs: {train: parts.a, validation: raw.other}, with: {target: y, epochs: 1}}
  note: {uses: note, inputs: {model: learn}}
"##,
        r##"3:37 `3` wrong-type: `columns` must be a list, not `3` / write `[3]`"##,
    );
}

#[test]
fn stages_must_fit_the_machine() {
    check(
        r##"pipeline: p
stages:
  a: {uses: make, with: {columns: [a]}, resources: {cpus: 8, memory: 1TB, gpus: 1}}
"##,
        r##"3:41 `resources` too-large: stage `a` asks for 8 cpus, and there are 4 / ask for less, or run it on a larger machine
3:41 `resources` too-large: stage `a` asks for 1 gpus, and there are 0 / ask for less, or run it on a machine that has them
3:41 `resources` too-large: stage `a` asks for 1 TB of memory, and there are 8 GB / ask for less, or run it on a larger machine"##,
    );
}

#[test]
fn a_misspelled_key_is_not_missing_too() {
    check(
        r##"pipelines: p
stage:
  s: {use: make, with: {colums: [a]}}
"##,
        r##"1:1 `pipelines` unknown-key: a pipeline has no key `pipelines` / did you mean `pipeline`?
2:1 `stage` unknown-key: a pipeline has no key `stage` / did you mean `stages`?"##,
    );
    check(
        r##"pipeline: p
stages:
  s: {use: make, with: {columns: [a]}}
  t: {uses: make, with: {colums: [a]}}
"##,
        r##"3:7 `use` unknown-key: a stage has no key `use` / did you mean `uses`?
4:26 `colums` unknown-key: `with` has no key `colums` / did you mean `columns`?"##,
    );
}
