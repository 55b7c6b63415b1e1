//! Gates: what a metric must reach for the stage to succeed.

use std::fmt;

/// A bound on a metric, written `>= 0.975`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gate {
    comparison: Comparison,
    bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    MoreThan,
    AtMost,
    LessThan,
    Equal,
}

impl Comparison {
    /// Longer signs first, so that `>=` is not read as `>`.
    const ALL: [Comparison; 5] = [
        Comparison::AtLeast,
        Comparison::AtMost,
        Comparison::Equal,
        Comparison::MoreThan,
        Comparison::LessThan,
    ];

    const fn sign(self) -> &'static str {
        match self {
            Comparison::AtLeast => ">=",
            Comparison::MoreThan => ">",
            Comparison::AtMost => "<=",
            Comparison::LessThan => "<",
            Comparison::Equal => "==",
        }
    }
}

/// Why a text is not a gate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseGateError {
    /// It begins with no comparison.
    #[error("`{0}` is not a bound")]
    NoComparison(String),
    /// No number follows the comparison.
    #[error("`{0}` is not a number")]
    NoNumber(String),
}

impl Gate {
    /// Parses a comparison (`>=`, `>`, `<=`, `<`, `==`) and a number.
    ///
    /// # Errors
    /// Which of the two is missing.
    pub fn parse(text: &str) -> Result<Self, ParseGateError> {
        let trimmed = text.trim();
        let (comparison, rest) = Comparison::ALL
            .into_iter()
            .find_map(|comparison| Some((comparison, trimmed.strip_prefix(comparison.sign())?)))
            .ok_or_else(|| ParseGateError::NoComparison(text.to_owned()))?;
        let number = rest.trim();
        let bound: f64 = number.parse().map_err(|_| ParseGateError::NoNumber(number.to_owned()))?;
        if bound.is_nan() {
            return Err(ParseGateError::NoNumber(number.to_owned()));
        }
        Ok(Self { comparison, bound })
    }

    /// Whether `value` passes. NaN passes nothing.
    pub fn admits(self, value: f64) -> bool {
        match self.comparison {
            Comparison::AtLeast => value >= self.bound,
            Comparison::MoreThan => value > self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::LessThan => value < self.bound,
            Comparison::Equal => value == self.bound,
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.comparison.sign(), self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read() {
        #[track_caller]
        fn check(text: &str, expect: &str, passes: f64, fails: f64) {
            let gate = Gate::parse(text).expect("a gate");
            assert_eq!(gate.to_string(), expect);
            assert!(gate.admits(passes) && !gate.admits(fails) && !gate.admits(f64::NAN));
        }
        check(">= 0.975", ">= 0.975", 0.975, 0.9749);
        check(">0.5", "> 0.5", 0.51, 0.5);
        check("  <=  1e-3 ", "<= 0.001", 0.001, 0.0011);
        check("< 12", "< 12", 11.9, 12.0);
        check("== 1", "== 1", 1.0, 0.999);
    }

    #[test]
    fn what_is_no_gate_is_refused() {
        #[track_caller]
        fn check(text: &str, expect: &str) {
            assert_eq!(Gate::parse(text).expect_err("no gate").to_string(), expect);
        }
        check("0.9", "`0.9` is not a bound");
        check("at least 0.9", "`at least 0.9` is not a bound");
        check("", "`` is not a bound");
        check(">= high", "`high` is not a number");
        check("=> 1", "`=> 1` is not a bound");
        check(">= nan", "`nan` is not a number");
        check(">=", "`` is not a number");
    }
}
