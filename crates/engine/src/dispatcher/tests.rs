//! Whole runs played through the dispatcher, with random graphs, failures, delays and cancels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use wick_core::{AttemptState, RunState};
use wick_plan::{Join, PlannedStage};
use wick_store::slots::Want;

use super::*;
use crate::slots::Demand;
use crate::test_support;

/// A run to play: a graph and what will go wrong in it.
#[derive(Debug, Clone)]
struct Scenario {
    stages: Vec<ScenarioStage>,
    keep_going: bool,
    max_ahead: usize,
    /// After how many events to cancel, and how.
    cancel: Option<(usize, CancelMode)>,
    /// After how many events the run's time is over.
    timeout: Option<usize>,
    /// Decides what happens next.
    choices: Vec<u16>,
}

#[derive(Debug, Clone, Default)]
struct ScenarioStage {
    /// Which earlier stages it needs.
    needs: Vec<u32>,
    /// Whether one of them is enough.
    any: bool,
    cpus: u32,
    memory: u64,
    /// How much it wants of what there are two of.
    named: u32,
    mutex: bool,
    attempts: u32,
    /// How many of its attempts fail.
    failures: u32,
    /// Whether its rule for retries covers that.
    retry: bool,
    timeout: bool,
    quick: bool,
    fate: Fate,
    past: Past,
}

/// What is found out of a stage once its needs are met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Run,
    Cached,
    /// Kept, if it succeeded in an earlier drive.
    Kept,
    Skip,
    Fail,
    /// Its list has so many items; so many of the instances fail, and each needs the one before.
    List(u32, u32, bool),
}

const SLOTS: Slots = Slots { cpus: 3, memory: 10, gpus: 0 };

fn policy(keep_going: bool, max_ahead: usize) -> Policy {
    let named = vec![("named".to_owned(), 2)];
    Policy { slots: SLOTS, named, keep_going, max_ahead, timeout: None, seed: 1 }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Run),
        3 => Just(Fate::Cached),
        3 => Just(Fate::Kept),
        1 => Just(Fate::Skip),
        1 => Just(Fate::Fail),
        3 => (0..4u32, prop_oneof![3 => Just(0u32), 1 => 1..4u32], any::<bool>())
            .prop_map(|(count, failing, chained)| Fate::List(count, failing, chained)),
    ]
}

fn past() -> impl Strategy<Value = Past> {
    use AttemptState::{Cached, Cancelled, Failed, Lost, Queued, Skipped, Succeeded};
    let states = [Queued, Succeeded, Cached, Failed, Lost, Cancelled, Skipped];
    (prop::sample::select(states.to_vec()), prop::bool::weighted(0.2), 0..3u32).prop_map(
        |(state, leave, attempts)| {
            // A run that is taken up has only ends that nothing is done about, and outputs.
            let state = if leave || state.has_outputs() { state } else { Queued };
            Past { attempts, state, leave }
        },
    )
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let stage = (
        (prop::collection::vec(any::<u16>(), 0..4), prop::bool::weighted(0.3)),
        (1..5u32, 0..12u64, prop_oneof![4 => Just(0u32), 1 => 1..4u32], prop::bool::weighted(0.1)),
        (1..4u32, prop_oneof![5 => Just(0u32), 1 => 1..4u32]),
        (any::<bool>(), prop::bool::weighted(0.1), any::<bool>()),
        (fate(), prop_oneof![3 => Just(Past::default()), 1 => past()]),
    );
    let mode = prop_oneof![Just(CancelMode::Drain), Just(CancelMode::Kill)];
    (
        prop::collection::vec(stage, 0..40),
        prop::bool::weighted(0.8),
        0..6usize,
        prop::option::weighted(0.3, (0..100usize, mode)),
        prop::option::weighted(0.1, 0..100usize),
        prop::collection::vec(any::<u16>(), 1..200),
    )
        .prop_map(|(stages, keep_going, max_ahead, cancel, timeout, choices)| {
            let stages = stages.into_iter().enumerate().map(|(place, parts)| {
                let ((needs, any), (cpus, memory, named, mutex), tries, flags, found) = parts;
                let needs =
                    needs.iter().filter(|_| place > 0).map(|need| u32::from(*need) % place as u32);
                ScenarioStage {
                    needs: needs.collect(),
                    any,
                    cpus,
                    memory,
                    named,
                    mutex,
                    attempts: tries.0,
                    failures: tries.1,
                    retry: flags.0,
                    timeout: flags.1,
                    quick: flags.2,
                    fate: found.0,
                    past: found.1,
                }
            });
            let stages = stages.collect();
            Scenario { stages, keep_going, max_ahead, cancel, timeout, choices }
        })
}

