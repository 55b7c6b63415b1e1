//! SHAP: how much each player adds to a prediction, fairly shared (Lundberg and Lee 2017).
//!
//! What a coalition of players is worth is the network's mean output over the background, with
//! the players of the coalition as in the explained row and the others as in the background.

pub mod coalitions;
pub mod exact;
pub mod kernel;
pub mod value;

pub use coalitions::Coalitions;
pub use exact::{EXACT_PLAYERS, exact_shapley};
pub use kernel::KernelSolver;
pub use value::{BATCH_ROWS, Worth};

/// In which space the contributions add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// That of the output itself.
    #[default]
    Identity,
    /// That of the log-odds of a probability.
    Logit,
}

impl Link {
    /// An output in this space. A probability is kept a rounding error away from 0 and 1.
    pub fn apply(self, output: f64) -> f64 {
        match self {
            Link::Identity => output,
            Link::Logit => {
                let p = output.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
                (p / (1.0 - p)).ln()
            }
        }
    }
}

/// How the prediction for one row is made up.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The contribution of each player.
    pub contributions: Vec<f64>,
    /// The mean output over the background, where no player takes part.
    pub base: f64,
    /// The output for the row, where all take part.
    pub output: f64,
}

impl Explanation {
    /// How far base and contributions together are from the output.
    pub fn additivity_error(&self) -> f64 {
        (self.base + self.contributions.iter().sum::<f64>() - self.output).abs()
    }
}
