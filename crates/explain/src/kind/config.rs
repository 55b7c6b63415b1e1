//! What a user asks of `explain`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wick_evaluate::Metric;

use crate::lime::Values;
use crate::shap::Link;

/// What to explain, and how.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainConfig {
    /// The methods. By default `shap` and `permutation_importance` for columns, and
    /// `integrated_gradients` for images.
    #[serde(default)]
    pub methods: Option<Vec<Method>>,
    /// How many rows of `data` are explained one by one: drawn by the seed, in the data's order.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 100_000))]
    pub rows: usize,
    /// How many rows of `background` stand for "this column is not known" in `shap`.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 10_000))]
    pub background_rows: usize,
    /// How many coalitions (`shap`) or neighbours (`lime`) are tried for each row. By default
    /// 2·columns + 2048 for `shap`, which is exact for up to 12 columns anyway; 5000 for `lime`
    /// on columns, and 1000 on images.
    #[serde(default)]
    #[schemars(range(min = 16, max = 1_000_000))]
    pub samples: Option<usize>,
    /// The class to explain. By default, for each row, the one that the model predicts.
    #[serde(default)]
    pub class: Option<String>,
    /// Of images: `shap` and `lime` hide and show the cells of a grid of this many rows and
    /// columns.
    #[serde(default = "seven")]
    #[schemars(range(min = 2, max = 32))]
    pub segments: usize,
    /// Of `shap`.
    #[serde(default)]
    pub shap: ShapConfig,
    /// Of `lime`.
    #[serde(default)]
    pub lime: LimeConfig,
    /// Of `integrated_gradients`.
    #[serde(default)]
    pub integrated_gradients: PathConfig,
    /// Of `permutation_importance`.
    #[serde(default)]
    pub permutation_importance: PermutationConfig,
    /// All that is random follows from it.
    #[serde(default)]
    pub seed: u64,
}

/// A way of explaining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// What each column adds to a prediction: Shapley values by KernelSHAP.
    Shap,
    /// The coefficients of a simple model that is faithful near the row.
    Lime,
    /// Gradients, integrated from a baseline to the row.
    IntegratedGradients,
    /// The size of the gradient at the row.
    Saliency,
    /// How much worse the model gets when a column is shuffled.
    PermutationImportance,
}

impl Method {
    /// The word in a pipeline, and the name of its tables and plots.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Shap => "shap",
            Method::Lime => "lime",
            Method::IntegratedGradients => "integrated_gradients",
            Method::Saliency => "saliency",
            Method::PermutationImportance => "permutation_importance",
        }
    }

    /// As a heading.
    pub const fn title(self) -> &'static str {
        match self {
            Method::Shap => "SHAP",
            Method::Lime => "LIME",
            Method::IntegratedGradients => "Integrated gradients",
            Method::Saliency => "Saliency",
            Method::PermutationImportance => "Permutation importance",
        }
    }

    /// The methods where a pipeline names none.
    pub fn defaults(images: bool) -> Vec<Method> {
        if images {
            vec![Method::IntegratedGradients]
        } else {
            vec![Method::Shap, Method::PermutationImportance]
        }
    }
}

/// Options of `shap`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShapConfig {
    /// In which space contributions add up.
    #[serde(default)]
    pub link: LinkChoice,
}

/// In which space contributions add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkChoice {
    /// As they are: probabilities, or the target's own units.
    #[default]
    Identity,
    /// As log-odds, for probabilities.
    Logit,
}

impl From<LinkChoice> for Link {
    fn from(choice: LinkChoice) -> Self {
        match choice {
            LinkChoice::Identity => Link::Identity,
            LinkChoice::Logit => Link::Logit,
        }
    }
}

/// Options of `lime`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimeConfig {
    /// How many columns, or segments, the simple model uses at most.
    #[serde(default = "ten")]
    #[schemars(range(min = 1))]
    pub features: usize,
    /// How numbers are varied.
    #[serde(default)]
    pub values: ValuesChoice,
}

impl Default for LimeConfig {
    fn default() -> Self {
        Self { features: ten(), values: ValuesChoice::default() }
    }
}

/// How `lime` varies numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValuesChoice {
    /// Cut into quartiles: the coefficient is of being in the row's own quarter.
    #[default]
    Quartile,
    /// As they are, from a normal distribution.
    Continuous,
}

impl From<ValuesChoice> for Values {
    fn from(choice: ValuesChoice) -> Self {
        match choice {
            ValuesChoice::Quartile => Values::Quartile,
            ValuesChoice::Continuous => Values::Continuous,
        }
    }
}

/// Options of `integrated_gradients`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathConfig {
    /// At how many places gradients are taken at first.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 10_000))]
    pub steps: usize,
    /// How far the attributions' sum may be from the difference in output, as a share of it.
    /// While it is further, the places are doubled, up to eight times as many.
    #[serde(default = "hundredth")]
    #[schemars(range(min = 0.0))]
    pub tolerance: f64,
    /// Where the way starts. By default at the background's mean for columns, and at 0 for
    /// images.
    #[serde(default)]
    pub baseline: Option<Baseline>,
}

impl Default for PathConfig {
    fn default() -> Self {
        Self { steps: fifty(), tolerance: hundredth(), baseline: None }
    }
}

/// Where integrated gradients start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// At the mean of the background.
    Mean,
    /// At 0: the mean of scaled columns, black in images.
    Zero,
}

/// Options of `permutation_importance`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PermutationConfig {
    /// How often each column is shuffled.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 1000))]
    pub repeats: usize,
    /// The metric that suffers. By default `accuracy` for classes and `r2` for numbers.
    #[serde(default)]
    pub metric: Option<Metric>,
}

impl Default for PermutationConfig {
    fn default() -> Self {
        Self { repeats: five(), metric: None }
    }
}

const fn five() -> usize {
    5
}

const fn seven() -> usize {
    7
}

const fn ten() -> usize {
    10
}

const fn twenty() -> usize {
    20
}

const fn fifty() -> usize {
    50
}

const fn hundred() -> usize {
    100
}

const fn hundredth() -> f64 {
    0.01
}
