//! Reference values, and the small MLP that they are about, in f64 with its gradient by hand.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod models;

use wick_explain::gradients::Gradients;
use wick_explain::{Matrix, Real};

/// The tensors of a reference file.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn open(name: &str) -> Self {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
        Self(std::fs::read(folder.join(format!("{name}.safetensors"))).expect("reference values"))
    }

    /// A tensor as f64, whatever its type.
    pub fn values(&self, name: &str) -> Vec<f64> {
        use safetensors::Dtype;
        let file = safetensors::SafeTensors::deserialize(&self.0).expect("a safetensors file");
        let tensor = file.tensor(name).expect("the tensor");
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => {
                data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            Dtype::I64 => {
                data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
            }
            Dtype::U8 => data.iter().map(|byte| f64::from(*byte)).collect(),
            other => panic!("no reference value is {other:?}"),
        }
    }

    /// A tensor as rows of its last dimension.
    pub fn matrix<T: Real>(&self, name: &str) -> Matrix<T> {
        let file = safetensors::SafeTensors::deserialize(&self.0).expect("a safetensors file");
        let width = *file.tensor(name).expect("the tensor").shape().last().expect("a dimension");
        let values = self.values(name).into_iter().map(T::from_f64).collect();
        Matrix::new(width, values).expect("whole rows")
    }
}

#[track_caller]
pub fn near(what: &str, value: f64, expect: f64, tolerance: f64) {
    assert!((value - expect).abs() <= tolerance, "{what}: {value} instead of {expect}");
}

#[track_caller]
pub fn all_near(what: &str, values: &[f64], expect: &[f64], tolerance: f64) {
    assert_eq!(values.len(), expect.len(), "{what}");
    for (place, (value, expect)) in values.iter().zip(expect).enumerate() {
        let off = (value - expect).abs();
        assert!(off <= tolerance, "{what}, place {place}: {value} instead of {expect}");
    }
}

/// The first `count` rows.
pub fn head<T: Real>(matrix: &Matrix<T>, count: usize) -> Matrix<T> {
    Matrix::new(matrix.width(), matrix.values()[..count * matrix.width()].to_vec()).expect("rows")
}

pub fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// Dense layers with relu between them.
pub struct Mlp(Vec<(Matrix<f64>, Vec<f64>)>);

impl Mlp {
    pub fn breast() -> Self {
        let file = Tensors::open("mlp_breast");
        let layer = |name: &str| {
            (file.matrix(&format!("{name}.weight")), file.values(&format!("{name}.bias")))
        };
        Self(vec![layer("fc1"), layer("fc2"), layer("fc3")])
    }

    /// The values after each layer, before relu.
    fn layers(&self, row: &[f64]) -> Vec<Vec<f64>> {
        let mut values: Vec<Vec<f64>> = Vec::new();
        for (weights, bias) in &self.0 {
            let input: Vec<f64> = match values.last() {
                Some(before) => before.iter().map(|value| value.max(0.0)).collect(),
                None => row.to_vec(),
            };
            let dot = |w: &[f64]| w.iter().zip(&input).map(|(w, x)| w * x).sum::<f64>();
            values.push(weights.iter().zip(bias).map(|(w, b)| dot(w) + b).collect());
        }
        values
    }

    pub fn logits<T: Real>(&self, rows: &Matrix<T>) -> Vec<f64> {
        rows.iter()
            .map(|row| {
                let row: Vec<f64> = row.iter().map(|value| value.to_f64()).collect();
                self.layers(&row)[2][0]
            })
            .collect()
    }

    pub fn gradients(&self, rows: &Matrix<f64>) -> Gradients<f64> {
        let mut gradients = Matrix::with_capacity(rows.rows(), rows.width());
        let mut outputs = Vec::new();
        for row in rows.iter() {
            let values = self.layers(row);
            outputs.push(values[2][0]);
            let mut slopes = vec![1.0];
            for (place, (weights, _)) in self.0.iter().enumerate().rev() {
                let mut before = vec![0.0; weights.width()];
                for (w, slope) in weights.iter().zip(&slopes) {
                    before.iter_mut().zip(w).for_each(|(sum, w)| *sum += w * slope);
                }
                if place > 0 {
                    for (slope, value) in before.iter_mut().zip(&values[place - 1]) {
                        if *value <= 0.0 {
                            *slope = 0.0;
                        }
                    }
                }
                slopes = before;
            }
            gradients.push(&slopes);
        }
        Gradients { outputs, gradients }
    }
}
