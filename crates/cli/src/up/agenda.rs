//! When a pipeline's runs begin: decided from what time it is, what was dealt with before, and
//! whether a run goes on. Pure; whoever owns a clock tells it.
//!
//! ```text
//!             a time comes, files change                     the run ended
//! idle ──────────────────────────────────> running ──────────────────────────> idle
//!                                             │                                 ^
//!                        overlap: queue or cancel                               │
//!                                             v          the run ended          │
//!                                          running, one waits ──> running ──────┘
//! ```
//!
//! The clock may be set forward or back at any moment. A time that was dealt with is not dealt
//! with again when the clock goes back by less than [`CORRECTED`]; by more, the clock was wrong
//! before, and what it says now counts.

use wick_core::Timestamp;
use wick_plan::{Missed, Overlap, Times};

/// A time that is noticed within so many microseconds was not missed: 1 min.
const LATE: i64 = 60_000_000;

/// By so many microseconds a clock goes back only when it was wrong before: 3 h, as in cron.
const CORRECTED: i64 = 3 * 3_600_000_000;

/// Times that passed are counted up to here: a minutely schedule after a year is "many".
pub const MANY: u32 = 1000;

/// Why a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its time came.
    Time(Timestamp),
    /// Times passed while nobody was there: so many, the last of them then.
    Missed {
        /// How many, at most [`MANY`].
        count: u32,
        /// The last one.
        last: Timestamp,
    },
    /// Files changed.
    Change,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Begin a run.
    Begin(Cause),
    /// Cancel the run that goes on; another begins when it has ended.
    Cancel(Cause),
    /// Nothing yet: the run begins when the other has ended.
    Wait(Cause),
    /// Nothing: a run still goes on.
    Skip(Cause),
    /// Nothing: so many times passed while nobody was there, the last of them then.
    Miss {
        /// How many, at most [`MANY`].
        count: u32,
        /// The last one.
        last: Timestamp,
    },
    /// Nothing: the clock was set back, and counts from here.
    ClockSetBack,
}

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    /// None does.
    Idle,
    /// One does, and perhaps another waits for its end.
    Running { waiting: Option<Cause>, cancelled: bool },
}

/// When the runs of one pipeline begin.
#[derive(Debug, Clone)]
pub struct Agenda {
    times: Option<Times>,
    missed: Missed,
    overlap: Overlap,
    /// Every time up to here was dealt with.
    seen: Timestamp,
    going: Going,
}

impl Agenda {
    /// An agenda that begins now; `seen` is up to when an earlier process dealt with its times.
    pub fn new(
        times: Option<Times>,
        missed: Missed,
        overlap: Overlap,
        seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        Self { times, missed, overlap, seen: seen.unwrap_or(now), going: Going::Idle }
    }

    /// The same with another schedule, whose times count from now; a run that goes on is
    /// remembered.
    pub fn rescheduled(
        &self,
        times: Option<Times>,
        missed: Missed,
        overlap: Overlap,
        now: Timestamp,
    ) -> Self {
        Self { times, missed, overlap, seen: now, going: self.going }
    }

    /// Up to when every time was dealt with.
    pub fn seen(&self) -> Timestamp {
        self.seen
    }

