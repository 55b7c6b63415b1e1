//! Random bits by counting: the value at an index is a pure function of seed and index, so it can
//! be made by any thread in any order, and made again for the gradient instead of being stored.

/// SplitMix64's increment (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014): the golden ratio in 64 bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser: each bit of the result depends on each of `value`.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// 64 bits for an index: the SplitMix64 sequence of `seed`, at any place.
pub(crate) fn bits(seed: u64, index: u64) -> u64 {
    mix(seed.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN)))
}

/// A seed that depends on several numbers and their order.
pub(crate) fn combine(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |seed, &part| mix(seed.wrapping_add(GOLDEN) ^ mix(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_splitmix64() {
        // The first values for seed 1234567 of the reference implementation by Vigna.
        let expected: [u64; 3] = [6457827717110365317, 3203168211198807973, 9817491932198370423];
        for (i, value) in expected.into_iter().enumerate() {
            assert_eq!(bits(1_234_567, i as u64), value);
        }
    }

    #[test]
    fn order_matters() {
        assert_ne!(combine(&[1, 2]), combine(&[2, 1]));
        assert_ne!(combine(&[0]), combine(&[0, 0]));
    }
}
