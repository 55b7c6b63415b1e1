//! Runs that branch, grow and are asked for in part, with real programs.

use std::path::Path;

use wick_core::{
    AttemptState, Event, EventBody, KindName, RunState, SkipReason, StageName, Timestamp, Token,
};
use wick_engine::{
    Began, EngineError, Expander, Preview, PreviewDecision, Reporter, RunOptions, RunOutcome,
    Silent, Totals,
};
use wick_plan::Selection;
use wick_store::EngineId;

use crate::{Project, check};

pub const TESTS: &[(&str, fn())] = &[
    ("the_best_is_chosen_gathered_and_judged", the_best_is_chosen_gathered_and_judged),
    ("an_attempt_is_chosen_by_what_it_measured", an_attempt_is_chosen_by_what_it_measured),
    ("a_list_is_written_for_and_taken_up", a_list_is_written_for_and_taken_up),
    ("instances_end_whose_list_is_not_made_again", instances_end_whose_list_is_not_made_again),
    ("parts_of_a_run_are_asked_for", parts_of_a_run_are_asked_for),
    ("what_read_something_else_runs_again", what_read_something_else_runs_again),
    ("what_was_chosen_by_something_else_runs_again", what_was_chosen_by_something_else_runs_again),
    ("previews_come_true", previews_come_true),
    ("a_cancel_from_outside_is_heard", a_cancel_from_outside_is_heard),
    ("a_run_has_its_time", a_run_has_its_time),
    ("differences_of_runs_are_told", differences_of_runs_are_told),
];

impl Project {
    /// With an expander, which checks the pipeline again.
    fn growing(&self) -> RunOptions {
        let folder = self.folder.clone();
        let expander = Expander::blocking(move |lists| check(&folder, lists));
        RunOptions { expander: Some(expander), ..self.options() }
    }

    fn asked(&self, run: Option<&RunOutcome>, selection: Selection) -> RunOptions {
        RunOptions { rerun: run.map(|run| run.run.clone()), selection, ..self.growing() }
    }

    fn execute(&self, options: RunOptions) -> RunOutcome {
        self.run_with(options, &mut Silent)
    }

    fn preview_of(&self, options: &RunOptions) -> Preview {
        let plan = self.plan();
        self.runtime.block_on(self.engine.preview(&plan.into(), options, None)).expect("a preview")
    }

    /// What the stages have written into `ran` since the last time.
    fn ran(&self) -> Vec<String> {
        let mut ran: Vec<String> = self.read("ran").lines().map(str::to_owned).collect();
        self.write("ran", "");
        ran.sort();
        ran
    }

    fn shown(&self, outcome: &RunOutcome) -> Vec<String> {
        let stages = self.stages(&outcome.run).into_iter();
        stages.map(|record| format!("{} {}", record.stage, record.state)).collect()
    }
}

fn from(stage: &str) -> Selection {
    Selection { from: vec![stage.to_owned()], ..Selection::default() }
}

fn only(stage: &str) -> Selection {
    Selection { only: vec![stage.to_owned()], ..Selection::default() }
}

fn until(stage: &str) -> Selection {
    Selection { until: vec![stage.to_owned()], ..Selection::default() }
}

/// Writes its name into `ran`; the rest of the text is its own.
const NOTE: &str = "echo $WICK_STAGE >> ran;";

