//! Chunks as SQLite keeps them: the points of a series in as few bytes as is quick.
//!
//! ```text
//! 1                                   the version of this form
//! count                               a varint
//! first step, mode, differences       mode 0: one difference for all; 1: one for each
//! first time, mode, differences       the same
//! mode, values                        mode 0: 8 bytes each; 1: what differs from the one before
//! ```
//!
//! Varints have seven bits a byte, the lowest first; numbers with a sign are zigzag-coded before, as
//! in Protocol Buffers. Values are compared by their bits, as in Gorilla (Pelkonen et al., "Gorilla: A
//! Fast, Scalable, In-Memory Time Series Database", VLDB 2015) but in whole bytes: of the two values'
//! XOR the zero bytes at both ends are left out, and a byte before says how many. So a value that is
//! the same takes one byte, one that was computed in 32 bits takes five, and each keeps every bit.

use crate::error::{StoreError, StoreResult};
use crate::points::{MAX_CHUNK, Piece, Points, difference};

const VERSION: u8 = 1;

/// The points of a chunk as bytes.
pub(crate) fn pack(points: Piece<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24 + 10 * points.values.len());
    bytes.push(VERSION);
    varint(&mut bytes, points.values.len() as u64);
    numbers(&mut bytes, points.steps);
    numbers(&mut bytes, points.times);
    let start = bytes.len();
    bytes.push(1);
    let mut before = 0;
    for value in points.values {
        let bits = value.to_bits();
        let changed = bits ^ before;
        before = bits;
        let high = (changed.leading_zeros() / 8) as usize;
        let low = if changed == 0 { 0 } else { (changed.trailing_zeros() / 8) as usize };
        bytes.push((high << 4 | low) as u8);
        bytes.extend_from_slice(&changed.to_le_bytes()[low..8 - high]);
    }
    if bytes.len() - start > 1 + 8 * points.values.len() {
        bytes.truncate(start);
        bytes.push(0);
        bytes.extend(points.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

/// The points that bytes hold.
///
/// # Errors
/// If they are no chunk.
pub(crate) fn unpack(bytes: &[u8]) -> StoreResult<Points> {
    let mut reader = Reader(bytes);
    read(&mut reader)
        .filter(|_| reader.0.is_empty())
        .ok_or_else(|| StoreError::Corrupt(format!("{} bytes are no chunk", bytes.len())))
}

fn read(reader: &mut Reader<'_>) -> Option<Points> {
    if reader.byte()? != VERSION {
        return None;
    }
    let count = usize::try_from(reader.varint()?).ok().filter(|count| *count <= MAX_CHUNK)?;
    let (steps, times) = (reader.numbers(count)?, reader.numbers(count)?);
    let values = match reader.byte()? {
        0 => reader
            .take(8 * count)?
            .chunks_exact(8)
            .map(|bytes| bytes.try_into().map(f64::from_le_bytes).ok())
            .collect::<Option<_>>()?,
        1 => reader.changes(count)?,
        _ => return None,
    };
    Some(Points { steps, times, values })
}

fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn signed(bytes: &mut Vec<u8>, number: i64) {
    varint(bytes, (number << 1 ^ number >> 63) as u64);
}

fn numbers(bytes: &mut Vec<u8>, numbers: &[i64]) {
    signed(bytes, numbers.first().copied().unwrap_or(0));
    if let Some(difference) = difference(numbers) {
        bytes.push(0);
        signed(bytes, difference);
    } else {
        bytes.push(1);
        numbers.windows(2).for_each(|pair| signed(bytes, pair[1].wrapping_sub(pair[0])));
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn numbers(&mut self, count: usize) -> Option<Vec<i64>> {
        let first = self.signed()?;
        let mut numbers = Vec::with_capacity(count);
        let mut number = first;
        match self.byte()? {
            0 => {
                let difference = self.signed()?;
                for _ in 0..count {
                    numbers.push(number);
                    number = number.wrapping_add(difference);
                }
            }
            1 => {
                for place in 0..count {
                    if place > 0 {
                        number = number.wrapping_add(self.signed()?);
                    }
                    numbers.push(number);
                }
            }
            _ => return None,
        }
        Some(numbers)
    }

    fn changes(&mut self, count: usize) -> Option<Vec<f64>> {
        let mut values = Vec::with_capacity(count);
        let mut bits = 0;
        for _ in 0..count {
            let control = self.byte()?;
            let (high, low) = (usize::from(control >> 4), usize::from(control & 15));
            let length = 8_usize.checked_sub(high + low)?;
            let mut changed = [0; 8];
            changed[low..low + length].copy_from_slice(self.take(length)?);
            bits ^= u64::from_le_bytes(changed);
            values.push(f64::from_bits(bits));
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn survive(points: &Points) {
        let piece = points.pieces().next();
        let piece = piece.map_or(Piece { steps: &[], times: &[], values: &[] }, |piece| piece.1);
        let packed = pack(piece);
        let back = unpack(&packed).expect("its own bytes");
        let bits = |points: &Points| -> Vec<u64> {
            points.values.iter().map(|value| value.to_bits()).collect()
        };
        assert_eq!((&back.steps, &back.times), (&points.steps, &points.times));
        assert_eq!(bits(&back), bits(points));
        for length in 0..packed.len() {
            assert!(unpack(&packed[..length]).is_err(), "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn any_points_survive(
            rows in prop::collection::vec((any::<i64>(), any::<i64>(), any::<u64>()), 0..40),
        ) {
            let mut points = Points::default();
            rows.iter().for_each(|row| points.push(row.0, row.1, f64::from_bits(row.2)));
            survive(&points);
        }

        #[test]
        fn no_bytes_are_too_wrong(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn usual_points_take_few_bytes() {
        let mut training = Points::default();
        let mut constant = Points::default();
        for n in 0..1_000_i64 {
            let loss = f64::from((1.0 / (1.0 + n as f32)).sqrt());
            training.push(n, 1_700_000_000_000_000 + 50_000 * n + n * n % 97, loss);
            constant.push(n, 1_700_000_000_000_000 + 1_000 * n, 0.5);
        }
        survive(&training);
        survive(&constant);
        let size = |points: &Points| pack(points.pieces().next().expect("a piece").1).len();
        assert!(size(&training) < 8_300, "{}", size(&training));
        assert!(size(&constant) < 1_040, "{}", size(&constant));
    }
}
