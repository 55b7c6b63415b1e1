//! Questions over several runs: what differs, how it went, where it came from.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// A training whose loss falls by `params.rate`, on what another stage has made of a file.
const TRAINING: &str = r#"
pipeline: training
params: {rate: 1, label: short}
stages:
  table:
    uses: command
    with: {run: "cat rows.txt > ${outputs.rows}", code: [rows.txt], outputs: {rows: file}}
  train:
    uses: command
    inputs: {rows: table.rows}
    with:
      run: |
        for step in 1 2 3 4 5 6 7 8; do
          echo "{\"metric\": \"loss\", \"step\": $step, \"value\": $((100 - ${params.rate} * step))}" >> $WICK_METRICS
          echo "{\"metric\": \"system.cpu\", \"step\": $step, \"value\": $step}" >> $WICK_METRICS
        done
        echo "${params.rate}" > ${outputs.model}
      outputs: {model: file}
"#;

fn trained(rates: &[u32]) -> (Sandbox, Vec<String>) {
    let sandbox = Sandbox::with_pipeline(TRAINING);
    sandbox.write("rows.txt", "1 2 3\n");
    for rate in rates {
        sandbox.wick(&["run", "pipeline.yaml", "-p", &format!("rate={rate}")]).ends_with(0);
    }
    let mut runs = sandbox.runs();
    runs.reverse();
    (sandbox, runs)
}

#[test]
fn many_runs_are_compared_in_columns() {
    let (sandbox, runs) = trained(&[1, 2, 5]);
    let [first, second, third] = [&runs[0], &runs[1], &runs[2]];
    let shown = sandbox.wick(&["compare", first, second, third]).ends_with(0).says(&[
        "A  run ",
        "C  run ",
        "train.loss",
        "34.8 %",
        "`with.run` changed",
    ]);
    let row = |start: &str| {
        let row = shown.stdout.lines().find(|line| line.starts_with(start));
        row.unwrap_or_else(|| panic!("{}", shown.everything())).to_owned()
    };
    let words = |row: String| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(row("rate ")), ["rate", "1", "2", "5"]);
    assert_eq!(words(row("train.loss "))[..4], ["train.loss", "92", "84", "60"]);
    assert!(!shown.stdout.contains("system.cpu"), "{shown:?}");
    assert!(!shown.stdout.contains("label"), "what is equal is left out: {shown:?}");
    // The curves, each under its letter and on one scale.
    assert!(shown.stdout.contains("┤") && shown.stdout.contains("99 "), "{shown:?}");

    let told = sandbox.json(&["compare", first, second, third, "-o", "json"]);
    assert_eq!(told["runs"], json!(runs));
    assert_eq!(told["params"][0], json!({"name": "rate", "values": [1, 2, 5]}));
    assert_eq!(told["metrics"][0]["values"], json!([92.0, 84.0, 60.0]));
    assert_eq!(told["stages"].as_array().map(Vec::len), Some(1), "{told}");
    let csv = sandbox.wick(&["compare", first, second, third, "-o", "csv"]).ends_with(0).stdout;
    assert_eq!(csv.lines().next(), Some(&*format!("what,name,{first},{second},{third}")));
    assert!(csv.contains("\nparam,rate,1,2,5\n") && csv.contains("\nmetric,train.loss,92,84,60\n"));

    sandbox.wick(&["compare", first]).ends_with(2);
    let typo = sandbox.wick(&["compare", first, second, "--curves", "train.lsos"]).ends_with(2);
    typo.says(&["did you mean `train.loss`?"]);
    let all = sandbox.wick(&["compare", first, second, "--all", "--system"]).ends_with(0);
    all.says(&["label", "system.cpu", "table"]);
}

