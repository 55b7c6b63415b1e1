//! Conditions, joins, retries, secrets, hooks and schedules in the plan.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use wick_core::FailureCause;
use wick_pipeline::condition::Reference;
use wick_plan::{Condition, HookDeed, Join, Missed, Overlap, Plan, RetryOn, SecretSource};

use crate::{check_yaml, plan, plan_with};

/// The condition of the last stage, in which `when` stands.
#[track_caller]
fn condition(when: &str, arguments: &[&str]) -> Condition {
    let yaml = format!(
        "
pipeline: p
params: {{n: 3, name: \"a b\", list: [1, 2], none: null}}
stages:
  measure: {{uses: command, with: {{run: \"${{params.n}} ${{params.name}}\", outputs: {{facts: value, more: value}}}}}}
  gated:
    uses: command
    with: {{run: [echo]}}
    description: \"${{params.none}} ${{params.list}}\"
    when: {when}
"
    );
    let plan = plan_with(&yaml, arguments);
    plan.stages.last().and_then(|stage| stage.condition.clone()).expect("a condition")
}

#[track_caller]
fn holds(when: &str, metric: Value) -> bool {
    let look_up = |_: &Reference| Some(metric.clone());
    condition(when, &[]).holds(&look_up).expect("an answer")
}

#[test]
fn conditions_say_what_they_seem_to() {
    #[track_caller]
    fn check(when: &str, expect: bool) {
        assert_eq!(holds(&format!("{when:?}"), json!(0.9)), expect, "{when}");
    }
    check("${metrics.measure.accuracy} >= 0.9", true);
    check("${metrics.measure.accuracy} > 0.9", false);
    check("not ${metrics.measure.accuracy} > 0.9", true);
    check("${params.n} == 3 and ${metrics.measure.x} < 1", true);
    check("${params.n} == 4 or ${params.n} == 5 or ${params.n} == 3", true);
    check("true or true and false", true);
    check("(true or true) and false", false);
    check("not false and false", false);
    check("not (false and false)", true);
    check("${params.n} in ${params.list}", false);
    check("${params.n} not in ${params.list}", true);
    check("2 in [1, 2.0, 'x']", true);
    check("${params.name} == 'a b'", true);
    check("'it''s' == \"it's\"", true);
    check("${params.none} == null", true);
    check("${params.n} != -3 and 1e-2 < 0.5", true);
    check("'x' != 'y'", true);
    check("[] == []", true);
    assert!(!holds("false", json!(null)));
    assert!(holds("true", json!(null)));
}

#[test]
fn params_change_what_a_condition_says() {
    let three = condition("\"${params.n} == 3\"", &["n=4"]);
    assert_eq!(three.holds(&|_| None), Ok(false));
    assert_eq!(three.text(), "${params.n} == 3");
}

#[test]
fn conditions_ask_stages_that_become_needs() {
    let plan = plan(
        "
pipeline: p
stages:
  gated:
    uses: command
    with: {run: [echo]}
    when: \"${values.measure.facts.a.b} == 1 and ${metrics.measure.loss.train} < 1 and ${values.one.x} == 2\"
  measure: {uses: command, with: {run: [echo], outputs: {facts: value, more: value}}}
  one: {uses: command, with: {run: [echo], outputs: {only: value}}}
",
    );
    let gated = plan.stage(plan.find("gated").expect("it"));
    let after: Vec<&str> = gated.after.iter().map(|at| plan.stage(*at).name.as_str()).collect();
    assert_eq!(after, ["measure", "one"]);
    let references = gated.condition.as_ref().expect("a condition").references();
    let output = |stage: &str, output: &str, path: &[&str]| Reference::Output {
        stage: stage.to_owned(),
        output: Some(output.to_owned()),
        path: path.iter().map(|key| (*key).to_owned()).collect(),
    };
    assert_eq!(
        references,
        [
            &output("measure", "facts", &["a", "b"]),
            &Reference::Metric { stage: "measure".to_owned(), key: "loss.train".to_owned() },
            &output("one", "only", &["x"]),
        ]
    );
}

#[test]
fn conditions_of_instances_ask_instances() {
    let plan = plan(
        "
pipeline: p
stages:
  measure:
    uses: command
    matrix: {n: [1, 2]}
    with: {run: [echo, \"${matrix.n}\"]}
  gated:
    uses: command
    matrix: {n: [1, 2]}
    with: {run: [echo, \"${matrix.n}\"]}
    when: \"${metrics.measure.x} < ${matrix.n} and ${metrics.measure[n=1].x} > 0\"
",
    );
    let gated = plan.stage(plan.find("gated[n=2]").expect("it"));
    let asked: Vec<String> = gated
        .condition
        .as_ref()
        .expect("a condition")
        .references()
        .into_iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(asked, ["metrics.measure[n=2].x", "metrics.measure[n=1].x"]);
}

#[test]
fn a_digest_knows_what_a_condition_was_given() {
    let made = |home: &str| {
        let yaml = format!(
            "pipeline: p\nstages:\n  s: {{uses: command, with: {{run: [echo]}}, when: \"{home} == 'x'\"}}\n"
        );
        plan(&yaml)
    };
    assert_eq!(made("'/home/ada'").digest(), made("'/home/ada'").digest());
    assert_ne!(made("'/home/ada'").digest(), made("'/home/bob'").digest());
}

fn one(settings: &str) -> Plan {
    plan(&format!(
        "pipeline: p\nstages:\n  s:\n    uses: command\n    with: {{run: [echo]}}\n    {settings}\n"
    ))
}

#[test]
fn retries_wait_and_choose() {
    let plan = one(
        "retry: {attempts: 5, backoff: 2s, factor: 1.5, max_backoff: 1m, jitter: 0.2, on: [exit, out_of_memory, 75]}",
    );
    let retry = &plan.stages[0].retry;
    assert_eq!((retry.attempts, retry.factor, retry.jitter), (5, 1.5, 0.2));
    assert_eq!(
        (retry.backoff, retry.max_backoff),
        (Duration::from_secs(2), Duration::from_secs(60))
    );
    let causes = vec![FailureCause::Exit, FailureCause::OutOfMemory];
    assert_eq!(retry.on, RetryOn::These { causes, codes: vec![75] });
    assert_eq!(one("retry: {attempts: 2}").stages[0].retry.on, RetryOn::Transient);
}

#[test]
fn named_slots_are_sorted_and_joins_known() {
    let plan = one("resources: {slots: {database: 2}, mutex: [b, a, b]}");
    let resources = &plan.stages[0].resources;
    assert_eq!(resources.named, [("database".to_owned(), 2)]);
    assert_eq!(resources.mutex, ["a", "b"]);
    assert_eq!(one("needs: any").stages[0].join, Join::Any);
    assert_eq!(one("needs: all").stages[0].join, Join::All);
}

#[test]
fn secrets_stay_references() {
    let (plan, found) = check_yaml(
        br#"
pipeline: p
params: {mode: "a$${b"}
secrets: {token: "${env.API_TOKEN}", password: {file: secrets/db}}
stages:
  s:
    uses: command
    with:
      run: [echo]
      env: {A: "${secrets.token}", B: "x ${ secrets.password } $${y} ${params.mode}", C: 3}
"#,
        &[],
    );
    let plan = plan.unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(
        plan.stages[0].config["env"],
        json!({"A": "${secrets.token}", "B": "x ${ secrets.password } $${y} a$${b", "C": "3"})
    );
    let sources: Vec<SecretSource> =
        plan.secrets.iter().map(|secret| secret.source.clone()).collect();
    assert_eq!(
        sources,
        [
            SecretSource::Environment("API_TOKEN".to_owned()),
            SecretSource::File(PathBuf::from("/project/secrets/db")),
        ]
    );
}

#[test]
fn hooks_hold_words_that_are_ready() {
    let plan = plan(
        r##"
pipeline: p
params: {who: "it's me"}
timeout: 2h
secrets: {token: "${env.API_TOKEN}"}
hooks:
  on_success: [{command: [notify, "${params.who}", 3]}]
  on_failure:
    - {command: "echo $WICK_RUN ${params.who} $${x}", timeout: 5s, env: {T: "${secrets.token}"}}
    - {webhook: "https://example.com/x", headers: {Authorization: "Bearer ${secrets.token}"}}
stages:
  s: {uses: command, with: {run: [echo]}}
"##,
    );
    assert_eq!(plan.timeout, Some(Duration::from_secs(7200)));
    let HookDeed::Command { run, shell, .. } = &plan.hooks.on_success[0].deed else { panic!() };
    assert_eq!(
        (run.as_slice(), *shell),
        (["notify", "it's me", "3"].map(String::from).as_slice(), false)
    );
    let HookDeed::Command { run, shell, env } = &plan.hooks.on_failure[0].deed else { panic!() };
    assert_eq!(run, &[r"echo $WICK_RUN 'it'\''s me' ${x}"]);
    assert!(*shell);
    assert_eq!(env, &[("T".to_owned(), "${secrets.token}".to_owned())]);
    assert_eq!(plan.hooks.on_failure[0].timeout, Duration::from_secs(5));
    let HookDeed::Webhook { url, headers } = &plan.hooks.on_failure[1].deed else { panic!() };
    assert_eq!(url, "https://example.com/x");
    assert_eq!(headers[0].1, "Bearer ${secrets.token}");
    assert_eq!(plan.hooks.on_failure[1].timeout, Duration::from_secs(30));
}

#[test]
fn schedules_are_as_written() {
    let plan = plan(
        "pipeline: p\nschedule: {cron: \"0 3 * * *\", on_change: [\"data/*.csv\"], missed: run_once, overlap: cancel}\nstages: {s: {uses: command, with: {run: [echo]}}}\n",
    );
    let schedule = plan.schedule.expect("a schedule");
    assert_eq!(schedule.cron.as_deref(), Some("0 3 * * *"));
    assert_eq!(schedule.timezone, None);
    assert_eq!(schedule.on_change, ["data/*.csv"]);
    assert_eq!((schedule.missed, schedule.overlap), (Missed::RunOnce, Overlap::Cancel));
}
