//! One course of things: commands that are given while everything goes wrong, and then some more
//! in peace, after which all must be well.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wick_core::{RunState, Token};
use wick_engine::{CancelHandle, Engine, Expander, Parts, RunOptions, Slots};
use wick_plan::{InputSource, Join, KnownList, Plan, Selection, StageIndex};
use wick_store::{Search, Store};

use crate::bugs::Bug;
use crate::database::Tables;
use crate::dice::Dice;
use crate::graphs::{self, Nature};
use crate::judge::{Invariant, Violation};
use crate::lab::{Faults, Lab, Machine};
use crate::process::{Process, Watcher};
use crate::replay::{Answer, Call};
use crate::scheduler::{OUTSIDE, ProcessId, Step, lock};
use crate::sharing::SimulatedSharing;
use crate::way::SimulatedStore;
use crate::workers::SimulatedExecutors;

/// The most steps of a course. One that takes more does not end.
const MAX_STEPS: u64 = 3_000_000;

/// The longest that a command may take.
const MAX_TIME: Duration = Duration::from_secs(3 * 3600);

/// How a course is to be played.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// What is planted.
    pub bug: Option<Bug>,
    /// Whether to write down what happens.
    pub trace: bool,
    /// Instead of everything at random: nothing goes wrong, but that the first engine dies after
    /// so many polls.
    pub dies_after: Option<u64>,
    /// Whether the database is to be compared with a real one: nothing happens then that a real one
    /// cannot be made to live through in a test, such as power cuts, and every process has a
    /// machine of its own.
    pub compare: bool,
}

/// What came of a course.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Empty if all holds.
    pub violations: Vec<Violation>,
    pub steps: u64,
    /// How many things went wrong, the deaths of engines among them.
    pub faults: u64,
    pub submissions: u64,
    pub publications: u64,
    /// How often the first engine was polled.
    pub polls: u64,
    /// Differs if anything went differently.
    pub hash: u64,
    pub trace: Vec<String>,
    /// What the database was called for, and how it ended.
    pub calls: Vec<(Call, Answer)>,
    pub tables: Tables,
}

struct Course {
    lab: Arc<Lab>,
    dice: Dice,
    plan: Arc<Plan>,
    last_process: u32,
    looked_at: i64,
    /// Whether a command asked for some stages only.
    has_selected: bool,
}

/// A command that somebody gives.
struct Command {
    process: ProcessId,
    host: u32,
    plan: Arc<Plan>,
    rerun: bool,
    use_cache: bool,
    keep_going: bool,
    slots: Slots,
    cancel: CancelHandle,
    selection: Selection,
}

/// Plays the course that follows from `seed`.
pub fn play(seed: u64, terms: Terms) -> Outcome {
    let mut dice = Dice::new(seed);
    let systematic = terms.dies_after.is_some();
    let faults = if systematic { calm_faults(&mut dice) } else { faults(&mut dice) };
    let plan = Arc::new(graphs::plan(&mut dice, if systematic { 4 } else { 12 }));
    let lab = Lab::new(dice.fork(), faults, terms);
    let mut course = Course { lab, dice, plan, last_process: 9, looked_at: 0, has_selected: false };
    let polls = match terms.dies_after {
        Some(polls) => course.one_death(polls),
        None => course.storm(),
    };
    course.peace();
    let lab = &course.lab;
    let judge = lab.judge();
    Outcome {
        violations: judge.violations().to_vec(),
        steps: lab.scheduler.steps(),
        faults: lab.struck.load(Ordering::Relaxed),
        submissions: judge.submissions,
        publications: judge.publications,
        polls,
        hash: lab.scheduler.hash(),
        calls: lab.calls.as_ref().map(|calls| lock(calls).clone()).unwrap_or_default(),
        tables: lock(&lab.tables).tables.clone(),
        trace: lab.trace.as_ref().map(|trace| lock(trace).clone()).unwrap_or_default(),
    }
}