fn the_best_is_chosen_gathered_and_judged() {
    let project = Project::new(&format!(
        "  train:
    uses: command
    matrix: {{lr: [1, 2, 3]}}
    with:
      run: '{NOTE} echo ${{matrix.lr}} > ${{outputs.model}}; echo \"{{\\\"loss\\\": $(((${{matrix.lr}} - 2) * (${{matrix.lr}} - 2)))}}\" > m${{matrix.lr}}.json'
      outputs: {{model: value}}
      metrics: 'm${{matrix.lr}}.json'
  best:
    uses: command
    inputs: {{model: {{from: 'train[*]', select: {{metric: loss, mode: min}}}}}}
    with: {{run: '{NOTE} cp ${{inputs.model}} ${{outputs.chosen}}', outputs: {{chosen: value}}}}
  all:
    uses: command
    inputs: {{models: 'train[*].model'}}
    with: {{run: '{NOTE} ls ${{inputs.models}} > listed'}}
  good:
    uses: command
    when: '${{values.best}} == 2'
    with: {{run: '{NOTE}'}}
  bad:
    uses: command
    when: '${{values.best}} > 2'
    with: {{run: '{NOTE}'}}
  after_bad: {{uses: command, after: [bad], with: {{run: '{NOTE}'}}}}
"
    ));
    let first = project.execute(project.growing());
    assert_eq!(first.state, RunState::Succeeded, "{:?}", first.failed);
    assert_eq!(project.read("listed"), "lr=1.json\nlr=2.json\nlr=3.json\n");
    let stages = project.stages(&first.run);
    let reason = |name: &str| {
        stages.iter().find(|record| record.stage == name).expect("a stage").because.clone()
    };
    let condition = "${values.best} > 2, where values.best.chosen is 2";
    assert_eq!(reason("bad"), Some(SkipReason::Condition(condition.to_owned())));
    assert_eq!(reason("after_bad"), Some(SkipReason::Need("bad".parse().expect("a name"))));
    assert_eq!(project.state(&first.run, "good"), AttemptState::Succeeded);
    project.ran();

    // The second time all of it comes out of the cache, the choice and the conditions among it.
    let preview = project.preview_of(&project.growing());
    let runs = |preview: &Preview| {
        preview.stages.iter().any(|s| matches!(s.decision, PreviewDecision::Run { .. }))
    };
    assert!(!runs(&preview), "{preview:?}");
    let second = project.execute(project.growing());
    assert!(project.ran().is_empty());
    assert_eq!((second.totals.cached, second.totals.skipped), (6, 2));
}

/// Not by what an attempt before it measured, though that came further.
fn an_attempt_is_chosen_by_what_it_measured() {
    let project = Project::new(
        r#"  train:
    uses: command
    matrix: {lr: [1, 2]}
    retry: {attempts: 2, backoff: 1ms}
    with:
      run: |
        if test ! -e tried${matrix.lr}; then
          touch tried${matrix.lr}
          echo '{"metric": "loss", "value": '$((3 - ${matrix.lr}))', "step": 9}' >> $WICK_METRICS
          exit 1
        fi
        echo '{"metric": "loss", "value": ${matrix.lr}, "step": 2}' >> $WICK_METRICS
        echo ${matrix.lr} > ${outputs.model}
      outputs: {model: value}
  best:
    uses: command
    inputs: {model: {from: 'train[*]', select: {metric: loss, mode: min}}}
    with: {run: 'cp ${inputs.model} chosen'}
"#,
    );
    let outcome = project.execute(project.growing());
    assert_eq!(outcome.state, RunState::Succeeded, "{:?}", outcome.failed);
    assert_eq!(project.read("chosen"), "1\n");
}

/// A list of folds, a fit of each, and what takes all of them.
fn folds() -> Project {
    let project = Project::new(&format!(
        "  folds: {{uses: command, with: {{run: '{NOTE} cp list.json ${{outputs.list}}', code: [list.json], outputs: {{list: value}}}}}}
  fit:
    uses: command
    foreach: {{fold: folds.list}}
    with: {{run: '{NOTE} test ! -e broken${{foreach.fold}} && echo ${{foreach.fold}} > ${{outputs.model}}', outputs: {{model: value}}}}
  last:
    uses: command
    inputs: {{models: 'fit[*].model'}}
    with: {{run: '{NOTE} cat ${{inputs.models}}/* > all || true'}}
"
    ));
    project.write("list.json", "[1, 2, 3]");
    project
}

