//! Whole runs with real processes, a real store and a real artifact store.
//!
//! The engine starts its own binary again as supervisor and as worker; here that is this test's
//! binary, so it has a `main` of its own instead of the usual harness.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wick_artifact::ArtifactStore;
use wick_core::{AttemptState, Event, EventBody, FailureCause, RunId, RunState};
use wick_engine::{
    CancelHandle, CancelMode, Engine, PreviewDecision, Program, Reporter, RunOptions, RunOutcome,
    Silent, Slots, Totals,
};
use wick_plan::Plan;
use wick_stage::{
    Checked, Context, Documentation, Issues, Known, Ports, Registry, StageError, StageResult,
    Typed, TypedKind,
};
use wick_store::{StageRecord, Store};

#[path = "runs/features.rs"]
mod features;
#[path = "runs/processes.rs"]
mod processes;
#[path = "runs/recorded.rs"]
mod recorded;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("supervisor") => return wick_engine::supervisor::main(),
        Some("worker") => {
            let registry = Registry::new().with([Typed::boxed(Probe)]);
            return wick_engine::worker::main(Path::new(&arguments[2]), &registry);
        }
        Some("drive") => return drive_until_killed(Path::new(&arguments[2])),
        _ => {}
    }
    let tests: &[(&str, fn())] = &[
        ("a_fan_runs_and_is_cached_the_second_time", a_fan_runs_and_is_cached_the_second_time),
        ("bytes_travel_between_programs", bytes_travel_between_programs),
        ("a_broken_stage_is_mended_and_taken_up", a_broken_stage_is_mended_and_taken_up),
        ("a_worker_reports_everything", a_worker_reports_everything),
        ("a_panicking_kind_fails_its_attempt", a_panicking_kind_fails_its_attempt),
        ("a_timeout_ends_the_whole_group", a_timeout_ends_the_whole_group),
        ("a_transient_failure_is_retried", a_transient_failure_is_retried),
        ("what_a_worker_saved_is_found_by_its_retry", what_a_worker_saved_is_found_by_its_retry),
        ("what_a_program_saved_outlives_its_attempt", what_a_program_saved_outlives_its_attempt),
        ("without_the_cache_a_run_finds_only_its_own", without_the_cache_a_run_finds_only_its_own),
        ("checkpoints_that_nobody_came_back_for_are_swept", checkpoints_are_swept),
        ("what_cannot_start_is_told", what_cannot_start_is_told),
        ("a_killed_supervisor_fails_what_ran", a_killed_supervisor_fails_what_ran),
        ("a_kill_stops_what_runs", a_kill_stops_what_runs),
        ("a_drain_lets_what_runs_end", a_drain_lets_what_runs_end),
        ("a_killed_engine_leaves_no_process_and_loses_nothing", killed_engine),
        ("a_changed_source_runs_again", a_changed_source_runs_again),
        ("a_preview_tells_what_would_run_and_why", a_preview_tells_what_would_run_and_why),
    ];
    let filter = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'));
    let mut failed = 0;
    for (name, test) in
        tests.iter().chain(features::TESTS).chain(processes::TESTS).chain(recorded::TESTS)
    {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let began = Instant::now();
        let passed = std::panic::catch_unwind(test).is_ok();
        failed += usize::from(!passed);
        let word = if passed { "ok" } else { "FAILED" };
        say(&format!("test {name} ... {word} ({:.2?})", began.elapsed()));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

// ---- a project to run in ---------------------------------------------------------------------

/// A folder with a pipeline, a store and an artifact store.
struct Project {
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
    store: Arc<dyn Store>,
    engine: Engine,
    _temporary: Option<tempfile::TempDir>,
}

impl Project {
    fn new(stages: &str) -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = temporary.path().canonicalize().expect("its name");
        let project = Self { _temporary: Some(temporary), ..Self::open(&folder) };
        project.write("pipeline.yaml", &format!("pipeline: test\nstages:\n{stages}"));
        project
    }

    fn open(folder: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let wick = folder.join(".wick");
        std::fs::create_dir_all(&wick).expect("made");
        let location = wick.join("store.db");
        let store =
            runtime.block_on(wick_store::open(location.to_str().expect("text"))).expect("a store");
        let artifacts = ArtifactStore::open(wick.join("artifacts")).expect("an artifact store");
        let program = Program {
            path: std::env::current_exe().expect("this binary"),
            supervisor: vec!["supervisor".into()],
            worker: vec!["worker".into()],
        };
        let engine = Engine::with_program(store.clone(), Arc::new(artifacts), wick, program);
        Self { folder: folder.to_owned(), runtime, store, engine, _temporary: None }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).expect("written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    fn plan(&self) -> Plan {
        check(&self.folder, &[]).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn options(&self) -> RunOptions {
        RunOptions { slots: Slots { cpus: 4, memory: 1 << 30, gpus: 0 }, ..RunOptions::new("") }
    }

    fn run(&self) -> RunOutcome {
        self.run_with(self.options(), &mut Silent)
    }

    fn run_with(&self, options: RunOptions, reporter: &mut dyn Reporter) -> RunOutcome {
        self.runtime
            .block_on(self.engine.execute(&self.plan().into(), options, reporter))
            .expect("driven to its end")
    }

    fn run_plan(&self, plan: &Plan) -> RunOutcome {
        self.runtime
            .block_on(self.engine.execute(&plan.clone().into(), self.options(), &mut Silent))
            .expect("driven to its end")
    }

    fn rerun(&self, run: &RunId) -> RunOutcome {
        let options = RunOptions { rerun: Some(run.clone()), ..self.options() };
        self.run_with(options, &mut Silent)
    }

    fn stages(&self, run: &RunId) -> Vec<StageRecord> {
        self.runtime.block_on(self.store.stages(run)).expect("stages")
    }

    fn state(&self, run: &RunId, stage: &str) -> AttemptState {
        let stages = self.stages(run);
        stages.iter().find(|record| record.stage == stage).expect("the stage").state
    }

    /// The folders in which attempts saved something.
    fn saved(&self) -> Vec<String> {
        let entries = |folder: &Path| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        let fingerprints = entries(&self.folder.join(".wick/checkpoints"));
        let lines = fingerprints.iter().flat_map(|folder| {
            let lines = entries(folder);
            // One that is empty would be seen, too.
            if lines.is_empty() { vec![folder.clone()] } else { lines }
        });
        lines.map(|line| line.display().to_string()).collect()
    }

    fn metric(&self, run: &RunId, key: &str) -> Vec<(i64, f64)> {
        let series = self.runtime.block_on(self.store.series(run, Some(key))).expect("series");
        let points = series.into_iter().flat_map(|series| series.points);
        points.map(|point| (point.step, point.value)).collect()
    }
}

/// Checks the pipeline in `folder`.
fn check(folder: &Path, lists: &[wick_plan::KnownList]) -> Result<Plan, String> {
    let file = folder.join("pipeline.yaml");
    let source = std::fs::read(&file).expect("the pipeline");
    let registry = Registry::new().with(wick_engine::command::kinds()).with([Typed::boxed(Probe)]);
    let verdict = wick_plan::check(&wick_plan::Request {
        source: &source,
        file: &file,
        name: "pipeline.yaml",
        root: folder,
        load: &wick_plan::no_files,
        overrides: &[],
        registry: &registry,
        environment: &|name| std::env::var(name).ok(),
        machine: wick_plan::Machine::UNLIMITED,
        lists,
    });
    verdict.plan.ok_or_else(|| format!("{:#?}", verdict.diagnostics))
}

// ---- a native kind ---------------------------------------------------------------------------

/// A kind that does what its configuration says.
struct Probe;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProbeConfig {
    /// `write`, `forget`, `panic`, `gate`, `abort`, `hoard` or `save`.
    act: String,
}

impl TypedKind for Probe {
    type Config = ProbeConfig;
    const NAME: &'static str = "probe";
    const REVISION: u32 = 1;

    fn documentation(&self) -> Documentation {
        Documentation { summary: "A probe.", description: "", examples: &[] }
    }

    fn ports(&self, _: &ProbeConfig, _: &mut Issues) -> Ports {
        Ports::new()
            .any_input(wick_core::PortType::ALL, 0)
            .output("made", wick_core::PortType::File)
    }

    fn check(&self, _: &ProbeConfig, _: &Known<'_>) -> Checked {
        Checked::default()
    }

    fn run(&self, config: ProbeConfig, context: &mut Context<'_>) -> StageResult {
        context.log("the probe speaks");
        for step in 0..3 {
            context.metric_at("loss", step, 1.0 / (step + 1) as f64)?;
        }
        match config.act.as_str() {
            "panic" => panic!("the probe panics"),
            "abort" => std::process::abort(),
            "hoard" => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 1 << 20]);
                }
            }
            "gate" => return Err(StageError::gate("too low").help("aim higher")),
            "forget" => return Ok(()),
            "save" => return save_or_go_on(context),
            _ => {}
        }
        let path = context.output("made")?;
        let threads = std::env::var("RAYON_NUM_THREADS").unwrap_or_default();
        std::fs::write(path, threads).map_err(|error| StageError::io("cannot write", error))?;
        let port = wick_core::PortName::new("made").expect("a name");
        context.describe_output(&port, json!({"rows": 3}));
        Ok(())
    }
}

