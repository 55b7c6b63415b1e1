//! What is explained: a model, and rows as it reads them.

use candle_core::{Device, Tensor, Var};
use wick_data::{DataFrame, Transform};
use wick_nn::{FeatureForm, Inputs, Model, NnError, NnResult, Predictions, SampleShape};
use wick_stage::TaskType;

use crate::gradients::Gradients;
use crate::matrix::Matrix;
use crate::players::Players;

/// How many numbers go through the network at once: few enough for the caches, many enough that
/// the cost of a call does not count.
const BATCH_NUMBERS: usize = 1 << 18;

/// A model with its players.
pub struct Subject {
    model: Model,
    players: Players,
}

/// An image's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Values of a pixel.
    pub channels: usize,
}

impl Subject {
    /// The model with one player for each raw column, or for each of `segments` × `segments`
    /// cells of an image.
    ///
    /// # Errors
    /// If the model reads nothing.
    pub fn new(model: Model, segments: usize) -> NnResult<Self> {
        let shape = model.info().input_shape();
        let players = match image_shape(shape) {
            Some(image) => grid(image, segments),
            None => raw_columns(&model),
        };
        let players = Players::new(players, shape.elements())
            .filter(|players| !players.is_empty())
            .ok_or_else(|| {
                NnError::data("the model reads no columns", "train it with at least one feature")
            })?;
        Ok(Self { model, players })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Who gets credit.
    pub fn players(&self) -> &Players {
        &self.players
    }

    /// The size of the images that the model reads, if it reads images.
    pub fn image(&self) -> Option<ImageShape> {
        image_shape(self.model.info().input_shape())
    }

    /// Whether it tells classes apart.
    pub fn is_classification(&self) -> bool {
        self.model.info().target.task != TaskType::Regression
    }

    /// Some rows as the network reads them.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn gather(&self, inputs: &Inputs, rows: &[usize]) -> NnResult<Matrix<f32>> {
        let places: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let values = inputs.gather(&places)?.flatten_all()?.to_vec1::<f32>()?;
        let width = self.model.info().input_shape().elements();
        Matrix::new(width, values)
            .ok_or_else(|| NnError::data("the data has no rows", "give it at least one"))
    }

    fn tensor(&self, rows: &[f32], count: usize) -> NnResult<Tensor> {
        let mut dims = vec![count];
        dims.extend(self.model.info().input_shape().dims());
        Ok(Tensor::from_slice(rows, dims, &Device::Cpu)?)
    }

    /// What the model predicts for each row.
    ///
    /// # Errors
    /// If the network fails.
    pub fn predict(&self, rows: &Matrix<f32>) -> NnResult<Predictions> {
        let target = &self.model.info().target;
        let mut predictions = Predictions::new(target);
        let at_once = (BATCH_NUMBERS / rows.width()).max(1);
        for piece in rows.values().chunks(at_once * rows.width()) {
            let samples = self.tensor(piece, piece.len() / rows.width())?;
            predictions.push_outputs(&self.model.forward(&samples)?, target)?;
        }
        Ok(predictions)
    }

    /// The explained output of each row: the probability of `class`, or the predicted number.
    ///
    /// # Errors
    /// If the network fails.
    pub fn outputs(&self, class: usize, rows: &Matrix<f32>) -> NnResult<Vec<f64>> {
        let predictions = self.predict(rows)?;
        let values = predictions.values.iter().skip(class.min(predictions.width - 1));
        Ok(values.step_by(predictions.width).map(|value| f64::from(*value)).collect())
    }

