//! The times that a schedule names: a cron expression in a time zone.
//!
//! Pure: it is given a moment and says which comes next. What a clock does that goes forward or
//! back with the season is settled as cron does: a time that is left out comes as soon as the
//! clock has gone forward, one that comes twice counts once, and what comes at every hour or
//! minute comes at every one that passes.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use wick_core::Timestamp;

/// The times of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    cron: Cron,
    zone: Tz,
}

/// Why a text names no times.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// It is no cron expression.
    #[error("`{text}` is not a cron expression: {reason}")]
    Cron {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No day fits: the 30th of February.
    #[error("`{0}` names a time that never comes")]
    Never(String),
    /// There is no such time zone.
    #[error("`{0}` is not a time zone")]
    Timezone(String),
}

impl TimesError {
    /// What to write instead.
    pub fn help(&self) -> String {
        match self {
            TimesError::Cron { .. } => {
                "write minute, hour, day, month and weekday: `0 3 * * *` is every night at three"
                    .to_owned()
            }
            TimesError::Never(_) => {
                "no month has such a day: see the third and fourth field".into()
            }
            TimesError::Timezone(name) => {
                let zones = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
                wick_pipeline::did_you_mean(name, zones).unwrap_or_else(|| {
                    "name one of the tz database, such as `Europe/Zurich` or `UTC`".to_owned()
                })
            }
        }
    }
}

/// From this moment on a time of the expression must come, else it never does: 2000-01-01.
const SOME_MOMENT: Timestamp = Timestamp(946_684_800_000_000);

/// Minute, hour, day, month and weekday.
const FIELDS: usize = 5;

impl Times {
    /// The times of the cron expression `cron`, of five fields, in the time zone `timezone`, a
    /// name of the tz database; UTC without.
    ///
    /// # Errors
    /// Says what is wrong with which of them.
    pub fn parse(cron: &str, timezone: Option<&str>) -> Result<Self, TimesError> {
        let parser =
            CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let refused = |reason| TimesError::Cron { text: cron.to_owned(), reason };
        let fields = cron.split_whitespace().count();
        if fields != FIELDS && !cron.trim_start().starts_with('@') {
            return Err(refused(format!("it has {fields} fields rather than {FIELDS}")));
        }
        let parsed = parser.parse(cron).map_err(|error| refused(fragment(&error.to_string())))?;
        let zone = match timezone {
            None => Tz::UTC,
            Some(name) => name.parse().map_err(|_| TimesError::Timezone(name.to_owned()))?,
        };
        let times = Self { cron: parsed, zone };
        if times.next_after(SOME_MOMENT).is_none() {
            return Err(TimesError::Never(cron.to_owned()));
        }
        Ok(times)
    }

    /// The first time after `moment`; none within the reach of the calendar is no time.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let local = self.local(moment)?;
        let next = self.cron.find_next_occurrence(&local, false).ok();
        let next = next.or_else(|| self.after_a_day_left_out(moment))?;
        Some(Timestamp(next.timestamp_micros()))
    }

    /// The first time after a day that the zone left out, for which the search gives up: Samoa had
    /// no 30th of December 2011. Looks from each quarter of an hour of the next day: clocks of all
    /// zones begin their hours at one.
    fn after_a_day_left_out(&self, moment: Timestamp) -> Option<DateTime<Tz>> {
        const QUARTER: i64 = 900_000_000;
        let first = moment.0 - moment.0.rem_euclid(QUARTER) + QUARTER;
        let day_later = self.local(Timestamp(moment.0 + 86_400_000_000))?;
        let days = day_later.date_naive().signed_duration_since(self.local(moment)?.date_naive());
        // No day was left out: the expression names none that comes.
        if days.num_days() < 2 {
            return None;
        }
        (0..=100).find_map(|quarter| {
            let from = self.local(Timestamp(first + quarter * QUARTER))?;
            self.cron.find_next_occurrence(&from, true).ok()
        })
    }

    /// The name of the time zone.
    pub fn timezone(&self) -> &'static str {
        self.zone.name()
    }

    /// `moment` on a clock of the time zone: `Tue 2026-11-24 03:00 CET`.
    pub fn shown(&self, moment: Timestamp) -> String {
        match self.local(moment) {
            Some(local) => local.format("%a %Y-%m-%d %H:%M %Z").to_string(),
            None => moment.to_string(),
        }
    }

    fn local(&self, moment: Timestamp) -> Option<DateTime<Tz>> {
        let utc: DateTime<Utc> = DateTime::from_timestamp_micros(moment.0)?;
        Some(utc.with_timezone(&self.zone))
    }
}

