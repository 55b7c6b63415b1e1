//! The state of a training between two epochs: all that it takes to go on as if it had never
//! stopped. The order of rows, dropout and the learning rate follow from settings and epoch, and
//! what is best so far from the reports; so the state is weights, optimizer and reports.
//!
//! As bytes it is one safetensors file: `weights/NAME`, `kept/NAME`, `optimizer/NAME`, and a
//! column of numbers for each part of the reports, `history/train.loss` for one.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, View};

use super::scores::{Errors, Scores};
use super::watch::EpochReport;
use crate::ops::simd::Level;

/// The state of a training after an epoch.
#[derive(Debug, Clone)]
pub struct TrainingState {
    /// The weights.
    pub weights: BTreeMap<String, Tensor>,
    /// The weights of the best epoch, where the best are kept and it was not the last.
    pub kept: Option<BTreeMap<String, Tensor>>,
    /// What the optimizer remembers.
    pub optimizer: BTreeMap<String, Tensor>,
    /// The epochs so far.
    pub epochs: Vec<EpochReport>,
}

/// Why bytes are not a state that can be gone on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StateError(String);

impl StateError {
    /// For this reason.
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl From<candle_core::Error> for StateError {
    fn from(error: candle_core::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<safetensors::SafeTensorError> for StateError {
    fn from(error: safetensors::SafeTensorError) -> Self {
        Self(error.to_string())
    }
}

/// Where the file says what it is. It has this one entry, so that equal states have equal bytes.
const FORMAT: &str = "format";

const WEIGHTS: &str = "weights";
const KEPT: &str = "kept";
const OPTIMIZER: &str = "optimizer";
const HISTORY: &str = "history";

/// The format, and the kernels: those of another instruction set round differently, and what
/// they began this machine cannot go on with bit for bit.
fn format() -> String {
    format!("wick training 1, {:?} kernels", Level::best())
}

impl TrainingState {
    /// The last epoch, from 1.
    pub fn epoch(&self) -> usize {
        self.epochs.len()
    }

    /// The state as bytes.
    ///
    /// # Errors
    /// If a tensor is of a type that no training has.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StateError> {
        let mut parts = BTreeMap::new();
        let groups = [(WEIGHTS, Some(&self.weights)), (KEPT, self.kept.as_ref())];
        let groups = groups.into_iter().chain([(OPTIMIZER, Some(&self.optimizer))]);
        for (group, tensors) in groups {
            for (name, tensor) in tensors.into_iter().flatten() {
                parts.insert(format!("{group}/{name}"), Part::of(tensor)?);
            }
        }
        for (name, column) in columns(&self.epochs) {
            parts.insert(format!("{HISTORY}/{name}"), Part::column(&column));
        }
        let about = HashMap::from([(FORMAT.to_owned(), format())]);
        Ok(safetensors::serialize(parts, Some(about))?)
    }

    /// Reads what [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// If it is something else, or was made by other kernels than this machine's.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let (_, about) = SafeTensors::read_metadata(bytes)?;
        let found = about.metadata().as_ref().and_then(|about| about.get(FORMAT));
        if found != Some(&format()) {
            let found = found.map_or("unknown", String::as_str);
            return Err(StateError(format!("its format is `{found}`, not `{}`", format())));
        }
        let mut state = Self {
            weights: BTreeMap::new(),
            kept: None,
            optimizer: BTreeMap::new(),
            epochs: Vec::new(),
        };
        let mut history = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(bytes)?.iter() {
            let (group, name) = name.split_once('/').unwrap_or((name, ""));
            let tensors = match group {
                WEIGHTS => &mut state.weights,
                KEPT => state.kept.get_or_insert_default(),
                OPTIMIZER => &mut state.optimizer,
                HISTORY if view.dtype() == Dtype::F64 => {
                    let values = view.data().as_chunks::<8>().0.iter();
                    let values = values.map(|bytes| f64::from_le_bytes(*bytes)).collect();
                    history.insert(name.to_owned(), values);
                    continue;
                }
                _ => return Err(StateError(format!("`{group}` is no part of a training"))),
            };
            tensors.insert(name.to_owned(), load(&view)?);
        }
        state.epochs = reports(&history)?;
        Ok(state)
    }
}

/// A tensor on its way into the file. Its bytes are made when their turn comes, so that a large
/// state is in memory once more while it is saved, and not several times.
struct Part<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    values: Values<'a>,
}

