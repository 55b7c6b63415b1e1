//! How long a stage waits before it is tried again.

use std::time::Duration;

use wick_plan::Retry;

/// Chance that follows from a seed, so that a run can be played again.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from -1 to 1 (the SplitMix64 generator of Steele, Lea and Flood, 2014).
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The top 53 bits are as many as a double holds.
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// The wait after the `tries`th attempt: it grows by the factor with each, up to the longest, and
/// then is longer or shorter by chance.
pub(super) fn before(retry: &Retry, tries: u32, chance: &mut Chance) -> Duration {
    let exponent = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = retry.backoff.as_secs_f64() * retry.factor.max(1.0).powi(exponent);
    // `min` also takes care of a product that is no number.
    let longest = grown.min(retry.max_backoff.as_secs_f64());
    let jitter = retry.jitter.clamp(0.0, 1.0);
    if jitter == 0.0 {
        return Duration::try_from_secs_f64(longest).unwrap_or(retry.max_backoff);
    }
    Duration::try_from_secs_f64(longest * (1.0 + jitter * chance.draw()))
        .unwrap_or(retry.max_backoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(retry: &Retry, count: u32) -> Vec<f64> {
        let mut chance = Chance::new(7);
        (1..=count).map(|tries| before(retry, tries, &mut chance).as_secs_f64()).collect()
    }

    #[test]
    fn waits_grow_up_to_the_longest() {
        let retry = Retry { backoff: Duration::from_secs(2), ..Retry::default() };
        assert_eq!(waits(&retry, 4), [2.0, 4.0, 8.0, 16.0]);
        let retry = Retry { factor: 3.0, max_backoff: Duration::from_secs(10), ..retry };
        assert_eq!(waits(&retry, 4), [2.0, 6.0, 10.0, 10.0]);
        let retry = Retry { factor: 1.0, ..retry };
        assert_eq!(waits(&retry, 3), [2.0; 3]);
        let retry = Retry { factor: 1e300, ..retry };
        assert_eq!(waits(&retry, 5)[4], 10.0);
        let retry = Retry { backoff: Duration::ZERO, factor: f64::INFINITY, ..retry };
        assert!(before(&retry, 3, &mut Chance::new(1)) <= Duration::from_secs(10));
    }

    #[test]
    fn chance_makes_waits_longer_or_shorter_by_a_part() {
        let retry = Retry { factor: 1.0, jitter: 0.25, ..Retry::default() };
        let drawn = waits(&retry, 200);
        assert!(drawn.iter().all(|wait| (0.75..=1.25).contains(wait)), "{drawn:?}");
        assert!(drawn.iter().any(|wait| *wait < 0.8) && drawn.iter().any(|wait| *wait > 1.2));
        assert_eq!(drawn, waits(&retry, 200), "equal seeds, equal waits");
    }
}