/// Saves its state and dies; or writes what an earlier attempt had saved.
fn save_or_go_on(context: &mut Context<'_>) -> StageResult {
    let checkpoints = context.checkpoints().expect("the engine has a place for them");
    match checkpoints.saved().next() {
        None => {
            checkpoints.save(5, b"half").expect("saved");
            std::process::abort();
        }
        Some(found) => {
            let found = found.expect("it is whole");
            assert_eq!((found.step, found.attempt), (5, 1));
            assert_eq!(found.run, context.assignment().run);
            std::fs::write(context.output("made")?, found.state).expect("written");
            Ok(())
        }
    }
}

/// Remembers what it was told.
#[derive(Default)]
struct Seen(Vec<Event>, Totals);

impl Reporter for Seen {
    fn event(&mut self, event: &Event, totals: &Totals) {
        self.0.push(event.clone());
        self.1 = *totals;
    }
}

// ---- the tests -------------------------------------------------------------------------------

fn fan(width: usize, run: &str) -> String {
    let mut text = String::new();
    for place in 0..width {
        text.push_str(&format!("  s{place}: {{uses: command, with: {{run: {run}}}}}\n"));
    }
    let all: Vec<String> = (0..width).map(|place| format!("s{place}")).collect();
    text.push_str(&format!(
        "  join: {{uses: command, after: [{}], with: {{run: [\"true\"]}}}}\n",
        all.join(", ")
    ));
    text
}