/// Another library's sentence as a fragment within one of ours.
fn fragment(sentence: &str) -> String {
    let inner = sentence.split_once(": ").map_or(sentence, |(_, inner)| inner);
    let inner = inner.trim().trim_end_matches('.');
    let mut characters = inner.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate, Offset, TimeZone, Timelike};
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        let time = DateTime::parse_from_rfc3339(text).expect("a moment");
        Timestamp(time.timestamp_micros())
    }

    /// The first times after `from`, as they are shown.
    fn next(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let times = Times::parse(cron, Some(zone)).expect("times");
        let mut moment = at(from);
        let mut found = Vec::new();
        for _ in 0..count {
            moment = times.next_after(moment).expect("it comes");
            found.push(times.shown(moment));
        }
        found
    }

    #[test]
    fn plain_times_come_in_order() {
        #[track_caller]
        fn check(cron: &str, zone: &str, from: &str, expect: &[&str]) {
            assert_eq!(next(cron, zone, from, expect.len()), expect, "{cron}");
        }
        check(
            "0 3 * * *",
            "UTC",
            "2026-11-23T18:00:00Z",
            &["Tue 2026-11-24 03:00 UTC", "Wed 2026-11-25 03:00 UTC"],
        );
        // A moment that is itself a time is not after itself.
        check("0 3 * * *", "UTC", "2026-11-24T03:00:00Z", &["Wed 2026-11-25 03:00 UTC"]);
        check("0 3 * * *", "UTC", "2026-11-24T02:59:59.999999Z", &["Tue 2026-11-24 03:00 UTC"]);
        check(
            "*/20 8-9 * * mon",
            "Europe/Zurich",
            "2026-11-23T07:30:00Z",
            &["Mon 2026-11-23 08:40 CET", "Mon 2026-11-23 09:00 CET"],
        );
        check("@weekly", "UTC", "2026-11-23T18:00:00Z", &["Sun 2026-11-29 00:00 UTC"]);
        // As in cron, a day of the month and a weekday are either, not both.
        check(
            "0 0 13 * 5",
            "UTC",
            "2026-11-06T00:00:00Z",
            &["Fri 2026-11-13 00:00 UTC", "Fri 2026-11-20 00:00 UTC"],
        );
    }

    #[test]
    fn leap_days_come_when_they_are() {
        let expect = ["Tue 2028-02-29 12:00 UTC", "Sun 2032-02-29 12:00 UTC"];
        assert_eq!(next("0 12 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2), expect);
        // 2100 is no leap year.
        let expect = ["Wed 2096-02-29 12:00 UTC", "Fri 2104-02-29 12:00 UTC"];
        assert_eq!(next("0 12 29 2 *", "UTC", "2095-01-01T00:00:00Z", 2), expect);
    }

    #[test]
    fn a_time_that_is_left_out_comes_when_the_clock_has_gone_forward() {
        // On 2026-03-29 clocks in Zurich go from 2:00 to 3:00.
        let expect =
            ["Sat 2026-03-28 02:30 CET", "Sun 2026-03-29 03:00 CEST", "Mon 2026-03-30 02:30 CEST"];
        assert_eq!(next("30 2 * * *", "Europe/Zurich", "2026-03-28T00:00:00Z", 3), expect);
        let expect = ["Sun 2026-03-29 01:30 CET", "Sun 2026-03-29 03:30 CEST"];
        let hourly = next("30 * * * *", "Europe/Zurich", "2026-03-29T00:00:00Z", 2);
        assert_eq!(hourly, expect, "the hours that pass");
    }

    #[test]
    fn a_time_that_comes_twice_counts_once() {
        // On 2026-10-25 clocks in Zurich go from 3:00 back to 2:00.
        let expect = ["Sun 2026-10-25 02:30 CEST", "Mon 2026-10-26 02:30 CET"];
        assert_eq!(next("30 2 * * *", "Europe/Zurich", "2026-10-24T12:00:00Z", 2), expect);
        let expect = ["Sun 2026-10-25 02:30 CEST", "Sun 2026-10-25 02:30 CET"];
        let hourly = next("30 * * * *", "Europe/Zurich", "2026-10-25T00:00:00Z", 2);
        assert_eq!(hourly, expect, "both hours pass");
    }

    #[test]
    fn what_names_no_time_is_refused_with_the_mend() {
        #[track_caller]
        fn check(cron: &str, zone: Option<&str>, message: &str, help: &str) {
            let error = Times::parse(cron, zone).expect_err(cron);
            let (said, mend) = (error.to_string(), error.help());
            assert!(said.contains(message), "{said}");
            assert!(mend.contains(help), "{mend}");
        }
        check("every day", None, "`every day` is not a cron expression", "0 3 * * *");
        check("* * * *", None, "it has 4 fields rather than 5", "minute, hour");
        check("0 0 3 * * *", None, "is not a cron expression", "minute, hour");
        check("99 3 * * *", None, "is not a cron expression", "minute, hour");
        check("", None, "is not a cron expression", "minute, hour");
        check("0 0 30 2 *", None, "never comes", "third");
        check(
            "0 3 * * *",
            Some("Europe/Zurih"),
            "`Europe/Zurih` is not a time zone",
            "Europe/Zurich",
        );
        check("0 3 * * *", Some("the moon"), "is not a time zone", "UTC");
    }

    /// Zones that shift by an hour or half of one, on either side of the world, and one that left
    /// a whole day out.
    const ZONES: [&str; 8] = [
        "UTC",
        "Europe/Zurich",
        "America/New_York",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
        "Pacific/Apia",
        "Africa/Casablanca",
    ];

    fn moments() -> impl Strategy<Value = Timestamp> {
        // 2005 to 2035.
        (1_104_537_600_000_000_i64..2_051_222_400_000_000).prop_map(Timestamp)
    }

    proptest! {
        #[test]
        fn the_next_time_lies_ahead_and_nothing_between(
            moment in moments(), zone in 0..ZONES.len(), minute in 0..60_u32, hour in 0..24_u32,
        ) {
            let times = Times::parse(&format!("{minute} {hour} * * *"), Some(ZONES[zone]))?;
            let next = times.next_after(moment).expect("it comes");
            prop_assert!(next > moment);
            // From just before it, the same one is found: nothing lies between.
            prop_assert_eq!(times.next_after(Timestamp(next.0 - 1)), Some(next));
            prop_assert!(next.micros_since(moment) <= 50 * 3_600_000_000);
        }

        #[test]
        fn a_daily_time_comes_once_a_day(
            year in 2005..2034, zone in 0..ZONES.len(), minute in 0..60_u32, hour in 0..24_u32,
        ) {
            let times = Times::parse(&format!("{minute} {hour} * * *"), Some(ZONES[zone]))?;
            let zone = times.zone;
            let mut moment = Timestamp(
                Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).single().expect("a day").timestamp_micros(),
            );
            let mut day: Option<NaiveDate> = None;
            for _ in 0..366 {
                moment = times.next_after(moment).expect("it comes");
                let local = times.local(moment).expect("a moment");
                if let Some(day) = day {
                    let passed = local.date_naive().signed_duration_since(day).num_days();
                    // Samoa went over the date line, without a 30th of December 2011.
                    let left_out = zone == Tz::Pacific__Apia && day.year() == 2011;
                    prop_assert!(passed == 1 || (left_out && passed <= 2), "{day} {local}");
                }
                let named = local.hour() == hour && local.minute() == minute;
                if !named {
                    // Only where the clock jumped over it: it comes at the first moment after.
                    let before = times.local(Timestamp(moment.0 - 1)).expect("a moment");
                    prop_assert!(
                        before.offset().fix() != local.offset().fix(),
                        "{local} is not {hour}:{minute}"
                    );
                }
                day = Some(local.date_naive());
            }
        }

        #[test]
        fn every_minute_is_every_minute(moment in moments(), zone in 0..ZONES.len()) {
            let times = Times::parse("* * * * *", Some(ZONES[zone]))?;
            let mut moment = times.next_after(moment).expect("it comes");
            for _ in 0..180 {
                let next = times.next_after(moment).expect("it comes");
                prop_assert_eq!(next.micros_since(moment), 60_000_000);
                moment = next;
            }
        }

        #[test]
        fn no_text_makes_it_panic(cron in ".{0,24}", zone in ".{0,12}") {
            let _ = Times::parse(&cron, Some(&zone));
            let _ = Times::parse(&cron, None).map_err(|error| error.help());
        }
    }
}
