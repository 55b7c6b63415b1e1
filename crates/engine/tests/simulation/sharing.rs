//! Named slots and mutexes as all simulated runs share them: what a dead process held is free.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use wick_core::RunId;
use wick_engine::sharing::{Permit, Shared, Sharing, Waits};
use wick_store::StoreResult;
use wick_store::slots::{Obstacle, Want};

use crate::bugs::Bug;
use crate::lab::Lab;
use crate::scheduler::{ProcessId, lock};

/// What a process holds.
pub struct Holding {
    process: ProcessId,
    number: u64,
    wants: Vec<Want>,
}

/// The slots, as `process` has them.
#[derive(Clone)]
pub struct SimulatedSharing {
    pub lab: Arc<Lab>,
    pub process: ProcessId,
}

impl Sharing for SimulatedSharing {
    fn with_run(&self, _: &RunId) -> StoreResult<Arc<dyn Shared>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Shared for SimulatedSharing {
    async fn claim(&self, wants: Vec<Want>, waits: Waits) -> Permit {
        loop {
            if let Some(held) = self.try_take(&wants) {
                return Permit::new(held);
            }
            waits(Obstacle { what: wants[0].to_string(), holder: None, trouble: None });
            let wait = self.lab.dice().wait(Duration::from_millis(500));
            self.lab.scheduler.sleep(wait + Duration::from_millis(1)).await;
        }
    }
}

impl SimulatedSharing {
    fn try_take(&self, wants: &[Want]) -> Option<Held> {
        let ignores_others = self.lab.has_bug(Bug::SharesTooMuch);
        let mut holdings = lock(&self.lab.holdings);
        holdings.retain(|holding| !self.lab.scheduler.is_dead(holding.process));
        let taken = |want: &Want| -> u32 {
            let same = |other: &&Want| (other.is_mutex, &other.name) == (want.is_mutex, &want.name);
            let all = holdings.iter().flat_map(|holding| &holding.wants).filter(same);
            all.map(|other| other.share).sum()
        };
        if !ignores_others && wants.iter().any(|want| taken(want) + want.share > want.size) {
            return None;
        }
        let number = self.lab.dice().next();
        holdings.push(Holding { process: self.process, number, wants: wants.to_vec() });
        Some(Held { lab: self.lab.clone(), number })
    }
}

struct Held {
    lab: Arc<Lab>,
    number: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.lab.holdings).retain(|holding| holding.number != self.number);
    }
}
