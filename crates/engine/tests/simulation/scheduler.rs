//! Runs tasks one step at a time, in an order that follows from a seed, on a clock of its own.
//!
//! A step polls one task once. Time stands still while a task can be polled, but for some
//! microseconds a step; when none can, it goes on to the next moment that somebody waits for.
//! Tasks belong to processes, which can be killed between any two of their steps, and stopped for
//! a while.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use wick_engine::world::Task;

use crate::dice::Dice;

/// Tasks that live and die together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

/// People, and the course of things.
pub const OUTSIDE: ProcessId = ProcessId(0);

/// The database's server.
pub const DATABASE: ProcessId = ProcessId(1);

/// What attempts run in.
pub const WORKERS: ProcessId = ProcessId(2);

/// A task of the scheduler.
pub type TaskId = u64;

/// What a step was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A task was polled.
    Polled,
    /// The time went on.
    Waited,
    /// Nothing can happen any more.
    Nothing,
}

/// Runs tasks.
pub struct Scheduler {
    state: Mutex<State>,
    woken: Arc<Woken>,
}

struct State {
    dice: Dice,
    now: Duration,
    steps: u64,
    last_task: TaskId,
    /// Tasks that wait to be polled; the one that is being polled has no future here.
    tasks: BTreeMap<TaskId, (ProcessId, Option<Task>)>,
    ready: Vec<TaskId>,
    timers: BTreeMap<(Duration, u64), Waker>,
    last_timer: u64,
    processes: BTreeMap<ProcessId, Process>,
    /// What tells two courses apart: every task polled, and when.
    hash: u64,
}

#[derive(Debug, Default)]
struct Process {
    is_dead: bool,
    polls: u64,
    dies_after: Option<u64>,
    stalled_until: Duration,
}

/// Tasks that were woken since they were last looked at.
#[derive(Default)]
struct Woken(Mutex<BTreeSet<TaskId>>);

struct TaskWaker {
    task: TaskId,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.woken.0).insert(self.task);
    }
}

/// Locks; that another test thread has panicked is its own affair.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scheduler {
    pub fn new(dice: Dice) -> Arc<Self> {
        let state = State {
            dice,
            now: Duration::ZERO,
            steps: 0,
            last_task: 0,
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            timers: BTreeMap::new(),
            last_timer: 0,
            processes: BTreeMap::new(),
            hash: 0xcbf2_9ce4_8422_2325,
        };
        Arc::new(Self { state: Mutex::new(state), woken: Arc::default() })
    }

    pub fn now(&self) -> Duration {
        lock(&self.state).now
    }

    pub fn steps(&self) -> u64 {
        lock(&self.state).steps
    }

    /// What differs if anything went differently.
    pub fn hash(&self) -> u64 {
        lock(&self.state).hash
    }

    /// Begins a task of `process`. A dead process begins nothing.
    pub fn spawn(&self, process: ProcessId, task: Task) -> TaskId {
        let mut state = lock(&self.state);
        state.last_task += 1;
        let id = state.last_task;
        if state.processes.entry(process).or_default().is_dead {
            drop(state);
            drop(task);
            return id;
        }
        state.tasks.insert(id, (process, Some(task)));
        state.ready.push(id);
        id
    }

    /// Ends a task, if it still goes on.
    pub fn abort(&self, task: TaskId) {
        let removed = lock(&self.state).tasks.remove(&task);
        drop(removed);
    }

    /// Lets a process die after so many polls of its tasks.
    pub fn die_after(&self, process: ProcessId, polls: u64) {
        lock(&self.state).processes.entry(process).or_default().dies_after = Some(polls);
    }

    /// Kills a process: none of its tasks goes on, and none begins.
    pub fn kill(&self, process: ProcessId) {
        lock(&self.state).processes.entry(process).or_default().is_dead = true;
        self.end_tasks(process);
    }

    /// Ends all tasks of a process.
    pub fn end_tasks(&self, process: ProcessId) {
        let mut state = lock(&self.state);
        let gone: Vec<TaskId> =
            state.tasks.iter().filter(|(_, (of, _))| *of == process).map(|(id, _)| *id).collect();
        let tasks: Vec<_> = gone.iter().map(|id| state.tasks.remove(id)).collect();
        state.mix(u64::from(process.0));
        // What a task holds may call back when it is dropped.
        drop(state);
        drop(tasks);
    }

    /// Stops a process for a while, as SIGSTOP does. The rest of the world goes on.
    pub fn stall(&self, process: ProcessId, until: Duration) {
        lock(&self.state).processes.entry(process).or_default().stalled_until = until;
    }

    pub fn is_dead(&self, process: ProcessId) -> bool {
        lock(&self.state).processes.get(&process).is_some_and(|process| process.is_dead)
    }

    /// How often the tasks of a process were polled.
    pub fn polls(&self, process: ProcessId) -> u64 {
        lock(&self.state).processes.get(&process).map_or(0, |process| process.polls)
    }

    /// Does one step.
    pub fn step(&self) -> Step {
        let mut state = lock(&self.state);
        state.steps += 1;
        state.fire_timers();
        let woken = std::mem::take(&mut *lock(&self.woken.0));
        for task in woken {
            if state.tasks.contains_key(&task) && !state.ready.contains(&task) {
                state.ready.push(task);
            }
        }
        let Some((id, process, mut task)) = state.take_ready() else {
            return if state.wait() { Step::Waited } else { Step::Nothing };
        };
        let now = state.now.as_micros() as u64;
        state.mix(id);
        state.mix(now);
        drop(state);
        let waker = Waker::from(Arc::new(TaskWaker { task: id, woken: self.woken.clone() }));
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = lock(&self.state);
        let micros = state.dice.below(20);
        state.now += Duration::from_micros(micros);
        let mut over = Some(task);
        match polled {
            Poll::Ready(()) => drop(state.tasks.remove(&id)),
            // Unless it was killed in the meantime.
            Poll::Pending => {
                if let Some((_, place)) = state.tasks.get_mut(&id) {
                    *place = over.take();
                }
            }
        }
        let entry = state.processes.entry(process).or_default();
        entry.polls += 1;
        let dies = !entry.is_dead && entry.dies_after == Some(entry.polls);
        drop(state);
        drop(over);
        if dies {
            self.kill(process);
        }
        Step::Polled
    }

    /// Ends when the time has come to `at`.
    pub fn sleep_until(self: &Arc<Self>, at: Duration) -> Sleep {
        Sleep { scheduler: self.clone(), at, timer: None }
    }

    /// Ends after `wait`.
    pub fn sleep(self: &Arc<Self>, wait: Duration) -> Sleep {
        self.sleep_until(self.now() + wait)
    }
}

