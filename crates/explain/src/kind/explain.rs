//! Runs the methods on a subject.

use wick_evaluate::outcomes::of_predictions;
use wick_evaluate::{Metric, MetricOptions};
use wick_nn::{NnError, NnResult, Targets};

use super::config::{Baseline, ExplainConfig, Method};
use super::dense::DenseNetwork;
use super::subject::Subject;
use crate::draw::Draw;
use crate::gradients::{PathOptions, integrated_gradients, saliency};
use crate::importance::{Importance, permutation_importance};
use crate::lime::{Neighbourhood, TableSampler, segments};
use crate::matrix::Matrix;
use crate::shap::{
    Coalitions, EXACT_PLAYERS, Explanation, KernelSolver, Link, Worth, exact_shapley,
};

/// Neighbours of a table's row that `lime` draws by default.
const TABLE_NEIGHBOURS: usize = 5000;
/// Neighbours of an image that `lime` draws by default.
const IMAGE_NEIGHBOURS: usize = 1000;

/// A row to explain.
pub struct Row {
    /// Its place in the data.
    pub place: usize,
    /// As the network reads it.
    pub values: Vec<f32>,
    /// The class to explain; 0 for a number.
    pub class: usize,
    /// What the model predicts: the probability of that class, or the number.
    pub prediction: f64,
}

/// What a method says of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Local {
    /// The credit of each player.
    pub attributions: Vec<f64>,
    /// The credit of each column of the network's input, where the method gives it.
    pub by_column: Option<Vec<f64>>,
    /// What else there is to say: names and values, the same names for every row.
    pub notes: Vec<(&'static str, f64)>,
}

/// What is needed beside the rows.
pub struct Setting<'a> {
    /// What the user asks for.
    pub config: &'a ExplainConfig,
    /// Who is explained.
    pub subject: &'a Subject,
    /// Rows that stand for what is not known.
    pub background: &'a Matrix<f32>,
    /// More rows of the same: how columns vary.
    pub variety: &'a Matrix<f32>,
}

/// Called after each row that is explained.
pub type Told<'a> = dyn FnMut() -> NnResult + 'a;

