//! The stages that could start as soon as there is a free slot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use wick_plan::StageIndex;

use crate::slots::{Demand, Pool};

/// How often the most urgent stage may be passed over by others that fit where it does not.
/// Then nothing that it has to wait for starts until it fits, so a stage that wants the whole
/// machine, or all of a name, gets its turn.
const MAX_PASSES: u32 = 16;

/// How urgent a stage is: the stages with the longest way to the end first, then the plan's
/// order.
type Urgency = (u32, Reverse<StageIndex>);

/// Stages ready to start, by what they occupy: so one look at the head of each heap finds the
/// next, however many wait.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    by_demand: BTreeMap<Demand, BinaryHeap<Urgency>>,
    /// The most urgent stage for which the machine had no room.
    for_machine: Passed,
    /// The most urgent stage for which a name had no room.
    for_name: Passed,
}

/// A stage that was passed over, and how often.
#[derive(Debug, Clone, Copy, Default)]
struct Passed {
    stage: Option<StageIndex>,
    times: u32,
}

impl Passed {
    /// Whether `stage` was passed over as often as it may be.
    fn is_due(&self, stage: StageIndex) -> bool {
        self.stage == Some(stage) && self.times >= MAX_PASSES
    }

    fn count(&mut self, stage: StageIndex) {
        if self.stage != Some(stage) {
            *self = Self { stage: Some(stage), times: 0 };
        }
        self.times += 1;
    }
}

impl ReadyQueue {
    /// Adds a stage that occupies `demand` and has `height` stages after it on its longest way to
    /// the end.
    pub fn push(&mut self, stage: StageIndex, demand: Demand, height: u32) {
        self.by_demand.entry(demand).or_default().push((height, Reverse(stage)));
    }

    /// The most urgent stage that wants nothing by name, whether it fits or not.
    pub fn peek_nameless(&self) -> Option<StageIndex> {
        self.nameless().max().map(|((_, Reverse(stage)), _)| stage)
    }

    /// Takes the most urgent stage that wants nothing by name, whether it fits or not.
    pub fn pop_nameless(&mut self) -> Option<StageIndex> {
        let (_, demand) = self.nameless().max()?;
        self.pop_of(&demand)
    }

    /// Takes the most urgent stage that fits in what is free.
    pub fn pop_fitting(&mut self, pool: &Pool) -> Option<StageIndex> {
        if let [Some((_, demand)), None] = {
            let mut heads = self.heads();
            [heads.next(), heads.next()]
        } {
            // All want the same, which is the usual case.
            return if pool.fits(&demand) { self.pop_of(&demand) } else { None };
        }
        let mut heads: Vec<(Urgency, Demand)> = self.heads().collect();
        heads.sort_unstable_by_key(|(urgency, _)| Reverse(*urgency));
        let mut before_machine = None;
        let mut before_name: Option<(StageIndex, Demand)> = None;
        for ((_, Reverse(stage)), demand) in heads {
            let shares = before_name.is_some_and(|(_, first)| pool.share_a_name(&first, &demand));
            if let Some((first, _)) = before_name
                && shares
                && self.for_name.is_due(first)
            {
                continue;
            }
            if !pool.names_fit(&demand) {
                // What holds the name is no reason for others to wait.
                before_name.get_or_insert((stage, demand));
            } else if pool.fits(&demand) {
                if let Some(first) = before_machine {
                    self.for_machine.count(first);
                }
                if let Some((first, _)) = before_name
                    && shares
                {
                    self.for_name.count(first);
                }
                return self.pop_of(&demand);
            } else if self.for_machine.is_due(stage) {
                return None;
            } else {
                before_machine.get_or_insert(stage);
            }
        }
        None
    }

    /// Forgets every stage.
    pub fn clear(&mut self) {
        self.by_demand.clear();
    }

