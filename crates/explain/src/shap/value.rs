//! What coalitions are worth to a network.

use super::coalitions::Coalitions;
use crate::matrix::{Matrix, Real};
use crate::players::Players;

/// How many rows go through the network at once. Large enough that the cost of a call does not
/// count, small enough that a hidden layer's values stay in the cache.
pub const BATCH_ROWS: usize = 4096;

/// What coalitions are worth: the mean output with the coalition as in the explained row and the
/// other players as in each background row.
pub struct Worth<'a, T, F> {
    /// Who plays.
    pub players: &'a Players,
    /// The rows that stand for players who take no part.
    pub background: &'a Matrix<T>,
    /// The explained output of each row.
    pub predict: F,
}

impl<T: Real, E, F: Fn(&Matrix<T>) -> Result<Vec<f64>, E>> Worth<'_, T, F> {
    /// The output for the row itself.
    ///
    /// # Errors
    /// If the network fails.
    pub fn everybody(&self, row: &[T]) -> Result<f64, E> {
        let mut batch = Matrix::with_capacity(1, row.len());
        batch.push(row);
        Ok(mean(&(self.predict)(&batch)?))
    }

    /// The mean output over the background.
    ///
    /// # Errors
    /// If the network fails.
    pub fn nobody(&self) -> Result<f64, E> {
        Ok(mean(&(self.predict)(self.background)?))
    }

    /// The worth of each coalition.
    ///
    /// # Errors
    /// If the network fails.
    pub fn of(&self, coalitions: &Coalitions, row: &[T]) -> Result<Vec<f64>, E> {
        let rows = self.background.rows();
        let at_once = (BATCH_ROWS / rows.max(1)).max(1);
        let mut worth = Vec::with_capacity(coalitions.len());
        let mut batch = Matrix::with_capacity(at_once * rows, row.len());
        let mut mixed = row.to_vec();
        let mut absent = Vec::with_capacity(row.len());
        for start in (0..coalitions.len()).step_by(at_once) {
            batch.clear();
            for coalition in start..(start + at_once).min(coalitions.len()) {
                let members = coalitions.members(coalition);
                absent.clear();
                let owners = self.players.owners().iter().enumerate();
                absent.extend(owners.filter(|(_, owner)| !members[**owner]).map(|(c, _)| c));
                mixed.copy_from_slice(row);
                for other in self.background.iter() {
                    for column in &absent {
                        mixed[*column] = other[*column];
                    }
                    batch.push(&mixed);
                }
            }
            let outputs = (self.predict)(&batch)?;
            worth.extend(outputs.chunks_exact(rows.max(1)).map(mean));
        }
        Ok(worth)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
