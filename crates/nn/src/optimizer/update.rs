//! One step of one parameter: a single pass on the CPU, candle's ops elsewhere.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};

use super::rule::{Rule, Slots, Step};
use crate::ops::parallel::{Shared, for_each};
use crate::ops::simd::{Lanes, Level, dispatch};

/// How many values are a piece of work.
const PIECE: usize = 16 * 1024;

/// A rule's numbers for one step, as the kernels take them.
#[derive(Clone, Copy)]
struct Numbers {
    scale: f32,
    bound: f32,
    /// Added to the gradient, times the parameter.
    coupled_decay: f32,
    /// What the parameter is multiplied by first.
    shrink: f32,
    /// What the step is multiplied by.
    rate: f32,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Momentum { momentum: f32, nesterov: bool },
    Adam { fresh1: f32, beta2: f32, fresh2: f32, root: f32, epsilon: f32 },
    RmsProp { decay: f32, fresh: f32, epsilon: f32 },
    RmsPropMomentum { decay: f32, fresh: f32, epsilon: f32, momentum: f32 },
}

impl Numbers {
    fn new(rule: Rule, step: Step) -> Self {
        let lr = step.learning_rate;
        let (kind, rate, coupled, shrink) = match rule {
            Rule::Sgd { momentum, nesterov, weight_decay } => {
                let kind = if momentum == 0.0 {
                    Kind::Plain
                } else {
                    Kind::Momentum { momentum: momentum as f32, nesterov }
                };
                (kind, lr, weight_decay, 1.0)
            }
            Rule::Adam { beta1, beta2, epsilon, weight_decay }
            | Rule::AdamW { beta1, beta2, epsilon, weight_decay } => {
                let correction = |beta: f64| 1.0 - beta.powf(step.number as f64);
                let kind = Kind::Adam {
                    fresh1: (1.0 - beta1) as f32,
                    beta2: beta2 as f32,
                    fresh2: (1.0 - beta2) as f32,
                    root: correction(beta2).sqrt() as f32,
                    epsilon: epsilon as f32,
                };
                let rate = lr / correction(beta1);
                match rule {
                    Rule::AdamW { .. } => (kind, rate, 0.0, 1.0 - lr * weight_decay),
                    _ => (kind, rate, weight_decay, 1.0),
                }
            }
            Rule::RmsProp { decay, epsilon, momentum, weight_decay } => {
                let fresh = (1.0 - decay) as f32;
                let (decay, epsilon) = (decay as f32, epsilon as f32);
                let kind = if momentum == 0.0 {
                    Kind::RmsProp { decay, fresh, epsilon }
                } else {
                    Kind::RmsPropMomentum { decay, fresh, epsilon, momentum: momentum as f32 }
                };
                (kind, lr, weight_decay, 1.0)
            }
        };
        Self {
            scale: step.scale as f32,
            bound: step.bound.map_or(f32::INFINITY, |bound| bound as f32),
            coupled_decay: coupled as f32,
            shrink: shrink as f32,
            rate: rate as f32,
            kind,
        }
    }
}