fn a_list_is_written_for_and_taken_up() {
    let project = folds();
    project.write("broken2", "");
    let first = project.execute(project.growing());
    assert_eq!(first.state, RunState::Failed);
    let expect = [
        "folds succeeded",
        "fit failed",
        "fit[fold=1] succeeded",
        "fit[fold=2] failed",
        "fit[fold=3] succeeded",
        "last skipped",
    ];
    assert_eq!(project.shown(&first), expect);
    assert_eq!((first.totals.stages, first.totals.done()), (6, 6));
    project.ran();

    // Only what failed and what needs it is done again.
    std::fs::remove_file(project.folder.join("broken2")).expect("removed");
    let options = project.asked(Some(&first), Selection::default());
    let second = project.execute(options);
    assert_eq!((second.began, second.state), (Began::TakenUp, RunState::Succeeded));
    assert_eq!(second.run, first.run);
    assert_eq!(project.ran(), ["fit[fold=2]", "last"]);
    assert_eq!(project.read("all"), "1\n2\n3\n");
    let third = project.execute(project.asked(Some(&first), Selection::default()));
    assert_eq!((third.began, third.totals.succeeded), (Began::NothingToDo, 6));
    assert!(project.ran().is_empty());

    // One instance by its name, and what needs it: that reads the same, and stays.
    let forced = Selection { force: vec!["fit[fold=3]".to_owned()], ..Selection::default() };
    let fourth = project.execute(project.asked(Some(&first), forced));
    assert_eq!(
        (fourth.state, project.ran()),
        (RunState::Succeeded, vec!["fit[fold=3]".to_owned()])
    );
    let stranger = Selection { force: vec!["fit[fold=9]".to_owned()], ..Selection::default() };
    let fifth = project.execute(project.asked(Some(&first), stranger));
    assert_eq!(fifth.failed[0].failure.message, "there is no instance fit[fold=9] in the list");

    // Another list is another source: a new run, which reuses what it can.
    project.ran();
    project.write("list.json", "[2, 5]");
    let sixth = project.execute(project.asked(Some(&first), Selection::default()));
    assert_eq!((sixth.began, sixth.state), (Began::New, RunState::Succeeded));
    assert_eq!(project.ran(), ["fit[fold=5]", "folds", "last"]);
    assert_eq!(project.read("all"), "2\n5\n");

    project.write("list.json", "{}");
    let none = project.execute(project.growing());
    assert_eq!(none.failed[0].failure.message, "fit is written for a list, and got a mapping");
    project.write("list.json", "[]");
    let empty = project.execute(project.growing());
    assert_eq!(project.shown(&empty), ["folds succeeded", "fit succeeded", "last succeeded"]);
}

/// An engine dies as soon as the instances are there, and the next one is cancelled at once.
fn instances_end_whose_list_is_not_made_again() {
    let project = folds();
    project.write("broken2", "");
    let first = project.execute(project.growing());
    let stage = |name: &str| StageName::new(name).expect("a name");
    let names = ["fit[fold=1]", "fit[fold=2]", "fit[fold=3]"];
    let kind: KindName = "command".parse().expect("a name");
    let instances = names.iter().map(|name| (stage(name), kind.clone())).collect();
    let engine = EngineId { host: "gone".into(), pid: 1, process_start: 1, token: Token(1) };
    project.runtime.block_on(async {
        let now = Timestamp(1);
        let lease = project.store.take_run(&first.run, &[], &engine, now).await.expect("taken");
        let body = EventBody::StageExpanded { stage: stage("fit"), instances };
        project.store.append(&lease, &[Event { time: now, body }]).await.expect("recorded");
    });
    let options = project.asked(Some(&first), Selection::default());
    options.cancel.kill();
    let second = project.execute(options);
    assert_eq!((second.began, second.state), (Began::TakenUp, RunState::Cancelled));
    let fit = project.state(&first.run, "fit[fold=2]");
    assert_eq!(fit, AttemptState::Cancelled, "it waited for a list, and the run has ended");
    assert_eq!(second.totals.done(), second.totals.stages);
}

/// a -> b -> c, and d beside them.
fn line() -> Project {
    let stage = |name: &str, inputs: &str| {
        let reads = if inputs.is_empty() { "" } else { "cat ${inputs.x};" };
        format!(
            "  {name}: {{uses: command, inputs: {{{inputs}}}, with: {{run: '{NOTE} {{ {reads} cat {name}.txt; }} > ${{outputs.y}}', code: [{name}.txt], outputs: {{y: file}}}}}}\n"
        )
    };
    let project = Project::new(&format!(
        "{}{}{}{}",
        stage("a", ""),
        stage("b", "x: a"),
        stage("c", "x: b"),
        stage("d", "")
    ));
    for name in ["a", "b", "c", "d"] {
        project.write(&format!("{name}.txt"), name);
    }
    project
}

