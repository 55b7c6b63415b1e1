//! The world of one simulated course of things: what all its parts share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wick_core::{Digest, Timestamp};
use wick_store::StoreResult;

use crate::bugs::Bug;
use crate::course::Terms;
use crate::database::Tables;
use crate::dice::Dice;
use crate::judge::Judge;
use crate::replay::{Answer, Call};
use crate::scheduler::{DATABASE, ProcessId, Scheduler, WORKERS, lock};
use crate::sharing::Holding;

/// The moment at which every course begins.
const EPOCH: i64 = 1_700_000_000_000_000;

/// How often what goes wrong, in cases of a thousand unless it says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The store refuses.
    pub refuse: u64,
    /// The store does not say whether a write happened.
    pub unknown: u64,
    /// The longest that the store takes before and after it does something.
    pub store_wait: Duration,
    /// Whether the store is another process, which goes on with a write whose client died.
    pub remote: bool,
    /// An attempt fails.
    pub fail: u64,
    /// An attempt hangs until it is stopped.
    pub hang: u64,
    /// An attempt ends well although it was stopped, or takes its time to end.
    pub stubborn: u64,
    /// The executor can do nothing any more.
    pub executor: u64,
    /// News of the executor comes twice.
    pub twice: u64,
    /// The longest that news of the executor takes.
    pub news_wait: Duration,
    /// What a dead engine's attempts do: end, or go on unheard.
    pub orphans: bool,
    /// The longest that an attempt takes.
    pub work: Duration,
    /// A source cannot be read.
    pub unreadable: u64,
}

/// All that is shared.
pub struct Lab {
    pub scheduler: Arc<Scheduler>,
    pub faults: Faults,
    /// From here on nothing goes wrong by itself.
    pub calm: AtomicBool,
    /// How many things went wrong.
    pub struck: AtomicU64,
    /// How many transactions are under way at the database's server.
    pub held: AtomicU64,
    pub bug: Option<Bug>,
    pub judge: Mutex<Judge>,
    pub tables: Mutex<Disk>,
    pub artifacts: Mutex<BTreeSet<Digest>>,
    /// The versions of source files.
    pub sources: Mutex<BTreeMap<PathBuf, u64>>,
    pub dice: Mutex<Dice>,
    pub processes: Mutex<BTreeMap<ProcessId, Machine>>,
    /// Named slots and mutexes that are held.
    pub holdings: Mutex<Vec<Holding>>,
    pub trace: Option<Mutex<Vec<String>>>,
    /// What the database was called for, where that is to be compared with a real one.
    pub calls: Option<Mutex<Vec<(Call, Answer)>>>,
}

/// The database's rows, and how they were since they were last flushed.
#[derive(Default)]
pub struct Disk {
    pub tables: Tables,
    /// What a power cut may leave, from the last flush on.
    pub unflushed: Vec<Tables>,
}

/// Where a process runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine {
    pub host: u32,
    /// By how many microseconds its clock is ahead.
    pub skew: i64,
    /// Its token as an engine.
    pub token: u64,
}

impl Lab {
    pub fn new(mut dice: Dice, faults: Faults, terms: Terms) -> Arc<Self> {
        let mut judge = Judge::default();
        judge.all_readable = faults.unreadable == 0;
        Arc::new(Self {
            scheduler: Scheduler::new(dice.fork()),
            faults,
            calm: AtomicBool::new(false),
            struck: AtomicU64::new(0),
            held: AtomicU64::new(0),
            bug: terms.bug,
            judge: Mutex::new(judge),
            tables: Mutex::default(),
            artifacts: Mutex::default(),
            sources: Mutex::default(),
            dice: Mutex::new(dice.fork()),
            processes: Mutex::default(),
            holdings: Mutex::default(),
            trace: terms.trace.then(Mutex::default),
            calls: terms.compare.then(Mutex::default),
        })
    }

