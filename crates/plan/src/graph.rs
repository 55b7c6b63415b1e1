//! The order of stages, and the cycles that stand in its way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The stages that each stage needs, by place in the file.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    needs: Vec<Vec<usize>>,
}

impl Graph {
    /// A graph of so many stages without edges.
    pub(crate) fn new(stages: usize) -> Self {
        Self { needs: vec![Vec::new(); stages] }
    }

    /// Notes that `stage` needs `other`.
    pub(crate) fn add(&mut self, stage: usize, other: usize) {
        self.needs[stage].push(other);
    }

    /// All stages that no cycle holds up, each after those that it needs, otherwise in the
    /// file's order.
    pub(crate) fn order(&self) -> Vec<usize> {
        let count = self.needs.len();
        let mut waiting: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut needed_by = vec![Vec::new(); count];
        for (stage, needs) in self.needs.iter().enumerate() {
            for other in needs {
                needed_by[*other].push(stage);
            }
        }
        let mut ready: BinaryHeap<Reverse<usize>> =
            (0..count).filter(|stage| waiting[*stage] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(count);
        while let Some(Reverse(stage)) = ready.pop() {
            order.push(stage);
            for next in &needed_by[stage] {
                waiting[*next] -= 1;
                if waiting[*next] == 0 {
                    ready.push(Reverse(*next));
                }
            }
        }
        order
    }

    /// Cycles, no stage in two of them: each as the stages on its way, where one needs the next
    /// and the last the first. Starts with the stage that stands first in the file.
    pub(crate) fn cycles(&self) -> Vec<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            OnPath,
            Done,
        }
        let mut marks = vec![Mark::New; self.needs.len()];
        let mut in_cycle = vec![false; self.needs.len()];
        let mut cycles = Vec::new();
        for start in 0..self.needs.len() {
            if marks[start] != Mark::New {
                continue;
            }
            // The path, and for each stage on it which of its needs comes next. A stack of our
            // own: a chain of thousands of stages must not overflow the program's.
            let mut path = vec![(start, 0)];
            marks[start] = Mark::OnPath;
            while let Some((stage, next)) = path.last_mut() {
                let (stage, place) = (*stage, *next);
                *next += 1;
                match self.needs[stage].get(place) {
                    None => {
                        marks[stage] = Mark::Done;
                        path.pop();
                    }
                    Some(&other) if marks[other] == Mark::New => {
                        marks[other] = Mark::OnPath;
                        path.push((other, 0));
                    }
                    Some(&other) if marks[other] == Mark::OnPath => {
                        let from =
                            path.iter().position(|(stage, _)| *stage == other).unwrap_or_default();
                        let cycle: Vec<usize> = path[from..].iter().map(|(s, _)| *s).collect();
                        if !cycle.iter().any(|stage| in_cycle[*stage]) {
                            cycle.iter().for_each(|stage| in_cycle[*stage] = true);
                            cycles.push(from_smallest(cycle));
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        cycles
    }
}

fn from_smallest(mut cycle: Vec<usize>) -> Vec<usize> {
    let smallest = cycle.iter().enumerate().min_by_key(|(_, stage)| **stage);
    let place = smallest.map_or(0, |(place, _)| place);
    cycle.rotate_left(place);
    cycle
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(stages: usize, edges: &[(usize, usize)]) -> Graph {
        let mut graph = Graph::new(stages);
        edges.iter().for_each(|(stage, other)| graph.add(*stage, *other));
        graph
    }

    #[test]
    fn stages_come_after_what_they_need_else_in_file_order() {
        #[track_caller]
        fn check(stages: usize, edges: &[(usize, usize)], expect: &[usize]) {
            assert_eq!(graph(stages, edges).order(), expect);
        }
        check(0, &[], &[]);
        check(3, &[], &[0, 1, 2]);
        check(3, &[(0, 2)], &[1, 2, 0]);
        check(4, &[(0, 3), (1, 3), (2, 1)], &[3, 0, 1, 2]);
        check(3, &[(0, 1), (1, 0), (2, 1)], &[]);
        check(3, &[(1, 0), (1, 0)], &[0, 1, 2]);
    }

    #[test]
    fn cycles_are_found_with_their_way() {
        #[track_caller]
        fn check(stages: usize, edges: &[(usize, usize)], expect: &[&[usize]]) {
            assert_eq!(graph(stages, edges).cycles(), expect);
        }
        check(3, &[(0, 1), (1, 2)], &[]);
        check(1, &[(0, 0)], &[&[0]]);
        check(3, &[(0, 1), (1, 2), (2, 0)], &[&[0, 1, 2]]);
        check(4, &[(3, 1), (1, 2), (2, 1)], &[&[1, 2]]);
        check(4, &[(0, 1), (1, 0), (2, 3), (3, 2)], &[&[0, 1], &[2, 3]]);
    }

    #[test]
    fn a_long_chain_overflows_no_stack() {
        let count = 200_000;
        let mut chain = Graph::new(count);
        (1..count).for_each(|stage| chain.add(stage - 1, stage));
        assert_eq!(chain.order().len(), count);
        assert!(chain.cycles().is_empty());
        chain.add(count - 1, 0);
        assert_eq!(chain.cycles().len(), 1);
    }
}
