//! Stages that are written once for several: what becomes of matrices, lists, gathers and choices.

use serde_json::{Value, json};
use wick_plan::{
    InputSource, Instance, KnownList, Materials, Mode, Plan, PlannedStage, explain_change,
};

use crate::{check_lists, check_with, check_yaml, plan};

const GRID: &str = "
pipeline: p
stages:
  raw: {uses: make, with: {columns: [a, b]}}
  learn:
    uses: learn
    matrix: {rate: [0.1, 0.2], units: [1, 2], exclude: [{rate: 0.1, units: 2}], include: [{units: 9, rate: 0.5}]}
    inputs: {train: raw}
    with: {target: a, epochs: \"${matrix.units}\", dropout: \"${matrix.rate}\"}
  again:
    uses: command
    matrix: {rate: [0.1], units: [1], how: [x, y]}
    inputs: {model: learn}
    with: {run: \"${matrix.how} ${inputs.model}\"}
  all:
    uses: command
    inputs: {models: \"learn[*].model\"}
    with: {run: \"ls ${inputs.models}\"}
  best:
    uses: note
    inputs: {model: {from: \"learn[*]\", select: {metric: loss, mode: max}}}
";

#[track_caller]
fn stage<'p>(plan: &'p Plan, name: &str) -> &'p PlannedStage {
    let index = plan.find(name).unwrap_or_else(|| panic!("no {name} in {:?}", names(plan)));
    plan.stage(index)
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.stages.iter().map(|stage| stage.name.as_str()).collect()
}

/// The stages that an input reads, by name.
fn read_from<'p>(plan: &'p Plan, stage: &PlannedStage, port: &str) -> Vec<&'p str> {
    let input = stage.inputs.iter().find(|input| input.port == port).expect("the input");
    input.from().iter().map(|from| plan.stage(*from).name.as_str()).collect()
}

#[test]
fn a_matrix_is_a_stage_for_each_combination() {
    let plan = plan(GRID);
    assert_eq!(
        names(&plan),
        [
            "raw",
            "learn[rate=0.1,units=1]",
            "learn[rate=0.2,units=1]",
            "learn[rate=0.2,units=2]",
            "learn[rate=0.5,units=9]",
            "again[rate=0.1,units=1,how=x]",
            "again[rate=0.1,units=1,how=y]",
            "all",
            "best",
        ]
    );
    let last = stage(&plan, "learn[rate=0.5,units=9]");
    assert_eq!(last.config["epochs"], json!(9), "values keep their types");
    assert_eq!(last.config["dropout"], json!(0.5));
    let values = vec![("rate".to_owned(), json!(0.5)), ("units".to_owned(), json!(9))];
    let expect = Instance {
        template: "learn".parse().expect("a name"),
        label: "rate=0.5,units=9".to_owned(),
        values,
    };
    assert_eq!(last.instance, Some(expect));
}

#[test]
fn edges_lead_to_the_instance_with_the_same_values() {
    let plan = plan(GRID);
    let again = stage(&plan, "again[rate=0.1,units=1,how=y]");
    assert_eq!(read_from(&plan, again, "model"), ["learn[rate=0.1,units=1]"]);
}

#[test]
fn gathers_and_choices_know_all_instances() {
    let plan = plan(GRID);
    let learned = [
        "learn[rate=0.1,units=1]",
        "learn[rate=0.2,units=1]",
        "learn[rate=0.2,units=2]",
        "learn[rate=0.5,units=9]",
    ];
    let all = stage(&plan, "all");
    assert!(matches!(all.inputs[0].source, InputSource::Gather { .. }));
    assert_eq!(read_from(&plan, all, "models"), learned);
    let best = stage(&plan, "best");
    let InputSource::Select { best: choice, .. } = &best.inputs[0].source else {
        panic!("{:?}", best.inputs[0])
    };
    assert_eq!((choice.metric.as_str(), choice.mode), ("loss", Mode::Max));
    assert!(choice.of.is_empty());
    assert_eq!(read_from(&plan, best, "model"), learned);
}

#[test]
fn a_metric_may_come_from_other_instances() {
    let plan = plan(
        "
pipeline: p
stages:
  raw: {uses: make, with: {columns: [a]}}
  learn:
    uses: learn
    matrix: {epochs: [1, 2]}
    inputs: {train: raw}
    with: {target: a, epochs: \"${matrix.epochs}\"}
  measure:
    uses: command
    matrix: {epochs: [1, 2]}
    inputs: {model: learn}
    with: {run: \"measure ${inputs.model} ${matrix.epochs}\"}
  best:
    uses: note
    inputs: {model: {from: \"learn[*]\", select: {metric: score, of: \"measure[*]\", mode: min}}}
",
    );
    let InputSource::Select { best, .. } = &stage(&plan, "best").inputs[0].source else {
        panic!("a choice")
    };
    let of: Vec<&str> = best.of.iter().map(|of| plan.stage(*of).name.as_str()).collect();
    assert_eq!(of, ["measure[epochs=1]", "measure[epochs=2]"]);
}

/// The fingerprint of a stage without inputs.
fn fingerprint(plan: &Plan, name: &str) -> String {
    let index = plan.find(name).expect("the stage");
    plan.fingerprint_parts(index, Materials::default()).fingerprint().to_string()
}

#[test]
fn fingerprints_know_values_and_no_names() {
    let made = |matrix: &str| {
        plan(&format!(
            "pipeline: p\nstages:\n  s:\n    uses: make\n    matrix: {matrix}\n    with: {{columns: [a], rows: \"${{matrix.n}}\"}}\n"
        ))
    };
    let (short, other) = (made("{n: [1, 2]}"), made("{n: [2, 3], x: [a/b, a b]}"));
    assert_eq!(
        fingerprint(&short, "s[n=2]"),
        fingerprint(&other, "s[n=0,x=1]"),
        "the name and the label of an instance do not count"
    );
    assert_ne!(fingerprint(&short, "s[n=1]"), fingerprint(&short, "s[n=2]"));
    let parts = |plan: &Plan, name: &str| {
        plan.fingerprint_parts(plan.find(name).expect("the stage"), Materials::default())
    };
    assert_eq!(
        explain_change(&parts(&short, "s[n=1]"), &parts(&short, "s[n=2]")),
        ["`with.rows` changed from 1 to 2"]
    );
}

const FOLDS: &str = "
pipeline: p
stages:
  raw: {uses: make, with: {columns: [a, b]}}
  folds: {uses: command, with: {run: folds, outputs: {list: value}}}
  fit:
    uses: learn
    foreach: {fold: folds.list}
    inputs: {train: raw}
    with: {target: a, epochs: \"${foreach.fold}\"}
    when: \"${foreach.fold} > 1\"
  note:
    uses: command
    foreach: {fold: folds.list}
    inputs: {model: fit}
    with: {run: \"note ${inputs.model} ${foreach.fold}\"}
  all:
    uses: command
    inputs: {models: \"fit[*].model\"}
    with: {run: \"ls ${inputs.models}\"}
  best:
    uses: note
    inputs: {model: {from: \"fit[*]\", select: {metric: loss, mode: min}}}
";

fn list(items: Value) -> KnownList {
    KnownList {
        stage: "folds".parse().expect("a name"),
        output: "list".parse().expect("a name"),
        items: items.as_array().expect("a list").clone(),
    }
}

#[test]
fn a_stage_for_a_list_that_is_not_known_is_a_template() {
    let plan = plan(FOLDS);
    assert_eq!(names(&plan), ["raw", "folds", "fit", "note", "all", "best"]);
    let fit = stage(&plan, "fit");
    let foreach = fit.foreach.as_ref().expect("a template");
    assert_eq!(
        (foreach.variable.as_str(), plan.stage(foreach.from).name.as_str()),
        ("fold", "folds")
    );
    assert_eq!(foreach.output, "list");
    assert_eq!(fit.config["epochs"], json!("${foreach.fold}"), "as it is written");
    assert_eq!(fit.condition, None, "it depends on the item");
    assert_eq!(read_from(&plan, stage(&plan, "note"), "model"), ["fit"]);
    assert_eq!(read_from(&plan, stage(&plan, "all"), "models"), ["fit"]);
    assert_eq!(read_from(&plan, stage(&plan, "best"), "model"), ["fit"]);
    assert!(matches!(stage(&plan, "all").inputs[0].source, InputSource::Gather { .. }));
}

#[test]
fn a_stage_for_a_known_list_is_planned_as_a_matrix_is() {
    let plan = check_lists(FOLDS.as_bytes(), &[list(json!([2, 1, 2]))]).plan.expect("a plan");
    assert_eq!(
        names(&plan),
        [
            "raw",
            "folds",
            "fit[fold=0]",
            "fit[fold=1]",
            "fit[fold=2]",
            "note[fold=0]",
            "note[fold=1]",
            "note[fold=2]",
            "all",
            "best"
        ],
        "items that are equal are told apart by their places"
    );
    let last = stage(&plan, "note[fold=2]");
    assert_eq!(read_from(&plan, last, "model"), ["fit[fold=2]"], "item to item");
    assert_eq!(last.config["run"], json!("note ${inputs.model} 2"));
    assert_eq!(stage(&plan, "fit[fold=1]").config["epochs"], json!(1));
    let first = stage(&plan, "fit[fold=0]");
    assert!(first.condition.is_some() && first.foreach.is_none());
    assert!(first.needs().any(|need| plan.stage(need).name == "folds"));
    assert_eq!(
        read_from(&plan, stage(&plan, "all"), "models"),
        ["fit[fold=0]", "fit[fold=1]", "fit[fold=2]"]
    );
    let named = check_lists(FOLDS.as_bytes(), &[list(json!([4, 3]))]).plan.expect("a plan");
    assert!(named.find("fit[fold=4]").is_some());
    let empty = check_lists(FOLDS.as_bytes(), &[list(json!([]))]).plan.expect("a plan");
    assert!(stage(&empty, "fit").foreach.is_some(), "nothing to write it for");
}

#[test]
fn items_of_a_list_are_checked_when_they_are_known() {
    assert!(
        check_lists(FOLDS.as_bytes(), &[list(json!(["x"]))]).plan.is_none(),
        "epochs are numbers"
    );
    assert!(
        check_lists(FOLDS.as_bytes(), &[list(json!([1, 0]))]).plan.is_none(),
        "and at least one"
    );
    let many: Vec<Value> = (0..10_001).map(Value::from).collect();
    assert!(check_lists(FOLDS.as_bytes(), &[list(Value::Array(many))]).plan.is_none(), "too many");
}

#[test]
fn a_template_is_checked_as_far_as_it_can_be() {
    let with = |with: &str, after: &str| {
        let yaml = format!(
            "pipeline: p\nstages:\n  folds: {{uses: command, with: {{run: folds, outputs: {{list: value}}}}}}\n  \
             table:\n    uses: make\n    foreach: {{fold: folds.list}}\n    with: {with}\n{after}"
        );
        check_yaml(yaml.as_bytes(), &[]).1
    };
    assert_eq!(with("{columns: [a], rows: \"${foreach.fold}\"}", ""), []);
    assert_eq!(with("{columns: \"${foreach.fold.columns}\"}", ""), []);
    assert_eq!(with("{columns: [\"c-${foreach.fold}\"]}", ""), []);
    let wrong = with("{columns: [], rows: \"${foreach.fold}\"}", "");
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    // What does not depend on the item is known of each table; what does is not.
    let reads = "  learn:\n    uses: learn\n    foreach: {fold: folds.list}\n    inputs: {train: table}\n    with: {target: z, epochs: 1, dropout: \"${foreach.fold}\"}\n";
    let known = with("{columns: [a], rows: \"${foreach.fold}\"}", reads);
    assert!(known.iter().any(|found| found.message.contains('z')), "{known:?}");
    assert_eq!(with("{columns: [\"${foreach.fold}\"]}", reads), []);
}

#[test]
fn mistakes_of_instances_are_told_once() {
    let found = |matrix: &str, rows: &str| {
        let yaml = format!(
            "pipeline: p\nstages:\n  s:\n    uses: make\n    matrix: {{n: {matrix}}}\n    with: {{columns: [a], rows: {rows}}}\n    imputs: {{}}\n"
        );
        let (_, found) = check_yaml(yaml.as_bytes(), &[]);
        found.into_iter().map(|found| found.message).collect::<Vec<_>>()
    };
    assert_eq!(found("[1, 2, 3]", "-1"), ["`rows` is -1", "a stage has no key `imputs`"]);
    assert_eq!(
        found("[1, -2, -3]", "\"${matrix.n}\""),
        ["`rows` is -2, in `s[n=-2]` and 1 more of 3 instances", "a stage has no key `imputs`"]
    );
    assert_eq!(found("[1, -2]", "\"${matrix.n}\"")[0], "`rows` is -2, in `s[n=-2]`");
}

#[test]
fn a_thousand_instances_are_planned_and_no_more() {
    let numbers = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let yaml = |a: usize, b: usize| {
        format!(
            "pipeline: p\nstages:\n  s:\n    uses: make\n    matrix: {{a: [{}], b: [{}]}}\n    with: {{columns: [a], rows: \"${{matrix.a}}\"}}\n  all: {{uses: command, inputs: {{x: \"s[*]\"}}, with: {{run: \"ls ${{inputs.x}}\"}}}}\n",
            numbers(a),
            numbers(b)
        )
    };
    let (plan, _) = check_yaml(yaml(100, 10).as_bytes(), &[]);
    assert_eq!(plan.expect("a plan").stages.len(), 1001);
    let (plan, found) = check_yaml(yaml(91, 11).as_bytes(), &[]);
    assert!(plan.is_none());
    assert_eq!(found[0].message, "the matrix has 1001 instances");
    let (_, found) = check_yaml(yaml(900, 900).as_bytes(), &[]);
    assert_eq!(found[0].code, "too-large");
}

/// A file that others use, with a matrix and a list of its own.
fn features(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    assert_eq!(path, std::path::Path::new("/project/features.yaml"));
    Ok(b"
pipeline: features
inputs: {raw: dataset}
outputs: {model: \"learn[rate=0.5].model\", report: note.report}
params: {size: 2}
secrets: {token: \"${env.TOKEN}\"}
stages:
  learn:
    uses: learn
    matrix: {rate: [0.1, 0.5]}
    inputs: {train: inputs.raw}
    with: {target: a, epochs: \"${params.size}\", dropout: \"${matrix.rate}\"}
  folds:
    uses: command
    when: \"${metrics.learn[rate=0.1].loss} < 1\"
    with: {run: folds, outputs: {list: value}, env: {T: \"${secrets.token}\"}}
  note:
    uses: command
    inputs: {models: \"learn[*]\", items: \"each[*]\"}
    with: {run: \"ls ${inputs.models} ${inputs.items}\", outputs: {report: report}}
  each:
    uses: command
    foreach: {fold: folds.list}
    with: {run: \"do ${foreach.fold}\", outputs: {made: file}}
"
    .to_vec())
}

#[test]
fn a_matrix_of_sub_pipelines_is_one_sub_pipeline_for_each() {
    let yaml = b"
pipeline: p
stages:
  raw: {uses: make, with: {columns: [a]}}
  parts:
    uses: pipeline
    matrix: {size: [3, 4]}
    inputs: {raw: raw}
    with: {file: features.yaml, params: {size: \"${matrix.size}\"}}
  one: {uses: note, inputs: {model: \"parts[size=4].model\"}}
  all: {uses: command, inputs: {models: \"parts[*].model\"}, after: [\"parts[*]\"], with: {run: \"ls ${inputs.models}\"}}
";
    let verdict = check_with(yaml, &[], &features);
    let plan = verdict.plan.unwrap_or_else(|| panic!("{:#?}", verdict.diagnostics));
    assert_eq!(
        names(&plan)[1..6],
        [
            "parts[size=3]/learn[rate=0.1]",
            "parts[size=3]/learn[rate=0.5]",
            "parts[size=3]/folds",
            "parts[size=3]/each",
            "parts[size=3]/note",
        ]
    );
    assert_eq!(stage(&plan, "parts[size=4]/learn[rate=0.1]").config["epochs"], json!(4));
    let one = stage(&plan, "one");
    assert_eq!(read_from(&plan, one, "model"), ["parts[size=4]/learn[rate=0.5]"]);
    let all = stage(&plan, "all");
    assert_eq!(
        read_from(&plan, all, "models"),
        ["parts[size=3]/learn[rate=0.5]", "parts[size=4]/learn[rate=0.5]"]
    );
    let folds = stage(&plan, "parts[size=4]/folds");
    let condition = folds.condition.as_ref().expect("a condition");
    assert_eq!(condition.references()[0].to_string(), "metrics.parts[size=4]/learn[rate=0.1].loss");
    assert!(stage(&plan, "parts[size=3]/each").foreach.is_some());
    assert_eq!(plan.secrets.len(), 1, "one secret, however often the file is used");
}