    /// Whether nothing goes wrong by itself any more.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether something goes wrong that does so in `per_mille` cases of a thousand.
    pub fn strikes(&self, per_mille: u64) -> bool {
        let strikes = !self.is_calm() && per_mille > 0 && self.dice().chance(per_mille);
        if strikes {
            self.struck.fetch_add(1, Ordering::Relaxed);
        }
        strikes
    }

    pub fn dice(&self) -> std::sync::MutexGuard<'_, Dice> {
        lock(&self.dice)
    }

    pub fn judge(&self) -> std::sync::MutexGuard<'_, Judge> {
        lock(&self.judge)
    }

    /// Whether the planted bug is this one, and shows now.
    pub fn has_bug(&self, bug: Bug) -> bool {
        self.bug == Some(bug) && self.dice().chance(bug.per_mille())
    }

    /// Notes what happens, for those who read the trace.
    pub fn note(&self, what: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let now = self.scheduler.now();
            let line =
                format!("{:>6} {:>12.6} {}", self.scheduler.steps(), now.as_secs_f64(), what());
            lock(trace).push(line);
        }
    }

    /// Notes what the database was called for, and what it answered.
    pub fn log<T>(&self, result: &StoreResult<T>, call: impl FnOnce() -> Call) {
        if let Some(calls) = &self.calls {
            lock(calls).push((call(), Answer::of(result)));
        }
    }

    /// The time of day where a process runs.
    pub fn time_at(&self, process: ProcessId) -> Timestamp {
        let skew = lock(&self.processes).get(&process).map_or(0, |machine| machine.skew);
        Timestamp(EPOCH + self.scheduler.now().as_micros() as i64 + skew)
    }

    /// Writes to the database in one step. What is not flushed a power cut may take back.
    pub fn commit<T>(
        &self,
        flushed: bool,
        write: impl FnOnce(&Self, &mut Tables) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let mut disk = lock(&self.tables);
        let before = (!flushed).then(|| disk.tables.clone());
        let done = write(self, &mut disk.tables);
        if done.is_ok() {
            match before {
                Some(before) => disk.unflushed.push(before),
                None => disk.unflushed.clear(),
            }
        }
        drop(disk);
        done
    }

    /// Ends every process, and takes back what was not flushed, or the later part of it.
    pub fn cut_power(&self) {
        let processes: Vec<ProcessId> = lock(&self.processes).keys().copied().collect();
        for process in processes {
            self.scheduler.kill(process);
        }
        self.scheduler.end_tasks(DATABASE);
        self.scheduler.end_tasks(WORKERS);
        let mut disk = lock(&self.tables);
        let kept = self.dice().below(disk.unflushed.len() as u64 + 1) as usize;
        if kept < disk.unflushed.len() {
            disk.tables = disk.unflushed[kept].clone();
        }
        disk.unflushed.clear();
        let tables = disk.tables.clone();
        drop(disk);
        self.struck.fetch_add(1, Ordering::Relaxed);
        self.note(|| "power cut".to_owned());
        self.judge().power_was_cut(&tables);
    }

    /// Loses or spoils an artifact, if there is one.
    pub fn lose_artifact(&self) {
        let mut artifacts = lock(&self.artifacts);
        if artifacts.is_empty() {
            return;
        }
        let place = self.dice().below(artifacts.len() as u64) as usize;
        if let Some(digest) = artifacts.iter().nth(place).copied() {
            artifacts.remove(&digest);
            self.struck.fetch_add(1, Ordering::Relaxed);
            self.note(|| format!("artifact {} is lost", digest.short()));
            self.judge().artifact_lost(digest, self.scheduler.now());
        }
    }

    /// Lets a process do something later.
    pub fn later(
        self: &Arc<Self>,
        process: ProcessId,
        wait: Duration,
        deed: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) {
        let (lab, sleep) = (self.clone(), self.scheduler.sleep(wait));
        let task = async move {
            sleep.await;
            deed(&lab);
        };
        self.scheduler.spawn(process, Box::pin(task));
    }
}