impl ScenarioStage {
    fn planned(&self, name: &str) -> PlannedStage {
        let mut json = test_support::stage_json(name, &self.needs);
        json["resources"] = serde_json::json!({
            "cpus": self.cpus, "memory": self.memory, "gpus": 0,
            "named": if self.named > 0 { vec![("named", self.named)] } else { Vec::new() },
            "mutex": if self.mutex { vec!["held"] } else { Vec::new() },
        });
        json["retry"]["attempts"] = self.attempts.into();
        json["join"] = if self.any { "any" } else { "all" }.into();
        if self.timeout {
            json["timeout"] = serde_json::json!({"secs": 1, "nanos": 0});
        }
        test_support::stage(json)
    }
}

impl Scenario {
    fn plan(&self) -> Plan {
        let stages = self.stages.iter().enumerate();
        let stages = stages.map(|(place, stage)| stage.planned(&format!("s{place}"))).collect();
        test_support::plan(Path::new("/"), stages)
    }

    fn past(&self) -> Vec<Past> {
        self.stages.iter().map(|stage| stage.past).collect()
    }
}

/// The world around the dispatcher: what was asked for, what runs, and a check of every rule.
struct World {
    /// The stages; instances are added as they become known.
    stages: Vec<ScenarioStage>,
    plan: Plan,
    pool: Pool,
    demands: Vec<Demand>,
    /// Facts asked for and not yet acknowledged.
    asked: VecDeque<Fact>,
    /// Acknowledged facts.
    store: Vec<Fact>,
    pending: Vec<Message>,
    running: BTreeMap<StageIndex, u32>,
    /// Claims that were not let go, and whether they were granted.
    claims: BTreeMap<StageIndex, bool>,
    stopping: BTreeMap<StageIndex, StopReason>,
    /// Stages that have come to an end, as the store knows it, and how.
    ends: BTreeMap<StageIndex, AttemptState>,
    /// Stages whose outputs are there.
    published: BTreeSet<StageIndex>,
    /// Stages that stand for their instances, with the places of these.
    lists: BTreeMap<StageIndex, std::ops::Range<u32>>,
    tries: BTreeMap<StageIndex, u32>,
    finished: Option<RunState>,
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let mut world = Self {
            stages: Vec::new(),
            plan: scenario.plan(),
            pool: Pool::new(SLOTS, &policy(true, 0).named),
            demands: Vec::new(),
            asked: VecDeque::new(),
            store: Vec::new(),
            pending: Vec::new(),
            running: BTreeMap::new(),
            claims: BTreeMap::new(),
            stopping: BTreeMap::new(),
            ends: BTreeMap::new(),
            published: BTreeSet::new(),
            lists: BTreeMap::new(),
            tries: BTreeMap::new(),
            finished: None,
        };
        scenario.stages.iter().for_each(|stage| world.add(stage.clone()));
        world
    }

    fn add(&mut self, stage: ScenarioStage) {
        let place = StageIndex(self.stages.len() as u32);
        let planned = stage.planned(&format!("s{}", place.0));
        self.demands.push(self.pool.demand(&planned.resources));
        if stage.past.leave {
            if !matches!(stage.past.state, AttemptState::Queued) {
                self.ends.insert(place, stage.past.state);
            }
            if stage.past.state.has_outputs() {
                self.published.insert(place);
            }
        }
        if place.get() >= self.plan.stages.len() {
            self.plan.stages.push(planned);
        }
        self.stages.push(stage);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            assert_eq!(self.finished, None, "nothing is wanted after the end: {action:?}");
            match action {
                Action::Resolve(stages) => stages.into_iter().for_each(|stage| self.resolve(stage)),
                Action::Record(fact) => self.asked.push_back(fact),
                Action::Launch { stage, attempt } => self.launch(stage, attempt),
                Action::Claim { stage, wants } => self.claim(stage, &wants),
                Action::LetGo { stage } => {
                    assert!(!self.running.contains_key(&stage), "let go while it runs");
                    assert!(self.claims.remove(&stage).is_some(), "let go what it has");
                    self.pending.retain(|message| match message {
                        Message::Granted { stage: of } | Message::Waits { stage: of } => {
                            *of != stage
                        }
                        _ => true,
                    });
                }
                Action::Stop { stage, attempt, reason } => {
                    assert_eq!(self.running.get(&stage), Some(&attempt), "stopped what runs");
                    self.stopping.insert(stage, reason);
                }
                Action::SetTimer { stage, attempt, timer, .. } => {
                    self.pending.push(Message::Timer { stage, attempt, timer });
                }
                Action::SetRunTimer { .. } => {}
                Action::Keep { stage } => {
                    assert!(self.stages[stage.get()].past.state.has_outputs(), "{stage:?}");
                }
                Action::Finish(state) => {
                    assert!(self.asked.is_empty() && self.running.is_empty());
                    assert!(self.claims.is_empty(), "nothing is kept from other runs");
                    self.finished = Some(state);
                }
            }
        }
    }

    fn resolve(&mut self, stage: StageIndex) {
        let told = self.stages[stage.get()].clone();
        let decision = match told.fate {
            Fate::Run => Decision::Run,
            Fate::Cached => Decision::Cached,
            Fate::Kept if told.past.state.has_outputs() => Decision::Kept,
            Fate::Kept => Decision::Run,
            Fate::Skip => Decision::Skip,
            Fate::Fail => Decision::Fail,
            Fate::List(count, failing, chained) => {
                // Where the first instance would stand if nothing else grows before the answer.
                // Only one list is answered at a time: see `next`.
                let first = self.stages.len() as u32;
                let instances: Vec<ScenarioStage> = (0..count)
                    .map(|item| ScenarioStage {
                        needs: if chained && item > 0 {
                            vec![first + item - 1]
                        } else {
                            told.needs.clone()
                        },
                        failures: if item < failing { 9 } else { 0 },
                        fate: Fate::Run,
                        past: Past::default(),
                        ..told.clone()
                    })
                    .collect();
                let specs = instances
                    .iter()
                    .map(|instance| Spec::new(&instance.planned("i"), instance.past))
                    .collect();
                self.lists.insert(stage, first..first + count);
                instances.into_iter().for_each(|instance| self.add(instance));
                Decision::Expand(specs)
            }
        };
        let message = Message::Resolved { stage, decision };
        // Lists are answered in the order in which they were asked for, for places are given so.
        self.pending.push(message);
    }

    fn claim(&mut self, stage: StageIndex, wants: &[Want]) {
        assert!(!wants.is_empty(), "nothing is claimed");
        assert_eq!(self.claims.insert(stage, false), None, "claimed twice");
        // Others may have it, or not.
        if stage.0.is_multiple_of(2) {
            self.pending.push(Message::Waits { stage });
        }
        self.pending.push(Message::Granted { stage });
    }

    fn launch(&mut self, stage: StageIndex, attempt: u32) {
        let has_names = self.demands[stage.get()].has_names();
        let granted = self.claims.get(&stage).copied();
        assert_eq!(granted, has_names.then_some(true), "granted before it starts");
        assert!(self.store.contains(&Fact::Started { stage, attempt }), "recorded before launched");
        let planned = self.plan.stage(stage);
        let needs: Vec<StageIndex> = planned.needs().collect();
        let has = |need: &StageIndex| {
            let instances = self.lists.get(need).cloned().unwrap_or_default();
            self.published.contains(need)
                || instances.map(StageIndex).any(|item| self.published.contains(&item))
        };
        match planned.join {
            Join::All => {
                let missing = needs.iter().find(|need| !self.published.contains(need));
                assert_eq!(missing, None, "{stage:?} started before it was there");
            }
            Join::Any => {
                let open = needs.iter().find(|need| !self.ends.contains_key(need));
                assert_eq!(open, None, "{stage:?} started before it had ended");
                assert!(needs.is_empty() || needs.iter().any(has), "{stage:?} had nothing");
            }
        }
        assert_eq!(self.running.insert(stage, attempt), None, "launched twice");
        let mut pool = self.pool.clone();
        for stage in self.running.keys() {
            let demand = &self.demands[stage.get()];
            assert!(pool.fits(demand), "{demand:?} of {stage:?} does not fit in {pool:?}");
            pool.take(demand);
        }
    }

    fn acknowledge(&mut self) -> Message {
        let facts = self.asked.len();
        while let Some(fact) = self.asked.pop_front() {
            let end = match fact {
                Fact::Finished { stage, state, .. } | Fact::Gathered { stage, state } => {
                    Some((stage, state))
                }
                Fact::Cached { stage } => Some((stage, AttemptState::Cached)),
                Fact::Skipped { stage, .. } => Some((stage, AttemptState::Skipped)),
                Fact::Cancelled { stage } => Some((stage, AttemptState::Cancelled)),
                Fact::RetryScheduled { stage, .. } => {
                    assert_eq!(self.ends.remove(&stage), Some(AttemptState::Failed));
                    None
                }
                Fact::Expanded { stage, first, count } => {
                    assert_eq!(self.lists[&stage], first.0..first.0 + count);
                    None
                }
                Fact::Started { .. } | Fact::RunFinished { .. } => None,
            };
            if let Some((stage, state)) = end {
                assert_eq!(self.ends.insert(stage, state), None, "{stage:?} ended twice");
                if state.has_outputs() {
                    assert!(self.published.insert(stage), "{stage:?} was published twice");
                }
            }
            self.store.push(fact);
        }
        Message::Recorded { facts }
    }

    fn end(&mut self, stage: StageIndex) -> Message {
        let attempt = self.running.remove(&stage).expect("it runs");
        let tries = self.tries.entry(stage).or_default();
        *tries += 1;
        let told = &self.stages[stage.get()];
        let outcome = match self.stopping.remove(&stage) {
            Some(StopReason::Cancel) => Outcome::Cancelled,
            Some(StopReason::Timeout) => Outcome::Failed { retry: true },
            Some(StopReason::RunTimeout) => Outcome::Failed { retry: false },
            None if *tries <= told.failures => Outcome::Failed { retry: told.retry },
            None => Outcome::Succeeded,
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
        let is_list = |message: &Message| {
            matches!(message, Message::Resolved { decision: Decision::Expand(_), .. })
        };
        let mut place = choice - self.running.len();
        if is_list(&self.pending[place]) {
            place = self.pending.iter().position(is_list).unwrap_or(place);
        }
        let message = self.pending.remove(place);
        if let Message::Granted { stage } = &message {
            self.claims.insert(*stage, true);
        }
        // What the dispatcher knows of stages from an earlier drive, it knows of what is kept.
        if let Message::Resolved { stage, decision: Decision::Kept } = &message {
            self.ends.insert(*stage, AttemptState::Succeeded);
            self.published.insert(*stage);
        }
        Some(message)
    }
}

