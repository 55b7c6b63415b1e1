//! Magnitude pruning: which weights to set to zero.
//!
//! The masks are those of `torch.nn.utils.prune` (PyTorch 2.15): global and per-layer L1 pruning
//! zero the `round(amount · n)` smallest absolute values. Where values tie, the earlier ones in
//! memory order go first, so that equal weights give equal masks everywhere.

use std::collections::BTreeMap;

/// For each weight of a tensor, whether it stays.
pub type Mask = Vec<bool>;

/// Masks that zero the smallest share `amount` (0 to 1) of all weights of all `tensors` together.
pub fn global(tensors: &BTreeMap<String, Vec<f32>>, amount: f64) -> BTreeMap<String, Mask> {
    let all: Vec<f32> = tensors.values().flatten().copied().collect();
    let mut mask = smallest_removed(&all, amount).into_iter();
    tensors
        .iter()
        .map(|(name, values)| (name.clone(), mask.by_ref().take(values.len()).collect()))
        .collect()
}

/// Masks that zero the smallest share `amount` (0 to 1) of each of `tensors` by itself.
pub fn per_layer(tensors: &BTreeMap<String, Vec<f32>>, amount: f64) -> BTreeMap<String, Mask> {
    tensors.iter().map(|(name, values)| (name.clone(), smallest_removed(values, amount))).collect()
}

/// The share of weights that masks remove.
pub fn sparsity<'a>(masks: impl IntoIterator<Item = &'a Mask>) -> f64 {
    let (mut removed, mut all) = (0usize, 0usize);
    for mask in masks {
        removed += mask.iter().filter(|stays| !**stays).count();
        all += mask.len();
    }
    if all == 0 { 0.0 } else { removed as f64 / all as f64 }
}

/// Sets what a mask removes to zero.
pub fn apply(values: &mut [f32], mask: &Mask) {
    for (value, stays) in values.iter_mut().zip(mask) {
        if !stays {
            *value = 0.0;
        }
    }
}

fn smallest_removed(values: &[f32], amount: f64) -> Mask {
    // PyTorch rounds half to even here, as Python does.
    let remove = (amount.clamp(0.0, 1.0) * values.len() as f64).round_ties_even() as usize;
    let mut order: Vec<usize> = (0..values.len()).collect();
    let by_size =
        |&a: &usize, &b: &usize| values[a].abs().total_cmp(&values[b].abs()).then(a.cmp(&b));
    if remove > 0 && remove < values.len() {
        order.select_nth_unstable_by(remove - 1, by_size);
    }
    let mut mask = vec![true; values.len()];
    for &place in &order[..remove.min(values.len())] {
        mask[place] = false;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_go_first_and_ties_go_in_order() {
        assert_eq!(smallest_removed(&[3.0, -1.0, 2.0, 0.5], 0.5), [true, false, true, false]);
        assert_eq!(smallest_removed(&[1.0, -1.0, 1.0], 1.0 / 3.0), [false, true, true]);
        assert_eq!(smallest_removed(&[1.0], 0.0), [true]);
        assert_eq!(smallest_removed(&[1.0, 2.0], 1.0), [false, false]);
        assert!(smallest_removed(&[], 0.5).is_empty());
    }

    #[test]
    fn global_pruning_spares_the_layer_with_large_weights() {
        let tensors = BTreeMap::from([
            ("large".to_owned(), vec![5.0, 6.0]),
            ("small".to_owned(), vec![0.1, 0.2]),
        ]);
        let masks = global(&tensors, 0.5);
        assert_eq!(masks["large"], [true, true]);
        assert_eq!(masks["small"], [false, false]);
        assert_eq!(sparsity(masks.values()), 0.5);
        let masks = per_layer(&tensors, 0.5);
        assert_eq!(masks["large"], [false, true]);
    }
}
