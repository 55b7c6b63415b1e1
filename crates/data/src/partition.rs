//! Deals rows out to parts: at random, keeping the shares of classes or whole groups, or by time.

use std::collections::HashMap;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How many rows each part gets, of `rows`: a share of them, so that the sizes add up to the
/// share of all parts together (largest remainder, earlier parts first).
pub fn sizes_of(shares: &[f64], rows: usize) -> Vec<usize> {
    let total = (shares.iter().sum::<f64>() * rows as f64).round() as usize;
    let ideal: Vec<f64> = shares.iter().map(|share| share * rows as f64).collect();
    round_to_sum(&ideal, total.min(rows), &vec![rows; shares.len()])
}

/// `ideal` rounded down or up so that it adds up to `total`, none above its limit. What has the
/// largest fraction is rounded up; of equals the earlier.
fn round_to_sum(ideal: &[f64], total: usize, limits: &[usize]) -> Vec<usize> {
    // A hair above: 0.3 * 10 is 3.0000000000000004 in one order of factors and 2.9999… in another.
    let mut rounded: Vec<usize> = ideal
        .iter()
        .zip(limits)
        .map(|(ideal, limit)| ((ideal + 1e-9).floor() as usize).min(*limit))
        .collect();
    let mut order: Vec<usize> = (0..ideal.len()).collect();
    let fraction = |place: usize| ideal[place] - (ideal[place] + 1e-9).floor();
    order.sort_by(|left, right| fraction(*right).total_cmp(&fraction(*left)));
    let mut missing = total.saturating_sub(rounded.iter().sum());
    while missing > 0 {
        let before = missing;
        for place in &order {
            if missing > 0 && rounded[*place] < limits[*place] {
                rounded[*place] += 1;
                missing -= 1;
            }
        }
        if missing == before {
            break;
        }
    }
    rounded
}

/// The first rows to the first part, the next to the second, and so on.
pub fn in_order(sizes: &[usize]) -> Vec<Vec<u32>> {
    let mut start = 0;
    sizes
        .iter()
        .map(|size| {
            let rows = (start as u32..(start + size) as u32).collect();
            start += size;
            rows
        })
        .collect()
}

/// At random. Rows keep their order within a part.
pub fn at_random(sizes: &[usize], rows: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..rows as u32).collect();
    shuffle(&mut order, &mut ChaCha20Rng::seed_from_u64(seed));
    let mut parts: Vec<Vec<u32>> = in_order(sizes)
        .into_iter()
        .map(|places| places.into_iter().map(|place| order[place as usize]).collect())
        .collect();
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

/// So that each part has each class in the share that the whole has, to within a row: the
/// method of scikit-learn's `StratifiedShuffleSplit`, part after part. `seed` is none to take
/// the rows of each class in their order.
pub fn stratified(sizes: &[usize], classes: &[u32], seed: Option<u64>) -> Vec<Vec<u32>> {
    let count = classes.iter().max().map_or(0, |last| *last as usize + 1);
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); count];
    for (row, class) in classes.iter().enumerate() {
        members[*class as usize].push(row as u32);
    }
    if let Some(seed) = seed {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        members.iter_mut().for_each(|rows| shuffle(rows, &mut random));
    }
    let mut rest: Vec<usize> = members.iter().map(Vec::len).collect();
    let mut taken = vec![0; count];
    let mut parts = Vec::new();
    for size in sizes {
        let left: usize = rest.iter().sum();
        let ideal: Vec<f64> =
            rest.iter().map(|rows| *rows as f64 * *size as f64 / left.max(1) as f64).collect();
        let shares = round_to_sum(&ideal, *size, &rest);
        let mut part = Vec::with_capacity(*size);
        for (class, share) in shares.iter().enumerate() {
            part.extend_from_slice(&members[class][taken[class]..taken[class] + share]);
            taken[class] += share;
            rest[class] -= share;
        }
        part.sort_unstable();
        parts.push(part);
    }
    parts
}

