//! The way of one process to the [database](crate::database), and everything that can go wrong on
//! it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use wick_store::{EngineId, StoreResult};

use crate::database::{Tables, refusal, unknown};
use crate::lab::Lab;
use crate::scheduler::{DATABASE, ProcessId, lock};

/// The store, as `process` has it.
pub struct SimulatedStore {
    pub lab: Arc<Lab>,
    pub process: ProcessId,
}

/// What becomes of a write.
enum Fate {
    Fine,
    Refused,
    /// It happens, and nobody hears of it.
    Unheard,
    /// It does not happen, and nobody hears of it.
    Unsent,
    /// Nobody hears of it, and it happens later.
    Late(Duration),
}

/// A transaction that is under way at the server: others wait for it.
struct Held(Arc<Lab>);

impl Held {
    fn new(lab: &Arc<Lab>) -> Self {
        lab.held.fetch_add(1, Ordering::Relaxed);
        Self(lab.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets others go first.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl SimulatedStore {
    /// The way to the database, or back. A process can die on it.
    async fn way(&self) {
        Yield(false).await;
        let wait = self.lab.dice().wait(self.lab.faults.store_wait);
        self.lab.scheduler.sleep(wait).await;
    }

    pub async fn read<T>(&self, look: impl FnOnce(&Tables) -> T + Send) -> StoreResult<T> {
        self.way().await;
        if self.lab.strikes(self.lab.faults.refuse) {
            return Err(refusal("the database is locked"));
        }
        let answer = look(&lock(&self.lab.tables).tables);
        // The way back is taken elsewhere: what was read is the process's own by now.
        Ok(answer)
    }

    fn fate(&self) -> Fate {
        let lab = &self.lab;
        if lab.strikes(lab.faults.refuse) {
            return Fate::Refused;
        }
        if lab.strikes(lab.faults.unknown) {
            let mut dice = lab.dice();
            return match dice.below(4) {
                0 | 1 => Fate::Unheard,
                2 => Fate::Unsent,
                _ => Fate::Late(dice.wait(Duration::from_millis(300))),
            };
        }
        Fate::Fine
    }

    /// Lets the server do it, whatever becomes of this process.
    fn serve<T: Send + 'static>(
        &self,
        flushed: bool,
        wait: Duration,
        work: impl FnOnce(&Lab, &mut Tables) -> StoreResult<T> + Send + 'static,
    ) -> tokio::sync::oneshot::Receiver<StoreResult<T>> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let lab = self.lab.clone();
        let held = Held::new(&lab);
        let wait = self.lab.scheduler.sleep(wait);
        let task = async move {
            wait.await;
            let _ = answer.send(lab.commit(flushed, work));
            drop(held);
        };
        self.lab.scheduler.spawn(DATABASE, Box::pin(task));
        answered
    }

    /// One transaction.
    pub async fn write<T: Send + 'static>(
        &self,
        flushed: bool,
        work: impl FnOnce(&Lab, &mut Tables) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.way().await;
        let fate = self.fate();
        // Transactions come one after the other, though their commits are seen late.
        while self.lab.held.load(Ordering::Relaxed) > 0 {
            self.lab.scheduler.sleep(Duration::from_millis(1)).await;
        }
        let done = match fate {
            Fate::Refused => return Err(refusal("the database is locked")),
            Fate::Unsent => {
                self.way().await;
                return Err(unknown());
            }
            Fate::Late(wait) => {
                drop(self.serve(flushed, wait, work));
                self.way().await;
                return Err(unknown());
            }
            Fate::Fine | Fate::Unheard if self.lab.faults.remote => {
                let answer = self.serve(flushed, Duration::ZERO, work);
                answer.await.unwrap_or_else(|_| Err(unknown()))
            }
            Fate::Fine | Fate::Unheard => self.lab.commit(flushed, work),
        };
        self.way().await;
        match (fate, done) {
            (Fate::Unheard, Ok(_)) => Err(unknown()),
            (_, done) => done,
        }
    }

    /// Whether a process of this machine lives; of others nothing is known.
    pub fn is_alive(lab: &Lab, process: ProcessId, engine: &EngineId) -> Option<bool> {
        let machines = lock(&lab.processes);
        let host = machines.get(&process).map_or(0, |machine| machine.host);
        let is_here = engine.host == host_name(host);
        is_here.then(|| !lab.scheduler.is_dead(ProcessId(engine.pid)))
    }
}

/// What a machine is called.
pub fn host_name(host: u32) -> String {
    format!("machine-{host}")
}
