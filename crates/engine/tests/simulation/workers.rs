//! An executor whose attempts only pretend: they take some time, measure something, and end one
//! way or another.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use wick_core::{
    Digest, Exit, Failure, FailureCause, MetricPoint, Output, Progress, RunId, Token, Usage,
};
use wick_engine::executor::{Change, End, Executor, Executors, Made, News, StopReason, Submission};
use wick_engine::{Carbon, EngineError, EngineResult};
use wick_plan::StageIndex;

use crate::bugs::Bug;
use crate::graphs::{self, METRIC, Nature};
use crate::lab::Lab;
use crate::scheduler::{ProcessId, TaskId, WORKERS, lock};

/// Why attempts fail that do.
const CAUSES: [FailureCause; 8] = [
    FailureCause::Exit,
    FailureCause::Exit,
    FailureCause::Signal,
    FailureCause::OutOfMemory,
    FailureCause::Io,
    FailureCause::Spawn,
    FailureCause::Gate,
    FailureCause::Output,
];

/// The executors of one process.
pub struct SimulatedExecutors {
    pub lab: Arc<Lab>,
    pub process: ProcessId,
}

/// The attempts of one run that a process drives.
struct SimulatedExecutor {
    lab: Arc<Lab>,
    process: ProcessId,
    run: RunId,
    mail: Arc<Mail>,
    working: BTreeMap<(StageIndex, u32), Working>,
}

struct Working {
    worker: u64,
    task: TaskId,
    stop: Arc<Stop>,
}

/// News on its way to the engine.
#[derive(Default)]
struct Mail(Mutex<(VecDeque<News>, Option<Waker>)>);

/// Tells an attempt that it is to stop.
#[derive(Default)]
struct Stop {
    reason: Mutex<Option<StopReason>>,
    asked: tokio::sync::Notify,
}

/// An attempt under way.
struct Attempt {
    lab: Arc<Lab>,
    submission: Submission,
    worker: u64,
    stop: Arc<Stop>,
    mail: Arc<Mail>,
}

impl Executors for SimulatedExecutors {
    fn run_folder(&self, run: &RunId) -> PathBuf {
        PathBuf::from("/runs").join(run.as_str())
    }

    fn begin(&self, run: &RunId, _: Carbon) -> EngineResult<Box<dyn Executor>> {
        Ok(Box::new(SimulatedExecutor {
            lab: self.lab.clone(),
            process: self.process,
            run: run.clone(),
            mail: Arc::default(),
            working: BTreeMap::new(),
        }))
    }
}

fn broken() -> EngineError {
    let source = std::io::Error::other("it is broken");
    EngineError::System { what: "carry attempts out".to_owned(), source }
}

#[async_trait]
impl Executor for SimulatedExecutor {
    fn expect(&mut self, _submission: &Submission) -> EngineResult<()> {
        if self.lab.strikes(self.lab.faults.executor) { Err(broken()) } else { Ok(()) }
    }

    fn submit(&mut self, mut submission: Submission) -> EngineResult<()> {
        if submission.inputs.iter().any(|input| input.item.is_some())
            && self.lab.has_bug(Bug::GathersTooFew)
        {
            submission.inputs.pop();
        }
        let (stage, attempt) = (submission.stage, submission.attempt);
        let engine = lock(&self.lab.processes).get(&self.process).map_or(0, |m| m.token);
        let disk = lock(&self.lab.tables);
        let worker = self.lab.judge().starts(
            &disk.tables,
            self.process,
            Token(engine),
            &self.run,
            &submission,
        );
        drop(disk);
        self.lab.note(|| {
            let name = &submission.planned().name;
            format!("{:?} submits {name}/{attempt} of {}", self.process, self.run)
        });
        let stop: Arc<Stop> = Arc::default();
        let (mail, lab) = (self.mail.clone(), self.lab.clone());
        let task = Attempt { lab, submission, worker, stop: stop.clone(), mail }.live();
        let task = self.lab.scheduler.spawn(WORKERS, Box::pin(task));
        self.working.insert((stage, attempt), Working { worker, task, stop });
        Ok(())
    }

    fn stop(&mut self, stage: StageIndex, attempt: u32, reason: StopReason) {
        if let Some(working) = self.working.get(&(stage, attempt)) {
            lock(&working.stop.reason).get_or_insert(reason);
            working.stop.asked.notify_one();
        }
    }

    async fn news(&mut self) -> EngineResult<Vec<News>> {
        let news = poll_fn(|context| {
            let (waiting, waker) = &mut *lock(&self.mail.0);
            if waiting.is_empty() {
                *waker = Some(context.waker().clone());
                return Poll::Pending;
            }
            let count = self.lab.dice().between(1, waiting.len() as u64) as usize;
            Poll::Ready(waiting.drain(..count).collect::<Vec<_>>())
        })
        .await;
        if self.lab.strikes(self.lab.faults.executor) { Err(broken()) } else { Ok(news) }
    }
}

impl Drop for SimulatedExecutor {
    fn drop(&mut self) {
        let orphans = self.lab.faults.orphans;
        for working in self.working.values() {
            if !orphans {
                self.lab.scheduler.abort(working.task);
            }
            self.lab.judge().ends(working.worker);
        }
    }
}

