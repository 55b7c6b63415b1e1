//! Exact Shapley values, for few players.

/// At most this many players are explained exactly: 4096 coalitions.
pub const EXACT_PLAYERS: usize = 12;

/// The Shapley values of `players`, given the worth of every coalition at the place whose binary
/// digits name its members: Σ |S|! (M − |S| − 1)! / M! · (worth of S with the player − without).
pub fn exact_shapley(players: usize, worth: &[f64]) -> Vec<f64> {
    // The weight of joining a coalition of each size: 1 / (M · C(M − 1, size)).
    let weights: Vec<f64> = (0..players)
        .scan(1.0, |subsets: &mut f64, size| {
            let weight = 1.0 / (players as f64 * *subsets);
            *subsets *= (players - 1 - size) as f64 / (size + 1) as f64;
            Some(weight)
        })
        .collect();
    let mut values = vec![0.0; players];
    for (coalition, without) in worth.iter().enumerate() {
        let size = coalition.count_ones() as usize;
        for (player, value) in values.iter_mut().enumerate() {
            if coalition >> player & 1 == 0 {
                *value += weights[size] * (worth[coalition | 1 << player] - without);
            }
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_glove_game() {
        // Player 0 has a left glove, players 1 and 2 right ones; a pair is worth 1.
        let worth = [0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let values = exact_shapley(3, &worth);
        for (value, expect) in values.iter().zip([2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0]) {
            assert!((value - expect).abs() < 1e-12, "{values:?}");
        }
    }
}