enum Values<'a> {
    Tensor(&'a Tensor),
    Bytes(Vec<u8>),
}

impl<'a> Part<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self, StateError> {
        let shape = tensor.dims().to_vec();
        Ok(match tensor.dtype() {
            DType::F32 => Self { dtype: Dtype::F32, shape, values: Values::Tensor(tensor) },
            DType::I64 => {
                let bytes = bytes_of(&tensor.flatten_all()?.to_vec1()?, i64::to_le_bytes);
                Self { dtype: Dtype::I64, shape, values: Values::Bytes(bytes) }
            }
            other => return Err(StateError(format!("no training has tensors of type {other:?}"))),
        })
    }

    fn column(column: &[f64]) -> Self {
        let values = Values::Bytes(bytes_of(column, f64::to_le_bytes));
        Self { dtype: Dtype::F64, shape: vec![column.len()], values }
    }
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match &self.values {
            Values::Tensor(tensor) => {
                let values = tensor.flatten_all().and_then(|flat| flat.to_vec1());
                let values = values.expect("any tensor of floats can be copied");
                Cow::Owned(bytes_of(&values, f32::to_le_bytes))
            }
            Values::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }

    fn data_len(&self) -> usize {
        match &self.values {
            Values::Tensor(tensor) => tensor.elem_count() * size_of::<f32>(),
            Values::Bytes(bytes) => bytes.len(),
        }
    }
}

/// The values' bytes, one after the other: as quick as a copy, for states may be large.
fn bytes_of<T: Copy, const N: usize>(values: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * N];
    for (place, value) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *place = to_bytes(*value);
    }
    bytes
}

fn load(view: &TensorView<'_>) -> Result<Tensor, StateError> {
    let (data, shape) = (view.data(), view.shape());
    Ok(match view.dtype() {
        Dtype::F32 => {
            let values = data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu)?
        }
        Dtype::I64 => {
            let values = data.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
            Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu)?
        }
        other => return Err(StateError(format!("no training has tensors of type {other:?}"))),
    })
}

/// The numbers of the reports, column by column.
fn columns(epochs: &[EpochReport]) -> BTreeMap<String, Vec<f64>> {
    let mut columns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for report in epochs {
        let mut add = |name: String, value| columns.entry(name).or_default().push(value);
        add("learning_rate".to_owned(), report.learning_rate);
        add("rows_per_second".to_owned(), report.rows_per_second);
        add("best".to_owned(), f64::from(u8::from(report.best)));
        for (name, value) in report.train.iter() {
            add(format!("train.{name}"), value);
        }
        for (name, value) in report.validation.iter().flat_map(Scores::iter) {
            add(format!("validation.{name}"), value);
        }
    }
    columns
}