    /// The next time after `now` at which a run is to begin.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.times.as_ref()?.next_after(self.seen.max(now))
    }

    /// Whether a run goes on.
    #[cfg(test)]
    fn is_running(&self) -> bool {
        self.going != Going::Idle
    }

    /// It is `now`.
    pub fn look(&mut self, now: Timestamp) -> Vec<Deed> {
        let Some(times) = &self.times else { return Vec::new() };
        if now < self.seen {
            if self.seen.micros_since(now) < CORRECTED {
                return Vec::new();
            }
            self.seen = now;
            return vec![Deed::ClockSetBack];
        }
        let Some((count, last)) = passed(times, self.seen, now) else {
            // What did not come is not looked for again.
            self.seen = now;
            return Vec::new();
        };
        self.seen = now;
        let late = now.micros_since(last) > LATE;
        match (late, self.missed) {
            (true, Missed::Skip) => vec![Deed::Miss { count, last }],
            (true, Missed::RunOnce) => vec![self.due(Cause::Missed { count, last })],
            // The run that begins now stands for those before it, too.
            (false, Missed::RunOnce) => vec![self.due(Cause::Time(last))],
            (false, Missed::Skip) => {
                let mut deeds = Vec::new();
                if count > 1 {
                    let before = last_before(times, last, now);
                    deeds.push(Deed::Miss { count: count - 1, last: before });
                }
                deeds.push(self.due(Cause::Time(last)));
                deeds
            }
        }
    }

    /// Files changed.
    pub fn changed(&mut self) -> Deed {
        self.due(Cause::Change)
    }

    /// The run that went on has ended.
    pub fn ended(&mut self) -> Option<Deed> {
        match std::mem::replace(&mut self.going, Going::Idle) {
            Going::Running { waiting: Some(cause), .. } => Some(self.due(cause)),
            Going::Running { waiting: None, .. } | Going::Idle => None,
        }
    }

    fn due(&mut self, cause: Cause) -> Deed {
        match (&mut self.going, self.overlap) {
            (Going::Idle, _) => {
                self.going = Going::Running { waiting: None, cancelled: false };
                Deed::Begin(cause)
            }
            (Going::Running { .. }, Overlap::Skip) => Deed::Skip(cause),
            (Going::Running { waiting, .. }, Overlap::Queue) => {
                *waiting = Some(cause);
                Deed::Wait(cause)
            }
            (Going::Running { waiting, cancelled }, Overlap::Cancel) => {
                *waiting = Some(cause);
                if std::mem::replace(cancelled, true) {
                    Deed::Wait(cause)
                } else {
                    Deed::Cancel(cause)
                }
            }
        }
    }
}

/// How many times passed after `seen` up to `now`, and the last of them.
fn passed(times: &Times, seen: Timestamp, now: Timestamp) -> Option<(u32, Timestamp)> {
    let mut count = 0;
    let mut last = seen;
    while let Some(next) = times.next_after(last).filter(|next| *next <= now) {
        count += 1;
        last = next;
        if count == MANY {
            // The rest is not counted, but the last one is found: it may be on time.
            last = last_time(times, now).map_or(last, |found| found.max(last));
            break;
        }
    }
    (count > 0).then_some((count, last))
}

/// The last time up to `now`, if it is not long ago.
fn last_time(times: &Times, now: Timestamp) -> Option<Timestamp> {
    // Whoever comes a thousand times in a while comes within a share of it.
    [LATE, 3_600_000_000, 86_400_000_000, 31 * 86_400_000_000].into_iter().find_map(|back| {
        let mut last = Timestamp(now.0.saturating_sub(back + 1));
        let mut found = None;
        while let Some(next) = times.next_after(last).filter(|next| *next <= now) {
            (last, found) = (next, Some(next));
        }
        found
    })
}

