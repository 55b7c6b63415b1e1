//! Optimizers: how gradients become new parameters.
//!
//! The formulas are PyTorch's, with its places for epsilon and its bias correction. A step is one
//! pass over each parameter, in place, on all threads. What an optimizer remembers can be taken out
//! as named tensors and put back, bit for bit: a training that was interrupted goes on as if it had
//! not been.
//!
//! Knows nothing of schedules: the learning rate is given with every step.

mod rule;
mod update;

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, bail};

use rule::Slots;
pub use rule::{Clipping, Rule};

/// What is remembered of one parameter.
struct Parameter {
    name: String,
    var: Var,
    /// How many steps it made: one that has no gradient makes none.
    steps: u64,
    slots: Slots,
}

/// Changes parameters by their gradients, in the order of their names.
pub struct Optimizer {
    rule: Rule,
    clipping: Option<Clipping>,
    parameters: Vec<Parameter>,
}

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The norm of all gradients together before it was clipped, where clipping needed it.
    pub gradient_norm: Option<f64>,
}

impl Optimizer {
    /// An optimizer of named parameters that remembers nothing yet.
    ///
    /// # Errors
    /// If a setting of the rule or the clipping makes no sense, or two names are equal.
    pub fn new(
        rule: Rule,
        clipping: Option<Clipping>,
        parameters: impl IntoIterator<Item = (String, Var)>,
    ) -> Result<Self> {
        rule.check()?;
        if let Some(Clipping::Norm(most) | Clipping::Value(most)) = clipping
            && (most.is_nan() || most <= 0.0)
        {
            bail!("gradients can only be clipped to more than 0, not {most}")
        }
        let mut by_name = BTreeMap::new();
        for (name, var) in parameters {
            if by_name.insert(name.clone(), var).is_some() {
                bail!("there are two parameters called `{name}`")
            }
        }
        let parameters = by_name
            .into_iter()
            .map(|(name, var)| {
                let slots = Slots::new(rule.slots().len(), &var)?;
                Ok(Parameter { name, var, steps: 0, slots })
            })
            .collect::<Result<_>>()?;
        Ok(Self { rule, clipping, parameters })
    }

    /// The rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// Makes one step. A parameter without a gradient stays as it is.
    ///
    /// # Errors
    /// If a gradient does not fit its parameter, or the device fails.
    pub fn step(&mut self, gradients: &GradStore, learning_rate: f64) -> Result<StepReport> {
        let found: Vec<Option<Tensor>> = self
            .parameters
            .iter()
            .map(|parameter| {
                let gradient = gradients.get(&parameter.var).map(Tensor::contiguous).transpose()?;
                match &gradient {
                    Some(g) if g.shape() != parameter.var.shape() => bail!(
                        "the gradient of `{}` has shape {:?} instead of {:?}",
                        parameter.name,
                        g.dims(),
                        parameter.var.dims()
                    ),
                    _ => Ok(gradient),
                }
            })
            .collect::<Result<_>>()?;
        let mut report = StepReport { gradient_norm: None };
        let mut scale = 1.0;
        if let Some(Clipping::Norm(most)) = self.clipping {
            let squares = found.iter().flatten().map(update::sum_of_squares);
            let norm = squares.sum::<Result<f64>>()?.sqrt();
            // As PyTorch's clip_grad_norm_.
            scale = (most / (norm + 1e-6)).min(1.0);
            report.gradient_norm = Some(norm);
        }
        let bound = match self.clipping {
            Some(Clipping::Value(most)) => Some(most),
            _ => None,
        };
        for (parameter, gradient) in self.parameters.iter_mut().zip(&found) {
            let Some(gradient) = gradient else { continue };
            parameter.steps += 1;
            let step = rule::Step { learning_rate, number: parameter.steps, scale, bound };
            update::apply(self.rule, step, &parameter.var, gradient, &mut parameter.slots)?;
        }
        Ok(report)
    }

    /// All that is remembered: for each parameter `<name>.steps` and its slots, such as
    /// `<name>.first_moment`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for Parameter { name, var, steps, slots } in &self.parameters {
            let steps = i64::try_from(*steps).unwrap_or(i64::MAX);
            state.insert(format!("{name}.steps"), Tensor::new(steps, &Device::Cpu)?);
            for (slot, values) in self.rule.slots().iter().zip(slots.tensors(var)?) {
                state.insert(format!("{name}.{slot}"), values);
            }
        }
        Ok(state)
    }

    /// Takes up what [`Self::state`] gave. Either all of it is taken or nothing.
    ///
    /// # Errors
    /// If something is missing, too much, or of another shape: it is then of another model or
    /// another rule.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let find = |name: String| match state.get(&name) {
            Some(tensor) => Ok(tensor),
            None => bail!("the state of the optimizer has no `{name}`"),
        };
        let mut restored = Vec::with_capacity(self.parameters.len());
        for Parameter { name, var, .. } in &self.parameters {
            let steps = find(format!("{name}.steps"))?.to_dtype(DType::I64)?.to_scalar::<i64>()?;
            let mut slots = Vec::new();
            for slot in self.rule.slots() {
                let tensor = find(format!("{name}.{slot}"))?;
                if tensor.shape() != var.shape() {
                    bail!(
                        "`{name}.{slot}` has shape {:?} instead of {:?}",
                        tensor.dims(),
                        var.dims()
                    )
                }
                slots.push(tensor.clone());
            }
            restored.push((steps.unsigned_abs(), Slots::from_tensors(slots, var)?));
        }
        let expected = self.parameters.len() * (1 + self.rule.slots().len());
        if state.len() != expected {
            bail!("the state of the optimizer has {} tensors instead of {expected}", state.len())
        }
        for (parameter, (steps, slots)) in self.parameters.iter_mut().zip(restored) {
            parameter.steps = steps;
            parameter.slots = slots;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
