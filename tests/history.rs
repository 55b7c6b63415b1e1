//! The commands that ask what was recorded.

use crate::sandbox::Sandbox;

const CURVE: &str = r#"
pipeline: curve
params: {scale: 1}
stages:
  fit:
    uses: command
    with:
      run: |
        for step in 1 2 3 4 5 6 7 8; do
          echo "{\"metric\": \"loss\", \"step\": $step, \"value\": $((${params.scale} * (10 - step)))}" >> $WICK_METRICS
        done
        echo "fitted with ${params.scale}"
        mkdir -p ${outputs.model}/deep
        echo weights > ${outputs.model}/deep/weights
      outputs: {model: folder}
"#;

fn two_runs() -> (Sandbox, String, String) {
    let sandbox = Sandbox::with_pipeline(CURVE);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["run", "pipeline.yaml", "-p", "scale=2"]).ends_with(0);
    let runs = sandbox.runs();
    (sandbox, runs[1].clone(), runs[0].clone())
}

#[test]
fn runs_are_named_by_id_prefix_and_last() {
    let (sandbox, first, last) = two_runs();
    let id = |name: &str| {
        let shown = sandbox.json(&["show", name, "-o", "json"]);
        shown["run"]["id"].as_str().expect("an id").to_owned()
    };
    assert_eq!(id(&first), first);
    assert_eq!(id("@last"), last);
    let unique = (1..=12).find(|length| first[..*length] != last[..*length]).expect("they differ");
    assert_eq!(id(&first[..unique]), first);
    sandbox.wick(&["show", "zzzzzzzzzzzz"]).ends_with(2).says(&["wick runs"]);
}

#[test]
fn an_ambiguous_prefix_lists_its_candidates() {
    let sandbox = Sandbox::with_pipeline(CURVE);
    // Ids are random letters out of 32: by the 33rd run two begin alike.
    for _ in 0..33 {
        sandbox.wick(&["-q", "run", "pipeline.yaml"]).ends_with(0);
    }
    let runs = sandbox.runs();
    let same_start = |id: &&String| runs.iter().filter(|other| other[..1] == id[..1]).count() > 1;
    let id = runs.iter().find(same_start).expect("two of 33 begin alike");
    let ran = sandbox.wick(&["show", &id[..1]]).ends_with(2);
    assert!(ran.stderr.contains("could be any of"), "{}", ran.stderr);
    assert!(ran.stderr.contains(id.as_str()), "{}", ran.stderr);
}

#[test]
fn runs_are_listed_and_filtered() {
    let (sandbox, first, last) = two_runs();
    sandbox.wick(&["runs"]).ends_with(0).says(&[&first, &last, "curve", "succeeded", "fit.loss"]);
    let ids = |arguments: &[&str]| {
        let runs = sandbox.json(arguments);
        runs["runs"].as_array().expect("runs").len()
    };
    assert_eq!(ids(&["runs", "-o", "json", "-n", "1"]), 1);
    assert_eq!(ids(&["runs", "-o", "json", "--state", "failed"]), 0);
    assert_eq!(ids(&["runs", "-o", "json", "--experiment", "curve"]), 2);
    sandbox.wick(&["runs", "--state", "done"]).ends_with(2).says(&["succeeded"]);
}

#[test]
fn metrics_are_a_table_a_plot_json_and_csv() {
    let (sandbox, ..) = two_runs();
    sandbox.wick(&["metrics"]).ends_with(0).says(&["fit.loss", "█", "18", "4"]);
    sandbox.wick(&["metrics", "@last", "fit.loss"]).ends_with(0).says(&["┤", "8 points"]);
    let json = sandbox.json(&["metrics", "@last", "loss", "-o", "json"]);
    assert_eq!(json["series"][0]["points"].as_array().map(Vec::len), Some(8));
    let csv = sandbox.wick(&["metrics", "-o", "csv"]).ends_with(0).stdout;
    assert_eq!(csv.lines().count(), 9);
    assert!(csv.starts_with("stage,attempt,key,step,time_us,value\nfit,1,loss,1,"), "{csv}");
    sandbox.wick(&["metrics", "@last", "lsos"]).ends_with(2).says(&["did you mean `loss`?"]);
}

#[test]
fn compare_shows_what_differs() {
    let (sandbox, first, last) = two_runs();
    sandbox
        .wick(&["compare", &first, &last])
        .ends_with(0)
        .says(&["scale", "fit.loss", "+100.0 %", "fit"]);
    let json = sandbox.json(&["compare", &first, &last, "-o", "json"]);
    assert_eq!(json["params"][0]["values"], serde_json::json!([1, 2]));
    assert_eq!(json["metrics"][0]["change"].as_f64(), Some(2.0));
    sandbox.wick(&["compare", &first, &first]).ends_with(0).says(&["no param, metric or stage"]);
}

