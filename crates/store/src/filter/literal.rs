//! Times and durations, as people write them.
//!
//! A written time is a stretch as long as it is precise: `'2026-11-01'` is the whole day, so
//! `started = '2026-11-01'` finds the runs of that day. Times are in UTC unless they say otherwise,
//! as everywhere in Candlewick.

use std::ops::Range;

use wick_core::Timestamp;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Microseconds of the years from 1 to 9999.
const MOMENTS: Range<i64> = -62_135_596_800 * SECOND..253_402_300_800 * SECOND;

/// Units of time, each with its names.
const UNITS: [(i64, &[&str]); 7] = [
    (1, &["us", "µs", "microsecond", "microseconds"]),
    (1_000, &["ms", "millisecond", "milliseconds"]),
    (SECOND, &["s", "sec", "secs", "second", "seconds"]),
    (MINUTE, &["m", "min", "mins", "minute", "minutes"]),
    (HOUR, &["h", "hr", "hrs", "hour", "hours"]),
    (DAY, &["d", "day", "days"]),
    (7 * DAY, &["w", "wk", "week", "weeks"]),
];

/// The microseconds that `text` says: `90s`, `1h30m`, `2 days`.
pub(super) fn duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest.trim_start()),
        None => (1.0, text),
    };
    let mut total = 0.0;
    let mut last_unit = i64::MAX;
    while !rest.is_empty() || last_unit == i64::MAX {
        let end = rest.find(|char: char| !(char.is_ascii_digit() || char == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        let after = rest[end..].trim_start();
        let end = after.find(|char: char| !char.is_alphabetic()).unwrap_or(after.len());
        let (unit, _) =
            UNITS.iter().find(|(_, names)| names.contains(&&*after[..end].to_lowercase()))?;
        if *unit >= last_unit {
            return None;
        }
        last_unit = *unit;
        total += number * *unit as f64;
        rest = after[end..].trim_start();
    }
    // Beyond this a float does not tell one microsecond from the next.
    (total < 9e15).then_some((sign * total).round() as i64)
}

/// How a duration is written, so that [`duration`] reads the same.
pub(super) fn duration_text(micros: i64) -> String {
    let size = micros.unsigned_abs();
    let unit = UNITS.iter().rev().find(|(unit, _)| size.is_multiple_of(unit.unsigned_abs()));
    let (unit, names) = unit.unwrap_or(&UNITS[0]);
    format!("{}{}", micros / unit, names[0])
}

/// The stretch of time, in microseconds since 1970, that `text` says; `now` is what `2 days ago`
/// counts from.
pub(super) fn moment(text: &str, now: Timestamp) -> Option<Range<i64>> {
    let lower = text.trim().to_lowercase();
    let today = now.0.div_euclid(DAY) * DAY;
    let stretch = match lower.as_str() {
        "now" => now.0..now.0 + 1,
        "today" => today..today + DAY,
        "yesterday" => today - DAY..today,
        lower => match lower.strip_suffix("ago") {
            Some(before) => {
                let moment = now.0.checked_sub(duration(before)?)?;
                moment..moment + 1
            }
            None => calendar(lower)?,
        },
    };
    (MOMENTS.contains(&stretch.start) && MOMENTS.contains(&(stretch.end - 1))).then_some(stretch)
}

/// The stretch that a number means: milliseconds since 1970, as in MLflow.
pub(super) fn moment_of_millis(millis: f64) -> Option<Range<i64>> {
    let start = (millis * 1_000.0).round();
    let length = if millis.fract() == 0.0 { 1_000 } else { 1 };
    let is_moment = MOMENTS.start as f64 <= start && start < (MOMENTS.end - 1_000) as f64;
    is_moment.then(|| start as i64..start as i64 + length)
}

/// How a moment is written, so that [`moment`] reads the same.
pub(super) fn moment_text(micros: i64) -> String {
    format!("{}.{:06}", Timestamp(micros), micros.rem_euclid(SECOND))
}

/// `2026`, `2026-11`, `2026-11-01`, and with a time of day behind `T` or a space: `12`, `12:30`,
/// `12:30:05`, `12:30:05.25`, and behind that `Z` or `+01:00`.
fn calendar(text: &str) -> Option<Range<i64>> {
    let (date, time) = match text.split_once(['t', ' ']) {
        Some((date, time)) => (date, Some(time.trim_start())),
        None => (text, None),
    };
    let mut parts = date.split('-').map(|part| digits(part, if part.len() > 2 { 4 } else { 2 }));
    let (year, month, day) = (parts.next()??, parts.next(), parts.next());
    if parts.next().is_some() || date.split('-').next()?.len() != 4 {
        return None;
    }
    let (month, day) =
        (month.map_or(Some(None), |m| m.map(Some))?, day.map_or(Some(None), |d| d.map(Some))?);
    let start = days(year, month.unwrap_or(1), day.unwrap_or(1))? * DAY;
    match (month, day, time) {
        (None, None, None) => Some(start..days(year + 1, 1, 1)? * DAY),
        (Some(12), None, None) => Some(start..days(year + 1, 1, 1)? * DAY),
        (Some(month), None, None) => Some(start..days(year, month + 1, 1)? * DAY),
        (Some(_), Some(_), None) => Some(start..start + DAY),
        (Some(_), Some(_), Some(time)) => {
            let (time, offset) = time_and_offset(time)?;
            Some(start + time.start - offset..start + time.end - offset)
        }
        _ => None,
    }
}

/// The stretch of a day, and how far its zone is ahead of UTC.
fn time_and_offset(text: &str) -> Option<(Range<i64>, i64)> {
    let (clock, offset) = match text.find(['z', '+', '-']) {
        None => (text, 0),
        Some(place) if &text[place..] == "z" => (&text[..place], 0),
        Some(place) => {
            let (hours, minutes) = match text[place + 1..].split_once(':') {
                Some((hours, minutes)) => (digits(hours, 2)?, digits(minutes, 2)?),
                None => (digits(&text[place + 1..], 2)?, 0),
            };
            let offset = hours * HOUR + minutes * MINUTE;
            let fits = hours < 24 && minutes < 60;
            let sign = if text[place..].starts_with('-') { -1 } else { 1 };
            (&text[..place], fits.then_some(sign * offset)?)
        }
    };
    let mut parts = clock.trim_end().split(':');
    let hour = digits(parts.next()?, 2)?;
    let Some(minute) = parts.next() else {
        return (hour < 24).then_some((hour * HOUR..(hour + 1) * HOUR, offset));
    };
    let minute = digits(minute, 2)?;
    if hour >= 24 || minute >= 60 {
        return None;
    }
    let start = hour * HOUR + minute * MINUTE;
    let Some(second) = parts.next() else { return Some((start..start + MINUTE, offset)) };
    if parts.next().is_some() {
        return None;
    }
    let (second, fraction) = match second.split_once('.') {
        Some((second, fraction)) => (second, Some(fraction)),
        None => (second, None),
    };
    let second = digits(second, 2).filter(|second| *second < 60)?;
    let start = start + second * SECOND;
    let Some(fraction) = fraction else { return Some((start..start + SECOND, offset)) };
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}")[..6].parse().ok()?;
    let precision = 10_i64.pow(6 - fraction.len().min(6) as u32);
    Some((start + micros..start + micros + precision, offset))
}

