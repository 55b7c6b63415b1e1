//! The coalitions that KernelSHAP looks at, and their weights.
//!
//! Follows shap 0.51's `KernelExplainer`: whole sizes of coalitions are enumerated from the
//! outside in while the samples last, each together with its complement; the rest is drawn.

use std::collections::HashMap;

use crate::draw::Draw;

/// Sets of players with weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Coalitions {
    players: usize,
    /// Whether each player takes part, coalition by coalition.
    members: Vec<bool>,
    weights: Vec<f64>,
}

impl Coalitions {
    /// No coalitions of `players` yet.
    pub fn new(players: usize) -> Self {
        Self { players, members: Vec::new(), weights: Vec::new() }
    }

    /// Adds a coalition.
    pub fn push(&mut self, members: &[bool], weight: f64) {
        debug_assert_eq!(members.len(), self.players);
        self.members.extend_from_slice(members);
        self.weights.push(weight);
    }

    /// Every coalition of at most 20 players, at the place whose binary digits name its members.
    pub fn all(players: usize) -> Self {
        let mut coalitions = Self::new(players);
        for place in 0_usize..1 << players.min(20) {
            let members: Vec<bool> = (0..players).map(|player| place >> player & 1 == 1).collect();
            coalitions.push(&members, 1.0);
        }
        coalitions
    }

    /// How many samples shap takes by default.
    pub fn default_samples(players: usize) -> usize {
        2 * players + 2048
    }

    /// Coalitions for KernelSHAP: neither nobody nor everybody, at most `samples`, with weights
    /// that add up to 1.
    pub fn sample(players: usize, samples: usize, draw: &mut Draw) -> Self {
        let mut coalitions = Self::new(players);
        if players < 2 {
            return coalitions;
        }
        if players < usize::BITS as usize - 1 {
            let all = (1_usize << players) - 2;
            if samples >= all {
                return Self::all_weighted(players);
            }
        }

        // The weight of each size: (M − 1) / (s (M − s)), twice where the complement has
        // another size and comes along.
        let sizes = players / 2;
        let paired = (players - 1) / 2;
        let mut size_weights: Vec<f64> = (1..=sizes)
            .map(|size| {
                let weight = (players - 1) as f64 / (size * (players - size)) as f64;
                if size <= paired { 2.0 * weight } else { weight }
            })
            .collect();
        let sum: f64 = size_weights.iter().sum();
        size_weights.iter_mut().for_each(|weight| *weight /= sum);

        let mut left = samples as f64;
        let mut remaining = size_weights.clone();
        let mut full_sizes = 0;
        for size in 1..=sizes {
            let subsets = binomial(players, size);
            let doubled = if size <= paired { 2.0 } else { 1.0 };
            if left * remaining[size - 1] / (subsets * doubled) < 1.0 - 1e-8 {
                break;
            }
            full_sizes += 1;
            left -= subsets * doubled;
            if remaining[size - 1] < 1.0 {
                let rest = 1.0 - remaining[size - 1];
                remaining.iter_mut().for_each(|weight| *weight /= rest);
            }
            let weight = size_weights[size - 1] / subsets / doubled;
            each_subset(players, size, |members| {
                coalitions.push(members, weight);
                if size <= paired {
                    let others: Vec<bool> = members.iter().map(|member| !member).collect();
                    coalitions.push(&others, weight);
                }
            });
        }
        if full_sizes < sizes {
            coalitions.draw_rest(samples, &size_weights, full_sizes, paired, draw);
        }
        coalitions
    }

    /// Every coalition but nobody and everybody, each with its own weight.
    fn all_weighted(players: usize) -> Self {
        let mut coalitions = Self::new(players);
        let mut sum = 0.0;
        for size in 1..players {
            let weight =
                (players - 1) as f64 / (size * (players - size)) as f64 / binomial(players, size);
            each_subset(players, size, |members| {
                coalitions.push(members, weight);
                sum += weight;
            });
        }
        coalitions.weights.iter_mut().for_each(|weight| *weight /= sum);
        coalitions
    }

