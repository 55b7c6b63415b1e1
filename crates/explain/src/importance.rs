//! Permutation importance: how much worse the score gets when a player's values are shuffled
//! among the rows (Breiman 2001; Fisher, Rudin and Dominici 2019).

use crate::draw::Draw;
use crate::matrix::{Matrix, Real};
use crate::players::Players;

/// How much a player matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    /// The mean of the score less the score with the player's values shuffled.
    pub mean: f64,
    /// The standard deviation over the repeats.
    pub deviation: f64,
}

/// The importance of each player. `score` is of all rows, more being better; `done` is told
/// after each player.
///
/// # Errors
/// If scoring fails.
pub fn permutation_importance<T: Real, E>(
    rows: &Matrix<T>,
    players: &Players,
    repeats: usize,
    seed: u64,
    score: impl Fn(&Matrix<T>) -> Result<f64, E>,
    mut done: impl FnMut(usize) -> Result<(), E>,
) -> Result<Vec<Importance>, E> {
    let whole = score(rows)?;
    let mut shuffled = rows.clone();
    let mut importances = Vec::with_capacity(players.len());
    for (player, name) in players.names().iter().enumerate() {
        // The stream is the player's own: another column does not change its result.
        let mut draw = Draw::new(seed, "permutation_importance", name.as_bytes());
        let mut losses = Vec::with_capacity(repeats);
        for _ in 0..repeats.max(1) {
            let mut order: Vec<usize> = (0..rows.rows()).collect();
            draw.shuffle(&mut order);
            for (row, from) in order.into_iter().enumerate() {
                players.exchange(player, rows.row(from), shuffled.row_mut(row));
            }
            losses.push(whole - score(&shuffled)?);
        }
        for row in 0..rows.rows() {
            players.exchange(player, rows.row(row), shuffled.row_mut(row));
        }
        importances.push(summary(&losses));
        done(player + 1)?;
    }
    Ok(importances)
}

fn summary(losses: &[f64]) -> Importance {
    let count = losses.len() as f64;
    let mean = losses.iter().sum::<f64>() / count;
    let square = losses.iter().map(|loss| (loss - mean) * (loss - mean)).sum::<f64>() / count;
    Importance { mean, deviation: square.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_used_matters() {
        let rows = Matrix::new(2, (0..200).map(f64::from).collect()).expect("whole rows");
        let score = |rows: &Matrix<f64>| -> Result<f64, ()> {
            let error: f64 = rows
                .column(0)
                .enumerate()
                .map(|(row, value)| (value - 2.0 * row as f64).abs())
                .sum();
            Ok(-error)
        };
        let players = Players::single_columns(2);
        let all = permutation_importance(&rows, &players, 3, 0, score, |_| Ok(())).expect("scored");
        assert!(all[0].mean > 0.0 && all[0].deviation > 0.0);
        assert_eq!(all[1], Importance { mean: 0.0, deviation: 0.0 });
    }
}
