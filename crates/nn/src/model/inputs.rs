//! Samples as a network reads them.

use candle_core::{Device, Tensor};
use wick_data::DataFrame;

use crate::error::{NnError, NnResult};
use crate::features::{Feature, FeatureForm, sample_shape};
use crate::spec::SampleShape;

/// Samples of one shape. Images stay bytes until a batch is made of them: a quarter of the
/// memory, and the scaling is done while the batch is gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    rows: usize,
    shape: SampleShape,
    values: Values,
}

#[derive(Debug, Clone, PartialEq)]
enum Values {
    /// In the order of the tensor.
    Numbers(Vec<f32>),
    /// Images row by row, the channels of a place together; divided by `scale` on the way.
    Bytes { values: Vec<u8>, scale: f32 },
}

impl Inputs {
    /// Samples from numbers that lie one sample after the other, in the order of the tensor:
    /// `[channels, height, width]` for images.
    ///
    /// # Errors
    /// If they are not `rows` samples of `shape`.
    pub fn from_values(rows: usize, shape: SampleShape, values: Vec<f32>) -> NnResult<Self> {
        if values.len() != rows * shape.elements() {
            return Err(NnError::data(
                format!("{} values are not {rows} samples of {shape}", values.len()),
                "give as many values as the network reads",
            ));
        }
        Ok(Self { rows, shape, values: Values::Numbers(values) })
    }

    /// Images as bytes, one after the other, row by row, the channels of a place together; every
    /// byte is divided by `scale`.
    ///
    /// # Errors
    /// If they are not `rows` images of `shape`.
    pub fn from_bytes(
        rows: usize,
        shape: SampleShape,
        values: Vec<u8>,
        scale: f32,
    ) -> NnResult<Self> {
        if values.len() != rows * shape.elements() {
            return Err(NnError::data(
                format!("{} bytes are not {rows} samples of {shape}", values.len()),
                "give images of the size that the network reads",
            ));
        }
        Ok(Self { rows, shape, values: Values::Bytes { values, scale } })
    }

    /// The columns `features` of `frame`.
    ///
    /// # Errors
    /// If a column is missing, is not what the network reads, or has missing values.
    pub fn encode(frame: &DataFrame, features: &[Feature]) -> NnResult<Self> {
        let shape = sample_shape(features);
        if let [Feature { column, form, scale }] = features
            && let FeatureForm::Image { height, width, channels } = *form
        {
            let blocks = wick_data::byte_blocks(frame, column)?;
            let expected = blocks.rows * height * width * channels;
            if blocks.values.len() != expected {
                return Err(NnError::data(
                    format!(
                        "column `{column}` has {} bytes a row, and the network reads images of \
                         {height} × {width} × {channels}",
                        blocks.values.len() / blocks.rows.max(1)
                    ),
                    "give it images of the size that it was trained on",
                ));
            }
            let values = Values::Bytes { values: blocks.values, scale: *scale as f32 };
            return Ok(Self { rows: blocks.rows, shape, values });
        }
        let names: Vec<String> = features.iter().map(|feature| feature.column.clone()).collect();
        let mut matrix = wick_data::matrix(frame, &names)?;
        let width = shape.elements();
        if matrix.width != width {
            return Err(NnError::data(
                format!(
                    "the features have {} numbers, and the network reads {width}",
                    matrix.width
                ),
                "give it vectors of the width that it was trained on",
            ));
        }
        if features.iter().any(|feature| feature.scale != 1.0) {
            let scales: Vec<f32> = features
                .iter()
                .flat_map(|feature| {
                    let width = match feature.form {
                        FeatureForm::Vector { width } => width,
                        _ => 1,
                    };
                    std::iter::repeat_n(feature.scale as f32, width)
                })
                .collect();
            for row in matrix.values.chunks_exact_mut(width) {
                row.iter_mut().zip(&scales).for_each(|(value, scale)| *value /= scale);
            }
        }
        Ok(Self { rows: matrix.rows, shape, values: Values::Numbers(matrix.values) })
    }

    /// How many samples.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The shape of a sample.
    pub fn shape(&self) -> SampleShape {
        self.shape
    }

    /// Samples `start..end` as a tensor `[end − start, …shape]`.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn batch(&self, start: usize, end: usize) -> NnResult<Tensor> {
        self.tensor(end - start, start..end)
    }

    /// The samples at `rows`, in that order, as a tensor `[rows, …shape]`.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn gather(&self, rows: &[u32]) -> NnResult<Tensor> {
        self.tensor(rows.len(), rows.iter().map(|row| *row as usize))
    }

    /// All samples as one tensor.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn tensor_of_all(&self) -> NnResult<Tensor> {
        self.batch(0, self.rows)
    }

    fn tensor(&self, count: usize, rows: impl Iterator<Item = usize>) -> NnResult<Tensor> {
        let width = self.shape.elements();
        let mut gathered = Vec::with_capacity(count * width);
        match &self.values {
            Values::Numbers(values) => {
                for row in rows {
                    gathered.extend_from_slice(&values[row * width..(row + 1) * width]);
                }
            }
            Values::Bytes { values, scale } => {
                // A table instead of a division for every pixel; the division is done once for
                // each byte, so the values are those of `byte as f32 / scale` exactly.
                let table: [f32; 256] = std::array::from_fn(|byte| byte as f32 / scale);
                let channels = match self.shape {
                    SampleShape::Image { channels, .. } => channels,
                    SampleShape::Flat { .. } => 1,
                };
                for row in rows {
                    let bytes = &values[row * width..(row + 1) * width];
                    for channel in 0..channels {
                        gathered.extend(
                            bytes[channel..]
                                .iter()
                                .step_by(channels)
                                .map(|byte| table[usize::from(*byte)]),
                        );
                    }
                }
            }
        }
        let mut dims = vec![count];
        dims.extend(self.shape.dims());
        Ok(Tensor::from_vec(gathered, dims, &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_brought_channel_first_and_scaled() {
        // Two images of 1 × 2 with two channels.
        let inputs = Inputs {
            rows: 2,
            shape: SampleShape::Image { height: 1, width: 2, channels: 2 },
            values: Values::Bytes { values: vec![1, 2, 3, 4, 5, 6, 7, 8], scale: 2.0 },
        };
        let batch = inputs.gather(&[1, 0]).expect("it fits");
        assert_eq!(batch.dims(), [2, 2, 1, 2]);
        let values: Vec<f32> = batch.flatten_all().and_then(|t| t.to_vec1()).expect("floats");
        assert_eq!(values, [2.5, 3.5, 3.0, 4.0, 0.5, 1.5, 1.0, 2.0]);
    }

    #[test]
    fn too_few_values_are_refused() {
        let flat = SampleShape::Flat { width: 3 };
        assert!(Inputs::from_values(2, flat, vec![0.0; 5]).is_err());
        assert!(Inputs::from_values(2, flat, vec![0.0; 6]).is_ok());
    }
}