fn a_fan_runs_and_is_cached_the_second_time() {
    let project = Project::new(&fan(40, "[sh, -c, 'echo $WICK_STAGE >> ran']"));
    let mut seen = Seen::default();
    let first = project.run_with(project.options(), &mut seen);
    assert_eq!(first.state, RunState::Succeeded);
    assert_eq!((first.totals.succeeded, first.totals.queued, first.totals.running), (41, 0, 0));
    assert_eq!(seen.1, first.totals);
    let mut ran: Vec<String> = project.read("ran").lines().map(str::to_owned).collect();
    ran.sort();
    ran.dedup();
    assert_eq!(ran.len(), 40, "each stage ran");
    assert!(matches!(seen.0[0].body, EventBody::RunStarted { .. }));
    assert!(matches!(seen.0.last().expect("events").body, EventBody::RunFinished { .. }));

    let second = project.run();
    assert_eq!((second.state, second.totals.cached), (RunState::Succeeded, 41));
    assert_eq!(project.read("ran").lines().count(), 40, "nothing ran again");
    let origin = project.stages(&second.run)[0].origin.clone().expect("an origin");
    assert_eq!(origin.run, first.run);

    let uncached =
        project.run_with(RunOptions { use_cache: false, ..project.options() }, &mut Silent);
    assert_eq!((uncached.totals.cached, uncached.totals.succeeded), (0, 41));
}