#[test]
fn artifacts_are_listed_and_exported() {
    let (sandbox, ..) = two_runs();
    sandbox.wick(&["artifacts"]).ends_with(0).says(&["fit.model", "folder"]);
    sandbox.json(&["artifacts", "-o", "json"]);
    sandbox.wick(&["artifacts", "@last", "fit.model", "--export", "out"]).ends_with(0);
    assert_eq!(sandbox.read("out/fit/model/deep/weights"), "weights\n");
    // What was exported belongs to the user, and is not written over.
    sandbox.write("out/fit/model/deep/weights", "mine");
    sandbox.wick(&["artifacts", "--export", "out"]).ends_with(2).says(&["exists already"]);
    assert_eq!(sandbox.read("out/fit/model/deep/weights"), "mine");
    sandbox.wick(&["artifacts", "@last", "fit.none"]).ends_with(2);
}

#[test]
fn logs_are_printed_whole_or_their_end() {
    let (sandbox, first, _) = two_runs();
    let whole = sandbox.wick(&["logs", &first, "fit"]).ends_with(0);
    assert_eq!(whole.stdout, "fitted with 1\n");
    sandbox.wick(&["logs", "@last", "fit", "--tail", "1"]).ends_with(0).says(&["fitted with 2"]);
    sandbox.wick(&["logs", "@last", "fit", "--follow"]).ends_with(0);
    sandbox.wick(&["logs", "@last", "fti"]).ends_with(2).says(&["`fit`"]);
    sandbox.wick(&["logs", "@last", "fit", "--attempt", "9"]).ends_with(2);
    // Of a cached stage, the log of the run that computed it.
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["logs", "@last", "fit"]).ends_with(0).says(&["fitted with 1", &first]);
}

#[test]
fn a_stage_alone_is_that_of_the_last_run() {
    let sandbox = Sandbox::with_pipeline(
        r#"
pipeline: speaks
stages:
  talk:
    uses: command
    with:
      run: 'echo hello; echo "{\"metric\": \"words\", \"value\": 1}" >> $WICK_METRICS; echo x > ${outputs.said}'
      outputs: {said: file}
"#,
    );
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let ran = sandbox.wick(&["logs", "talk"]).ends_with(0);
    assert_eq!(ran.stdout, "hello\n");
    sandbox.wick(&["logs", "talk", "-n", "0"]).ends_with(0);
    sandbox.wick(&["metrics", "talk.words"]).ends_with(0).says(&["talk.words"]);
    sandbox.wick(&["artifacts", "talk.said"]).ends_with(0).says(&["talk.said"]);
    sandbox.wick(&["logs", "nobody"]).ends_with(2).says(&["no run is called `nobody`"]);
    sandbox.wick(&["logs", "--follow"]).ends_with(2).says(&["of which stage"]);
}

#[test]
fn show_prints_the_pipeline_as_it_was_run() {
    let (sandbox, first, _) = two_runs();
    sandbox.write("pipeline.yaml", "pipeline: other\nstages: {}\n");
    let shown = sandbox.wick(&["show", &first, "--pipeline"]).ends_with(0);
    assert_eq!(shown.stdout, CURVE);
    sandbox.wick(&["show", &first]).ends_with(0).says(&["Params", "Stages", "Environment"]);
    sandbox.wick(&["show", "--diff"]).ends_with(0).says(&["in no git repository"]);
}

#[test]
fn show_tells_what_stages_read_and_who_made_it() {
    let sandbox = Sandbox::with_pipeline(
        r#"
pipeline: two
stages:
  make:
    uses: command
    with: {run: "cat words.txt > ${outputs.text}", code: [words.txt], outputs: {text: file}}
  count:
    uses: command
    inputs: {text: make.text}
    cache: false
    with: {run: "wc -w < ${inputs.text} > ${outputs.number}", outputs: {number: file}}
"#,
    );
    sandbox.write("words.txt", "one two\n");
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    sandbox.wick(&["run", "pipeline.yaml"]).ends_with(0);
    let first = sandbox.runs()[1].clone();
    // What was cached leads to the run that made it.
    let shown = sandbox.wick(&["show", "--only", "inputs"]).ends_with(0);
    let line = |start: &str| {
        let line = shown.stdout.lines().find(|line| line.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("{}", shown.everything())).to_owned()
    };
    assert!(line("count").contains("make.text") && line("count").contains(&first), "{shown:?}");
    assert!(line("make").contains("words.txt"), "{shown:?}");
    assert!(!shown.stdout.contains("Params"), "{shown:?}");
    let json = sandbox.json(&["show", "--only", "inputs,params", "-o", "json"]);
    let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["version", "run", "params", "inputs", "parts"]);
    assert_eq!(json["inputs"][0]["from_stage"], "make");
}

#[test]
fn models_and_doctor_answer_in_an_empty_project() {
    let sandbox = Sandbox::new();
    sandbox.write("wick.yaml", "");
    sandbox.wick(&["models"]).ends_with(0).says(&["no model is registered"]);
    assert_eq!(sandbox.json(&["models", "-o", "json"])["models"].as_array().map(Vec::len), Some(0));
    sandbox.wick(&["models", "mnist"]).ends_with(2);
    sandbox.wick(&["serve", "mnist"]).ends_with(2).says(&["no model is registered as `mnist`"]);
    sandbox.wick(&["doctor"]).ends_with(0).says(&["store", "disk", "cpu", "memory", "git"]);
    assert_eq!(sandbox.json(&["doctor", "-o", "json"])["healthy"], true);
}
