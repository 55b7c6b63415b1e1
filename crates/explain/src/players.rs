//! Players: what an explanation gives credit to.

use crate::matrix::Real;

/// Groups of a network's input columns that take part together: one for each raw column, so that
/// a one-hot block is one player; one for each segment of an image.
///
/// A transform makes the columns of a player from its raw column alone. So exchanging the
/// player's columns between two encoded rows is the same as exchanging the raw value and
/// encoding again, without the cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Players {
    names: Vec<String>,
    columns: Vec<Vec<usize>>,
    owners: Vec<usize>,
}

impl Players {
    /// Players with their columns. `None` unless each of the columns `0..width` belongs to
    /// exactly one.
    pub fn new(players: Vec<(String, Vec<usize>)>, width: usize) -> Option<Self> {
        let mut owners = vec![usize::MAX; width];
        for (player, (_, columns)) in players.iter().enumerate() {
            for column in columns {
                let owner = owners.get_mut(*column)?;
                if *owner != usize::MAX {
                    return None;
                }
                *owner = player;
            }
        }
        if owners.contains(&usize::MAX) {
            return None;
        }
        let (names, columns) = players.into_iter().unzip();
        Some(Self { names, columns, owners })
    }

    /// Each of `width` columns a player, called by its number.
    pub fn single_columns(width: usize) -> Self {
        Self {
            names: (0..width).map(|column| column.to_string()).collect(),
            columns: (0..width).map(|column| vec![column]).collect(),
            owners: (0..width).collect(),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Their names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The columns of a player.
    pub fn columns(&self, player: usize) -> &[usize] {
        &self.columns[player]
    }

    /// The player of each column.
    pub fn owners(&self) -> &[usize] {
        &self.owners
    }

    /// A value for each player: the sum over its columns.
    pub fn sums(&self, values: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.len()];
        for (owner, value) in self.owners.iter().zip(values) {
            sums[*owner] += value;
        }
        sums
    }

    /// Copies the columns of `player` from one row to another.
    pub fn exchange<T: Real>(&self, player: usize, from: &[T], to: &mut [T]) {
        for column in &self.columns[player] {
            to[*column] = from[*column];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_one_owner() {
        let named = |name: &str, columns: &[usize]| (name.to_owned(), columns.to_vec());
        let players = Players::new(vec![named("age", &[2]), named("sex", &[0, 1])], 3);
        let players = players.expect("each column once");
        assert_eq!(players.owners(), [1, 1, 0]);
        assert_eq!(players.sums(&[1.0, 2.0, 5.0]), [5.0, 3.0]);
        assert!(Players::new(vec![named("a", &[0])], 2).is_none());
        assert!(Players::new(vec![named("a", &[0]), named("b", &[0])], 1).is_none());
        assert!(Players::new(vec![named("a", &[3])], 1).is_none());
    }
}
