//! From values to places: ranges and nice ticks.

/// A range of values on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Range {
    pub low: f64,
    pub high: f64,
}

impl Range {
    /// The range of the finite values, widened where it has no extent; 0 to 1 if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut low = f64::INFINITY;
        let mut high = f64::NEG_INFINITY;
        for value in values.into_iter().filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            return Self { low: 0.0, high: 1.0 };
        }
        if low == high {
            let margin = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            return Self { low: low - margin, high: high + margin };
        }
        Self { low, high }
    }

    /// Where `value` lies: 0 at the low end, 1 at the high end.
    pub(crate) fn share(self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Round values across the range, about `count` of them, at a step of 1, 2 or 5 times a
    /// power of ten; each with its label.
    pub(crate) fn ticks(self, count: usize) -> Vec<(f64, String)> {
        let step = nice_step((self.high - self.low) / count.max(1) as f64);
        if !step.is_finite() || step <= 0.0 {
            return Vec::new();
        }
        // A little slack, so that an end that is a tick but for rounding still gets its label.
        let slack = step * 1e-9;
        let first = ((self.low - slack) / step).ceil();
        let last = ((self.high + slack) / step).floor();
        let count = (last - first).clamp(0.0, 100.0) as usize;
        (0..=count)
            .map(|place| (first + place as f64) * step)
            .filter(|value| *value <= self.high + slack)
            .map(|value| (value, tick_label(value, step)))
            .collect()
    }

    /// The range stretched to whole steps at both ends.
    pub(crate) fn rounded(self, count: usize) -> Self {
        let step = nice_step((self.high - self.low) / count.max(1) as f64);
        if !step.is_finite() || step <= 0.0 {
            return self;
        }
        let slack = 1e-9;
        Self {
            low: (self.low / step + slack).floor() * step,
            high: (self.high / step - slack).ceil() * step,
        }
    }
}

/// The nearest of 1, 2, 5 times a power of ten that is at least about `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let share = step / power;
    let nice = match share {
        _ if share <= 1.0 => 1.0,
        _ if share <= 2.0 => 2.0,
        _ if share <= 5.0 => 5.0,
        _ => 10.0,
    };
    nice * power
}

/// As many decimals as the step needs; powers of ten where the numbers are very large or small.
fn tick_label(value: f64, step: f64) -> String {
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    let decimals = (-step.log10().floor()).max(0.0);
    if decimals > 5.0 || value.abs() >= 1e7 {
        if value == 0.0 {
            return "0".to_owned();
        }
        return format!("{value:.1e}").replace(".0e", "e");
    }
    let decimals = decimals as usize;
    if decimals == 0 {
        return crate::number::with_thousands(value.round() as i64);
    }
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        #[track_caller]
        fn check(low: f64, high: f64, expect: &[&str]) {
            let labels: Vec<_> =
                Range { low, high }.ticks(5).into_iter().map(|(_, label)| label).collect();
            assert_eq!(labels, expect);
        }
        check(0.0, 1.0, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        check(-0.3, 0.3, &["-0.2", "0.0", "0.2"]);
        check(0.0, 10.0, &["0", "2", "4", "6", "8", "10"]);
        check(1.0, 50_000.0, &["10,000", "20,000", "30,000", "40,000", "50,000"]);
        check(0.0, 3e-8, &["0", "1e-8", "2e-8", "3e-8"]);
        check(f64::NAN, 1.0, &[]);
    }

    #[test]
    fn a_range_always_has_an_extent() {
        for values in [vec![], vec![f64::NAN], vec![0.0], vec![3.0, 3.0], vec![-1.0, 2.0]] {
            let range = Range::of(values);
            assert!(range.high > range.low, "{range:?}");
        }
        let rounded = Range { low: 0.13, high: 0.87 }.rounded(5);
        assert_eq!((rounded.low, rounded.high), (0.0, 1.0));
    }
}
