//! Params, references, defaults and the plan that comes of them.

use serde_json::{Value, json};
use std::time::Duration;
use wick_plan::template::{Quoting, expand};
use wick_plan::{Override, Resources, Retry};

use crate::{check_yaml, plan, plan_with};

/// The resolved `with` of the only stage, a `make`, whose `columns` are `written`.
#[track_caller]
fn columns(params: &str, written: &str, arguments: &[&str]) -> Value {
    let yaml = format!(
        "pipeline: p\nparams: {params}\nstages:\n  s:\n    uses: make\n    with: {{columns: {written}}}\n"
    );
    plan_with(&yaml, arguments).stages[0].config["columns"].clone()
}

#[test]
fn references_keep_their_type() {
    assert_eq!(columns("{c: [a, b]}", "\"${params.c}\"", &[]), json!(["a", "b"]));
    assert_eq!(
        columns("{c: a}", "[\"${params.c}\", \"x-${ params.c }-y\"]", &[]),
        json!(["a", "x-a-y"])
    );
    assert_eq!(columns("{n: 3}", "[\"n${params.n}\"]", &[]), json!(["n3"]));
    assert_eq!(columns("{n: 1.5e-3}", "[\"n${params.n}\"]", &[]), json!(["n0.0015"]));
    assert_eq!(
        columns("{}", "[\"$${params.c}\", \"${env.HOME}/d\"]", &[]),
        json!(["${params.c}", "/home/ada/d"])
    );
    assert_eq!(columns("{a: x, b: \"${params.a}y\"}", "[\"${params.b}\"]", &[]), json!(["xy"]));
    assert_eq!(
        columns("{a: x, b: \"${params.a}y\"}", "[\"${params.b}\"]", &["a=z"]),
        json!(["zy"])
    );
}

#[test]
fn a_value_is_never_expanded_again() {
    assert_eq!(columns("{c: x}", "[\"${params.c}\"]", &["c=${env.HOME}"]), json!(["${env.HOME}"]));
}

#[test]
fn overrides_keep_the_params_type() {
    let yaml = "pipeline: p\nparams: {n: 1, x: 0.5, t: a, any: null}\nstages:\n  s:\n    uses: \
                command\n    with: {run: [\"${params.n}\", \"${params.x}\", \"${params.t}\", \"${params.any}\"]}\n";
    let plan = plan_with(yaml, &["n=7", "x=2", "t=2024", "any=true"]);
    let params: Vec<Value> = plan.params.iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(params, [json!(7), json!(2.0), json!("2024"), json!(true)]);
    assert_eq!(plan.overridden, ["n", "x", "t", "any"]);

    for wrong in ["n=1.5", "n=a", "x=true", "x=[1]"] {
        let (plan, found) = check_yaml(
            yaml.as_bytes(),
            &[Override::parse("any=1").expect("one"), Override::parse(wrong).expect("one")],
        );
        assert!(plan.is_none());
        assert_eq!(found[0].code, "wrong-type", "{wrong}");
    }
    let (_, found) = check_yaml(yaml.as_bytes(), &[Override::parse("m=1").expect("one")]);
    assert_eq!(found[0].message, "there is no param `m` (`-p m=1`)");
    assert!(Override::parse("novalue").is_err());
    assert!(Override::parse("a=[1").is_err());
}

#[test]
fn params_are_read_from_files() {
    let given = Override::read_file("p.yaml", b"n: 7\nt: \"1\"\n").expect("params");
    assert_eq!(given.len(), 2);
    assert_eq!((given[0].name.as_str(), &given[0].value), ("n", &json!(7)));
    assert!(Override::read_file("p.yaml", b"").expect("no params").is_empty());
    assert!(Override::read_file("p.yaml", b"- a").is_err());
    assert!(Override::read_file("p.yaml", b"n: [").is_err());
}