/// What may go wrong in this course. Each kind of fault is left out of some courses, so that it
/// does not hide what others bring about.
fn faults(dice: &mut Dice) -> Faults {
    let mut rate = |most: u64| if dice.chance(500) { dice.between(1, most) } else { 0 };
    let [refuse, unknown, fail, hang] = [rate(100), rate(100), rate(300), rate(100)];
    let [stubborn, executor, twice, unreadable] = [rate(500), rate(5), rate(300), rate(100)];
    let wait = |dice: &mut Dice, most: u64| Duration::from_millis(dice.between(0, most));
    Faults {
        refuse,
        unknown,
        store_wait: wait(dice, 20),
        remote: dice.chance(400),
        fail,
        hang,
        stubborn,
        executor,
        twice,
        news_wait: if dice.chance(300) { wait(dice, 1000) } else { Duration::ZERO },
        orphans: dice.chance(300),
        work: wait(dice, 3000),
        unreadable,
    }
}

/// Nothing goes wrong.
fn calm_faults(dice: &mut Dice) -> Faults {
    Faults {
        store_wait: Duration::from_millis(2),
        remote: dice.chance(500),
        work: Duration::from_millis(100),
        ..Faults::default()
    }
}

impl Course {
    /// Some commands, of which anything may become.
    fn storm(&mut self) -> u64 {
        let commands = self.dice.between(1, 5);
        for _ in 0..commands {
            if self.dice.chance(150) {
                self.plan = Arc::new(graphs::changed(&mut self.dice, &self.plan));
            }
            let rerun = self.dice.chance(800);
            let mut command = self.command(rerun);
            if self.dice.chance(200) {
                command.selection = graphs::selection(&mut self.dice, &self.plan);
                self.has_selected = true;
            }
            let (process, cancel) = (command.process, command.cancel.clone());
            self.give(command);
            if self.dice.chance(200) {
                self.take_over(process);
                continue;
            }
            self.mischief(process, &cancel);
            if self.dice.chance(250) {
                // Somebody gives the next command while this one goes on.
                let wait = self.dice.wait(Duration::from_secs(30));
                self.go_on(wait);
            } else {
                self.until_over();
            }
            if self.is_broken() {
                break;
            }
        }
        0
    }

    /// An engine is stopped until its lease has run out, another takes its run up, and then the
    /// first goes on as if nothing had happened. Its attempts never stopped.
    fn take_over(&mut self, process: ProcessId) {
        let begins = self.dice.wait(Duration::from_secs(2));
        let lasts = Duration::from_micros(self.dice.between(15_500_000, 20_000_000));
        self.lab.later(OUTSIDE, begins, move |lab| {
            lab.note(|| format!("{process:?} is stopped"));
            lab.struck.fetch_add(1, Ordering::Relaxed);
            lab.scheduler.stall(process, lab.scheduler.now() + lasts);
        });
        self.go_on(begins + Duration::from_millis(15_200));
        if self.is_broken() {
            return;
        }
        let mut command = self.command(true);
        command.host = 1 - lock(&self.lab.processes)[&process].host.min(1);
        self.give(command);
        self.until_over();
    }

    /// One command whose engine dies at a certain moment.
    fn one_death(&mut self, polls: u64) -> u64 {
        let command = self.command(false);
        let process = command.process;
        if polls > 0 {
            self.lab.scheduler.die_after(process, polls);
        }
        self.give(command);
        self.until_over();
        self.lab.scheduler.polls(process)
    }

    /// Nothing goes wrong any more: what was begun ends, and some reruns mend everything that can
    /// be mended.
    fn peace(&mut self) {
        self.lab.calm.store(true, Ordering::Relaxed);
        self.lab.note(|| "peace".to_owned());
        self.until_over();
        // Leases of engines that died on other machines run out, however wrong their clocks were.
        self.go_on(Duration::from_secs(180));
        let doomed = self.plan.stages.iter().any(|stage| Nature::of(stage).is_doomed);
        // One rerun takes up what broke. If it finds that bytes are gone which it had counted on,
        // the next one makes them again.
        for _ in 0..2 {
            if self.is_broken() {
                return;
            }
            let mut command = self.command(true);
            (command.use_cache, command.keep_going) = (true, true);
            self.give(command);
            self.until_over();
            if self.state() == Some(RunState::Succeeded) {
                break;
            }
        }
        if self.is_broken() {
            return;
        }
        let state = self.state();
        // A doomed stage may be one that a condition leaves out, or that nobody asked for, or that
        // is written for a list without items.
        let may_be_left_out = |stage: &wick_plan::PlannedStage| {
            stage.condition.is_some() || (stage.foreach.is_some() && Nature::of(stage).is_doomed)
        };
        let may_succeed =
            !doomed || self.has_selected || self.plan.stages.iter().any(may_be_left_out);
        let is_as_expected = match state {
            Some(RunState::Failed) => doomed || self.cannot_choose(),
            Some(RunState::Succeeded) => may_succeed,
            _ => false,
        };
        if !is_as_expected {
            let what = format!("after all, the run is {state:?}");
            self.lab.judge().object(Invariant::Ends, what);
        }
        self.check_artifacts();
    }

