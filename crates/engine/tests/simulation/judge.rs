//! Watches everything, and knows what must hold whatever happens.
//!
//! It stands at the seams: it sees what is committed to the database, what is handed to the
//! executor, and what the reporter is told. It believes neither the engine nor the database, but
//! keeps books of its own.

mod choices;
mod instances;
mod reasons;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use wick_core::{
    AttemptState, Digest, Event, EventBody, Fingerprint, Output, PortName, RunId, RunState,
    StageName, Token,
};
use wick_engine::executor::Submission;
use wick_engine::{Began, EngineError, EngineResult, RunOutcome, Slots, Totals};
use wick_plan::{InputSource, Join, Plan, Resources, Selection, Treatments};
use wick_store::{Lease, StoreError};

use crate::database::{Run, Tables};
use crate::lab::Lab;
use crate::scheduler::{ProcessId, lock};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// One engine at a time records of a run: the one that holds its lease.
    OneEngine,
    /// A stage is published at most once in a run, by the attempt that runs.
    PublishedOnce,
    /// An attempt starts only when its start is recorded.
    WriteAhead,
    /// A stage starts only when what it needs is published.
    InputsFirst,
    /// A stage that is written for a list has an instance for each item of it, and no other.
    Listed,
    /// A stage that gathers reads of every instance of the present list what that has published.
    Gathers,
    /// A stage that chooses reads what the best instance has published, by what was measured.
    Chooses,
    /// A stage that stands for instances ends when they have, as the worst of them.
    EndsWithInstances,
    /// What was acknowledged stays.
    Remembered,
    /// Every run comes to its end, with every stage in a final state.
    Ends,
    /// Attempts never occupy more than there is.
    Slots,
    /// What is counted by name is given once, over all runs.
    NamedSlots,
    /// What finished is not done again.
    NotRepeated,
    /// What is published is there.
    BytesFirst,
    /// What is told is true.
    Truthful,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

/// A drive, as the judge knows it.
#[derive(Debug, Clone)]
pub struct Drive {
    pub plan: Arc<Plan>,
    pub slots: Slots,
    pub use_cache: bool,
    /// What was asked for; nothing in particular, if it is plain.
    pub selection: Selection,
    treatments: Option<Treatments>,
    /// What was published when it began, by fingerprint.
    published_before: BTreeSet<Fingerprint>,
    losses_before: u64,
}