#[test]
fn a_commands_run_keeps_what_only_its_attempt_knows() {
    let yaml = r#"
pipeline: p
params: {name: "it's", n: 3}
stages:
  a:
    uses: command
    with: {run: [echo, 5, 1.0e-3, true, "${params.n}", "${params.name}", "${outputs.o}", "$${x}"], outputs: {o: file}}
  b:
    uses: command
    inputs: {i: a}
    with:
      run: echo ${params.name} "$HOME" $${HOME} < ${inputs.i} > ${run.id}
"#;
    let plan = plan(yaml);
    assert_eq!(
        plan.stages[0].config["run"],
        json!(["echo", "5", "1.0e-3", "true", "3", "it's", "${outputs.o}", "$${x}"])
    );
    let run = plan.stages[1].config["run"].as_str().expect("a text");
    assert_eq!(run, r#"echo 'it'\''s' "$HOME" $${HOME} < ${inputs.i} > ${run.id}"#);
    let expanded = expand(run, Quoting::Shell, |reference| {
        Some(match reference.scope {
            "inputs" => "/a b/i".to_owned(),
            _ => "r1".to_owned(),
        })
    });
    assert_eq!(expanded.as_deref(), Ok(r#"echo 'it'\''s' "$HOME" ${HOME} < '/a b/i' > r1"#));
}

#[test]
fn defaults_hold_unless_a_stage_says_otherwise() {
    let plan = plan(
        "
pipeline: p
params: {cpus: 2}
defaults:
  retry: {attempts: 3, backoff: 2s}
  timeout: 1h30m
  resources: {cpus: \"${params.cpus}\", memory: 1GB}
  cache: false
stages:
  a: {uses: make, with: {columns: [x]}}
  b:
    uses: make
    with: {columns: [x]}
    retry: {attempts: 1}
    timeout: null
    resources: {memory: 512MiB}
    cache: true
",
    );
    let [a, b] = plan.stages.as_slice() else { panic!("two stages") };
    assert_eq!(a.retry, Retry { attempts: 3, backoff: Duration::from_secs(2), ..Retry::default() });
    assert_eq!(a.timeout, Some(Duration::from_secs(5400)));
    assert_eq!(
        a.resources,
        Resources { cpus: 2, memory: Some(1_000_000_000), ..Resources::default() }
    );
    assert!(!a.cache);
    assert_eq!(b.retry, Retry { attempts: 1, backoff: Duration::from_secs(2), ..Retry::default() });
    assert_eq!(b.timeout, None);
    assert_eq!(b.resources, Resources { cpus: 2, memory: Some(512 << 20), ..Resources::default() });
    assert!(b.cache);
}

#[test]
fn anchors_and_merge_keys_are_followed() {
    let plan = plan(
        "
pipeline: p
params: {}
stages:
  a: &base {uses: make, with: &with {columns: [x], rows: 1}}
  b: {<<: *base, with: {<<: *with, rows: 2}}
",
    );
    assert_eq!(plan.stages[1].config, json!({"rows": 2, "columns": ["x"]}));
}

#[test]
fn yaml_values_are_what_they_look_like() {
    let yaml =
        "pipeline: p\nstages:\n  s: {uses: make, with: {columns: [012, yes, on, 0x1F, 1_000, ~]}}";
    let (_, found) = check_yaml(yaml.as_bytes(), &[]);
    // `012`, `yes`, `on` and `1_000` are texts; a hexadecimal number and null are not.
    let told: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "an item of `columns` must be a text, not `31`",
            "an item of `columns` must be a text, not nothing"
        ]
    );
}

#[test]
fn stages_are_sorted_and_edges_joined() {
    let plan = plan(
        "
pipeline: p
experiment: e
stages:
  note: {uses: note, inputs: {model: learn}, after: [side]}
  learn: {uses: learn, inputs: {train: parts.a}, with: {target: x, epochs: 1}}
  parts: {uses: part, inputs: {data: raw}, with: {parts: {a: 0.5, b: 0.5}}}
  raw: {uses: make, with: {columns: [x]}}
  side: {uses: command, with: {run: \"true\"}}
",
    );
    let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["raw", "parts", "learn", "side", "note"]);
    assert_eq!(plan.experiment.as_str(), "e");
    let learn = plan.find("learn").expect("a stage");
    let input = &plan.stage(learn).inputs[0];
    assert_eq!((input.from()[0], input.output().as_str()), (plan.find("parts").expect("one"), "a"));
    assert_eq!(plan.stage(learn).metrics.as_deref(), Some(&["loss".to_owned()][..]));
    let note = &plan.stages[4];
    assert_eq!(note.inputs[0].output().as_str(), "model");
    assert_eq!(note.after, [plan.find("side").expect("one")]);
}

#[test]
fn the_files_text_may_come_with_a_byte_order_mark_and_windows_line_ends() {
    let yaml = "\u{feff}pipeline: p\r\nstages:\r\n  s:\r\n    uses: make\r\n    with:\r\n      columns: [é, x]\r\n      rows: 5000\r\n";
    let (_, found) = check_yaml(yaml.as_bytes(), &[]);
    let [found] = found.as_slice() else { panic!("{found:?}") };
    let text = wick_pipeline::SourceText::new(yaml.as_bytes());
    assert_eq!(&text.text()[found.span.start..found.span.end], "5000");
    assert_eq!(text.line_column(found.span.start), (7, 13));
}