    /// Whether a stage of the newest run is to choose the best of several, and none of them can be
    /// chosen.
    fn cannot_choose(&self) -> bool {
        let disk = lock(&self.lab.tables);
        let Some(run) = disk.tables.runs.last() else { return false };
        let judge = self.lab.judge();
        let is_there = |index: StageIndex| {
            let place = run.place(&self.plan.stage(index).name);
            place.is_some_and(|place| run.stages[place].state.has_outputs())
        };
        let stages = self.plan.stages.iter().filter(|stage| stage.needs().all(is_there));
        let mut choices =
            stages.flat_map(|stage| &stage.inputs).filter_map(|input| match &input.source {
                InputSource::Select { from, best, .. } => Some((from, best)),
                _ => None,
            });
        choices.any(|(from, best)| judge.best(&disk.tables, run, &self.plan, from, best).is_none())
    }

    /// Everything that the newest run has published is there, and is what it should be.
    fn check_artifacts(&self) {
        let disk = lock(&self.lab.tables);
        let Some(run) = disk.tables.runs.last() else { return };
        let there = lock(&self.lab.artifacts);
        let judge = self.lab.judge();
        let mut wrong = None;
        let made = |stage: &wick_plan::PlannedStage, port: &wick_core::PortName| {
            let place = run.place(&stage.name)?;
            let outputs = disk.tables.outputs_of(run, place);
            outputs.iter().find(|made| made.port == *port).map(|made| made.digest)
        };
        let lists = self.plan.stages.iter().filter_map(|stage| {
            let list = stage.foreach.as_ref()?;
            let maker = self.plan.stage(list.from);
            let items = graphs::value(&made(maker, &list.output)?).as_array()?.clone();
            Some(KnownList { stage: maker.name.clone(), output: list.output.clone(), items })
        });
        let grown = graphs::grown(&self.plan, &lists.collect::<Vec<_>>());
        // A stage that stands for instances makes nothing itself.
        for stage in grown.stages.iter().filter(|stage| stage.foreach.is_none()) {
            if judge.is_set_aside(&run.new.id, stage) {
                continue;
            }
            let place = run.place(&stage.name);
            let Some(place) = place.filter(|place| run.stages[*place].state.has_outputs()) else {
                continue;
            };
            let outputs = disk.tables.outputs_of(run, place);
            let inputs = stage.inputs.iter().flat_map(|input| {
                let from = match &input.source {
                    InputSource::Select { from, best, .. } => {
                        let chosen = judge.best(&disk.tables, run, &grown, from, best);
                        let chosen = chosen.and_then(|name| grown.find(name.as_str()));
                        chosen.into_iter().collect()
                    }
                    _ => graphs::spread(&grown, input.from()),
                };
                let gathers = matches!(input.source, InputSource::Gather { .. });
                from.into_iter().map(move |from| (input, gathers, from))
            });
            let inputs = inputs.map(|(input, gathers, from)| {
                let from = grown.stage(from);
                let label = gathers.then(|| from.name.labels_for(&stage.name));
                Some((input.port.clone(), label, made(from, input.output())?))
            });
            // Where one of several is enough, the others may be missing.
            let inputs: Option<Vec<_>> =
                inputs.filter(|made| made.is_some() || stage.join == Join::All).collect();
            for planned in &stage.outputs {
                let made = outputs.iter().find(|output| output.port == planned.port);
                let expected =
                    inputs.clone().map(|inputs| graphs::expected(stage, inputs, &planned.port));
                let is_there = made.is_some_and(|made| there.contains(&made.digest));
                let is_right =
                    Nature::of(stage).is_fickle || made.map(|made| made.digest) == expected;
                if !is_there || !is_right {
                    wrong = Some(format!("{}.{} is {made:?}", stage.name, planned.port));
                }
            }
        }
        drop((there, judge, disk));
        if let Some(wrong) = wrong {
            self.lab.judge().object(Invariant::BytesFirst, wrong);
        }
    }

