//! Pipelines that are made of several files, and projects with several pipelines.

use crate::sandbox::Sandbox;

const MAIN: &str = "\
pipeline: sizes
include: [common/texts.yaml]
params: {lines: 3}
stages:
  few:
    uses: pipeline
    inputs: {text: text}
    with: {file: parts/count.yaml, params: {lines: \"${params.lines}\"}}
  all:
    uses: command
    inputs: {text: text, count: few}
    with: {run: \"cat ${inputs.text} ${inputs.count} > ${outputs.all}\", outputs: {all: file}}
";

const TEXTS: &str = "\
params: {lines: 1, last: 9}
stages:
  text:
    uses: command
    with: {run: \"seq ${params.last} > ${outputs.text}\", outputs: {text: file}}
";

const COUNT: &str = "\
pipeline: count
inputs: {text: file}
outputs: {count: count}
params: {lines: 1}
stages:
  head:
    uses: command
    inputs: {text: inputs.text}
    with:
      run: \"sh head.sh ${params.lines} < ${inputs.text} > ${outputs.head}\"
      code: [head.sh]
      outputs: {head: file}
  count:
    uses: command
    inputs: {head: head}
    with: {run: \"wc -l < ${inputs.head} > ${outputs.count}\", outputs: {count: file}}
";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("wick.yaml", "# nothing said\n");
    sandbox.write("pipelines/sizes.yaml", MAIN);
    sandbox.write("pipelines/common/texts.yaml", TEXTS);
    sandbox.write("pipelines/parts/count.yaml", COUNT);
    // Found only by a program that runs in the folder of the file that names it.
    sandbox.write("pipelines/parts/head.sh", "exec head -n \"$1\"\n");
    sandbox
}

#[test]
fn stages_of_other_files_run_in_their_folders() {
    let sandbox = sandbox();
    sandbox.wick(&["run", "pipelines/sizes.yaml"]).ends_with(0);
    let states = sandbox.states("@last");
    let names: Vec<&str> = states.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["text", "few/head", "few/count", "all"]);
    assert!(states.iter().all(|(_, state)| state == "succeeded"), "{states:?}");

    // What an attempt reads is known by its digest: the program in the other folder counts.
    sandbox.wick(&["run", "pipelines/sizes.yaml"]).ends_with(0).says(&["4 cached"]);
    sandbox.write("pipelines/parts/head.sh", "exec head -n 1\n");
    sandbox.wick(&["run", "pipelines/sizes.yaml"]).ends_with(0).says(&["1 cached"]);
}

#[test]
fn all_files_are_recorded_with_the_run() {
    let sandbox = sandbox();
    sandbox.wick(&["run", "pipelines/sizes.yaml"]).ends_with(0);
    let recorded = sandbox.wick(&["show", "--pipeline"]).ends_with(0).stdout;
    assert_eq!(
        recorded,
        format!("{MAIN}--- # common/texts.yaml\n{TEXTS}--- # parts/count.yaml\n{COUNT}")
    );
    // A rerun after a change in any of them is another run.
    sandbox.write("pipelines/parts/count.yaml", &COUNT.replace("wc -l", "wc -c"));
    sandbox.wick(&["rerun"]).ends_with(0);
    assert_eq!(sandbox.runs().len(), 2);
}

#[test]
fn pipelines_of_the_project_are_called_by_name() {
    let sandbox = sandbox();
    sandbox.wick(&["run", "sizes", "-p", "lines=2"]).ends_with(0).says(&["succeeded"]);
    sandbox.wick(&["plan", "sizes"]).ends_with(0).says(&["few/head"]);
    sandbox.wick(&["check", "sizes"]).ends_with(0).says(&["ok pipelines/sizes.yaml: 4 stages"]);
    sandbox.wick(&["run", "size"]).ends_with(2).says(&["called `size`", "did you mean `sizes`?"]);
    sandbox.write("other.yaml", MAIN);
    sandbox.wick(&["run", "sizes"]).ends_with(2).says(&[
        "2 pipelines are called `sizes`",
        "other.yaml",
        "pipelines/sizes.yaml",
    ]);
}

#[test]
fn check_without_files_checks_the_project() {
    let sandbox = sandbox();
    sandbox.write("pipelines/part.yaml", &COUNT.replace("head.sh", "parts/head.sh"));
    sandbox.write("pipelines/fragment.yaml", TEXTS);
    sandbox.wick(&["check"]).ends_with(0).says(&[
        "ok pipelines/part.yaml: 2 stages, for other pipelines to use",
        "ok pipelines/sizes.yaml: 4 stages",
        "2 files",
    ]);
    sandbox.write("broken.yaml", "pipeline: broken\nstagess: {}\n");
    sandbox.wick(&["check"]).ends_with(2).says(&["broken.yaml:2:1", "3 files"]);
    let report = sandbox.json(&["check", "pipelines/part.yaml", "-o", "json"]);
    assert_eq!(
        (&report["files"][0]["part"], &report["files"][0]["stages"]),
        (&true.into(), &2.into())
    );
    Sandbox::new().wick(&["check"]).ends_with(2).says(&["there are no pipelines in", "wick init"]);
}

#[test]
fn a_mistake_in_another_file_is_shown_there() {
    let sandbox = sandbox();
    sandbox.write("pipelines/parts/count.yaml", &COUNT.replace("head: head}", "head: haed}"));
    sandbox.wick(&["run", "sizes"]).ends_with(2).says(&[
        "pipelines/parts/count.yaml:15:20",
        "did you mean `head`?",
        "pipelines/sizes.yaml:5:3",
        "used by stage `few` here",
        "nothing was run",
    ]);
    let report = sandbox.json(&["check", "sizes", "-o", "json"]);
    let found = &report["files"][0]["diagnostics"][0];
    assert_eq!(found["file"], "pipelines/parts/count.yaml");
    assert_eq!(found["related"][0]["file"], "pipelines/sizes.yaml");
    sandbox
        .wick(&["run", "pipelines/parts/count.yaml"])
        .ends_with(2)
        .says(&["the pipeline cannot run by itself"]);
}

#[test]
fn the_outputs_of_a_sub_pipeline_with_a_matrix_are_gathered() {
    let sandbox = Sandbox::with_pipeline(
        r#"
pipeline: sizes
stages:
  part:
    uses: pipeline
    matrix: {size: [3, 4]}
    with: {file: part.yaml, params: {size: "${matrix.size}"}}
  all:
    uses: command
    inputs: {made: "part[*].made"}
    with: {run: "cd ${inputs.made}; grep . *"}
"#,
    );
    let part = r#"
pipeline: part
outputs: {made: make.made}
params: {size: 1}
stages:
  make: {uses: command, with: {run: "echo ${params.size} > ${outputs.made}", outputs: {made: file}}}
"#;
    sandbox.write("part.yaml", part);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["logs", "@last", "all"]).ends_with(0).says(&["size=3:3\nsize=4:4\n"]);
}

#[test]
fn what_counts_for_a_whole_run_is_said_where_it_is_begun() {
    let sandbox = sandbox();
    let count = format!("schedule: {{cron: '0 3 * * *'}}\ntimeout: 1h\n{COUNT}");
    sandbox.write("pipelines/parts/count.yaml", &count);
    let checked = sandbox.wick(&["check", "pipelines/sizes.yaml"]).ends_with(0);
    checked.says(&[
        "`schedule` does not count where another pipeline uses this file",
        "`timeout` does not count",
        "parts/count.yaml:1:1",
    ]);
}