impl Attempt {
    /// The whole life of the attempt.
    async fn live(self) {
        let scheduler = self.lab.scheduler.clone();
        let began = scheduler.now();
        let (starts, takes) = {
            let mut dice = self.lab.dice();
            (dice.wait(Duration::from_millis(5)), dice.wait(self.lab.faults.work))
        };
        // In peace nothing takes too long.
        let timeout = self.submission.planned().timeout.filter(|_| self.lab.is_calm());
        let takes = timeout.map_or(takes, |timeout| takes.min(timeout / 2));
        scheduler.sleep(starts).await;
        self.tell(Change::Spawned { pid: self.worker as u32, started: 1 });
        let nature = Nature::of(self.submission.planned());
        let hangs = self.lab.strikes(self.lab.faults.hang);
        let fails = self.lab.strikes(self.lab.faults.fail);
        let stopped = tokio::select! {
            biased;
            () = self.stop.asked.notified() => true,
            () = scheduler.sleep(takes / 2) => false,
        };
        if !stopped {
            self.measure();
            self.measure();
        }
        let rest = if hangs { Duration::from_secs(60) } else { takes / 2 };
        let stopped = stopped
            || tokio::select! {
                biased;
                () = self.stop.asked.notified() => true,
                () = scheduler.sleep(rest) => false,
            };
        let end = if stopped && !self.lab.strikes(self.lab.faults.stubborn) {
            let grace = self.lab.dice().wait(Duration::from_secs(5));
            scheduler.sleep(grace).await;
            match *lock(&self.stop.reason) {
                Some(StopReason::Timeout) => {
                    End::Failed(failure(FailureCause::Timeout, "it took too long"))
                }
                _ => End::Cancelled,
            }
        } else if nature.is_doomed {
            End::Failed(failure(FailureCause::Data, "it never works"))
        } else if let Some(missing) = self.missing_input() {
            End::Failed(failure(FailureCause::Data, &format!("{missing} is gone")))
        } else if fails || hangs {
            let causes = CAUSES;
            let cause = causes[self.lab.dice().below(causes.len() as u64) as usize];
            End::Failed(failure(cause, "it went wrong"))
        } else {
            let outputs = self.make().await;
            End::Succeeded(Made { outputs, effects: Vec::new() })
        };
        let wall_micros = (scheduler.now() - began).as_micros() as u64;
        let usage = Usage {
            wall_micros,
            cpu_micros: wall_micros / 2,
            max_rss_bytes: 1 << 20,
            ..Usage::default()
        };
        if self.lab.has_bug(Bug::EndsBeforeItIsGone) {
            self.tell(Change::Ended { usage, end });
            scheduler.sleep(Duration::from_secs(2)).await;
            self.lab.judge().ends(self.worker);
            return;
        }
        self.lab.judge().ends(self.worker);
        if !self.lab.has_bug(Bug::NeverTells) {
            self.tell(Change::Ended { usage, end });
        }
    }

    fn missing_input(&self) -> Option<Digest> {
        let there = lock(&self.lab.artifacts);
        let mut inputs = self.submission.inputs.iter().map(|input| input.digest);
        inputs.find(|digest| !there.contains(digest))
    }

    /// Puts every output into the artifact store, one after the other.
    async fn make(&self) -> Vec<Output> {
        let planned = self.submission.planned();
        let mut outputs = Vec::new();
        for output in &planned.outputs {
            let digest = graphs::made(&self.submission, &output.port, &mut self.lab.dice());
            if !self.lab.has_bug(Bug::PublishesNothing) {
                lock(&self.lab.artifacts).insert(digest);
                self.lab.judge().artifact_made(&digest);
            }
            outputs.push(Output {
                port: output.port.clone(),
                port_type: output.port_type,
                digest,
                bytes: 1,
                meta: json!({}),
            });
            let wait = self.lab.dice().wait(Duration::from_millis(3));
            self.lab.scheduler.sleep(wait).await;
        }
        outputs
    }

    /// Measures something, mostly: seldom what is no number, often what others measure, too.
    fn measure(&self) {
        let time = self.lab.time_at(WORKERS);
        let point = {
            let mut dice = self.lab.dice();
            let value = if dice.chance(50) { f64::NAN } else { dice.below(8) as f64 / 4.0 };
            let step = dice.below(4) as i64;
            dice.chance(900).then(|| MetricPoint { key: METRIC.into(), step, time, value })
        };
        self.tell(Change::Measured(point.into_iter().collect()));
        let progress =
            Progress { unit: "step".to_owned(), done: 1.0, total: Some(2.0), note: None };
        self.tell(Change::Progressed(progress));
    }

    /// Sends news: at once or later, once or twice.
    fn tell(&self, change: Change) {
        let (stage, attempt) = (self.submission.stage, self.submission.attempt);
        if self.lab.strikes(self.lab.faults.twice) {
            let again = News { stage, attempt, change: copy(&change) };
            self.send(again, Duration::from_secs(3));
        }
        self.send(News { stage, attempt, change }, self.lab.faults.news_wait);
    }

    fn send(&self, news: News, longest: Duration) {
        let wait = self.lab.dice().wait(longest);
        let mail = self.mail.clone();
        if wait.is_zero() {
            mail.put(news);
        } else {
            self.lab.later(WORKERS, wait, move |_| mail.put(news));
        }
    }
}

impl Mail {
    fn put(&self, news: News) {
        let (waiting, waker) = &mut *lock(&self.0);
        waiting.push_back(news);
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }
}

fn failure(cause: FailureCause, message: &str) -> Failure {
    let exit = Some(Exit::Code(1));
    Failure { cause, message: message.to_owned(), chain: Vec::new(), help: None, exit }
}

fn copy(change: &Change) -> Change {
    match change {
        Change::Spawned { pid, started } => Change::Spawned { pid: *pid, started: *started },
        Change::Measured(points) => Change::Measured(points.clone()),
        Change::Progressed(progress) => Change::Progressed(progress.clone()),
        Change::Ended { usage, end } => {
            let end = match end {
                End::Succeeded(made) => End::Succeeded(made.clone()),
                End::Failed(failure) => End::Failed(failure.clone()),
                End::Cancelled => End::Cancelled,
            };
            Change::Ended { usage: *usage, end }
        }
    }
}
