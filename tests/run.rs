//! `wick run` and `wick plan`: the way things should go.

use crate::sandbox::Sandbox;

/// Numbers are made, doubled and counted by programs that every machine has.
const COUNTING: &str = r#"
pipeline: counting
params:
  greeting: hello
  times: 3
stages:
  words:
    uses: command
    with:
      run: 'for i in $(seq ${params.times}); do echo ${params.greeting}; done > ${outputs.words}'
      outputs: {words: file}
  shout:
    uses: command
    inputs: {words: words}
    with:
      run: 'echo shouting; tr a-z A-Z < ${inputs.words} > ${outputs.loud}'
      outputs: {loud: file}
  count:
    uses: command
    inputs: {words: words}
    with:
      run: |
        n=$(wc -l < ${inputs.words})
        echo "{\"metric\": \"lines\", \"value\": $n}" >> $WICK_METRICS
        echo $n > ${outputs.count}
      outputs: {count: file}
"#;

fn state_of(states: &[(String, String)], stage: &str) -> String {
    let found = states.iter().find(|(name, _)| name == stage);
    found.map(|(_, state)| state.clone()).unwrap_or_default()
}

#[test]
fn a_pipeline_runs_and_its_second_run_is_cached() {
    let sandbox = Sandbox::with_pipeline(COUNTING);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0).says(&[
        "words",
        "shout",
        "count",
        "succeeded",
        "lines 3",
        "recorded in .wick/store.db",
        "wick show @last",
    ]);
    let first = sandbox.runs();
    assert_eq!(first.len(), 1);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0).says(&[
        "3 cached",
        &format!("from run {}", first[0]),
        &format!("wick compare {} @last", first[0]),
    ]);
    for (stage, state) in sandbox.states("@last") {
        assert_eq!(state, "cached", "{stage}");
    }
}

#[test]
fn without_the_cache_everything_is_computed_anew() {
    let sandbox = Sandbox::with_pipeline(COUNTING);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["run", "pipeline.yaml", "--no-cache", "-j", "1"]).ends_with(0);
    for (stage, state) in sandbox.states("@last") {
        assert_eq!(state, "succeeded", "{stage}");
    }
}

#[test]
fn params_come_from_the_command_line_and_from_files() {
    let sandbox = Sandbox::with_pipeline(COUNTING);
    sandbox.write("few.yaml", "times: 2\ngreeting: hi\n");
    let run = ["run", "pipeline.yaml", "--params", "few.yaml", "-p", "greeting=ahoy"];
    sandbox.wick(&run).ends_with(0).says(&["lines 2"]);
    let shown = sandbox.json(&["show", "-o", "json"]);
    assert_eq!(shown["params"][0]["value"], "ahoy");
    assert_eq!(shown["params"][1]["value"], 2);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "tmies=2"]).ends_with(2).says(&["times"]);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "times"]).ends_with(2);
}

#[test]
fn plan_says_beforehand_what_run_does_and_why() {
    let sandbox = Sandbox::with_pipeline(COUNTING);
    let decision = |plan: &serde_json::Value, place: usize| {
        plan["stages"][place]["decision"].as_str().expect("a decision").to_owned()
    };
    let before = sandbox.json(&["plan", "pipeline.yaml", "-o", "json"]);
    assert_eq!(decision(&before, 0), "run");
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let after = sandbox.json(&["plan", "pipeline.yaml", "-o", "json"]);
    assert_eq!([0, 1, 2].map(|place| decision(&after, place)), ["cached"; 3]);
    let changed = ["plan", "pipeline.yaml", "-p", "greeting=servus"];
    sandbox.wick(&changed).ends_with(0).says(&["words", "run", "hello", "servus"]);
    let shown = sandbox.wick(&["plan", "pipeline.yaml"]).ends_with(0);
    assert!(shown.stdout.contains("0 stages to run, 3 cached"), "{}", shown.stdout);
}

#[test]
fn the_result_of_a_run_is_json_for_programs() {
    let sandbox = Sandbox::with_pipeline(COUNTING);
    let run = sandbox.json(&["run", "pipeline.yaml", "-o", "json"]);
    assert_eq!(run["run"]["state"], "succeeded");
    assert_eq!(run["metrics"][0]["key"], "lines");
    assert_eq!(run["metrics"][0]["value"].as_f64(), Some(3.0));
    let environment = &run["run"]["environment"];
    assert_eq!(environment["wick"], env!("CARGO_PKG_VERSION"));
    assert!(environment["cpus"].as_u64().is_some_and(|cpus| cpus > 0));
}

