//! How a table's columns vary: what neighbours are drawn from.

use crate::draw::Draw;
use crate::matrix::{Matrix, Real};
use crate::players::Players;

/// A player with a numeric column is cut into quartiles if it has more values than this; with
/// fewer, each value is a bin of its own.
const DISTINCT: usize = 10;

/// How neighbours of a row are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Values {
    /// Columns are cut at their quartiles. A feature of the local model says whether the
    /// neighbour is in the row's own bin.
    #[default]
    Quartile,
    /// Numbers are drawn from a normal distribution around the mean, and are features as they
    /// are, scaled.
    Continuous,
}

/// Neighbours as the network reads them, and as the local model does. Row 0 is the row itself.
pub struct Sample<T> {
    /// As the network reads them.
    pub rows: Matrix<T>,
    /// As the local model does: one column a player.
    pub features: Matrix<f64>,
}

/// Draws neighbours by how the columns vary in a background.
///
/// In quartile mode lime draws a bin by its frequency in the training data and then a value
/// inside it. Here the value is that of a random background row: the bins have the same
/// frequencies, and values that never occur, such as half a child, are never drawn.
pub struct TableSampler<'a, T> {
    players: &'a Players,
    background: &'a Matrix<T>,
    /// For each player, how its columns are cut.
    cuts: Vec<Vec<Cut>>,
    /// For each player and background row, its bin.
    bins: Vec<Vec<u64>>,
    means: Vec<f64>,
    scales: Vec<f64>,
}

/// How a column is cut into bins.
#[derive(Debug, Clone, PartialEq)]
enum Cut {
    /// At these edges; a value on an edge belongs below.
    Edges(Vec<f64>),
    /// Every value is a bin.
    Distinct,
}

impl<'a, T: Real> TableSampler<'a, T> {
    /// The sampler for a background, which has at least one row.
    pub fn new(players: &'a Players, background: &'a Matrix<T>) -> Self {
        let cuts: Vec<Vec<Cut>> = (0..players.len())
            .map(|player| {
                let columns = players.columns(player).iter();
                columns.map(|column| cut(background.column(*column).map(Real::to_f64))).collect()
            })
            .collect();
        let means = background.column_means();
        let scales = (0..background.width())
            .map(|column| {
                let square = background
                    .column(column)
                    .map(|value| (value.to_f64() - means[column]).powi(2))
                    .sum::<f64>()
                    / background.rows().max(1) as f64;
                if square > 0.0 { square.sqrt() } else { 1.0 }
            })
            .collect();
        let mut sampler = Self { players, background, cuts, bins: Vec::new(), means, scales };
        sampler.bins = (0..players.len())
            .map(|player| background.iter().map(|row| sampler.bin(player, row)).collect())
            .collect();
        sampler
    }

    /// The edges at which a player with one column is cut, if it is.
    pub fn edges(&self, player: usize) -> Option<&[f64]> {
        match self.cuts[player].as_slice() {
            [Cut::Edges(edges)] => Some(edges),
            _ => None,
        }
    }

    /// The bin of a row: equal numbers are the same bin. For a player cut at edges, the place of
    /// the bin, from 0.
    pub fn bin(&self, player: usize, row: &[T]) -> u64 {
        let mut bin = 0_u64;
        for (column, cut) in self.players.columns(player).iter().zip(&self.cuts[player]) {
            let value = row[*column].to_f64();
            let own = match cut {
                Cut::Edges(edges) => edges.iter().filter(|edge| value > **edge).count() as u64,
                Cut::Distinct => value.to_bits(),
            };
            // For a single column the bin is its own number; several are mixed into one.
            bin = bin.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(own);
        }
        bin
    }

    /// The row and `count − 1` neighbours.
    pub fn sample(&self, row: &[T], count: usize, values: Values, draw: &mut Draw) -> Sample<T> {
        let players = self.players.len();
        let own: Vec<u64> = (0..players).map(|player| self.bin(player, row)).collect();
        let continuous = |player: usize| match (values, self.edges(player)) {
            (Values::Continuous, Some(_)) => self.players.columns(player).first().copied(),
            _ => None,
        };
        let mut rows = Matrix::with_capacity(count, row.len());
        let mut features = Matrix::with_capacity(count, players);
        let mut neighbour = row.to_vec();
        let mut feature = vec![0.0; players];
        for place in 0..count.max(1) {
            for (player, feature) in feature.iter_mut().enumerate() {
                if let Some(column) = continuous(player) {
                    let (mean, scale) = (self.means[column], self.scales[column]);
                    if place > 0 {
                        neighbour[column] = T::from_f64(draw.normal() * scale + mean);
                    }
                    *feature = (neighbour[column].to_f64() - mean) / scale;
                } else if place > 0 {
                    let other = draw.below(self.background.rows());
                    self.players.exchange(player, self.background.row(other), &mut neighbour);
                    *feature = f64::from(u8::from(self.bins[player][other] == own[player]));
                } else {
                    *feature = 1.0;
                }
            }
            rows.push(&neighbour);
            features.push(&feature);
        }
        Sample { rows, features }
    }
}

fn cut(values: impl Iterator<Item = f64>) -> Cut {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    if distinct.len() <= DISTINCT {
        return Cut::Distinct;
    }
    let mut edges: Vec<f64> =
        [0.25, 0.5, 0.75].into_iter().map(|share| quantile(&sorted, share)).collect();
    edges.dedup();
    Cut::Edges(edges)
}

/// The quantile of sorted values, between neighbours by their distance (numpy's default).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, rest) = (place.floor() as usize, place.fract());
    match sorted.get(low + 1) {
        Some(next) => sorted[low] + (next - sorted[low]) * rest,
        None => sorted[low],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_hold_values_that_occur() {
        let background: Vec<f64> =
            (0..100).flat_map(|row| [f64::from(row), f64::from(row % 3)]).collect();
        let background = Matrix::new(2, background).expect("whole rows");
        let players = Players::single_columns(2);
        let sampler = TableSampler::new(&players, &background);
        assert_eq!(sampler.edges(0), Some(&[24.75, 49.5, 74.25][..]));
        assert_eq!(sampler.edges(1), None);

        let row = [10.0, 2.0];
        let mut draw = Draw::new(0, "test", &[]);
        let sample = sampler.sample(&row, 4000, Values::Quartile, &mut draw);
        assert_eq!(sample.rows.row(0), row);
        assert_eq!(sample.features.row(0), [1.0, 1.0]);
        let share = |player: usize| sample.features.column(player).sum::<f64>() / 4000.0;
        assert!((share(0) - 0.25).abs() < 0.03 && (share(1) - 0.33).abs() < 0.03);
        for (row, feature) in sample.rows.iter().zip(sample.features.iter()) {
            assert_eq!(feature[0] == 1.0, row[0] <= 24.75);
            assert_eq!(feature[1] == 1.0, row[1] == 2.0);
        }

        let sample = sampler.sample(&row, 4000, Values::Continuous, &mut draw);
        let mean = sample.features.column(0).sum::<f64>() / 4000.0;
        assert!(mean.abs() < 0.06, "{mean}");
        assert!(sample.features.column(1).all(|value| value == 0.0 || value == 1.0));
    }
}
