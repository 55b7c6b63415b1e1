//! Random draws that depend on nothing but their seed.
//!
//! The few distributions that the methods need are written out here: a library's may change
//! with its version, and with them every explanation.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wick_core::Digest;

use crate::matrix::Real;

/// A stream of random draws.
pub struct Draw {
    generator: ChaCha8Rng,
    spare_normal: Option<f64>,
}

impl Draw {
    /// The stream for this use of `seed`. `about` tells streams apart, a row's values for one:
    /// so equal rows get equal explanations wherever they stand.
    pub fn new(seed: u64, method: &str, about: &[u8]) -> Self {
        let mut bytes = seed.to_le_bytes().to_vec();
        bytes.extend((method.len() as u64).to_le_bytes());
        bytes.extend(method.as_bytes());
        bytes.extend(about);
        let generator = ChaCha8Rng::from_seed(*Digest::of(&bytes).as_bytes());
        Self { generator, spare_normal: None }
    }

    /// The stream of a row, by its values.
    pub fn for_row<T: Real>(seed: u64, method: &str, row: &[T]) -> Self {
        let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_f64().to_le_bytes()).collect();
        Self::new(seed, method, &bytes)
    }

    /// A whole number from 0 to below `bound`, which is at least 1, without bias (Lemire 2019).
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        loop {
            let product = u128::from(self.generator.next_u64()) * u128::from(bound);
            let low = product as u64;
            if low >= bound.wrapping_neg() % bound {
                return (product >> 64) as usize;
            }
        }
    }

    /// A number from 0 to below 1, of 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True or false, evenly.
    pub fn coin(&mut self) -> bool {
        self.generator.next_u64() >> 63 == 1
    }

    /// A standard normal number (Marsaglia's polar method).
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare_normal.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.spare_normal = Some(y * factor);
                return x * factor;
            }
        }
    }

    /// Brings `values` into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for place in (1..values.len()).rev() {
            values.swap(place, self.below(place + 1));
        }
    }

    /// `count` different numbers below `bound`, in random order; all of them if there are fewer.
    pub fn choose(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..bound).collect();
        let count = count.min(bound);
        for place in 0..count {
            let other = place + self.below(bound - place);
            all.swap(place, other);
        }
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_equal_for_equal_uses_only() {
        let first = |mut draw: Draw| draw.below(1 << 40);
        let one = first(Draw::new(1, "shap", b"row"));
        assert_eq!(one, first(Draw::new(1, "shap", b"row")));
        assert_ne!(one, first(Draw::new(2, "shap", b"row")));
        assert_ne!(one, first(Draw::new(1, "lime", b"row")));
        assert_ne!(one, first(Draw::new(1, "sha", b"prow")));
        assert_ne!(one, first(Draw::new(1, "shap", b"other")));
    }

    #[test]
    fn draws_have_their_distribution() {
        let mut draw = Draw::new(0, "test", &[]);
        let normals: Vec<f64> = (0..20_000).map(|_| draw.normal()).collect();
        let mean = normals.iter().sum::<f64>() / 20_000.0;
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");

        let mut counts = [0; 3];
        (0..30_000).for_each(|_| counts[draw.below(3)] += 1);
        assert!(counts.iter().all(|count| (9_600..10_400).contains(count)), "{counts:?}");

        let mut chosen = draw.choose(5, 8);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 5);
        assert_eq!(draw.choose(9, 3).len(), 3);
    }
}
