//! From probabilities to classes.

use super::Probabilities;

/// The class that each row is given.
///
/// With two classes: class 1 where its probability is greater than `threshold`, which at the
/// default of 0.5 is the likelier one. With more: the likeliest, the first of equals.
pub fn decide(probabilities: Probabilities<'_>, threshold: f64) -> Vec<usize> {
    probabilities
        .rows()
        .map(|row| if row.len() == 2 { usize::from(row[1] > threshold) } else { likeliest(row) })
        .collect()
}

/// The place of the largest value, the first of equals.
pub fn likeliest(row: &[f64]) -> usize {
    let mut best = 0;
    for (place, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = place;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_chance_is_the_first_class() {
        let even = [0.5, 0.5, 0.4, 0.6];
        let two = Probabilities::new(&even, 2).expect("two rows of two");
        assert_eq!(decide(two, 0.5), [0, 1]);
        assert_eq!(decide(two, 0.6), [0, 0]);
        let three = [0.2, 0.4, 0.4];
        assert_eq!(decide(Probabilities::new(&three, 3).expect("a row"), 0.5), [1]);
    }
}
