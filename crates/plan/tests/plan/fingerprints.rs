//! What a fingerprint depends on, and what it does not.

use wick_core::Digest;
use wick_plan::{FingerprintParts, Materials, Plan, explain_change};

use crate::plan;

fn stage(body: &str) -> Plan {
    plan(&format!("pipeline: p\nstages:\n  s:\n    uses: make\n    with: {body}\n"))
}

fn parts(plan: &Plan, name: &str, materials: Materials<'_>) -> FingerprintParts {
    plan.fingerprint_parts(plan.find(name).expect("a stage"), materials)
}

fn simple(body: &str) -> FingerprintParts {
    parts(&stage(body), "s", Materials::default())
}

#[test]
fn only_what_determines_the_outputs_counts() {
    let base = simple("{columns: [a], rows: 3}").fingerprint();
    // The order of keys, the stage's name, and all that says how rather than what.
    assert_eq!(simple("{rows: 3, columns: [a]}").fingerprint(), base);
    let other = plan(
        "pipeline: q\nparams: {n: 3}\nstages:\n  other:\n    uses: make\n    with: {columns: [a], \
         rows: \"${params.n}\"}\n    timeout: 1h\n    retry: {attempts: 3}\n    cache: false\n    \
         description: text\n    resources: {cpus: 2}\n",
    );
    assert_eq!(parts(&other, "other", Materials::default()).fingerprint(), base);
    // The configuration.
    assert_ne!(simple("{columns: [a], rows: 4}").fingerprint(), base);
    assert_ne!(simple("{columns: [a]}").fingerprint(), base);
    assert_ne!(simple("{columns: [a, b], rows: 3}").fingerprint(), base);
    assert_ne!(simple("{columns: [\"a\\\" b\"], rows: 3}").fingerprint(), base);
}

#[test]
fn sources_count_by_content_not_by_path() {
    let source = |path: &str, content: &[u8]| {
        let plan = stage(&format!("{{columns: [a], path: {path}}}"));
        let sources = [Digest::of(content)];
        parts(&plan, "s", Materials { sources: &sources, ..Materials::default() })
    };
    let base = source("data/a.csv", b"1");
    assert_eq!(source("elsewhere/b.csv", b"1").fingerprint(), base.fingerprint());
    assert_ne!(source("data/a.csv", b"2").fingerprint(), base.fingerprint());
    assert_eq!(explain_change(&base, &source("data/a.csv", b"2")), ["source `data/a.csv` changed"]);
    assert!(explain_change(&base, &source("data/b.csv", b"1")).is_empty());
    assert_ne!(simple("{columns: [a]}").fingerprint(), base.fingerprint());
}

#[test]
fn order_counts_where_the_kind_says_so() {
    let with = |shares: &str| {
        let plan = plan(&format!(
            "pipeline: p\nstages:\n  a: {{uses: make, with: {{columns: [x]}}}}\n  b: {{uses: part, \
             inputs: {{data: a}}, with: {{parts: {shares}}}}}\n"
        ));
        let inputs = [("data".to_owned(), Digest::of(b"1"))];
        parts(&plan, "b", Materials { inputs: &inputs, ..Materials::default() })
    };
    let (old, new) = (with("{x: 0.5, y: 0.5}"), with("{y: 0.5, x: 0.5}"));
    assert_ne!(old.fingerprint(), new.fingerprint());
    assert_eq!(
        explain_change(&old, &new),
        ["the order of `with.parts` changed from \"x.y\" to \"y.x\""]
    );
}

#[test]
fn what_determines_nothing_is_not_there() {
    let with = |config: &str| {
        let plan = plan(&format!(
            "pipeline: p\nstages:\n  a: {{uses: make, with: {{columns: [x]}}}}\n  b: {{uses: learn, \
             inputs: {{train: a}}, with: {config}}}\n"
        ));
        let inputs = [("data".to_owned(), Digest::of(b"1"))];
        parts(&plan, "b", Materials { inputs: &inputs, ..Materials::default() })
    };
    let base = with("{target: x, epochs: 3}");
    assert_eq!(with("{target: x, epochs: 3, verbose: true}"), base);
    assert_eq!(with("{target: x, epochs: 3, verbose: false}"), base);
    assert_ne!(with("{target: x, epochs: 4}").fingerprint(), base.fingerprint());
    // A mapping with nothing else in it is empty, not absent.
    let empty = simple("{columns: [x], style: {}}");
    assert_eq!(simple("{columns: [x], style: {colour: red}}"), empty);
    assert_ne!(simple("{columns: [x]}").fingerprint(), empty.fingerprint());
}

#[test]
fn environment_counts_by_value_and_is_never_shown() {
    let with = |value: Option<&str>| {
        let plan = stage("{columns: [a], variable: TOKEN}");
        let environment = [value.map(str::to_owned)];
        parts(&plan, "s", Materials { environment: &environment, ..Materials::default() })
    };
    let base = with(Some("secret"));
    assert_ne!(base.fingerprint(), with(Some("other")).fingerprint());
    assert_ne!(base.fingerprint(), with(None).fingerprint());
    assert_eq!(explain_change(&base, &with(None)), ["environment variable `TOKEN` changed"]);
    let json = serde_json::to_string(&base).expect("parts are JSON");
    assert!(!json.contains("secret"), "{json}");
    assert_eq!(serde_json::from_str::<FingerprintParts>(&json).expect("its own JSON"), base);
}

