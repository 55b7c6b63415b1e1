//! Whatever the bytes, there is an answer and no panic; and every answer can be shown.

use proptest::prelude::*;
use serde_json::json;
use wick_pipeline::Style;
use wick_plan::{KnownList, Severity, Sources, Verdict, render, to_json};

use crate::{check_lists, check_yaml};

/// Files that use the whole language.
const SEEDS: [&str; 5] = [
    r#"
# a comment
pipeline: seed-1
description: "text: with a colon"
params: {epochs: 3, rate: 1.0e-3, name: é, list: [1, 2], none: null}
defaults: {retry: {attempts: 2, backoff: 1m30s}, timeout: 1h, resources: {cpus: 1, memory: 1GiB}}
stages:
  raw: &raw
    uses: make
    with: {columns: [a, "${params.name}"], rows: "${params.epochs}"}
  more: {<<: *raw, cache: false}
  parts:
    uses: part
    inputs: {data: raw}
    with:
      parts:
        train: 0.5
        test: 0.5
  learn:
    uses: learn
    inputs: {train: parts.train, validation: parts.test}
    with:
      target: a
      epochs: 3
      model:
        - dense: {units: 3, activation: relu}
        - flatten
        - dropout: 0.5
      optimizer: {adam: {learning_rate: "${params.rate}"}}
  note: {uses: note, inputs: {model: learn}, after: [more]}
"#,
    r#"
pipeline: seed-2
params:
  n: 1
stages:
  c:
    uses: command
    inputs: {in: d}
    with:
      run: |
        echo ${params.n} $${x} < ${inputs.in} > ${outputs.out}
      outputs: {out: file}
  d:
    uses: command
    with: {run: [sleep, 5, "${outputs.o}", '${run.id}'], outputs: {o: value}}
"#,
    r#"
pipeline: seed-3
params: {publish: true, rates: [0.1, 0.2]}
timeout: 2h
secrets: {token: "${env.TOKEN}", key: {file: secrets/key}}
hooks:
  on_success: [{command: [notify, "${params.publish}"], timeout: 3s}]
  on_failure: [{webhook: "https://example.com/x", headers: {A: "b ${secrets.token}"}}]
schedule: {cron: "0 3 * * 1-5", timezone: Europe/Zurich, on_change: ["a/*.csv"], overlap: queue}
stages:
  raw: {uses: make, with: {columns: [a]}}
  learn:
    uses: learn
    matrix: {rate: "${params.rates}", n: [1, 2], exclude: [{rate: 0.1, n: 2}], include: [{rate: 0.3, n: 3}]}
    inputs: {train: raw}
    retry: {attempts: 5, factor: 2, max_backoff: 1m, jitter: 0.2, on: [exit, timeout, 75]}
    resources: {slots: {database: 1}, mutex: [scale]}
    with: {target: a, epochs: "${matrix.n}", dropout: "${matrix.rate}"}
  best: {uses: note, inputs: {model: {from: "learn[*]", select: {metric: loss, mode: min}}}}
  all:
    uses: command
    needs: any
    inputs: {models: "learn[*].model", one: "learn[rate=0.3,n=3].model"}
    when: "${metrics.learn[rate=0.1,n=1].loss} < 0.5 and (not ${params.publish} or 'a' in ['b', 1])"
    with: {run: "ls ${inputs.models}", env: {KEY: "${secrets.key}"}}
"#,
    r#"
pipeline: seed-4
stages:
  list: {uses: command, with: {run: [echo], outputs: {all: value, other: file}}}
  each:
    uses: command
    foreach: {item: list.all}
    when: "${foreach.item.n} > 3 and ${values.list.all.x} != null"
    timeout: "${foreach.item.timeout}"
    with: {run: "do ${foreach.item.name} ${outputs.made}", outputs: {made: value}}
  table:
    uses: make
    foreach: {item: list.all}
    with: {columns: ["${foreach.item.name}", b], rows: "${foreach.item.n}"}
  follow:
    uses: command
    foreach: {item: list.all}
    inputs: {made: each, table: table}
    with: {run: "cat ${inputs.made}"}
  gather: {uses: command, inputs: {all: "each[*]"}, with: {run: "ls ${inputs.all}"}}
"#,
    "pipeline: broken\nparams: {a: ${params.b}}\nstages: {a: {uses: b, inputs: {x: a}}, c: [1, {d: e}]}\n",
];

fn answers(bytes: &[u8]) {
    answer(bytes, &[]);
    let items =
        json!([{"name": "a", "n": 4, "timeout": "3s"}, {"name": "b", "n": 1}, 5, "x", null]);
    let list = KnownList {
        stage: "list".parse().expect("a name"),
        output: "all".parse().expect("a name"),
        items: items.as_array().expect("a list").clone(),
    };
    answer(bytes, &[list]);
}