    /// The score that a class, or the number, gets from the last layer, and its gradient. It is
    /// taken before softmax, where the probabilities of other classes do not mix in.
    ///
    /// # Errors
    /// If the network fails.
    pub fn gradients(&self, class: usize, rows: &Matrix<f32>) -> NnResult<Gradients<f32>> {
        let samples = Var::from_tensor(&self.tensor(rows.values(), rows.rows())?)?;
        let scores = self.model.forward(samples.as_tensor())?;
        let target = &self.model.info().target;
        let score = match (target.task, scores.dim(1)?) {
            (TaskType::Regression, _) => {
                scores.narrow(1, 0, 1)?.affine(target.scale, target.mean)?
            }
            // A single score speaks for the second class, and as much against the first.
            (_, 1) => scores.affine(if class == 0 { -1.0 } else { 1.0 }, 0.0)?,
            _ => scores.narrow(1, class, 1)?,
        };
        let outputs: Vec<f32> = score.flatten_all()?.to_vec1()?;
        let slopes = score.sum_all()?.backward()?;
        let values = match slopes.get(samples.as_tensor()) {
            Some(slopes) => slopes.flatten_all()?.to_vec1::<f32>()?,
            // A network that does not look at its input has no gradient.
            None => vec![0.0; rows.values().len()],
        };
        let gradients = Matrix::new(rows.width(), values)
            .ok_or_else(|| NnError::data("the data has no rows", "give it at least one"))?;
        Ok(Gradients { outputs: outputs.into_iter().map(f64::from).collect(), gradients })
    }

    /// What `player` is in a row, for people: the raw value where the frame has it, else what
    /// the network reads.
    pub fn shown(
        &self,
        player: usize,
        frame: Option<&DataFrame>,
        at: usize,
        row: &[f32],
    ) -> String {
        let name = &self.players.names()[player];
        let raw = frame.and_then(|frame| frame.column(name).ok()?.get(at).ok());
        if let Some(value) = raw {
            return value.to_string().trim_matches('"').to_owned();
        }
        match self.players.columns(player) {
            [column] => wick_report::format_number(f64::from(row[*column])),
            columns => {
                let on = columns.iter().position(|column| row[*column] == 1.0);
                let names = self.model.transform().map_or(&[][..], |t| t.produced(name));
                match on.and_then(|place| names.get(place)) {
                    Some(produced) => {
                        let short = produced.strip_prefix(name.as_str()).unwrap_or(produced);
                        short.trim_start_matches(['_', '=', '.']).to_owned()
                    }
                    None => String::new(),
                }
            }
        }
    }
}

fn image_shape(shape: SampleShape) -> Option<ImageShape> {
    match shape {
        SampleShape::Image { height, width, channels } => {
            Some(ImageShape { height, width, channels })
        }
        SampleShape::Flat { .. } => None,
    }
}

/// The cells of a grid, each with all channels of its pixels; channels come first.
fn grid(image: ImageShape, segments: usize) -> Vec<(String, Vec<usize>)> {
    let ImageShape { height, width, channels } = image;
    let (down, across) = (segments.min(height).max(1), segments.min(width).max(1));
    let mut players: Vec<(String, Vec<usize>)> = (0..down * across)
        .map(|cell| (format!("cell {},{}", cell / across + 1, cell % across + 1), Vec::new()))
        .collect();
    for channel in 0..channels {
        for y in 0..height {
            for x in 0..width {
                let cell = y * down / height * across + x * across / width;
                players[cell].1.push((channel * height + y) * width + x);
            }
        }
    }
    players
}

/// The features that each raw column became, in the order of the features.
fn raw_columns(model: &Model) -> Vec<(String, Vec<usize>)> {
    let raw_of = |feature: &str| {
        model.transform().and_then(|transform: &Transform| transform.raw_of(feature))
    };
    let mut players: Vec<(String, Vec<usize>)> = Vec::new();
    let mut column = 0;
    for feature in &model.info().features {
        let width = match feature.form {
            FeatureForm::Vector { width } => width,
            _ => 1,
        };
        let name = raw_of(&feature.column).unwrap_or(&feature.column);
        let columns = column..column + width;
        match players.iter_mut().find(|(player, _)| player == name) {
            Some((_, own)) => own.extend(columns),
            None => players.push((name.to_owned(), columns.collect())),
        }
        column += width;
    }
    players
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_covers_an_image() {
        for (height, width, channels, segments) in [(28, 28, 1, 7), (5, 9, 3, 4), (2, 2, 1, 7)] {
            let image = ImageShape { height, width, channels };
            let players = Players::new(grid(image, segments), height * width * channels);
            let players = players.expect("each pixel once");
            assert_eq!(players.len(), segments.min(height) * segments.min(width));
            assert!((0..players.len()).all(|cell| !players.columns(cell).is_empty()));
        }
    }
}
