//! A network with all that is needed to use it: architecture, signature, weights, and the
//! transform that feeds it. On disk a folder of `model.json`, `weights.safetensors` and, if
//! there is a transform, `transform.json`.

pub mod info;
pub mod inputs;
pub(crate) mod kernels;
pub mod network;
pub mod predictions;
mod storage;
pub mod targets;

use std::collections::BTreeMap;

use candle_core::Tensor;
use wick_data::{DataFrame, Dataset, Transform};

use crate::error::{NnError, NnResult};
use crate::ops;
use crate::spec::{LayerShape, LayerSpec};

pub use info::{MODEL_VERSION, ModelInfo, TargetInfo};
pub use inputs::Inputs;
pub use network::{Network, TrainingStep};
pub use predictions::{Predictions, argmax};
pub use targets::{Examples, Targets};

/// How many samples go through the network at once: enough to keep every processor busy, few
/// enough to stay in its caches.
const PREDICTION_BATCH: usize = 256;

/// A network with all that is needed to use it.
#[derive(Debug, Clone)]
pub struct Model {
    info: ModelInfo,
    layers: Vec<LayerShape>,
    weights: BTreeMap<String, Tensor>,
    network: Network,
    transform: Option<Transform>,
}

impl Model {
    /// A model of these weights, by name.
    ///
    /// # Errors
    /// If a layer does not fit, or a weight is missing, unknown, or of another shape.
    pub fn new(
        mut info: ModelInfo,
        weights: BTreeMap<String, Tensor>,
        transform: Option<Transform>,
    ) -> NnResult<Self> {
        let layers = shapes_of(&info)?;
        let known = |name: &str| {
            layers.iter().flat_map(|layer| &layer.weights).any(|weight| weight.name == name)
        };
        if let Some(unknown) = weights.keys().find(|name| !known(name)) {
            return Err(NnError::data(
                format!("there is no layer for the weight `{unknown}`"),
                "take the weights and the layers from one model",
            ));
        }
        let network = Network::new(&info.layers, &layers, &weights)?;
        info.parameters = weights.values().map(|weight| weight.elem_count() as u64).sum();
        Ok(Self { info, layers, weights, network, transform })
    }

    /// A model with first weights drawn from `seed`, each by its own name: so the weights of a
    /// layer do not depend on what other layers there are.
    ///
    /// # Errors
    /// If a layer does not fit.
    pub fn untrained(info: ModelInfo, transform: Option<Transform>, seed: u64) -> NnResult<Self> {
        let layers = shapes_of(&info)?;
        let weights = crate::train::init::weights(&info.layers, &layers, seed)?;
        Self::new(info, weights, transform)
    }

    /// What it is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The layers in their places: names, shapes, and the names of their weights. In the order
    /// of [`ModelInfo::layers`].
    pub fn layers(&self) -> &[LayerShape] {
        &self.layers
    }

    /// Each layer's declaration with its place.
    pub fn layers_with_specs(&self) -> impl Iterator<Item = (&LayerSpec, &LayerShape)> {
        self.info.layers.iter().zip(&self.layers)
    }

    /// The weights by name.
    pub fn weights(&self) -> &BTreeMap<String, Tensor> {
        &self.weights
    }

    /// The same model with other weights of the same shapes.
    ///
    /// # Errors
    /// If a weight is missing, unknown, or of another shape.
    pub fn with_weights(&self, weights: BTreeMap<String, Tensor>) -> NnResult<Self> {
        Self::new(self.info.clone(), weights, self.transform.clone())
    }

    /// The layers with their weights.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The transform that makes the network's features of raw columns, if it has one.
    pub fn transform(&self) -> Option<&Transform> {
        self.transform.as_ref()
    }

    /// The network's inputs of a frame that has its features: after any transform.
    ///
    /// # Errors
    /// If a column is missing, is not what the network reads, or has missing values.
    pub fn encode(&self, frame: &DataFrame) -> NnResult<Inputs> {
        Inputs::encode(frame, &self.info.features)
    }

    /// The network's inputs of a frame of raw columns: the transform is applied first, if the
    /// model has one. The target may be absent.
    ///
    /// # Errors
    /// If the transform does not apply, or as [`Model::encode`].
    pub fn encode_raw(&self, frame: &DataFrame) -> NnResult<Inputs> {
        match &self.transform {
            Some(transform) => self.encode(&transform.apply(frame)?),
            None => self.encode(frame),
        }
    }

    /// The table of `dataset` as the network needs it: transformed, unless it has been already.
    ///
    /// # Errors
    /// If the dataset cannot be read, or the transform does not apply.
    pub fn prepare(&self, dataset: &Dataset) -> NnResult<DataFrame> {
        let frame = dataset.frame()?;
        match &self.transform {
            Some(transform) if dataset.transform()?.is_none() => Ok(transform.apply(&frame)?),
            _ => Ok(frame),
        }
    }

    /// The truth of a frame's rows.
    ///
    /// # Errors
    /// If the target is missing, has missing values, or holds an unknown class.
    pub fn targets(&self, frame: &DataFrame) -> NnResult<Targets> {
        Targets::encode(frame, &self.info.target)
    }

    /// Inputs and truth of a frame that has the network's features and its target.
    ///
    /// # Errors
    /// As [`Model::encode`] and [`Model::targets`].
    pub fn examples(&self, frame: &DataFrame) -> NnResult<Examples> {
        Ok(Examples { inputs: self.encode(frame)?, targets: self.targets(frame)? })
    }

    /// The outputs of the last layer, before softmax, sigmoid or scaling, for samples
    /// `[batch, …]`. Can be differentiated with respect to the samples.
    ///
    /// # Errors
    /// If the samples have another shape than the network reads.
    pub fn forward(&self, samples: &Tensor) -> NnResult<Tensor> {
        self.network.forward(samples, None)
    }

    /// The outputs of every layer, first to last.
    ///
    /// # Errors
    /// If the samples have another shape than the network reads.
    pub fn forward_each(&self, samples: &Tensor) -> NnResult<Vec<Tensor>> {
        self.network.forward_each(samples)
    }

    /// What the network predicts for `inputs`.
    ///
    /// # Errors
    /// If a tensor operation fails.
    pub fn predict(&self, inputs: &Inputs) -> NnResult<Predictions> {
        // Many batches run on the pool's own threads, which saves a hand-over at each op; a
        // single small one is sooner done where it is.
        if inputs.rows() > PREDICTION_BATCH {
            ops::in_pool(|| self.predict_here(inputs))
        } else {
            self.predict_here(inputs)
        }
    }

    fn predict_here(&self, inputs: &Inputs) -> NnResult<Predictions> {
        let mut predictions = Predictions::new(&self.info.target);
        let mut start = 0;
        while start < inputs.rows() {
            let end = (start + PREDICTION_BATCH).min(inputs.rows());
            let outputs = self.forward(&inputs.batch(start, end)?)?;
            predictions.push_outputs(&outputs, &self.info.target)?;
            start = end;
        }
        Ok(predictions)
    }

    /// What outputs of the last layer mean: probabilities, or values in the target's units.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn predictions_of(&self, outputs: &Tensor) -> NnResult<Predictions> {
        let mut predictions = Predictions::new(&self.info.target);
        predictions.push_outputs(outputs, &self.info.target)?;
        Ok(predictions)
    }
}

fn shapes_of(info: &ModelInfo) -> NnResult<Vec<LayerShape>> {
    info.shapes().map_err(|misfit| {
        NnError::config(
            format!("layer {} of the model does not fit: {}", misfit.layer + 1, misfit.message),
            misfit.help,
        )
    })
}
