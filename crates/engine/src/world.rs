//! What the engine asks of the process that it lives in: the time, chance, and tasks beside its
//! own.
//!
//! Everything that would make two equal runs of the engine differ comes from here, or from the
//! other seams: the store, [`files`](crate::files) and the [`executor`](crate::executor). So a
//! test that makes all of them itself can repeat a run of the engine exactly.

use std::pin::Pin;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use wick_core::Timestamp;
use wick_store::EngineId;

use crate::error::EngineResult;
use crate::identity;
use crate::wake::{self, Wake};

/// Something that goes on beside the engine until it is done.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The process that the engine lives in.
#[async_trait]
pub trait World: Send + Sync {
    /// This process, as an engine that drives runs.
    ///
    /// # Errors
    /// If the system has no random numbers to give.
    fn engine(&self) -> EngineResult<EngineId>;

    /// The time of day, which may jump.
    fn now(&self) -> Timestamp;

    /// How long this world has been there: a clock that only goes forward.
    fn elapsed(&self) -> Duration;

    /// Ends when [`elapsed`](Self::elapsed) has come to `at`.
    async fn sleep_until(&self, at: Duration);

    /// What changes when somebody calls this process to look after its runs, from now on.
    fn wake(&self) -> Wake;

    /// A random number.
    ///
    /// # Errors
    /// If the system has none to give.
    fn random(&self) -> EngineResult<u64>;

    /// Lets `task` go on beside its caller. It ends with the process at the latest.
    fn spawn(&self, task: Task);
}

/// Ends after `wait`.
pub(crate) async fn sleep(world: &dyn World, wait: Duration) {
    world.sleep_until(world.elapsed() + wait).await;
}

/// The world as it is. Must be used on a tokio runtime.
#[derive(Debug)]
pub struct RealWorld {
    began: Instant,
}

impl RealWorld {
    /// The world, which begins now.
    pub fn new() -> Self {
        Self { began: Instant::now() }
    }
}

impl Default for RealWorld {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl World for RealWorld {
    fn engine(&self) -> EngineResult<EngineId> {
        identity::engine_id()
    }

    fn now(&self) -> Timestamp {
        identity::now()
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    async fn sleep_until(&self, at: Duration) {
        tokio::time::sleep_until((self.began + at).into()).await;
    }

    fn wake(&self) -> Wake {
        wake::listen()
    }

    fn random(&self) -> EngineResult<u64> {
        identity::random()
    }

    fn spawn(&self, task: Task) {
        tokio::spawn(task);
    }
}