    /// Draws sizes by their weight and subsets of that size, until there are `samples`.
    fn draw_rest(
        &mut self,
        samples: usize,
        size_weights: &[f64],
        full_sizes: usize,
        paired: usize,
        draw: &mut Draw,
    ) {
        let players = self.players;
        let fixed = self.len();
        // A pair is drawn as one, so its weight is halved here.
        let chances: Vec<f64> = size_weights
            .iter()
            .enumerate()
            .skip(full_sizes)
            .map(|(place, weight)| if place < paired { weight / 2.0 } else { *weight })
            .collect();
        let whole: f64 = chances.iter().sum();

        let mut known: HashMap<Vec<bool>, usize> = HashMap::new();
        let mut order: Vec<usize> = (0..players).collect();
        let mut left = samples.saturating_sub(fixed);
        // Bounded as in shap: where almost all are known already, drawing on is no use.
        let mut draws = 4 * left;
        while left > 0 && draws > 0 {
            draws -= 1;
            let mut point = draw.unit() * whole;
            let place = chances.iter().position(|chance| {
                point -= chance;
                point < 0.0
            });
            let size = full_sizes + 1 + place.unwrap_or(chances.len() - 1);
            // The first `size` of a partial shuffle are a random subset.
            for place in 0..size {
                let other = place + draw.below(players - place);
                order.swap(place, other);
            }
            let mut members = vec![false; players];
            order[..size].iter().for_each(|player| members[*player] = true);

            let place = known.get(&members).copied();
            match place {
                Some(place) => self.weights[place] += 1.0,
                None => {
                    known.insert(members.clone(), self.len());
                    self.push(&members, 1.0);
                    left -= 1;
                }
            }
            if left > 0 && size <= paired {
                let others: Vec<bool> = members.iter().map(|member| !member).collect();
                match (place, known.get(&others).copied()) {
                    (_, Some(place)) => self.weights[place] += 1.0,
                    (_, None) => {
                        known.insert(others.clone(), self.len());
                        self.push(&others, 1.0);
                        left -= 1;
                    }
                }
            }
        }
        let mass: f64 = size_weights[full_sizes..].iter().sum();
        let drawn: f64 = self.weights[fixed..].iter().sum();
        self.weights[fixed..].iter_mut().for_each(|weight| *weight *= mass / drawn);
    }

    /// How many coalitions.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// How many players there are.
    pub fn players(&self) -> usize {
        self.players
    }

    /// Whether each player takes part in a coalition.
    pub fn members(&self, coalition: usize) -> &[bool] {
        &self.members[coalition * self.players..(coalition + 1) * self.players]
    }

    /// Coalition by coalition.
    pub fn iter(&self) -> impl Iterator<Item = (&[bool], f64)> {
        self.members.chunks_exact(self.players.max(1)).zip(self.weights.iter().copied())
    }
}

/// How many subsets of `size` there are, as a float: it may be astronomic.
fn binomial(players: usize, size: usize) -> f64 {
    (0..size).fold(1.0, |product, k| product * (players - k) as f64 / (k + 1) as f64).round()
}

/// Calls `use_subset` with every subset of `size`, in lexical order.
fn each_subset(players: usize, size: usize, mut use_subset: impl FnMut(&[bool])) {
    let mut chosen: Vec<usize> = (0..size).collect();
    let mut members = vec![false; players];
    loop {
        members.fill(false);
        chosen.iter().for_each(|player| members[*player] = true);
        use_subset(&members);
        // The last place that can still move on, and all after it close behind.
        let Some(place) = (0..size).rev().find(|place| chosen[*place] < players - size + place)
        else {
            return;
        };
        chosen[place] += 1;
        for next in place + 1..size {
            chosen[next] = chosen[next - 1] + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(players: usize, samples: usize) -> Coalitions {
        Coalitions::sample(players, samples, &mut Draw::new(7, "test", &[]))
    }

    #[test]
    fn few_players_are_enumerated() {
        let coalitions = sample(4, 100);
        assert_eq!(coalitions.len(), 14);
        // Singles and triples weigh 3 / 3 / 4 = 1/4 each, pairs 3 / 4 / 6 = 1/8, before scaling.
        let sum = 8.0 / 4.0 + 6.0 / 8.0;
        for (members, weight) in coalitions.iter() {
            let size = members.iter().filter(|member| **member).count();
            let expect = if size == 2 { 0.125 } else { 0.25 } / sum;
            assert!((weight - expect).abs() < 1e-12);
        }
    }

    #[test]
    fn samples_are_distinct_and_their_weights_add_up() {
        for (players, samples) in [(13, 500), (30, 512), (30, 2108), (49, 2146), (200, 2448)] {
            let coalitions = sample(players, samples);
            assert!(coalitions.len() <= samples && coalitions.len() >= samples - 1);
            let mut members: Vec<_> = coalitions.iter().map(|(members, _)| members).collect();
            members.sort_unstable();
            members.dedup();
            assert_eq!(members.len(), coalitions.len(), "{players} players");
            for members in members {
                let size = members.iter().filter(|member| **member).count();
                assert!(size > 0 && size < players);
            }
            let sum: f64 = coalitions.iter().map(|(_, weight)| weight).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        }
    }

    #[test]
    fn whole_sizes_come_first() {
        // With 30 players and 512 samples, shap enumerates single players and their complements.
        let coalitions = sample(30, 512);
        for place in 0..60 {
            let size = coalitions.members(place).iter().filter(|member| **member).count();
            assert!(size == 1 || size == 29);
        }
        assert_eq!(coalitions, sample(30, 512));
    }

    #[test]
    fn subsets_are_all_there() {
        let mut count = 0;
        each_subset(6, 3, |members| {
            assert_eq!(members.iter().filter(|member| **member).count(), 3);
            count += 1;
        });
        assert_eq!(count as f64, binomial(6, 3));
    }
}