#[test]
fn metrics_of_the_machine_are_shown_when_asked_for() {
    let (sandbox, runs) = trained(&[1, 3]);
    let shown =
        sandbox.wick(&["metrics"]).ends_with(0).says(&["train.loss", "1 metric of the machine"]);
    assert!(!shown.stdout.contains("system.cpu"), "{shown:?}");
    sandbox.wick(&["metrics", "@last", "--system"]).ends_with(0).says(&["train.system.cpu"]);
    sandbox.wick(&["metrics", "@last", "system.cpu"]).ends_with(0).says(&["train.system.cpu"]);
    let both = sandbox.wick(&["metrics", &runs[0], "loss", "--with", &runs[1]]).ends_with(0);
    both.says(&[&runs[0], &runs[1], "92", "76"]);
    sandbox.wick(&["metrics", &runs[0], "--with", &runs[1]]).ends_with(2);
    let points = |n: &str| {
        let told = sandbox.json(&["metrics", "@last", "loss", "--points", n, "-o", "json"]);
        told["series"][0]["points"].as_array().map_or(0, Vec::len)
    };
    assert_eq!((points("0"), points("4")), (8, 4));
}

#[test]
fn a_stage_has_a_history() {
    let sandbox = Sandbox::with_pipeline(
        r#"
pipeline: shaky
params: {fails: 0, name: x}
stages:
  work:
    uses: command
    with:
      run: |
        echo "{\"metric\": \"accuracy\", \"value\": 0.5}" >> $WICK_METRICS
        echo "as told: ${params.name}"; exit ${params.fails}
  after: {uses: command, after: [work], with: {run: "true"}}
"#,
    );
    for (fails, name) in [("0", "a"), ("0", "a"), ("3", "b"), ("0", "c")] {
        let (fails, name) = (format!("fails={fails}"), format!("name={name}"));
        sandbox.wick(&["run", "pipeline.yaml", "-p", &fails, "-p", &name]);
    }
    let runs = sandbox.runs();
    let shown = sandbox.wick(&["history", "work"]).ends_with(0).says(&[
        "stage work of experiment shaky, 4 runs: 3 computed, 1 cached, 1 failed (33 %)",
        "median",
        "p95",
        "accuracy 0.5000",
        "the program ended with code 3",
    ]);
    let cached = shown.stdout.lines().find(|line| line.contains("cached  ")).expect("a row");
    assert!(cached.starts_with(&runs[2]) && cached.contains(&runs[3]), "{shown:?}");

    let told = sandbox.json(&["history", "work", "-o", "json"]);
    let ids: Vec<&Value> =
        told["runs"].as_array().expect("runs").iter().map(|run| &run["run"]).collect();
    assert_eq!(ids, runs.iter().collect::<Vec<_>>(), "the newest first");
    assert_eq!(told["summary"]["failed"], 1);
    assert_eq!(told["runs"][0]["metrics"]["accuracy"], 0.5);
    assert!(told["runs"][0]["micros"].as_i64().is_some_and(|micros| micros > 0), "{told}");

    let page = sandbox.json(&["history", "work", "-n", "1", "--page", "2", "-o", "json"]);
    assert_eq!((&page["runs"][0]["run"], &page["more"]), (&json!(runs[1]), &json!(true)));
    sandbox.wick(&["history", "work", "-n", "2"]).ends_with(0).says(&["--page 2"]);
    sandbox.wick(&["history", "wrok"]).ends_with(2).says(&["did you mean `work`?"]);
    sandbox.wick(&["history", "work", "--experiment", "other"]).ends_with(2);
}

/// Two runs of a pipeline whose second has only trained anew.
fn two_trainings() -> (Sandbox, Vec<String>) {
    trained(&[1, 2])
}

