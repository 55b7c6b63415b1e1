//! Whole runs played through the dispatcher, with random graphs, failures, delays and cancels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use wick_core::{AttemptState, RunState};

use super::*;
use crate::test_support;

/// A run to play: a graph and what will go wrong in it.
#[derive(Debug, Clone)]
struct Scenario {
    /// By stage: which earlier stages it needs, its cpus, its memory, attempts allowed, how many
    /// of them fail, whether failures are transient, whether it is cached.
    stages: Vec<ScenarioStage>,
    keep_going: bool,
    max_ahead: usize,
    /// After how many events to cancel, and how.
    cancel: Option<(usize, CancelMode)>,
    /// Decides what happens next.
    choices: Vec<u16>,
}

#[derive(Debug, Clone)]
struct ScenarioStage {
    needs: Vec<u32>,
    cpus: u32,
    memory: u64,
    attempts: u32,
    failures: u32,
    transient: bool,
    cached: bool,
    timeout: bool,
    quick: bool,
}

const SLOTS: Slots = Slots { cpus: 3, memory: 10, gpus: 0 };

fn scenario() -> impl Strategy<Value = Scenario> {
    let stage = (
        (prop::collection::vec(any::<u16>(), 0..4), 1..5u32, 0..12u64),
        (1..4u32, prop_oneof![5 => Just(0u32), 1 => 1..4u32]),
        (any::<bool>(), prop::bool::weighted(0.15), prop::bool::weighted(0.1), any::<bool>()),
    );
    let mode = prop_oneof![Just(CancelMode::Drain), Just(CancelMode::Kill)];
    (
        prop::collection::vec(stage, 0..40),
        prop::bool::weighted(0.8),
        0..6usize,
        prop::option::weighted(0.3, (0..100usize, mode)),
        prop::collection::vec(any::<u16>(), 1..200),
    )
        .prop_map(|(stages, keep_going, max_ahead, cancel, choices)| {
            let stages = stages.into_iter().enumerate().map(|(place, (shape, tries, flags))| {
                let needs = shape
                    .0
                    .iter()
                    .filter(|_| place > 0)
                    .map(|need| u32::from(*need) % place as u32);
                ScenarioStage {
                    needs: needs.collect(),
                    cpus: shape.1,
                    memory: shape.2,
                    attempts: tries.0,
                    failures: tries.1,
                    transient: flags.0,
                    cached: flags.1,
                    timeout: flags.2,
                    quick: flags.3,
                }
            });
            Scenario { stages: stages.collect(), keep_going, max_ahead, cancel, choices }
        })
}

impl Scenario {
    fn plan(&self) -> Plan {
        let stages = self.stages.iter().enumerate().map(|(place, stage)| {
            let mut json = test_support::stage_json(&format!("s{place}"), &stage.needs);
            json["resources"] =
                serde_json::json!({"cpus": stage.cpus, "memory": stage.memory, "gpus": 0});
            json["retry"]["attempts"] = stage.attempts.into();
            if stage.timeout {
                json["timeout"] = serde_json::json!({"secs": 1, "nanos": 0});
            }
            test_support::stage(json)
        });
        test_support::plan(Path::new("/"), stages.collect())
    }
}

/// The world around the dispatcher: what was asked for, what runs, and a check of every rule.
struct World<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
    /// Facts asked for and not yet acknowledged.
    asked: VecDeque<Fact>,
    /// Acknowledged facts.
    store: Vec<Fact>,
    pending: Vec<Message>,
    running: BTreeMap<StageIndex, u32>,
    stopping: BTreeMap<StageIndex, StopReason>,
    published: BTreeSet<StageIndex>,
    tries: BTreeMap<StageIndex, u32>,
    finished: Option<RunState>,
}

