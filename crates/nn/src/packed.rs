//! Weights as they lie on disk when they were compressed: 8-bit values with scales, and sparse
//! values with a bit mask.
//!
//! A weight `NAME` that is stored as it is, is the tensor `NAME`. A packed one is several:
//!
//! | tensor | type | what |
//! |---|---|---|
//! | `NAME#shape` | U32 `[rank]` | the shape of the weight |
//! | `NAME#values` | I8 or F32 `[stored]` | the values, in row-major order; with a mask, only those kept |
//! | `NAME#scale` | F32 `[1]` or `[shape[0]]` | of I8 values: value = scale · stored, for the whole tensor or by output channel |
//! | `NAME#mask` | U8 `[⌈n / 8⌉]` | of sparse values: bit `i % 8` of byte `i / 8` says whether value `i` is kept; others are 0 |
//!
//! Quantisation is symmetric: scale = max |w| / 127, rounded half to even, within ±127.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// How the values of a weight are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// Four bytes a value.
    #[default]
    Float,
    /// One byte a value, one scale for the tensor.
    Int8PerTensor,
    /// One byte a value, one scale for each output channel (the first dimension).
    Int8PerChannel,
}

/// A weight in its packed form.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// The shape of the weight.
    pub shape: Vec<usize>,
    /// The stored values.
    pub values: Values,
    /// Which values are stored, one bit each, if not all are.
    pub mask: Option<Vec<u8>>,
}

/// The stored values of a weight.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// As they are.
    Float(Vec<f32>),
    /// As multiples of a scale.
    Int8 {
        /// The multiples.
        values: Vec<i8>,
        /// One scale, or one for each output channel.
        scales: Vec<f32>,
    },
}

/// Why a packed weight cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("weight `{name}` is damaged: {reason}")]
pub struct PackedError {
    /// The weight.
    pub name: String,
    /// What does not fit.
    pub reason: String,
}

/// Quantises `weight` symmetrically to 8 bits, and gives the scales: one, or `channels` of them
/// for as many equal blocks.
///
/// A channel of zeros has scale 0 and values 0.
pub fn quantize(weight: &[f32], channels: usize) -> (Vec<i8>, Vec<f32>) {
    let block = (weight.len() / channels.max(1)).max(1);
    let mut values = Vec::with_capacity(weight.len());
    let mut scales = Vec::with_capacity(channels);
    for channel in weight.chunks(block) {
        let largest = channel.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        scales.push(scale);
        values.extend(channel.iter().map(|&value| {
            if scale == 0.0 {
                0
            } else {
                (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8
            }
        }));
    }
    (values, scales)
}

impl Packed {
    /// Packs a weight of this shape. Zeros are left out where a bit mask costs less than they do.
    pub fn pack(weight: &[f32], shape: &[usize], storage: Storage) -> Self {
        let channels = match storage {
            Storage::Int8PerChannel => shape.first().copied().unwrap_or(1),
            Storage::Float | Storage::Int8PerTensor => 1,
        };
        let values = match storage {
            Storage::Float => Values::Float(weight.to_vec()),
            Storage::Int8PerTensor | Storage::Int8PerChannel => {
                let (values, scales) = quantize(weight, channels);
                Values::Int8 { values, scales }
            }
        };
        let packed = Self { shape: shape.to_vec(), values, mask: None };
        packed.without_zeros()
    }

    fn without_zeros(self) -> Self {
        let (kept, width): (Vec<bool>, usize) = match &self.values {
            Values::Float(values) => (values.iter().map(|value| *value != 0.0).collect(), 4),
            Values::Int8 { values, .. } => (values.iter().map(|value| *value != 0).collect(), 1),
        };
        let saved = kept.iter().filter(|kept| !**kept).count() * width;
        let mask_bytes = kept.len().div_ceil(8);
        if saved <= mask_bytes {
            return self;
        }
        let mut mask = vec![0u8; mask_bytes];
        for (place, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            mask[place / 8] |= 1 << (place % 8);
        }
        let values = match self.values {
            Values::Float(values) => Values::Float(keep(values, &kept)),
            Values::Int8 { values, scales } => Values::Int8 { values: keep(values, &kept), scales },
        };
        Self { shape: self.shape, values, mask: Some(mask) }
    }

    /// The weight's values, in row-major order.
    ///
    /// # Errors
    /// If shape, mask, scales and values do not fit together.
    pub fn unpack(&self, name: &str) -> Result<Vec<f32>, PackedError> {
        let damaged = |reason: String| PackedError { name: name.to_owned(), reason };
        let length = self
            .shape
            .iter()
            .try_fold(1usize, |product, side| product.checked_mul(*side))
            .ok_or_else(|| damaged(format!("its shape {:?} is too large", self.shape)))?;
        let stored = match &self.values {
            Values::Float(values) => values.len(),
            Values::Int8 { values, .. } => values.len(),
        };
        let places: Vec<usize> = match &self.mask {
            None => (0..stored).collect(),
            Some(mask) if mask.len() == length.div_ceil(8) => {
                (0..length).filter(|place| mask[place / 8] >> (place % 8) & 1 == 1).collect()
            }
            Some(mask) => {
                return Err(damaged(format!("a mask of {} bytes for {length} values", mask.len())));
            }
        };
        if places.len() != stored || (self.mask.is_none() && stored != length) {
            return Err(damaged(format!("{stored} values are stored where {length} belong")));
        }
        let mut weight = vec![0.0; length];
        match &self.values {
            Values::Float(values) => {
                for (place, value) in places.into_iter().zip(values) {
                    weight[place] = *value;
                }
            }
            Values::Int8 { values, scales } => {
                let channels = scales.len();
                if channels == 0 || !length.is_multiple_of(channels) {
                    return Err(damaged(format!("{channels} scales for {length} values")));
                }
                let block = (length / channels).max(1);
                for (place, value) in places.into_iter().zip(values) {
                    weight[place] = f32::from(*value) * scales[place / block];
                }
            }
        }
        Ok(weight)
    }
}

fn keep<T>(values: Vec<T>, kept: &[bool]) -> Vec<T> {
    values.into_iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| value).collect()
}