fn parts_of_a_run_are_asked_for() {
    let project = line();
    let missing = project.runtime.block_on(project.engine.execute(
        &project.plan().into(),
        project.asked(None, only("c")),
        &mut Silent,
    ));
    let Err(EngineError::NotThere { stages }) = missing else { panic!("{missing:?}") };
    let names: Vec<&str> = stages.iter().map(|(stage, _)| stage.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(project.ran().is_empty(), "nothing had begun");
    let runs = project.runtime.block_on(project.store.find_runs("@last")).expect("asked");
    assert!(runs.is_empty());

    let part = project.execute(project.asked(None, until("b")));
    assert_eq!(project.ran(), ["a", "b"]);
    assert_eq!(project.shown(&part), ["a succeeded", "b succeeded", "c skipped", "d skipped"]);
    let part = project.execute(project.asked(Some(&part), until("b")));
    assert_eq!(part.began, Began::NothingToDo);
    let whole = project.execute(project.asked(Some(&part), Selection::default()));
    assert_eq!((whole.began, project.ran()), (Began::TakenUp, vec!["c".into(), "d".into()]));
    assert_eq!(whole.run, part.run);

    let again = |selection: Selection| {
        let outcome = project.execute(project.asked(Some(&whole), selection));
        assert_eq!((outcome.began, outcome.state), (Began::TakenUp, RunState::Succeeded));
        assert_eq!(outcome.totals.done(), outcome.totals.stages);
        project.ran()
    };
    assert_eq!(again(from("b")), ["b", "c"]);
    assert_eq!(again(only("b")), ["b"]);
    // What b made is what it made before: c stays.
    assert_eq!(again(Selection { force: vec!["b".to_owned()], ..Selection::default() }), ["b"]);
    assert_eq!(again(Selection { all: true, ..Selection::default() }), ["a", "b", "c", "d"]);
    let attempts = project.runtime.block_on(project.store.attempts(&whole.run)).expect("rows");
    let of_b = attempts.iter().filter(|attempt| attempt.stage == "b").count();
    assert_eq!(of_b, 5, "every round has attempts of its own");
    let inputs = project.runtime.block_on(project.store.inputs(&whole.run)).expect("rows");
    assert_eq!(inputs.len(), 2);
    let nowhere = project.asked(Some(&whole), from("nowhere"));
    let error = project.runtime.block_on(project.engine.execute(
        &project.plan().into(),
        nowhere,
        &mut Silent,
    ));
    assert!(matches!(error, Err(EngineError::Selection(_))), "{error:?}");
}

/// A part of a run is done anew and makes something else: what reads it was left alone, and a plain
/// rerun finds it, as its preview says.
fn what_read_something_else_runs_again() {
    let project = line();
    // What `a` makes changes from attempt to attempt, though nothing that it reads does.
    let text = project.read("pipeline.yaml").replacen("cat a.txt;", "cat a.txt drawn;", 1);
    project.write("pipeline.yaml", &text);
    let runs = |preview: &Preview| -> Vec<String> {
        let stages = preview.stages.iter();
        let runs = stages.filter(|s| matches!(s.decision, PreviewDecision::Run { .. }));
        runs.map(|s| s.stage.to_string()).collect()
    };
    project.write("drawn", "0");
    let first = project.execute(project.growing());
    assert_eq!(project.ran(), ["a", "b", "c", "d"]);
    let parts = [
        only("a"),
        Selection { force: vec!["a".to_owned()], ..until("a") },
        Selection { from: vec!["a".to_owned()], ..until("a") },
    ];
    for (round, part) in parts.into_iter().enumerate() {
        project.write("drawn", &format!("{round} drawn"));
        let outcome = project.execute(project.asked(Some(&first), part));
        assert_eq!((outcome.began, project.ran()), (Began::TakenUp, vec!["a".to_owned()]));

        let plain = project.asked(Some(&first), Selection::default());
        let preview = project.preview_of(&plain);
        assert_eq!((preview.nothing_to_do, runs(&preview)), (false, vec!["b".to_owned()]));
        // Who asks for something else is not told of it.
        let beside = project.execute(project.asked(Some(&first), until("d")));
        assert_eq!(beside.began, Began::NothingToDo);

        let outcome = project.execute(plain.clone());
        assert_eq!((outcome.began, outcome.state), (Began::TakenUp, RunState::Succeeded));
        assert_eq!(project.ran(), ["b", "c"]);
        assert!(project.preview_of(&plain).nothing_to_do);
        assert_eq!(project.execute(plain).began, Began::NothingToDo);
    }
}

/// The same where the choice of the best, a condition and a list hang on what was done anew.
fn what_was_chosen_by_something_else_runs_again() {
    let project = Project::new(&format!(
        "  train:
    uses: command
    matrix: {{lr: [1, 2]}}
    with:
      run: '{NOTE} echo ${{matrix.lr}} > ${{outputs.model}}; cp loss${{matrix.lr}} m${{matrix.lr}}.json'
      outputs: {{model: value}}
      metrics: 'm${{matrix.lr}}.json'
  best:
    uses: command
    inputs: {{model: {{from: 'train[*]', select: {{metric: loss, mode: min}}}}}}
    with: {{run: '{NOTE} cp ${{inputs.model}} chosen'}}
  number: {{uses: command, with: {{run: '{NOTE} cp number.json ${{outputs.it}}', outputs: {{it: value}}}}}}
  small: {{uses: command, when: '${{values.number}} < 5', with: {{run: '{NOTE}'}}}}
  large: {{uses: command, when: '${{values.number}} >= 5', with: {{run: '{NOTE}'}}}}
  folds: {{uses: command, with: {{run: '{NOTE} cp list.json ${{outputs.list}}', outputs: {{list: value}}}}}}
  fit: {{uses: command, foreach: {{fold: folds.list}}, with: {{run: '{NOTE}'}}}}
"
    ));
    let losses = ["{\"loss\": 0.5}", "{\"loss\": 0.25}"];
    project.write("loss1", losses[0]);
    project.write("loss2", losses[1]);
    project.write("number.json", "1");
    project.write("list.json", "[1, 2]");
    let first = project.execute(project.growing());
    assert_eq!((first.state, project.read("chosen").as_str()), (RunState::Succeeded, "2\n"));
    project.ran();
    let plain = project.asked(Some(&first), Selection::default());
    let again = |part: &str| {
        assert!(project.preview_of(&plain).nothing_to_do, "before {part}");
        project.execute(project.asked(Some(&first), only(part)));
        assert!(!project.preview_of(&plain).nothing_to_do, "after {part}");
        project.ran();
        let outcome = project.execute(plain.clone());
        assert_eq!((outcome.began, outcome.state), (Began::TakenUp, RunState::Succeeded));
        project.ran()
    };

    project.write("loss2", "{\"loss\": 0.75}");
    assert_eq!(again("train[lr=2]"), ["best"]);
    assert_eq!(project.read("chosen"), "1\n");
    project.write("number.json", "7");
    assert_eq!(again("number"), ["large"]);
    assert_eq!(project.state(&first.run, "small"), AttemptState::Skipped);
    project.write("list.json", "[2, 3]");
    assert_eq!(again("folds"), ["fit[fold=3]"]);
    assert_eq!(project.state(&first.run, "fit[fold=1]"), AttemptState::Skipped);
    assert!(project.preview_of(&plain).nothing_to_do);
}

/// What a preview calls certain is what happens: on random edits, runs, reruns and selections.
fn previews_come_true() {
    let project = line();
    let mut dice = 7_u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let names = ["a", "b", "c", "d"];
    let mut last: Option<RunOutcome> = None;
    let mut certain = 0;
    for round in 0..24 {
        if roll(2) == 0 {
            let name = names[roll(4) as usize];
            // Some edits change what comes of a stage, some only that it runs.
            let text = format!("{name} {}", roll(3));
            project.write(&format!("{name}.txt"), &text);
        }
        let name = names[roll(4) as usize];
        let selection = match roll(6) {
            0 => from(name),
            1 => only(name),
            2 => until(name),
            3 => Selection { force: vec![name.to_owned()], ..Selection::default() },
            _ => Selection::default(),
        };
        let mut options = project.asked(last.as_ref().filter(|_| roll(2) == 0), selection);
        options.use_cache = roll(4) > 0;
        let plan = project.plan().into();
        let preview = project.runtime.block_on(project.engine.preview(&plan, &options, None));
        let outcome =
            project.runtime.block_on(project.engine.execute(&plan, options.clone(), &mut Silent));
        let (preview, outcome) = match (preview, outcome) {
            (Ok(preview), Ok(outcome)) => (preview, outcome),
            (
                Err(EngineError::NotThere { stages }),
                Err(EngineError::NotThere { stages: others }),
            ) => {
                assert_eq!(stages, others);
                continue;
            }
            other => panic!("round {round}: {other:?}"),
        };
        let ran = project.ran();
        let context = format!("round {round}: {options:?}\n{preview:#?}\n{ran:?}");
        assert_eq!(preview.nothing_to_do, outcome.began == Began::NothingToDo, "{context}");
        assert_eq!(preview.takes_up.is_some(), outcome.began != Began::New, "{context}");
        for stage in &preview.stages {
            let has_run = ran.iter().any(|name| stage.stage == name.as_str());
            match &stage.decision {
                PreviewDecision::Run { .. } => assert!(has_run, "{} {context}", stage.stage),
                PreviewDecision::Unknown { .. } => continue,
                _ => assert!(!has_run, "{} {context}", stage.stage),
            }
            certain += 1;
        }
        last = Some(outcome);
    }
    assert!(certain > 40, "{certain} decisions were certain");
}

/// Asks another engine to cancel the run, as soon as its stage has begun.
struct CancelFromOutside<'a> {
    project: &'a Path,
    asked: Option<std::thread::JoinHandle<bool>>,
}