#[test]
fn lineage_leads_back_to_files_through_cached_stages() {
    let (sandbox, runs) = two_trainings();
    let shown = sandbox.wick(&["lineage", "train.model"]).ends_with(0);
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert!(lines[0].starts_with("train.model  "), "{shown:?}");
    assert!(lines[1].contains("└─ train") && lines[1].contains(&runs[1]), "{shown:?}");
    assert!(lines[2].contains("with ") && lines[2].contains("outputs.model=\"file\""), "{shown:?}");
    assert!(lines[3].contains("└─ rows: table.rows"), "{shown:?}");
    // The second run took the table from the first: that one is named.
    assert!(lines[4].contains("└─ table") && lines[4].contains(&runs[0]), "{shown:?}");
    assert!(lines[6].contains("└─ rows.txt  code, "), "{shown:?}");
    assert_eq!(lines.len(), 7, "{shown:?}");

    let told = sandbox.json(&["lineage", "@last", "-o", "json"]);
    assert_eq!(told["way"], "back");
    let types: Vec<&str> = told["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| node["type"].as_str())
        .collect();
    assert_eq!(types, ["run", "attempt", "artifact", "attempt", "code"]);
    assert_eq!(told["nodes"][3]["run"], json!(runs[0]));

    let cut = sandbox.wick(&["lineage", "train.model", "--depth", "1"]).ends_with(0);
    cut.says(&["and more: --depth"]);
    let digest = told["nodes"][2]["digest"].as_str().expect("a digest").to_owned();
    sandbox.wick(&["lineage", &digest[..10]]).ends_with(0).says(&["table.rows", &runs[0]]);
    let named = format!("{}:train", runs[0]);
    sandbox.wick(&["lineage", &named]).ends_with(0).says(&["train.model", &runs[0]]);
    sandbox.wick(&["lineage", "train.modle"]).ends_with(2).says(&["RUN:STAGE.OUTPUT"]);
    let wrong = format!("{}:train.modle", runs[0]);
    sandbox.wick(&["lineage", &wrong]).ends_with(2).says(&["it made train.model"]);
    sandbox.wick(&["lineage", "no/such/file"]).ends_with(2).says(&["there is no file"]);
}

#[test]
fn lineage_leads_forward_over_all_runs() {
    let (sandbox, runs) = two_trainings();
    for what in ["rows.txt", "./rows.txt"] {
        sandbox.wick(&["lineage", what]).ends_with(0).says(&["table.rows", &runs[0], &runs[1]]);
    }
    let told = sandbox.json(&["lineage", "table.rows", "--forward", "-o", "json"]);
    let nodes = told["nodes"].as_array().expect("nodes");
    let mut trained: Vec<&str> = nodes
        .iter()
        .filter(|node| node["stage"] == "train")
        .filter_map(|node| node["run"].as_str())
        .collect();
    trained.sort_unstable();
    let mut expected: Vec<&str> = runs.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(trained, expected, "{told}");
    // What each was told stands with it.
    let rates = sandbox.wick(&["lineage", "table.rows", "--forward", "-v"]).ends_with(0).stdout;
    let rates: Vec<&str> = rates.lines().filter(|line| line.contains("with ")).collect();
    assert_eq!(rates.len(), 2, "{rates:?}");
    assert!(rates.iter().all(|line| line.contains("outputs.model=\"file\"")), "{rates:?}");
    assert!(rates.iter().all(|line| !line.contains(" order=")), "{rates:?}");
    // A third run takes both from the cache: it adds nothing but its number.
    sandbox.wick(&["run", "pipeline.yaml", "-p", "rate=2"]).ends_with(0);
    let again = sandbox.json(&["lineage", "table.rows", "--forward", "-o", "json"]);
    assert_eq!(again["nodes"].as_array().map(Vec::len), Some(nodes.len()), "{again}");
    let cached = |node: &&Value| node["run"] == json!(runs[1]) && node["stage"] == "train";
    let cached =
        again["nodes"].as_array().expect("nodes").iter().find(cached).expect("it is there");
    assert_eq!(cached["runs"], 2);

    let bounded =
        sandbox.json(&["lineage", "table.rows", "--forward", "--limit", "1", "-o", "json"]);
    let trained = bounded["nodes"].as_array().expect("nodes").iter();
    assert_eq!(trained.filter(|node| node["stage"] == "train").count(), 1, "{bounded}");
    // What was exported is known by its bytes; what nobody knows is not.
    sandbox.wick(&["artifacts", "@last", "train.model", "--export", "out"]).ends_with(0);
    sandbox.wick(&["lineage", "out/train/model"]).ends_with(0).says(&["train.model", "rows.txt"]);
    sandbox.write("stranger.txt", "unseen");
    sandbox.wick(&["lineage", "./stranger.txt"]).ends_with(2).says(&["its digest is"]);
}

#[test]
fn lineage_is_drawn() {
    let (sandbox, _) = two_trainings();
    sandbox.wick(&["lineage", "@last", "-o", "svg", "--write", "last.svg"]).ends_with(0);
    let svg = sandbox.read("last.svg");
    assert!(svg.starts_with("<svg") && svg.contains("rows.txt"), "{svg}");
    let dot = sandbox.wick(&["lineage", "@last", "-o", "dot"]).ends_with(0).stdout;
    assert!(
        dot.starts_with("digraph ") && dot.contains(" -> ") && dot.contains("[label=\"rows\"]")
    );
}

#[test]
fn people_say_something_of_runs() {
    let (sandbox, runs) = two_trainings();
    let [first, last] = [&runs[0], &runs[1]];
    sandbox.wick(&["name", first, "baseline"]).ends_with(0);
    sandbox.wick(&["show", "baseline"]).ends_with(0).says(&[first, "name", "baseline"]);
    sandbox.wick(&["name", first]).ends_with(0).says(&["baseline"]);
    // A name that two have finds neither.
    sandbox.wick(&["name", last, "baseline"]).ends_with(0).says(&["also means", first]);
    sandbox.wick(&["show", "baseline"]).ends_with(2).says(&[first, last]);
    sandbox.wick(&["name", last, "--remove"]).ends_with(0);
    sandbox.wick(&["name", last, "@last"]).ends_with(2).says(&["does not start with `@`"]);

    sandbox.wick(&["tag", first, last, "team=vision", "data=a=b"]).ends_with(0);
    let took = ["took team off, it has no tag taem"];
    sandbox.wick(&["tag", first, "--remove", "team", "--remove", "taem"]).ends_with(0).says(&took);
    sandbox.wick(&["tag", first, "--remove", "team"]).ends_with(0).says(&["it has no tag team"]);
    sandbox.wick(&["restore", first]).ends_with(0).says(&["it was neither deleted nor archived"]);
    sandbox.wick(&["star", first]).ends_with(0);
    sandbox.wick(&["note", first, "better than before"]).ends_with(0);
    let shown = sandbox.json(&["show", first, "--only", "overview", "-o", "json"]);
    let marks = &shown["run"]["marks"];
    assert_eq!(marks["tags"], json!([["data", "a=b"]]));
    assert_eq!(marks["note"], "better than before");
    assert!(marks["starred"].is_string() || marks["starred"].is_number(), "{marks}");
    sandbox.wick(&["show", first]).ends_with(0).says(&[
        "data=a=b",
        "better than before",
        "starred",
    ]);
    sandbox.wick(&["tag", last]).ends_with(0).says(&["data=a=b\nteam=vision"]);
    sandbox.wick(&["tag", "team=vision"]).ends_with(2).says(&["wick tag @last team=vision"]);
    sandbox.wick(&["tag", first, "team"]).ends_with(2).says(&["a tag is KEY=VALUE"]);
    sandbox.wick(&["star", first, "--remove"]).ends_with(0);

    // What somebody wrote moves no cursor of whoever reads it.
    sandbox.wick(&["note", first, "red\u{1b}[31m"]).ends_with(0);
    sandbox.wick(&["tag", first, "color=\u{1b}[31m"]).ends_with(0);
    for asked in [&["show", first][..], &["runs", "--columns", "note, tags.color"]] {
        let shown = sandbox.wick(asked).ends_with(0).says(&["red [31m"]);
        assert!(!shown.stdout.contains('\u{1b}'), "{shown:?}");
    }

    // Nothing is said of one run where another is not there.
    sandbox.wick(&["star", first, "zzzzzzzz"]).ends_with(2);
    let told = sandbox.json(&["tag", first, "-o", "json"]);
    assert_eq!(told["runs"][0]["marks"]["starred"], Value::Null);
}

#[test]
fn deleted_runs_are_hidden_and_restored() {
    let (sandbox, runs) = two_trainings();
    let deleted = sandbox.wick(&["delete", &runs[1]]).ends_with(0);
    deleted.says(&[&format!("wick restore {}", runs[1]), "wick gc"]);
    let last = sandbox.json(&["show", "@last", "-o", "json"]);
    assert_eq!(last["run"]["id"], json!(runs[0]), "the last that is not deleted");
    sandbox.wick(&["show", &runs[1]]).ends_with(0).says(&["deleted", "wick restore"]);
    sandbox.wick(&["restore", &runs[1]]).ends_with(0);
    let last = sandbox.json(&["show", "@last", "-o", "json"]);
    assert_eq!(last["run"]["id"], json!(runs[1]));
    sandbox.wick(&["archive", &runs[0], &runs[1]]).ends_with(0);
    sandbox.wick(&["show", &runs[0]]).ends_with(0).says(&["archived"]);
    sandbox.wick(&["restore", &runs[0]]).ends_with(0);
    let shown = sandbox.json(&["show", &runs[0], "-o", "json"]);
    assert_eq!(shown["run"]["marks"]["archived"], Value::Null);
}

#[test]
fn a_note_is_written_in_an_editor_or_read() {
    let (sandbox, runs) = two_trainings();
    let note = || {
        let shown = sandbox.json(&["show", &runs[0], "-o", "json"]);
        shown["run"]["marks"]["note"].clone()
    };
    let with_editor = |editor: &str| {
        let mut command = sandbox.command(&["note", &runs[0]]);
        command.env_remove("VISUAL").env("EDITOR", editor);
        let output = command.output().expect("wick starts");
        crate::sandbox::Ran::new(&["note"], output)
    };
    with_editor("printf 'first line\\nsecond\\n' >").ends_with(0);
    assert_eq!(note(), "first line\nsecond");
    with_editor("printf more >>").ends_with(0);
    assert_eq!(note(), "first line\nsecondmore", "it begins with what was there");
    with_editor("false").ends_with(2).says(&["the note is as it was"]);
    with_editor("").ends_with(2).says(&["set EDITOR"]);
    assert_eq!(note(), "first line\nsecondmore");
    let mut piped = sandbox.command(&["note", &runs[0], "-"]);
    sandbox.write("notes.md", "from a file\n");
    let file = std::fs::File::open(sandbox.path().join("notes.md")).expect("it is there");
    let output = piped.stdin(file).output().expect("wick starts");
    crate::sandbox::Ran::new(&["note", "-"], output).ends_with(0);
    assert_eq!(note(), "from a file");
    sandbox.wick(&["note", &runs[0], "--remove"]).ends_with(0);
    assert_eq!(note(), Value::Null);
}

#[test]
fn a_metric_has_a_trend() {
    let (sandbox, runs) = trained(&[1, 3, 2, 5]);
    let shown = sandbox.wick(&["trend", "train.loss"]).ends_with(0);
    let best = format!("last 60, best 60 in run {}", runs[3]);
    let row = |run: &str| {
        let row = shown.stdout.lines().find(|line| line.starts_with(run)).expect("a row");
        row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(row(&runs[1]).ends_with(&["76", "-16", "76", "*"].map(str::to_owned)), "{shown:?}");
    assert!(row(&runs[2]).ends_with(&["84", "+8", "76"].map(str::to_owned)), "{shown:?}");
    shown.says(&["train.loss of experiment training, 4 runs", &best, "┤"]);

    let told = sandbox.json(&["trend", "loss", "params.rate < 5", "-o", "json"]);
    let values: Vec<&Value> =
        told["runs"].as_array().expect("runs").iter().map(|run| &run["value"]).collect();
    assert_eq!(values, [&json!(84.0), &json!(76.0), &json!(92.0)], "{told}");
    assert_eq!((&told["mode"], &told["more"]), (&json!("min"), &json!(false)));
    let upwards = sandbox.json(&["trend", "loss", "--mode", "max", "-n", "2", "-o", "json"]);
    assert_eq!((&upwards["runs"][0]["record"], &upwards["more"]), (&json!(false), &json!(true)));
    let page = sandbox.json(&["trend", "loss", "-n", "2", "--page", "2", "-o", "json"]);
    assert_eq!(page["runs"][0]["run"], json!(runs[1]));
    let csv = sandbox.wick(&["trend", "loss", "-o", "csv"]).ends_with(0).stdout;
    assert_eq!(csv.lines().count(), 5);
    for asked in
        [&["trend", "train.lsos"][..], &["best", "--metric", "train.lsos", "--mode", "min"]]
    {
        let expect = ["no run has the metric", "did you mean `train.loss`?"];
        sandbox.wick(asked).ends_with(2).says(&expect);
    }
    sandbox.wick(&["trend", "loss", "params.rate <"]).ends_with(2);
    sandbox.wick(&["trend", "loss", "params.rate > 9"]).ends_with(0).says(&["no run is like that"]);
}
