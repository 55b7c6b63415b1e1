//! What is recorded of attempts without being asked for: what they use of the machine, the energy
//! that they take, and when they could have begun.

use wick_core::{EnergySource, Usage};
use wick_engine::Carbon;
use wick_store::AttemptRecord;

use super::*;

pub const TESTS: &[(&str, fn())] = &[
    ("a_long_attempt_is_sampled_while_it_runs", a_long_attempt_is_sampled_while_it_runs),
    ("a_short_attempt_is_charged_and_not_sampled", a_short_attempt_is_charged_and_not_sampled),
    ("a_retry_waits_from_when_it_is_due", a_retry_waits_from_when_it_is_due),
    ("a_program_reports_params_and_metrics", a_program_reports_params_and_metrics),
    ("a_diff_is_recorded_without_secrets", a_diff_is_recorded_without_secrets),
];

impl Project {
    fn attempts(&self, run: &RunId) -> Vec<AttemptRecord> {
        self.runtime.block_on(self.store.attempts(run)).expect("attempts")
    }
}

/// Lets the programs of a run end when one of them has been sampled.
struct EndWhenSampled<'a>(&'a Project);

impl Reporter for EndWhenSampled<'_> {
    fn event(&mut self, event: &Event, _: &Totals) {
        if let EventBody::Metrics { points, .. } = &event.body
            && points.iter().any(|point| point.key.starts_with("system."))
        {
            self.0.write("go", "");
        }
    }
}

fn a_long_attempt_is_sampled_while_it_runs() {
    let project = Project::new(
        "  long:
    uses: command
    with: {run: 'head -c 3M /dev/zero > big; sync big; while [ ! -e go ]; do sleep 0.02; done'}
",
    );
    let outcome = project.run_with(project.options(), &mut EndWhenSampled(&project));
    assert_eq!(outcome.state, RunState::Succeeded, "{outcome:?}");
    let memory = project.metric(&outcome.run, "system.memory");
    assert!(memory.len() == 1 && memory[0].0 >= 1 && memory[0].1 > 0.0, "{memory:?}");
    let cpu = project.metric(&outcome.run, "system.cpu");
    assert!((0.0..=64.0).contains(&cpu[0].1), "{cpu:?}");
    let usage = project.attempts(&outcome.run)[0].usage.expect("it ended");
    let Usage { max_rss_bytes, read_bytes, written_bytes, .. } = usage;
    assert!(max_rss_bytes as f64 >= memory[0].1, "the shell and its child together: {usage:?}");
    assert!(read_bytes.is_some(), "{usage:?}");
    // A folder in memory has no disk behind it.
    let sampled = project.metric(&outcome.run, "system.disk_written");
    let sampled = sampled.first().map_or(0.0, |(_, bytes)| *bytes);
    assert!(written_bytes.is_some_and(|bytes| bytes as f64 >= sampled), "{usage:?}");
}

fn a_short_attempt_is_charged_and_not_sampled() {
    let project = Project::new("  short: {uses: command, with: {run: 'true'}}\n");
    let options = RunOptions {
        carbon: Carbon { grams_per_kwh: 360.0, watts_per_cpu: 10.0 },
        ..project.options()
    };
    let outcome = project.run_with(options, &mut Silent);
    assert_eq!(project.metric(&outcome.run, "system.cpu"), []);
    let usage = project.attempts(&outcome.run)[0].usage.expect("it ended");
    let (joules, source) = (usage.energy_joules.expect("it is charged"), usage.energy_source);
    // A machine whose counters this test may read has no need of estimates.
    if source == Some(EnergySource::Estimate) {
        assert_eq!(joules, usage.cpu_micros as f64 / 1e6 * 10.0);
    }
    assert_eq!(usage.co2_grams, Some(joules / 3.6e6 * 360.0));
    let attempt = &project.attempts(&outcome.run)[0];
    assert!(attempt.queued.is_some_and(|queued| queued <= attempt.started), "{attempt:?}");
}

fn a_retry_waits_from_when_it_is_due() {
    let project = Project::new(
        "  flaky:
    uses: command
    retry: {attempts: 2, backoff: 10ms}
    with: {run: '[ -e tried ] || { touch tried; exit 1; }'}
",
    );
    let outcome = project.run();
    assert_eq!(outcome.state, RunState::Succeeded, "{outcome:?}");
    let attempts = project.attempts(&outcome.run);
    let ended = attempts[0].finished.expect("it ended");
    let queued = attempts[1].queued.expect("it waited");
    assert!(ended <= queued && queued <= attempts[1].started, "{attempts:?}");
}

fn a_program_reports_params_and_metrics() {
    let project = Project::new(
        "  features:
    uses: command
    with:
      run: |
        echo 'nonsense' >> $WICK_METRICS
        echo '{\"param\": \"n_features\", \"value\": 17}' >> $WICK_METRICS
        echo '{\"metric\": \"loss\", \"value\": 0.5, \"step\": 1}' >> $WICK_METRICS
        printf '{\"metric\": \"loss\", \"value\": NaN, \"step\": 2}' >> $WICK_METRICS
        echo '{\"valid\": {\"f1\": 0.75}}' > ${outputs.metrics}
      outputs: {metrics: value}
",
    );
    for cached in [false, true] {
        let outcome = project.run();
        assert_eq!(outcome.totals.cached > 0, cached, "{outcome:?}");
        let params = project.runtime.block_on(project.store.params(&outcome.run)).expect("params");
        let params: Vec<_> = params.into_iter().map(|param| (param.name, param.value)).collect();
        assert_eq!(params, [("features.n_features".to_owned(), json!(17))]);
        let loss = project.metric(&outcome.run, "loss");
        assert!(loss.len() == 2 && loss[0] == (1, 0.5) && loss[1].1.is_nan(), "{loss:?}");
        assert_eq!(project.metric(&outcome.run, "valid.f1"), [(0, 0.75)]);
        if !cached {
            let log = outcome.folder.join("features.1/log");
            let log = std::fs::read_to_string(log).expect("the log");
            assert!(log.contains("a line of WICK_METRICS could not be understood"), "{log}");
            assert!(log.contains("line 1: it is not JSON"), "{log}");
        }
    }
}

fn a_diff_is_recorded_without_secrets() {
    let project = Project::new("  a: {uses: command, with: {run: 'true'}}\n");
    project.write("password", "correct horse\n");
    let mut plan = project.plan();
    let path = project.folder.join("password");
    let source = wick_plan::SecretSource::File(path);
    plan.secrets.push(wick_plan::Secret { name: "password".to_owned(), source });
    let options = RunOptions {
        git_diff: Some("+login(\"correct horse\")\n".to_owned()),
        ..project.options()
    };
    let (plan, mut reporter) = (plan.into(), Silent);
    let executed = project.engine.execute(&plan, options, &mut reporter);
    let outcome = project.runtime.block_on(executed).expect("driven to its end");
    let record = project.runtime.block_on(project.store.run(&outcome.run)).expect("read");
    let diff = record.expect("the run").git_diff;
    assert_eq!(diff.as_deref(), Some("+login(\"***\")\n"));
}
