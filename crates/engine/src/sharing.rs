//! What is counted by name, and shared with the other runs of a store.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use wick_core::RunId;
use wick_store::StoreResult;
use wick_store::slots::{Obstacle, Slots, Taken, Want};

/// Gives each run its part of what is shared.
pub trait Sharing: Send + Sync {
    /// What is shared, as `run` sees it. Nothing is touched until something is claimed.
    ///
    /// # Errors
    /// If nothing can be shared.
    fn with_run(&self, run: &RunId) -> StoreResult<Arc<dyn Shared>>;
}

/// Named slots and mutexes, as one run sees them.
#[async_trait]
pub trait Shared: Send + Sync {
    /// Takes all that is wanted, or waits until it is there; `waits` hears what for. Whoever drops
    /// the future does not want it any more.
    async fn claim(&self, wants: Vec<Want>, waits: Waits) -> Permit;
}

/// Hears what a claim waits for.
pub type Waits = Box<dyn Fn(Obstacle) + Send + Sync>;

/// What was claimed; ours until it is given back or dropped.
pub struct Permit(Box<dyn Any + Send>);

impl Permit {
    /// A permit that gives back what it stands for when `kept` is dropped.
    pub fn new(kept: impl Any + Send) -> Self {
        Self(Box::new(kept))
    }

    /// Gives it back, as nothing runs any more for which it was claimed. Where it is only dropped,
    /// whoever claims it next makes sure of that.
    pub fn give_back(self) {
        if let Ok(taken) = self.0.downcast::<Taken>() {
            taken.give_back();
        }
    }
}

/// Shares what a store shares.
#[derive(Debug, Clone)]
pub struct StoreSharing {
    location: String,
}

impl StoreSharing {
    /// By the store at `location`, with its password if it has one.
    pub fn new(location: impl Into<String>) -> Self {
        Self { location: location.into() }
    }
}

impl Sharing for StoreSharing {
    fn with_run(&self, run: &RunId) -> StoreResult<Arc<dyn Shared>> {
        Ok(Arc::new(Slots::of_store(&self.location, run)?))
    }
}

#[async_trait]
impl Shared for Slots {
    async fn claim(&self, wants: Vec<Want>, waits: Waits) -> Permit {
        Permit::new(self.take(&wants, waits).await)
    }
}

/// Shares nothing: each run counts by itself. Two that run at once may do together what neither
/// would do alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unshared;

impl Sharing for Unshared {
    fn with_run(&self, _: &RunId) -> StoreResult<Arc<dyn Shared>> {
        Ok(Arc::new(*self))
    }
}

#[async_trait]
impl Shared for Unshared {
    async fn claim(&self, _: Vec<Want>, _: Waits) -> Permit {
        Permit::new(())
    }
}
