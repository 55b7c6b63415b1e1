//! Points, many at a time: how they are packed, and when.
//!
//! Points of a series that is still growing are rows: cheap to add, and seen at once. This is its
//! tail. When the tail is long, and when the attempt ends, it is *sealed*: its rows give way to a
//! chunk, one row for all of them, which is a tenth of the size and of the time to read. What comes
//! in large batches is never a row.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use wick_core::{MetricKey, MetricPoint, Timestamp};

use crate::error::StoreResult;
use crate::records::Series;
use crate::rows::{MetricRow, PointRow, corrupt};

/// A tail that has come to so many points is sealed.
pub(crate) const LONG_TAIL: i64 = 256;

/// At the end of an attempt a tail of fewer points stays: a chunk of them would not be smaller.
pub(crate) const SHORT_TAIL: i64 = 16;

/// The most points of a chunk: as many as are quickly unpacked to get at one.
pub(crate) const MAX_CHUNK: usize = 4_096;

/// Points of one series, column by column, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Points {
    pub(crate) steps: Vec<i64>,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
}

impl Points {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn push(&mut self, step: i64, time: i64, value: f64) {
        self.steps.push(step);
        self.times.push(time);
        self.values.push(value);
    }

    pub(crate) fn extend(&mut self, points: &[&MetricPoint]) {
        for point in points {
            self.push(point.step, point.time.0, point.value);
        }
    }

    /// Adds what comes after in the series.
    pub(crate) fn append(&mut self, mut later: Points) {
        if self.values.is_empty() {
            *self = later;
            return;
        }
        self.steps.append(&mut later.steps);
        self.times.append(&mut later.times);
        self.values.append(&mut later.values);
    }

    /// The points as columns that lie elsewhere, in pieces of which each is to be a chunk; with
    /// the place of its first in the whole.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (i64, Piece<'_>)> {
        Piece { steps: &self.steps, times: &self.times, values: &self.values }.pieces()
    }

    /// The points one by one, by step; those of one step as they came.
    pub(crate) fn by_step(self, key: &MetricKey) -> Vec<MetricPoint> {
        let points = self.steps.into_iter().zip(self.times).zip(self.values);
        let mut points: Vec<_> = points
            .map(|((step, time), value)| MetricPoint {
                key: key.clone(),
                step,
                time: Timestamp(time),
                value,
            })
            .collect();
        // Stable, and nearly always sorted already.
        points.sort_by_key(|point| point.step);
        points
    }
}

/// Points of one series that lie elsewhere: three columns of one length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) steps: &'a [i64],
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
}

impl<'a> Piece<'a> {
    /// It in pieces of which each is to be a chunk; with the place of its first in the whole.
    pub(crate) fn pieces(self) -> impl Iterator<Item = (i64, Piece<'a>)> {
        let steps = self.steps.chunks(MAX_CHUNK);
        let rest = self.times.chunks(MAX_CHUNK).zip(self.values.chunks(MAX_CHUNK));
        steps.zip(rest).enumerate().map(|(number, (steps, (times, values)))| {
            ((number * MAX_CHUNK) as i64, Piece { steps, times, values })
        })
    }

    /// What every step adds to the one before, if it is always the same.
    pub(crate) fn stride(self) -> Option<i64> {
        difference(self.steps)
    }
}

/// What every number adds to the one before, if it is always the same.
pub(crate) fn difference(numbers: &[i64]) -> Option<i64> {
    let [first, second, ..] = numbers else { return Some(0) };
    let difference = second.checked_sub(*first)?;
    numbers
        .windows(2)
        .all(|pair| pair[1].checked_sub(pair[0]) == Some(difference))
        .then_some(difference)
}

/// A series after points were added to it, as the database gives it.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(crate) struct GrownRow {
    pub(crate) id: i64,
    pub(crate) position: i64,
    pub(crate) attempt: i64,
    pub(crate) key_id: i64,
    pub(crate) points: i64,
    pub(crate) sealed: i64,
}

impl GrownRow {
    /// How many points are rows, or are to be.
    pub(crate) const fn tail(&self) -> i64 {
        self.points - self.sealed
    }
}

/// The tails that this process has written, by series, for each attempt that may still grow: so
/// that the end of an attempt that measured nothing costs nothing. Of tails that an engine left
/// when it died nobody knows; they stay as they are.
#[derive(Debug, Default)]
pub(crate) struct Tails(Mutex<HashMap<AttemptKey, HashMap<i64, i64>>>);

/// An attempt: run, place of the stage, number.
type AttemptKey = (i64, i64, i64);