/// What came of a run.
struct Played {
    store: Vec<Fact>,
    state: RunState,
    world: World,
}

fn play(scenario: &Scenario) -> Played {
    let plan = scenario.plan();
    let mut policy = policy(scenario.keep_going, scenario.max_ahead);
    policy.timeout = scenario.timeout.map(|_| Duration::from_secs(60));
    let mut dispatcher = Dispatcher::new(&plan, policy, &scenario.past());
    let mut world = World::new(scenario);
    let begun = dispatcher.apply(Message::Begin);
    let is_set = begun.iter().any(|action| matches!(action, Action::SetRunTimer { .. }));
    assert_eq!(is_set, scenario.timeout.is_some());
    world.carry_out(begun);
    for (step, choice) in scenario.choices.iter().cycle().enumerate() {
        assert!(step < 10_000, "the run does not end");
        if scenario.cancel.is_some_and(|(at, _)| at == step) && world.finished.is_none() {
            let (_, mode) = scenario.cancel.expect("just seen");
            world.carry_out(dispatcher.apply(Message::Cancel(mode)));
        }
        if scenario.timeout == Some(step) && world.finished.is_none() {
            world.carry_out(dispatcher.apply(Message::RunTimeout));
        }
        match world.next(usize::from(*choice)) {
            Some(message) => world.carry_out(dispatcher.apply(message)),
            None => break,
        }
    }
    let state = world.finished.expect("nothing can happen any more, and the run has not ended");
    Played { store: world.store.clone(), state, world }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// The rules that `World` asserts, on random runs; and that what is recorded adds up.
    #[test]
    fn every_run_keeps_the_rules_and_ends(scenario in scenario()) {
        let Played { store, state, world } = play(&scenario);
        let mut open = BTreeSet::new();
        for fact in &store {
            match *fact {
                Fact::Started { stage, attempt } => prop_assert!(open.insert((stage, attempt))),
                Fact::Finished { stage, attempt, .. } => {
                    prop_assert!(open.remove(&(stage, attempt)), "ended without a start");
                }
                _ => {}
            }
        }
        prop_assert!(open.is_empty(), "started and never ended: {open:?}");
        prop_assert_eq!(store.last(), Some(&Fact::RunFinished { state }));
        let listed: BTreeSet<u32> = world.lists.values().cloned().flatten().collect();
        let mut ends = world.ends.clone();
        for (place, stage) in world.stages.iter().enumerate() {
            let index = StageIndex(place as u32);
            let known = place < scenario.stages.len() || listed.contains(&index.0);
            let dropped = listed.contains(&index.0)
                && !store.iter().any(|fact| matches!(fact, Fact::Expanded { first, count, .. }
                    if (first.0..first.0 + count).contains(&index.0)));
            if stage.past.state.has_outputs() && !ends.contains_key(&index) {
                // Nobody came to say that it is to be done again: it stands.
                ends.insert(index, stage.past.state);
            }
            prop_assert!(!known || dropped || ends.contains_key(&index), "{index:?} did not end");
        }
        for (template, instances) in &world.lists {
            let states: Vec<_> =
                instances.clone().filter_map(|item| ends.get(&StageIndex(item))).collect();
            if ends.get(template) == Some(&AttemptState::Succeeded) && !states.is_empty() {
                prop_assert!(states.iter().all(|state| state.has_outputs()), "{states:?}");
            }
        }
        let any = |wanted: &[AttemptState]| ends.values().any(|state| wanted.contains(state));
        let timed_out = scenario.timeout.is_some();
        match state {
            RunState::Succeeded => prop_assert!(
                !any(&[AttemptState::Failed, AttemptState::Cancelled, AttemptState::Lost])
            ),
            RunState::Failed => {
                prop_assert!(timed_out || any(&[AttemptState::Failed, AttemptState::Lost]));
            }
            RunState::Cancelled => prop_assert!(any(&[AttemptState::Cancelled])),
            other => prop_assert!(false, "a run ended as {other}"),
        }
    }

    /// What an earlier drive finished is touched only where that was decided.
    #[test]
    fn nothing_finished_is_lost(scenario in scenario()) {
        let Played { store, .. } = play(&scenario);
        for fact in store {
            if let Fact::Cancelled { stage } | Fact::Skipped { stage, why: Why::NotSelected } = fact
                && let Some(told) = scenario.stages.get(stage.get())
            {
                prop_assert!(!told.past.state.has_outputs() || told.attempts > 1, "{stage:?}");
            }
        }
    }
}