fn reports(columns: &BTreeMap<String, Vec<f64>>) -> Result<Vec<EpochReport>, StateError> {
    let epochs = columns.get("learning_rate").map_or(0, Vec::len);
    if columns.values().any(|column| column.len() != epochs) {
        return Err(StateError::new("its epochs differ in number"));
    }
    let at = |epoch: usize, name: &str| columns.get(name).map(|column| column[epoch]);
    let must = |epoch: usize, name: &str| {
        at(epoch, name).ok_or_else(|| StateError(format!("it has no `{name}`")))
    };
    let scores = |epoch: usize, part: &str| -> Result<Scores, StateError> {
        let of = |name: &str| format!("{part}.{name}");
        let errors = match at(epoch, &of("mae")) {
            Some(mae) => {
                let (rmse, r2) = (must(epoch, &of("rmse"))?, must(epoch, &of("r2"))?);
                Some(Errors { mae, rmse, r2 })
            }
            None => None,
        };
        Ok(Scores { loss: must(epoch, &of("loss"))?, accuracy: at(epoch, &of("accuracy")), errors })
    };
    let report = |epoch: usize| {
        let validated = columns.contains_key("validation.loss");
        Ok(EpochReport {
            epoch: epoch + 1,
            learning_rate: must(epoch, "learning_rate")?,
            train: scores(epoch, "train")?,
            validation: if validated { Some(scores(epoch, "validation")?) } else { None },
            rows_per_second: must(epoch, "rows_per_second")?,
            best: must(epoch, "best")? != 0.0,
        })
    };
    (0..epochs).map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> TrainingState {
        let tensor = |values: &[f32]| {
            let weight = Tensor::new(values, &Device::Cpu).expect("a tensor");
            BTreeMap::from([("dense_1.weight".to_owned(), weight)])
        };
        let mut optimizer = tensor(&[1e-30, f32::MIN_POSITIVE / 2.0, -0.0]);
        let steps = Tensor::new(7_i64, &Device::Cpu).expect("a tensor");
        optimizer.insert("dense_1.weight.steps".to_owned(), steps);
        let errors = Some(Errors { mae: 0.1, rmse: 1.0 / 3.0, r2: f64::NAN });
        let scores = Scores { loss: 0.1 + 0.2, accuracy: None, errors };
        let report = |epoch, best| EpochReport {
            epoch,
            learning_rate: 1e-3,
            train: scores,
            validation: Some(Scores { loss: f64::INFINITY, ..scores }),
            rows_per_second: 12_345.678,
            best,
        };
        TrainingState {
            weights: tensor(&[0.1, f32::NAN, -1.0]),
            kept: Some(tensor(&[1.0, 2.0, 3.0])),
            optimizer,
            epochs: vec![report(1, true), report(2, false)],
        }
    }

    #[test]
    fn a_state_survives_its_bytes() {
        let bytes = state().to_bytes().expect("bytes");
        let read = TrainingState::from_bytes(&bytes).expect("a state");
        assert_eq!(read.to_bytes().expect("bytes"), bytes);
        assert_eq!(read.epoch(), 2);
        assert_eq!(format!("{:?}", read.epochs), format!("{:?}", state().epochs));
        assert_eq!(read.optimizer["dense_1.weight.steps"].to_scalar::<i64>().expect("one"), 7);
        let bits = |weights: &Tensor| -> Vec<u32> {
            let values = weights.to_vec1::<f32>().expect("numbers");
            values.into_iter().map(f32::to_bits).collect()
        };
        for (read, was) in [(&read.weights, state().weights), (&read.optimizer, state().optimizer)]
        {
            assert_eq!(bits(&read["dense_1.weight"]), bits(&was["dense_1.weight"]));
        }
    }

    #[test]
    fn what_is_no_state_of_this_machine_is_refused() {
        let bytes = state().to_bytes().expect("bytes");
        let spoil = |from: &str, to: &str| {
            let at = bytes.windows(from.len()).position(|found| found == from.as_bytes());
            let at = at.expect("it is there");
            let mut bytes = bytes.clone();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            TrainingState::from_bytes(&bytes).expect_err("refused").to_string()
        };
        assert!(spoil("training 1,", "training 2,").contains("its format is `wick training 2"));
        assert!(spoil("history/train.loss", "history/train.lost").contains("no `train.loss`"));
        assert!(spoil("kept/", "gone/").contains("`gone` is no part of a training"));
        for end in [0, 7, 100, bytes.len() - 1] {
            assert!(TrainingState::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }
}