    fn command(&mut self, rerun: bool) -> Command {
        self.last_process += 1;
        Command {
            process: ProcessId(self.last_process),
            host: self.dice.below(2) as u32,
            plan: self.plan.clone(),
            rerun,
            use_cache: self.dice.chance(900),
            keep_going: self.dice.chance(800),
            slots: graphs::slots(&mut self.dice),
            cancel: CancelHandle::default(),
            selection: Selection::default(),
        }
    }

    fn give(&mut self, command: Command) {
        let process = command.process;
        let calm = self.lab.is_calm();
        let skew = if !calm && self.dice.chance(100) {
            self.dice.between(0, 40_000_000) as i64 - 20_000_000
        } else {
            0
        };
        let host = if self.lab.calls.is_some() { process.0 } else { command.host };
        let token = self.dice.next() >> 1;
        lock(&self.lab.processes).insert(process, Machine { host, skew, token });
        let (plan, selection) = (command.plan.clone(), command.selection.clone());
        self.lab.judge().drive_begins(process, plan, command.slots, command.use_cache, selection);
        self.lab.note(|| {
            let word = if command.rerun { "rerun" } else { "run" };
            format!("{process:?} on machine {host}: {word}, {:?}", command.slots)
        });
        let task = carry_out(self.lab.clone(), command);
        self.lab.scheduler.spawn(process, Box::pin(task));
    }

    /// What becomes of a command that has just been given.
    fn mischief(&mut self, process: ProcessId, cancel: &CancelHandle) {
        let dice = &mut self.dice;
        if dice.chance(500) {
            let longest = 1 << dice.between(1, 10);
            self.lab.scheduler.die_after(process, dice.between(1, longest));
        }
        let deeds: [(u64, Deed); 8] = [
            (100, Deed::Drain),
            (100, Deed::Kill),
            (100, Deed::CancelElsewhere),
            (150, Deed::Stall(dice.wait(Duration::from_secs(60)))),
            (80, Deed::CutPower),
            (150, Deed::LoseArtifact),
            (100, Deed::ChangeSource),
            (80, Deed::JumpClock(dice.between(0, 60) as i64 - 30)),
        ];
        for (chance, deed) in deeds {
            if !self.dice.chance(chance) {
                continue;
            }
            let wait = self.dice.wait(Duration::from_secs(10));
            let cancel = cancel.clone();
            self.lab.later(OUTSIDE, wait, move |lab| deed.carry_out(lab, process, &cancel));
        }
    }

    fn is_broken(&self) -> bool {
        !self.lab.judge().violations().is_empty()
    }

    /// The state of the newest run.
    fn state(&self) -> Option<RunState> {
        lock(&self.lab.tables).tables.runs.last().map(|run| run.state)
    }

    /// Goes on until every engine has ended.
    fn until_over(&mut self) {
        let began = self.lab.scheduler.now();
        loop {
            let processes: Vec<ProcessId> = lock(&self.lab.processes).keys().copied().collect();
            if processes.iter().all(|process| self.lab.scheduler.is_dead(*process)) {
                return;
            }
            if !self.step() {
                return;
            }
            let too_long = self.lab.scheduler.now() - began > MAX_TIME;
            if too_long || self.lab.scheduler.steps() > MAX_STEPS {
                let what = "an engine goes on for ever".to_owned();
                self.lab.judge().object(Invariant::Ends, what);
                return;
            }
        }
    }

    /// Goes on for a while.
    fn go_on(&mut self, wait: Duration) {
        let until = self.lab.scheduler.now() + wait;
        self.lab.later(OUTSIDE, wait, |_| {});
        while self.lab.scheduler.now() < until && self.step() {}
    }

    /// One step, after which everything must hold.
    fn step(&mut self) -> bool {
        let step = catch_unwind(AssertUnwindSafe(|| self.lab.scheduler.step()));
        let wrong = match step {
            Ok(Step::Nothing) => {
                Some((Invariant::Ends, "nothing can happen any more, but an engine has not ended"))
            }
            Err(_) => Some((Invariant::Truthful, "the engine panicked")),
            Ok(_) => None,
        };
        if let Some((invariant, what)) = wrong {
            self.lab.judge().object(invariant, what.to_owned());
        }
        let disk = lock(&self.lab.tables);
        if disk.tables.last_event != self.looked_at {
            self.looked_at = disk.tables.last_event;
            self.lab.judge().look_again(&disk.tables);
        }
        drop(disk);
        !self.is_broken()
    }
}