fn plain(needs: &[u32]) -> ScenarioStage {
    ScenarioStage {
        needs: needs.to_vec(),
        cpus: 1,
        attempts: 1,
        retry: true,
        ..ScenarioStage::default()
    }
}

fn run_of(stages: Vec<ScenarioStage>) -> Scenario {
    Scenario {
        stages,
        keep_going: true,
        max_ahead: 0,
        cancel: None,
        timeout: None,
        choices: vec![0],
    }
}

#[test]
fn what_needs_a_failed_stage_is_skipped_and_the_rest_goes_on() {
    let failing = ScenarioStage { failures: 9, ..plain(&[]) };
    let stages = vec![failing, plain(&[0]), plain(&[1]), plain(&[]), plain(&[3])];
    let Played { store, state, .. } = play(&run_of(stages));
    assert_eq!(state, RunState::Failed);
    let why = Why::Need(StageIndex(0));
    assert!(store.contains(&Fact::Skipped { stage: StageIndex(1), why }));
    assert!(store.contains(&Fact::Skipped { stage: StageIndex(2), why }), "the first to blame");
    let state = AttemptState::Succeeded;
    assert!(store.contains(&Fact::Finished { stage: StageIndex(4), attempt: 1, state }));
}

#[test]
fn a_transient_failure_is_tried_again_with_a_growing_wait() {
    let stage = ScenarioStage { failures: 2, attempts: 3, ..plain(&[]) };
    let Played { store, state, .. } = play(&run_of(vec![stage]));
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
    let stage = ScenarioStage { failures: 1, attempts: 3, retry: false, ..plain(&[]) };
    let Played { state, .. } = play(&run_of(vec![stage]));
    assert_eq!(state, RunState::Failed);
}

