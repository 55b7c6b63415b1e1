//! What stages want by name, on its way from other runs and back to them.

use std::task::{Context, Waker};

use tokio::sync::oneshot;
use wick_plan::StageIndex;
use wick_store::slots::{Obstacle, Want};

use super::{Drive, News};
use crate::dispatcher::Message;
use crate::error::EngineResult;
use crate::report::Reporter;
use crate::sharing::Permit;
use crate::world::Task;

/// What was claimed for a stage.
pub(super) struct Claim {
    /// By which its news are told from those of an earlier one.
    number: u64,
    /// Once it was granted.
    permit: Option<Permit>,
    /// Ends the claim when it is dropped.
    _open: oneshot::Sender<()>,
}

impl Drive {
    pub(super) fn claim(&mut self, stage: StageIndex, wants: Vec<Want>) {
        self.last_claim += 1;
        let number = self.last_claim;
        let (open, closed) = oneshot::channel::<()>();
        let (shared, news) = (self.setup.shared.clone(), self.news.clone());
        let waits = news.clone();
        let waits = Box::new(move |obstacle| {
            let _ = waits.send(News::Waits { stage, number, obstacle });
        });
        let mut task: Task = Box::pin(async move {
            tokio::select! {
                biased;
                _ = closed => {}
                permit = shared.claim(wants, waits) => {
                    let _ = news.send(News::Granted { stage, number, permit });
                }
            }
        });
        self.stages[stage.get()].claim = Some(Claim { number, permit: None, _open: open });
        // Nearly always nobody else wants it, and the answer is there at once.
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.setup.world.spawn(task);
        }
    }

    pub(super) fn let_go(&mut self, stage: StageIndex) {
        let claim = self.stages[stage.get()].claim.take();
        if let Some(permit) = claim.and_then(|claim| claim.permit) {
            permit.give_back();
        }
    }

    pub(super) fn granted(
        &mut self,
        stage: StageIndex,
        number: u64,
        permit: Permit,
    ) -> EngineResult<()> {
        match &mut self.stages[stage.get()].claim {
            Some(claim) if claim.number == number => claim.permit = Some(permit),
            // It is not wanted any more.
            _ => return Ok(()),
        }
        self.tell(Message::Granted { stage })
    }

    pub(super) fn waits(
        &mut self,
        stage: StageIndex,
        number: u64,
        obstacle: Obstacle,
        reporter: &mut dyn Reporter,
    ) -> EngineResult<()> {
        let is_open = |claim: &Claim| claim.number == number && claim.permit.is_none();
        if !self.stages[stage.get()].claim.as_ref().is_some_and(is_open) {
            return Ok(());
        }
        // Thousands of stages may wait for one thing, one after the other: that is told once.
        let is_ours = obstacle.holder.as_ref() == Some(&self.setup.lease.run);
        if !is_ours && self.told_waits.insert(obstacle.clone()) {
            let name = self.setup.plan.stage(stage).name.clone();
            reporter.stage_waits(&name, &obstacle);
        }
        self.tell(Message::Waits { stage })
    }
}
