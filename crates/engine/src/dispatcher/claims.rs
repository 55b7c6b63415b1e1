//! What is counted by name, and shared with other runs: claimed before a stage starts, and let go
//! when its attempt has ended.
//!
//! Within the run names are counted like the machine, so of all its stages only those are claimed
//! for that have their turn here.

use wick_plan::StageIndex;

use super::stage::{Phase, Stage};
use super::{Action, Dispatcher};

impl Dispatcher {
    /// Lets a stage that was ready occupy what it wants, and start or claim.
    pub(super) fn occupy(&mut self, stage: StageIndex) {
        let Stage { demand, has_claim, .. } = self.stages[stage.get()];
        if has_claim {
            self.pool.take(&demand.of_machine());
            self.ask_start(stage, true);
            return;
        }
        self.pool.take(&demand);
        if demand.has_names() {
            self.stages[stage.get()].has_claim = true;
            self.set(stage, Phase::Claiming { slot: true });
            self.actions.push(Action::Claim { stage, wants: self.pool.wants(&demand) });
        } else {
            self.ask_start(stage, true);
        }
    }

    /// What a stage wants by name is its own.
    pub(super) fn granted(&mut self, stage: StageIndex) {
        let Stage { phase, demand, height, .. } = self.stages[stage.get()];
        let Phase::Claiming { slot } = phase else { return };
        if slot {
            self.ask_start(stage, true);
        } else {
            self.set(stage, Phase::Ready);
            self.ready.push(stage, demand.of_machine(), height);
        }
    }

    /// Another run has what a stage wants: others may have its part of the machine meanwhile.
    pub(super) fn waits(&mut self, stage: StageIndex) {
        let Stage { phase, demand, .. } = self.stages[stage.get()];
        if let Phase::Claiming { slot: true } = phase {
            self.pool.give_machine(&demand);
            self.set(stage, Phase::Claiming { slot: false });
        }
    }

    /// Gives back all that a stage occupies whose attempt has ended, or never began.
    pub(super) fn free(&mut self, stage: StageIndex) {
        let demand = self.stages[stage.get()].demand;
        self.pool.give(&demand);
        self.let_go(stage);
    }

    /// A stage that has not started does so no more: nor does it claim.
    pub(super) fn give_up_claim(&mut self, stage: StageIndex) {
        let Stage { phase, demand, has_claim, .. } = self.stages[stage.get()];
        if !has_claim {
            return;
        }
        self.pool.give_names(&demand);
        if let Phase::Claiming { slot: true } = phase {
            self.pool.give_machine(&demand);
        }
        self.let_go(stage);
    }

    fn let_go(&mut self, stage: StageIndex) {
        if std::mem::take(&mut self.stages[stage.get()].has_claim) {
            self.actions.push(Action::LetGo { stage });
        }
    }
}