#[test]
fn the_end_of_one_and_the_start_of_the_next_share_a_commit() {
    let plan = run_of(vec![plain(&[]), plain(&[0])]).plan();
    let mut dispatcher = Dispatcher::new(&plan, policy(true, 0), &[]);
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
    let began = std::time::Instant::now();
    let mut dispatcher = Dispatcher::new(&plan, policy(true, 8), &[]);
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
                Action::Claim { .. }
                | Action::LetGo { .. }
                | Action::Stop { .. }
                | Action::SetTimer { .. }
                | Action::SetRunTimer { .. }
                | Action::Keep { .. } => {}
            }
        }
        if facts > 0 {
            messages.push_back(Message::Recorded { facts });
        }
    }
    assert!(finished);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn who_waits_for_another_run_leaves_the_machine_to_others() {
    let (first, second) = (StageIndex(0), StageIndex(1));
    let all = ScenarioStage { cpus: 3, ..plain(&[]) };
    let scenario = run_of(vec![ScenarioStage { mutex: true, ..all.clone() }, all]);
    let mut dispatcher = Dispatcher::new(&scenario.plan(), policy(true, 0), &[]);
    let mut tell = |message| -> Vec<String> {
        let brief = |action: &Action| match action {
            Action::Claim { stage, wants } => format!("claim {} for {}", wants[0], stage.0),
            Action::LetGo { stage } => format!("let go {}", stage.0),
            Action::Launch { stage, .. } => format!("launch {}", stage.0),
            Action::Record(Fact::Started { stage, .. }) => format!("start {}", stage.0),
            Action::Record(Fact::Finished { stage, .. }) => format!("finish {}", stage.0),
            other => format!("{other:?}"),
        };
        dispatcher.apply(message).iter().map(brief).collect()
    };
    let run = |stage| Message::Resolved { stage, decision: Decision::Run };
    let end = |stage| {
        let wall = Duration::from_secs(1);
        Message::Ended { stage, attempt: 1, outcome: Outcome::Succeeded, wall }
    };
    let none: [&str; 0] = [];
    tell(Message::Begin);
    assert_eq!(tell(run(first)), ["claim mutex held for 0"]);
    assert_eq!(tell(run(second)), none, "the first has the machine");
    assert_eq!(tell(Message::Waits { stage: first }), ["start 1"]);
    assert_eq!(tell(Message::Recorded { facts: 1 }), ["launch 1"]);
    assert_eq!(tell(Message::Granted { stage: first }), none, "now the second has it");
    assert_eq!(tell(end(second)), ["finish 1", "start 0"]);
    assert_eq!(tell(Message::Recorded { facts: 2 }), ["launch 0"]);
    let ended = tell(end(first));
    assert_eq!(ended[..2], ["let go 0", "finish 0"]);
}