impl Tails {
    /// The series of an attempt (run, place, number), with the lengths of their tails.
    pub(crate) fn of(&self, attempt: AttemptKey) -> HashMap<i64, i64> {
        let tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tails.get(&attempt).cloned().unwrap_or_default()
    }

    /// Whether a tail ends with these attempts (place, number) of a run that is to be sealed.
    pub(crate) fn end(&self, run: i64, ended: &[(i64, i64)]) -> bool {
        let tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !tails.is_empty()
            && ended.iter().any(|(position, attempt)| {
                let tails = tails.get(&(run, *position, *attempt));
                tails.is_some_and(|tails| tails.values().any(|tail| *tail >= SHORT_TAIL))
            })
    }

    /// Keeps what a transaction has left of tails, when it is committed.
    pub(crate) fn keep(&self, run: i64, grown: &[GrownRow], ended: &[(i64, i64)]) {
        if grown.is_empty() && ended.is_empty() {
            return;
        }
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for row in grown {
            let series = tails.entry((run, row.position, row.attempt)).or_default();
            series.insert(row.id, row.tail());
        }
        for (position, attempt) in ended {
            tails.remove(&(run, *position, *attempt));
        }
    }
}

/// A chunk as it was read: series, place, points.
pub(crate) type Chunk = (i64, i64, Points);

/// Joins what was read of series: first the tails were, then the chunks, so that nothing is missing
/// when a tail was sealed in between; what is in both is left out once.
pub(crate) fn join(
    rows: &[MetricRow],
    tail: &[PointRow],
    chunks: Vec<Chunk>,
) -> StoreResult<Vec<Points>> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    join_ids(&ids, tail, chunks)
}

/// The same for series of which the ids are known.
pub(crate) fn join_ids(
    ids: &[i64],
    tail: &[PointRow],
    chunks: Vec<Chunk>,
) -> StoreResult<Vec<Points>> {
    let places: HashMap<i64, usize> = ids.iter().copied().zip(0..).collect();
    let mut all: Vec<Points> = ids.iter().map(|_| Points::default()).collect();
    for (id, place, points) in chunks {
        let Some(&index) = places.get(&id) else { continue };
        let series = &mut all[index];
        if place != series.len() as i64 {
            return Err(corrupt("the place of a chunk", &place));
        }
        series.append(points);
    }
    for (id, place, step, time, value) in tail {
        let Some(&index) = places.get(id) else { continue };
        let series = &mut all[index];
        if *place >= series.len() as i64 {
            series.push(*step, *time, value.unwrap_or(f64::NAN));
        }
    }
    Ok(all)
}

/// Series as they are shown.
pub(crate) fn series(rows: &[MetricRow], points: Vec<Points>) -> StoreResult<Vec<Series>> {
    rows.iter()
        .zip(points)
        .map(|(row, points)| {
            let key: MetricKey = row.key.as_str().into();
            row.series(points.by_step(&key))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: i64) -> Points {
        let mut points = Points::default();
        (0..count).for_each(|n| points.push(n, 10 * n, n as f64));
        points
    }

    #[test]
    fn pieces_leave_nothing_out() {
        for count in [0, 1, 4_096, 4_097, 10_000] {
            let whole = points(count);
            let mut joined = Points::default();
            for (place, piece) in whole.pieces() {
                assert_eq!(place, joined.len() as i64);
                joined.append(Points {
                    steps: piece.steps.to_vec(),
                    times: piece.times.to_vec(),
                    values: piece.values.to_vec(),
                });
            }
            assert_eq!(joined, whole);
        }
    }

    #[test]
    fn a_difference_is_found_where_it_is_one() {
        assert_eq!(difference(&[]), Some(0));
        assert_eq!(difference(&[7]), Some(0));
        assert_eq!(difference(&[7, 7, 7]), Some(0));
        assert_eq!(difference(&[3, 1, -1]), Some(-2));
        assert_eq!(difference(&[0, 1, 3]), None);
        assert_eq!(difference(&[i64::MIN, i64::MAX]), None);
    }

    #[test]
    fn tails_are_forgotten_with_their_attempt() {
        let tails = Tails::default();
        let row = GrownRow { id: 5, position: 2, attempt: 1, key_id: 1, points: 9, sealed: 4 };
        tails.keep(7, &[row], &[]);
        assert_eq!(tails.of((7, 2, 1)), HashMap::from([(5, 5)]));
        assert!(tails.of((7, 2, 2)).is_empty());
        tails.keep(7, &[], &[(2, 1)]);
        assert!(tails.of((7, 2, 1)).is_empty());
    }
}