/// An attempt that runs.
#[derive(Debug, Clone)]
struct Worker {
    process: ProcessId,
    occupies: Slots,
    /// What it holds of names, and whether of a mutex.
    names: Vec<(bool, String, u32)>,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Judge {
    violations: Vec<Violation>,
    drives: BTreeMap<ProcessId, Drive>,
    workers: BTreeMap<u64, Worker>,
    last_worker: u64,
    /// Who may record of a run.
    leases: BTreeMap<RunId, Token>,
    /// Engines that ever had a lease.
    drivers: BTreeSet<u64>,
    /// How the run ended that an engine drove.
    ended: BTreeMap<u64, RunState>,
    /// The token of each attempt that runs, by run and stage.
    running: BTreeMap<(RunId, StageName), (u32, Token)>,
    published: BTreeMap<(RunId, StageName), u32>,
    /// The instances of the present list of each stage that has one.
    listed: BTreeMap<(RunId, StageName), Vec<StageName>>,
    /// Those that were skipped or cancelled since: what their instances had made gathers nobody.
    unlisted: BTreeSet<(RunId, StageName)>,
    /// Of each attempt the latest of what it measured: step and value.
    measured: BTreeMap<(RunId, StageName, u32), (i64, f64)>,
    /// What was last published for each fingerprint.
    fingerprints: BTreeMap<Fingerprint, Vec<Digest>>,
    losses: u64,
    /// What was ever lost, whether it is there again or not.
    ever_lost: BTreeSet<Digest>,
    /// How often sources have changed.
    changes: u64,
    /// When artifacts were lost that are not there again.
    lost: BTreeMap<Digest, Duration>,
    /// When a process looked last whether an artifact is there.
    seen: BTreeMap<(ProcessId, Digest), Duration>,
    /// Events that somebody was told to be recorded, by their places in the order of all.
    acknowledged: BTreeMap<i64, (RunId, Arc<Event>)>,
    /// Whether every source can be read at all times.
    pub all_readable: bool,
    pub submissions: u64,
    pub publications: u64,
}

impl Judge {
    /// All that does not hold, the first first.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    fn check(&mut self, holds: bool, invariant: Invariant, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(Violation { invariant, what: what() });
        }
    }

    pub fn object(&mut self, invariant: Invariant, what: String) {
        self.check(false, invariant, || what);
    }

    // ---- what happens in the database ----------------------------------------------------

    /// A command is given.
    pub fn drive_begins(
        &mut self,
        process: ProcessId,
        plan: Arc<Plan>,
        slots: Slots,
        use_cache: bool,
        selection: Selection,
    ) {
        let treatments = selection.resolve(&plan).ok();
        let is_there = |digest: &Digest| !self.lost.contains_key(digest);
        let published_before = self.fingerprints.iter();
        let published_before = published_before
            .filter(|(_, outputs)| outputs.iter().all(is_there))
            .map(|(fingerprint, _)| *fingerprint)
            .collect();
        let losses_before = self.losses;
        let drive = Drive {
            plan,
            slots,
            use_cache,
            selection,
            treatments,
            published_before,
            losses_before,
        };
        self.drives.insert(process, drive);
    }

    /// A process got the lease of a run.
    pub fn run_taken(&mut self, lease: &Lease, _: &Tables) {
        self.running.retain(|(run, _), _| *run != lease.run);
        self.leases.insert(lease.run.clone(), lease.engine);
        self.drivers.insert(lease.engine.0);
    }

    pub fn run_interrupted(&mut self, run: &RunId) {
        self.running.retain(|(of, _), _| of != run);
        self.leases.remove(run);
    }

    /// A batch was committed.
    pub fn appended(
        &mut self,
        lab: &Lab,
        process: ProcessId,
        lease: &Lease,
        batch: &[Event],
        before: &Tables,
        after: &Tables,
    ) {
        let holds = self.leases.get(&lease.run) == Some(&lease.engine);
        self.check(holds, Invariant::OneEngine, || {
            format!("an engine without the lease wrote to run {}", lease.run)
        });
        let run = &lease.run;
        for (place, event) in batch.iter().enumerate() {
            match &event.body {
                EventBody::AttemptStarted { stage, attempt, token, .. } => {
                    self.running.insert((run.clone(), stage.clone()), (*attempt, *token));
                    // A power cut may have taken back the first that had this number.
                    self.measured.remove(&(run.clone(), stage.clone(), *attempt));
                }
                EventBody::AttemptFinished { stage, attempt, token, state, outputs, .. } => {
                    let running = self.running.remove(&(run.clone(), stage.clone()));
                    self.check(
                        running == Some((*attempt, *token)),
                        Invariant::PublishedOnce,
                        || format!("{stage}/{attempt} of {run} ended, but {running:?} runs"),
                    );
                    if *state == AttemptState::Succeeded {
                        self.publishes(lab, run, stage, *attempt, outputs);
                        let place = after.run(run).and_then(|run| run.place(stage));
                        let print = place
                            .and_then(|place| after.run(run)?.attempts.get(&(place, *attempt)));
                        let made = outputs.iter().map(|output| output.digest).collect();
                        self.fingerprints.extend(print.map(|attempt| (attempt.fingerprint, made)));
                    }
                }
                EventBody::StageCached { stage, outputs, .. } => {
                    self.publishes(lab, run, stage, 0, outputs);
                    self.is_served_as_seen(process, stage, outputs);
                }
                EventBody::StageRequeued { stage } => {
                    let next = batch.get(place + 1).map(|event| &event.body);
                    self.begins_anew(process, run, stage, next, [before, after]);
                }
                EventBody::StageSkipped { stage, .. } | EventBody::StageCancelled { stage } => {
                    self.unlisted.insert((run.clone(), stage.clone()));
                }
                EventBody::StageExpanded { stage, instances } => {
                    let names = instances.iter().map(|(name, _)| name.clone()).collect();
                    self.is_expanded(process, run, stage, names, after);
                }
                EventBody::Metrics { stage, attempt, points } => {
                    self.is_measured(run, stage, *attempt, points);
                }
                EventBody::StageGathered { stage, state } => {
                    self.is_gathered(run, stage, *state, after);
                }
                EventBody::RunFinished { state } => {
                    self.leases.remove(run);
                    self.ended.insert(lease.engine.0, *state);
                    self.run_ends(run, *state, after);
                }
                _ => {}
            }
        }
        let (first, last) = (before.last_event, after.last_event);
        let kept = batch.iter().filter(|event| event.body.is_kept()).count() as i64;
        self.check(last - first == kept, Invariant::Remembered, || {
            format!("{kept} events were acknowledged and {} are kept", last - first)
        });
    }

    fn publishes(
        &mut self,
        lab: &Lab,
        run: &RunId,
        stage: &StageName,
        attempt: u32,
        outputs: &[Output],
    ) {
        self.publications += 1;
        let earlier = self.published.insert((run.clone(), stage.clone()), attempt);
        self.check(earlier.is_none(), Invariant::PublishedOnce, || {
            format!("{stage} of {run} is published by attempts {earlier:?} and {attempt}")
        });
        let there = lock(&lab.artifacts);
        let missing = outputs.iter().find(|output| !there.contains(&output.digest));
        // Bytes that were lost between the worker's word and this are nobody's fault.
        let holds = missing.is_none_or(|output| self.lost.contains_key(&output.digest));
        self.check(holds, Invariant::BytesFirst, || {
            format!("{stage} of {run} is published without the bytes of {missing:?}")
        });
    }

    /// A source file was changed.
    pub fn source_changed(&mut self) {
        self.changes += 1;
    }

    /// Outputs that are reused were there when the engine looked last.
    fn is_served_as_seen(&mut self, process: ProcessId, stage: &StageName, outputs: &[Output]) {
        let gone = outputs.iter().find(|output| {
            let seen = self.seen.get(&(process, output.digest));
            self.lost.get(&output.digest).zip(seen).is_some_and(|(lost, seen)| lost < seen)
        });
        self.check(gone.is_none(), Invariant::BytesFirst, || {
            format!("{stage} is said to be there, but {gone:?} is gone")
        });
    }

    /// A process looks whether an artifact is there.
    pub fn looked(&mut self, process: ProcessId, digest: Digest, now: Duration) {
        self.seen.insert((process, digest), now);
    }

    /// An artifact is there, perhaps again.
    pub fn artifact_made(&mut self, digest: &Digest) {
        self.lost.remove(digest);
    }

    fn run_ends(&mut self, run: &RunId, state: RunState, tables: &Tables) {
        let Some(row) = tables.run(run) else { return };
        let open = row.stages.iter().find(|stage| !stage.state.is_final());
        self.check(open.is_none(), Invariant::Ends, || {
            format!("run {run} {state}, but {open:?} has not ended")
        });
        let fails = |stage: &AttemptState| {
            matches!(stage, AttemptState::Failed | AttemptState::Cancelled | AttemptState::Lost)
        };
        let failed = row.stages.iter().find(|stage| fails(&stage.state));
        let succeeded = state == RunState::Succeeded;
        self.check(succeeded == failed.is_none(), Invariant::Truthful, || {
            format!("run {run} {state}, with {failed:?}")
        });
    }

    // ---- what is handed to the executor --------------------------------------------------

    /// An attempt is to start: a number for its worker.
    pub fn starts(
        &mut self,
        tables: &Tables,
        process: ProcessId,
        engine: Token,
        run: &RunId,
        submission: &Submission,
    ) -> u64 {
        self.submissions += 1;
        let planned = submission.planned();
        let (stage, attempt) = (&planned.name, submission.attempt);
        let row = tables.run(run);
        let place = row.and_then(|row| row.place(stage));
        let recorded = row.zip(place).and_then(|(row, place)| row.attempts.get(&(place, attempt)));
        let is_recorded = recorded.is_some_and(|recorded| recorded.token == submission.token);
        self.check(is_recorded, Invariant::WriteAhead, || {
            format!("{stage}/{attempt} of {run} starts, but {recorded:?} is recorded")
        });
        // An engine that was stopped while another took the run cannot know how that changed it.
        let holds_lease = self.leases.get(run) == Some(&engine);
        if let Some(row) = row.filter(|_| holds_lease) {
            self.needs_are_met(tables, row, submission);
        }
        let drive = self.drives.get(&process).cloned();
        let published = self.published.contains_key(&(run.clone(), stage.clone()));
        self.check(!holds_lease || !published, Invariant::NotRepeated, || {
            format!("{stage}/{attempt} of {run} starts, though {stage} is published")
        });
        if let (Some(drive), Some(recorded)) = (&drive, recorded) {
            // What cannot be read may have changed: such a stage runs whatever is known of it.
            let is_readable = planned.sources.is_empty() || self.all_readable;
            let reusable = planned.cache
                && is_readable
                && drive.use_cache
                && drive.selection.is_empty()
                && drive.losses_before == self.losses
                && drive.published_before.contains(&recorded.fingerprint);
            self.check(!reusable, Invariant::NotRepeated, || {
                format!("{stage}/{attempt} of {run} starts, though its outputs are known")
            });
        }
        let machine = drive.map_or(Slots { cpus: 0, memory: 0, gpus: 0 }, |drive| drive.slots);
        let occupies = Slots::of_resources(&planned.resources, &machine);
        self.last_worker += 1;
        let names = names_of(&planned.resources);
        self.workers.insert(self.last_worker, Worker { process, occupies, names });
        let mut held: BTreeMap<(bool, &str), u32> = BTreeMap::new();
        for (is_mutex, name, share) in self.workers.values().flat_map(|worker| &worker.names) {
            *held.entry((*is_mutex, name)).or_default() += share;
        }
        let over = held.into_iter().find(|((is_mutex, name), held)| *held > size(*is_mutex, name));
        let over = over.map(|found| format!("{stage}/{attempt} of {run}: held is {found:?}"));
        self.check(over.is_none(), Invariant::NamedSlots, || over.unwrap_or_default());
        let (mut cpus, mut memory, mut gpus) = (0, 0, 0);
        for worker in self.workers.values().filter(|worker| worker.process == process) {
            cpus += worker.occupies.cpus;
            memory += worker.occupies.memory;
            gpus += worker.occupies.gpus;
        }
        let fits = cpus <= machine.cpus && memory <= machine.memory && gpus <= machine.gpus;
        self.check(fits, Invariant::Slots, || {
            format!("{stage}/{attempt}: {cpus} cpus, {memory} bytes, {gpus} gpus of {machine:?}")
        });
        self.last_worker
    }

    fn needs_are_met(&mut self, tables: &Tables, run: &Run, submission: &Submission) {
        let planned = submission.planned();
        let plan: &Plan = &submission.plan;
        let states: Vec<Option<AttemptState>> = planned
            .needs()
            .map(|need| Some(run.stages[run.place(&plan.stage(need).name)?].state))
            .collect();
        let has = |state: &Option<AttemptState>| state.is_some_and(AttemptState::has_outputs);
        let are_met = match planned.join {
            Join::All => states.iter().all(has),
            Join::Any => {
                states.iter().all(|state| state.is_some_and(AttemptState::is_final))
                    && (states.iter().any(has) || self.has_partly(run, submission))
            }
        };
        self.check(are_met, Invariant::InputsFirst, || {
            format!("{} starts, but what it needs is {states:?}", planned.name)
        });
        let mut published = Vec::new();
        for input in &planned.inputs {
            if let InputSource::Select { from, best, .. } = &input.source {
                let chosen = self.best(tables, run, plan, from, best);
                let made = chosen.map(|name| made_by(tables, run, &name, input.output()));
                published.push((input.port.clone(), None, made.flatten()));
                continue;
            }
            let gathers = matches!(input.source, InputSource::Gather { .. });
            let from = input.from().iter().map(|from| plan.stage(*from));
            for name in from.flat_map(|from| self.instances_of(run, from)) {
                let place = run.place(&name);
                let has_ended_well = place.is_some_and(|p| run.stages[p].state.has_outputs());
                if !has_ended_well && planned.join == Join::Any {
                    continue;
                }
                let made = made_by(tables, run, &name, input.output());
                let item = gathers.then(|| name.labels_for(&planned.name));
                published.push((input.port.clone(), item, made));
            }
        }
        let read = submission.inputs.iter();
        let read: Vec<_> =
            read.map(|read| (read.port.clone(), read.item.clone(), Some(read.digest))).collect();
        let chooses = |port: &PortName| {
            let input = planned.inputs.iter().find(|input| input.port == *port);
            input.is_some_and(|input| matches!(input.source, InputSource::Select { .. }))
        };
        let differs = published.iter().zip(&read).find(|(published, read)| published != read);
        let gathers = published.iter().chain(&read).any(|(_, item, _)| item.is_some());
        let invariant = match differs {
            Some(((port, ..), _)) if chooses(port) => Invariant::Chooses,
            _ if gathers => Invariant::Gathers,
            _ => Invariant::InputsFirst,
        };
        self.check(read == published, invariant, || {
            format!("{} reads {read:?}, but published is {published:?}", planned.name)
        });
    }

    /// A worker's process is gone.
    pub fn ends(&mut self, worker: u64) {
        self.workers.remove(&worker);
    }

    // ---- what is told --------------------------------------------------------------------

    /// Somebody hears that something is recorded.
    pub fn told(&mut self, tables: &Tables, run: &RunId, event: &Event, totals: &Totals) {
        let Totals { stages, queued, running, succeeded, cached, failed, skipped, cancelled } =
            *totals;
        let sum = queued + running + succeeded + cached + failed + skipped + cancelled;
        self.check(sum == stages, Invariant::Truthful, || format!("{totals:?} do not add up"));
        if !event.body.is_kept() {
            return;
        }
        let events = tables.run(run).map(|run| &run.events).into_iter().flatten();
        let kept = events
            .rev()
            .filter(|(sequence, _)| !self.acknowledged.contains_key(sequence))
            .find(|(_, kept)| is_same(kept, event))
            .map(|(sequence, kept)| (*sequence, kept.clone()));
        match kept {
            Some((sequence, kept)) => {
                self.acknowledged.insert(sequence, (run.clone(), kept));
            }
            None => self.object(
                Invariant::Remembered,
                format!("{:?} of {run} is told, but not recorded", event.body),
            ),
        }
    }

    /// Everything that was acknowledged is still there.
    pub fn look_again(&mut self, tables: &Tables) {
        let lost = self.acknowledged.iter().find(|(sequence, (run, event))| {
            let kept = tables.run(run).and_then(|run| run.events.get(sequence));
            // An event never changes, so it is the very one.
            kept.is_none_or(|kept| !Arc::ptr_eq(kept, event))
        });
        let lost = lost.map(|(sequence, (run, _))| format!("event {sequence} of {run} is gone"));
        if let Some(lost) = lost {
            self.object(Invariant::Remembered, lost);
        }
    }

    /// A power cut took back what was not flushed, which may only be beginnings.
    pub fn power_was_cut(&mut self, tables: &Tables) {
        self.workers.clear();
        self.running.clear();
        self.acknowledged.retain(|sequence, (run, _)| {
            tables.run(run).is_some_and(|run| run.events.contains_key(sequence))
        });
        let gone = self.published.keys().find(|(run, stage)| {
            let row = tables.run(run);
            let place = row.and_then(|row| row.place(stage));
            !row.zip(place).is_some_and(|(row, place)| row.stages[place].state.has_outputs())
        });
        let gone = gone.map(|(run, stage)| format!("a power cut took {stage} of {run} back"));
        if let Some(gone) = gone {
            self.object(Invariant::Remembered, gone);
        }
    }

    pub fn artifact_lost(&mut self, digest: Digest, now: Duration) {
        self.losses += 1;
        self.ever_lost.insert(digest);
        self.lost.insert(digest, now);
    }

    /// A command has ended.
    pub fn command_ended(&mut self, lab: &Lab, engine: Token, result: &EngineResult<RunOutcome>) {
        match result {
            // Another command was quicker, and left nothing to do.
            Err(EngineError::Store(StoreError::Refused(_)))
                if !self.drivers.contains(&engine.0) => {}
            Ok(outcome) if outcome.began == Began::NothingToDo => {
                let tables = lock(&lab.tables).tables.clone();
                // Another command may have taken the run up since.
                let ended = tables.run(&outcome.run).is_some_and(|run| {
                    run.events
                        .values()
                        .any(|event| event.body == EventBody::RunFinished { state: outcome.state })
                });
                self.check(ended, Invariant::Truthful, || {
                    format!("nothing to do in {}, which never {}", outcome.run, outcome.state)
                });
            }
            Ok(outcome) => {
                let ended = self.ended.get(&engine.0).copied();
                let holds = ended == Some(outcome.state);
                self.check(holds, Invariant::Truthful, || {
                    format!("run {} {}, but recorded is {ended:?}", outcome.run, outcome.state)
                });
                let done = outcome.totals.done() == outcome.totals.stages;
                self.check(done, Invariant::Truthful, || format!("{:?}", outcome.totals));
            }
            Err(EngineError::Internal(what)) => {
                self.object(Invariant::Truthful, format!("a defect: {what}"));
            }
            Err(EngineError::Store(StoreError::StaleToken { .. } | StoreError::Refused(_))) => {
                let what = format!("the engine told what does not fit: {result:?}");
                self.object(Invariant::Truthful, what);
            }
            Err(EngineError::Store(StoreError::Leased { .. }))
            | Err(EngineError::LeaseLost { .. } | EngineError::NotThere { .. }) => {}
            Err(error) => {
                let struck = lab.struck.load(std::sync::atomic::Ordering::Relaxed) > 0;
                let what = format!("a command failed for no reason: {error:?}");
                self.check(struck, Invariant::Truthful, || what);
            }
        }
    }
}