fn skips(store: &[Fact]) -> Vec<(u32, Why)> {
    let skipped = store.iter().filter_map(|fact| match fact {
        Fact::Skipped { stage, why } => Some((stage.0, *why)),
        _ => None,
    });
    skipped.collect()
}

fn started(store: &[Fact]) -> Vec<u32> {
    let started = store.iter().filter_map(|fact| match fact {
        Fact::Started { stage, .. } => Some(stage.0),
        _ => None,
    });
    started.collect()
}

#[test]
fn a_condition_that_does_not_hold_skips_what_needs_the_stage() {
    let skipped = ScenarioStage { fate: Fate::Skip, ..plain(&[]) };
    let any = ScenarioStage { any: true, ..plain(&[0, 3]) };
    let stages = vec![skipped, plain(&[0]), plain(&[1]), plain(&[]), any];
    let Played { store, state, .. } = play(&run_of(stages));
    assert_eq!(state, RunState::Succeeded, "a skip is no failure");
    let need = Why::Need(StageIndex(0));
    assert_eq!(skips(&store), [(0, Why::Condition), (1, need), (2, need)]);
    assert_eq!(started(&store), [3, 4], "where one of them is enough, the stage runs");
}

#[test]
fn where_any_is_enough_all_must_have_ended_and_one_succeeded() {
    let failing = ScenarioStage { failures: 9, ..plain(&[]) };
    let any = |needs: &[u32]| ScenarioStage { any: true, ..plain(needs) };
    let stages =
        vec![failing.clone(), failing, plain(&[]), any(&[0, 1]), any(&[0, 1, 2]), any(&[])];
    let Played { store, .. } = play(&run_of(stages));
    assert_eq!(skips(&store).iter().map(|skip| skip.0).collect::<Vec<_>>(), [3]);
    assert_eq!(started(&store).iter().filter(|stage| **stage > 2).count(), 2);
}