/// One value of each lane, read and written in one pass.
#[inline(always)]
unsafe fn update_lanes<S: Lanes>(
    numbers: &Numbers,
    length: usize,
    parameter: *mut f32,
    gradient: *const f32,
    first: *mut f32,
    second: *mut f32,
) {
    // SAFETY: the caller vouches for `length` values behind each pointer that the kind uses.
    unsafe {
        let (bound, minus_bound) = (S::splat(numbers.bound), S::splat(-numbers.bound));
        let (scale, coupled) = (S::splat(numbers.scale), S::splat(numbers.coupled_decay));
        let (shrink, rate) = (S::splat(numbers.shrink), S::splat(-numbers.rate));
        let minus_one = S::splat(-1.0);
        // Each kind has a loop of its own; `$body` gives the step's direction.
        macro_rules! each {
            (|$at:ident, $count:ident, $g:ident| $body:expr) => {{
                let mut $at = 0;
                while $at < length {
                    let $count = length - $at;
                    let mut p = S::load_first(parameter.add($at), $count);
                    let mut $g = S::load_first(gradient.add($at), $count).mul(scale);
                    // In this order a NaN stays one.
                    $g = $g.if_greater(bound, bound, $g);
                    $g = minus_bound.if_greater($g, minus_bound, $g);
                    $g = p.mul_add(coupled, $g);
                    p = p.mul(shrink);
                    let direction = $body;
                    rate.mul_add(direction, p).store_first(parameter.add($at), $count);
                    $at += S::LANES;
                }
            }};
        }
        match numbers.kind {
            Kind::Plain => each!(|at, count, g| g),
            Kind::Momentum { momentum, nesterov } => {
                let momentum = S::splat(momentum);
                each!(|at, count, g| {
                    let m = S::load_first(first.add(at), count).mul_add(momentum, g);
                    m.store_first(first.add(at), count);
                    if nesterov { m.mul_add(momentum, g) } else { m }
                });
            }
            Kind::Adam { fresh1, beta2, fresh2, root, epsilon } => {
                let (fresh1, beta2, fresh2) = (S::splat(fresh1), S::splat(beta2), S::splat(fresh2));
                let (root, epsilon) = (S::splat(root), S::splat(epsilon));
                each!(|at, count, g| {
                    let m = S::load_first(first.add(at), count);
                    let m = m.mul_add(minus_one, g).mul_add(fresh1, m);
                    m.store_first(first.add(at), count);
                    let v = S::load_first(second.add(at), count);
                    let v = v.mul_add(beta2, g.mul(g).mul(fresh2));
                    v.store_first(second.add(at), count);
                    m.div(v.sqrt().div(root).add(epsilon))
                });
            }
            Kind::RmsProp { decay, fresh, epsilon } => {
                let (decay, fresh, epsilon) = (S::splat(decay), S::splat(fresh), S::splat(epsilon));
                each!(|at, count, g| {
                    let v = S::load_first(first.add(at), count);
                    let v = v.mul_add(decay, g.mul(g).mul(fresh));
                    v.store_first(first.add(at), count);
                    g.div(v.sqrt().add(epsilon))
                });
            }
            Kind::RmsPropMomentum { decay, fresh, epsilon, momentum } => {
                let (decay, fresh, epsilon) = (S::splat(decay), S::splat(fresh), S::splat(epsilon));
                let momentum = S::splat(momentum);
                each!(|at, count, g| {
                    let v = S::load_first(first.add(at), count);
                    let v = v.mul_add(decay, g.mul(g).mul(fresh));
                    v.store_first(first.add(at), count);
                    let m = S::load_first(second.add(at), count);
                    let m = m.mul_add(momentum, g.div(v.sqrt().add(epsilon)));
                    m.store_first(second.add(at), count);
                    m
                });
            }
        }
    }
}

dispatch! {
    unsafe fn update(
        numbers: &Numbers,
        length: usize,
        parameter: *mut f32,
        gradient: *const f32,
        first: *mut f32,
        second: *mut f32,
    ) = update_lanes
}

/// The kernel as candle takes it. The slots are behind a cell because candle hands it out shared.
struct InPlace<'a> {
    numbers: Numbers,
    slots: RefCell<&'a mut [Vec<f32>]>,
}

impl InplaceOp2 for InPlace<'_> {
    fn name(&self) -> &'static str {
        "optimizer step"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<()> {
        let (CpuStorage::F32(parameter), CpuStorage::F32(gradient)) = (parameter, gradient) else {
            bail!("parameters and gradients must be f32")
        };
        let (Some((from, to)), Some((gradient_from, gradient_to))) =
            (parameter_layout.contiguous_offsets(), gradient_layout.contiguous_offsets())
        else {
            bail!("parameters and gradients must be contiguous")
        };
        let (parameter, gradient) =
            (&mut parameter[from..to], &gradient[gradient_from..gradient_to]);
        let length = parameter.len();
        let mut slots = self.slots.borrow_mut();
        if gradient.len() != length || slots.iter().any(|slot| slot.len() != length) {
            bail!("the gradient does not fit its parameter")
        }
        let mut none: [f32; 0] = [];
        let mut slots = slots.iter_mut().map(|slot| Shared::new(slot));
        let first = slots.next().unwrap_or_else(|| Shared::new(&mut none));
        let second = slots.next().unwrap_or(first);
        let parameter = Shared::new(parameter);
        let (level, numbers) = (Level::best(), &self.numbers);
        for_each(length.div_ceil(PIECE), length * 16, |piece| {
            let from = piece * PIECE;
            // A kind without slots gets pointers that it never follows.
            let slot = |shared: Shared<f32>| match numbers.kind {
                Kind::Plain => std::ptr::null_mut(),
                // SAFETY: the lengths were checked above.
                _ => unsafe { shared.at(from) },
            };
            // SAFETY: the lengths were checked above; each piece has values of its own.
            unsafe {
                update(
                    level,
                    numbers,
                    PIECE.min(length - from),
                    parameter.at(from),
                    gradient.as_ptr().add(from),
                    slot(first),
                    slot(second),
                );
            }
        });
        Ok(())
    }
}

