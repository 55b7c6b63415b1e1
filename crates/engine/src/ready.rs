//! The stages that could start as soon as there is a free slot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use wick_plan::StageIndex;

use crate::slots::Slots;

/// How often the most urgent stage may be passed over by others that fit where it does not.
/// Then nothing starts until it fits, so a stage that wants the whole machine gets its turn.
const MAX_PASSES: u32 = 16;

/// How urgent a stage is: the stages with the longest way to the end first, then the plan's
/// order.
type Urgency = (u32, Reverse<StageIndex>);

/// Stages ready to start, by what they occupy: so one look at the head of each heap finds the
/// next, however many wait.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    by_request: BTreeMap<Slots, BinaryHeap<Urgency>>,
    passes: u32,
    passed: Option<StageIndex>,
}

impl ReadyQueue {
    /// Adds a stage that occupies `request` and has `height` stages after it on its longest way
    /// to the end.
    pub fn push(&mut self, stage: StageIndex, request: Slots, height: u32) {
        self.by_request.entry(request).or_default().push((height, Reverse(stage)));
    }

    /// The most urgent stage, whether it fits or not.
    pub fn peek(&self) -> Option<StageIndex> {
        self.most_urgent(|_| true).map(|(_, (_, Reverse(stage)))| stage)
    }

    /// Takes the most urgent stage, whether it fits or not.
    pub fn pop(&mut self) -> Option<StageIndex> {
        let (request, _) = self.most_urgent(|_| true)?;
        self.pop_of(&request)
    }

    /// Takes the most urgent stage that fits in `free`.
    pub fn pop_fitting(&mut self, free: &Slots) -> Option<StageIndex> {
        let (first_request, (_, Reverse(first))) = self.most_urgent(|_| true)?;
        if free.fits(&first_request) {
            return self.pop_of(&first_request);
        }
        let (request, _) = self.most_urgent(|request| free.fits(request))?;
        if self.passed != Some(first) {
            (self.passed, self.passes) = (Some(first), 0);
        }
        if self.passes == MAX_PASSES {
            return None;
        }
        self.passes += 1;
        self.pop_of(&request)
    }

    /// Forgets every stage.
    pub fn clear(&mut self) {
        self.by_request.clear();
    }

    fn most_urgent(&self, fits: impl Fn(&Slots) -> bool) -> Option<(Slots, Urgency)> {
        self.by_request
            .iter()
            .filter(|(request, _)| fits(request))
            .filter_map(|(request, heap)| Some((*request, *heap.peek()?)))
            .max_by_key(|(_, urgency)| *urgency)
    }

    fn pop_of(&mut self, request: &Slots) -> Option<StageIndex> {
        let heap = self.by_request.get_mut(request)?;
        let (_, Reverse(stage)) = heap.pop()?;
        if heap.is_empty() {
            self.by_request.remove(request);
        }
        Some(stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(cpus: u32) -> Slots {
        Slots { cpus, memory: 0, gpus: 0 }
    }

    #[test]
    fn the_longest_way_goes_first_then_the_plans_order() {
        let mut ready = ReadyQueue::default();
        ready.push(StageIndex(2), cpus(1), 0);
        ready.push(StageIndex(1), cpus(1), 0);
        ready.push(StageIndex(3), cpus(2), 5);
        let order: Vec<_> = std::iter::from_fn(|| ready.pop()).map(|stage| stage.0).collect();
        assert_eq!(order, [3, 1, 2]);
    }

    #[test]
    fn a_large_stage_is_not_passed_over_for_ever() {
        let mut ready = ReadyQueue::default();
        ready.push(StageIndex(0), cpus(2), 1);
        for stage in 1..100 {
            ready.push(StageIndex(stage), cpus(1), 0);
        }
        let passed = std::iter::from_fn(|| ready.pop_fitting(&cpus(1))).count();
        assert_eq!(passed as u32, MAX_PASSES);
        assert_eq!(ready.pop_fitting(&cpus(2)), Some(StageIndex(0)));
        assert_eq!(ready.pop_fitting(&cpus(1)), Some(StageIndex(17)));
    }
}
