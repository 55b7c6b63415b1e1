//! Durations (`2s`, `1h30m`) and sizes of memory (`512MiB`, `2GB`).

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const MEMORY_UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// The duration that `text` says: numbers, each with its unit, largest unit first.
///
/// # Errors
/// What is wrong with it, as a fragment.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("a duration is a number and a unit".to_owned());
    }
    let mut total: u64 = 0;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            return Err(format!("`{number}` has no unit"));
        }
        let Some((_, millis)) = DURATION_UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is not a unit of time"));
        };
        if millis >= last_unit {
            return Err("units go from large to small, each once".to_owned());
        }
        last_unit = millis;
        let part = scale(number, millis)?;
        total = total.checked_add(part).ok_or_else(too_large)?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// How a duration is written: the shortest text that [`parse_duration`] reads as the same.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let mut text = String::new();
    for (unit, size) in DURATION_UNITS.into_iter().rev() {
        let count = millis / u128::from(size);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            millis -= count * u128::from(size);
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The number of bytes that `text` says: a number and a unit.
///
/// # Errors
/// What is wrong with it, as a fragment.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let (number, unit) = split_number(text.trim())?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Err(format!("`{number}` has no unit"));
    }
    let Some((_, bytes)) =
        MEMORY_UNITS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))
    else {
        return Err(format!("`{unit}` is not a unit of memory"));
    };
    scale(number, bytes)
}

/// A number of bytes for people: `2 GB`, `512 MB`.
pub fn format_memory(bytes: u64) -> String {
    for (unit, size) in [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)] {
        let count = bytes as f64 / size;
        if count >= 1.0 {
            let text = format!("{count:.1}");
            return format!("{} {unit}", text.trim_end_matches(".0"));
        }
    }
    format!("{bytes} B")
}

/// The digits, with at most one point, at the start of `text`, and the rest.
fn split_number(text: &str) -> Result<(&str, &str), String> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 || digits + 1 < number.len() {
        return Err("it starts with no number".to_owned());
    }
    Ok((number, rest))
}

fn scale(number: &str, unit: u64) -> Result<u64, String> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(too_large);
    }
    let scaled = number.parse::<f64>().unwrap_or(f64::INFINITY) * unit as f64;
    // Above 2^53 not every whole number is a float; nothing that large is meant.
    if scaled < 9e15 { Ok(scaled.round() as u64) } else { Err(too_large()) }
}

fn too_large() -> String {
    "it is too large".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        #[track_caller]
        fn check(text: &str, expect: Result<u64, &str>) {
            let found = parse_duration(text).map(|duration| duration.as_millis() as u64);
            assert_eq!(found, expect.map_err(str::to_owned), "{text}");
        }
        check("2s", Ok(2_000));
        check("1h30m", Ok(5_400_000));
        check("1.5s", Ok(1_500));
        check("250ms", Ok(250));
        check("2d", Ok(172_800_000));
        check("0s", Ok(0));
        check("", Err("a duration is a number and a unit"));
        check("2", Err("`2` has no unit"));
        check("2 s", Err("`2` has no unit"));
        check("2x", Err("`x` is not a unit of time"));
        check("s", Err("it starts with no number"));
        check("1..2s", Err("it starts with no number"));
        check("-1s", Err("it starts with no number"));
        check("1s1h", Err("units go from large to small, each once"));
        check("99999999999999999999d", Err("it is too large"));
        check("9999999999999999d", Err("it is too large"));
        check("é", Err("it starts with no number"));
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["2s", "1h30m", "250ms", "2d", "0s", "1m1ms"] {
            let duration = parse_duration(text).expect("a duration");
            assert_eq!(format_duration(duration), text);
        }
    }

    #[test]
    fn memory() {
        #[track_caller]
        fn check(text: &str, expect: Result<u64, &str>) {
            assert_eq!(parse_memory(text), expect.map_err(str::to_owned), "{text}");
        }
        check("2GB", Ok(2_000_000_000));
        check("512MiB", Ok(512 << 20));
        check("1.5 GiB", Ok(3 << 29));
        check("2gb", Ok(2_000_000_000));
        check("100B", Ok(100));
        check("2", Err("`2` has no unit"));
        check("2G", Err("`G` is not a unit of memory"));
        check("lots", Err("it starts with no number"));
        check("99999999999TB", Err("it is too large"));
    }

    #[test]
    fn memory_is_shown_rounded() {
        assert_eq!(format_memory(2_000_000_000), "2 GB");
        assert_eq!(format_memory(1 << 30), "1.1 GB");
        assert_eq!(format_memory(12), "12 B");
    }
}