fn bytes_travel_between_programs() {
    let project = Project::new(
        "  make:
    uses: command
    with:
      run: 'printf \"a,b\\n1,2\\n\" > ${outputs.table}; echo 7 > ${outputs.seven}; echo {\\\"metric\\\": \\\"loss\\\", \\\"value\\\": 0.5, \\\"step\\\": 2} >> $WICK_METRICS'
      outputs: {table: {type: dataset, format: csv}, seven: value}
  use:
    uses: command
    inputs: {t: make.table, n: make.seven}
    with:
      run: [sh, -c, 'case $1 in *t.csv) cat $1 $2 > $3;; esac; echo \"{\\\"rows\\\": {\\\"all\\\": 1}}\" > metrics.json', sh, '${inputs.t}', '${inputs.n}', '${outputs.both}']
      outputs: {both: file}
      metrics: metrics.json
",
    );
    let first = project.run();
    assert_eq!(first.state, RunState::Succeeded, "{:?}", first.failed);
    let artifacts = project.runtime.block_on(project.store.artifacts(&first.run)).expect("rows");
    let both = artifacts.iter().find(|artifact| artifact.port == "both").expect("both");
    assert_eq!(both.digest, wick_core::Digest::of(b"a,b\n1,2\n7\n"));
    assert_eq!(project.metric(&first.run, "loss"), [(2, 0.5)]);
    assert_eq!(project.metric(&first.run, "rows.all"), [(0, 1.0)]);
    let inputs = project.runtime.block_on(project.store.inputs(&first.run)).expect("rows");
    assert_eq!(inputs.len(), 2);
    assert_eq!(project.run().totals.cached, 2);

    // An artifact that is gone is made again, and what needs it is found by its bytes.
    let path = project.folder.join(".wick/artifacts");
    let seven = artifacts.iter().find(|artifact| artifact.port == "seven").expect("seven");
    let name = seven.digest.to_string();
    std::fs::remove_file(path.join(&name[..2]).join(&name)).expect("removed");
    let third = project.run();
    assert_eq!((third.totals.succeeded, third.totals.cached), (1, 1));
}

fn a_broken_stage_is_mended_and_taken_up() {
    let project = Project::new(
        "  before: {uses: command, with: {run: 'echo before >> ran'}}
  broken: {uses: command, after: [before], with: {run: [sh, broken.sh]}}
  after: {uses: command, after: [broken], with: {run: 'echo after >> ran'}}
  beside: {uses: command, with: {run: 'echo beside >> ran'}}
",
    );
    project.write("broken.sh", "echo about to fail; exit 3\n");
    let first = project.run();
    assert_eq!(first.state, RunState::Failed);
    let failed = &first.failed[0];
    assert_eq!((failed.stage.as_str(), failed.attempt), ("broken", 1));
    assert_eq!(failed.failure.cause, FailureCause::Exit);
    assert_eq!(failed.failure.message, "the program ended with code 3");
    assert_eq!(wick_engine::log::tail_log(&failed.log, 5).expect("a log"), ["about to fail"]);
    assert_eq!(project.state(&first.run, "after"), AttemptState::Skipped);
    assert_eq!(project.state(&first.run, "beside"), AttemptState::Succeeded);

    project.write("broken.sh", "exit 0\n");
    let second = project.rerun(&first.run);
    assert_eq!((second.run.clone(), second.state), (first.run.clone(), RunState::Succeeded));
    assert_eq!(second.totals.succeeded, 4);
    let mut ran: Vec<String> = project.read("ran").lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, ["after", "before", "beside"], "what had succeeded did not run again");
    let stages = project.stages(&first.run);
    let broken = stages.iter().find(|record| record.stage == "broken").expect("the stage");
    assert_eq!(broken.attempts, 2);

    // Where something that had succeeded has changed, a new run reuses the rest.
    project.write("broken.sh", "exit 0 # once more\n");
    let third = project.rerun(&first.run);
    assert_ne!(third.run, first.run);
    assert_eq!((third.totals.cached, third.totals.succeeded), (3, 1));
    let record = project.runtime.block_on(project.store.run(&third.run)).expect("asked");
    assert_eq!(record.expect("the run").parent, Some(first.run));
}

