//! Numbers in JSON and for people.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A float that survives JSON: NaN and infinities travel as the strings `NaN`, `Infinity` and
/// `-Infinity`, as they do in metric points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AnyFloat(pub f64);

impl AnyFloat {
    /// The word for a value that JSON has no number for.
    pub(crate) fn word(value: f64) -> Option<&'static str> {
        match value {
            _ if value.is_finite() => None,
            _ if value.is_nan() => Some("NaN"),
            _ if value > 0.0 => Some("Infinity"),
            _ => Some("-Infinity"),
        }
    }

    /// The value that a word stands for.
    pub(crate) fn parse_word(word: &str) -> Option<f64> {
        match word {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        }
    }
}

impl Serialize for AnyFloat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Self::word(self.0) {
            Some(word) => serializer.serialize_str(word),
            None => serializer.serialize_f64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for AnyFloat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = AnyFloat;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
            }
            fn visit_f64<E>(self, value: f64) -> Result<AnyFloat, E> {
                Ok(AnyFloat(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<AnyFloat, E> {
                Ok(AnyFloat(value as f64))
            }
            fn visit_u64<E>(self, value: u64) -> Result<AnyFloat, E> {
                Ok(AnyFloat(value as f64))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<AnyFloat, E> {
                AnyFloat::parse_word(value)
                    .map(AnyFloat)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(value), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A number for people: four significant digits, whole numbers with thousands separated, and
/// powers of ten only where nothing else is readable.
///
/// ```
/// # use wick_report::format_number;
/// assert_eq!(format_number(0.98251), "0.9825");
/// assert_eq!(format_number(12_345.0), "12,345");
/// assert_eq!(format_number(0.00001234), "1.234e-5");
/// assert_eq!(format_number(-0.5), "-0.5");
/// ```
pub fn format_number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "-∞" }.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs();
    if !(1e-4..1e15).contains(&size) {
        let text = format!("{value:.3e}");
        return match text.split_once('e') {
            Some((digits, exponent)) => format!("{}e{exponent}", trim_zeros(digits)),
            None => text,
        };
    }
    if size >= 1000.0 || value.fract() == 0.0 {
        return with_thousands(value.round() as i64);
    }
    // Digits after the point so that four in all are significant.
    let decimals = (3 - size.log10().floor() as i32).clamp(0, 8) as usize;
    trim_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn trim_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// A whole number with its thousands separated.
pub(crate) fn with_thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        text.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_honest() {
        #[track_caller]
        fn check(value: f64, expect: &str) {
            assert_eq!(format_number(value), expect);
        }
        check(0.0, "0");
        check(1.0, "1");
        check(0.1, "0.1");
        check(0.99996, "1");
        check(123.456, "123.5");
        check(1234.56, "1,235");
        check(-1_234_567.0, "-1,234,567");
        check(0.000_123_456, "0.0001235");
        check(1e-5, "1e-5");
        check(-2.5e20, "-2.5e20");
        check(f64::NAN, "NaN");
        check(f64::NEG_INFINITY, "-∞");
    }

    #[test]
    fn every_float_survives_json() {
        for value in [0.1, 3.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE] {
            let json = serde_json::to_string(&AnyFloat(value)).expect("a float is JSON");
            let back: AnyFloat = serde_json::from_str(&json).expect("its own JSON");
            assert_eq!(back.0.to_bits(), value.to_bits(), "{json}");
        }
    }
}