impl Setting<'_> {
    /// What `method` says of each row.
    ///
    /// # Errors
    /// If the network fails.
    pub fn explain(
        &self,
        method: Method,
        rows: &[Row],
        told: &mut Told<'_>,
    ) -> NnResult<Vec<Local>> {
        match method {
            Method::Shap => self.shap(rows, told),
            Method::Lime => self.lime(rows, told),
            Method::IntegratedGradients => self.integrated_gradients(rows, told),
            Method::Saliency => self.saliency(rows, told),
            // It is about the whole data, not about rows.
            Method::PermutationImportance => Ok(Vec::new()),
        }
    }

    fn link(&self) -> Link {
        if self.subject.is_classification() { self.config.shap.link.into() } else { Link::Identity }
    }

    fn shap(&self, rows: &[Row], told: &mut Told<'_>) -> NnResult<Vec<Local>> {
        let players = self.subject.players().len();
        let samples = self.config.samples.unwrap_or_else(|| Coalitions::default_samples(players));
        // One set of coalitions for all rows: the same row is explained alike in any company.
        let exact = players <= EXACT_PLAYERS;
        let coalitions = if exact {
            Coalitions::all(players)
        } else {
            let mut draw = Draw::new(self.config.seed, "shap", &[]);
            Coalitions::sample(players, samples, &mut draw)
        };
        let solver = (!exact).then(|| KernelSolver::new(&coalitions));
        // An image has no background of other images: what is hidden is the mean image's.
        let mean_image;
        let background = match self.subject.image() {
            Some(_) => {
                let mean = self.background.column_means();
                mean_image = single(mean.into_iter().map(|value| value as f32).collect());
                &mean_image
            }
            None => self.background,
        };
        let worths = self.coalition_worths(rows, background, &coalitions, told)?;
        rows.iter()
            .zip(worths)
            .map(|(row, worths)| {
                let explained = self.shap_row(row, background, &worths, solver.as_ref())?;
                let notes = vec![
                    ("base", explained.base),
                    ("additivity_error", explained.additivity_error()),
                ];
                Ok(Local { attributions: explained.contributions, by_column: None, notes })
            })
            .collect()
    }

    fn worth_for<'b>(
        &'b self,
        row: &Row,
        background: &'b Matrix<f32>,
    ) -> Worth<'b, f32, impl Fn(&Matrix<f32>) -> NnResult<Vec<f64>> + 'b> {
        let class = row.class;
        Worth {
            players: self.subject.players(),
            background,
            predict: move |batch: &Matrix<f32>| self.subject.outputs(class, batch),
        }
    }

    /// What each coalition is worth, for each row.
    fn coalition_worths(
        &self,
        rows: &[Row],
        background: &Matrix<f32>,
        coalitions: &Coalitions,
        told: &mut Told<'_>,
    ) -> NnResult<Vec<Vec<f64>>> {
        if let Some(network) = DenseNetwork::of(self.subject) {
            let wanted: Vec<(&[f32], usize)> =
                rows.iter().map(|row| (row.values.as_slice(), row.class)).collect();
            let mut reported = 0;
            return network.worth(coalitions, &wanted, background, |share| {
                // All rows advance together: as many are told as the share amounts to.
                while reported < (share * rows.len() as f64) as usize {
                    reported += 1;
                    told()?;
                }
                Ok(())
            });
        }
        rows.iter()
            .map(|row| {
                let worths = self.worth_for(row, background).of(coalitions, &row.values)?;
                told()?;
                Ok(worths)
            })
            .collect()
    }

    fn shap_row(
        &self,
        row: &Row,
        background: &Matrix<f32>,
        worths: &[f64],
        solver: Option<&KernelSolver<'_>>,
    ) -> NnResult<Explanation> {
        let link = self.link();
        let worth = self.worth_for(row, background);
        let base = link.apply(worth.nobody()?);
        let output = link.apply(worth.everybody(&row.values)?);
        let values: Vec<f64> = worths.iter().map(|worth| link.apply(*worth) - base).collect();
        let contributions = match solver {
            Some(solver) => solver.solve(&values, output - base),
            None => exact_shapley(self.subject.players().len(), &values),
        };
        Ok(Explanation { contributions, base, output })
    }

    fn lime(&self, rows: &[Row], told: &mut Told<'_>) -> NnResult<Vec<Local>> {
        let sampler = match self.subject.image() {
            Some(_) => None,
            None => Some(TableSampler::new(self.subject.players(), self.variety)),
        };
        rows.iter()
            .map(|row| {
                let local = match &sampler {
                    Some(sampler) => self.lime_table(row, sampler)?,
                    None => self.lime_image(row)?,
                };
                told()?;
                Ok(local)
            })
            .collect()
    }

    fn lime_table(&self, row: &Row, sampler: &TableSampler<'_, f32>) -> NnResult<Local> {
        let count = self.config.samples.unwrap_or(TABLE_NEIGHBOURS);
        let mut draw = Draw::for_row(self.config.seed, "lime", &row.values);
        let values = self.config.lime.values.into();
        let sample = sampler.sample(&row.values, count, values, &mut draw);
        let outputs = self.subject.outputs(row.class, &sample.rows)?;
        Ok(self.local_model(&Neighbourhood::of_table(sample.features), &outputs))
    }

    /// What is hidden of an image takes the mean colour of its segment.
    fn lime_image(&self, row: &Row) -> NnResult<Local> {
        let players = self.subject.players();
        let count = self.config.samples.unwrap_or(IMAGE_NEIGHBOURS);
        let mut draw = Draw::for_row(self.config.seed, "lime", &row.values);
        let coalitions = segments(players.len(), count, &mut draw);
        let hidden = single(self.segment_means(&row.values));
        let worth = Worth {
            players,
            background: &hidden,
            predict: |batch: &Matrix<f32>| self.subject.outputs(row.class, batch),
        };
        let outputs = worth.of(&coalitions, &row.values)?;
        Ok(self.local_model(&Neighbourhood::of_segments(&coalitions), &outputs))
    }

    /// The image with every pixel as its segment's mean, channel by channel.
    fn segment_means(&self, values: &[f32]) -> Vec<f32> {
        let channels = self.subject.image().map_or(1, |image| image.channels);
        let plane = values.len() / channels.max(1);
        let mut means = values.to_vec();
        for player in 0..self.subject.players().len() {
            for channel in 0..channels {
                let own = || {
                    let columns = self.subject.players().columns(player).iter();
                    columns.filter(move |column| **column / plane == channel)
                };
                let count = own().count().max(1);
                let mean = own().map(|column| values[*column]).sum::<f32>() / count as f32;
                own().for_each(|column| means[*column] = mean);
            }
        }
        means
    }

    fn local_model(&self, neighbourhood: &Neighbourhood, outputs: &[f64]) -> Local {
        let model = neighbourhood.fit(outputs, self.config.lime.features);
        let mut attributions = vec![0.0; self.subject.players().len()];
        for (player, coefficient) in &model.coefficients {
            attributions[*player] = *coefficient;
        }
        let notes = vec![
            ("intercept", model.intercept),
            ("local_prediction", model.prediction),
            ("score", model.score),
        ];
        Local { attributions, by_column: None, notes }
    }

    fn integrated_gradients(&self, rows: &[Row], told: &mut Told<'_>) -> NnResult<Vec<Local>> {
        let config = &self.config.integrated_gradients;
        let options = PathOptions {
            steps: config.steps,
            tolerance: config.tolerance,
            max_steps: config.steps.saturating_mul(8),
        };
        let usual = if self.subject.image().is_some() { Baseline::Zero } else { Baseline::Mean };
        let baseline: Vec<f32> = match config.baseline.unwrap_or(usual) {
            Baseline::Zero => vec![0.0; self.background.width()],
            Baseline::Mean => {
                self.background.column_means().into_iter().map(|mean| mean as f32).collect()
            }
        };
        rows.iter()
            .map(|row| {
                let found = integrated_gradients(&row.values, &baseline, options, |batch| {
                    self.subject.gradients(row.class, batch)
                })?;
                told()?;
                Ok(Local {
                    attributions: self.subject.players().sums(&found.attributions),
                    notes: vec![
                        ("output", found.output),
                        ("baseline_output", found.baseline_output),
                        ("completeness_error", found.relative_error()),
                        ("steps", found.steps as f64),
                    ],
                    by_column: Some(found.attributions),
                })
            })
            .collect()
    }

    fn saliency(&self, rows: &[Row], told: &mut Told<'_>) -> NnResult<Vec<Local>> {
        rows.iter()
            .map(|row| {
                let sizes = saliency(&single(row.values.clone()), |batch| {
                    self.subject.gradients(row.class, batch)
                })?
                .into_values();
                told()?;
                Ok(Local {
                    attributions: self.subject.players().sums(&sizes),
                    by_column: Some(sizes),
                    notes: Vec::new(),
                })
            })
            .collect()
    }

    /// The importance of each player for the metric, and the metric's value as it is. Where less
    /// of the metric is better its sign is turned, so importance is always what is lost.
    ///
    /// # Errors
    /// If the network fails.
    pub fn importance(
        &self,
        metric: Metric,
        rows: &Matrix<f32>,
        targets: &Targets,
        told: &mut Told<'_>,
    ) -> NnResult<(f64, Vec<Importance>)> {
        let value = |rows: &Matrix<f32>| -> NnResult<f64> {
            let outcomes = of_predictions(&self.subject.predict(rows)?, targets, 0.5)?;
            metric.value(&outcomes, MetricOptions::default()).ok_or_else(|| {
                NnError::config(
                    format!("`{metric}` does not fit what the model predicts"),
                    "name another metric under `permutation_importance`",
                )
            })
        };
        let sign = if metric.more_is_better() { 1.0 } else { -1.0 };
        let repeats = self.config.permutation_importance.repeats;
        let found = permutation_importance(
            rows,
            self.subject.players(),
            repeats,
            self.config.seed,
            |rows| Ok(sign * value(rows)?),
            |_| told(),
        )?;
        Ok((value(rows)?, found))
    }
}

/// A matrix of one row.
fn single(row: Vec<f32>) -> Matrix<f32> {
    let mut matrix = Matrix::with_capacity(1, row.len());
    matrix.push(&row);
    matrix
}