/// Whole groups, in random order each to the part that lacks most rows. `groups` are numbered
/// from 0 in the order in which they first occur.
pub fn grouped(sizes: &[usize], groups: &[u32], seed: u64) -> Vec<Vec<u32>> {
    let count = groups.iter().max().map_or(0, |last| *last as usize + 1);
    let mut members: Vec<Vec<u32>> = vec![Vec::new(); count];
    for (row, group) in groups.iter().enumerate() {
        members[*group as usize].push(row as u32);
    }
    let mut order: Vec<u32> = (0..count as u32).collect();
    shuffle(&mut order, &mut ChaCha20Rng::seed_from_u64(seed));
    let left_out = groups.len().saturating_sub(sizes.iter().sum());
    let mut lacks: Vec<i64> = sizes.iter().map(|size| *size as i64).collect();
    lacks.push(left_out as i64);
    let mut parts = vec![Vec::new(); lacks.len()];
    for group in order {
        let rows = &members[group as usize];
        // The first of those that lack most; the rows that no part asked for come last.
        let part = (0..lacks.len()).rev().max_by_key(|part| lacks[*part]).unwrap_or(0);
        lacks[part] -= rows.len() as i64;
        parts[part].extend_from_slice(rows);
    }
    parts.pop();
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

/// Numbers values by the order in which they first occur.
pub fn number<'a, T: std::hash::Hash + Eq + 'a>(values: impl Iterator<Item = T>) -> Vec<u32> {
    let mut numbers: HashMap<T, u32> = HashMap::new();
    values
        .map(|value| {
            let next = numbers.len() as u32;
            *numbers.entry(value).or_insert(next)
        })
        .collect()
}

/// Fisher–Yates, with our own bounded draw: the same parts with every version of every library.
fn shuffle(values: &mut [u32], random: &mut impl Rng) {
    for last in (1..values.len()).rev() {
        values.swap(last, below(last as u64 + 1, random) as usize);
    }
}

/// A number below `bound`, each equally likely (Lemire 2019).
fn below(bound: u64, random: &mut impl Rng) -> u64 {
    loop {
        let wide = u128::from(random.next_u64()) * u128::from(bound);
        if wide as u64 >= bound.wrapping_neg() % bound {
            return (wide >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_add_up() {
        assert_eq!(sizes_of(&[0.8, 0.2], 10), [8, 2]);
        assert_eq!(sizes_of(&[0.9, 0.1], 60_000), [54_000, 6_000]);
        assert_eq!(sizes_of(&[0.7, 0.1, 0.2], 1313), [919, 131, 263]);
        assert_eq!(sizes_of(&[0.5, 0.25], 10), [5, 3]);
        assert_eq!(sizes_of(&[1.0 / 3.0; 3], 10), [4, 3, 3]);
    }

    #[test]
    fn equal_seeds_give_equal_parts() {
        let parts = at_random(&[6, 2], 10, 42);
        assert_eq!(parts, at_random(&[6, 2], 10, 42));
        assert_ne!(parts, at_random(&[6, 2], 10, 43));
        // Recorded: another value here means that old pipelines would now split otherwise.
        assert_eq!(at_random(&[3, 7], 10, 42)[0], [2, 4, 9]);
    }

    #[test]
    fn groups_stay_together() {
        let groups: Vec<u32> = (0..100).map(|row| row / 5).collect();
        let parts = grouped(&[70, 30], &groups, 1);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [70, 30]);
        let of = |part: &[u32]| {
            let mut numbers: Vec<u32> = part.iter().map(|row| row / 5).collect();
            numbers.dedup();
            numbers
        };
        assert!(of(&parts[0]).iter().all(|group| !of(&parts[1]).contains(group)));
    }

    proptest! {
        #[test]
        fn classes_keep_their_shares(
            classes in prop::collection::vec(0u32..4, 20..200),
            share in 0.1f64..0.9,
            seed in any::<u64>(),
        ) {
            let sizes = sizes_of(&[share, 1.0 - share], classes.len());
            let parts = stratified(&sizes, &classes, Some(seed));
            let mut all: Vec<u32> = parts.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..classes.len() as u32).collect::<Vec<_>>());
            for (part, size) in parts.iter().zip(&sizes) {
                prop_assert_eq!(part.len(), *size);
                for class in 0..4 {
                    let whole = classes.iter().filter(|c| **c == class).count() as f64;
                    let here = part.iter().filter(|row| classes[**row as usize] == class).count();
                    let ideal = whole * *size as f64 / classes.len() as f64;
                    prop_assert!((here as f64 - ideal).abs() <= 1.0 + 1e-9);
                }
            }
        }
    }
}