#[test]
fn piped_output_has_no_colours_unless_asked_for() {
    let sandbox = Sandbox::with_pipeline(COUNTING);
    let plain = sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    assert!(!plain.everything().contains('\u{1b}'), "{}", plain.everything());
    let coloured = sandbox.wick(&["--color", "always", "show"]).ends_with(0);
    assert!(coloured.stdout.contains('\u{1b}'), "{}", coloured.stdout);
}

#[test]
fn quiet_says_only_the_result() {
    let sandbox = Sandbox::with_pipeline(COUNTING);
    let ran = sandbox.wick(&["-q", "run", "pipeline.yaml"]).ends_with(0);
    assert_eq!(ran.stderr, "");
    let states = sandbox.states("@last");
    assert_eq!(state_of(&states, "count"), "succeeded");
}

#[test]
fn git_is_recorded_with_its_dirty_flag() {
    let sandbox = Sandbox::with_pipeline(COUNTING);
    let git = |arguments: &[&str]| {
        let status = std::process::Command::new("git")
            .arg("-C")
            .arg(sandbox.path())
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.org"])
            .args(arguments)
            .output()
            .expect("git starts")
            .status;
        assert!(status.success(), "git {arguments:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "One"]);
    let git_of = || {
        let run = sandbox.json(&["run", "pipeline.yaml", "-o", "json"]);
        run["run"]["environment"]["git"].clone()
    };
    // `.wick/` ignores itself: a run does not make its own repository dirty.
    git_of();
    let clean = git_of();
    assert_eq!(clean["dirty"], false, "{clean}");
    assert_eq!(clean["commit"].as_str().map(str::len), Some(40));
    sandbox.write("other.txt", "new");
    assert_eq!(git_of()["dirty"], true);
}

#[test]
fn tables_are_queried_and_planned() {
    // Planning `sql` asks polars for columns, which panics on a thread of the async runtime.
    let sandbox = Sandbox::with_pipeline(
        r#"
pipeline: tables
stages:
  things:
    uses: load
    with: {path: things.csv}
  large:
    uses: sql
    inputs: {things: things}
    with: {query: "SELECT name, size FROM things WHERE size > 1"}
"#,
    );
    sandbox.write("things.csv", "name,size\na,1\nb,2\nc,3\n");
    sandbox
        .wick(&["plan", "pipeline.yaml"])
        .ends_with(0)
        .says(&["1 stage to run", "1 that depend"]);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0).says(&["2 rows × 2 columns"]);
    sandbox.wick(&["rerun"]).ends_with(0).says(&["nothing to do"]);
}

#[test]
fn a_secret_that_is_missing_is_told_before_anything_runs() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: secretive\nsecrets:\n  token: \"${env.WICK_TEST_NO_SUCH_TOKEN}\"\nstages:\n  \
         first: {uses: command, with: {run: 'touch first'}}\n  second:\n    uses: command\n    \
         after: [first]\n    with: {run: 'true', env: {TOKEN: \"${secrets.token}\"}}\n",
    );
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(2).says(&[
        "the secret `token` is not there",
        "`WICK_TEST_NO_SUCH_TOKEN` is not set",
        "nothing was run",
    ]);
    assert!(!sandbox.has("first"));
    assert_eq!(sandbox.runs(), Vec::<String>::new());
}

#[test]
fn a_run_whose_time_is_over_says_so_even_if_nothing_runs() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: slow\ntimeout: 200ms\nstages:\n  flaky:\n    uses: command\n    \
         retry: {attempts: 2, backoff: 1h}\n    with: {run: ['false']}\n",
    );
    sandbox
        .wick(&["run", "pipeline.yaml"])
        .ends_with(1)
        .says(&["the run took longer than its timeout of 200ms"]);
    sandbox.wick(&["show", "@last"]).says(&["the run took longer than its timeout of 200ms"]);
}

#[test]
fn what_stands_for_the_items_of_a_list_is_not_counted() {
    let sandbox = Sandbox::with_pipeline(
        "pipeline: listed\nstages:\n  list:\n    uses: command\n    \
         with: {run: 'echo \"[1, 2]\" > ${outputs.all}', outputs: {all: value}}\n  each:\n    \
         uses: command\n    foreach: {item: list.all}\n    with: {run: 'echo ${foreach.item}'}\n",
    );
    let ran = sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    ran.says(&[": 3 succeeded\n"]);
}