impl World<'_> {
    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert_eq!(self.finished, None, "nothing is wanted after the end: {action:?}");
            match action {
                Action::Resolve(stages) => {
                    for stage in stages {
                        let decision = match self.scenario.stages[stage.get()].cached {
                            true => Decision::Cached,
                            false => Decision::Run,
                        };
                        self.pending.push(Message::Resolved { stage, decision });
                    }
                }
                Action::Record(fact) => self.asked.push_back(fact),
                Action::Launch { stage, attempt } => self.launch(stage, attempt),
                Action::Stop { stage, attempt, reason } => {
                    assert_eq!(self.running.get(&stage), Some(&attempt), "stopped what runs");
                    self.stopping.insert(stage, reason);
                }
                Action::SetTimer { stage, attempt, timer, .. } => {
                    self.pending.push(Message::Timer { stage, attempt, timer });
                }
                Action::Finish(state) => {
                    assert!(self.asked.is_empty() && self.running.is_empty());
                    self.finished = Some(state);
                }
            }
        }
    }

    fn launch(&mut self, stage: StageIndex, attempt: u32) {
        assert!(self.store.contains(&Fact::Started { stage, attempt }), "recorded before launched");
        for need in self.plan.stage(stage).needs() {
            assert!(self.published.contains(&need), "{stage:?} started before {need:?} was there");
        }
        assert_eq!(self.running.insert(stage, attempt), None, "launched twice");
        let mut used = Slots { cpus: 0, memory: 0, gpus: 0 };
        for stage in self.running.keys() {
            used.give(&Slots::of_resources(&self.plan.stage(*stage).resources, &SLOTS));
        }
        assert!(SLOTS.fits(&used), "{used:?} do not fit");
    }

    fn acknowledge(&mut self) -> Message {
        let facts = self.asked.len();
        while let Some(fact) = self.asked.pop_front() {
            let published = match fact {
                Fact::Finished { stage, state: AttemptState::Succeeded, .. } => Some(stage),
                Fact::Cached { stage } => Some(stage),
                _ => None,
            };
            if let Some(stage) = published {
                assert!(self.published.insert(stage), "{stage:?} was published twice");
            }
            self.store.push(fact);
        }
        Message::Recorded { facts }
    }

    fn end(&mut self, stage: StageIndex) -> Message {
        let attempt = self.running.remove(&stage).expect("it runs");
        let tries = self.tries.entry(stage).or_default();
        *tries += 1;
        let told = &self.scenario.stages[stage.get()];
        let stopped = self.stopping.remove(&stage);
        let outcome = if stopped == Some(StopReason::Cancel) {
            Outcome::Cancelled
        } else if stopped == Some(StopReason::Timeout) {
            Outcome::Failed { transient: true }
        } else if *tries <= told.failures {
            Outcome::Failed { transient: told.transient }
        } else {
            Outcome::Succeeded
        };
        let wall = if told.quick { QUICK / 2 } else { QUICK * 2 };
        Message::Ended { stage, attempt, outcome, wall }
    }

    /// Every message that could come next, by number.
    fn next(&mut self, choice: usize) -> Option<Message> {
        let acknowledge = usize::from(!self.asked.is_empty());
        let ways = acknowledge + self.running.len() + self.pending.len();
        let mut choice = choice.checked_rem(ways)?;
        if choice < acknowledge {
            return Some(self.acknowledge());
        }
        choice -= acknowledge;
        if let Some(stage) = self.running.keys().nth(choice).copied() {
            return Some(self.end(stage));
        }
        Some(self.pending.swap_remove(choice - self.running.len()))
    }
}