/// Something that happens to an engine.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Drain,
    Kill,
    CancelElsewhere,
    Stall(Duration),
    CutPower,
    LoseArtifact,
    ChangeSource,
    JumpClock(i64),
}

impl Deed {
    fn carry_out(self, lab: &Arc<Lab>, process: ProcessId, cancel: &CancelHandle) {
        if lab.is_calm() {
            return;
        }
        lab.note(|| format!("{self:?} {process:?}"));
        match self {
            Deed::Drain => drop(cancel.request()),
            Deed::Kill => cancel.kill(),
            Deed::CancelElsewhere if lab.calls.is_some() => {}
            Deed::CancelElsewhere => {
                let mut disk = lock(&lab.tables);
                if let Some(run) = disk.tables.runs.last().map(|run| run.new.id.clone()) {
                    let _ = disk.tables.request_cancel(&run);
                }
            }
            Deed::Stall(wait) => lab.scheduler.stall(process, lab.scheduler.now() + wait),
            Deed::CutPower if lab.calls.is_some() => {}
            Deed::CutPower => lab.cut_power(),
            Deed::LoseArtifact => lab.lose_artifact(),
            Deed::ChangeSource => {
                let path = graphs::sources().next().map(ToOwned::to_owned).unwrap_or_default();
                *lock(&lab.sources).entry(path).or_default() += 1;
                lab.judge().source_changed();
            }
            Deed::JumpClock(seconds) => {
                if let Some(machine) = lock(&lab.processes).get_mut(&process) {
                    machine.skew += seconds * 1_000_000;
                }
            }
        }
        lab.struck.fetch_add(1, Ordering::Relaxed);
    }
}

/// What `wick run` and `wick rerun` do.
async fn carry_out(lab: Arc<Lab>, command: Command) {
    let Command { process, plan, rerun, use_cache, keep_going, slots, cancel, selection, .. } =
        command;
    let here = Process { lab: lab.clone(), id: process };
    let store: Arc<dyn Store> = Arc::new(SimulatedStore { lab: lab.clone(), process });
    let _ = store.interrupt_dead_runs(lab.time_at(process)).await;
    let newest = store.search(&Search::newest(1)).await;
    let newest = newest.unwrap_or_default().runs.into_iter().next().map(|run| run.id);
    let parts = Parts {
        world: Arc::new(here.clone()),
        files: Arc::new(here),
        executors: Arc::new(SimulatedExecutors { lab: lab.clone(), process }),
        sharing: Arc::new(SimulatedSharing { lab: lab.clone(), process }),
    };
    let engine = Engine::from_parts(store, parts);
    let mut options = RunOptions::new("");
    (options.slots, options.use_cache, options.keep_going) = (slots, use_cache, keep_going);
    options.rerun = newest.filter(|_| rerun);
    options.named_slots = graphs::named();
    options.expander = Some(expander(&lab, &plan));
    (options.cancel, options.selection) = (cancel, selection);
    let mut watcher = Watcher { lab: lab.clone(), run: None };
    let result = engine.execute(&plan, options, &mut watcher).await;
    lab.note(|| match &result {
        Ok(outcome) => format!("{process:?} ends: run {} {}", outcome.run, outcome.state),
        Err(error) => format!("{process:?} ends: {error:?}"),
    });
    let engine = lock(&lab.processes).get(&process).copied().unwrap_or_default().token;
    lab.judge().command_ended(&lab, Token(engine), &result);
    lab.scheduler.kill(process);
}

/// Plans the instances of the lists that a run has made.
fn expander(lab: &Arc<Lab>, plan: &Arc<Plan>) -> Expander {
    let (lab, plan) = (lab.clone(), plan.clone());
    Expander::new(move |mut lists| {
        for list in &mut lists {
            if lab.has_bug(Bug::PlansTooFew) {
                list.items.pop();
            }
        }
        let (plan, wait) = (plan.clone(), lab.dice().wait(Duration::from_millis(10)));
        let sleep = lab.scheduler.sleep(wait);
        Box::pin(async move {
            sleep.await;
            Ok(graphs::grown(&plan, &lists))
        })
    })
}
