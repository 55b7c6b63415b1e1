//! The rules, their settings and what they remember.

use candle_core::{DType, Device, Result, Tensor, Var, bail};

/// How a gradient becomes a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd {
        /// How much of the last step's direction is kept; 0 for none.
        momentum: f64,
        /// Whether the gradient is looked at one step ahead (Nesterov).
        nesterov: bool,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64,
    },
    /// Kingma and Ba, 2015.
    Adam {
        /// How much of the mean of gradients is kept.
        beta1: f64,
        /// How much of the mean of squares is kept.
        beta2: f64,
        /// Added to the root of the mean of squares.
        epsilon: f64,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64,
    },
    /// Adam whose decay shrinks the parameter itself (Loshchilov and Hutter, 2019).
    AdamW {
        /// As of Adam.
        beta1: f64,
        /// As of Adam.
        beta2: f64,
        /// As of Adam.
        epsilon: f64,
        /// The parameter shrinks by this times the learning rate.
        weight_decay: f64,
    },
    /// Tieleman and Hinton, 2012.
    RmsProp {
        /// How much of the mean of squares is kept.
        decay: f64,
        /// Added to the root of the mean of squares.
        epsilon: f64,
        /// How much of the last step's direction is kept; 0 for none.
        momentum: f64,
        /// How much of the parameter is added to its gradient.
        weight_decay: f64,
    },
}

/// How large gradients are held down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clipping {
    /// All gradients together are scaled down to at most this norm.
    Norm(f64),
    /// Each value is held within ± this.
    Value(f64),
}

impl Rule {
    /// That every setting is in its range.
    pub(super) fn check(&self) -> Result<()> {
        let share = |name: &str, value: f64| {
            if !(0.0..1.0).contains(&value) {
                bail!("`{name}` must be at least 0 and below 1, not {value}")
            }
            Ok(())
        };
        let positive = |name: &str, value: f64| {
            if !(value >= 0.0 && value.is_finite()) {
                bail!("`{name}` must be at least 0, not {value}")
            }
            Ok(())
        };
        match *self {
            Self::Sgd { momentum, nesterov, weight_decay } => {
                share("momentum", momentum)?;
                positive("weight_decay", weight_decay)?;
                if nesterov && momentum == 0.0 {
                    bail!("`nesterov` needs a `momentum` above 0")
                }
            }
            Self::Adam { beta1, beta2, epsilon, weight_decay }
            | Self::AdamW { beta1, beta2, epsilon, weight_decay } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                positive("epsilon", epsilon)?;
                positive("weight_decay", weight_decay)?;
            }
            Self::RmsProp { decay, epsilon, momentum, weight_decay } => {
                share("decay", decay)?;
                share("momentum", momentum)?;
                positive("epsilon", epsilon)?;
                positive("weight_decay", weight_decay)?;
            }
        }
        Ok(())
    }

    /// The names of what is remembered for each value of a parameter.
    pub(super) fn slots(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum: 0.0, .. } => &[],
            Self::Sgd { .. } => &["momentum"],
            Self::Adam { .. } | Self::AdamW { .. } => &["first_moment", "second_moment"],
            Self::RmsProp { momentum: 0.0, .. } => &["mean_square"],
            Self::RmsProp { .. } => &["mean_square", "momentum"],
        }
    }
}

/// What one step of one parameter needs beside the rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) learning_rate: f64,
    /// From 1.
    pub(super) number: u64,
    /// What gradients are multiplied by.
    pub(super) scale: f64,
    /// What their magnitude is held within.
    pub(super) bound: Option<f64>,
}

/// What is remembered of a parameter: beside the kernels where they run, on the device elsewhere.
pub(super) enum Slots {
    Host(Vec<Vec<f32>>),
    Device(Vec<Tensor>),
}

impl Slots {
    /// Zeros.
    pub(super) fn new(count: usize, var: &Var) -> Result<Self> {
        Ok(if on_host(var) {
            Self::Host(vec![vec![0.0; var.elem_count()]; count])
        } else {
            Self::Device((0..count).map(|_| var.zeros_like()).collect::<Result<_>>()?)
        })
    }

    pub(super) fn from_tensors(tensors: Vec<Tensor>, var: &Var) -> Result<Self> {
        Ok(if on_host(var) {
            let values = |t: Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1();
            Self::Host(tensors.into_iter().map(values).collect::<Result<_>>()?)
        } else {
            let place = |t: Tensor| t.to_device(var.device())?.to_dtype(var.dtype());
            Self::Device(tensors.into_iter().map(place).collect::<Result<_>>()?)
        })
    }

    /// Copies on the CPU.
    pub(super) fn tensors(&self, var: &Var) -> Result<Vec<Tensor>> {
        match self {
            Self::Host(slots) => slots
                .iter()
                .map(|values| Tensor::from_slice(values, var.shape(), &Device::Cpu))
                .collect(),
            Self::Device(slots) => slots.iter().map(|t| t.to_device(&Device::Cpu)).collect(),
        }
    }
}

/// Whether the kernels can change this parameter.
pub(super) fn on_host(var: &Var) -> bool {
    var.device().is_cpu() && var.dtype() == DType::F32
}