impl State {
    fn mix(&mut self, number: u64) {
        // FNV-1a over words.
        self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn fire_timers(&mut self) {
        while let Some(timer) = self.timers.first_entry()
            && timer.key().0 <= self.now
        {
            timer.remove().wake();
        }
    }

    /// Any of the tasks that can be polled.
    fn take_ready(&mut self) -> Option<(TaskId, ProcessId, Task)> {
        let (tasks, processes, now) = (&self.tasks, &self.processes, self.now);
        self.ready.retain(|id| tasks.contains_key(id));
        let stalled = |id: &TaskId| {
            let process = tasks.get(id).and_then(|(process, _)| processes.get(process));
            process.is_some_and(|process| process.stalled_until > now)
        };
        let places: Vec<usize> =
            (0..self.ready.len()).filter(|place| !stalled(&self.ready[*place])).collect();
        if places.is_empty() {
            return None;
        }
        let place = places[self.dice.below(places.len() as u64) as usize];
        let id = self.ready.swap_remove(place);
        let (process, task) = self.tasks.get_mut(&id)?;
        Some((id, *process, task.take()?))
    }

    /// Lets the time go on to the next moment at which something can happen.
    fn wait(&mut self) -> bool {
        let timer = self.timers.keys().next().map(|(at, _)| *at);
        let stalls = self.ready.iter().filter_map(|id| {
            let (process, _) = self.tasks.get(id)?;
            Some(self.processes.get(process)?.stalled_until)
        });
        let Some(next) = stalls.chain(timer).min() else { return false };
        self.now = self.now.max(next);
        true
    }
}

/// Ends at a moment.
pub struct Sleep {
    scheduler: Arc<Scheduler>,
    at: Duration,
    timer: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let scheduler = self.scheduler.clone();
        let mut state = lock(&scheduler.state);
        if let Some(timer) = self.timer.take() {
            state.timers.remove(&timer);
        }
        if state.now >= self.at {
            return Poll::Ready(());
        }
        state.last_timer += 1;
        let timer = (self.at, state.last_timer);
        state.timers.insert(timer, context.waker().clone());
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            lock(&self.scheduler.state).timers.remove(&timer);
        }
    }
}