    fn heads(&self) -> impl Iterator<Item = (Urgency, Demand)> {
        self.by_demand.iter().filter_map(|(demand, heap)| Some((*heap.peek()?, *demand)))
    }

    fn nameless(&self) -> impl Iterator<Item = (Urgency, Demand)> {
        self.heads().filter(|(_, demand)| !demand.has_names())
    }

    fn pop_of(&mut self, demand: &Demand) -> Option<StageIndex> {
        let heap = self.by_demand.get_mut(demand)?;
        let (_, Reverse(stage)) = heap.pop()?;
        if heap.is_empty() {
            self.by_demand.remove(demand);
        }
        Some(stage)
    }
}

#[cfg(test)]
mod tests {
    use wick_plan::Resources;

    use super::*;
    use crate::slots::Slots;

    fn pool(cpus: u32) -> Pool {
        Pool::new(Slots { cpus, memory: 0, gpus: 0 }, &[("database".to_owned(), 2)])
    }

    fn cpus(pool: &mut Pool, cpus: u32) -> Demand {
        pool.demand(&Resources { cpus, ..Resources::default() })
    }

    fn named(pool: &mut Pool, share: u32) -> Demand {
        let named = vec![("database".to_owned(), share)];
        pool.demand(&Resources { named, ..Resources::default() })
    }

    #[test]
    fn the_longest_way_goes_first_then_the_plans_order() {
        let mut pool = pool(2);
        let (one, two) = (cpus(&mut pool, 1), cpus(&mut pool, 2));
        let mut ready = ReadyQueue::default();
        ready.push(StageIndex(2), one, 0);
        ready.push(StageIndex(1), one, 0);
        ready.push(StageIndex(3), two, 5);
        let order: Vec<_> =
            std::iter::from_fn(|| ready.pop_nameless()).map(|stage| stage.0).collect();
        assert_eq!(order, [3, 1, 2]);
        let named = named(&mut pool, 1);
        ready.push(StageIndex(4), named, 9);
        assert_eq!(ready.peek_nameless(), None, "nobody knows when there is room for it");
    }

    #[test]
    fn a_large_stage_is_not_passed_over_for_ever() {
        let mut pool = pool(2);
        let (one, two) = (cpus(&mut pool, 1), cpus(&mut pool, 2));
        let mut ready = ReadyQueue::default();
        ready.push(StageIndex(0), two, 1);
        for stage in 1..100 {
            ready.push(StageIndex(stage), one, 0);
        }
        pool.take(&one);
        let passed = std::iter::from_fn(|| ready.pop_fitting(&pool)).count();
        assert_eq!(passed as u32, MAX_PASSES);
        pool.give(&one);
        assert_eq!(ready.pop_fitting(&pool), Some(StageIndex(0)));
        assert_eq!(ready.pop_fitting(&pool), Some(StageIndex(17)));
    }

    #[test]
    fn who_waits_for_a_name_keeps_only_those_who_want_it() {
        let mut pool = pool(8);
        let (all, one, plain) = (named(&mut pool, 2), named(&mut pool, 1), cpus(&mut pool, 1));
        let mut ready = ReadyQueue::default();
        ready.push(StageIndex(0), all, 1);
        for stage in 1..40 {
            ready.push(StageIndex(stage), one, 0);
        }
        for stage in 40..80 {
            ready.push(StageIndex(stage), plain, 0);
        }
        pool.take(&one);
        let started: Vec<u32> =
            std::iter::from_fn(|| ready.pop_fitting(&pool)).map(|stage| stage.0).collect();
        let (wanting, others): (Vec<u32>, Vec<u32>) =
            started.into_iter().partition(|stage| *stage < 40);
        assert_eq!(wanting.len() as u32, MAX_PASSES, "then it is the turn of the first");
        assert_eq!(others.len(), 40, "who does not want the name does not wait for it");
        pool.give(&one);
        assert_eq!(ready.pop_fitting(&pool), Some(StageIndex(0)));
    }
}