#[test]
fn a_list_brings_instances_and_ends_with_the_last() {
    let list =
        |count, failing| ScenarioStage { fate: Fate::List(count, failing, false), ..plain(&[0]) };
    let stages = vec![plain(&[]), list(3, 0), plain(&[1])];
    let Played { store, state, .. } = play(&run_of(stages));
    assert_eq!(state, RunState::Succeeded);
    assert_eq!(started(&store), [0, 3, 4, 5, 2]);
    let place = |fact: &Fact| store.iter().position(|other| other == fact).expect("recorded");
    let stage = StageIndex(1);
    let expanded = place(&Fact::Expanded { stage, first: StageIndex(3), count: 3 });
    let gathered = place(&Fact::Gathered { stage, state: AttemptState::Succeeded });
    assert!(expanded < place(&Fact::Started { stage: StageIndex(3), attempt: 1 }));
    assert!(gathered < place(&Fact::Started { stage: StageIndex(2), attempt: 1 }));

    // One that fails fails the whole; a stage for which any is enough takes the others.
    let any = ScenarioStage { any: true, ..plain(&[1]) };
    let stages = vec![plain(&[]), list(3, 1), plain(&[1]), any];
    let Played { store, state, .. } = play(&run_of(stages));
    assert_eq!(state, RunState::Failed);
    assert_eq!(skips(&store), [(2, Why::Need(stage))]);
    assert!(started(&store).contains(&3));

    let Played { store, state, .. } = play(&run_of(vec![plain(&[]), list(0, 0), plain(&[1])]));
    assert_eq!((state, started(&store)), (RunState::Succeeded, vec![0, 2]), "an empty list");
}

#[test]
fn a_stage_that_cannot_be_tried_fails_with_an_attempt() {
    let broken = ScenarioStage { fate: Fate::Fail, attempts: 3, ..plain(&[]) };
    let Played { store, state, .. } = play(&run_of(vec![broken, plain(&[0])]));
    assert_eq!(state, RunState::Failed);
    let stage = StageIndex(0);
    let end = Fact::Finished { stage, attempt: 1, state: AttemptState::Failed };
    assert_eq!(store[..2], [Fact::Started { stage, attempt: 1 }, end]);
    assert_eq!(skips(&store), [(1, Why::Need(stage))]);
}

#[test]
fn what_is_left_alone_stays_as_it_is() {
    let left = |state, needs: &[u32]| ScenarioStage {
        past: Past { state, leave: true, attempts: 1 },
        ..plain(needs)
    };
    use AttemptState::{Cancelled, Failed, Queued, Succeeded};
    let stages = vec![left(Succeeded, &[]), plain(&[0]), left(Queued, &[])];
    let Played { store, state, .. } = play(&run_of(stages));
    assert_eq!(state, RunState::Succeeded);
    assert_eq!(skips(&store), [(2, Why::NotSelected)]);
    assert_eq!(started(&store), [1]);
    // A run of which a part has failed has failed, whoever asked for the other part.
    let Played { state, .. } = play(&run_of(vec![left(Failed, &[]), plain(&[])]));
    assert_eq!(state, RunState::Failed);
    let Played { state, .. } = play(&run_of(vec![left(Cancelled, &[]), plain(&[])]));
    assert_eq!(state, RunState::Cancelled);
}

#[test]
fn a_run_that_takes_too_long_has_failed() {
    let scenario =
        Scenario { timeout: Some(2), choices: vec![0], ..run_of(vec![plain(&[]), plain(&[0])]) };
    let Played { store, state, .. } = play(&scenario);
    assert_eq!(state, RunState::Failed);
    assert!(store.contains(&Fact::Cancelled { stage: StageIndex(1) }));
    let state = AttemptState::Failed;
    assert!(store.contains(&Fact::Finished { stage: StageIndex(0), attempt: 1, state }));
}