fn a_worker_reports_everything() {
    let project = Project::new(
        "  probe: {uses: probe, with: {act: write}, resources: {cpus: 3}}
  next: {uses: probe, inputs: {x: probe}, with: {act: write}}
",
    );
    let outcome = project.run();
    assert_eq!(outcome.state, RunState::Succeeded, "{:?}", outcome.failed);
    assert_eq!(project.metric(&outcome.run, "probe.loss").len(), 3);
    let artifacts = project.runtime.block_on(project.store.artifacts(&outcome.run)).expect("rows");
    assert_eq!(artifacts[0].digest, wick_core::Digest::of(b"3"), "three threads for three cpus");
    assert_eq!(artifacts[0].meta, json!({"rows": 3}));
    let attempts = project.runtime.block_on(project.store.attempts(&outcome.run)).expect("rows");
    let usage = attempts[0].usage.expect("usage");
    assert!(usage.wall_micros > 0 && usage.max_rss_bytes > 1 << 20, "{usage:?}");
    let log = wick_engine::log::log_path(
        &project.folder.join(".wick"),
        &outcome.run,
        &attempts[0].stage,
        1,
    );
    assert_eq!(wick_engine::log::tail_log(&log, 9).expect("a log"), ["the probe speaks"]);
}

fn a_panicking_kind_fails_its_attempt() {
    #[track_caller]
    fn check(act: &str, cause: FailureCause, message: &str) {
        let project = Project::new(&format!("  probe: {{uses: probe, with: {{act: {act}}}}}\n"));
        let outcome = project.run();
        assert_eq!(outcome.state, RunState::Failed);
        let failure = &outcome.failed[0].failure;
        assert_eq!(failure.cause, cause, "{failure:?}");
        assert!(failure.message.contains(message), "{failure:?}");
        assert_eq!(project.metric(&outcome.run, "loss").len(), 3, "what it had told is kept");
    }
    check("panic", FailureCause::Internal, "the stage panicked: the probe panics");
    check("abort", FailureCause::Signal, "SIGABRT (signal 6)");
    check("gate", FailureCause::Gate, "too low");
    check("forget", FailureCause::Output, "did not make its output `made`");
}

fn a_timeout_ends_the_whole_group() {
    let project = Project::new(
        "  slow: {uses: command, timeout: 300ms, with: {run: 'sleep 77 & echo $! > child; wait'}}
  ignoring: {uses: command, timeout: 300ms, with: {run: 'sleep 78 & echo $! > deaf; exec sleep 79'}}
",
    );
    let began = Instant::now();
    let outcome = project.run();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(outcome.failed.len(), 2);
    assert_eq!(outcome.failed[0].failure.cause, FailureCause::Timeout);
    for file in ["child", "deaf"] {
        assert!(!is_alive(project.read(file).trim()), "{file} was left behind");
    }
}

fn is_alive(pid: &str) -> bool {
    let pid: u32 = pid.parse().expect("a pid");
    // A killed process may take a moment to be gone.
    (0..50).all(|_| {
        let alive = wick_store::process_start(pid).is_some();
        if alive {
            std::thread::sleep(Duration::from_millis(20));
        }
        alive
    })
}

fn a_transient_failure_is_retried() {
    let project = Project::new(
        "  flaky:
    uses: command
    retry: {attempts: 3, backoff: 10ms}
    with: {run: 'echo x >> tries; test $(wc -l < tries) -ge 3'}
",
    );
    let outcome = project.run();
    assert_eq!(outcome.state, RunState::Succeeded);
    assert!(outcome.failed.is_empty());
    assert_eq!(project.read("tries").lines().count(), 3);
    let attempts = project.runtime.block_on(project.store.attempts(&outcome.run)).expect("rows");
    let states: Vec<AttemptState> = attempts.iter().map(|attempt| attempt.state).collect();
    assert_eq!(states, [AttemptState::Failed, AttemptState::Failed, AttemptState::Succeeded]);
}