impl Reporter for CancelFromOutside<'_> {
    fn event(&mut self, event: &wick_core::Event, _: &Totals) {
        if let wick_core::EventBody::AttemptSpawned { .. } = &event.body {
            let folder = self.project.to_owned();
            self.asked = Some(std::thread::spawn(move || {
                let other = Project::open(&folder);
                let runs = other.runtime.block_on(other.store.find_runs("@last")).expect("asked");
                other.runtime.block_on(other.engine.cancel_run(&runs[0])).expect("asked")
            }));
        }
    }
}

fn a_cancel_from_outside_is_heard() {
    let project = Project::new("  long: {uses: command, with: {run: [sleep, '60']}}\n");
    let mut reporter = CancelFromOutside { project: &project.folder, asked: None };
    let outcome = project.run_with(project.growing(), &mut reporter);
    assert_eq!(outcome.state, RunState::Cancelled);
    let asked = reporter.asked.take().expect("it began").join().expect("it ended");
    assert!(asked, "somebody was there to ask");
    let again = project.runtime.block_on(project.engine.cancel_run(&outcome.run)).expect("asked");
    assert!(!again, "nobody is there any more");
}

fn a_run_has_its_time() {
    let project = Project::new(
        "  long: {uses: command, with: {run: [sleep, '60']}}\n  after: {uses: command, after: [long], with: {run: [\"true\"]}}\n",
    );
    let text = project.read("pipeline.yaml").replace("stages:", "timeout: 300ms\nstages:");
    project.write("pipeline.yaml", &text);
    let outcome = project.execute(project.growing());
    assert_eq!((outcome.state, outcome.timed_out), (RunState::Failed, true));
    let message = &outcome.failed[0].failure.message;
    assert_eq!(message, "the run took longer than its timeout of 300ms");
    assert_eq!(project.state(&outcome.run, "after"), AttemptState::Cancelled);
}