/// Changes a parameter by its gradient.
pub(super) fn apply(
    rule: Rule,
    step: Step,
    var: &Var,
    gradient: &Tensor,
    slots: &mut Slots,
) -> Result<()> {
    match slots {
        Slots::Host(slots) => {
            let slots = RefCell::new(slots.as_mut_slice());
            let op = InPlace { numbers: Numbers::new(rule, step), slots };
            var.as_tensor().inplace_op2(gradient, &op)
        }
        Slots::Device(slots) => composed(rule, step, var, gradient, slots),
    }
}

/// The same from candle's ops.
fn composed(
    rule: Rule,
    step: Step,
    var: &Var,
    gradient: &Tensor,
    slots: &mut [Tensor],
) -> Result<()> {
    let lr = step.learning_rate;
    let parameter = var.as_detached_tensor();
    let mut g = (gradient.detach() * step.scale)?;
    if let Some(bound) = step.bound {
        g = g.clamp(-bound, bound)?;
    }
    let coupled = |decay: f64, g: Tensor| {
        if decay == 0.0 { Ok(g) } else { g + (&parameter * decay)? }
    };
    let next = match rule {
        Rule::Sgd { momentum, nesterov, weight_decay } => {
            g = coupled(weight_decay, g)?;
            if let [m] = slots {
                *m = ((&*m * momentum)? + &g)?;
                g = if nesterov { ((&*m * momentum)? + g)? } else { m.clone() };
            }
            (&parameter - (g * lr)?)?
        }
        Rule::Adam { beta1, beta2, epsilon, weight_decay }
        | Rule::AdamW { beta1, beta2, epsilon, weight_decay } => {
            let [m, v] = slots else { bail!("Adam remembers two moments") };
            let decoupled = matches!(rule, Rule::AdamW { .. });
            if !decoupled {
                g = coupled(weight_decay, g)?;
            }
            *m = ((&*m * beta1)? + (&g * (1.0 - beta1))?)?;
            *v = ((&*v * beta2)? + (g.sqr()? * (1.0 - beta2))?)?;
            let correction = |beta: f64| 1.0 - beta.powf(step.number as f64);
            let below = ((v.sqrt()? / correction(beta2).sqrt())? + epsilon)?;
            let direction = (m.div(&below)? * (lr / correction(beta1)))?;
            let shrink = if decoupled { 1.0 - lr * weight_decay } else { 1.0 };
            ((&parameter * shrink)? - direction)?
        }
        Rule::RmsProp { decay, epsilon, momentum, weight_decay } => {
            g = coupled(weight_decay, g)?;
            let [v, rest @ ..] = slots else { bail!("RMSprop remembers a mean square") };
            *v = ((&*v * decay)? + (g.sqr()? * (1.0 - decay))?)?;
            g = g.div(&(v.sqrt()? + epsilon)?)?;
            if let [m] = rest {
                *m = ((&*m * momentum)? + g)?;
                g = m.clone();
            }
            (&parameter - (g * lr)?)?
        }
    };
    var.set(&next)
}

/// The sum of the squares of all values, always added up in the same order.
pub(super) fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    let values: Vec<f32> = gradient.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
    let pieces = values.len().div_ceil(PIECE);
    let mut sums = vec![0.0_f64; pieces];
    let shared = Shared::new(&mut sums);
    for_each(pieces, values.len() * 4, |piece| {
        let values = &values[piece * PIECE..values.len().min((piece + 1) * PIECE)];
        // Eight sums side by side, which the compiler keeps in vectors.
        let mut lanes = [0.0_f64; 8];
        for eight in values.chunks(8) {
            for (lane, &value) in lanes.iter_mut().zip(eight) {
                *lane += f64::from(value) * f64::from(value);
            }
        }
        // SAFETY: each piece has a sum of its own.
        unsafe { *shared.at(piece) = lanes.iter().sum() };
    });
    Ok(sums.iter().sum())
}