/// A number of one to `most` digits.
fn digits(text: &str, most: usize) -> Option<i64> {
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok())?
}

/// Days from 1970-01-01 to a date of the civil calendar (Howard Hinnant, "chrono-compatible
/// low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23 12:30:05.25 UTC.
    const NOW: Timestamp = Timestamp(1_795_437_005_250_000);

    #[test]
    fn durations_are_read() {
        #[track_caller]
        fn check(text: &str, expect: Option<i64>) {
            assert_eq!(duration(text), expect, "{text}");
            if let Some(micros) = expect {
                assert_eq!(duration(&duration_text(micros)), expect, "{text}");
            }
        }
        check("90s", Some(90 * SECOND));
        check("1h30m", Some(90 * MINUTE));
        check(" 1 h 30 min ", Some(90 * MINUTE));
        check("2 days", Some(2 * DAY));
        check("1.5ms", Some(1_500));
        check("-3s", Some(-3 * SECOND));
        check("0s", Some(0));
        check("", None);
        check("90", None);
        check("s", None);
        check("5 parsecs", None);
        check("30m1h", None);
        check("1..5s", None);
        check("999999999999d", None);
    }

    #[test]
    fn times_are_stretches() {
        #[track_caller]
        fn check(text: &str, expect: Option<(&str, i64)>) {
            let read = moment(text, NOW)
                .map(|stretch| (moment_text(stretch.start), stretch.end - stretch.start));
            let read = read.as_ref().map(|(start, length)| (start.as_str(), *length));
            assert_eq!(read, expect, "{text}");
        }
        check("2026", Some(("2026-01-01 00:00:00.000000", 365 * DAY)));
        check("2024-02", Some(("2024-02-01 00:00:00.000000", 29 * DAY)));
        check("2026-12", Some(("2026-12-01 00:00:00.000000", 31 * DAY)));
        check("2026-11-01", Some(("2026-11-01 00:00:00.000000", DAY)));
        check("2026-11-01 12", Some(("2026-11-01 12:00:00.000000", HOUR)));
        check("2026-11-01T12:30", Some(("2026-11-01 12:30:00.000000", MINUTE)));
        check("2026-11-01 12:30:05", Some(("2026-11-01 12:30:05.000000", SECOND)));
        check("2026-11-01 12:30:05.25", Some(("2026-11-01 12:30:05.250000", 10_000)));
        check("2026-11-01T00:30:00+01:00", Some(("2026-10-31 23:30:00.000000", SECOND)));
        check("2026-11-01t12:30:05Z", Some(("2026-11-01 12:30:05.000000", SECOND)));
        check("1969-12-31", Some(("1969-12-31 00:00:00.000000", DAY)));
        check("yesterday", Some(("2026-11-22 00:00:00.000000", DAY)));
        check("Today", Some(("2026-11-23 00:00:00.000000", DAY)));
        check("2 days ago", Some(("2026-11-21 12:30:05.250000", 1)));
        check("now", Some(("2026-11-23 12:30:05.250000", 1)));
        for wrong in [
            "",
            "ago",
            "2026-13",
            "2026-02-30",
            "26-01-01",
            "2026-11-01 25:00",
            "tomorrow",
            "2026-11-01 12:30:05.",
            "2026-11 12:00",
            "2026-1-1-1",
            "0000-01-01",
            "99999999 days ago",
            "2026-é",
            "+026-01-01",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_number_is_milliseconds() {
        assert_eq!(moment_of_millis(1_000.0), Some(1_000_000..1_001_000));
        assert_eq!(moment_of_millis(1_000.5), Some(1_000_500..1_000_501));
        assert_eq!(moment_of_millis(f64::INFINITY), None);
        assert_eq!(moment_of_millis(1e300), None);
    }
}