/// Bytes of a named tensor, ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTensor {
    /// The type of its values.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its bytes, little-endian.
    pub bytes: Vec<u8>,
}

/// Adds the tensors of the packed weight `name` to those to be written.
pub fn store(name: &str, packed: &Packed, tensors: &mut BTreeMap<String, StoredTensor>) {
    let mut add = |part: &str, dtype, length: usize, bytes: Vec<u8>| {
        let tensor = StoredTensor { dtype, shape: vec![length], bytes };
        tensors.insert(format!("{name}#{part}"), tensor);
    };
    let shape = packed.shape.iter().flat_map(|side| (*side as u32).to_le_bytes()).collect();
    add("shape", Dtype::U32, packed.shape.len(), shape);
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    match &packed.values {
        Values::Float(values) => add("values", Dtype::F32, values.len(), floats(values)),
        Values::Int8 { values, scales } => {
            let bytes = values.iter().map(|value| *value as u8).collect();
            add("values", Dtype::I8, values.len(), bytes);
            add("scale", Dtype::F32, scales.len(), floats(scales));
        }
    }
    if let Some(mask) = &packed.mask {
        add("mask", Dtype::U8, mask.len(), mask.clone());
    }
}

/// The names of the weights that are stored packed in `tensors`.
pub fn packed_names(tensors: &SafeTensors<'_>) -> Vec<String> {
    tensors
        .names()
        .into_iter()
        .filter_map(|name| name.strip_suffix("#shape").map(str::to_owned))
        .collect()
}