fn what_a_worker_saved_is_found_by_its_retry() {
    let project = Project::new(
        "  probe: {uses: probe, with: {act: save}, retry: {attempts: 2, backoff: 1ms}}\n",
    );
    let outcome = project.run();
    assert_eq!(outcome.state, RunState::Succeeded, "{:?}", outcome.failed);
    let artifacts = project.runtime.block_on(project.store.artifacts(&outcome.run)).expect("rows");
    assert_eq!(artifacts[0].digest, wick_core::Digest::of(b"half"));
    assert_eq!(project.saved(), [""; 0], "what is published needs no checkpoint");
}

/// A program that saves its state and is killed, or goes on from it.
const SAVING: &str = "  saving:
    uses: command
    cache: CACHE
    with:
      run: |
        if test -e \"$WICK_CHECKPOINTS/state\"; then
          cat \"$WICK_CHECKPOINTS/state\" >> went_on; echo done > ${outputs.made}
        else
          mkdir -p \"$WICK_CHECKPOINTS\"; echo half > \"$WICK_CHECKPOINTS/state\"; kill -9 $$
        fi
      outputs: {made: file}
";

fn what_a_program_saved_outlives_its_attempt() {
    let project = Project::new(&SAVING.replace("CACHE", "true"));
    let broken = project.run();
    assert_eq!(broken.state, RunState::Failed);
    let saved = project.saved();
    assert!(saved.len() == 1 && saved[0].ends_with("/shared"), "{saved:?}");
    // A new run of the same plan finds it as well as a rerun would.
    let outcome = project.run();
    assert_eq!((outcome.state, outcome.run == broken.run), (RunState::Succeeded, false));
    assert_eq!(project.read("went_on"), "half\n");
    assert_eq!(project.saved(), [""; 0]);
}

fn without_the_cache_a_run_finds_only_its_own() {
    for cache in ["true", "false"] {
        let project = Project::new(&SAVING.replace("CACHE", cache));
        // Not with the cache of the run, or not with that of the stage.
        let options = || RunOptions { use_cache: cache == "false", ..project.options() };
        let first = project.run_with(options(), &mut Silent);
        let second = project.run_with(options(), &mut Silent);
        assert_eq!((first.state, second.state), (RunState::Failed, RunState::Failed));
        assert_eq!(project.saved().len(), 2, "each has a place of its own");
        let options = RunOptions { rerun: Some(first.run.clone()), ..options() };
        let again = project.run_with(options, &mut Silent);
        assert_eq!((again.run, again.state), (first.run, RunState::Succeeded));
        assert_eq!(project.read("went_on"), "half\n");
        let saved = project.saved();
        assert!(saved.len() == 1 && saved[0].contains(second.run.as_str()), "{saved:?}");
    }
}

fn checkpoints_are_swept() {
    let project = Project::new("  s: {uses: command, with: {run: [\"true\"]}}\n");
    let folder = |digit: &str| project.folder.join(".wick/checkpoints").join(digit.repeat(64));
    let day = Duration::from_secs(24 * 3600);
    for (digit, days) in [("a", 31), ("b", 29)] {
        std::fs::create_dir_all(folder(digit)).expect("made");
        let old = std::time::SystemTime::now() - days * day;
        let opened = std::fs::File::open(folder(digit)).expect("opened");
        opened.set_modified(old).expect("aged");
    }
    assert_eq!(project.run().state, RunState::Succeeded);
    assert!(!folder("a").exists() && folder("b").exists());
}