fn answer(bytes: &[u8], lists: &[KnownList]) {
    let Verdict { plan, diagnostics: found, .. } = check_lists(bytes, lists);
    let errors = found.iter().any(|found| found.severity == Severity::Error);
    assert_eq!(plan.is_some(), !errors);
    assert!(found.is_sorted_by_key(|found| found.span));
    let few = &found[..found.len().min(20)];
    let sources = Sources::of_one("p.yaml", bytes);
    to_json(few, &sources);
    let drawn = render(few, &sources, Style { width: 60, color: true, unicode: true });
    assert_eq!(drawn.is_empty(), few.is_empty());
}

pub fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(256)
}

/// A way to spoil a file.
#[derive(Debug, Clone)]
pub enum Damage {
    Remove { at: usize, length: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Repeat { at: usize, length: usize, times: usize },
    Swap { a: usize, b: usize },
}

pub fn damage() -> impl Strategy<Value = Damage> {
    let snippets = prop::sample::select(vec![
        "\t",
        "${",
        "}",
        "${params.}",
        "${matrix.n}",
        "${foreach.item}",
        "${secrets.token}",
        "[*]",
        "[n=1]",
        " and ",
        "not ",
        "matrix: ",
        "foreach: ",
        "when: ",
        "&a",
        "*a",
        "<<: ",
        "!!str ",
        "!x ",
        "---\n",
        "...",
        "|\n",
        ">-\n",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "\"",
        "'",
        "#",
        "\r\n",
        "~",
        "é",
        "\u{feff}",
        "? ",
        "%YAML 1.2\n",
        "0x",
        ".inf",
        "1e999",
        "99999999999999999999999",
        "\u{0}",
        "\u{2028}",
        "@",
        "`",
        ",",
    ]);
    prop_oneof![
        (any::<usize>(), 0..40usize).prop_map(|(at, length)| Damage::Remove { at, length }),
        (any::<usize>(), snippets)
            .prop_map(|(at, text)| Damage::Insert { at, bytes: text.as_bytes().to_vec() }),
        (any::<usize>(), prop::collection::vec(any::<u8>(), 1..4))
            .prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        (any::<usize>(), 1..60usize, 1..4usize).prop_map(|(at, length, times)| Damage::Repeat {
            at,
            length,
            times
        }),
        (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Damage::Swap { a, b }),
    ]
}

pub fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let size = bytes.len() + 1;
    match damage {
        Damage::Remove { at, length } => {
            let at = at % size;
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        Damage::Insert { at, bytes: more } => {
            let at = at % size;
            bytes.splice(at..at, more.iter().copied());
        }
        Damage::Repeat { at, length, times } => {
            let at = at % size;
            let end = (at + length).min(bytes.len());
            let piece = bytes[at..end].repeat(*times);
            bytes.splice(end..end, piece);
        }
        Damage::Swap { a, b } => {
            let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            let count = lines.len();
            lines.swap(a % count, b % count);
            *bytes = lines.join(&b'\n');
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        answers(&bytes);
    }

    #[test]
    fn any_text_gets_an_answer(text in r"[ -~\n]{0,200}") {
        answers(text.as_bytes());
    }

    #[test]
    fn spoiled_files_get_an_answer(
        seed in 0..SEEDS.len(),
        damages in prop::collection::vec(damage(), 1..6),
    ) {
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        answers(&bytes);
    }
}

#[test]
fn hostile_files_are_bounded() {
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"a: ".repeat(500_000), "too-large"),
        (b"[".repeat(1000), "syntax"),
        (b"[".repeat(200), "too-deep"),
        (b"{a: ".repeat(200), "too-deep"),
        (b"- ".repeat(5000), "too-deep"),
        (b"\xff\xfe".to_vec(), "syntax"),
        (b"a: &a [*a]".to_vec(), "syntax"),
        (b"a: *b".to_vec(), "syntax"),
        (b"a: !secret x".to_vec(), "syntax"),
        (b"--- a\n--- b\n".to_vec(), "syntax"),
        (b"? [a, b]\n: c\n".to_vec(), "wrong-type"),
        (laughs(), "too-large"),
    ];
    for (bytes, code) in cases {
        let (plan, found) = check_yaml(&bytes, &[]);
        assert!(plan.is_none());
        assert!(found.iter().any(|found| found.code == code), "{code}: {:?}", &found[0]);
        answers(&bytes);
    }
}

/// Aliases of aliases: a few lines that stand for billions of values.
fn laughs() -> Vec<u8> {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "));
    }
    text.into_bytes()
}
