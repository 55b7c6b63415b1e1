//! Chance that can be repeated.

use std::time::Duration;

/// A generator of random numbers that follow from a seed (SplitMix64 of Steele, Lea and Flood,
/// 2014: good enough to explore with, and a single word of state).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Other dice, whose throws do not depend on how often these are thrown from now on.
    pub const fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// A number below `end`, which is not 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `first` to `last`.
    pub const fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True in so many of a thousand cases.
    pub const fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A time of up to `longest`; short ones are as likely as long ones.
    pub fn wait(&mut self, longest: Duration) -> Duration {
        let micros = longest.as_micros() as u64;
        match self.below(4) {
            0 => Duration::ZERO,
            1 => Duration::from_micros(self.below(micros / 100 + 1)),
            2 => Duration::from_micros(self.below(micros / 10 + 1)),
            _ => Duration::from_micros(self.below(micros + 1)),
        }
    }
}