/// Reads the packed weight `name`.
///
/// # Errors
/// If a part is missing or is not of its type.
pub fn read(name: &str, tensors: &SafeTensors<'_>) -> Result<Packed, PackedError> {
    let damaged = |reason: String| PackedError { name: name.to_owned(), reason };
    let part = |part: &str| tensors.tensor(&format!("{name}#{part}")).ok();
    let typed = |part_name: &str, dtype: Dtype| -> Result<Option<TensorView<'_>>, PackedError> {
        match part(part_name) {
            Some(tensor) if tensor.dtype() == dtype => Ok(Some(tensor)),
            Some(tensor) => Err(damaged(format!("`#{part_name}` is {:?}", tensor.dtype()))),
            None => Ok(None),
        }
    };
    let words =
        |tensor: TensorView<'_>| -> Vec<[u8; 4]> { tensor.data().as_chunks::<4>().0.to_vec() };
    let floats = |tensor| words(tensor).into_iter().map(f32::from_le_bytes).collect::<Vec<f32>>();
    let shape = typed("shape", Dtype::U32)?.ok_or_else(|| damaged("it has no shape".into()))?;
    let shape = words(shape).into_iter().map(|word| u32::from_le_bytes(word) as usize).collect();
    let values = part("values").ok_or_else(|| damaged("it has no values".into()))?;
    let values = match values.dtype() {
        Dtype::F32 => Values::Float(floats(values)),
        Dtype::I8 => {
            let scales =
                typed("scale", Dtype::F32)?.ok_or_else(|| damaged("it has no scale".into()))?;
            let values = values.data().iter().map(|byte| *byte as i8).collect();
            Values::Int8 { values, scales: floats(scales) }
        }
        other => return Err(damaged(format!("`#values` is {other:?}"))),
    };
    let mask = typed("mask", Dtype::U8)?.map(|mask| mask.data().to_vec());
    Ok(Packed { shape, values, mask })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(weight: &[f32], shape: &[usize], storage: Storage) -> (Packed, Vec<f32>) {
        let packed = Packed::pack(weight, shape, storage);
        let mut tensors = BTreeMap::new();
        store("w", &packed, &mut tensors);
        let views: Vec<(String, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, tensor)| {
                let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
                (name.clone(), view.expect("bytes fit the shape"))
            })
            .collect();
        let bytes = safetensors::serialize(views, None).expect("tensors serialise");
        let file = SafeTensors::deserialize(&bytes).expect("its own bytes");
        assert_eq!(packed_names(&file), ["w"]);
        let back = read("w", &file).expect("its own parts");
        assert_eq!(back, packed);
        let weight = back.unpack("w").expect("parts fit");
        (back, weight)
    }

    #[test]
    fn floats_come_back_bit_for_bit() {
        let weight = [1.5, -2.25, 0.0, 3.0, 0.0, 0.0];
        let (packed, back) = round_trip(&weight, &[2, 3], Storage::Float);
        assert!(packed.mask.is_some());
        assert_eq!(back, weight);
        let (packed, back) = round_trip(&weight[..2], &[2], Storage::Float);
        assert!(packed.mask.is_none());
        assert_eq!(back, weight[..2]);
    }

    #[test]
    fn bytes_are_within_half_a_scale() {
        let weight: Vec<f32> = (0..64).map(|i| ((i * 37 % 64) as f32 - 31.5) / 10.0).collect();
        for storage in [Storage::Int8PerTensor, Storage::Int8PerChannel] {
            let (packed, back) = round_trip(&weight, &[4, 16], storage);
            let Values::Int8 { scales, .. } = &packed.values else { panic!("not bytes") };
            for (place, (a, b)) in weight.iter().zip(&back).enumerate() {
                let scale = scales[place * scales.len() / weight.len()];
                assert!((a - b).abs() <= scale * 0.5 + 1e-6, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_channel_of_zeros_stays_zero() {
        let (_, back) = round_trip(&[0.0, 0.0, 1.0, -1.0], &[2, 2], Storage::Int8PerChannel);
        assert_eq!(back, [0.0, 0.0, 1.0, -1.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let packed = Packed {
            shape: vec![2, 2],
            values: Values::Int8 { values: vec![1, 2, 3], scales: vec![1.0] },
            mask: None,
        };
        assert!(packed.unpack("w").is_err());
        let short_mask = Packed { mask: Some(vec![]), ..packed.clone() };
        assert!(short_mask.unpack("w").is_err());
        let huge = Packed { shape: vec![usize::MAX, 2], ..packed };
        assert!(huge.unpack("w").is_err());
    }
}
