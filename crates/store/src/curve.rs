//! Thinning a series for a plot.

use crate::points::Points;

/// About `most` of the points, by step: the first, the last, and of as many stretches of equal
/// length between them the lowest and the highest. So a plot of them covers what a plot of all
/// would: a single spike among a million points is there. Points that are no numbers are left out
/// of a stretch that has others.
pub(crate) fn thin(points: Points, most: usize) -> Points {
    let points = sorted(points);
    let count = points.len();
    let stretches = (most / 2).saturating_sub(1).max(1);
    if count <= most.max(4) {
        return points;
    }
    let mut thinned = Points::default();
    let mut keep = |place: usize| {
        thinned.push(points.steps[place], points.times[place], points.values[place]);
    };
    keep(0);
    let inner = count - 2;
    for stretch in 0..stretches {
        let (start, end) = (1 + stretch * inner / stretches, 1 + (stretch + 1) * inner / stretches);
        let Some((low, high)) = extremes(&points.values[start..end]) else { continue };
        keep(start + low.min(high));
        if low != high {
            keep(start + low.max(high));
        }
    }
    keep(count - 1);
    thinned
}

/// The places of the lowest and the highest of `values`; of what is no number only where there is
/// nothing else. `None` for no values.
fn extremes(values: &[f64]) -> Option<(usize, usize)> {
    let first = values.iter().position(|value| !value.is_nan()).unwrap_or(0);
    let (mut low, mut high) = (first, first);
    for (place, value) in values.iter().enumerate().skip(first) {
        if *value < values[low] {
            low = place;
        }
        if *value > values[high] {
            high = place;
        }
    }
    (!values.is_empty()).then_some((low, high))
}

/// The points by step; those of one step as they came.
fn sorted(points: Points) -> Points {
    if points.steps.is_sorted() {
        return points;
    }
    let mut places: Vec<usize> = (0..points.len()).collect();
    places.sort_by_key(|place| points.steps[*place]);
    let mut sorted = Points::default();
    for place in places {
        sorted.push(points.steps[place], points.times[place], points.values[place]);
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = f64>) -> Points {
        let mut points = Points::default();
        values.into_iter().zip(0..).for_each(|(value, step)| points.push(step, step, value));
        points
    }

    #[test]
    fn spikes_and_ends_stay() {
        let mut values: Vec<f64> = (0..100_000).map(|n| f64::from(n) * 1e-6).collect();
        values[54_321] = 7.0;
        values[77_777] = -7.0;
        let thinned = thin(points(values), 1_000);
        assert!((900..=1_000).contains(&thinned.len()), "{}", thinned.len());
        assert!(thinned.steps.is_sorted());
        assert!(thinned.steps.contains(&54_321) && thinned.steps.contains(&77_777));
        assert_eq!((thinned.steps[0], thinned.steps.last()), (0, Some(&99_999)));
    }

    #[test]
    fn a_short_series_stays_whole() {
        for count in 0..20 {
            let short = points((0..count).map(f64::from));
            assert_eq!(thin(short.clone(), 20), short);
        }
        assert_eq!(thin(points((0..50).map(f64::from)), 0).steps, [0, 1, 48, 49]);
    }

    #[test]
    fn what_is_no_number_hides_nothing() {
        let values = (0..1_000).map(|n| if n % 10 == 5 { f64::from(n) } else { f64::NAN });
        let thinned = thin(points(values), 100);
        let numbers = thinned.values.iter().filter(|value| !value.is_nan()).count();
        assert!(numbers >= 50, "{numbers}");
        let nothing = thin(points(vec![f64::NAN; 1_000]), 100);
        assert!(nothing.len() > 40 && nothing.values.iter().all(|value| value.is_nan()));
    }

    #[test]
    fn points_are_put_in_order() {
        let mut mixed = Points::default();
        for step in [3, 1, 2, 1] {
            mixed.push(step, 0, mixed.len() as f64);
        }
        let thinned = thin(mixed, 10);
        assert_eq!((thinned.steps, thinned.values), (vec![1, 1, 2, 3], vec![1.0, 3.0, 2.0, 0.0]));
    }
}