fn play(scenario: &Scenario) -> (Vec<Fact>, RunState) {
    let plan = scenario.plan();
    let policy =
        Policy { slots: SLOTS, keep_going: scenario.keep_going, max_ahead: scenario.max_ahead };
    let mut dispatcher = Dispatcher::new(&plan, policy, &[]);
    let mut world = World {
        scenario,
        plan: &plan,
        asked: VecDeque::new(),
        store: Vec::new(),
        pending: Vec::new(),
        running: BTreeMap::new(),
        stopping: BTreeMap::new(),
        published: BTreeSet::new(),
        tries: BTreeMap::new(),
        finished: None,
    };
    world.carry_out(dispatcher.apply(Message::Begin));
    for (step, choice) in scenario.choices.iter().cycle().enumerate() {
        assert!(step < 10_000, "the run does not end");
        if scenario.cancel.is_some_and(|(at, _)| at == step) && world.finished.is_none() {
            let (_, mode) = scenario.cancel.expect("just seen");
            world.carry_out(dispatcher.apply(Message::Cancel(mode)));
        }
        match world.next(usize::from(*choice)) {
            Some(message) => world.carry_out(dispatcher.apply(message)),
            None => break,
        }
    }
    (world.store, world.finished.expect("nothing can happen any more, and the run has not ended"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// The rules that `World` asserts, on random runs; and that what is recorded adds up.
    #[test]
    fn every_run_keeps_the_rules_and_ends(scenario in scenario()) {
        let (store, state) = play(&scenario);
        let mut ends: BTreeMap<StageIndex, AttemptState> = BTreeMap::new();
        let mut started = BTreeSet::new();
        for fact in &store {
            match *fact {
                Fact::Started { stage, attempt } => {
                    prop_assert!(started.insert((stage, attempt)));
                }
                Fact::Finished { stage, attempt, state } => {
                    prop_assert!(started.remove(&(stage, attempt)), "ended without a start");
                    ends.insert(stage, state);
                }
                Fact::RetryScheduled { stage, .. } => {
                    prop_assert_eq!(ends.remove(&stage), Some(AttemptState::Failed));
                }
                Fact::Cached { stage } => {
                    prop_assert_eq!(ends.insert(stage, AttemptState::Cached), None);
                }
                Fact::Skipped { stage, .. } => {
                    prop_assert_eq!(ends.insert(stage, AttemptState::Skipped), None);
                }
                Fact::Cancelled { stage } => {
                    prop_assert_eq!(ends.insert(stage, AttemptState::Cancelled), None);
                }
                Fact::RunFinished { .. } => {}
            }
        }
        prop_assert!(started.is_empty(), "started and never ended: {started:?}");
        prop_assert_eq!(ends.len(), scenario.stages.len(), "every stage comes to an end");
        prop_assert_eq!(store.last(), Some(&Fact::RunFinished { state }));
        let any = |wanted| ends.values().any(|state| *state == wanted);
        match state {
            RunState::Succeeded => prop_assert!(ends.values().all(|state| state.has_outputs())),
            RunState::Failed => prop_assert!(any(AttemptState::Failed)),
            RunState::Cancelled => prop_assert!(any(AttemptState::Cancelled)),
            other => prop_assert!(false, "a run ended as {other}"),
        }
    }
}

fn plain(needs: &[u32]) -> ScenarioStage {
    ScenarioStage {
        needs: needs.to_vec(),
        cpus: 1,
        memory: 0,
        attempts: 1,
        failures: 0,
        transient: true,
        cached: false,
        timeout: false,
        quick: false,
    }
}

fn run_of(stages: Vec<ScenarioStage>) -> Scenario {
    Scenario { stages, keep_going: true, max_ahead: 0, cancel: None, choices: vec![0] }
}

#[test]
fn what_needs_a_failed_stage_is_skipped_and_the_rest_goes_on() {
    let failing = ScenarioStage { failures: 9, ..plain(&[]) };
    let stages = vec![failing, plain(&[0]), plain(&[1]), plain(&[]), plain(&[3])];
    let (store, state) = play(&run_of(stages));
    assert_eq!(state, RunState::Failed);
    let because = StageIndex(0);
    assert!(store.contains(&Fact::Skipped { stage: StageIndex(1), because }));
    assert!(store.contains(&Fact::Skipped { stage: StageIndex(2), because }));
    let state = AttemptState::Succeeded;
    assert!(store.contains(&Fact::Finished { stage: StageIndex(4), attempt: 1, state }));
}

#[test]
fn a_transient_failure_is_tried_again_with_a_growing_wait() {
    let stage = ScenarioStage { failures: 2, attempts: 3, ..plain(&[]) };
    let (store, state) = play(&run_of(vec![stage]));
    assert_eq!(state, RunState::Succeeded);
    let waits: Vec<Duration> = store
        .iter()
        .filter_map(|fact| match fact {
            Fact::RetryScheduled { delay, .. } => Some(*delay),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [Duration::from_secs(1), Duration::from_secs(2)]);
}

#[test]
fn a_lasting_failure_is_not_tried_again() {
    let stage = ScenarioStage { failures: 1, attempts: 3, transient: false, ..plain(&[]) };
    let (_, state) = play(&run_of(vec![stage]));
    assert_eq!(state, RunState::Failed);
}

#[test]
fn the_end_of_one_and_the_start_of_the_next_share_a_commit() {
    let plan = run_of(vec![plain(&[]), plain(&[0])]).plan();
    let policy = Policy { slots: SLOTS, keep_going: true, max_ahead: 0 };
    let mut dispatcher = Dispatcher::new(&plan, policy, &[]);
    let (first, second) = (StageIndex(0), StageIndex(1));
    let run = |stage| Message::Resolved { stage, decision: Decision::Run };
    dispatcher.apply(Message::Begin);
    let actions = dispatcher.apply(run(first));
    assert_eq!(actions, [Action::Record(Fact::Started { stage: first, attempt: 1 })]);
    let actions = dispatcher.apply(Message::Recorded { facts: 1 });
    assert_eq!(actions, [Action::Launch { stage: first, attempt: 1 }]);
    let actions = dispatcher.apply(Message::Ended {
        stage: first,
        attempt: 1,
        outcome: Outcome::Succeeded,
        wall: Duration::ZERO,
    });
    let state = AttemptState::Succeeded;
    let end = Fact::Finished { stage: first, attempt: 1, state };
    assert_eq!(actions, [Action::Record(end), Action::Resolve(vec![second])]);
    // Before any of it is acknowledged, the second start is asked for: one commit takes both.
    let actions = dispatcher.apply(run(second));
    assert_eq!(actions, [Action::Record(Fact::Started { stage: second, attempt: 1 })]);
    let actions = dispatcher.apply(Message::Recorded { facts: 2 });
    assert_eq!(actions, [Action::Launch { stage: second, attempt: 1 }]);
}

#[test]
fn ten_thousand_stages_are_dispatched_in_a_moment() {
    let mut stages: Vec<_> =
        (0..10_000).map(|_| ScenarioStage { quick: true, ..plain(&[]) }).collect();
    stages.push(plain(&(0..10_000).collect::<Vec<_>>()));
    let scenario = run_of(stages);
    let plan = scenario.plan();
    let policy = Policy { slots: SLOTS, keep_going: true, max_ahead: 8 };
    let began = std::time::Instant::now();
    let mut dispatcher = Dispatcher::new(&plan, policy, &[]);
    let mut messages = VecDeque::from([Message::Begin]);
    let mut finished = false;
    while let Some(message) = messages.pop_front() {
        let mut facts = 0;
        for action in dispatcher.apply(message) {
            match action {
                Action::Resolve(stages) => messages.extend(
                    stages
                        .into_iter()
                        .map(|stage| Message::Resolved { stage, decision: Decision::Run }),
                ),
                Action::Record(_) => facts += 1,
                Action::Launch { stage, attempt } => messages.push_back(Message::Ended {
                    stage,
                    attempt,
                    outcome: Outcome::Succeeded,
                    wall: Duration::ZERO,
                }),
                Action::Finish(state) => finished = state == RunState::Succeeded,
                Action::Stop { .. } | Action::SetTimer { .. } => {}
            }
        }
        if facts > 0 {
            messages.push_back(Message::Recorded { facts });
        }
    }
    assert!(finished);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