/// What a stage has published at a port.
fn made_by(tables: &Tables, run: &Run, stage: &StageName, port: &PortName) -> Option<Digest> {
    let outputs = tables.outputs_of(run, run.place(stage)?);
    outputs.iter().find(|output| output.port == *port).map(|output| output.digest)
}

/// How much there is of a name.
fn size(is_mutex: bool, name: &str) -> u32 {
    let named = crate::graphs::named();
    let known = named.iter().find(|(known, _)| !is_mutex && known == name);
    known.map_or(1, |(_, size)| *size)
}

/// What a stage holds of names while it runs.
fn names_of(resources: &Resources) -> Vec<(bool, String, u32)> {
    let named = resources.named.iter();
    let named = named.map(|(name, share)| (false, name.clone(), (*share).min(size(false, name))));
    named.chain(resources.mutex.iter().map(|name| (true, name.clone(), 1))).collect()
}

/// Whether an event is kept as it was told. The parts of a fingerprint are kept elsewhere.
fn is_same(kept: &Event, told: &Event) -> bool {
    use EventBody::{AttemptFinished, AttemptStarted, StageCached};
    kept.time == told.time
        && match (&kept.body, &told.body) {
            (
                AttemptStarted { stage, attempt, token, .. },
                AttemptStarted { stage: told, attempt: told_attempt, token: told_token, .. },
            ) => (stage, attempt, token) == (told, told_attempt, told_token),
            (
                AttemptFinished { stage, attempt, token, state, .. },
                AttemptFinished {
                    stage: told,
                    attempt: told_attempt,
                    token: told_token,
                    state: told_state,
                    ..
                },
            ) => (stage, attempt, token, state) == (told, told_attempt, told_token, told_state),
            (StageCached { stage, .. }, StageCached { stage: told, .. }) => stage == told,
            (kept, told) => kept == told,
        }
}