fn differences_of_runs_are_told() {
    let project = Project::new(
        "  a: {uses: command, with: {run: 'echo ${params.n} > ${outputs.y}', outputs: {y: file}}}
  b: {uses: command, inputs: {x: a}, with: {run: 'cat ${inputs.x}'}}
",
    );
    let text = project.read("pipeline.yaml");
    project.write("pipeline.yaml", &text.replace("stages:", "params: {n: 1}\nstages:"));
    let first = project.execute(project.growing());
    project.write("pipeline.yaml", &text.replace("stages:", "params: {n: 2}\nstages:"));
    let preview = project.preview_of(&project.growing());
    let PreviewDecision::Run { reasons } = &preview.stages[0].decision else {
        panic!("{preview:?}")
    };
    assert!(reasons[0].ends_with("(param `n`)"), "{reasons:?}");
    let second = project.execute(project.growing());
    let diff = wick_engine::explain_runs(project.store.as_ref(), &first.run, &second.run);
    let diff = project.runtime.block_on(diff).expect("told");
    assert_eq!((diff.params.len(), diff.params[0].name.as_str()), (1, "n"));
    for stage in &diff.stages {
        let wick_engine::StageChange::Changed(changes) = &stage.change else { panic!("{diff:?}") };
        assert_eq!(changes.len(), 1, "{diff:?}");
    }
}
