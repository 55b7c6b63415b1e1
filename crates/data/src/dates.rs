//! Dates as numbers: their parts, and reading them from text.

use crate::transform::config::DatePart;

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

/// A part of the moment `micros`, in microseconds since 1970.
pub(crate) fn date_part(part: DatePart, micros: i64) -> f64 {
    let (days, time) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let weekday = (days + 3).rem_euclid(7) + 1;
    let day_of_year = days - days_of(year, 1, 1) + 1;
    let seconds = time / 1_000_000;
    let whole = match part {
        DatePart::Year => year,
        DatePart::Quarter => (month - 1) / 3 + 1,
        DatePart::Month => month,
        DatePart::Week => iso_week(days, weekday),
        DatePart::Day => day,
        DatePart::Weekday => weekday,
        DatePart::DayOfYear => day_of_year,
        DatePart::Hour => seconds / 3600,
        DatePart::Minute => seconds / 60 % 60,
        DatePart::Second => seconds % 60,
        DatePart::Days => return days as f64 + time as f64 / DAY as f64,
    };
    whole as f64
}

/// The ISO week: that of the week's Thursday, counted from the year's first Thursday.
fn iso_week(days: i64, weekday: i64) -> i64 {
    let thursday = days + 4 - weekday;
    let (year, _, _) = civil(thursday);
    (thursday - days_of(year, 1, 1)) / 7 + 1
}

/// Year, month and day of a number of days since 1970-01-01 (H. Hinnant, "chrono-compatible
/// low-level date algorithms": the year begins in March, so the leap day comes last).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Reads ISO 8601: `2024-02-29`, `2024-02-29T12:30`, `2024-02-29 12:30:00.5`, with `Z` or without,
/// as microseconds since 1970.
pub(crate) fn parse_moment(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-').map(digits);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let days = days_of(year, month, day);
    // What does not come back is not a date: February 30, month 13.
    if year > 9999 || civil(days) != (year, month, day) {
        return None;
    }
    let Some(time) = time else { return Some(days * DAY) };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':').map(digits);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    let mut micros = digits(fraction)?;
    for _ in fraction.len()..6 {
        micros *= 10;
    }
    for _ in 6..fraction.len() {
        micros /= 10;
    }
    Some(days * DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

fn digits(text: &str) -> Option<i64> {
    let all = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_apart() {
        let moment =
            |year, month, day, seconds: i64| days_of(year, month, day) * DAY + seconds * 1_000_000;
        #[track_caller]
        fn check(part: DatePart, micros: i64, expect: f64) {
            assert_eq!(date_part(part, micros), expect, "{part:?}");
        }
        let leap = moment(2024, 2, 29, 86_399);
        check(DatePart::Year, leap, 2024.0);
        check(DatePart::Month, leap, 2.0);
        check(DatePart::Day, leap, 29.0);
        check(DatePart::Weekday, leap, 4.0);
        check(DatePart::DayOfYear, leap, 60.0);
        check(DatePart::Week, leap, 9.0);
        check(DatePart::Hour, leap, 23.0);
        check(DatePart::Minute, leap, 59.0);
        check(DatePart::Second, leap, 59.0);
        check(DatePart::Week, moment(2021, 1, 3, 0), 53.0);
        check(DatePart::Week, moment(2018, 12, 31, 0), 1.0);
        check(DatePart::Weekday, -DAY, 3.0);
        check(DatePart::Days, moment(1970, 1, 2, 43_200), 1.5);
        for days in [-800_000, -1, 0, 59, 60, 20_000, 800_000] {
            let (year, month, day) = civil(days);
            assert_eq!(days_of(year, month, day), days);
        }
    }

    #[test]
    fn moments_are_read() {
        #[track_caller]
        fn check(text: &str, expect: Option<i64>) {
            assert_eq!(parse_moment(text), expect, "{text}");
        }
        check("1970-01-02", Some(DAY));
        check("1970-01-01T00:00:01", Some(1_000_000));
        check("1970-01-01 01:00Z", Some(3_600_000_000));
        check("1970-01-01T00:00:00.25", Some(250_000));
        check("1970-01-01T00:00:00.123456789", Some(123_456));
        for wrong in
            ["", "1970", "1970-13-01", "2023-02-29", "1970-01-01T24:00", "1970-01-01T1", "a-b-c"]
        {
            check(wrong, None);
        }
    }
}