/// The time before `last`, which was one.
fn last_before(times: &Times, last: Timestamp, now: Timestamp) -> Timestamp {
    let just_before = Timestamp(last.0 - 1);
    last_time(times, just_before).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3600 * SECOND;

    fn times(cron: &str, zone: &str) -> Times {
        Times::parse(cron, Some(zone)).expect("times")
    }

    /// Noon of 2026-03-28 in UTC: the day before clocks in Europe go forward.
    const START: Timestamp = Timestamp(1_774_699_200 * SECOND);

    fn agenda(cron: &str, missed: Missed, overlap: Overlap) -> Agenda {
        Agenda::new(Some(times(cron, "Europe/Zurich")), missed, overlap, None, START)
    }

    fn after(seconds: i64) -> Timestamp {
        Timestamp(START.0 + seconds * SECOND)
    }

    #[test]
    fn a_time_that_comes_begins_a_run_once() {
        let mut agenda = agenda("* * * * *", Missed::Skip, Overlap::Skip);
        assert_eq!(agenda.look(START), []);
        assert_eq!(agenda.next(START), Some(after(60)));
        assert_eq!(agenda.look(after(59)), []);
        assert_eq!(agenda.look(after(61)), [Deed::Begin(Cause::Time(after(60)))]);
        assert_eq!(agenda.look(after(62)), []);
        assert_eq!(agenda.ended(), None);
        assert_eq!(agenda.look(after(120)), [Deed::Begin(Cause::Time(after(120)))]);
    }

    #[test]
    fn times_that_nobody_saw_are_missed_as_declared() {
        let hourly = |missed| agenda("0 * * * *", missed, Overlap::Skip);
        let late = after(5 * 3600 + 1800);
        let last = after(5 * 3600);
        let mut skipping = hourly(Missed::Skip);
        assert_eq!(skipping.look(late), [Deed::Miss { count: 5, last }]);
        assert_eq!(skipping.look(late), []);
        let mut once = hourly(Missed::RunOnce);
        assert_eq!(once.look(late), [Deed::Begin(Cause::Missed { count: 5, last })]);
        // Woken just when a time comes: that one is no missed one.
        let mut skipping = hourly(Missed::Skip);
        let before = after(4 * 3600);
        assert_eq!(
            skipping.look(last),
            [Deed::Miss { count: 4, last: before }, Deed::Begin(Cause::Time(last))]
        );
        assert_eq!(hourly(Missed::RunOnce).look(last), [Deed::Begin(Cause::Time(last))]);
    }

    #[test]
    fn what_an_earlier_process_did_not_see_is_missed() {
        let times = times("0 * * * *", "UTC");
        let seen = Some(Timestamp(START.0 - 3 * HOUR - HOUR / 2));
        let mut again = Agenda::new(Some(times), Missed::RunOnce, Overlap::Skip, seen, after(1800));
        let last = START;
        assert_eq!(again.look(after(1800)), [Deed::Begin(Cause::Missed { count: 4, last })]);
    }

    #[test]
    fn a_year_of_minutes_is_many() {
        let mut agenda = agenda("* * * * *", Missed::Skip, Overlap::Skip);
        let year = after(365 * 86_400);
        assert_eq!(
            agenda.look(year),
            [
                Deed::Miss { count: MANY - 1, last: Timestamp(year.0 - 60 * SECOND) },
                Deed::Begin(Cause::Time(year)),
            ]
        );
    }

    #[test]
    fn runs_overlap_as_declared() {
        let time = |minute: i64| Cause::Time(after(60 * minute));
        let minutely = |overlap| {
            let mut agenda = agenda("* * * * *", Missed::Skip, overlap);
            assert_eq!(agenda.look(after(60)), [Deed::Begin(time(1))]);
            agenda
        };
        let mut skip = minutely(Overlap::Skip);
        assert_eq!(skip.look(after(120)), [Deed::Skip(time(2))]);
        assert_eq!(skip.ended(), None);
        let mut queue = minutely(Overlap::Queue);
        assert_eq!(queue.look(after(120)), [Deed::Wait(time(2))]);
        assert_eq!(queue.look(after(180)), [Deed::Wait(time(3))]);
        assert_eq!(queue.ended(), Some(Deed::Begin(time(3))), "at most one waits");
        assert_eq!(queue.ended(), None);
        let mut cancel = minutely(Overlap::Cancel);
        assert_eq!(cancel.look(after(120)), [Deed::Cancel(time(2))]);
        assert_eq!(cancel.look(after(180)), [Deed::Wait(time(3))], "it is being cancelled");
        assert_eq!(cancel.ended(), Some(Deed::Begin(time(3))));
        assert_eq!(cancel.changed(), Deed::Cancel(Cause::Change));
    }

    #[test]
    fn a_clock_set_back_repeats_nothing_unless_it_was_wrong() {
        let mut agenda = agenda("0 * * * *", Missed::RunOnce, Overlap::Skip);
        assert_eq!(agenda.look(after(3600)), [Deed::Begin(Cause::Time(after(3600)))]);
        agenda.ended();
        assert_eq!(agenda.look(after(1800)), []);
        assert_eq!(agenda.next(after(1800)), Some(after(7200)));
        assert_eq!(agenda.look(after(3601)), []);
        assert_eq!(agenda.look(after(7200)), [Deed::Begin(Cause::Time(after(7200)))]);
        agenda.ended();
        assert_eq!(agenda.look(after(-86_400)), [Deed::ClockSetBack]);
        let earlier = after(-82_800);
        assert_eq!(agenda.look(earlier), [Deed::Begin(Cause::Time(earlier))]);
    }

    #[test]
    fn another_schedule_counts_from_now_and_knows_of_the_run() {
        let mut before = agenda("* * * * *", Missed::RunOnce, Overlap::Queue);
        before.look(after(60));
        let hourly = Some(times("0 * * * *", "UTC"));
        let mut agenda = before.rescheduled(hourly, Missed::Skip, Overlap::Queue, after(90));
        assert!(agenda.is_running());
        assert_eq!(agenda.look(after(120)), []);
        assert_eq!(agenda.look(after(3600)), [Deed::Wait(Cause::Time(after(3600)))]);
    }

    const CRONS: [&str; 6] =
        ["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "0 0 * * 1", "15 2,14 29 * *"];

    /// How many times of `cron` lie after `from` up to `to`.
    fn count(cron: &str, from: Timestamp, to: Timestamp) -> u32 {
        let times = times(cron, "Europe/Zurich");
        let mut moment = from;
        let mut count = 0;
        while let Some(next) = times.next_after(moment).filter(|next| *next <= to) {
            (moment, count) = (next, count + 1);
        }
        count
    }

    proptest! {
        // Each case asks for thousands of times.
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Somebody who looks every minute or more often misses nothing and begins nothing twice,
        /// whatever the season does to local time.
        #[test]
        fn every_time_begins_one_run(
            cron in 0..CRONS.len(),
            steps in prop::collection::vec(1..60_i64, 1..2000),
        ) {
            let mut agenda = agenda(CRONS[cron], Missed::Skip, Overlap::Skip);
            let mut now = START;
            let mut begun = Vec::new();
            for step in steps {
                now = Timestamp(now.0 + step * SECOND);
                for deed in agenda.look(now) {
                    let Deed::Begin(Cause::Time(time)) = deed else {
                        return Err(TestCaseError::fail(format!("{deed:?}")));
                    };
                    begun.push(time);
                    agenda.ended();
                }
            }
            prop_assert!(begun.is_sorted_by(|a, b| a < b), "{begun:?}");
            prop_assert_eq!(begun.len() as u32, count(CRONS[cron], START, now));
        }

        /// However the clock jumps forward, every time is begun, missed or stood for; however it
        /// jumps back by less than three hours, none is dealt with twice.
        #[test]
        fn every_time_is_dealt_with_once(
            cron in 0..CRONS.len(),
            jumps in prop::collection::vec(-3 * 3600 + 1..100_000_i64, 1..40),
        ) {
            let mut skipping = agenda(CRONS[cron], Missed::Skip, Overlap::Skip);
            let mut once = agenda(CRONS[cron], Missed::RunOnce, Overlap::Skip);
            let (mut now, mut latest) = (START, START);
            let mut dealt = 0;
            for jump in jumps {
                // Back from the latest moment by less than three hours altogether.
                now = Timestamp((now.0 + jump * SECOND).max(latest.0 - CORRECTED + 1));
                let due = count(CRONS[cron], latest, now);
                latest = latest.max(now);
                for deed in skipping.look(now) {
                    match deed {
                        Deed::Begin(Cause::Time(_)) => {
                            dealt += 1;
                            skipping.ended();
                        }
                        Deed::Miss { count, .. } => dealt += count.min(due),
                        other => return Err(TestCaseError::fail(format!("{other:?}"))),
                    }
                }
                let begun = once.look(now);
                prop_assert_eq!(begun.len(), usize::from(due > 0), "one run for all");
                once.ended();
            }
            let all = count(CRONS[cron], START, latest);
            if CRONS[cron] == "* * * * *" {
                prop_assert!(dealt <= all);
            } else {
                prop_assert_eq!(dealt, all);
            }
        }

        /// Whatever comes in whatever order, there is one run at a time, at most one waits, and
        /// what was queued begins.
        #[test]
        fn one_run_at_a_time(
            overlap in prop_oneof![
                Just(Overlap::Skip), Just(Overlap::Queue), Just(Overlap::Cancel)
            ],
            news in prop::collection::vec(0..3_u8, 1..200),
        ) {
            let mut agenda = agenda("* * * * *", Missed::Skip, overlap);
            let (mut running, mut waiting) = (false, false);
            let mut now = START;
            for new in news {
                let deed = match new {
                    0 => {
                        now = Timestamp(now.0 + 60 * SECOND);
                        agenda.look(now).pop()
                    }
                    1 => Some(agenda.changed()),
                    _ => {
                        running = false;
                        agenda.ended()
                    }
                };
                match deed {
                    Some(Deed::Begin(_)) => {
                        prop_assert!(!running);
                        (running, waiting) = (true, false);
                    }
                    Some(Deed::Wait(_)) => {
                        prop_assert!(running && overlap != Overlap::Skip);
                        waiting = true;
                    }
                    Some(Deed::Cancel(_)) => {
                        prop_assert!(running && overlap == Overlap::Cancel && !waiting);
                        waiting = true;
                    }
                    Some(Deed::Skip(_)) => prop_assert!(running && overlap == Overlap::Skip),
                    Some(other) => return Err(TestCaseError::fail(format!("{other:?}"))),
                    None => prop_assert!(!waiting, "what waited was forgotten"),
                }
                prop_assert_eq!(agenda.is_running(), running);
            }
        }
    }
}
