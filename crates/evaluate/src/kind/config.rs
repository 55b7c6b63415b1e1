//! What a user asks of `evaluate`.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::metric::Metric;
use crate::metrics::Average;

/// What to measure, and what to require.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateConfig {
    /// The metrics. By default the usual ones of the model's task, and those in `require`.
    #[serde(default)]
    pub metrics: Option<Vec<Metric>>,
    /// How precision, recall, F1 and specificity of several classes become one value. By default
    /// `binary` for two classes (the value of the second one), and `macro` for more.
    #[serde(default)]
    pub average: Option<Average>,
    /// The k of `top_k_accuracy`.
    #[serde(default = "five")]
    #[schemars(range(min = 1))]
    pub top_k: usize,
    /// With two classes: the probability above which a row is taken for the second one.
    #[serde(default = "half")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// Gates: for a metric the bound that it must meet, such as `">= 0.975"`. Comparisons are
    /// `>=`, `>`, `<=`, `<` and `==`.
    #[serde(default)]
    pub require: IndexMap<String, String>,
}

const fn five() -> usize {
    5
}

const fn half() -> f64 {
    0.5
}
