//! KernelSHAP's regression: contributions from the worth of some coalitions.

use super::coalitions::Coalitions;
use crate::linear::Cholesky;

/// Solves for contributions. The normal matrix depends on the coalitions alone: it is factorised
/// once, for all rows.
#[derive(Debug, Clone)]
pub struct KernelSolver<'a> {
    coalitions: &'a Coalitions,
    factor: Cholesky,
}

impl<'a> KernelSolver<'a> {
    /// The solver for these coalitions.
    ///
    /// The contributions must add up to the whole, so the last is what the others leave over:
    /// it is eliminated, and each column of the design is that player's membership less the last
    /// player's.
    pub fn new(coalitions: &'a Coalitions) -> Self {
        let size = coalitions.players().saturating_sub(1);
        let mut normal = vec![0.0; size * size];
        let mut row = vec![0.0; size];
        for (members, weight) in coalitions.iter() {
            design(members, &mut row);
            for i in 0..size {
                if row[i] != 0.0 {
                    let scaled = weight * row[i];
                    for j in 0..=i {
                        normal[i * size + j] += scaled * row[j];
                    }
                }
            }
        }
        Self { coalitions, factor: Cholesky::new(size, normal) }
    }

    /// The contributions, given what each coalition is worth more than nobody, and what
    /// everybody is worth more than nobody.
    pub fn solve(&self, worth: &[f64], whole: f64) -> Vec<f64> {
        let players = self.coalitions.players();
        if players == 0 {
            return Vec::new();
        }
        let mut right = vec![0.0; players - 1];
        let mut row = vec![0.0; players - 1];
        for ((members, weight), worth) in self.coalitions.iter().zip(worth) {
            design(members, &mut row);
            let rest = if members[players - 1] { worth - whole } else { *worth };
            for (right, value) in right.iter_mut().zip(&row) {
                *right += weight * value * rest;
            }
        }
        let mut contributions = self.factor.solve(&right);
        contributions.push(whole - contributions.iter().sum::<f64>());
        contributions
    }
}

fn design(members: &[bool], row: &mut [f64]) {
    let number = |member: bool| f64::from(u8::from(member));
    let last = number(members[members.len() - 1]);
    for (value, member) in row.iter_mut().zip(members) {
        *value = number(*member) - last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    #[test]
    fn a_sum_is_taken_apart() {
        let parts = [3.0, -1.0, 0.5, 0.0, 2.0];
        let coalitions = Coalitions::sample(5, 20, &mut Draw::new(0, "test", &[]));
        let worth: Vec<f64> = coalitions
            .iter()
            .map(|(members, _)| {
                members.iter().zip(parts).filter(|(member, _)| **member).map(|(_, part)| part).sum()
            })
            .collect();
        let contributions = KernelSolver::new(&coalitions).solve(&worth, 4.5);
        for (contribution, part) in contributions.iter().zip(parts) {
            assert!((contribution - part).abs() < 1e-10, "{contributions:?}");
        }
    }

    #[test]
    fn one_player_takes_all() {
        let coalitions = Coalitions::sample(1, 20, &mut Draw::new(0, "test", &[]));
        assert_eq!(KernelSolver::new(&coalitions).solve(&[], 2.0), [2.0]);
    }
}