#[test]
fn inputs_count_by_port_and_digest() {
    let yaml = |inputs: &str| {
        plan(&format!(
            "pipeline: p\nstages:\n  a: {{uses: make, with: {{columns: [x]}}}}\n  b: {{uses: make, \
             with: {{columns: [x]}}}}\n  c: {{uses: command, inputs: {inputs}, with: {{run: \"true\"}}}}\n"
        ))
    };
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let with = |inputs: &str, digests: [Digest; 2]| {
        let plan = yaml(inputs);
        let stage = plan.stage(plan.find("c").expect("a stage"));
        let ports = stage.inputs.iter().map(|input| input.port.to_string());
        let inputs: Vec<(String, Digest)> = ports.zip(digests).collect();
        parts(&plan, "c", Materials { inputs: &inputs, ..Materials::default() })
    };
    let base = with("{l: a, r: b}", [one, two]);
    assert_eq!(with("{r: a, l: b}", [two, one]).fingerprint(), base.fingerprint());
    assert_ne!(with("{l: a, r: b}", [two, one]).fingerprint(), base.fingerprint());
    assert_eq!(explain_change(&base, &with("{l: a, r: b}", [one, one])), ["input `r` changed"]);
    assert_eq!(
        explain_change(&base, &with("{l: a, q: b}", [one, two])),
        ["input `q` was added", "input `r` was removed"]
    );
}

#[test]
fn items_of_a_port_count_by_label() {
    let plan = plan("pipeline: p\nstages:\n  c: {uses: command, with: {run: \"true\"}}\n");
    let with = |items: &[(&str, &[u8])]| {
        let inputs: Vec<_> =
            items.iter().map(|(name, bytes)| ((*name).to_owned(), Digest::of(bytes))).collect();
        parts(&plan, "c", Materials { inputs: &inputs, ..Materials::default() })
    };
    let base = with(&[("m[x=0]", b"0"), ("m[x=1]", b"1")]);
    assert_eq!(with(&[("m[x=1]", b"1"), ("m[x=0]", b"0")]).fingerprint(), base.fingerprint());
    assert_ne!(with(&[("m[x=0]", b"1"), ("m[x=1]", b"0")]).fingerprint(), base.fingerprint());
    assert_eq!(explain_change(&base, &with(&[("m[x=0]", b"0")])), ["input `m[x=1]` was removed"]);
}

#[test]
fn a_source_that_came_or_went_is_named() {
    let with = |sources: &[(&str, &[u8])]| {
        let mut base = simple("{columns: [a]}");
        base.parts.extend(sources.iter().map(|(name, bytes)| wick_plan::Part {
            section: wick_plan::Section::Source,
            name: (*name).to_owned(),
            digest: Digest::of(bytes),
            shown: None,
        }));
        base
    };
    let base = with(&[("a.py", b"a"), ("b.py", b"b")]);
    assert_eq!(explain_change(&base, &with(&[("b.py", b"b")])), ["source `a.py` was removed"]);
    let more = with(&[("a.py", b"a"), ("aa.py", b"x"), ("b.py", b"b")]);
    assert_eq!(explain_change(&base, &more), ["source `aa.py` was added"]);
    let swapped = with(&[("b.py", b"b"), ("a.py", b"a")]);
    assert_eq!(explain_change(&base, &swapped), ["the order of its sources changed"]);
    let moved = with(&[("new/a.py", b"a"), ("new/b.py", b"c")]);
    assert_eq!(explain_change(&base, &moved), ["source `new/b.py` changed"]);
}

#[test]
fn changes_are_told_by_name_and_value() {
    let old = simple("{columns: [a, b], rows: 3}");
    assert!(explain_change(&old, &old).is_empty());
    assert_eq!(
        explain_change(&old, &simple("{columns: [a, c], rows: 4}")),
        ["`with.columns[1]` changed from \"b\" to \"c\"", "`with.rows` changed from 3 to 4"]
    );
    assert_eq!(
        explain_change(&old, &simple("{columns: [a, b, c]}")),
        ["`with.columns[2]` was added (\"c\")", "`with.rows` was removed (3)"]
    );
    let mut newer = old.clone();
    newer.parts[1].digest = Digest::of(b"4");
    newer.parts[1].shown = Some("4".to_owned());
    assert_eq!(explain_change(&old, &newer), ["the kind's revision changed from 3 to 4"]);
    let mut command = plan("pipeline: p\nstages:\n  s: {uses: command, with: {run: \"true\"}}");
    command.pipeline = "x".into();
    assert_eq!(
        explain_change(&old, &parts(&command, "s", Materials::default())),
        ["`uses` changed from make to command"]
    );
}

/// The fingerprints of an older wick must be found again: this one may change only together
/// with `FINGERPRINT_VERSION`.
#[test]
fn the_encoding_is_stable() {
    assert_eq!(
        simple("{columns: [a, \"é\"], rows: 3}").fingerprint().to_string(),
        "9779df02a8653568e6553dfe16feacb4d59013c789c87d4b03b9c9118d52c306"
    );
}

#[test]
fn the_plans_digest_follows_what_would_run() {
    let base = stage("{columns: [a]}");
    assert_eq!(base.digest(), stage("{\"columns\": [a]}").digest());
    assert_ne!(base.digest(), stage("{columns: [b]}").digest());
    let mut moved = base.clone();
    moved.file = "/elsewhere/p.yaml".into();
    moved.base = "/elsewhere".into();
    assert_eq!(moved.digest(), base.digest());
    let mut slower = base.clone();
    slower.stages[0].retry.attempts = 2;
    assert_ne!(slower.digest(), base.digest());
}