fn what_cannot_start_is_told() {
    let project = Project::new(
        "  missing: {uses: command, with: {run: [no-such-program-at-all]}}
  silent: {uses: command, with: {run: [\"true\"], outputs: {x: file}}}
",
    );
    let outcome = project.run();
    let find = |name: &str| {
        let mut failed = outcome.failed.iter();
        &failed.find(|failed| failed.stage == name).expect("it failed").failure
    };
    assert_eq!(find("missing").cause, FailureCause::Spawn);
    assert_eq!(find("missing").message, "cannot run `no-such-program-at-all`");
    assert_eq!(find("silent").cause, FailureCause::Output);
    assert!(find("silent").message.contains("outputs/x"), "{:?}", find("silent"));
}

fn a_killed_supervisor_fails_what_ran() {
    // The first try kills its parent, which is the supervisor.
    let project = Project::new(
        "  one:
    uses: command
    retry: {attempts: 2, backoff: 10ms}
    with: {run: 'test -e second || { touch second; kill -9 $PPID; sleep 60; }'}
",
    );
    let began = Instant::now();
    let outcome = project.run();
    assert_eq!(outcome.state, RunState::Succeeded, "{:?}", outcome.failed);
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(no_process_in(&project.folder), "the first try was left behind");
    let attempts = project.runtime.block_on(project.store.attempts(&outcome.run)).expect("rows");
    let failure = attempts[0].failure.as_ref().expect("a failure");
    assert_eq!(failure.cause, FailureCause::Signal);
}

/// Cancels the run when the stage `start` has begun.
struct CancelOnStart {
    handle: CancelHandle,
    start: &'static str,
    kill: bool,
}

impl Reporter for CancelOnStart {
    fn event(&mut self, event: &Event, _: &Totals) {
        if let EventBody::AttemptSpawned { stage, .. } = &event.body
            && *stage == self.start
        {
            assert_eq!(self.handle.request(), CancelMode::Drain);
            if self.kill {
                assert_eq!(self.handle.request(), CancelMode::Kill);
            }
        }
    }
}

fn a_kill_stops_what_runs() {
    let project = Project::new(
        "  long: {uses: command, with: {run: [sleep, '60']}}
  after: {uses: command, after: [long], with: {run: [\"true\"]}}
",
    );
    let options = project.options();
    let handle = options.cancel.clone();
    let began = Instant::now();
    let mut reporter = CancelOnStart { handle, start: "long", kill: true };
    let outcome = project.run_with(options, &mut reporter);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((outcome.state, outcome.totals.cancelled), (RunState::Cancelled, 2));
    assert_eq!(project.rerun_quickly(&outcome.run), RunState::Succeeded);
}

impl Project {
    /// Takes up a run after its pipeline was made quick.
    fn rerun_quickly(&self, run: &RunId) -> RunState {
        let text = self.read("pipeline.yaml").replace("'60'", "'0'");
        self.write("pipeline.yaml", &text);
        self.rerun(run).state
    }
}

fn a_drain_lets_what_runs_end() {
    let project = Project::new(
        "  long: {uses: command, with: {run: [sleep, '0.4']}}
  after: {uses: command, after: [long], with: {run: [\"true\"]}}
",
    );
    let options = project.options();
    let handle = options.cancel.clone();
    let mut reporter = CancelOnStart { handle, start: "long", kill: false };
    let outcome = project.run_with(options, &mut reporter);
    assert_eq!(outcome.state, RunState::Cancelled);
    assert_eq!(project.state(&outcome.run, "long"), AttemptState::Succeeded);
    assert_eq!(project.state(&outcome.run, "after"), AttemptState::Cancelled);
}

/// What the engine that will be killed does.
fn drive_until_killed(folder: &Path) -> ExitCode {
    let project = Project::open(folder);
    project.run();
    ExitCode::SUCCESS
}

fn killed_engine() {
    // Each stage leaves a mark when it starts and another when it ends, and a child of its own.
    // One of them hides its child in a session of its own. The last of them wait for a file, so
    // the run cannot end before its engine is killed, however late that is.
    let script = "echo $WICK_STAGE >> started
test $WICK_STAGE = s3 && setsid sleep 100 &
sleep 0.05 & wait $!
while test ${WICK_STAGE#s} -ge 40 -a ! -e go; do sleep 0.01; done
echo $WICK_STAGE >> ended
";
    for round in 0..3 {
        let project = Project::new(&fan(60, "[sh, work.sh]"));
        project.write("work.sh", script);
        let mut engine = std::process::Command::new(std::env::current_exe().expect("this binary"))
            .args(["drive".as_ref(), project.folder.as_os_str()])
            .spawn()
            .expect("an engine");
        let succeeded = || {
            let runs = project.runtime.block_on(project.store.find_runs("@last")).expect("asked");
            let stages = runs.first().map(|run| project.stages(run)).unwrap_or_default();
            stages.iter().filter(|record| record.state == AttemptState::Succeeded).count()
        };
        while project.read("ended").lines().count() < 10 + round * 7 || succeeded() < 8 {
            assert!(engine.try_wait().expect("asked").is_none(), "it ended too soon");
            std::thread::sleep(Duration::from_millis(3));
        }
        engine.kill().expect("killed");
        engine.wait().expect("waited for");
        assert!(no_process_in(&project.folder), "processes were left behind");
        project.write("go", "");

        let dead =
            project.runtime.block_on(project.store.find_runs("@last")).expect("asked").remove(0);
        let before = project.stages(&dead);
        let kept: Vec<&StageRecord> =
            before.iter().filter(|record| record.state == AttemptState::Succeeded).collect();
        assert!(kept.len() >= 8 && kept.len() < 60, "{} stages were recorded", kept.len());
        let outcome = project.rerun(&dead);
        assert_eq!((outcome.run, outcome.state), (dead.clone(), RunState::Succeeded));
        let started = project.read("started");
        for record in &kept {
            let times = started.lines().filter(|line| *line == record.stage.as_str()).count();
            assert_eq!(times, 1, "stage {} had succeeded and ran again", record.stage);
        }
        for record in project.stages(&dead) {
            assert_eq!(record.state, AttemptState::Succeeded, "{}", record.stage);
        }
    }
}

/// Whether no process works in `folder` any more, as soon as the system has come to end them: on a
/// busy machine that takes a while.
fn no_process_in(folder: &Path) -> bool {
    (0..1500).any(|_| {
        let works_there = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder)
        };
        let found = std::fs::read_dir("/proc").expect("proc").flatten().any(works_there);
        if found {
            std::thread::sleep(Duration::from_millis(20));
        }
        !found
    })
}

fn a_changed_source_runs_again() {
    let project =
        Project::new("  read: {uses: command, with: {run: [cat, data.txt], code: [data.txt]}}\n");
    project.write("data.txt", "one");
    let first = project.run();
    assert_eq!(project.run().totals.cached, 1);
    project.write("data.txt", "two");
    let third = project.run();
    assert_eq!((third.totals.cached, third.totals.succeeded), (0, 1));
    let reasons: Vec<(wick_core::StageName, Value)> =
        project.runtime.block_on(project.store.stage_parts(&first.run)).expect("parts");
    assert_eq!(reasons.len(), 1, "what went into the fingerprint is kept");
}

fn a_preview_tells_what_would_run_and_why() {
    let stages =
        "  make: {uses: command, with: {run: 'echo 1 > ${outputs.x}', outputs: {x: value}}}
  use: {uses: command, inputs: {x: make}, with: {run: 'cat ${inputs.x}'}}
  beside: {uses: command, cache: false, with: {run: [\"true\"]}}
";
    let project = Project::new(stages);
    let preview = || -> Vec<String> {
        let plan = project.plan().into();
        let options = project.options();
        let preview = project.engine.preview(&plan, &options, None);
        let preview = project.runtime.block_on(preview).expect("a preview");
        let words = preview.stages.into_iter().map(|stage| match stage.decision {
            PreviewDecision::Cached { .. } => "cached".to_owned(),
            PreviewDecision::Run { reasons } => reasons.join("; "),
            PreviewDecision::Unknown { after, .. } => format!("after {after:?}"),
            other => format!("{other:?}"),
        });
        words.collect()
    };
    let not_reused = "its results are not to be reused";
    assert_eq!(preview(), ["it never ran", "after [\"make\"]", not_reused]);
    project.run();
    assert_eq!(preview(), ["cached", "cached", not_reused]);
    let text = project.read("pipeline.yaml").replace("echo 1", "echo 2");
    project.write("pipeline.yaml", &text);
    let changed = "`with.run` changed from \"echo 1 > ${outputs.x}\" to \"echo 2 > ${outputs.x}\"";
    assert_eq!(preview(), [changed, "after [\"make\"]", not_reused]);
}
