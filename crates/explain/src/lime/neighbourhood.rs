//! Neighbourhoods and the distances in them.

use super::local::{LocalModel, fit_local, kernel_weights};
use crate::draw::Draw;
use crate::matrix::Matrix;
use crate::shap::Coalitions;

/// Neighbours as the local model reads them, with their weights. Row 0 is the row itself.
pub struct Neighbourhood {
    features: Matrix<f64>,
    weights: Vec<f64>,
}

impl Neighbourhood {
    /// Of a table's row: Euclidean distance, and a kernel as wide as 0.75 · √features.
    pub fn of_table(features: Matrix<f64>) -> Self {
        let first = features.row(0);
        let distances: Vec<f64> = features
            .iter()
            .map(|row| row.iter().zip(first).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt())
            .collect();
        let weights = kernel_weights(&distances, 0.75 * (features.width() as f64).sqrt());
        Self { features, weights }
    }

    /// Of an image with some segments hidden: cosine distance to the whole image, and a kernel
    /// of 0.25.
    pub fn of_segments(coalitions: &Coalitions) -> Self {
        let players = coalitions.players();
        let mut features = Matrix::with_capacity(coalitions.len(), players);
        let mut distances = Vec::with_capacity(coalitions.len());
        for (members, _) in coalitions.iter() {
            let row: Vec<f64> = members.iter().map(|member| f64::from(u8::from(*member))).collect();
            // The cosine between a set and the whole is the root of the set's share.
            let share = row.iter().sum::<f64>() / players.max(1) as f64;
            distances.push(1.0 - share.sqrt());
            features.push(&row);
        }
        Self { weights: kernel_weights(&distances, 0.25), features }
    }

    /// The weight of each neighbour.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The local model of at most `count` features for these outputs of the network.
    pub fn fit(&self, outputs: &[f64], count: usize) -> LocalModel {
        fit_local(&self.features, outputs, &self.weights, count)
    }
}

/// The whole image, and `count − 1` with each segment hidden or not by the toss of a coin.
pub fn segments(players: usize, count: usize, draw: &mut Draw) -> Coalitions {
    let mut coalitions = Coalitions::new(players);
    coalitions.push(&vec![true; players], 1.0);
    for _ in 1..count {
        let members: Vec<bool> = (0..players).map(|_| draw.coin()).collect();
        coalitions.push(&members, 1.0);
    }
    coalitions
}
